"""The one check of a command, for people and programs alike: pure, and in a fixed order.

:func:`refusals` gives everything that is against a command, the first reason first; whoever asks is told the first. The
order goes from who may ask at all to what may have changed a moment ago:

1. role; 2. the point is known; 3. it can be written; 4. the class of the operation (a point of class select or critical
is not written directly by people); 5. the read-only gate; 6. unit; 7. limits; 8. times of the command; 9. area of
authority; 10. danger tags; 11. mode; 12. interlocks; 13. what somebody else has reserved or operates; 14. leases and
holds (programs); 15. cool-down; 16. ramp; 17. the present value can be seen; 18. age of what the author saw; 19. it has
not changed since; 20. warnings accepted (a direct write accepts none: select the point to do so); 21. name typed again.

Expiry, replay and rates stand outside: they need memory, see :mod:`gwanje.core.commands.operating`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from gwanje.core.authority.principal import Principal, Role
from gwanje.core.clock import NS_PER_S
from gwanje.core.commands.messages import Command
from gwanje.core.commands.operations import Operation, OperationClass, Second
from gwanje.core.commands.operations_table import Reserved, Seen, is_measured
from gwanje.core.commands.safety_tags import SafetyKind, SafetyTag
from gwanje.core.requests import Code
from gwanje.core.tags.expression import Condition
from gwanje.core.tags.quality import Quality, is_good
from gwanje.core.tags.table import Tag

SEEN_S_MAX = 2.0
"""Oldest view that an author may have acted on (research: values at most 2 s old)."""

Refusal = tuple[Code, str]


@dataclass(frozen=True, slots=True)
class Warn:
    """Something that must be accepted before the command is sent.

    Attributes:
        key: what it is, whatever its figures say a moment later.
        text_ko: for operators.
        text_en: the same in English.
    """

    key: str
    text_ko: str
    text_en: str


@dataclass(frozen=True, slots=True)
class Situation:
    """What the world looks like when a command is judged.

    Attributes:
        now_mono_ns: now.
        tag: of the point; ``None`` when there is none.
        operation: how it is operated; ``None`` when it cannot be.
        read_only: the gate is closed.
        area: why the area of authority is against it.
        safety: tags that reach the point, the strongest first.
        samples: tag → sample, of everything that conditions, view and readback look at.
        reserved: who else has it.
        steering: program whose lease covers the point; empty for none.
        conflict: why leases or holds are against a program.
        cooling_s: seconds until it may be operated again.
    """

    now_mono_ns: int
    tag: Tag | None
    operation: Operation | None
    read_only: bool = False
    area: Refusal | None = None
    safety: tuple[SafetyTag, ...] = ()
    samples: Mapping[str, Seen] = field(default_factory=dict)
    reserved: Reserved | None = None
    steering: str = ""
    conflict: Refusal | None = None
    cooling_s: float = 0.0

    def sample(self, name: str) -> Seen:
        """What a tag says now; something that is not known is bad."""
        return self.samples.get(name, NOTHING)


_TELLS_NOTHING = int(Quality.BAD | Quality.SUBSTITUTED | Quality.BLOCKED)
"""What an interlock or a mode does not believe: it would open a door that the plant keeps shut."""
NOTHING = Seen(float("nan"), 0x8000, 0)


@dataclass(frozen=True, slots=True)
class Steps:
    """Which steps the author has gone through.

    Attributes:
        selected: with a reservation, the value checked.
        accepted: keys of the warnings that the author was told and has accepted.
        retyped: name that was typed again.
        reviewed: a second person looks at it now: the author's view may be old, its value must still stand.
    """

    selected: bool = False
    accepted: frozenset[str] = frozenset()
    retyped: str = ""
    reviewed: bool = False


def condition_state(condition: Condition, samples: Mapping[str, Seen]) -> bool | None:
    """Whether a condition holds; ``None`` when that hangs on a value that is BAD, or that a person has typed in or
    frozen: then nobody can say.
    """
    seen = [samples.get(name, NOTHING) for name in condition.tags]
    result = condition.evaluate([math.nan if one.quality & _TELLS_NOTHING else one.value for one in seen])
    return None if math.isnan(result) else bool(result)


def may_operate(who: Principal, situation: Situation) -> Iterator[Refusal]:
    """What is against this person or program operating this point at all, whatever the value."""
    tag, operation = situation.tag, situation.operation
    if who.role is Role.VIEWER:
        yield Code.ROLE, who.role
    if tag is None:
        yield Code.UNKNOWN_POINT, ""
        return
    if operation is None:
        yield Code.NOT_WRITABLE, tag.name
        return
    if who.role is not Role.VIEWER and not operation.allows(who.role):
        yield Code.ROLE, f"{who.role}, {'no program' if who.is_program else f'at least {operation.min_role}'}"
    if situation.read_only:
        yield Code.READ_ONLY, ""


def standing(who: Principal, situation: Situation, value: float | None) -> Iterator[Refusal]:
    """What is against it in the present state of the plant and of the others; ``value`` is ``None`` at a selection."""
    operation = situation.operation
    assert operation is not None, "only a point that can be operated gets here"
    if situation.area is not None:
        yield situation.area
    for tag in situation.safety:
        if tag.kind is SafetyKind.DANGER:
            yield Code.SAFETY_TAG, f"{tag.author}: {tag.reason} ({tag.scope})"
    if value is not None:
        yield from _conditions(operation, situation, value)
    other = situation.reserved
    if other is not None:
        where = f" ({other.console})" if other.console else ""
        yield Code.RESERVED, f"{other.author}{where}: {other.point} {other.state}, {other.left_s:.0f} s"
    if situation.conflict is not None and who.is_program:
        yield situation.conflict
    if situation.cooling_s > 0.0 and value is not None:
        yield Code.COOL_DOWN, f"{situation.cooling_s:.1f} s"


def _conditions(operation: Operation, situation: Situation, value: float) -> Iterator[Refusal]:
    if operation.allowed_when is not None:
        allowed = condition_state(operation.allowed_when, situation.samples)
        words = operation.mode_en or operation.allowed_when.text
        if allowed is None:
            yield Code.MODE, f"{words}: not known, an input is bad or overridden"
        elif not allowed:
            yield Code.MODE, words
    for lock in operation.interlocks:
        if lock.is_about(value) and (state := condition_state(lock.blocks, situation.samples)) is not False:
            unknown = "" if state else ": not known, an input is bad or overridden"
            yield Code.INTERLOCK, f"{lock.text_ko} / {lock.text_en}{unknown}"


def refusals(command: Command, who: Principal, situation: Situation, steps: Steps) -> Iterator[Refusal]:
    """Everything that is against a command, in the order of the module's list."""
    tag, operation, now = situation.tag, situation.operation, situation.now_mono_ns
    found = list(may_operate(who, situation))
    reasons = [one for one in found if one[0] is not Code.READ_ONLY]
    yield from ((code, detail or command.point) for code, detail in reasons)
    if tag is None or operation is None:
        return
    if not steps.selected and not who.is_program and operation.steps is not OperationClass.DIRECT:
        yield Code.NEEDS_SELECT, command.point
    if situation.read_only:
        yield Code.READ_ONLY, ""
    if command.unit and command.unit != tag.unit:
        yield Code.WRONG_UNIT, f"{command.unit}, {tag.unit or 'no unit'}"
    yield from limits(tag, command.value)
    if command.issued_mono_ns > now:
        yield Code.EXPIRY, "issued in the future"
    yield from standing(who, situation, command.value)
    yield from ramp(operation, situation, command.value)
    if not who.is_program:
        yield from _view(command, operation, situation, steps)
        # nobody can accept a warning of a direct write; that it overrules a program its answer says
        warned = situation if steps.selected else replace(situation, steering="")
        left = [one for one in warnings(warned, command.value) if one.key not in steps.accepted]
        if left:
            yield Code.WARNINGS, f"{left[0].text_ko} / {left[0].text_en}"
        if steps.selected and operation.second is Second.RETYPE:
            names = (tag.name, tag.description_ko, tag.description_en)
            if not steps.retyped.strip() or steps.retyped.strip() not in names:
                yield Code.RETYPE, tag.name


