#include "core/screens/bf16x2/bf16x2.h"

#include <algorithm>

namespace shoal {

Bf16x2Filter::Bf16x2Filter(const Filter& filter, const Bf16x2Kernels& kernels, Team& team) {
  const int64_t k = filter.k(), d = filter.d();
  const int64_t panels = (k + kBf16x2Centers - 1) / kBf16x2Centers;
  const int64_t depth = (d + kBf16x2Columns - 1) / kBf16x2Columns, stride = depth * kBf16x2Columns;
  tiles_.resize(panels * depth * 2 * kBf16x2Centers * kBf16x2Columns);
  team.run(panels, [&](int64_t p, int) {
    Aligned<float> values(kBf16x2Centers * stride);
    const int64_t first = p * kBf16x2Centers;
    for (int64_t j = first; j < std::min(k, first + kBf16x2Centers); ++j)
      filter.center(j, values.data() + (j - first) * stride);
    kernels.split_centers(values.data(), depth,
                          tiles_.data() + p * depth * 2 * kBf16x2Centers * kBf16x2Columns);
  });
  centers_ = {tiles_.data(), filter.upper_biases(), k, panels, depth};
}

}  // namespace shoal
