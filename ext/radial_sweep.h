/* Backward and forward sweeps over a radial network: what the power flow and the simulated microgrid share. Written so
 * that the compiler makes vectors of the loops; on x86-64 copies with AVX2 and AVX-512 are chosen when the program is
 * loaded. */
#ifndef GWANJE_RADIAL_SWEEP_H
#define GWANJE_RADIAL_SWEEP_H

#include <math.h>
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__gnu_linux__)
#define GW_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define GW_CLONES
#endif
#define GW_LANES 8

typedef struct {
    long n;                  /* buses; the source is bus 0, a parent's number is below its child's */
    const int* parent;
    const double* r; const double* x;
    const double* g; const double* b;    /* shunts, or NULL */
    const double* t;                     /* voltage ratio parent : child, or NULL */
    long n_loops;
    const int* la; const int* lb;        /* ends of the cut branches */
    const double* lr; const double* lx;  /* their impedances */
    const double* ar; const double* ai;  /* inverse of the loops' impedance matrix */
    double vsr, vsi, tolerance;
    int sweeps_max;
} GwNet;

/* Currents drawn at every bus: conj(S / V), and what its shunt takes. */
GW_CLONES static void gw_draw(const GwNet* restrict w, const double* restrict p, const double* restrict q,
                              const double* restrict vr, const double* restrict vi,
                              double* restrict ir, double* restrict ii)
{
    #pragma omp simd
    for (long k = 0; k < w->n; k++) {
        double over = 1.0 / (vr[k] * vr[k] + vi[k] * vi[k]);
        ir[k] = (p[k] * vr[k] + q[k] * vi[k]) * over;
        ii[k] = (p[k] * vi[k] - q[k] * vr[k]) * over;
    }
    if (w->g) {
        #pragma omp simd
        for (long k = 0; k < w->n; k++) {
            ir[k] += w->g[k] * vr[k] - w->b[k] * vi[k];
            ii[k] += w->g[k] * vi[k] + w->b[k] * vr[k];
        }
    }
}

/* What further sweeps would still move, by the last two moves: the rest of a geometric series, or the move itself. */
static inline double gw_left(double moved, double before)
{
    return moved < 0.5 * before ? moved * moved / (before - moved) : moved;
}

/* Sweeps until nothing moves (or, foreseeing, until nothing further would); gives how many, or minus how many when they
 * did not settle. */
static inline int gw_sweeps(const GwNet* restrict w, const double* restrict p, const double* restrict q,
                            double* restrict vr, double* restrict vi, double* restrict ir, double* restrict ii,
                            double* restrict jr, double* restrict ji, int foreseeing)
{
    const int* restrict up = w->parent;
    double before = 0;
    for (int sweep = 1; sweep <= w->sweeps_max; sweep++) {
        double moved = 0;
        gw_draw(w, p, q, vr, vi, ir, ii);
        for (long m = 0; m < w->n_loops; m++) {
            ir[w->la[m]] += jr[m]; ii[w->la[m]] += ji[m];
            ir[w->lb[m]] -= jr[m]; ii[w->lb[m]] -= ji[m];
        }
        if (w->t)
            for (long k = w->n - 1; k > 0; k--) { ir[up[k]] += ir[k] / w->t[k]; ii[up[k]] += ii[k] / w->t[k]; }
        else
            for (long k = w->n - 1; k > 0; k--) { ir[up[k]] += ir[k]; ii[up[k]] += ii[k]; }
        vr[0] = w->vsr; vi[0] = w->vsi;
        for (long k = 1; k < w->n; k++) {
            double fr = vr[up[k]], fi = vi[up[k]];
            if (w->t) { fr /= w->t[k]; fi /= w->t[k]; }
            double nr = fr - (w->r[k] * ir[k] - w->x[k] * ii[k]);
            double ni = fi - (w->r[k] * ii[k] + w->x[k] * ir[k]);
            double dr = fabs(nr - vr[k]), di = fabs(ni - vi[k]);
            dr = dr > di ? dr : di;
            moved = dr > moved ? dr : moved;
            moved = nr == nr ? moved : INFINITY;
            vr[k] = nr; vi[k] = ni;
        }
        for (long m = 0; m < w->n_loops; m++) {  /* the voltage across each cut, less its own drop, must be none */
            long a = w->la[m], b = w->lb[m];
            ir[m] = vr[a] - vr[b] - (w->lr[m] * jr[m] - w->lx[m] * ji[m]);
            ii[m] = vi[a] - vi[b] - (w->lr[m] * ji[m] + w->lx[m] * jr[m]);
            double gap = fabs(ir[m]) > fabs(ii[m]) ? fabs(ir[m]) : fabs(ii[m]);
            moved = gap > moved ? gap : moved;
        }
        for (long m = 0; m < w->n_loops; m++)
            for (long k = 0; k < w->n_loops; k++) {
                double ar = w->ar[m * w->n_loops + k], ai = w->ai[m * w->n_loops + k];
                jr[m] += ar * ir[k] - ai * ii[k];
                ji[m] += ar * ii[k] + ai * ir[k];
            }
        if ((foreseeing ? gw_left(moved, before) : moved) <= w->tolerance) return sweep;
        if (!(moved < 1e3)) return -sweep;
        before = moved;
    }
    return -w->sweeps_max;
}

