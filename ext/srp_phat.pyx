# gwanje: flags -Wno-psabi -Wno-unused-function
"""Where sounds come from: SRP-PHAT maps of many nodes at once, one node per SIMD lane, and the exact peak of one event.

``SrpPhat`` steers the array of every node to all azimuths, frame by frame (generalised cross correlation with phase
transform, Knapp and Carter 1976; summed over pairs, DiBiase 2000). A bin counts by what its power is above the node's
noise floor, which follows the minima of the smoothed power. ``refine`` climbs from a coarse direction to the maximum of
the response that is computed exactly, in the frequency domain. Twin: ``gwanje.ext.reference.srp_phat``.
"""

from libc.math cimport cos, fabs, sin, sqrt
from libc.stdint cimport int16_t
from libc.stdlib cimport free
from libc.string cimport memmove, memset

import numpy as np

from gwanje.ext.lanes import twiddles


cdef extern from "<stdlib.h>" nogil:
    int posix_memalign(void **out, size_t alignment, size_t size)


cdef extern from "srp_phat_simd.h" nogil:
    ctypedef struct srp_plan:
        int n_fft, n_mics, n_base, first_bin, last_bin
        int n_lags, lags_max, n_azimuths
        float smooth, rise, excess
        const float *window
        const float *twiddle
        const int *pairs
        const int *base_at
        const int *lag_at
        const float *taps
    ctypedef struct srp_work:
        float *spectrum
        float *spare
        float *cross
        float *lags
        float *map
    int SRP_PITCH(int n_fft)
    int lanes_widest()
    void lanes_fill(const int16_t *samples, ptrdiff_t step, int used, int row, int n, float *out)
    void srp_frame(const srp_plan *plan, int lanes, const float *samples, ptrdiff_t mic_step, int begun, float *power,
                   float *floor, const srp_work *work, int *best, float *peak, float *mean)


cdef enum:
    # Frames worked on between two moves of the sample buffer: their samples of one group stay in the second-level cache.
    BLOCK_FRAMES = 2
    MICS_MAX = 16
    STEPS_MAX = 40


