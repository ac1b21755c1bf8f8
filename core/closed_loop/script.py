"""Reading ``scenarios/NAME.toml`` of runs in virtual time: plant, controller, ways, events, measures, criteria.

``[loop]`` tells such a file from the scripts of :mod:`gwanje.core.scenario.script`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gwanje.core.closed_loop.channel import WAY_KEYS, Way
from gwanje.core.closed_loop.runner import TICK_S, Event
from gwanje.core.closed_loop.scoring import KINDS, Criterion, Measure
from gwanje.core.site.toml_reader import ConfigErrors, Document, Reader

LENGTH_S_MAX = 7 * 86_400.0
REPEATS_MAX = 1000
EVENT_KINDS = ("ask", "disturb", "way")
BESIDE_KINDS = ("before_fall", "below_excused", "below_unexcused")
"""Measures that look at two signals."""
STARTS_MAX = 1000
PRICED = ("tie_w", "stored_wh")
"""Of the plant's truth, what whoever prices a run looks at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopScript:
    """One script.

    Attributes:
        name: of its file.
        length_s: of the run.
        start_s: second of the plant's day at which it begins.
        starts_s: seconds of the day for several runs, each of its own: the first seed takes the first of them, one for
            each repeat, the next seed the next ones, and after the last the first again. Empty: all at ``start_s``.
            The own controller's ``clock_offset_s`` follows.
        record_s: between two samples of the record.
        fine: times from … until in which every 10 ms are recorded.
        repeats: runs with seeds one after another; each metric is the worst of them by its criterion.
        plant: ``module:function``.
        controller: ``module:function``.
        plant_options: given to the plant.
        controller_options: given to the controller.
        beside: name → ``module:function`` of what is run on the same script.
        up: ways of measured tags: pattern and way.
        down: of commanded tags.
        money: ``module:function`` that prices a run; empty for none.
        date: day for which prices hold, YYYY-MM-DD.
        trials: ``module:function`` of randomised trials; empty for none.
        n_trials: how many.
    """

    name: str
    ko: str
    en: str
    length_s: float
    start_s: float
    record_s: float
    fine: tuple[tuple[float, float], ...]
    repeats: int
    plant: str
    controller: str
    plant_options: Mapping[str, Any] = field(hash=False)
    controller_options: Mapping[str, Any] = field(hash=False)
    beside: Mapping[str, str] = field(hash=False)
    up: tuple[tuple[str, Way], ...]
    down: tuple[tuple[str, Way], ...]
    events: tuple[Event, ...]
    measures: tuple[Measure, ...]
    criteria: tuple[Criterion, ...]
    money: str = ""
    date: str = ""
    trials: str = ""
    n_trials: int = 0
    trial_options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    starts_s: tuple[float, ...] = ()

    def run_of(self, seed: int, k: int) -> LoopScript:
        """The script as its ``k``-th repeat under a seed carries it out: with the start of its own."""
        if not self.starts_s:
            return self
        start_s = self.starts_s[((seed - 1) * self.repeats + k) % len(self.starts_s)]
        return replace(self, start_s=start_s, controller_options={**self.controller_options, "clock_offset_s": start_s})

    def lasting(self, length_s: float) -> LoopScript:
        """The same with another length."""
        return replace(self, length_s=length_s)

    @property
    def signals(self) -> tuple[str, ...]:
        """That its measures need, and its price."""
        needed = [*(PRICED if self.money else ())]
        for one in self.measures:
            needed += [signal.removeprefix("-") for signal in (*one.signals, one.beside) if signal]
        return tuple(dict.fromkeys(needed))


def loop_names(site_root: Path) -> list[str]:
    """Scenarios of a site that are runs in virtual time; one that cannot be read is none of them."""
    found = []
    for path in sorted((site_root / "scenarios").glob("*.toml")):
        if "loop" in Document.load(path, path.name).content:
            found.append(path.stem)
    return found


def load_loop(site_root: Path, name: str) -> LoopScript:
    """Read one.

    Raises:
        ConfigErrors: with every problem found.
    """
    document = Document.load(site_root / "scenarios" / f"{name}.toml", f"{site_root.name}/scenarios/{name}.toml")
    root = document.root()
    empty = Reader(document, (), {})
    head = root.reader("scenario", required=not document.problems) or empty
    loop = root.reader("loop", required=not document.problems) or empty
    trials = root.reader("trials")
    quiet = bool(document.problems)
    measures = tuple(_measure(one) for one in root.readers("measure"))
    criteria = tuple(_criterion(one) for one in root.readers("pass"))
    ways = [_way(one) for one in root.readers("way")]
    script = LoopScript(
        name=name,
        ko=head.text("ko", "" if quiet else None),
        en=head.text("en", "" if quiet else None),
        length_s=head.number("length_s", 0.0 if quiet else None, TICK_S, LENGTH_S_MAX),
        start_s=loop.number("start_s", 43_200.0, 0.0),
        record_s=loop.number("record_s", 0.1, TICK_S, 60.0),
        fine=_fine(loop),
        repeats=loop.integer("repeats", 1, 1, REPEATS_MAX),
        plant=_entry(loop, "plant"),
        controller=_entry(loop, "controller"),
        plant_options=loop.table("plant_options") or {},
        controller_options=loop.table("controller_options") or {},
        beside={key: str(value) for key, value in (loop.table("beside") or {}).items()},
        up=tuple((tags, way) for direction, tags, way in ways if direction == "up"),
        down=tuple((tags, way) for direction, tags, way in ways if direction == "down"),
        events=tuple(_event(one) for one in root.readers("event")),
        measures=measures,
        criteria=criteria,
        money=_entry(loop, "money", ""),
        date=loop.text("date", ""),
        trials=_entry(trials, "run") if trials else "",
        n_trials=trials.integer("count", 10_000, 1, 10_000_000) if trials else 0,
        trial_options=(trials.table("options") or {}) if trials else {},
        starts_s=_starts(loop),
    )
    for reader in (head, loop, trials, root):
        if reader is not None:
            reader.finish()
    if document.problems:
        raise ConfigErrors(document.problems)
    return script


