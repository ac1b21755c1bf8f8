"""A site's configuration: TOML files parsed once into frozen dataclasses, every problem reported at once.

``load_site`` reads ``site.toml``, ``tags/*.toml``, ``devices/*.toml``, ``nodes.toml``, ``areas.toml``, ``alarms.toml``,
``operations.toml`` and the tables that a part checks itself (``control.toml``, ``historian.toml``, ``acoustic.toml``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

from gwanje.core.alarms.definitions import AlarmDefinition, EventAlarmDefinition
from gwanje.core.alarms.parsing import parse_alarms
from gwanje.core.alarms.topology import Topology, read_topology
from gwanje.core.authority.areas import Area, check_areas, held_tag, read_areas
from gwanje.core.authority.settings import AuthoritySettings, read_settings
from gwanje.core.city.part import ENTRIES
from gwanje.core.commands.operations import WRITABLE_KINDS, Operations, parse_operations
from gwanje.core.remote.settings import RemoteSettings, read_remote
from gwanje.core.site.toml_reader import ConfigErrors, Document, Problem, Reader
from gwanje.core.tags.derived import plan
from gwanje.core.tags.expression import Constants, site_constants
from gwanje.core.tags.table import KINDS, Tag, TagTable
from gwanje.core.time_watch import TimeRules, read_rules

UNITS = {
    "W", "var", "VA", "Wh", "V", "A", "Hz", "s", "ms", "us", "ns", "K", "°C", "m", "m/s", "B", "B/s", "1/s",
    "dB", "dBFS", "rad", "lx", "%", "W/m²", "KRW", "",
}  # fmt: skip
"""SI units and the few beside them that tags may carry; kW, percent of a ratio and degrees are the screen's."""

SUFFIX_UNITS = {
    "w": "W", "wh": "Wh", "hz": "Hz", "v": "V", "a": "A", "var": "var", "s": "s", "ms": "ms", "us": "us",
    "pct": "%", "db": "dB", "bytes": "B",
}  # fmt: skip
"""Last word of a quantity → the unit it promises: ``discharge_w`` is in W. See :data:`PASSED_QUALIFIERS`."""

HOLD_S_MAX = 28_800.0
"""A manual set-point is held for a shift at most; then the device falls back."""
PASSED_QUALIFIERS = {"max", "min", "setpoint", "capacity", "readback"}
REGISTER_TYPES = {"u16": 1, "i16": 1, "u32": 2, "i32": 2, "f32": 2, "u64": 4}
SCAN_CLASSES = ("fast", "normal", "slow")


@dataclass(frozen=True, slots=True)
class Point:
    """A quantity that a driver reads: a SunSpec point (model, name) or plain registers (address, type)."""

    tag: str
    scale: float
    offset: float
    scan: str
    model: int = 0
    name: str = ""
    address: int = -1
    type: str = ""


@dataclass(frozen=True, slots=True)
class Setpoint:
    """A quantity that a driver writes.

    Attributes:
        tag: whose value is written while the lease is valid.
        feedback_tag: which reads what the device took.
        failsafe: written when the lease ends.
        lease: name of the lease.
        revert_s: the device's own reversion timer, refreshed at half its time; 0 when it has none.
        enable: (model, point, value) written once when the lease begins.
        hold_s: of a command: how long it is refreshed; then failsafe is written. 0 writes once and holds nothing.
    """

    tag: str
    feedback_tag: str
    scale: float
    failsafe: float
    lease: str
    revert_s: float
    enable: tuple[tuple[int, str, float], ...] = ()
    model: int = 0
    name: str = ""
    address: int = -1
    type: str = ""
    hold_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Twin:
    """What the simulated city builds for a device: its kind and numbers, checked by ``io.sim``."""

    kind: str
    params: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Device:
    """A field device behind a Modbus address.

    Attributes:
        points: what is read.
        setpoints: what programs write under a lease.
        commands: what people and programs write by command; each reads itself back (``feedback_tag`` is ``tag``).
    """

    name: str
    area: str
    label_ko: str
    label_en: str
    driver: str
    host: str
    port: int
    unit_id: int
    scan: str
    timeout_s: float
    points: tuple[Point, ...]
    setpoints: tuple[Setpoint, ...]
    twin: Twin | None
    source: str
    commands: tuple[Setpoint, ...] = ()

    @property
    def simulated(self) -> bool:
        """Whether the simulated city stands behind the address."""
        return self.twin is not None

    @property
    def prefix(self) -> str:
        """Beginning of the device's own tags."""
        return f"{self.area}.{self.name}"


