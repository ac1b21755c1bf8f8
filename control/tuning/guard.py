"""The guard over a change on watch: limits, and what trips them. Pure: one :func:`step` for each look.

A limit says of which signal it is and how that is taken: its root mean square over ten seconds, its greatest magnitude,
for how long it lasts, or how much it has grown since the change was taken.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from gwanje.control.microgrid.files.fields import ControlConfigError, Problem, table

RMS_TAU_S = 10.0
"""Memory of the error's mean square: it begins at zero, so that one load step in the first second trips nothing."""


def _limit(
    how: str, of: str, default: float, low: float, high: float, unit: str, ko: str, en: str
) -> Any:  # a field
    about = {"low": low, "high": high, "unit": unit, "owner": "engineer", "ko": ko, "en": en, "how": how, "of": of}
    return field(default=default, metadata=about)


def _error_rms() -> Any:
    return _limit(
        "rms", "error_pct", 2.0, 0.01, 100.0, "%", "연계선 오차 실효값 (정격 대비, 10초)",
        "root mean square of the tie error over 10 s",
    )  # fmt: skip


def _error_max() -> Any:
    return _limit("max", "error_pct", 20.0, 0.1, 200.0, "%", "연계선 오차 최대 (정격 대비)", "greatest tie error")


def _ticks_lost() -> Any:
    return _limit("growth", "ticks_lost", 200, 0, 1_000_000, "", "놓친 제어 주기", "lost periods of the loop")


def _degradations() -> Any:
    return _limit("growth", "degradations", 0, 0, 1000, "", "새 성능 저하", "new degradations")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a change of the part ``control`` may not exceed while it is watched."""

    error_rms_pct: float = _error_rms()
    error_max_pct: float = _error_max()
    saturated_s: float = _limit("time", "saturated", 20.0, 0.1, 3600.0, "s", "ESS 출력 한계 시간", "time in saturation")
    ticks_lost: int = _ticks_lost()
    degradations: int = _degradations()


@dataclass(frozen=True, slots=True, kw_only=True)
class MicrogridLimits:
    """What a change of the part ``microgrid`` may not exceed while it is watched."""

    frequency_rms_hz: float = _limit(
        "rms", "missed_hz", 0.1, 0.001, 5.0, "Hz", "독립 운전 주파수 편차 실효값 (10초)",
        "root mean square of the island's frequency deviation over 10 s",
    )  # fmt: skip
    frequency_max_hz: float = _limit(
        "max", "missed_hz", 0.6, 0.01, 5.0, "Hz", "독립 운전 주파수 편차 최대",
        "greatest deviation of the island's frequency",
    )  # fmt: skip
    swings: int = _limit(
        "max", "swings", 8, 1, 100, "", "10초 안 지령 왕복", "times that the commands have turned round within 10 s"
    )
    error_rms_pct: float = _error_rms()
    error_max_pct: float = _error_max()
    ticks_lost: int = _ticks_lost()
    degradations: int = _degradations()


AnyLimits = Limits | MicrogridLimits


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at the running loop; what is not known is NaN.

    Attributes:
        error_pct: tie error in percent of the rating; NaN while there is none.
        saturated: the batteries' limits leave some of the demand unserved.
        ticks_lost: so far.
        degradations: told so far.
        controlling: the loop moves the batteries; while it does not, nothing is proven and the watch stands still.
        missed_hz: an island's frequency less the wanted one.
        swings: how often the commands have turned round lately.
    """

    error_pct: float
    saturated: bool
    ticks_lost: int
    degradations: int
    controlling: bool = True
    missed_hz: float = math.nan
    swings: float = math.nan


@dataclass(frozen=True, slots=True)
class GuardState:
    """Since the change was taken.

    Attributes:
        begun: signals in the moment that it was.
        watched_s: for how long there was something to prove.
        island_s: for how much of that in an island.
        held: limit → what was taken of its signal; mean squares where it is of a root.
        live: limits whose signals were known in the last look.
    """

    begun: Seen
    watched_s: float = 0.0
    island_s: float = 0.0
    held: Mapping[str, float] = field(default_factory=dict)
    live: tuple[str, ...] = ()

    def reached(self, limits: AnyLimits) -> dict[str, float]:
        """Limit → how far it has come."""
        found = {}
        for one in fields(limits):
            value = self.held.get(one.name, 0.0)
            found[one.name] = math.sqrt(value) if one.metadata["how"] == "rms" else value
        return found


def begin(seen: Seen) -> GuardState:
    """The state in the moment that a change is taken."""
    return GuardState(seen)


def step(state: GuardState, seen: Seen, limits: AnyLimits, dt_s: float) -> tuple[GuardState, tuple[str, str] | None]:
    """One look, ``dt_s`` after the last; with the reason in Korean and English when a limit is exceeded."""
    held, live = dict(state.held), []
    for one in fields(limits):
        how, of = one.metadata["how"], one.metadata["of"]
        now, before = float(getattr(seen, of)), held.get(one.name, 0.0)
        known = math.isfinite(now) and (seen.controlling or how in ("time", "growth"))
        if known:
            live.append(one.name)
            held[one.name] = _taken(how, before, now, float(getattr(state.begun, of)), dt_s)
    state = replace(
        state,
        watched_s=state.watched_s + (dt_s if seen.controlling else 0.0),
        island_s=state.island_s + (dt_s if seen.controlling and math.isfinite(seen.missed_hz) else 0.0),
        held=held,
        live=tuple(live),
    )
    reached = state.reached(limits)
    for one in fields(limits):
        limit = getattr(limits, one.name)
        if reached[one.name] > limit:
            about, figures = one.metadata, f"{reached[one.name]:.3g} > {limit:g} {one.metadata['unit']}".rstrip()
            return state, (f"{about['ko']} {figures}", f"{about['en']} {figures}")
    return state, None


def _taken(how: str, before: float, now: float, at_begin: float, dt_s: float) -> float:
    if how == "rms":
        return before + (now**2 - before) * -math.expm1(-dt_s / RMS_TAU_S)
    if how == "max":
        return max(before, abs(now))
    return before + now * dt_s if how == "time" else now - at_begin


def limits_of(values: Mapping[str, Any], kind: type[AnyLimits] = Limits) -> AnyLimits | list[str]:
    """Limits with some values given, or what is wrong with them."""
    problems: list[Problem] = []
    found: AnyLimits | None = table(kind, values, ("guard",), problems)
    return found if found is not None else str(ControlConfigError(problems)).splitlines()
