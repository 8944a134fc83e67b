// Rows as bytes, to find those that a candidate center can be nearer to than their nearest center
// so far. All others need not be measured.
//
// Space is x' = scale * x - shift, as in filter.h, with the mean of some rows as shift. A row is
// s q + r with q bytes and r what rounding left; a candidate is t p + e likewise, in bytes or in 16
// bits. By Cauchy-Schwarz, x'.c' <= s t (q.p) + s |q| |e| + |r| |c'|. A candidate is nearer than
// the squared distance D only if x'.c' > (|x'|^2 - D + |c'|^2) / 2, so only if
//     t (q.p) + |q| |e| + |r|/s |c'|  >  (|x'|^2 - D) / 2s + |c'|^2 / 2s.
// q.p is exact. On the left, |q| and |r|/s are replaced by their maxima over a tile of rows, on the
// right, each row keeps the first summand (`least`) and 1/s. Both sides are float32, of few
// operations, each off by at most 2^-24 of the larger operand; summands that are 2^-20 too large or
// too small to the safe side make up for it. The errors of float64 in x', in norms and in the
// distance that decides, all below (d + 8) 2^-50 of what they belong to, are part of D and of the
// same margins.
//
// The same sums bound what a candidate gains, that is what it takes off the sum of squared
// distances. A row's gain, D - |x'-c'|^2, is 2 s times left minus right side with the true x'.c'/s
// on the left: at most what the test has computed (G), and more than G less
// - twice what stands for |q| |e| + |r|/s |c'| (`margin`), and an eighth of it: its own slack,
//   2^-18 of (|q| + |r|/s) (|c'| + |e|), is eight times what float32 rounds on the left;
// - 2^-16 of |least| and of |c'|^2 / 2s, 2^-16 of |x'|^2 / s: some 2^-18 is what was moved to the
//   safe side on the right.
// Summed over the rows where G > 0, float32 adds less than 2^-13; D makes up for squares lost to
// underflow, which have to be taken from the bound from below.
#pragma once
#include <cstdlib>
#include <memory>
#include <vector>

#include "core/base/rows.h"
#include "core/simd/dispatch.h"

namespace shoal {

inline constexpr int kCodeTile = 32;        // rows in a tile of codes
inline constexpr int kTilesAtOnce = 32;     // at most, that a kernel takes at a time
inline constexpr int kMostCandidates = 12;  // the same
inline constexpr int kFewApart = 4;

// Candidates as a kernel takes them: m of them side by side. norm and error are readable up to
// kMostCandidates rounded up to 16.
struct CodedGroup {
  // [quads][m] of four bytes, or [quads][2][m]: columns 0 and 2, 1 and 3; or, apart, [m][quads]
  const int32_t* words;
  const int32_t* start;  // [m], makes up for the bytes of rows being unsigned
  const float* scale;    // [m]: t
  const float* half;     // [m], at most |c'|^2 / 2
  const float* norm;     // [m], at least |c'|
  const float* error;    // [m], at least |e|
  int64_t quads;
  int m;
  bool apart;
};

// Tiles of rows, at most kTilesAtOnce.
struct CodedTiles {
  const uint32_t* words;  // [count][quads][kCodeTile], bytes + 128
  const float* least;     // [count][kCodeTile]
  const float* inverse;   // [count][kCodeTile], at most 1/s
  const float* length;    // [count], at least |q| + |r|/s of each row
  const float* rest;      // [count], at least |r|/s of each row
  int64_t count;
};

// A row x' as s q + r.
struct RoundedRow {
  double norm2;    // |x'|^2
  double inverse;  // 1 / s
  double rest2;    // |r|^2
};

// By how much a candidate would lower the sum of squared distances in filter space.
struct GainBounds {
  double upper = 0;
  double lower = 0;  // without what float64 lost: see gained_at_least
};

struct SeedingKernels {
  double largest_code;  // of a candidate: 127 where products of bytes are summed, else 32767
  // Words times candidates from which the words of a candidate lie side by side, not those of a
  // column, if there are at least kFewApart candidates; or 0: never.
  int64_t apart_from;

