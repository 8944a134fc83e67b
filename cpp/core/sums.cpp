#include "sums.h"

#include <algorithm>
#include <cmath>

#include "parallel.h"

namespace shoal {
namespace {

constexpr int64_t kItemRows = 4096;
constexpr int64_t kRowsPerCluster = 64;     // below, copies cost more than locks
constexpr int64_t kCopiesBytes = 24 << 20;  // of private sums, all threads together

}  // namespace

SharedSums::SharedSums(const Grid& grid, int64_t k, int64_t d, const ExactKernels& exact,
                       int threads, int64_t n, int64_t* sums, int64_t* squares, Known known)
    : grid_(grid),
      k_(k),
      width_(d + 1),
      exact_(exact),
      unit_(grid.unit()),
      sums_(sums),
      squares_(squares),
      known_(known == Known::short_values && grid.levels == 2 ? Known::nothing : known),
      private_copies_(n >= kRowsPerCluster * k &&
                      threads * 8 * grid.levels * k * (d + 1) <= kCopiesBytes),
      padded_((width_ + 7) / 8 * 8),
      stride_(private_copies_ ? padded_ : width_),
      copies_(private_copies_ ? threads : 0),
      squares_of_(threads) {}

void SharedSums::add(int worker, double* x, double weight, int32_t from, int32_t into) {
  if (weight != 1)
    for (int64_t t = 0; t + 1 < width_; ++t) x[t] *= weight;
  x[width_ - 1] = weight;
  const Held held = hold(worker, from, into);
  exact_.add_row(x, grid_.inverse, grid_.quantum, unit_, width_,
                 grid_.levels == 2 ? k_ * stride_ : 0, held.sums + into * stride_,
                 from < 0 ? nullptr : held.sums + from * stride_);
}

SharedSums::Held SharedSums::hold(int worker, int32_t from, int32_t into) {
  if (private_copies_) return {copy_of(worker), {}, {}};
  // The lower lock first: no two threads can wait for each other.
  Held held{sums_, {}, {}};
  const auto a = static_cast<size_t>(into) % locks_.size();
  const auto b = from < 0 ? a : static_cast<size_t>(from) % locks_.size();
  held.one = std::unique_lock<std::mutex>(locks_[std::min(a, b)]);
  if (a != b) held.other = std::unique_lock<std::mutex>(locks_[std::max(a, b)]);
  return held;
}

int64_t* SharedSums::copy_of(int worker) {
  if (copies_[worker].empty()) copies_[worker].resize(grid_.levels * k_ * stride_);
  return copies_[worker].data();
}

int64_t* SharedSums::squares_of(int worker) {
  if (squares_of_[worker].empty()) squares_of_[worker].resize(2 * padded_);
  return squares_of_[worker].data();
}

void SharedSums::add_squares(int worker, const double* x, double weight, bool directed,
                             double* scratch) {
  int64_t* into = squares_of(worker);
  const int64_t d = width_ - 1;
  const auto add = [&](const double* values, int64_t t, int64_t count, int64_t below, int level) {
    exact_.add_row(values, grid_.square_inverse + t, grid_.square_quantum + t, unit_, count, below,
                   into + level * padded_ + t, nullptr);
  };
  if (!directed) add(&weight, d, 1, padded_, 0);
  if (known_ == Known::short_values) {  // squares of float32 and narrower are exact
    exact_.add_squares(x, grid_.square_inverse, grid_.square_quantum, unit_, d, padded_, into);
    return;
  }
  int64_t columns = d;
  double* rest = scratch + width_;
  if (known_ == Known::unit_rows) {
    exact_.square_sum(x, d, scratch);
    const double square = scratch[0] * weight;
    rest[0] = std::fma(scratch[0], weight, -square) + scratch[1] * weight;
    scratch[0] = square;
    columns = 1;
  } else {
    exact_.squares(x, weight, d, scratch, rest);
  }
  add(scratch, 0, columns, padded_, 0);
  // Below half a quantum of the first level: all of it goes to the second.
  for (int64_t t = 0; t < columns; ++t) rest[t] *= unit_;
  add(rest, 0, columns, 0, 1);
}

bool SharedSums::move_few(int worker, const FewRows& few) {
  const Rows& rows = few.rows;
  const int64_t size = item_size(rows.dtype);
  const bool aligned = reinterpret_cast<uintptr_t>(rows.data) % static_cast<uintptr_t>(size) == 0 &&
                       rows.row_stride % size == 0;
  const bool readable = !is_native(rows.dtype) || (rows.columns_packed() && aligned);
  const bool double_rows = is_double(rows.dtype);
  if (known_ != (double_rows ? Known::nothing : Known::short_values) ||
      grid_.levels != (double_rows ? 2 : 1) || !private_copies_ || rows.d > kFewColumns ||
      !readable)
    return false;
  const FewGrid grid{grid_.quantum,        grid_.inverse, grid_.square_quantum,
                     grid_.square_inverse, unit_,         padded_};
  exact_.move_few(few, grid, k_ * stride_, copy_of(worker), squares_of(worker));
  return true;
}

void SharedSums::finish() {
  const auto bring = [&](const Aligned<int64_t>& from, int64_t* into) {
    for (size_t at = 0; at < from.size(); at += static_cast<size_t>(padded_), into += width_)
      for (int64_t t = 0; t < width_; ++t) into[t] += from[at + static_cast<size_t>(t)];
  };
  for (const auto& copy : copies_) bring(copy, sums_);
  for (const auto& squares : squares_of_) bring(squares, squares_);
}

void add_sums(const Rows& rows, const double* weights, const int32_t* labels, int64_t k,
              Metric metric, const Grid& grid, const Target& target, int threads, int64_t* sums) {
  threads = useful_threads(threads, static_cast<double>(rows.n) * static_cast<double>(rows.d + 1));
  SharedSums shared(grid, k, rows.d, target.exact, threads, rows.n, sums);
  std::vector<std::vector<double>> buffer(threads);
  const int64_t items = (rows.n + kItemRows - 1) / kItemRows;
  parallel_for(items, threads, [&](int64_t item, int worker) {
    buffer[worker].resize(rows.d + 1);
    double* row = buffer[worker].data();
    const int64_t end = std::min(rows.n, (item + 1) * kItemRows);
    for (int64_t i = item * kItemRows; i < end; ++i) {
      read_row(rows, i, metric, target.exact, row);
      shared.add(worker, row, weights != nullptr ? weights[i] : 1, -1, labels[i]);
    }
  });
  shared.finish();
}

}  // namespace shoal
