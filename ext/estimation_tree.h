/* Weighted least squares on a tree, exactly: one pass from the leaves, one from the source, no matrix of the network.
 *
 * What hangs below bus k says two things of it: how the current J depends on the voltage V (J = m + K V, uncertain by
 * the covariance C), and what is known of V itself (information L, h). Both travel up the tree; children add. On the way
 * back each bus shares out what is left (d) to its own injection and its children, each by its uncertainty. The third
 * pass does the same with covariances, and gives the sigma of every quantity and of every residual.
 *
 * Injections without any uncertainty (nothing is connected) and those without any reading need no special treatment.
 */
#ifndef GWANJE_ESTIMATION_TREE_H
#define GWANJE_ESTIMATION_TREE_H

#include "two_by_two.h"

enum { GW_V, GW_P, GW_Q, GW_FP, GW_FQ, GW_GP, GW_GQ, GW_ROWS, GW_ANGLE = GW_ROWS };

typedef struct {
    V2 m; M2 K; S2 C; S2 L; V2 h;      /* of all that is drawn at the bus and below */
    S2 Cr, Ci;                         /* of the children alone; inverse of C, before the readings of its own branch */
    V2 mu; M2 Ku; S2 Cu;               /* the message to the parent, in the parent's units */
    V2 i; M2 Ki; S2 R; V2 w;           /* injection: I = i + Ki V + T dS; w = 1 / conj(V) */
    V2 v, j, cur, d;                   /* voltage, current that arrives, current drawn by the injection, what is left */
    S2 VV, JJ, Sw, W; M2 VJ, Q;        /* covariances of V and J, of what is left, of d, and of V with what is left */
} GwBus;

typedef struct {
    long n;
    const int* parent; const int* order;
    const double* r; const double* x; const double* g; const double* b; const double* t;
    const double* z; const double* sigma; long stride;    /* (7, n) readings and their sigmas, in the caller's order */
    const unsigned char* closed;                          /* (n,) in the caller's order, or NULL */
    unsigned char* live;
    GwBus* bus;
    double unknown, exact, tolerance, prior;
    int iterations_max;
} GwTree;

static inline double gw_z(const GwTree* w, int row, long k) { return w->z[row * w->stride + w->order[k]]; }
static inline double gw_s(const GwTree* w, int row, long k) { return w->sigma[row * w->stride + w->order[k]]; }
/* A reading counts when both it and its sigma are numbers. */
static inline int gw_has(const GwTree* w, int row, long k)
{
    return isfinite(gw_s(w, row, k)) && isfinite(gw_z(w, row, k));
}
static inline double gw_var(const GwTree* w, int row, long k)
{
    double s = gw_s(w, row, k);
    s = s > w->exact ? s : w->exact;
    return s * s;
}
static inline M2 gw_mirror(V2 a) { return m2(-a.x, -a.y, -a.y, a.x); }   /* -a conj(.) */
static inline M2 gw_turn(V2 a) { return m2(a.x, -a.y, a.y, a.x); }       /* a (.) */

/* Reading of a flow S = V conj(J) as information on the current: taken into J | V and into V. */
static inline void gw_flow(const GwTree* w, int row, long k, V2 v, V2 j, V2* m, M2* K, S2* C, S2* L, V2* h)
{
    int has_p = gw_has(w, row, k), has_q = gw_has(w, row + 1, k);
    if (!has_p && !has_q) return;
    double p = has_p ? gw_z(w, row, k) : 0.0, q = has_q ? gw_z(w, row + 1, k) : 0.0;
    double wp = has_p ? 1.0 / gw_var(w, row, k) : 0.0, wq = has_q ? 1.0 / gw_var(w, row + 1, k) : 0.0;
    V2 vc = v2_conj(v);
    V2 seen = v2_add(v2_over(v2(p, -q), vc), j);
    M2 D = gw_mirror(v2_over(j, vc));
    V2 up = v2(v.x, v.y), uq = v2(v.y, -v.x);             /* P and Q by the current */
    S2 info = s2(wp * up.x * up.x + wq * uq.x * uq.x, wp * up.x * up.y + wq * uq.x * uq.y,
                 wp * up.y * up.y + wq * uq.y * uq.y);
    M2 B = m2_inv(m2_eye_add(m2_m(s2_full(*C), s2_full(info))));
    S2 M = s2_of(m2_m(s2_full(info), B));
    M2 E = m2_sub(D, *K);
    V2 f = v2_sub(seen, *m), Mf = s2_v(M, f);
    *L = s2_add(*L, s2_by(m2_turned(E), M));
    *h = v2_sub(*h, m2_tv(E, Mf));
    *m = v2_add(*m, s2_v(*C, Mf));
    *K = m2_add(*K, m2_m(s2_full(*C), m2_m(s2_full(M), E)));
    *C = s2_of(m2_m(B, s2_full(*C)));
}

