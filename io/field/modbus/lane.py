"""The fast lane: the compiled poller of all Modbus devices, joined to the event loop of the drivers.

The poller's thread asks, checks and keeps time; when answers are there it wakes the loop once for many of them. They
are decoded in one call and leave together, then each device's session hears what its reads came to. Single requests
(identification, writes, read-backs) go before polls and come back as the results of coroutines.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from gwanje.core.clock import Clock
from gwanje.ext import modbus_poller as poller
from gwanje.ext.modbus_poller import Poller
from gwanje.ext.register_cells import decode_blocks
from gwanje.io.field.errors import (
    ConnectError,
    ConnectionLostError,
    LinkError,
    WriteForbiddenError,
)
from gwanje.io.field.modbus.blocks import Block
from gwanje.io.field.modbus.polls import Failure, Poll, Sink, connect_error, failure_of, link_error
from gwanje.io.field.modbus.registers import Group
from gwanje.io.field.outlet import Outlet

BLOCKS_PER_DEVICE = 128
"""Reads of one device: a device that takes ten registers at once is cut into dozens."""
SHOTS_PER_DEVICE = 2
"""A driver has one request under way, and one whose coroutine was cancelled."""
FIFO_PRIORITY = 10
"""The thread is a real-time thread where the machine allows it, far below the control loop's."""
CONNECTS_PER_S = 200.0
"""New connections a second after the power of a whole site came back: 500 devices are there within three seconds."""

@dataclass(slots=True)
class _Wire:
    """One connection, with the links of all units behind it."""

    host: str
    port: int
    timeout_s: float
    framing: int
    gap_s: float
    links: list[LaneLink] = field(default_factory=list)
    conn: int = -1
    address: str = ""
    opening: asyncio.Future[None] | None = None
    up: bool = False


