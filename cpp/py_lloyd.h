// core/assign/lloyd.h as functions of Python.
#pragma once
#include <nanobind/nanobind.h>

#include <stdexcept>
#include <vector>

#include "core/assign/lloyd.h"
#include "given_rows.h"
#include "py_grid.h"
#include "py_values.h"
#include "release.h"

namespace shoal {

inline nb::tuple py_lloyd(nb::handle rows, nb::handle weights, nb::handle centers, bool cosine,
                          int threads, Keeper& keeper, nb::handle labels, nb::handle grid,
                          nb::handle sums, nb::handle squares, int64_t most, bool again,
                          double limit) {
  const Buffer x(rows, "rows"), c(centers, "centers", true), l(labels, "labels", true);
  const Rows x_rows = x.rows(), c_rows = c.rows();
  require_columns(x_rows, c_rows);
  if (keeper.rows() != x_rows.n) throw std::invalid_argument("the keeper is of other rows");
  const int64_t width = x_rows.d + 1, size = c_rows.n * c_rows.d;
  const Optional<double> w(weights, "weights", 'd', x_rows.n, false);
  const GridBuffer g(grid, width);
  const Buffer s(sums, "sums", true), q(squares, "squares", true);
  int64_t* into = s.packed<int64_t>('q', g.grid.levels * c_rows.n * width);
  int64_t* squared = q.packed<int64_t>('q', 2 * width);
  int32_t* label = l.packed<int32_t>('i', x_rows.n);
  if (c_rows.dtype != Dtype::float32 && c_rows.dtype != Dtype::float64)
    throw std::invalid_argument("centers are always float32 or float64");
  void* moved = c_rows.dtype == Dtype::float32 ? static_cast<void*>(c.packed<float>('f', size))
                                               : static_cast<void*>(c.packed<double>('d', size));
  std::vector<double> means(size);
  const Target& simd = target();
  const Plan filters = plan();
  Steps made;
  {
    Release release;
    made = lloyd({x_rows, w.data(), c_rows, metric_of(cosine), simd, threads, filters}, keeper,
                 label, g.grid, into, squared, most, again, limit, moved, means.data());
  }
  return nb::make_tuple(made.steps, made.changes, made.shift, made.empty, made.settled);
}

inline double py_shift(nb::handle before, nb::handle after) {
  const Buffer from(before, "before"), to(after, "after");
  const Rows old = from.rows(), now = to.rows();
  if (old.n != now.n || old.d != now.d || old.dtype != now.dtype)
    throw std::invalid_argument("before and after differ in shape or dtype");
  if (old.dtype != Dtype::float32 && old.dtype != Dtype::float64)
    throw std::invalid_argument("centers are always float32 or float64");
  return shift_of(old, now);
}

}  // namespace shoal
