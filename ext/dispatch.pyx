# gwanje: flags -fopenmp-simd -fno-trapping-math -ffp-contract=off
"""Exact dispatch of a demand over many assets: box and one equality.

    minimise  sum (x - x0)^2 / (2 g)   subject to   sum x = demand,  lower <= x <= upper

The optimum is x(p) = clip(x0 + g p, lower, upper) at the price p where sum x(p) meets the demand. The sum is a
non-decreasing piecewise-linear function of p, so Newton's step from a point of the right piece lands on the exact
price: with the last price as warm start two passes over the assets suffice as long as few bounds become active. Steps
are kept inside a bracket; on a flat piece the step goes to the next break-point instead.

Source: K. C. Kiwiel, "Breakpoint searching algorithms for the continuous quadratic knapsack problem", Mathematical
Programming 112 (2008); R. Cominetti, W. F. Mascarenhas, P. J. S. Silva, "A Newton's method for the continuous quadratic
knapsack problem", Mathematical Programming Computation 6 (2014).

An asset with g = 0 does not take part: it stays at clip(x0, lower, upper). Bounds may be infinite. Nothing allocates.
The passes are plain C loops with `omp simd` reductions, compiled for several instruction sets and chosen when the
module is loaded.
"""

from libc.math cimport INFINITY, NAN, fabs, isfinite

