"""Plausibility of measured values: range, rate, stuck, no number, sign against a model, and two out of three meters.

One call judges all values of a process image. What is wrong with a value is a bit in its flags; a value with any bit
but CLOCK must not be used. A sample is as old as its time stamp says, and never younger than since it came: a clock that
runs ahead cannot keep a dead value alive. A jump is doubted until several samples in a row agree with it: a disturbance is real when it stays.
A sign is wrong when the mirrored value fits the model and the value itself does not, several samples in a row.
The twin is ``ext/reference/plausibility.py``.
"""

from libc.math cimport NAN, fabs, isfinite
from libc.stdint cimport uint16_t, uint8_t
from libc.stdlib cimport calloc, free

MISSING, NUMBER, RANGE, RATE, STUCK, SIGN, CLOCK = 1, 2, 4, 8, 16, 32, 64

cdef enum:
    F_MISSING = 1
    F_NUMBER = 2
    F_RANGE = 4
    F_RATE = 8
    F_STUCK = 16
    F_SIGN = 32
    F_CLOCK = 64
    BAD = 0x8000               # of the quality: see core/tags/quality.py
    JUMP_SAMPLES = 3           # samples that must agree before a jump is believed
    SIGN_SAMPLES = 3           # samples in a row that must look mirrored

cdef double NEVER_S = 1e18
cdef double SIGN_SHARE = 0.3   # of the model: how near the mirrored value must be to it


cdef struct Watched:
    double value               # last sample that came
    double believed            # last one that was believed
    double believed_at_s
    double sampled_at_s
    double unchanged_s
    int jumped
    int mirrored
    int flags                  # of the last sample, without what the caller adds
    int seen
    double stamp_s             # of the last sample, whatever it was
    double came_s              # when it came


