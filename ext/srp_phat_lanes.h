/* Steered response power with phase transform, one node per SIMD lane; the body that srp_phat_simd.h has compiled for
 * every instruction set (lanes_copies.h).
 *
 * The spectra of two microphones come from one complex transform, the correlations of two baselines from another.
 * Each microphone's spectrum is divided by its magnitude, which gives every pair the phase transform at once; the
 * response of a direction is the sum of the correlations at its delays, interpolated.
 */

#include "lanes_fft.h"

#define MICS_MAX 16

/* Smaller and larger of two vectors, lane by lane. */
TARGET static INLINE void LANES(smaller)(const vf *a, const vf *b, vf *out) {
    const vi less = *a < *b;
    *out = (vf)((less & (vi)*a) | (~less & (vi)*b));
}

/* First radix-4 pass over `n` complex vectors whose p-th ones of the four quarters are given, into four blocks. */
#define FIRST_PASS(p, to)                                                                                       \
    do {                                                                                                       \
        const float *w = plan->twiddle + 6 * (p);                                                              \
        vf *t = (to) + 2 * (p);                                                                                \
        BUTTERFLY4(ar, ai, br, bi, cr, ci, dr, di, w, t, pitch, 2 * pitch, 3 * pitch);                         \
    } while (0)

/* The four quarters after the first pass; the result begins at the returned place, element 4 m + r of the whole is
 * element m of block r. */
TARGET static INLINE vf *LANES(quarters)(const srp_plan *plan, int n, vf *x, vf *spare) {
    const int quarter = n / 4, pitch = SRP_PITCH(n);
    const int odd = LANES_PASSES(quarter) % 2;
    /* An even number of passes ends where it began: then one spare block serves all four, and stays in the cache. */
    for (int b = 0; b < 4; b++) LANES(fft)(quarter, plan->twiddle + 6 * quarter, x + pitch * b, spare + odd * pitch * b);
    return odd ? spare : x;
}

/* Spectra of two microphones, packed as real and imaginary part. */
TARGET static INLINE void LANES(forward)(const srp_plan *plan, int n, const vf *first, const vf *second, vf *out,
                                         vf *spare) {
    const int quarter = n / 4, pitch = SRP_PITCH(n);
    const float *window = plan->window;
    for (int p = 0; p < quarter; p++) {
        const int i1 = p + quarter, i2 = i1 + quarter, i3 = i2 + quarter;
        const vf ar = first[p] * window[p], ai = second[p] * window[p];
        const vf br = first[i1] * window[i1], bi = second[i1] * window[i1];
        const vf cr = first[i2] * window[i2], ci = second[i2] * window[i2];
        const vf dr = first[i3] * window[i3], di = second[i3] * window[i3];
        FIRST_PASS(p, out);
    }
    const vf *at = LANES(quarters)(plan, n, out, spare);
    if (at != out)
        for (int i = 0; i < 4 * pitch; i++) out[i] = at[i];
}

/* Spectra of all microphones at bin k from the packed transforms, and the sum of their powers. */
TARGET static INLINE vf LANES(unpack)(const vf *spectrum, int n, int n_mics, int k, vf *re, vf *im) {
    const int pitch = SRP_PITCH(n), mirror = (n - k) & (n - 1);
    const int low = (k & 3) * pitch + 2 * (k >> 2), high = (mirror & 3) * pitch + 2 * (mirror >> 2);
    vf power = {0};
    for (int m = 0; m < n_mics; m += 2) {
        const vf *z = spectrum + (ptrdiff_t)(m / 2) * 4 * pitch;
        const vf zr = z[low], zi = z[low + 1], cr = z[high], ci = z[high + 1];
        vf ar = zr + cr, ai = zi - ci, br = zi + ci, bi = cr - zr;
        const vf a = ar * ar + ai * ai, b = br * br + bi * bi;
        /* What a loud microphone leaves in its silent partner by rounding must not count as sound. */
        const vf least = (a + b) * 1e-8f + 1e-18f;
        vf ra = a + least, rb = b + least;
        LANES(rsqrt)(&ra);
        LANES(rsqrt)(&rb);
        re[m] = ar * ra;
        im[m] = ai * ra;
        re[m + 1] = br * rb;
        im[m + 1] = bi * rb;
        power += a + b;
    }
    return power;
}