cdef extern from *:
    """
    #include <math.h>
    #if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__gnu_linux__)
    #define GW_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
    #else
    #define GW_CLONES
    #endif

    typedef struct { double sum, slope, magnitude, wrong; } GwPass;

    /* Two halves of the arrays side by side: twice the independent additions, half the waiting for them. */

    /* Looking: sum and slope at a price, and whether the problem is one. */
    GW_CLONES static void gw_look(const double* restrict x0, const double* restrict g,
                                  const double* restrict l, const double* restrict u,
                                  long n, double price, GwPass* restrict out)
    {
        long half = n / 2;
        double sum = 0, slope = 0, wrong = 0, sum2 = 0, slope2 = 0, wrong2 = 0;
        #pragma omp simd reduction(+:sum,slope,wrong,sum2,slope2,wrong2)
        for (long i = 0; i < half; i++) {
            long j = i + half;
            double lo = l[i], hi = u[i], gi = g[i], y = x0[i] + gi * price;
            double x = y < lo ? lo : y;
            double lo2 = l[j], hi2 = u[j], gi2 = g[j], y2 = x0[j] + gi2 * price;
            double x2 = y2 < lo2 ? lo2 : y2;
            sum += x > hi ? hi : x;
            sum2 += x2 > hi2 ? hi2 : x2;
            slope += (y >= lo && y <= hi) ? gi : 0.0;
            slope2 += (y2 >= lo2 && y2 <= hi2) ? gi2 : 0.0;
            wrong += (lo <= hi && gi >= 0.0) ? 0.0 : 1.0;
            wrong2 += (lo2 <= hi2 && gi2 >= 0.0) ? 0.0 : 1.0;
        }
        sum += sum2; slope += slope2; wrong += wrong2;
        if (n % 2) {
            double lo = l[n - 1], hi = u[n - 1], gi = g[n - 1], y = x0[n - 1] + gi * price;
            double x = y < lo ? lo : y;
            sum += x > hi ? hi : x;
            slope += (y >= lo && y <= hi) ? gi : 0.0;
            wrong += (lo <= hi && gi >= 0.0) ? 0.0 : 1.0;
        }
        out->sum = sum; out->slope = slope; out->wrong = wrong;
    }

    /* Setting: x at a price, its sum, slope and sum of magnitudes. */
    GW_CLONES static void gw_set(const double* restrict x0, const double* restrict g,
                                 const double* restrict l, const double* restrict u,
                                 double* restrict out_x, long n, double price, GwPass* restrict out)
    {
        long half = n / 2;
        double sum = 0, slope = 0, magnitude = 0, sum2 = 0, slope2 = 0, magnitude2 = 0;
        #pragma omp simd reduction(+:sum,slope,magnitude,sum2,slope2,magnitude2)
        for (long i = 0; i < half; i++) {
            long j = i + half;
            double lo = l[i], hi = u[i], gi = g[i], y = x0[i] + gi * price;
            double x = y < lo ? lo : y;
            double lo2 = l[j], hi2 = u[j], gi2 = g[j], y2 = x0[j] + gi2 * price;
            double x2 = y2 < lo2 ? lo2 : y2;
            x = x > hi ? hi : x;
            x2 = x2 > hi2 ? hi2 : x2;
            out_x[i] = x;
            out_x[j] = x2;
            sum += x;
            sum2 += x2;
            magnitude += fabs(x);
            magnitude2 += fabs(x2);
            slope += (y >= lo && y <= hi) ? gi : 0.0;
            slope2 += (y2 >= lo2 && y2 <= hi2) ? gi2 : 0.0;
        }
        sum += sum2; slope += slope2; magnitude += magnitude2;
        if (n % 2) {
            double lo = l[n - 1], hi = u[n - 1], gi = g[n - 1], y = x0[n - 1] + gi * price;
            double x = y < lo ? lo : y;
            x = x > hi ? hi : x;
            out_x[n - 1] = x;
            sum += x;
            magnitude += fabs(x);
            slope += (y >= lo && y <= hi) ? gi : 0.0;
        }
        out->sum = sum; out->slope = slope; out->magnitude = magnitude;
    }

    /* Sum of a corner of the box; assets without participation keep their clipped x0. x is written when given. */
    static double gw_corner(const double* restrict x0, const double* restrict g, const double* restrict l,
                            const double* restrict u, double* out_x, long n, int upper)
    {
        double sum = 0;
        for (long i = 0; i < n; i++) {
            double x = x0[i] < l[i] ? l[i] : x0[i];
            x = x > u[i] ? u[i] : x;
            if (g[i] > 0) x = upper ? u[i] : l[i];
            if (out_x) out_x[i] = x;
            sum += x;
        }
        return sum;
    }

    /* The nearest price above (below) at which some asset leaves its bound, a few roundings beyond it so that the
       asset has left; price itself when there is none. */
    static double gw_breakpoint(const double* restrict x0, const double* restrict g, const double* restrict l,
                                const double* restrict u, long n, double price, int above)
    {
        double best = above ? INFINITY : -INFINITY;
        for (long i = 0; i < n; i++) {
            if (!(g[i] > 0)) continue;
            double bound = above ? l[i] : u[i];
            double beyond = 4.5e-16 * (fabs(bound) + fabs(x0[i]));
            double at = (bound - x0[i] + (above ? beyond : -beyond)) / g[i];
            if (above ? (at > price && at < best) : (at < price && at > best)) best = at;
        }
        return isfinite(best) ? best : price;
    }
    """
    ctypedef struct GwPass:
        double sum
        double slope
        double magnitude
        double wrong
    void gw_look(const double*, const double*, const double*, const double*, long, double, GwPass*) noexcept nogil
    void gw_set(const double*, const double*, const double*, const double*, double*, long, double,
                GwPass*) noexcept nogil
    double gw_corner(const double*, const double*, const double*, const double*, double*, long, int) noexcept nogil
    double gw_breakpoint(const double*, const double*, const double*, const double*, long, double, int) noexcept nogil

cdef enum:
    PASSES_MAX = 400           # two per bisection of a bracket over all finite doubles is more than ever happens
    FIT_CHECKED_AT = 8         # a demand beyond the box has met a flat piece long before
    NEWTON_FIRST = 12          # from here on every second step bisects: a bound on the worst case


