"""A site's field devices: ``devices/*.toml``, one by one (``[[device]]``) or as numbered fleets (``[[fleet]]``).

A device says everything itself, or names a profile (``profiles/NAME.toml``, :mod:`gwanje.core.site.profiles`) that says
it for all of its kind; then its tags come from the profile too, and nobody lists them in ``tags/``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gwanje.core.commands.operations import WRITABLE_KINDS
from gwanje.core.site.toml_reader import Document, KeyPath, Reader
from gwanje.core.tags.table import Tag, TagTable

FAMILIES = {
    "sunspec": "field",
    "registers": "field",
    "bacnet": "heat",
    "dlms": "meters",
    "meter_file": "meters",
    "ocpp": "charging",
    "talq": "street",
    "mqtt": "street",
    "ntcip": "signals",
    "onvif": "cameras",
}
"""Driver → the part that runs devices of this driver. A part runs when the site has a device for it."""
REGISTER_DRIVERS = ("sunspec", "registers")
"""Drivers whose points are registers, checked here; what the others' ``at`` means is their part's to check."""

HOLD_S_MAX = 28_800.0
"""A manual set-point is held for a shift at most; then the device falls back."""
REGISTER_TYPES = {"u16": 1, "i16": 1, "u32": 2, "i32": 2, "f32": 2, "u64": 4}
SCAN_CLASSES = ("fast", "normal", "slow")
FLEET_MAX = 20_000
"""Devices of one fleet: five tags each are the design's 100 000."""
HEALTH = ("full", "online")


@dataclass(frozen=True, slots=True)
class Point:
    """A quantity that a driver reads.

    Attributes:
        tag: that it feeds.
        scale: tag value = reading * scale + offset.
        offset: see ``scale``.
        scan: class of the rate.
        model: SunSpec model of ``name``.
        name: SunSpec point.
        address: first register of a plain point.
        type: of a plain point's registers.
        at: where it is in a device that has no registers; the driver's own words.
    """

    tag: str
    scale: float
    offset: float
    scan: str
    model: int = 0
    name: str = ""
    address: int = -1
    type: str = ""
    at: Mapping[str, Any] = field(default_factory=dict, hash=False)


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
        at: see :class:`Point`.
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
    at: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Twin:
    """What the simulated city builds for a device: its kind and numbers, checked by ``io.sim``."""

    kind: str
    params: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Device:
    """A field device behind an address.

    Attributes:
        driver: of :data:`FAMILIES`.
        host: address; of a device that connects to us, where we listen. Empty behind ``via``.
        port: see ``host``.
        via: name of the device (gateway, broker, collector, central system) behind which this one is.
        address: its own name there: charge point, asset, topic, logical device.
        points: what is read.
        setpoints: what programs write under a lease.
        commands: what people and programs write by command; each reads itself back (``feedback_tag`` is ``tag``).
        source: file it stands in.
        path: key path there; all devices of a fleet have the fleet's.
        profile: name of its profile, empty without one.
        params: keys of its driver, checked by ``io``.
        health: ``full`` has tags for link, round trip and errors, ``online`` for the link alone.
        x_m: metres east of the site's origin, NaN where nobody said.
        y_m: metres north.
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
    path: KeyPath = ()
    via: str = ""
    address: str = ""
    profile: str = ""
    params: Mapping[str, Any] = field(default_factory=dict, hash=False)
    health: str = "full"
    x_m: float = math.nan
    y_m: float = math.nan

    @property
    def simulated(self) -> bool:
        """Whether the simulated city stands behind the address."""
        return self.twin is not None

    @property
    def prefix(self) -> str:
        """Beginning of the device's own tags."""
        return f"{self.area}.{self.name}"

    @property
    def part(self) -> str:
        """The part that drives it."""
        return FAMILIES.get(self.driver, "field")

    @property
    def written(self) -> tuple[Setpoint, ...]:
        """Set-points and commands."""
        return (*self.setpoints, *self.commands)


def address_keys(reader: Reader, driver: str) -> dict[str, Any]:
    """Where a point is: registers of a Modbus device, or the driver's own table ``at``."""
    if driver == "sunspec":
        return {"model": reader.integer("model", low=1, high=65_535), "name": reader.text("name")}
    if driver == "registers":
        return {
            "address": reader.integer("address", low=0, high=65_535),
            "type": reader.text("type", choices=tuple(REGISTER_TYPES)),
        }
    return {"at": reader.table("at") or {}}


def read_scales(reader: Reader) -> dict[str, Any]:
    """``scale`` and ``offset``."""
    found = {"scale": reader.number("scale", 1.0), "offset": reader.number("offset", 0.0)}
    if found["scale"] == 0.0:
        reader.problem("scale", "0 would make every value the same")
    return found


def read_point(reader: Reader, driver: str, scan: str) -> Point:
    """``[[device.point]]``."""
    point = Point(
        tag=reader.text("tag"),
        scan=reader.text("scan", scan, choices=SCAN_CLASSES),
        **read_scales(reader),
        **address_keys(reader, driver),
    )
    reader.finish()
    return point


