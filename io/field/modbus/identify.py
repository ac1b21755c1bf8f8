"""The discovery walk over a link."""

from __future__ import annotations

import numpy as np

from gwanje.io.field.modbus.discovery import Discovery, discover
from gwanje.io.field.modbus.frames import ILLEGAL_ADDRESS, ILLEGAL_VALUE, DeviceExceptionError
from gwanje.io.field.modbus.ports import Link


async def discover_behind(link: Link) -> Discovery:
    """Which SunSpec models a device has, and where.

    Raises:
        LinkError, DeviceExceptionError: it does not answer, or refuses more than addresses.
    """
    walk = discover()
    address, count = next(walk)
    while True:
        try:
            data = await link.read(address, count)
            registers = np.frombuffer(data, ">u2").astype(np.uint16)
        except DeviceExceptionError as error:
            if error.code not in (ILLEGAL_ADDRESS, ILLEGAL_VALUE):
                raise
            registers = None
        try:
            address, count = walk.send(registers)
        except StopIteration as stop:
            found: Discovery = stop.value
            return found
