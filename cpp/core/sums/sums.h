// Sums of rows per cluster as integers, so that the order of addition cannot matter.
//
// Each column has a grid: a power of two (its quantum) such that every value, divided by it, is
// below 2^bits, and bits + log2(rows) < 63. A value is rounded to that grid and added as a 64-bit
// integer; what is left of it goes to a second grid 2^bits finer, and so on, down to the last digit
// of the smallest value: there are as many levels as the range within a column asks for, so that
// nothing is lost, and a value of 1e20 takes nothing from the others. Most values leave nothing
// below the first level (float32 and narrower) or the second (float64, weights): those are `fast`,
// each thread's own, and the rest is added where all threads meet. Taking a row away is exact, too.
//
// Squares of all rows together are summed likewise, always on two levels: they hold for any labels,
// and the loss follows from the sums (loss.h), which says where that is not enough.
//
// Rows of length one that were float32 or narrower are rounded to the grid of one level before
// anything else (`rounds`), also where weights ask for two, so that weights of one change no bit.
// The loss is then that of the rounded rows, which differs by what the rounding, 2^-bits, takes
// from a difference x - c, not from x. Only where a column is far too uneven for that, they are
// not.
//
// Cost: move_kernels.h; a row by itself (with a weight, or under a lock) about 4 d cycles; d more
// for each level of a row that leaves something below.
#pragma once
#include <array>
#include <mutex>
#include <vector>

#include "core/base/aligned.h"
#include "core/base/rows.h"
#include "core/base/sparse_row.h"
#include "core/simd/dispatch.h"

namespace shoal {

struct Grid {
  const double* quantum;         // IN [d + 1], powers of two; the last column is the weight
  const double* inverse;         // IN [d + 1], 1 / quantum
  const double* square_quantum;  // IN [d + 1], of the squares; the last column is a weight again
  const double* square_inverse;  // IN [d + 1]
  int bits;
  int levels;          // at least 1
  bool rounds = true;  // rows of length one of float32 or narrower: see above

  double unit() const { return static_cast<double>(int64_t{1} << bits); }
};

// Rows are brought to length one, of float64 or as wide, or of float32 or narrower.
enum class UnitRows : int { none, wide, narrow };
inline UnitRows unit_rows(Metric metric, Dtype dtype) {
  if (metric != Metric::cosine) return UnitRows::none;
  return is_double(dtype) ? UnitRows::wide : UnitRows::narrow;
}

// What kind of values rows add to sums.
struct Added {
  UnitRows unit;
  bool narrow;  // of float32 or narrower, and without weights
};
inline Added added_by(Metric metric, Dtype dtype, bool weighted) {
  return {unit_rows(metric, dtype), !weighted && !is_double(dtype)};
}

// Sums that several threads add to: INOUT sums [levels][k][d + 1], squares [2][d + 1] (weight *
// x^2 per column; the weight of rows without direction), or null. n: rows expected, about.
class SharedSums {
 public:
  SharedSums(const Grid& grid, int64_t k, int64_t d, const ExactKernels& exact, int threads,
             int64_t n, Added added, int64_t* sums, int64_t* squares = nullptr);

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
  Held hold_all(int32_t from, int32_t into);
  void add_rest(const double* x, const int32_t* columns, int64_t size, int32_t from, int32_t into);
  int64_t* copy_of(int worker);
  int64_t* squares_of(int worker);
  SumGrid padded_grid();
  bool rounds() const {
    return added_.unit == UnitRows::narrow && grid_.rounds &&
           (grid_.levels == 1 || grid_.bits >= 32);
  }
  // Whether one level takes nearly all there is.
  bool one_level() const {
    if (!added_.narrow || added_.unit == UnitRows::none) return added_.narrow;
    return rounds() && grid_.quantum[0] * unit_ == 2;  // rounded to that level, and no finer
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
  const Added added_;
  const int fast_;       // levels
  bool private_copies_;  // where they are worth clearing; else all add in place, under locks
  // Of a copy, and of squares: whole cache lines. A load that straddles two waits for the last
  // store to the same place.
  int64_t padded_;
  int64_t stride_;                                     // of the sums that rows are added to
  std::vector<Aligned<int64_t>> copies_, squares_of_;  // copies: of the fast levels
  std::vector<std::vector<int32_t>> left_;
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
