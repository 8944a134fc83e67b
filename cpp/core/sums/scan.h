// One look at the rows before anything else: can all values be used, and how large is each column?
#pragma once
#include "core/base/types.h"
#include "core/simd/dispatch.h"

namespace shoal {

struct Scan {
  // The first row with a NaN or an infinity, or with a whole number of a magnitude above 2^53,
  // which float64 may not hold; or -1.
  int64_t bad_row = -1;
  int64_t bad_col = -1;  // its first such column
};

// IN rows [n, d], weights [n] or null. OUT magnitude [d]: the largest |x| of each column; spread
// [2][d] or null: the largest and, infinity where there is none, the smallest above 0, of rows that
// have a weight. (Neither is defined if a row is bad.)
Scan scan(const Rows& rows, const Target& target, int threads, double* magnitude,
          const double* weights = nullptr, double* spread = nullptr);

}  // namespace shoal