@dataclass(frozen=True, slots=True)
class Node:
    """A listening CCTV node.

    Attributes:
        url: RTSP address of its audio.
        x_m: metres east of the site's origin.
        y_m: metres north.
        simulated: whether the simulated city streams it.
        params: what ``io.sim`` plays there; checked by it.
    """

    name: str
    area: str
    label_ko: str
    label_en: str
    url: str
    codec: str
    x_m: float
    y_m: float
    simulated: bool
    params: dict[str, Any]

    @property
    def prefix(self) -> str:
        """Beginning of the node's own tags."""
        return f"{self.area}.{self.name}"


@dataclass(frozen=True, slots=True)
class Site:
    """One site, whole and checked."""

    id: str
    name_ko: str
    name_en: str
    timezone: str
    root: Path
    rating_w: float
    nominal_hz: float
    nominal_v: float
    read_only: bool
    fresh_history: bool
    scan_s: dict[str, float]
    parts: tuple[str, ...]
    devices: tuple[Device, ...]
    nodes: tuple[Node, ...]
    tags: TagTable
    alarms: tuple[AlarmDefinition, ...]
    event_alarms: tuple[EventAlarmDefinition, ...]
    topology: Topology
    node_script: tuple[dict[str, Any], ...]
    control: dict[str, Any]
    historian: dict[str, Any]
    acoustic: dict[str, Any]
    documents: dict[str, Document] = field(repr=False)
    areas: tuple[Area, ...] = ()
    authority: AuthoritySettings = field(default_factory=AuthoritySettings)
    time: TimeRules = field(default_factory=TimeRules)
    operations: Operations = field(default_factory=Operations)
    remote: RemoteSettings | None = None

    @property
    def constants(self) -> Constants:
        """What expressions of this site may use beside tags."""
        return site_constants(self.rating_w, self.nominal_hz, self.nominal_v)

    @property
    def places(self) -> dict[str, tuple[str, str]]:
        """Device or microphone node as ``area.name`` → its name in Korean and English."""
        return _places(self.devices, self.nodes)

    def device(self, name: str) -> Device:
        """A device by name.

        Raises:
            KeyError: there is none.
        """
        for one in self.devices:
            if one.name == name:
                return one
        raise KeyError(name)


def load_site(root: Path) -> Site:
    """Parse and check a site's folder.

    Raises:
        ConfigErrors: with every problem found.
    """
    documents: dict[str, Document] = {}

    def document(name: str) -> Document:
        loaded = Document.load(root / name, f"{root.name}/{name}")
        documents[name] = loaded
        return loaded

    site = _site_head(document("site.toml"))
    devices = _devices([document(name) for name in _files(root, "devices")])
    nodes, script = _nodes(document("nodes.toml")) if (root / "nodes.toml").exists() else ((), ())
    declared = _tags([document(name) for name in _files(root, "tags")])
    areas = read_areas(document("areas.toml")) if (root / "areas.toml").exists() else ()
    automatic = _automatic_tags(devices, nodes, site["parts"], areas)
    table = _table(declared, automatic, devices, nodes, documents)
    _check_derived(declared, table, site)
    topology = Topology()
    places = _places(devices, nodes)
    if (root / "topology.toml").exists():
        topology = read_topology(document("topology.toml"), table, places)
    alarms: tuple[AlarmDefinition, ...] = ()
    event_alarms: tuple[EventAlarmDefinition, ...] = ()
    if (root / "alarms.toml").exists():
        definitions = document("alarms.toml")
        alarms, event_alarms, found = parse_alarms(definitions.content, table, topology, places)
        for path, reason in found:
            definitions.problem(path, reason)
    _check_references(devices, table, documents)
    if areas:
        stand = {one.tag.name: (one.document, (*one.path, "name")) for one in declared}
        check_areas(areas, table, stand, documents["areas.toml"])
    driven = {one.tag for device in devices for one in device.commands}
    operations = Operations.of_tags(table, driven)
    if (root / "operations.toml").exists():
        operations = parse_operations(document("operations.toml"), table, driven)
    own: dict[str, Any] = {
        name: document(f"{name}.toml").content if (root / f"{name}.toml").exists() else {}
        for name in ("control", "historian", "acoustic")
    }
    # What a file that cannot be read leaves out would be named a hundred times over: mend that file first.
    unread = [problem for one in documents.values() if not one.readable for problem in one.problems]
    problems = unread or [problem for one in documents.values() for problem in one.problems]
    if problems:
        raise ConfigErrors(problems)
    return Site(
        **site,
        root=root,
        devices=devices,
        nodes=nodes,
        tags=table,
        alarms=alarms,
        event_alarms=event_alarms,
        topology=topology,
        node_script=script,
        documents=documents,
        areas=areas,
        operations=operations,
        **own,
    )


