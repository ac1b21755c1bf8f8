"""What ``gwanje tune`` does without a running part: lists parameters, and tries changes before anybody applies them.

:mod:`gwanje.core.cli.tune` reads the arguments and finds this module by its name.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gwanje.control.microgrid.params import ControlConfig, check_tags, parse
from gwanje.control.microgrid.settings import FILE as MICROGRID_FILE
from gwanje.control.microgrid.settings import Settings, read_settings
from gwanje.control.tuning import change_set
from gwanje.control.tuning.change_set import Book, State
from gwanje.control.tuning.dry_run import PlantModel, Replay, figures_of, plant_of, replay, steps
from gwanje.control.tuning.island_picture import island_notes, island_picture
from gwanje.control.tuning.island_run import OpenPlant, try_island
from gwanje.control.tuning.owner import CONTROL, FILE_BYTES_MAX, MICROGRID, Owner, owner_of
from gwanje.control.tuning.picture import Compared, changes_text, compared, notes, picture, table
from gwanje.control.tuning.recording import Column, NothingRecordedError, recorded_world, tags_of
from gwanje.control.tuning.registry import (
    Config,
    ConfigT,
    Parameter,
    Registry,
    UnknownParameterError,
    problems_of,
    sections_of,
    with_values,
)
from gwanje.core.cli.parsing import CommandError
from gwanje.core.cli.tags import shown_width
from gwanje.core.site.config import Site
from gwanje.core.state_file import StateFile

Fetch = Callable[[list[str], int, int], Mapping[str, Column]]
"""Points of some tags between two times, from the historian."""
DRAWN = ("island",)
"""Tables of the microgrid's file whose parameters an island's response shows."""
LIVENESS: Mapping[str, tuple[str, str]] = {
    "live": ("운전 중", "live"),
    "restart": ("재시작", "restart"),
    "elsewhere": ("다른 곳", "elsewhere"),
}
"""How a parameter is changed, Korean and English."""
OWNERS_KO = {"engineer": "엔지니어", "protection": "보호", "operator": "운영자", "control": "제어"}
"""Whose parameter it is, in Korean."""


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


@dataclass(frozen=True, slots=True)
class Configs:
    """Parameters of the parts of a site: as the files say, and as they are in force with the kept changes over them."""

    file: ControlConfig
    now: ControlConfig
    microgrid_file: Settings | None
    microgrid_now: Settings | None

    def said(self) -> Registry:
        """All parameters as the files say."""
        return _registry(self.file, self.microgrid_file)

    def in_force(self) -> Registry:
        """All parameters as they are in force."""
        return _registry(self.now, self.microgrid_now)


def _registry(control: ControlConfig, microgrid: Settings | None) -> Registry:
    return Registry([*sections_of(control), *(sections_of(microgrid) if microgrid is not None else [])])


def configs(place: Place) -> Configs:
    """What the files say, and what is in force.

    Raises:
        CommandError: one of them is wrong.
    """
    try:
        file = parse(place.site.control)
        check_tags(file, place.site.tags)
    except ValueError as error:
        raise CommandError("control.toml: " + "; ".join(str(error).splitlines())) from None
    microgrid = microgrid_settings(place.site.root)
    return Configs(
        file, _in_force(place, file), microgrid, _in_force(place, microgrid) if microgrid is not None else None
    )


def microgrid_settings(site_root: Path) -> Settings | None:
    """The parameters of the microgrid's controller, where the site has one.

    Raises:
        CommandError: its file is wrong.
    """
    if not (site_root / MICROGRID_FILE).is_file():
        return None
    try:
        return read_settings(site_root)
    except ValueError as error:
        raise CommandError(f"{MICROGRID_FILE}: " + "; ".join(str(error).splitlines())) from None


def _in_force(place: Place, file: ConfigT) -> ConfigT:
    """With what was kept over the file, and what is on watch in a running city."""
    path = place.data / owner_of(file).file
    try:
        state = StateFile(path, FILE_BYTES_MAX).load()
        book = change_set.from_state(state, owner_of(file).limits) if state is not None else Book()
    except (OSError, ValueError) as error:
        raise CommandError(f"{path}: {error}") from None
    now, watched = change_set.in_force(book, file)[0], book.on_watch
    live = place.run_dir is not None and watched is not None and watched.state is State.APPLIED
    return with_values(now, watched.after) if live and watched is not None else now


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def list_parameters(place: Place, pattern: str, changed: bool, as_json: bool, live: bool = False) -> int:
    """``gwanje tune list``."""
    both = configs(place)
    said, found = both.said().values(), both.in_force().match(pattern)
    if changed:
        found = [one for one in found if one.value != said[one.name]]
    if live:
        found = [one for one in found if one.live]
    if not found and pattern:
        raise CommandError(f"no parameter fits {pattern!r}")
    if as_json:
        rows = [
            {**asdict(one), "file": said[one.name], "needs_restart": one.restart, "role": "engineer"} for one in found
        ]
        _say(json.dumps(rows, ensure_ascii=False))
        return 0
    width = max((len(one.name) for one in found), default=0)
    for one in found:
        _say(_line(one, said[one.name], width, place.lang))
    return 0


def _line(one: Parameter, said: float, width: int, lang: str) -> str:
    ko = lang == "ko"
    default = "" if one.default is None else f", {'기본' if ko else 'default'} {one.default:g}"
    key = "live" if one.live else "restart" if one.restart else "elsewhere"
    column = max(shown_width(words[not ko]) for words in LIVENESS.values())
    how = LIVENESS[key][not ko]
    marks = "" if one.live else f"  [{one.why_ko if ko else one.why_en}]"
    if one.value != said:
        site_file = (MICROGRID if one.name.startswith(f"{MICROGRID.part}.") else CONTROL).site_file
        marks += f"  ← {site_file} {said:g}"
    text, whose = (one.ko, OWNERS_KO.get(one.owner, one.owner)) if ko else (one.en, one.owner)
    span = f"{one.low:g}…{one.high:g}"
    how += " " * (column - shown_width(how))
    return (
        f"{one.name:<{width}}  {one.value:>10g} {one.unit:<4} {how}  ({span}{default})  {whose}: {text}{marks}"
    )


@dataclass(frozen=True, slots=True)
class Choice:
    """Changes to the parameters of one part.

    Attributes:
        owner: whose they are.
        now: all of them in force.
        changes: each with the wanted value.
    """

    owner: Owner
    now: Config
    changes: list[tuple[Parameter, float]]

    @property
    def wanted(self) -> dict[str, float]:
        """Full name → wanted value."""
        return {one.name: value for one, value in self.changes}


def choose(both: Configs, texts: Sequence[str]) -> Choice:
    """What ``NAME=VALUE …`` asks for. A short name is first looked for among those of the part ``control``.

    Raises:
        CommandError: it cannot be; with every reason.
    """
    found: list[tuple[Config, Parameter, float]] = []
    for text in texts:
        name, equals, value = text.partition("=")
        try:
            found.append((*_find(both, name.strip()), float(value)))
        except UnknownParameterError as error:
            raise CommandError(str(error)) from None
        except ValueError:
            raise CommandError(f"{text!r} is not NAME=VALUE" if not equals else f"{value!r} is no number") from None
    now = found[0][0]
    if any(config is not now for config, _, _ in found):
        first, rest = ([one.name for at, one, _ in found if (at is now) is mine] for mine in (True, False))
        names = f"{', '.join(first)} | {', '.join(rest)}"
        raise CommandError(f"these belong to two parts, which are changed one after the other: {names}")
    choice = Choice(owner_of(now), now, [(one, value) for _, one, value in found])
    if problems := problems_of(now, choice.wanted):
        raise CommandError("; ".join(problems))
    return choice


def _find(both: Configs, name: str) -> tuple[Config, Parameter]:
    """A parameter and the part's parameters among which it is."""
    control = Registry(sections_of(both.now))
    try:
        return both.now, control.find(name)
    except UnknownParameterError as error:
        if both.microgrid_now is None or str(error).startswith(f"{name!r} is several"):
            raise
    microgrid = Registry(sections_of(both.microgrid_now))
    try:
        return both.microgrid_now, microgrid.find(name)
    except UnknownParameterError as error:
        if str(error).startswith(f"{name!r} is several"):
            raise
    return both.now, both.in_force().find(name)  # knows all names that are near