class Lane:
    """See the module.

    Args:
        n_devices: that links will be made for.
        outlet: takes samples.
        clock: of the machine; the poller itself reads CLOCK_MONOTONIC.
        read_only: the site-wide gate: no write leaves the poller, whoever asks.
        connects_per_s: new connections in a second.
    """

    def __init__(
        self, n_devices: int, outlet: Outlet, clock: Clock, *, read_only: bool, connects_per_s: float = CONNECTS_PER_S
    ) -> None:
        self.poller = Poller(
            n_devices, n_devices * BLOCKS_PER_DEVICE, n_devices * SHOTS_PER_DEVICE + 16, read_only=read_only,
            connects_per_s=connects_per_s, fifo_priority=FIFO_PRIORITY,
        )  # fmt: skip
        self._stopped = False
        self._outlet = outlet
        self._clock = clock
        self._wires: dict[tuple[str, int], _Wire] = {}
        self._by_conn: dict[int, _Wire] = {}
        self._polls: dict[int, Poll] = {}
        self._answers: dict[int, asyncio.Future[bytes]] = {}
        self._asked: dict[int, LaneLink] = {}
        self._broken: asyncio.Future[None] | None = None

    def link(
        self, host: str, port: int, unit: int, timeout_s: float, *, framing: str = "tcp", gap_s: float = 0.0
    ) -> LaneLink:
        """The link to one unit; units at one address share its connection, whose rest and time-out are the longest."""
        wire = self._wires.get((host, port))
        code = poller.RTU if framing == "rtu" else poller.TCP
        if wire is None:
            wire = self._wires[host, port] = _Wire(host, port, timeout_s, code, gap_s)
        wire.timeout_s, wire.gap_s = max(wire.timeout_s, timeout_s), max(wire.gap_s, gap_s)
        wire.links.append(LaneLink(self, wire, unit))
        return wire.links[-1]

    async def run(self) -> None:
        """Serve until cancelled.

        Raises:
            Exception: a bug in who hears of answers; it must end the part visibly.
        """
        loop = asyncio.get_running_loop()
        self._broken = loop.create_future()
        self.poller.start()
        loop.add_reader(self.poller.fileno(), self._wake)
        try:
            await self._broken
        finally:
            loop.remove_reader(self.poller.fileno())
            self._stopped = True
            self.poller.stop()

    def _wake(self) -> None:
        try:
            self.drain()
        except Exception as error:  # noqa: BLE001 – ends the part: see run
            if self._broken is not None and not self._broken.done():
                self._broken.set_exception(error)

    def drain(self) -> None:
        """Hand on everything that has come."""
        blocks, words, shots, conns = self.poller.take()
        for shot in shots:
            self._shot(*shot)
        if blocks.shape[1]:
            self._blocks(blocks, words)
        for conn, status, code in conns:
            wire = self._by_conn.get(conn)
            if wire is not None:
                self._changed(wire, status, code)

    # ---- single requests

    async def ask(self, link: LaneLink, start: Callable[[], int]) -> bytes:
        """Send a request and wait for its end.

        Raises:
            LinkError, DeviceExceptionError, WriteForbiddenError, CommandExpiredError: as the link says.
        """
        try:
            if not link.open_now or self._stopped:
                raise ConnectionError
            number = start()
        except ConnectionError:
            raise ConnectionLostError(f"not connected: {link.lost}" if link.lost else "not connected") from None
        except PermissionError:
            raise WriteForbiddenError("the site is read only") from None
        except poller.PollerFull as error:
            raise LinkError(str(error)) from None
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._answers[number], self._asked[number] = answer, link
        try:
            return await answer
        finally:
            if self._answers.get(number) is answer:
                del self._answers[number], self._asked[number]
                self.poller.cancel(number)

    def _shot(self, number: int, status: int, code: int, took_ns: int, data: bytes) -> None:
        del took_ns
        answer, link = self._answers.pop(number, None), self._asked.pop(number, None)
        if answer is None or link is None or answer.done():
            return  # whoever asked was cancelled
        if status == poller.OK:
            answer.set_result(data)
        else:
            answer.set_exception(link.failure(status, code))

    # ---- polls

    def add(self, link: LaneLink, conn: int, group: Group, block: Block, sink: Sink, first_ns: int) -> Poll:
        """Repeat a read from ``first_ns`` on."""
        try:
            index = self.poller.add_block(conn, link.unit, block.address, block.count, group.period_ns, first_ns)
        except poller.PollerFull as error:
            raise LinkError(str(error)) from None
        self._polls[index] = Poll(index, link, group, block, sink)
        return self._polls[index]

    def remove(self, poll: Poll) -> None:
        """Repeat it no more."""
        if self._polls.pop(poll.index, None) is not None:
            self.poller.remove_block(poll.index)

    def _blocks(self, blocks: npt.NDArray[np.int64], words: npt.NDArray[np.uint16]) -> None:
        columns = blocks.tolist()
        polls = [self._polls.get(one) for one in columns[0]]
        good = [k for k, poll in enumerate(polls) if poll is not None and columns[1][k] == poller.OK]
        values = iter(self._put(polls, good, blocks, words))
        for poll, status, code, took_ns, late_ns, skipped in zip(polls, *columns[1:3], *columns[4:], strict=True):
            if poll is None:
                continue  # ended before its last answer was taken
            found = next(values) if status == poller.OK else None
            if not self._stands(poll):
                continue  # ended by what was taken before it; its place may be another's by now
            late = skipped - poll.skipped
            poll.skipped = skipped
            if found is not None:
                poll.sink.answered(poll, found, took_ns, late_ns, late)
            else:
                poll.sink.failed(poll, poll.link.failure(status, code), late_ns, late)

    def _stands(self, poll: Poll) -> bool:
        return self._polls.get(poll.index) is poll

    def _put(
        self, polls: Sequence[Poll | None], good: list[int], blocks: npt.NDArray[np.int64],
        words: npt.NDArray[np.uint16],
    ) -> list[npt.NDArray[np.float64]]:  # fmt: skip
        """Decode all good reads at once and let them out together; gives the values of each."""
        if not good:
            return []
        tables = [one.block.table for k in good if (one := polls[k]) is not None]
        sizes = [len(table.ids) for table in tables]
        ends = np.cumsum(sizes)
        values, quality = np.empty(ends[-1]), np.empty(ends[-1], np.uint16)
        decode_blocks([table.cells for table in tables], words[good], values, quality)
        arrived = blocks[3][good]
        ids = np.concatenate([table.ids for table in tables])
        times = np.repeat(arrived + (self._clock.utc_ns() - self._clock.mono_ns()), sizes)
        order = np.argsort(ids, kind="stable")
        self._outlet.put_timed(ids[order], values[order], quality[order], times[order], int(arrived.min()))
        return np.split(values, ends[:-1])

    # ---- connections

    async def connect(self, wire: _Wire) -> None:
        """Have the connection of a wire; whoever comes second waits with the first.

        Raises:
            ConnectError: none within the time-out.
        """
        if wire.up:
            return
        if wire.opening is None:
            wire.opening = asyncio.get_running_loop().create_future()
            wire.opening.add_done_callback(_heard)
            try:
                await self._prepare(wire)
            except BaseException as error:
                opening, wire.opening = wire.opening, None
                opening.set_exception(
                    error if isinstance(error, ConnectError) else ConnectError("given up", refused=False)
                )
                raise
            self.poller.open(wire.conn)
        await asyncio.shield(wire.opening)

    async def _prepare(self, wire: _Wire) -> None:
        """Find the address and make the poller's connection, anew when the name has another address now."""
        address = await _numeric(wire.host, wire.port, wire.timeout_s)
        if wire.conn >= 0 and address != wire.address:
            del self._by_conn[wire.conn]
            self.poller.remove_conn(wire.conn)
            wire.conn = -1
        if wire.conn < 0:
            wire.conn = self.poller.add_conn(
                address, wire.port, round(wire.timeout_s * 1e9), framing=wire.framing, gap_ns=round(wire.gap_s * 1e9),
                shared=len(wire.links) > 1,
            )  # fmt: skip
            wire.address = address
            self._by_conn[wire.conn] = wire

    def leave(self, wire: _Wire) -> None:
        """A link of the wire was closed; the connection ends with the last one."""
        if any(one.open_now for one in wire.links) or wire.opening is not None:
            return
        wire.up = False
        if wire.conn >= 0 and not self._stopped:
            self.poller.close(wire.conn)

    def _changed(self, wire: _Wire, status: int, code: int) -> None:
        """A connection came, failed or went."""
        opening, wire.opening = wire.opening, None
        wire.up = status == poller.OK
        waits = opening is not None and not opening.done()
        if status == poller.OK:
            if opening is not None and waits:
                opening.set_result(None)
            return
        where = f"{wire.host}:{wire.port}"
        if status == poller.NO_CONNECTION:
            error: LinkError = connect_error(where, code)
        else:
            error = link_error(status, code, wire.timeout_s)
        if opening is not None and waits:
            opening.set_exception(error)
        for link in wire.links:
            link.went(error)


