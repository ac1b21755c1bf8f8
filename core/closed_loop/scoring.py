"""Numbers out of a run's record: extremes, settling, root mean squares, times outside, quarter hours; and criteria.

A :class:`Measure` looks at one signal, or at the sum of several, in a window of time. A :class:`Criterion` says what a
metric must be; a metric that is missing or no number never passes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gwanje.core.closed_loop.interface import Floats
from gwanje.core.closed_loop.runner import Record

QUARTER_S = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One number of a run.

    Attributes:
        name: of the metric; its unit is the last word.
        of: kind, of :data:`KINDS`.
        signals: their sum is looked at; one with "-" before its name is subtracted.
        beside: another signal, for kinds that look at two.
        from_s: window, seconds of the run.
        until_s: its end.
        target: what it is compared with.
        band: how near counts.
        scale: the result is multiplied by it.
        positive: samples of signals that are not above nothing (a dead bus' frequency) are left out.
    """

    name: str
    of: str
    signals: tuple[str, ...]
    beside: str = ""
    from_s: float = 0.0
    until_s: float = math.inf
    target: float = 0.0
    band: float = 0.0
    scale: float = 1.0
    positive: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """What a metric must be, and why."""

    metric: str
    at_least: float = -math.inf
    at_most: float = math.inf
    why: str = ""

    def holds(self, metrics: Mapping[str, object]) -> bool:
        """Whether it is so; not when there is no such number."""
        value = metrics.get(self.metric)
        if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
            return False
        return self.at_least <= value <= self.at_most

    def text(self) -> str:
        """In words."""
        limits = [f">= {self.at_least:g}"] if math.isfinite(self.at_least) else []
        limits += [f"<= {self.at_most:g}"] if math.isfinite(self.at_most) else []
        return f"{self.metric} {' and '.join(limits)}"


@dataclass(frozen=True, slots=True)
class Window:
    """Samples of a signal inside a measure's window.

    Attributes:
        at_s: times.
        x: values.
        for_s: how long each stands: until the next.
        beside: values of the other signal.
    """

    at_s: Floats
    x: Floats
    for_s: Floats
    beside: Floats

    def mean(self, values: Floats) -> float:
        """Over time."""
        return float(values @ self.for_s / self.for_s.sum())


def _extreme_abs(w: Window, m: Measure) -> float:
    return float(np.abs(w.x - m.target).max())


def _rms(w: Window, m: Measure) -> float:
    return math.sqrt(w.mean((w.x - m.target) ** 2))


def _settle(w: Window, m: Measure) -> float:
    """Seconds from the window's beginning until it stays near; infinite when it does not."""
    outside = np.flatnonzero(~(np.abs(w.x - m.target) <= m.band))
    if not len(outside):
        return 0.0
    last = int(outside[-1])
    return math.inf if last + 1 >= len(w.x) else float(w.at_s[last + 1] - m.from_s)


def _reach(w: Window, m: Measure) -> float:
    """Seconds until it is near for the first time; infinite when never."""
    near = np.flatnonzero(np.abs(w.x - m.target) <= m.band)
    return float(w.at_s[near[0]] - m.from_s) if len(near) else math.inf


def _outside(w: Window, m: Measure) -> float:
    """Seconds away from the target by more than the band."""
    return float((~(np.abs(w.x - m.target) <= m.band)) @ w.for_s)


def _quarter_max(w: Window, m: Measure) -> float:
    """Greatest mean of a whole quarter of an hour; of the part that there is when there is none."""
    quarter = np.floor(w.at_s / QUARTER_S + 1e-9).astype(int)
    seconds = np.bincount(quarter - quarter[0], weights=w.for_s)
    means = np.bincount(quarter - quarter[0], weights=w.x * w.for_s) / np.maximum(seconds, 1e-9)
    whole = seconds >= QUARTER_S - 1.5 * float(w.for_s.max())
    return float(means[whole].max()) if whole.any() else w.mean(w.x)


def _rises(w: Window, m: Measure) -> float:
    """How often it goes above the target."""
    above = w.x > m.target
    return float(np.sum(above[1:] & ~above[:-1]))