/* From V_k to the voltage V' behind the branch: V_k = V' - Z J. */
static inline void gw_branch(double r, double x, V2* m, M2* K, S2* C, S2* L, V2* h)
{
    M2 Z = m2(r, -x, x, r), A = m2_inv(m2_eye_add(m2_m(*K, Z)));
    *m = m2_v(A, *m); *K = m2_m(A, *K); *C = s2_by(A, *C);
    if (L->a == 0.0 && L->d == 0.0) { *h = v2(0, 0); return; }
    S2 P = s2_by(Z, *C);
    M2 Bq = m2_inv(m2_eye_add(m2_m(s2_full(*L), s2_full(P))));
    S2 Lq = s2_of(m2_m(Bq, s2_full(*L)));
    M2 F = m2_eye_add(m2_scale(m2_m(Z, *K), -1.0));
    V2 c = v2_scale(m2_v(Z, *m), -1.0);
    V2 g = v2_sub(m2_v(Bq, *h), s2_v(Lq, c));
    S2 C0 = *C;
    M2 ZtL = m2_m(m2_turned(Z), s2_full(Lq));
    *m = v2_sub(*m, s2_v(C0, m2_tv(Z, g)));
    *K = m2_add(*K, m2_m(s2_full(C0), m2_m(ZtL, F)));
    S2 Qz = s2_by(m2_turned(Z), *L);
    *C = s2_of(m2_m(m2_inv(m2_eye_add(m2_m(s2_full(C0), s2_full(Qz)))), s2_full(C0)));
    *L = s2_by(m2_turned(F), Lq);
    *h = m2_tv(F, g);
}

/* What the injection's reading, and the shunt, say of the bus's current. */
static inline void gw_begin(const GwTree* w, long k)
{
    GwBus* o = w->bus + k;
    int has_p = gw_has(w, GW_P, k), has_q = gw_has(w, GW_Q, k);
    double p = has_p ? gw_z(w, GW_P, k) : 0.0, q = has_q ? gw_z(w, GW_Q, k) : 0.0;
    double sp = has_p ? gw_var(w, GW_P, k) : w->unknown * w->unknown;
    double sq = has_q ? gw_var(w, GW_Q, k) : w->unknown * w->unknown;
    V2 vc = v2_conj(o->v), u = v2_over(v2(1, 0), vc);
    o->w = u;
    o->i = v2_add(v2_times(v2(p, -q), u), o->cur);
    o->Ki = gw_mirror(v2_times(o->cur, u));
    o->R = s2(u.x * u.x * sp + u.y * u.y * sq, u.x * u.y * (sp - sq), u.y * u.y * sp + u.x * u.x * sq);
    o->m = o->i; o->K = o->Ki; o->Cr = s2(0, 0, 0);
    if (w->g) o->K = m2_add(o->K, gw_turn(v2(w->g[k], w->b[k])));
    o->L = s2(0, 0, 0); o->h = v2(0, 0);
}