cdef DispatchResult dispatch_solve(const double* x0, const double* g, const double* lower, const double* upper,
                                   double* x, Py_ssize_t n, double demand, double warm) noexcept nogil:
    """Solve; x is written unless the status is DISPATCH_INVALID."""
    cdef GwPass at
    cdef DispatchResult found
    cdef double price = warm if isfinite(warm) else 0.0
    cdef double below = -INFINITY, above = INFINITY, gap, step
    cdef bint written = False
    found.price = price
    found.achieved = NAN
    found.residual = NAN
    found.status = DISPATCH_INVALID
    found.passes = 1
    gw_look(x0, g, lower, upper, n, price, &at)
    if not isfinite(at.sum) and price != 0.0:              # an old price may overflow a new problem: start afresh
        price = 0.0
        gw_look(x0, g, lower, upper, n, price, &at)
    if at.wrong != 0 or not isfinite(at.sum) or not isfinite(at.slope) or not isfinite(demand):
        return found
    while True:
        gap = demand - at.sum
        if written and (fabs(gap) <= 1e-14 * (at.magnitude + fabs(demand)) or found.passes >= PASSES_MAX):
            break
        if gap > 0:
            below = price
        elif gap < 0:
            above = price
        if at.slope == 0 or found.passes == FIT_CHECKED_AT: # everything is at a bound: does the demand fit at all?
            if _outside(x0, g, lower, upper, x, n, demand, &found):
                return found
        step = _next_price(x0, g, lower, upper, n, price, gap, at.slope, below, above, found.passes)
        if step == price and written:
            break                                          # the bracket is as narrow as doubles go
        price = step
        gw_set(x0, g, lower, upper, x, n, price, &at)
        written = True
        found.passes += 1
    found.price = price
    found.achieved = at.sum
    found.residual = gap
    found.status = DISPATCH_EXACT
    return found


cdef bint _outside(const double* x0, const double* g, const double* lower, const double* upper, double* x,
                   Py_ssize_t n, double demand, DispatchResult* found) noexcept nogil:
    """Whether the demand lies on or beyond a corner of the box; x is that corner then."""
    cdef double lowest = gw_corner(x0, g, lower, upper, NULL, n, 0)
    cdef double highest = gw_corner(x0, g, lower, upper, NULL, n, 1)
    found.passes += 1
    if lowest < demand < highest:
        return False
    found.status = DISPATCH_EXACT
    if demand <= lowest:
        found.achieved = gw_corner(x0, g, lower, upper, x, n, 0)
        if lowest - demand > 1e-14 * (fabs(lowest) + fabs(demand)):
            found.status = DISPATCH_AT_LOWER
    else:
        found.achieved = gw_corner(x0, g, lower, upper, x, n, 1)
        if demand - highest > 1e-14 * (fabs(highest) + fabs(demand)):
            found.status = DISPATCH_AT_UPPER
    found.residual = demand - found.achieved
    return True


cdef double _next_price(const double* x0, const double* g, const double* lower, const double* upper, Py_ssize_t n,
                        double price, double gap, double slope, double below, double above,
                        int passes) noexcept nogil:
    """Newton's step, the next break-point on a flat piece, or the middle of the bracket."""
    cdef double step
    if slope > 0:
        step = price + gap / slope
    else:
        step = gw_breakpoint(x0, g, lower, upper, n, price, gap > 0)
    if not (below < step < above) or (passes > NEWTON_FIRST and passes % 2 == 0):
        if isfinite(below) and isfinite(above):
            step = below + 0.5 * (above - below)
            if not (below < step < above):
                step = price
        elif not isfinite(step):
            step = price
    return step


