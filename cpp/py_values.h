// What the bindings share: values of Python as those of the core, and back.
#pragma once
#include <nanobind/nanobind.h>

#include <cstdlib>
#include <exception>
#include <stdexcept>
#include <string>

#include "core/assign/assign.h"
#include "core/base/exact_sum.h"
#include "core/simd/dispatch.h"

namespace shoal {

namespace nb = nanobind;

inline Metric metric_of(bool cosine) { return cosine ? Metric::cosine : Metric::squared_euclidean; }

inline const Target& target() { return choose_target(std::getenv("SHOAL_SIMD")); }

inline Plan plan() {
  const char* forced = std::getenv("SHOAL_PLAN");
  return plan_named(forced == nullptr ? "" : forced);
}

// IN limbs [ExactSum::kLimbs].
inline nb::object as_int(const uint32_t* limbs) {
  int used = ExactSum::kLimbs;
  while (used > 0 && limbs[used - 1] == 0) --used;
  const nb::bytes bytes(reinterpret_cast<const char*>(limbs), 4 * used);
  return nb::borrow(reinterpret_cast<PyObject*>(&PyLong_Type)).attr("from_bytes")(bytes, "little");
}

inline nb::object as_int(const ExactSum& sum) {
  uint32_t limbs[ExactSum::kLimbs];
  sum.limbs(limbs);
  return as_int(limbs);
}

// What is wrong with arguments, or with what the environment asks for, is one of shoal's errors.
inline void throw_ours() {
  nb::register_exception_translator([](const std::exception_ptr& thrown, void*) {
    try {
      std::rethrow_exception(thrown);
    } catch (const std::invalid_argument& error) {
      const nb::object kind = nb::module_::import_("shoal.errors").attr("BadInputError");
      PyErr_SetString(kind.ptr(), error.what());
    }
  });
}

inline void require_columns(const Rows& rows, const Rows& centers, int64_t least = 1) {
  if (rows.d < 1) throw std::invalid_argument("rows have no columns");
  if (rows.d != centers.d) throw std::invalid_argument("rows and centers differ in columns");
  if (centers.n < least) throw std::invalid_argument("there are no centers");
}

}  // namespace shoal