  // Which rows each candidate can be nearer to, and what that would gain. OUT reached
  // [m][kTilesAtOnce], a bit per row; INOUT bounds [m] or null: added to.
  void (*reach)(const CodedTiles& tiles, const CodedGroup& group, uint32_t* reached,
                GainBounds* bounds);

  // Rounds a row to bytes. INOUT x [d, rounded up to 16], 0 behind d: x', then not defined.
  // OUT bytes [as many], q + 128.
  RoundedRow (*round)(double* x, int64_t d, uint8_t* bytes);
};

// Where codes live: the map into filter space.
struct CodeSpace {
  double scale = 1;
  std::vector<double> shift;  // [d]

  CodeSpace() = default;
  // From a sample of the rows.
  CodeSpace(const Rows& rows, Metric metric, const ExactKernels& exact);

  // The squared distance, in this space, below which a float64 distance may be below `distance`.
  double reach_of(double distance) const { return distance > 0 ? distance * factor_ + lost_ : 0; }
  double lost() const { return lost_; }

 private:
  double factor_ = 1, lost_ = 0;
};

// The candidates of one pass.
class CodedCandidates {
 public:
  CodedCandidates(const ExactCenters& candidates, const CodeSpace& space,
                  const SeedingKernels& kernels);

  int64_t k() const { return k_; }
  int64_t groups() const { return (k_ + width_ - 1) / width_; }
  CodedGroup group(int64_t g) const;
  int64_t first(int64_t g) const { return g * width_; }
  // Whether bytes say nothing of candidate j, so that every row may be near.
  bool unbounded(int64_t j) const { return unbounded_[j] != 0; }
  bool some_unbounded() const { return some_unbounded_; }

 private:
  int64_t k_, quads_, width_;
  bool bytes_, apart_, some_unbounded_ = false;
  std::vector<int32_t> words_, start_;
  std::vector<float> scale_, half_, norm_, error_;
  std::vector<uint8_t> unbounded_;
};

// The codes of the first tiles of some rows.
class RowCodes {
 public:
  // Room for codes of `tiles` tiles of rows of d columns.
  RowCodes(CodeSpace space, int64_t tiles, int64_t d);
  RowCodes(const RowCodes&) = delete;
  RowCodes& operator=(const RowCodes&) = delete;

  static int64_t bytes_per_tile(int64_t d) { return kCodeTile * ((d + 3) / 4 * 4 + 12) + 8; }

  const CodeSpace& space() const { return space_; }
  int64_t tiles() const { return tiles_; }

  // Encodes row i. INOUT x [room()]: the row as read_row gives it, then not defined. Rows of one
  // tile are encoded by one thread.
  void encode(int64_t i, const SeedingKernels& kernels, double* x, uint8_t* bytes);
  int64_t room() const { return (d_ + 15) / 16 * 16; }
  // Row i is at most this far, in units of space().reach_of; 0: it needs no more looking at.
  void set_reach(int64_t i, double reach);

  // Rows of tiles first..last-1, at most kTilesAtOnce, that each candidate can be nearer to.
  // OUT reached [k][kTilesAtOnce], a bit per row; INOUT bounds [k] or null: added to.
  void reach(int64_t first, int64_t last, const CodedCandidates& candidates,
             const SeedingKernels& kernels, uint32_t* reached, GainBounds* bounds) const;
  // The least gain, in units of a bound from above, where the bounds from below come to `lower`.
  double gained_at_least(double lower) const;

 private:
  CodeSpace space_;
  int64_t tiles_, d_, quads_;
  struct Free {
    void operator()(uint32_t* words) const { std::free(words); }
  };
  std::unique_ptr<uint32_t, Free> words_;       // [tiles][quads][kCodeTile], whole cache lines
  std::vector<float> norm2_, inverse_, least_;  // [tiles * kCodeTile]
  std::vector<float> length_, rest_;            // [tiles]
};

}  // namespace shoal
