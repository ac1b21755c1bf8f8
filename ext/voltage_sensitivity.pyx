# gwanje: flags -fno-trapping-math -ffp-contract=off
"""How every voltage of a radial network answers to power drawn at chosen buses; nogil, nothing allocates per call.

Exact at the operating point: the power flow itself is linearised there, loads of constant power and shunts with it, and
solved by two passes over the tree for each chosen bus. On the way up, what hangs below a branch becomes one 2 x 2
matrix, the change of its current with the voltage above it; only the buses between the chosen one and the source carry
more. So a column costs as much as a bus has others, and nothing of the network is ever inverted.

Beside it stands LinDistFlow, :func:`lindistflow`: the common resistance and reactance of two buses' ways to the source,
which knows neither load nor losses; good to a few per cent, and what to use before there is an operating point.
Sources: K. Christakou, J.-Y. Le Boudec, M. Paolone, D.-C. Tomozei, "Efficient computation of sensitivity coefficients of
node voltages and line currents in unbalanced radial electrical distribution networks", IEEE Trans. Smart Grid 4 (2013)
(there with the matrix of the network); M. E. Baran, F. F. Wu, IEEE Trans. Power Del. 4 (1989).
"""

import numpy as np

from gwanje.ext.radial import NetworkError, breadth_first

from libc.math cimport sqrt

cdef extern from "two_by_two.h":
    ctypedef struct V2:
        double x, y
    ctypedef struct M2:
        double a, b, c, d
    V2 v2(double, double) noexcept nogil
    V2 v2_add(V2, V2) noexcept nogil
    V2 v2_sub(V2, V2) noexcept nogil
    V2 v2_scale(V2, double) noexcept nogil
    V2 v2_times(V2, V2) noexcept nogil
    V2 v2_over(V2, V2) noexcept nogil
    V2 v2_conj(V2) noexcept nogil
    M2 m2(double, double, double, double) noexcept nogil
    M2 m2_add(M2, M2) noexcept nogil
    M2 m2_m(M2, M2) noexcept nogil
    M2 m2_scale(M2, double) noexcept nogil
    M2 m2_inv(M2) noexcept nogil
    M2 m2_eye_add(M2) noexcept nogil
    V2 m2_v(M2, V2) noexcept nogil


