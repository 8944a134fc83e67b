#include "assign.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "parallel.h"

namespace shoal {
namespace {

constexpr int64_t kItemRows = 1024;           // rows a thread takes at a time
static_assert(kItemRows <= ExactAdder::kRoom);
constexpr int64_t kCacheBytes = 256 * 1024;   // of tiles, and of centers, kept in L2
constexpr int kMostLanes = 64;                // of any target's tile
constexpr int64_t kHitCapacity = 4096;
constexpr double kUnit = 0x1p-24;             // u of float32

// Centers in filter space, packed for the tile kernels, and what the bound needs of them.
struct Filter {
  std::vector<double> shift;
  std::vector<float> shift32, values, bias;
  FilterSpace space;
  TileBound bound;

  Filter(const ExactCenters& centers, int group)
      : shift(centers.d), shift32(centers.d + 16), values(centers.k * centers.d), bias(centers.k) {
    const int64_t k = centers.k, d = centers.d;
    std::vector<double> mean(d);
    for (int64_t j = 0; j < k; ++j)
      for (int64_t t = 0; t < d; ++t) mean[t] += centers.row(j)[t] / static_cast<double>(k);
    double largest = 0;
    for (int64_t j = 0; j < k; ++j)
      for (int64_t t = 0; t < d; ++t)
        largest = std::max(largest, std::fabs(centers.row(j)[t] - mean[t]));
    // float32 rows are mapped in float32, so the scale must be one of its powers of two.
    const int exponent = largest > 0 ? std::clamp(-std::ilogb(largest), -120, 120) : 0;
    space = {std::ldexp(1.0, exponent), shift.data(), shift32.data(),
             std::ldexp(1.0f, exponent)};
    for (int64_t t = 0; t < d; ++t) {
      shift32[t] = static_cast<float>(mean[t] * space.scale);
      shift[t] = static_cast<double>(shift32[t]);
    }
    bound = bound_of(d);
    for (int64_t j = 0; j < k; ++j) {
      const int64_t first = j - j % group;
      const int64_t width = std::min<int64_t>(group, k - first);
      double norm2 = 0;
      for (int64_t t = 0; t < d; ++t) {
        const auto value = static_cast<float>(centers.row(j)[t] * space.scale - shift[t]);
        values[first * d + t * width + (j - first)] = value;
        norm2 += static_cast<double>(value) * static_cast<double>(value);
      }
      // A center without direction is at cosine distance 1, not 1/2: lower its score to say so.
      const double extra = centers.zero[j] ? space.scale * space.scale / 2 : 0;
      bias[j] = static_cast<float>(-norm2 / 2 - extra);
      bound.largest_center = std::max(bound.largest_center, static_cast<float>(std::sqrt(norm2)));
      bound.largest_bias = std::max(bound.largest_bias, -bias[j]);
    }
  }

  static TileBound bound_of(int64_t d) {
    const double terms = static_cast<double>(d);
    const double m = (terms + 2) * kUnit;
    const bool usable = m < 0.1;  // beyond: every row is looked at again
    // 1.05 covers rounding in the bound itself and in the norms, which are float32 sums.
    const double relative = 1.05 * (m / (1 - m) + 5 * kUnit) * (1 + m);
    const double quadratic = 1.05 * (terms + 3) * 0x1p-52;
    return {usable ? static_cast<float>(relative) : std::numeric_limits<float>::infinity(),
            static_cast<float>(quadratic), 0, 0};
  }
};

struct Step {
  const Rows& rows;
  const double* weights;
  const ExactCenters& centers;
  const Filter& filter;
  const Target& target;
  int32_t* labels;
  double* distances;
};

// One thread's buffers, and the work on one item of rows.
class Worker {
 public:
  explicit Worker(const Step& step)
      : step_(step),
        kernels_(step.target.tile),
        d_(step.rows.d),
        tiles_(std::clamp<int64_t>(kCacheBytes / (4 * d_ * kernels_.tile), 1,
                                   kItemRows / kernels_.tile)),
        points_(tiles_ * kernels_.tile * d_),
        unit_rows_(cosine() ? kernels_.tile * d_ : 0),
        again_(static_cast<int64_t>(kernels_.narrow) * d_),
        row_(d_),
        hit_lane_(kHitCapacity + kernels_.narrow * kernels_.group),
        hit_center_(hit_lane_.size()) {}

