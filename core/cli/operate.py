"""``gwanje operate``: a person at a terminal operates a point — select, check, execute — and sees how it ends."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gwanje.core.bus.bus import Bus
from gwanje.core.bus.messages import Event
from gwanje.core.cli.parsing import CommandError, Commands, attached, with_site
from gwanje.core.cli.speech import with_lang
from gwanje.core.cli.tokens import file_of_terminal, read_token
from gwanje.core.clock import NS_PER_S, SystemClock, utc_text
from gwanje.core.commands.messages import new_id
from gwanje.core.commands.operations_table import ENDED, State
from gwanje.core.commands.operator_client import Answer, OperatorClient
from gwanje.core.site.config import Site
from gwanje.core.site.local_time import SiteTime
from gwanje.core.tags.quality import Quality, describe, is_good
from gwanje.core.tags.store import TagStore
from gwanje.core.tags.table import Tag

LOOK_S = 1.0
"""How often the core's list is asked beside the events, which may be lost."""
LOST_S = 5.0
"""A command that the core has not known for so long has no end to wait for: the core was started anew."""
FOLLOW_S_MAX = 700.0
"""Longer than any operation may take to be confirmed."""

WORDS: Mapping[str, tuple[str, str]] = {
    "point": ("포인트", "point"), "now": ("현재 값", "present value"), "range": ("범위", "range"),
    "usual": ("통상 범위", "usual range"), "class": ("등급", "class"),
    "confirm": ("동작 확인 기한", "confirmed within"),
    "interlock": ("인터록", "interlock"), "mode": ("조건", "mode"), "tag": ("안전 태그", "safety tag"),
    "lease": ("제어 프로그램", "steered by"), "blocks": ("차단", "BLOCKS"), "clear": ("정상", "clear"),
    "lost": ("코어가 이 명령을 더는 모릅니다: 결과 불명", "the core knows nothing of it any more: outcome not known"),
    "blocks_when": ("차단 사유", "would block"), "given_back": ("프로그램에 돌려줌", "given back to programs"),
    "unknown": ("알 수 없음", "not known"), "reserved": ("예약", "reserved for"), "warning": ("주의", "warning"),
    "accept": ("--yes 로 받아들이십시오", "accept with --yes"), "refused": ("거부", "REFUSED"),
    "retype": ("다시 입력: --retype 포인트", "type the name again: --retype POINT"),
    "two": ("두 번째 사람이 필요", "needs a second person"), "second": ("두 번째 사람의 동의", "to agree"),
    "selected": ("선택됨", "selected"), "checked": ("검사 통과", "checked"), "nothing": ("없음", "nothing"),
    "cancelled": ("취소됨", "cancelled"), "no_answer": ("응답 없음: 결과 불명", "no answer: the outcome is not known"),
    "sent": ("전송", "sent"), "accepted": ("수락", "accepted"), "moving": ("동작 중", "moving"),
    "confirmed": ("동작 확인됨", "CONFIRMED"), "timed_out": ("동작 확인 안 됨", "TIMED OUT"),
    "expired": ("만료", "EXPIRED"),
    "awaiting_second": ("두 번째 사람 대기", "waits for a second person"),
}  # fmt: skip


