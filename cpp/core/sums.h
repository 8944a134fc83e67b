// Sums of rows per cluster as integers, so that the order of addition cannot matter.
//
// Each column has a grid: a power of two (its quantum) such that every value, divided by it, is
// below 2^bits, and bits + log2(rows) < 63. Values are rounded once to that grid and added as
// 64-bit integers. Two levels keep the remainders on a second grid 2^bits finer: float64 rows and
// weighted rows lose nothing that a float64 sum would have kept. Taking a row away again is exact.
// Squares of all rows together are summed likewise, always on two levels: they hold for any labels,
// and make the loss follow from the sums (loss.h). Rows of length one that were float32 or narrower
// are rounded to the grid of one level before anything else, also where weights ask for two, so
// that weights of one change no bit. The loss is then that of the rounded rows, which differs by
// what the rounding, 2^-bits, takes from a difference x - c, not from x.
//
// Cost: move_kernels.h; a row by itself (with a weight, or under a lock) about 4 d cycles.
#pragma once
#include <array>
#include <mutex>
#include <vector>

#include "aligned.h"
#include "dispatch.h"
#include "rows.h"
#include "sparse_row.h"

namespace shoal {

struct Grid {
  const double* quantum;         // IN [d + 1], powers of two; the last column is the weight
  const double* inverse;         // IN [d + 1], 1 / quantum
  const double* square_quantum;  // IN [d + 1], of the squares; the last column is a weight again
  const double* square_inverse;  // IN [d + 1]
  int bits;
  int levels;  // 1 or 2

  double unit() const { return static_cast<double>(int64_t{1} << bits); }
};

// Rows are brought to length one, of float64 or as wide, or of float32 or narrower.
enum class UnitRows : int { none, wide, narrow };
inline UnitRows unit_rows(Metric metric, Dtype dtype) {
  if (metric != Metric::cosine) return UnitRows::none;
  return is_double(dtype) ? UnitRows::wide : UnitRows::narrow;
}

// Sums that several threads add to: INOUT sums [levels][k][d + 1], squares [2][d + 1] (weight *
// x^2 per column; the weight of rows without direction), or null. n: rows expected, about.
class SharedSums {
 public:
  SharedSums(const Grid& grid, int64_t k, int64_t d, const ExactKernels& exact, int threads,
             int64_t n, UnitRows unit_rows, int64_t* sums, int64_t* squares = nullptr);

  // Adds weight * row to a cluster, and takes it away from another, unless that is -1.
  // IN x [d], as read_row gives it; its content is not kept, and x [d] is written too.
  void add(int worker, double* x, double weight, int32_t from, int32_t into);

  // Adds the squares of a row, once. directed: what read_row returned; TMP scratch [2 (d + 1)].
  void add_squares(int worker, const double* x, double weight, bool directed, double* scratch);

  // The same for a sparse row (sparse_row.h): zeros add nothing, so only its values are looked at.
  // INOUT row.values: not kept by the first.
  void add(int worker, const SparseRow& row, double weight, int32_t from, int32_t into);
  void add_squares(int worker, const SparseRow& row, double weight);

  // The same as for dense ones for many rows without weights, at once. Returns how many are done:
  // the next is to be added by itself. TMP scratch [d].
  int64_t move(int worker, const MovedRows& moved, double* scratch);

  // Brings the threads' parts together; call once, when all have finished.
  void finish();

 private:
  // Where the sums of a thread are; locked where they are those of all.
  struct Held {
    int64_t* sums;
    std::unique_lock<std::mutex> one, other;
  };
  Held hold(int worker, int32_t from, int32_t into);
  int64_t* copy_of(int worker);
  int64_t* squares_of(int worker);
  SumGrid padded_grid();
  bool rounds() const {
    return unit_rows_ == UnitRows::narrow && (grid_.levels == 1 || grid_.bits >= 32);
  }
  // Where rows are rounded: a value of column t.
  double round(double x, int64_t t) const {
    constexpr double kRounder = 0x1.8p52;  // leaves the nearest whole number, ties to even
    const double step = grid_.levels == 1 ? grid_.quantum[t] : 2 / unit_;
    return (x / step + kRounder - kRounder) * step;
  }

  const Grid& grid_;
  const int64_t k_, width_;
  const ExactKernels& exact_;
  const double unit_;
  int64_t *sums_, *squares_;
  const UnitRows unit_rows_;
  bool private_copies_;  // where they are worth clearing; else all add in place, under locks
  // Of a copy, and of squares: whole cache lines. A load that straddles two waits for the last
  // store to the same place.
  int64_t padded_;
  int64_t stride_;  // of the sums that rows are added to
  std::vector<Aligned<int64_t>> copies_, squares_of_;
  Aligned<double> padded_quanta_;  // [4][padded], of moving_
  SumGrid moving_{};
  std::array<std::mutex, 64> locks_;
};

// sums[level][labels[i]][t] += weight_i * x_it, and the weight itself in column d.
// IN rows [n, d] (of length one under cosine), weights [n] or null, labels [n] in [0, k).
// INOUT sums [levels][k][d + 1].
void add_sums(const Rows& rows, const double* weights, const int32_t* labels, int64_t k,
              Metric metric, const Grid& grid, const Target& target, int threads, int64_t* sums);

}  // namespace shoal
