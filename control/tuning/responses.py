"""Figures of a response: how a step dies away, and how well a stretch of time was held. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
BAND = 0.05
"""Share of the step within which it has settled."""
J_PER_KWH = 3.6e6


@dataclass(frozen=True, slots=True)
class StepFigures:
    """Of an error that a step made.

    Attributes:
        overshoot_pct: greatest error to the other side, of the step.
        settling_s: until it stays within ±5 % of the step; NaN when it does not within what was looked at.
        rise_s: from 90 % to 10 % of the error; NaN when it never gets there.
        iae_kws: integral of the absolute error.
        rms_w: root mean square of the error.
    """

    overshoot_pct: float
    settling_s: float
    rise_s: float
    iae_kws: float
    rms_w: float


def step_figures(error_w: Floats, step_w: float, dt_s: float) -> StepFigures:
    """Figures of a step.

    Args:
        error_w: (n,) from the moment of the step on, when it is ``step_w``.
        step_w: with its sign, not zero.
        dt_s: between two values.
    """
    left = error_w / step_w
    outside = np.nonzero(np.abs(left) > BAND)[0]
    settled = 0 if len(outside) == 0 else int(outside[-1]) + 1
    below90, below10 = (np.nonzero(left <= share)[0] for share in (0.9, 0.1))
    rise_s = (int(below10[0]) - int(below90[0])) * dt_s if len(below10) else math.nan
    return StepFigures(
        overshoot_pct=100.0 * max(float(-left.min()), 0.0),
        settling_s=settled * dt_s if settled < len(error_w) else math.nan,
        rise_s=rise_s,
        iae_kws=float(np.abs(error_w).sum()) * dt_s * 1e-3,
        rms_w=float(np.sqrt(np.mean(error_w**2))),
    )


@dataclass(frozen=True, slots=True)
class HoldFigures:
    """Of a stretch of time in which a set-point was to be held.

    Attributes:
        rms_pct: root mean square of the error, of the rating.
        max_pct: greatest error, of the rating.
        iae_kwh: integral of the absolute error.
        travel_mw: sum of all moves of the set-points: what the batteries are made to do.
        saturated_s: time in which the batteries' limits left some of the demand unserved.
        rated_s: time that counts: what was not recorded does not.
    """

    rms_pct: float
    max_pct: float
    iae_kwh: float
    travel_mw: float
    saturated_s: float
    rated_s: float


def hold_figures(
    error_w: Floats, discharge_setpoint_w: Floats, saturated: npt.NDArray[np.bool_], counts: npt.NDArray[np.bool_],
    rating_w: float, dt_s: float,
) -> HoldFigures:  # fmt: skip
    """Figures of a stretch; all arrays (n,), ``counts`` where it was recorded. NaN where nothing counts."""
    error_w, n = error_w[counts], int(counts.sum())
    if n == 0:
        return HoldFigures(math.nan, math.nan, math.nan, math.nan, 0.0, 0.0)
    moves = np.abs(np.diff(discharge_setpoint_w))[counts[1:]]
    return HoldFigures(
        rms_pct=100.0 * float(np.sqrt(np.mean(error_w**2))) / rating_w,
        max_pct=100.0 * float(np.abs(error_w).max()) / rating_w,
        iae_kwh=float(np.abs(error_w).sum()) * dt_s / J_PER_KWH,
        travel_mw=float(moves.sum()) * 1e-6,
        saturated_s=float(saturated[counts].sum()) * dt_s,
        rated_s=n * dt_s,
    )


def envelope(values: Floats, n_columns: int) -> tuple[Floats, Floats]:
    """Least and greatest value of each of ``n_columns`` stretches: what a picture shows of a long line."""
    edges = np.linspace(0, len(values), min(n_columns, len(values)) + 1).astype(int)
    low = np.minimum.reduceat(values, edges[:-1])
    high = np.maximum.reduceat(values, edges[:-1])
    return low, high