def add(commands: Commands) -> None:
    """Add the group."""
    operate = commands.group("operate", "operate a point: select, check, execute")
    select = operate.add("select", _select, "reserve a point for 30 s and see what there is to know")
    execute = operate.add("execute", _execute, "select (unless it is), check, execute, and follow it to its end")
    cancel = operate.add("cancel", _cancel, "give a selection up")
    second = operate.add("second", _second, "agree to somebody else's critical operation")
    listed = operate.add("list", _list, "what is selected, under way and ended lately")
    held = operate.add("held", _held, "what people hold back from programs: point, value, by whom, since, until")
    give_back = operate.add("give-back", _give_back, "let programs have a point again that a person holds")
    for one in (select, execute, cancel, give_back):
        one.add_argument("point", metavar="POINT")
    give_back.add_argument("--reason", required=True, help="for the journal")
    execute.add_argument("value", metavar="VALUE", help="number in the point's unit, or a state's word such as 'open'")
    execute.add_argument("--reason", required=True, help="for the journal")
    execute.add_argument("--yes", action="store_true", help="accept the warnings")
    execute.add_argument("--retype", default="", metavar="POINT", help="the point's name again, where it is asked for")
    execute.add_argument("--as-seen", action="store_true", help="act on what `operate select` showed, however old")
    execute.add_argument("--seen-age", type=float, default=0.0, metavar="S", help="act on a view this many seconds old")
    execute.add_argument("--seen-value", type=float, metavar="V", help="act on having seen this value")
    execute.add_argument("--no-wait", action="store_true", help="do not wait for the end")
    second.add_argument("command_id", metavar="COMMAND_ID")
    second.add_argument("point", metavar="POINT", help="that you agree to operate")
    second.add_argument("value", metavar="VALUE", help="that you agree to")
    for one in (listed, held):
        one.add_argument("--json", action="store_true")
    for one in (select, execute, cancel, give_back, second, listed, held):
        with_lang(one)
        with_site(one)


class Desk:
    """A terminal at a running city.

    Args:
        site: of the city.
        run_dir: of the city.
        lang: ``ko`` or ``en``.
    """

    def __init__(self, site: Site, run_dir: Path, lang: str) -> None:
        self.site, self.run_dir = site, run_dir
        self.time = SiteTime(site.timezone)
        self.clock = SystemClock()
        self.bus = Bus(run_dir, "cli", self.clock)
        self.client = OperatorClient(self.bus, read_token(run_dir))
        self._index = 0 if lang == "ko" else 1
        self._file = file_of_terminal(run_dir, "selections")  # for the `execute` after a `select`

    def word(self, key: str) -> str:
        """A word in the person's language."""
        return WORDS[key][self._index]

    def text(self, entry: Mapping[str, Any]) -> str:
        """The text of an answer or a row in the person's language."""
        return str(entry.get(("text_ko", "text_en")[self._index]) or "")

    def tag(self, point: str) -> Tag:
        """Static data of a point."""
        if point not in self.site.tags:
            raise CommandError(f"no tag {point!r}; see `gwanje tags '{point.split('.')[0]}.*'`")
        return self.site.tags.get(point)

    def value(self, tag: Tag, value: float | None) -> str:
        """A value as people read it."""
        if value is None:
            return "?"
        if tag.states and value == int(value) and 0 <= value < len(tag.states):
            return tag.states[int(value)][self._index]
        return f"{value:.{tag.decimals}f} {tag.unit}".rstrip()

    def refused(self, answer: Answer) -> int:
        """Print why something was not done; the exit code."""
        if answer.get("outcome") == "timed_out":
            print(f"{self.word('no_answer')}", file=sys.stderr)
        else:
            hint = ""
            if answer.get("code") in ("not_signed_in", "session_over", "session_locked"):
                hint = "  (gwanje login NAME)"
            print(f"{self.word('refused')}: {self.text(answer)}  [{answer.get('code')}]{hint}", file=sys.stderr)
        return 1

    def keep(self, selected: Answer) -> None:
        """Remember a selection for the next command."""
        known = self.kept()
        known[selected["point"]] = dict(selected)
        self._file.parent.mkdir(mode=0o700, exist_ok=True)
        self._file.write_text(json.dumps(known), encoding="utf-8")

    def kept(self) -> dict[str, Any]:
        """Selections that have not run out."""
        try:
            found = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        now = self.clock.mono_ns()
        return {point: one for point, one in found.items() if one.get("until_mono_ns", 0) > now}

    def forget(self, point: str) -> None:
        """A selection is used up."""
        left = {one: selected for one, selected in self.kept().items() if one != point}
        if self._file.exists():
            self._file.write_text(json.dumps(left), encoding="utf-8")