def _places(devices: Iterable[Device], nodes: Iterable[Node]) -> dict[str, tuple[str, str]]:
    found = {one.prefix: (one.label_ko, one.label_en) for one in devices}
    return found | {one.prefix: (one.label_ko, one.label_en) for one in nodes}


def _files(root: Path, folder: str) -> list[str]:
    return [f"{folder}/{path.name}" for path in sorted((root / folder).glob("*.toml"))]


def _site_head(document: Document) -> dict[str, Any]:
    reader = document.root()
    site = reader.reader("site", required=not document.problems) or Reader(document, ("site",), {})
    quiet = bool(document.problems)
    head = {
        "id": site.text("id", "" if quiet else None),
        "name_ko": site.text("name_ko", "" if quiet else None),
        "name_en": site.text("name_en", "" if quiet else None),
        "timezone": site.text("timezone", "Asia/Seoul"),
        "rating_w": site.number("connection_rating_w", 1.0 if quiet else None, 1.0, 1e10),
        "nominal_hz": site.number("nominal_hz", 60.0, 45.0, 65.0),
        "nominal_v": site.number("nominal_v", 22_900.0, 100.0, 1e6),
        "read_only": site.flag("read_only", False),
        "fresh_history": site.flag("fresh_history", False),
    }
    if head["timezone"] not in available_timezones():
        site.problem("timezone", f"{head['timezone']!r} is no time zone such as Asia/Seoul")
    head["remote"] = read_remote(reader.reader("remote"))
    parts = site.sequence("parts") or [one for one in ENTRIES if one != "remote" or head["remote"]]
    known = tuple(ENTRIES)  # unlike the mapping, it can be asked for anything that stands in an array
    for part in parts:
        if part not in known:
            site.problem("parts", f"{part!r} is none of {', '.join(known)}")
    if "remote" in parts and not head["remote"]:
        site.problem("parts", "'remote' needs a table [remote] that says where to listen")
    head["parts"] = tuple(part for part in parts if part in known)
    site.finish()
    scan = reader.reader("scan") or Reader(document, ("scan",), {})
    head["scan_s"] = {
        "fast": scan.number("fast_s", 0.05, 0.02, 1.0),
        "normal": scan.number("normal_s", 1.0, 0.05, 60.0),
        "slow": scan.number("slow_s", 10.0, 1.0, 3600.0),
    }
    scan.finish()
    head["authority"] = read_settings(reader.reader("authority"))
    head["time"] = read_rules(reader.reader("time"))
    reader.finish()
    return head


def _devices(documents: Iterable[Document]) -> tuple[Device, ...]:
    devices: list[Device] = []
    names: dict[str, str] = {}
    addresses: dict[tuple[str, int, int], str] = {}
    for document in documents:
        root = document.root()
        for reader in root.readers("device"):
            device = _device(reader)
            devices.append(device)
            if device.name in names:
                reader.problem("name", f"device {device.name!r} stands in {names[device.name]} already")
            names[device.name] = device.source
            address = (device.host, device.port, device.unit_id)
            if address in addresses:
                where = f"{device.host}:{device.port} unit {device.unit_id}"
                reader.problem("port", f"{where} is the address of device {addresses[address]!r} already")
            addresses[address] = device.name
        root.finish()
    return tuple(devices)


def _device(reader: Reader) -> Device:
    driver = reader.text("driver", choices=("sunspec", "registers"))
    scan = reader.text("scan", "normal", choices=SCAN_CLASSES)
    twin = reader.reader("twin")
    device = Device(
        name=reader.text("name"),
        area=reader.text("area"),
        label_ko=reader.text("label_ko"),
        label_en=reader.text("label_en"),
        driver=driver,
        host=reader.text("host"),
        port=reader.integer("port", low=1, high=65_535),
        unit_id=reader.integer("unit_id", 1, 0, 255),
        scan=scan,
        timeout_s=reader.number("timeout_s", 0.5, 0.05, 10.0),
        points=tuple(_point(one, driver, scan) for one in reader.readers("point", required=True)),
        setpoints=tuple(_setpoint(one, driver) for one in reader.readers("setpoint")),
        twin=_twin(twin) if twin else None,
        source=reader.document.name,
        commands=tuple(_command(one, driver) for one in reader.readers("command")),
    )
    reader.finish()
    return device