/* How much a bin counts, 0 to 1: what its power is above the noise floor, which follows the smoothed power's minima. */
TARGET static INLINE vf LANES(weight)(const srp_plan *plan, int begun, const vf *now, vf *power, vf *floor) {
    vf w = {0};
    if (plan->excess == 0.0f) return w + 1.0f;
    vf smoothed = *now, limit = *now;
    if (begun) {
        smoothed = *power + (*now - *power) * plan->smooth;
        limit = *floor * plan->rise + 1e-18f;
        LANES(smaller)(&smoothed, &limit, &limit);
    }
    *power = smoothed;
    *floor = limit;
    const vf threshold = limit * plan->excess + 1e-18f, above = *now - threshold, zero = {0};
    vf inverse = *now + 1e-18f;
    LANES(rsqrt)(&inverse);
    w = above * inverse * inverse;
    LANES(smaller)(&zero, &w, &inverse);
    return w - inverse;
}

/* Weighted cross spectra of all baselines in the band; returns the sum of the weights. */
TARGET static INLINE vf LANES(crosses)(const srp_plan *plan, int n, int n_mics, int begun, vf *power, vf *floor,
                                       const vf *spectrum, vf *cross) {
    const int n_bins = plan->last_bin - plan->first_bin;
    vf sum = {0}, re[MICS_MAX], im[MICS_MAX];
    for (int at = 0; at < n_bins; at++) {
        const vf now = LANES(unpack)(spectrum, n, n_mics, plan->first_bin + at, re, im);
        const vf w = LANES(weight)(plan, begun, &now, power + at, floor + at);
        sum += w;
        for (int b = 0; b < plan->n_base; b++) {
            vf cr = {0}, ci = {0};
            for (int p = plan->base_at[b]; p < plan->base_at[b + 1]; p++) { /* X_j conj X_i */
                const int i = plan->pairs[2 * p], j = plan->pairs[2 * p + 1];
                cr += re[j] * re[i] + im[j] * im[i];
                ci += im[j] * re[i] - re[j] * im[i];
            }
            vf *to = cross + (ptrdiff_t)b * (n + 2) + 2 * (plan->first_bin + at);
            to[0] = cr * w;
            to[1] = ci * w;
        }
    }
    return sum;
}

/* Correlations of two baselines at lags -lags_max to lags_max: an inverse transform, as a forward one with real and
 * imaginary part exchanged. Bins outside the band are zero. */
TARGET static INLINE void LANES(correlate)(const srp_plan *plan, int n, const vf *a, const vf *b, vf *x, vf *spare,
                                           vf *lags_a, vf *lags_b) {
    const int quarter = n / 4, pitch = SRP_PITCH(n);
/* Bin k of a + i b; r is the imaginary part, i the real one. */
#define BIN(k, r, i) const vf r = a[2 * (k) + 1] + b[2 * (k)], i = a[2 * (k)] - b[2 * (k) + 1]
/* Bin -k: of conjugates. */
#define MIRROR(k, r, i) const vf r = b[2 * (k)] - a[2 * (k) + 1], i = a[2 * (k)] + b[2 * (k) + 1]
    for (int p = 0; p < quarter; p++) {
        BIN(p, ar, ai);
        BIN(p + quarter, br, bi);
        MIRROR(2 * quarter - p, cr, ci);
        MIRROR(quarter - p, dr, di);
        FIRST_PASS(p, x);
    }
#undef BIN
#undef MIRROR
    const vf *z = LANES(quarters)(plan, n, x, spare);
    for (int lag = -plan->lags_max; lag <= plan->lags_max; lag++) {
        const int e = lag & (n - 1), from = (e & 3) * pitch + 2 * (e >> 2);
        lags_a[lag + plan->lags_max] = z[from + 1];
        lags_b[lag + plan->lags_max] = z[from];
    }
}