@contextmanager
def _desk(chosen: argparse.Namespace) -> Iterator[Desk]:
    site, run_dir, _info = attached(chosen)
    desk = Desk(site, run_dir, chosen.lang)
    try:
        yield desk
    finally:
        desk.bus.close()


def _select(chosen: argparse.Namespace) -> int:
    with _desk(chosen) as desk:
        desk.tag(chosen.point)
        answer = desk.client.select(chosen.point)
        if answer.get("outcome") != "selected":
            return desk.refused(answer)
        desk.keep(answer)
        print(sheet(desk, answer))
        return 0


def sheet(desk: Desk, selected: Answer) -> str:
    """All there is to know about a selected point, one line each."""
    tag, view, word = desk.tag(selected["point"]), desk.tag(selected["view"]), desk.word
    name = (tag.description_ko, tag.description_en)[desk._index] or tag.name
    left_s = (selected["until_mono_ns"] - desk.clock.mono_ns()) / NS_PER_S
    lines = [f"{word('selected')}: {name} ({tag.name}), {word('reserved')} {left_s:.0f} s"]

    def line(key: str, text: str) -> None:
        lines.append(f"  {word(key):<18} {text}")

    quality = int(selected["quality"])
    doubt = "" if is_good(quality) and not quality & OVERRIDDEN else f"  !! {describe(quality)}"
    line("now", f"{desk.value(view, selected['value'])}  ({view.name}){doubt}")
    line("range", f"{desk.value(tag, selected['low'])} … {desk.value(tag, selected['high'])}")
    if selected["soft_low"] is not None or selected["soft_high"] is not None:
        low, high = (desk.value(tag, selected[key]) if selected[key] is not None else "–" for key in SOFT)
        line("usual", f"{low} … {high}")
    needs = [word(key) for key, on in (("retype", selected["retype"]), ("two", selected["two_person"])) if on]
    line("class", ", ".join([str(selected["class"]), *needs]))
    line("confirm", f"{selected['confirm_within_s']:g} s  ({selected['readback']})")
    if selected["mode"]:
        line("mode", f"{word('clear' if selected['mode']['allowed'] else 'blocks')}: {desk.text(selected['mode'])}")
    for one in selected["interlocks"]:
        state = "clear" if not one["blocks"] else "blocks" if one["known"] else "unknown"
        line("interlock", f"{word(state)}  ({word('blocks_when')}: {desk.text(one)})")
    for one in selected["safety_tags"]:
        line("tag", f"{one['kind']} ({one['author']}): {one['reason']}")
    if selected["lease"]:
        line("lease", selected["lease"])
    return "\n".join(lines)


OVERRIDDEN = int(Quality.SUBSTITUTED | Quality.BLOCKED)
SOFT = ("soft_low", "soft_high")
_ORDER = [str(one) for one in State]
"""From selected to ended."""


def _number(tag: Tag, text: str) -> float:
    """A value from a number or a state's word."""
    for number, words in enumerate(tag.states):
        if text in words:
            return float(number)
    try:
        return float(text)
    except ValueError:
        known = ", ".join(word for pair in tag.states for word in pair)
        raise CommandError(f"{text!r} is no number{f' and none of {known}' if known else ''}") from None


def _execute(chosen: argparse.Namespace) -> int:
    with _desk(chosen) as desk:
        tag = desk.tag(chosen.point)
        value = _number(tag, chosen.value)
        selected: Answer | None = desk.kept().get(chosen.point)
        if selected is None and chosen.as_seen:
            raise CommandError("nothing of this point is selected here, or its time is over; select it again and look")
        if selected is None:
            selected = desk.client.select(chosen.point)
            if selected.get("outcome") != "selected":
                return desk.refused(selected)
            desk.keep(selected)
            print(sheet(desk, selected))
        checked = desk.client.check(selected["select_id"], value)
        if checked.get("outcome") != "checked":
            if checked.get("code") == "not_selected":
                desk.forget(chosen.point)
            return desk.refused(checked)
        print(f"{desk.word('checked')}: {desk.value(tag, checked['value'])}")
        for one in checked["warnings"]:
            print(f"  {desk.word('warning')}: {desk.text(one)}")
        if checked["warnings"] and not chosen.yes:
            print(f"  {desk.word('accept')}", file=sys.stderr)
            return 1
        return _sent(chosen, desk, selected, checked, value)


