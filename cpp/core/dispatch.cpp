#include "dispatch.h"

#include <stdexcept>

namespace shoal {

#define SHOAL_DECLARE(name)                \
  namespace name {                         \
  extern const TileKernels tile_kernels;   \
  extern const ExactKernels exact_kernels; \
  extern const BoxKernels box_kernels;     \
  }
#if defined(__x86_64__)
SHOAL_DECLARE(baseline)
SHOAL_DECLARE(avx2)
SHOAL_DECLARE(avx512)
namespace avx512vnni {
extern const ByteKernels byte_kernels;
}
#elif defined(__aarch64__)
SHOAL_DECLARE(neon)
#else
SHOAL_DECLARE(baseline)
#endif

std::vector<const Target*> usable_targets() {
  std::vector<const Target*> usable;
#if defined(__x86_64__)
  static const Target kBaseline{"baseline", baseline::tile_kernels, baseline::exact_kernels,
                                nullptr, &baseline::box_kernels};
  static const Target kAvx2{"avx2", avx2::tile_kernels, avx2::exact_kernels, nullptr,
                            &avx2::box_kernels};
  static const Target kAvx512{"avx512", avx512::tile_kernels, avx512::exact_kernels, nullptr,
                              &avx512::box_kernels};
  usable.push_back(&kBaseline);
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) usable.push_back(&kAvx2);
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) {
    usable.push_back(&kAvx512);
    // The other kernels of avx512, and bytes.
    static const Target kAvx512Vnni{"avx512vnni", avx512::tile_kernels, avx512::exact_kernels,
                                    &avx512vnni::byte_kernels, &avx512::box_kernels};
    if (__builtin_cpu_supports("avx512vnni")) usable.push_back(&kAvx512Vnni);
  }
#elif defined(__aarch64__)
  static const Target kNeon{"neon", neon::tile_kernels, neon::exact_kernels, nullptr,
                            &neon::box_kernels};
  usable.push_back(&kNeon);
#else
  static const Target kBaseline{"baseline", baseline::tile_kernels, baseline::exact_kernels,
                                nullptr, &baseline::box_kernels};
  usable.push_back(&kBaseline);
#endif
  return usable;
}

const Target& choose_target(const char* forced) {
  const auto usable = usable_targets();
  if (forced == nullptr || *forced == 0) return *usable.back();
  std::string names;
  for (const Target* target : usable) {
    if (std::string(target->name) == forced) return *target;
    names += names.empty() ? target->name : std::string(", ") + target->name;
  }
  throw std::invalid_argument("SHOAL_SIMD=" + std::string(forced) +
                              " cannot run here; this machine runs: " + names);
}

}  // namespace shoal
