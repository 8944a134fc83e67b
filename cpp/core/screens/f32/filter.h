// Centers in filter space, packed for the tile kernels, and the bound on float32's error.
//
// Filter space is x' = scale * x - shift, with shift the mean of the centers (it takes away the
// cancellation of data far from the origin) and scale a power of two (it takes away overflow and
// underflow). A few centers far out are left out of the mean. Passes that follow each other share
// one space, so that what is kept of the rows stays valid: any space is right, the mean of the
// centers only makes the bound small. Let X, C be the float32 values of x', c' and u = 2^-24.
//
// The bound. |X - x'| <= u|x'| per column, likewise C. A sum of d products that starts at
// -|C|^2/2 errs by at most gamma_{d+2} (|X||C| + |C|^2/2), gamma_m = mu / (1 - mu) (Higham 2002,
// section 3.1, for any use of FMA); the rounding of inputs, of the start and of the score less or
// plus its bound adds at most 8u (|X||C| + |C|^2/2). float64's own error, (d + 3) 2^-53 |x' -
// c'|^2, adds a term in |X|^2. So that a center far out costs the others nothing, the bound is
// taken apart: |X||C| <= |X|^2 + |C|^2/4, and |X||C| <= |X| max|C|, so with rho the sum of the
// factors above the error of center j is at most r + e_j,
//     r = rho |X| min(|X|, max|C|) + ...,   e_j = 3/4 rho |C_j|^2.
// The packed biases hold e_j: a packed score is, but for r, above the exact one, and 2 e_j less
// below it. Underflow adds less than 2^-110, part of r, while the largest center is at least 2^-40
// in filter space. Below, and where all centers are equal, every row is looked at again.
//
// Under cosine the loader brings rows to length one in float32: it sums squares, each in at most
// d/4 + 16 additions, takes the root and divides. With e = (d/8 + 14) u a length errs by at most e
// relatively, the product with it and the narrowing of float64 values included, so X lies within
// e * scale of x'. That adds e * scale * |C| to the bound of a score, and e * scale to a distance.
// Where centers are so near each other that the scale exceeds 2^12, and where rows are too long or
// too short, unit rows of float64 are loaded instead.
#pragma once
#include <mutex>
#include <vector>

#include "core/base/aligned.h"
#include "core/base/rows.h"
#include "core/simd/targets.h"

namespace shoal {

// The affine map into filter space.
class Space {
 public:
  // rows: the dtype of the rows.
  Space(const ExactCenters& centers, Dtype rows);

  FilterSpace map() const {
    return {scale_, shift_.data(), shift32_.data(), static_cast<float>(scale_), unit_};
  }
  double scale() const { return scale_; }
  // How far a row in a tile may be from where it should be, beside the rounding of its values.
  double offset() const {
    return unit_ ? 1.01 * (static_cast<double>(d_) / 8 + 14) * 0x1p-24 * scale_ : 0;
  }
  // IN c [d]; OUT values [d]. Returns |values|^2.
  double center(const double* c, float* values) const;

 private:
  int64_t d_;
  double scale_;
  bool unit_;
  std::vector<double> shift_;  // both readable up to a multiple of 16
  Aligned<float> shift32_;
};

// How much wider than float32's the bound of another product is.
struct Widening {
  double additions = 0;  // beyond d + 2, on the way of a term
  double relative = 0;   // of |X||C|
  float constant = 0;    // of a score
};

class Filter {
 public:
  // Centers and space must outlive this.
  Filter(const ExactCenters& centers, const Space& space, int group, const Widening& widening,
         Team& team);
  Filter(const Filter&) = delete;
  Filter& operator=(const Filter&) = delete;

  // Packed when first asked for; any thread may.
  PackedCenters packed() const {
    std::call_once(packed_, [this] { pack(); });
    return {values_.data(), upper_bias_.data(), k_, d_};
  }
  // Of at most kFewCenters; else none.
  FewCenters few() const {
    return {few_.data(), upper_bias_.data(), few_.empty() ? 0 : k_, stride_};
  }
  // [k], as in PackedCenters.
  const float* upper_biases() const { return upper_bias_.data(); }
  const Space& space() const { return space_; }
  const TileBound& bound() const { return bound_; }

  // False where float32 bounds nothing and every row must be measured.
  bool usable() const {
    return bound_.relative < 1 && bound_.largest_center < 0x1p60f && largest_bias_ < 0x1p60f;
  }

  // Center j in filter space, OUT values [d].
  void center(int64_t j, float* values) const { space_.center(centers_.row(j), values); }
  float bias(int64_t j) const { return bias_[j]; }    // -|C_j|^2 / 2
  float slack(int64_t j) const { return slack_[j]; }  // 2 e_j
  int64_t k() const { return k_; }
  int64_t d() const { return d_; }

  // r of a point with this |X|^2.
  float error(float norm2) const;

 private:
  void pack() const;

  int64_t k_, d_;
  const ExactCenters& centers_;
  const Space& space_;
  const int group_;
  mutable std::once_flag packed_;
  mutable Aligned<float> values_;
  Aligned<float> bias_, upper_bias_, slack_;
  float largest_bias_ = 0;
  int64_t stride_;
  Aligned<float> few_;
  TileBound bound_;
};

}  // namespace shoal
