"""Parameters of central systems, groups and chargers as a site's files give them, checked. No I/O.

All three are devices of the driver ``ocpp``; ``role`` says which. A group is what one transformer or cable feeds; it
may be behind another (``parent``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from gwanje.core.site.config import Device

ROLES = ("system", "group", "charger")
VERSIONS = ("1.6", "2.0.1")
KEY_MAX = 48
"""Characters of a charge point's id in its address."""


class SettingError(ValueError):
    """A parameter that cannot be used.

    Attributes:
        key: which one.
    """

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(reason)
        self.key = key


@dataclass(frozen=True, slots=True)
class SystemSettings:
    """A central system.

    Attributes:
        heartbeat_s: how often a charger that has nothing to say shall call.
        ping_s: how often its line is tried, and how long it has to answer.
        tokens: who may charge; ``any`` alone lets everybody.
    """

    heartbeat_s: float = 30.0
    ping_s: float = 5.0
    tokens: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GroupSettings:
    """Chargers behind one transformer.

    Attributes:
        limit_w: of the transformer: what holds when nobody has set less.
        parent: name of the group that feeds this one, empty for none.
    """

    limit_w: float
    parent: str = ""


@dataclass(frozen=True, slots=True)
class ChargerSettings:
    """A charger.

    Attributes:
        version: of the protocol.
        group: whose limit it shares, empty for none.
        connector: whose session and meter the tags show.
        rated_w: most that it can give.
        fallback_w: what it gives when nobody tells it anything; it is told so once, and counted so when it is away.
        voltage_v: of one phase.
        phases: it charges on.
        min_a: below which a car stops charging; it is paused instead.
        unit: in which it takes limits, ``A`` or ``W``.
        purpose: ``max`` limits the charger, ``tx`` its sessions.
        meter_s: how often it sends readings.
        token: with which sessions are started from here.
        configure: the charger's own settings, written when it starts.
    """

    version: str
    rated_w: float
    fallback_w: float
    group: str = ""
    connector: int = 1
    voltage_v: float = 220.0
    phases: int = 1
    min_a: float = 6.0
    unit: str = "A"
    purpose: str = "max"
    meter_s: float = 10.0
    token: str = "GWANJE"
    configure: Mapping[str, str] | None = None

    @property
    def w_per_a(self) -> float:
        """Power of one ampere."""
        return self.voltage_v * self.phases

    @property
    def min_w(self) -> float:
        """Least power at which a car charges."""
        return math.ceil(self.min_a * 10.0) / 10.0 * self.w_per_a

    def in_unit(self, watts: float) -> float:
        """A limit as the charger takes it: in its unit, to a tenth, rounded down."""
        per = self.w_per_a if self.unit == "A" else 1.0
        return math.floor(watts / per * 10.0 + 1e-6) / 10.0

    def in_watts(self, limit: float, unit: str) -> float:
        """A charger's limit in watts."""
        return limit * self.w_per_a if unit == "A" else limit

    def rounded_w(self, watts: float) -> float:
        """What becomes of a limit on its way."""
        return self.in_watts(self.in_unit(watts), self.unit)


Settings = SystemSettings | GroupSettings | ChargerSettings

_BOUNDS = {
    "heartbeat_s": (5.0, 3_600.0), "ping_s": (1.0, 300.0), "rated_w": (1.0, 1e6), "fallback_w": (0.0, 1e6),
    "connector": (1, 16), "voltage_v": (50.0, 1_000.0), "phases": (1, 3), "min_a": (0.0, 100.0),
    "meter_s": (1.0, 3_600.0), "limit_w": (0.0, 1e8),
}  # fmt: skip
_WORDS = {"version": VERSIONS, "unit": ("A", "W"), "purpose": ("max", "tx")}


def read_settings(device: Device) -> Settings:
    """A device's parameters.

    Raises:
        SettingError: one cannot be used.
    """
    params = dict(device.params)
    role = params.pop("role", None)
    if role not in ROLES:
        raise SettingError("role", f"must be one of {', '.join(ROLES)}, is {role!r}")
    made = {"system": SystemSettings, "group": GroupSettings, "charger": ChargerSettings}[role]
    known = {one.name: one for one in fields(made)}
    for key, value in params.items():
        if key not in known:
            raise SettingError(key, f"unknown key; a {role} has {', '.join(known)}")
        params[key] = _checked(key, value)
    for key in ("version", "rated_w", "fallback_w", "limit_w"):
        if key in known and key not in params:
            raise SettingError(key, "is missing")
    settings: Settings = made(**params)
    if isinstance(settings, ChargerSettings) and settings.fallback_w > settings.rated_w:
        raise SettingError("fallback_w", f"{settings.fallback_w:g} W is more than rated_w, {settings.rated_w:g} W")
    return settings


def _checked(key: str, value: Any) -> Any:
    if key in _BOUNDS:
        low, high = _BOUNDS[key]
        whole = isinstance(low, int)
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or not low <= value <= high:
            raise SettingError(key, f"must be a {'whole ' if whole else ''}number {low:g} … {high:g}, is {value!r}")
        return value if whole else float(value)
    if key == "tokens":
        if not isinstance(value, list) or not all(isinstance(one, str) and 0 < len(one) <= 20 for one in value):
            raise SettingError(key, "must be an array of texts of 1 … 20 characters")
        return tuple(value)
    if key == "configure":
        if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
            raise SettingError(key, "must be a table of texts")
        return dict(value)
    if not isinstance(value, str):
        raise SettingError(key, f"must be a text, is {value!r}")
    if key in _WORDS and value not in _WORDS[key]:
        raise SettingError(key, f"must be one of {', '.join(_WORDS[key])}, is {value!r}")
    return value


STATES = ("status", "error", "session", "session_id", "heard", "replayed", "flaws")
"""What ``at = {state = …}`` of a charger's point may name."""
GROUP_STATES = ("allotted", "power", "sessions", "paused", "overcommitted")
SYSTEM_STATES = ("connected", "refused", "flaws", "replayed")
ACTIONS = ("limit", "availability", "start", "stop", "reset")
"""What ``at = {do = …}`` of a charger's command may name; of a group's it is ``limit``."""


@dataclass(frozen=True, slots=True)
class Town:
    """All OCPP devices of a part, by role.

    Attributes:
        systems: name → its settings.
        groups: the same, of groups.
        chargers: the same, of chargers.
    """

    systems: Mapping[str, SystemSettings]
    groups: Mapping[str, GroupSettings]
    chargers: Mapping[str, ChargerSettings]

    def chain(self, group: str) -> tuple[str, ...]:
        """A group and those above it; ends where it would turn in a circle."""
        found: list[str] = []
        while group in self.groups and group not in found:
            found.append(group)
            group = self.groups[group].parent
        return tuple(found)


def read_town(devices: Sequence[Device]) -> Town:
    """The devices of a checked site.

    Raises:
        SettingError: a device's parameters cannot be used.
    """
    found = {one.name: read_settings(one) for one in devices}
    return Town(
        {name: one for name, one in found.items() if isinstance(one, SystemSettings)},
        {name: one for name, one in found.items() if isinstance(one, GroupSettings)},
        {name: one for name, one in found.items() if isinstance(one, ChargerSettings)},
    )


def words_of(role: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """States and actions that a role's points and commands may name."""
    match role:
        case "charger":
            return STATES, ACTIONS
        case "group":
            return GROUP_STATES, ("limit",)
    return SYSTEM_STATES, ()


def members(town: Town, group: str) -> Iterator[str]:
    """Chargers behind a group, also through other groups."""
    return (name for name, one in town.chargers.items() if group in town.chain(one.group))
