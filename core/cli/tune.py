"""``gwanje tune``: parameters of control, their dry runs, and changes to the running loop."""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from gwanje.core.city.run_dir import RunDirError, RunInfo, default_data_base, default_run_dir
from gwanje.core.cli.operate import Desk
from gwanje.core.cli.parsing import CommandError, Commands, attached, history_of, with_site
from gwanje.core.cli.speech import with_lang
from gwanje.core.clock import NS_PER_S
from gwanje.core.closed_loop.comparison import named
from gwanje.core.site.config import load_site
from gwanje.core.site.local_time import SiteTime

TERMINAL = "gwanje.control.tuning.terminal"
TALK = "gwanje.control.tuning.talk"
PLANT = "gwanje.io.sim.microgrid.plant:open_plant"
HISTORY = "gwanje.historian.query"
PICTURE = "gwanje.hmi.response_picture"
"""Modules of other parts, by name: core imports none of them."""
HOUR_S, ISLAND_S = 3600.0, 60.0
"""Stretches of a dry run: of the record, and of a simulated island."""
ISLAND_S_MIN, ISLAND_S_MAX = 10.0, 900.0
PICTURE_S = 60.0
"""Painting takes a second; a machine that tests beside takes longer."""


def add(commands: Commands) -> None:
    """Add the group."""
    tune = commands.group("tune", "parameters of control: list, try, apply, watch, keep, roll back")
    listed = tune.add("list", _list, "parameters with value, range, unit and owner")
    listed.add_argument("pattern", nargs="?", default="", help="such as 'follow_*' (default: all)")
    listed.add_argument("--changed", action="store_true", help="only those that differ from the site's files")
    listed.add_argument("--live", action="store_true", help="only those that a running city takes")
    tried = tune.add("try", _try, "a dry run: old and new parameters on steps, on a recorded hour or in an island")
    tried.add_argument("changes", nargs="+", metavar="NAME=VALUE")
    which = tried.add_mutually_exclusive_group()
    which.add_argument("--hour", metavar="FROM", help="begin of the recorded hour, ISO 8601 (default: the last hour)")
    which.add_argument("--synthetic", action="store_true", help="steps alone")
    tried.add_argument("--for", dest="for_s", type=float, metavar="S", help="length (default: 3600; in an island 60)")
    tried.add_argument("--history", type=Path, help="history folder (default: the running city's, or the last run's)")
    tried.add_argument("--picture", type=Path, metavar="FILE.png", help="paint both responses")
    tried.add_argument("--plant-delay", type=float, metavar="S", help="another delay of the model's path")
    tried.add_argument("--plant-lag", type=float, metavar="S", help="another lag of the model's inverters")
    tried.add_argument("--save", action="store_true", help="draft the change in the running city; needs --reason")
    applied = tune.add("apply", _apply, "apply a drafted change, or NAME=VALUE …, without a bump, and watch it")
    applied.add_argument("changes", nargs="+", metavar="NUMBER | NAME=VALUE", help="such as 3, m2 or ki_per_s=3")
    applied.add_argument("--yes", action="store_true", help="accept the warnings")
    applied.add_argument("--no-wait", action="store_true", help="do not follow the watch to its end")
    rollback = tune.add("rollback", _rollback, "roll back the change on watch")
    kept = tune.add("keep", _keep, "keep the change on watch before its time is over")
    shown = tune.add("status", _status, "drafted and applied changes, what is on watch")
    for one in (tried, applied):
        one.add_argument("--watch", type=float, default=60.0, metavar="S", help="watch time (default: 60)")
        one.add_argument(
            "--guard", action="append", default=[], metavar="LIMIT=VALUE",
            help="such as error_rms_pct=1; of the microgrid also frequency_rms_hz, frequency_max_hz, swings",
        )  # fmt: skip
    for one in (applied, rollback, kept):
        one.add_argument("--reason", required=True, help="for the journal")
    tried.add_argument("--reason", default="", help="for the journal")
    for one in (listed, tried, shown):
        one.add_argument("--json", action="store_true")
    for one in (listed, tried, applied, rollback, kept, shown):
        with_lang(one)
        with_site(one)