/* Response of every direction, scaled so that a plane wave alone gives 1; the best of them and the mean. */
TARGET static INLINE void LANES(steer)(const srp_plan *plan, const vf *lags, const vf *scale, vf *map, int *best,
                                       float *peak, float *mean) {
    const int n_base = plan->n_base, n_lags = plan->n_lags;
    vf top = {0}, sum = {0};
    vi where = {0};
    top -= 1e30f;
    for (int azimuth = 0; azimuth < plan->n_azimuths; azimuth++) {
        const int *at = plan->lag_at + azimuth * n_base;
        const float *tap = plan->taps + 4 * azimuth * n_base;
        vf even = {0}, odd = {0};
        for (int b = 0; b < n_base; b++) {
            const vf *from = lags + (ptrdiff_t)b * n_lags + at[b];
            even += from[0] * tap[4 * b];
            odd += from[1] * tap[4 * b + 1];
            even += from[2] * tap[4 * b + 2];
            odd += from[3] * tap[4 * b + 3];
        }
        const vf value = (even + odd) * *scale;
        const vi higher = value > top;
        map[azimuth] = value;
        sum += value;
        top = (vf)((higher & (vi)value) | (~higher & (vi)top));
        where = (higher & azimuth) | (~higher & where);
    }
    sum *= 1.0f / (float)plan->n_azimuths;
    *(vf *)peak = top;
    *(vf *)mean = sum;
    *(vi *)best = where;
}

TARGET static INLINE void LANES(sized)(const srp_plan *plan, int n, int n_mics, const float *samples,
                                       ptrdiff_t mic_step, int begun, float *power, float *floor,
                                       const srp_work *work, int *best, float *peak, float *mean) {
    const int n_bins = plan->last_bin - plan->first_bin, pitch = SRP_PITCH(n), n_base = plan->n_base;
    vf *spectrum = (vf *)work->spectrum, *spare = (vf *)work->spare, *cross = (vf *)work->cross;
    vf *lags = (vf *)work->lags;
    for (int m = 0; m < n_mics; m += 2) {
        const vf *first = (const vf *)(samples + m * mic_step);
        const vf *second = (const vf *)(samples + (m + 1) * mic_step);
        LANES(forward)(plan, n, first, second, spectrum + (ptrdiff_t)(m / 2) * 4 * pitch, spare);
    }
    const vf weights = LANES(crosses)(plan, n, n_mics, begun, (vf *)power, (vf *)floor, spectrum, cross);
    for (int b = 0; b < n_base; b += 2) /* of an odd number the last comes twice */
        LANES(correlate)(plan, n, cross + (ptrdiff_t)b * (n + 2),
                         cross + (ptrdiff_t)(b + 1 < n_base ? b + 1 : b) * (n + 2), spectrum, spare,
                         lags + (ptrdiff_t)b * plan->n_lags, lags + (ptrdiff_t)(b + 1) * plan->n_lags);
    /* Every bin counts twice, as itself and mirrored. A frame in which next to nothing stands out shows no peak. */
    vf scale = weights + (float)n_bins * 0.05f;
    LANES(rsqrt)(&scale);
    scale = scale * scale * (0.5f / (float)plan->base_at[n_base]);
    LANES(steer)(plan, lags, &scale, (vf *)work->map, best, peak, mean);
}

/* One frame, see srp_frame; four microphones and 512 samples are compiled with constants. */
TARGET static void LANES(frame)(const srp_plan *plan, const float *samples, ptrdiff_t mic_step, int begun,
                                float *power, float *floor, const srp_work *work, int *best, float *peak,
                                float *mean) {
    if (plan->n_fft == 512 && plan->n_mics == 4)
        LANES(sized)(plan, 512, 4, samples, mic_step, begun, power, floor, work, best, peak, mean);
    else
        LANES(sized)(plan, plan->n_fft, plan->n_mics, samples, mic_step, begun, power, floor, work, best, peak, mean);
}

#undef FIRST_PASS
#undef MICS_MAX