  Assignment result;

  void run(int64_t begin, int64_t end) {
    unsure_count_ = 0;
    const int64_t chunk = tiles_ * kernels_.tile;
    for (int64_t at = begin; at < end; at += chunk) {
      const int64_t count = std::min(chunk, end - at);
      filter_chunk(at, count, at - begin);
    }
    for (int64_t at = 0; at < unsure_count_; at += kernels_.narrow)
      look_again(begin, unsure_rows_ + at,
                 std::min<int64_t>(kernels_.narrow, unsure_count_ - at));
    settle(begin, end);
  }

 private:
  bool cosine() const { return step_.centers.metric == Metric::cosine; }

  // Loads rows into one tile. id(p): the row in lane p.
  template <class Id>
  void load(const Id& id, int64_t count, int width, float* tile, float* norm2) {
    const char* pointers[kMostLanes];
    if (!cosine()) {
      for (int64_t p = 0; p < count; ++p) pointers[p] = step_.rows.row(id(p));
      const TileRows tile_rows{pointers, count, step_.rows.dtype, step_.rows.col_stride, d_};
      kernels_.load(tile_rows, step_.filter.space, width, tile, norm2);
      return;
    }
    for (int64_t p = 0; p < count; ++p) {
      double* unit = unit_rows_.data() + p * d_;
      read_row(step_.rows, id(p), Metric::cosine, step_.target.exact, unit);
      pointers[p] = reinterpret_cast<const char*>(unit);
    }
    const TileRows tile_rows{pointers, count, Dtype::float64, 8, d_};
    kernels_.load(tile_rows, step_.filter.space, width, tile, norm2);
  }

  // Best, second and unsure rows of `count` rows from `at` on; `to`: their place in the item.
  void filter_chunk(int64_t at, int64_t count, int64_t to) {
    const int width = kernels_.tile;
    const int64_t tiles = (count + width - 1) / width;
    for (int64_t i = 0; i < tiles; ++i) {
      const int64_t first = i * width;
      load([&](int64_t p) { return at + first + p; }, std::min<int64_t>(width, count - first),
           width, points_.data() + first * d_, norm2_ + to + first);
    }
    const float lowest = -std::numeric_limits<float>::infinity();
    std::fill_n(best_ + to, tiles * width, lowest);
    std::fill_n(second_ + to, tiles * width, lowest);
    std::fill_n(index_ + to, tiles * width, 0);
    const int64_t k = step_.centers.k;
    const PackedCenters packed{step_.filter.values.data(), step_.filter.bias.data(), k, d_};
    const int64_t block =
        std::max<int64_t>(1, kCacheBytes / (4 * d_ * kernels_.group)) * kernels_.group;
    for (int64_t j = 0; j < k; j += block)
      for (int64_t i = 0; i < tiles; ++i) {
        const int64_t first = to + i * width;
        kernels_.best(points_.data() + i * width * d_, packed, j, std::min(j + block, k),
                      {best_ + first, second_ + first, index_ + first});
      }
    int32_t* unsure = unsure_rows_ + unsure_count_;
    const int64_t found = kernels_.unsure({best_ + to, second_ + to, index_ + to}, norm2_ + to,
                                          step_.filter.bound, count, unsure);
    for (int64_t u = 0; u < found; ++u) unsure[u] += static_cast<int32_t>(to);
    unsure_count_ += found;
  }

