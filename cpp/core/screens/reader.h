// A thread's way of bringing rows into the lanes of a tile, in filter space.
#pragma once
#include "core/base/aligned.h"
#include "core/screens/f32/filter.h"
#include "core/screens/item.h"

namespace shoal {

class TileReader {
 public:
  TileReader(const Rows& rows, const ExactCenters& centers, const Filter& filter,
             const Target& target)
      : rows_(rows), cosine_(centers.metric == Metric::cosine), filter_(filter), target_(target) {}

  // Loads rows into one tile. row[p]: of lane p. OUT tile [d][width], norm2 [width]; of rows
  // without direction -1, which no filter settles.
  void load(const int64_t* row, int64_t count, int width, float* tile, float* norm2);

  // The same for slots of an item, which are one behind the other.
  void load(const Item& item, int64_t at, int64_t count, int width, float* tile, float* norm2) {
    int64_t row[kMostLanes];
    for (int64_t p = 0; p < count; ++p) row[p] = item.row_of(at + p);
    load(row, count, width, tile, norm2);
  }

  // Whether the filter sees rows as they lie in memory: not brought to length one.
  bool as_they_lie() const { return !cosine_; }

 private:
  const Rows& rows_;
  const bool cosine_;
  const Filter& filter_;
  const Target& target_;
  Aligned<double> unit_rows_;  // [tile][d], where needed
};

}  // namespace shoal
