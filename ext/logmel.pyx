# gwanje: flags -Wno-psabi -Wno-unused-function
"""Log-mel spectrograms of many channels at once, one channel per SIMD lane.

Frames of a windowed magnitude spectrum through a mel filter bank, natural logarithm with an offset, as the sound
classifier reads them. The vectors are 16 lanes wide with AVX-512 (two frames of eight channels), 8 with AVX2 and FMA,
4 otherwise, chosen when a ``LogMel`` is made. Twin: ``gwanje.ext.reference.logmel``.
Sources: logmel_lanes.h, lanes_fft.h (Stockham's autosort FFT, Van Loan 1992).
"""

from libc.stdint cimport int16_t
from libc.stdlib cimport free
from libc.string cimport memmove, memset

import numpy as np

from gwanje.ext.lanes import twiddles


cdef extern from "<stdlib.h>" nogil:
    int posix_memalign(void **out, size_t alignment, size_t size)


cdef extern from "logmel_simd.h" nogil:
    ctypedef struct logmel_plan:
        int n_fft, n_window, hop, n_mels
        float offset
        const float *window
        const float *twiddle
        const float *turn
        const int *mel_first
        const int *mel_at
        const float *mel_weight
    int LOGMEL_PITCH(int half)
    int lanes_widest()
    void lanes_fill(const int16_t *samples, ptrdiff_t step, int used, int row, int n, float *out)
    void logmel_frames(const logmel_plan *plan, int lanes, const float *samples, int count, float *scratch,
                       float *out, ptrdiff_t channel_step)


# Frames worked on between two moves of the sample buffer: even (frames go in pairs), small enough that the samples
# of eight lanes (1520 rows at 10 ms hops) stay in the second-level cache.
cdef enum:
    BLOCK_FRAMES = 8


def widest_lanes():
    """Lanes of the widest instruction set this processor has: 16 (AVX-512), 8 (AVX2 and FMA) or 4."""
    return lanes_widest()


