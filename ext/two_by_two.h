/* Real 2 x 2 matrices: what couples the real and imaginary parts of a bus's voltage and of its branch's current. */
#ifndef GWANJE_TWO_BY_TWO_H
#define GWANJE_TWO_BY_TWO_H

#include <math.h>

typedef struct { double x, y; } V2;           /* a complex number as a vector */
typedef struct { double a, b, c, d; } M2;     /* [[a, b], [c, d]] */
typedef struct { double a, b, d; } S2;        /* symmetric: [[a, b], [b, d]] */

static inline V2 v2(double x, double y) { V2 o = {x, y}; return o; }
static inline V2 v2_add(V2 p, V2 q) { return v2(p.x + q.x, p.y + q.y); }
static inline V2 v2_sub(V2 p, V2 q) { return v2(p.x - q.x, p.y - q.y); }
static inline V2 v2_scale(V2 p, double f) { return v2(p.x * f, p.y * f); }
static inline V2 v2_times(V2 p, V2 q) { return v2(p.x * q.x - p.y * q.y, p.x * q.y + p.y * q.x); }   /* as complex */
static inline V2 v2_conj(V2 p) { return v2(p.x, -p.y); }
static inline V2 v2_over(V2 p, V2 q)
{
    double w = 1.0 / (q.x * q.x + q.y * q.y);
    return v2((p.x * q.x + p.y * q.y) * w, (p.y * q.x - p.x * q.y) * w);
}

static inline M2 m2(double a, double b, double c, double d) { M2 o = {a, b, c, d}; return o; }
static inline M2 m2_add(M2 p, M2 q) { return m2(p.a + q.a, p.b + q.b, p.c + q.c, p.d + q.d); }
static inline M2 m2_sub(M2 p, M2 q) { return m2(p.a - q.a, p.b - q.b, p.c - q.c, p.d - q.d); }
static inline M2 m2_scale(M2 p, double f) { return m2(p.a * f, p.b * f, p.c * f, p.d * f); }
static inline M2 m2_turned(M2 p) { return m2(p.a, p.c, p.b, p.d); }
static inline V2 m2_v(M2 p, V2 q) { return v2(p.a * q.x + p.b * q.y, p.c * q.x + p.d * q.y); }
static inline V2 m2_tv(M2 p, V2 q) { return v2(p.a * q.x + p.c * q.y, p.b * q.x + p.d * q.y); }
static inline M2 m2_m(M2 p, M2 q)
{
    return m2(p.a * q.a + p.b * q.c, p.a * q.b + p.b * q.d, p.c * q.a + p.d * q.c, p.c * q.b + p.d * q.d);
}
static inline M2 m2_inv(M2 p)
{
    double w = 1.0 / (p.a * p.d - p.b * p.c);
    return m2(p.d * w, -p.b * w, -p.c * w, p.a * w);
}
static inline M2 m2_eye_add(M2 p) { return m2(1.0 + p.a, p.b, p.c, 1.0 + p.d); }

static inline S2 s2(double a, double b, double d) { S2 o = {a, b, d}; return o; }
static inline S2 s2_add(S2 p, S2 q) { return s2(p.a + q.a, p.b + q.b, p.d + q.d); }
static inline S2 s2_scale(S2 p, double f) { return s2(p.a * f, p.b * f, p.d * f); }
static inline M2 s2_full(S2 p) { return m2(p.a, p.b, p.b, p.d); }
static inline S2 s2_of(M2 p) { return s2(p.a, 0.5 * (p.b + p.c), p.d); }
static inline V2 s2_v(S2 p, V2 q) { return v2(p.a * q.x + p.b * q.y, p.b * q.x + p.d * q.y); }
static inline S2 s2_inv(S2 p)
{
    double w = 1.0 / (p.a * p.d - p.b * p.b);
    return s2(p.d * w, -p.b * w, p.a * w);
}
/* P S P' */
static inline S2 s2_by(M2 p, S2 s)
{
    double aa = p.a * s.a + p.b * s.b, ab = p.a * s.b + p.b * s.d;
    double ca = p.c * s.a + p.d * s.b, cb = p.c * s.b + p.d * s.d;
    return s2(aa * p.a + ab * p.b, aa * p.c + ab * p.d, ca * p.c + cb * p.d);
}
/* u' S w */
static inline double s2_form(V2 u, S2 s, V2 w)
{
    return u.x * (s.a * w.x + s.b * w.y) + u.y * (s.b * w.x + s.d * w.y);
}
static inline double m2_form(V2 u, M2 m, V2 w)
{
    return u.x * (m.a * w.x + m.b * w.y) + u.y * (m.c * w.x + m.d * w.y);
}

#endif
