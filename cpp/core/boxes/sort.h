// Putting rows in the order of boxes: one thread's buffers, and the work on one part of the rows.
#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/boxes/boxes.h"

namespace shoal {

inline constexpr int64_t kPartRows = 4096;  // the most rows of a part

// Rows as float32 columns, through the tile loader.
class BoxLoader {
 public:
  BoxLoader(const Rows& rows, Metric metric, const Target& target)
      : rows_(rows),
        metric_(metric),
        target_(target),
        tile_(rows.d * target.tile.tile),
        norm2_(target.tile.tile),
        pointers_(target.tile.tile) {}

  int width() const { return target_.tile.tile; }
  float* tile() { return tile_.data(); }

  // Fills the tile; whether rows were brought to length one by float32. If space.unit is false or
  // cannot be, float64 does it, under cosine.
  template <class Place>
  bool load(int64_t count, FilterSpace space, const Place& place) {
    for (int64_t p = 0; p < count; ++p) pointers_[p] = rows_.row(place(p));
    const TileRows rows{pointers_.data(), count, rows_.dtype, rows_.col_stride, rows_.d};
    const auto fill = [&](const TileRows& from) {
      return target_.tile.load(from, space, width(), tile_.data(), norm2_.data());
    };
    if ((metric_ != Metric::cosine || space.unit) && fill(rows)) return space.unit;
    space.unit = false;
    unit_.resize(rows_.d * width());
    for (int64_t p = 0; p < count; ++p) {
      double* row = unit_.data() + p * rows_.d;
      read_row(rows_, place(p), metric_, target_.exact, row);
      pointers_[p] = reinterpret_cast<const char*>(row);
    }
    fill({pointers_.data(), count, Dtype::float64, 8, rows_.d});
    return false;
  }

 private:
  const Rows& rows_;
  Metric metric_;
  const Target& target_;
  Aligned<float> tile_, norm2_;
  std::vector<double> unit_;
  std::vector<const char*> pointers_;
};

// Rows that are put in order at a time.
struct BoxPart {
  int64_t slot, rows, box;
};

// One thread's buffers, and the work on one part: splits it down to boxes.
class BoxSorter {
 public:
  explicit BoxSorter(Boxes& boxes)
      : boxes_(boxes),
        kernels_(*boxes.target_.boxes),
        d_(boxes_.rows_.d),
        loader_(boxes_.rows_, boxes_.metric_, boxes_.target_),
        buffers_{std::vector<uint32_t>((d_ + 1) * kRoom), std::vector<uint32_t>((d_ + 1) * kRoom)},
        left_(kRoom) {}

  // Fills in the boxes of a part, and adds its superboxes; false where float32 cannot hold it.
  bool run(const BoxPart& part, std::vector<Superbox>& supers) {
    part_ = part;
    supers_ = &supers;
    if (!load()) return false;
    split(0, part.rows, 0, part.rows + kSuperRows);
    return true;
  }

 private:
  static constexpr int64_t kRoom = kPartRows + 64;  // the loader fills whole tiles
  static constexpr float kNarrow = 0x1p-9f;
  static constexpr int64_t kClose = 8;  // rows that may go to either side
  static constexpr int kStill = 4;      // rounds without an effect before giving up

  // Rows of the part relative to its first; false where float32 cannot hold them.
  bool load() {
    const bool cosine = boxes_.metric_ == Metric::cosine;
    double first[kMostBoxColumns];
    float origin32[kMostBoxColumns + 16] = {};
    read_row(boxes_.rows_, boxes_.order_[part_.slot], boxes_.metric_, boxes_.target_.exact, first);
    for (int64_t t = 0; t < d_; ++t) {
      origin32[t] = static_cast<float>(first[t] * boxes_.scale_);
      origin_[t] = static_cast<double>(origin32[t]);
      if (!(std::fabs(origin32[t]) < kBoxFarthest)) return false;
    }
    FilterSpace space{boxes_.scale_, origin_, origin32, static_cast<float>(boxes_.scale_), cosine};
    float width = fill(space);
    if (cosine && width < kNarrow) {  // where the error of float32's unit rows would matter
      space.unit = false;
      width = fill(space);
    }
    return width < kBoxFarthest;
  }