cdef class SrpPhat:
    """Streaming SRP-PHAT of ``n_nodes`` nodes with one array geometry; keeps what the next frame needs of each."""

    cdef readonly int n_nodes, n_mics, n_azimuths, hop, n_window, lanes
    cdef srp_plan plan
    cdef srp_work work
    cdef int n_groups, n_planes, held, rows, begun
    cdef float *samples
    cdef float *scratch
    cdef float *noise
    cdef object _keep

    def __cinit__(self, int n_nodes, int n_mics, const int[:, ::1] pairs, const int[::1] base_at,
                  const int[:, ::1] lag_at, const float[:, :, ::1] taps, const float[::1] window, int hop,
                  int first_bin, int last_bin, float excess=0.0, float smooth=0.3, float rise=1.01, lanes=None):
        cdef int n_fft = <int>window.shape[0]
        self.samples = self.scratch = self.noise = NULL
        if n_nodes < 1:
            raise ValueError("at least one node")
        if not 2 <= n_mics <= MICS_MAX:
            raise ValueError(f"{n_mics} microphones, expected 2…{MICS_MAX}")
        if n_fft < 16 or n_fft & (n_fft - 1):
            raise ValueError(f"window of {n_fft} samples is not a power of two of 16 or more")
        if not 0 < hop <= n_fft:
            raise ValueError(f"hop {hop} outside 1…{n_fft}")
        if not 1 <= first_bin < last_bin <= n_fft // 2:
            raise ValueError(f"bins {first_bin}…{last_bin} outside 1…{n_fft // 2}")
        if not (excess >= 0.0 and 0.0 < smooth <= 1.0 and rise >= 1.0):
            raise ValueError("excess must not be negative, smooth lies in 0…1, rise is 1 or more")
        self.lanes = lanes_widest() if lanes is None else lanes
        if self.lanes not in (4, 8, 16) or self.lanes > lanes_widest():
            raise ValueError(f"{self.lanes} lanes are not available on this processor")
        if lanes is None and self.lanes == 16 and n_nodes <= 8:
            self.lanes = 8  # half of the lanes would idle
        self.n_nodes, self.n_mics, self.hop, self.n_window = n_nodes, n_mics, hop, n_fft
        self.plan.n_fft, self.plan.n_mics, self.plan.first_bin, self.plan.last_bin = n_fft, n_mics, first_bin, last_bin
        self.plan.excess, self.plan.smooth, self.plan.rise = excess, smooth, rise
        self._plan(np.asarray(pairs), np.asarray(base_at), np.asarray(lag_at), np.asarray(taps), np.asarray(window))
        self._allocate()

    def _plan(self, pairs, base_at, lag_at, taps, window):
        """Check the tables and point the plan at copies that this object keeps alive."""
        cdef const float[::1] f
        cdef const int[::1] i
        n_azimuths, n_base = lag_at.shape
        if taps.shape != (n_azimuths, n_base, 4) or n_azimuths < 1 or n_base < 1:
            raise ValueError(f"taps {taps.shape} do not fit lags {lag_at.shape}")
        if pairs.shape[1] != 2 or not (0 <= pairs.min() and pairs.max() < self.n_mics):
            raise ValueError("a pair names a microphone that does not exist")
        if len(base_at) != n_base + 1 or base_at[0] != 0 or base_at[n_base] != len(pairs) or (np.diff(base_at) < 1).any():
            raise ValueError("baselines do not part the pairs")
        lags_max = int(max(-lag_at.min(), lag_at.max() + 3, 1))
        if 2 * lags_max >= self.n_window:
            raise ValueError(f"delays of {lags_max} samples do not fit a window of {self.n_window}")
        keep = {
            "window": np.array(window, np.float32), "twiddle": twiddles(self.n_window),
            "pairs": np.array(pairs, np.intc).reshape(-1), "base_at": np.array(base_at, np.intc),
            "lag_at": np.ascontiguousarray(lag_at + lags_max, np.intc).reshape(-1),
            "taps": np.array(taps, np.float32).reshape(-1),
        }
        self._keep = keep
        self.plan.n_base, self.plan.n_azimuths = n_base, n_azimuths
        self.n_azimuths = n_azimuths
        self.plan.lags_max, self.plan.n_lags = lags_max, 2 * lags_max + 1
        f = keep["window"]
        self.plan.window = &f[0]
        f = keep["twiddle"]
        self.plan.twiddle = &f[0]
        f = keep["taps"]
        self.plan.taps = &f[0]
        i = keep["pairs"]
        self.plan.pairs = &i[0]
        i = keep["base_at"]
        self.plan.base_at = &i[0]
        i = keep["lag_at"]
        self.plan.lag_at = &i[0]

    cdef int _allocate(self) except -1:
        cdef size_t vector = <size_t>self.lanes * 4, n_bins = self.plan.last_bin - self.plan.first_bin
        cdef size_t block = 4 * SRP_PITCH(self.n_window), n_pairs = (self.n_mics + 1) // 2
        cdef size_t n_cross = <size_t>(self.n_window + 2) * self.plan.n_base, n_lags = <size_t>self.plan.n_lags * (self.plan.n_base + 1)
        cdef size_t n_scratch = block * (n_pairs + 1) + n_cross + n_lags + self.plan.n_azimuths
        self.n_planes = 2 * <int>n_pairs  # microphones are transformed in twos: beside an odd one stands a silent one
        self.n_groups = (self.n_nodes + self.lanes - 1) // self.lanes
        self.rows = self.n_window + self.hop * BLOCK_FRAMES
        if posix_memalign(<void **>&self.samples, 64, self._n_samples() * 4):
            raise MemoryError
        if posix_memalign(<void **>&self.scratch, 64, n_scratch * vector):
            raise MemoryError
        if posix_memalign(<void **>&self.noise, 64, self.n_groups * 2 * n_bins * vector):
            raise MemoryError
        memset(self.scratch, 0, n_scratch * vector)
        self.work.spectrum = self.scratch
        self.work.spare = self.work.spectrum + block * n_pairs * self.lanes
        self.work.cross = self.work.spare + block * self.lanes
        self.work.lags = self.work.cross + n_cross * self.lanes
        self.work.map = self.work.lags + n_lags * self.lanes
        self.reset()
        return 0

    cdef size_t _n_samples(self) noexcept nogil:
        return <size_t>self.n_groups * self.n_planes * self.rows * self.lanes

    def __dealloc__(self):
        free(self.samples)
        free(self.scratch)
        free(self.noise)

    def reset(self):
        """Forget the samples held back for the next frame, and the noise floors."""
        memset(self.samples, 0, self._n_samples() * 4)
        self.held = self.begun = 0

    def frames_after(self, int n_samples):
        """How many frames ``process`` would give for ``n_samples`` more samples."""
        cdef int total = self.held + n_samples
        return 0 if total < self.n_window else (total - self.n_window) // self.hop + 1

    def process(self, const int16_t[:, :, ::1] samples, int[:, ::1] best, float[:, ::1] peak, float[:, ::1] mean,
                float[:, :, ::1] maps=None):
        """Frames that end in these samples, see the stub."""
        cdef int n_frames
        if samples.shape[0] != self.n_nodes or samples.shape[1] != self.n_mics:
            raise ValueError(
                f"{samples.shape[0]} nodes with {samples.shape[1]} microphones given, "
                f"{self.n_nodes} with {self.n_mics} expected")
        n_frames = self.frames_after(<int>samples.shape[2])
        if (best.shape[0] != self.n_nodes or peak.shape[0] != self.n_nodes or mean.shape[0] != self.n_nodes
                or best.shape[1] != n_frames or peak.shape[1] != n_frames or mean.shape[1] != n_frames):
            raise ValueError(f"results of {n_frames} frames of {self.n_nodes} nodes do not fit")
        if maps is not None and (maps.shape[0] != self.n_nodes or maps.shape[1] != n_frames
                                 or maps.shape[2] != self.n_azimuths):
            raise ValueError(f"maps of {n_frames} frames of {self.n_nodes} nodes do not fit")
        if samples.shape[2]:
            with nogil:
                self._process(samples, best, peak, mean, maps, n_frames > 0)
        return n_frames

    cdef void _process(self, const int16_t[:, :, ::1] samples, int[:, ::1] best, float[:, ::1] peak,
                       float[:, ::1] mean, float[:, :, ::1] maps, bint wanted) noexcept nogil:
        """All groups, in blocks of at most BLOCK_FRAMES frames."""
        cdef int group, mic, first, used, take, ready, frame, done = 0, at = 0, held = self.held
        cdef int n = <int>samples.shape[2]
        cdef ptrdiff_t mic_step = <ptrdiff_t>self.rows * self.lanes
        cdef float *rows
        while at < n:
            take = min(n - at, self.n_window + self.hop * (BLOCK_FRAMES - 1) - held)
            ready = 0
            if held + take >= self.n_window:
                ready = (held + take - self.n_window) // self.hop + 1
            for group in range(self.n_groups):
                first = group * self.lanes
                used = min(self.lanes, self.n_nodes - first)
                rows = self.samples + group * self.n_planes * mic_step
                for mic in range(self.n_mics):
                    lanes_fill(&samples[first, mic, at], <ptrdiff_t>self.n_mics * n, used, self.lanes, take,
                               rows + mic * mic_step + <ptrdiff_t>held * self.lanes)
                for frame in range(ready):
                    self._frame(group, rows + <ptrdiff_t>frame * self.hop * self.lanes, mic_step,
                                1 if self.begun or done + frame else 0, first, used, done + frame, best, peak, mean,
                                maps)
                for mic in range(self.n_mics):
                    memmove(rows + mic * mic_step, rows + mic * mic_step + <ptrdiff_t>ready * self.hop * self.lanes,
                            <size_t>(held + take - ready * self.hop) * self.lanes * 4)
            held += take - ready * self.hop
            done += ready
            at += take
        self.held = held
        if done:
            self.begun = 1

    cdef void _frame(self, int group, const float *rows, ptrdiff_t mic_step, int begun, int first, int used, int frame,
                     int[:, ::1] best, float[:, ::1] peak, float[:, ::1] mean, float[:, :, ::1] maps) noexcept nogil:
        """One frame of one group, its results put where the caller wants them."""
        cdef int lane, azimuth
        cdef ptrdiff_t n_noise = <ptrdiff_t>(self.plan.last_bin - self.plan.first_bin) * self.lanes
        cdef float *power = self.noise + 2 * group * n_noise
        # Aligned to the widest vector: the lanes' results are stored at once.
        cdef int *lane_best = <int *>self.work.spare
        cdef float *lane_peak = self.work.spare + 16
        cdef float *lane_mean = self.work.spare + 32
        srp_frame(&self.plan, self.lanes, rows, mic_step, begun, power, power + n_noise, &self.work, lane_best,
                  lane_peak, lane_mean)
        for lane in range(used):
            best[first + lane, frame] = lane_best[lane]
            peak[first + lane, frame] = lane_peak[lane]
            mean[first + lane, frame] = lane_mean[lane]
        if maps is not None:
            for lane in range(used):
                for azimuth in range(self.plan.n_azimuths):
                    maps[first + lane, frame, azimuth] = self.work.map[azimuth * self.lanes + lane]


