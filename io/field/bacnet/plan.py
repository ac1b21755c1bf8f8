"""What of a device is read, watched and written, from its profile. No I/O.

``at`` of a point names an object (``object``, ``instance``) and, where a mistake would be dear, the ``units`` that the
device must state for it. ``at`` of a command names a commandable object and may say a ``priority`` other than the
profile's. Keys of ``params``: ``instance`` of the device, ``cov`` (subscribe to changes), ``cov_lifetime_s``,
``priority`` (the slot of the priority arrays that is this city's own), ``watchdog`` (see :class:`Watchdog`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gwanje.core.site.config import Device
from gwanje.core.site.devices import Setpoint
from gwanje.core.site.toml_reader import KeyPath
from gwanje.core.tags.table import Tag, TagTable
from gwanje.io.field.bacnet.values import INSTANCE_MAX, OBJECT_TYPES, PRIORITY_MANUAL, WRITABLE_TYPES, ObjectId

COV_LIFETIME_S = 120
"""A subscription is renewed at half of it: a device that was restarted forgets us for a minute at most."""
COV_LIFETIME_S_MIN, COV_LIFETIME_S_MAX = 10, 3_600
OBJECTS_MAX = 256
"""Objects of one device that are read: a heat pump has tens; more is a profile that names a whole building."""
PARAMS = ("instance", "cov", "cov_lifetime_s", "priority", "watchdog")


@dataclass(frozen=True, slots=True)
class Watch:
    """A tag and the object it comes from.

    Attributes:
        units: that the device must state, empty for any.
    """

    tag_id: int
    tag: Tag
    object: ObjectId
    scale: float
    offset: float
    scan: str
    units: str


@dataclass(frozen=True, slots=True)
class Target:
    """A tag and the object that is written for it.

    Attributes:
        readback_id: tag that shows what the object holds.
        hold_s: of a command: how long it stands; 0 for a set-point under a lease, and for what is written once.
    """

    tag_id: int
    tag: Tag
    readback_id: int
    readback: Tag
    object: ObjectId
    priority: int
    scale: float
    revert_s: float
    hold_s: float
    leased: bool


@dataclass(frozen=True, slots=True)
class Watchdog:
    """An analog value that the device counts down in seconds; at zero it lets go of what was written.

    BACnet has no timer for a priority slot. Many controllers offer such an object; where one is named, it is written
    anew at half of ``revert_s`` while anything of ours stands. Without one a written value stays until we come back.
    """

    object: ObjectId


@dataclass(frozen=True, slots=True)
class DevicePlan:
    """What a driver does with one device."""

    instance: int
    watches: tuple[Watch, ...]
    targets: tuple[Target, ...]
    cov: bool
    cov_lifetime_s: int
    watchdog: Watchdog | None


def make_plan(device: Device, tags: TagTable) -> DevicePlan:
    """The plan of a device whose configuration :func:`problems` found nothing in.

    Raises:
        ValueError: the configuration cannot be used; the text names device and key.
    """
    for path, reason in problems(device):
        raise ValueError(f"{device.source}: {device.name}: {'.'.join(map(str, path))}: {reason}")
    params = device.params
    watches = [
        Watch(
            tags.index(one.tag), tags.get(one.tag), _object(one.at), one.scale, one.offset, one.scan,
            str(one.at.get("units", "")),
        )
        for one in device.points
    ]  # fmt: skip
    targets = [_target(one, device, tags, leased=False) for one in device.commands]
    targets += [_target(one, device, tags, leased=True) for one in device.setpoints]
    watchdog = params.get("watchdog")
    return DevicePlan(
        instance=params["instance"],
        watches=tuple(watches),
        targets=tuple(targets),
        cov=params.get("cov", True),
        cov_lifetime_s=params.get("cov_lifetime_s", COV_LIFETIME_S),
        watchdog=None if watchdog is None else Watchdog(_object(watchdog)),
    )


def _target(one: Setpoint, device: Device, tags: TagTable, *, leased: bool) -> Target:
    priority = one.at.get("priority", device.params.get("priority", PRIORITY_MANUAL))
    return Target(
        tags.index(one.tag), tags.get(one.tag), tags.index(one.feedback_tag), tags.get(one.feedback_tag),
        _object(one.at), priority, one.scale,
        one.revert_s, one.hold_s, leased,
    )  # fmt: skip


def _object(at: Mapping[str, Any]) -> ObjectId:
    return ObjectId(at["object"], at["instance"])


def problems(device: Device) -> Iterator[tuple[KeyPath, str]]:
    """What is wrong with a device's configuration: (path below the device or its profile, reason)."""
    params = device.params
    for key in params:
        if key not in PARAMS:
            yield ("params", key), f"unknown key (known: {', '.join(PARAMS)})"
    if "instance" not in params:
        yield ("params", "instance"), "missing: the device's own number on its network"
    elif reason := _whole(params["instance"], 0, INSTANCE_MAX):
        yield ("params", "instance"), reason
    if not isinstance(params.get("cov", True), bool):
        yield ("params", "cov"), "must be true or false"
    if reason := _whole(params.get("cov_lifetime_s", COV_LIFETIME_S), COV_LIFETIME_S_MIN, COV_LIFETIME_S_MAX):
        yield ("params", "cov_lifetime_s"), reason
    if reason := _whole(params.get("priority", PRIORITY_MANUAL), 1, 16):
        yield ("params", "priority"), reason
    if "watchdog" in params:
        yield from _object_problems(params["watchdog"], ("params", "watchdog"), ("analog-value",), ())
    if device.via:
        yield ("via",), "a BACnet device has an address of its own"
    elif not device.port:
        yield ("port",), "missing: UDP port of the device, 47808 mostly"
    if len(device.points) > OBJECTS_MAX:
        yield ("point",), f"more than {OBJECTS_MAX} points"
    yield from _places(device)


