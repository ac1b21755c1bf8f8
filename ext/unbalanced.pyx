# gwanje: flags -fno-trapping-math -ffp-contract=off
"""Unbalanced power flow of a radial network of one to three conductors, by backward and forward sweeps; nogil.

Every bus but the source hangs on one branch, a two-port between its parent's nodes f and its own nodes t:

    V_t = A V_f - B J,    I_f = C V_f + D J

with J the current that leaves the branch at t. A line has A = D = 1 and C = 0; a transformer of any connection, a bank
of regulators or a split-phase transformer has its own matrices. Any of them follows from an admittance matrix
(:func:`two_port`). At a bus there may be shunts, and loads between two of its nodes or to ground: of constant power,
current or impedance; one of constant power turns into an impedance below and above the voltages that it says, as real
ones do.

All is in volts, amperes, watts. Source: W. H. Kersting, Distribution System Modeling and Analysis, chapters 6 to 10.
"""

import numpy as np

from gwanje.ext.radial import NetworkError, breadth_first

from libc.math cimport NAN, fabs, sqrt

cdef extern from *:
    """
    #include <math.h>
    #include <string.h>

    /* out[n] -= or += M[n][m] x[m], complex, M as pairs. */
    static inline void gw3_times(const double* restrict M, int n, int m, const double* restrict x,
                                 double* restrict out, double sign)
    {
        for (int i = 0; i < n; i++) {
            double re = 0, im = 0;
            const double* row = M + 2 * i * m;
            for (int j = 0; j < m; j++) {
                re += row[2 * j] * x[2 * j] - row[2 * j + 1] * x[2 * j + 1];
                im += row[2 * j] * x[2 * j + 1] + row[2 * j + 1] * x[2 * j];
            }
            out[2 * i] += sign * re; out[2 * i + 1] += sign * im;
        }
    }

    typedef struct {
        long n;                      /* buses; the source is bus 0, a parent's number is below its child's */
        const int* parent; const int* at; const int* width;   /* first node and number of nodes of each bus */
        const int* up_node;          /* of each node on a line: the parent's node at its other end */
        const unsigned char* kind;   /* 0 line, 1 any two-port */
        const long* matrix;          /* where the branch's B (line) or A, B, C, D (two-port) begin */
        const double* m;             /* all matrices, row by row, as pairs */
        long n_shunts; const int* shunt_bus; const long* shunt_matrix;
        long n_loads; const int* la; const int* lb;           /* nodes; lb is -1 for ground */
        const unsigned char* model;  /* 0 power, 1 current, 2 impedance */
        const double* p; const double* q;                     /* at the nominal voltage */
        const double* vn; const double* low; const double* high;   /* volts */
        const double* scale;         /* 1 / volts of each node's base, for the test of convergence */
        double tolerance; int sweeps_max;
    } GwNet3;

    static inline void gw3_load(const GwNet3* restrict w, long k, const double* restrict v, double* restrict j)
    {
        int a = w->la[k], b = w->lb[k];
        double vr = v[2 * a], vi = v[2 * a + 1];
        if (b >= 0) { vr -= v[2 * b]; vi -= v[2 * b + 1]; }
        double p = w->p[k], q = w->q[k], square = vr * vr + vi * vi, over;
        double low = w->low[k], high = w->high[k], nominal = w->vn[k];
        if (w->model[k] == 2) over = 1.0 / (nominal * nominal);
        else if (square < low * low) over = 1.0 / (low * low);
        else if (square > high * high) over = 1.0 / (high * high);
        else if (w->model[k] == 1) over = 1.0 / (sqrt(square) * nominal);
        else over = 1.0 / square;
        double ir = (p * vr + q * vi) * over, ii = (p * vi - q * vr) * over;
        j[2 * a] += ir; j[2 * a + 1] += ii;
        if (b >= 0) { j[2 * b] -= ir; j[2 * b + 1] -= ii; }
    }

    /* Sweeps until no voltage moves; gives how many, or minus how many when they did not settle. */
    static int gw3_solve(const GwNet3* restrict w, double* restrict v, double* restrict j, long n_nodes)
    {
        for (int sweep = 1; sweep <= w->sweeps_max; sweep++) {
            double moved = 0;
            memset(j, 0, 2 * n_nodes * sizeof *j);
            for (long k = 0; k < w->n_loads; k++) gw3_load(w, k, v, j);
            for (long k = 0; k < w->n_shunts; k++) {
                int bus = w->shunt_bus[k], at = 2 * w->at[bus];
                gw3_times(w->m + w->shunt_matrix[k], w->width[bus], w->width[bus], v + at, j + at, 1.0);
            }
            for (long k = w->n - 1; k > 0; k--) {
                int up = w->parent[k], wide = w->width[k];
                const double* here = j + 2 * w->at[k];
                if (w->kind[k] == 0) {
                    const int* u = w->up_node + w->at[k];
                    for (int i = 0; i < wide; i++) {
                        j[2 * u[i]] += here[2 * i];
                        j[2 * u[i] + 1] += here[2 * i + 1];
                    }
                } else {
                    int f = w->width[up];
                    double* there = j + 2 * w->at[up];
                    const double* m = w->m + w->matrix[k] + 2 * (wide * f + wide * wide);
                    gw3_times(m, f, f, v + 2 * w->at[up], there, 1.0);
                    gw3_times(m + 2 * f * f, f, wide, here, there, 1.0);
                }
            }
            for (long k = 1; k < w->n; k++) {
                int up = w->parent[k], wide = w->width[k];
                const double* m = w->m + w->matrix[k];
                const double* from = v + 2 * w->at[up];
                double* to = v + 2 * w->at[k];
                double next[6];
                if (w->kind[k] == 0) {
                    const int* u = w->up_node + w->at[k];
                    for (int i = 0; i < wide; i++) { next[2 * i] = v[2 * u[i]]; next[2 * i + 1] = v[2 * u[i] + 1]; }
                } else {
                    int f = w->width[up];
                    for (int i = 0; i < 2 * wide; i++) next[i] = 0;
                    gw3_times(m, wide, f, from, next, 1.0);
                    m += 2 * wide * f;
                }
                const double* here = j + 2 * w->at[k];
                if (wide == 1) {
                    next[0] -= m[0] * here[0] - m[1] * here[1];
                    next[1] -= m[0] * here[1] + m[1] * here[0];
                } else {
                    gw3_times(m, wide, wide, here, next, -1.0);
                }
                for (int i = 0; i < wide; i++) {
                    double s = w->scale[w->at[k] + i];
                    double dr = fabs(next[2 * i] - to[2 * i]) * s, di = fabs(next[2 * i + 1] - to[2 * i + 1]) * s;
                    dr = dr > di ? dr : di;
                    moved = dr > moved ? dr : moved;
                    moved = next[2 * i] == next[2 * i] ? moved : INFINITY;
                    to[2 * i] = next[2 * i]; to[2 * i + 1] = next[2 * i + 1];
                }
            }
            if (moved <= w->tolerance) return sweep;
            if (!(moved < 1e3)) return -sweep;
        }
        return -w->sweeps_max;
    }
    """
    ctypedef struct GwNet3:
        long n
        const int* parent
        const int* at
        const int* width
        const int* up_node
        const unsigned char* kind
        const long* matrix
        const double* m
        long n_shunts
        const int* shunt_bus
        const long* shunt_matrix
        long n_loads
        const int* la
        const int* lb
        const unsigned char* model
        const double* p
        const double* q
        const double* vn
        const double* low
        const double* high
        const double* scale
        double tolerance
        int sweeps_max
    int gw3_solve(const GwNet3*, double*, double*, long) noexcept nogil

