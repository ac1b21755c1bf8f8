"""A site's configuration: TOML files parsed once into frozen dataclasses, every problem reported at once.

``load_site`` reads ``site.toml``, ``tags/*.toml``, ``profiles/*.toml``, ``devices/*.toml``, ``nodes.toml``,
``areas.toml``, ``alarms.toml``, ``operations.toml``, ``topology.toml`` and the tables that a part checks itself
(``control.toml``, ``historian.toml``, ``acoustic.toml``). Beside alarms, operations, topology and nodes may stand
folders of the same name: ``alarms/*.toml`` holds the families' own, read as if they stood in ``alarms.toml``.
"""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gwanje.core.alarms.definitions import AlarmDefinition, EventAlarmDefinition
from gwanje.core.alarms.parsing import parse_alarms
from gwanje.core.alarms.topology import Topology, read_topology
from gwanje.core.authority.areas import Area, check_areas, held_tag, read_areas
from gwanje.core.authority.settings import AuthoritySettings, read_settings
from gwanje.core.city.part import ENTRIES
from gwanje.core.commands.operations import Operations, parse_operations
from gwanje.core.remote.settings import RemoteSettings, read_remote
from gwanje.core.site.causes import Stages, hinted
from gwanje.core.site.device_references import check_references
from gwanje.core.site.devices import (
    FAMILIES,
    REGISTER_DRIVERS,
    Device,
    Point,
    Setpoint,
    Twin,
    family_tags,
    health_tags,
    marked,
)
from gwanje.core.site.merged import Merged
from gwanje.core.site.nodes import Node, read_nodes
from gwanje.core.site.profiles import read_devices, read_profile
from gwanje.core.site.tag_files import DeclaredTag, read_tags
from gwanje.core.site.time_zones import time_zones
from gwanje.core.site.toml_lines import line_of
from gwanje.core.site.toml_reader import ConfigErrors, Document, Problem, Reader
from gwanje.core.tags.derived import plan
from gwanje.core.tags.expression import Constants, site_constants
from gwanje.core.tags.table import Tag, TagTable
from gwanje.core.time_watch import TimeRules, read_rules

SIM_PLANTS = ("simple", "microgrid")
DEFAULT_TIMEZONE = "Asia/Seoul"
"""What the simulated energy devices stand on: a balance every 10 ms, or ``microgrid/plant.toml`` at 1 ms."""


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
    sim_plant: str = "simple"

    @property
    def constants(self) -> Constants:
        """What expressions of this site may use beside tags."""
        return site_constants(self.rating_w, self.nominal_hz, self.nominal_v)

    @property
    def sha256(self) -> str:
        """Identity of all files that it was read from."""
        return hashlib.sha256(repr([(name, one.sha256) for name, one in self.documents.items()]).encode()).hexdigest()

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
    collecting = gc.isenabled()
    gc.disable()  # of half a million new objects none is garbage: to look for it takes a third of the time
    try:
        return _load(root)
    finally:
        if collecting:
            gc.enable()


