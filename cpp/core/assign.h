// The assignment step: each row to its nearest center, as float64 decides, ties to the lowest
// index.
//
// Stages, each passing on only what it cannot settle. A row's bound from the pass before
// (bounds.h) may show that its label stays. Then, by the plan, either bytes (bytes.h) name the
// centers that can be nearest, or the float32 filter (tile.cpp) finds the best score and the second
// best; the row is settled when they differ by more than twice the bound on what float32 can have
// changed (filter.h), and the few other rows are scored again in narrow tiles. Wherever more than
// one center is left, they are measured in float64, in the order of distance.h.
#pragma once
#include "dispatch.h"
#include "exact_sum.h"
#include "rows.h"
#include "sums.h"

namespace shoal {

struct Assignment {
  int64_t changes = 0;       // labels that differ from what they were
  int64_t looked_again = 0;  // rows that float32 could not settle
  int64_t kept = 0;          // rows whose bound settled them
  ExactSum loss;             // of weight * distance, each product rounded once
};

// How rows are filtered before float64 decides; never changes a result. `bytes` needs a target
// that has them.
enum class Plan : int { automatic, floats, bytes };

// What a caller may keep from pass to pass. It saves work and never changes a result.
struct Kept {
  const Rows* before = nullptr;  // IN [k, d], the centers of the last pass; null at first
  float* lower = nullptr;        // INOUT [n], see bounds.h; null: no bounds are kept
  const Grid* grid = nullptr;    // of the sums
  int64_t* sums = nullptr;       // INOUT [levels][k][d + 1]: of the labels, before and after
};

// IN rows [n, d], centers [k, d] (any dtype), weights [n] or null. INOUT labels [n], -1 for none
// so far (null: not kept, and then nothing else is). OUT distances [n] (null: not kept).
Assignment assign(const Rows& rows, const double* weights, const Rows& centers, Metric metric,
                  const Target& target, int threads, int32_t* labels, double* distances,
                  const Kept& kept = {}, Plan plan = Plan::automatic);

}  // namespace shoal
