"""What kind of error a removed reading has, from what it said and what all others say in its place.

An operator who reads "ten times too much" changes a transformer's ratio in a file; "stuck" sends somebody out.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class GrossError(StrEnum):
    """Forms of errors, in the order in which they are tried."""

    STUCK = "stuck"
    TENFOLD = "tenfold"
    THOUSANDFOLD = "thousandfold"
    SIGN = "sign"
    SWAPPED = "swapped"
    TIME_SHIFT = "time_shift"
    OTHER = "other"


RATIO_BAND = 0.1
"""How far a ratio may lie from what it is taken for."""
ALIKE_SIGMAS = 4.0
STUCK_SAMPLES = 10
"""Equal values in a row that no instrument with noise shows."""
SHIFT_SAMPLES = 20
"""Values that must be at hand before a shift in time is looked for."""
SHIFT_GAIN = 0.1
"""A shift must leave less than this share of the mean square."""


def by_ratio(value: float, others: float, sigma: float) -> GrossError | None:
    """A factor between a reading and what the others say, when the reading is far from it.

    Args:
        value: what was read.
        others: what the others say in its place.
        sigma: of the difference.
    """
    if abs(value - others) < ALIKE_SIGMAS * sigma or abs(others) < ALIKE_SIGMAS * sigma:
        return None
    ratio = value / others
    for factor, kind in ((10.0, GrossError.TENFOLD), (1000.0, GrossError.THOUSANDFOLD)):
        if abs(ratio / factor - 1.0) < RATIO_BAND or abs(ratio * factor - 1.0) < RATIO_BAND:
            return kind
    return GrossError.SIGN if abs(ratio + 1.0) < RATIO_BAND else None


def is_stuck(values: Floats, others: Floats, sigma: float) -> bool:
    """Whether a reading stood still, to the last bit, while what it measures moved.

    Args:
        values: (k,) last readings, oldest first.
        others: (k,) what the others said at those times.
        sigma: of one of them.
    """
    last, beside = values[-STUCK_SAMPLES:], others[-STUCK_SAMPLES:]
    return len(last) == STUCK_SAMPLES and bool((last == last[0]).all()) and float(np.ptp(beside)) > 3.0 * sigma


def time_shift(values: Floats, others: Floats) -> int:
    """Samples by which a reading lags behind what it measures; 0 when no shift explains it.

    Args:
        values: (k,) last readings, oldest first, NaN where there was none.
        others: (k,) what the others said at those times.
    """
    k = len(values)
    if k < SHIFT_SAMPLES or np.isnan(values).any() or np.isnan(others).any():
        return 0
    half = k // 2
    recent = values[-half:]
    squares = [float(np.mean((recent - others[k - half - lag : k - lag]) ** 2)) for lag in range(k - half + 1)]
    best = int(np.argmin(squares))
    return best if best >= 2 and squares[best] < SHIFT_GAIN * squares[0] else 0


def swapped(values: Floats, others: Floats, sigmas: Floats) -> list[tuple[int, int]]:
    """Pairs of readings each of which shows what the other should.

    Args:
        values: (k,) removed readings.
        others: (k,) what the others say in their places.
        sigmas: (k,) of the differences.
    """
    found = []
    for a in range(len(values)):
        for b in range(a + 1, len(values)):
            band = ALIKE_SIGMAS * float(np.hypot(sigmas[a], sigmas[b]))
            crossed = abs(values[a] - others[b]) < band and abs(values[b] - others[a]) < band
            if crossed and abs(others[a] - others[b]) > band:
                found.append((a, b))
    return found
