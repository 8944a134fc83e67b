// core/base/permutation.h as a function of Python.
#pragma once
#include <nanobind/nanobind.h>

#include <stdexcept>
#include <vector>

#include "buffers.h"
#include "core/base/permutation.h"
#include "release.h"

namespace shoal {

inline void py_permuted(int64_t n, nb::handle keys, int64_t first, nb::handle strips,
                        nb::handle found) {
  const Buffer k(keys, "keys"), out(found, "found", true);
  const int64_t rounds = k.vector().size, size = out.vector().size;
  const auto* key = k.packed<uint64_t>('Q', rounds);
  auto* into = out.packed<int64_t>('q', size);
  if (rounds % 2 != 0) throw std::invalid_argument("the number of keys must be even");
  if (n > int64_t{1} << 60 || first < 0 || size > n - first)
    throw std::invalid_argument("places must be among n, at most 2**60");
  std::vector<Strip> of_window;
  if (!strips.is_none()) {
    const Buffer s(strips, "strips");
    const int64_t number = s.shape().first;
    const int64_t* values = s.packed<int64_t>('q', 4 * number);
    for (const int64_t* at = values; at < values + 4 * number; at += 4)
      of_window.push_back({at[0], at[1], at[2], at[3]});
    if (number == 0) throw std::invalid_argument("a window has at least one strip");
  }
  Release release;
  permute({n, key, rounds}, first, size, into);
  if (!of_window.empty()) rows_of(of_window.data(), of_window.size(), size, into);
}

}  // namespace shoal
