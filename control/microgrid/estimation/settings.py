"""The network that the control centre estimates, and its meters: ``microgrid/estimation.toml``, read strictly.

``microgrid/estimation/*.toml`` are read together with it. It is the site's engineering data, written down once more
beside whatever simulates the site: the control centre of a real city has nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import MISSING, dataclass
from pathlib import Path

from gwanje.control.microgrid.files.family_files import FamilyFileError, FamilyFiles, read_family_files
from gwanje.control.microgrid.files.fields import ControlConfigError, Problem, choice, document, number
from gwanje.core.site.config import Site
from gwanje.core.site.toml_reader import KeyPath
from gwanje.core.tags.table import TagTable

FILE = "microgrid/estimation.toml"
OWNER = "estimation"
BUSES_MAX = 2_000
EACH_MAX = 1_000
"""Tables of one kind: ten times this city; more are another file by mistake."""
AGAIN_MAX = 2
"""Further meters of a load beside its own: three decide by majority."""
NETWORK_FIGURES = (
    "state", "chi2_ratio", "removed_readings", "doubted_readings", "suspected_meters", "unobservable_buses",
    "voltage_min_pu", "voltage_max_pu", "losses_w",
)  # fmt: skip
"""Tags ``estimation.network.*``."""
BUS_FIGURES = ("voltage_pu", "voltage_sigma_pu")
LINE_FIGURES = ("flow_w", "flow_var", "loss_w")
"""Of each that is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class General:
    """How readings are judged and what an estimate is called.

    Attributes:
        uncertain_factor: by which the sigma of an UNCERTAIN reading grows.
        persist_turns: seconds in a row that a meter or a switch must be suspected before it is said.
        dead_pu: a bus below this voltage is dead.
        voltage_known_pu: sigma above which a voltage is not known at all.
    """

    base_w: float = number(1e6, 1e3, 1e9, "W", "기준 전력", "power of one per unit", OWNER)
    false_alarms: float = number(1e-3, 1e-6, 0.1, "", "오경보율", "share of flawless turns that are suspected", OWNER)
    residual_limit: float = number(3.0, 1.0, 20.0, "", "잔차 한계", "normalised residual of a removed reading", OWNER)
    uncertain_factor: float = number(3.0, 1.0, 100.0, "", "불확실 배수", "sigma of an uncertain reading", OWNER)
    persist_turns: int = number(10, 1, 3600, "s", "지속 시간", "until a suspicion is said", OWNER)
    dead_pu: float = number(0.1, 0.01, 0.5, "pu", "무전압 한계", "a dead bus", OWNER)
    voltage_good_pu: float = number(0.005, 1e-5, 0.1, "pu", "전압 양호 한계", "sigma of a good voltage", OWNER)
    voltage_known_pu: float = number(0.03, 1e-4, 0.2, "pu", "전압 한계", "sigma of a voltage that is known", OWNER)
    power_good_w: float = number(15e3, 1.0, 1e9, "W", "전력 양호 한계", "sigma of a good power", OWNER)


@dataclass(frozen=True, slots=True, kw_only=True)
class BusEntry:
    """A bus.

    Attributes:
        id: its name in tags.
        nominal_v: line to line.
        source: the network hangs on it; exactly one.
        shown: its voltage has tags.
        unmetered_w: sigma of what hangs there when no load and no unit of the site says so; 0: certainly nothing.
    """

    id: str
    ko: str
    en: str
    nominal_v: float = number(MISSING, 100.0, 1e6, "V", "공칭 전압", "line to line", OWNER)
    source: bool = False
    shown: bool = False
    unmetered_w: float = number(0.0, 0.0, 1e9, "W", "미계량", "sigma of what is not metered there", OWNER)