def _terminal() -> Any:
    return importlib.import_module(TERMINAL)


def _talk() -> Any:
    return importlib.import_module(TALK)


def _place(chosen: argparse.Namespace) -> Any:
    """Where the command looks: the running city, or the site's files alone."""
    site = load_site(chosen.site)
    run_dir = chosen.run_dir or default_run_dir(site.id)
    try:
        data = Path(RunInfo.read(run_dir).data_dir).parent
    except RunDirError:
        if chosen.run_dir is not None:
            raise
        run_dir, data = None, default_data_base(chosen.site) / site.id
    return _terminal().Place(site, data, run_dir, chosen.lang)


@contextmanager
def _desk(chosen: argparse.Namespace) -> Iterator[Desk]:
    site, run_dir, _info = attached(chosen)
    desk = Desk(site, run_dir, chosen.lang)
    try:
        yield desk
    finally:
        desk.bus.close()


def _list(chosen: argparse.Namespace) -> int:
    place = _place(chosen)
    return int(_terminal().list_parameters(place, chosen.pattern, chosen.changed, chosen.json, chosen.live))


def _try(chosen: argparse.Namespace) -> int:
    if chosen.save and not chosen.reason.strip():
        raise CommandError("--save needs --reason: it goes into the journal")
    place, terminal = _place(chosen), _terminal()
    choice = terminal.choose(terminal.configs(place), chosen.changes)
    if choice.owner.part == "microgrid":
        tried = _try_microgrid(chosen, place, choice)
    else:
        fetch, from_ns, until_ns, where = _stretch(chosen)
        wish = terminal.Wish(from_ns, until_ns, where, chosen.plant_delay, chosen.plant_lag)
        tried = terminal.try_out(place, choice, wish, fetch, chosen.json)
    if chosen.picture is not None and tried.picture:
        _paint(tried.picture, chosen.picture)
        print(f"{chosen.picture}", file=sys.stderr if chosen.json else sys.stdout)
    if not chosen.save:
        return 0
    with _desk(chosen) as desk:
        number = _talk().save_draft(desk, _draft(chosen, choice, tried.figures))
    if number:
        name = choice.owner.label(number)
        print(f"gwanje tune apply {name} --reason …", file=sys.stderr if chosen.json else sys.stdout)
    return 0 if number else 1


def _try_microgrid(chosen: argparse.Namespace, place: Any, choice: Any) -> Any:
    """In a simulated island, when the parameters have a response to draw there; else they are checked alone."""
    given = {"--hour": chosen.hour, "--plant-delay": chosen.plant_delay, "--plant-lag": chosen.plant_lag}
    if wrong := [one for one, value in given.items() if value is not None]:
        raise CommandError(f"{wrong[0]} is for parameters of the tie-line; the microgrid's are tried in simulation")
    if chosen.picture is not None and not _terminal().drawn(choice):
        raise CommandError("these parameters have no response to draw; without --picture they are checked")
    stretch_s = 0.0 if chosen.synthetic else ISLAND_S if chosen.for_s is None else chosen.for_s
    if stretch_s and not ISLAND_S_MIN <= stretch_s <= ISLAND_S_MAX:
        raise CommandError(f"--for must be {ISLAND_S_MIN:g}…{ISLAND_S_MAX:g} s in an island")
    return _terminal().try_microgrid(place, choice, named(PLANT), stretch_s, chosen.json)


def _draft(chosen: argparse.Namespace, choice: Any, figures: Mapping[str, float]) -> Any:
    limits = dict(_number(one) for one in chosen.guard)
    return _talk().Draft(choice.owner, choice.wanted, chosen.reason, chosen.watch, limits, figures)


