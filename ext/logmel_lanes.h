/* Log-mel of ROW channels side by side, one channel per SIMD lane.
 *
 * Included once per instruction set by logmel_simd.h, with
 *   VW            lanes per vector: 4, 8 or 16
 *   ROW           channels side by side: VW, or half of it when two pairs of frames share a vector
 *   JOIN(a, b)    the rows at a and b in one vector, where VW is twice ROW
 *   LANES(name)   name of this copy of a function
 *   TARGET        function attribute that turns the instruction set on
 * Data layout everywhere: [element][lane], so no shuffle is needed and every operation works on a full vector.
 * Two consecutive frames of a channel travel as real and imaginary part of one complex transform.
 *
 * FFT: one radix-4 decimation-in-frequency pass, then four independent Stockham autosort transforms of a quarter of
 * the length, which stay in the first-level cache (Stockham 1966; Van Loan, Computational Frameworks for the FFT,
 * 1992, section 1.7).
 */

typedef float LANES(vf) __attribute__((vector_size(VW * 4), aligned(VW * 4), may_alias));
typedef int LANES(vi) __attribute__((vector_size(VW * 4), aligned(VW * 4), may_alias));
#define vf LANES(vf)
#define vi LANES(vi)

/* Natural logarithm of positive normal numbers; absolute error below 1e-6 (polynomial: Cephes logf, by Moshier). */
TARGET static inline void LANES(log)(vf *x) {
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

/* Square root: a reciprocal estimate and one Newton step where the processor has them (relative error 3e-7). */
TARGET static INLINE void LANES(sqrt)(vf *x) {
#ifdef RECIPROCAL_SQRT
    const vf v = *x + 1e-30f;
    const vf y = (vf)RECIPROCAL_SQRT(v);
    *x = v * y * (1.5f - 0.5f * v * y * y);
#else
    vf y = *x;
    for (int lane = 0; lane < VW; lane++) y[lane] = __builtin_sqrtf(y[lane]);
    *x = y;
#endif
}

/* Radix-4 butterfly of four complex vectors, outputs multiplied by w1, w2, w3 (w = re, im pairs). */
#define BUTTERFLY4(ar, ai, br, bi, cr, ci, dr, di, w, out, at1, at2, at3)               \
    do {                                                                               \
        const vf pr = ar + cr, pi = ai + ci, mr = ar - cr, mi = ai - ci;               \
        const vf qr = br + dr, qi = bi + di, sr = br - dr, si = bi - di;               \
        const vf er = mr + si, ei = mi - sr, fr = pr - qr, fi = pi - qi;               \
        const vf gr = mr - si, gi = mi + sr;                                           \
        (out)[0] = pr + qr;                                                            \
        (out)[1] = pi + qi;                                                            \
        (out)[at1] = er * (w)[0] - ei * (w)[1];                                        \
        (out)[at1 + 1] = er * (w)[1] + ei * (w)[0];                                    \
        (out)[at2] = fr * (w)[2] - fi * (w)[3];                                        \
        (out)[at2 + 1] = fr * (w)[3] + fi * (w)[2];                                    \
        (out)[at3] = gr * (w)[4] - gi * (w)[5];                                        \
        (out)[at3 + 1] = gr * (w)[5] + gi * (w)[4];                                    \
    } while (0)

/* Row of the sample buffer; with 16 lanes, rows `apart` from each other side by side. */
TARGET static INLINE vf LANES(row)(const float *samples, int row, int apart) {
#if VW > ROW
    return (vf)JOIN(samples + row * ROW, samples + (row + apart) * ROW);
#else
    (void)apart;
    return *(const vf *)(samples + row * ROW);
#endif
}

/* Window the frames (the second of each pair one hop later), first radix-4 pass: four blocks of n/4 vectors.
 * A frame that is not wanted is a repetition of the first, so that nothing beyond the samples is read. */
TARGET static INLINE void LANES(load)(const logmel_plan *plan, int n_fft, const float *samples, int count, vf *out,
                                      int pitch) {
    const int quarter = n_fft / 4, n_window = plan->n_window;
    const float *window = plan->window;
    const vf zero = {0};
    const float *later = samples + (count > 1 ? plan->hop : 0) * ROW;
    const int apart = count > 2 ? 2 * plan->hop : 0, late_apart = count > 3 ? 2 * plan->hop : 0;
    const int full = n_window > 3 * quarter ? n_window - 3 * quarter : 0;
    for (int p = 0; p < quarter; p++) {
        const float *w = plan->twiddle + 6 * p;
        const int i1 = p + quarter, i2 = p + 2 * quarter, i3 = p + 3 * quarter;
        const float h0 = window[p], h1 = window[i1], h2 = window[i2], h3 = window[i3];
        const vf ar = LANES(row)(samples, p, apart) * h0, ai = LANES(row)(later, p, late_apart) * h0;
        const vf br = LANES(row)(samples, i1, apart) * h1, bi = LANES(row)(later, i1, late_apart) * h1;
        const vf cr = LANES(row)(samples, i2, apart) * h2, ci = LANES(row)(later, i2, late_apart) * h2;
        vf dr = zero, di = zero;
        if (p < full) {
            dr = LANES(row)(samples, i3, apart) * h3;
            di = LANES(row)(later, i3, late_apart) * h3;
        }
        vf *to = out + 2 * p;
        BUTTERFLY4(ar, ai, br, bi, cr, ci, dr, di, w, to, pitch, 2 * pitch, 3 * pitch);
    }
}

/* Stockham autosort transform of n complex vectors; the result is in x after an even number of passes, else in y. */
TARGET static INLINE void LANES(fft)(int n, const float *twiddle, vf *x, vf *y) {
    int stride = 1;
    while (n >= 4) {
        const int quarter = n / 4;
        for (int p = 0; p < quarter; p++) {
            const float *w = twiddle + 6 * p;
            const vf *from = x + 2 * stride * p;
            vf *to = y + 8 * stride * p;
            const int step = 2 * stride * quarter;
            for (int q = 0; q < 2 * stride; q += 2) {
                const vf *f = from + q;
                const vf ar = f[0], ai = f[1], br = f[step], bi = f[step + 1];
                const vf cr = f[2 * step], ci = f[2 * step + 1], dr = f[3 * step], di = f[3 * step + 1];
                vf *t = to + q;
                BUTTERFLY4(ar, ai, br, bi, cr, ci, dr, di, w, t, 2 * stride, 4 * stride, 6 * stride);
            }
        }
        twiddle += 6 * quarter;
        n = quarter;
        stride *= 4;
        vf *swap = x;
        x = y;
        y = swap;
    }
    if (n == 2) {
        for (int q = 0; q < 2 * stride; q++) {
            const vf a = x[q], b = x[q + 2 * stride];
            y[q] = a + b;
            y[q + 2 * stride] = a - b;
        }
    }
}

/* Magnitudes of both frames from the transform of their complex sum: Z[k] and conj(Z[n-k]), added and subtracted. */
TARGET static INLINE void LANES(magnitude)(const logmel_plan *plan, int n, const vf *z, int pitch, vf *magnitude) {
    for (int k = plan->first_bin; k < plan->last_bin; k++) {
        const int j = (n - k) & (n - 1);
        const vf *a = z + (k & 3) * pitch + 2 * (k >> 2);
        const vf *c = z + (j & 3) * pitch + 2 * (j >> 2);
        const vf ar = a[0] + c[0], ai = a[1] - c[1], br = a[1] + c[1], bi = a[0] - c[0];
        vf first = ar * ar + ai * ai, second = br * br + bi * bi;
        LANES(sqrt)(&first);
        LANES(sqrt)(&second);
        magnitude[2 * k] = first;
        magnitude[2 * k + 1] = second;
    }
}

/* Sum the bands, take the logarithm, and hand each lane its rows: frames 0 and 1 of the pair, then the next pair. */
TARGET static INLINE void LANES(bands)(const logmel_plan *plan, const vf *magnitude, vf *result, int count,
                                       float *out, ptrdiff_t channel_step) {
    const int n_mels = plan->n_mels;
    for (int m = 0; m < n_mels; m++) {
        const float *weight = plan->mel_weight + plan->mel_at[m];
        const vf *from = magnitude + 2 * plan->mel_first[m];
        const int n_bins = plan->mel_at[m + 1] - plan->mel_at[m];
        vf first = {0}, next = {0};
        for (int i = 0; i < n_bins; i++) {
            first += from[2 * i] * weight[i];
            next += from[2 * i + 1] * weight[i];
        }
        first += plan->offset;
        next += plan->offset;
        LANES(log)(&first);
        LANES(log)(&next);
        result[m] = first;
        result[n_mels + m] = next;
    }
    for (int lane = 0; lane < VW; lane++) {
        const int frame = lane / ROW * 2, frames = count - frame < 2 ? count - frame : 2;
        const float *from = (const float *)result + lane;
        float *to = out + lane % ROW * channel_step + frame * n_mels;
        for (int m = 0; m < frames * n_mels; m++) to[m] = from[m * VW];
    }
}

/* Spectrum of two frames; inlined with a constant length where it is known, which halves its time. */
TARGET static INLINE void LANES(spectrum)(const logmel_plan *plan, int n_fft, const float *samples, int count,
                                          float *scratch, vf *magnitude) {
    const int quarter = n_fft / 4, pitch = LOGMEL_PITCH(n_fft);
    /* An even number of passes ends where it began: then one spare block serves all four, and stays in the cache. */
    const int spare = LOGMEL_PASSES(quarter) % 2 ? pitch : 0;
    vf *x = (vf *)scratch, *y = x + 4 * pitch, *z = spare ? y : x;
    LANES(load)(plan, n_fft, samples, count, x, pitch);
    for (int b = 0; b < 4; b++) LANES(fft)(quarter, plan->twiddle + 6 * quarter, x + pitch * b, y + spare * b);
    LANES(magnitude)(plan, n_fft, z, pitch, magnitude);
}

/* The next `count` frames (1 to 2 VW / ROW) of ROW channels, to out[channel * channel_step + frame * n_mels + band]. */
TARGET static void LANES(frames)(const logmel_plan *plan, const float *samples, int count, float *scratch,
                                 float *out, ptrdiff_t channel_step) {
    vf *magnitude = (vf *)scratch + 8 * LOGMEL_PITCH(plan->n_fft);
    if (plan->n_fft == 512)
        LANES(spectrum)(plan, 512, samples, count, scratch, magnitude);
    else
        LANES(spectrum)(plan, plan->n_fft, samples, count, scratch, magnitude);
    LANES(bands)(plan, magnitude, (vf *)scratch, count, out, channel_step);
}

#undef BUTTERFLY4
#undef vf
#undef vi
