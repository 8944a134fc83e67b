#include "core/screens/int8/int8.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

namespace shoal {
namespace {

// The largest |x|, of a multiple of 8 values. Side by side, as one maximum would wait for the one
// before.
float largest_of(const float* x, int64_t size) {
  float part[8] = {};
  for (int64_t t = 0; t < size; t += 8)
    for (int i = 0; i < 8; ++i) {
      const float magnitude = std::fabs(x[t + i]);
      part[i] = magnitude > part[i] ? magnitude : part[i];
    }
  return *std::max_element(part, part + 8);
}

}  // namespace

Int8Filter::Int8Filter(const Filter& filter, const Int8Kernels& kernels, Team& team) {
  const int64_t k = filter.k(), d = filter.d();
  const int64_t panels = (k + kPanel - 1) / kPanel, quads = (d + 3) / 4;
  const int64_t depth = padded_quads(quads) / 16;  // AMX tiles
  words_.assign(panels * quads * kPanel, kernels.flip);
  if (kernels.blocks) blocks_.assign(panels * depth * kPanel * 64, 0);
  scale_.resize(panels);
  inverse_.resize(panels);
  residual_.resize(panels);
  length_.resize(panels);
  slack_.resize(panels);
  slacks_.resize(panels * kPanel);
  bias_.assign(panels * kPanel, -std::numeric_limits<float>::infinity());
  residuals_.resize(panels * kPanel);
  lengths_.resize(panels * kPanel);
  const int64_t stride = padded_quads(quads) * 4;
  rows_.resize(k * stride);
  index_.assign(panels * kPanel, -1);
  std::vector<float> sizes(k);
  team.run(panels, [&](int64_t p, int) {
    for (int64_t j = p * kPanel; j < std::min(k, (p + 1) * kPanel); ++j) {
      float* values = rows_.data() + j * stride;
      filter.center(j, values);
      sizes[j] = largest_of(values, stride);
    }
  });
  std::iota(index_.begin(), index_.begin() + k, 0);
  std::sort(index_.begin(), index_.begin() + k, [&](int32_t a, int32_t b) {
    return sizes[a] != sizes[b] ? sizes[a] < sizes[b] : a < b;
  });
  team.run(panels, [&](int64_t p, int) {
    const int64_t width = std::min<int64_t>(kPanel, k - p * kPanel);
    const float most = sizes[index_[p * kPanel + width - 1]];
    scale_[p] = std::max(most, 0x1p-40f) / 127;  // below, all bytes are zero
    inverse_[p] = 1 / scale_[p];
    Aligned<int8_t> bytes(stride);
    for (int64_t c = 0; c < width; ++c) {
      const int64_t at = p * kPanel + c;
      const int32_t j = index_[at];
      float residual2, length2;
      kernels.round_center(rows_.data() + j * stride, stride, scale_[p], bytes.data(), &residual2,
                           &length2);
      for (int64_t t = 0; t < quads; ++t) {
        uint32_t word;
        std::memcpy(&word, bytes.data() + 4 * t, 4);
        words_[(p * quads + t) * kPanel + c] = word ^ kernels.flip;
      }
      if (kernels.blocks)
        for (int64_t t = 0; t < depth; ++t)
          std::memcpy(blocks_.data() + ((p * depth + t) * kPanel + c) * 64, bytes.data() + 64 * t,
                      64);
      bias_[at] = filter.bias(j);
      slacks_[at] = filter.slack(j);
      slack_[p] = std::max(slack_[p], slacks_[at]);
      residuals_[at] = 1.01f * std::sqrt(residual2);
      lengths_[at] = 1.01f * std::sqrt(length2);
      residual_[p] = std::max(residual_[p], residuals_[at]);
      length_[p] = std::max(length_[p], lengths_[at]);
    }
  });
  centers_ = {index_.data(),
              words_.data(),
              kernels.blocks ? blocks_.data() : nullptr,
              scale_.data(),
              inverse_.data(),
              residual_.data(),
              length_.data(),
              slack_.data(),
              bias_.data(),
              residuals_.data(),
              lengths_.data(),
              slacks_.data(),
              rows_.data(),
              panels,
              quads,
              stride};
}

}  // namespace shoal
