"""What ``gwanje tune`` does; :mod:`gwanje.core.cli.tune` reads the arguments and finds this module by its name."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gwanje.control.microgrid.params import ControlConfig, check_tags, parse
from gwanje.control.microgrid.settings import FILE as MICROGRID_FILE
from gwanje.control.microgrid.settings import read_settings
from gwanje.control.tuning import change_set
from gwanje.control.tuning.change_set import WATCH_S, Book, State
from gwanje.control.tuning.desk import APPLY_POINT, FILE, FILE_BYTES_MAX, KEEP_POINT
from gwanje.control.tuning.dry_run import PlantModel, Replay, figures_of, plant_of, replay, steps
from gwanje.control.tuning.picture import changes_text, notes, picture, table
from gwanje.control.tuning.recording import Column, NothingRecordedError, recorded_world, tags_of
from gwanje.control.tuning.registry import (
    Parameter,
    Registry,
    Section,
    UnknownParameterError,
    problems_of,
    sections_of,
    sections_within,
    with_values,
)
from gwanje.control.tuning.service import SERVICE
from gwanje.core.bus.bus import RequestTimeoutError
from gwanje.core.cli.operate import Desk, Follower, sheet
from gwanje.core.cli.parsing import CommandError
from gwanje.core.cli.tags import shown_width
from gwanje.core.cli.tokens import read_token
from gwanje.core.clock import NS_PER_S
from gwanje.core.commands.messages import new_id
from gwanje.core.commands.operations_table import State as CommandState
from gwanje.core.site.config import Site
from gwanje.core.state_file import StateFile

Fetch = Callable[[list[str], int, int], Mapping[str, Column]]
"""Points of some tags between two times, from the historian."""
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


@dataclass(frozen=True, slots=True)
class Place:
    """Where a command looks.

    Attributes:
        site: whose parameters.
        data: the site's folder of data; kept changes lie there.
        run_dir: of the running city, ``None`` when none runs.
        lang: ``ko`` or ``en``.
    """

    site: Site
    data: Path
    run_dir: Path | None
    lang: str


def configs(place: Place) -> tuple[ControlConfig, ControlConfig]:
    """``control.toml`` as it stands, and what is in force: with the kept changes over it.

    Raises:
        CommandError: one of them is wrong.
    """
    try:
        file = parse(place.site.control)
        check_tags(file, place.site.tags)
    except ValueError as error:
        raise CommandError("control.toml: " + "; ".join(str(error).splitlines())) from None
    try:
        state = StateFile(place.data / FILE, FILE_BYTES_MAX).load()
        book = change_set.from_state(state) if state is not None else Book()
    except (OSError, ValueError) as error:
        raise CommandError(f"{place.data / FILE}: {error}") from None
    now = change_set.in_force(book, file)[0]
    watched = book.on_watch
    live = place.run_dir is not None and watched is not None and watched.state is State.APPLIED
    return file, with_values(now, watched.after) if live and watched is not None else now


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _complain(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _why(desk: Desk, one: Mapping[str, Any]) -> str:
    return _both(desk, one["why_ko"], one["why_en"])


def _both(desk: Desk, ko: str, en: str) -> str:
    return desk.text({"text_ko": ko, "text_en": en})


def microgrid_sections(site_root: Path) -> list[Section]:
    """The parameters of the microgrid's controller, where the site has one; they are taken when it starts.

    Raises:
        CommandError: its file is wrong.
    """
    if not (site_root / MICROGRID_FILE).is_file():
        return []
    try:
        return sections_within("microgrid", read_settings(site_root))
    except ValueError as error:
        raise CommandError(f"{MICROGRID_FILE}: " + "; ".join(str(error).splitlines())) from None


def list_parameters(place: Place, pattern: str, changed: bool, as_json: bool) -> int:
    """``gwanje tune list``."""
    file, now = configs(place)
    others = microgrid_sections(place.site.root)
    said = Registry([*sections_of(file), *others]).values()
    found = Registry([*sections_of(now), *others]).match(pattern)
    if changed:
        found = [one for one in found if one.value != said[one.name]]
    if not found and pattern:
        raise CommandError(f"no parameter fits {pattern!r}")
    if as_json:
        rows = [
            {**asdict(one), "file": said[one.name], "needs_restart": not one.live, "role": "engineer"} for one in found
        ]
        _say(json.dumps(rows, ensure_ascii=False))
        return 0
    width = max((len(one.name) for one in found), default=0)
    for one in found:
        _say(_line(one, said[one.name], width, place.lang))
    return 0


def _line(one: Parameter, said: float, width: int, lang: str) -> str:
    default = "" if one.default is None else f", {'기본' if lang == 'ko' else 'default'} {one.default:g}"
    marks = "" if one.live else ("  [재시작 필요]" if lang == "ko" else "  [restart]")
    if one.value != said:
        marks += f"  ← control.toml {said:g}"
    text = one.ko if lang == "ko" else one.en
    span = f"{one.low:g}…{one.high:g}"
    return f"{one.name:<{width}}  {one.value:>10g} {one.unit:<4} ({span}{default})  {one.owner}: {text}{marks}"


def wanted_of(config: ControlConfig, texts: list[str]) -> list[tuple[Parameter, float]]:
    """What ``NAME=VALUE …`` asks for.

    Raises:
        CommandError: it cannot be; with every reason.
    """
    registry, found = Registry(sections_of(config)), []
    for text in texts:
        name, equals, value = text.partition("=")
        try:
            found.append((registry.find(name.strip()), float(value)))
        except UnknownParameterError as error:
            raise CommandError(str(error)) from None
        except ValueError:
            raise CommandError(f"{text!r} is not NAME=VALUE" if not equals else f"{value!r} is no number") from None
    if problems := problems_of(config, {one.name: value for one, value in found}):
        raise CommandError("; ".join(problems))
    return found


@dataclass(frozen=True, slots=True)
class Wish:
    """What ``gwanje tune try`` was asked.

    Attributes:
        changes: ``NAME=VALUE`` each.
        from_utc_ns: begin of the recorded stretch, ``None`` for steps alone.
        until_utc_ns: its end.
        where: the stretch in words.
        plant_delay_s: of the model, ``None`` as in force.
        plant_lag_s: of the model, ``None`` as in force.
    """

    changes: list[str]
    from_utc_ns: int | None
    until_utc_ns: int
    where: str
    plant_delay_s: float | None
    plant_lag_s: float | None


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of it."""

    wanted: dict[str, float]
    figures: dict[str, float]
    picture: dict[str, Any]


