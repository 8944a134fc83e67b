// The int8 screen (int8.h) as the choice knows it.
#pragma once
#include "core/screens/screen.h"

namespace shoal {

extern const Format kInt8;

}  // namespace shoal
