"""What ``gwanje check`` asks of lamps, gateways, brokers, sensors: ``params``, ``at``, ``twin``, who is behind whom."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from gwanje.core.site.config import Device
from gwanje.core.site.toml_reader import KeyPath
from gwanje.io.field.mqtt import settings as mqtt
from gwanje.io.field.street.floors import FloorError, floor_of
from gwanje.io.field.street.settings import ParamError
from gwanje.io.field.talq import settings as talq

Found = tuple[Device, KeyPath, str]

TWINS: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "lamp": {"rated_w": (1.0, 5_000.0)},
    "lamp_gateway": {
        "latitude_deg": (-66.0, 66.0), "longitude_deg": (-180.0, 180.0), "faulty_of_1000": (0.0, 1000.0),
    },
    "mqtt_lamp": {"rated_w": (1.0, 5_000.0), "every_s": (0.1, 3600.0)},
    "air_quality": {"every_s": (0.1, 3600.0)},
    "noise_meter": {"every_s": (0.1, 3600.0)},
    "weather_station": {"every_s": (0.1, 3600.0)},
}  # fmt: skip
"""Kind of twin → its numbers with their limits."""
KINDS_OF = {"talq": ("lamp", "lamp_gateway"), "mqtt": ("mqtt_lamp", "air_quality", "noise_meter", "weather_station")}
"""Driver → twins."""


def problems(devices: Sequence[Device]) -> Iterator[Found]:
    """Everything that is wrong with devices of the drivers ``talq`` and ``mqtt``."""
    names = {one.name for one in devices}
    profiles: set[str] = set()
    for device in devices:
        if not device.via and device.port == 0:
            yield device, ("port",), "is missing: where its gateway or broker listens"
        elif device.driver == "talq":
            yield from _talq(device, points=device.profile not in profiles)
            profiles |= {device.profile} - {""}  # the points of thousands of lamps are those of one profile
        else:
            yield from _mqtt(device)
        if device.via and device.via not in names:
            yield device, ("via",), f"{device.via!r} does not speak {device.driver}"
        yield from _twin(device)
        if device.setpoints:
            yield device, ("setpoint", 0), "lamps and sensors have commands, no set-points of leases"


def _talq(device: Device, *, points: bool) -> Iterator[Found]:
    if device.via:
        yield from _lamp(device)
    else:
        yield from _tried(device, ("params",), lambda: talq.gateway_settings(device))
    for index, point in enumerate(device.points if points else ()):
        unit = _promised(point.tag)
        try:
            place = talq.read_place(point.at, unit, point.scale)
        except ParamError as error:
            if not (unit is _UNKNOWN and " is in " in error.reason):
                yield device, ("point", index, "at", error.key), error.reason
        else:
            if place.faults and point.scale != 1.0:
                yield device, ("point", index, "scale"), "the number of a fault is not scaled"
    for index, one in enumerate(device.commands):
        here = ("command", index, "at")
        if not one.hold_s:
            yield device, ("command", index, "hold_s"), "an override without an end is not sent: say how long"
        if device.via:
            yield from _tried(device, here, partial(talq.read_place, one.at, "", 1.0))
        elif dict(one.at) != {"zone": "all"}:
            yield device, here, 'a gateway\'s command dims all of its lamps: at = { zone = "all" }'
    if len(device.commands) > 1:
        yield device, ("command", 1), "a lamp or gateway has one command"


_UNKNOWN = "?"


def _promised(tag: str) -> str:
    """The unit that a tag's last word promises: the checker of tags holds them together."""
    last = tag.rpartition("_")[2]
    return {"pct": "%", "w": "W", "wh": "Wh", "v": "V", "a": "A", "s": "s", "lx": "lx"}.get(last, _UNKNOWN)


def _mqtt(device: Device) -> Iterator[Found]:
    if not device.via:
        yield from _tried(device, ("params",), lambda: mqtt.broker_settings(device))
        for index, point in enumerate(device.points):
            if dict(point.at).keys() != {"own"} or point.at["own"] not in mqtt.OWN:
                yield device, ("point", index, "at"), f"a broker's points read own = one of {', '.join(mqtt.OWN)}"
        if device.commands:
            yield device, ("command", 0), "a broker takes no commands"
        return
    yield from _tried(device, ("params",), lambda: mqtt.thing_settings(device))
    for index, point in enumerate(device.points):
        yield from _tried(device, ("point", index, "at"), partial(mqtt.read_place, point.at, device.address))
    for index, one in enumerate(device.commands):
        here = ("command", index, "at")
        if not one.hold_s:
            yield device, ("command", index, "hold_s"), "a value without an end is not sent: say how long it is held"
        yield from _tried(device, here, partial(mqtt.read_command_place, one.at, device.address))
    if device.commands:
        yield from _lamp(device)
    if len(device.commands) > 1:
        yield device, ("command", 1), "a thing has one command"


def _lamp(device: Device) -> Iterator[Found]:
    try:
        floor_of(device)
    except FloorError as error:
        key, _, reason = str(error).partition(": ")
        yield device, ("params", key), reason


def _tried(device: Device, path: KeyPath, read: Callable[[], Any]) -> Iterator[Found]:
    try:
        read()
    except ParamError as error:
        yield device, (*path, error.key), error.reason


def _twin(device: Device) -> Iterator[Found]:
    twin = device.twin
    if twin is None:
        return
    known = KINDS_OF[device.driver]
    if twin.kind not in known:
        yield device, ("twin", "kind"), f"{twin.kind!r} is none of {', '.join(known)}"
        return
    for key, value in twin.params.items():
        limits = TWINS[twin.kind].get(key)
        if limits is None:
            yield device, ("twin", key), "unknown key"
        elif isinstance(value, bool) or not isinstance(value, int | float) or not limits[0] <= value <= limits[1]:
            yield device, ("twin", key), f"{value!r} is no number in {limits[0]:g} … {limits[1]:g}"
