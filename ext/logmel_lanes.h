/* Log-mel of ROW channels side by side, one channel per SIMD lane; the body that logmel_simd.h has compiled for every
 * instruction set (lanes_copies.h). With 16 lanes two frames of eight channels share a vector.
 *
 * A frame of n real samples is one complex transform of n/2 (even samples real, odd ones imaginary): one radix-4
 * decimation-in-frequency pass, then four independent transforms that stay in the first-level cache (lanes_fft.h).
 */

#include "lanes_fft.h"
#if VW == 16
#define ROW 8
#else
#define ROW VW
#endif

/* Natural logarithm of positive normal numbers; absolute error below 1e-6 (polynomial: Cephes logf, by Moshier). */
TARGET static INLINE void LANES(log)(vf *x) {
    const vi bits = (vi)*x;
    const vi exponent = (bits - 0x3f3504f3) >> 23; /* mantissa in [sqrt(1/2), sqrt(2)) */
    const vf f = (vf)(bits - (exponent << 23)) - 1.0f;
    const vf z = f * f;
    vf p = 7.0376836292e-2f * f - 1.1514610310e-1f;
    p = p * f + 1.1676998740e-1f;
    p = p * f - 1.2420140846e-1f;
    p = p * f + 1.4249322787e-1f;
    p = p * f - 1.6668057665e-1f;
    p = p * f + 2.0000714765e-1f;
    p = p * f - 2.4999993993e-1f;
    p = p * f + 3.3333331174e-1f;
    *x = __builtin_convertvector(exponent, vf) * 0.69314718056f + (f - 0.5f * z + p * f * z);
}

/* Square root of numbers from 0 on. */
TARGET static INLINE void LANES(sqrt)(vf *x) {
    const vf v = *x + 1e-30f;
    vf y = v;
    LANES(rsqrt)(&y);
    *x = v * y;
}

/* Row of the sample buffer times the window; with 16 lanes, rows `apart` from each other side by side. */
TARGET static INLINE vf LANES(row)(const float *samples, const float *window, int row, int apart) {
#if VW > ROW
    return (vf)JOIN(samples + row * ROW, samples + (row + apart) * ROW) * window[row];
#else
    (void)apart;
    return *(const vf *)(samples + row * ROW) * window[row];
#endif
}

/* Window, pack even and odd samples, first radix-4 pass of the half-length transform: four blocks of half/4 vectors. */
TARGET static INLINE void LANES(load)(const logmel_plan *plan, int half, const float *samples, int apart, vf *out,
                                      int pitch) {
    const int quarter = half / 4, packed = (plan->n_window + 1) / 2;
    const int full = packed > 3 * quarter ? packed - 3 * quarter : 0;
    const float *window = plan->window;
    const vf zero = {0};
    for (int p = 0; p < quarter; p++) {
        const float *w = plan->twiddle + 6 * p;
        const int i0 = 2 * p, i1 = i0 + 2 * quarter, i2 = i0 + 4 * quarter, i3 = i0 + 6 * quarter;
        const vf ar = LANES(row)(samples, window, i0, apart), ai = LANES(row)(samples, window, i0 + 1, apart);
        const vf br = LANES(row)(samples, window, i1, apart), bi = LANES(row)(samples, window, i1 + 1, apart);
        const vf cr = LANES(row)(samples, window, i2, apart), ci = LANES(row)(samples, window, i2 + 1, apart);
        vf dr = zero, di = zero;
        if (p < full) {
            dr = LANES(row)(samples, window, i3, apart);
            di = LANES(row)(samples, window, i3 + 1, apart);
        }
        vf *to = out + 2 * p;
        BUTTERFLY4(ar, ai, br, bi, cr, ci, dr, di, w, to, pitch, 2 * pitch, 3 * pitch);
    }
}

