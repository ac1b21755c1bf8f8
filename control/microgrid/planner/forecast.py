"""Forecasts of one series a day ahead with 10–90 % bands, learnt as the series comes; memory and work are bounded.

With each step, a quarter hour or an hour, one value comes and a forecast of all steps ahead goes. Three methods run
side by side, so that each day shows what the own one is worth:

- ``own``: the slot's slow mean of days of its kind, corrected for each lead time by how far yesterday, the same day of
  last week, this moment and this last day were off that mean. The weights of the four are found by recursive least
  squares with forgetting, for each lead time alone: near ones follow the moment, far ones the days.
- ``persistence``: what is now stays.
- ``similar_day``: mean of the same slot on the last four days of the same kind.

All of them forecast an *index*: the value divided by a reference that is known ahead: the clear sky for PV, the degrees
of heating for heat, 1 for the rest. Bands are quantiles of the errors that each method made at that lead time, in units
of the mean error of that time of day; they move with each value that comes, up when more than a tenth lies beyond and
down when less (a step of stochastic gradient descent on the pinball loss). A value that is missing (NaN) teaches
nothing, and one that is wild no more than one at the edge of what was seen.

Source: recursive least squares with exponential forgetting, L. Ljung, System Identification, 2nd ed. 1999, § 11.2.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from gwanje.control.microgrid.planner.assets import Floats

METHODS = ("own", "persistence", "similar_day")
QUANTILES = np.array([0.1, 0.5, 0.9])
SIMILAR = METHODS.index("similar_day")
SIMILAR_DAYS = 4
KINDS = 2
"""Kinds of days: working (0), free (1)."""
NORMAL = np.array([-1.6, 0.0, 1.6])
"""Quantiles to begin with, in mean absolute errors: those of a normal error."""
N_FEATURES = 4
WEEK = 7
WILD = 10.0
"""An index further from the slot's mean than so many mean errors is taken as if it were that far: a normal error is
so once in 10¹⁵."""


@dataclass(frozen=True, slots=True)
class ForecastParams:
    """How a series is forecast.

    Attributes:
        slots: steps of a day.
        horizon: steps ahead, at most a day.
        profile_days: after this many days of its kind a slot's mean has followed to two thirds.
        memory_days: the least squares forget with this time.
        ridge: how firmly the first weights hold, in samples.
        band_gain: how far a quantile moves for one value, in mean absolute errors.
        value_min: no forecast lies below.
    """

    slots: int = 96
    horizon: int = 96
    profile_days: float = 8.0
    memory_days: float = 28.0
    ridge: float = 40.0
    band_gain: float = 0.03
    value_min: float = 0.0

    def __post_init__(self) -> None:
        if not (1 <= self.slots <= 1_440 and 1 <= self.horizon <= self.slots):
            raise ValueError("1…1440 slots of a day, and a horizon of at most a day")
        if min(self.profile_days, self.memory_days, self.ridge, self.band_gain) <= 0:
            raise ValueError("times, ridge and gain are positive")


@dataclass(frozen=True, slots=True)
class ForecastState:
    """What is known of a series. Rings are indexed by step modulo their length.

    Attributes:
        step: steps so far.
        past: (8 · slots,) index of the last days, NaN where it is missing.
        kinds: (8 · slots,) kind of day of each.
        similar: (KINDS, SIMILAR_DAYS, slots) index of the last days of each kind.
        profile: (KINDS, slots) slow mean of the index; NaN before the slot was seen.
        away: (horizon,) ring: how far the index was off the profile.
        level: (horizon,) ring: mean of that over a day.
        level_now: mean of it now.
        weights: (horizon, N_FEATURES).
        covariance: (horizon, N_FEATURES, N_FEATURES) of the least squares.
        made: (methods, horizon, horizon) ring of the point forecasts: made at [step modulo], for [lead − 1].
        bands: (methods, horizon, 3, horizon) ring of what was given out with them, for scores.
        spread: (methods, slots) mean absolute error of the time of day; NaN before the first.
        quantile: (methods, horizon, 3) of the errors in spreads.
    """

    step: int
    past: Floats
    kinds: npt.NDArray[np.int8]
    similar: Floats
    profile: Floats
    away: Floats
    level: Floats
    level_now: float
    weights: Floats
    covariance: Floats
    made: Floats
    bands: Floats
    spread: Floats
    quantile: Floats


@dataclass(frozen=True, slots=True)
class Inputs:
    """What comes with a step.

    Attributes:
        value: of this step; NaN when it is missing.
        slot: of the day that this step is.
        kind: of this day.
        reference: of this step; 0 where there is nothing (night): it then teaches nothing.
        kinds_ahead: (horizon,) of the days of the steps ahead.
        reference_ahead: (horizon,).
    """

    value: float
    slot: int
    kind: int
    reference: float
    kinds_ahead: npt.NDArray[np.int8]
    reference_ahead: Floats


@dataclass(frozen=True, slots=True)
class Forecast:
    """10 %, 50 % and 90 % of each step ahead, in the series' unit; NaN before anything was seen.

    Attributes:
        low: (horizon,).
        middle: (horizon,).
        high: (horizon,).
    """

    low: Floats
    middle: Floats
    high: Floats


@dataclass(frozen=True, slots=True)
class Judged:
    """How forecasts of this very step, made at all lead times, compare with what came.

    Attributes:
        pinball: (methods,) mean pinball loss of the three quantiles over the lead times, in the series' unit; NaN
            where nothing was forecast or nothing came.
        inside: (methods,) share of the lead times whose 10–90 % band holds what came.
        absolute: (methods,) mean absolute error of the middle.
    """

    pinball: Floats
    inside: Floats
    absolute: Floats


def begin(params: ForecastParams) -> ForecastState:
    """Nothing is known."""
    n, h, m = params.slots, params.horizon, len(METHODS)
    lead = np.arange(1, h + 1)
    weights = np.zeros((h, N_FEATURES))
    weights[:, 0], weights[:, 1] = 0.1, 0.1
    weights[:, 2] = 0.9 * np.exp(-lead / (n / 12))  # the moment counts for about two hours until it is known better
    weights[:, 3] = 0.3
    return ForecastState(
        step=0,
        past=np.full((WEEK + 1) * n, np.nan),
        kinds=np.zeros((WEEK + 1) * n, np.int8),
        similar=np.full((KINDS, SIMILAR_DAYS, n), np.nan),
        profile=np.full((KINDS, n), np.nan),
        away=np.full(h, np.nan),
        level=np.zeros(h),
        level_now=0.0,
        weights=weights,
        covariance=np.broadcast_to(np.eye(N_FEATURES), (h, N_FEATURES, N_FEATURES)).copy(),
        made=np.full((m, h, h), np.nan),
        bands=np.full((m, h, 3, h), np.nan),
        spread=np.full((m, n), np.nan),
        quantile=np.broadcast_to(NORMAL, (m, h, 3)).copy(),
    )


def step(
    state: ForecastState, inputs: Inputs, params: ForecastParams
) -> tuple[ForecastState, dict[str, Forecast], Judged]:
    """One value comes, forecasts of the steps ahead go, by each method.

    Returns:
        The next state, a forecast by each of :data:`METHODS`, and how the earlier forecasts of this step did.
    """
    _check(inputs, params)
    seen = inputs.value / inputs.reference if inputs.reference > 0 else np.nan
    judged = _judge(state, inputs.value, params)
    state = _learn(state, seen, inputs, params)
    points = _points(state, inputs, params)
    return _give(state, points, inputs, params, judged)


def _check(inputs: Inputs, params: ForecastParams) -> None:
    ahead = (inputs.kinds_ahead, inputs.reference_ahead)
    if not 0 <= inputs.slot < params.slots or any(one.shape != (params.horizon,) for one in ahead):
        raise ValueError("slot or arrays ahead do not fit the parameters")


def _diagonal(state: ForecastState, params: ForecastParams) -> npt.NDArray[np.int64]:
    """Where the forecasts of the present step stand in the rings, by lead time 1, 2, …"""
    return (state.step - np.arange(1, params.horizon + 1)) % params.horizon


def _judge(state: ForecastState, value: float, params: ForecastParams) -> Judged:
    lead = np.arange(params.horizon)
    given = state.bands[:, _diagonal(state, params), :, lead]  # (horizon, methods, 3)
    error = value - given
    loss = np.maximum(QUANTILES * error, (QUANTILES - 1) * error).mean(axis=2)
    known = np.isfinite(loss)
    inside = (given[:, :, 0] <= value) & (value <= given[:, :, 2])
    count = known.sum(axis=0)
    some = np.where(count > 0, 1.0, np.nan)
    share = np.maximum(count, 1)
    return Judged(
        np.where(known, loss, 0.0).sum(axis=0) / share * some,
        (inside & known).sum(axis=0) / share * some,
        np.where(known, np.abs(error[:, :, 1]), 0.0).sum(axis=0) / share * some,
    )


def _learn(state: ForecastState, seen: float, inputs: Inputs, params: ForecastParams) -> ForecastState:
    """Bands, weights, profile and rings after one index; a missing one leaves all but the rings as they are."""
    n, slot, kind = params.slots, inputs.slot, inputs.kind
    usual = _usual(state, kind, slot)
    seen = _tamed(state, seen, usual)
    past, kinds = state.past.copy(), state.kinds.copy()
    at = state.step % len(past)
    past[at], kinds[at] = seen, kind
    if not np.isfinite(seen):
        away = state.away.copy()
        away[state.step % params.horizon] = np.nan
        level = state.level.copy()
        level[state.step % params.horizon] = state.level_now
        return replace(state, past=past, kinds=kinds, away=away, level=level)
    weights, covariance = _least_squares(state, seen, usual, params)
    quantile, spread = _bands(state, seen, slot, params)
    similar, profile = state.similar.copy(), state.profile.copy()
    similar[kind, 1:, slot] = state.similar[kind, :-1, slot]
    similar[kind, 0, slot] = seen
    before = profile[kind, slot]
    days = int(np.isfinite(similar[kind, :, slot]).sum())
    gain = max(1.0 / params.profile_days, 1.0 / days)
    profile[kind, slot] = seen if not np.isfinite(before) else before + gain * (seen - before)
    off = seen - usual if np.isfinite(usual) else 0.0
    level_now = state.level_now + (off - state.level_now) / n
    away, level = state.away.copy(), state.level.copy()
    away[state.step % params.horizon], level[state.step % params.horizon] = off, level_now
    return replace(
        state, past=past, kinds=kinds, similar=similar, profile=profile, away=away, level=level, level_now=level_now,
        weights=weights, covariance=covariance, spread=spread, quantile=quantile,
    )  # fmt: skip


def _usual(state: ForecastState, kind: int, slot: int) -> float:
    """The profile of the kind; of the other where this kind was never seen."""
    own = float(state.profile[kind, slot])
    return own if np.isfinite(own) else float(state.profile[1 - kind, slot])


def _tamed(state: ForecastState, seen: float, usual: float) -> float:
    """An index within what errors so far let one expect; any, before two days were seen."""
    if state.step < 2 * state.spread.shape[1] or not np.isfinite(usual):
        return seen
    known = state.spread[SIMILAR][np.isfinite(state.spread[SIMILAR])]
    far = WILD * float(known.mean()) if len(known) else 0.0
    return float(np.clip(seen, usual - far, usual + far)) if far > 0 else seen


def _least_squares(
    state: ForecastState, seen: float, usual: float, params: ForecastParams
) -> tuple[Floats, Floats]:
    """The weights of every lead time after what came now; each had its features when its forecast was made."""
    if not np.isfinite(usual):
        return state.weights, state.covariance
    h, n, length = params.horizon, params.slots, len(state.past)
    day, week = state.past[(state.step - n) % length], state.past[(state.step - WEEK * n) % length]
    then = _diagonal(state, params)
    x = np.empty((h, N_FEATURES))
    x[:, 0], x[:, 1] = day - usual, week - usual
    x[:, 2], x[:, 3] = state.away[then], state.level[then]
    x[~np.isfinite(x)] = 0.0
    scale = _scale(state)  # of the order of one, so that the ridge means samples
    x = x / scale
    target = (seen - usual) / scale
    forget = np.exp(-1.0 / (params.memory_days * n))
    covariance = state.covariance
    weighted = np.einsum("hij,hj->hi", covariance, x)
    gain = weighted / (forget * params.ridge + np.einsum("hi,hi->h", x, weighted))[:, None]
    miss = target - np.einsum("hi,hi->h", x, state.weights)
    weights = state.weights + gain * miss[:, None]
    covariance = (covariance - gain[:, :, None] * weighted[:, None, :]) / forget
    # What is never excited would grow without end.
    trace = np.trace(covariance, axis1=1, axis2=2)
    covariance /= np.maximum(1.0, trace / N_FEATURES)[:, None, None]
    return weights, covariance


def _scale(state: ForecastState) -> float:
    """A typical size of the index."""
    size = np.abs(state.profile[np.isfinite(state.profile)])
    return max(float(size.mean()), 1e-9) if len(size) else 1.0


def _bands(state: ForecastState, seen: float, slot: int, params: ForecastParams) -> tuple[Floats, Floats]:
    """Quantiles and spreads after what came now."""
    lead = np.arange(params.horizon)
    error = seen - state.made[:, _diagonal(state, params), lead]  # (methods, horizon)
    known = np.isfinite(error)
    count = known.sum(axis=1)
    mean = np.where(known, np.abs(error), 0.0).sum(axis=1) / np.maximum(count, 1)
    spread = state.spread.copy()
    before = spread[:, slot]
    followed = np.where(np.isfinite(before), before + (mean - before) / params.profile_days, mean)
    spread[:, slot] = np.where(count > 0, followed, before)
    typical = _spreads(state)[:, slot]
    unit = np.where(np.isfinite(typical) & (typical > 0), typical, np.where(mean > 0, mean, 1.0))
    below = (error / unit[:, None])[:, :, None] < state.quantile
    moved = state.quantile + params.band_gain * (QUANTILES - below) * np.array([2.0, 1.0, 2.0])
    quantile = np.where(known[:, :, None], np.sort(moved, axis=2), state.quantile)
    return quantile, spread


def _spreads(state: ForecastState) -> Floats:
    """(methods, slots): mean error of each time of day, smoothed over its neighbours; NaN where nothing is known."""
    known = np.isfinite(state.spread)
    filled = np.where(known, state.spread, 0.0)
    total = filled + np.roll(filled, 1, axis=1) + np.roll(filled, -1, axis=1)
    count = known.astype(float) + np.roll(known, 1, axis=1) + np.roll(known, -1, axis=1)
    overall = filled.sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    anywhere = np.where(known.any(axis=1), overall, np.nan)
    return np.where(count > 0, total / np.maximum(count, 1.0), anywhere[:, None])


def _points(state: ForecastState, inputs: Inputs, params: ForecastParams) -> Floats:
    """(methods, horizon): index of the steps ahead by each method."""
    h, n, length = params.horizon, params.slots, len(state.past)
    ahead = np.arange(1, h + 1)
    slots, kinds = (inputs.slot + ahead) % n, inputs.kinds_ahead
    usual = state.profile[kinds, slots]
    usual = np.where(np.isfinite(usual), usual, state.profile[1 - kinds, slots])
    recent = state.past[(state.step - np.arange(n)) % length]
    last = recent[np.isfinite(recent)]
    now = float(last[0]) if len(last) else np.nan
    usual = np.where(np.isfinite(usual), usual, now)
    x = np.empty((h, N_FEATURES))
    x[:, 0] = state.past[(state.step + ahead - n) % length] - usual
    x[:, 1] = state.past[(state.step + ahead - WEEK * n) % length] - usual
    x[:, 2], x[:, 3] = state.away[state.step % h], state.level_now
    x[~np.isfinite(x)] = 0.0
    own = usual + np.einsum("hi,hi->h", x, state.weights)
    days = state.similar[kinds, :, slots]
    known = np.isfinite(days)
    mean = np.where(known, days, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    similar = np.where(known.any(axis=1), mean, usual)
    return np.stack([own, np.full(h, now), similar])


def _give(
    state: ForecastState, points: Floats, inputs: Inputs, params: ForecastParams, judged: Judged
) -> tuple[ForecastState, dict[str, Forecast], Judged]:
    """Bands around the points, in the series' unit; all of it noted for later."""
    slots = (inputs.slot + np.arange(1, params.horizon + 1)) % params.slots
    spread = np.nan_to_num(_spreads(state)[:, slots])
    index = points[:, :, None] + spread[:, :, None] * state.quantile
    value = np.maximum(index * inputs.reference_ahead[None, :, None], params.value_min)
    made, bands = state.made.copy(), state.bands.copy()
    at = state.step % params.horizon
    made[:, at] = points
    bands[:, at] = value.transpose(0, 2, 1)
    state = replace(state, step=state.step + 1, made=made, bands=bands)
    given = {
        name: Forecast(value[m, :, 0], value[m, :, 1], value[m, :, 2]) for m, name in enumerate(METHODS)
    }
    return state, given, judged
