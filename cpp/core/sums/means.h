// New centers from the sums of a pass: the mean of each cluster's rows, or of those and the rows
// before them.
#pragma once
#include "core/simd/dispatch.h"
#include "core/sums/sums.h"

namespace shoal {

// The mean of each cluster, rounded once to the dtype of the centers; under cosine then brought to
// length one and rounded again. A cluster without rows, or (cosine) whose rows add up to no
// direction, keeps its center. IN sums [levels][k][d + 1] as SharedSums leaves them, centers [k,
// d], float32 or float64; counts [k] or null: centers are the means of so many rows, which are
// taken in. OUT means [k][d] of that dtype.
void means_of(const int64_t* sums, const Grid& grid, const Rows& centers, const double* counts,
              Metric metric, const Target& target, int threads, void* means);

}  // namespace shoal