cdef struct Hill:
    double value, gx, gy, hxx, hxy, hyy


cdef void climb_at(const double complex[:, ::1] cross, const double[:, ::1] delay_s, double omega, double omega_step,
                   double x, double y, Hill *hill) noexcept nogil:
    """Response, gradient and the negated second derivatives at (x, y)."""
    cdef Py_ssize_t b, k
    cdef double tau, w, re, im, c, s, c_step, s_step, turned, s0, s1, s2
    hill.value = hill.gx = hill.gy = hill.hxx = hill.hxy = hill.hyy = 0.0
    for b in range(cross.shape[0]):
        tau = delay_s[b, 0] * x + delay_s[b, 1] * y
        w = omega
        c, s = cos(w * tau), sin(w * tau)
        c_step, s_step = cos(omega_step * tau), sin(omega_step * tau)
        s0 = s1 = s2 = 0.0
        for k in range(cross.shape[1]):
            re = cross[b, k].real * c - cross[b, k].imag * s
            im = cross[b, k].real * s + cross[b, k].imag * c
            s0 += re
            s1 -= w * im
            s2 += w * w * re
            turned = c * c_step - s * s_step
            s = s * c_step + c * s_step
            c = turned
            w += omega_step
        hill.value += s0
        hill.gx += s1 * delay_s[b, 0]
        hill.gy += s1 * delay_s[b, 1]
        hill.hxx += s2 * delay_s[b, 0] * delay_s[b, 0]
        hill.hxy += s2 * delay_s[b, 0] * delay_s[b, 1]
        hill.hyy += s2 * delay_s[b, 1] * delay_s[b, 1]