/* Twice the magnitudes of the real transform: bins k and half - k together from Z[k] and Z[half - k]. */
TARGET static INLINE void LANES(pair)(const vf *a, const vf *c, const float *turn, vf *low, vf *high) {
    const vf er = a[0] + c[0], ei = a[1] - c[1], dr = a[0] - c[0], di = a[1] + c[1];
    const float wr = turn[0], wi = turn[1];
    const vf tr = dr * wr - di * wi, ti = dr * wi + di * wr;
    const vf lr = er + ti, li = ei - tr, hr = er - ti, hi = ei + tr;
    vf l = lr * lr + li * li, h = hr * hr + hi * hi;
    LANES(sqrt)(&l);
    LANES(sqrt)(&h);
    *low = l;
    *high = h;
}

/* All pairs; Z[4 m + r] is element m of block r, so its partner runs backwards through block -r. */
TARGET static INLINE void LANES(magnitude)(const logmel_plan *plan, int half, const vf *z, int pitch, vf *out) {
    LANES(pair)(z, z, plan->turn, out, out + half);
    for (int r = 0; r < 4; r++) {
        const int first = r ? r : 4;
        const vf *a = z + r * pitch + 2 * (first >> 2);
        const vf *c = z + ((4 - r) & 3) * pitch + 2 * ((half - first) >> 2);
        for (int k = first; k <= half / 2; k += 4) {
            LANES(pair)(a, c, plan->turn + 2 * k, out + k, out + half - k);
            a += 2;
            c -= 2;
        }
    }
}

/* Sum the bands, take the logarithm, and hand each lane its row of its frame. */
TARGET static INLINE void LANES(bands)(const logmel_plan *plan, const vf *magnitude, vf *result, int count,
                                       float *out, ptrdiff_t channel_step) {
    const int n_mels = plan->n_mels;
    for (int m = 0; m < n_mels; m++) {
        const float *weight = plan->mel_weight + plan->mel_at[m];
        const vf *from = magnitude + plan->mel_first[m];
        const int n_bins = plan->mel_at[m + 1] - plan->mel_at[m];
        vf even = {0}, odd = {0};
        for (int i = 0; i < n_bins; i += 4) {
            even += from[i] * weight[i];
            odd += from[i + 1] * weight[i + 1];
            even += from[i + 2] * weight[i + 2];
            odd += from[i + 3] * weight[i + 3];
        }
        even += odd + plan->offset;
        LANES(log)(&even);
        result[m] = even;
    }
    for (int lane = 0; lane < VW; lane++) {
        const int frame = lane / ROW;
        const float *from = (const float *)result + lane;
        float *to = out + lane % ROW * channel_step + frame * n_mels;
        if (frame < count)
            for (int m = 0; m < n_mels; m++) to[m] = from[m * VW];
    }
}

/* Spectrum of a vector of frames; inlined with a constant length where it is known, which nearly halves its time. */
TARGET static INLINE void LANES(spectrum)(const logmel_plan *plan, int half, const float *samples, int apart,
                                          vf *scratch, vf *magnitude) {
    const int quarter = half / 4, pitch = LOGMEL_PITCH(half);
    /* An even number of passes ends where it began: then one spare block serves all four, and stays in the cache. */
    const int odd = LANES_PASSES(quarter) % 2, spare = odd ? pitch : 0;
    vf *x = scratch, *y = x + 4 * pitch;
    LANES(load)(plan, half, samples, apart, x, pitch);
    for (int b = 0; b < 4; b++) LANES(fft)(quarter, plan->twiddle + 6 * quarter, x + pitch * b, y + spare * b);
    LANES(magnitude)(plan, half, odd ? y : x, pitch, magnitude);
}

/* The next `count` frames (1 to VW / ROW) of ROW channels, to out[channel * channel_step + frame * n_mels + band]. */
TARGET static void LANES(frames)(const logmel_plan *plan, const float *samples, int count, float *scratch,
                                 float *out, ptrdiff_t channel_step) {
    const int apart = count > 1 ? plan->hop : 0; /* a frame that is not wanted repeats the first */
    vf *work = (vf *)scratch, *magnitude = work + 8 * LOGMEL_PITCH(plan->n_fft / 2);
    if (plan->n_fft == 512)
        LANES(spectrum)(plan, 256, samples, apart, work, magnitude);
    else
        LANES(spectrum)(plan, plan->n_fft / 2, samples, apart, work, magnitude);
    LANES(bands)(plan, magnitude, work, count, out, channel_step);
}

#undef ROW
