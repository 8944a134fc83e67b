// Centers in filter space, packed for the tile kernels, and the bound on float32's error.
//
// Filter space is x' = scale * x - shift, with shift the mean of the centers (it takes away the
// cancellation of data far from the origin) and scale a power of two (it takes away overflow and
// underflow). Let X, C be the float32 values of x', c' and u = 2^-24.
//
// The bound. |X - x'| <= u|x'| per column, likewise C. A sum of d products that starts at
// -|C|^2/2 errs by at most gamma_{d+2} (|X||C| + |C|^2/2), gamma_m = mu / (1 - mu) (Higham 2002,
// section 3.1, for any use of FMA); the rounding of inputs and of the start adds at most
// 5u (|X||C| + |C|^2/2). float64's own error, (d + 3) 2^-53 |x' - c'|^2, adds the term in |X|^2.
// Underflow adds nothing visible: the largest center is about 1 in filter space, or, where the
// range of the scale does not allow that, at least 2^-40. Below, and where all centers are equal,
// every row is looked at again.
#pragma once
#include <vector>

#include "rows.h"
#include "targets.h"

namespace shoal {

class Filter {
 public:
  // rows: the dtype that the tile loader will read (float64 under cosine).
  Filter(const ExactCenters& centers, Dtype rows, int group);
  Filter(const Filter&) = delete;
  Filter& operator=(const Filter&) = delete;

  PackedCenters packed() const { return {values_.data(), bias_.data(), k_, d_}; }
  const FilterSpace& space() const { return space_; }
  const TileBound& bound() const { return bound_; }

  // False where float32 bounds nothing and every row must be measured.
  bool usable() const {
    return bound_.relative < 1 && bound_.largest_center < 0x1p60f && bound_.largest_bias < 0x1p60f;
  }

  // A lower bound on the score of a center at this squared distance (outside filter space).
  float score_at(double squared_distance, float norm2) const;

  // How much a score of a point with this |X|^2 can err.
  float error(float norm2) const;

  // A lower bound on |x - c|, outside filter space, for every center whose computed score is not
  // above `score`.
  float distance_above(float score, float norm2) const;

 private:
  int64_t k_, d_;
  std::vector<double> shift_;
  std::vector<float> shift32_, values_, bias_;
  FilterSpace space_;
  TileBound bound_;
};

}  // namespace shoal
