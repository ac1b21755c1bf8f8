/* For loops over the bands of one frame, which lie side by side: the compiler makes vectors of them, on x86-64 once for
 * every width, and the widest that the processor has is chosen when the program is loaded.
 */
#ifndef GWANJE_BAND_CLONES_H
#define GWANJE_BAND_CLONES_H

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define BAND_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define BAND_CLONES
#endif
#define BAND_INLINE static inline __attribute__((always_inline))

/* 2**x for |x| up to 126; relative error below 2e-7 (Taylor of degree 6 around the nearest integer). */
BAND_INLINE float band_exp2(float x) {
    float clipped = x < -126.0f ? -126.0f : x > 126.0f ? 126.0f : x;
    float whole = (float)(int32_t)(clipped + (clipped < 0.0f ? -0.5f : 0.5f));
    float f = (clipped - whole) * 0.693147180559945f;
    float p = 1.0f + f * (1.0f + f * (0.5f + f * (1.0f / 6.0f + f * (1.0f / 24.0f + f * (1.0f / 120.0f + f / 720.0f)))));
    int32_t bits = ((int32_t)whole + 127) << 23;
    float scale;
    memcpy(&scale, &bits, 4);
    return p * scale;
}

/* log2 of positive normal numbers; absolute error below 5e-7: mantissa to [1/sqrt 2, sqrt 2), then atanh's series. */
BAND_INLINE float band_log2(float x) {
    int32_t bits, exponent;
    memcpy(&bits, &x, 4);
    exponent = (bits - 0x3F3504F3) >> 23;
    bits -= exponent << 23;
    float m;
    memcpy(&m, &bits, 4);
    float t = (m - 1.0f) / (m + 1.0f), s = t * t;
    float p = 1.0f + s * (1.0f / 3.0f + s * (1.0f / 5.0f + s * (1.0f / 7.0f + s * (1.0f / 9.0f))));
    return (float)exponent + 2.88539008177793f * t * p;
}

#endif
