"""What a microphone's sound does from one millisecond to the next: peak and power, and the shape of an onset.

A shot rises within a millisecond, stands far above its own mean and has fallen by 10 dB a few milliseconds later; a
door, a drum or a step is slower. Frames of 10 ms do not show it. Twin: ``gwanje.ext.reference.envelope``.
"""

from libc.stdint cimport int16_t

import numpy as np


cdef extern from "envelope_ms.h" nogil:
    enum: ENVELOPE_SAMPLES
    enum: ONSET_MEASURES
    void envelope_ms(const int16_t *samples, int16_t before, float share, int n_ms, float *peak, float *power)
    void onset_shape(const float *peak_db, const float *power, int n, int at, int after, float *out)

SAMPLES_PER_MS = ENVELOPE_SAMPLES
N_MEASURES = ONSET_MEASURES


cdef class Envelope:
    """Peak and power of every millisecond of many nodes at 16 kHz, lightened by a first difference."""

    cdef readonly int n_nodes
    cdef float share
    cdef int16_t[::1] last

    def __cinit__(self, int n_nodes, float share=0.9):
        if n_nodes < 1:
            raise ValueError("at least one node")
        if not 0.0 <= share <= 1.0:
            raise ValueError(f"share {share} outside 0…1")
        self.n_nodes, self.share = n_nodes, share
        self.last = np.zeros(n_nodes, np.int16)

    def reset(self, int node):
        """Forget a node's last sample."""
        if not 0 <= node < self.n_nodes:
            raise IndexError(f"node {node} of {self.n_nodes}")
        self.last[node] = 0

    def process(self, const long long[::1] nodes, const int16_t[:, ::1] samples, float[:, ::1] peak,
                float[:, ::1] power):
        """The next milliseconds of some nodes, see the stub."""
        cdef Py_ssize_t i, n_ms = samples.shape[1] // ENVELOPE_SAMPLES
        if samples.shape[0] != nodes.shape[0] or samples.shape[1] % ENVELOPE_SAMPLES or not n_ms:
            raise ValueError(f"samples of shape {(samples.shape[0], samples.shape[1])}, expected "
                             f"({nodes.shape[0]}, a multiple of {ENVELOPE_SAMPLES})")
        if (peak.shape[0] != nodes.shape[0] or power.shape[0] != nodes.shape[0] or peak.shape[1] != n_ms
                or power.shape[1] != n_ms):
            raise ValueError(f"peak and power must be of shape {(nodes.shape[0], n_ms)}")
        for i in range(nodes.shape[0]):
            if not 0 <= nodes[i] < self.n_nodes:
                raise IndexError(f"node {nodes[i]} of {self.n_nodes}")
        with nogil:
            for i in range(nodes.shape[0]):
                envelope_ms(&samples[i, 0], self.last[nodes[i]], self.share, <int>n_ms, &peak[i, 0], &power[i, 0])
                self.last[nodes[i]] = samples[i, samples.shape[1] - 1]


def shapes(const float[:, ::1] peak_db, const float[:, ::1] power, const int[::1] at, int after, float[:, ::1] out):
    """The shapes of onsets, see the stub."""
    cdef Py_ssize_t i
    cdef int n = <int>peak_db.shape[1]
    if power.shape[0] != peak_db.shape[0] or power.shape[1] != n or at.shape[0] != peak_db.shape[0]:
        raise ValueError("peak_db, power and at must be of as many onsets, peak_db and power as long")
    if out.shape[0] != peak_db.shape[0] or out.shape[1] != ONSET_MEASURES:
        raise ValueError(f"out must be of shape {(peak_db.shape[0], ONSET_MEASURES)}")
    if after < 1:
        raise ValueError("at least one millisecond after the onset")
    for i in range(at.shape[0]):
        if not 1 <= at[i] < n:
            raise ValueError(f"onset at {at[i]}, expected 1…{n - 1}")
    with nogil:
        for i in range(at.shape[0]):
            onset_shape(&peak_db[i, 0], &power[i, 0], n, at[i], after, &out[i, 0])
