"""A site's field devices: ``devices/*.toml``, one by one (``[[device]]``) or as numbered fleets (``[[fleet]]``).

A device says everything itself, or names a profile (``profiles/NAME.toml``, :mod:`gwanje.core.site.profiles`) that says
it for all of its kind; then its tags come from the profile too, and nobody lists them in ``tags/``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gwanje.core.site.toml_reader import KeyPath
from gwanje.core.tags.table import Tag

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

REGISTER_TYPES = {"u16": 1, "i16": 1, "u32": 2, "i32": 2, "f32": 2, "u64": 4}
SCAN_CLASSES = ("fast", "normal", "slow")
FLEET_MAX = 20_000
"""Devices of one fleet: five tags each are the design's 100 000."""
HEALTH = ("full", "online")
PROFILE_TABLES = ("point", "command", "setpoint")
PROFILE_KEYS = (*PROFILE_TABLES, "driver", "scan", "timeout_s", "health", "params")
"""What a device with a profile never says itself, but for ``params``, of which it may have some of its own."""


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
        own_params: which of them do not come from the profile.
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
    own_params: frozenset[str] = frozenset()

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

    def place(self, path: KeyPath) -> tuple[str, KeyPath]:
        """File and key path of something below the device: what a profile says for all stands in the profile's file."""
        key = path[0] if path else ""
        if not self.profile or key not in PROFILE_KEYS or self.own_params.intersection(path[1:2]):
            return self.source, (*self.path, *path)
        table: KeyPath = () if key in PROFILE_TABLES else ("profile",)
        return f"{self.source.partition('/')[0]}/profiles/{self.profile}.toml", (*table, *path)


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
