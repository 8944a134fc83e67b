#include "scan.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "parallel.h"

namespace shoal {
namespace {

constexpr int64_t kItemRows = 4096;

// Bits of a magnitude order like the magnitude, with NaN and infinity above all.
template <class Bits>
struct Typed {
  static constexpr Bits kInfinity = static_cast<Bits>(sizeof(Bits) == 2   ? 0x7c00u
                                                      : sizeof(Bits) == 4 ? 0x7f800000u
                                                                          : 0x7ff0000000000000u);

  static Bits read(const char* at) {
    Bits bits;
    std::memcpy(&bits, at, sizeof bits);
    return static_cast<Bits>(bits & static_cast<Bits>(~Bits{0}) >> 1);
  }

  static double value(Bits bits) {
    if constexpr (sizeof(Bits) == 2) {
      return static_cast<double>(widen(Half{bits}));
    } else if constexpr (sizeof(Bits) == 4) {
      float x;
      std::memcpy(&x, &bits, sizeof x);
      return x;
    } else {
      double x;
      std::memcpy(&x, &bits, sizeof x);
      return x;
    }
  }

  template <class Magnitude>
  static Scan run(const Rows& rows, const Magnitude& magnitude_row, int threads,
                  double* magnitude) {
    std::vector<std::vector<Bits>> largest(threads);
    const int64_t items = (rows.n + kItemRows - 1) / kItemRows;
    parallel_for(items, threads, [&](int64_t item, int worker) {
      auto& bits = largest[worker];
      bits.resize(rows.d);
      const int64_t begin = item * kItemRows, end = std::min(rows.n, begin + kItemRows);
      if (rows.columns_packed()) {
        for (int64_t i = begin; i < end; ++i) magnitude_row(rows.row(i), rows.d, bits.data());
        return;
      }
      for (int64_t t = 0; t < rows.d; ++t) {
        const char* at = rows.row(begin) + t * rows.col_stride;
        for (int64_t i = begin; i < end; ++i, at += rows.row_stride)
          bits[t] = std::max(bits[t], read(at));
      }
    });
    bool finite = true;
    for (int64_t t = 0; t < rows.d; ++t) {
      Bits bits = 0;
      for (const auto& of_worker : largest)
        if (!of_worker.empty()) bits = std::max(bits, of_worker[t]);
      magnitude[t] = value(bits);
      finite = finite && bits < kInfinity;
    }
    if (!finite)
      for (int64_t i = 0; i < rows.n; ++i)
        for (int64_t t = 0; t < rows.d; ++t)
          if (read(rows.row(i) + t * rows.col_stride) >= kInfinity) return {i, t};
    return {};
  }
};

}  // namespace

Scan scan(const Rows& rows, const Target& target, int threads, double* magnitude) {
  threads = useful_threads(threads, static_cast<double>(rows.n) * static_cast<double>(rows.d) / 2);
  if (rows.dtype == Dtype::float16)
    return Typed<uint16_t>::run(rows, target.exact.magnitude16, threads, magnitude);
  if (rows.dtype == Dtype::float32)
    return Typed<uint32_t>::run(rows, target.exact.magnitude32, threads, magnitude);
  return Typed<uint64_t>::run(rows, target.exact.magnitude64, threads, magnitude);
}

}  // namespace shoal
