// Centers as the float32 filter of sparse rows sees them, and the bound on its error.
//
// |x - c|^2 = |x|^2 - 2 (x.c - |c|^2 / 2), so the nearest center has the greatest score
// x.c - |c|^2 / 2, and x.c needs only the values of x that are not zero. Rows and centers are
// scaled by a power of two, which brings the largest value of a center to 1 ... 2.
//
// The bound. Let x' and c' be the scaled vectors, X and C their float32 values, b = -|c'|^2 / 2
// rounded, u = 2^-24, m the number of values of the row. Rounding X, C and b changes a term by less
// than 3u of it. Terms are added in runs of kSparseTerms, then the sums of runs to b: a term passes
// one product and at most h = min(m, 256) + ceil(m / 256) additions, for any use of FMA. So a score
// errs by at most gamma_{h+4} (|x'||c'| + |b|), gamma_i = iu / (1 - iu) (Higham 2002, section 3.1,
// with sum |x'_t c'_t| <= |x'||c'|). Underflow, flushed or not, adds less than
// (m + 1) 2^-120 (1 + |x'|). What decides is the float64 distance, whose terms err by 3 units of
// 2^-53 and pass at most 25 + log2(d) additions, so half of it errs by less than
// 2^-46 (|x'|^2 + |c'|^2); that covers, under cosine, how far a unit row is from length one, too.
// The arithmetic of the bound itself: 2u more, and a factor 1.01.
//
// Scores of whole numbers are exact in float32 where 2|x||c| + |c|^2 <= 2^23, and so are distances
// in float64: centers that tie there do so in truth, and none needs to be measured. Rows of counts
// and of zeros and ones tie again and again with centers that are rows themselves.
//
// Memory: a table of 4 k d bytes, k rounded up to a multiple of 16.
#pragma once
#include <vector>

#include "core/base/aligned.h"
#include "core/sparse/exact.h"
#include "core/sparse/kernels.h"

namespace shoal {

// A row as the filter sees it.
struct FilteredRow {
  bool usable = false;  // false: nothing is known of it
  bool exact = false;   // scores are exact, the bound is 0
  double norm2 = 0;     // |x'|^2
  SparseBound bound{};
};

class SparseFilter {
 public:
  // Centers must outlive this.
  SparseFilter(const SparseCenters& centers, Team& team);

  double scale() const { return scale_; }
  SparseTable table() const {
    return {values_.data(), bias_.data(), norm_.data(), magnitude_.data(), k_, stride_};
  }

  // OUT values [row.size], X.
  FilteredRow read(const SparseRow& row, float* values) const;

  // At most this far is the score of center j from half of |x'|^2 - s^2 distance.
  double error(const FilteredRow& row, int64_t j) const {
    return 1.01 *
           (static_cast<double>(row.bound.by_norm) * static_cast<double>(norm_[j]) +
            static_cast<double>(row.bound.by_magnitude) * static_cast<double>(magnitude_[j]) +
            static_cast<double>(row.bound.constant));
  }

 private:
  int64_t k_, stride_;
  double scale_ = 1;
  bool whole_ = false;                      // all centers are whole numbers
  double largest_norm_ = 0;                 // of a center, scaled
  Aligned<float> values_;                   // [d][stride]
  Aligned<float> bias_, norm_, magnitude_;  // [stride]
};

}  // namespace shoal
