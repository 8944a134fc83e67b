// What the tests of the core share: checks that are counted, and random numbers that are the same
// with every standard library. Included once, by the program that is the test.
#pragma once
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>

#include "core/simd/dispatch.h"

namespace shoal {

inline int64_t passed = 0, failed = 0;
inline std::string context;  // what is being tried, for the message of a failure

inline void check(bool fine, const char* what, int line) {
  ++(fine ? passed : failed);
  if (!fine && failed <= 20) std::printf("line %d: %s\n  %s\n", line, what, context.c_str());
}
#define CHECK(condition) ::shoal::check(condition, #condition, __LINE__)

inline std::mt19937_64 generator;

inline int64_t below(int64_t n) {
  return static_cast<int64_t>(generator() % static_cast<uint64_t>(n));
}
inline double uniform() { return static_cast<double>(generator() >> 11) * 0x1p-53; }
inline double normal() {  // nearly: the sum of twelve uniform numbers
  double sum = -6;
  for (int i = 0; i < 12; ++i) sum += uniform();
  return sum;
}

// Reads the seed from the command line, or takes the test's own, and says it.
inline void start(int argc, char** argv, uint64_t own_seed) {
  const uint64_t seed = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : own_seed;
  std::printf("seed %llu, targets:", static_cast<unsigned long long>(seed));
  for (const Target* target : usable_targets()) std::printf(" %s", target->name);
  std::printf("\n");
  generator.seed(seed);
}

// The exit status, after saying how it went.
inline int finish() {
  std::printf("%lld passed, %lld failed\n", static_cast<long long>(passed),
              static_cast<long long>(failed));
  return failed == 0 ? 0 : 1;
}

}  // namespace shoal
