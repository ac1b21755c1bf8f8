"""From measured seconds to quarter hours to forecasts and their daily scores; all pure, and bounded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from gwanje.control.microgrid.planner import forecast
from gwanje.control.microgrid.planner.assets import Floats
from gwanje.control.microgrid.planner.forecast import METHODS, Forecast, ForecastParams, ForecastState, Inputs

QUARTER_NS = 900 * 1_000_000_000
KNOWN_SHARE = 0.2
"""A quarter hour of which less was measured has no mean."""
GAP_MAX = 96
"""Quarter hours without anything that are filled in as missing; after a longer pause learning goes on where it is."""

Calendar = Callable[[npt.NDArray[np.int64]], tuple[npt.NDArray[np.int64], npt.NDArray[np.int8]]]
"""UTC ns of quarter hours → slot of the local day (0…95) and kind of the day (0 working, 1 free)."""
Reference = Callable[[str, npt.NDArray[np.int64]], Floats]
"""Series and UTC ns of quarter hours → what its index is relative to."""


@dataclass(frozen=True, slots=True)
class QuarterState:
    """Sums of the quarter hour that runs.

    Attributes:
        quarter: its number, UTC ns by :data:`QUARTER_NS`; -1 before the first value.
        known_s: (n,) seconds that were measured.
        sums: (n,) value times seconds.
    """

    quarter: int
    known_s: Floats
    sums: Floats


def begin_quarters(n: int) -> QuarterState:
    """Nothing measured of ``n`` series."""
    return QuarterState(-1, np.zeros(n), np.zeros(n))


def accumulate(
    state: QuarterState, values: Floats, utc_ns: int, dt_s: float
) -> tuple[QuarterState, list[tuple[int, Floats]]]:
    """Take measured values for the last ``dt_s`` seconds.

    Args:
        state: so far.
        values: (n,) NaN where nothing is known.
        utc_ns: now. A clock set back begins a new quarter hour and closes none.
        dt_s: seconds since the last call.

    Returns:
        The state, and the quarter hours that have ended with their means; NaN where too little was measured.
    """
    quarter, closed = utc_ns // QUARTER_NS, []
    if quarter != state.quarter:
        if 0 <= state.quarter < quarter:
            known = state.known_s >= KNOWN_SHARE * 900.0
            mean = np.where(known, state.sums / np.maximum(state.known_s, 1e-9), np.nan)
            closed.append((state.quarter, mean))
            missing = range(state.quarter + 1, quarter) if quarter - state.quarter <= GAP_MAX else range(0)
            closed += [(one, np.full(len(values), np.nan)) for one in missing]
        state = QuarterState(quarter, np.zeros(len(values)), np.zeros(len(values)))
    known = np.isfinite(values)
    return replace(
        state, known_s=state.known_s + known * dt_s, sums=state.sums + np.where(known, values, 0.0) * dt_s
    ), closed


@dataclass(frozen=True, slots=True)
class DayScore:
    """How the forecasts of one day did.

    Attributes:
        day: local, as days of its quarters' numbers.
        n: quarter hours that were scored.
        pinball: (methods,) mean pinball loss, in the series' unit.
        inside: (methods,) share inside the 10–90 % band.
    """

    day: int
    n: int
    pinball: Floats
    inside: Floats


@dataclass(frozen=True, slots=True)
class SeriesState:
    """One series: its forecaster, what it last forecast, and the scores of the day that runs."""

    state: ForecastState
    last: Mapping[str, Forecast] | None
    made_quarter: int
    day: int
    n: int
    pinball: Floats
    inside: Floats


def begin_series(params: ForecastParams) -> SeriesState:
    """Nothing is known."""
    none = np.zeros(len(METHODS))
    return SeriesState(forecast.begin(params), None, -1, -1, 0, none, none)


def learn(
    one: SeriesState, quarter: int, mean: float, name: str, params: ForecastParams, calendar: Calendar,
    reference: Reference,
) -> tuple[SeriesState, DayScore | None]:  # fmt: skip
    """A quarter hour has ended: forecast anew, score what was forecast of it; the score of a day that is over."""
    quarters = np.arange(quarter, quarter + params.horizon + 1, dtype=np.int64)
    slots, kinds = calendar(quarters * QUARTER_NS)
    relative = reference(name, quarters * QUARTER_NS)
    inputs = Inputs(mean, int(slots[0]), int(kinds[0]), float(relative[0]), kinds[1:], relative[1:])
    state, given, judged = forecast.step(one.state, inputs, params)
    closed = None
    begins = int(slots[0]) == 0 or quarter - one.made_quarter > GAP_MAX
    if begins and one.n:
        closed = DayScore(one.day, one.n, one.pinball / one.n, one.inside / one.n)
    if begins or one.day < 0:
        none = np.zeros(len(METHODS))
        one = replace(one, day=quarter // 96, n=0, pinball=none, inside=none)
    if np.isfinite(judged.pinball).all():
        one = replace(one, n=one.n + 1, pinball=one.pinball + judged.pinball, inside=one.inside + judged.inside)
    return replace(one, state=state, last=given, made_quarter=quarter), closed


def ahead(one: SeriesState, quarter: int, n: int, now: float) -> Forecast:
    """Forecast of ``n`` quarter hours from the one that runs, by the own method.

    What the last forecast no longer covers, or never knew, stays as it is now; NaN when that is not known either.
    """
    filled = np.full(n, now)
    if one.last is None or not 0 < quarter - one.made_quarter <= len(one.last["own"].middle):
        return Forecast(filled, filled, filled)
    begin = quarter - one.made_quarter - 1
    bands = []
    for band in (one.last["own"].low, one.last["own"].middle, one.last["own"].high):
        known = band[begin : begin + n]
        whole = np.concatenate([known, np.full(n - len(known), known[-1])])
        bands.append(np.where(np.isfinite(whole), whole, now))
    if np.isfinite(now):
        bands[1] = bands[1].copy()
        bands[1][0] = now  # of the quarter hour that runs the best forecast is what is
    return Forecast(*bands)