def _twin(reader: Reader) -> Twin:
    table = dict(reader.document.content)
    node: Any = table
    for part in reader.path:
        node = node[part]
    params = {key: value for key, value in node.items() if key != "kind"}
    return Twin(reader.text("kind"), params)


def _address(reader: Reader, driver: str) -> dict[str, Any]:
    if driver == "sunspec":
        return {"model": reader.integer("model", low=1, high=65_535), "name": reader.text("name")}
    return {
        "address": reader.integer("address", low=0, high=65_535),
        "type": reader.text("type", choices=tuple(REGISTER_TYPES)),
    }


def _point(reader: Reader, driver: str, scan: str) -> Point:
    point = Point(
        tag=reader.text("tag"),
        scale=reader.number("scale", 1.0),
        offset=reader.number("offset", 0.0),
        scan=reader.text("scan", scan, choices=SCAN_CLASSES),
        **_address(reader, driver),
    )
    if point.scale == 0.0:
        reader.problem("scale", "0 would make every value the same")
    reader.finish()
    return point


def _enable(reader: Reader) -> tuple[tuple[int, str, float], ...]:
    enable: list[tuple[int, str, float]] = []
    for one in reader.readers("enable"):
        enable.append((one.integer("model", low=1, high=65_535), one.text("name"), one.number("value")))
        one.finish()
    return tuple(enable)


def _setpoint(reader: Reader, driver: str) -> Setpoint:
    if not reader.has("feedback_tag"):
        reader.problem(None, "command without feedback tag: feedback_tag is missing")
    setpoint = Setpoint(
        tag=reader.text("tag"),
        feedback_tag=reader.text("feedback_tag", ""),
        scale=reader.number("scale", 1.0),
        failsafe=reader.number("failsafe"),
        lease=reader.text("lease"),
        revert_s=reader.number("revert_s", 0.0, 0.0, 3600.0),
        enable=_enable(reader),
        **_address(reader, driver),
    )
    if setpoint.scale == 0.0:
        reader.problem("scale", "0 would make every command the same")
    reader.finish()
    return setpoint


def _command(reader: Reader, driver: str) -> Setpoint:
    """A point that is written by command, and held for a while where ``hold_s`` says so."""
    hold_s = reader.number("hold_s", 0.0, 0.0, HOLD_S_MAX)
    command = Setpoint(
        tag=reader.text("tag"),
        feedback_tag=reader.text("tag"),
        scale=reader.number("scale", 1.0),
        failsafe=reader.number("failsafe", None if hold_s else math.nan),
        lease="",
        revert_s=reader.number("revert_s", None if hold_s else 0.0, 0.1 if hold_s else 0.0, 3600.0),
        enable=_enable(reader),
        hold_s=hold_s,
        **_address(reader, driver),
    )
    if command.scale == 0.0:
        reader.problem("scale", "0 would make every command the same")
    if command.revert_s and not hold_s:
        reader.problem("revert_s", "without hold_s nothing is refreshed: the device would revert at once")
    reader.finish()
    return command


NODE_KEYS = {"name", "area", "label_ko", "label_en", "url", "codec", "x_m", "y_m", "simulated"}


def _nodes(document: Document) -> tuple[tuple[Node, ...], tuple[dict[str, Any], ...]]:
    nodes: list[Node] = []
    seen: dict[str, str] = {}
    root = document.root()
    for reader, table in _tables(root, "node"):
        node = Node(
            name=reader.text("name"),
            area=reader.text("area"),
            label_ko=reader.text("label_ko"),
            label_en=reader.text("label_en"),
            url=reader.text("url"),
            codec=reader.text("codec", "L16", choices=("L16", "PCMU")),
            x_m=reader.number("x_m", low=-20_000, high=20_000),
            y_m=reader.number("y_m", low=-20_000, high=20_000),
            simulated=reader.flag("simulated", False),
            params={key: value for key, value in table.items() if key not in NODE_KEYS},
        )
        for key, value in (("name", node.name), ("url", node.url)):
            if value in seen:
                reader.problem(key, f"{value!r} is the {seen[value]}'s already")
            seen[value] = f"node {node.name!r}"
        if node.url and not node.url.startswith("rtsp://"):
            reader.problem("url", "must begin with rtsp://")
        nodes.append(node)
    for key in document.content:
        if key not in ("node", "script"):
            document.problem((key,), "unknown key")
    return tuple(nodes), tuple(table for _, table in _tables(root, "script"))


