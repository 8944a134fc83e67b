// The seam to the kernels of sparse rows (sparse/tile.cpp), which are compiled once per SIMD
// target. What they compute, and how far it may be from the truth, is in sparse/filter.h.
#pragma once
#include <cstdint>

namespace shoal {

// Centers column by column. Behind the k-th center: values, norm and magnitude 0, bias -infinity.
struct SparseTable {
  const float* values;     // [d][stride], at cache lines
  const float* bias;       // [stride], what a score starts with
  const float* norm;       // [stride], |C_j|
  const float* magnitude;  // [stride], |bias|
  int64_t k;
  int64_t stride;  // a multiple of 16
};

// How far a score may be off: by_norm * norm[j] + by_magnitude * magnitude[j] + constant.
struct SparseBound {
  float by_norm;
  float by_magnitude;
  float constant;
};

// Terms that are added up before they are added to a score.
inline constexpr int64_t kSparseTerms = 256;

struct SparseKernels {
  // scores[j] = bias[j] + sum of values[e] * table.values[columns[e]][j]. OUT scores [stride].
  void (*scores)(const int32_t* columns, const float* values, int64_t size,
                 const SparseTable& table, float* scores);
  // The centers, increasing, whose score may be the greatest; returns how many. OUT found [k].
  int64_t (*greatest)(const float* scores, const SparseTable& table, const SparseBound& bound,
                      int32_t* found);
};

}  // namespace shoal