@dataclass(frozen=True, slots=True, kw_only=True)
class LineEntry:
    """A line from bus ``at`` to bus ``bus``, seen from the source."""

    bus: str
    at: str
    km: float = number(MISSING, 0.0, 1e3, "km", "길이", "its length", OWNER)
    r_ohm_per_km: float = number(MISSING, 0.0, 1e3, "Ω/km", "저항", "resistance", OWNER)
    x_ohm_per_km: float = number(MISSING, 0.0, 1e3, "Ω/km", "리액턴스", "reactance", OWNER)
    shown: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformerEntry:
    """A transformer from bus ``at`` to bus ``bus``."""

    bus: str
    at: str
    rated_va: float = number(MISSING, 1e2, 1e10, "VA", "정격", "rating", OWNER)
    short_circuit_pu: float = number(MISSING, 1e-3, 0.5, "", "%임피던스", "short-circuit impedance", OWNER)
    x_over_r: float = number(MISSING, 0.01, 1e3, "", "X/R", "reactance over resistance", OWNER)


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerEntry:
    """A breaker or load switch between two buses. Opened at the source, it makes an island of all behind it.

    Attributes:
        angle_tag: angle across it, rad, of its sync-check; empty without one. It counts at the source alone.
    """

    id: str
    bus: str
    at: str
    tag: str
    angle_tag: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadEntry:
    """A load: its meter, its switch, and what is taken for it when the meter says nothing.

    Attributes:
        id: of its meter, in tags.
        buses: where it hangs, in equal shares; what differs between them no reading tells.
        switch: tag that is 1 while its breaker is closed; empty without one.
        delay_s: how late readings come beside others, s; what moves is uncertain by that much more.
        tan_phi: reactive over active power, with its sigma: no meter says it.
    """

    id: str
    tag: str
    buses: tuple[str, ...]
    switch: str = ""
    sigma_share: float = number(0.005, 0.0, 0.5, "", "계량기 등급", "sigma of the reading", OWNER)
    sigma_w: float = number(MISSING, 1.0, 1e9, "W", "최소 오차", "sigma at nothing", OWNER)
    max_age_s: float = number(10.0, 1.0, 86_400.0, "s", "최대 경과", "age of a reading", OWNER)
    delay_s: float = number(0.5, 0.0, 60.0, "s", "지연", "delay of a reading", OWNER)
    typical_w: float = number(MISSING, -1e9, 1e9, "W", "대표값", "without a meter", OWNER)
    typical_sigma_w: float = number(MISSING, 1.0, 1e9, "W", "대표값 오차", "its sigma", OWNER)
    tan_phi: float = number(0.2, -5.0, 5.0, "", "무효율", "reactive over active power", OWNER)
    tan_phi_sigma: float = number(0.15, 0.0, 5.0, "", "무효율 오차", "its sigma", OWNER)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitEntry:
    """A source or a battery: tags are positive when it feeds in.

    Attributes:
        id: of its meter, in tags.
        reactive_tag: empty without such a meter.
        reactive_order: tag of the reactive power that it was told, without a meter: it obeys within
            ``reactive_sigma_var``; empty: it gives none, within the same.
    """

    id: str
    tag: str
    bus: str
    reactive_tag: str = ""
    reactive_order: str = ""
    sigma_share: float = number(0.01, 0.0, 0.5, "", "계량기 등급", "sigma of the reading", OWNER)
    sigma_w: float = number(MISSING, 1.0, 1e9, "W", "최소 오차", "sigma at nothing", OWNER)
    max_age_s: float = number(10.0, 1.0, 86_400.0, "s", "최대 경과", "age of a reading", OWNER)
    delay_s: float = number(0.5, 0.0, 60.0, "s", "지연", "delay of a reading", OWNER)
    typical_w: float = number(0.0, -1e9, 1e9, "W", "대표값", "without a meter", OWNER)
    typical_sigma_w: float = number(MISSING, 1.0, 1e9, "W", "대표값 오차", "its sigma", OWNER)
    reactive_sigma_var: float = number(MISSING, 1.0, 1e9, "var", "무효 오차", "without a meter", OWNER)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterEntry:
    """A voltage at a bus, a flow into the branch that ends at it (measured at the branch's other end), or a load again.

    Attributes:
        bus: where; empty for a load.
        load: id of the load that is metered a second time; empty otherwise.
        tag: one tag, or a pattern with ``*`` of tags whose values are added (the homes' own meters).
    """

    id: str
    tag: str
    bus: str = ""
    load: str = ""
    quantity: str = choice("voltage_v", "voltage_v", "flow_w", "flow_var", "load_w")
    sigma_share: float = number(MISSING, 0.0, 0.5, "", "계량기 등급", "sigma of the reading", OWNER)
    sigma_floor: float = number(MISSING, 0.01, 1e9, "", "최소 오차", "sigma at nothing, in the tag's unit", OWNER)
    max_age_s: float = number(10.0, 1.0, 86_400.0, "s", "최대 경과", "age of a reading", OWNER)
    delay_s: float = number(0.5, 0.0, 60.0, "s", "지연", "delay of a reading", OWNER)


