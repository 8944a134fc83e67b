// The kernels of boxes (boxes.h), compiled once per SIMD target by boxes/tile.cpp.
#pragma once
#include "core/base/types.h"

namespace shoal {

inline constexpr int kBoxRows = 64;        // rows of a box
inline constexpr int kFineRows = 16;       // rows that are told apart within a box
inline constexpr int kMostBoxColumns = 8;  // boxes are for tiny d
inline constexpr int kBoxPad = 16;         // centers are readable up to a multiple of this

// Centers in float32, column by column: values [d][stride]. Behind the last center come copies of
// it, up to a multiple of kBoxPad.
struct BoxCenters {
  const float* values;
  int64_t stride;
  int64_t k;
  int64_t d;
};

// Every row of the box is within half[t] of middle[t] in column t.
struct Extent {
  const float* middle;  // [d]
  const float* half;    // [d]
};

// A center c cannot be nearest to any row of a box where b is another center, and
//   keep |c - m|^2 - reach sum_t half_t |c_t - b_t| > grow |b - m|^2 + slack + per_half sum_t
//   half_t.
// In exact arithmetic: keep = grow = 1, reach = 2, slack = per_half = 0 (boxes.h has the rest).
struct NearBound {
  float keep, reach, grow, slack, per_half;
};

// The nearest of a row's centers is settled where keep * second - best > slack.
struct SettleBound {
  float keep, slack;
};

// Cells of equal width: cell = sum_t code[t][place of x_t in column t].
struct BoxGrid {
  float low[kMostBoxColumns];
  float per_width[kMostBoxColumns];      // 1 / the width of a cell
  float last[kMostBoxColumns];           // the last place; values outside are in the first or last
  const int32_t* code[kMostBoxColumns];  // each readable for 32 places
};

struct BoxKernels {
  // Lists the centers that this bound cannot exclude for a box, in increasing order, and returns
  // how many. Up to `tries` centers try to exclude others. TMP distance [k + kBoxPad]; OUT left
  // [k + kBoxPad].
  int64_t (*near)(const BoxCenters& centers, const Extent& box, const NearBound& bound, int tries,
                  float* distance, int32_t* left);

  // The nearest of `count` of the centers for `rows` points of a box, kFineRows or kBoxRows;
  // returns a bit for each that float32 cannot settle. IN points, column t at points + t *
  // kBoxRows, which [count], names [k], what centers are called; OUT labels [rows], by name.
  uint64_t (*settle)(const float* points, int64_t rows, const BoxCenters& centers,
                     const int32_t* which, int64_t count, const int32_t* names,
                     const SettleBound& bound, int32_t* labels);

  // A bit for each of `rows` labels that differs, up to kBoxRows. IN before, now [rows].
  uint64_t (*differ)(const int32_t* before, const int32_t* now, int64_t rows);

  // The cell of each point of a tile. IN points [d][width]; OUT cell [width].
  void (*cells)(const float* points, int64_t d, int width, const BoxGrid& grid, int32_t* cell);

  // Smallest and largest of `count` points in each column, count > 0. IN points, column t at
  // points + t * stride; OUT smallest, largest [d].
  void (*range)(const float* points, int64_t stride, int64_t d, int64_t count, float* smallest,
                float* largest);

  // How many of `count` values are below `limit`.
  int64_t (*below)(const float* values, int64_t count, float limit);

  // Moves the rows whose value is below `low`, and the first `spare` of those below `high`, to the
  // front, the others behind them. Words are readable for kBoxPad more, and writable, but as they
  // were afterwards. IN values [count], from [columns], each [count], a stride apart; TMP left
  // [count]; OUT to, like from.
  void (*part)(const float* values, int64_t count, float low, float high, int64_t spare,
               const uint32_t* from, uint32_t* to, int64_t stride, int64_t columns, uint16_t* left);
};

}  // namespace shoal
