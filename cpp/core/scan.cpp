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
constexpr int64_t kFoldedColumns = 256;

template <class T>
struct Typed {
  using Bits = Magnitude<T>;

  // Whether float64 or float32 holds every value, and the first magnitude that they do not.
  static constexpr bool kAllFine = !kIsFloating<T> && sizeof(T) < 8;
  static constexpr Bits first_bad() {
    if constexpr (std::is_same_v<T, Half>) return 0x7c00u;
    if constexpr (std::is_same_v<T, Brain>) return 0x7f80u;
    if constexpr (std::is_same_v<T, float>) return 0x7f800000u;
    if constexpr (std::is_same_v<T, double>) return 0x7ff0000000000000u;
    return static_cast<Bits>((uint64_t{1} << 53) + 1);
  }

  static double value(Bits bits) {
    if constexpr (kIsFloating<T>) {
      T x;
      std::memcpy(&x, &bits, sizeof x);
      return static_cast<double>(widen(x));
    } else {
      return static_cast<double>(bits);
    }
  }

  static Scan run(const Rows& rows, const ExactKernels& exact, int threads, double* magnitude) {
    // Rows without a gap between them are read as fewer, longer ones.
    const bool gapless = rows.columns_packed() && rows.row_stride == rows.d * item_size(rows.dtype);
    const int64_t fold = gapless && rows.d > 0 ? std::max<int64_t>(1, kFoldedColumns / rows.d) : 1;
    std::vector<std::vector<Bits>> largest(threads);
    const int64_t items = (rows.n + kItemRows - 1) / kItemRows;
    parallel_for(items, threads, [&](int64_t item, int worker) {
      auto& bits = largest[worker];
      bits.resize(fold * rows.d);
      const int64_t begin = item * kItemRows, end = std::min(rows.n, begin + kItemRows);
      if (rows.columns_packed()) {
        int64_t i = begin;
        for (; i + fold <= end; i += fold)
          exact.magnitude(rows.row(i), rows.dtype, fold * rows.d, bits.data());
        for (; i < end; ++i) exact.magnitude(rows.row(i), rows.dtype, rows.d, bits.data());
        return;
      }
      for (int64_t t = 0; t < rows.d; ++t) {
        const char* at = rows.row(begin) + t * rows.col_stride;
        for (int64_t i = begin; i < end; ++i, at += rows.row_stride)
          bits[t] = std::max(bits[t], magnitude_of<T>(at));
      }
    });
    bool fine = true;
    for (int64_t t = 0; t < rows.d; ++t) {
      Bits bits = 0;
      for (const auto& of_worker : largest)
        for (size_t at = static_cast<size_t>(t); at < of_worker.size();
             at += static_cast<size_t>(rows.d))
          bits = std::max(bits, of_worker[at]);
      magnitude[t] = value(bits);
      fine = fine && (kAllFine || bits < first_bad());
    }
    if (!fine)
      for (int64_t i = 0; i < rows.n; ++i)
        for (int64_t t = 0; t < rows.d; ++t)
          if (magnitude_of<T>(rows.row(i) + t * rows.col_stride) >= first_bad()) return {i, t};
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