def _number(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name.strip(), float(value)
    except ValueError:
        raise CommandError(f"{text!r} is not LIMIT=VALUE") from None


Points = Mapping[str, Any]


def _stretch(chosen: argparse.Namespace) -> tuple[Callable[[list[str], int, int], Points], int | None, int, str]:
    """How to read the historian, and which stretch; without a record, none."""
    if chosen.synthetic:
        return _nothing, None, 0, ""
    for_s = HOUR_S if chosen.for_s is None else chosen.for_s
    if not 10.0 <= for_s <= 86_400.0:
        raise CommandError("--for must be 10…86400 s")
    history = importlib.import_module(HISTORY)
    folder, time = history_of(chosen), SiteTime.of(chosen.site)
    length_ns = round(for_s * NS_PER_S)
    if chosen.hour is None:
        with history.open_history(folder) as opened:
            newest = opened.sql("SELECT min(utc_ns) AS a, max(utc_ns) AS b FROM points WHERE tag = 'grid.tie.import_w'")
            first, last = newest.column("a")[0].as_py(), newest.column("b")[0].as_py()
        if last is None:
            raise CommandError(f"{folder}: the import was never recorded; `--synthetic` tries steps alone")
        from_ns, until_ns = max(first, last - length_ns), last
    else:
        from_ns = _utc_ns(chosen.hour, time)
        until_ns = from_ns + length_ns

    def fetch(tags: list[str], begin_ns: int, end_ns: int) -> Points:
        names = ", ".join(f"'{one}'" for one in tags)
        asked = (
            f"SELECT tag, utc_ns, value, quality FROM points WHERE tag IN ({names}) "
            f"AND utc_ns BETWEEN {begin_ns} AND {end_ns} ORDER BY tag, utc_ns"
        )
        with history.open_history(folder) as opened:
            return _by_tag(opened.sql(asked))

    return fetch, from_ns, until_ns, f"{time.second(from_ns)} + {(until_ns - from_ns) / NS_PER_S:.0f} s"


def _nothing(_tags: list[str], _begin_ns: int, _end_ns: int) -> Points:
    return {}


def _by_tag(table: Any) -> Points:
    """Tag → (times, values, qualities); the rows come sorted by tag."""
    tags = table.column("tag").combine_chunks().dictionary_encode()
    names, codes = tags.dictionary.to_pylist(), tags.indices.to_numpy(zero_copy_only=False)
    columns = [table.column(key).to_numpy() for key in ("utc_ns", "value", "quality")]
    return {name: tuple(one[codes == code] for one in columns) for code, name in enumerate(names)}


def _utc_ns(text: str, time: SiteTime) -> int:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise CommandError(f"{text!r} is no time such as 2026-11-21T13:00:00+09:00") from None
    return time.utc_ns(when)


def _paint(data: Mapping[str, Any], target: Path) -> None:
    """Have the picture painted in a process that may load Qt."""
    if target.suffix != ".png" or not target.absolute().parent.is_dir():
        raise CommandError(f"{target} is no PNG file in a folder that exists")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "responses.json"
        source.write_text(json.dumps(data), encoding="utf-8")
        command = [sys.executable, "-m", PICTURE, str(source), str(target.absolute())]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PICTURE_S, check=False)
        except subprocess.TimeoutExpired:
            raise CommandError("the picture was not painted within a minute") from None
    if done.returncode:
        raise CommandError(f"the picture was not painted: {done.stderr.strip().splitlines()[-1:] or done.returncode}")


def _apply(chosen: argparse.Namespace) -> int:
    terminal, talk = _terminal(), _talk()
    with _desk(chosen) as desk:
        name = talk.set_name(chosen.changes[0]) if len(chosen.changes) == 1 else None
        if name is None:
            choice = terminal.choose(terminal.configs(_place(chosen)), chosen.changes)
            number = talk.save_draft(desk, _draft(chosen, choice, {}))
            if not number:
                return 1
            name = talk.SetName(choice.owner, number)
        return int(talk.apply(desk, name, chosen.reason, chosen.yes, not chosen.no_wait))


def _rollback(chosen: argparse.Namespace) -> int:
    with _desk(chosen) as desk:
        return int(_talk().roll_back(desk, chosen.reason))


def _keep(chosen: argparse.Namespace) -> int:
    with _desk(chosen) as desk:
        return int(_talk().keep(desk, chosen.reason))


def _status(chosen: argparse.Namespace) -> int:
    with _desk(chosen) as desk:
        return int(_talk().status(desk, chosen.json))