def refine(const double complex[:, ::1] cross, const double[:, ::1] delay_s, double omega, double omega_step, double x,
           double y, double step_max=0.05):
    """Climb to the nearest maximum of the exact response, see the stub."""
    cdef Hill here, there
    cdef double damping, a, b, d, determinant, dx, dy, length, trace
    cdef int turn = 0, steps = 0
    if cross.shape[0] != delay_s.shape[0] or delay_s.shape[1] != 2:
        raise ValueError(f"cross spectra of {cross.shape[0]} baselines, {delay_s.shape[0]} given")
    if not (omega > 0.0 and omega_step > 0.0 and step_max > 0.0):
        raise ValueError("frequencies and the longest step must be positive")
    with nogil:
        climb_at(cross, delay_s, omega, omega_step, x, y, &here)
        damping = 1e-3
        while turn < STEPS_MAX:
            turn += 1
            trace = fabs(here.hxx) + fabs(here.hyy) + 1e-300
            a, b, d = here.hxx + damping * trace, here.hxy, here.hyy + damping * trace
            determinant = a * d - b * b
            if not (a > 0.0 and determinant > 1e-12 * trace * trace * damping):
                damping *= 8.0  # not the top of a hill yet: go along the gradient
                if damping > 1e9:
                    break
                continue
            dx, dy = (d * here.gx - b * here.gy) / determinant, (a * here.gy - b * here.gx) / determinant
            length = sqrt(dx * dx + dy * dy)
            if length > step_max:
                dx, dy = dx * step_max / length, dy * step_max / length
            climb_at(cross, delay_s, omega, omega_step, x + dx, y + dy, &there)
            if there.value >= here.value:
                x, y, here, steps = x + dx, y + dy, there, steps + 1
                damping = max(damping / 16.0, 1e-9)
                if length < 1e-7:
                    break
            else:
                damping *= 8.0
                if length < 1e-7 or damping > 1e9:
                    break
    return x, y, here.value
