#include "core/base/permutation.h"

#include <algorithm>
#include <cmath>

namespace shoal {
namespace {

// Places that go through the network side by side: one alone waits for each multiplication.
constexpr int kLanes = 8;

// A number below `below`, at most 2^32, of a word and a key: the word is mixed with odd factors
// without a pattern, and with half of its bits.
inline uint64_t hashed(uint64_t word, uint64_t key, uint64_t below) {
  uint64_t mixed = (word + key) * 0x9E3779B97F4A7C15u;
  mixed ^= mixed >> 32;
  mixed *= 0xD6E8FEB86659FD93u;
  return (mixed >> 32) * below >> 32;
}

// The smallest a with a * a >= n, at least 1.
uint64_t side_of_square(uint64_t n) {
  auto a = static_cast<uint64_t>(std::sqrt(static_cast<double>(n)));  // or one beside it
  while (a * a >= n && a > 1) --a;
  while (a * a < n) ++a;
  return std::max<uint64_t>(a, 1);
}

// Places left * b + right, left below a, right below b: where the network sends them.
// INOUT left, right [lanes].
template <int lanes>
void network(const Keyed& keyed, uint64_t a, uint64_t b, uint64_t* left, uint64_t* right) {
  for (int64_t round = 0; round < keyed.rounds; round += 2) {
    const uint64_t first = keyed.keys[round], second = keyed.keys[round + 1];
    for (int i = 0; i < lanes; ++i) {
      left[i] += hashed(right[i], first, a);
      left[i] = std::min(left[i], left[i] - a);  // below 0 is far above
    }
    for (int i = 0; i < lanes; ++i) {
      right[i] += hashed(left[i], second, b);
      right[i] = std::min(right[i], right[i] - b);
    }
  }
}

}  // namespace

void permute(const Keyed& permutation, int64_t first, int64_t size, int64_t* found) {
  if (size <= 0) return;
  const auto n = static_cast<uint64_t>(permutation.n), begin = static_cast<uint64_t>(first);
  const uint64_t a = side_of_square(n), b = (n + a - 1) / a;
  uint64_t next_left = begin / b, next_right = begin % b;
  uint64_t left[kLanes], right[kLanes];
  for (int64_t start = 0; start < size; start += kLanes) {
    for (int i = 0; i < kLanes; ++i) {
      left[i] = next_left, right[i] = next_right;
      if (++next_right == b) ++next_left, next_right = 0;
    }
    network<kLanes>(permutation, a, b, left, right);
    const int64_t here = std::min<int64_t>(size - start, kLanes);
    for (int64_t i = 0; i < here; ++i) {
      uint64_t at = left[i] * b + right[i];
      while (at >= n) {
        left[i] = at / b, right[i] = at % b;
        network<1>(permutation, a, b, left + i, right + i);
        at = left[i] * b + right[i];
      }
      found[start + i] = static_cast<int64_t>(at);
    }
  }
}

void rows_of(const Strip* strips, int64_t number, int64_t size, int64_t* found) {
  for (int64_t i = 0; i < size; ++i) {
    const int64_t place = found[i];
    int64_t at = 0;  // the last that begins there or before; empty ones begin where the next does
    for (int64_t other = 1; other < number; ++other) at += strips[other].place <= place ? 1 : 0;
    const Strip& strip = strips[at];
    const int64_t inside = strip.skipped + place - strip.place;
    found[i] = strip.begin + (inside < strip.length ? inside : inside - strip.length);
  }
}

}  // namespace shoal
