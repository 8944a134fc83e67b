// One thread's part of the assignment step (assign.h): its buffers, and the work on an item of
// rows.
#pragma once
#include <algorithm>
#include <limits>
#include <vector>

#include "assign.h"
#include "bounds.h"
#include "bytes.h"
#include "exact_sum.h"
#include "filter.h"
#include "sums.h"

namespace shoal {

inline constexpr int64_t kItemRows = 1024;  // rows a thread takes at a time
static_assert(kItemRows <= ExactAdder::kRoom);
inline constexpr int64_t kCacheBytes = 256 * 1024;  // of tiles, and of centers, kept in L2
inline constexpr int kMostLanes = 64;               // of any target's tile
inline constexpr int64_t kHitCapacity = 4096;
inline constexpr int64_t kEvents = 1024;
inline constexpr int64_t kMostByteColumns = 16384;  // beyond, sums of bytes could leave 32 bits

struct Step {
  const Rows& rows;
  const double* weights;
  const ExactCenters& centers;
  const Filter& filter;
  const Target& target;
  int32_t* labels;
  double* distances;
  float* lower;             // null: no memory
  const Bounds* bounds;     // null: nothing is known yet
  SharedSums* sums;         // null: not wanted
  const ByteFilter* bytes;  // null: float32 filters
};

// One thread's buffers, and the work on one item of rows.
class Worker {
 public:
  Worker(const Step& step, int number)
      : step_(step),
        number_(number),
        kernels_(step.target.tile),
        d_(step.rows.d),
        tiles_(std::clamp<int64_t>(kCacheBytes / (4 * d_ * kernels_.tile), 1,
                                   kItemRows / kernels_.tile)),
        points_(tiles_ * kernels_.tile * d_),
        unit_rows_(cosine() ? kernels_.tile * d_ : 0),
        again_(static_cast<int64_t>(kernels_.narrow) * d_),
        row_(2 * d_ + 1),
        hit_lane_(kHitCapacity + kernels_.narrow * kernels_.group),
        hit_center_(hit_lane_.size()) {
    if (step.bytes == nullptr) return;
    words_.resize(step.bytes->quads() * kernels_.tile);
    events_.resize(kEvents);
  }

  Assignment result;

  void run(int64_t begin, int64_t end) {
    begin_ = begin;
    count_ = static_cast<int32_t>(end - begin);
    choose_active();
    unsure_count_ = 0;
    const int64_t chunk = step_.bytes != nullptr ? kernels_.tile : tiles_ * kernels_.tile;
    for (int64_t at = 0; at < active_count_; at += chunk) {
      const int64_t count = std::min(chunk, active_count_ - at);
      if (step_.bytes == nullptr || !screen_tile(at, count)) filter_chunk(at, count);
    }
    for (int64_t at = 0; at < unsure_count_; at += kernels_.narrow)
      look_again(unsure_ + at, std::min<int64_t>(kernels_.narrow, unsure_count_ - at));
    settle();
  }

 private:
  bool cosine() const { return step_.centers.metric == Metric::cosine; }

  // The places, within the item, of the rows whose label is not settled by their bound.
  void choose_active() {
    active_count_ = 0;
    if (step_.bounds == nullptr) {
      for (int32_t p = 0; p < count_; ++p) active_[active_count_++] = p;
      return;
    }
    std::copy_n(step_.labels + begin_, count_, label_);
    measure(0, count_);
    for (int32_t p = 0; p < count_; ++p) {
      float& lower = step_.lower[begin_ + p];
      lower = step_.bounds->moved(lower, label_[p], distance_[p]);
      active_[active_count_] = p;
      active_count_ += !step_.bounds->settles(lower, distance_[p]);
    }
    result.kept += count_ - active_count_;
  }

