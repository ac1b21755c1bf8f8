# gwanje: flags -fopenmp-simd -fno-trapping-math -ffp-contract=off
"""Power flow of a radial network, single phase, by backward and forward sweeps; nogil, nothing allocates per call.

Every bus but the source hangs on one branch. From flat or last voltages: the currents that the loads draw, summed from
the leaves to the source (backward), then the voltage drops from the source to the leaves (forward), until what further
sweeps would still move, by the rate at which the moves shrink, is within ``tolerance``. Loads are of constant power; a bus may have a shunt admittance, a branch an ideal
transformer at its parent's end. A few loops are closed by compensation: each is cut, and the current through the cut is
corrected in every sweep by the loop's own impedance matrix, until the voltage across it is none.

Many scenarios of one network are solved eight side by side, each in a lane of its own; a lane that has converged goes
on without harm until its neighbours have.

Source: D. Shirmohammadi, H. W. Hong, A. Semlyen, G. X. Luo, "A compensation-based power flow method for weakly meshed
distribution and transmission networks", IEEE Transactions on Power Systems 3 (1988).
"""

import numpy as np

from gwanje.ext.radial import NetworkError, breadth_first

from gwanje.ext.radial_sweep cimport GwNet, gw_solve_foreseeing, gw_solve_lanes

from libc.math cimport NAN, isfinite

cdef enum:
    LANES = 8


