"""What ``gwanje check`` asks of Modbus devices beyond what every device is asked: options, addresses, groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gwanje.core.site.devices import Device, Point, Setpoint
from gwanje.core.site.toml_reader import KeyPath
from gwanje.io.field.modbus.options import (
    AT_COMMAND,
    AT_POINT,
    OptionError,
    Options,
    group_of,
    is_nvm,
    mask_of,
    options_of,
    swapped_of,
)
from gwanje.io.field.modbus.sunspec_types import TYPES

Found = tuple[Device, KeyPath, str]


def problems(devices: Sequence[Device]) -> Iterator[Found]:
    """Each problem with the key path below its device."""
    wires: dict[tuple[str, int], tuple[Device, str]] = {}
    for device in devices:
        try:
            options = options_of(device)
        except OptionError as error:
            yield device, ("params", error.key), error.reason
            continue
        first, framing = wires.setdefault((device.host, device.port), (device, options.framing))
        if framing != options.framing:
            yield device, ("params", "framing"), f"device {first.name!r} at the same address is {framing!r}"
        if options.framing == "rtu" and device.unit_id == 0:
            yield device, ("unit_id",), "unit 0 of a serial line is everybody: nobody answers"
        for path, reason in _points(device, options):
            yield device, path, reason


def _points(device: Device, options: Options) -> Iterator[tuple[KeyPath, str]]:
    if device.driver != "registers":
        return
    for index, point in enumerate(device.points):
        for key, reason in _at(point, AT_POINT):
            yield ("point", index, "at", key), reason
    for kind, written in (("setpoint", device.setpoints), ("command", device.commands)):
        for index, one in enumerate(written):
            for key, reason in (*_at(one, AT_COMMAND), *_wear(one, kind)):
                yield (kind, index, "at", key), reason
    yield from _places(device, options)


def _at(one: Point | Setpoint, known: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Unknown and impossible words of an ``at``."""
    at: Mapping[str, Any] = one.at
    for key in at:
        if key not in known:
            yield key, f"unknown; known: {', '.join(known)}"
    value_type = TYPES[one.type]
    try:
        if mask_of(at, 16 * value_type.n_registers) and value_type.form != "unsigned":
            yield ("bit" if "bit" in at else "mask"), f"bits of {one.type} mean nothing: the type must be unsigned"
        swapped_of(at, False)
        if "word_order" in at and value_type.n_registers == 1:
            yield "word_order", f"{one.type} is one word"
        group_of(at)
        is_nvm(at)
    except OptionError as error:
        yield error.key, error.reason


def _wear(one: Setpoint, kind: str) -> Iterator[tuple[str, str]]:
    """What is written again and again must not lie in memory that wears out."""
    if one.at.get("nvm") is True and (kind == "setpoint" or one.hold_s):
        yield "nvm", "the register wears out, but is written again and again: only a command without hold_s may be"


def _places(device: Device, options: Options) -> Iterator[tuple[KeyPath, str]]:
    """Overlapping registers, and what does not fit into one read."""
    taken: dict[int, tuple[int, str, str]] = {}
    entries = [("point", index, one) for index, one in enumerate(device.points)]
    entries += [("setpoint", index, one) for index, one in enumerate(device.setpoints)]  # type: ignore[misc]
    entries += [("command", index, one) for index, one in enumerate(device.commands)]  # type: ignore[misc]
    groups: dict[str, tuple[int, int]] = {}
    for kind, index, one in entries:
        n = TYPES[one.type].n_registers
        if one.address + n > 65_536:
            yield (kind, index, "address"), f"{one.type} at {one.address} runs over the last register"
        if n > options.max_registers:
            yield (kind, index, "type"), f"{one.type} needs {n} registers, one read takes {options.max_registers}"
        for register in range(one.address, one.address + n):
            other = taken.setdefault(register, (one.address, one.type, one.tag))
            if other[:2] != (one.address, one.type):
                yield (kind, index, "address"), (
                    f"register {register} belongs to {other[2]!r} ({other[1]} at {other[0]}) already"
                )
                break
        group = one.at.get("group")
        if kind == "point" and isinstance(group, str) and group:
            low, high = groups.get(group, (one.address, one.address + n))
            groups[group] = min(low, one.address), max(high, one.address + n)
            if groups[group][1] - groups[group][0] > options.max_registers:
                yield (kind, index, "at", "group"), (
                    f"group {group!r} spans {groups[group][1] - groups[group][0]} registers, one read takes"
                    f" {options.max_registers}"
                )
    if options.heartbeat_address in taken:
        yield ("params", "heartbeat"), (
            f"register {options.heartbeat_address} belongs to {taken[options.heartbeat_address][2]!r} already"
        )