def _sent(chosen: argparse.Namespace, desk: Desk, selected: Answer, checked: Answer, value: float) -> int:
    seen = dict(selected if chosen.as_seen else checked)
    seen["seen_mono_ns"] -= round(chosen.seen_age * NS_PER_S)
    if chosen.seen_value is not None:
        seen["seen_value"] = chosen.seen_value
    command_id = new_id()
    follower = Follower(desk, command_id)
    answer = desk.client.execute(
        selected, value, chosen.reason, seen, accept_warnings=chosen.yes, retyped=chosen.retype, command_id=command_id
    )
    outcome = answer.get("outcome")
    if outcome not in ("accepted", "confirmed", "awaiting_second"):
        follower.close()
        return desk.refused(answer)
    desk.forget(chosen.point)
    for note in answer.get("notes", ()):
        print(f"  {note}")
    if outcome == "awaiting_second":
        print(f"{desk.word('second')}: gwanje operate second {command_id} {chosen.point} {value:g}")
    if chosen.no_wait:
        follower.close()
        return 1 if outcome != "confirmed" else 0
    return 0 if follower.follow() == State.CONFIRMED else 1


class Follower:
    """Prints the states of one command until it ends; made before the command is sent, so that none is missed.

    Args:
        desk: of the person.
        command_id: of the command.
    """

    def __init__(self, desk: Desk, command_id: str) -> None:
        self._desk = desk
        self._command_id = command_id
        self._heard = desk.bus.subscriber(["event"], ["core"])
        self._since_ns = desk.clock.mono_ns()
        self._told: list[str] = []

    def follow(self) -> str:
        """Print until the end; the last state."""
        clock = self._desk.clock
        end_ns = self._since_ns + round(FOLLOW_S_MAX * NS_PER_S)
        look_ns = known_ns = clock.mono_ns()
        while clock.mono_ns() < end_ns:
            if clock.mono_ns() >= look_ns:
                look_ns = clock.mono_ns() + round(LOOK_S * NS_PER_S)
                if self._look():
                    known_ns = clock.mono_ns()
                elif clock.mono_ns() - known_ns > LOST_S * NS_PER_S:
                    print(f"  {self._desk.word('lost')}", file=sys.stderr)
                    break
            elif self._heard.poll(50):
                while (message := self._heard.receive()) is not None:
                    if isinstance(message, Event) and message.data.get("command_id") == self._command_id:
                        self._tell(str(message.data.get("state")), message.mono_ns, "")
            if self._told and State(self._told[-1]) in ENDED:
                break
        self._look(last=True)
        self.close()
        return self._told[-1] if self._told else ""

    def _look(self, last: bool = False) -> bool:
        """Ask the core where the command stands; whether it knows it."""
        listing = self._desk.client.operations()
        known = False
        for one in (*listing.get("running", ()), *listing.get("recent", ())):
            if one["command_id"] == self._command_id:
                known = True
                ended = State(one["state"]) in ENDED
                self._tell(one["state"], one["since_mono_ns"], "")
                if last and ended:
                    self._sum_up(one)
        return known

    def _tell(self, state: str, mono_ns: int, text: str) -> None:
        if state in self._told or (self._told and _ORDER.index(state) < _ORDER.index(self._told[-1])):
            return  # the list tells only where it stands, and may be before the events that led there
        self._told.append(state)
        print(f"  {(mono_ns - self._since_ns) / 1e6:8.0f} ms  {self._desk.word(state)}{text}", flush=True)

    def _sum_up(self, one: Mapping[str, Any]) -> None:
        readback = self._desk.site.operations.by_point[one["point"]].readback
        shown = self._desk.value(self._desk.tag(readback), one["readback"])
        why = self._desk.text(one)
        print(f"  {readback} = {shown}{f': {why}' if why else ''}")

    def close(self) -> None:
        """Stop listening."""
        self._heard.close()


