// Kernels of the integer sums (sums.h) and of the loss that follows from them (loss.h). A part of
// exact.cpp, compiled per target without FMA contraction.
//
// Cost of adding a row: about 1 cycle per column and level where the sums are in L2.
#pragma once
#include <cstring>
#include <type_traits>

#include "simd.h"
#include "targets.h"

namespace shoal::SHOAL_TARGET {
namespace {

constexpr int kParts = 8 / kWide;  // registers that hold the eight interleaved sums

typedef int64_t Longs __attribute__((vector_size(kWide * 8)));

// Adding 1.5 * 2^52 leaves the nearest integer (ties to even) in the low bits of the double.
constexpr double kRounder = 0x1.8p52;

inline Longs load_longs(const int64_t* from) {
  Longs v;
  std::memcpy(&v, from, sizeof v);
  return v;
}
inline Longs whole(Doubles rounded) { return (Longs)rounded - (Longs)broadcast(kRounder); }

// Columns t to t + kWide - 1 of add_row.
template <bool kLow, bool kFrom, bool kSquare>
inline void add_wide(const double* x, const double* inverse, const double* quantum, double unit,
                     int64_t t, int64_t below, int64_t* into, int64_t* from) {
  const Doubles in_quanta = load_wide(inverse + t);
  Doubles value = load_wide(x + t);
  if constexpr (kSquare) value *= value;
  const Doubles rounded = value * in_quanta + kRounder;
  const Longs high = whole(rounded);
  store(into + t, load_longs(into + t) + high);
  if constexpr (kFrom) store(from + t, load_longs(from + t) - high);
  if constexpr (kLow) {
    const Doubles rest = value - (rounded - kRounder) * load_wide(quantum + t);  // exact
    const Longs low = whole(rest * in_quanta * unit + kRounder);
    store(into + below + t, load_longs(into + below + t) + low);
    if constexpr (kFrom) store(from + below + t, load_longs(from + below + t) - low);
  }
}

inline int64_t whole(double rounded) {
  int64_t bits, offset;
  std::memcpy(&bits, &rounded, sizeof bits);
  std::memcpy(&offset, &kRounder, sizeof offset);
  return bits - offset;
}

// The last columns, fewer than a register holds; straight code, as rows of few columns are common.
// (Always inlined: GCC jumps to it without clearing the upper halves of the registers, which costs
// hundreds of cycles when code for another target follows.)
template <bool kLow, bool kFrom, bool kSquare, int kColumns = kWide - 1>
inline __attribute__((always_inline)) void add_last(int64_t columns, const double* x,
                                                    const double* inverse, const double* quantum,
                                                    double unit, int64_t below, int64_t* into,
                                                    int64_t* from) {
  if constexpr (kColumns > 0) {
    if (columns < kColumns) {
      add_last<kLow, kFrom, kSquare, kColumns - 1>(columns, x, inverse, quantum, unit, below, into,
                                                   from);
      return;
    }
#pragma GCC unroll 8
    for (int t = 0; t < kColumns; ++t) {
      const double value = kSquare ? x[t] * x[t] : x[t];
      const double rounded = value * inverse[t] + kRounder;
      const int64_t high = whole(rounded);
      into[t] += high;
      if constexpr (kFrom) from[t] -= high;
      if constexpr (kLow) {
        const double rest = value - (rounded - kRounder) * quantum[t];  // exact
        const int64_t low = whole(rest * inverse[t] * unit + kRounder);
        into[below + t] += low;
        if constexpr (kFrom) from[below + t] -= low;
      }
    }
  }
}

template <bool kLow, bool kFrom, bool kSquare = false>
inline void add_row_as(const double* x, const double* inverse, const double* quantum, double unit,
                       int64_t d, int64_t below, int64_t* into, int64_t* from) {
  int64_t t = 0;
  for (; t + kWide <= d; t += kWide)
    add_wide<kLow, kFrom, kSquare>(x, inverse, quantum, unit, t, below, into, from);
  add_last<kLow, kFrom, kSquare>(d - t, x + t, inverse + t, quantum + t, unit, below, into + t,
                                 kFrom ? from + t : nullptr);
}

void add_row(const double* x, const double* inverse, const double* quantum, double unit, int64_t d,
             int64_t below, int64_t* into, int64_t* from) {
  const auto add = below != 0 ? (from != nullptr ? add_row_as<true, true> : add_row_as<true, false>)
                   : from != nullptr ? add_row_as<false, true>
                                     : add_row_as<false, false>;
  add(x, inverse, quantum, unit, d, below, into, from);
}

// --- sums of two doubles ---------------------------------------------------------------------

// a + b = sum + rest (Knuth's two-sum); a * b = product + rest (Dekker's, for |a|, |b| < 2^900).
inline Doubles two_sum(Doubles a, Doubles b, Doubles& rest) {
  const Doubles sum = a + b, part = sum - a;
  rest = (a - (sum - part)) + (b - part);
  return sum;
}
inline Doubles high_half(Doubles a) {
  const Doubles scaled = a * 134217729.0;  // 2^27 + 1
  return scaled - (scaled - a);
}
inline Doubles two_product(Doubles a, Doubles b, Doubles& rest) {
  const Doubles product = a * b, a1 = high_half(a), b1 = high_half(b);
  const Doubles a2 = a - a1, b2 = b - b1;
  rest = ((a1 * b1 - product) + a1 * b2 + a2 * b1) + a2 * b2;
  return product;
}

// x^2 as two doubles.
inline void square_values(const double* x, int64_t d, double* high, double* low) {
  constexpr double kSplit = 134217729.0;  // 2^27 + 1
  for (int64_t t = 0; t < d; ++t) {
    const double a1 = x[t] * kSplit - (x[t] * kSplit - x[t]), a2 = x[t] - a1;
    high[t] = x[t] * x[t];
    low[t] = ((a1 * a1 - high[t]) + 2 * (a1 * a2)) + a2 * a2;
  }
}

void squares(const double* x, double weight, int64_t d, double* high, double* low) {
  square_values(x, d, high, low);
  constexpr double kSplit = 134217729.0;
  const double w1 = weight * kSplit - (weight * kSplit - weight), w2 = weight - w1;
  if (weight == 1) return;
  for (int64_t t = 0; t < d; ++t) {
    const double square = high[t];
    const double near = square < 0x1p900 ? square : square * 0x1p-100;  // splits without overflow
    const double back = square < 0x1p900 ? 1 : 0x1p100;
    const double s1 = (near * kSplit - (near * kSplit - near)) * back, s2 = square - s1;
    high[t] = square * weight;
    low[t] = ((s1 * w1 - high[t]) + s1 * w2 + s2 * w1) + s2 * w2 + low[t] * weight;
  }
}

// Squares that are exact in float64, on two levels.
void add_squares(const double* x, const double* inverse, const double* quantum, double unit,
                 int64_t d, int64_t below, int64_t* into) {
  add_row_as<true, false, true>(x, inverse, quantum, unit, d, below, into, nullptr);
}

// --- many rows of few columns ------------------------------------------------------------------

// A type in memory that is none of the kernels': its values become float or double.
template <class Wide>
struct Other {};

template <class T>
constexpr bool kIsOther = false;
template <class Wide>
constexpr bool kIsOther<Other<Wide>> = true;

void widen_row(const char* row, Dtype dtype, int64_t col_stride, int64_t d, double* out);

template <class T, int D>
void move_rows(const FewRows& few, const FewGrid& grid, int64_t below, int64_t* sums,
               int64_t* squares) {
  constexpr bool kTwo = std::is_same_v<T, double> || std::is_same_v<T, Other<double>>;  // levels
  constexpr int64_t kAhead = 12;
  for (int64_t c = 0; c < few.count; ++c) {
    __builtin_prefetch(few.rows.row(few.row[c + kAhead < few.count ? c + kAhead : c]));
    double x[D + 1];
    if constexpr (kIsOther<T>) {
      widen_row(few.rows.row(few.row[c]), few.rows.dtype, few.rows.col_stride, D, x);
    } else {
      const auto* row = reinterpret_cast<const T*>(few.rows.row(few.row[c]));
#pragma GCC unroll 8
      for (int t = 0; t < D; ++t) x[t] = static_cast<double>(value(row[t]));
    }
    x[D] = 1;
    int64_t* into = sums + few.now[c] * grid.stride;
    const int32_t before = few.labels[few.row[c]];
    if (before >= 0) {
      add_row_as<kTwo, true>(x, grid.inverse, grid.quantum, grid.unit, D + 1, below, into,
                             sums + before * grid.stride);
      continue;
    }
    add_row_as<kTwo, false>(x, grid.inverse, grid.quantum, grid.unit, D + 1, below, into, nullptr);
    if constexpr (!kTwo) {  // squares of float32 and narrower are exact
      add_row_as<true, false, true>(x, grid.square_inverse, grid.square_quantum, grid.unit, D,
                                    grid.stride, squares, nullptr);
    } else {
      double high[D], low[D];
      square_values(x, D, high, low);
      add_row_as<true, false>(high, grid.square_inverse, grid.square_quantum, grid.unit, D,
                              grid.stride, squares, nullptr);
      for (int t = 0; t < D; ++t) low[t] *= grid.unit;
      add_row_as<false, false>(low, grid.square_inverse, grid.square_quantum, grid.unit, D, 0,
                               squares + grid.stride, nullptr);
    }
  }
}

template <class T, int D = 1>
void move_few_as(const FewRows& few, const FewGrid& grid, int64_t below, int64_t* sums,
                 int64_t* squares) {
  if constexpr (D <= kFewColumns) {
    if (few.rows.d == D)
      move_rows<T, D>(few, grid, below, sums, squares);
    else
      move_few_as<T, D + 1>(few, grid, below, sums, squares);
  }
}

void move_few(const FewRows& few, const FewGrid& grid, int64_t below, int64_t* sums,
              int64_t* squares) {
  if (few.rows.dtype == Dtype::float32)
    move_few_as<float>(few, grid, below, sums, squares);
  else if (few.rows.dtype == Dtype::float16)
    move_few_as<Half>(few, grid, below, sums, squares);
  else if (!is_native(few.rows.dtype) && !is_double(few.rows.dtype))
    move_few_as<Other<float>>(few, grid, below, sums, squares);
  else if (!is_native(few.rows.dtype))
    move_few_as<Other<double>>(few, grid, below, sums, squares);
  else
    move_few_as<double>(few, grid, below, sums, squares);
}

struct TwoSums {
  Doubles high[kParts] = {}, low[kParts] = {};

