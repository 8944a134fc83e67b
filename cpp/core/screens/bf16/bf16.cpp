#include "core/screens/bf16/bf16.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

namespace shoal {
namespace {

constexpr float kNever = -0x1p120f;  // the bias of what fills up the last panel
constexpr float kNumber = 0x1p-19f;  // what the number of a center can change, relatively

// To the nearest, ties to even.
uint16_t round_bf16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

}  // namespace

Bf16Filter::Bf16Filter(const Filter& filter, Team& team) {
  const int64_t k = filter.k(), d = filter.d(), depth = bf16_depth(d);
  const int64_t panels = (k + kBf16Panel - 1) / kBf16Panel;
  index_.assign(panels * kBf16Panel, 0);
  blocks_.assign(panels * depth * kBf16Panel * 32, 0);
  bias_.assign(panels * kBf16Panel * kBf16Panel, kNever);
  residual_.resize(panels);
  length_.resize(panels);
  slack_.resize(panels);
  std::iota(index_.begin(), index_.begin() + k, 0);
  std::sort(index_.begin(), index_.begin() + k, [&](int32_t a, int32_t b) {
    return filter.bias(a) != filter.bias(b) ? filter.bias(a) > filter.bias(b) : a < b;
  });
  team.run(panels, [&](int64_t p, int) {
    std::vector<float> values(d);
    for (int64_t c = 0; c < std::min<int64_t>(kBf16Panel, k - p * kBf16Panel); ++c) {
      const int32_t j = index_[p * kBf16Panel + c];
      filter.center(j, values.data());
      double residual2 = 0, length2 = 0;
      for (int64_t t = 0; t < d; ++t) {
        const uint16_t high = round_bf16(values[t]);
        const double length = static_cast<double>(values[t]);
        const double rest = length - static_cast<double>(widen(Bfloat16{high}));
        residual2 += rest * rest;
        length2 += length * length;
        blocks_[((p * depth + t / 32) * kBf16Panel + c) * 32 + t % 32] = high;
      }
      const float length = 1.01f * static_cast<float>(std::sqrt(length2));
      const float residual = 1.01f * static_cast<float>(std::sqrt(residual2));
      const float bias = filter.bias(j);
      std::fill_n(bias_.data() + (p * kBf16Panel + c) * kBf16Panel, kBf16Panel, bias);
      length_[p] = std::max(length_[p], length);
      residual_[p] = std::max(residual_[p], residual + kNumber * length);
      slack_[p] = std::max(slack_[p], filter.slack(j) - 1.01f * kNumber * bias);
    }
  });
  centers_ = {index_.data(),  blocks_.data(), bias_.data(), residual_.data(),
              length_.data(), slack_.data(),  panels,       depth};
}

}  // namespace shoal
