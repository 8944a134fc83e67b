#include "core/sums/sums.h"

#include <algorithm>
#include <cmath>

#include "core/threads/parallel.h"

namespace shoal {
namespace {

constexpr int64_t kItemRows = 4096;
// In cycles: of the locks for a row, and of clearing a column of a copy and bringing it together.
constexpr int64_t kLock = 32, kCopied = 2;
constexpr int64_t kCopiesBytes = 24 << 20;  // of private sums, all threads together

}  // namespace

SharedSums::SharedSums(const Grid& grid, int64_t k, int64_t d, const ExactKernels& exact,
                       int threads, int64_t n, Added added, int64_t* sums, int64_t* squares)
    : grid_(grid),
      k_(k),
      width_(d + 1),
      exact_(exact),
      unit_(grid.unit()),
      sums_(sums),
      squares_(squares),
      added_(added),
      fast_(std::min(grid.levels, one_level() ? 1 : 2)),
      private_copies_(n * kLock >= kCopied * threads * fast_ * k * (d + 1) &&
                      threads * 8 * fast_ * k * (d + 1) <= kCopiesBytes),
      padded_((width_ + 7) / 8 * 8),
      stride_(private_copies_ ? padded_ : width_),
      copies_(private_copies_ ? threads : 0),
      squares_of_(threads),
      left_(threads) {
  if (private_copies_) moving_ = padded_grid();
}

void SharedSums::add(int worker, double* x, double weight, int32_t from, int32_t into) {
  if (rounds())
    for (int64_t t = 0; t + 1 < width_; ++t) x[t] = round(x[t], t);
  if (weight != 1)
    for (int64_t t = 0; t + 1 < width_; ++t) x[t] *= weight;
  x[width_ - 1] = weight;
  bool more;
  {
    const Held held = hold(worker, from, into);
    more =
        exact_.add_row(x, grid_.inverse, unit_, width_, fast_ == 2 ? k_ * stride_ : 0,
                       held.sums + into * stride_, from < 0 ? nullptr : held.sums + from * stride_);
  }
  if (more) add_rest(x, nullptr, width_, from, into);
}

// What the fast levels leave of a row, weight included: of all columns, or of these.
void SharedSums::add_rest(const double* x, const int32_t* columns, int64_t size, int32_t from,
                          int32_t into) {
  if (fast_ == grid_.levels) return;
  constexpr double kRounder = 0x1.8p52;  // leaves the nearest whole number, ties to even
  const Held held = hold_all(from, into);
  for (int64_t e = 0; e < size; ++e) {
    const int64_t t = columns != nullptr ? columns[e] : e;
    double left = x[e] * grid_.inverse[t];  // in quanta of a level
    for (int level = 0; level < grid_.levels && left != 0; ++level) {
      const double whole = left + kRounder - kRounder;
      if (level >= fast_ && whole != 0) {
        held.sums[(level * k_ + into) * width_ + t] += static_cast<int64_t>(whole);
        if (from >= 0) held.sums[(level * k_ + from) * width_ + t] -= static_cast<int64_t>(whole);
      }
      left = (left - whole) * unit_;
    }
  }
}

SharedSums::Held SharedSums::hold(int worker, int32_t from, int32_t into) {
  if (private_copies_) return {copy_of(worker), {}, {}};
  return hold_all(from, into);
}

SharedSums::Held SharedSums::hold_all(int32_t from, int32_t into) {
  // The lower lock first: no two threads can wait for each other.
  Held held{sums_, {}, {}};
  const auto a = static_cast<size_t>(into) % locks_.size();
  const auto b = from < 0 ? a : static_cast<size_t>(from) % locks_.size();
  held.one = std::unique_lock<std::mutex>(locks_[std::min(a, b)]);
  if (a != b) held.other = std::unique_lock<std::mutex>(locks_[std::max(a, b)]);
  return held;
}

int64_t* SharedSums::copy_of(int worker) {
  if (copies_[worker].empty()) copies_[worker].resize(fast_ * k_ * stride_);
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
  double* low = scratch + width_;
  if (!directed)
    exact_.add_row(&weight, grid_.square_inverse + d, unit_, 1, padded_, into + d, nullptr);
  if (rounds()) {
    for (int64_t t = 0; t < d; ++t) scratch[t] = round(x[t], t);
    x = scratch;
  }
  exact_.squares(x, weight, d, scratch, low);
  exact_.add_squares(scratch, low, grid_.square_inverse, unit_, d, padded_, into);
}

// The grid as kernels read it.
SumGrid SharedSums::padded_grid() {
  const int64_t d = width_ - 1;
  padded_quanta_.assign(4 * padded_, 0);
  double *const inverse = padded_quanta_.data(), *const square_inverse = inverse + padded_;
  double *const square_step = square_inverse + padded_, *const weight = square_step + padded_;
  for (int64_t t = 0; t < d; ++t) {
    inverse[t] = grid_.inverse[t];
    square_inverse[t] = grid_.square_inverse[t];
    square_step[t] = grid_.quantum[t] * grid_.square_inverse[t] * grid_.quantum[t];
  }
  weight[d] = grid_.inverse[d];
  return {inverse,
          square_inverse,
          square_step,
          weight,
          unit_,
          static_cast<int64_t>(grid_.inverse[d]),
          padded_,
          fast_ == 2 ? k_ * padded_ : 0,
          added_.unit != UnitRows::none};
}

int64_t SharedSums::move(int worker, const MovedRows& moved, double* scratch) {
  // Others are rare: so many rows.
  if (!private_copies_ || fast_ != (is_double(moved.rows.dtype) ? 2 : 1)) return 0;
  std::vector<int32_t>& left = left_[worker];
  left.resize(static_cast<size_t>(moved.count));
  int64_t rows_left = 0;
  MovedRows listing = moved;
  listing.left = left.data();
  listing.left_count = &rows_left;
  const int64_t done =
      exact_.move_rows(listing, moving_, copy_of(worker), squares_of(worker), scratch);
  const Metric metric = added_.unit == UnitRows::none ? Metric::squared_euclidean : Metric::cosine;
  for (int64_t r = 0; r < rows_left && fast_ < grid_.levels; ++r) {
    const int32_t c = left[static_cast<size_t>(r)];
    read_row(moved.rows, moved.row[c], metric, exact_, scratch);
    add_rest(scratch, nullptr, width_ - 1, moved.before[c], moved.now[c]);
  }
  return done;
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
  SharedSums shared(grid, k, rows.d, target.exact, threads, rows.n,
                    added_by(metric, rows.dtype, weights != nullptr), sums);
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
