// The only file that knows Python, with its headers: arrays become spans, and the interpreter lock
// is released.
#include <nanobind/nanobind.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "buffers.h"
#include "core/assign/assign.h"
#include "core/assign/keeper.h"
#include "core/base/reference.h"
#include "core/seeding/seeding.h"
#include "core/sparse/sparse.h"
#include "core/sums/distances.h"
#include "core/sums/farthest.h"
#include "core/sums/grid.h"
#include "core/sums/loss.h"
#include "core/sums/means.h"
#include "core/sums/scan.h"
#include "core/sums/sums.h"
#include "given_rows.h"
#include "py_grid.h"
#include "py_lloyd.h"
#include "py_permutation.h"
#include "py_runs.h"
#include "py_seeding.h"
#include "py_within.h"
#include "release.h"

namespace nb = nanobind;

namespace {

using namespace shoal;

nb::tuple py_assign(nb::handle rows, nb::handle weights, nb::handle centers, bool cosine,
                    int threads, nb::handle labels, nb::handle distances, bool measured) {
  const GivenRows x(rows, "rows");
  const Buffer c(centers, "centers");
  const Rows x_rows = x.rows(), c_rows = c.rows();
  require_columns(x_rows, c_rows);
  const Optional<double> w(weights, "weights", 'd', x_rows.n, false);
  const Optional<int32_t> out(labels, "labels", 'i', x_rows.n, true);
  const Optional<double> far(distances, "distances", 'd', x_rows.n, true);
  const Target& simd = target();
  const Plan filters = plan();
  Assignment result;
  {
    Release release;
    if (x.sparse() != nullptr)
      result = assign({*x.sparse(), w.data(), c_rows, metric_of(cosine), simd, threads}, out.data(),
                      far.data(), measured);
    else
      result = assign({x_rows, w.data(), c_rows, metric_of(cosine), simd, threads, filters},
                      out.data(), far.data(), measured);
  }
  return nb::make_tuple(result.changes, as_int(result.loss), result.looked_again);
}

nb::tuple py_assign_again(nb::handle rows, nb::handle weights, nb::handle centers, bool cosine,
                          int threads, Keeper& keeper, nb::handle labels, nb::handle grid,
                          nb::handle sums, nb::handle squares) {
  const GivenRows x(rows, "rows");
  const Buffer c(centers, "centers"), l(labels, "labels", true);
  const Rows x_rows = x.rows(), c_rows = c.rows();
  require_columns(x_rows, c_rows);
  if (keeper.rows() != x_rows.n) throw std::invalid_argument("the keeper is of other rows");
  const int64_t width = x_rows.d + 1;
  const Optional<double> w(weights, "weights", 'd', x_rows.n, false);
  const GridBuffer g(grid, width);
  const Buffer s(sums, "sums", true), q(squares, "squares", true);
  int64_t* into = s.packed<int64_t>('q', g.grid.levels * c_rows.n * width);
  int64_t* squared = q.packed<int64_t>('q', 2 * width);
  int32_t* label = l.packed<int32_t>('i', x_rows.n);
  const Target& simd = target();
  const Plan filters = plan();
  Assignment result;
  {
    Release release;
    if (x.sparse() != nullptr)
      result = assign_again({*x.sparse(), w.data(), c_rows, metric_of(cosine), simd, threads},
                            label, g.grid, into, squared);
    else
      result = assign_again({x_rows, w.data(), c_rows, metric_of(cosine), simd, threads, filters},
                            keeper, label, g.grid, into, squared);
  }
  return nb::make_tuple(result.changes, result.looked_again, result.kept);
}

nb::tuple py_loss(nb::handle sums, nb::handle squares, nb::handle grid, int64_t rows,
                  nb::handle centers, bool cosine, int threads) {
  const Buffer c(centers, "centers"), s(sums, "sums"), q(squares, "squares");
  const Rows c_rows = c.rows();
  const int64_t width = c_rows.d + 1;
  const GridBuffer g(grid, width);
  const int64_t* from = s.packed<int64_t>('q', g.grid.levels * c_rows.n * width);
  const int64_t* squared = q.packed<int64_t>('q', 2 * width);
  const Target& simd = target();
  Loss loss;
  {
    Release release;
    loss = loss_of(from, squared, g.grid, rows, c_rows, metric_of(cosine), simd, threads);
  }
  return nb::make_tuple(loss.value, loss.error);
}

nb::object py_measure(nb::handle rows, nb::handle weights, nb::handle labels, nb::handle centers,
                      bool cosine, int threads) {
  const Buffer x(rows, "rows"), c(centers, "centers"), l(labels, "labels");
  const Rows x_rows = x.rows(), c_rows = c.rows();
  require_columns(x_rows, c_rows);
  const Optional<double> w(weights, "weights", 'd', x_rows.n, false);
  const int32_t* label = l.packed<int32_t>('i', x_rows.n);
  for (int64_t i = 0; i < x_rows.n; ++i)
    if (label[i] < 0 || label[i] >= c_rows.n) throw std::invalid_argument("a label is none");
  const Target& simd = target();
  ExactSum loss;
  {
    Release release;
    loss = measured_loss(x_rows, w.data(), label, c_rows, metric_of(cosine), simd, threads);
  }
  return as_int(loss);
}

void py_means(nb::handle sums, nb::handle grid, nb::handle centers, nb::handle counts, bool cosine,
              int threads, nb::handle means) {
  const Buffer c(centers, "centers"), s(sums, "sums"), out(means, "means", true);
  const Rows c_rows = c.rows();
  const int64_t width = c_rows.d + 1, size = c_rows.n * c_rows.d;
  const GridBuffer g(grid, width);
  const Optional<double> n(counts, "counts", 'd', c_rows.n, false);
  const int64_t* from = s.packed<int64_t>('q', g.grid.levels * c_rows.n * width);
  void* into = c_rows.dtype == Dtype::float32 ? static_cast<void*>(out.packed<float>('f', size))
                                              : static_cast<void*>(out.packed<double>('d', size));
  if (c_rows.dtype != Dtype::float32 && c_rows.dtype != Dtype::float64)
    throw std::invalid_argument("centers are always float32 or float64");
  const Target& simd = target();
  Release release;
  means_of(from, g.grid, c_rows, n.data(), metric_of(cosine), simd, threads, into);
}

void py_reference_assign(nb::handle rows, nb::handle centers, bool cosine, nb::handle labels,
                         nb::handle distances) {
  const Buffer x(rows, "rows"), c(centers, "centers");
  require_columns(x.rows(), c.rows());
  const Buffer out(labels, "labels", true), far(distances, "distances", true);
  reference_assign(x.rows(), c.rows(), metric_of(cosine), out.packed<int32_t>('i', x.rows().n),
                   far.packed<double>('d', x.rows().n));
}

void py_add_sums(nb::handle rows, nb::handle weights, nb::handle labels, bool cosine,
                 nb::handle grid, int64_t k, int threads, nb::handle sums) {
  const GivenRows x(rows, "rows");
  const Rows x_rows = x.rows();
  const int64_t width = x_rows.d + 1;
  const Optional<double> w(weights, "weights", 'd', x_rows.n, false);
  const GridBuffer g(grid, width);
  const Buffer l(labels, "labels"), out(sums, "sums", true);
  const int32_t* label = l.packed<int32_t>('i', x_rows.n);
  int64_t* into = out.packed<int64_t>('q', g.grid.levels * k * width);
  const Target& simd = target();
  Release release;
  if (x.sparse() != nullptr)
    add_sums(*x.sparse(), w.data(), label, k, metric_of(cosine), g.grid, simd, threads, into);
  else
    add_sums(x_rows, w.data(), label, k, metric_of(cosine), g.grid, simd, threads, into);
}

int64_t py_farthest(nb::handle rows, nb::handle weights, nb::handle labels, nb::handle centers,
                    bool cosine, int threads, nb::handle distances, const Keeper* keeper,
                    nb::handle found, nb::handle found_distances, nb::handle counts) {
  const GivenRows x(rows, "rows");
  const Buffer c(centers, "centers"), l(labels, "labels");
  const Rows x_rows = x.rows(), c_rows = c.rows();
  require_columns(x_rows, c_rows);
  const Optional<double> w(weights, "weights", 'd', x_rows.n, false);
  const Optional<double> measured(distances, "distances", 'd', x_rows.n, false);
  if (x.sparse() != nullptr && measured.data() == nullptr)
    throw std::invalid_argument("distances of sparse rows must be given");
  if (keeper != nullptr && keeper->rows() != x_rows.n)
    throw std::invalid_argument("the keeper is of other rows");
  const Buffer f(found, "found", true), d(found_distances, "found_distances", true),
      n(counts, "counts", true);
  const int64_t number = f.vector().size;
  auto* into = f.packed<int64_t>('q', number);
  auto* far = d.packed<double>('d', number);
  auto* count = n.packed<int64_t>('q', c_rows.n);
  const int32_t* label = l.packed<int32_t>('i', x_rows.n);
  const Target& simd = target();
  Release release;
  const Farthest result = farthest({x_rows, w.data(), label, measured.data(), keeper}, c_rows,
                                   metric_of(cosine), simd, threads, number);
  std::copy(result.rows.begin(), result.rows.end(), into);
  std::copy(result.distances.begin(), result.distances.end(), far);
  std::copy(result.counts.begin(), result.counts.end(), count);
  return static_cast<int64_t>(result.rows.size());
}

nb::tuple py_scan(nb::handle rows, int threads, nb::handle magnitude, nb::handle weights,
                  nb::handle spread) {
  const GivenRows x(rows, "rows");
  const Buffer out(magnitude, "magnitude", true);
  const Rows x_rows = x.rows();
  double* into = out.packed<double>('d', x_rows.d);
  const Optional<double> w(weights, "weights", 'd', x_rows.n, false);
  const Optional<double> range(spread, "spread", 'd', 2 * x_rows.d, true);
  const Target& simd = target();
  Scan result;
  {
    Release release;
    if (x.sparse() != nullptr) {
      const SparseScan found = scan(*x.sparse(), threads, into, w.data(), range.data());
      result = found.bad_columns < 0 ? found.values : Scan{found.bad_columns, -1};
    } else {
      result = scan(x_rows, simd, threads, into, w.data(), range.data());
    }
  }
  return nb::make_tuple(result.bad_row, result.bad_col);
}

nb::tuple py_grid(int64_t rows, nb::handle most, nb::handle least,
                  std::pair<double, double> weights, bool weighted, bool wide, bool unit_rows,
                  nb::handle quanta) {
  const Buffer m(most, "most"), q(quanta, "quanta", true);
  const int64_t d = m.vector().size;
  const Optional<double> smallest(least, "least", 'd', d, false);
  const auto* largest = m.packed<double>('d', d);
  const Fineness found = choose_grid(
      {rows, d, largest, smallest.data(), weights.second, weights.first, weighted, wide, unit_rows},
      q.packed<double>('d', 4 * (d + 1)));
  return nb::make_tuple(found.bits, found.levels, found.rounds, found.unresolved);
}

void py_all_distances(nb::handle rows, nb::handle centers, bool cosine, int threads,
                      nb::handle distances) {
  const GivenRows x(rows, "rows");
  const Buffer c(centers, "centers"), out(distances, "distances", true);
  const Rows x_rows = x.rows(), c_rows = c.rows();
  require_columns(x_rows, c_rows);
  const Dtype dtype = out.dtype() == Dtype::float64 ? Dtype::float64 : Dtype::float32;
  const int64_t size = x_rows.n * c_rows.n;
  void* into = dtype == Dtype::float32 ? static_cast<void*>(out.packed<float>('f', size))
                                       : static_cast<void*>(out.packed<double>('d', size));
  const Target& simd = target();
  Release release;
  if (x.sparse() != nullptr)
    all_distances(*x.sparse(), c_rows, metric_of(cosine), simd, threads, dtype, into);
  else
    all_distances(x_rows, c_rows, metric_of(cosine), simd, threads, dtype, into);
}

void py_read_rows(nb::handle rows, bool cosine, nb::handle out) {
  const Buffer x(rows, "rows"), into(out, "out", true);
  const Rows x_rows = x.rows();
  read_rows(x_rows, metric_of(cosine), target(), into.packed<double>('d', x_rows.n * x_rows.d));
}

}  // namespace

