// Which filter comes before float64 where boxes (boxes.h) do not: float32 (f32/tile.cpp), pairs of
// bfloat16 (bf16x2.h), or a screen before float32, of bytes (int8.h) or bfloat16 (bf16.h). The
// choice is the one that is to cost least; it never changes a result.
#pragma once
#include "core/simd/targets.h"

namespace shoal {

// As SHOAL_PLAN names them. What a target lacks, or what does not suit the rows, f32 does.
enum class Plan : int { automatic, f32, int8, bf16, bf16x2, boxes };

enum class Screen { f32, int8, bf16, bf16x2 };

// What the choice goes by. as_they_lie: the kernel of bf16x2 can read the rows; kept: they are
// rounded once for many passes.
struct Screened {
  int64_t k, d;
  bool as_they_lie, kept;
};

// Whether the kernel of bf16x2 can read rows of this kind: it does not bring them to length one.
inline bool as_they_lie(Metric metric, Dtype dtype, bool packed) {
  return metric == Metric::squared_euclidean && is_native(dtype) && packed;
}

Screen choose_screen(const Screened& given, const Target& target, Plan plan);

}  // namespace shoal