  // Loads rows into one tile. place(p): of the row in lane p, within the item.
  template <class Place>
  void load(const Place& place, int64_t count, int width, float* tile, float* norm2) {
    const char* pointers[kMostLanes];
    if (!cosine()) {
      for (int64_t p = 0; p < count; ++p) pointers[p] = step_.rows.row(begin_ + place(p));
      const TileRows tile_rows{pointers, count, step_.rows.dtype, step_.rows.col_stride, d_};
      kernels_.load(tile_rows, step_.filter.space(), width, tile, norm2);
      return;
    }
    for (int64_t p = 0; p < count; ++p) {
      double* unit = unit_rows_.data() + p * d_;
      read_row(step_.rows, begin_ + place(p), Metric::cosine, step_.target.exact, unit);
      pointers[p] = reinterpret_cast<const char*>(unit);
    }
    const TileRows tile_rows{pointers, count, Dtype::float64, 8, d_};
    kernels_.load(tile_rows, step_.filter.space(), width, tile, norm2);
  }

  // Best and second of `count` active rows from slot `at` on, and which of them are unsure.
  void filter_chunk(int64_t at, int64_t count) {
    const int width = kernels_.tile;
    const int64_t tiles = (count + width - 1) / width;
    for (int64_t i = 0; i < tiles; ++i) {
      const int64_t first = i * width;
      load([&](int64_t p) { return active_[at + first + p]; },
           std::min<int64_t>(width, count - first), width, points_.data() + first * d_,
           norm2_ + at + first);
    }
    const float lowest = -std::numeric_limits<float>::infinity();
    std::fill_n(best_ + at, tiles * width, lowest);
    std::fill_n(second_ + at, tiles * width, lowest);
    std::fill_n(index_ + at, tiles * width, 0);
    const PackedCenters packed = step_.filter.packed();
    const int64_t block =
        std::max<int64_t>(1, kCacheBytes / (4 * d_ * kernels_.group)) * kernels_.group;
    for (int64_t j = 0; j < packed.k; j += block)
      for (int64_t i = 0; i < tiles; ++i) {
        const int64_t first = at + i * width;
        kernels_.best(points_.data() + i * width * d_, packed, j, std::min(j + block, packed.k),
                      {best_ + first, second_ + first, index_ + first});
      }
    int32_t* unsure = unsure_ + unsure_count_;
    const int64_t found = kernels_.unsure({best_ + at, second_ + at, index_ + at}, norm2_ + at,
                                          step_.filter.bound(), count, unsure);
    for (int64_t u = 0; u < found; ++u) unsure[u] += static_cast<int32_t>(at);
    unsure_count_ += found;
  }

  // Labels of one tile of active rows by the int8 screen; false where it excludes too little.
  bool screen_tile(int64_t at, int64_t count) {
    const ByteKernels& screen = *step_.target.bytes;
    const int width = kernels_.tile;
    load([&](int64_t p) { return active_[at + p]; }, count, width, points_.data(), norm2_ + at);
    float scale[kMostLanes], length[kMostLanes], residual[kMostLanes];
    float other[kMostLanes], threshold[kMostLanes];
    const BytePoints points{words_.data(), scale, length, residual};
    screen.round(points_.data(), norm2_ + at, d_, points);
    const float unreachable = std::numeric_limits<float>::infinity();
    screened_ = 0;
    for (int64_t p = 0; p < width; ++p) {
      other[p] = step_.filter.error(norm2_[at + p]);
      threshold[p] = unreachable;
      if (p >= count) continue;
      second_[at + p] = unreachable;       // of the others, nothing is known
      if (!(norm2_[at + p] < 0x1p100f)) {  // left to be measured
        best_[at + p] = -unreachable;
        unsure_[unsure_count_++] = static_cast<int32_t>(at + p);
        continue;
      }
      screened_ |= uint64_t{1} << p;
      threshold[p] =
          step_.bounds == nullptr
              ? -unreachable
              : step_.filter.score_at(distance_[active_[at + p]] * chord_scale(), norm2_[at + p]);
    }
    const ByteCenters centers = step_.bytes->centers();
    const int64_t groups = (centers.k + kernels_.group - 1) / kernels_.group;
    int64_t size = 0;
    for (int64_t group = 0; group < groups;) {
      group =
          screen.screen(points, centers, group, other, threshold, events_.data(), kEvents, &size);
      if (group == groups) break;
      size = prune(threshold, size);
      if (size > kEvents / 2) {
        unsure_count_ -= count - __builtin_popcountll(screened_);
        return false;
      }
    }
    choose_candidates(at, prune(threshold, size));
    return true;
  }

