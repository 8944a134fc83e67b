// Distances of rows to centers in float64, in the order of distance.h: every row to every center
// (transform), and the D^2 passes of seeding.
#pragma once
#include "dispatch.h"
#include "exact_sum.h"
#include "rows.h"

namespace shoal {

// OUT distances [n][k], float32 or float64 as out_dtype says.
void all_distances(const Rows& rows, const Rows& centers, Metric metric, const Target& target,
                   int threads, Dtype out_dtype, void* distances);

// Potentials: for each candidate, the sum over rows of weight * min(nearest, distance to it), where
// a row without direction (cosine) counts nothing. With `update`, there is one candidate, and
// nearest takes the minimum. IN rows [n, d], weights [n] or null, candidates [m, d].
// INOUT nearest [n]. OUT potential [m].
void lower_distances(const Rows& rows, const double* weights, const Rows& candidates, Metric metric,
                     const Target& target, int threads, bool update, double* nearest,
                     ExactSum* potential);

// The rows as assignment sees them: float64, of length one under cosine. OUT out [n][d].
void read_rows(const Rows& rows, Metric metric, const Target& target, double* out);

}  // namespace shoal
