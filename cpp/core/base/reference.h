// The scalar truth of the assignment step: read it to know what every kernel must give.
#pragma once
#include <algorithm>
#include <limits>
#include <vector>

#include "core/base/distance.h"
#include "core/base/types.h"

namespace shoal {

inline bool reference_read(const Rows& rows, int64_t i, Metric metric, double* out) {
  for (int64_t t = 0; t < rows.d; ++t) {
    const char* at = rows.row(i) + t * rows.col_stride;
    out[t] = with_type(rows.dtype, [&]<class T>() {
      T x;
      std::memcpy(&x, at, sizeof x);
      return static_cast<double>(widen(x));
    });
  }
  return metric == Metric::squared_euclidean || make_unit(out, rows.d, reference_norm2);
}

// OUT labels [n], distances [n].
inline void reference_assign(const Rows& rows, const Rows& centers, Metric metric, int32_t* labels,
                             double* distances) {
  std::vector<double> c(centers.n * centers.d), x(rows.d);
  std::vector<char> center_directed(centers.n);
  for (int64_t j = 0; j < centers.n; ++j)
    center_directed[j] = reference_read(centers, j, metric, c.data() + j * centers.d);
  for (int64_t i = 0; i < rows.n; ++i) {
    const bool directed = reference_read(rows, i, metric, x.data());
    labels[i] = 0;
    distances[i] = std::numeric_limits<double>::infinity();
    for (int64_t j = 0; j < centers.n; ++j) {
      double distance = reference_distance(x.data(), c.data() + j * rows.d, rows.d);
      if (metric == Metric::cosine)
        distance = directed && center_directed[j] ? std::min(distance / 2, 2.0) : 1.0;
      if (distance < distances[i]) {
        distances[i] = distance;
        labels[i] = static_cast<int32_t>(j);
      }
    }
  }
}

}  // namespace shoal
