// Which screens come before float64 where boxes (boxes.h) do not. The choice is the one that is to
// cost least; it never changes a result.
#pragma once
#include <string>

#include "core/screens/screen.h"

namespace shoal {

// As SHOAL_PLAN names them. What a target lacks, or what does not suit the rows, f32 does.
enum class Plan : int { automatic, f32, int8, bf16, bf16x2, boxes };

// Empty: automatic. Throws std::invalid_argument, with the names that there are.
Plan plan_named(const std::string& name);

// Whether the screens can read rows of this kind as they lie in memory.
inline bool as_they_lie(Metric metric, Dtype dtype, bool packed) {
  return metric == Metric::squared_euclidean && is_native(dtype) && packed;
}

// The format of the first screen.
const Format& choose_format(const Screened& given, const Target& target, Plan plan);

// The screens of a pass that begins with this format.
Cascade make_cascade(const Format& first, const Scene& scene, Team& team);

}  // namespace shoal