def try_out(place: Place, wish: Wish, fetch: Fetch, as_json: bool) -> Tried:
    """``gwanje tune try``: prints the figures.

    Raises:
        CommandError: the changes cannot be, or the stretch was not recorded.
    """
    _, now = configs(place)
    changes = wanted_of(now, wish.changes)
    wanted = {one.name: value for one, value in changes}
    after, rating_w, lang = with_values(now, wanted), place.site.rating_w, place.lang
    own = plant_of(now)
    plant = PlantModel(
        own.delay_s if wish.plant_delay_s is None else wish.plant_delay_s,
        own.lag_s if wish.plant_lag_s is None else wish.plant_lag_s,
    )
    stepped = steps(now, after, rating_w, plant)
    replayed: Replay | None = None
    if wish.from_utc_ns is not None:
        try:
            columns = fetch(tags_of(now), wish.from_utc_ns, wish.until_utc_ns)
            world = recorded_world(now, columns, wish.from_utc_ns, wish.until_utc_ns)
        except NothingRecordedError as error:
            raise CommandError(f"{wish.where}: {error}") from None
        replayed = replay(now, after, rating_w, world, plant)
    said, figures = notes(plant, replayed, wish.where, lang), figures_of(stepped, replayed)
    if as_json:
        rows = {one.name: {"before": asdict(one.figures_before), "after": asdict(one.figures_after)} for one in stepped}
        if replayed is not None:
            rows["hour"] = {"before": asdict(replayed.figures_before), "after": asdict(replayed.figures_after)}
        gaps = [asdict(gap) for gap in replayed.world.gaps] if replayed is not None else []
        _say(json.dumps(_finite({"changes": wanted, "figures": rows, "gaps": gaps, "notes": said}), ensure_ascii=False))
    else:
        _say(changes_text(changes))
        for line in said:
            _say(f"  {line}")
        _print_table(table(stepped, replayed, lang))
    return Tried(wanted, figures, picture(changes, stepped, replayed, said, lang))