def _tables(root: Reader, key: str) -> list[tuple[Reader, dict[str, Any]]]:
    """Readers of an array of tables, each with its table as it stands."""
    readers = root.readers(key)
    return [(reader, root.document.content[key][reader.path[-1]]) for reader in readers]


@dataclass(frozen=True, slots=True)
class DeclaredTag:
    """A tag with the place it was declared at."""

    tag: Tag
    document: Document
    path: tuple[str | int, ...]


def _tags(documents: Iterable[Document]) -> list[DeclaredTag]:
    declared: list[DeclaredTag] = []
    for document in documents:
        root = document.root()
        for reader in root.readers("tag"):
            declared.extend(DeclaredTag(tag, document, reader.path) for tag in _tag_family(reader))
        root.finish()
    return declared


def _tag_family(reader: Reader) -> list[Tag]:
    """The tag of a table, or the numbered family that ``for_n = [first, last]`` makes of it."""
    name, unit = reader.text("name"), reader.text("unit")
    low, high = reader.number("low", -math.inf), reader.number("high", math.inf)
    texts = reader.text("ko"), reader.text("en")
    common: dict[str, Any] = {
        "unit": unit,
        "owner": reader.text("owner", choices=(*ENTRIES, "supervisor")),
        "kind": reader.text("kind", "measurement", choices=KINDS),
        "low": low,
        "high": high,
        "deadband": reader.number("deadband", 0.0, 0.0),
        "stale_after_s": reader.number("stale_after_s", 0.0, 0.0, 86_400.0),
        "decimals": reader.integer("decimals", 1, 0, 9),
        "states": _states(reader),
        **_warnings(reader, low, high),
    }
    derived = reader.text("derived", "")
    numbers = reader.sequence("for_n")
    reader.finish()
    if not low < high:
        reader.problem("low", f"low {low:g} is not below high {high:g}")
    if unit not in UNITS:
        reader.problem("unit", f"wrong unit {unit!r}: tags carry SI units ({', '.join(sorted(UNITS - {''}))})")
    family: list[dict[str, int]] = [{}]
    if numbers:
        if len(numbers) != 2 or not all(isinstance(one, int) for one in numbers) or numbers[0] > numbers[1]:
            reader.problem("for_n", "must be [first, last]")
            return []
        family = [{"n": one} for one in range(numbers[0], numbers[1] + 1)]
    tags = []
    for numbered in family:
        try:
            full, ko, en, computed = (text.format(**numbered) for text in (name, *texts, derived))
        except (KeyError, IndexError, ValueError) as error:
            reader.problem("name", f"cannot be expanded: {error}")
            return []
        tags.append(Tag(name=full, description_ko=ko, description_en=en, derived=computed, **common))
    if tags and unit in UNITS:
        _check_tag_name(reader, tags[0])
    return tags


def _warnings(reader: Reader, low: float, high: float) -> dict[str, float]:
    """``limits = {low_warning = …, high_warning = …}``, inside low…high."""
    limits = reader.reader("limits")
    if limits is None:
        return {}
    found = {
        "low_warning": limits.number("low_warning", -math.inf, low, high),
        "high_warning": limits.number("high_warning", math.inf, low, high),
    }
    limits.finish()
    if not found["low_warning"] < found["high_warning"]:
        low, high = found.values()
        limits.problem(None, f"low_warning {low:g} is not below high_warning {high:g}")
    return found


def _states(reader: Reader) -> tuple[tuple[str, str], ...]:
    states = []
    for one in reader.sequence("states"):
        if not isinstance(one, list) or len(one) != 2 or not all(isinstance(word, str) for word in one):
            reader.problem("states", "must be an array of [Korean, English] pairs")
            return ()
        states.append((one[0], one[1]))
    return tuple(states)


