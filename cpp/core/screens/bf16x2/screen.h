// The bf16x2 screen (bf16x2.h) as the choice knows it.
#pragma once
#include "core/screens/screen.h"

namespace shoal {

extern const Format kBf16x2;

}  // namespace shoal