def _rate_max(w: Window, m: Measure) -> float:
    """Greatest change per second between two samples."""
    return float((np.abs(np.diff(w.x)) / w.for_s[:-1]).max()) if len(w.x) > 1 else 0.0


def _change_rms(w: Window, m: Measure) -> float:
    """Root mean square of the change per second."""
    return math.sqrt(float(np.mean((np.diff(w.x) / w.for_s[:-1]) ** 2))) if len(w.x) > 1 else 0.0


def _fall(w: Window, m: Measure) -> float:
    """Seconds until it first falls below the target; infinite when never."""
    at = _fall_at(w, m)
    return math.inf if at is None else float(w.at_s[at] - m.from_s)


def _before_fall(w: Window, m: Measure) -> float:
    """The other signal's last value before it falls below the target."""
    at = _fall_at(w, m)
    return math.nan if at is None else float(w.beside[at - 1])


def _fall_at(w: Window, m: Measure) -> int | None:
    falls = np.flatnonzero((w.x[:-1] >= m.target) & (w.x[1:] < m.target))
    return int(falls[0]) + 1 if len(falls) else None


def _excursions(w: Window, m: Measure) -> tuple[list[float], list[float]]:
    """Seconds of each time below the target: those that the other signal excuses when they begin, and the others.

    What is excused is so for the measure's band at most: what lasts longer has another cause as well.
    """
    below = np.concatenate([[False], w.x < m.target, [False]])
    edges = np.flatnonzero(below[1:] != below[:-1])
    excused: list[float] = []
    others: list[float] = []
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        seconds = float(w.for_s[begin:end].sum())
        right = w.beside[begin] > 0.5 and seconds <= m.band + 1e-9
        (excused if right else others).append(seconds)
    return excused, others


KINDS: Mapping[str, Callable[[Window, Measure], float]] = {
    "min": lambda w, m: float(w.x.min()),
    "max": lambda w, m: float(w.x.max()),
    "mean": lambda w, m: w.mean(w.x),
    "first": lambda w, m: float(w.x[0]),
    "final": lambda w, m: float(w.x[-1]),
    "change": lambda w, m: float(w.x[-1] - w.x[0]),
    "integral_h": lambda w, m: float(w.x @ w.for_s / 3600.0),
    "max_abs": _extreme_abs,
    "rms": _rms,
    "settle": _settle,
    "reach": _reach,
    "outside": _outside,
    "quarter_max": _quarter_max,
    "rises": _rises,
    "rate_max": _rate_max,
    "change_rms": _change_rms,
    "fall": _fall,
    "before_fall": _before_fall,
    "below_excused": lambda w, m: float(sum(_excursions(w, m)[0])),
    "below_unexcused": lambda w, m: float(sum(_excursions(w, m)[1])),
}
"""What can be asked of a signal."""


def measured(record: Record, one: Measure) -> float:
    """The number; NaN when the window or the signal is empty."""
    if len(record.at_s) < 2:
        return math.nan
    inside = (record.at_s >= one.from_s - 1e-9) & (record.at_s <= one.until_s + 1e-9)
    for_s = np.diff(record.at_s, append=2.0 * record.at_s[-1] - record.at_s[-2])
    x = np.zeros(int(inside.sum()))
    for signal in one.signals:
        values = record.series[signal.removeprefix("-")][inside]
        x = x - values if signal.startswith("-") else x + values
    beside = record.series[one.beside][inside] if one.beside else x
    kept = np.isfinite(x) & ((x > 0.0) if one.positive else True)
    if one.of in ("settle", "reach", "outside"):
        kept[:] = True  # what is not known is not near
    if not kept.any():
        return math.nan
    window = Window(record.at_s[inside][kept], x[kept], for_s[inside][kept], beside[kept])
    return KINDS[one.of](window, one) * one.scale


def score(record: Record, measures: Sequence[Measure]) -> dict[str, float]:
    """All of them, and what every run tells: refusals, modes, lost samples, greatest step beside a change of mode."""
    found = {one.name: measured(record, one) for one in measures}
    found["mode_changes"] = float(max(len(record.modes) - 1, 0))
    found["requests_refused"] = float(len(record.refused))
    found["bump_w"] = record.bump_w
    found["samples_lost_share"] = record.lost / record.sent if record.sent else 0.0
    return found
