"""Per-channel energy normalisation of log-mel frames: each band divided by its own slow past, then compressed.

What is steady (rain, a transformer, the level of a microphone) becomes the same everywhere, what begins stands out.
Twin: ``gwanje.ext.reference.pcen``. Source: Wang et al., Trainable frontend for robust and far-field keyword spotting
(2017), equations 1 and 2, with r = 1/2.
"""

import numpy as np


cdef extern from "pcen_bands.h" nogil:
    void pcen_frame(const float *log_mel, float *smooth, float *out, int n_bands, float share, float alpha,
                    float offset, float delta, int first)


cdef class Pcen:
    """PCEN of many nodes; keeps the slow past of every band."""

    cdef readonly int n_nodes, n_bands
    cdef float share, alpha, offset, delta
    cdef float[:, ::1] smooth
    cdef unsigned char[::1] begun

    def __cinit__(self, int n_nodes, int n_bands, float share=0.025, float alpha=0.98, float offset=1e-6,
                  float delta=2.0):
        if n_nodes < 1 or n_bands < 1:
            raise ValueError("at least one node and one band")
        if not 0.0 < share <= 1.0:
            raise ValueError(f"share {share} outside 0…1")
        if not 0.0 <= alpha <= 1.0:
            raise ValueError(f"alpha {alpha} outside 0…1")
        if not (offset >= 1e-30 and delta >= 1e-30):
            raise ValueError("offset and delta must be positive")
        self.n_nodes, self.n_bands = n_nodes, n_bands
        self.share, self.alpha, self.offset, self.delta = share, alpha, offset, delta
        self.smooth = np.zeros((n_nodes, n_bands), np.float32)
        self.begun = np.zeros(n_nodes, np.uint8)

    def reset(self, int node):
        """Forget a node's past."""
        if not 0 <= node < self.n_nodes:
            raise IndexError(f"node {node} of {self.n_nodes}")
        self.begun[node] = 0

    def process(self, const long long[::1] nodes, const float[:, :, ::1] frames, float[:, :, ::1] out):
        """PCEN of the frames of some nodes, see the stub."""
        cdef Py_ssize_t i
        if frames.shape[0] != nodes.shape[0] or frames.shape[2] != self.n_bands:
            raise ValueError(f"frames of shape {(frames.shape[0], frames.shape[1], frames.shape[2])}, expected "
                             f"{(nodes.shape[0], frames.shape[1], self.n_bands)}")
        if out.shape[0] != frames.shape[0] or out.shape[1] != frames.shape[1] or out.shape[2] != frames.shape[2]:
            raise ValueError("out must have the shape of the frames")
        for i in range(nodes.shape[0]):
            if not 0 <= nodes[i] < self.n_nodes:
                raise IndexError(f"node {nodes[i]} of {self.n_nodes}")
        if frames.shape[0] and frames.shape[1]:
            with nogil:
                self._process(nodes, frames, out)

    cdef void _process(self, const long long[::1] nodes, const float[:, :, ::1] frames,
                       float[:, :, ::1] out) noexcept nogil:
        cdef Py_ssize_t i, t, node
        for i in range(nodes.shape[0]):
            node = <Py_ssize_t>nodes[i]
            for t in range(frames.shape[1]):
                pcen_frame(&frames[i, t, 0], &self.smooth[node, 0], &out[i, t, 0], self.n_bands, self.share,
                           self.alpha, self.offset, self.delta, not self.begun[node])
                self.begun[node] = 1
