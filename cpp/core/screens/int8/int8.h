// The int8 screen: scores from dot products of bytes, four times as many per instruction as
// float32 (AMX: thirty times; AVX2 without VNNI: three instructions for them, and a bit less per
// byte of a row, see dot_bytes), with a bound on what rounding to bytes can have changed. It comes
// before float64 where there are enough columns and centers to pay for it, in place of the float32
// filter.
//
// In filter space (filter.h), X = s q + r with q bytes and s a scale per row, C_j = s_p q_j + r_j
// with s_p a scale per panel of 16 centers. Then X.C_j = s s_p (q.q_j) + (s q).r_j + r.C_j, and by
// Cauchy-Schwarz the last two are at most |s q||r_j| + |r||C_j|. With f + e_j, the float32
// filter's bound, for everything else, a score differs from its estimate by at most
//     error_j = (|X| + |r|) |r_j| + |r| |C_j| + 2 (f + e_j).
// Two looks at a tile of rows:
//   sweep     points in lanes, the estimates of all centers. Without a branch it keeps the largest
//             of each panel, plus the panel's largest error: an upper bound of its scores; and the
//             largest lower bound of all, the threshold below which no center can be nearest.
//   shortlist centers in lanes, only the panels that reach the threshold, for most rows one: now
//             with the error of each center. Centers that still reach it are candidates.
//   compare   rows that are kept, several candidates: their residuals are kept as bytes too,
//             r = (s / 254) q' + t, so that |t| <= s sqrt(d) / 508; float32 adds the dot products.
// Centers of about the same largest value share a panel: then its scale and bounds fit all of them.
// A single candidate is nearest; several are measured in float64. Cycles per row and 16 centers,
// with two dot products of bytes per cycle: d / 8 + 2 (AMX: d / 64 + 2); and about 40 per row for
// its shortlist.
#pragma once
#include <memory>
#include <vector>

#include "core/base/aligned.h"
#include "core/screens/f32/filter.h"
#include "core/screens/item.h"

namespace shoal {

inline constexpr int64_t kMostInt8Columns = 16384;  // beyond, sums of bytes could leave 32 bits
inline constexpr int kPanel = 16;                   // centers with a common scale
inline constexpr int kLooks = 512;  // panels to look at closer, all rows of a tile together

// Centers in panels of 16, the last filled up with centers that cannot be nearest. Four bytes in a
// 32-bit word, quads = d / 4, rounded up.
struct Int8Centers {
  const int32_t* index;    // [panels][16], which center it is
  const uint32_t* words;   // [panels][quads][16], bytes + 128, or just bytes
  const int8_t* blocks;    // [panels][d / 64][16][64], the bytes again as tiles of AMX; or null
  const float* scale;      // [panels]
  const float* inverse;    // [panels], 1 / scale
  const float* residual;   // [panels], largest |r_j|
  const float* length;     // [panels], largest |C_j|
  const float* slack;      // [panels], largest 2 e_j (filter.h)
  const float* bias;       // [panels][16], -|C_j|^2 / 2; -infinity behind the last center
  const float* residuals;  // [panels][16], |r_j|
  const float* lengths;    // [panels][16], |C_j|
  const float* slacks;     // [panels][16], 2 e_j
  const float* rows;       // [k][stride], C_j, zero behind the last column; stride: 32 n
  int64_t panels, quads, stride;
};

// A tile of points in lanes.
struct Int8Points {
  uint32_t* words;  // [quads of whole AMX tiles][tile], signed bytes; zero behind the last column
  uint32_t* finer;  // [quads][tile], of the residuals; null: not wanted
  int32_t* start;   // [tile], makes up for the 128 that bytes of centers are larger
  float* scale;     // [tile]
  float* residual;  // [tile], at least |r|
  float* length;    // [tile], at least |s q|
  float* other;     // [tile], 2 r'
};

// What the sweep found.
struct Sweep {
  float* upper;      // [panels][tile], above every score of the panel
  float* threshold;  // [tile], below the best score
  int32_t* sums;     // [tile / 32][panels][2][16][16], the dot products of AMX; null: not kept
};

// What is left of a row's centers.
struct Shortlist {
  int32_t count;  // of candidates; kCandidates + 1: more, not all are listed
  int32_t place[kCandidates + 1 + kPanel];  // in the panels; room for a whole panel at the end
};

// Panels of points that reach the threshold.
struct Looks {
  int32_t lane[kLooks + kPanel], panel[kLooks + kPanel];
};

// Rows as bytes, kept from pass to pass.
struct Int8Rows {
  uint32_t* words;  // [n][quads]
  uint32_t* finer;  // [n][quads], of the residuals
  float* scale;     // [n]
  float* residual;  // [n]
  float* norm2;     // [n], |X|^2 as the tile loader gives it
};

struct Int8Kernels {
  bool blocks;    // the sweep reads Int8Centers::blocks
  uint32_t flip;  // what Int8Centers::words are turned by: 128 is added to each byte, or nothing

  // Before the first and after the last call on a thread.
  void (*begin)();
  void (*end)();

  // Rounds a center. IN values [stride]; OUT bytes [stride]; residual2, length2: squares of their
  // lengths, within 1 % (up to 10^5 columns).
  void (*round_center)(const float* values, int64_t stride, float scale, int8_t* bytes,
                       float* residual2, float* length2);

  // Rounds a full tile to bytes. IN tile [d][tile], norm2 [tile]; OUT points, but `other`.
  void (*round)(const float* tile, const float* norm2, int64_t d, const Int8Points& points);

  // Puts away `count` points of a tile, as rows row[0..count-1]; takes them out again, OUT points
  // (but `other`), norm2 [tile]. Lanes past `count` repeat the last row.
  void (*put)(const Int8Points& points, const float* norm2, int64_t quads, const int64_t* row,
              int64_t count, const Int8Rows& rows);
  void (*take)(const Int8Rows& rows, int64_t quads, const int64_t* row, int64_t count,
               const Int8Points& points, float* norm2);

  // IN points, norm2 [tile], centers; OUT points.other, sweep.
  void (*sweep)(const Int8Points& points, const float* norm2, const TileBound& bound,
                const Int8Centers& centers, const Sweep& sweep);

  // OUT lists [count], one per point; far [tile]: above the scores of all that are no candidates.
  // TMP looks. False where too much is left.
  bool (*shortlist)(const Int8Points& points, const Int8Centers& centers, const Sweep& sweep,
                    int64_t count, Looks& looks, Shortlist* lists, float* far);

  // Shortens the list of row i. IN other: 2 r'. INOUT list; near, far. TMP row [stride], zero at
  // first behind the last column.
  void (*compare)(const Int8Rows& rows, const Int8Centers& centers, int64_t i, float other,
                  float* row, Shortlist& list, float& near, float& far);
};

// Whole AMX tiles of 64 columns, in words.
inline int64_t padded_quads(int64_t quads) { return (quads + 15) / 16 * 16; }

// The centers of a filter as bytes.
class Int8Filter {
 public:
  Int8Filter(const Filter& filter, const Int8Kernels& kernels, Team& team);

  const Int8Centers& centers() const { return centers_; }

 private:
  Aligned<uint32_t> words_;
  Aligned<int8_t> blocks_;
  Aligned<int32_t> index_;
  Aligned<float> slack_, slacks_;
  Aligned<float> scale_, inverse_, residual_, length_, bias_, residuals_, lengths_, rows_;
  Int8Centers centers_;
};

}  // namespace shoal
