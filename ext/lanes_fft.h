/* Vectors of lanes and the Fourier transform that the kernels of sound share; included by their bodies
 * (lanes_copies.h): vf and vi are a vector of floats and of ints, the functions work on arrays of them.
 *
 * Stockham's autosort transform with radix-4 passes (Stockham 1966; Van Loan, Computational Frameworks for the FFT,
 * 1992, sections 1.7 and 4.3). Where the data of a transform are larger than the first-level cache, a kernel takes the
 * first decimation-in-frequency pass itself while it loads, and then transforms four quarters that do fit.
 * Twiddle factors: ext/lanes.py.
 */

typedef float LANES(vf) __attribute__((vector_size(VW * 4), aligned(VW * 4), may_alias));
typedef int LANES(vi) __attribute__((vector_size(VW * 4), aligned(VW * 4), may_alias));
#define vf LANES(vf)
#define vi LANES(vi)

/* Reciprocal square root of numbers from 1e-30 on: an estimate and one Newton step where the processor has them
 * (relative error 3e-7). */
TARGET static INLINE void LANES(rsqrt)(vf *x) {
#ifdef RECIPROCAL_SQRT
    const vf v = *x, y = (vf)RECIPROCAL_SQRT(v);
    *x = y * (1.5f - 0.5f * v * y * y);
#else
    vf y = *x;
    for (int lane = 0; lane < VW; lane++) y[lane] = 1.0f / __builtin_sqrtf(y[lane]);
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

/* Stockham autosort transform of n complex vectors; the result is in x after an even number of passes, else in y. */
TARGET static INLINE void LANES(fft)(int n, const float *twiddle, vf *x, vf *y) {
    int stride = 1;
    while (n > 4) {
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
    const int step = 2 * stride;
    if (n == 4) { /* the last pass turns nothing */
        for (int q = 0; q < step; q += 2) {
            const vf *f = x + q;
            vf *t = y + q;
            const vf ar = f[0], ai = f[1], br = f[step], bi = f[step + 1];
            const vf cr = f[2 * step], ci = f[2 * step + 1], dr = f[3 * step], di = f[3 * step + 1];
            const vf pr = ar + cr, pi = ai + ci, mr = ar - cr, mi = ai - ci;
            const vf qr = br + dr, qi = bi + di, sr = br - dr, si = bi - di;
            t[0] = pr + qr;
            t[1] = pi + qi;
            t[step] = mr + si;
            t[step + 1] = mi - sr;
            t[2 * step] = pr - qr;
            t[2 * step + 1] = pi - qi;
            t[3 * step] = mr - si;
            t[3 * step + 1] = mi + sr;
        }
    } else if (n == 2) {
        for (int q = 0; q < step; q++) {
            const vf a = x[q], b = x[q + step];
            y[q] = a + b;
            y[q + step] = a - b;
        }
    }
}
