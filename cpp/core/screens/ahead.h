// Asking for memory before it is needed.
#pragma once
#include "core/base/types.h"

namespace shoal {

// Calls use(line) for each cache line of it. (Not inlined, `fetch` looks like a function without
// effect, and is optimised away.)
template <class Use>
SHOAL_INLINE void for_each_line(const char* from, int64_t bytes, const Use& use) {
  const char* first = from - reinterpret_cast<uintptr_t>(from) % 64;
  for (const char* line = first; line < from + bytes; line += 64) use(line);
}

SHOAL_INLINE void fetch(const char* from, int64_t bytes) {
  for_each_line(from, bytes, [](const char* line) { __builtin_prefetch(line); });
}

SHOAL_INLINE int64_t packed_bytes(const Rows& rows) {
  return rows.columns_packed() ? rows.d * item_size(rows.dtype) : 0;
}
SHOAL_INLINE void fetch_row(const Rows& rows, int64_t i) { fetch(rows.row(i), packed_bytes(rows)); }

inline constexpr int kMostAhead = 1024;

// Memory that will be needed soon. Asked for all at once, it would keep a core waiting: kernels ask
// for a part of it now and then.
struct Ahead {
  const char* line[kMostAhead];
  int64_t count = 0;

  void add(const char* from, int64_t bytes) {
    for_each_line(from, bytes, [this](const char* at) {
      if (count < kMostAhead) line[count++] = at;
    });
  }
  SHOAL_INLINE void fetch(int64_t most) {
    for (int64_t i = 0; i < most && count > 0; ++i) __builtin_prefetch(line[--count]);
  }
};

}  // namespace shoal
