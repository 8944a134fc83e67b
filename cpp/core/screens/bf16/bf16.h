// The bfloat16 screen: scores from AMX's dot products of bfloat16 values, with a bound on what
// rounding to eight bits can have changed. It takes the place of the int8 screen (int8.h) where
// columns or centers are few: a product costs twice as much, but a value is rounded four times as
// finely, so that nineteen rows of twenty are settled by the sweep alone.
//
// In filter space (filter.h), X = h + r with h of bfloat16 values, C_j = h_j + r_j likewise. Then
// X.C_j = h.h_j + h.r_j + r.C_j, and by Cauchy-Schwarz the last two are at most |h||r_j| +
// |r||C_j|. Products of bfloat16 values are exact in float32; AMX adds those of even and of odd
// columns of a tile of 32, then both sums, then the bias: no more roundings on the way of a product
// than filter.h counts, so f + e_j of there covers them (|h||h_j| is within 1 % of |X||C_j|, and f
// + e_j is taken twice). AMX takes values below 2^-126 for zero: part of f's 2^-110.
//
// The sweep keeps the best score of each point, which center has it, and the second best, in three
// operations per score: the number of a center within its panel takes the last four bits of the
// score, which changes it by at most 2^-19 |score| <= 2^-19 (|h||h_j| + |bias_j|). So
//     error_j = (|X| + |r|) (|r_j| + 2^-19 |C_j|) + |r||C_j| + 2 (f + e_j) + 2^-19 |bias_j|,
// with the largest of a panel of 16 centers. Centers of about the same length share a panel. A row
// is settled where only one center can reach the best lower bound; the others go to the float32
// filter. Cycles per row and 16 centers: 2 + d / 32 (AMX) + 3.
#pragma once
#include "core/base/aligned.h"
#include "core/screens/ahead.h"
#include "core/screens/f32/filter.h"

namespace shoal {

inline constexpr int64_t kMostBf16Columns = 16384;
inline constexpr int kBf16Panel = 16;  // centers with common bounds

// Centers in panels of 16, the last filled up with centers that cannot be nearest.
struct Bf16Centers {
  const int32_t* index;    // [panels][16], which center it is
  const uint16_t* blocks;  // [panels][depth][16][32], h_j as tiles of AMX
  const float* bias;       // [panels][16][16], -|C_j|^2 / 2, sixteen times over
  const float* residual;   // [panels], largest |r_j| + 2^-19 |C_j|
  const float* length;     // [panels], largest |C_j|
  const float* slack;      // [panels], largest 2 e_j + 2^-19 |bias_j|
  int64_t panels, depth;   // depth: d / 32, rounded up
};

// A tile of points in lanes.
struct Bf16Points {
  uint32_t* words;  // [depth * 16][tile], two values each; zero behind the last column
  float* residual;  // [tile], at least |r|
};

// Rows rounded, kept from pass to pass.
struct Bf16Rows {
  uint32_t* words;  // [n][pairs]: d / 2, rounded up
  float* residual;  // [n]
  float* norm2;     // [n], |X|^2 as the tile loader gives it
};

struct Bf16Kernels {
  // Before the first and after the last call on a thread.
  void (*begin)();
  void (*end)();

  // Rounds a full tile. IN tile [d][tile]; OUT points.
  void (*round)(const float* tile, int64_t d, const Bf16Points& points);

  // Puts away `count` points of a tile, as rows row[0..count-1]; takes them out again, OUT points,
  // norm2 [tile]. Lanes past `count` repeat the last row.
  void (*put)(const Bf16Points& points, const float* norm2, int64_t pairs, const int64_t* row,
              int64_t count, const Bf16Rows& rows);
  void (*take)(const Bf16Rows& rows, int64_t pairs, const int64_t* row, int64_t count,
               const Bf16Points& points, float* norm2);

  // The best center of each point. IN points, norm2 [tile], centers; OUT best: below its score,
  // second: above the scores of all others, index, all [tile]; open: the points, of `count`, for
  // which that does not settle it. Returns how many.
  int64_t (*sweep)(const Bf16Points& points, const float* norm2, const TileBound& bound,
                   const Bf16Centers& centers, int64_t count, const RunningBest& found,
                   int32_t* open, Ahead& ahead);
};

inline int64_t bf16_depth(int64_t d) { return (d + 31) / 32; }

// The centers of a filter, rounded to bfloat16.
class Bf16Filter {
 public:
  Bf16Filter(const Filter& filter, Team& team);

  const Bf16Centers& centers() const { return centers_; }

 private:
  Aligned<int32_t> index_;
  Aligned<uint16_t> blocks_;
  Aligned<float> bias_, residual_, length_, slack_;
  Bf16Centers centers_;
};

}  // namespace shoal