  // Loads the part; returns the largest width of a column, or infinity. Sets error_.
  float fill(const FilterSpace& space) {
    const int32_t* order = boxes_.order_.get() + part_.slot;
    const int width = loader_.width();
    bool unit = false;
    for (int64_t i = 0; i < part_.rows; i += width) {
      const int64_t some = std::min<int64_t>(width, part_.rows - i);
      unit |= loader_.load(some, space, [&](int64_t p) { return order[i + p]; });
      for (int64_t t = 0; t < d_; ++t)
        std::copy_n(loader_.tile() + t * width, width, points(0) + t * kRoom + i);
    }
    std::copy_n(order, part_.rows, rows(0));
    float low[kMostBoxColumns], high[kMostBoxColumns], widest = 0, farthest = 0;
    kernels_.range(points(0), kRoom, d_, part_.rows, low, high);
    for (int64_t t = 0; t < d_; ++t) {
      widest = std::max(widest, high[t] - low[t]);
      farthest = std::max({farthest, high[t], -low[t]});
    }
    // Of a coordinate: its rounding and, as in filter.h, that of bringing a row to length one.
    constexpr double kUnit = 0x1p-24;
    const double of_unit = unit ? (static_cast<double>(d_) / 8 + 14) * boxes_.scale_ : 0;
    error_ =
        static_cast<float>(1.02 * kUnit * (static_cast<double>(farthest) + of_unit)) + 0x1p-140f;
    return farthest < kBoxFarthest ? widest : std::numeric_limits<float>::infinity();
  }

  // Splits `count` rows from place `begin` of buffer `from` on, which are part of `parent` rows.
  void split(int64_t begin, int64_t count, int from, int64_t parent) {
    float low[kMostBoxColumns], high[kMostBoxColumns];
    int column = 0;
    kernels_.range(points(from) + begin, kRoom, d_, count, low, high);
    for (int t = 1; t < d_; ++t)
      if (high[t] - low[t] > high[column] - low[column]) column = t;
    if (count <= kSuperRows && parent > kSuperRows) add_super(begin, count, low, high);
    if (count <= kBoxRows && parent > kBoxRows) add_box(begin, low, high);
    if (count <= (d_ < kFineColumns ? kBoxRows : kFineRows)) {
      add_rows(begin, count, from);
      return;
    }
    const int64_t grain = count > kBoxRows ? kBoxRows : kFineRows;
    const int64_t left = divide(begin, count, grain, from, column, low[column], high[column]);
    const int to = high[column] > low[column] ? 1 - from : from;
    split(begin, left, to, count);
    split(begin + left, count - left, to, count);
  }

  // Moves the rows below the middle of the range, to a multiple of `grain`, to the front, in the
  // other buffer; returns how many.
  int64_t divide(int64_t begin, int64_t count, int64_t grain, int from, int column, float low,
                 float high) {
    const int64_t grains = (count + grain - 1) / grain;
    if (!(high > low)) return grains / 2 * grain;
    const float* values = points(from) + column * kRoom + begin;
    // `before` rows are below `low`, `within` below `high`; of those between, any will do.
    float limit = low + (high - low) / 2;
    int64_t rows = kernels_.below(values, count, limit);
    const int64_t target = std::clamp<int64_t>((rows + grain / 2) / grain, 1, grains - 1) * grain;
    int64_t before = 0, within = count;
    float outside = std::numeric_limits<float>::infinity();
    for (int round = 1, still = 0;; ++round) {
      const bool none_below = rows == before, none_above = rows == within;
      still = none_below || none_above ? still + 1 : 0;
      if (rows <= target) low = limit, before = rows;
      if (rows >= target) high = outside = limit, within = rows;
      if (within - before <= grain / kClose || still == kStill) break;
      // As if rows were spread evenly, and halves, by turns; where that found no row, most are
      // near the other end.
      float part = round % 2 == 0
                       ? 0.5f
                       : static_cast<float>(target - before) / static_cast<float>(within - before);
      if (still > 0) part = std::ldexp(1.0f, -5 * still);
      limit = none_below && still > 0 ? high - (high - low) * part : low + (high - low) * part;
      if (!(limit > low && limit < high)) break;
      rows = kernels_.below(values, count, limit);
    }
    kernels_.part(values, count, low, outside, target - before, buffers_[from].data() + begin,
                  buffers_[1 - from].data() + begin, kRoom, d_ + 1, left_.data());
    return target;
  }