def limits(tag: Tag, value: float) -> Iterator[Refusal]:
    """Hard limits; what is not a number is in none, and a state takes its own values only."""
    if not tag.low <= value <= tag.high:
        yield Code.OUT_OF_RANGE, f"{value:g}, {tag.low:g} … {tag.high:g} {tag.unit}".rstrip()
    elif tag.states and value != int(value):
        yield Code.OUT_OF_RANGE, f"{value:g}, {', '.join(str(one) for one in range(len(tag.states)))}"


def ramp(operation: Operation, situation: Situation, value: float) -> Iterator[Refusal]:
    """A step that the equipment cannot make within the time in which it must be confirmed."""
    takes_s = _ramp_s(operation, situation, value)
    if takes_s > operation.confirm_within_s and not operation.ramp_waits:
        yield Code.RAMP, f"{takes_s:.0f} s, {operation.confirm_within_s:g} s"


def _ramp_s(operation: Operation, situation: Situation, value: float) -> float:
    present = situation.sample(operation.readback)
    return operation.ramp_s(value - present.value) if is_good(present.quality) else 0.0


def _view(command: Command, operation: Operation, situation: Situation, steps: Steps) -> Iterator[Refusal]:
    """Whether the author acts on what is."""
    now = situation.now_mono_ns
    present, readback = situation.sample(operation.view), situation.sample(operation.readback)
    if steps.selected and not (is_good(present.quality) and is_measured(readback.quality)):
        yield Code.BLIND, operation.view if not is_good(present.quality) else operation.readback
    age_s = (now - command.seen_mono_ns) / NS_PER_S
    if not steps.reviewed and not 0.0 <= age_s <= SEEN_S_MAX:
        yield Code.STALE_VIEW, f"{age_s:.1f} s" if command.seen_mono_ns else "not said"
    if command.seen_value is None:
        if steps.selected:
            yield Code.VALUE_CHANGED, "not said"
    elif is_good(present.quality) and not abs(present.value - command.seen_value) <= operation.view_tolerance:
        yield Code.VALUE_CHANGED, f"{command.seen_value:g}, {present.value:g}"