cdef class VoltageSensitivity:
    """A radial network in per unit, ready to be linearised many times.

    Args:
        parent: (n,) bus at the other end of each bus's branch; −1 for the source, exactly once.
        r: (n,) series resistance of that branch, per unit; of no meaning for the source.
        x: (n,) series reactance.
        shunt_g: (n,) conductance to ground at each bus, or None.
        shunt_b: (n,) susceptance to ground, positive for a capacitor, or None.
        ratio: (n,) voltage ratio parent : child of an ideal transformer at the parent's end, or None for 1.

    Attributes:
        n: buses.
        source: number of the source.

    Raises:
        NetworkError: lengths differ, numbers are not finite, there is not one source, or a bus hangs on nothing.
    """

    cdef readonly int n
    cdef readonly int source
    cdef int[::1] _order, _parent, _place
    cdef double[::1] _r, _x, _g, _b, _t
    cdef double[:, ::1] _k, _a, _work

    def __init__(self, parent, r, x, *, shunt_g=None, shunt_b=None, ratio=None):
        up = np.ascontiguousarray(parent, np.int32)
        n = len(up)
        order, source = breadth_first(up)
        place = np.empty(n, np.int32)
        place[order] = np.arange(n, dtype=np.int32)
        inner = np.zeros(n, np.int32)
        inner[1:] = place[up[order[1:]]]
        self.n, self.source, self._order, self._parent, self._place = n, source, order, inner, place
        columns = {"r": r, "x": x, "shunt_g": 0.0 if shunt_g is None else shunt_g,
                   "shunt_b": 0.0 if shunt_b is None else shunt_b, "ratio": 1.0 if ratio is None else ratio}
        for name, values in columns.items():
            one = np.broadcast_to(np.asarray(values, float), (n,))
            if not np.isfinite(one).all() or (name == "ratio" and (one <= 0.0).any()):
                raise NetworkError(f"{name} must be finite numbers, a ratio positive")
            columns[name] = np.ascontiguousarray(one[order])
        columns["ratio"][0] = 1.0
        self._r, self._x, self._t = columns["r"], columns["x"], columns["ratio"]
        self._g, self._b = columns["shunt_g"], columns["shunt_b"]
        self._k, self._a, self._work = np.zeros((n, 4)), np.zeros((n, 4)), np.zeros((n, 4))

    def solve(
        self, const double[::1] vr, const double[::1] vi, const double[::1] p, const double[::1] q,
        const int[::1] buses, double[:, ::1] out_by_p, double[:, ::1] out_by_q, double[:, ::1] out_supply,
    ):
        """Sensitivities at an operating point.

        Args:
            vr: (n,) real part of the voltages that the power flow found, per unit.  # IN
            vi: (n,) imaginary part.  # IN
            p: (n,) active power drawn at each bus there; generation is negative.  # IN
            q: (n,) reactive power drawn.  # IN
            buses: (m,) whose power changes.  # IN
            out_by_p: (m, n) change of the magnitude of every voltage by active power drawn at each of them.  # OUT
            out_by_q: (m, n) the same by reactive power.  # OUT
            out_supply: (m, 4) change of the active power that the source supplies by P, by Q, and of the reactive power by
                P, by Q. The first less 1 is what a further watt costs in losses.  # OUT
        """
        cdef int n = self.n, m = buses.shape[0], k
        if vr.shape[0] != n or vi.shape[0] != n or p.shape[0] != n or q.shape[0] != n:
            raise ValueError(f"voltages and powers must have {n} entries")
        if (
            out_by_p.shape[0] != m or out_by_p.shape[1] != n or out_by_q.shape[0] != m or out_by_q.shape[1] != n
            or out_supply.shape[0] != m or out_supply.shape[1] != 4
        ):
            raise ValueError(f"results must be ({m}, {n}) and ({m}, 4)")
        for k in range(m):
            if not 0 <= buses[k] < n:
                raise ValueError(f"bus {buses[k]} is none of 0 … {n - 1}")
        with nogil:
            self._factor(vr, vi, p, q)
            for k in range(m):
                self._column(vr, vi, buses[k], True, &out_by_p[k, 0], &out_supply[k, 0])
                self._column(vr, vi, buses[k], False, &out_by_q[k, 0], &out_supply[k, 1])

    cdef void _factor(
        self, const double[::1] vr, const double[::1] vi, const double[::1] p, const double[::1] q
    ) noexcept nogil:
        """Of each branch: dJ = a (K dV' + dI) with V' behind it; K collects what hangs below."""
        cdef int k, bus
        cdef V2 v, w
        cdef M2 here, a, z
        for k in range(self.n):
            bus = self._order[k]
            v = v2(vr[bus], vi[bus])
            w = v2_over(v2(p[bus], -q[bus]), v2_times(v2_conj(v), v2_conj(v)))  # dI = - conj(S) / conj(V)² conj(dV)
            _put(self._k, k, m2(-w.x + self._g[k], -w.y - self._b[k], -w.y + self._b[k], w.x + self._g[k]))
        for k in range(self.n - 1, 0, -1):
            here = _get(self._k, k)
            z = m2(self._r[k], -self._x[k], self._x[k], self._r[k])
            a = m2_inv(m2_eye_add(m2_m(here, z)))
            _put(self._a, k, a)
            here = m2_scale(m2_m(a, here), 1.0 / (self._t[k] * self._t[k]))
            _put(self._k, self._parent[k], m2_add(_get(self._k, self._parent[k]), here))

    cdef void _column(
        self, const double[::1] vr, const double[::1] vi, int bus, bint active, double* out, double* supply
    ) noexcept nogil:
        """One bus, P or Q: the current it adds on its way up, then all voltages on the way down."""
        cdef int k = self._place[bus], one
        cdef double size, t
        cdef V2 v = v2(vr[bus], vi[bus]), j, dv, above
        cdef double[:, ::1] work = self._work  # dV, and the current that hangs below, of each bus
        for one in range(self.n):
            work[one, 2] = work[one, 3] = 0.0
        j = v2_over(v2(1.0, 0.0) if active else v2(0.0, -1.0), v2_conj(v))
        while True:
            work[k, 2], work[k, 3] = j.x, j.y
            if k == 0:
                break
            j = v2_scale(m2_v(_get(self._a, k), j), 1.0 / self._t[k])
            k = self._parent[k]
        work[0, 0] = work[0, 1] = 0.0
        for one in range(1, self.n):
            t = self._t[one]
            above = v2(work[self._parent[one], 0] / t, work[self._parent[one], 1] / t)
            j = v2_add(m2_v(_get(self._k, one), above), v2(work[one, 2], work[one, 3]))
            j = m2_v(_get(self._a, one), j)
            dv = v2_sub(above, v2_times(v2(self._r[one], self._x[one]), j))
            work[one, 0], work[one, 1] = dv.x, dv.y
        for one in range(self.n):
            k = self._order[one]
            size = sqrt(vr[k] * vr[k] + vi[k] * vi[k])
            out[k] = (vr[k] * work[one, 0] + vi[k] * work[one, 1]) / size
        k = self.source
        j = v2_times(v2(vr[k], vi[k]), v2(work[0, 2], -work[0, 3]))
        supply[0], supply[2] = j.x, j.y


cdef inline M2 _get(double[:, ::1] rows, int k) noexcept nogil:
    return m2(rows[k, 0], rows[k, 1], rows[k, 2], rows[k, 3])


cdef inline void _put(double[:, ::1] rows, int k, M2 one) noexcept nogil:
    rows[k, 0], rows[k, 1], rows[k, 2], rows[k, 3] = one.a, one.b, one.c, one.d


def lindistflow(parent, r, x):
    """The same without an operating point: (n, n) change of each voltage (column) by P and by Q drawn at a bus (row).

    Args:
        parent: (n,) bus at the other end of each bus's branch; −1 for the source.
        r: (n,) series resistance, per unit.
        x: (n,) series reactance.

    Raises:
        NetworkError: it is no tree.
    """
    up = np.ascontiguousarray(parent, np.int32)
    n = len(up)
    order, _ = breadth_first(up)
    by_p, by_q = np.zeros((n, n)), np.zeros((n, n))
    for bus in order[1:]:
        for out, series in ((by_p, r), (by_q, x)):
            out[bus] = out[up[bus]]
            out[:, bus] = out[:, up[bus]]
            out[bus, bus] = out[up[bus], up[bus]] - series[bus]
    return by_p, by_q