/* From the leaves to the source; nothing leaves a bus whose branch is open. */
static void gw_up(const GwTree* w)
{
    for (long k = w->n - 1; k >= 0; k--) {
        GwBus* o = w->bus + k;
        if (!w->live[k]) continue;
        if (gw_has(w, GW_V, k)) {
            double over = 1.0 / gw_var(w, GW_V, k), size = 1.0 / sqrt(o->v.x * o->v.x + o->v.y * o->v.y);
            V2 u = v2_scale(o->v, size);
            o->L = s2_add(o->L, s2(u.x * u.x * over, u.x * u.y * over, u.y * u.y * over));
            o->h = v2_add(o->h, v2_scale(u, gw_z(w, GW_V, k) * over));
        }
        o->C = s2_add(o->R, o->Cr);
        o->Ci = s2_inv(o->C);
        V2 m = o->m; M2 K = o->K; S2 C = o->C;
        gw_flow(w, GW_GP, k, o->v, o->j, &m, &K, &C, &o->L, &o->h);
        double a = 1.0;
        if (k) {
            V2 behind = v2_add(o->v, v2_times(v2(w->r[k], w->x[k]), o->j));
            gw_branch(w->r[k], w->x[k], &m, &K, &C, &o->L, &o->h);
            gw_flow(w, GW_FP, k, behind, o->j, &m, &K, &C, &o->L, &o->h);
            a = 1.0 / w->t[k];
        } else {
            gw_flow(w, GW_FP, k, o->v, o->j, &m, &K, &C, &o->L, &o->h);
        }
        o->mu = v2_scale(m, a); o->Ku = m2_scale(K, a * a); o->Cu = s2_scale(C, a * a);
        if (k) {
            GwBus* up = w->bus + w->parent[k];
            up->m = v2_add(up->m, o->mu); up->K = m2_add(up->K, o->Ku); up->Cr = s2_add(up->Cr, o->Cu);
            up->L = s2_add(up->L, s2_scale(o->L, a * a)); up->h = v2_add(up->h, v2_scale(o->h, a));
        }
    }
}

/* From the source to the leaves; gives the largest move of a voltage. */
static double gw_down(const GwTree* w)
{
    double moved = 0.0;
    for (long k = 0; k < w->n; k++) {
        GwBus* o = w->bus + k;
        V2 v;
        if (!w->live[k]) continue;
        if (k == 0) {
            if (w->prior > 0.0) { o->L.a += w->prior; o->h.x += w->prior; }
            v = v2(o->h.x / o->L.a, 0.0);
            o->j = v2_add(o->mu, m2_v(o->Ku, v));
        } else {
            const GwBus* up = w->bus + w->parent[k];
            V2 ju = v2_add(v2_add(o->mu, m2_v(o->Ku, up->v)), s2_v(o->Cu, up->d));
            o->j = v2_scale(ju, w->t[k]);
            v = v2_sub(v2_scale(up->v, 1.0 / w->t[k]), v2_times(v2(w->r[k], w->x[k]), o->j));
        }
        double dx = fabs(v.x - o->v.x), dy = fabs(v.y - o->v.y);
        dx = dx > dy ? dx : dy;
        moved = dx > moved ? dx : moved;
        moved = v.x == v.x && v.y == v.y ? moved : INFINITY;
        o->v = v;
        o->d = s2_v(o->Ci, v2_sub(o->j, v2_add(o->m, m2_v(o->K, v))));
        o->cur = v2_add(v2_add(o->i, m2_v(o->Ki, v)), s2_v(o->R, o->d));
    }
    return moved;
}

/* Covariances, from the source to the leaves. */
static void gw_spread(const GwTree* w)
{
    for (long k = 0; k < w->n; k++) {
        GwBus* o = w->bus + k;
        if (!w->live[k]) continue;
        if (k == 0) {
            o->VV = s2(1.0 / o->L.a, 0, 0);
            o->VJ = m2_m(s2_full(o->VV), m2_turned(o->Ku));
            o->JJ = s2_add(s2_by(o->Ku, o->VV), o->Cu);
        } else {
            const GwBus* up = w->bus + w->parent[k];
            double t = w->t[k];
            M2 Gt = m2_m(s2_full(up->Ci), s2_full(o->Cu));
            M2 share = m2_m(up->Q, Gt);                                   /* V with d's part of the current */
            M2 VJ = m2_add(m2_m(s2_full(up->VV), m2_turned(o->Ku)), share);
            M2 X = m2_m(o->Ku, share);
            S2 rest = s2(up->C.a - o->Cu.a, up->C.b - o->Cu.b, up->C.d - o->Cu.d);
            S2 own = s2_add(s2_by(m2_turned(Gt), up->Sw), s2_of(m2_m(m2_turned(Gt), s2_full(rest))));
            S2 JJ = s2_add(s2_add(s2_by(o->Ku, up->VV), s2(2 * X.a, X.b + X.c, 2 * X.d)), own);
            JJ = s2_scale(JJ, t * t);
            M2 Z = m2(w->r[k], -w->x[k], w->x[k], w->r[k]), ZJ = m2_m(Z, s2_full(JJ)), ZV = m2_m(Z, m2_turned(VJ));
            S2 VV = s2_scale(up->VV, 1.0 / (t * t)), ZZ = s2_by(Z, JJ);
            o->VV = s2(VV.a - 2 * ZV.a + ZZ.a, VV.b - ZV.b - ZV.c + ZZ.b, VV.d - 2 * ZV.d + ZZ.d);
            o->VJ = m2_sub(VJ, ZJ);
            o->JJ = JJ;
        }
        M2 KV = m2_m(o->K, s2_full(o->VV)), KVJ = m2_m(o->K, o->VJ);
        S2 KVK = s2_by(o->K, o->VV);
        o->Sw = s2(o->JJ.a - 2 * KVJ.a + KVK.a, o->JJ.b - KVJ.b - KVJ.c + KVK.b, o->JJ.d - 2 * KVJ.d + KVK.d);
        o->Q = m2_sub(o->VJ, m2_turned(KV));
        S2 less = s2_by(s2_full(o->Ci), o->Sw);
        o->W = s2(o->Ci.a - less.a, o->Ci.b - less.b, o->Ci.d - less.d);
    }
}