def warnings(situation: Situation, value: float) -> tuple[Warn, ...]:
    """What the author must accept: soft limits, caution tags, a long ramp, a program that steers the point."""
    tag, operation = situation.tag, situation.operation
    assert tag is not None, "only a known point gets here"
    assert operation is not None, "only a point that can be operated gets here"
    found: list[Warn] = []
    if not operation.soft_low <= value <= operation.soft_high:
        span = f"{operation.soft_low:g} … {operation.soft_high:g} {tag.unit}".rstrip()
        found.append(Warn(
            "usual", f"통상 범위 {span}를 벗어난 값입니다: {value:g}", f"{value:g} is outside the usual {span}"
        ))  # fmt: skip
    takes_s = _ramp_s(operation, situation, value)
    if operation.ramp_waits and takes_s > operation.confirm_within_s:
        ko, en = f"도달까지 약 {takes_s:.0f}초 걸립니다", f"it takes about {takes_s:.0f} s to get there"
        found.append(Warn("ramp", ko, en))
    for one in situation.safety:
        if one.kind is SafetyKind.CAUTION:
            words = f"{one.author}): {one.reason}"
            found.append(Warn(f"caution {one.tag_id}", f"주의 태그 ({words}", f"caution tag ({words}"))
    if situation.steering:
        found.append(Warn(
            f"lease {situation.steering}",
            f"프로그램 {situation.steering}의 제어에서 이 점을 가져옵니다",
            f"takes this point from the program {situation.steering}",
        ))  # fmt: skip
    return tuple(found)


def interlock_rows(situation: Situation) -> list[dict[str, object]]:
    """The interlocks of a point for who selects it; ``blocks``: it is against a value other than the present one."""
    operation = situation.operation
    assert operation is not None, "only a point that can be operated gets here"
    present = situation.sample(operation.view).value
    rows: list[dict[str, object]] = []
    for lock in operation.interlocks:
        state = condition_state(lock.blocks, situation.samples)
        concerns = not lock.to or any(value != present for value in lock.to)
        rows.append({
            "id": lock.id, "text_ko": lock.text_ko, "text_en": lock.text_en, "known": state is not None,
            "blocks": state is not False and concerns,
        })  # fmt: skip
    return rows
