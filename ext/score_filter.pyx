"""From margins to events for many nodes: median, threshold with hysteresis, hold-off and shadow.

An event begins where the median of a class's latest margins reaches zero and lasts until it has stayed below the lower
edge for a while. Twin: ``gwanje.control.acoustic.detector`` (``step`` and ``glance``), one node and one patch at a time.
"""

from libc.math cimport INFINITY
from libc.string cimport memmove

import numpy as np

cdef enum:
    LATEST = 5
    CLASSES_MAX = 64

cdef long long NEVER = -(1LL << 62)
NEVER_NS = NEVER


cdef bint _less(float a, float b) noexcept nogil:
    """Order of numpy's sort: what is no number comes last."""
    return a < b or (b != b and a == a)


cdef float _median(const float *latest, int stride, int count, int n) noexcept nogil:
    """Median of the ``count`` newest of ``n`` margins, the newest first; what is not there yet counts as silence."""
    cdef float ordered[LATEST]
    cdef float value
    cdef int i, j, have = min(count, n)
    if n == 1:
        return latest[0]
    if have == 1 or have * 2 <= n:
        return -INFINITY
    for i in range(n):
        value = latest[i * stride] if i < have else -INFINITY
        j = i
        while j > 0 and _less(value, ordered[j - 1]):
            ordered[j] = ordered[j - 1]
            j -= 1
        ordered[j] = value
    return (ordered[(n - 1) // 2] + ordered[n // 2]) * <float>0.5


cdef class ScoreFilter:
    """The detectors of all nodes of a site."""

    cdef readonly int n_nodes, n_classes
    cdef int[::1] medians
    cdef float[::1] release
    cdef long long[::1] hold_off_ns
    cdef long long release_ns, shadow_ns
    cdef float[:, :, ::1] recent
    cdef int[::1] count, active
    cdef long long[::1] below_since, last_any
    cdef long long[:, ::1] last_event

    def __cinit__(self, int n_nodes, median_patches, release_margin, double release_s, hold_off_s, double shadow_s):
        cdef int n = len(median_patches)
        if n_nodes < 1 or not 1 <= n <= CLASSES_MAX:
            raise ValueError(f"{n_nodes} nodes and {n} classes; at least one node and 1…{CLASSES_MAX} classes")
        if len(release_margin) != n or len(hold_off_s) != n:
            raise ValueError("median_patches, release_margin and hold_off_s need as many values")
        if not all(1 <= m <= LATEST for m in median_patches):
            raise ValueError(f"median_patches outside 1…{LATEST}")
        if any(not m <= 0.0 for m in release_margin):
            raise ValueError("release_margin above the threshold: an event would end as it begins")
        self.n_nodes, self.n_classes = n_nodes, n
        self.medians = np.array(median_patches, np.intc)
        self.release = np.array(release_margin, np.float32)
        self.hold_off_ns = np.array([int(s * 1e9) for s in hold_off_s], np.int64)
        self.release_ns, self.shadow_ns = int(release_s * 1e9), int(shadow_s * 1e9)
        self.recent = np.zeros((n_nodes, LATEST, n), np.float32)
        self.count = np.zeros(n_nodes, np.intc)
        self.active = np.full(n_nodes, -1, np.intc)
        self.below_since = np.full(n_nodes, NEVER_NS, np.int64)
        self.last_any = np.full(n_nodes, NEVER_NS, np.int64)
        self.last_event = np.full((n_nodes, n), NEVER_NS, np.int64)

    cdef int _node(self, long long node) except -1:
        if not 0 <= node < self.n_nodes:
            raise IndexError(f"node {node} of {self.n_nodes}")
        return <int>node

    def sounding(self, node):
        """Class that is sounding at a node, or -1."""
        return self.active[self._node(node)]

    def newest(self, node):
        """Margins of a node's newest patch; -inf before the first."""
        if not self.count[self._node(node)]:
            return np.full(self.n_classes, -np.inf, np.float32)
        return np.array(self.recent[node, 0])

    def break_off(self, node):
        """The next patch of a node does not follow on its last one."""
        self.count[self._node(node)] = 0

    def restart(self, node):
        """A node's sound begins anew; its latest events stay known."""
        self.count[self._node(node)] = 0
        self.active[node] = -1
        self.below_since[node] = NEVER_NS

    def process(self, const long long[::1] nodes, const float[:, ::1] margins, const long long[::1] mono_ns, bint quick,
                int[::1] found, float[:, ::1] median):
        """Take the margins of one patch or look of each of some nodes, see the stub."""
        cdef Py_ssize_t i, k = nodes.shape[0]
        if margins.shape[0] != k or margins.shape[1] != self.n_classes or mono_ns.shape[0] != k:
            raise ValueError(f"margins must be of shape {(k, self.n_classes)}, mono_ns of length {k}")
        if found.shape[0] != k or median.shape[0] != k or median.shape[1] != self.n_classes:
            raise ValueError(f"found must be of length {k}, median of shape {(k, self.n_classes)}")
        for i in range(k):
            self._node(nodes[i])
        with nogil:
            for i in range(k):
                found[i] = self._step(<int>nodes[i], &margins[i, 0], mono_ns[i], quick, &median[i, 0])

    cdef int _step(self, int node, const float *margins, long long now, bint quick, float *median) noexcept nogil:
        cdef int c, best = 0, active = self.active[node]
        cdef float *recent = &self.recent[node, 0, 0]
        if quick:
            for c in range(self.n_classes):
                median[c] = margins[c]
        else:
            memmove(recent + self.n_classes, recent, (LATEST - 1) * self.n_classes * sizeof(float))
            for c in range(self.n_classes):
                recent[c] = margins[c]
            self.count[node] = min(self.count[node] + 1, LATEST)
            for c in range(self.n_classes):
                median[c] = _median(recent + c, self.n_classes, self.count[node], self.medians[c])
            if active >= 0 and median[active] < self.release[active]:
                if self.below_since[node] == NEVER:
                    self.below_since[node] = now
                if now - self.below_since[node] >= self.release_ns:
                    active = self.active[node] = -1
                    self.below_since[node] = NEVER
            else:
                self.below_since[node] = NEVER
        if now - self.last_any[node] < self.shadow_ns:
            return -1
        for c in range(self.n_classes):
            if median[c] != median[c]:
                return -1
            if median[c] > median[best]:
                best = c
        if not median[best] >= 0.0 or best == active or now - self.last_event[node, best] < self.hold_off_ns[best]:
            return -1
        self.active[node] = best
        self.below_since[node] = NEVER
        self.last_event[node, best] = self.last_any[node] = now
        return best
