"""The sockets of the simulated devices: one Modbus TCP server each, with its place for a fault."""

from __future__ import annotations

import asyncio
import contextlib

from gwanje.io.sim.faults import Fault, spoil
from gwanje.io.sim.listening import MAX_CONNECTIONS, Listening, PortTakenError
from gwanje.io.sim.mbap import TARGET_FAILED, Framer, ProtocolError, exception, frame, respond
from gwanje.io.sim.registers import Image

REOPEN_S = 1.0
"""Wait before trying a port again that another program took while a fault kept it closed."""


class DeviceServer(Listening["Connection"]):
    """Serves one device's registers.

    Args:
        device: name, for the fault menu.
        host: address to listen on.
        port: 0 takes a free one (tests).
        unit_id: answers only requests to this unit; 0 and 255 mean "whoever listens here".
        image: what it serves.

    Attributes:
        requests: answered, or refused with an exception.
        swallowed: bytes taken without an answer while dead as a black hole.
    """

    def __init__(self, device: str, host: str, port: int, unit_id: int, image: Image) -> None:
        self.device = device
        super().__init__(host, port)
        self.units = frozenset((unit_id, 0, 255))
        self.image = image
        self.fault: Fault | None = None
        self.requests = 0
        self.swallowed = 0
        self._timers: set[asyncio.Task[None]] = set()

    def connected(self) -> Connection:
        """See :class:`Listening`."""
        return Connection(self)

    async def close(self) -> None:
        """Leave for good."""
        await self._stop_timers()
        self.fault = None
        self.shut()

    async def set_fault(self, fault: Fault | None) -> None:
        """Put a fault in the place of the present one, or clear it.

        Raises:
            PortTakenError: the port was closed by the fault before, and another program has taken it meanwhile.
        """
        await self._stop_timers()
        if fault is not None and fault.kind == "dead" and fault.how == "refuse":
            self.shut()
        else:
            await self.open()
        self.fault = fault
        self.image.stuck = fault is not None and fault.kind == "stuck"
        self.image.refuses = fault.how if fault is not None and fault.kind == "refusing" else ""
        if fault is not None and fault.for_s > 0.0:
            self._timers.add(asyncio.create_task(self._expire(fault.for_s)))
        if fault is not None and fault.kind == "flapping":
            self._timers.add(asyncio.create_task(self._flapping(fault.period_s)))

    async def _stop_timers(self) -> None:
        timers = self._timers - {asyncio.current_task()}
        self._timers = set()
        for timer in timers:
            timer.cancel()
        await asyncio.gather(*timers, return_exceptions=True)

    async def _expire(self, for_s: float) -> None:
        """Clear the fault when its time is over; while another program holds the port, try again every second."""
        await asyncio.sleep(for_s)
        while True:
            try:
                await self.set_fault(None)
            except PortTakenError:
                await asyncio.sleep(REOPEN_S)
            else:
                return

    async def _flapping(self, period_s: float) -> None:
        while True:
            self.shut()
            await asyncio.sleep(period_s)
            with contextlib.suppress(PortTakenError):  # stays away for one more period
                await self.open()
            await asyncio.sleep(period_s)


class Connection(asyncio.Protocol):
    """One master's connection."""

    def __init__(self, server: DeviceServer) -> None:
        self._server = server
        self._framer = Framer()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection, or turn it away when there are too many."""
        assert isinstance(transport, asyncio.Transport)
        if len(self._server.connections) >= MAX_CONNECTIONS:
            transport.abort()
            return
        self._transport = transport
        self._server.connections.add(self)

    def connection_lost(self, _error: Exception | None) -> None:
        """Forget it."""
        self._server.connections.discard(self)
        self._transport = None

    def drop(self) -> None:
        """Close at once, with a reset."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Answer every request that is complete; close when what comes is not Modbus TCP."""
        server = self._server
        fault = server.fault
        if fault is not None and fault.kind == "dead":
            server.swallowed += len(data)
            return
        try:
            requests = self._framer.feed(data)
        except ProtocolError:
            self.drop()
            return
        for transaction, unit, pdu in requests:
            server.requests += 1
            answer = respond(server.image, pdu) if unit in server.units else exception(pdu[0], TARGET_FAILED)
            reply = frame(transaction, unit, answer)
            if fault is None:
                self._write(reply)
            elif fault.kind == "slow":
                asyncio.get_running_loop().call_later(fault.delay_s, self._write, reply)
            else:
                self._write(spoil(reply, fault))

    def _write(self, reply: bytes) -> None:
        if self._transport is not None:
            self._transport.write(reply)
