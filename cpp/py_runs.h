// core/runs/runs.h as a function of Python.
#pragma once
#include <nanobind/nanobind.h>

#include <algorithm>
#include <stdexcept>

#include "core/runs/runs.h"
#include "given_rows.h"
#include "py_grid.h"
#include "py_values.h"
#include "release.h"

namespace shoal {

// Runs one after the other, until one comes to no good end. Returns how many did, how that one
// ended, and of the best of the others: its number, inertia and steps.
inline nb::tuple py_runs(nb::handle rows, int threads, nb::handle grid, int64_t budget,
                         nb::handle firsts, nb::handle draws, int64_t most, double tolerance,
                         nb::handle centers, nb::handle labels, nb::handle sums,
                         nb::handle squares) {
  const Buffer x(rows, "rows"), f(firsts, "firsts"), u(draws, "draws");
  const Buffer c(centers, "centers", true), l(labels, "labels", true), s(sums, "sums", true),
      q(squares, "squares", true);
  const Rows x_rows = x.rows(), c_rows = c.rows();
  require_columns(x_rows, c_rows);
  if (c_rows.dtype != Dtype::float32 && c_rows.dtype != Dtype::float64)
    throw std::invalid_argument("centers are always float32 or float64");
  const int64_t width = x_rows.d + 1, k = c_rows.n, size = k * x_rows.d;
  const GridBuffer g(grid, width);
  const auto [all, m] = u.shape();
  const int64_t runs = f.vector().size, picks = k - 1;
  const int64_t* first = f.packed<int64_t>('q', runs);
  const uint64_t* draw = u.packed<uint64_t>('Q', runs * picks * m);
  for (int64_t run = 0; run < runs; ++run)
    if (first[run] < 0 || first[run] >= x_rows.n || all != runs * picks)
      throw std::invalid_argument("firsts or draws are none");
  char* center = c_rows.dtype == Dtype::float32
                     ? reinterpret_cast<char*>(c.packed<float>('f', size))
                     : reinterpret_cast<char*>(c.packed<double>('d', size));
  int32_t* label = l.packed<int32_t>('i', x_rows.n);
  int64_t* sum = s.packed<int64_t>('q', g.grid.levels * k * width);
  int64_t* squared = q.packed<int64_t>('q', 2 * width);
  const Target& simd = target();
  const Plan filters = plan();
  const std::function<void()> pause = [] {
    nb::gil_scoped_acquire acquire;
    if (PyErr_CheckSignals() != 0) throw nb::python_error();
  };
  int64_t done = 0, best = -1;
  Ran last{RunEnd::well}, found{RunEnd::well};
  {
    Release release;
    Runs made({x_rows, g.grid, k, c_rows.dtype, budget, simd, threads, filters});
    for (; done < runs; ++done) {
      last = made.run(first[done], draw + done * picks * m, m, {most, tolerance, pause});
      if (last.end != RunEnd::well) break;
      if (best >= 0 && !(last.inertia < found.inertia)) continue;
      best = done;
      found = last;
      std::copy(made.centers().begin(), made.centers().end(), center);
      std::copy(made.labels().begin(), made.labels().end(), label);
      std::copy(made.sums().begin(), made.sums().end(), sum);
      std::copy(made.squares().begin(), made.squares().end(), squared);
    }
  }
  return nb::make_tuple(done, static_cast<int>(last.end), best, found.inertia, found.steps);
}

}  // namespace shoal
