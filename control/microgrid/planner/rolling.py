"""What to do now: by the newest plan; without one by the last, shifted; after that by nothing but the tie-line's own.

A plan is asked for once a minute and answers for a day. Whatever becomes of the next, the last one still says what was
best for this quarter hour, and is followed until it is too old; then every set-point is withdrawn, and the layers below
hold the tie-line as they do without a planner. Times are monotonic: a step of the wall clock moves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from gwanje.control.microgrid.planner.plan import Plan
from gwanje.core.closed_loop.interface import Told

Source = Literal["plan", "shifted", "default"]
S_PER_H = 3_600.0


@dataclass(frozen=True, slots=True)
class RollingParams:
    """Ages and deadlines.

    Attributes:
        every_s: a plan is asked for this often.
        late_s: a plan that took longer is late, told and counted.
        fresh_s: a plan older than this is the last one, shifted.
        hold_s: a plan older than this is followed no longer.
        setpoint_s: a set-point that is not renewed within this expires.
    """

    every_s: float = 60.0
    late_s: float = 10.0
    fresh_s: float = 90.0
    hold_s: float = 1_800.0
    setpoint_s: float = 10.0

    def __post_init__(self) -> None:
        if not 0 < self.late_s <= self.every_s <= self.fresh_s <= self.hold_s or self.setpoint_s <= 0:
            raise ValueError("0 < late_s ≤ every_s ≤ fresh_s ≤ hold_s, and set-points last")


@dataclass(frozen=True, slots=True)
class Planned:
    """An attempt that gave a plan.

    Attributes:
        plan: of the moment ``asked_s``.
        asked_s: when what it started from was read, monotonic seconds.
        took_s: until it was there.
    """

    plan: Plan
    asked_s: float
    took_s: float


@dataclass(frozen=True, slots=True)
class NotPlanned:
    """An attempt that gave none.

    Attributes:
        kind: ``bad_input`` (a forecast or measurement that cannot be planned with) or ``no_plan`` (the solver).
        why: in English, naming the device.
        took_s: until that was known.
    """

    kind: Literal["bad_input", "no_plan"]
    why: str
    took_s: float


@dataclass(frozen=True, slots=True)
class Counters:
    """Since the start.

    Attributes:
        plans: that came.
        late: of these, too late.
        bad_input: attempts with a forecast or measurement that could not be used.
        no_plan: attempts for which the solver found nothing.
        shifted: turns on the last plan.
        default: turns without any.
        integer: plans whose binaries had to be decided.
        softened: plans that gave way, by kind.
    """

    plans: int = 0
    late: int = 0
    bad_input: int = 0
    no_plan: int = 0
    shifted: int = 0
    default: int = 0
    integer: int = 0
    softened: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RollingState:
    """What is kept from turn to turn.

    Attributes:
        last: newest plan.
        source: what was followed in the last turn; empty before the first.
        why: why the last attempt gave no plan; empty when it did.
        late: whether it was late.
        softened: (kind, device) of what the newest plan gave way in, with its texts.
        counters: since the start.
    """

    last: Planned | None = None
    source: Source | Literal[""] = ""
    why: str = ""
    late: bool = False
    softened: Mapping[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    counters: Counters = field(default_factory=Counters)


@dataclass(frozen=True, slots=True)
class Advice:
    """What holds now.

    Attributes:
        source: ``plan``, ``shifted`` (the last plan, at its present step) or ``default`` (no set-points).
        setpoints: the plan's series at this moment, by their names; empty by default.
        age_s: of the plan; NaN without one.
        expires_s: monotonic moment at which the set-points end unless they are renewed.
    """

    source: Source
    setpoints: Mapping[str, float]
    age_s: float
    expires_s: float


def step(
    state: RollingState, attempt: Planned | NotPlanned | None, now_s: float, params: RollingParams
) -> tuple[RollingState, Advice, tuple[Told, ...]]:
    """One turn, each second or so.

    Args:
        state: of the last turn.
        attempt: what came since; ``None`` when nothing did.
        now_s: monotonic.
        params: ages and deadlines.
    """
    told: list[Told] = []
    match attempt:
        case Planned():
            state = _take(state, attempt, now_s, params, told)
        case NotPlanned():
            state = _miss(state, attempt, now_s, told)
        case None:
            pass
    advice = _advise(state.last, now_s, params)
    if advice.source != state.source and not (state.source == "" and advice.source == "plan"):
        told.append(_turned(advice, state.source, now_s))
    counters = state.counters
    match advice.source:
        case "shifted":
            counters = replace(counters, shifted=counters.shifted + 1)
        case "default":
            counters = replace(counters, default=counters.default + 1)
        case "plan":
            pass
    return replace(state, source=advice.source, counters=counters), advice, tuple(told)


def values_at(plan: Plan, elapsed_s: float) -> Mapping[str, float]:
    """A plan's series some time after its beginning; empty when it has ended or not begun."""
    ends_s = np.cumsum(plan.step_h) * S_PER_H
    if not 0 <= elapsed_s < ends_s[-1]:
        return {}
    at = int(np.searchsorted(ends_s, elapsed_s, side="right"))
    return {name: float(one[at]) for name, one in plan.series.items() if len(one) == len(ends_s)}