NB_MODULE(_core, m) {
  if (PyInterpreterState_Get() != PyInterpreterState_Main())
    throw std::runtime_error(
        "shoal cannot be imported in a subinterpreter, as NumPy cannot: use threads, or processes "
        "(multiprocessing, concurrent.futures.ProcessPoolExecutor)");
  // Threads that are at work when the process ends keep what they use: no leak to be told of.
  nb::set_leak_warnings(false);
  m.doc() = "The compiled core of shoal. Private: arguments are validated by the callers.";
  throw_ours();
  m.def("assign", &py_assign, nb::arg("rows"), nb::arg("weights").none(), nb::arg("centers"),
        nb::arg("cosine"), nb::arg("threads"), nb::arg("labels").none(),
        nb::arg("distances").none(), nb::arg("measured") = true,
        "Nearest center of each row; returns (changes, loss, rows looked at again).\n\n"
        "The loss is an exact integer in units of 2**-1074; where nothing is measured, 0.");
  nb::class_<Keeper>(m, "Keeper", "What is kept beside some rows between passes over them.")
      .def(nb::init<int64_t, int64_t, bool>(), nb::arg("rows"), nb::arg("budget"),
           nb::arg("stays") = true)
      .def("forget", &Keeper::forget, "Start anew: nothing is known of any row.")
      .def_prop_ro("bytes", &Keeper::bytes, "Bytes kept beside the rows.")
      .def(
          "planned",
          [](const Keeper& keeper, int64_t columns, int64_t k, bool as_they_lie) {
            return kept_bytes(keeper, {k, columns, as_they_lie, true}, target(), plan());
          },
          nb::arg("columns"), nb::arg("k"), nb::arg("as_they_lie"),
          "Bytes that assign_again is going to keep.\n\n"
          "as_they_lie: rows of floats without gaps between columns, squared Euclidean.");
  m.def("assign_again", &py_assign_again, nb::arg("rows"), nb::arg("weights").none(),
        nb::arg("centers"), nb::arg("cosine"), nb::arg("threads"), nb::arg("keeper"),
        nb::arg("labels"), nb::arg("grid"), nb::arg("sums"), nb::arg("squares"),
        "As assign, in a row of passes: sums of the labels are brought up to date.\n\n"
        "Returns (changes, rows looked at again, rows that their bounds settled).");
  m.def("lloyd", &py_lloyd, nb::arg("rows"), nb::arg("weights").none(), nb::arg("centers"),
        nb::arg("cosine"), nb::arg("threads"), nb::arg("keeper"), nb::arg("labels"),
        nb::arg("grid"), nb::arg("sums"), nb::arg("squares"), nb::arg("most"), nb::arg("again"),
        nb::arg("limit"),
        "Several passes of assign_again, centers moved to the means after each.\n\n"
        "Returns (steps, changes of the last pass, shift, whether a cluster is empty, whether the\n"
        "last pass was with these centers).");
  m.def(
      "runs", &py_runs, nb::arg("rows"), nb::arg("threads"), nb::arg("grid"), nb::arg("budget"),
      nb::arg("firsts"), nb::arg("draws"), nb::arg("most"), nb::arg("tolerance"),
      nb::arg("centers"), nb::arg("labels"), nb::arg("sums"), nb::arg("squares"),
      "Whole runs from k-means++ to the loss, of rows without weights, squared Euclidean.\n\n"
      "Returns (runs that came to a good end, how the next one ended, the best, its inertia, its\n"
      "steps).");
  m.def("shift", &py_shift, nb::arg("before"), nb::arg("after"),
        "Sum of the squared moves of centers.");
  m.def(
      "bytes_of_bounds",
      [](int64_t rows, int64_t columns, int64_t k) {
        return Keeper::bytes_of_bounds(rows, k, columns);
      },
      nb::arg("rows"), nb::arg("columns"), nb::arg("k"), "What bounds alone take, in bytes.");
  m.def("loss", &py_loss, nb::arg("sums"), nb::arg("squares"), nb::arg("grid"), nb::arg("rows"),
        nb::arg("centers"), nb::arg("cosine"), nb::arg("threads"),
        "The loss of a pass, from its sums, and by how much it may be off.");
  m.def("measure", &py_measure, nb::arg("rows"), nb::arg("weights").none(), nb::arg("labels"),
        nb::arg("centers"), nb::arg("cosine"), nb::arg("threads"),
        "The loss of dense rows for given labels, an exact integer in units of 2**-1074.");
  m.def("means", &py_means, nb::arg("sums"), nb::arg("grid"), nb::arg("centers"),
        nb::arg("counts").none(), nb::arg("cosine"), nb::arg("threads"), nb::arg("means"),
        "The mean of each cluster, from the sums of a pass.\n\n"
        "With counts [k]: of these rows and of so many before, whose means the centers are.");
  m.def("reference_assign", &py_reference_assign, nb::arg("rows"), nb::arg("centers"),
        nb::arg("cosine"), nb::arg("labels"), nb::arg("distances"),
        "The scalar reference of assign.");
  m.def("add_sums", &py_add_sums, nb::arg("rows"), nb::arg("weights").none(), nb::arg("labels"),
        nb::arg("cosine"), nb::arg("grid"), nb::arg("k"), nb::arg("threads"), nb::arg("sums"),
        "Adds rows and weights to integer sums per cluster.");
  m.def("farthest", &py_farthest, nb::arg("rows"), nb::arg("weights").none(), nb::arg("labels"),
        nb::arg("centers"), nb::arg("cosine"), nb::arg("threads"), nb::arg("distances").none(),
        nb::arg("keeper").none(), nb::arg("found"), nb::arg("found_distances"), nb::arg("counts"),
        "The rows farthest from the centers of their labels, and how many rows clusters have;\n"
        "returns how many were found.");
  m.def("scan", &py_scan, nb::arg("rows"), nb::arg("threads"), nb::arg("magnitude"),
        nb::arg("weights") = nb::none(), nb::arg("spread") = nb::none(),
        "Largest magnitude per column; returns the first (row, column) not finite, or a whole "
        "number\n"
        "above 2**53 in magnitude, or (-1, -1).\n\n"
        "spread: the largest and the smallest above 0 (infinity: none) of rows with a weight.\n\n"
        "(row, -1): the columns of this sparse row do not increase, or are out of range.");
  m.def("grid", &py_grid, nb::arg("rows"), nb::arg("most"), nb::arg("least").none(),
        nb::arg("weights"), nb::arg("weighted"), nb::arg("wide"), nb::arg("unit_rows"),
        nb::arg("quanta"),
        "The grid of scanned rows: (bits, levels, rounds, the first column that none holds or "
        "-1).");
  m.def("within", &py_within, nb::arg("rows"), nb::arg("limit"),
        "Whether all values, packed float32 or float64, are at most `limit` in magnitude.");
  m.def("all_distances", &py_all_distances, nb::arg("rows"), nb::arg("centers"), nb::arg("cosine"),
        nb::arg("threads"), nb::arg("distances"), "Distance of every row to every center.");
  nb::class_<PySeeding>(m, "Seeding", "Distances of rows to the centers chosen so far.")
      .def(nb::init<nb::handle, nb::handle, nb::handle, bool, double, int64_t, int>(),
           nb::arg("rows"), nb::arg("weights").none(), nb::arg("centers"), nb::arg("cosine"),
           nb::arg("negligible"), nb::arg("room"), nb::arg("threads"))
      .def("total", &PySeeding::total, "Sum of what rows are drawn by, in units of 2**-1074.")
      .def("find", &PySeeding::find, nb::arg("weights").none(), nb::arg("targets"),
           nb::arg("found"), "First row at which the running sum exceeds each target.")
      .def("lower", &PySeeding::lower, nb::arg("rows"), nb::arg("weights").none(),
           nb::arg("candidates"),
           "What each candidate would take from the potential, and from the total.")
      .def("pick", &PySeeding::pick, nb::arg("rows"), nb::arg("weights").none(), nb::arg("draws"),
           nb::arg("picked"), "Draw, compare and choose again and again; returns how often.")
      .def_prop_ro("needs_rows", &PySeeding::needs_rows, "Whether choose needs the rows again.")
      .def("choose", &PySeeding::choose, nb::arg("rows").none(), nb::arg("weights").none(),
           nb::arg("which"), "Take a candidate of the last lower as a center.");
  m.def("permuted", &py_permuted, nb::arg("n"), nb::arg("keys"), nb::arg("first"),
        nb::arg("strips").none(), nb::arg("found"),
        "What stands at some places of a keyed permutation of n, from first on.\n\n"
        "strips: (place in the window, first row and length of the segment, rows of it before)\n"
        "of each; then the rows at these places of a window.");
  m.def("read_rows", &py_read_rows, nb::arg("rows"), nb::arg("cosine"), nb::arg("out"),
        "Rows as float64, of length one under cosine.");
  m.def(
      "simd_targets",
      [] {
        std::vector<std::string> names;
        for (const Target* target : usable_targets()) names.emplace_back(target->name);
        return names;
      },
      "SIMD targets this machine can run, the fastest last.");
  m.def("simd_target", [] { return std::string(target().name); }, "The SIMD target in use.");
}
