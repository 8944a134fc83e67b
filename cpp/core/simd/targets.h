// The seam between portable code and code compiled once per SIMD target.
//
// f32/tile.cpp (float32 filter) and exact.cpp (float64, no FMA) are compiled for each target with
// SHOAL_TARGET defined; each compilation fills one table. dispatch.h picks a table at run time.
#pragma once
#include "core/base/types.h"

namespace shoal {

// Rows gathered for one tile: a base pointer per row. Lanes past `count` repeat the last row.
struct TileRows {
  const char* const* row;  // [count]
  int64_t count;
  Dtype dtype;
  int64_t col_stride;
  int64_t d;
};

// The affine map into filter space, x -> scale * x - shift; under cosine of x / |x| (filter.h).
struct FilterSpace {
  double scale;          // a power of two
  const double* shift;   // [d], readable up to a multiple of 16
  const float* shift32;  // [d], the same for rows that are not double; readable as far
  float scale32;
  bool unit;  // rows are brought to length one first, in float32
};

struct TileBound {
  float relative;   // of |x| * min(|x|, largest_center)
  float quadratic;  // of |x|^2
  float constant;   // added to both
  float norm;       // relative error of |x|^2 itself
  float offset;     // how far a row may be from where it should be
  float largest_center;
  const float* slack;  // [k], how far below a packed score the exact one may be, beside all this
};

// Centers packed for broadcasting: groups of `group` centers, each [d][group]; the last group
// holds what is left, [d][rest]. bias[j] = -|c_j|^2 / 2.
struct PackedCenters {
  const float* values;
  const float* bias;
  int64_t k;
  int64_t d;
};

struct RunningBest {
  float* best;     // INOUT [lanes]
  float* second;   // INOUT [lanes]
  int32_t* index;  // INOUT [lanes]
};

// How centers moved since the last pass (bounds.h).
struct CenterMoves {
  const float* moved;       // [k], the move of the center itself, or more
  const float* separation;  // [k], distance to the nearest other center, or less; null: not known
  int64_t k;
  float most, next;  // the largest move, and the largest of all but `farthest`, or more
  int32_t farthest;
};

// So few centers that rows are multiplied as they lie, and not put into lanes.
inline constexpr int64_t kFewCenters = 4;
struct FewCenters {
  const float* values;  // [k][stride], zero behind the last column; stride: a multiple of 16
  const float* bias;    // [k], as in PackedCenters
  int64_t k;
  int64_t stride;
};

struct Hits {
  int32_t* lane;    // OUT [capacity]
  int32_t* center;  // OUT [capacity], increasing per lane
  int64_t capacity;
  int64_t size;
};

struct TileKernels {
  int tile;    // points in a full tile
  int narrow;  // points in a narrow tile (rows looked at again)
  int group;   // centers in a packed group

  // Writes the rows to lanes, in filter space. OUT tile [d][width], norm2 [width]: their squared
  // lengths there. width is a multiple of `narrow`, at most `tile`. With space.unit: norm2 is -1
  // for a row of zeros, which has no direction; false, and nothing is defined, where a row is too
  // long or too short to be brought to length one in float32 (outside 2^-30 to 2^50).
  bool (*load)(const TileRows& rows, const FilterSpace& space, int width, float* tile,
               float* norm2);

  // Updates the running best of a tile (IN [d][width], as load writes it) with centers
  // first..last-1; first is a multiple of `group`.
  void (*best)(const float* tile, int width, const PackedCenters& centers, int64_t first,
               int64_t last, const RunningBest& running);

  // The running best, from the start, of up to `narrow` rows and all centers, and their norm2. OUT
  // running [narrow], norm2 [narrow]. False, and nothing is done, where columns are not packed, or
  // rows of a dtype that is widened first, or of length one.
  bool (*best_few)(const TileRows& rows, const FilterSpace& space, const FewCenters& centers,
                   const RunningBest& running, float* norm2);

