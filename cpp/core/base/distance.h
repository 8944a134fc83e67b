// The definition of a distance, in scalar code: the truth every kernel is tested against.
//
// Terms are added in the order of NumPy's pairwise summation over a contiguous axis: below 8 terms
// one by one; up to 128 terms in eight interleaved sums, ((0+1)+(2+3))+((4+5)+(6+7)), then the
// rest one by one; above, halves (the first a multiple of 8). Multiplications are rounded: no FMA.
// So a label is what `((x - centers) ** 2).sum(axis=1).argmin()` gives in float64, bit for bit.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#include "core/base/types.h"

namespace shoal {

// Of one row, or of several in the lanes of a vector.
template <class Term>
auto ordered_sum(const Term& term, int64_t begin, int64_t n) -> decltype(term(begin)) {
  using Value = decltype(term(begin));
  if (n < 8) {
    Value sum{};
    for (int64_t i = 0; i < n; ++i) sum += term(begin + i);
    return sum;
  }
  if (n <= 128) {
    Value part[8];
    for (int j = 0; j < 8; ++j) part[j] = term(begin + j);
    int64_t i = 8;
    for (; i < n - n % 8; i += 8)
      for (int j = 0; j < 8; ++j) part[j] += term(begin + i + j);
    Value sum =
        ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7]));
    for (; i < n; ++i) sum += term(begin + i);
    return sum;
  }
  int64_t half = n / 2;
  half -= half % 8;
  return ordered_sum(term, begin, half) + ordered_sum(term, begin + half, n - half);
}

inline double reference_distance(const double* x, const double* c, int64_t d) {
  auto term = [&](int64_t t) {
    const double difference = x[t] - c[t];
    return difference * difference;
  };
  return ordered_sum(term, 0, d);
}

inline double reference_norm2(const double* x, int64_t d) {
  return ordered_sum([&](int64_t t) { return x[t] * x[t]; }, 0, d);
}

// Scales x [d] INOUT to length one and returns true, or leaves a zero row and returns false.
// A unit row is x * (1 / |x|), two roundings; rows whose squares leave the range of double are
// first scaled by a power of two, which is exact.
template <class Norm2>
bool make_unit(double* x, int64_t d, const Norm2& norm2) {
  double squares = norm2(x, d);
  if (!(squares >= 0x1p-900 && squares <= 0x1p900)) {
    double largest = 0;
    for (int64_t t = 0; t < d; ++t) largest = std::fmax(largest, std::fabs(x[t]));
    if (largest == 0) return false;
    const int exponent = std::ilogb(largest);
    for (int64_t t = 0; t < d; ++t) x[t] = std::ldexp(x[t], -exponent);
    squares = norm2(x, d);
  }
  const double factor = 1 / std::sqrt(squares);
  for (int64_t t = 0; t < d; ++t) x[t] *= factor;
  return true;
}

}  // namespace shoal
