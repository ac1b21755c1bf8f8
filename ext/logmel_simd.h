/* The instruction-set copies of the log-mel lanes, and the choice between them at run time.
 *
 * One source (logmel_lanes.h) is compiled twice: four lanes for the machine's baseline (SSE2 on x86-64, NEON on
 * 64-bit ARM) and, on x86-64, eight lanes with AVX2 and fused multiply-add.
 */
#ifndef GWANJE_LOGMEL_SIMD_H
#define GWANJE_LOGMEL_SIMD_H

#include <stddef.h>
#include <stdint.h>
#ifdef __SSE2__
#include <immintrin.h>
#endif

typedef struct {
    int n_fft, n_window, hop, n_mels;
    float offset;
    const float *window;     /* n_fft: the window, then zeros */
    const float *twiddle;    /* per pass: (n/4, 6), w^p, w^2p, w^3p as re, im; for n = n_fft/2, n_fft/8, ... */
    const float *turn;       /* (n_fft/4 + 1, 2): exp(-2 pi i k / n_fft) as re, im */
    const int *mel_first;    /* n_mels: first bin of each band */
    const int *mel_at;       /* n_mels + 1: where each band's weights begin; every count is a multiple of 4 */
    const float *mel_weight; /* weights, padded with zeros, halved: the unpacking of the half-length transform leaves a factor of two */
} logmel_plan;

#define INLINE inline __attribute__((always_inline))
/* Vectors between the four quarter-length transforms: one cache line more than they need, so that equal indices of
 * the four do not fall into one cache set. */
#define LOGMEL_PITCH(half) ((half) / 2 + 2)

/* Radix-4 passes, and one of radix 2 where the length is not a power of four. */
#define LOGMEL_PASSES(n) ((31 - __builtin_clz((unsigned)(n)) + 1) / 2)

/* The baseline: four lanes. */
#define VW 4
#define ROW 4
#define LANES(name) logmel_##name##_x4
#define TARGET
#ifdef __SSE2__
#define RECIPROCAL_SQRT(v) _mm_rsqrt_ps((__m128)(v))
#endif
#include "logmel_lanes.h"
#undef VW
#undef ROW
#undef LANES
#undef TARGET
#undef RECIPROCAL_SQRT

#if defined(__x86_64__) && defined(__GNUC__)
#define LOGMEL_X86 1

#define VW 8
#define ROW 8
#define LANES(name) logmel_##name##_x8
#define TARGET __attribute__((target("avx2,fma")))
#define RECIPROCAL_SQRT(v) _mm256_rsqrt_ps((__m256)(v))
#include "logmel_lanes.h"
#undef VW
#undef ROW
#undef LANES
#undef TARGET
#undef RECIPROCAL_SQRT

#define VW 16
#define ROW 8
#define LANES(name) logmel_##name##_x16
#define TARGET __attribute__((target("avx512f,avx512dq,avx512vl,avx2,fma,prefer-vector-width=512")))
#define RECIPROCAL_SQRT(v) _mm512_rsqrt14_ps((__m512)(v))
#define JOIN(a, b) _mm512_insertf32x8(_mm512_castps256_ps512(_mm256_load_ps(a)), _mm256_load_ps(b), 1)
#include "logmel_lanes.h"
#undef VW
#undef ROW
#undef LANES
#undef TARGET
#undef RECIPROCAL_SQRT
#undef JOIN

/* Eight channels of int16 samples, full scale to 1, transposed into rows of eight lanes. */
__attribute__((target("avx2"))) static void logmel_fill_x8(const int16_t *samples, ptrdiff_t step, int n, float *out) {
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
            _mm256_storeu_ps(out + (i + c) * 8, _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(b[c])), scale));
    }
    for (; i < n; i++)
        for (int c = 0; c < 8; c++) out[i * 8 + c] = (float)samples[c * step + i] * (1.0f / 32768.0f);
}
#endif

/* Lanes of the widest copy this processor can run: 16 (AVX-512), 8 (AVX2 and FMA) or 4. */
static int logmel_widest(void) {
#ifdef LOGMEL_X86
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
static void logmel_fill(const int16_t *samples, ptrdiff_t step, int used, int row, int n, float *out) {
#ifdef LOGMEL_X86
    if (used == 8 && row == 8) {
        logmel_fill_x8(samples, step, n, out);
        return;
    }
#endif
    for (int c = 0; c < used; c++)
        for (int i = 0; i < n; i++) out[i * row + c] = (float)samples[c * step + i] * (1.0f / 32768.0f);
}

static void logmel_frames(const logmel_plan *plan, int lanes, const float *samples, int count, float *scratch,
                          float *out, ptrdiff_t channel_step) {
#ifdef LOGMEL_X86
    if (lanes == 16) {
        logmel_frames_x16(plan, samples, count, scratch, out, channel_step);
        return;
    }
    if (lanes == 8) {
        logmel_frames_x8(plan, samples, count, scratch, out, channel_step);
        return;
    }
#endif
    logmel_frames_x4(plan, samples, count, scratch, out, channel_step);
}

#endif
