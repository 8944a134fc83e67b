#include "core/sums/scan.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>
#include <vector>

#include "core/threads/parallel.h"

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
    if constexpr (std::is_same_v<T, Bfloat16>) return 0x7f80u;
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

  // Of some rows. least: less 1, so that 0 is above all others.
  struct Seen {
    std::vector<Bits> most, least;

    void make_room(int64_t size) {
      most.resize(size);
      least.resize(size, std::numeric_limits<Bits>::max());
    }
  };

  static Scan run(const Rows& rows, const ExactKernels& exact, int threads, double* magnitude,
                  const double* weights, double* spread) {
    // Rows without a gap between them are read as fewer, longer ones.
    const bool gapless = weights == nullptr && rows.columns_packed() &&
                         rows.row_stride == rows.d * item_size(rows.dtype);
    const int64_t fold = gapless && rows.d > 0 ? std::max<int64_t>(1, kFoldedColumns / rows.d) : 1;
    std::vector<Seen> counting(threads), others(threads);  // with a weight, without
    const int64_t items = (rows.n + kItemRows - 1) / kItemRows;
    parallel_for(items, threads, [&](int64_t item, int worker) {
      counting[worker].make_room(fold * rows.d);
      if (weights != nullptr) others[worker].make_room(rows.d);
      const auto seen_of = [&](int64_t i) -> Seen& {
        return weights == nullptr || weights[i] > 0 ? counting[worker] : others[worker];
      };
      const int64_t begin = item * kItemRows, end = std::min(rows.n, begin + kItemRows);
      if (rows.columns_packed()) {
        int64_t i = begin;
        const auto look = [&](int64_t d) {
          Seen& seen = seen_of(i);
          exact.magnitude(rows.row(i), rows.dtype, d, seen.most.data(), seen.least.data());
        };
        for (; i + fold <= end; i += fold) look(fold * rows.d);
        for (; i < end; ++i) look(rows.d);
        return;
      }
      for (int64_t t = 0; t < rows.d; ++t) {
        const char* at = rows.row(begin) + t * rows.col_stride;
        for (int64_t i = begin; i < end; ++i, at += rows.row_stride) {
          Seen& seen = seen_of(i);
          const Bits bits = magnitude_of<T>(at);
          seen.most[t] = std::max(seen.most[t], bits);
          seen.least[t] = std::min(seen.least[t], static_cast<Bits>(bits - 1));
        }
      }
    });
    bool fine = true;
    for (int64_t t = 0; t < rows.d; ++t) {
      Bits most = 0, least = std::numeric_limits<Bits>::max(), other = 0;
      for (int worker = 0; worker < threads; ++worker) {
        const auto size = static_cast<int64_t>(counting[worker].most.size());
        for (int64_t at = t; at < size; at += rows.d) {
          most = std::max(most, counting[worker].most[at]);
          least = std::min(least, counting[worker].least[at]);
        }
        if (!others[worker].most.empty()) other = std::max(other, others[worker].most[t]);
      }
      magnitude[t] = value(std::max(most, other));
      fine = fine && (kAllFine || std::max(most, other) < first_bad());
      if (spread == nullptr) continue;
      spread[t] = value(most);
      const auto smallest = static_cast<Bits>(least + 1);
      spread[rows.d + t] = smallest == 0 ? HUGE_VAL : value(smallest);
    }
    if (!fine)
      for (int64_t i = 0; i < rows.n; ++i)
        for (int64_t t = 0; t < rows.d; ++t)
          if (magnitude_of<T>(rows.row(i) + t * rows.col_stride) >= first_bad()) return {i, t};
    return {};
  }
};

}  // namespace

Scan scan(const Rows& rows, const Target& target, int threads, double* magnitude,
          const double* weights, double* spread) {
  threads = useful_threads(threads, static_cast<double>(rows.n) * static_cast<double>(rows.d) / 2);
  return with_type(rows.dtype, [&]<class T>() {
    return Typed<T>::run(rows, target.exact, threads, magnitude, weights, spread);
  });
}

}  // namespace shoal
