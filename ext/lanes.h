/* Channels side by side in SIMD lanes: which width this processor has, and int16 samples put into lanes.
 *
 * A kernel writes its functions once, in a body that lanes_copies.h compiles for every instruction set; inside, data
 * lie as [element][lane], so that no shuffle is needed and every operation works on a full vector.
 */
#ifndef GWANJE_LANES_H
#define GWANJE_LANES_H

#include <stddef.h>
#include <stdint.h>
#ifdef __SSE2__
#include <immintrin.h>
#endif

#define INLINE inline __attribute__((always_inline))

/* Passes of a transform of n complex numbers: of radix 4, and one of radix 2 where n is not a power of four. */
#define LANES_PASSES(n) ((31 - __builtin_clz((unsigned)(n)) + 1) / 2)

#if defined(__x86_64__) && defined(__GNUC__)
#define LANES_X86 1

/* Eight channels of int16 samples, `step` apart, full scale to 1, transposed into eight lanes of rows of `row`. */
__attribute__((target("avx2"))) static void lanes_fill_x8(const int16_t *samples, ptrdiff_t step, int row, int n,
                                                          float *out) {
    const __m256 scale = _mm256_set1_ps(1.0f / 32768.0f);
    int i = 0;
    for (; i + 8 <= n; i += 8) {
        __m128i a[8], b[8];
        for (int c = 0; c < 8; c++) a[c] = _mm_loadu_si128((const __m128i *)(samples + c * step + i));
        for (int c = 0; c < 4; c++) {
            b[2 * c] = _mm_unpacklo_epi16(a[c], a[c + 4]);
            b[2 * c + 1] = _mm_unpackhi_epi16(a[c], a[c + 4]);
        }
        for (int c = 0; c < 4; c++) {
            a[2 * c] = _mm_unpacklo_epi16(b[c], b[c + 4]);
            a[2 * c + 1] = _mm_unpackhi_epi16(b[c], b[c + 4]);
        }
        for (int c = 0; c < 4; c++) {
            b[2 * c] = _mm_unpacklo_epi16(a[c], a[c + 4]);
            b[2 * c + 1] = _mm_unpackhi_epi16(a[c], a[c + 4]);
        }
        for (int c = 0; c < 8; c++)
            _mm256_storeu_ps(out + (i + c) * row, _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(b[c])), scale));
    }
    for (; i < n; i++)
        for (int c = 0; c < 8; c++) out[i * row + c] = (float)samples[c * step + i] * (1.0f / 32768.0f);
}
#endif

/* Lanes of the widest copy this processor can run: 16 (AVX-512), 8 (AVX2 and FMA) or 4. */
static int lanes_widest(void) {
#ifdef LANES_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
            __builtin_cpu_supports("avx512vl"))
            return 16;
        return 8;
    }
#endif
    return 4;
}

/* `used` channels of int16 samples, `step` apart, into rows of `row` lanes, full scale to 1. */
static void lanes_fill(const int16_t *samples, ptrdiff_t step, int used, int row, int n, float *out) {
    int first = 0;
#ifdef LANES_X86
    if (row >= 8)
        for (; first + 8 <= used; first += 8) lanes_fill_x8(samples + first * step, step, row, n, out + first);
#endif
    for (int c = first; c < used; c++)
        for (int i = 0; i < n; i++) out[i * row + c] = (float)samples[c * step + i] * (1.0f / 32768.0f);
}

#endif
