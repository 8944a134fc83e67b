// Tiles of AMX, all of one shape: eight of 16 rows of 64 bytes. For code that is compiled for them.
#pragma once
#include <immintrin.h>

#include <cstdint>

#include "core/base/types.h"

namespace shoal {

struct alignas(64) TileShape {
  uint8_t palette = 1, start = 0, reserved[14] = {};
  uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// Before the first and after the last use of tiles on a thread.
SHOAL_INLINE void begin_tiles() {
  static constexpr TileShape kShape;
  _tile_loadconfig(&kShape);
}
SHOAL_INLINE void end_tiles() { _tile_release(); }

}  // namespace shoal
