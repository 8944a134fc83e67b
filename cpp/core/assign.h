// The assignment step: each row to its nearest center, as float64 decides, ties to the lowest
// index.
//
// Two stages. The float32 filter (tile.cpp) finds, per row, the best score and the second best. A
// row is settled when they differ by more than twice the bound on what float32 can have changed;
// then no other center can be nearest. The few other rows are scored again in narrow tiles, and
// every center within the bound is measured in float64, in the order of distance.h.
//
// The bound. Filter space is x' = scale * x - shift, with shift the mean of the centers (it takes
// away the cancellation of data far from the origin) and scale a power of two. With X, C the
// float32 values and u = 2^-24: |X - x'| <= u|x'| per column, likewise C. A sum of d products that
// starts at -|C|^2/2 errs by at most gamma_{d+2} (|X||C| + |C|^2/2), gamma_m = mu / (1 - mu)
// (Higham 2002, section 3.1, for any use of FMA), and the rounding of inputs and of the start adds
// at most 5u (|X||C| + |C|^2/2). float64's own error, (d + 3) 2^-53 |x' - c'|^2, adds the term in
// |X|^2. Underflow adds nothing visible: the largest center is about 1 in filter space.
#pragma once
#include "dispatch.h"
#include "exact_sum.h"
#include "rows.h"

namespace shoal {

struct Assignment {
  int64_t changes = 0;       // labels that differ from what they were
  int64_t looked_again = 0;  // rows that float32 could not settle
  ExactSum loss;             // of weight * distance, each product rounded once
};

// IN rows [n, d], centers [k, d] (any dtype), weights [n] or null. INOUT labels [n] (null: not
// kept). OUT distances [n] (null: not kept).
Assignment assign(const Rows& rows, const double* weights, const Rows& centers, Metric metric,
                  const Target& target, int threads, int32_t* labels, double* distances);

}  // namespace shoal