def _check_tag_name(reader: Reader, tag: Tag) -> None:
    words = tag.name.split(".")
    if len(words) != 3 or not all(words) or tag.name != tag.name.lower() or " " in tag.name:
        reader.problem("name", f"{tag.name!r} is not area.device.quantity in lower case")
        return
    promise = [word for word in words[2].split("_") if word not in PASSED_QUALIFIERS]
    promised = SUFFIX_UNITS.get(promise[-1]) if len(promise) > 1 else None
    if promised is not None and tag.unit != promised and not (promised == "dB" and tag.unit == "dBFS"):
        reader.problem("unit", f"wrong unit {tag.unit!r}: the name {tag.name!r} promises {promised!r}")


def _automatic_tags(
    devices: Iterable[Device], nodes: Iterable[Node], parts: Iterable[str], areas: Iterable[Area]
) -> list[Tag]:
    """Tags that every device, part and area of authority has, so that nobody must list them."""
    tags: list[Tag] = []
    for device in devices:
        ko, en = device.label_ko, device.label_en
        common: dict[str, Any] = {"owner": "field", "simulated": device.simulated}
        online = (("통신 끊김", "offline"), ("통신 정상", "online"))
        tags += [
            Tag(f"{device.prefix}.online", "", kind="state", low=0, high=1, stale_after_s=5, decimals=0,
                states=online, description_ko=f"{ko} 통신", description_en=f"{en} link", **common),
            Tag(f"{device.prefix}.scan_ms", "ms", low=0, high=60_000, stale_after_s=5, decimals=2, deadband=1.0,
                description_ko=f"{ko} 읽기 왕복", description_en=f"{en} read round trip", **common),
            Tag(f"{device.prefix}.errors", "", kind="counter", low=0, stale_after_s=5, decimals=0,
                description_ko=f"{ko} 통신 오류 수", description_en=f"{en} link errors", **common),
        ]  # fmt: skip
    running = (("정지", "stopped"), ("시작 중", "starting"), ("가동", "running"), ("재시작 중", "restarting"))
    for part in (*parts, "city"):
        common = {"owner": "supervisor", "stale_after_s": 10}
        tags += [
            Tag(f"system.part_{part}.state", "", kind="state", low=0, high=3, decimals=0, states=running,
                description_ko=f"{part} 프로세스 상태", description_en=f"state of part {part}", **common),
            Tag(f"system.part_{part}.restarts", "", kind="counter", low=0, decimals=0,
                description_ko=f"{part} 재시작 횟수", description_en=f"restarts of part {part}", **common),
            Tag(f"system.part_{part}.cpu_pct", "%", low=0, high=1000, deadband=0.5,
                description_ko=f"{part} CPU 사용률 (한 코어 기준)",
                description_en=f"CPU of part {part}, in percent of one core", **common),
        ]  # fmt: skip
    tags += [
        Tag(held_tag(area.id), "", owner="core", kind="state", low=0, high=1, decimals=0, stale_after_s=5,
            states=(("비어 있음", "free"), ("맡음", "held")), description_ko=f"관할 구역 {area.name_ko}",
            description_en=f"Area of authority {area.name_en}")
        for area in areas
        if area.id
    ]  # fmt: skip
    return tags


def _table(
    declared: list[DeclaredTag],
    automatic: list[Tag],
    devices: tuple[Device, ...],
    nodes: tuple[Node, ...],
    documents: dict[str, Document],
) -> TagTable:
    simulated = {point.tag for device in devices if device.simulated for point in device.points}
    simulated |= {
        one.feedback_tag for device in devices if device.simulated for one in (*device.setpoints, *device.commands)
    }
    prefixes = tuple(f"{node.prefix}." for node in nodes if node.simulated)
    tags = {tag.name: tag for tag in automatic}
    places: dict[str, str] = {}
    for one in declared:
        name = one.tag.name
        if name in tags:
            where = places.get(name, "every site")
            one.document.problem((*one.path, "name"), f"tag {name!r} stands in {where} already")
            continue
        places[name] = one.document.name
        marked = name in simulated or name.startswith(prefixes)
        tags[name] = _marked(one.tag) if marked else one.tag
    fed = {point.tag for device in devices for point in device.points}
    fed |= {one.feedback_tag for device in devices for one in (*device.setpoints, *device.commands)}
    for one in declared:
        if one.tag.owner == "field" and one.tag.name not in fed:
            one.document.problem((*one.path, "name"), f"no device point feeds tag {one.tag.name!r}")
    return TagTable.build(tags.values())


