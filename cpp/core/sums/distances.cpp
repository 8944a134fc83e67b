#include "core/sums/distances.h"

#include <algorithm>

#include "core/threads/parallel.h"

namespace shoal {
namespace {

constexpr int64_t kItemRows = 512;

// Calls visit(i, x, directed, worker) for every row, in parallel.
template <class Visit>
void for_each_row(const Rows& rows, Metric metric, const Target& target, int threads,
                  const Visit& visit) {
  std::vector<std::vector<double>> buffer(threads);
  parallel_for((rows.n + kItemRows - 1) / kItemRows, threads, [&](int64_t item, int worker) {
    buffer[worker].resize(rows.d);
    double* x = buffer[worker].data();
    const int64_t end = std::min(rows.n, (item + 1) * kItemRows);
    for (int64_t i = item * kItemRows; i < end; ++i) {
      const bool directed = read_row(rows, i, metric, target.exact, x);
      visit(i, x, directed, worker);
    }
  });
}

double cost(const Rows& rows, int64_t centers) {
  return static_cast<double>(rows.n) * static_cast<double>(rows.d + 8) *
         static_cast<double>(centers);
}

}  // namespace

void all_distances(const Rows& rows, const Rows& centers, Metric metric, const Target& target,
                   int threads, Dtype out_dtype, void* distances) {
  const ExactCenters exact(centers, metric, target.exact);
  threads = useful_threads(threads, cost(rows, exact.k));
  for_each_row(rows, metric, target, threads, [&](int64_t i, const double* x, bool directed, int) {
    for (int64_t j = 0; j < exact.k; ++j) {
      const double distance = exact.distance(x, directed, j, target.exact);
      if (out_dtype == Dtype::float32)
        static_cast<float*>(distances)[i * exact.k + j] = static_cast<float>(distance);
      else
        static_cast<double*>(distances)[i * exact.k + j] = distance;
    }
  });
}

void read_rows(const Rows& rows, Metric metric, const Target& target, double* out) {
  for (int64_t i = 0; i < rows.n; ++i) read_row(rows, i, metric, target.exact, out + i * rows.d);
}

}  // namespace shoal