cdef class LogMel:
    """Streaming log-mel of ``n_channels`` channels; keeps what the next frame needs of each."""

    cdef readonly int n_channels, n_mels, hop, n_window, lanes
    cdef logmel_plan plan
    cdef int n_groups, held, rows, row
    cdef float *samples
    cdef float *scratch
    cdef object _window, _twiddle, _turn, _mel_first, _mel_at, _mel_weight
    cdef float[::1] spill

    def __cinit__(self, int n_channels, const float[:, ::1] weights, const float[::1] window, int hop, float offset,
                  lanes=None):
        cdef int n_fft = 2 * (<int>weights.shape[0] - 1)
        self.samples = NULL
        self.scratch = NULL
        if n_channels < 1:
            raise ValueError("at least one channel")
        if n_fft < 16 or n_fft & (n_fft - 1):
            raise ValueError(f"FFT length {n_fft} (from {weights.shape[0]} bins) is not a power of two of 16 or more")
        if not n_fft // 4 * 3 <= window.shape[0] <= n_fft:
            raise ValueError(f"window of {window.shape[0]} samples does not fit an FFT of {n_fft}")
        if not 0 < weights.shape[1] <= n_fft:
            raise ValueError(f"{weights.shape[1]} bands, expected 1…{n_fft}")
        if not 0 < hop <= window.shape[0]:
            raise ValueError(f"hop {hop} outside 1…{window.shape[0]}")
        if not offset >= 1e-30:
            raise ValueError("offset must be positive: the logarithm of silence is taken")
        self.lanes = lanes_widest() if lanes is None else lanes
        if self.lanes not in (4, 8, 16) or self.lanes > lanes_widest():
            raise ValueError(f"{self.lanes} lanes are not available on this processor")
        self.row = min(self.lanes, 8)
        self.n_channels = n_channels
        self.hop = hop
        self.n_window = <int>window.shape[0]
        self.n_mels = <int>weights.shape[1]
        self._plan(np.asarray(weights), np.asarray(window), n_fft, offset)
        self._allocate(n_fft)

    def _plan(self, weights, window, int n_fft, float offset):
        """Fill the plan; the arrays it points to are kept alive by this object."""
        cdef const float[::1] f
        cdef const int[::1] i
        padded = np.zeros(n_fft, dtype=np.float32)
        padded[: window.shape[0]] = window
        used = weights != 0.0
        first = np.where(used.any(axis=0), used.argmax(axis=0), 0)
        last = np.where(used.any(axis=0), n_fft // 2 + 1 - used[::-1].argmax(axis=0), 0)
        counts = -(-(last - first) // 4) * 4  # whole turns of the inner loop
        parts = [np.pad(0.5 * weights[a:b, m], (0, n - (b - a))) for m, (a, b, n) in enumerate(zip(first, last, counts))]
        self._window = padded
        self._twiddle = twiddles(n_fft // 2)
        angle = 2.0 * np.pi * np.arange(n_fft // 4 + 1) / n_fft
        self._turn = np.stack([np.cos(angle), -np.sin(angle)], axis=1).astype(np.float32).reshape(-1)
        self._mel_first = np.ascontiguousarray(first, dtype=np.intc)
        self._mel_at = np.concatenate([[0], np.cumsum(counts)]).astype(np.intc)
        self._mel_weight = np.concatenate([*parts, np.zeros(1)]).astype(np.float32)
        self.plan.n_fft, self.plan.n_window, self.plan.hop = n_fft, self.n_window, self.hop
        self.plan.n_mels, self.plan.offset = self.n_mels, offset
        f = self._window
        self.plan.window = &f[0]
        f = self._twiddle
        self.plan.twiddle = &f[0]
        f = self._turn
        self.plan.turn = &f[0]
        f = self._mel_weight
        self.plan.mel_weight = &f[0]
        i = self._mel_first
        self.plan.mel_first = &i[0]
        i = self._mel_at
        self.plan.mel_at = &i[0]

    cdef int _allocate(self, int n_fft) except -1:
        cdef size_t n_samples, n_scratch = <size_t>self.lanes * (8 * LOGMEL_PITCH(n_fft // 2) + n_fft // 2 + 5) * 4
        self.n_groups = (self.n_channels + self.row - 1) // self.row
        self.rows = self.n_window + self.hop * BLOCK_FRAMES
        n_samples = <size_t>self.n_groups * self.rows * self.row * 4
        if posix_memalign(<void **>&self.samples, 64, n_samples):
            raise MemoryError
        if posix_memalign(<void **>&self.scratch, 64, n_scratch):
            raise MemoryError
        self.spill = np.zeros(self.row * 2 * self.n_mels, dtype=np.float32)
        memset(self.samples, 0, n_samples)
        memset(self.scratch, 0, n_scratch)  # the padding behind the last bin is read with the weight 0
        self.held = 0
        return 0

    def __dealloc__(self):
        free(self.samples)
        free(self.scratch)

    def reset(self):
        """Forget the samples held back for the next frame."""
        memset(self.samples, 0, <size_t>self.n_groups * self.rows * self.row * 4)
        self.held = 0

    def frames_after(self, int n_samples):
        """How many frames ``process`` would give for ``n_samples`` more samples."""
        cdef int total = self.held + n_samples
        return 0 if total < self.n_window else (total - self.n_window) // self.hop + 1

    def process(self, const int16_t[:, ::1] samples):
        """Log-mel frames that end in these samples, see the stub."""
        cdef int n_frames
        cdef float[:, :, ::1] out
        if samples.shape[0] != self.n_channels:
            raise ValueError(f"{samples.shape[0]} channels given, {self.n_channels} expected")
        n_frames = self.frames_after(<int>samples.shape[1])
        result = np.empty((self.n_channels, n_frames, self.n_mels), dtype=np.float32)
        out = result
        if samples.shape[1]:
            with nogil:
                self._process(&samples[0, 0], <int>samples.shape[1], &out[0, 0, 0] if n_frames else NULL, n_frames)
        return result

    cdef void _process(self, const int16_t *samples, int n, float *out, int n_frames) noexcept nogil:
        """All groups, in blocks of at most BLOCK_FRAMES frames."""
        cdef int group, first, used, take, ready, done = 0, at = 0, held = self.held
        cdef float *rows
        while at < n:
            take = min(n - at, self.n_window + self.hop * (BLOCK_FRAMES - 1) - held)
            ready = 0
            if held + take >= self.n_window:
                ready = (held + take - self.n_window) // self.hop + 1
            for group in range(self.n_groups):
                rows = self.samples + <size_t>group * self.rows * self.row
                first = group * self.row
                used = min(self.row, self.n_channels - first)
                lanes_fill(samples + <size_t>first * n + at, n, used, self.row, take, rows + <size_t>held * self.row)
                self._group(rows, first, used, ready, out, n_frames, done)
                memmove(rows, rows + <size_t>ready * self.hop * self.row,
                        <size_t>(held + take - ready * self.hop) * self.row * 4)
            held += take - ready * self.hop
            done += ready
            at += take
        self.held = held

    cdef void _group(self, const float *rows, int first, int used, int ready, float *out, int n_frames,
                     int done) noexcept nogil:
        """``ready`` frames of one group of lanes; a group with idle lanes goes through ``spill``."""
        cdef int frame = 0, count, channel
        cdef size_t i, step = <size_t>n_frames * self.n_mels
        cdef float *to
        cdef float *spill = &self.spill[0]
        while frame < ready:
            count = min(ready - frame, self.lanes // self.row)
            to = out + first * step + <size_t>(done + frame) * self.n_mels
            if used == self.row:
                logmel_frames(&self.plan, self.lanes, rows + <size_t>frame * self.hop * self.row, count,
                              self.scratch, to, step)
            else:
                logmel_frames(&self.plan, self.lanes, rows + <size_t>frame * self.hop * self.row, count,
                              self.scratch, spill, 2 * self.n_mels)
                for channel in range(used):
                    for i in range(<size_t>count * self.n_mels):
                        to[channel * step + i] = spill[channel * 2 * self.n_mels + i]
            frame += count