def _advise(last: Planned | None, now_s: float, params: RollingParams) -> Advice:
    if last is None:
        return Advice("default", {}, float("nan"), now_s)
    age_s = now_s - last.asked_s
    setpoints = values_at(last.plan, age_s) if age_s <= params.hold_s else {}
    if not setpoints:
        return Advice("default", {}, age_s, now_s)
    ends_s = last.asked_s + float(last.plan.step_h.sum()) * S_PER_H
    expires_s = min(now_s + params.setpoint_s, last.asked_s + params.hold_s, ends_s)
    return Advice("plan" if age_s <= params.fresh_s else "shifted", setpoints, age_s, expires_s)


def _take(
    state: RollingState, attempt: Planned, now_s: float, params: RollingParams, told: list[Told]
) -> RollingState:
    late = attempt.took_s > params.late_s
    if late and not state.late:
        text = f"{attempt.took_s:.1f} s"
        told.append(Told(now_s, "plan_late", f"운전계획 지연: {text}", f"the plan came late: {text}"))
    if state.why:
        told.append(Told(now_s, "plan_again", "운전계획 재개", "plans come again"))
    if state.last is not None and attempt.asked_s < state.last.asked_s:
        return replace(state, late=late)  # overtaken by a newer one
    now = {(one.kind, one.subject): (one.ko, one.en) for one in attempt.plan.softened}
    told += [Told(now_s, key[0], ko, en) for key, (ko, en) in now.items() if key not in state.softened]
    told += [
        Told(now_s, f"{key[0]}_ended", f"해소: {ko}", f"no longer: {en}")
        for key, (ko, en) in state.softened.items()
        if key not in now
    ]
    kinds = dict(state.counters.softened)
    for kind in {kind for kind, _ in now}:
        kinds[kind] = kinds.get(kind, 0) + 1
    counters = replace(
        state.counters, plans=state.counters.plans + 1, late=state.counters.late + late,
        integer=state.counters.integer + attempt.plan.integer, softened=kinds,
    )  # fmt: skip
    return replace(state, last=attempt, why="", late=late, softened=now, counters=counters)


def _miss(state: RollingState, attempt: NotPlanned, now_s: float, told: list[Told]) -> RollingState:
    if attempt.why != state.why:
        ko = "운전계획 입력 불량" if attempt.kind == "bad_input" else "운전계획 해 없음"
        en = "cannot plan with" if attempt.kind == "bad_input" else "no plan"
        told.append(Told(now_s, attempt.kind, f"{ko}: {attempt.why}", f"{en}: {attempt.why}"))
    one = state.counters
    if attempt.kind == "bad_input":
        counters = replace(one, bad_input=one.bad_input + 1)
    else:
        counters = replace(one, no_plan=one.no_plan + 1)
    return replace(state, why=attempt.why, counters=counters)


def _turned(advice: Advice, before: str, now_s: float) -> Told:
    age = f"{advice.age_s / 60:.0f}" if np.isfinite(advice.age_s) else "–"
    match advice.source:
        case "plan":
            return Told(now_s, "plan_fresh", "새 운전계획을 따릅니다", "a new plan is followed")
        case "shifted":
            return Told(
                now_s, "plan_shifted", f"새 운전계획 없음: {age}분 전 계획을 따릅니다",
                f"no new plan: the one of {age} min ago is followed",
            )  # fmt: skip
        case "default":
            if before:
                ko, en = "운전계획이 너무 오래됨", "the last plan is too old"
            else:
                ko, en = "운전계획 아직 없음", "no plan yet"
            return Told(
                now_s, "plan_default", f"{ko}: 연계선 기본 제어", f"{en}: the tie-line's own control stands alone"
            )