cdef class RadialNetwork:
    """A radial network in per unit, ready to be solved many times.

    Args:
        parent: (n,) bus at the other end of each bus's branch; −1 for the source, exactly once.
        r: (n,) series resistance of that branch, per unit; of no meaning for the source.
        x: (n,) series reactance.
        shunt_g: (n,) conductance to ground at each bus, or None.
        shunt_b: (n,) susceptance to ground, positive for a capacitor, or None.
        ratio: (n,) voltage ratio parent : child of an ideal transformer at the parent's end, or None for 1.
        loops: (m, 2) pairs of buses joined by a further branch, or None.
        loop_r: (m,) its resistance.
        loop_x: (m,) its reactance.
        source_v: complex voltage of the source.
        tolerance: how far a voltage's real or imaginary part may still be from where the sweeps lead, per unit.
        sweeps_max: sweeps after which a case counts as not solvable.

    Attributes:
        n: buses.
        source: number of the source.

    Raises:
        NetworkError: lengths differ, numbers are not finite, there is not one source, a bus hangs on nothing or on
            itself, a ratio is not positive, or a loop's matrix is singular.
    """

    cdef readonly int n
    cdef readonly int source
    cdef readonly int n_loops
    cdef readonly object order
    cdef int[::1] _order
    cdef int[::1] _parent
    cdef double[::1] _r, _x, _g, _b, _t
    cdef int[::1] _la, _lb
    cdef double[::1] _lr, _lx
    cdef double[:, ::1] _ar, _ai
    cdef double[::1] _p, _q, _vr, _vi, _ir, _ii, _jr, _ji
    cdef double[:, ::1] _lanes
    cdef int[::1] _done
    cdef GwNet _net
    cdef bint _warm

    def __init__(
        self, parent, r, x, *, shunt_g=None, shunt_b=None, ratio=None, loops=None, loop_r=None, loop_x=None,
        double complex source_v=1.0, double tolerance=1e-9, int sweeps_max=60,
    ):
        up = np.ascontiguousarray(parent, np.int32)
        n = len(up)
        r, x = _column(r, n, "r"), _column(x, n, "x")
        order, source = breadth_first(up)
        place = np.empty(n, np.int32)
        place[order] = np.arange(n, dtype=np.int32)
        inner = np.zeros(n, np.int32)
        inner[1:] = place[up[order[1:]]]
        self.n, self.source, self.order = n, source, order
        self._order, self._parent = order, inner
        self._r, self._x = r[order].copy(), x[order].copy()
        has_shunt = shunt_g is not None or shunt_b is not None
        self._g = _column(0.0 if shunt_g is None else shunt_g, n, "shunt_g")[order].copy()
        self._b = _column(0.0 if shunt_b is None else shunt_b, n, "shunt_b")[order].copy()
        t = _column(1.0 if ratio is None else ratio, n, "ratio")[order].copy()
        t[0] = 1.0
        if (t <= 0.0).any():
            raise NetworkError(f"ratio of bus {int(order[int(np.argmax(t <= 0.0))])} is not positive")
        self._t = t
        self._take_loops(place, loops, loop_r, loop_x)
        rows = max(n, self.n_loops)
        self._p, self._q = np.zeros(n), np.zeros(n)
        self._vr, self._vi, self._ir, self._ii = np.ones(n), np.zeros(n), np.zeros(rows), np.zeros(rows)
        self._jr, self._ji = np.zeros(max(self.n_loops, 1)), np.zeros(max(self.n_loops, 1))
        self._lanes = np.zeros((6, n * LANES))
        self._done = np.zeros(LANES, np.int32)
        self._net.n = n
        self._net.parent = &self._parent[0]
        self._net.r = &self._r[0]
        self._net.x = &self._x[0]
        self._net.g = &self._g[0] if has_shunt else NULL
        self._net.b = &self._b[0] if has_shunt else NULL
        self._net.t = &self._t[0] if ratio is not None else NULL
        self._net.vsr = source_v.real
        self._net.vsi = source_v.imag
        if not (0.0 < abs(source_v) < 10.0) or not (0.0 < tolerance < 1.0) or sweeps_max < 1:
            raise NetworkError("source_v must be near 1, tolerance within 0 … 1, sweeps_max at least 1")
        self._net.tolerance = tolerance
        self._net.sweeps_max = sweeps_max

    def _take_loops(self, place, loops, loop_r, loop_x):
        m = 0 if loops is None else len(loops)
        ends = np.zeros((max(m, 1), 2), np.int32)
        self.n_loops = m
        self._net.n_loops = m
        lr, lx = np.zeros(max(m, 1)), np.zeros(max(m, 1))
        inverse = np.zeros((max(m, 1), max(m, 1)), complex)
        if m:
            pairs = np.ascontiguousarray(loops, np.int64)
            if pairs.shape != (m, 2) or (pairs < 0).any() or (pairs >= self.n).any():
                raise NetworkError(f"loops must be pairs of buses 0 … {self.n - 1}")
            ends = np.ascontiguousarray(place[pairs], np.int32)
            lr, lx = _column(loop_r, m, "loop_r"), _column(loop_x, m, "loop_x")
            matrix = self._loop_matrix(ends) + np.diag(np.asarray(lr) + 1j * np.asarray(lx))
            if np.linalg.cond(matrix) > 1e12:
                raise NetworkError("the loops' impedances do not tell them apart")
            inverse = np.linalg.inv(matrix)
        self._la, self._lb = np.ascontiguousarray(ends[:, 0]), np.ascontiguousarray(ends[:, 1])
        self._lr, self._lx = lr, lx
        self._ar, self._ai = np.ascontiguousarray(inverse.real), np.ascontiguousarray(inverse.imag)
        self._net.la = &self._la[0]
        self._net.lb = &self._lb[0]
        self._net.lr = &self._lr[0]
        self._net.lx = &self._lx[0]
        self._net.ar = &self._ar[0, 0]
        self._net.ai = &self._ai[0, 0]

    def _loop_matrix(self, ends):
        """Impedance that one loop's current meets on the way of another: their common branches, seen from the loop."""
        m = len(ends)
        ways = np.zeros((m, self.n))
        parent, t = np.asarray(self._parent), np.asarray(self._t)
        for row in range(m):
            for bus, sign in ((ends[row, 0], 1.0), (ends[row, 1], -1.0)):
                share = sign
                while bus:
                    ways[row, bus] += share
                    share /= t[bus]
                    bus = parent[bus]
        z = np.asarray(self._r) + 1j * np.asarray(self._x)
        return (ways * z) @ ways.T

    def solve(self, const double[::1] p, const double[::1] q, double[::1] out_vr, double[::1] out_vi, bint warm=False):
        """Solve one case.

        Args:
            p: (n,) active power drawn at each bus, per unit; generation is negative.  # IN
            q: (n,) reactive power drawn.  # IN
            out_vr: (n,) real part of the voltages, per unit; NaN when not solvable.  # OUT
            out_vi: (n,) imaginary part.  # OUT
            warm: begin from the last solution instead of the source's voltage everywhere.

        Returns:
            Sweeps it took; negative when it did not settle (no voltage carries this load).
        """
        cdef int n = self.n, k, sweeps
        if p.shape[0] != n or q.shape[0] != n or out_vr.shape[0] != n or out_vi.shape[0] != n:
            raise ValueError(f"p, q and voltages must have {n} entries")
        with nogil:
            sweeps = self._solve(&p[0], &q[0], &out_vr[0], &out_vi[0], warm)
        return sweeps

    cdef int _solve(self, const double* p, const double* q, double* out_vr, double* out_vi, bint warm) noexcept nogil:
        cdef int n = self.n, k, sweeps
        cdef double scale = 1.0
        for k in range(n):
            self._p[k] = p[self._order[k]]
            self._q[k] = q[self._order[k]]
        if not (warm and self._warm):
            self._flat()
        sweeps = gw_solve_foreseeing(
            &self._net, &self._p[0], &self._q[0], &self._vr[0], &self._vi[0], &self._ir[0], &self._ii[0],
            &self._jr[0], &self._ji[0],
        )
        self._warm = sweeps > 0
        for k in range(n):
            out_vr[self._order[k]] = self._vr[k] if sweeps > 0 else NAN
            out_vi[self._order[k]] = self._vi[k] if sweeps > 0 else NAN
        return sweeps

    cdef void _flat(self) noexcept nogil:
        """The source's voltage everywhere, behind each transformer in its ratio; no current in the loops."""
        cdef int k
        self._vr[0], self._vi[0] = self._net.vsr, self._net.vsi
        for k in range(1, self.n):
            self._vr[k] = self._vr[self._parent[k]] / self._t[k]
            self._vi[k] = self._vi[self._parent[k]] / self._t[k]
        for k in range(self.n_loops):
            self._jr[k] = self._ji[k] = 0.0

    def solve_many(
        self, const double[:, ::1] p, const double[:, ::1] q, double[:, ::1] out_vr, double[:, ::1] out_vi,
        int[::1] out_sweeps,
    ):
        """Solve many cases of the network, each from flat voltages.

        Args:
            p: (k, n) active power drawn, per unit.  # IN
            q: (k, n) reactive power drawn.  # IN
            out_vr: (k, n) real part of the voltages; NaN in cases that are not solvable.  # OUT
            out_vi: (k, n) imaginary part.  # OUT
            out_sweeps: (k,) sweeps of each case; negative when it did not settle.  # OUT
        """
        cdef int n_cases = p.shape[0], first, n = self.n
        if p.shape[1] != n or q.shape[0] != n_cases or q.shape[1] != n or out_sweeps.shape[0] != n_cases or (
            out_vr.shape[0] != n_cases or out_vr.shape[1] != n or out_vi.shape[0] != n_cases or out_vi.shape[1] != n
        ):
            raise ValueError(f"p, q and voltages must be (k, {n}), sweeps (k,)")
        if n_cases == 0:
            return
        with nogil:
            if self.n_loops:
                for first in range(n_cases):
                    out_sweeps[first] = self._solve(
                        &p[first, 0], &q[first, 0], &out_vr[first, 0], &out_vi[first, 0], False
                    )
            else:
                first = 0
                while first < n_cases:
                    self._solve_lanes(p, q, out_vr, out_vi, out_sweeps, first, min(LANES, n_cases - first))
                    first += LANES

    cdef void _solve_lanes(
        self, const double[:, ::1] p, const double[:, ::1] q, double[:, ::1] out_vr, double[:, ::1] out_vi,
        int[::1] out_sweeps, int first, int count,
    ) noexcept nogil:
        """Up to eight cases; lanes without a case repeat the last one."""
        cdef double* lp = &self._lanes[0, 0]
        cdef double* lq = &self._lanes[1, 0]
        cdef double* vr = &self._lanes[2, 0]
        cdef double* vi = &self._lanes[3, 0]
        cdef int k, lane, one, bus
        self._flat()
        for lane in range(LANES):
            one = first + min(lane, count - 1)
            for k in range(self.n):
                bus = self._order[k]
                lp[k * LANES + lane] = p[one, bus]
                lq[k * LANES + lane] = q[one, bus]
                vr[k * LANES + lane] = self._vr[k]
                vi[k * LANES + lane] = self._vi[k]
        self._warm = False
        gw_solve_lanes(&self._net, lp, lq, vr, vi, &self._lanes[4, 0], &self._lanes[5, 0], &self._done[0])
        for lane in range(count):
            out_sweeps[first + lane] = self._done[lane]
            for k in range(self.n):
                bus = self._order[k]
                out_vr[first + lane, bus] = vr[k * LANES + lane] if self._done[lane] > 0 else NAN
                out_vi[first + lane, bus] = vi[k * LANES + lane] if self._done[lane] > 0 else NAN

    def branch_flows(self, const double[::1] vr, const double[::1] vi):
        """Power that each bus's branch takes from its parent, and what it loses, from solved voltages.

        Args:
            vr: (n,) real part of the voltages.  # IN
            vi: (n,) imaginary part.  # IN

        Returns:
            (n,) complex power into the branch at the parent's end and (n,) complex loss in it, per unit; 0 at the source.
        """
        if vr.shape[0] != self.n or vi.shape[0] != self.n:
            raise ValueError(f"voltages must have {self.n} entries")
        v = (np.asarray(vr) + 1j * np.asarray(vi))[self.order]
        z = np.asarray(self._r) + 1j * np.asarray(self._x)
        z[0] = 1.0
        behind = v[np.asarray(self._parent)] / np.asarray(self._t)
        current = (behind - v) / np.where(z == 0.0, 1.0, z)
        if (z[1:] == 0.0).any():
            raise NetworkError("a branch without impedance has no flow of its own")
        current[0] = 0.0
        flow, loss = np.empty(self.n, complex), np.empty(self.n, complex)
        flow[self.order] = behind * np.conj(current)
        loss[self.order] = z * np.abs(current) ** 2
        return flow, loss


def _column(values, n, name):
    column = np.ascontiguousarray(np.broadcast_to(np.asarray(values, float), (n,)))
    if not np.isfinite(column).all():
        raise NetworkError(f"{name} of {int(np.argmin(np.isfinite(column)))} is not finite")
    return column.copy()
