// The part of a worker that uses the int8 screen (int8.h).
#include <algorithm>
#include <limits>

#include "core/assign/worker.h"

namespace shoal {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kMostNorm2 = 0x1p100f;  // of points that bytes can screen

// Where rows are wide, sums that stay in the cache are cheaper than multiplying a panel again.
constexpr int64_t kWideQuads = 20, kKeptPanels = 64;

}  // namespace

void Worker::make_room_for_int8() {
  const Int8Centers& centers = step_.int8->centers();
  words_.resize(padded_quads(centers.quads) * kernels_.tile);
  panels_.resize(centers.panels * kernels_.tile);
  if (step_.target.int8->blocks && centers.quads >= kWideQuads && centers.panels <= kKeptPanels)
    sums_.resize(centers.panels * kPanel * kernels_.tile);
  open_lists_.resize(kItemRows);
  dequantized_.resize(centers.stride);
  if (step_.codes != nullptr) finer_.resize(centers.quads * kernels_.tile);
}

Int8Points Worker::int8_points() {
  return {
      words_.data(), finer_.empty() ? nullptr : finer_.data(), start_, scale_, residual_, length_,
      other_};
}

// Bytes of `count` active rows from slot `at` on, as they were kept or from the rows.
void Worker::load_int8(int64_t at, int64_t count) {
  const Int8Kernels& screen = *step_.target.int8;
  const Int8Points points = int8_points();
  const int64_t quads = step_.int8->centers().quads;
  int64_t row[kMostLanes];
  for (int64_t p = 0; p < count; ++p) row[p] = row_of(at + p);
  if (step_.codes != nullptr && step_.keeper->coded()) {
    screen.take(*step_.codes, quads, row, count, points, norm2_ + at);
    for (int64_t p = at + count; p < std::min(at + count + kernels_.tile, active_count_); ++p)
      fetch(row_of(p), Part::int8);  // of the next tile
    return;
  }
  make_room_for_tiles();
  load(active_ + at, count, kernels_.tile, points_.data(), norm2_ + at);
  screen.round(points_.data(), norm2_ + at, d_, points);
  if (step_.codes != nullptr) screen.put(points, norm2_ + at, quads, row, count, *step_.codes);
}

// Labels of one tile of active rows by the int8 screen; false where it excludes too little.
bool Worker::screen_tile(int64_t at, int64_t count) {
  const Int8Kernels& screen = *step_.target.int8;
  const Int8Points points = int8_points();
  load_int8(at, count);
  const Int8Centers& centers = step_.int8->centers();
  const Sweep sweep{panels_.data(), threshold_, sums_.empty() ? nullptr : sums_.data()};
  screen.sweep(points, norm2_ + at, step_.filter->bound(), centers, sweep);
  if (!screen.shortlist(points, centers, sweep, count, looks_, lists_, far_ + at)) return false;
  std::copy_n(threshold_, kernels_.tile, near_ + at);
  int32_t open = open_count_;
  int64_t lost = 0;
  for (int64_t p = 0; p < count; ++p) {
    const bool screened = norm2_[at + p] >= 0 && norm2_[at + p] < kMostNorm2;
    if (!screened) near_[at + p] = -kInfinity;  // left to be measured
    index_[at + p] = centers.index[lists_[p].place[0]];
    if (screened && lists_[p].count == 1) continue;
    open_[open] = static_cast<int32_t>(at + p);
    open_other_[open] = other_[p];
    open_lists_[open] = lists_[p];
    if (!screened) open_lists_[open].count = 0;
    lost += !screened || lists_[p].count > kCandidates;
    ++open;
  }
  if (lost > count / 4) return false;
  for (; open_count_ < open; ++open_count_)
    fetch(row_of(open_[open_count_]), step_.codes != nullptr ? Part::finer : Part::row);
  return true;
}

// Shortens the lists of rows with several candidates by what is kept of their residuals.
void Worker::resolve() {
  int32_t open = 0;
  for (int32_t o = 0; o < open_count_; ++o) {
    const int32_t slot = open_[o];
    Shortlist& list = open_lists_[o];
    if (step_.codes != nullptr && list.count > 1 && list.count <= kCandidates) {
      const Int8Centers& centers = step_.int8->centers();
      step_.target.int8->compare(*step_.codes, centers, row_of(slot), open_other_[o],
                                 dequantized_.data(), list, near_[slot], far_[slot]);
      index_[slot] = centers.index[list.place[0]];
      if (list.count == 1) continue;
      fetch(row_of(slot), Part::row);
    }
    open_[open] = slot;
    open_lists_[open++] = list;
  }
  open_count_ = open;
}

// Measures the candidates of rows with several.
void Worker::measure_open() {
  for (int32_t o = 0; o < open_count_; ++o) choose_candidate(open_[o], open_lists_[o]);
}

// The nearest of several candidates.
void Worker::choose_candidate(int64_t slot, const Shortlist& list) {
  if (list.count == 0 || list.count > kCandidates) {
    unsure_[unsure_count_++] = static_cast<int32_t>(slot);
    return;
  }
  int32_t centers[kCandidates];
  double distances[kCandidates];
  for (int32_t c = 0; c < list.count; ++c) centers[c] = step_.int8->centers().index[list.place[c]];
  Rows row = step_.rows;
  row.data = row.row(row_of(slot));
  row.row_stride = 0;
  step_.centers.distances(row, 0, list.count, centers, step_.target.exact, distances, row_.data());
  double nearest = std::numeric_limits<double>::infinity(), second = nearest;
  for (int32_t c = 0; c < list.count; ++c) {
    const int32_t center = centers[c];
    const double distance = distances[c];
    second = std::min(second, std::max(distance, nearest));
    if (distance < nearest || (distance == nearest && center < index_[slot])) {
      nearest = distance;
      index_[slot] = center;
    }
  }
  bound_slot(slot, nearest, second, far_[slot]);
}

}  // namespace shoal