def _load(root: Path) -> Site:
    documents: dict[str, Document] = {}

    def document(name: str) -> Document:
        loaded = Document.load(root / name, f"{root.name}/{name}")
        documents[name] = loaded
        return loaded

    def merged(name: str) -> Merged | None:
        main = [f"{name}.toml"] if (root / f"{name}.toml").exists() else []
        found = [document(file) for file in (*main, *_files(root, name))]
        return Merged.of(found) if found else None

    stages = Stages(documents)
    site = _site_head(document("site.toml"))
    profiles = {Path(name).stem: read_profile(Path(name).stem, document(name)) for name in _files(root, "profiles")}
    fleet = read_devices({one.name: one for one in (document(name) for name in _files(root, "devices"))}, profiles)
    devices = fleet.devices
    unmade = [] if fleet.whole else [problem for one in documents.values() for problem in one.problems]
    streamed = merged("nodes")
    nodes, script = read_nodes(streamed) if streamed is not None else ((), ())
    site["parts"] = _with_work(site["parts"], devices, root)
    declared = read_tags([document(name) for name in _files(root, "tags")], nodes)
    stages.end()
    areas = read_areas(document("areas.toml")) if (root / "areas.toml").exists() else ()
    automatic = _automatic_tags(devices, nodes, site["parts"], areas)
    table = _table(declared, [*automatic, *fleet.tags], devices, nodes)
    stages.end()
    check_references(devices, table, {one.name: one for one in documents.values()})
    _check_derived(declared, table, site)
    stages.end()
    topology, whole_tree = Topology(), True
    places = _places(devices, nodes)
    if (described := merged("topology")) is not None:
        topology = read_topology(described, table, places)
        whole_tree = not described.problems
    stages.end()
    alarms: tuple[AlarmDefinition, ...] = ()
    event_alarms: tuple[EventAlarmDefinition, ...] = ()
    if (definitions := merged("alarms")) is not None:
        alarms, event_alarms, found = parse_alarms(definitions.content, table, topology, places)
        for path, reason in found:
            if whole_tree or path[-1] != "node":  # of a tree that could not be built no node is there
                definitions.problem(path, reason)
    if areas:
        stand = {one.tag.name: (one.document, (*one.path, "name")) for one in declared}
        check_areas(areas, table, stand, documents["areas.toml"])
    driven = {one.tag for device in devices for one in device.commands}
    operations = Operations.of_tags(table, driven)
    if (operated := merged("operations")) is not None:
        operations = parse_operations(operated, table, driven)
    own: dict[str, Any] = {
        name: document(f"{name}.toml").content if (root / f"{name}.toml").exists() else {}
        for name in ("control", "historian", "acoustic")
    }
    stages.end()
    # What is not there for a file that cannot be read, or a fleet that cannot be counted out, would be named a hundred
    # times over: mend that first.
    unread = [problem for one in documents.values() if not one.readable for problem in one.problems]
    problems = unread or unmade or [problem for one in documents.values() for problem in one.problems]
    if problems:
        stands = {one.tag.name: f"{one.document.name}:{line_of(one.document.lines, one.path)}" for one in declared}
        raise ConfigErrors(hinted(problems, table, stands, devices, documents))
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
        "timezone": site.text("timezone", DEFAULT_TIMEZONE),
        "rating_w": site.number("connection_rating_w", 1.0 if quiet else None, 1.0, 1e10),
        "nominal_hz": site.number("nominal_hz", 60.0, 45.0, 65.0),
        "nominal_v": site.number("nominal_v", 22_900.0, 100.0, 1e6),
        "read_only": site.flag("read_only", False),
        "fresh_history": site.flag("fresh_history", False),
    }
    if head["timezone"] not in time_zones():
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
    simulated = reader.reader("sim") or Reader(document, ("sim",), {})
    head["sim_plant"] = simulated.text("plant", SIM_PLANTS[0], choices=SIM_PLANTS)
    simulated.finish()
    head["authority"] = read_settings(reader.reader("authority"))
    head["time"] = read_rules(reader.reader("time"))
    reader.finish()
    return head


PART_FILES = {
    "microgrid": "tags/microgrid_control.toml", "planner": "microgrid/planner.toml", "ledger": "microgrid/ledger.toml",
    "estimation": "microgrid/estimation.toml",
}  # fmt: skip
"""Parts that a site has when it has their file."""


def _with_work(parts: tuple[str, ...], devices: Iterable[Device], root: Path) -> tuple[str, ...]:
    """Parts for which the site has something to do: drivers without a device, and their simulator, stay away."""
    idle = {*FAMILIES.values(), "simcity", "broker"} - {"field"}
    idle |= {part for part, file in PART_FILES.items() if not (root / file).exists()}
    for device in devices:
        idle.discard(device.part)
        if device.simulated and device.driver not in REGISTER_DRIVERS:
            idle.discard("simcity")
        if device.params.get("embedded_broker"):
            idle.discard("broker")
    return tuple(part for part in parts if part not in idle)


def _automatic_tags(
    devices: Iterable[Device], nodes: Iterable[Node], parts: Iterable[str], areas: Iterable[Area]
) -> list[Tag]:
    """Tags that every device, part and area of authority has, so that nobody must list them."""
    tags: list[Tag] = []
    for device in devices:
        tags += health_tags(device)
    for part in sorted({device.part for device in devices} | ({"media"} if tuple(nodes) else set())):
        tags += family_tags(part)
    running = (("정지", "stopped"), ("시작 중", "starting"), ("가동", "running"), ("재시작 중", "restarting"))
    for part in (*parts, "city"):
        common: dict[str, Any] = {"owner": "supervisor", "stale_after_s": 10}
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
) -> TagTable:
    simulated = {point.tag for device in devices if device.simulated for point in device.points}
    simulated |= {one.feedback_tag for device in devices if device.simulated for one in device.written}
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
        tags[name] = marked(one.tag) if name in simulated or name.startswith(prefixes) else one.tag
    fed = {point.tag for device in devices for point in device.points}
    fed |= {one.feedback_tag for device in devices for one in device.written}
    for one in declared:
        if one.tag.owner in FAMILIES.values() and one.tag.name not in fed and not one.tag.name.startswith("system."):
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


__all__ = [
    "ConfigErrors", "Device", "Document", "Node", "Point", "Problem", "Setpoint", "Site", "Twin", "load_site",
]  # fmt: skip
