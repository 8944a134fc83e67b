// The bf16 screen (bf16.h) as the choice knows it.
#pragma once
#include "core/screens/screen.h"

namespace shoal {

extern const Format kBf16;

}  // namespace shoal
