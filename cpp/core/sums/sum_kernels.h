// Kernels of the integer sums (sums.h) and of the loss that follows from them (loss.h). A part of
// exact.cpp, compiled per target without FMA contraction.
//
// Cost of adding a row: about 1 cycle per column and level where the sums are in L2, a third of
// that by move_kernels.h.
#pragma once
#include <cstring>

#include "core/base/ordered.h"
#include "core/simd/simd.h"
#include "core/simd/targets.h"

namespace shoal::SHOAL_TARGET {
namespace {

typedef int64_t Longs __attribute__((vector_size(kWide * 8)));

// Adding 1.5 * 2^52 leaves the nearest integer (ties to even) in the low bits of the double.
constexpr double kRounder = 0x1.8p52;

inline Longs load_longs(const int64_t* from) {
  Longs v;
  std::memcpy(&v, from, sizeof v);
  return v;
}
inline Longs whole(Doubles rounded) { return (Longs)rounded - (Longs)broadcast(kRounder); }
inline int64_t whole(double rounded) {
  int64_t bits, offset;
  std::memcpy(&bits, &rounded, sizeof bits);
  std::memcpy(&offset, &kRounder, sizeof offset);
  return bits - offset;
}

// A value and an error of it, both in quanta of a grid, in whole quanta; and what is left of them
// in quanta 2^bits = `unit` finer. Returns what that leaves, in the last quanta.
template <bool kLow, class Real, class Whole>
inline __attribute__((always_inline)) Real to_grid(Real value, Real error, double unit, Whole& high,
                                                   Whole& low) {
  const Real rounded = value + kRounder;
  high = whole(rounded);
  const Real rest = value - (rounded - kRounder);  // exact
  if constexpr (!kLow) return rest;
  const Real finer = (rest + error) * unit, finer_rounded = finer + kRounder;
  low = whole(finer_rounded);
  return finer - (finer_rounded - kRounder);
}

// Columns t to t + kWide - 1 of sums on one level or two, `below` apart. Returns as to_grid.
template <bool kLow, bool kFrom>
inline __attribute__((always_inline)) Doubles add_wide(Doubles value, Doubles error, double unit,
                                                       int64_t t, int64_t below, int64_t* into,
                                                       int64_t* from) {
  Longs high, low;
  const Doubles left = to_grid<kLow>(value, error, unit, high, low);
  store(into + t, load_longs(into + t) + high);
  if constexpr (kFrom) store(from + t, load_longs(from + t) - high);
  if constexpr (!kLow) return left;
  store(into + below + t, load_longs(into + below + t) + low);
  if constexpr (kFrom) store(from + below + t, load_longs(from + below + t) - low);
  return left;
}

// Whether a bit is set.
inline bool any(Longs bits) {
#if defined(__AVX512F__)
  return _mm512_test_epi64_mask((__m512i)bits, (__m512i)bits) != 0;
#elif defined(__AVX2__)
  return _mm256_testz_si256((__m256i)bits, (__m256i)bits) == 0;
#else
  int64_t lanes = 0;
  for (int i = 0; i < kWide; ++i) lanes |= bits[i];
  return lanes != 0;
#endif
}

template <bool kLow, bool kFrom, bool kError>
bool add_row_as(const double* x, const double* error, const double* inverse, double unit, int64_t d,
                int64_t below, int64_t* into, int64_t* from) {
  int64_t t = 0;
  Longs left{};
  for (; t + kWide <= d; t += kWide) {
    const Doubles scale = load_wide(inverse + t);
    left |= (Longs)add_wide<kLow, kFrom>(load_wide(x + t) * scale,
                                         kError ? load_wide(error + t) * scale : Doubles{}, unit, t,
                                         below, into, from);
  }
  bool more = any(left);
  for (; t < d; ++t) {
    int64_t high, low;
    more |= to_grid<kLow>(x[t] * inverse[t], kError ? error[t] * inverse[t] : 0.0, unit, high,
                          low) != 0;
    into[t] += high;
    if constexpr (kFrom) from[t] -= high;
    if constexpr (!kLow) continue;
    into[below + t] += low;
    if constexpr (kFrom) from[below + t] -= low;
  }
  return more;
}

bool add_row(const double* x, const double* inverse, double unit, int64_t d, int64_t below,
             int64_t* into, int64_t* from) {
  const auto add =
      below != 0
          ? (from != nullptr ? add_row_as<true, true, false> : add_row_as<true, false, false>)
      : from != nullptr ? add_row_as<false, true, false>
                        : add_row_as<false, false, false>;
  return add(x, nullptr, inverse, unit, d, below, into, from);
}

void add_squares(const double* high, const double* low, const double* inverse, double unit,
                 int64_t d, int64_t below, int64_t* into) {
  add_row_as<true, false, true>(high, low, inverse, unit, d, below, into, nullptr);
}

// --- sums of two doubles ---------------------------------------------------------------------

// a + b = sum + rest (Knuth's two-sum).
inline Doubles two_sum(Doubles a, Doubles b, Doubles& rest) {
  const Doubles sum = a + b, part = sum - a;
  rest = (a - (sum - part)) + (b - part);
  return sum;
}

// What is left of a * b above product, a * b rounded: by one instruction, or Dekker's way, for |a|,
// |b| < 2^900. Both are exact where the product is at least 2^-900.
#if defined(__AVX512F__)
inline Doubles left_of(Doubles a, Doubles b, Doubles product) {
  return (Doubles)_mm512_fmsub_pd((__m512d)a, (__m512d)b, (__m512d)product);
}
#elif defined(__FMA__)
inline Doubles left_of(Doubles a, Doubles b, Doubles product) {
  return (Doubles)_mm256_fmsub_pd((__m256d)a, (__m256d)b, (__m256d)product);
}
#elif defined(__ARM_NEON) && defined(__aarch64__)
inline Doubles left_of(Doubles a, Doubles b, Doubles product) {
  return (Doubles)vnegq_f64(vfmsq_f64((float64x2_t)product, (float64x2_t)a, (float64x2_t)b));
}
#else
inline Doubles high_half(Doubles a) {
  const Doubles scaled = a * 134217729.0;  // 2^27 + 1
  return scaled - (scaled - a);
}
inline Doubles left_of(Doubles a, Doubles b, Doubles product) {
  const Doubles a1 = high_half(a), b1 = high_half(b), a2 = a - a1, b2 = b - b1;
  return ((a1 * b1 - product) + a1 * b2 + a2 * b1) + a2 * b2;
}
#endif

// What is left of x^2 above it. Squares, and products, so small that it is no double have none.
constexpr double kLeastSquare = 0x1p-900;

// a * b = product + rest.
inline Doubles two_product(Doubles a, Doubles b, Doubles& rest) {
  const Doubles product = a * b;
  const Longs sized =
      (Longs)(product >= broadcast(kLeastSquare)) | (Longs)(product <= broadcast(-kLeastSquare));
  rest = (Doubles)((Longs)left_of(a, b, product) & sized);
  return product;
}

// x^2 as two doubles.
inline void square_values(const double* x, int64_t d, double* high, double* low) {
  constexpr double kSplit = 134217729.0;  // 2^27 + 1
  for (int64_t t = 0; t < d; ++t) {
    const double a1 = x[t] * kSplit - (x[t] * kSplit - x[t]), a2 = x[t] - a1;
    high[t] = x[t] * x[t];
    const double rest = ((a1 * a1 - high[t]) + 2 * (a1 * a2)) + a2 * a2;
    low[t] = high[t] >= kLeastSquare ? rest : 0;
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

struct TwoSums {
  Doubles high[kParts] = {}, low[kParts] = {};

  void add(int part, Doubles value, Doubles rest) {
    Doubles error;
    high[part] = two_sum(high[part], value, error);
    low[part] += error + rest;
  }
  // The eight interleaved sums one after the other, or of fewer columns as many: the same for every
  // target. OUT total [2].
  void total(int64_t d, double* total) const {
    double h[8], l[8], sum = 0, rest = 0;
    std::memcpy(h, high, sizeof h);
    std::memcpy(l, low, sizeof l);
    for (int i = 0; i < 8 && i < d; ++i) {
      const double next = sum + h[i], part = next - sum;
      rest += ((sum - (next - part)) + (h[i] - part)) + l[i];
      sum = next;
    }
    total[0] = sum;
    total[1] = rest;
  }
};

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
  dots.total(d, dot);
  squares.total(d, norm2);
}

// A row of sums as float64: the levels from the last one up, each rounded once, then in its unit.
void sum_values(const int64_t* sums, int64_t levels, int64_t below, double fine,
                const double* quantum, int64_t width, double* values) {
  int64_t t = 0;
  for (; t + kWide <= width; t += kWide) {
    Doubles v{};
    for (int64_t level = levels; level-- > 0;)
      v = v * fine + __builtin_convertvector(load_longs(sums + level * below + t), Doubles);
    store(values + t, v * load_wide(quantum + t));
  }
  for (; t < width; ++t) {
    double v = 0;
    for (int64_t level = levels; level-- > 0;)
      v = v * fine + static_cast<double>(sums[level * below + t]);
    values[t] = v * quantum[t];
  }
}

}  // namespace
}  // namespace shoal::SHOAL_TARGET