static inline int gw_solve(const GwNet* restrict w, const double* restrict p, const double* restrict q,
                    double* restrict vr, double* restrict vi, double* restrict ir, double* restrict ii,
                    double* restrict jr, double* restrict ji)
{
    return gw_sweeps(w, p, q, vr, vi, ir, ii, jr, ji, 0);
}

static inline int gw_solve_foreseeing(const GwNet* restrict w, const double* restrict p, const double* restrict q,
                               double* restrict vr, double* restrict vi, double* restrict ir, double* restrict ii,
                               double* restrict jr, double* restrict ji)
{
    return gw_sweeps(w, p, q, vr, vi, ir, ii, jr, ji, 1);
}

/* Eight scenarios; arrays are (n, 8). No loops. done[l] gets the sweeps of lane l, negative when it did not settle. */
GW_CLONES __attribute__((unused)) static void gw_solve_lanes(const GwNet* restrict w, const double* restrict p, const double* restrict q,
                                     double* restrict vr, double* restrict vi,
                                     double* restrict ir, double* restrict ii, int* restrict done)
{
    const long L = GW_LANES;
    double before[GW_LANES] = {0};
    for (long l = 0; l < L; l++) done[l] = 0;
    for (int sweep = 1; sweep <= w->sweeps_max; sweep++) {
        double moved[GW_LANES] = {0};
        const double* restrict g = w->g; const double* restrict b = w->b;
        for (long k = 0; k < w->n; k++) {
            double gk = g ? g[k] : 0.0, bk = g ? b[k] : 0.0;
            #pragma omp simd
            for (long l = 0; l < GW_LANES; l++) {
                long j = k * L + l;
                double over = 1.0 / (vr[j] * vr[j] + vi[j] * vi[j]);
                ir[j] = (p[j] * vr[j] + q[j] * vi[j]) * over + (gk * vr[j] - bk * vi[j]);
                ii[j] = (p[j] * vi[j] - q[j] * vr[j]) * over + (gk * vi[j] + bk * vr[j]);
            }
        }
        for (long k = w->n - 1; k > 0; k--) {
            double over = w->t ? 1.0 / w->t[k] : 1.0;
            double* restrict ur = ir + w->parent[k] * L; double* restrict ui = ii + w->parent[k] * L;
            #pragma omp simd
            for (long l = 0; l < GW_LANES; l++) {
                ur[l] += ir[k * L + l] * over;
                ui[l] += ii[k * L + l] * over;
            }
        }
        for (long l = 0; l < L; l++) { vr[l] = w->vsr; vi[l] = w->vsi; }
        for (long k = 1; k < w->n; k++) {
            double over = w->t ? 1.0 / w->t[k] : 1.0, r = w->r[k], x = w->x[k];
            const double* restrict fr = vr + w->parent[k] * L; const double* restrict fi = vi + w->parent[k] * L;
            #pragma omp simd
            for (long l = 0; l < GW_LANES; l++) {
                long j = k * L + l;
                double nr = fr[l] * over - (r * ir[j] - x * ii[j]);
                double ni = fi[l] * over - (r * ii[j] + x * ir[j]);
                double dr = fabs(nr - vr[j]), di = fabs(ni - vi[j]);
                dr = dr > di ? dr : di;
                moved[l] = dr > moved[l] ? dr : moved[l];
                moved[l] = nr == nr ? moved[l] : INFINITY;
                vr[j] = nr; vi[j] = ni;
            }
        }
        int open = 0;
        for (long l = 0; l < L; l++) {
            if (!done[l] && gw_left(moved[l], before[l]) <= w->tolerance) done[l] = sweep;
            if (!done[l] && !(moved[l] < 1e3)) done[l] = -sweep;
            before[l] = moved[l];
            open += !done[l];
        }
        if (!open) return;
    }
    for (long l = 0; l < L; l++) if (!done[l]) done[l] = -w->sweeps_max;
}

#endif
