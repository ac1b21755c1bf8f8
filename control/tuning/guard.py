"""The guard over a change on watch: limits, and what trips them. Pure: one :func:`step` for each look."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from gwanje.control.microgrid.files.fields import ControlConfigError, Problem, number, table

RMS_TAU_S = 10.0
"""Memory of the error's mean square: it begins at zero, so that one load step in the first second trips nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a change may not exceed while it is watched."""

    error_rms_pct: float = number(
        2.0, 0.01, 100.0, "%", "연계선 오차 실효값 (정격 대비, 10초)", "root mean square of the tie error over 10 s"
    )
    error_max_pct: float = number(20.0, 0.1, 200.0, "%", "연계선 오차 최대 (정격 대비)", "greatest tie error")
    saturated_s: float = number(20.0, 0.1, 3600.0, "s", "ESS 출력 한계 시간", "time in saturation")
    ticks_lost: int = number(200, 0, 1_000_000, "", "놓친 제어 주기", "lost periods of the loop")
    degradations: int = number(0, 0, 1000, "", "새 성능 저하", "new degradations")


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at the running loop.

    Attributes:
        error_pct: tie error in percent of the rating; NaN while there is none.
        saturated: the batteries' limits leave some of the demand unserved.
        ticks_lost: so far.
        degradations: told so far.
        controlling: the loop moves the batteries; while it does not, nothing is proven and the watch stands still.
    """

    error_pct: float
    saturated: bool
    ticks_lost: int
    degradations: int
    controlling: bool = True


@dataclass(frozen=True, slots=True)
class GuardState:
    """Since the change was taken; counts of before in ``ticks_lost`` and ``degradations``."""

    ticks_lost: int
    degradations: int
    watched_s: float = 0.0
    mean_square: float = 0.0
    error_max_pct: float = 0.0
    saturated_s: float = 0.0

    @property
    def error_rms_pct(self) -> float:
        """Over the last ten seconds."""
        return math.sqrt(self.mean_square)


def begin(seen: Seen) -> GuardState:
    """The state in the moment that a change is taken."""
    return GuardState(seen.ticks_lost, seen.degradations)


def step(state: GuardState, seen: Seen, limits: Limits, dt_s: float) -> tuple[GuardState, tuple[str, str] | None]:
    """One look, ``dt_s`` after the last; with the reason in Korean and English when a limit is exceeded."""
    known = seen.controlling and math.isfinite(seen.error_pct)
    square = seen.error_pct**2 if known else state.mean_square
    state = replace(
        state,
        watched_s=state.watched_s + (dt_s if seen.controlling else 0.0),
        mean_square=state.mean_square + (square - state.mean_square) * -math.expm1(-dt_s / RMS_TAU_S),
        error_max_pct=max(state.error_max_pct, abs(seen.error_pct)) if known else state.error_max_pct,
        saturated_s=state.saturated_s + (dt_s if seen.saturated else 0.0),
    )
    reached: Mapping[str, float] = {
        "error_rms_pct": state.error_rms_pct,
        "error_max_pct": state.error_max_pct,
        "saturated_s": state.saturated_s,
        "ticks_lost": seen.ticks_lost - state.ticks_lost,
        "degradations": seen.degradations - state.degradations,
    }
    for one in fields(Limits):
        limit = getattr(limits, one.name)
        if reached[one.name] > limit:
            about, figures = one.metadata, f"{reached[one.name]:.3g} > {limit:g} {one.metadata['unit']}".rstrip()
            return state, (f"{about['ko']} {figures}", f"{about['en']} {figures}")
    return state, None


def limits_of(values: Mapping[str, Any]) -> Limits | list[str]:
    """Limits with some values given, or what is wrong with them."""
    problems: list[Problem] = []
    found: Limits | None = table(Limits, values, ("guard",), problems)
    return found if found is not None else str(ControlConfigError(problems)).splitlines()
