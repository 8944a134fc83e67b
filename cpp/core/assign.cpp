#include "assign.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <optional>

#include "bounds.h"
#include "filter.h"
#include "parallel.h"

namespace shoal {
namespace {

constexpr int64_t kItemRows = 1024;  // rows a thread takes at a time
static_assert(kItemRows <= ExactAdder::kRoom);
constexpr int64_t kCacheBytes = 256 * 1024;  // of tiles, and of centers, kept in L2
constexpr int kMostLanes = 64;               // of any target's tile
constexpr int64_t kHitCapacity = 4096;

struct Step {
  const Rows& rows;
  const double* weights;
  const ExactCenters& centers;
  const Filter& filter;
  const Target& target;
  int32_t* labels;
  double* distances;
  float* lower;          // null: no memory
  const Bounds* bounds;  // null: nothing is known yet
  SharedSums* sums;      // null: not wanted
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
        hit_center_(hit_lane_.size()) {}

  Assignment result;

  void run(int64_t begin, int64_t end) {
    begin_ = begin;
    count_ = static_cast<int32_t>(end - begin);
    choose_active();
    unsure_count_ = 0;
    const int64_t chunk = tiles_ * kernels_.tile;
    for (int64_t at = 0; at < active_count_; at += chunk)
      filter_chunk(at, std::min(chunk, active_count_ - at));
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
      if (found[p] != index_[slot]) second_[slot] = best_[slot];
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
  ExactAdder loss_;  // flushed after every item
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

}  // namespace

Assignment assign(const Rows& rows, const double* weights, const Rows& centers, Metric metric,
                  const Target& target, int threads, int32_t* labels, double* distances,
                  const Kept& kept) {
  const ExactCenters exact(centers, metric, target.exact);
  const Dtype loaded = metric == Metric::cosine ? Dtype::float64 : rows.dtype;
  const Filter filter(exact, loaded, target.tile.group);
  std::optional<Bounds> bounds;
  if (kept.lower != nullptr && kept.before != nullptr) {
    const ExactCenters before(*kept.before, metric, target.exact);
    // Separations cost k^2 d / 2: worth it where that is little beside a pass.
    bounds.emplace(before, exact, target.exact, exact.k * 100 <= rows.n);
  }
  threads = useful_threads(threads, static_cast<double>(rows.n) * static_cast<double>(rows.d) *
                                        (static_cast<double>(exact.k) / 16 + 4));
  std::optional<SharedSums> sums;
  if (kept.sums != nullptr)
    sums.emplace(*kept.grid, exact.k, exact.d, target.exact, threads, kept.sums);
  const Step step{rows,
                  weights,
                  exact,
                  filter,
                  target,
                  labels,
                  distances,
                  kept.lower,
                  bounds && bounds->usable() ? &*bounds : nullptr,
                  sums ? &*sums : nullptr};
  // Small inputs are cut finer, so that every thread has work; the cut changes no result.
  const int64_t tile = target.tile.tile;
  const int64_t fair = (rows.n + threads * 8 - 1) / (threads * 8);
  const int64_t item = std::clamp((fair + tile - 1) / tile * tile, tile, kItemRows);
  std::vector<std::unique_ptr<Worker>> workers(threads);
  parallel_for((rows.n + item - 1) / item, threads, [&](int64_t at, int worker) {
    if (!workers[worker]) workers[worker] = std::make_unique<Worker>(step, worker);
    workers[worker]->run(at * item, std::min(rows.n, (at + 1) * item));
  });
  Assignment total;
  for (const auto& worker : workers) {
    if (!worker) continue;
    const Assignment& part = worker->result;
    total.looked_again += part.looked_again;
    total.kept += part.kept;
    total.loss.merge(part.loss);
    total.changes += part.changes;
  }
  if (sums) sums->finish();
  return total;
}

}  // namespace shoal