def _check_derived(declared: list[DeclaredTag], table: TagTable, site: dict[str, Any]) -> None:
    constants = site_constants(site["rating_w"], site["nominal_hz"], site["nominal_v"])
    places = {one.tag.name: one for one in declared}
    told: set[tuple[str, tuple[str | int, ...]]] = set()
    for name, reason in plan(table, constants).problems:
        place = places[name]
        if (where := (place.document.name, place.path)) not in told:  # once for a numbered family
            told.add(where)
            place.document.problem((*place.path, "derived"), reason)


def _marked(tag: Tag) -> Tag:
    return replace(tag, simulated=True)


def _check_references(devices: tuple[Device, ...], table: TagTable, documents: dict[str, Document]) -> None:
    """Points and set-points must name tags that exist, belong to the right part and agree in unit."""
    by_name = {document.name: document for document in documents.values()}
    counts: dict[str, int] = {}
    feeders: dict[str, str] = {}
    for device in devices:
        document = by_name[device.source]
        position = counts.get(device.source, 0)
        counts[device.source] = position + 1
        for index, point in enumerate(device.points):
            path = ("device", position, "point", index, "tag")
            if point.tag not in table:
                document.problem(path, f"missing tag {point.tag!r}")
            elif table.get(point.tag).owner != "field":
                document.problem(path, f"tag {point.tag!r} belongs to {table.get(point.tag).owner!r}, not to field")
            if point.tag in feeders:
                document.problem(path, f"device {feeders[point.tag]!r} feeds tag {point.tag!r} already")
            feeders[point.tag] = device.name
        for index, one in enumerate(device.setpoints):
            _check_setpoint(one, ("device", position, "setpoint", index), table, document)
        for index, one in enumerate(device.commands):
            _check_command(one, ("device", position, "command", index), table, document, feeders)
            feeders.setdefault(one.tag, device.name)


def _check_command(
    command: Setpoint, path: tuple[str | int, ...], table: TagTable, document: Document, feeders: dict[str, str]
) -> None:
    if command.tag not in table:
        document.problem((*path, "tag"), f"missing tag {command.tag!r}")
        return
    tag = table.get(command.tag)
    if tag.owner != "field" or tag.kind not in WRITABLE_KINDS:
        reason = f"must belong to field and be of kind {' or '.join(WRITABLE_KINDS)}"
        document.problem((*path, "tag"), f"tag {tag.name!r} is {tag.kind} of {tag.owner}: it {reason}")
    if tag.name in feeders:
        document.problem((*path, "tag"), f"device {feeders[tag.name]!r} feeds tag {tag.name!r} already")
    if not (math.isfinite(tag.low) and math.isfinite(tag.high)):
        document.problem((*path, "tag"), f"command tag {tag.name!r} has no limits low and high")
    elif command.hold_s and not tag.low <= command.failsafe <= tag.high:
        document.problem((*path, "failsafe"), f"{command.failsafe} is out of range {tag.low:g} … {tag.high:g}")


def _check_setpoint(setpoint: Setpoint, path: tuple[str | int, ...], table: TagTable, document: Document) -> None:
    for key, name in (("tag", setpoint.tag), ("feedback_tag", setpoint.feedback_tag)):
        if name and name not in table:
            document.problem((*path, key), f"missing tag {name!r}")
    lease_tag = f"system.lease.{setpoint.lease}_until_s"
    if setpoint.lease and lease_tag not in table:
        document.problem((*path, "lease"), f"no lease {setpoint.lease!r}: missing tag {lease_tag!r}")
    if setpoint.tag not in table:
        return
    tag = table.get(setpoint.tag)
    if not tag.low <= setpoint.failsafe <= tag.high:
        document.problem((*path, "failsafe"), f"{setpoint.failsafe} is out of range {tag.low:g} … {tag.high:g}")
    if not (math.isfinite(tag.low) and math.isfinite(tag.high)):
        document.problem((*path, "tag"), f"set-point tag {tag.name!r} has no limits low and high")
    if setpoint.feedback_tag in table and table.get(setpoint.feedback_tag).unit != tag.unit:
        feedback = table.get(setpoint.feedback_tag)
        document.problem((*path, "feedback_tag"), f"wrong unit {feedback.unit!r}: {tag.name!r} is in {tag.unit!r}")


__all__ = [
    "ConfigErrors", "Device", "Document", "Node", "Point", "Problem", "Setpoint", "Site", "Twin", "load_site",
]  # fmt: skip