def _places(device: Device) -> Iterator[tuple[KeyPath, str]]:
    seen: dict[tuple[str, int], str] = {}
    for index, point in enumerate(device.points):
        here: KeyPath = ("point", index, "at")
        yield from _object_problems(point.at, here, OBJECT_TYPES, ("units",))
        if not isinstance(point.at.get("units", ""), str):
            yield (*here, "units"), "must be the standard's word, such as degrees-celsius"
        place = str(point.at.get("object")), point.at.get("instance", -1)
        if place in seen:
            yield (*here, "instance"), f"{place[0]},{place[1]} feeds {seen[place]!r} already"
        seen[place] = point.tag
    written: dict[tuple[Any, Any, Any], str] = {}
    for key, table in (("command", device.commands), ("setpoint", device.setpoints)):
        for index, one in enumerate(table):
            here = (key, index, "at")
            yield from _object_problems(one.at, here, WRITABLE_TYPES, ("priority",))
            if reason := _whole(one.at.get("priority", PRIORITY_MANUAL), 1, 16):
                yield (*here, "priority"), reason
            slot = one.at.get("priority", device.params.get("priority", PRIORITY_MANUAL))
            target = one.at.get("object"), one.at.get("instance"), slot
            if target in written:
                reason = f"{target[0]},{target[1]} is written at priority {slot} for {written[target]!r} already"
                yield (*here, "instance"), reason
            written[target] = one.tag
            if one.enable:
                yield (key, index, "enable"), "BACnet has priorities; there is nothing to enable"
            if one.revert_s and "watchdog" not in device.params and not one.hold_s:
                yield (key, index, "revert_s"), "the profile names no watchdog that would revert it"



def _object_problems(
    at: Any, path: KeyPath, kinds: tuple[str, ...], further: tuple[str, ...]
) -> Iterator[tuple[KeyPath, str]]:
    if not isinstance(at, Mapping):
        yield path, "must be a table with object and instance"
        return
    for key in at:
        if key not in ("object", "instance", *further):
            yield (*path, key), f"unknown key (known: {', '.join(('object', 'instance', *further))})"
    if at.get("object") not in kinds:
        yield (*path, "object"), f"{at.get('object')!r} is none of {', '.join(kinds)}"
    if reason := _whole(at.get("instance"), 0, INSTANCE_MAX):
        yield (*path, "instance"), reason


def _whole(value: Any, low: int, high: int) -> str:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        return f"must be a whole number {low} … {high}, is {value!r}"
    return ""
