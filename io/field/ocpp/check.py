"""What a site's files say wrong about chargers, groups and central systems."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from gwanje.core.site.config import Device
from gwanje.core.site.toml_reader import KeyPath
from gwanje.io.field.ocpp.door import is_loopback
from gwanje.io.field.ocpp.readings import UNITS
from gwanje.io.field.ocpp.settings import (
    KEY_MAX,
    ChargerSettings,
    GroupSettings,
    SettingError,
    Settings,
    SystemSettings,
    Town,
    members,
    read_settings,
    words_of,
)

Problem = tuple[Device, KeyPath, str]
IDENTITY = re.compile(r"[A-Za-z0-9*_=:+|@.-]+", re.ASCII)
"""What a charge point's id is made of, as OCPP 2.0.1 says; it stands in its address."""
REVERT_S_MIN = 60.0
"""A shorter profile would be refreshed every few seconds, and end while a charger comes back."""
TWINS = ("car_charger", "ebike_charger")


def problems(devices: Sequence[Device]) -> Iterable[Problem]:
    """Every problem of the devices with driver ``ocpp``."""
    found: dict[str, Settings] = {}
    for device in devices:
        try:
            settings = read_settings(device)
        except SettingError as error:
            yield device, ("params", error.key), str(error)
            continue
        found[device.name] = settings
        yield from _points(device, str(device.params["role"]))
        yield from _place(device, settings)
    by_name = {one.name: one for one in devices}
    town = Town(
        {name: one for name, one in found.items() if isinstance(one, SystemSettings)},
        {name: one for name, one in found.items() if isinstance(one, GroupSettings)},
        {name: one for name, one in found.items() if isinstance(one, ChargerSettings)},
    )
    yield from _ways(by_name, town)
    yield from _groups(by_name, town)


def _points(device: Device, role: str) -> Iterator[Problem]:
    states, actions = words_of(role)
    seen: dict[str, str] = {}
    for index, point in enumerate(device.points):
        at = dict(point.at)
        word = at.get("state", at.get("measurand"))
        if len(at) != 1 or word is None:
            yield device, ("point", index, "at"), "must be { state = … } or { measurand = … }"
        elif "state" in at and word not in states:
            yield device, ("point", index, "at", "state"), f"{word!r} is none of {', '.join(states)}"
        elif "measurand" in at and (role != "charger" or str(word).partition(".")[0] not in UNITS):
            yield device, ("point", index, "at", "measurand"), f"{word!r} is no measurand of OCPP that is read"
        elif seen.setdefault(str(word), point.tag) != point.tag:
            yield device, ("point", index, "at"), f"{word!r} stands in another point already"
    for index, command in enumerate(device.commands):
        word = command.at.get("do")
        if len(command.at) != 1 or word not in actions:
            yield device, ("command", index, "at"), f"must be {{ do = … }} with one of: {', '.join(actions)}"
        elif word == "limit" and (not command.hold_s or command.revert_s < REVERT_S_MIN):
            yield device, ("command", index, "revert_s"), f"a limit needs hold_s, and {REVERT_S_MIN:g} s or more here"
        elif word != "limit" and command.hold_s:
            yield device, ("command", index, "hold_s"), "only a limit is held"
    if device.setpoints:
        yield device, ("setpoint", 0), "chargers and groups take commands, not set-points under a lease"
    if role == "group" and len(device.commands) != 1:
        yield device, ("command",), "a group has one command, its limit"


def _place(device: Device, settings: Settings) -> Iterator[Problem]:
    if isinstance(settings, SystemSettings):
        if device.via or not device.host or not device.port:
            yield device, ("host",), "a central system needs host and port, where it listens"
        if device.twin is not None:
            yield device, ("twin",), "a central system is ours, simulated are its chargers"
        return
    if not device.via:
        yield device, ("via",), "is missing: the name of the central system"
    if isinstance(settings, GroupSettings):
        if device.twin is not None:
            yield device, ("twin",), "a group is not simulated, its chargers are"
        return
    if len(device.address) > KEY_MAX or not IDENTITY.fullmatch(device.address):
        reason = f"{device.address!r} is no charge point id: 1 … {KEY_MAX} letters, digits and *-_=:+|@."
        yield device, ("address",), reason
    if device.twin is not None and device.twin.kind not in TWINS:
        yield device, ("twin", "kind"), f"{device.twin.kind!r} is none of {', '.join(TWINS)}"


def _ways(devices: Mapping[str, Device], town: Town) -> Iterator[Problem]:
    for name in (*town.groups, *town.chargers):
        device = devices[name]
        if device.via in devices and device.via not in town.systems:
            yield device, ("via",), f"{device.via!r} is no central system"
            continue
        host = devices[device.via].host if device.via in devices else ""
        if device.twin is not None and not is_loopback(host):
            yield device, ("twin",), f"a simulated charger connects to this machine only, not to {host!r}"


def _groups(devices: Mapping[str, Device], town: Town) -> Iterator[Problem]:
    for name, charger in town.chargers.items():
        if charger.group and charger.group not in town.groups:
            yield devices[name], ("params", "group"), f"no group {charger.group!r}"
    for name, group in town.groups.items():
        device = devices[name]
        if group.parent and group.parent not in town.groups:
            yield device, ("params", "parent"), f"no group {group.parent!r}"
        elif group.parent and town.groups[town.chain(name)[-1]].parent:
            yield device, ("params", "parent"), f"{name!r} is behind itself"
        fallback_w = math.fsum(town.chargers[one].fallback_w for one in members(town, name))
        if fallback_w > group.limit_w:
            reason = f"{group.limit_w:g} W, but its chargers fall back to {fallback_w:g} W when nobody leads them"
            yield device, ("params", "limit_w"), reason
