// Sums of rows per cluster as integers, so that the order of addition cannot matter.
//
// Each column has a grid: a power of two (its quantum) such that every value, divided by it, is
// below 2^bits, and bits + log2(rows) < 63. Values are rounded once to that grid and added as
// 64-bit integers. Two levels keep the remainders on a second grid 2^bits finer: float64 rows and
// weighted rows lose nothing that a float64 sum would have kept. Cost: about d / 2 cycles a row.
#pragma once
#include "dispatch.h"
#include "rows.h"

namespace shoal {

struct Grid {
  const double* quantum;  // IN [d + 1], powers of two; the last column is the weight
  const double* inverse;  // IN [d + 1], 1 / quantum
  int bits;
  int levels;  // 1 or 2
};

// sums[level][labels[i]][t] += weight_i * x_it, and the weight itself in column d.
// IN rows [n, d] (of length one under cosine), weights [n] or null, labels [n] in [0, k).
// INOUT sums [levels][k][d + 1].
void add_sums(const Rows& rows, const double* weights, const int32_t* labels, int64_t k,
              Metric metric, const Grid& grid, const Target& target, int threads, int64_t* sums);

}  // namespace shoal
