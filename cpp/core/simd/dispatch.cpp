#include "core/simd/dispatch.h"

#include <stdexcept>

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#elif defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace shoal {

#define SHOAL_DECLARE(name)                    \
  namespace name {                             \
  extern const TileKernels tile_kernels;       \
  extern const BoundKernels bound_kernels;     \
  extern const ExactKernels exact_kernels;     \
  extern const BoxKernels box_kernels;         \
  extern const SeedingKernels seeding_kernels; \
  extern const SparseKernels sparse_kernels;   \
  }
#define SHOAL_DECLARE_INT8(name)         \
  namespace name {                       \
  extern const Int8Kernels int8_kernels; \
  }
#if defined(__x86_64__)
SHOAL_DECLARE(baseline)
SHOAL_DECLARE(avx2)
SHOAL_DECLARE(avx512)
SHOAL_DECLARE_INT8(avx2)
SHOAL_DECLARE_INT8(avxvnni)
SHOAL_DECLARE_INT8(avx512)
SHOAL_DECLARE_INT8(avx512vnni)
namespace avx512vnni {
extern const SeedingKernels seeding_kernels;
}  // namespace avx512vnni
namespace amx {
extern const Int8Kernels int8_kernels;
extern const Bf16Kernels bf16_kernels;
extern const Bf16x2Kernels bf16x2_kernels;
extern const SeedingKernels seeding_kernels;
}  // namespace amx
#elif defined(__aarch64__)
SHOAL_DECLARE(neon)
SHOAL_DECLARE_INT8(dotprod)
SHOAL_DECLARE_INT8(i8mm)
#else
SHOAL_DECLARE(baseline)
#endif

namespace {

#define SHOAL_TABLES(name, int8, bf16, bf16x2, seeding)                             \
  name::tile_kernels, name::bound_kernels, name::exact_kernels, int8, bf16, bf16x2, \
      &name::box_kernels, &seeding::seeding_kernels, &name::sparse_kernels

#if defined(__x86_64__)
// Conversions of float16 (not a name that every compiler's __builtin_cpu_supports knows).
bool has_f16c() {
  unsigned a, b, c, d;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}

// Dot products of bytes in registers of AVX2.
bool has_avx_vnni() {
  unsigned a, b, c, d;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a & 1u << 4) != 0;
}

// Asks the system for the tiles; it grants them to the process.
bool has_amx() {
#if defined(__linux__)
  constexpr unsigned kTiles = 1u << 22 | 1u << 24 | 1u << 25;  // of bfloat16, at all, of bytes
  constexpr int kRequest = 0x1023, kTileData = 18;             // ARCH_REQ_XCOMP_PERM, XTILEDATA
  unsigned a, b, c, d;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d & kTiles) == kTiles &&
         syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
#else
  return false;
#endif
}
#elif defined(__aarch64__)
// Dot products of bytes; products of two rows of bytes and two others.
#if defined(__linux__)
bool has_dotprod() { return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0; }
bool has_i8mm() { return (getauxval(AT_HWCAP2) & HWCAP2_I8MM) != 0; }
#elif defined(__APPLE__)
bool has_dotprod() { return true; }  // every Mac does
bool has_i8mm() {
  int found = 0;
  size_t size = sizeof found;
  return sysctlbyname("hw.optional.arm.FEAT_I8MM", &found, &size, nullptr, 0) == 0 && found != 0;
}
#else
bool has_dotprod() { return false; }
bool has_i8mm() { return false; }
#endif
#endif

std::vector<const Target*> find_targets() {
  std::vector<const Target*> usable;
#if defined(__x86_64__)
  static const Target kBaseline{"baseline",
                                SHOAL_TABLES(baseline, nullptr, nullptr, nullptr, baseline)};
  static const Target kAvx2{"avx2",
                            SHOAL_TABLES(avx2, &avx2::int8_kernels, nullptr, nullptr, avx2)};
  static const Target kAvxVnni{"avxvnni",
                               SHOAL_TABLES(avx2, &avxvnni::int8_kernels, nullptr, nullptr, avx2)};
  static const Target kAvx512{
      "avx512", SHOAL_TABLES(avx512, &avx512::int8_kernels, nullptr, nullptr, avx512)};
  // The other kernels of avx512, and those of int8.
  static const Target kAvx512Vnni{
      "avx512vnni", SHOAL_TABLES(avx512, &avx512vnni::int8_kernels, nullptr, nullptr, avx512vnni)};
  static const Target kAmx{"amx", SHOAL_TABLES(avx512, &amx::int8_kernels, &amx::bf16_kernels,
                                               &amx::bf16x2_kernels, amx)};
  usable.push_back(&kBaseline);
  if (!has_f16c()) return usable;
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return usable;
  usable.push_back(&kAvx2);
  if (has_avx_vnni()) usable.push_back(&kAvxVnni);
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) {
    usable.push_back(&kAvx512);
    if (__builtin_cpu_supports("avx512vnni")) {
      usable.push_back(&kAvx512Vnni);
      if (has_amx()) usable.push_back(&kAmx);
    }
  }
#elif defined(__aarch64__)
  static const Target kNeon{"neon", SHOAL_TABLES(neon, nullptr, nullptr, nullptr, neon)};
  static const Target kDotprod{"dotprod",
                               SHOAL_TABLES(neon, &dotprod::int8_kernels, nullptr, nullptr, neon)};
  static const Target kI8mm{"i8mm",
                            SHOAL_TABLES(neon, &i8mm::int8_kernels, nullptr, nullptr, neon)};
  usable.push_back(&kNeon);
  if (!has_dotprod()) return usable;
  usable.push_back(&kDotprod);
  if (has_i8mm()) usable.push_back(&kI8mm);
#else
  static const Target kBaseline{"baseline",
                                SHOAL_TABLES(baseline, nullptr, nullptr, nullptr, baseline)};
  usable.push_back(&kBaseline);
#endif
  return usable;
}

}  // namespace

// Found once: asking the processor costs microseconds in a virtual machine.
const std::vector<const Target*>& usable_targets() {
  static const std::vector<const Target*> usable = find_targets();
  return usable;
}

const Target& choose_target(const char* forced) {
  const auto& usable = usable_targets();
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
