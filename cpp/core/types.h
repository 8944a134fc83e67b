// The nouns of the core: rows as they lie in memory, the two metrics, errors.
//
// Buffer arguments are marked in every signature:
//   IN read, OUT written, INOUT read and written, TMP scratch whose content is not kept.
#pragma once
#include <cstdint>

namespace shoal {

enum class Dtype : int { float32, float64 };
enum class Metric : int { squared_euclidean, cosine };

// Inlined always: these are used by code compiled for several targets, and the linker keeps only
// one copy of an inline function.
#define SHOAL_INLINE inline __attribute__((always_inline))

SHOAL_INLINE int64_t item_size(Dtype dtype) { return dtype == Dtype::float32 ? 4 : 8; }

// n rows of d columns in any memory order: strides are in bytes and may be negative or zero.
// Nothing is owned and nothing is ever copied as a whole.
struct Rows {
  const char* data;
  Dtype dtype;
  int64_t n;
  int64_t d;
  int64_t row_stride;
  int64_t col_stride;

  SHOAL_INLINE const char* row(int64_t i) const { return data + i * row_stride; }
  SHOAL_INLINE bool columns_packed() const { return d <= 1 || col_stride == item_size(dtype); }
};

}  // namespace shoal