typedef struct { double* value; double* sigma; double* normalised; long stride; double objective, n_free; long n_read, n_live; } GwOut;

/* One quantity: its estimate and variance; its residual over the residual's own sigma where it was read. */
static inline void gw_tell(const GwTree* w, GwOut* out, int row, long k, double value, double variance)
{
    long at = row * out->stride + w->order[k];
    out->value[at] = value;
    out->sigma[at] = sqrt(variance > 0.0 ? variance : 0.0);
    if (row < GW_ROWS && gw_has(w, row, k)) {
        double given = gw_var(w, row, k), left = given - variance, residual = gw_z(w, row, k) - value;
        out->normalised[at] = left > 1e-6 * given ? residual / sqrt(left) : NAN;
        out->objective += residual * residual / given;
        out->n_free += left > 0.0 ? left / given : 0.0;
        out->n_read++;
    } else if (row < GW_ROWS) {
        out->normalised[at] = NAN;
    }
}

/* Of an injection: its residual is the force d that it takes to move it there, exact however unknown it is. */
static inline void gw_tell_injection(const GwTree* w, GwOut* out, int row, long k, double value, V2 t, V2 s, S2 C)
{
    const GwBus* o = w->bus + k;
    long at = row * out->stride + w->order[k];
    int has = gw_has(w, row, k);
    double variance = s2_form(s, C, s);
    out->value[at] = value;
    out->sigma[at] = sqrt(variance > 0.0 ? variance : 0.0);
    out->normalised[at] = NAN;
    if (has) {
        double given = gw_var(w, row, k), force = t.x * o->d.x + t.y * o->d.y, spread = s2_form(t, o->W, t);
        /* 1 / spread - given is its variance without its own reading: NAN when that is nothing known at all */
        if (spread * w->unknown * w->unknown > 100.0 && (spread * given > 1e-6 || gw_s(w, row, k) <= w->exact)) out->normalised[at] = -force / sqrt(spread);
        out->objective += force * force * given;
        out->n_free += spread > 0.0 ? spread * given : 0.0;
        out->n_read++;
    }
}

static inline void gw_tell_flow(const GwTree* w, GwOut* out, int row, long k, V2 v, V2 j, S2 VV, M2 VJ, S2 JJ)
{
    V2 s = v2_times(v, v2_conj(j));
    V2 pv = v2(j.x, j.y), pj = v2(v.x, v.y), qv = v2(-j.y, j.x), qj = v2(v.y, -v.x);
    gw_tell(w, out, row, k, s.x, s2_form(pv, VV, pv) + 2 * m2_form(pv, VJ, pj) + s2_form(pj, JJ, pj));
    gw_tell(w, out, row + 1, k, s.y, s2_form(qv, VV, qv) + 2 * m2_form(qv, VJ, qj) + s2_form(qj, JJ, qj));
}

