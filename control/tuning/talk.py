"""What ``gwanje tune`` says to a running part: drafts, applies, follows the watch, keeps, rolls back, shows all sets.

:mod:`gwanje.core.cli.tune` reads the arguments and finds this module by its name. A set is named by its number, one of
the microgrid's by ``m`` and its number: each part has a book of its own.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from gwanje.control.tuning import change_set
from gwanje.control.tuning.change_set import WATCH_S, State
from gwanje.control.tuning.owner import CONTROL, OWNERS, Owner
from gwanje.core.bus.bus import RequestTimeoutError
from gwanje.core.cli.operate import Desk, Follower, sheet
from gwanje.core.cli.parsing import CommandError
from gwanje.core.cli.tokens import read_token
from gwanje.core.clock import NS_PER_S
from gwanje.core.commands.messages import new_id
from gwanje.core.commands.operations_table import State as CommandState

LOOK_NS = NS_PER_S
STATES: Mapping[State, tuple[str, str]] = {
    State.DRAFT: ("초안", "draft"),
    State.DRY_RUN: ("시험함", "dry run"),
    State.APPLYING: ("적용 중", "applying"),
    State.APPLIED: ("감시 중", "on watch"),
    State.KEPT: ("확정", "kept"),
    State.ROLLED_BACK: ("되돌림", "rolled back"),
    State.REFUSED: ("적용 못 함", "refused"),
}
"""Where a set stands, Korean and English."""
SHOWN: Mapping[str, tuple[str, str]] = {
    "error_rms_pct": ("연계선 오차 RMS", "tie error RMS"),
    "error_max_pct": ("연계선 오차 최대", "greatest tie error"),
    "frequency_rms_hz": ("주파수 편차 RMS", "frequency RMS"),
    "frequency_max_hz": ("주파수 편차 최대", "greatest frequency deviation"),
    "swings": ("지령 왕복", "turns of the commands"),
}
"""Limits whose approach a watcher is shown; counts of what is lost are told when they trip."""


@dataclass(frozen=True, slots=True)
class SetName:
    """A set of a part."""

    owner: Owner
    number: int


def set_name(text: str) -> SetName | None:
    """The set that a word names: ``3``, or ``m3`` of the microgrid; ``None`` when it names none."""
    for one in reversed(OWNERS):
        number = text.removeprefix(one.mark)
        if text.startswith(one.mark) and number.isdecimal():
            return SetName(one, int(number))
    return None


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _complain(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _why(desk: Desk, one: Mapping[str, Any]) -> str:
    return _both(desk, one["why_ko"], one["why_en"])


def _both(desk: Desk, ko: str, en: str) -> str:
    return desk.text({"text_ko": ko, "text_en": en})


def _owners(desk: Desk) -> list[Owner]:
    """Parts of the site that have parameters to change."""
    return [one for one in OWNERS if one is CONTROL or one.apply_point in desk.site.tags]


@dataclass(frozen=True, slots=True)
class Draft:
    """What a change set is drafted with."""

    owner: Owner
    wanted: Mapping[str, float]
    reason: str
    watch_s: float = WATCH_S
    limits: Mapping[str, float] | None = None
    figures: Mapping[str, float] | None = None


def save_draft(desk: Desk, draft: Draft) -> int:
    """Draft a set in the running city; its number, or 0 when it was refused, which is printed."""
    asked = {
        "op": "draft", "session": read_token(desk.bus.run_dir), "changes": dict(draft.wanted), "reason": draft.reason,
        "watch_s": float(draft.watch_s), "limits": dict(draft.limits or {}), "figures": dict(draft.figures or {}),
    }  # fmt: skip
    answer = _ask(desk, draft.owner, asked)
    if answer.get("outcome") != "drafted":
        desk.refused(answer)
        if detail := answer.get("detail"):
            _complain(f"  {detail}")
        return 0
    return int(answer["number"])


def _ask(desk: Desk, owner: Owner, message: dict[str, Any]) -> dict[str, Any]:
    try:
        return desk.bus.request(owner.service, message)
    except RequestTimeoutError:
        raise CommandError(f"the part {owner.part} does not answer; see `gwanje status`") from None


def _answers(desk: Desk) -> list[tuple[Owner, dict[str, Any]]]:
    """What the parts tell of their tuning; of one that does not answer it is said.

    Raises:
        CommandError: none answers.
    """
    found, away = [], []
    for owner in _owners(desk):
        try:
            found.append((owner, _ask(desk, owner, {"op": "status"})))
        except CommandError as error:
            away.append(str(error))
    if not found:
        raise CommandError("; ".join(away))
    for one in away:
        _complain(one)
    return found


def command(desk: Desk, point: str, value: float, reason: str, accept: bool) -> bool:
    """Select, check, execute, follow; whether it was confirmed."""
    selected = desk.client.select(point)
    if selected.get("outcome") != "selected":
        desk.refused(selected)
        return False
    _say(sheet(desk, selected))
    checked = desk.client.check(selected["select_id"], value)
    if checked.get("outcome") != "checked":
        desk.refused(checked)
        return False
    for one in checked["warnings"]:
        _say(f"  {desk.word('warning')}: {desk.text(one)}")
    if checked["warnings"] and not accept:
        _complain(f"  {desk.word('accept')}")
        desk.client.cancel(selected["select_id"])
        return False
    command_id = new_id()
    follower = Follower(desk, command_id)
    answer = desk.client.execute(selected, value, reason, checked, accept_warnings=accept, command_id=command_id)
    if answer.get("outcome") not in ("accepted", "confirmed"):
        follower.close()
        desk.refused(answer)
        if detail := answer.get("detail"):
            _complain(f"  {detail}")
        return False
    return follower.follow() == CommandState.CONFIRMED


def apply(desk: Desk, name: SetName, reason: str, accept: bool, follow: bool) -> int:
    """``gwanje tune apply``: by the name of a draft; follows the watch to its end."""
    owner, number = name.owner, name.number
    before = _state_of(desk, name)
    if command(desk, owner.apply_point, float(number), reason, accept):
        return follow_watch(desk, name) if follow else 0
    if _state_of(desk, name) == before:
        return 1
    # A guard may trip sooner than the readback is seen: the set tells what became of it, the command cannot.
    return follow_watch(desk, name)


def follow_watch(desk: Desk, name: SetName) -> int:
    """Print a line a second until the set is kept, refused or rolled back; 0 when it is kept."""
    look_ns = desk.clock.mono_ns()
    while True:
        found = _ask(desk, name.owner, {"op": "status"})
        one = _set_of(found, name.number)
        if one is None:
            raise CommandError(f"the part {name.owner.part} knows no change {name.number} any more")
        if one["state"] not in change_set.ON_WATCH:
            why = _why(desk, one)
            _say(f"  {_state(desk, one)}{f': {why}' if why else ''}")
            return 0 if one["state"] == State.KEPT else 1
        seen = found["guard"]
        if seen:
            _say(_watch_line(desk, name.owner, one, found["watch_left_s"], seen))
        look_ns += LOOK_NS
        desk.clock.wait_until_mono_ns(look_ns)


def _set_of(status: Mapping[str, Any], number: int) -> Mapping[str, Any] | None:
    """One set of a part's answer; ``None`` when it is not remembered."""
    return next((each for each in status["sets"] if each["number"] == number), None)


