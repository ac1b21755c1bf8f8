# gwanje: flags -fno-trapping-math -ffp-contract=off
"""State estimation of a radial network: weighted least squares with the sigma of every quantity and residual; nogil.

State are the voltages and branch currents of a tree that hangs on one source. Readings are magnitudes of voltages,
powers drawn at buses, and power flows at either end of a branch, each with its sigma; any may be missing. Gauss-Newton on
the readings as they are (magnitudes, P and Q each with its own sigma); every iteration is solved exactly by two passes
over the tree (``estimation_tree.h``), so that a bus costs the same in a city of a hundred as of ten thousand, and a
factor is never kept: nothing is to be renewed when a switch moves, a reading fails or its sigma grows.

Rows of all tables: ``V`` (magnitude), ``P``, ``Q`` (drawn at the bus; generation is negative), ``FLOW_P``, ``FLOW_Q`` (into
the bus's branch at the parent's end; of the source: what it delivers), ``ARRIVING_P``, ``ARRIVING_Q`` (what comes out of
the branch at the bus). Results have a further row ``ANGLE``, radians ahead of the source. All in per unit.

Sources: F. C. Schweppe, J. Wildes, "Power system static-state estimation", IEEE Trans. Power App. Syst. 89 (1970);
A. Monticelli, State Estimation in Electric Power Systems (1999); the two passes are a Kalman filter and its smoother
(H. E. Rauch, F. Tung, C. T. Striebel, AIAA Journal 3 (1965)) along a tree instead of time.
"""

import numpy as np

from gwanje.ext.radial import NetworkError, breadth_first

from libc.stdlib cimport calloc, free

cdef extern from "estimation_tree.h":
    ctypedef struct GwBus:
        pass
    ctypedef struct GwTree:
        long n
        const int* parent
        const int* order
        const double* r
        const double* x
        const double* g
        const double* b
        const double* t
        const double* z
        const double* sigma
        long stride
        const unsigned char* closed
        unsigned char* live
        GwBus* bus
        double unknown, exact, tolerance
        int iterations_max
    ctypedef struct GwOut:
        double* value
        double* sigma
        double* normalised
        long stride
        double objective, n_free
        long n_read, n_live
    int gw_estimate(GwTree*, GwOut*, int) noexcept nogil

V, P, Q, FLOW_P, FLOW_Q, ARRIVING_P, ARRIVING_Q = range(7)
N_READ = 7
"""Rows of readings."""
ANGLE = 7
N_RESULT = 8
"""Rows of results."""


