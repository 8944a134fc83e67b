// The loss of a pass from its sums, without the rows.
//
// With s_j and W_j the weighted sum and the weight of cluster j, and Q the weighted sum of all
// |x|^2,
//     sum over rows of weight * |x - c|^2 = Q - 2 sum_j c_j.s_j + sum_j W_j |c_j|^2
// for any labels. The terms cancel, so they are added as pairs of doubles (Dekker 1971): about 100
// bits. Sums of integers have no order, and neither has the loss, whatever the threads and shards.
//
// Where rows are far from each other and near their centers, even that may not be enough: a bound
// on the error comes with it, and who needs more measures the rows.
#pragma once
#include "core/base/exact_sum.h"
#include "core/sums/sums.h"

namespace shoal {

struct Loss {
  double value;
  double error;  // the value is off by less
};

// IN sums [levels][k][d + 1], squares [2][d + 1], as SharedSums leaves them for `rows` rows;
// centers [k, d]. Under cosine, half of it for unit rows and centers, and 1 for whatever has no
// direction.
Loss loss_of(const int64_t* sums, const int64_t* squares, const Grid& grid, int64_t rows,
             const Rows& centers, Metric metric, const Target& target, int threads);

// The same from the rows themselves: the exact sum of weight * distance, each as float64 gives it.
// IN weights [n] or null, labels [n] in [0, k).
ExactSum measured_loss(const Rows& rows, const double* weights, const int32_t* labels,
                       const Rows& centers, Metric metric, const Target& target, int threads);

}  // namespace shoal
