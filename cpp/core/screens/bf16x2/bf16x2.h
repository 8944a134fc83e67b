// The bf16x2 screen: the scores of the float32 filter (f32/tile.cpp) from tiles of AMX, in a fifth
// of the operations (whole passes take 0.6 to 0.8 times as long). It takes the place of the float32
// filter where the processor multiplies tiles of bfloat16, and of bytes (int8.h) up to some
// hundred centers: its scores are nearly as good as float32's, so that few rows are looked at
// again.
//
// In filter space (filter.h) each value is an upper and a lower bfloat16 and a rest, X = h + l + e,
// C = H + L + E. Rounding to 8 bits, h to nearest and l towards zero, leaves |X - h| <= 2^-8 |X|
// and |e| <= 2^-15 |X|; H and L are both rounded to nearest, |E| <= 2^-16 |C|. Three products of
// four are added up:
//     X.C - (h.H + h.L + l.H) = e.C + (h + l).E + l.L,
// by Cauchy-Schwarz at most (2^-15 + 2^-16 + 2^-16) |X||C|, but for 1 % = 2^-14 |X||C|. Products of
// bfloat16 are exact in float32. Whatever the order of a tile's additions, a term of h.H goes
// through at most d + 36 of them, the others, 2^-8 times as large, through 2 d + 72; denormals are
// taken for zeros, which adds less than 2^-95. Filter takes all this into its bound.
//
// Cycles per row: for each 16 columns 5 to split them and 1.7 per 16 centers; for each 16 centers 9
// to find the best. Memory wants 9 per 16 columns when two cores read.
//
// What did not pay: AVX-512's conversion to bfloat16 (two steps each), and splitting more than 64
// columns before they are multiplied (they leave L1). bfloat16 alone has a bound 64 times as wide:
// that is a screen (bf16.h), and settles less where centers are near each other.
#pragma once
#include "core/base/aligned.h"
#include "core/screens/f32/filter.h"

namespace shoal {

inline constexpr int kBf16x2Rows = 32;     // at a time
inline constexpr int kBf16x2Centers = 16;  // of a panel
inline constexpr int kBf16x2Columns = 32;  // of a tile

// Centers in panels of 16, the last filled up with zeros.
struct Bf16x2Centers {
  const uint16_t* tiles;  // [panels][depth][2][16][16][2]: of columns t and t + 16 of 32, H and L
  const float* bias;      // [k], as in PackedCenters
  int64_t k, panels, depth;
};

struct Bf16x2Kernels {
  // Before the first and after the last call of `best` on a thread.
  void (*begin)();
  void (*end)();

  // Splits 16 centers. IN values [16][32 depth]; OUT tiles [depth][2][16][16][2].
  void (*split_centers)(const float* values, int64_t depth, uint16_t* tiles);

  // The running best, from the start, of up to kBf16x2Rows rows and all centers, and their norm2.
  // OUT running [kBf16x2Rows], norm2 [kBf16x2Rows]; TMP sums [panels][4][16][16]. Rows: native,
  // columns packed, no unit rows.
  void (*best)(const TileRows& rows, const FilterSpace& space, const Bf16x2Centers& centers,
               float* sums, const RunningBest& running, float* norm2);
};

// The centers of a filter, whose bound is that of bf16x2, as pairs of bfloat16. Filter must outlive
// this.
class Bf16x2Filter {
 public:
  Bf16x2Filter(const Filter& filter, const Bf16x2Kernels& kernels, Team& team);

  const Bf16x2Centers& centers() const { return centers_; }

 private:
  Aligned<uint16_t> tiles_;
  Bf16x2Centers centers_;
};

}  // namespace shoal