static void gw_results(const GwTree* w, GwOut* out)
{
    out->objective = out->n_free = 0.0; out->n_read = out->n_live = 0;
    for (long k = 0; k < w->n; k++) {
        const GwBus* o = w->bus + k;
        if (!w->live[k]) {
            for (int row = 0; row < GW_ROWS; row++) gw_tell(w, out, row, k, 0.0, 0.0);
            gw_tell(w, out, GW_ANGLE, k, NAN, 0.0);
            continue;
        }
        out->n_live++;
        double size = sqrt(o->v.x * o->v.x + o->v.y * o->v.y);
        V2 u = v2_scale(o->v, 1.0 / size), across = v2(-u.y / size, u.x / size);
        gw_tell(w, out, GW_V, k, size, s2_form(u, o->VV, u));
        gw_tell(w, out, GW_ANGLE, k, atan2(o->v.y, o->v.x), s2_form(across, o->VV, across));
        V2 s = v2_times(o->v, v2_conj(o->cur));
        M2 G = m2_m(s2_full(o->R), s2_full(o->Ci));
        S2 own = s2_add(s2_by(G, o->Sw), s2_of(m2_m(G, s2_full(o->Cr))));
        gw_tell_injection(w, out, GW_P, k, s.x, v2(o->w.x, o->w.y), v2(o->v.x, o->v.y), own);
        gw_tell_injection(w, out, GW_Q, k, s.y, v2(o->w.y, -o->w.x), v2(o->v.y, -o->v.x), own);
        gw_tell_flow(w, out, GW_GP, k, o->v, o->j, o->VV, o->VJ, o->JJ);
        M2 Z = k ? m2(w->r[k], -w->x[k], w->x[k], w->r[k]) : m2(0, 0, 0, 0);
        M2 ZVJ = m2_m(Z, m2_turned(o->VJ)), ZJ = m2_m(Z, s2_full(o->JJ));
        S2 ZZ = s2_by(Z, o->JJ);
        S2 VV = s2(o->VV.a + 2 * ZVJ.a + ZZ.a, o->VV.b + ZVJ.b + ZVJ.c + ZZ.b, o->VV.d + 2 * ZVJ.d + ZZ.d);
        gw_tell_flow(w, out, GW_FP, k, v2_add(o->v, m2_v(Z, o->j)), o->j, VV, m2_add(o->VJ, ZJ), o->JJ);
    }
}

/* Iterations until no voltage moves; minus how many when they did not settle. */
static int gw_estimate(GwTree* w, GwOut* out, int warm)
{
    int seen_v = 0;
    for (long k = 0; k < w->n; k++) {
        GwBus* o = w->bus + k;
        w->live[k] = k == 0 || (w->live[w->parent[k]] && (!w->closed || w->closed[w->order[k]]));
        if (!w->live[k]) { o->v = v2(0, 0); continue; }
        seen_v |= gw_has(w, GW_V, k);
        if (warm && o->v.x * o->v.x + o->v.y * o->v.y > 0.04) continue;
        o->v = k ? v2_scale(w->bus[w->parent[k]].v, 1.0 / w->t[k]) : v2(1, 0);
        int p = gw_has(w, GW_P, k), q = gw_has(w, GW_Q, k);
        o->cur = v2_over(v2(p ? gw_z(w, GW_P, k) : 0.0, q ? -gw_z(w, GW_Q, k) : 0.0), v2_conj(o->v));
        int row = gw_has(w, GW_FP, k) ? GW_FP : GW_GP;
        p = gw_has(w, row, k); q = gw_has(w, row + 1, k);
        o->j = v2_over(v2(p ? gw_z(w, row, k) : 0.0, q ? -gw_z(w, row + 1, k) : 0.0), v2_conj(o->v));
    }
    w->prior = seen_v ? 0.0 : 100.0;    /* no voltage is read anywhere: 1 within a tenth */
    for (int turn = 1; turn <= w->iterations_max; turn++) {
        for (long k = 0; k < w->n; k++) if (w->live[k]) gw_begin(w, k);
        gw_up(w);
        double moved = gw_down(w);
        if (!(moved < 1e3)) return -turn;
        if (moved <= w->tolerance) {
            gw_spread(w);
            gw_results(w, out);
            return turn;
        }
    }
    return -w->iterations_max;
}

#endif
