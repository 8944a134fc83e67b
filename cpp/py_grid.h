// The grid of integer sums as an argument of the bindings.
#pragma once
#include <stdexcept>

#include "buffers.h"
#include "core/sums/sums.h"

namespace shoal {

// The grid of integer sums, as Python holds it.
struct GridBuffer {
  Buffer quanta;
  Grid grid;

  GridBuffer(nb::handle object, int64_t width) : quanta(object.attr("quanta"), "quanta") {
    const double* of = quanta.packed<double>('d', 4 * width);
    grid = {of,
            of + 2 * width,
            of + width,
            of + 3 * width,
            nb::cast<int>(object.attr("bits")),
            nb::cast<int>(object.attr("levels")),
            nb::cast<bool>(object.attr("rounds"))};
    if (grid.bits < 1 || grid.bits > 51 || grid.levels < 1)
      throw std::invalid_argument("the grid is none");
  }
};

}  // namespace shoal