cdef class Plausibility:
    """Judge of n values.

    Args:
        low: (n,) least plausible value.
        high: (n,) greatest.
        rate_per_s: (n,) greatest change in a second; ``inf`` does not judge it.
        stuck_s: (n,) a value that stays the same to the bit for longer is stuck; ``inf`` does not judge it.
        sign_floor: (n,) models below this magnitude say nothing of a sign.

    Raises:
        ValueError: lengths differ or there are no values.
    """

    cdef const double[::1] _low
    cdef const double[::1] _high
    cdef const double[::1] _rate
    cdef const double[::1] _stuck_s
    cdef const double[::1] _floor
    cdef Watched* _one
    cdef Py_ssize_t _n

    def __init__(self, const double[::1] low not None, const double[::1] high not None,
                 const double[::1] rate_per_s not None, const double[::1] stuck_s not None,
                 const double[::1] sign_floor not None):
        self._n = low.shape[0]
        if self._n == 0 or not (high.shape[0] == rate_per_s.shape[0] == stuck_s.shape[0] == sign_floor.shape[0]
                                == self._n):
            raise ValueError("no values, or arrays of different length")
        self._low, self._high, self._rate, self._stuck_s, self._floor = low, high, rate_per_s, stuck_s, sign_floor
        cdef Py_ssize_t i
        free(self._one)
        self._one = <Watched*>calloc(self._n, sizeof(Watched))
        if self._one == NULL:
            raise MemoryError()
        for i in range(self._n):
            self._one[i].stamp_s = self._one[i].came_s = -NEVER_S

    def __dealloc__(self):
        free(self._one)

    cpdef int take(self, double now_s, const double[::1] value, const uint16_t[::1] quality, const double[::1] age_s,
                   const double[::1] model, const double[::1] hold_s, double skew_s, double[::1] usable,
                   double[::1] old_s, double[::1] stamp_s, uint8_t[::1] flags):
        """Judge what came of a period; returns how many values may not be used.

        Args:
            now_s: monotonic.
            value: (n,) as it came.
            quality: (n,) as :class:`gwanje.core.tags.quality.Quality`.
            age_s: (n,) by its time stamp; infinite or no number where nothing ever came.
            model: (n,) what it should be about; NaN where nobody knows.
            hold_s: (n,) older than this is missing.
            skew_s: a sample this far in the future has a wrong clock.
            usable: (n,) OUT: the values, NaN where they may not be used.
            old_s: (n,) OUT: age by time stamp, or since it came if that is more.
            stamp_s: (n,) OUT: when it was measured.
            flags: (n,) OUT.

        Raises:
            ValueError: lengths differ.
        """
        cdef Py_ssize_t i, n = self._n
        cdef int found, n_wrong = 0
        cdef double age, stamp, old
        cdef Watched* one
        if not (value.shape[0] == quality.shape[0] == age_s.shape[0] == model.shape[0] == hold_s.shape[0]
                == usable.shape[0] == old_s.shape[0] == stamp_s.shape[0] == flags.shape[0] == n):
            raise ValueError("arrays of different length")
        with nogil:
            for i in range(n):
                one = &self._one[i]
                age = age_s[i] if isfinite(age_s[i]) else NEVER_S
                stamp = now_s - age
                if fabs(stamp - one.stamp_s) > 1e-6:
                    one.stamp_s = stamp
                    one.came_s = now_s
                old = now_s - one.came_s
                if age > old:
                    old = age
                if quality[i] & BAD or not old <= hold_s[i]:
                    found = F_MISSING
                else:
                    found = self._judge(i, now_s, value[i], age, model[i])
                usable[i] = value[i] if found == 0 else NAN
                n_wrong += found != 0
                if age < -skew_s or (old > hold_s[i] and now_s - one.came_s < 0.5 * hold_s[i] and age < NEVER_S):
                    found |= F_CLOCK
                old_s[i] = old
                stamp_s[i] = one.stamp_s
                flags[i] = <uint8_t>found
        return n_wrong

    cpdef int check(self, double now_s, const double[::1] value, const uint8_t[::1] missing, const double[::1] age_s,
                    const double[::1] model, uint8_t[::1] flags):
        """Judge an image; returns how many values have a flag.

        Args:
            now_s: monotonic.
            value: (n,) as it came.
            missing: (n,) its quality is BAD, or it is too old.
            age_s: (n,) since it was measured; two images with the same ``now_s - age_s`` hold the same sample.
            model: (n,) what it should be about; NaN where nobody knows.
            flags: (n,) OUT.

        Raises:
            ValueError: lengths differ.
        """
        cdef Py_ssize_t i
        cdef int found, n_wrong = 0
        if not (value.shape[0] == missing.shape[0] == age_s.shape[0] == model.shape[0] == flags.shape[0] == self._n):
            raise ValueError("arrays of different length")
        with nogil:
            for i in range(self._n):
                found = F_MISSING if missing[i] else self._judge(i, now_s, value[i], age_s[i], model[i])
                flags[i] = <uint8_t>found
                n_wrong += found != 0
        return n_wrong

    cdef int _judge(self, Py_ssize_t i, double now_s, double value, double age_s, double model) noexcept nogil:
        cdef Watched* one = &self._one[i]
        cdef double at_s = now_s - age_s
        cdef int found = 0
        if not isfinite(value):
            return F_NUMBER
        if one.seen and fabs(at_s - one.sampled_at_s) < 1e-6:    # the same sample once more
            return one.flags
        if value < self._low[i] or value > self._high[i]:
            found = F_RANGE
        else:
            if one.seen and value == one.value:
                if at_s > one.sampled_at_s:
                    one.unchanged_s += at_s - one.sampled_at_s
            else:
                one.unchanged_s = 0.0
            if one.unchanged_s > self._stuck_s[i]:
                found |= F_STUCK
            if one.seen and fabs(value - one.believed) > self._rate[i] * fabs(at_s - one.believed_at_s):
                one.jumped += 1
                if one.jumped < JUMP_SAMPLES:
                    found |= F_RATE
            else:
                one.jumped = 0
            if fabs(model) >= self._floor[i] and fabs(value + model) <= SIGN_SHARE * fabs(model) and value * model < 0:
                one.mirrored += 1
            else:
                one.mirrored = 0
            if one.mirrored >= SIGN_SAMPLES:
                found |= F_SIGN
            if not found & F_RATE:
                one.believed = value
                one.believed_at_s = at_s
                one.jumped = 0
            one.seen = 1
        one.value = value
        one.sampled_at_s = at_s
        one.flags = found
        return found


def median3(double a, double b, double c, double apart):
    """Two out of three: the middle of three meters, and which one lies.

    Args:
        a: first meter; no number where it is not usable.
        b: second.
        c: third.
        apart: how far a meter may be from the middle.

    Returns:
        (value, liar): with three or two usable meters their median or mean, with one its value, with none NaN; ``liar``
        is the index of the meter that is farther than ``apart`` from a middle that another one agrees with, or -1. Two
        usable meters that disagree give no value: nobody knows which one lies.
    """
    cdef double[3] v
    cdef double low, high, middle
    cdef int i, n = 0, liar = -1
    cdef double total = 0.0
    v[0], v[1], v[2] = a, b, c
    for i in range(3):
        if isfinite(v[i]):
            n += 1
            total += v[i]
    if n == 0:
        return NAN, -1
    if n < 3:
        low, high = 1e300, -1e300
        for i in range(3):
            if isfinite(v[i]):
                low = v[i] if v[i] < low else low
                high = v[i] if v[i] > high else high
        return (total / n if high - low <= apart else NAN), -1
    middle = a if (a - b) * (a - c) <= 0 else b if (b - a) * (b - c) <= 0 else c
    n = 0
    for i in range(3):
        if fabs(v[i] - middle) > apart:
            liar = i
        else:
            n += 1
    return (middle if n >= 2 else NAN), (liar if n == 2 else -1)