  // Measures every center that float32 cannot exclude. places: row numbers within the item.
  void look_again(int64_t begin, const int32_t* places, int64_t count) {
    float norm2[kMostLanes], threshold[kMostLanes];
    double nearest[kMostLanes];
    bool directed[kMostLanes];
    std::vector<double> exact_rows(count * d_);
    const TileBound& bound = step_.filter.bound;
    for (int64_t p = 0; p < count; ++p) {
      directed[p] = read_row(step_.rows, begin + places[p], step_.centers.metric, step_.target.exact,
                             exact_rows.data() + p * d_);
      nearest[p] = std::numeric_limits<double>::infinity();
      index_[places[p]] = 0;
    }
    load([&](int64_t p) { return begin + places[p]; }, count, kernels_.narrow, again_.data(),
         norm2);
    for (int64_t p = 0; p < kernels_.narrow; ++p) {
      const int64_t place = places[std::min(p, count - 1)];
      const float error = bound.relative * (std::sqrt(norm2[p]) * bound.largest_center +
                                            bound.largest_bias) +
                          bound.quadratic * norm2[p];
      threshold[p] = p < count ? best_[place] - 2.02f * error
                               : std::numeric_limits<float>::infinity();
    }
    const PackedCenters packed{step_.filter.values.data(), step_.filter.bias.data(),
                               step_.centers.k, d_};
    const int64_t groups = (step_.centers.k + kernels_.group - 1) / kernels_.group;
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
          index_[places[p]] = hits.center[h];
        }
      }
    }
    result.looked_again += count;
  }

  // Labels, distances and loss of rows begin..end-1, whose nearest centers are in index_.
  void settle(int64_t begin, int64_t end) {
    measure(begin, end);
    for (int64_t i = begin; i < end; ++i) {
      const int32_t label = index_[i - begin];
      const double distance = distance_[i - begin];
      if (step_.labels != nullptr) {
        result.changes += step_.labels[i] != label;
        step_.labels[i] = label;
      }
      if (step_.distances != nullptr) step_.distances[i] = distance;
      loss_.add(step_.weights != nullptr ? step_.weights[i] * distance : distance);
    }
    loss_.flush(result.loss);
  }

  void measure(int64_t begin, int64_t end) {
    const ExactCenters& centers = step_.centers;
    const ExactKernels& exact = step_.target.exact;
    if (!cosine()) {
      exact.distances(step_.rows, begin, end, index_, centers.values.data(), distance_,
                      row_.data());
      return;
    }
    for (int64_t i = begin; i < end; ++i) {
      const bool directed = read_row(step_.rows, i, Metric::cosine, exact, row_.data());
      if (!directed) index_[i - begin] = 0;
      distance_[i - begin] = centers.distance(row_.data(), directed, index_[i - begin], exact);
    }
  }

  const Step& step_;
  const TileKernels& kernels_;
  const int64_t d_;
  const int64_t tiles_;
  std::vector<float> points_;       // [tiles][d][tile]
  std::vector<double> unit_rows_;   // [tile][d], cosine only
  std::vector<float> again_;        // [d][narrow]
  std::vector<double> row_;         // [d]
  std::vector<int32_t> hit_lane_, hit_center_;
  ExactAdder loss_;                 // flushed after every item
  alignas(64) float best_[kItemRows];
  alignas(64) float second_[kItemRows];
  alignas(64) float norm2_[kItemRows];
  alignas(64) int32_t index_[kItemRows];
  double distance_[kItemRows];
  int32_t unsure_rows_[kItemRows];
  int64_t unsure_count_ = 0;
};

}  // namespace

Assignment assign(const Rows& rows, const double* weights, const Rows& centers, Metric metric,
                  const Target& target, int threads, int32_t* labels, double* distances) {
  const ExactCenters exact(centers, metric, target.exact);
  const Filter filter(exact, target.tile.group);
  const Step step{rows, weights, exact, filter, target, labels, distances};
  threads = useful_threads(threads, static_cast<double>(rows.n) * static_cast<double>(rows.d) *
                                        (static_cast<double>(exact.k) / 16 + 4));
  // Small inputs are cut finer, so that every thread has work; the cut changes no result.
  const int64_t tile = target.tile.tile;
  const int64_t fair = (rows.n + threads * 8 - 1) / (threads * 8);
  const int64_t item = std::clamp((fair + tile - 1) / tile * tile, tile, kItemRows);
  std::vector<std::unique_ptr<Worker>> workers(threads);
  parallel_for((rows.n + item - 1) / item, threads, [&](int64_t at, int worker) {
    if (!workers[worker]) workers[worker] = std::make_unique<Worker>(step);
    workers[worker]->run(at * item, std::min(rows.n, (at + 1) * item));
  });
  Assignment total;
  for (const auto& worker : workers) {
    if (!worker) continue;
    total.changes += worker->result.changes;
    total.looked_again += worker->result.looked_again;
    total.loss.merge(worker->result.loss);
  }
  return total;
}

}  // namespace shoal