cdef class RadialEstimator:
    """A radial network in per unit, ready to be estimated many times.

    Args:
        parent: (n,) bus at the other end of each bus's branch; −1 for the source, exactly once.
        r: (n,) series resistance of that branch, per unit; of no meaning for the source.
        x: (n,) series reactance.
        shunt_g: (n,) conductance to ground at each bus, or None.
        shunt_b: (n,) susceptance to ground, positive for a capacitor, or None.
        ratio: (n,) voltage ratio parent : child of an ideal transformer at the parent's end, or None for 1.
        unknown: sigma of an injection that nobody reads, per unit; far above any load, not further than needed.
        exact: sigma below which a reading counts as certain, per unit.
        tolerance: largest move of a voltage's real or imaginary part in the last iteration, per unit.
        iterations_max: iterations after which a case counts as not solvable.

    Attributes:
        n: buses.
        source: number of the source.
        objective: sum of squared residuals over their readings' sigmas, of the last case that settled.
        n_readings: readings behind it.
        n_free: its degrees of freedom: readings less what they had to determine.
        n_live: buses that hung on the source in it.

    Raises:
        NetworkError: lengths differ, numbers are not finite, there is not one source, a bus hangs on nothing or on
            itself, or a ratio is not positive.
    """

    cdef readonly int n
    cdef readonly int source
    cdef readonly double objective
    cdef readonly double n_free
    cdef readonly long n_readings
    cdef readonly long n_live
    cdef int[::1] _order, _parent
    cdef double[::1] _r, _x, _g, _b, _t
    cdef unsigned char[::1] _live
    cdef GwTree _tree
    cdef GwBus* _bus
    cdef bint _warm

    def __cinit__(self):
        self._bus = NULL

    def __init__(
        self, parent, r, x, *, shunt_g=None, shunt_b=None, ratio=None, double unknown=100.0, double exact=1e-6,
        double tolerance=1e-8, int iterations_max=20,
    ):
        up = np.ascontiguousarray(parent, np.int32)
        n = len(up)
        order, source = breadth_first(up)
        place = np.empty(n, np.int32)
        place[order] = np.arange(n, dtype=np.int32)
        inner = np.zeros(n, np.int32)
        inner[1:] = place[up[order[1:]]]
        self.n, self.source, self._order, self._parent = n, source, order, inner
        self._r, self._x = _column(r, order, "r"), _column(x, order, "x")
        self._g = _column(0.0 if shunt_g is None else shunt_g, order, "shunt_g")
        self._b = _column(0.0 if shunt_b is None else shunt_b, order, "shunt_b")
        t = _column(1.0 if ratio is None else ratio, order, "ratio")
        t[0] = 1.0
        if (t <= 0.0).any():
            raise NetworkError(f"ratio of bus {int(order[int(np.argmax(t <= 0.0))])} is not positive")
        if not (0.0 < exact < unknown < 1e6) or not (0.0 < tolerance < 1.0) or iterations_max < 1:
            raise NetworkError("0 < exact < unknown < 1e6, tolerance within 0 … 1, iterations_max at least 1")
        self._t = t
        self._live = np.zeros(n, np.uint8)
        free(self._bus)
        self._bus = <GwBus*>calloc(n, sizeof(GwBus))
        if self._bus == NULL:
            raise MemoryError
        self._tree.n, self._tree.stride = n, n
        self._tree.parent, self._tree.order = &self._parent[0], &self._order[0]
        self._tree.r, self._tree.x, self._tree.t = &self._r[0], &self._x[0], &self._t[0]
        self._tree.g = NULL if shunt_g is None and shunt_b is None else &self._g[0]
        self._tree.b = &self._b[0]
        self._tree.live, self._tree.bus = &self._live[0], self._bus
        self._tree.unknown, self._tree.exact = unknown, exact
        self._tree.tolerance, self._tree.iterations_max = tolerance, iterations_max

    def __dealloc__(self):
        free(self._bus)

    def estimate(
        self, const double[:, ::1] z, const double[:, ::1] sigma, double[:, ::1] out_value, double[:, ::1] out_sigma,
        double[:, ::1] out_normalised, unsigned char[::1] closed=None, bint warm=False,
    ):
        """Estimate one case.

        Args:
            z: (7, n) readings; NaN where there is none.  # IN
            sigma: (7, n) their sigmas; NaN or infinite where there is none, 0 for what is certain.  # IN
            out_value: (8, n) estimate of every quantity; 0 in what no closed branch joins to the source.  # OUT
            out_sigma: (8, n) its sigma.  # OUT
            out_normalised: (7, n) residual of each reading over the residual's own sigma; NaN where there is no reading,
                or nothing else that could contradict it.  # OUT
            closed: (n,) 0 where a bus's branch is open, or None when all are closed.  # IN
            warm: begin from the last solution.

        Returns:
            Iterations it took; negative when it did not settle, and nothing was written.
        """
        cdef GwOut out
        cdef int turns, n = self.n
        if z.shape[0] != N_READ or z.shape[1] != n or sigma.shape[0] != N_READ or sigma.shape[1] != n or (
            out_value.shape[0] != N_RESULT or out_value.shape[1] != n or out_sigma.shape[0] != N_RESULT
            or out_sigma.shape[1] != n or out_normalised.shape[0] != N_READ or out_normalised.shape[1] != n
        ):
            raise ValueError(f"readings must be (7, {n}), results (8, {n}), residuals (7, {n})")
        if closed is not None and closed.shape[0] != n:
            raise ValueError(f"closed must have {n} entries")
        self._tree.z, self._tree.sigma = &z[0, 0], &sigma[0, 0]
        self._tree.closed = NULL if closed is None else &closed[0]
        out.value, out.sigma, out.normalised = &out_value[0, 0], &out_sigma[0, 0], &out_normalised[0, 0]
        out.stride = n
        with nogil:
            turns = gw_estimate(&self._tree, &out, warm and self._warm)
        self._warm = turns > 0
        if turns > 0:
            self.objective, self.n_free = out.objective, out.n_free
            self.n_readings, self.n_live = out.n_read, out.n_live
        return turns


def _column(values, order, name):
    column = np.broadcast_to(np.asarray(values, float), (len(order),))
    if not np.isfinite(column).all():
        raise NetworkError(f"{name} of {int(np.argmin(np.isfinite(column)))} is not finite")
    return np.ascontiguousarray(column[order])
