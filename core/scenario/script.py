"""Reading ``scenarios/NAME.toml``: which faults to set on which devices, and what must be seen of each.

``[scenario]`` says how long and with which families; ``[watch]`` what counts as a missed period of the others; each
``[[rule]]`` what is expected of a kind of fault, the first that fits counts; ``[[order]]`` is commanded by an operator
before the outages; ``[[timer]]`` shortens the times after which devices fall back by themselves; ``[[outage]]`` kills
or stops parts; ``[[failsafe]]`` says by which number of a simulator's truth a device is in its fail-safe state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from gwanje.core.closed_loop.script import loop_names
from gwanje.core.scenario.sound import sound_names
from gwanje.core.site.toml_reader import ConfigErrors, Document, Reader

LENGTH_S_MAX = 86_400.0
SERVICES = ("sim", "simcity", "simsound")
"""Services that take faults: Modbus devices, the other devices, microphones."""


class Expect(StrEnum):
    """What must be seen of a device's tags while a fault stands."""

    BAD = "bad"
    NOT_GOOD = "not_good"
    GOOD = "good"
    ANY = "any"


class Outing(StrEnum):
    """How a part is put out of action."""

    KILL = "kill"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Rule:
    """What a kind of fault does to a device's tags.

    Attributes:
        drivers: patterns of drivers (``microphone`` for nodes) that it is about.
        kinds: patterns of kinds of faults, or of ``kind/how``.
        devices: pattern of names of devices that the fault may be set on.
        quantities: patterns of the quantities that must show it.
        first: only the first of them does.
        stays: once shown it stays so while the fault stands; not where devices tell good values by themselves beside.
        expect: what they must show.
        values: values that count as shown too, such as the state of a microphone.
        within_s: until when all must.
        hold_s: how long the fault stands.
        recover_s: until when all are well again after it …
        settle_s: … and stay so for this long before they count among the others: what a fault leaves behind may take a
            moment to show, such as a connection that is opened anew.
        params: further keys of the fault.
        skip: why faults of this kind are not set; empty for those that are.
    """

    drivers: tuple[str, ...]
    kinds: tuple[str, ...]
    devices: str
    quantities: tuple[str, ...]
    expect: Expect
    values: frozenset[float]
    within_s: float
    hold_s: float
    recover_s: float
    params: Mapping[str, Any] = field(default_factory=dict, hash=False)
    skip: str = ""
    first: bool = False
    stays: bool = True
    settle_s: float = 0.0

    def fits(self, driver: str, kind: str) -> bool:
        """Whether it is about a kind of fault of a driver's devices."""
        return any(fnmatchcase(driver, one) for one in self.drivers) and any(
            fnmatchcase(kind, one) or fnmatchcase(kind.partition("/")[0], one) for one in self.kinds
        )


@dataclass(frozen=True, slots=True)
class Outage:
    """A part that is killed or stopped, again and again, for a while.

    Attributes:
        part: its name.
        also: other parts that are put out with it.
        how: by SIGKILL or SIGSTOP.
        for_s: how long it is kept down.
        failsafe_within_s: until when every set-point device must be in its fail-safe state; 0 asks for nothing.
        recover_s: until when all is well again after it.
    """

    part: str
    how: Outing
    for_s: float
    failsafe_within_s: float
    recover_s: float
    also: tuple[str, ...] = ()

    @property
    def parts(self) -> tuple[str, ...]:
        """All that are put out."""
        return (self.part, *self.also)


@dataclass(frozen=True, slots=True)
class Order:
    """A set-point that an operator commands before the outages, so that there is something to fall back from.

    Attributes:
        points: pattern of tags.
        value: in the tag's unit.
        count: of points, chosen by the seed.
    """

    points: str
    value: float
    count: int


@dataclass(frozen=True, slots=True)
class Timer:
    """Devices of the scenario's city fall back sooner than those of the site, so that it can be seen in its time.

    Attributes:
        profiles: pattern of names.
        revert_s: of all commands of these profiles that have one.
    """

    profiles: str
    revert_s: float


