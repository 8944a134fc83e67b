// The rows that add most to the loss, by weight * distance: what empty clusters are given.
//
// Labels are known, so that one distance per row is enough; and most rows are not even read where
// bounds were kept: only those that can be as far as the farthest seen so far.
#pragma once
#include <vector>

#include "core/assign/keeper.h"
#include "core/simd/dispatch.h"

namespace shoal {

struct Farthest {
  std::vector<int64_t> rows;      // farthest first, the lowest index on equality
  std::vector<double> distances;  // of these, times their weights
  std::vector<int64_t> counts;    // [k] rows of each cluster that have a weight
};

struct LabelledRows {
  const Rows& rows;
  const double* weights;    // IN [n] or null
  const int32_t* labels;    // IN [n]
  const double* distances;  // IN [n], 0 for rows without direction; null: measured here
  const Keeper* keeper;     // of the pass that gave the labels, with these centers; or null
};

// At most `number` rows for which that is positive, none without direction. IN centers [k, d].
Farthest farthest(const LabelledRows& given, const Rows& centers, Metric metric,
                  const Target& target, int threads, int64_t number);

}  // namespace shoal
