// The int8 screen: scores from dot products of bytes, four times as many per instruction as
// float32, with a bound on what rounding to bytes can have changed. It comes before float64 where
// there are enough columns and centers to pay for it, in place of the float32 filter.
//
// In filter space (filter.h), X = s q + r with q bytes and s a scale per row, C_j = s_j q_j + r_j
// likewise. Then X.C_j = s s_j (q.q_j) + (s q).r_j + r.C_j, and by Cauchy-Schwarz the last two are
// at most |s q||r_j| + |r||C_j|. With F, the float32 filter's bound, for everything else, a score
// differs from its estimate by at most
//     error = (|X| + |r|) max|r_j| + |r| max|C_j| + F,     the maxima over a group of centers.
// The largest (estimate - error) so far is a threshold below which no center can be nearest; a
// pass that knows a row's old label starts with the threshold of that center. A center is an event
// of a row if its estimate + error reaches the threshold, and a candidate if it still does at the
// end. A single candidate is nearest; several are measured in float64. Cost per row and center:
// d / 4 multiply-adds of four bytes and four operations, divided by the lanes.
#pragma once
#include <memory>
#include <vector>

#include "filter.h"

namespace shoal {

// Four bytes in a 32-bit word, [quads] of them per vector; quads = d / 4, rounded up.
struct ByteCenters {
  const int32_t* values;  // groups of centers, each [quads][group]; the last may be narrower
  const int32_t* start;   // [k], makes up for the points' bytes being unsigned
  const float* scale;     // [k]
  const float* bias;      // [k], as in PackedCenters
  const float* residual;  // [groups], largest |r_j|
  const float* largest;   // [groups], largest |C_j|
  int64_t k, quads;
};

struct BytePoints {
  uint32_t* values;  // [quads][tile], bytes + 128
  float* scale;      // [tile]
  float* length;     // [tile], at least |s q|
  float* residual;   // [tile], at least |r|
};

struct Event {
  float upper[16];  // estimate + error, by lane
  int32_t center;
  int32_t first;   // point in lane 0
  uint32_t lanes;  // those that reach the threshold
};

struct ByteKernels {
  // Rounds a full tile to bytes. IN tile [d][tile], norm2 [tile]; OUT points.
  void (*round)(const float* tile, const float* norm2, int64_t d, const BytePoints& points);

  // Screens the groups from `first` on. IN other [tile], F of each point; INOUT threshold [tile];
  // OUT events [capacity], `size` of them. Returns the first group not looked at (events are
  // full), or the number of groups.
  int64_t (*screen)(const BytePoints& points, const ByteCenters& centers, int64_t first,
                    const float* other, float* threshold, Event* events, int64_t capacity,
                    int64_t* size);
};

// The centers of a filter as bytes.
class ByteFilter {
 public:
  ByteFilter(const Filter& filter, int group);

  ByteCenters centers() const {
    return {
        values_.data(), start_.data(), scale_.data(), bias_, residual_.data(), largest_.data(), k_,
        quads_};
  }
  int64_t quads() const { return quads_; }

 private:
  int64_t k_, quads_;
  const float* bias_;
  std::vector<int32_t> values_, start_;
  std::vector<float> scale_, residual_, largest_;
};

}  // namespace shoal
