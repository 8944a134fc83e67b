#include "core/seeding/lanes.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "core/base/limbs.h"
#include "core/seeding/seeding.h"

namespace shoal {
namespace {

// By how much a candidate would lower the potential. IN near, far [n], weights [n] or null.
Limbs exact_gain(const double* near, const double* far, const double* weights, int64_t n) {
  const auto adder = std::make_unique<ExactAdder>();
  ExactSum sums[2];
  for (int side = 0; side < 2; ++side)
    for (int64_t i = 0; i < n; ++i) {
      const double distance = side == 0 ? near[i] : std::min(near[i], far[i]);
      adder->add(weights != nullptr ? weights[i] * distance : distance);
      if ((i + 1) % ExactAdder::kRoom == 0 || i + 1 == n) adder->flush(sums[side]);
    }
  return difference(limbs_of(sums[0]), limbs_of(sums[1]));
}

}  // namespace

RowLanes::RowLanes(const Rows& rows, const double* weights, Metric metric,
                   const ExactKernels& exact)
    : n_(rows.n),
      d_(rows.d),
      tiles_(padded(rows.n) / kLaneRows),
      cosine_(metric == Metric::cosine),
      values_(tiles_ * kLaneRows * d_),
      nearest_(tiles_ * kLaneRows) {
  if (weights != nullptr) {
    weights_.assign(tiles_ * kLaneRows, 0);
    std::copy_n(weights, n_, weights_.data());
  }
  std::vector<double> x;
  for (int64_t tile = 0; tile < tiles_; ++tile) {
    const int64_t first = tile * kLaneRows, count = std::min<int64_t>(kLaneRows, n_ - first);
    double* into = values_.data() + first * d_;
    if (!cosine_ && exact.lanes(rows, first, count, into)) continue;
    x.resize(d_);
    for (int64_t r = 0; r < count; ++r) {
      read_row(rows, first + r, metric, exact, x.data());
      for (int64_t t = 0; t < d_; ++t) into[t * kLaneRows + r] = x[t];
    }
  }
}

// Cycles per row (measured, AVX-512): of lanes, a candidate; of bytes, the row, a candidate, and
// those that have to be measured, fewer with each center.
bool RowLanes::pay(int64_t d, int64_t picks, int64_t m) {
  if (m > kMostLaneCandidates) return false;
  const auto columns = static_cast<double>(d), offered = static_cast<double>(picks * m);
  const double bytes = 100 + 8 * columns + offered * (columns / 128 + 0.3) +
                       60 * static_cast<double>(m) * std::log(static_cast<double>(picks) + 1);
  return offered * (0.3 * columns + 1.5) < bytes;
}

void RowLanes::measure(const ExactCenters& center, const ExactKernels& exact, double* nearest) {
  distances_.resize(tiles_ * kLaneRows);
  double gain;
  exact.lane_gains(rows(), {center.values.data(), 1, nearest_.data(), nullptr, cosine_,
                            distances_.data(), &gain});
  if (center.zero[0] != 0) std::fill(distances_.begin(), distances_.end(), 1.0);
  std::copy_n(distances_.data(), n_, nearest);
}

int64_t RowLanes::best(const ExactCenters& candidates, const std::vector<double>& nearest,
                       const ExactKernels& exact) {
  const int64_t m = candidates.k;
  std::copy(nearest.begin(), nearest.end(), nearest_.begin());
  distances_.resize(m * tiles_ * kLaneRows);
  double gains[kMostLaneCandidates];
  exact.lane_gains(
      rows(), {candidates.values.data(), m, nearest_.data(),
               weights_.empty() ? nullptr : weights_.data(), cosine_, distances_.data(), gains});
  const double* most = std::max_element(gains, gains + m);
  const double error = static_cast<double>(n_ + 8) * 0x1p-52, least = *most * (1 - error);
  const auto same = [&](int64_t a, int64_t b) {
    return std::equal(candidates.row(a), candidates.row(a) + d_, candidates.row(b));
  };
  int64_t found = most - gains;
  std::vector<int64_t> others;
  for (int64_t j = 0; j < m; ++j)
    if (j != found && !(gains[j] * (1 + error) < least) && !same(j, found)) others.push_back(j);
  if (others.empty() && *most < HUGE_VAL) return found;
  others.push_back(found);
  std::sort(others.begin(), others.end());
  const double* weights = weights_.empty() ? nullptr : weights_.data();
  Limbs lowered{};
  found = -1;
  for (const int64_t j : others) {
    const Limbs gain = exact_gain(nearest_.data(), distances(j), weights, n_);
    if (found >= 0 && !greater(gain, lowered)) continue;
    found = j;
    lowered = gain;
  }
  return found;
}

void RowLanes::take(int64_t j, std::vector<double>& nearest, double negligible, int64_t chunk,
                    const ExactKernels& exact, std::vector<double>& sums) {
  exact.lane_take({distances(j), tiles_ * kLaneRows, weights_.empty() ? nullptr : weights_.data(),
                   negligible, chunk, nearest_.data(), sums.data()});
  std::copy_n(nearest_.data(), n_, nearest.begin());
}

// Where all rows fit.
void Seeding::make_lanes(const WeightedRows& given, const ExactKernels& exact) {
  const int64_t n = given.rows.n, d = given.rows.d, bytes = RowLanes::bytes(n, d);
  if (given.sparse != nullptr || !RowLanes::fit(n, d) || bytes > room_) return;
  room_ -= bytes;
  lanes_ = std::make_unique<RowLanes>(given.rows, given.weights, metric_, exact);
}

int64_t Seeding::pick_in_lanes(const WeightedRows& given, const uint64_t* draws, int64_t picks,
                               int64_t m, const Target& target, int64_t* picked) {
  std::vector<int64_t> found(m);
  lane_sums_.resize(sums_.size());
  int64_t number = 0;
  for (; number < picks; ++number) {
    if (!draw(given.weights, draws + number * m, m, found.data())) break;
    const ExactCenters candidates(given.rows, found, metric_, target.exact);
    const int64_t best = lanes_->best(candidates, nearest_, target.exact);
    lanes_->take(best, nearest_, negligible_, kChunkRows, target.exact, lane_sums_);
    behind_ = true;
    picked[number] = found[best];
  }
  if (behind_) add_up(given.weights);
  falls_complete_ = false;
  return number;
}

}  // namespace shoal
