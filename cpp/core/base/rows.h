// Rows as the float64 values that decide: widened, and of length one under the cosine metric.
#pragma once
#include <vector>

#include "core/base/aligned.h"
#include "core/base/distance.h"
#include "core/base/types.h"
#include "core/simd/targets.h"
#include "core/threads/team.h"

namespace shoal {

// Reads row i. OUT out [d]. False for a zero row under cosine, which has no direction.
inline bool read_row(const Rows& rows, int64_t i, Metric metric, const ExactKernels& exact,
                     double* out) {
  if (metric == Metric::cosine && exact.unit_row(rows, i, out)) return true;
  exact.widen(rows.row(i), rows.dtype, rows.col_stride, rows.d, out);
  return metric == Metric::squared_euclidean || make_unit(out, rows.d, exact.norm2);
}

// Centers as float64, of length one under cosine; `zero` marks those without a direction.
struct ExactCenters {
  int64_t k, d;
  Metric metric;
  Aligned<double> values;     // [k][d]
  std::vector<uint8_t> zero;  // [k]

  ExactCenters(const Rows& centers, Metric metric, const ExactKernels& exact, Team* team = nullptr)
      : k(centers.n), d(centers.d), metric(metric), values(k * d), zero(k) {
    run_with(team, (k + 15) / 16, [&](int64_t group, int) {
      for (int64_t j = group * 16; j < k && j < (group + 1) * 16; ++j)
        zero[j] = !read_row(centers, j, metric, exact, values.data() + j * d);
    });
  }

  // Some of the rows.
  ExactCenters(const Rows& rows, const std::vector<int64_t>& which, Metric metric,
               const ExactKernels& exact)
      : k(static_cast<int64_t>(which.size())), d(rows.d), metric(metric), values(k * d), zero(k) {
    for (int64_t j = 0; j < k; ++j)
      zero[j] = !read_row(rows, which[j], metric, exact, values.data() + j * d);
  }

  // All zero, to be filled.
  ExactCenters(int64_t k, int64_t d, Metric metric)
      : k(k), d(d), metric(metric), values(k * d), zero(k) {}

  // The j-th of `all` alone.
  ExactCenters(const ExactCenters& all, int64_t j)
      : k(1),
        d(all.d),
        metric(all.metric),
        values(all.row(j), all.row(j) + all.d),
        zero(1, all.zero[j]) {}

  const double* row(int64_t j) const { return values.data() + j * d; }

  // The distance that users see. x [d] as read_row gives it; directed: what it returned.
  // Cosine is 1 - x.c of unit vectors, as |x - c|^2 / 2: no cancellation for near vectors.
  double distance(const double* x, bool directed, int64_t j, const ExactKernels& exact) const {
    if (metric == Metric::squared_euclidean) return exact.distance(x, row(j), d);
    if (!directed || zero[j]) return 1;
    return as_cosine(exact.distance(x, row(j), d));
  }

  // Of rows first..last-1, each to the center of its label. IN labels [last - first]; OUT out
  // [last - first]; TMP scratch [d].
  void distances(const Rows& rows, int64_t first, int64_t last, const int32_t* labels,
                 const ExactKernels& exact, double* out, double* scratch) const {
    if (metric == Metric::squared_euclidean) {
      exact.distances(rows, first, last, labels, values.data(), out, scratch);
      return;
    }
    exact.unit_distances(rows, first, last, labels, values.data(), out);
    for (int64_t i = first; i < last; ++i) {
      double& found = out[i - first];
      const int32_t j = labels[i - first];
      if (zero[j] != 0) {
        found = 1;
      } else if (found >= 0) {
        found = as_cosine(found);
      } else {
        const bool directed = read_row(rows, i, metric, exact, scratch);
        found = distance(scratch, directed, j, exact);
      }
    }
  }

  static double as_cosine(double squared) { return squared / 2 < 2 ? squared / 2 : 2; }
};

}  // namespace shoal
