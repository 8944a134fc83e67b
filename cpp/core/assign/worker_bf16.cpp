// The part of a worker that uses the bfloat16 screen (bf16.h).
#include <algorithm>
#include <utility>

#include "core/assign/worker.h"

namespace shoal {

// Best center of one tile of active rows by bfloat16, and which rows that leaves open.
void Worker::sweep_bf16(int64_t at, int64_t count) {
  const Bf16Kernels& screen = *step_.target.bf16;
  const Bf16Points points{words_.data(), residual_};
  const int64_t pairs = (d_ + 1) / 2;
  int64_t row[kMostLanes];
  for (int64_t p = 0; p < count; ++p) row[p] = row_of(at + p);
  if (step_.bf16_codes != nullptr && step_.keeper->coded()) {
    screen.take(*step_.bf16_codes, pairs, row, count, points, norm2_ + at);
    for (int64_t p = at + count; p < std::min(at + count + kernels_.tile, active_count_); ++p)
      ahead(row_of(p), Part::bf16);  // of the next tile
  } else {
    make_room_for_tiles();
    load(active_ + at, count, kernels_.tile, points_.data(), norm2_ + at);
    screen.round(points_.data(), d_, points);
    if (step_.bf16_codes != nullptr)
      screen.put(points, norm2_ + at, pairs, row, count, *step_.bf16_codes);
  }
  int32_t* open = open_ + open_count_;
  const int64_t found =
      screen.sweep(points, norm2_ + at, step_.filter->bound(), step_.bf16->centers(), count,
                   {near_ + at, far_ + at, index_ + at}, open, ahead_);
  for (int64_t o = 0; o < found; ++o) {
    open[o] += static_cast<int32_t>(at);
    ahead(row_of(open[o]), Part::row);
  }
  open_count_ += static_cast<int32_t>(found);
}

// Brings the open slots behind all others, where float32 filters them.
void Worker::filter_open() {
  const int64_t behind = active_count_ - open_count_;
  int32_t inside = open_count_;  // of the open slots, those behind already
  while (inside > 0 && open_[inside - 1] >= behind) --inside;
  int32_t next = inside;
  int64_t slot = behind;
  for (int32_t o = 0; o < inside; ++o, ++slot) {
    for (; next < open_count_ && open_[next] == slot; ++next) ++slot;
    const int32_t at = open_[o];
    std::swap(active_[at], active_[slot]);
    near_[at] = near_[slot];
    far_[at] = far_[slot];
    norm2_[at] = norm2_[slot];
    index_[at] = index_[slot];
  }
  ahead_.fetch(kMostAhead);
  const int64_t chunk = tiles_ * kernels_.tile;
  for (int64_t at = behind; at < active_count_; at += chunk)
    filter_chunk(at, std::min(chunk, active_count_ - at));
  open_count_ = 0;
}

}  // namespace shoal
