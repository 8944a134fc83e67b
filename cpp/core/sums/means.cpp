#include "core/sums/means.h"

#include <algorithm>
#include <vector>

#include "core/threads/parallel.h"

namespace shoal {
namespace {

constexpr int64_t kItemCenters = 16;

// Whether cluster j has no rows.
bool is_empty(const int64_t* sums, const Grid& grid, int64_t k, int64_t width, int64_t j) {
  for (int64_t level = 0; level < grid.levels; ++level)
    if (sums[(level * k + j) * width + width - 1] != 0) return false;
  return true;
}

// Whether cluster j moves. IN values [d + 1], its weighted sums.
bool moves(const double* values, int64_t d, bool cosine) {
  bool directed = !cosine;
  for (int64_t t = 0; t < d && !directed; ++t) directed = values[t] != 0;
  return values[d] != 0 && directed;
}

template <class T>
void means_as(const int64_t* sums, const Grid& grid, const Rows& centers, const double* counts,
              Metric metric, const Target& target, int threads, T* means) {
  const int64_t k = centers.n, d = centers.d;
  const bool cosine = metric == Metric::cosine;
  threads = useful_threads(threads, static_cast<double>(k * d) * grid.levels * 2);
  parallel_for((k + kItemCenters - 1) / kItemCenters, threads, [&](int64_t item, int) {
    std::vector<double> values(d + 1), before(d);
    for (int64_t j = item * kItemCenters; j < k && j < (item + 1) * kItemCenters; ++j) {
      T* mean = means + j * d;
      const bool empty = is_empty(sums, grid, k, d + 1, j);
      if (!empty)  // the last is the weight
        target.exact.sum_values(sums + j * (d + 1), grid.levels, k * (d + 1), 1 / grid.unit(),
                                grid.quantum, d + 1, values.data());
      target.exact.widen(centers.row(j), centers.dtype, centers.col_stride, d, before.data());
      if (!empty && moves(values.data(), d, cosine)) {
        const double count = counts != nullptr ? counts[j] : 0, total = count + values[d];
        for (int64_t t = 0; t < d; ++t)
          mean[t] = static_cast<T>((values[t] + count * before[t]) / total);
      } else {
        for (int64_t t = 0; t < d; ++t) mean[t] = static_cast<T>(before[t]);
      }
      if (!cosine) continue;
      const Rows rounded{reinterpret_cast<const char*>(mean), centers.dtype, 1, d, 0, sizeof(T)};
      read_row(rounded, 0, metric, target.exact, values.data());
      for (int64_t t = 0; t < d; ++t) mean[t] = static_cast<T>(values[t]);
    }
  });
}

}  // namespace

void means_of(const int64_t* sums, const Grid& grid, const Rows& centers, const double* counts,
              Metric metric, const Target& target, int threads, void* means) {
  if (centers.dtype == Dtype::float32)
    means_as(sums, grid, centers, counts, metric, target, threads, static_cast<float*>(means));
  else
    means_as(sums, grid, centers, counts, metric, target, threads, static_cast<double*>(means));
}

}  // namespace shoal
