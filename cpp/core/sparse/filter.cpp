#include "core/sparse/filter.h"

#include <cmath>
#include <limits>

namespace shoal {
namespace {

constexpr int64_t kPart = 256;  // columns a thread takes at a time
constexpr double kLargest = 0x1p60;
constexpr double kUnit = 0x1p-24;

bool are_whole(const double* x, int64_t d) {
  for (int64_t t = 0; t < d; ++t)
    if (!(std::fabs(x[t]) < 0x1p23 && static_cast<double>(static_cast<int32_t>(x[t])) == x[t]))
      return false;
  return true;
}

}  // namespace

SparseFilter::SparseFilter(const SparseCenters& all, Team& team)
    : k_(all.centers().k),
      stride_((k_ + 15) / 16 * 16),
      values_(all.centers().d * stride_),
      bias_(stride_, -std::numeric_limits<float>::infinity()),
      norm_(stride_),
      magnitude_(stride_) {
  const ExactCenters& centers = all.centers();
  const int64_t d = centers.d;
  const bool cosine = centers.metric == Metric::cosine;
  std::vector<double> largest(k_);
  team.run(k_, [&](int64_t j, int) {
    for (int64_t t = 0; t < d; ++t) largest[j] = std::max(largest[j], std::fabs(centers.row(j)[t]));
  });
  const double most = *std::max_element(largest.begin(), largest.end());
  // Beyond 2^400, float64's own squares would lose bits to underflow that the bound knows nothing
  // of.
  if (most > 0) scale_ = std::ldexp(1.0, std::clamp(-std::ilogb(most), -600, 400));
  whole_ = !cosine;
  for (int64_t j = 0; j < k_ && whole_; ++j) whole_ = are_whole(centers.row(j), d);
  team.run((d + kPart - 1) / kPart, [&](int64_t part, int) {
    for (int64_t t = part * kPart; t < std::min(d, (part + 1) * kPart); ++t)
      for (int64_t j = 0; j < k_; ++j)
        values_[t * stride_ + j] = static_cast<float>(centers.row(j)[t] * scale_);
  });
  std::vector<double> norms(k_);
  team.run(k_, [&](int64_t j, int) {
    double norm2 = 0;
    for (int64_t t = 0; t < d; ++t) {
      const double c = centers.row(j)[t] * scale_;
      norm2 += c * c;
    }
    // A center without direction is at cosine distance 1, not 1/2: its score says so.
    const double extra = centers.zero[j] != 0 ? scale_ * scale_ / 2 : 0;
    bias_[j] = static_cast<float>(-norm2 / 2 - extra);
    magnitude_[j] = std::fabs(bias_[j]);
    norm_[j] = static_cast<float>(std::sqrt(norm2) * (1 + 0x1p-20));
    norms[j] = std::sqrt(norm2 + 2 * extra);
  });
  largest_norm_ = *std::max_element(norms.begin(), norms.end());
}

FilteredRow SparseFilter::read(const SparseRow& row, float* values) const {
  FilteredRow found;
  for (int64_t e = 0; e < row.size; ++e) {
    const double x = row.values[e] * scale_;
    values[e] = static_cast<float>(x);
    found.norm2 += x * x;
  }
  const double norm = std::sqrt(found.norm2);
  if (!(norm < kLargest && largest_norm_ < kLargest)) return found;
  const double reach = (2 * norm + largest_norm_) * largest_norm_ / (scale_ * scale_);
  if (whole_ && reach <= 0x1p22 && found.norm2 < 0x1p50 * scale_ * scale_ &&
      are_whole(row.values, row.size)) {
    found.usable = found.exact = true;
    return found;
  }
  const auto size = static_cast<double>(row.size);
  const double runs = std::ceil(size / static_cast<double>(kSparseTerms));
  const double most = std::min(size, static_cast<double>(kSparseTerms)) + runs + 8;
  if (most * kUnit > 0.05) return found;
  const double relative = 1.1 * most * kUnit;
  const double constant = 0x1p-46 * found.norm2 + (size + 1) * 0x1p-120 * (1 + norm);
  found.bound = {static_cast<float>(1.01 * relative * norm), static_cast<float>(1.01 * relative),
                 static_cast<float>(1.01 * constant)};
  found.usable = true;
  return found;
}

}  // namespace shoal