  // Keeps the events of screened lanes that still reach the threshold in some lane; returns how
  // many.
  int64_t prune(const float* threshold, int64_t size) {
    int64_t kept = 0;
    for (int64_t e = 0; e < size; ++e) {
      Event& event = events_[e];
      uint32_t still = 0;
      for (uint32_t lanes = event.lanes; lanes != 0; lanes &= lanes - 1) {
        const int lane = __builtin_ctz(lanes), p = event.first + lane;
        if ((screened_ >> p & 1) != 0 && event.upper[lane] >= threshold[p]) still |= 1u << lane;
      }
      event.lanes = still;
      if (still != 0) events_[kept++] = event;
    }
    return kept;
  }

  // The nearest of the candidates of each row; a single one needs no measuring.
  void choose_candidates(int64_t at, int64_t size) {
    int32_t found[kMostLanes];
    double nearest[kMostLanes];
    std::fill_n(found, kMostLanes, -1);
    std::fill_n(nearest, kMostLanes, -1.0);  // not measured
    for (int64_t e = 0; e < size; ++e) {
      const Event& event = events_[e];
      for (uint32_t lanes = event.lanes; lanes != 0; lanes &= lanes - 1) {
        const int p = event.first + __builtin_ctz(lanes);
        if (found[p] < 0) {
          found[p] = event.center;
          continue;
        }
        if (nearest[p] < 0) nearest[p] = distance_to(at, p, found[p]);
        const double distance = distance_to(at, p, event.center);
        if (distance < nearest[p]) {  // centers come in order: ties stay with the lowest
          nearest[p] = distance;
          found[p] = event.center;
        }
      }
    }
    for (uint64_t lanes = screened_; lanes != 0; lanes &= lanes - 1) {
      const int p = __builtin_ctzll(lanes);
      index_[at + p] = found[p];
    }
  }

  // Distance of the row in lane p of the tile that was loaded last to center j.
  double distance_to(int64_t at, int p, int32_t j) {
    const ExactCenters& centers = step_.centers;
    const ExactKernels& exact = step_.target.exact;
    if (cosine()) return centers.distance(unit_rows_.data() + p * d_, true, j, exact);
    const int64_t i = begin_ + active_[at + p];
    double distance;
    exact.distances(step_.rows, i, i + 1, &j, centers.values.data(), &distance, row_.data());
    return distance;
  }

  double chord_scale() const { return cosine() ? 2 : 1; }

  // Measures every center that float32 cannot exclude, for the rows in these slots.
  void look_again(const int32_t* slots, int64_t count) {
    float norm2[kMostLanes], threshold[kMostLanes];
    double nearest[kMostLanes];
    int32_t found[kMostLanes];
    bool directed[kMostLanes];
    std::vector<double> exact_rows(count * d_);
    for (int64_t p = 0; p < count; ++p) {
      directed[p] = read_row(step_.rows, begin_ + active_[slots[p]], step_.centers.metric,
                             step_.target.exact, exact_rows.data() + p * d_);
      nearest[p] = std::numeric_limits<double>::infinity();
      found[p] = 0;
    }
    load([&](int64_t p) { return active_[slots[p]]; }, count, kernels_.narrow, again_.data(),
         norm2);
    for (int64_t p = 0; p < kernels_.narrow; ++p)
      threshold[p] = p < count ? best_[slots[p]] - 2.02f * step_.filter.error(norm2[p])
                               : std::numeric_limits<float>::infinity();
    const PackedCenters packed = step_.filter.packed();
    const int64_t groups = (packed.k + kernels_.group - 1) / kernels_.group;
    for (int64_t group = 0; group < groups;) {
      Hits hits{hit_lane_.data(), hit_center_.data(), static_cast<int64_t>(hit_lane_.size()), 0};
      group = kernels_.hits(again_.data(), packed, group, threshold, &hits);
      for (int64_t h = 0; h < hits.size; ++h) {
        const int32_t p = hits.lane[h];
        if (p >= count || !directed[p]) continue;
        const double distance = step_.centers.distance(exact_rows.data() + p * d_, true,
                                                       hits.center[h], step_.target.exact);
        if (distance < nearest[p]) {
          nearest[p] = distance;
          found[p] = hits.center[h];
        }
      }
    }
    for (int64_t p = 0; p < count; ++p) {
      const int32_t slot = slots[p];
      // The second best score bounds all centers but the best; not so if another one won.
      if (found[p] != index_[slot]) second_[slot] = std::max(second_[slot], best_[slot]);
      index_[slot] = found[p];
    }
    result.looked_again += count;
  }

