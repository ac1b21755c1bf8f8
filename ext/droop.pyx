# gwanje: flags -ffp-contract=off
"""Droop, PI with back-calculation and the restoration of an island's frequency or voltage: the arithmetic of one period.

*Droop* turns a deviation into a power: nothing inside the dead band, a line beyond it, a limit at its end.

*Pi* holds a value with two terms; its integral is drawn to what was achieved with a tracking time of its own, so that
a saturated distribution cannot wind it up, and it can be seeded so that its next output is a given one.

*Restoration* is the integral action above droop. It works in velocity form: what was achieved in sum after the last
period plus a change, which is back-calculation at its fastest, and makes any taking-over bumpless. Its gain is
scheduled by the measured delay d such that ki d stays below a bound (phase margin 60 degrees and more); it stands still,
and leaves the island to droop, while frames are missing or too late.

Sources: J. M. Guerrero et al., "Hierarchical control of droop-controlled AC and DC microgrids", IEEE Trans. Ind.
Electron. 58(1) (2011), section III; K. J. Astrom, T. Hagglund, "Advanced PID Control" (2006), sections 3.5 and 3.6.
The twin is ``ext/reference/droop.py``.
"""

from libc.math cimport INFINITY, NAN, fabs, isfinite


cdef inline double _clip(double value, double low, double high) noexcept nogil:
    if value < low:
        return low
    if value > high:
        return high
    return value


cdef inline double _droop(double deviation, double slope, double deadband, double limit) noexcept nogil:
    cdef double beyond = fabs(deviation) - deadband
    if not beyond > 0.0:                                   # inside, or no number: nothing
        return 0.0
    return _clip(slope * (beyond if deviation > 0.0 else -beyond), -limit, limit)


def droop(double deviation, double slope, double deadband, double limit):
    """Output of a droop line.

    Args:
        deviation: measured less wanted; no number gives 0.
        slope: output per unit of deviation, negative where a rise shall lower the output.
        deadband: half width of the band without output.
        limit: greatest magnitude of the output.
    """
    return _droop(deviation, slope, deadband, limit)


def droop_many(const double[::1] deviation not None, const double[::1] slope not None, double deadband,
               const double[::1] limit not None, double[::1] out not None):
    """Droop lines of n devices (Volt/VAr, frequency-watt); the arguments as of :func:`droop`, ``out`` (n,) OUT.

    Raises:
        ValueError: lengths differ.
    """
    cdef Py_ssize_t i, n = deviation.shape[0]
    if not (slope.shape[0] == limit.shape[0] == out.shape[0] == n):
        raise ValueError("arrays of different length")
    with nogil:
        for i in range(n):
            out[i] = _droop(deviation[i], slope[i], deadband, limit[i])


cdef class Pi:
    """PI with back-calculation.

    Args:
        kp: output per unit of error.
        ki_per_s: output per unit of error and second.
        tracking_s: time constant with which the integral follows what was achieved, > 0.

    Raises:
        ValueError: a gain is not finite, or a tracking time not positive.
    """

    cdef double _kp
    cdef double _ki_per_s
    cdef double _tracking_s
    cdef readonly double integral
    cdef readonly double output

    def __init__(self, double kp, double ki_per_s, double tracking_s):
        self.tune(kp, ki_per_s, tracking_s)

    cpdef tune(self, double kp, double ki_per_s, double tracking_s):
        """Other gains; the integral stays. Raises as the constructor."""
        if not (isfinite(kp) and isfinite(ki_per_s) and 0.0 < tracking_s < INFINITY):
            raise ValueError("a gain that is no number, or a tracking time that is not positive")
        self._kp, self._ki_per_s, self._tracking_s = kp, ki_per_s, tracking_s

    cpdef seed(self, double output, double error):
        """Make the output of a step with this error the given one."""
        if isfinite(output) and isfinite(error):
            self.integral = output - self._kp * error
            self.output = output

    cpdef double step(self, double error, double achieved, double dt_s):
        """One period; returns the output, which stays while the error is no number.

        Args:
            error: wanted less measured.
            achieved: what the last output came to after every limit; no number leaves the integral alone.
            dt_s: since the last step.
        """
        cdef double pull = dt_s / self._tracking_s
        if not isfinite(error):
            return self.output
        if isfinite(achieved):
            self.integral += (achieved - self.output) * (pull if pull < 1.0 else 1.0)
        self.integral += self._ki_per_s * error * dt_s
        self.output = self._kp * error + self.integral
        return self.output


cdef class Restoration:
    """Integral action above droop, scheduled by delay.

    Args:
        ki_per_s: gain at little delay.
        kp: proportional part; large values meet the resonance of inertia and power loop.
        ki_delay_max: greatest product of gain and delay.
        delay_s_max: with more delay the action stands still.
        missing_max: as with this many periods without a new frame.

    Raises:
        ValueError: a gain or bound is negative or no number.

    Attributes:
        gain_per_s: in force in the last step, 0 while it stands still.
        frozen: it stands still.
        missing: periods since the last new frame.
    """

    cdef double _ki_per_s
    cdef double _kp
    cdef double _ki_delay_max
    cdef double _delay_s_max
    cdef int _missing_max
    cdef double _error
    cdef readonly double gain_per_s
    cdef readonly bint frozen
    cdef readonly int missing

    def __init__(self, double ki_per_s, double kp, double ki_delay_max, double delay_s_max, int missing_max):
        self.tune(ki_per_s, kp, ki_delay_max, delay_s_max, missing_max)
        self.reset()

    cpdef tune(self, double ki_per_s, double kp, double ki_delay_max, double delay_s_max, int missing_max):
        """Other gains. Raises as the constructor."""
        if not (0.0 <= ki_per_s < INFINITY and 0.0 <= kp < INFINITY and 0.0 < ki_delay_max < INFINITY
                and 0.0 < delay_s_max < INFINITY and missing_max >= 1):
            raise ValueError("a gain or a bound is negative or no number")
        self._ki_per_s, self._kp, self._ki_delay_max = ki_per_s, kp, ki_delay_max
        self._delay_s_max, self._missing_max = delay_s_max, missing_max

    cpdef reset(self):
        """Forget the last error and the missing frames."""
        self._error = NAN
        self.missing = 0
        self.frozen = False
        self.gain_per_s = 0.0

    cpdef double step(self, double error, bint fresh, double delay_s, double stiffness, double achieved, double dt_s):
        """One period; returns the wanted sum.

        Args:
            error: wanted less measured, Hz or pu.
            fresh: a new frame has come since the last step.
            delay_s: from the measurement to the effect of a command.
            stiffness: W per Hz (var per pu): what droop moves for one unit of deviation.
            achieved: sum of the last commands after every limit.
            dt_s: since the last step.
        """
        cdef double gain = self._ki_per_s, change
        self.missing = 0 if fresh else self.missing + 1
        self.frozen = (self.missing >= self._missing_max or not isfinite(error) or not isfinite(stiffness)
                       or not delay_s <= self._delay_s_max)
        if self.frozen:
            self._error = NAN
            self.gain_per_s = 0.0
            return achieved
        if delay_s > 0.0 and gain * delay_s > self._ki_delay_max:
            gain = self._ki_delay_max / delay_s
        self.gain_per_s = gain
        change = gain * error * dt_s
        if isfinite(self._error):
            change += self._kp * (error - self._error)
        self._error = error
        return achieved + stiffness * change
