#include "sums.h"

#include <algorithm>

#include "parallel.h"

namespace shoal {
namespace {

constexpr int64_t kItemRows = 4096;
constexpr int64_t kRowsPerCluster = 64;     // below, copies cost more than locks
constexpr int64_t kCopiesBytes = 24 << 20;  // of private sums, all threads together

}  // namespace

SharedSums::SharedSums(const Grid& grid, int64_t k, int64_t d, const ExactKernels& exact,
                       int threads, int64_t n, int64_t* sums, int64_t* squares, bool short_values)
    : grid_(grid),
      k_(k),
      width_(d + 1),
      exact_(exact),
      unit_(grid.unit()),
      sums_(sums),
      squares_(squares),
      short_values_(short_values && grid.levels == 1),
      private_copies_(n >= kRowsPerCluster * k &&
                      (threads - 1) * 8 * grid.levels * k * (d + 1) <= kCopiesBytes),
      copies_(private_copies_ ? threads : 0),
      squares_of_(threads) {}

void SharedSums::add(int worker, const double* x, double weight, int32_t cluster, double* scratch) {
  for (int64_t t = 0; t + 1 < width_; ++t) scratch[t] = x[t] * weight;
  scratch[width_ - 1] = weight;
  std::unique_lock<std::mutex> lock;
  int64_t* into = sums_;
  if (!private_copies_) {
    lock = std::unique_lock<std::mutex>(locks_[cluster % locks_.size()]);
  } else if (worker > 0) {  // the first thread adds in place
    if (copies_[worker].empty()) copies_[worker].resize(grid_.levels * k_ * width_);
    into = copies_[worker].data();
  }
  int64_t* high = into + cluster * width_;
  int64_t* low = grid_.levels == 2 ? high + k_ * width_ : nullptr;
  exact_.add_row(scratch, grid_.inverse, grid_.quantum, unit_, width_, high, low);
}

void SharedSums::add_squares(int worker, const double* x, double weight, bool directed,
                             double* scratch) {
  auto& into = squares_of_[worker];
  if (into.empty()) into.resize(2 * width_);
  scratch[width_ - 1] = directed ? 0 : weight;
  if (short_values_) {  // squares of float32 and float16 are exact
    for (int64_t t = 0; t + 1 < width_; ++t) scratch[t] = x[t] * x[t];
    exact_.add_row(scratch, grid_.square_inverse, grid_.square_quantum, unit_, width_, into.data(),
                   into.data() + width_);
    return;
  }
  double* rest = scratch + width_;
  exact_.squares(x, weight, width_ - 1, scratch, rest);
  rest[width_ - 1] = 0;
  for (const double* part : {scratch, rest})
    exact_.add_row(part, grid_.square_inverse, grid_.square_quantum, unit_, width_, into.data(),
                   into.data() + width_);
}

void SharedSums::finish() {
  for (const auto& copy : copies_)
    for (size_t i = 0; i < copy.size(); ++i) sums_[i] += copy[i];
  for (const auto& squares : squares_of_)
    for (size_t i = 0; i < squares.size(); ++i) squares_[i] += squares[i];
}

void add_sums(const Rows& rows, const double* weights, const int32_t* labels, int64_t k,
              Metric metric, const Grid& grid, const Target& target, int threads, int64_t* sums) {
  threads = useful_threads(threads, static_cast<double>(rows.n) * static_cast<double>(rows.d + 1));
  SharedSums shared(grid, k, rows.d, target.exact, threads, rows.n, sums);
  std::vector<std::vector<double>> buffer(threads);
  const int64_t items = (rows.n + kItemRows - 1) / kItemRows;
  parallel_for(items, threads, [&](int64_t item, int worker) {
    buffer[worker].resize(2 * rows.d + 1);
    double* row = buffer[worker].data();
    const int64_t end = std::min(rows.n, (item + 1) * kItemRows);
    for (int64_t i = item * kItemRows; i < end; ++i) {
      read_row(rows, i, metric, target.exact, row);
      shared.add(worker, row, weights != nullptr ? weights[i] : 1, labels[i], row + rows.d);
    }
  });
  shared.finish();
}

}  // namespace shoal