class LaneLink:
    """One unit behind the lane; see ``driver.Link``.

    Args:
        lane: of the part.
        wire: its connection.
        unit: Modbus unit, 0…255.
    """

    def __init__(self, lane: Lane, wire: _Wire, unit: int) -> None:
        self._lane = lane
        self._wire = wire
        self.unit = unit
        self.open_now = False
        self.lost: LinkError | None = None
        self._polls: list[Poll] = []

    @property
    def conn(self) -> int:
        """The poller's connection; −1 before the first opening."""
        return self._wire.conn

    @property
    def connected(self) -> bool:
        """Whether the connection stands as far as this end knows."""
        return self.open_now

    async def open(self) -> None:
        """Connect, unless another unit did.

        Raises:
            ConnectError: within the timeout there was none.
        """
        self.close()
        self.lost = None
        await self._lane.connect(self._wire)
        self.open_now = True

    def close(self) -> None:
        """Ask no more; the connection is dropped when no other unit uses it."""
        for poll in self._polls:
            self._lane.remove(poll)
        self._polls = []
        if self.open_now:
            self.open_now = False
            self._lane.leave(self._wire)

    async def read(self, address: int, count: int) -> bytes:
        """Read holding registers: exactly ``2 * count`` bytes, big-endian.

        Raises:
            LinkError: no valid answer.
            DeviceExceptionError: the device refused.
        """
        return await self._lane.ask(self, lambda: self._lane.poller.read(self._wire.conn, self.unit, address, count))

    async def write(self, address: int, registers: Sequence[int], *, until_mono_ns: int = 0) -> None:
        """Write holding registers with function 16; nothing leaves from ``until_mono_ns`` on (0: always).

        Raises:
            WriteForbiddenError: the site is read only.
            CommandExpiredError: too late, nothing left.
            LinkError: no valid answer; whether the device took the values is not known.
            DeviceExceptionError: the device refused.
        """
        await self._lane.ask(
            self,
            lambda: self._lane.poller.write(
                self._wire.conn, self.unit, address, registers, expires_ns=until_mono_ns
            ),
        )

    def poll(self, group: Group, block: Block, sink: Sink, first_ns: int) -> Poll:
        """Repeat a read at its group's rate until :meth:`unpoll` or :meth:`close`.

        A connection that was lost since the last answer is told to the sink at once: nobody else would.

        Raises:
            LinkError: the lane has no room.
        """
        if not self.open_now:
            sink.ended(self.lost or ConnectionLostError("not connected"))
        self._polls.append(self._lane.add(self, self._wire.conn, group, block, sink, first_ns))
        return self._polls[-1]

    def unpoll(self, poll: Poll) -> None:
        """Repeat it no more."""
        self._polls.remove(poll)
        self._lane.remove(poll)

    def failure(self, status: int, code: int) -> Failure:
        """What an end of a request means."""
        return failure_of(status, code, self._wire.timeout_s)

    def went(self, error: LinkError) -> None:
        """The connection is gone: every session on it has ended."""
        self.lost = error
        if not self.open_now:
            return
        self.open_now = False
        for poll in self._polls:
            poll.sink.ended(error)


def _heard(opening: asyncio.Future[None]) -> None:
    """Whoever waited for a connection may have been cancelled: its failure is heard all the same."""
    if not opening.cancelled():
        opening.exception()


async def _numeric(host: str, port: int, timeout_s: float) -> str:
    """The address of a host.

    Raises:
        ConnectError: its name has none.
    """
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass  # a name
    try:
        async with asyncio.timeout(timeout_s):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (TimeoutError, OSError) as error:
        raise ConnectError(f"{host}:{port}: the name has no address ({error})", refused=False) from None
    return str(found[0][4][0])
