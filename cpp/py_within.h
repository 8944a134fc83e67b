// A quick look at rows as a function of Python.
#pragma once
#include "buffers.h"
#include "core/simd/targets.h"
#include "py_values.h"
#include "release.h"

namespace shoal {

// Whether all values, packed float32 or float64, are at most `limit` in magnitude.
inline bool py_within(nb::handle rows, double limit) {
  const Buffer x(rows, "rows");
  const Rows x_rows = x.rows();
  const int64_t size = x_rows.n * x_rows.d;
  const bool narrow = x_rows.dtype == Dtype::float32;
  const void* values = narrow ? static_cast<const void*>(x.packed<float>('f', size))
                              : static_cast<const void*>(x.packed<double>('d', size));
  const Target& simd = target();
  Release release;
  return simd.exact.within(values, x_rows.dtype, size, limit);
}

}  // namespace shoal
