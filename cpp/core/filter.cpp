#include "filter.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace shoal {
namespace {

constexpr double kUnit = 0x1p-24;  // u of float32

TileBound bound_of(int64_t d) {
  const double terms = static_cast<double>(d);
  const double m = (terms + 2) * kUnit;
  const bool usable = m < 0.1;  // beyond: every row is looked at again
  // 1.05 covers rounding in the bound itself and in the norms, which are float32 sums.
  const double relative = 1.05 * (m / (1 - m) + 5 * kUnit) * (1 + m);
  const double quadratic = 1.05 * (terms + 3) * 0x1p-52;
  return {usable ? static_cast<float>(relative) : std::numeric_limits<float>::infinity(),
          static_cast<float>(quadratic), 0, 0};
}

}  // namespace

Filter::Filter(const ExactCenters& centers, Dtype rows, int group)
    : k_(centers.k),
      d_(centers.d),
      shift_(d_),
      shift32_(d_ + 16),
      values_(k_ * d_),
      bias_(k_),
      bound_(bound_of(d_)) {
  std::vector<double> mean(d_);
  for (int64_t j = 0; j < k_; ++j)
    for (int64_t t = 0; t < d_; ++t) mean[t] += centers.row(j)[t] / static_cast<double>(k_);
  double largest = 0;
  for (int64_t j = 0; j < k_; ++j)
    for (int64_t t = 0; t < d_; ++t)
      largest = std::max(largest, std::fabs(centers.row(j)[t] - mean[t]));
  // float32 rows are mapped in float32, so the scale must be one of its powers of two. Where
  // centers are nearer than 2^-440, float64's own squares lose bits to underflow.
  const int range = rows == Dtype::float32 ? 120 : 400;
  const int exponent = largest > 0 ? std::clamp(-std::ilogb(largest), -range, range) : 0;
  space_ = {std::ldexp(1.0, exponent), shift_.data(), shift32_.data(), std::ldexp(1.0f, exponent)};
  if (k_ > 1 && !(largest * space_.scale >= 0x1p-40))
    bound_.relative = std::numeric_limits<float>::infinity();
  for (int64_t t = 0; t < d_; ++t) {
    shift32_[t] = static_cast<float>(mean[t] * space_.scale);
    shift_[t] = rows == Dtype::float32 ? static_cast<double>(shift32_[t]) : mean[t] * space_.scale;
  }
  for (int64_t j = 0; j < k_; ++j) {
    const int64_t first = j - j % group;
    const int64_t width = std::min<int64_t>(group, k_ - first);
    double norm2 = 0;
    for (int64_t t = 0; t < d_; ++t) {
      const auto value = static_cast<float>(centers.row(j)[t] * space_.scale - shift_[t]);
      values_[first * d_ + t * width + (j - first)] = value;
      norm2 += static_cast<double>(value) * static_cast<double>(value);
    }
    // A center without direction is at cosine distance 1, not 1/2: lower its score to say so.
    const double extra = centers.zero[j] ? space_.scale * space_.scale / 2 : 0;
    bias_[j] = static_cast<float>(-norm2 / 2 - extra);
    bound_.largest_center = std::max(bound_.largest_center, static_cast<float>(std::sqrt(norm2)));
    bound_.largest_bias = std::max(bound_.largest_bias, -bias_[j]);
  }
}

float Filter::error(float norm2) const {
  return bound_.relative * (std::sqrt(norm2) * bound_.largest_center + bound_.largest_bias) +
         bound_.quadratic * norm2;
}

float Filter::score_at(double squared_distance, float norm2) const {
  const double least =
      static_cast<double>(norm2) * (1 - 1.05 * (static_cast<double>(d_) + 4) * kUnit);
  const double squared = squared_distance * space_.scale * space_.scale * (1 + 0x1p-20);
  return static_cast<float>((least - squared) / 2);
}

float Filter::distance_above(float score, float norm2) const {
  // |x' - c'|^2 = |x'|^2 - 2 (exact score); |X|^2 is a float32 sum of d squares.
  const double above = static_cast<double>(score) + 1.01 * static_cast<double>(error(norm2));
  const double least =
      static_cast<double>(norm2) * (1 - 1.05 * (static_cast<double>(d_) + 4) * kUnit);
  const double squared = least - 2 * above;
  const double distance = squared > 0 ? std::sqrt(squared) / space_.scale * (1 - 0x1p-20) : 0;
  // Below, float32 would round it coarsely, perhaps up; without a score, nothing is known.
  if (!(distance > 0x1p-120) || !std::isfinite(score)) return 0;
  return distance < 0x1p127 ? static_cast<float>(distance) : 0x1p127f;
}

}  // namespace shoal
