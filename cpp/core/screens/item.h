// The rows of an item that are being assigned, and what screens know of them. Places count the rows
// of the item; slots count those of them that are active, whose label their bounds do not settle.
#pragma once
#include <algorithm>
#include <utility>
#include <vector>

#include "core/base/exact_sum.h"
#include "core/base/types.h"

namespace shoal {

inline constexpr int64_t kItemRows = 1024;  // rows a thread takes at a time
static_assert(kItemRows <= ExactAdder::kRoom);
inline constexpr int kMostLanes = 64;   // of any target's tile
inline constexpr int kCandidates = 14;  // of a row, at most

// A row of which few centers are left, to be measured; none: float64 looks at all whose score may
// reach `near`.
struct Candidates {
  int32_t slot, count;
  int32_t center[kCandidates];
};

struct Item {
  static constexpr int64_t kSlots = kItemRows + kMostLanes;  // a tile may begin at the last one
  int64_t begin = 0;                                         // its first row
  int64_t count = 0;                                         // slots
  int32_t place[kItemRows];                                  // of each slot
  // By slot:
  alignas(64) float near[kSlots];     // below the score of the best center
  alignas(64) float far[kSlots];      // above the scores of all others
  alignas(64) int32_t index[kSlots];  // the best center
  alignas(64) float norm2[kSlots];    // |X|^2 (f32/filter.h)
  alignas(64) float upper[kSlots];    // the bounds of distances, see bounds.h
  alignas(64) float lower[kSlots];
  // Slots, increasing, that a screen leaves to the next one, the last one to float64.
  int64_t open_count = 0;
  int32_t open[kItemRows];
  std::vector<Candidates> listed;  // left to float64 with some centers

  int64_t row_of(int64_t slot) const { return begin + place[slot]; }

  // Brings the open slots, which are some of those from `from` on, behind all others, and closes
  // them. Returns the first.
  int64_t pass_on(int64_t from) {
    const int64_t behind = count - open_count;
    if (behind == from) {
      open_count = 0;
      return from;
    }
    int32_t moved[kItemRows];  // of slots from `behind` on: where they are now
    for (int64_t slot = behind; slot < count; ++slot)
      moved[slot - behind] = static_cast<int32_t>(slot);
    int64_t inside = open_count;  // of the open slots, those behind already
    while (inside > 0 && open[inside - 1] >= behind) --inside;
    int64_t next = inside, slot = behind;
    for (int64_t o = 0; o < inside; ++o, ++slot) {
      for (; next < open_count && open[next] == slot; ++next) ++slot;
      const int32_t at = open[o];
      std::swap(place[at], place[slot]);
      near[at] = near[slot];
      far[at] = far[slot];
      norm2[at] = norm2[slot];
      index[at] = index[slot];
      moved[slot - behind] = at;
    }
    for (Candidates& list : listed)
      if (list.slot >= behind) list.slot = moved[list.slot - behind];
    open_count = 0;
    return behind;
  }
};

}  // namespace shoal
