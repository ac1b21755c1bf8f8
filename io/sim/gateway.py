"""A simulated gateway: several units of a serial line behind one address, as Modbus TCP or as RTU frames over TCP.

Only one request is on the line at a time; a dead unit keeps it silent for as long as the master waits, as a real one
does. Faults sit on units: what would close a device's own port makes a unit silent.
"""

from __future__ import annotations

import asyncio

from gwanje.io.sim.faults import Fault, spoil
from gwanje.io.sim.listening import MAX_CONNECTIONS, Listening
from gwanje.io.sim.mbap import TARGET_FAILED, Framer, ProtocolError, exception, frame, respond
from gwanje.io.sim.registers import Image

MAX_RTU_BYTES = 256
"""Longest frame of a serial line."""


def crc16(data: bytes) -> bytes:
    """The checksum of a serial line's frame, low byte first. Source: Modbus over Serial Line v1.02, 6.2.2."""
    crc = 0xFFFF
    for one in data:
        crc ^= one
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
    return crc.to_bytes(2, "little")


class RtuFramer:
    """Cuts a stream of bytes into requests (0, unit, PDU); what fails its checksum is dropped, as a line does."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> list[tuple[int, int, bytes]]:
        """Requests that are complete now."""
        buffer, requests = self._buffer + data, []
        while len(buffer) >= 8:
            size = 9 + buffer[6] if buffer[1] == 16 else 8
            if len(buffer) < size:
                break
            body = buffer[: size - 2]
            if crc16(body) != buffer[size - 2 : size]:
                buffer = b""
                break
            requests.append((0, body[0], body[1:]))
            buffer = buffer[size:]
        self._buffer = buffer[:MAX_RTU_BYTES]
        return requests


class Gateway(Listening["_Line"]):
    """Listens at one address for the units behind it.

    Args:
        host: address to listen on.
        port: 0 takes a free one (tests).
        rtu: frames of a serial line instead of Modbus TCP.
    """

    def __init__(self, host: str, port: int, *, rtu: bool) -> None:
        super().__init__(host, port)
        self.rtu = rtu
        self.units: dict[int, UnitServer] = {}

    def connected(self) -> _Line:
        """See :class:`Listening`."""
        return _Line(self)

    def answer(self, transaction: int, unit: int, pdu: bytes) -> tuple[bytes, float]:
        """(bytes, after so many seconds) that answer a request; empty for silence."""
        server = self.units.get(unit)
        if server is None:
            return (b"", 0.0) if self.rtu else (frame(transaction, unit, exception(pdu[0], TARGET_FAILED)), 0.0)
        server.requests += 1
        fault = server.fault
        if server.silent:
            server.swallowed += len(pdu)
            return b"", 0.0
        reply = frame(transaction, unit, respond(server.image, pdu))
        spoilt = reply if fault is None else spoil(reply, fault)
        wait_s = fault.delay_s if fault is not None and fault.kind == "slow" else 0.0
        if self.rtu and (fault is None or fault.kind != "garbage"):
            return spoilt[6:] + crc16(spoilt[6:]), wait_s
        return spoilt, wait_s


class UnitServer:
    """One unit behind a gateway, with its place for a fault; see :class:`~gwanje.io.sim.server.DeviceServer`."""

    def __init__(self, device: str, gateway: Gateway, unit_id: int, image: Image) -> None:
        self.device = device
        self.image = image
        self.fault: Fault | None = None
        self.requests = 0
        self.swallowed = 0
        self.silent = False
        self._gateway = gateway
        self._timers: set[asyncio.Task[None]] = set()
        gateway.units[unit_id] = self

    @property
    def connections(self) -> set[_Line]:
        """To the gateway."""
        return self._gateway.connections

    @property
    def port(self) -> int:
        """Of the gateway."""
        return self._gateway.port

    async def open(self) -> None:
        """Listen; see :meth:`Gateway.open`."""
        await self._gateway.open()

    async def close(self) -> None:
        """Leave for good."""
        await self._stop_timers()
        self.fault = None
        self._gateway.shut()

    async def set_fault(self, fault: Fault | None) -> None:
        """Put a fault in the place of the present one, or clear it."""
        await self._stop_timers()
        self.fault = fault
        self.silent = fault is not None and fault.kind in ("dead", "flapping")
        self.image.stuck = fault is not None and fault.kind == "stuck"
        self.image.refuses = fault.how if fault is not None and fault.kind == "refusing" else ""
        if fault is not None and fault.kind == "flapping":
            self._timers.add(asyncio.create_task(self._flapping(fault.period_s)))
        if fault is not None and fault.for_s > 0.0:
            self._timers.add(asyncio.create_task(self._expire(fault.for_s)))

    async def _stop_timers(self) -> None:
        timers = self._timers - {asyncio.current_task()}
        self._timers = set()
        for timer in timers:
            timer.cancel()
        await asyncio.gather(*timers, return_exceptions=True)

    async def _expire(self, for_s: float) -> None:
        await asyncio.sleep(for_s)
        await self.set_fault(None)

    async def _flapping(self, period_s: float) -> None:
        while True:
            await asyncio.sleep(period_s)
            self.silent = not self.silent


class _Line(asyncio.Protocol):
    """One master's connection."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._framer: Framer | RtuFramer = RtuFramer() if gateway.rtu else Framer()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection, or turn it away when there are too many."""
        assert isinstance(transport, asyncio.Transport)
        if len(self._gateway.connections) >= MAX_CONNECTIONS:
            transport.abort()
            return
        self._transport = transport
        self._gateway.connections.add(self)

    def connection_lost(self, _error: Exception | None) -> None:
        """Forget it."""
        self._gateway.connections.discard(self)
        self._transport = None

    def drop(self) -> None:
        """Close at once, with a reset."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Answer every request that is complete."""
        try:
            requests = self._framer.feed(data)
        except ProtocolError:
            self.drop()
            return
        for transaction, unit, pdu in requests:
            reply, wait_s = self._gateway.answer(transaction, unit, pdu)
            if reply and wait_s > 0.0:
                asyncio.get_running_loop().call_later(wait_s, self._write, reply)
            elif reply:
                self._write(reply)

    def _write(self, reply: bytes) -> None:
        if self._transport is not None:
            self._transport.write(reply)
