#include "core/sums/grid.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

namespace shoal {
namespace {

constexpr int kLowest = -1074;    // the exponent of the smallest float64
constexpr int kNormal = -960;     // above it, quotients by a quantum are normal
constexpr int kNever = 1 << 20;   // of columns without values above 0
constexpr int kFinest = -1000;    // 1 / quantum must be a float64, too
constexpr int kManyLevels = 18;   // fewer hold no -kNormal digits
constexpr double kTiny = 1e-150;  // below all magnitudes that are trained on

int exponent_of(double x) {
  int exponent = 0;
  if (std::isfinite(x)) std::frexp(x, &exponent);
  return exponent;
}

int width_of(int64_t x) { return std::bit_width(static_cast<uint64_t>(x)); }

int floor_divided(int a, int b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }

// Of the smallest values above 0, or less, as frexp has it. Rows brought to length one are divided
// by no more than their largest value times the root of their number of columns.
std::vector<int> exponents_of_least(const Scanned& scanned) {
  std::vector<int> exponents(scanned.columns, kNever);
  int longest = 0;
  if (scanned.unit_rows)
    longest = exponent_of(*std::max_element(scanned.most, scanned.most + scanned.columns)) +
              (width_of(scanned.columns) + 1) / 2;
  for (int64_t t = 0; t < scanned.columns; ++t) {
    const double least = scanned.least[t];
    if (std::isfinite(least) && least > 0) exponents[t] = exponent_of(least) - longest;
  }
  return exponents;
}

// Whether so many bits plainly hold every digit of float32 values, without a closer look.
bool is_even(const Scanned& scanned, int bits) {
  if (scanned.unit_rows || scanned.wide || scanned.weighted) return false;
  const double ratio = std::ldexp(1.0, 24 - bits);
  for (int64_t t = 0; t < scanned.columns; ++t)
    if (scanned.least[t] / std::max(scanned.most[t], kTiny) < ratio) return false;
  return true;
}

// The exponents of the quanta [columns + 1] of values.
std::vector<int> choose_quanta(const Scanned& scanned, int bits, double* quanta) {
  const int64_t width = scanned.columns + 1;
  std::vector<int> exponents(width);
  for (int64_t t = 0; t < width; ++t) {
    const double value = scanned.unit_rows || t == scanned.columns ? 1 : scanned.most[t];
    const double weighted[2] = {value * scanned.heaviest, value * value * scanned.heaviest};
    for (int i = 0; i < 2; ++i) {
      const int exponent = std::max(exponent_of(weighted[i]) - bits, kFinest);
      quanta[i * width + t] = std::ldexp(1.0, exponent);
      quanta[(i + 2) * width + t] = std::ldexp(1.0, -exponent);
      if (i == 0) exponents[t] = exponent;
    }
  }
  return exponents;
}

int64_t first_unresolved(const Scanned& scanned, const std::vector<int>& quanta,
                         const std::vector<int>& least) {
  const int lightest = exponent_of(scanned.lightest) - 1;
  for (int64_t t = 0; t <= scanned.columns; ++t) {
    const int top = quanta[t] + 1, smallest = t < scanned.columns ? least[t] : 1;
    if (top > 0 && smallest + lightest - top < kNormal) return t;
    if (scanned.weighted && lightest < kNormal) return t;
  }
  return -1;
}

int levels_for(const Scanned& scanned, int bits, const std::vector<int>& quanta,
               const std::vector<int>& least, int at_least) {
  const int digits = scanned.wide || scanned.weighted || scanned.unit_rows ? 53 : 24;
  const int lightest = exponent_of(scanned.lightest) - 1 - digits;
  int gap = std::numeric_limits<int>::max();
  for (int64_t t = 0; t < scanned.columns; ++t) {
    const int last = std::max(std::max(least[t], at_least) + lightest, kLowest);
    gap = std::min(gap, last - quanta[t]);
  }
  if (scanned.weighted)  // of which 1 is the smallest value
    gap = std::min(gap, std::max(1 + lightest, kLowest) - quanta[scanned.columns]);
  return 1 - floor_divided(gap, bits);
}

}  // namespace

Fineness choose_grid(const Scanned& scanned, double* quanta) {
  const int room = std::max(1, width_of(std::max<int64_t>(scanned.rows, 1) - 1));
  const int bits = std::min(51, 62 - room);
  const std::vector<int> exponents = choose_quanta(scanned, bits, quanta);
  const int fewest = scanned.wide || scanned.weighted || bits < 32 ? 2 : 1;
  Fineness found{bits, fewest, scanned.unit_rows && !scanned.wide && bits >= 32, -1};
  if (scanned.least == nullptr || is_even(scanned, bits * fewest)) return found;
  const std::vector<int> least = exponents_of_least(scanned);
  int at_least = std::numeric_limits<int>::min() / 2;
  // Values are smooth around 0 if the smallest of n is about 1 / n: then rounding shows in none.
  // Else it would.
  if (found.rounds) found.rounds = *std::min_element(least.begin(), least.end()) > -room - 24;
  if (found.rounds) at_least = 2 - bits;
  if (!found.rounds || scanned.weighted)
    found.levels = std::max(fewest, levels_for(scanned, bits, exponents, least, at_least));
  if (found.levels >= kManyLevels || scanned.weighted)
    found.unresolved = first_unresolved(scanned, exponents, least);
  return found;
}

}  // namespace shoal