def _enable(reader: Reader) -> tuple[tuple[int, str, float], ...]:
    enable: list[tuple[int, str, float]] = []
    for one in reader.readers("enable"):
        enable.append((one.integer("model", low=1, high=65_535), one.text("name"), one.number("value")))
        one.finish()
    return tuple(enable)


def read_setpoint(reader: Reader, driver: str) -> Setpoint:
    """``[[device.setpoint]]``."""
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
        **address_keys(reader, driver),
    )
    if setpoint.scale == 0.0:
        reader.problem("scale", "0 would make every command the same")
    reader.finish()
    return setpoint


def read_command(reader: Reader, driver: str, tag: str | None = None) -> Setpoint:
    """``[[device.command]]``: written by command, and held for a while where ``hold_s`` says so.

    Args:
        reader: of the table; keys of a profile's tag were taken before.
        driver: of the device.
        tag: of a profile's command, whose tag has no name yet.
    """
    hold_s = reader.number("hold_s", 0.0, 0.0, HOLD_S_MAX)
    name = reader.text("tag") if tag is None else tag
    command = Setpoint(
        tag=name,
        feedback_tag=name,
        scale=reader.number("scale", 1.0),
        failsafe=reader.number("failsafe", None if hold_s else math.nan),
        lease="",
        revert_s=reader.number("revert_s", None if hold_s else 0.0, 0.1 if hold_s else 0.0, 3600.0),
        enable=_enable(reader),
        hold_s=hold_s,
        **address_keys(reader, driver),
    )
    if command.scale == 0.0:
        reader.problem("scale", "0 would make every command the same")
    if command.revert_s and not hold_s:
        reader.problem("revert_s", "without hold_s nothing is refreshed: the device would revert at once")
    reader.finish()
    return command


def read_twin(reader: Reader | None) -> Twin | None:
    """``[device.twin]``."""
    if reader is None:
        return None
    node: Any = reader.document.content
    for part in reader.path:
        node = node[part]
    return Twin(reader.text("kind"), {key: value for key, value in node.items() if key != "kind"})


class Register:
    """The devices of a site as they are read: names and addresses are each one device's."""

    def __init__(self) -> None:
        self.devices: list[Device] = []
        self._names: dict[str, str] = {}
        self._addresses: dict[tuple[str, int, int, str, str], str] = {}

    def add(self, device: Device, reader: Reader) -> None:
        """Take a device up."""
        self.devices.append(device)
        if device.name in self._names:
            reader.problem("name", f"device {device.name!r} stands in {self._names[device.name]} already")
        self._names[device.name] = device.source
        address = (device.host, device.port, device.unit_id, device.via, device.address)
        if address in self._addresses:
            where = (
                f"{device.address!r} behind {device.via!r}" if device.via
                else f"{device.host}:{device.port} unit {device.unit_id}"
            )  # fmt: skip
            key = "address" if device.via else "port"
            reader.problem(key, f"{where} is the address of device {self._addresses[address]!r} already")
        self._addresses[address] = device.name

    def check_ways(self, documents: Mapping[str, Document]) -> None:
        """Who is behind whom must be there, in the same part, and not behind anybody itself."""
        by_name = {one.name: one for one in self.devices}
        for device in self.devices:
            if not device.via:
                continue
            way = by_name.get(device.via)
            if way is None:
                reason = f"no device {device.via!r}"
            elif way.part != device.part:
                reason = f"{device.via!r} belongs to part {way.part!r}, this device to {device.part!r}"
            elif way.via:
                reason = f"{device.via!r} is behind {way.via!r} itself"
            else:
                continue
            documents[device.source].problem((*device.path, "via"), reason)


def read_head(reader: Reader, driver: str) -> dict[str, Any]:
    """Keys that say which device it is and where."""
    modbus = driver in REGISTER_DRIVERS
    via = "" if modbus else reader.text("via", "")
    return {
        "name": reader.text("name"),
        "area": reader.text("area"),
        "label_ko": reader.text("label_ko"),
        "label_en": reader.text("label_en"),
        "driver": driver,
        "via": via,
        "address": "" if modbus else reader.text("address", None if via else ""),
        "host": "" if via else reader.text("host", None if modbus else ""),
        "unit_id": reader.integer("unit_id", 1, 0, 255) if modbus else 0,
        "params": {} if modbus else dict(reader.table("params") or {}),
        "source": reader.document.name,
        "path": reader.path,
    }


def _port(reader: Reader, driver: str) -> int:
    if driver in REGISTER_DRIVERS:
        return reader.integer("port", low=1, high=65_535)
    return reader.integer("port", 0, 0, 65_535)


def read_device(reader: Reader) -> Device:
    """A ``[[device]]`` that says everything itself."""
    driver = reader.text("driver", choices=tuple(FAMILIES))
    scan = reader.text("scan", "normal", choices=SCAN_CLASSES)
    twin = reader.reader("twin")
    head = read_head(reader, driver)
    device = Device(
        **head,
        port=0 if head["via"] else _port(reader, driver),
        scan=scan,
        timeout_s=reader.number("timeout_s", 0.5, 0.05, 30.0),
        points=tuple(read_point(one, driver, scan) for one in reader.readers("point", required=not head["params"])),
        setpoints=tuple(read_setpoint(one, driver) for one in reader.readers("setpoint")),
        twin=read_twin(twin),
        commands=tuple(read_command(one, driver) for one in reader.readers("command")),
    )
    reader.finish()
    return device


