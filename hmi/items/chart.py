"""Charts: round numbers for axes, and lines whose cost does not grow with their noise."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

MOST_TRAVEL = 4.0
"""Heights of the plot that a stroked line may go up and down: stroking costs 50 us per height, filling 1."""
FILLED_BELOW_PX = 3.0
"""Columns further apart than this look like blocks when they are filled."""
SPANS_S = (300, 900, 1_800, 3_600, 10_800, 21_600, 43_200, 86_400)
"""Widths that the time axis may have, from five minutes to the day."""
_TICKS_S = (10, 20, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 14_400, 21_600)


def value_ticks(low: float, high: float, n_max: int) -> list[float]:
    """Round numbers that cover low…high in at most ``n_max`` steps of 1, 2 or 5 times a power of ten.

    >>> value_ticks(-130.0, 1420.0, 5)
    [-500.0, 0.0, 500.0, 1000.0, 1500.0]
    """
    rough = max(high - low, 1e-9) / max(1, n_max - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    for factor in (1.0, 2.0, 5.0, 10.0, 20.0):
        step = factor * power
        first, last = math.floor(low / step), math.ceil(high / step)
        if last - first <= n_max - 1:
            break
    return [number * step for number in range(first, max(last, first + 1) + 1)]


def time_span(needed_s: float) -> int:
    """The narrowest width of :data:`SPANS_S` that shows ``needed_s``."""
    return next((span for span in SPANS_S if needed_s <= span), SPANS_S[-1])


def time_ticks(from_s: float, until_s: float, n_max: int) -> list[int]:
    """Round times within from…until, at most ``n_max`` of them."""
    step = next((one for one in _TICKS_S if (until_s - from_s) / one <= n_max), _TICKS_S[-1])
    first = math.ceil(from_s / step)
    return [number * step for number in range(first, math.floor(until_s / step) + 1)]


def clock_text(seconds: float, with_seconds: bool) -> str:
    """Time of day.

    >>> clock_text(36_061.9, True), clock_text(86_400, False)
    ('10:01:01', '24:00')
    """
    whole = int(seconds)
    hours, minutes = whole // 3_600, whole // 60 % 60
    return f"{hours:02d}:{minutes:02d}:{whole % 60:02d}" if with_seconds else f"{hours:02d}:{minutes:02d}"


def too_noisy(x: Floats, y_high: Floats, y_low: Floats, height: float) -> bool:
    """Whether n columns lie so close and reach so far that they are filled instead of stroked."""
    close = len(x) > 2 and float(np.median(np.diff(x))) < FILLED_BELOW_PX
    return close and float((y_low - y_high).sum()) > MOST_TRAVEL * height


def zigzag(x: Floats, y_low: Floats, y_high: Floats) -> list[tuple[float, float]]:
    """Points of a line through the least and greatest value of each of n columns."""
    points: list[tuple[float, float]] = []
    for at, lower, upper in zip(x.tolist(), y_low.tolist(), y_high.tolist(), strict=True):
        points.append((at, lower))
        if lower - upper > 1.0:
            points.append((at, upper))
    return points


def middle_line(x: Floats, y: Floats, height: float) -> list[tuple[float, float]]:
    """Points of a line through n columns, averaged over neighbours until it is calm enough for dashes.

    Dashes along a line that goes up and down in every column would look like noise and cost as much.
    """
    while len(y) > 2 and float(np.abs(np.diff(y)).sum()) > MOST_TRAVEL * height:
        even = len(y) // 2 * 2
        x, y = x[:even].reshape(-1, 2).mean(axis=1), y[:even].reshape(-1, 2).mean(axis=1)
    return list(zip(x.tolist(), y.tolist(), strict=True))


def touching_columns(
    x: Floats, y_high: Floats, y_low: Floats, width: float
) -> list[tuple[float, float, float, float]]:
    """Rectangles (left, top, width, height) of n noisy columns, each reaching to the one before, as a line would."""
    top, bottom = y_high.copy(), y_low.copy()
    top[1:] = np.minimum(top[1:], y_low[:-1])
    bottom[1:] = np.maximum(bottom[1:], y_high[:-1])
    wide = max(width, float(np.median(np.diff(x)))) if len(x) > 1 else width
    heights = np.maximum(bottom - top, width)
    return [(at - wide / 2, upper, wide, tall) for at, upper, tall in
            zip(x.tolist(), top.tolist(), heights.tolist(), strict=True)]  # fmt: skip