POWER, CURRENT, IMPEDANCE = 0, 1, 2
"""What of a load stays as it is when its voltage changes."""


def two_port(y, int n_from):
    """The matrices A, B, C, D of a branch from its admittance matrix.

    Args:
        y: (n_from + n_to, n_from + n_to) complex admittances, siemens; the nodes of the parent first.
        n_from: nodes at the parent's end.

    Returns:
        A (n_to, n_from), B (n_to, n_to) ohms, C (n_from, n_from) siemens, D (n_from, n_to).

    Raises:
        NetworkError: nothing holds the voltage at the far end (a winding without a path to ground).
    """
    y = np.asarray(y, complex)
    f = n_from
    far = y[f:, f:]
    if not np.isfinite(y).all() or np.linalg.cond(far) > 1e15:
        raise NetworkError("nothing holds the voltages at the far end of the branch")
    b = np.linalg.inv(far)
    a = -b @ y[f:, :f]
    return a, b, y[:f, :f] + y[:f, f:] @ a, -y[:f, f:] @ b


cdef class UnbalancedNetwork:
    """A radial network of buses with one to three nodes, ready to be solved many times.

    Args:
        width: (n,) nodes of each bus, 1 … 3.
        parent: (n,) bus at the other end of each bus's branch; −1 for the source.
        branches: of each bus: ``("line", z, nodes)`` with the series impedance (w, w) in ohms and the parent's nodes
            (0 … its width − 1) on which the bus's own hang; or ``("two_port", a, b, c, d)``; ``None`` for the source.
        source_v: (width of the source,) complex voltages, V.
        base_v: (n,) volts of each bus's nodes to ground, against which convergence is judged.
        shunts: pairs (bus, admittance (w, w) in siemens).
        loads: tuples (bus, node, other node or −1, model, nominal V, low V, high V): how each is connected.
        tolerance: largest move of a voltage in the last sweep, in units of its base.
        sweeps_max: sweeps after which a case counts as not solvable.

    Attributes:
        n: buses.
        n_nodes: of all buses.
        n_loads: loads.
        at: (n,) first node of each bus in the results.

    Raises:
        NetworkError: what does not fit.
    """

    cdef readonly int n
    cdef readonly int n_nodes
    cdef readonly int n_loads
    cdef readonly object at
    cdef object _inner_at
    cdef int[::1] _parent, _at, _width, _up_node, _node_order, _shunt_bus, _la, _lb
    cdef unsigned char[::1] _kind, _model
    cdef long[::1] _matrix, _shunt_matrix
    cdef double[::1] _m, _vn, _low, _high, _scale, _p, _q, _v, _j, _flat
    cdef int[::1] _load_order
    cdef GwNet3 _net
    cdef bint _warm

    def __init__(
        self, width, parent, branches, source_v, base_v, *, shunts=(), loads=(), double tolerance=1e-8,
        int sweeps_max=100,
    ):
        up = np.ascontiguousarray(parent, np.int32)
        wide = np.ascontiguousarray(width, np.int32)
        n = len(up)
        if len(wide) != n or len(branches) != n or len(base_v) != n:
            raise NetworkError("width, parent, branches and base_v must be of one length")
        if ((wide < 1) | (wide > 3)).any():
            raise NetworkError(f"bus {int(np.argmax((wide < 1) | (wide > 3)))} has not one to three nodes")
        order, source = breadth_first(up)
        place = np.empty(n, np.int32)
        place[order] = np.arange(n, dtype=np.int32)
        inner = np.zeros(n, np.int32)
        inner[1:] = place[up[order[1:]]]
        at = (np.cumsum(wide) - wide).astype(np.int32)
        inner_wide = wide[order].copy()
        inner_at = (np.cumsum(inner_wide) - inner_wide).astype(np.int32)
        self.n, self.n_nodes, self.at = n, int(wide.sum()), at
        self._parent, self._width, self._at, self._inner_at = inner, inner_wide, inner_at, inner_at
        self._node_order = np.concatenate([at[b] + np.arange(wide[b]) for b in order]).astype(np.int32)
        self._take_branches(branches, order, inner, inner_wide, inner_at, shunts, place, wide)
        self._take_loads(loads, place, wide, inner_at)
        bases = np.asarray(base_v, float)
        if not (bases > 0.0).all():
            raise NetworkError(f"base_v of bus {int(np.argmin(bases > 0.0))} is not positive")
        self._scale = np.repeat(1.0 / bases[order], inner_wide)
        start = np.ascontiguousarray(source_v, complex)
        if start.shape != (wide[source],) or not np.isfinite(start).all():
            raise NetworkError(f"source_v must be {wide[source]} voltages")
        self._v, self._j = np.zeros(2 * self.n_nodes), np.zeros(2 * self.n_nodes)
        self._flat = np.zeros(2 * self.n_nodes)
        self._net.n = n
        self._net.parent = &self._parent[0]
        self._net.at = &self._at[0]
        self._net.width = &self._width[0]
        self._net.up_node = &self._up_node[0]
        self._net.kind = &self._kind[0]
        self._net.matrix = &self._matrix[0]
        self._net.m = &self._m[0]
        self._net.shunt_bus = &self._shunt_bus[0]
        self._net.shunt_matrix = &self._shunt_matrix[0]
        self._net.la = &self._la[0]
        self._net.lb = &self._lb[0]
        self._net.model = &self._model[0]
        self._net.vn = &self._vn[0]
        self._net.low = &self._low[0]
        self._net.high = &self._high[0]
        self._net.p = &self._p[0]
        self._net.q = &self._q[0]
        self._net.scale = &self._scale[0]
        if not (0.0 < tolerance < 1.0) or sweeps_max < 1:
            raise NetworkError("tolerance must be within 0 … 1, sweeps_max at least 1")
        self._net.tolerance = tolerance
        self._net.sweeps_max = sweeps_max
        self._no_load(start)

    def _take_branches(self, branches, order, inner, wide, at, shunts, place, outer_wide):
        pieces, begin = [np.zeros(2)], 2
        kind, matrix = np.zeros(self.n, np.uint8), np.zeros(self.n, np.int64)
        up_node = np.zeros(self.n_nodes, np.int32)
        for k in range(1, self.n):
            bus, f, w = order[k], int(wide[inner[k]]), int(wide[k])
            branch = branches[bus]
            matrix[k] = begin
            if branch[0] == "line":
                _, z, nodes = branch
                shapes, matrices = [(w, w)], [z]
                if len(nodes) != w or len(set(nodes)) != w or not all(0 <= one < f for one in nodes):
                    raise NetworkError(f"the line to bus {bus} hangs on nodes {tuple(nodes)} of {f}")
                up_node[at[k]:at[k] + w] = at[inner[k]] + np.asarray(nodes, np.int32)
            elif branch[0] == "two_port":
                kind[k] = 1
                shapes, matrices = [(w, f), (w, w), (f, f), (f, w)], branch[1:]
            else:
                raise NetworkError(f"the branch to bus {bus} is neither a line nor a two_port")
            for shape, one in zip(shapes, matrices, strict=True):
                row = _pairs(one, shape, f"the branch to bus {bus}")
                pieces.append(row)
                begin += len(row)
        shunt_bus, shunt_matrix = np.zeros(max(len(shunts), 1), np.int32), np.zeros(max(len(shunts), 1), np.int64)
        for index, (bus, y) in enumerate(sorted(shunts, key=lambda one: place[one[0]])):
            shunt_bus[index], shunt_matrix[index] = place[bus], begin
            row = _pairs(y, (outer_wide[bus],) * 2, f"the shunt at bus {bus}")
            pieces.append(row)
            begin += len(row)
        self._kind, self._matrix, self._up_node = kind, matrix, up_node
        self._shunt_bus, self._shunt_matrix = shunt_bus, shunt_matrix
        self._net.n_shunts = len(shunts)
        self._m = np.concatenate(pieces)

    def _take_loads(self, loads, place, wide, at):
        n = self.n_loads = len(loads)
        self._net.n_loads = n
        la, lb = np.zeros(max(n, 1), np.int32), np.full(max(n, 1), -1, np.int32)
        model = np.zeros(max(n, 1), np.uint8)
        volts = np.ones((3, max(n, 1)))
        order = np.array(sorted(range(n), key=lambda one: place[loads[one][0]]) or [0], np.int32)
        for row, index in enumerate(order[:n]):
            bus, node, other, how, nominal, low, high = loads[index]
            if not (0 <= node < wide[bus] and -1 <= other < wide[bus] and node != other):
                raise NetworkError(f"load {index} hangs on nodes {node} and {other} of bus {bus}")
            if how not in (POWER, CURRENT, IMPEDANCE) or not 0.0 <= low < high or not nominal > 0.0:
                raise NetworkError(f"load {index}: model {how}, nominal {nominal} V, {low} … {high} V")
            la[row] = at[place[bus]] + node
            lb[row] = -1 if other < 0 else at[place[bus]] + other
            model[row], volts[:, row] = how, (nominal, low, high)
        self._la, self._lb, self._model, self._load_order = la, lb, model, order
        self._vn, self._low, self._high = volts[0].copy(), volts[1].copy(), volts[2].copy()
        self._p, self._q = np.zeros(max(n, 1)), np.zeros(max(n, 1))

    def _no_load(self, start):
        """Voltages with nothing connected, from the source outwards: where every cold solution begins."""
        flat = np.zeros(self.n_nodes, complex)
        m = np.asarray(self._m).view(complex)
        at, wide, parent = np.asarray(self._at), np.asarray(self._width), np.asarray(self._parent)
        flat[:wide[0]] = start
        for k in range(1, self.n):
            f, w, up = wide[parent[k]], wide[k], at[parent[k]]
            if self._kind[k]:
                a = m[self._matrix[k] // 2:self._matrix[k] // 2 + w * f].reshape(w, f)
                flat[at[k]:at[k] + w] = a @ flat[up:up + f]
            else:
                flat[at[k]:at[k] + w] = flat[np.asarray(self._up_node)[at[k]:at[k] + w]]
        self._flat = flat.view(float).copy()

    def solve(self, const double[::1] p, const double[::1] q, double complex[::1] out_v, bint warm=False):
        """Solve one case.

        Args:
            p: (n_loads,) active power of each load at its nominal voltage, W; generation is negative.  # IN
            q: (n_loads,) reactive power, var.  # IN
            out_v: (n_nodes,) voltages to ground, V, in the order of buses and their nodes; NaN when not solvable.  # OUT
            warm: begin from the last solution.

        Returns:
            Sweeps it took; negative when it did not settle.
        """
        cdef int k, sweeps
        if p.shape[0] != self.n_loads or q.shape[0] != self.n_loads or out_v.shape[0] != self.n_nodes:
            raise ValueError(f"p and q must have {self.n_loads} entries, voltages {self.n_nodes}")
        with nogil:
            for k in range(self.n_loads):
                self._p[k] = p[self._load_order[k]]
                self._q[k] = q[self._load_order[k]]
            if not (warm and self._warm):
                for k in range(2 * self.n_nodes):
                    self._v[k] = self._flat[k]
            sweeps = gw3_solve(&self._net, &self._v[0], &self._j[0], self.n_nodes)
            self._warm = sweeps > 0
            for k in range(self.n_nodes):
                if sweeps > 0:
                    out_v[self._node_order[k]].real = self._v[2 * k]
                    out_v[self._node_order[k]].imag = self._v[2 * k + 1]
                else:
                    out_v[self._node_order[k]].real = out_v[self._node_order[k]].imag = NAN
        return sweeps


def _pairs(matrix, shape, what):
    """A complex matrix as a row of pairs."""
    one = np.ascontiguousarray(matrix, complex)
    if one.shape != tuple(shape) or not np.isfinite(one).all():
        raise NetworkError(f"{what} needs finite {shape[0]} x {shape[1]} matrices, has {one.shape}")
    return one.ravel().view(float)
