/* The instruction-set copies of the log-mel lanes (logmel_lanes.h), and the call that chooses between them. */
#ifndef GWANJE_LOGMEL_SIMD_H
#define GWANJE_LOGMEL_SIMD_H

#include "lanes.h"

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

/* Vectors between the four quarter-length transforms: one cache line more than they need, so that equal indices of
 * the four do not fall into one cache set. */
#define LOGMEL_PITCH(half) ((half) / 2 + 2)

#define LANES_NAME(name, width) logmel_##name##_##width
#define LANES_BODY "logmel_lanes.h"
#include "lanes_copies.h"

static void logmel_frames(const logmel_plan *plan, int lanes, const float *samples, int count, float *scratch,
                          float *out, ptrdiff_t channel_step) {
#ifdef LANES_X86
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
