#include "core/assign/decide.h"

#include <algorithm>
#include <limits>
#include <numeric>

namespace shoal {
namespace {

constexpr int64_t kHitCapacity = 4096;
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr double kUp = 1 + 0x1p-20, kDown = 1 - 0x1p-20;  // cover the rounding to float32, too

}  // namespace

Decider::Decider(const ScreenPass& pass)
    : pass_(pass), kernels_(pass.target.tile), d_(pass.rows.d), row_(d_) {}

int64_t Decider::decide(Item& item, TileReader& reader) {
  for (const Candidates& list : item.listed) {
    if (list.count == 0)
      item.open[item.open_count++] = list.slot;
    else
      measure(item, list.slot, list.center, list.count, item.far[list.slot]);
  }
  item.listed.clear();
  const int64_t count = item.open_count, k = pass_.filter->k();
  item.open_count = 0;
  if (k <= kFewCenters && pass_.centers.metric != Metric::cosine) {
    int32_t all[kFewCenters];
    std::iota(all, all + kFewCenters, 0);
    for (int64_t o = 0; o < count; ++o)
      measure(item, item.open[o], all, k, -kInfinity);  // there are no others
    return count;
  }
  for (int64_t at = 0; at < count; at += kernels_.narrow)
    look_again(item, item.open + at, std::min<int64_t>(kernels_.narrow, count - at), reader);
  return count;
}

// Measures some centers; all others have scores below `far`.
void Decider::measure(Item& item, int64_t slot, const int32_t* centers, int64_t count, float far) {
  double distances[kCandidates];
  static_assert(kFewCenters <= kCandidates);
  Rows row = pass_.rows;
  row.data = row.row(item.row_of(slot));
  row.row_stride = 0;
  pass_.centers.distances(row, 0, count, centers, pass_.target.exact, distances, row_.data());
  Nearest found;
  found.center = centers[0];
  for (int64_t c = 0; c < count; ++c) found.add(centers[c], distances[c]);
  settle(item, slot, found, far);
}

// Measures every center that float32 cannot exclude, for the rows in these slots.
void Decider::look_again(Item& item, const int32_t* slots, int64_t count, TileReader& reader) {
  tile_.resize(static_cast<int64_t>(kernels_.narrow) * d_);
  exact_rows_.resize(tile_.size());
  hit_lane_.resize(kHitCapacity + kernels_.narrow * kernels_.group);
  hit_center_.resize(hit_lane_.size());
  float norm2[kMostLanes], threshold[kMostLanes], far[kMostLanes];
  int64_t row[kMostLanes];
  Nearest found[kMostLanes];
  bool directed[kMostLanes];
  for (int64_t p = 0; p < count; ++p) {
    row[p] = item.row_of(slots[p]);
    directed[p] = read_row(pass_.rows, row[p], pass_.centers.metric, pass_.target.exact,
                           exact_rows_.data() + p * d_);
  }
  reader.load(row, count, kernels_.narrow, tile_.data(), norm2);
  for (int64_t p = 0; p < kernels_.narrow; ++p) {
    const float error = 1.01f * pass_.filter->error(norm2[p]);
    threshold[p] = p < count ? item.near[slots[p]] - error : kInfinity;
    far[p] = threshold[p] + error;  // of those whose packed score is below the threshold
  }
  add_hits(threshold, count, directed, found);
  for (int64_t p = 0; p < count; ++p) {
    const int32_t slot = slots[p];
    item.norm2[slot] = norm2[p];
    settle(item, slot, found[p], far[p]);
    if (!directed[p]) {  // settled for good
      item.upper[slot] = 0;
      item.lower[slot] = kInfinity;
    }
  }
}

void Decider::add_hits(const float* threshold, int64_t count, const bool* directed,
                       Nearest* found) {
  const PackedCenters packed = pass_.filter->packed();
  const int64_t groups = (packed.k + kernels_.group - 1) / kernels_.group;
  for (int64_t group = 0; group < groups;) {
    Hits hits{hit_lane_.data(), hit_center_.data(), static_cast<int64_t>(hit_lane_.size()), 0};
    group = kernels_.hits(tile_.data(), packed, group, threshold, &hits);
    for (int64_t h = 0; h < hits.size; ++h) {
      const int32_t p = hits.lane[h];
      if (p >= count || !directed[p]) continue;
      found[p].add(hits.center[h], pass_.centers.distance(exact_rows_.data() + p * d_, true,
                                                          hits.center[h], pass_.target.exact));
    }
  }
}

// The label of a row whose nearest centers are found, and its bounds; distances are those that
// users see, and all other centers have scores below `far`.
void Decider::settle(Item& item, int64_t slot, const Nearest& found, float far) const {
  item.index[slot] = found.center;
  if (pass_.keeper == nullptr) return;
  const double scale = pass_.filter->space().scale();
  const double chord = pass_.centers.metric == Metric::cosine ? 2 : 1;
  const TileBound& bound = pass_.filter->bound();
  const double norm2 = static_cast<double>(item.norm2[slot]);
  const double others =
      norm2 * (1 - static_cast<double>(bound.norm) - 0x1p-20) - 2 * static_cast<double>(far);
  const double beyond = (others > 0 ? std::sqrt(others) : 0) - static_cast<double>(bound.offset);
  const double above = std::sqrt(found.nearest * chord) * scale * kUp + 0x1p-120;
  const double below = std::min(std::sqrt(found.second * chord) * scale, beyond) * kDown - 0x1p-120;
  item.upper[slot] = above < 0x1p127 ? static_cast<float>(above) : kInfinity;
  item.lower[slot] = below < 0x1p127 ? static_cast<float>(below) : 0x1p127f;
}

}  // namespace shoal