def check_references(devices: Iterable[Device], table: TagTable, documents: Mapping[str, Document]) -> None:
    """Points and set-points must name tags that exist, belong to the right part and agree in unit."""
    feeders: dict[str, str] = {}
    for device in devices:
        document = documents[device.source]
        for index, point in enumerate(device.points):
            path = (*device.path, "point", index, "tag")
            if point.tag not in table:
                document.problem(path, f"missing tag {point.tag!r}")
            elif table.get(point.tag).owner != device.part:
                owner = table.get(point.tag).owner
                document.problem(path, f"tag {point.tag!r} belongs to {owner!r}, not to {device.part}")
            if point.tag in feeders:
                document.problem(path, f"device {feeders[point.tag]!r} feeds tag {point.tag!r} already")
            feeders[point.tag] = device.name
        for index, one in enumerate(device.setpoints):
            _check_setpoint(one, (*device.path, "setpoint", index), table, document)
        for index, one in enumerate(device.commands):
            _check_command(one, device.part, (*device.path, "command", index), table, document, feeders)
            feeders.setdefault(one.tag, device.name)


def _check_command(
    command: Setpoint, part: str, path: KeyPath, table: TagTable, document: Document, feeders: dict[str, str]
) -> None:
    if command.tag not in table:
        document.problem((*path, "tag"), f"missing tag {command.tag!r}")
        return
    tag = table.get(command.tag)
    if tag.owner != part or tag.kind not in WRITABLE_KINDS:
        reason = f"must belong to {part} and be of kind {' or '.join(WRITABLE_KINDS)}"
        document.problem((*path, "tag"), f"tag {tag.name!r} is {tag.kind} of {tag.owner}: it {reason}")
    if tag.name in feeders:
        document.problem((*path, "tag"), f"device {feeders[tag.name]!r} feeds tag {tag.name!r} already")
    if not (math.isfinite(tag.low) and math.isfinite(tag.high)):
        document.problem((*path, "tag"), f"command tag {tag.name!r} has no limits low and high")
    elif command.hold_s and not tag.low <= command.failsafe <= tag.high:
        document.problem((*path, "failsafe"), f"{command.failsafe} is out of range {tag.low:g} … {tag.high:g}")


def _check_setpoint(setpoint: Setpoint, path: KeyPath, table: TagTable, document: Document) -> None:
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


def health_tags(device: Device) -> list[Tag]:
    """Tags about the link that every device has, so that nobody must list them."""
    ko, en = device.label_ko, device.label_en
    stale_s = 5.0 if not device.profile else 60.0
    common: dict[str, Any] = {"owner": device.part, "simulated": device.simulated, "stale_after_s": stale_s}
    states = (("통신 끊김", "offline"), ("통신 정상", "online"))
    online = Tag(
        f"{device.prefix}.online", "", kind="state", low=0, high=1, decimals=0, states=states,
        description_ko=f"{ko} 통신", description_en=f"{en} link", **common,
    )  # fmt: skip
    if device.health == "online":
        return [online]
    return [
        online,
        Tag(f"{device.prefix}.scan_ms", "ms", low=0, high=60_000, decimals=2, deadband=1.0,
            description_ko=f"{ko} 읽기 왕복", description_en=f"{en} read round trip", **common),
        Tag(f"{device.prefix}.errors", "", kind="counter", low=0, decimals=0,
            description_ko=f"{ko} 통신 오류 수", description_en=f"{en} link errors", **common),
    ]  # fmt: skip


FAMILY_QUANTITIES = ("devices", "online", "reads_per_s", "late_p99_ms", "errors", "skipped")
"""What ``gwanje status`` shows of each family of devices; see ``io.field.family``."""


def family_tags(part: str) -> list[Tag]:
    """How the devices of one part do as a whole."""
    texts = {
        "devices": ("", "장치 수", "devices"),
        "online": ("", "통신 정상 장치 수", "devices online"),
        "reads_per_s": ("1/s", "초당 읽기", "reads a second"),
        "late_p99_ms": ("ms", "읽기 지연 p99", "lateness of reads, p99"),
        "errors": ("", "통신 오류 수", "link errors"),
        "skipped": ("", "건너뛴 읽기 수", "reads skipped"),
    }
    return [
        Tag(
            f"system.family_{part}.{quantity}", unit, owner=part, low=0, stale_after_s=5,
            kind="counter" if quantity in ("errors", "skipped") else "measurement",
            decimals=1 if unit else 0, description_ko=f"{part} {ko}", description_en=f"{part}: {en}",
        )
        for quantity, (unit, ko, en) in texts.items()
    ]  # fmt: skip


def marked(tag: Tag) -> Tag:
    """A tag whose values are simulated."""
    return replace(tag, simulated=True)