  void add(int part, Doubles value, Doubles rest) {
    Doubles error;
    high[part] = two_sum(high[part], value, error);
    low[part] += error + rest;
  }
  // The eight interleaved sums one after the other: the same for every target. OUT total [2].
  void total(double* total) const {
    double h[8], l[8], sum = 0, rest = 0;
    std::memcpy(h, high, sizeof h);
    std::memcpy(l, low, sizeof l);
    for (int i = 0; i < 8; ++i) {
      const double next = sum + h[i], part = next - sum;
      rest += ((sum - (next - part)) + (h[i] - part)) + l[i];
      sum = next;
    }
    total[0] = sum;
    total[1] = rest;
  }
};

void square_sum(const double* x, int64_t d, double* total) {
  TwoSums squares;
  for (int64_t t = 0; t < d; t += 8) {
    double last[8] = {};
    const double* from = x + t;
    if (t + 8 > d) from = static_cast<double*>(std::memcpy(last, from, sizeof(double) * (d - t)));
#pragma GCC unroll 4
    for (int j = 0; j < kParts; ++j) {
      const Doubles value = load_wide(from + j * kWide);
      Doubles error;
      const Doubles square = two_product(value, value, error);
      squares.add(j, square, error);
    }
  }
  squares.total(total);
}

// Eight columns of `moments`.
inline void add_moments(const int64_t* high, const int64_t* low, const double* quantum, double fine,
                        const double* c, TwoSums& dots, TwoSums& squares) {
#pragma GCC unroll 4
  for (int j = 0; j < kParts; ++j) {
    Longs whole, fraction;
    std::memcpy(&whole, high + j * kWide, sizeof whole);
    const Doubles rounded = __builtin_convertvector(whole, Doubles);
    const Doubles left =
        __builtin_convertvector(whole - __builtin_convertvector(rounded, Longs), Doubles);
    const Doubles step = load_wide(quantum + j * kWide), center = load_wide(c + j * kWide);
    Doubles rest = left * step, error;
    if (low != nullptr) {
      std::memcpy(&fraction, low + j * kWide, sizeof fraction);
      rest += __builtin_convertvector(fraction, Doubles) * (step * fine);
    }
    const Doubles product = two_product(rounded * step, center, error);
    dots.add(j, product, error + rest * center);
    const Doubles square = two_product(center, center, error);
    squares.add(j, square, error);
  }
}

void moments(const int64_t* high, const int64_t* low, const double* quantum, double fine,
             const double* c, int64_t d, double* dot, double* norm2) {
  TwoSums dots, squares;
  int64_t t = 0;
  for (; t + 8 <= d; t += 8)
    add_moments(high + t, low != nullptr ? low + t : nullptr, quantum + t, fine, c + t, dots,
                squares);
  if (t < d) {
    int64_t h[8] = {}, l[8] = {};
    double q[8] = {}, x[8] = {};
    for (int64_t i = 0; t + i < d; ++i) {
      h[i] = high[t + i];
      l[i] = low != nullptr ? low[t + i] : 0;
      q[i] = quantum[t + i];
      x[i] = c[t + i];
    }
    add_moments(h, l, q, fine, x, dots, squares);
  }
  dots.total(dot);
  squares.total(norm2);
}

}  // namespace
}  // namespace shoal::SHOAL_TARGET