def _state_of(desk: Desk, name: SetName) -> str | None:
    one = _set_of(_ask(desk, name.owner, {"op": "status"}), name.number)
    return one["state"] if one is not None else None


def _watch_line(
    desk: Desk, owner: Owner, one: Mapping[str, Any], left_s: float, seen: Mapping[str, Any]
) -> str:
    """What is left of the watch, and how near what is measured now is to the limits that would roll the set back."""
    units = {each.name: each.metadata["unit"] for each in fields(owner.limits)}
    parts = []
    for key in SHOWN:
        if key in seen["live"]:
            limit = f"{one['limits'][key]:g} {units[key]}".rstrip()
            value = f"{seen[key]:.3f}" if units[key] else f"{seen[key]:g}"
            parts.append(_both(desk, *(f"{SHOWN[key][k]} {value} ({('한도', 'limit')[k]} {limit})" for k in (0, 1))))
    shown = ", ".join(parts) or _both(desk, "제어 중이 아님: 감시 시간이 가지 않음", "nothing is controlled: it waits")
    return f"  {left_s:6.0f} s   {shown}"


def _state(desk: Desk, one: Mapping[str, Any]) -> str:
    """Where a set stands, in the terminal's language."""
    return _both(desk, *STATES[State(one["state"])])


def _on_watch(desk: Desk) -> SetName:
    """The set on watch, of whichever part.

    Raises:
        CommandError: none is.
    """
    for owner, answer in _answers(desk):
        number = int(answer["on_watch"])
        if number:
            return SetName(owner, number)
    raise CommandError("no change is on watch")


def roll_back(desk: Desk, reason: str) -> int:
    """``gwanje tune rollback``: what is on watch."""
    return 0 if command(desk, _on_watch(desk).owner.apply_point, 0.0, reason, accept=True) else 1


def keep(desk: Desk, reason: str) -> int:
    """``gwanje tune keep``: what is on watch."""
    name = _on_watch(desk)
    return 0 if command(desk, name.owner.keep_point, float(name.number), reason, accept=True) else 1


def status(desk: Desk, as_json: bool) -> int:
    """``gwanje tune status``: of every part, the oldest first."""
    answers = _answers(desk)
    found = {owner.part: answer for owner, answer in answers}
    if as_json:
        _say(json.dumps(found.pop(CONTROL.part, {}) | found, ensure_ascii=False))
        return 0
    rows = [(owner, one) for owner, answer in answers for one in answer["sets"]]
    for owner, one in sorted(rows, key=lambda row: int(row[1]["utc_ns"])):
        changes = ", ".join(f"{each['name']} {each['before']:g}→{each['after']:g}" for each in one["changes"])
        why, answer = _why(desk, one), found[owner.part]
        left = f"  {answer['watch_left_s']:.0f} s" if one["number"] == answer["on_watch"] else ""
        by = f"({one['author']}: {one['reason']})"
        name, since = owner.label(one["number"]), desk.time.second(one["utc_ns"])
        _say(f"{name:>5}  {since}  {_state(desk, one)}{left}  {changes}  {by}  {why}".rstrip())
    if not rows:
        _say(desk.word("nothing"))
    return 0