def _entry(reader: Reader, key: str, default: str | None = None) -> str:
    found = reader.text(key, default)
    if found and not all(found.partition(":")):
        reader.problem(key, f"{found!r} is not module:function")
    return found


def _starts(reader: Reader) -> tuple[float, ...]:
    found = []
    given = reader.sequence("starts_s")
    if len(given) > STARTS_MAX:
        reader.problem("starts_s", f"{len(given)} starts, at most {STARTS_MAX} are taken")
    for one in given:
        if isinstance(one, bool) or not isinstance(one, int | float) or not 0.0 <= one < math.inf:
            reader.problem("starts_s", f"{one!r} is no second of a day")
        else:
            found.append(float(one))
    return tuple(found)


def _fine(reader: Reader) -> tuple[tuple[float, float], ...]:
    found = []
    for pair in reader.sequence("fine"):
        whole = isinstance(pair, list) and len(pair) == 2 and all(isinstance(one, int | float) for one in pair)
        if not whole or not 0.0 <= pair[0] < pair[1]:
            reader.problem("fine", f"{pair!r} is not [from, until] in seconds")
            continue
        found.append((float(pair[0]), float(pair[1])))
    return tuple(found)


def _event(reader: Reader) -> Event:
    kinds = [kind for kind in EVENT_KINDS if reader.has(kind)]
    if len(kinds) != 1:
        reader.problem(None, f"needs one of {', '.join(EVENT_KINDS)}")
    kind = kinds[0] if kinds else "ask"
    event = Event(
        at_s=reader.number("at_s", None, 0.0, LENGTH_S_MAX),
        kind=kind,
        what=reader.text(kind, choices=("up", "down") if kind == "way" else ()) if kinds else "",
        tags=reader.text("tags", "*"),
        values=reader.table("values") or {},
    )
    if kind == "way" and (unknown := set(event.values) - WAY_KEYS):
        reader.problem("values", f"a way has no {', '.join(sorted(unknown))}")
    reader.finish()
    return event


def _way(reader: Reader) -> tuple[str, str, Way]:
    direction, tags = reader.text("direction", choices=("up", "down")), reader.text("tags", "*")
    values = {key: reader.number(key) for key in sorted(WAY_KEYS) if reader.has(key)}
    reader.finish()
    try:
        return direction, tags, Way(**values)
    except ValueError as error:
        reader.problem(None, str(error))
        return direction, tags, Way()


def _measure(reader: Reader) -> Measure:
    signals = reader.sequence("signals") if reader.has("signals") else [reader.text("signal")]
    if not signals or not all(isinstance(one, str) and one for one in signals):
        reader.problem("signals", "must be an array of texts that are not empty")
        signals = []
    one = Measure(
        name=reader.text("name"),
        of=reader.text("of", choices=tuple(KINDS)),
        signals=tuple(signals),
        beside=reader.text("beside", ""),
        from_s=reader.number("from_s", 0.0, 0.0, LENGTH_S_MAX),
        until_s=reader.number("until_s", LENGTH_S_MAX, 0.0, LENGTH_S_MAX),
        target=reader.number("target", 0.0),
        band=reader.number("band", 0.0, 0.0),
        scale=reader.number("scale", 1.0),
        positive=reader.flag("positive", False),
    )
    if one.of in BESIDE_KINDS and not one.beside:
        reader.problem("beside", "is missing: the signal that is looked at")
    if one.until_s <= one.from_s:
        reader.problem("until_s", "is not after from_s")
    reader.finish()
    return one


def _criterion(reader: Reader) -> Criterion:
    one = Criterion(
        metric=reader.text("metric"),
        at_least=reader.number("at_least", -math.inf),
        at_most=reader.number("at_most", math.inf),
        why=reader.text("why", ""),
    )
    if math.isinf(one.at_least) and math.isinf(one.at_most):
        reader.problem(None, "needs at_least or at_most")
    reader.finish()
    return one
