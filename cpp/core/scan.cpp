#include "scan.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>
#include <vector>

#include "parallel.h"

namespace shoal {
namespace {

constexpr int64_t kItemRows = 4096;

// Magnitudes of a type in memory, as unsigned numbers of the same size: those that may not be come
// after all others.
template <class T>
struct Typed {
  static constexpr bool kFloating = std::is_floating_point_v<T> || !std::is_arithmetic_v<T>;
  using Bits = std::conditional_t<
      sizeof(T) == 1, uint8_t,
      std::conditional_t<sizeof(T) == 2, uint16_t,
                         std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>>>;

  // Whether float64 or float32 holds every value, and the first magnitude that they do not.
  static constexpr bool kAllFine = !kFloating && sizeof(T) < 8;
  static constexpr Bits first_bad() {
    if constexpr (std::is_same_v<T, Half>) return 0x7c00u;
    if constexpr (std::is_same_v<T, Brain>) return 0x7f80u;
    if constexpr (std::is_same_v<T, float>) return 0x7f800000u;
    if constexpr (std::is_same_v<T, double>) return 0x7ff0000000000000u;
    return static_cast<Bits>((uint64_t{1} << 53) + 1);
  }

  // Bits of a floating-point magnitude order like the magnitude, NaN and infinity above all.
  static Bits read(const char* at) {
    Bits bits;
    std::memcpy(&bits, at, sizeof bits);
    if constexpr (kFloating) return static_cast<Bits>(bits & static_cast<Bits>(~Bits{0}) >> 1);
    if constexpr (std::is_signed_v<T>)
      return static_cast<T>(bits) < 0 ? static_cast<Bits>(Bits{0} - bits) : bits;
    return bits;
  }

  static double value(Bits bits) {
    if constexpr (kFloating) {
      T x;
      std::memcpy(&x, &bits, sizeof x);
      return static_cast<double>(widen(x));
    } else {
      return static_cast<double>(bits);
    }
  }

  static void magnitude_row(const ExactKernels& exact, const char* row, int64_t d, Bits* bits) {
    if constexpr (kFloating && sizeof(T) == 2)
      exact.magnitude16(row, d, bits);
    else if constexpr (kFloating && sizeof(T) == 4)
      exact.magnitude32(row, d, bits);
    else if constexpr (kFloating)
      exact.magnitude64(row, d, bits);
    else
      for (int64_t t = 0; t < d; ++t)
        bits[t] = std::max(bits[t], read(row + t * static_cast<int64_t>(sizeof(T))));
  }

  static Scan run(const Rows& rows, const ExactKernels& exact, int threads, double* magnitude) {
    std::vector<std::vector<Bits>> largest(threads);
    const int64_t items = (rows.n + kItemRows - 1) / kItemRows;
    parallel_for(items, threads, [&](int64_t item, int worker) {
      auto& bits = largest[worker];
      bits.resize(rows.d);
      const int64_t begin = item * kItemRows, end = std::min(rows.n, begin + kItemRows);
      if (rows.columns_packed()) {
        for (int64_t i = begin; i < end; ++i)
          magnitude_row(exact, rows.row(i), rows.d, bits.data());
        return;
      }
      for (int64_t t = 0; t < rows.d; ++t) {
        const char* at = rows.row(begin) + t * rows.col_stride;
        for (int64_t i = begin; i < end; ++i, at += rows.row_stride)
          bits[t] = std::max(bits[t], read(at));
      }
    });
    bool fine = true;
    for (int64_t t = 0; t < rows.d; ++t) {
      Bits bits = 0;
      for (const auto& of_worker : largest)
        if (!of_worker.empty()) bits = std::max(bits, of_worker[t]);
      magnitude[t] = value(bits);
      fine = fine && (kAllFine || bits < first_bad());
    }
    if (!fine)
      for (int64_t i = 0; i < rows.n; ++i)
        for (int64_t t = 0; t < rows.d; ++t)
          if (read(rows.row(i) + t * rows.col_stride) >= first_bad()) return {i, t};
    return {};
  }
};

}  // namespace

Scan scan(const Rows& rows, const Target& target, int threads, double* magnitude) {
  threads = useful_threads(threads, static_cast<double>(rows.n) * static_cast<double>(rows.d) / 2);
  return with_type(
      rows.dtype, [&]<class T>() { return Typed<T>::run(rows, target.exact, threads, magnitude); });
}

}  // namespace shoal
