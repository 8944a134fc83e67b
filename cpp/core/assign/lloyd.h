// Several full-batch steps in a row (Lloyd 1982): assign all rows, move every center to the mean of
// its rows.
#pragma once
#include "core/assign/assign.h"

namespace shoal {

struct Steps {
  int64_t steps = 0;    // that were made
  int64_t changes = 0;  // labels that the last pass changed
  double shift = 0;     // sum of the squared moves of the centers in the last step
  bool empty = false;  // a cluster has no rows: a pass was made, and its step is left to the caller
  bool settled = false;  // a further pass was made: labels and sums are those of the centers
};

// Sum of the squared moves of centers [k, d] of float32 or float64, in order.
double shift_of(const Rows& before, const Rows& after);

// At most `most` steps. They end where a cluster has no rows; where no label changes, but not in
// the first step, unless `again` says that labels are of these centers' last ones; and where the
// centers move by no more than `limit`. INOUT centers [k, d], those of the task; TMP means [k, d]
// in the same dtype; the rest as assign_again has it.
Steps lloyd(const Task& task, Keeper& keeper, int32_t* labels, const Grid& grid, int64_t* sums,
            int64_t* squares, int64_t most, bool again, double limit, void* centers, void* means);

}  // namespace shoal
