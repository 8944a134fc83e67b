#include "sums.h"

#include <algorithm>

#include "parallel.h"

namespace shoal {
namespace {

constexpr int64_t kItemRows = 4096;
constexpr int64_t kCopiesBytes = 24 << 20;  // of private sums, all threads together

}  // namespace

void add_sums(const Rows& rows, const double* weights, const int32_t* labels, int64_t k,
              Metric metric, const Grid& grid, const Target& target, int threads, int64_t* sums) {
  const int64_t width = rows.d + 1;
  const int64_t size = grid.levels * k * width;
  // The first thread adds in place, the others into copies of their own, as many as there is
  // room for: large sums take fewer threads.
  const int64_t copies = kCopiesBytes / (8 * size);
  threads = static_cast<int>(std::min<int64_t>(
      useful_threads(threads, static_cast<double>(rows.n) * static_cast<double>(width)),
      1 + copies));
  std::vector<std::vector<int64_t>> copy(threads);
  std::vector<std::vector<double>> buffer(threads);
  const double unit = static_cast<double>(int64_t{1} << grid.bits);
  const int64_t items = (rows.n + kItemRows - 1) / kItemRows;
  parallel_for(items, threads, [&](int64_t item, int worker) {
    if (worker > 0 && copy[worker].empty()) copy[worker].resize(size);
    buffer[worker].resize(width);
    int64_t* into = worker == 0 ? sums : copy[worker].data();
    double* row = buffer[worker].data();
    const int64_t end = std::min(rows.n, (item + 1) * kItemRows);
    for (int64_t i = item * kItemRows; i < end; ++i) {
      read_row(rows, i, metric, target.exact, row);
      row[rows.d] = 1;
      if (weights != nullptr)
        for (int64_t t = 0; t < width; ++t) row[t] *= weights[i];
      int64_t* high = into + labels[i] * width;
      int64_t* low = grid.levels == 2 ? high + k * width : nullptr;
      target.exact.add_row(row, grid.inverse, grid.quantum, unit, width, high, low);
    }
  });
  for (int worker = 1; worker < threads; ++worker)
    for (size_t i = 0; i < copy[worker].size(); ++i) sums[i] += copy[worker][i];
}

}  // namespace shoal