def _cancel(chosen: argparse.Namespace) -> int:
    with _desk(chosen) as desk:
        kept = desk.kept().get(chosen.point)
        if kept is None:
            raise CommandError(f"this terminal has not selected {chosen.point}")
        answer = desk.client.cancel(kept["select_id"])
        desk.forget(chosen.point)
        if answer.get("outcome") != "cancelled":
            return desk.refused(answer)
        print(f"{desk.word('cancelled')}: {chosen.point}")
        return 0


def _give_back(chosen: argparse.Namespace) -> int:
    with _desk(chosen) as desk:
        desk.tag(chosen.point)
        operation = desk.site.operations.get(chosen.point)
        takes = (chosen.point, *(operation.takes if operation is not None else ()))
        answer = desk.client.ask("give_back", points=list(takes), reason=chosen.reason)
        if answer.get("outcome") != "released":
            return desk.refused(answer)
        print(f"{desk.word('given_back')}: {', '.join(takes)}")
        return 0


def _held(chosen: argparse.Namespace) -> int:
    with _desk(chosen) as desk:
        answer = desk.client.leases()
        if "holds" not in answer:
            return desk.refused(answer)
        store = TagStore.attach(desk.run_dir / "tags", desk.site.tags)
        now, utc = desk.clock.mono_ns(), desk.clock.utc_ns()
        rows = []
        for one in answer["holds"]:
            sample = store.read(desk.site.tags.index(one["point"]), now)
            since, until = (utc_text(utc + one[key] - now) for key in ("since_mono_ns", "until_mono_ns"))
            value = None if math.isnan(sample.value) else sample.value
            rows.append(
                {"point": one["point"], "value": value, "author": one["author"], "since_utc": since, "until_utc": until}
            )
        if chosen.json:
            print(json.dumps(rows, ensure_ascii=False))
            return 0
        for row, one in zip(rows, answer["holds"], strict=True):
            since, until = (desk.time.second(utc + one[key] - now) for key in ("since_mono_ns", "until_mono_ns"))
            span = f"{since} … {until}"
            print(f"{row['point']} = {desk.value(desk.tag(row['point']), row['value'])}  {row['author']}  {span}")
        if not rows:
            print(desk.word("nothing"))
        return 0


def _second(chosen: argparse.Namespace) -> int:
    with _desk(chosen) as desk:
        value = _number(desk.tag(chosen.point), chosen.value)
        follower = Follower(desk, chosen.command_id)
        answer = desk.client.second(chosen.command_id, chosen.point, value)
        if answer.get("outcome") not in ("accepted", "confirmed"):
            follower.close()
            return desk.refused(answer)
        return 0 if follower.follow() == State.CONFIRMED else 1


def _list(chosen: argparse.Namespace) -> int:
    with _desk(chosen) as desk:
        answer = desk.client.operations()
        if answer.get("outcome") == "timed_out":
            return desk.refused(answer)
        if chosen.json:
            print(json.dumps(answer, ensure_ascii=False))
            return 0
        now = desk.clock.mono_ns()
        for one in answer["selected"]:
            print(f"{desk.word('selected'):<12} {one['point']}  {_who(one)}  {one['left_s']:.0f} s")
        for one in (*answer["running"], *answer["recent"]):
            value = desk.value(desk.tag(one["point"]), one["value"])
            age_s = (now - one["since_mono_ns"]) / NS_PER_S
            why = desk.text(one)
            print(
                f"{desk.word(one['state']):<12} {one['point']} ← {value}  {_who(one)}  {age_s:.0f} s  "
                f"{one['command_id']}{f'  {why}' if why else ''}"
            )
        if not any(answer[key] for key in ("selected", "running", "recent")):
            print(desk.word("nothing"))
        return 0


def _who(one: Mapping[str, Any]) -> str:
    return f"{one['author']} ({one['console']})" if one["console"] else str(one["author"])
