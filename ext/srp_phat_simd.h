/* The instruction-set copies of the SRP-PHAT lanes (srp_phat_lanes.h), and the call that chooses between them. */
#ifndef GWANJE_SRP_PHAT_SIMD_H
#define GWANJE_SRP_PHAT_SIMD_H

#include "lanes.h"

typedef struct {
    int n_fft, n_mics, n_base, first_bin, last_bin; /* bins first_bin to last_bin - 1 are listened to */
    int n_lags, lags_max, n_azimuths;               /* n_lags = 2 lags_max + 1 */
    float smooth;           /* share of a new frame in the smoothed power */
    float rise;             /* factor by which the noise floor may rise from frame to frame */
    float excess;           /* a bin counts from this many times the noise floor on; 0: all bins count fully */
    const float *window;    /* n_fft */
    const float *twiddle;   /* of n_fft, n_fft/4, ..., see ext/lanes.py */
    const int *pairs;       /* (n_pairs, 2) */
    const int *base_at;     /* n_base + 1: first pair of each baseline */
    const int *lag_at;      /* (n_azimuths, n_base): first lag, counted from 0 at -lags_max */
    const float *taps;      /* (n_azimuths, n_base, 4) */
} srp_plan;

typedef struct {
    float *spectrum; /* (n_mics + 1) / 2 transforms of 4 * SRP_PITCH * 2 vectors: the spectra of two microphones each */
    float *spare;    /* 4 * SRP_PITCH vectors */
    float *cross;    /* (n_base, n_fft / 2 + 1, 2) vectors, zero outside the band */
    float *lags;     /* (n_base + 1, n_lags + 4) vectors */
    float *map;      /* n_azimuths vectors */
} srp_work;

/* Vectors between the four quarter-length transforms: one cache line more than they need, so that equal indices of
 * the four do not fall into one cache set. */
#define SRP_PITCH(n_fft) ((n_fft) / 2 + 2)

#define LANES_NAME(name, width) srp_##name##_##width
#define LANES_BODY "srp_phat_lanes.h"
#include "lanes_copies.h"

/* One frame of `lanes` nodes: samples of microphone m begin at samples + m * mic_step, and of an odd
 * number a silent one follows; power and floor are the noise
 * tracker's memory, n_bins vectors each, `begun` whether they hold anything yet. Fills work->map, and per lane the
 * index of the largest value (best), the value (peak) and the mean of the map. */
static void srp_frame(const srp_plan *plan, int lanes, const float *samples, ptrdiff_t mic_step, int begun,
                      float *power, float *floor, const srp_work *work, int *best, float *peak, float *mean) {
#ifdef LANES_X86
    if (lanes == 16) {
        srp_frame_x16(plan, samples, mic_step, begun, power, floor, work, best, peak, mean);
        return;
    }
    if (lanes == 8) {
        srp_frame_x8(plan, samples, mic_step, begun, power, floor, work, best, peak, mean);
        return;
    }
#endif
    srp_frame_x4(plan, samples, mic_step, begun, power, floor, work, best, peak, mean);
}

#endif