cdef BatteryLimits battery_limits(double charge_max, double discharge_max, double previous, double ramp_per_s,
                                  double dt_s, double soc, double soc_min, double soc_max, double energy,
                                  double horizon_s) noexcept nogil:
    """Hard power and energy bounds, then the ramp inside them.

    Energy that is left above soc_min (below soc_max) may be spent within horizon_s, so power tapers off exponentially
    towards the limit instead of running into it. A ramp never holds a battery outside its hard bounds.
    """
    cdef BatteryLimits box
    cdef double left = (soc - soc_min) * energy / horizon_s
    cdef double room = (soc_max - soc) * energy / horizon_s
    if left < 0:
        left = 0
    if room < 0:
        room = 0
    box.power_max = discharge_max if discharge_max < left else left
    box.power_min = -charge_max if charge_max < room else -room
    box.lower = _clip(previous - ramp_per_s * dt_s, box.power_min, box.power_max)
    box.upper = _clip(previous + ramp_per_s * dt_s, box.power_min, box.power_max)
    return box


cdef double battery_participation(bint discharging, double rated, double soc, double soc_min, double soc_max,
                                  double floor) noexcept nogil:
    """Share of a battery in a change: the full one discharges more, the empty one charges more."""
    cdef double share = (soc - soc_min) / (soc_max - soc_min)
    if not discharging:
        share = 1.0 - share
    return rated * _clip(share, floor, 1.0)


cdef inline double _clip(double value, double low, double high) noexcept nogil:
    if value < low:
        return low
    if value > high:
        return high
    return value


cdef class Dispatcher:
    """Dispatch over fixed arrays, called every tick without looking them up again.

    Args:
        x0: (n,) preferred power of each asset, W.
        g: (n,) participation, W per unit of price, not negative; 0 keeps an asset at its preferred power.
        lower: (n,) least power, W.
        upper: (n,) greatest power, W.
        x: (n,) result, W; may not share memory with the others. Arrays that begin on 64 bytes are a third faster.

    Attributes:
        price: dual variable of the last solution, the warm start of the next.
        achieved: sum of the last solution.
        residual: demand minus achieved; not zero only when the demand lies outside the box.
        status: 0 exact, 1 at the lower corner, 2 at the upper corner.
        passes: passes over the assets that the last call took.

    Raises:
        ValueError: lengths differ or there are no assets.
    """

    cdef const double[::1] _x0
    cdef const double[::1] _g
    cdef const double[::1] _lower
    cdef const double[::1] _upper
    cdef double[::1] _x
    cdef Py_ssize_t _n
    cdef public double price
    cdef readonly double achieved
    cdef readonly double residual
    cdef readonly int status
    cdef readonly int passes

    def __init__(self, const double[::1] x0 not None, const double[::1] g not None, const double[::1] lower not None,
                 const double[::1] upper not None, double[::1] x not None):
        self._n = x0.shape[0]
        if self._n == 0:
            raise ValueError("no assets")
        if not (g.shape[0] == lower.shape[0] == upper.shape[0] == x.shape[0] == self._n):
            raise ValueError("arrays of different length")
        self._x0, self._g, self._lower, self._upper, self._x = x0, g, lower, upper, x

    cpdef double solve(self, double demand) except? -1.0:
        """Distribute ``demand`` (W) into ``x``; returns the residual (W).

        Raises:
            ValueError: a NaN, an inverted bound, a negative participation or an infinite demand.
        """
        # The GIL is kept: giving it up and taking it back costs as much as the passes over a thousand assets.
        cdef DispatchResult found = dispatch_solve(&self._x0[0], &self._g[0], &self._lower[0], &self._upper[0],
                                                   &self._x[0], self._n, demand, self.price)
        if found.status == DISPATCH_INVALID:
            raise ValueError("no dispatch problem: a NaN, an inverted bound or a negative participation")
        self.price = found.price
        self.achieved = found.achieved
        self.residual = found.residual
        self.status = found.status
        self.passes = found.passes
        return found.residual


