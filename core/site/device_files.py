"""Reading the tables of ``devices/*.toml`` and what profiles have in common with them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from gwanje.core.site.devices import (
    FAMILIES,
    REGISTER_DRIVERS,
    REGISTER_TYPES,
    SCAN_CLASSES,
    Device,
    Point,
    Setpoint,
    Twin,
)
from gwanje.core.site.toml_reader import Document, KeyPath, Reader

HOLD_S_MAX = 28_800.0
"""A manual set-point is held for a shift at most; then the device falls back."""
WORD = re.compile(r"[a-z0-9_]+")
"""Area and name of a device: they become the first two words of its tags."""


def address_keys(reader: Reader, driver: str) -> dict[str, Any]:
    """Where a point is: registers of a Modbus device, or the driver's own table ``at``."""
    if driver == "sunspec":
        return {"model": reader.integer("model", low=1, high=65_535), "name": reader.text("name")}
    if driver == "registers":
        return {
            "address": reader.integer("address", low=0, high=65_535),
            "type": reader.text("type", choices=tuple(REGISTER_TYPES)),
            "at": reader.table("at") or {},
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


def host_problem(host: str) -> str:
    """Why a text cannot be asked for its address: a resolver that is given it anyway ends whoever asks."""
    if any(sign.isspace() or not sign.isprintable() for sign in host):
        return f"{host!r} is no host"
    try:
        host.encode("idna")
    except UnicodeError as error:
        return f"{host!r} is no host: {error.__cause__ or error}"
    return ""


class Register:
    """The devices of a site as they are read: names and addresses are each one device's."""

    def __init__(self) -> None:
        self.devices: list[Device] = []
        self._names: dict[str, str] = {}
        self._addresses: dict[tuple[str, int, int, str, str], str] = {}

    def add(self, device: Device, reader: Reader) -> None:
        """Take a device up."""
        self.devices.append(device)
        for key, word in (("name", device.name), ("area", device.area)):
            if not WORD.fullmatch(word):
                reader.problem(key, f"{word!r} is not a word of small letters, digits and _")
        if reason := host_problem(device.host):
            reader.problem("host", reason)
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
        told: set[tuple[str, KeyPath]] = set()
        for device in self.devices:
            if not device.via or (device.source, device.path) in told:
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
            told.add((device.source, device.path))  # once for a fleet
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
        "params": dict(reader.table("params") or {}),
        "source": reader.document.name,
        "path": reader.path,
    }


def _port(reader: Reader, driver: str) -> int:
    if driver in REGISTER_DRIVERS:
        return reader.integer("port", low=1, high=65_535)
    return reader.integer("port", 0, 0, 65_535)


def read_device(reader: Reader) -> Device | None:
    """A ``[[device]]`` that says everything itself; None of an unknown driver: its keys would all be strange."""
    driver = reader.text("driver", choices=tuple(FAMILIES))
    if driver not in FAMILIES:
        return None
    scan = reader.text("scan", "normal", choices=SCAN_CLASSES)
    twin = reader.reader("twin")
    head = read_head(reader, driver)
    pointless = driver not in REGISTER_DRIVERS and bool(head["params"])  # a hub: what is behind it has the points
    device = Device(
        **head,
        port=0 if head["via"] else _port(reader, driver),
        scan=scan,
        timeout_s=reader.number("timeout_s", 0.5, 0.05, 30.0),
        points=tuple(read_point(one, driver, scan) for one in reader.readers("point", required=not pointless)),
        setpoints=tuple(read_setpoint(one, driver) for one in reader.readers("setpoint")),
        twin=read_twin(twin),
        commands=tuple(read_command(one, driver) for one in reader.readers("command")),
    )
    reader.finish()
    return device
