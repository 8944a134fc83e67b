// Which compiled target runs: the best this processor has, or the one that was asked for.
#pragma once
#include <string>
#include <vector>

#include "core/simd/targets.h"

namespace shoal {

// The targets of this build that this processor can run, the slowest first.
const std::vector<const Target*>& usable_targets();

// `forced`: a target's name, or null or empty for the best. Throws std::invalid_argument, with the
// usable names, where it cannot run here.
const Target& choose_target(const char* forced);

}  // namespace shoal
