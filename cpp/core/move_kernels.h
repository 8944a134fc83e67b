// Many rows that change their cluster, from one integer sum to another (sums.h). A part of
// exact.cpp, compiled per target without FMA contraction: the arithmetic is, operation by
// operation, that of read_row, add_row and add_squares, without a buffer between them.
//
// Sums are padded to whole registers. A row's last register holds a one behind its last column, the
// weight, and zeros behind that, which add nothing.
//
// Cost per row in operations of registers, for each kWide columns: 4 + 3 for every sum and level
// that changes; 5 more with a second level; and 12 (exact squares) to 18 the first time, when
// squares are added. Rows of length one take 2 more, and a root and a division of about 25 cycles.
// For few columns that is bound by the sums of the row before, which the next one often waits for.
#pragma once
#include "ordered.h"
#include "sum_kernels.h"

namespace shoal::SHOAL_TARGET {
namespace {

// v^2 and what is left of it above that, as square_values has it.
inline Doubles exact_square(Doubles v, Doubles& rest) {
  const Doubles square = v * v;
#if defined(__AVX512F__)
  rest = (Doubles)_mm512_maskz_fmsub_pd(
      _mm512_cmp_pd_mask((__m512d)square, _mm512_set1_pd(kLeastSquare), _CMP_GE_OQ), (__m512d)v,
      (__m512d)v, (__m512d)square);
#else
#if defined(__FMA__)
  const auto left = (Doubles)_mm256_fmsub_pd((__m256d)v, (__m256d)v, (__m256d)square);
#elif defined(__ARM_NEON) && defined(__aarch64__)
  const auto left =
      (Doubles)vnegq_f64(vfmsq_f64((float64x2_t)square, (float64x2_t)v, (float64x2_t)v));
#else
  Doubles left;
  two_product(v, v, left);
#endif
  rest = (Doubles)((Longs)left & (Longs)(square >= broadcast(kLeastSquare)));
#endif
  return square;
}

// What rows are, and what is done with them.
template <bool kIsUnit, bool kIsTwo>
struct Kind {
  static constexpr bool kUnit = kIsUnit;                 // brought to length one
  static constexpr bool kTwo = kIsTwo;                   // sums on two levels
  static constexpr bool kExact = !kIsUnit && !kIsTwo;    // squares are exact in float64
};

// Adds a row to a sum; and takes it away from another, or, the first time, adds its squares.
template <class Row, bool kFirst, class T>
inline __attribute__((always_inline)) void move_row(const T* x, double factor, int64_t d,
                                                    const SumGrid& grid, int64_t below,
                                                    int64_t* into, int64_t* from,
                                                    int64_t* squares) {
  for (int64_t t = 0; t < d; t += kWide) {
    const bool last = t + kWide > d;
    Doubles v = last ? load_wide_first(x + t, static_cast<int>(d - t)) : load_wide(x + t);
    if constexpr (Row::kUnit) v *= factor;
    if constexpr (kFirst) {
      Doubles rest{};
      Doubles seen = v;
      if constexpr (Row::kUnit && !Row::kTwo) {  // the loss is that of the sums
        const Doubles rounded = v * load_wide(grid.inverse + t) + kRounder;
        seen = (rounded - kRounder) * load_wide(grid.quantum + t);
      }
      const Doubles square = Row::kExact ? seen * seen : exact_square(seen, rest);
      add_wide<true, false>(square, rest, grid.square_inverse, grid.square_quantum, grid.unit, t,
                            grid.stride, squares, nullptr);
    }
    if (last) v += load_wide(grid.weight + t);
    add_wide<Row::kTwo, !kFirst>(v, Doubles{}, grid.inverse, grid.quantum, grid.unit, t, below,
                                 into, from);
  }
  if (d % kWide != 0) return;
  into[d] += grid.one;
  if constexpr (!kFirst) from[d] -= grid.one;
}

// D: the columns, or 0 where they are not known to the compiler.
template <class T, class Row, int D>
int64_t move_as(const MovedRows& moved, const SumGrid& grid, int64_t* sums, int64_t* squares,
                double* scratch) {
  constexpr int64_t kAhead = 12;
  const Rows& rows = moved.rows;
  const int64_t d = D > 0 ? D : rows.d, size = d * item_size(rows.dtype);
  const auto fetch = [&](int64_t c) {
    const char* next = rows.row(moved.row[c + kAhead < moved.count ? c + kAhead : c]);
    for (int64_t at = 0; at < size; at += 64) __builtin_prefetch(next + at);
  };
  const auto read = [&](int64_t c) {
    const char* row = rows.row(moved.row[c]);
    if (scratch == nullptr) return reinterpret_cast<const T*>(row);
    widen_row(row, rows.dtype, rows.col_stride, d, scratch);
    return reinterpret_cast<const T*>(scratch);
  };
  double factor[kRoots];
  for (int64_t c = 0; c < moved.count; ++c) {
    if constexpr (Row::kUnit) {
      const int64_t left = moved.count - c;
      if (c % kRoots == 0)
        unit_factors<T>([&](int64_t i) { return fetch(c + i), read(c + i); },
                        left < kRoots ? left : kRoots, d, factor);
      if (!(factor[c % kRoots] > 0)) return c;
    } else {
      fetch(c);
    }
    const T* x = read(c);
    int64_t* into = sums + moved.now[c] * grid.stride;
    const int32_t before = moved.labels[moved.row[c]];
    if (before < 0)
      move_row<Row, true>(x, factor[c % kRoots], d, grid, grid.below, into, nullptr, squares);
    else
      move_row<Row, false>(x, factor[c % kRoots], d, grid, grid.below, into,
                           sums + before * grid.stride, nullptr);
  }
  return moved.count;
}

template <class T, class Row>
int64_t move_of(const MovedRows& moved, const SumGrid& grid, int64_t* sums, int64_t* squares,
                double* scratch) {
  const auto move = moved.rows.d == 3   ? move_as<T, Row, 3>
                    : moved.rows.d == 2 ? move_as<T, Row, 2>
                                        : move_as<T, Row, 0>;
  return move(moved, grid, sums, squares, scratch);
}

int64_t move_rows(const MovedRows& moved, const SumGrid& grid, int64_t* sums, int64_t* squares,
                  double* scratch) {
  const auto move = [&]<class T>() {
    constexpr bool kMayBeTwo = sizeof(T) == 8;
    if constexpr (kMayBeTwo) {
      if (grid.below != 0)
        return grid.unit_rows ? move_of<T, Kind<true, true>>(moved, grid, sums, squares, scratch)
                              : move_of<T, Kind<false, true>>(moved, grid, sums, squares, scratch);
    }
    return grid.unit_rows ? move_of<T, Kind<true, false>>(moved, grid, sums, squares, scratch)
                          : move_of<T, Kind<false, false>>(moved, grid, sums, squares, scratch);
  };
  if (!packed(moved.rows)) return move.template operator()<double>();
  scratch = nullptr;
  return with_native_type(moved.rows.dtype, move);
}

}  // namespace
}  // namespace shoal::SHOAL_TARGET
