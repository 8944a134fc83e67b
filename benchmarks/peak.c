/* Multiply-adds per second of one core, by loops that do nothing else. Compiled by peak.py with
   -march=native; prints one line "NAME RATE" per kind of arithmetic that the processor has. */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif
#if defined(__AMX_INT8__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

enum { CHAINS = 10 }; /* independent sums: latency times throughput of every processor at hand */
/* Scalar variables: compilers keep arrays of sums in memory. */
#define SUMS(TYPE, START)                                                                    \
  TYPE s0 = START, s1 = START, s2 = START, s3 = START, s4 = START, s5 = START, s6 = START,  \
       s7 = START, s8 = START, s9 = START

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Best of several runs of BODY, which makes WORK multiply-adds per repetition. The empty assembly
   keeps each operation where it is: nothing is hoisted, merged or dropped. */
#define MEASURE(NAME, WORK, BODY)                                    \
  do {                                                               \
    double best = 0;                                                 \
    for (int run = 0; run < 12; ++run) {                             \
      const int repetitions = 1 << 20;                               \
      const double begin = now();                                    \
      for (int i = 0; i < repetitions; ++i) { BODY; }                \
      const double rate = (double)repetitions * (WORK) / (now() - begin); \
      if (rate > best) best = rate;                                  \
    }                                                                \
    printf("%s %.6g\n", NAME, best);                                 \
  } while (0)

#define EACH(STEP) \
  STEP(s0); STEP(s1); STEP(s2); STEP(s3); STEP(s4); STEP(s5); STEP(s6); STEP(s7); STEP(s8); STEP(s9)

#if defined(__AVX512F__)
static void float32(void) {
  const __m512 a = _mm512_set1_ps(1.0f), b = _mm512_set1_ps(1e-9f);
  SUMS(__m512, a);
#define STEP(s) s = _mm512_fmadd_ps(a, b, s); __asm__ volatile("" : "+v"(s))
  MEASURE("float32", CHAINS * 16, EACH(STEP));
#undef STEP
}
#elif defined(__AVX2__) && defined(__FMA__)
static void float32(void) {
  const __m256 a = _mm256_set1_ps(1.0f), b = _mm256_set1_ps(1e-9f);
  SUMS(__m256, a);
#define STEP(s) s = _mm256_fmadd_ps(a, b, s); __asm__ volatile("" : "+x"(s))
  MEASURE("float32", CHAINS * 8, EACH(STEP));
#undef STEP
}
#elif defined(__aarch64__)
static void float32(void) {
  const float32x4_t a = vdupq_n_f32(1.0f), b = vdupq_n_f32(1e-9f);
  SUMS(float32x4_t, a);
#define STEP(s) s = vfmaq_f32(s, a, b); __asm__ volatile("" : "+w"(s))
  MEASURE("float32", CHAINS * 4, EACH(STEP));
#undef STEP
}
#else
static void float32(void) {}
#endif

#if defined(__AVX512VNNI__)
static void int8(void) {
  const __m512i a = _mm512_set1_epi8(1), b = _mm512_set1_epi8(2);
  SUMS(__m512i, a);
#define STEP(s) s = _mm512_dpbusd_epi32(s, a, b); __asm__ volatile("" : "+v"(s))
  MEASURE("int8", CHAINS * 64, EACH(STEP));
#undef STEP
}
#elif defined(__AVXVNNI__)
static void int8(void) {
  const __m256i a = _mm256_set1_epi8(1), b = _mm256_set1_epi8(2);
  SUMS(__m256i, a);
#define STEP(s) s = _mm256_dpbusd_avx_epi32(s, a, b); __asm__ volatile("" : "+x"(s))
  MEASURE("int8", CHAINS * 32, EACH(STEP));
#undef STEP
}
#elif defined(__ARM_FEATURE_DOTPROD)
static void int8(void) {
  const int8x16_t a = vdupq_n_s8(1), b = vdupq_n_s8(2);
  SUMS(int32x4_t, vdupq_n_s32(0));
#define STEP(s) s = vdotq_s32(s, a, b); __asm__ volatile("" : "+w"(s))
  MEASURE("int8", CHAINS * 16, EACH(STEP));
#undef STEP
}
#else
static void int8(void) {} /* no dot product of bytes: what replaces it is no peak to compare with */
#endif

#if defined(__AMX_INT8__) && defined(__linux__)
/* Eight tiles: four sums, two of rows, two of columns; each step is 16 x 16 x 64. */
static void tiles(void) {
  struct {
    uint8_t palette, start_row, zero[14];
    uint16_t bytes[16];
    uint8_t rows[16];
  } shape;
  memset(&shape, 0, sizeof shape);
  shape.palette = 1;
  for (int t = 0; t < 8; ++t) {
    shape.bytes[t] = 64;
    shape.rows[t] = 16;
  }
  /* ARCH_REQ_XCOMP_PERM for tile data: the kernel has to grant the registers. */
  if (syscall(SYS_arch_prctl, 0x1023, 18) != 0) return;
  _tile_loadconfig(&shape);
  _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3);
  _tile_zero(4); _tile_zero(5); _tile_zero(6); _tile_zero(7);
  MEASURE("int8-tiles", 4 * 16 * 16 * 64,
          _tile_dpbssd(0, 4, 6); _tile_dpbssd(1, 4, 7); _tile_dpbssd(2, 5, 6);
          _tile_dpbssd(3, 5, 7));
  _tile_release();
}
#else
static void tiles(void) {}
#endif

int main(void) {
  float32();
  int8();
  tiles();
  return 0;
}
