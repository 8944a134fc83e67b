// Distances of every row to every center in float64, in the order of distance.h (transform).
#pragma once
#include "core/base/rows.h"
#include "core/simd/dispatch.h"

namespace shoal {

// OUT distances [n][k], float32 or float64 as out_dtype says.
void all_distances(const Rows& rows, const Rows& centers, Metric metric, const Target& target,
                   int threads, Dtype out_dtype, void* distances);

// The rows as assignment sees them: float64, of length one under cosine. OUT out [n][d].
void read_rows(const Rows& rows, Metric metric, const Target& target, double* out);

}  // namespace shoal