@dataclass(frozen=True, slots=True)
class FailSafe:
    """How to see in a simulator's truth that a device is in its fail-safe state.

    Attributes:
        service: of :data:`SERVICES`.
        devices: pattern of names.
        key: of the truth.
        equals: its value in that state; of lists and tables, how much is in them.
        tolerance: how near.
        parts: outages of these parts it is about; patterns.
        follows: a program commands it again by itself once its source is back.
    """

    service: str
    devices: str
    key: str
    equals: float
    tolerance: float
    parts: tuple[str, ...] = ("*",)
    follows: bool = True

    def about(self, outage: Outage) -> bool:
        """Whether it is looked at during an outage."""
        return any(fnmatchcase(part, one) for part in outage.parts for one in self.parts)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One script.

    Attributes:
        name: of its file.
        families: stems of ``devices/*.toml`` that the city has; empty for all.
        length_s: faults are set one after another, round after round, until this is over.
        rounds: … but at most so often; 0 for as often as there is time.
        settle_s: until when the whole city must be well at the beginning.
        kinds_max: kinds of faults of each family, chosen by the seed; 0 for all.
        periods: a register that is read misses its period when it is older than so many of them …
        slack_s: … and this.
    """

    name: str
    ko: str
    en: str
    families: tuple[str, ...]
    length_s: float
    rounds: int
    settle_s: float
    kinds_max: int
    periods: float
    slack_s: float
    rules: tuple[Rule, ...]
    outages: tuple[Outage, ...]
    failsafes: tuple[FailSafe, ...]
    orders: tuple[Order, ...] = ()
    timers: tuple[Timer, ...] = ()

    def lasting(self, length_s: float) -> Scenario:
        """The same with another length."""
        return replace(self, length_s=length_s)

    def rule(self, driver: str, kind: str) -> Rule | None:
        """What is expected of a kind of fault; None when the file does not say."""
        return next((one for one in self.rules if one.fits(driver, kind)), None)


def names_of(site_root: Path) -> list[str]:
    """Scenarios of faults that a site has.

    Others have ``[loop]`` (:mod:`gwanje.core.closed_loop.script`) or ``[sound]`` (:mod:`gwanje.core.scenario.sound`).
    """
    others = {*loop_names(site_root), *sound_names(site_root)}
    return sorted(path.stem for path in (site_root / "scenarios").glob("*.toml") if path.stem not in others)


def load_scenario(site_root: Path, name: str) -> Scenario:
    """Read one.

    Raises:
        ConfigErrors: with every problem found.
    """
    document = Document.load(site_root / "scenarios" / f"{name}.toml", f"{site_root.name}/scenarios/{name}.toml")
    root = document.root()
    head = root.reader("scenario", required=not document.problems) or Reader(document, ("scenario",), {})
    watch = root.reader("watch") or Reader(document, ("watch",), {})
    common = root.reader("rules") or Reader(document, ("rules",), {})
    quiet = bool(document.problems)
    times = _times(common, 3.0, 6.0, 10.0)
    common.finish()
    scenario = Scenario(
        name=name,
        ko=head.text("ko", "" if quiet else None),
        en=head.text("en", "" if quiet else None),
        families=_texts(head, "families", ()),
        length_s=head.number("length_s", 0.0 if quiet else None, 1.0, LENGTH_S_MAX),
        rounds=head.integer("rounds", 0, 0, 10_000),
        settle_s=head.number("settle_s", 30.0, 1.0, 600.0),
        kinds_max=head.integer("kinds_max", 0, 0, 1_000),
        periods=watch.number("periods", 3.0, 1.0, 100.0),
        slack_s=watch.number("slack_s", 1.0, 0.0, 60.0),
        rules=tuple(_rule(one, times) for one in root.readers("rule")),
        outages=tuple(_outage(one) for one in root.readers("outage")),
        failsafes=tuple(_failsafe(one) for one in root.readers("failsafe")),
        orders=tuple(_order(one) for one in root.readers("order")),
        timers=tuple(_timer(one) for one in root.readers("timer")),
    )
    for reader in (head, watch, root):
        reader.finish()
    if any(one.failsafe_within_s for one in scenario.outages) and not scenario.failsafes and not quiet:
        document.problem(("outage",), "failsafe_within_s needs [[failsafe]] to know the fail-safe state by")
    if document.problems:
        raise ConfigErrors(document.problems)
    return scenario


def _times(reader: Reader, within_s: float, hold_s: float, recover_s: float) -> tuple[float, float, float]:
    found = (
        reader.number("within_s", within_s, 0.1, 600.0),
        reader.number("hold_s", hold_s, 0.1, 600.0),
        reader.number("recover_s", recover_s, 0.1, 600.0),
    )
    if found[1] <= found[0]:
        reader.problem("hold_s", f"hold_s {found[1]:g} is not longer than within_s {found[0]:g}: nothing could be seen")
    return found


def _texts(reader: Reader, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
    found = reader.sequence(key)
    if not all(isinstance(one, str) and one for one in found):
        reader.problem(key, "must be an array of texts that are not empty")
        return default
    return tuple(found) or default


def _rule(reader: Reader, times: tuple[float, float, float]) -> Rule:
    expect = reader.text("expect", Expect.ANY, choices=tuple(Expect))
    values = reader.sequence("values")
    if not all(isinstance(one, int | float) and not isinstance(one, bool) for one in values):
        reader.problem("values", "must be an array of numbers")
        values = []
    within_s, hold_s, recover_s = _times(reader, *times)
    rule = Rule(
        drivers=_texts(reader, "drivers", ("*",)),
        kinds=_texts(reader, "kinds", ("*",)),
        devices=reader.text("devices", "*"),
        quantities=_texts(reader, "quantities", ("*",)),
        expect=Expect(expect) if expect in set(Expect) else Expect.ANY,
        values=frozenset(float(one) for one in values),
        within_s=within_s,
        hold_s=hold_s,
        recover_s=recover_s,
        params=dict(reader.table("params") or {}),
        skip=reader.text("skip", ""),
        first=reader.flag("first", False),
        stays=reader.flag("stays", True),
        settle_s=reader.number("settle_s", 0.0, 0.0, 60.0),
    )
    reader.finish()
    return rule


def _outage(reader: Reader) -> Outage:
    how = reader.text("how", choices=tuple(Outing))
    outage = Outage(
        part=reader.text("part"),
        how=Outing(how) if how in set(Outing) else Outing.KILL,
        for_s=reader.number("for_s", 10.0, 0.5, 600.0),
        failsafe_within_s=reader.number("failsafe_within_s", 0.0, 0.0, 600.0),
        recover_s=reader.number("recover_s", 15.0, 0.5, 600.0),
        also=_texts(reader, "also", ()),
    )
    if outage.failsafe_within_s >= outage.for_s:
        reader.problem("failsafe_within_s", "must be shorter than for_s, else nothing of it is looked at")
    reader.finish()
    return outage


def _failsafe(reader: Reader) -> FailSafe:
    one = FailSafe(
        service=reader.text("service", choices=SERVICES),
        devices=reader.text("devices"),
        key=reader.text("key"),
        equals=reader.number("equals"),
        tolerance=reader.number("tolerance", 0.0, 0.0),
        parts=_texts(reader, "parts", ("*",)),
        follows=reader.flag("follows", True),
    )
    reader.finish()
    return one


def _timer(reader: Reader) -> Timer:
    one = Timer(reader.text("profiles"), reader.number("revert_s", None, 1.0, 3_600.0))
    reader.finish()
    return one


def _order(reader: Reader) -> Order:
    one = Order(reader.text("points"), reader.number("value"), reader.integer("count", 1, 1, 100))
    reader.finish()
    return one