@dataclass(frozen=True, slots=True)
class Wish:
    """What ``gwanje tune try`` was asked.

    Attributes:
        from_utc_ns: begin of the recorded stretch, ``None`` for steps alone.
        until_utc_ns: its end.
        where: the stretch in words.
        plant_delay_s: of the model, ``None`` as in force.
        plant_lag_s: of the model, ``None`` as in force.
    """

    from_utc_ns: int | None = None
    until_utc_ns: int = 0
    where: str = ""
    plant_delay_s: float | None = None
    plant_lag_s: float | None = None


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of it: figures for the draft, and the picture's data; empty where there is nothing to draw."""

    figures: dict[str, float]
    picture: dict[str, Any]


def try_out(place: Place, choice: Choice, wish: Wish, fetch: Fetch, as_json: bool) -> Tried:
    """``gwanje tune try`` of the tie-line's parameters: prints the figures.

    Raises:
        CommandError: the stretch was not recorded.
    """
    now, changes = choice.now, choice.changes
    assert isinstance(now, ControlConfig), "of the part control"
    after, rating_w, lang = with_values(now, choice.wanted), place.site.rating_w, place.lang
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
    said = notes(plant, replayed, wish.where, lang)
    gaps = [asdict(gap) for gap in replayed.world.gaps] if replayed is not None else []
    _print_tried(choice, said, compared(stepped, replayed), gaps, lang, as_json)
    return Tried(figures_of(stepped, replayed), picture(changes, stepped, replayed, said, lang))