def _finite(value: Any) -> Any:
    """NaN becomes null: JSON has none."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and value != value else value


def _print_table(shown: Mapping[str, Any]) -> None:
    rows = [shown["head"], *shown["rows"]]
    widths = [max(shown_width(str(row[k])) for row in rows) for k in range(len(shown["head"]))]
    for row in rows:
        cells = [row[0] + " " * (widths[0] - shown_width(row[0]))]
        cells += [" " * (width - shown_width(text)) + text for text, width in zip(row[1:], widths[1:], strict=True)]
        _say("  " + "  ".join(cells))


@dataclass(frozen=True, slots=True)
class Draft:
    """What a change set is drafted with."""

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
    answer = _ask(desk, asked)
    if answer.get("outcome") != "drafted":
        desk.refused(answer)
        if detail := answer.get("detail"):
            _complain(f"  {detail}")
        return 0
    return int(answer["number"])


def _ask(desk: Desk, message: dict[str, Any]) -> dict[str, Any]:
    try:
        return desk.bus.request(SERVICE, message)
    except RequestTimeoutError:
        raise CommandError("the control part does not answer; see `gwanje status`") from None


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


def apply(desk: Desk, number: int, reason: str, accept: bool, follow: bool) -> int:
    """``gwanje tune apply``: by the number of a draft; follows the watch to its end."""
    before = _state_of(desk, number)
    if command(desk, APPLY_POINT, float(number), reason, accept):
        return follow_watch(desk, number) if follow else 0
    if _state_of(desk, number) == before:
        return 1
    # A guard may trip sooner than the readback is seen: the set tells what became of it, the command cannot.
    return follow_watch(desk, number)


def follow_watch(desk: Desk, number: int) -> int:
    """Print a line a second until the set is kept, refused or rolled back; 0 when it is kept."""
    look_ns = desk.clock.mono_ns()
    while True:
        status = _ask(desk, {"op": "status"})
        one = _set_of(status, number)
        if one is None:
            raise CommandError(f"the control part knows no change {number} any more")
        if one["state"] not in change_set.ON_WATCH:
            why = _why(desk, one)
            _say(f"  {_state(desk, one)}{f': {why}' if why else ''}")
            return 0 if one["state"] == State.KEPT else 1
        seen = status["guard"]
        if seen:
            _say(_watch_line(desk, one, status["watch_left_s"], seen))
        look_ns += LOOK_NS
        desk.clock.wait_until_mono_ns(look_ns)


def _set_of(status: Mapping[str, Any], number: int) -> Mapping[str, Any] | None:
    """One set of the control part's answer; ``None`` when it is not remembered."""
    return next((each for each in status["sets"] if each["number"] == number), None)


def _state_of(desk: Desk, number: int) -> str | None:
    one = _set_of(_ask(desk, {"op": "status"}), number)
    return one["state"] if one is not None else None


def _watch_line(desk: Desk, one: Mapping[str, Any], left_s: float, seen: Mapping[str, float]) -> str:
    """What is left of the watch, and how near the tie error is to the limits that would roll the set back."""
    limits = one["limits"]
    rms, most = f"RMS {seen['error_rms_pct']:.3f}", f"{seen['error_max_pct']:.2f}"
    rms_limit, most_limit = f"{limits['error_rms_pct']:g} %", f"{limits['error_max_pct']:g} %"
    return f"  {left_s:6.0f} s   " + _both(
        desk, f"연계선 오차 {rms} (한도 {rms_limit}), 최대 {most} (한도 {most_limit})",
        f"tie error {rms} (limit {rms_limit}), greatest {most} (limit {most_limit})",
    )  # fmt: skip


def _state(desk: Desk, one: Mapping[str, Any]) -> str:
    """Where a set stands, in the terminal's language."""
    return _both(desk, *STATES[State(one["state"])])


def roll_back(desk: Desk, reason: str) -> int:
    """``gwanje tune rollback``."""
    return 0 if command(desk, APPLY_POINT, 0.0, reason, accept=True) else 1


def keep(desk: Desk, reason: str) -> int:
    """``gwanje tune keep``: what is on watch."""
    number = int(_ask(desk, {"op": "status"})["on_watch"])
    if not number:
        raise CommandError("no change is on watch")
    return 0 if command(desk, KEEP_POINT, float(number), reason, accept=True) else 1


def status(desk: Desk, as_json: bool) -> int:
    """``gwanje tune status``."""
    found = _ask(desk, {"op": "status"})
    if as_json:
        _say(json.dumps(found, ensure_ascii=False))
        return 0
    for one in found["sets"]:
        changes = ", ".join(f"{each['name']} {each['before']:g}→{each['after']:g}" for each in one["changes"])
        why = _why(desk, one)
        left = f"  {found['watch_left_s']:.0f} s" if one["number"] == found["on_watch"] else ""
        by = f"({one['author']}: {one['reason']})"
        _say(f"{one['number']:>4}  {_state(desk, one)}{left}  {changes}  {by}  {why}".rstrip())
    if not found["sets"]:
        _say(desk.word("nothing"))
    return 0
