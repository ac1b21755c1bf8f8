"""Walking a SunSpec device over the wire: its models and what they say now. Reads only."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from gwanje.io.field.errors import LinkError
from gwanje.io.field.modbus.discovery import Discovery, FoundModel, discover
from gwanje.io.field.modbus.frames import READ_MAX, DeviceExceptionError
from gwanje.io.field.modbus.link import ModbusLink
from gwanje.io.field.modbus.sunspec import Registers, Value

DEVICE_S = 15.0
"""For the whole walk of one unit: a dozen models in a hundred requests, at 0.1 s each over a slow gateway."""
MODEL_REGISTERS_MAX = 2_000
"""Of one model whose values are read: curves of hundreds of points come to that."""


@dataclass(frozen=True, slots=True)
class SunSpecDevice:
    """A device that was found.

    Attributes:
        values: model number → its points as they are now, of the first model of that number.
    """

    host: str
    port: int
    unit: int
    discovery: Discovery
    values: Mapping[int, Mapping[str, Value]]


class NotSunSpecError(Exception):
    """What answers is Modbus, but not SunSpec; the text is one line."""


async def walk_device(host: str, port: int, unit: int, timeout_s: float) -> SunSpecDevice:
    """Connect to one unit, walk its models, read their values.

    Raises:
        LinkError: no connection, or no valid answer.
        NotSunSpecError: there is no SunSpec marker.
    """
    link = ModbusLink(host, port, unit, timeout_s, read_only=True)
    try:
        async with asyncio.timeout(DEVICE_S):
            await link.open()
            discovery = await _discovery(link)
            if discovery.base < 0:
                raise NotSunSpecError(f"{host}:{port} unit {unit}: {discovery.issues[0]}")
            values: dict[int, Mapping[str, Value]] = {}
            for model in discovery.models:
                if model.layout is not None and model.model_id not in values:
                    values[model.model_id] = await _values(link, model)
            return SunSpecDevice(host, port, unit, discovery, values)
    except TimeoutError:
        raise LinkError(f"{host}:{port} unit {unit} was not read within {DEVICE_S:g} s") from None
    finally:
        link.close()


async def _discovery(link: ModbusLink) -> Discovery:
    walk = discover()
    address, count = next(walk)
    while True:
        registers = await _read(link, address, count)
        try:
            address, count = walk.send(registers)
        except StopIteration as stop:
            found: Discovery = stop.value
            return found


async def _read(link: ModbusLink, address: int, count: int) -> Registers | None:
    """Registers, None when the device has none there."""
    parts = []
    for first in range(address, address + count, READ_MAX):
        try:
            data = await link.read(first, min(READ_MAX, address + count - first))
        except DeviceExceptionError:
            return None
        parts.append(np.frombuffer(data, ">u2").astype(np.uint16))
    return np.concatenate(parts)


async def _values(link: ModbusLink, model: FoundModel) -> Mapping[str, Value]:
    assert model.layout is not None, "only models with a layout have values"
    if model.layout.n_registers > MODEL_REGISTERS_MAX:
        return {}
    registers = await _read(link, model.address, model.layout.n_registers)
    return {} if registers is None else model.layout.decode(registers)
