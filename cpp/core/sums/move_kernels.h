// Many rows that change their cluster, from one integer sum to another (sums.h). A part of
// exact.cpp, compiled per target without FMA contraction: the arithmetic is, operation by
// operation, that of read_row, add_row and add_squares, without a buffer between them.
//
// Sums are padded to whole registers. A row's last register holds a one behind its last column, the
// weight, and zeros behind that, which add nothing.
//
// What is left of a row below these levels is for the caller to add: rows that leave something are
// listed. Few do, and no row that is rounded (sums.h).
//
// Cost per row in operations of registers, for each kWide columns: 7 (two levels: 12) and 1 for
// every sum and level that changes; the first time 11 more for squares (where they are not exact,
// 14). Rows of length one take 3 more, and roots and divisions of 5 cycles. Measured with AVX-512,
// the first time, 16 columns in memory: float32 24 cycles, of length one 42; float64 35.
//
// Once here: the sum of a row's squares as two doubles, added once per row and not in each column.
// Putting the lanes together takes more operations than it saves.
#pragma once
#include "core/base/ordered.h"
#include "core/sums/sum_kernels.h"

namespace shoal::SHOAL_TARGET {
namespace {

// Rows are brought to length one; sums have two levels.
template <bool kIsUnit, bool kIsTwo>
struct Kind {
  static constexpr bool kUnit = kIsUnit, kTwo = kIsTwo;
};

// The squares of a register of a row (IN v; in_quanta: rounded to the grid of the sums), in quanta
// of theirs, and what is left of them above that.
template <class Row>
inline __attribute__((always_inline)) Doubles squares_of(Doubles v, Doubles in_quanta,
                                                         const SumGrid& grid, int64_t t,
                                                         Doubles& rest) {
  if constexpr (Row::kUnit && !Row::kTwo) {  // of what is added to the sums: sums.h
    const Doubles scaled = in_quanta * load_wide(grid.square_step + t);
    const Doubles square = scaled * in_quanta;
    rest = left_of(scaled, in_quanta, square);
    return square;
  }
  const Doubles square = v * v, scale = load_wide(grid.square_inverse + t);
  if constexpr (Row::kTwo)
    rest = (Doubles)((Longs)left_of(v, v, square) & (Longs)(square >= broadcast(kLeastSquare))) *
           scale;
  else
    rest = Doubles{};  // values of float32 and narrower
  return square * scale;
}

// Adds a row to a sum; and takes it away from another, or, the first time, adds its squares.
// Returns whether anything is left of it.
template <class Row, bool kFirst, class T>
inline __attribute__((always_inline)) bool move_row(const T* x, double factor, int64_t d,
                                                    const SumGrid& grid, int64_t* into,
                                                    int64_t* from, int64_t* squares) {
  Longs left{};
  for (int64_t t = 0; t < d; t += kWide) {
    const bool last = t + kWide > d;
    Doubles v = last ? load_wide_first(x + t, static_cast<int>(d - t)) : load_wide(x + t);
    if constexpr (Row::kUnit) v *= factor;
    Doubles in_quanta = v * load_wide(grid.inverse + t);
    if constexpr (kFirst) {
      Doubles rest;
      const Doubles square = squares_of<Row>(v, (in_quanta + kRounder) - kRounder, grid, t, rest);
      add_wide<true, false>(square, rest, grid.unit, t, grid.stride, squares, nullptr);
    }
    if (last) in_quanta += load_wide(grid.weight + t);
    left |= (Longs)add_wide<Row::kTwo, !kFirst>(in_quanta, Doubles{}, grid.unit, t, grid.below,
                                                into, from);
  }
  if (d % kWide == 0) {
    into[d] += grid.one;
    if constexpr (!kFirst) from[d] -= grid.one;
  }
  if constexpr (Row::kUnit && !Row::kTwo) return false;  // rounded
  return any(left);
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
    __builtin_prefetch(next + size - 1);  // it may lie in one line more
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
    const int32_t before = moved.before[c];
    const bool more =
        before < 0 ? move_row<Row, true>(x, factor[c % kRoots], d, grid, into, nullptr, squares)
                   : move_row<Row, false>(x, factor[c % kRoots], d, grid, into,
                                          sums + before * grid.stride, nullptr);
    if (more) moved.left[(*moved.left_count)++] = static_cast<int32_t>(c);
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