  // Labels, distances, bounds and loss of the item.
  void settle() {
    if (step_.bounds == nullptr) {
      std::copy_n(index_, count_, label_);
      measure(0, count_);
    } else {
      for (int64_t s = 0; s < active_count_; ++s) {
        const int32_t p = active_[s];
        if (label_[p] == index_[s]) continue;
        label_[p] = index_[s];
        measure(p, p + 1);
      }
    }
    if (step_.lower != nullptr)
      for (int64_t s = 0; s < active_count_; ++s)
        step_.lower[begin_ + active_[s]] = step_.filter.distance_above(second_[s], norm2_[s]);
    for (int32_t p = 0; p < count_; ++p) {
      const int64_t i = begin_ + p;
      if (step_.labels != nullptr && step_.labels[i] != label_[p]) {
        ++result.changes;
        if (step_.sums != nullptr) change(i, step_.labels[i], label_[p]);
        step_.labels[i] = label_[p];
      }
      if (step_.distances != nullptr) step_.distances[i] = distance_[p];
      loss_.add(step_.weights != nullptr ? step_.weights[i] * distance_[p] : distance_[p]);
    }
    loss_.flush(result.loss);
  }

  // Takes row i from one sum to another.
  void change(int64_t i, int32_t before, int32_t now) {
    const double weight = step_.weights != nullptr ? step_.weights[i] : 1;
    read_row(step_.rows, i, step_.centers.metric, step_.target.exact, row_.data());
    double* scratch = row_.data() + d_;
    if (before >= 0) step_.sums->add(number_, row_.data(), -weight, before, scratch);
    step_.sums->add(number_, row_.data(), weight, now, scratch);
  }

  // Distances of the rows in these places to the centers of label_.
  void measure(int32_t first, int32_t last) {
    const ExactCenters& centers = step_.centers;
    const ExactKernels& exact = step_.target.exact;
    if (!cosine()) {
      exact.distances(step_.rows, begin_ + first, begin_ + last, label_ + first,
                      centers.values.data(), distance_ + first, row_.data());
      return;
    }
    for (int32_t p = first; p < last; ++p) {
      const bool directed = read_row(step_.rows, begin_ + p, Metric::cosine, exact, row_.data());
      if (!directed) label_[p] = 0;
      distance_[p] = centers.distance(row_.data(), directed, label_[p], exact);
    }
  }

  const Step& step_;
  const int number_;
  const TileKernels& kernels_;
  const int64_t d_;
  const int64_t tiles_;
  std::vector<float> points_;      // [tiles][d][tile]
  std::vector<double> unit_rows_;  // [tile][d], cosine only
  std::vector<float> again_;       // [d][narrow]
  std::vector<double> row_;        // [d], and [d + 1] to add it
  std::vector<int32_t> hit_lane_, hit_center_;
  std::vector<uint32_t> words_;  // [quads][tile], bytes
  std::vector<Event> events_;
  uint64_t screened_ = 0;  // lanes of the tile that bytes can settle
  ExactAdder loss_;        // flushed after every item
  int64_t begin_ = 0;
  int32_t count_ = 0;
  int64_t active_count_ = 0, unsure_count_ = 0;
  // By slot in the list of active rows:
  alignas(64) float best_[kItemRows];
  alignas(64) float second_[kItemRows];
  alignas(64) float norm2_[kItemRows];
  alignas(64) int32_t index_[kItemRows];
  int32_t active_[kItemRows];  // place of each slot
  int32_t unsure_[kItemRows];  // slots
  // By place in the item:
  int32_t label_[kItemRows];
  double distance_[kItemRows];
};

}  // namespace shoal
