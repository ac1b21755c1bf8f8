"""Links of the fast lane for the tests that pymodbus's links pass, and devices in memory served to them by TCP."""

from __future__ import annotations

import asyncio
import socket
import struct

from gwanje.core.clock import SystemClock
from gwanje.io.field.errors import InvalidReplyError, NoAnswerError, WriteForbiddenError
from gwanje.io.field.modbus.frames import DeviceExceptionError
from gwanje.io.field.modbus.lane import Lane
from gwanje.io.field.outlet import Outlet

from . import fakes
from .fakes import Ears, MemoryLink
from .hostile import Request


def start_lane(
    n: int = 4, ears: Ears | None = None, clock=None, *, read_only: bool = False, connects_per_s: float = 1e5
) -> Lane:
    """A running lane; it ends with the test's event loop."""
    ears = ears or Ears()
    outlet = Outlet(ears, ears)
    lane = Lane(n, outlet, clock or SystemClock(), read_only=read_only, connects_per_s=connects_per_s)
    lane.task = asyncio.get_running_loop().create_task(lane.run())
    return lane


def lane_link(host: str, port: int, unit: int, timeout_s: float, *, read_only: bool = False):
    """In the place of ``ModbusLink``: one unit with a lane of its own."""
    return start_lane(1, read_only=read_only).link(host, port, unit, timeout_s)


def make_lane_driver(config, link, ears, clock=None):
    """In the place of ``fakes.make_driver``: the same device behind a lane."""
    if isinstance(link, MemoryLink):
        host, port, read_only = "127.0.0.1", serve(link), link.read_only
    else:
        (host, port), read_only = link._address, False
    lane = start_lane(1, ears, clock, read_only=read_only)
    return fakes.make_driver(config, lane.link(host, port, config.unit_id, config.timeout_s), ears, clock)


def serve(memory: MemoryLink) -> int:
    """Serve a device in memory on a port of loopback until the event loop ends."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(16)
    loop = asyncio.get_running_loop()
    memory.server = loop.create_task(_listen(memory, listener))
    return listener.getsockname()[1]


async def _listen(memory: MemoryLink, listener: socket.socket) -> None:
    tasks: set[asyncio.Task[None]] = set()

    async def accepted(reader, writer):
        tasks.add(asyncio.current_task())
        try:
            await _answer(memory, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            return
        finally:
            writer.close()

    server = await asyncio.start_server(accepted, sock=listener)
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _answer(memory: MemoryLink, reader, writer) -> None:
    if memory.fail_open:
        return
    memory.opened += 1
    while True:
        head = await reader.readexactly(6)
        request = Request(head + await reader.readexactly(int.from_bytes(head[4:6], "big")), writer)
        try:
            if request.function == 3:
                data = await memory.read(request.address, request.count)
                request.send(request.frame(bytes([3, 2 * request.count]) + data))
            else:
                words = struct.unpack(f">{request.count}H", request.payload)
                await memory.write(request.address, words)
                request.send(request.frame(struct.pack(">BHH", 16, request.address, request.count)))
        except DeviceExceptionError as error:
            request.send(request.frame(bytes([request.function | 0x80, error.code])))
        except NoAnswerError:
            continue
        except InvalidReplyError:
            request.send(b"no Modbus at all")
        except WriteForbiddenError:
            raise AssertionError("a write left a poller that is read only") from None
