#include "bytes.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "parallel.h"

namespace shoal {

ByteFilter::ByteFilter(const Filter& filter, const ExactCenters& centers,
                       const ByteKernels& kernels, int threads) {
  const int64_t k = centers.k, d = centers.d;
  const int64_t panels = (k + kPanel - 1) / kPanel, quads = (d + 3) / 4;
  const int64_t depth = padded_quads(quads) / 16;  // AMX tiles
  words_.assign(panels * quads * kPanel, 0x80808080u);
  if (kernels.blocks) blocks_.assign(panels * depth * kPanel * 64, 0);
  scale_.resize(panels);
  inverse_.resize(panels);
  residual_.resize(panels);
  length_.resize(panels);
  bias_.assign(panels * kPanel, -std::numeric_limits<float>::infinity());
  residuals_.resize(panels * kPanel);
  lengths_.resize(panels * kPanel);
  const int64_t stride = padded_quads(quads) * 4;
  rows_.resize(k * stride);
  index_.assign(panels * kPanel, -1);
  threads = useful_threads(threads, static_cast<double>(k * d));
  std::vector<float> sizes(k);
  parallel_for(panels, threads, [&](int64_t p, int) {
    for (int64_t j = p * kPanel; j < std::min(k, (p + 1) * kPanel); ++j) {
      float* values = rows_.data() + j * stride;
      filter.center(centers, j, values);
      for (int64_t t = 0; t < d; ++t) sizes[j] = std::max(sizes[j], std::fabs(values[t]));
    }
  });
  std::iota(index_.begin(), index_.begin() + k, 0);
  std::sort(index_.begin(), index_.begin() + k, [&](int32_t a, int32_t b) {
    return sizes[a] != sizes[b] ? sizes[a] < sizes[b] : a < b;
  });
  parallel_for(panels, threads, [&](int64_t p, int) {
    const int64_t width = std::min<int64_t>(kPanel, k - p * kPanel);
    const float most = sizes[index_[p * kPanel + width - 1]];
    scale_[p] = std::max(most, 0x1p-40f) / 127;  // below, all bytes are zero
    const float inverse = inverse_[p] = 1 / scale_[p];
    for (int64_t c = 0; c < width; ++c) {
      const int32_t j = index_[p * kPanel + c];
      const float* values = rows_.data() + j * stride;
      double residual = 0, length = 0;
      for (int64_t t = 0; t < d; ++t) {
        const float value = values[t];
        const float byte = std::clamp(std::nearbyint(value * inverse), -127.0f, 127.0f);
        const double rest =
            static_cast<double>(value) - static_cast<double>(scale_[p]) * static_cast<double>(byte);
        residual += rest * rest;
        length += static_cast<double>(value) * static_cast<double>(value);
        const auto whole = static_cast<int32_t>(byte);
        words_[(p * quads + t / 4) * kPanel + c] ^=  // the 128 are there already
            (static_cast<uint32_t>(whole + 128) ^ 0x80u) << (8 * (t % 4));
        if (kernels.blocks)
          blocks_[((p * depth + t / 64) * kPanel + c) * 64 + t % 64] = static_cast<int8_t>(whole);
      }
      bias_[p * kPanel + c] = filter.bias(j);
      residuals_[p * kPanel + c] = static_cast<float>(1.001 * std::sqrt(residual));
      lengths_[p * kPanel + c] = static_cast<float>(1.001 * std::sqrt(length));
      residual_[p] = std::max(residual_[p], residuals_[p * kPanel + c]);
      length_[p] = std::max(length_[p], lengths_[p * kPanel + c]);
    }
  });
  centers_ = {index_.data(),   words_.data(),   kernels.blocks ? blocks_.data() : nullptr,
              scale_.data(),   inverse_.data(), residual_.data(),
              length_.data(),  bias_.data(),    residuals_.data(),
              lengths_.data(), rows_.data(),    panels,
              quads,           stride};
}

}  // namespace shoal
