"""The noise floor of every band of every node by minimum statistics: what a band never falls below for some seconds.

A band's smoothed logarithm falls to the floor in every pause of what sounds over it. Twin:
``gwanje.ext.reference.noise_floor``. Source: R. Martin, Noise power spectral density estimation based on optimal
smoothing and minimum statistics (2001), with a constant smoothing and a constant bias, in the logarithmic domain.
"""

import numpy as np


cdef extern from "noise_floor_bands.h" nogil:
    void floor_frame(const float *log_mel, float *smooth, float *lowest, int n_bands, float share, int first)
    void floor_turn(float *lowest, const float *smooth, float *ring, float *past, int n_bands, int n_turns, int slot)
    void floor_of(const float *lowest, const float *past, float *out, int n_bands, float bias)


cdef class NoiseFloor:
    """Floors of many nodes; the window is ``n_turns`` turns of ``turn_frames`` frames and the one that is on."""

    cdef readonly int n_nodes, n_bands, turn_frames, n_turns
    cdef float share, bias
    cdef float[:, ::1] smooth, lowest, past
    cdef float[:, :, ::1] ring
    cdef int[::1] at, slot
    cdef unsigned char[::1] begun

    def __cinit__(self, int n_nodes, int n_bands, int turn_frames=48, int n_turns=8, float share=0.15,
                  float bias=0.25):
        if n_nodes < 1 or n_bands < 1:
            raise ValueError("at least one node and one band")
        if turn_frames < 1 or not 1 <= n_turns <= 256:
            raise ValueError(f"{n_turns} turns of {turn_frames} frames; expected 1…256 of at least 1")
        if not 0.0 < share <= 1.0:
            raise ValueError(f"share {share} outside 0…1")
        if not 0.0 <= bias <= 5.0:
            raise ValueError(f"bias {bias} outside 0…5")
        self.n_nodes, self.n_bands, self.turn_frames, self.n_turns = n_nodes, n_bands, turn_frames, n_turns
        self.share, self.bias = share, bias
        self.smooth = np.zeros((n_nodes, n_bands), np.float32)
        self.lowest = np.zeros((n_nodes, n_bands), np.float32)
        self.past = np.zeros((n_nodes, n_bands), np.float32)
        self.ring = np.full((n_nodes, n_turns, n_bands), np.inf, np.float32)
        self.at = np.zeros(n_nodes, np.intc)
        self.slot = np.zeros(n_nodes, np.intc)
        self.begun = np.zeros(n_nodes, np.uint8)

    def reset(self, int node):
        """Forget a node's past."""
        if not 0 <= node < self.n_nodes:
            raise IndexError(f"node {node} of {self.n_nodes}")
        self.begun[node] = 0

    def process(self, const long long[::1] nodes, const float[:, :, ::1] frames, float[:, ::1] out):
        """Follow the frames of some nodes, see the stub."""
        cdef Py_ssize_t i
        if frames.shape[0] != nodes.shape[0] or frames.shape[2] != self.n_bands or not frames.shape[1]:
            raise ValueError(f"frames of shape {(frames.shape[0], frames.shape[1], frames.shape[2])}, expected "
                             f"({nodes.shape[0]}, 1 or more, {self.n_bands})")
        if out.shape[0] != nodes.shape[0] or out.shape[1] != self.n_bands:
            raise ValueError(f"out of shape {(out.shape[0], out.shape[1])}, expected "
                             f"{(nodes.shape[0], self.n_bands)}")
        for i in range(nodes.shape[0]):
            if not 0 <= nodes[i] < self.n_nodes:
                raise IndexError(f"node {nodes[i]} of {self.n_nodes}")
        if nodes.shape[0]:
            with nogil:
                self._process(nodes, frames, out)

    cdef void _process(self, const long long[::1] nodes, const float[:, :, ::1] frames,
                       float[:, ::1] out) noexcept nogil:
        cdef Py_ssize_t i, t, node, k, b
        for i in range(nodes.shape[0]):
            node = <Py_ssize_t>nodes[i]
            for t in range(frames.shape[1]):
                if not self.begun[node]:
                    for b in range(self.n_bands):
                        self.lowest[node, b] = self.past[node, b] = 3e38
                        for k in range(self.n_turns):
                            self.ring[node, k, b] = 3e38
                    self.at[node] = self.slot[node] = 0
                floor_frame(&frames[i, t, 0], &self.smooth[node, 0], &self.lowest[node, 0], self.n_bands, self.share,
                            not self.begun[node])
                self.begun[node] = 1
                self.at[node] += 1
                if self.at[node] == self.turn_frames:
                    floor_turn(&self.lowest[node, 0], &self.smooth[node, 0], &self.ring[node, 0, 0],
                               &self.past[node, 0], self.n_bands, self.n_turns, self.slot[node])
                    self.slot[node] = (self.slot[node] + 1) % self.n_turns
                    self.at[node] = 0
            floor_of(&self.lowest[node, 0], &self.past[node, 0], &out[i, 0], self.n_bands, self.bias)
