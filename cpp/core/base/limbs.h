// Arithmetic on exact sums as whole numbers.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "core/base/exact_sum.h"

namespace shoal {

inline Limbs limbs_of(const ExactSum& sum) {
  Limbs limbs;
  sum.limbs(limbs.data());
  return limbs;
}

// The highest limb below `end` that is not 0, or the lowest.
inline int top_of(const Limbs& a, int end = ExactSum::kLimbs) {
  int i = std::max(end, 1) - 1;
  while (i > 0 && a[i] == 0) --i;
  return i;
}

// Whether a > b, which have nothing above these limbs.
inline bool greater(const Limbs& a, int top_a, const Limbs& b, int top_b) {
  if (top_a != top_b) return top_a > top_b;
  while (top_a > 0 && a[top_a] == b[top_a]) --top_a;
  return a[top_a] > b[top_a];
}

inline bool greater(const Limbs& a, const Limbs& b) { return greater(a, top_of(a), b, top_of(b)); }

// a - b, which is not negative.
inline Limbs difference(const Limbs& a, const Limbs& b) {
  Limbs rest;
  uint64_t borrow = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const uint64_t word = static_cast<uint64_t>(a[i]) - b[i] - borrow;
    rest[i] = static_cast<uint32_t>(word);
    borrow = word >> 63;
  }
  return rest;
}

// sum * draw / 2^53, rounded down.
inline Limbs share_of(const Limbs& sum, uint64_t draw) {
  const uint64_t low = draw & 0xffffffffu, high = draw >> 32;
  Limbs share{};
  uint32_t product[ExactSum::kLimbs + 2];
  unsigned __int128 carry = 0;
  for (int i = 0; i < ExactSum::kLimbs + 2; ++i) {
    if (i < ExactSum::kLimbs) carry += low * static_cast<unsigned __int128>(sum[i]);
    if (i > 0 && i <= ExactSum::kLimbs) carry += high * static_cast<unsigned __int128>(sum[i - 1]);
    product[i] = static_cast<uint32_t>(carry);
    carry >>= 32;
  }
  for (int i = 0; i < ExactSum::kLimbs; ++i)  // 53 = 32 + 21
    share[i] = product[i + 1] >> 21 | product[i + 2] << 11;
  return share;
}

// The nearest float64 of a sum in units of 2^-1074, ties to even; infinity beyond all.
inline double rounded_once(const Limbs& sum) {
  const int top = top_of(sum);
  if (sum[top] == 0) return 0;
  const int bits = 32 * top + 32 - __builtin_clz(sum[top]);
  const auto bit = [&](int b) { return sum[b / 32] >> b % 32 & 1; };
  const int below = std::max(bits - 53, 0);  // bits that are rounded away
  uint64_t mantissa = 0;
  for (int b = bits; b-- > below;) mantissa = mantissa << 1 | bit(b);
  if (below > 0 && bit(below - 1) != 0) {
    bool more = (mantissa & 1) != 0;
    for (int b = below - 1; b-- > 0 && !more;) more = bit(b) != 0;
    mantissa += more;
  }
  return std::ldexp(static_cast<double>(mantissa), below - 1074);
}

}  // namespace shoal