  // Columns of a buffer, kRoom apart: the points, then the rows.
  float* points(int buffer) { return reinterpret_cast<float*>(buffers_[buffer].data()); }
  int32_t* rows(int buffer) {
    return reinterpret_cast<int32_t*>(buffers_[buffer].data() + d_ * kRoom);
  }

  void add_box(int64_t begin, const float* low, const float* high) {
    float* middle = boxes_.extents_.get() + (part_.box + begin / kBoxRows) * 2 * d_;
    for (int64_t t = 0; t < d_; ++t)
      box_extent(low[t], high[t], error_, &middle[t], &middle[d_ + t]);
  }

  // Rows of a box to their final place; copies of one fill the last box.
  void add_rows(int64_t begin, int64_t count, int from) {
    std::copy_n(rows(from) + begin, count, boxes_.order_.get() + part_.slot + begin);
    const int64_t first = begin % kBoxRows, box = part_.box + begin / kBoxRows;
    const int64_t empty = begin + count == part_.rows ? kBoxRows - first - count : 0;
    float* kept = boxes_.points_.get() + box * kBoxRows * d_ + first;
    for (int64_t t = 0; t < d_; ++t) {
      const float* source = points(from) + t * kRoom + begin;
      std::copy_n(source, count, kept + t * kBoxRows);
      std::fill_n(kept + t * kBoxRows + count, empty, source[0]);
    }
  }

  void add_super(int64_t begin, int64_t count, const float* low, const float* high) {
    Superbox super{};
    super.slot = part_.slot + begin;
    super.rows = count;
    super.box = part_.box + begin / kBoxRows;
    super.error = error_;
    double squares = 0;
    for (int64_t t = 0; t < d_; ++t) {
      super.origin[t] = origin_[t];
      const double middle = (static_cast<double>(low[t]) + static_cast<double>(high[t])) / 2;
      const double here = middle + origin_[t] - boxes_.shift_[t];
      super.middle[t] = static_cast<float>(here);
      const double moved = std::fabs(static_cast<double>(super.middle[t]) - here) +
                           0x1p-50 * (std::fabs(here) + std::fabs(origin_[t]));
      super.half[t] = box_reach(
          static_cast<float>((static_cast<double>(high[t]) - middle + moved) * (1 + 0x1p-22)),
          error_);
      squares += static_cast<double>(super.half[t]) * static_cast<double>(super.half[t]);
    }
    super.size = static_cast<float>(std::sqrt(squares) * (1 + 0x1p-20));
    supers_->push_back(super);
  }

  Boxes& boxes_;
  const BoxKernels& kernels_;
  const int64_t d_;
  BoxLoader loader_;
  BoxPart part_{};
  std::vector<Superbox>* supers_ = nullptr;
  float error_ = 0;                           // of the coordinates in the buffers
  double origin_[kMostBoxColumns + 16] = {};  // readable as far by the tile loader
  // Two buffers, from one to the other at each split:
  std::vector<uint32_t> buffers_[2];  // [d + 1][kRoom], points and rows
  std::vector<uint16_t> left_;        // [kRoom / lanes], of what is split, a bit each
};

}  // namespace shoal