def drawn(choice: Choice) -> bool:
    """Whether changes of the microgrid's parameters have a response that is drawn."""
    return any(one.name.split(".")[1] in DRAWN for one, _ in choice.changes)


def try_microgrid(place: Place, choice: Choice, open_plant: OpenPlant, stretch_s: float, as_json: bool) -> Tried:
    """``gwanje tune try`` of the microgrid's parameters: an island's response where they have one, else the checks.

    Raises:
        CommandError: the site's plant cannot be used.
    """
    now, lang = choice.now, place.lang
    assert isinstance(now, Settings), "of the part microgrid"
    if not drawn(choice):
        said = [
            "파일과 같은 규칙으로 검사함: 범위와 서로의 관계에 문제 없음. 이 파라미터에는 그릴 응답이 없음."
            if lang == "ko"
            else "Checked by the rules of the file: ranges and relations hold. These have no response to draw."
        ]
        _print_tried(choice, said, [], [], lang, as_json)
        return Tried({}, {})
    try:
        tried = try_island(place.site.root, now, with_values(now, choice.wanted), open_plant, stretch_s)
    except (ValueError, OSError) as error:
        raise CommandError(f"the simulated plant: {error}") from None
    said = island_notes(tried, stretch_s, lang)
    rows: Compared = [(name, *both) for name, both in tried.figures().items()]
    _print_tried(choice, said, rows, [], lang, as_json)
    figures = {
        f"{name}.{key}": value for name, _, after in rows for key, value in after.items() if value == value
    }
    return Tried(figures, island_picture(choice.changes, tried, rows, said, lang))


def _print_tried(
    choice: Choice, said: list[str], rows: Compared, gaps: list[Any], lang: str, as_json: bool
) -> None:
    if as_json:
        figures = {name: {"before": before, "after": after} for name, before, after in rows}
        answer = {"changes": choice.wanted, "figures": figures, "gaps": gaps, "notes": said}
        _say(json.dumps(_finite(answer), ensure_ascii=False))
        return
    _say(changes_text(choice.changes))
    for line in said:
        _say(f"  {line}")
    if rows:
        _print_table(table(rows, lang))


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
