// Drawing rows by what they weigh (seeding.h). A draw is decided in float64 where its error cannot
// matter, else by exact sums.
//
// Chunks of rows have exact sums S_c. Their float64 values, and running sums of these and of the
// rows of one chunk, are all off by less than (chunks + 600) 2^-52 of the total: each of at most
// chunks + kChunkRows additions by 2^-53 of its result, each S_c by 2^-50 of itself. A row is the
// drawn one if the target is by more than twice that above what precedes it, and below what it
// ends. (Sums of chunks in float64, by lanes, are off by kChunkRows 2^-53 instead: still less.)
// That leaves one draw in 10^8 to the exact sums, for 10^5 rows.
#include <algorithm>

#include "core/base/limbs.h"
#include "core/seeding/seeding.h"

namespace shoal {

ExactSum Seeding::total() const {
  ExactSum sum;
  for (const ExactSum& chunk : sums_) sum.merge(chunk);
  return sum;
}

void Seeding::find(const double* weights, const Limbs* targets, int64_t m, int64_t* found) const {
  std::fill_n(found, m, int64_t{-1});
  std::vector<int> top(m);
  for (int64_t j = 0; j < m; ++j) top[j] = top_of(targets[j]);
  const ExactSum all = total();
  const int lowest = all.lowest(), highest = all.highest();  // all others are 0
  ExactSum sum;
  Limbs before{}, now{};
  int64_t left = m;
  for (size_t chunk = 0; chunk < sums_.size() && left > 0; ++chunk) {
    sum.merge(sums_[chunk]);
    sum.limbs_between(lowest, highest, now.data());
    const int top_now = top_of(now, highest);
    for (int64_t j = 0; j < m; ++j) {
      if (found[j] >= 0 || !greater(now, top_now, targets[j], top[j])) continue;
      ExactRest rest(difference(targets[j], before).data());
      int64_t i = static_cast<int64_t>(chunk) * kChunkRows;
      while (rest.take(mass(weights, i))) ++i;
      found[j] = i;
      --left;
    }
    std::copy(now.begin() + lowest, now.begin() + highest, before.begin() + lowest);
  }
}

int64_t Seeding::find_surely(const double* weights, double target, double error) const {
  const auto after = std::upper_bound(running_.begin(), running_.end(), target - error);
  if (after == running_.end()) return -1;
  const auto chunk = static_cast<int64_t>(after - running_.begin());
  const int64_t n = static_cast<int64_t>(nearest_.size());
  int64_t i = chunk * kChunkRows;
  const int64_t end = std::min(n, i + kChunkRows);
  double before = chunk > 0 ? running_[chunk - 1] : 0;
  constexpr int64_t kBlock = 16;
  for (; i + kBlock <= end; i += kBlock) {
    double part[4] = {};
    for (int64_t b = 0; b < kBlock; ++b) part[b % 4] += mass(weights, i + b);
    const double block = (part[0] + part[1]) + (part[2] + part[3]);
    if (before + block >= target - error) break;
    before += block;
  }
  for (; i < end; ++i) {
    const double now = before + mass(weights, i);
    if (now > target + error) return before < target - error ? i : -1;
    before = now;
  }
  return -1;
}

bool Seeding::draw(const double* weights, const uint64_t* draws, int64_t m, int64_t* found) {
  running_.resize(sums_.size());
  double sum = 0;
  for (size_t chunk = 0; chunk < sums_.size(); ++chunk)
    running_[chunk] = sum += behind_ ? lane_sums_[chunk] : sums_[chunk].rounded();
  const double error = sum * (static_cast<double>(sums_.size()) + 600) * 0x1p-52;
  const bool usable = sum > 0x1p-800 && sum < 0x1p900;
  std::optional<Limbs> all;
  for (int64_t j = 0; j < m; ++j) {
    found[j] =
        usable ? find_surely(weights, sum * 0x1p-53 * static_cast<double>(draws[j]), error) : -1;
    if (found[j] >= 0) continue;
    if (behind_) add_up(weights);
    if (!all) all = limbs_of(total());
    if (*all == Limbs{}) return false;
    const Limbs target = share_of(*all, draws[j]);
    find(weights, &target, 1, found + j);
  }
  return true;
}

}  // namespace shoal
