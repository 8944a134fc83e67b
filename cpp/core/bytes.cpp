#include "bytes.h"

#include <algorithm>
#include <cmath>

namespace shoal {

ByteFilter::ByteFilter(const Filter& filter, int group)
    : k_(filter.packed().k),
      quads_((filter.packed().d + 3) / 4),
      bias_(filter.packed().bias),
      values_(k_ * quads_),
      start_(k_),
      scale_(k_),
      residual_((k_ + group - 1) / group),
      largest_(residual_.size()) {
  const int64_t d = filter.packed().d;
  for (int64_t j = 0; j < k_; ++j) {
    const int64_t first = j - j % group, width = std::min<int64_t>(group, k_ - first);
    const float* center = filter.packed().values + first * d + (j - first);  // stride: width
    float most = 0;
    for (int64_t t = 0; t < d; ++t) most = std::max(most, std::fabs(center[t * width]));
    scale_[j] = most / 127;
    double residual = 0, length = 0;
    int32_t sum = 0;
    for (int64_t t = 0; t < d; ++t) {
      const double value = static_cast<double>(center[t * width]);
      const double scale = static_cast<double>(scale_[j]);
      const auto byte = static_cast<int32_t>(
          scale > 0 ? std::clamp(std::nearbyint(value / scale), -127.0, 127.0) : 0.0);
      const double rest = value - scale * byte;
      residual += rest * rest;
      length += value * value;
      sum += byte;
      auto& word = values_[first * quads_ + (t / 4) * width + (j - first)];
      word = static_cast<int32_t>(static_cast<uint32_t>(word) |
                                  (static_cast<uint32_t>(byte & 0xff) << (8 * (t % 4))));
    }
    start_[j] = -128 * sum;
    const auto at = static_cast<size_t>(j / group);
    residual_[at] = std::max(residual_[at], static_cast<float>(1.001 * std::sqrt(residual)));
    largest_[at] = std::max(largest_[at], static_cast<float>(1.001 * std::sqrt(length)));
  }
}

}  // namespace shoal