  // Lowers `best` and raises `second` by the bound, and lists the points, of `count`, that it
  // cannot settle; returns how many. All readable and writable up to a multiple of `narrow`. IN
  // norm2; INOUT best, second; OUT unsure [count].
  int64_t (*unsure)(const RunningBest& running, const float* norm2, const TileBound& bound,
                    int64_t count, int32_t* unsure);

  // Lists the centers of a narrow tile whose score is not below `threshold` [narrow], from group
  // `first` on; returns the first group not looked at (hits are full), or the number of groups.
  int64_t (*hits)(const float* tile, const PackedCenters& centers, int64_t first,
                  const float* threshold, Hits* hits);
};

// The bounds per row; see bounds.h.
struct BoundKernels {
  // Moves the bounds of `count` rows as the centers moved, and lists the rows that they do not
  // settle; returns how many. IN labels; INOUT upper, lower; OUT active.
  int64_t (*move)(const int32_t* labels, const CenterMoves& moves, int64_t count, float* upper,
                  float* lower, int32_t* active);
  // Bounds of distances from bounds of scores. IN near (below the label's score), far (above all
  // others), norm2; OUT upper, lower. All readable and writable up to a multiple of 16.
  void (*distances)(const float* near, const float* far, const float* norm2, const TileBound& bound,
                    int64_t count, float* upper, float* lower);
};

// Rows that change their cluster. row, now, before [count]: which, their new label, and their old
// one, -1 for none. Those of which something is left below the levels of the sums are listed.
struct MovedRows {
  const Rows& rows;
  const int32_t* row;
  const int32_t* now;
  const int32_t* before;
  int64_t count;
  int32_t* left = nullptr;        // OUT [count], positions
  int64_t* left_count = nullptr;  // INOUT
};

// Of sums.h: all [stride], zero behind the last column, and in it, unless it is said otherwise.
struct SumGrid {
  const double* inverse;         // 1 / quantum
  const double* square_inverse;  // 1 / quantum of squares
  const double* square_step;     // quantum^2 in quanta of squares
  const double* weight;          // in quanta, in the column behind the last one
  double unit;
  int64_t one;     // the weight again
  int64_t stride;  // of sums and squares, a multiple of 8
  int64_t below;   // from the first level of sums to the second; 0: only one is wanted
  bool unit_rows;  // rows are brought to length one
};

// Rows in lanes, kLaneRows to a tile: [tiles][d][kLaneRows] (lanes.h).
inline constexpr int kLaneRows = 8;
inline constexpr int kMostLaneCandidates = 16;
struct LaneRows {
  const double* values;
  int64_t tiles;
  int64_t d;
};

// Candidates, and how far rows are from their nearest center so far; size: tiles * kLaneRows.
struct LaneOffer {
  const double* candidates;  // [m][d], m at most kMostLaneCandidates
  int64_t m;
  const double* nearest;  // [size]
  const double* weights;  // [size] or null
  bool cosine;
  double* distances;  // OUT [m][size]
  double* gains;      // OUT [m], sums of weight * nearest - weight * min(distance, nearest)
};

// A candidate that becomes a center. sums: of weight * nearest, where that is not negligible.
struct LaneTaken {
  const double* distances;  // [size]
  int64_t size;
  const double* weights;  // [size] or null
  double negligible;
  int64_t chunk;    // a multiple of kLaneRows
  double* nearest;  // INOUT [size]
  double* sums;     // OUT [size / chunk, rounded up]
};

struct ExactKernels {
  // Row as float64. OUT out [d].
  void (*widen)(const char* row, Dtype dtype, int64_t col_stride, int64_t d, double* out);
  // Sum of squares, in the order of distance.h.
  double (*norm2)(const double* x, int64_t d);
  // |x - c|^2, in the order of distance.h.
  double (*distance)(const double* x, const double* c, int64_t d);
  // The same for rows first..last-1, each to the center of its label, without a copy where columns
  // are packed. IN labels [last - first], centers [k][d]; OUT out [last - first]; TMP scratch [d].
  void (*distances)(const Rows& rows, int64_t first, int64_t last, const int32_t* labels,
                    const double* centers, double* out, double* scratch);
  // Row i brought to length one (distance.h), OUT out [d]; false, and not done, where one
  // multiplication per value is not all there is to do.
  bool (*unit_row)(const Rows& rows, int64_t i, double* out);
  // Distances to rows brought to length one, without writing these; -1 where unit_row gives false,
  // and for wide rows that kernels cannot read as they lie in memory.
  void (*unit_distances)(const Rows& rows, int64_t first, int64_t last, const int32_t* labels,
                         const double* centers, double* out);
  // into[t] += round(x[t] * inverse[t]), and the remainder one level down, at into[below + t], if
  // there is one (below != 0). The same is taken away from `from`, unless it is null. Returns
  // whether anything is left below.
  // IN x [d], inverse [d]; INOUT into, from. unit: 2^bits of a level.
  bool (*add_row)(const double* x, const double* inverse, double unit, int64_t d, int64_t below,
                  int64_t* into, int64_t* from);
  // weight * x^2 as two doubles. IN x [d]; OUT high [d], low [d].
  void (*squares)(const double* x, double weight, int64_t d, double* high, double* low);
  // Adds these, on two levels. INOUT into [below + d].
  void (*add_squares)(const double* high, const double* low, const double* inverse, double unit,
                      int64_t d, int64_t below, int64_t* into);
  // add_row, and squares and add_squares for rows that had no label, for many rows without weights.
  // Returns how many are done: one for which unit_row gives false is left to the caller. INOUT sums
  // [levels][k][stride], squares [2][stride]; TMP scratch [d].
  int64_t (*move_rows)(const MovedRows& moved, const SumGrid& grid, int64_t* sums, int64_t* squares,
                       double* scratch);
  // c.s and c.c of a center and a sum of rows, each as two doubles without visible rounding.
  // IN high [d], low [d] or null: the sum in quanta; quantum [d], fine: quantum of `low` / quantum;
  // c [d]; OUT dot [2], norm2 [2].
  void (*moments)(const int64_t* high, const int64_t* low, const double* quantum, double fine,
                  const double* c, int64_t d, double* dot, double* norm2);
  // A row of sums as float64, IN sums [levels][width], a level `below` after the other and `fine`
  // times as fine, quantum [width], of the first; OUT values [width].
  void (*sum_values)(const int64_t* sums, int64_t levels, int64_t below, double fine,
                     const double* quantum, int64_t width, double* values);
  // Largest and smallest magnitude per column (magnitude_of), the smallest of those that are not
  // 0, less 1. IN row, columns packed in memory; INOUT most [d], least [d].
  void (*magnitude)(const char* row, Dtype dtype, int64_t d, void* most, void* least);
  // Whether all of so many values, float32 or float64, are at most `limit` in magnitude; NaN is
  // not.
  bool (*within)(const void* values, Dtype dtype, int64_t size, double limit);
  // Writes `count` rows to the lanes of a tile, the last one also to what is left of it; false,
  // and nothing is done, where kernels cannot read rows as they lie in memory. OUT out
  // [d][kLaneRows].
  bool (*lanes)(const Rows& rows, int64_t first, int64_t count, double* out);
  // See LaneOffer and LaneTaken. Distances are those of distance.h; sums have no certain order.
  void (*lane_gains)(const LaneRows& rows, const LaneOffer& offer);
  void (*lane_take)(const LaneTaken& taken);
};

struct Int8Kernels;
struct Bf16Kernels;
struct Bf16x2Kernels;
struct BoxKernels;
struct SeedingKernels;
struct SparseKernels;

struct Target {
  const char* name;
  TileKernels tile;
  BoundKernels bounds;
  ExactKernels exact;
  const Int8Kernels* int8;      // null where the target has no dot products of bytes
  const Bf16Kernels* bf16;      // null where it has no tiles of bfloat16
  const Bf16x2Kernels* bf16x2;  // likewise
  const BoxKernels* boxes;
  const SeedingKernels* seeding;
  const SparseKernels* sparse;
};

}  // namespace shoal
