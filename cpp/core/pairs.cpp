#include "pairs.h"

#include <algorithm>

namespace shoal {

PairFilter::PairFilter(const Filter& filter, const PairKernels& kernels, Team& team) {
  const int64_t k = filter.k(), d = filter.d();
  const int64_t panels = (k + kPairCenters - 1) / kPairCenters;
  const int64_t depth = (d + kPairColumns - 1) / kPairColumns, stride = depth * kPairColumns;
  tiles_.resize(panels * depth * 2 * kPairCenters * kPairColumns);
  team.run(panels, [&](int64_t p, int) {
    Aligned<float> values(kPairCenters * stride);
    const int64_t first = p * kPairCenters;
    for (int64_t j = first; j < std::min(k, first + kPairCenters); ++j)
      filter.center(j, values.data() + (j - first) * stride);
    kernels.split_centers(values.data(), depth,
                          tiles_.data() + p * depth * 2 * kPairCenters * kPairColumns);
  });
  centers_ = {tiles_.data(), filter.upper_biases(), k, panels, depth};
}

}  // namespace shoal
