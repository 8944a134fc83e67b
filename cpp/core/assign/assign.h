// The assignment step: each row to its nearest center, as float64 decides, ties to the lowest
// index.
//
// Stages, each passing on only what it cannot settle. A row's bounds from the pass before
// (bounds.h) may show that its label stays. Then, by the plan, either boxes (boxes.h) tell whole
// groups of rows from most centers, or bytes (int8.h) name the centers that can be nearest, or the
// float32 filter (f32/tile.cpp, or bf16x2.h) finds the best score and the second best; the row is
// settled when they differ by more than twice the bound on what float32 can have changed
// (filter.h), and the few other rows are scored again in narrow tiles. Wherever more than one
// center is left, they are measured in float64, in the order of distance.h.
#pragma once
#include "core/assign/choice.h"
#include "core/assign/keeper.h"
#include "core/base/exact_sum.h"
#include "core/base/rows.h"
#include "core/simd/dispatch.h"
#include "core/sums/sums.h"

namespace shoal {

struct Assignment {
  int64_t changes = 0;       // labels that differ from what they were
  int64_t looked_again = 0;  // rows that the filters could not settle
  int64_t kept = 0;          // rows whose bounds settled them
  ExactSum loss;             // of weight * distance, each product rounded once; where measured
};

// What is common to both kinds of pass. IN rows [n, d], weights [n] or null, centers [k, d] (any
// dtype).
struct Task {
  const Rows& rows;
  const double* weights;
  const Rows& centers;
  Metric metric;
  const Target& target;
  int threads;
  Plan plan = Plan::automatic;
};

// One pass by itself. INOUT labels [n] or null, OUT distances [n] or null. measured: distances and
// loss, else only labels.
Assignment assign(const Task& task, int32_t* labels, double* distances, bool measured = true);

// A pass among many over the same rows. INOUT keeper, labels [n] (-1 at first: the row is in no
// sum yet), sums [levels][k][d + 1] of the labels, squares [2][d + 1].
Assignment assign_again(const Task& task, Keeper& keeper, int32_t* labels, const Grid& grid,
                        int64_t* sums, int64_t* squares);

// What passes over the rows of a new keeper will keep beside them, in bytes.
int64_t kept_bytes(const Keeper& keeper, const Screened& given, const Target& target, Plan plan);

}  // namespace shoal