@dataclass(frozen=True, slots=True)
class EstimationSettings:
    """All of the files."""

    general: General
    bus: tuple[BusEntry, ...]
    line: tuple[LineEntry, ...]
    transformer: tuple[TransformerEntry, ...]
    breaker: tuple[BreakerEntry, ...]
    load: tuple[LoadEntry, ...]
    unit: tuple[UnitEntry, ...]
    meter: tuple[MeterEntry, ...]

    def reads(self) -> dict[str, str]:
        """Tag or pattern of tags → id of the meter behind it."""
        found = {one.tag: one.id for one in self.load} | {one.tag: one.id for one in self.unit}
        found |= {one.reactive_tag: one.id for one in self.unit if one.reactive_tag}
        return found | {one.tag: one.id for one in self.meter}

    def switches(self) -> dict[str, str]:
        """Tag of a position → id of what moves: breakers, then the loads' switches."""
        found = {one.tag: one.id for one in self.breaker}
        return found | {one.switch: one.id for one in self.load if one.switch}

    def writes(self) -> tuple[str, ...]:
        """Tags of the owner ``estimation``."""
        return (
            *(f"{OWNER}.network.{one}" for one in NETWORK_FIGURES),
            *(f"{OWNER}.{one.id}.{what}" for one in self.bus if one.shown for what in BUS_FIGURES),
            *(f"{OWNER}.{one.bus}.{what}" for one in self.line if one.shown for what in LINE_FIGURES),
            *(f"{OWNER}.{one.bus}.loading" for one in self.transformer),
            *(f"{OWNER}.{one}.meter_suspected" for one in dict.fromkeys(self.reads().values())),
            *(f"{OWNER}.{one}.switch_suspected" for one in dict.fromkeys(self.switches().values())),
        )  # fmt: skip


KINDS = {
    "bus": (BusEntry, 2, BUSES_MAX), "line": (LineEntry, 0, EACH_MAX), "transformer": (TransformerEntry, 0, EACH_MAX),
    "breaker": (BreakerEntry, 0, EACH_MAX), "load": (LoadEntry, 0, EACH_MAX), "unit": (UnitEntry, 0, EACH_MAX),
    "meter": (MeterEntry, 1, EACH_MAX),
}  # fmt: skip
"""Table → its dataclass, and how many there may be."""


UNITS = {"voltage_v": "V", "flow_w": "W", "flow_var": "var", "load_w": "W"}
"""Quantity of a meter → unit of its tag."""


def tags_of(name: str, tags: TagTable) -> tuple[str, ...]:
    """The tags behind a name or a pattern; none when no tag fits a pattern."""
    return tuple(one.name for one in tags.match(name)) if "*" in name else (name,)


def read_settings(root: Path) -> EstimationSettings:
    """A site's estimation.

    Raises:
        ControlConfigError: with every problem as ``key: reason``.
        FamilyFileError: a file cannot be read or is not TOML.
    """
    return parse(read_family_files(root, FILE))


def parse(files: FamilyFiles) -> EstimationSettings:
    """Checked settings.

    Raises:
        ControlConfigError: with every problem.
    """
    problems: list[Problem] = []
    general, read = document(files.content, (OWNER, General), KINDS, problems)
    if problems:
        raise ControlConfigError(problems)
    settings = EstimationSettings(general, **read)
    problems += [*_names(settings), *_tree(settings), *_meters(settings)]
    if problems:
        raise ControlConfigError(problems)
    return settings


def _names(settings: EstimationSettings) -> Iterator[Problem]:
    """What is there twice, or is no name for a tag."""
    for keys in (("bus",), ("load", "unit", "meter"), ("breaker", "load")):
        count = Counter(one.id for key in keys for one in getattr(settings, key))
        for key in keys:
            for at, one in enumerate(getattr(settings, key)):
                if count[one.id] > 1:
                    yield (key, at, "id"), f"{one.id!r} is there twice"
                if not one.id.replace("_", "a").isalnum() or not one.id.isascii() or one.id.lower() != one.id:
                    yield (key, at, "id"), f"{one.id!r}: small letters, digits and _ are taken"
    for at, bus in enumerate(settings.bus):
        if bus.id == "network":
            yield ("bus", at, "id"), "'network' stands for the whole"
    tags = Counter([one.tag for key in ("load", "unit", "meter") for one in getattr(settings, key)])
    tags.update(one.reactive_tag for one in settings.unit if one.reactive_tag)
    for key in ("load", "unit", "meter"):
        for at, one in enumerate(getattr(settings, key)):
            if tags[one.tag] > 1:
                yield (key, at, "tag"), f"{one.tag} is read twice"
            if tags[getattr(one, "reactive_tag", "")] > 1:
                yield (key, at, "reactive_tag"), f"{one.reactive_tag} is read twice"


def _tree(settings: EstimationSettings) -> Iterator[Problem]:
    """Whether branches join all buses to the source, each once."""
    volts = {one.id: one.nominal_v for one in settings.bus}
    sources = [at for at, one in enumerate(settings.bus) if one.source]
    if len(sources) != 1:
        yield ("bus", *sources[1:2]), f"{len(sources)} buses with source = true, there must be one"
        return
    source = settings.bus[sources[0]].id
    up: dict[str, str] = {}
    broken = False
    for key in ("line", "transformer", "breaker"):
        for at, one in enumerate(getattr(settings, key)):
            for end in ("bus", "at"):
                if getattr(one, end) not in volts:
                    broken = True
                    yield (key, at, end), f"there is no bus {getattr(one, end)!r}"
            if one.bus == source:
                yield (key, at, "bus"), "nothing ends at the source"
            elif one.bus in up:
                yield (key, at, "bus"), f"two branches end at {one.bus!r}: the network must be radial"
            elif one.bus in volts and one.at in volts:
                same = volts[one.bus] == volts[one.at]
                if same != (key != "transformer"):
                    what = "the same" if same else "different"
                    yield (key, at, "at"), f"{one.at} and {one.bus} have {what} nominal_v"
            up[one.bus] = one.at
    if broken:
        return
    for at, bus in enumerate(settings.bus):
        seen, here = {bus.id}, bus.id
        while here != source:
            here = up.get(here, "")
            if not here or here in seen:
                yield ("bus", at, "id"), f"no branch joins {bus.id!r} to the source"
                break
            seen.add(here)