cdef class BatteryDispatcher:
    """Limits, participation by state of charge and dispatch of a fleet of batteries in one call.

    Args:
        charge_max: (n,) greatest charging power, W, not negative.
        discharge_max: (n,) greatest discharging power, W, not negative.
        ramp_per_s: (n,) greatest change of power, W/s.
        energy: (n,) capacity, Ws (joule).
        soc: (n,) state of charge 0…1, read at every call.
        previous: (n,) power of the last call, W, positive when discharging; the result is written into it.
        soc_min: least state of charge.
        soc_max: greatest state of charge.
        horizon_s: time over which the energy at the limits is spread.
        participation_floor: least share of a battery near its limit, 0…1, greater than 0.

    Raises:
        ValueError: lengths differ, or a limit is out of range.
    """

    cdef const double[::1] _charge_max
    cdef const double[::1] _discharge_max
    cdef const double[::1] _ramp
    cdef const double[::1] _energy
    cdef const double[::1] _soc
    cdef double[::1] _previous
    cdef double[::1] _x0
    cdef double[::1] _g
    cdef double[::1] _lower
    cdef double[::1] _upper
    cdef double[::1] _x
    cdef double _soc_min
    cdef double _soc_max
    cdef double _horizon_s
    cdef double _floor
    cdef double _price
    cdef Py_ssize_t _n
    cdef readonly double residual

    def __init__(self, const double[::1] charge_max not None, const double[::1] discharge_max not None,
                 const double[::1] ramp_per_s not None, const double[::1] energy not None,
                 const double[::1] soc not None, double[::1] previous not None, double soc_min=0.05,
                 double soc_max=0.95, double horizon_s=60.0, double participation_floor=0.02):
        import numpy
        self._n = soc.shape[0]
        if self._n == 0:
            raise ValueError("no batteries")
        if not (charge_max.shape[0] == discharge_max.shape[0] == ramp_per_s.shape[0] == energy.shape[0]
                == previous.shape[0] == self._n):
            raise ValueError("arrays of different length")
        if not (0.0 <= soc_min < soc_max <= 1.0 and horizon_s > 0.0 and 0.0 < participation_floor <= 1.0):
            raise ValueError("limits of the state of charge, horizon or floor out of range")
        self._charge_max, self._discharge_max, self._ramp = charge_max, discharge_max, ramp_per_s
        self._energy, self._soc, self._previous = energy, soc, previous
        self._soc_min, self._soc_max, self._horizon_s, self._floor = soc_min, soc_max, horizon_s, participation_floor
        self._x0 = numpy.zeros(self._n)
        self._g = numpy.zeros(self._n)
        self._lower = numpy.zeros(self._n)
        self._upper = numpy.zeros(self._n)
        self._x = numpy.zeros(self._n)

    cpdef double solve(self, double demand, double dt_s) except? -1.0:
        """Distribute ``demand`` (W) over the fleet, ``dt_s`` after the last call; returns the residual (W).

        Raises:
            ValueError: a NaN among the inputs.
        """
        cdef DispatchResult found
        cdef BatteryLimits box
        cdef Py_ssize_t i
        cdef bint discharging = demand > 0
        with nogil:
            for i in range(self._n):
                box = battery_limits(self._charge_max[i], self._discharge_max[i], self._previous[i], self._ramp[i],
                                     dt_s, self._soc[i], self._soc_min, self._soc_max, self._energy[i],
                                     self._horizon_s)
                self._lower[i] = box.lower
                self._upper[i] = box.upper
                self._g[i] = battery_participation(
                    discharging, self._discharge_max[i] if discharging else self._charge_max[i], self._soc[i],
                    self._soc_min, self._soc_max, self._floor)
            found = dispatch_solve(&self._x0[0], &self._g[0], &self._lower[0], &self._upper[0], &self._x[0], self._n,
                                   demand, self._price)
            if found.status != DISPATCH_INVALID:
                for i in range(self._n):
                    self._previous[i] = self._x[i]
        if found.status == DISPATCH_INVALID:
            raise ValueError("no dispatch problem: a NaN among the states of charge, limits or the demand")
        self._price = found.price
        self.residual = found.residual
        return found.residual
