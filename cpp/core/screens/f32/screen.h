// The float32 screen: the best score and the second best of each row, which is settled when they
// differ by more than twice the bound of filter.h. Tiles of rows in lanes; few centers are
// multiplied with rows as they lie in memory.
#pragma once
#include "core/screens/screen.h"

namespace shoal {

extern const Format kF32;

// Slots at..at+count-1 of whose best scores near, far, index and norm2 tell: bounds in place of
// scores, and what they do not settle is open.
void judge_best(const Scene& scene, Item& item, int64_t at, int64_t count);

// The running best of slots from `at` on.
inline RunningBest best_of(Item& item, int64_t at) {
  return {item.near + at, item.far + at, item.index + at};
}

}  // namespace shoal