def _meters(settings: EstimationSettings) -> Iterator[Problem]:
    """Whether what is measured is there."""
    buses = {one.id for one in settings.bus}
    source = next((one.id for one in settings.bus if one.source), "")
    loads, again = {one.id for one in settings.load}, Counter[str]()
    for at, unit in enumerate(settings.unit):
        if unit.reactive_tag and unit.reactive_order:
            yield ("unit", at, "reactive_order"), "of no use beside reactive_tag"
    for key in ("load", "unit", "meter"):
        for at, one in enumerate(getattr(settings, key)):
            if key == "meter" and (one.quantity == "load_w") != bool(one.load):
                yield (key, at, "load"), "load and quantity load_w belong together"
                continue
            if key == "meter" and one.load:
                again[one.load] += 1
                if again[one.load] > AGAIN_MAX:
                    yield (key, at, "load"), f"{one.load!r} has {AGAIN_MAX + 1} meters already"
                if one.load not in loads:
                    yield (key, at, "load"), f"there is no load {one.load!r}"
                if one.bus:
                    yield (key, at, "bus"), "a load says itself where it is"
                continue
            where = one.buses if key == "load" else (one.bus,)
            if not where:
                yield (key, at, "buses"), "is empty"
            for name in where:
                if name not in buses:
                    yield (key, at, "buses" if key == "load" else "bus"), f"there is no bus {name!r}"
                elif name == source and getattr(one, "quantity", "") != "voltage_v":
                    yield (key, at, "bus"), "at the source only a voltage is measured"


def check_tags(settings: EstimationSettings, tags: TagTable) -> None:
    """Whether a site has the tags.

    Raises:
        ControlConfigError: naming those it has not, of another unit, or that are another owner's.
    """
    problems: list[Problem] = []

    def check(path: KeyPath, name: str, unit: str) -> None:
        if name not in tags:
            problems.append((path, f"there is no tag {name}"))
        elif tags.get(name).unit != unit:
            problems.append((path, f"{name} is in {tags.get(name).unit or '1'}, not in {unit or '1'}"))
        elif tags.get(name).owner == OWNER:
            problems.append((path, f"{name} is an estimate itself"))

    for at, load in enumerate(settings.load):
        check(("load", at, "tag"), load.tag, "W")
        if load.switch:
            check(("load", at, "switch"), load.switch, "")
    for at, unit in enumerate(settings.unit):
        check(("unit", at, "tag"), unit.tag, "W")
        if unit.reactive_tag:
            check(("unit", at, "reactive_tag"), unit.reactive_tag, "var")
        if unit.reactive_order:
            check(("unit", at, "reactive_order"), unit.reactive_order, "var")
    for at, meter in enumerate(settings.meter):
        names = tags_of(meter.tag, tags)
        if not names:
            problems.append((("meter", at, "tag"), f"no tag fits {meter.tag}"))
        for name in names:
            check(("meter", at, "tag"), name, UNITS[meter.quantity])
    for at, breaker in enumerate(settings.breaker):
        check(("breaker", at, "tag"), breaker.tag, "")
        if breaker.angle_tag:
            check(("breaker", at, "angle_tag"), breaker.angle_tag, "rad")
    for name in settings.writes():
        if name not in tags:
            problems.append(((), f"there is no tag {name}"))
        elif tags.get(name).owner != OWNER:
            problems.append(((), f"tag {name} belongs to {tags.get(name).owner}, not to {OWNER}"))
    if problems:
        raise ControlConfigError(problems)


def problems(site: Site) -> list[tuple[str, KeyPath, str]]:
    """What is wrong with a site's estimation: file, key path, reason. A site without its file has none."""
    if not (site.root / FILE).exists():
        return []
    try:
        files = read_family_files(site.root, FILE)
    except FamilyFileError as error:
        return [(error.file, (), str(error).removeprefix(f"{error.file}: "))]
    try:
        check_tags(parse(files), site.tags)
    except ControlConfigError as error:
        return [(*files.place(path), reason) for path, reason in error.problems]
    return []
