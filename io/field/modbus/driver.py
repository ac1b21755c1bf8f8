"""One device's driver: connect, identify, scan, write set-points, back off, come back.

DISCONNECTED → CONNECTING → IDENTIFYING → ONLINE ⇄ DEGRADED → BACKOFF → CONNECTING. A driver never raises for a device's
sake: what a device does wrong becomes a quality, a count and an event. Each device has its own task and connection, so
a dead one keeps nobody waiting.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NoReturn, Protocol

import numpy as np
import numpy.typing as npt

from gwanje.core.clock import Clock
from gwanje.core.site.config import Device
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.store import Sample
from gwanje.core.tags.table import TagTable
from gwanje.io.field.errors import ConnectError, LinkError, NoAnswerError, WriteForbiddenError
from gwanje.io.field.health import Health, Meter, State
from gwanje.io.field.modbus.blocks import Block, bisect
from gwanje.io.field.modbus.channel import ReadBack, SetpointChannel
from gwanje.io.field.modbus.device_commands import Coverage, DeviceCommands
from gwanje.io.field.modbus.discovery import Discovery, discover
from gwanje.io.field.modbus.frames import ILLEGAL_ADDRESS, ILLEGAL_VALUE, DeviceExceptionError
from gwanje.io.field.modbus.registers import (
    DevicePlan,
    Group,
    Locate,
    base_quality,
    make_plan,
    plain_locate,
    point_ids,
    sunspec_locate,
)
from gwanje.io.field.modbus.sunspec_types import EncodeError
from gwanje.io.field.notices import Notices
from gwanje.io.field.orders import Order
from gwanje.io.field.outlet import Outlet
from gwanje.io.field.scan import NS_PER_S, Backoff, Schedule
from gwanje.io.field.setpoints import RETRY_S, Action, Wish, decide, wish_of

FAILURES_MAX = 2
"""Unanswered requests in a row after which the connection is dropped: one may be lost, two mean nobody is there."""
FIRST_CONTACT_S = 5.0
"""A device that is not there when the city starts is reported after this long; before, it may still be starting."""


class Link(Protocol):
    """What a driver needs of a connection; see ``modbus.ModbusLink``."""

    async def open(self) -> None:
        """Connect."""

    def close(self) -> None:
        """Drop the connection."""

    async def read(self, address: int, count: int) -> bytes:
        """Read registers."""

    async def write(self, address: int, registers: Sequence[int]) -> None:
        """Write registers."""


class TagReader(Protocol):
    """Where set-points come from; see ``core.store.TagStore``."""

    def read(self, tag_id: int, now_mono_ns: int = 0) -> Sample:
        """One tag's sample, staleness applied."""


@dataclass(slots=True)
class _Session:
    """What is known while one connection lasts."""

    plan: DevicePlan
    channels: list[SetpointChannel]
    schedule: Schedule
    unanswered: int = 0
    failed: set[int] = field(default_factory=set)


class Driver:
    """Runs one device.

    Args:
        device: its configuration.
        link: connection, used by this driver alone.
        tags: the site's tags.
        scan_s: seconds of each scan class.
        outlet: takes samples and events.
        reader: gives set-points.
        coverage: says which of them leases cover.
        clock: time.
        phase_ns: where in its fastest period this device is scanned, so that devices take turns.
        chance: source of the back-off's jitter.
        meter: of the lateness of scans.
    """

    def __init__(
        self,
        device: Device,
        link: Link,
        tags: TagTable,
        scan_s: dict[str, float],
        outlet: Outlet,
        reader: TagReader,
        coverage: Coverage,
        clock: Clock,
        phase_ns: int,
        chance: random.Random,
        meter: Meter | None = None,
    ) -> None:
        self.device = device
        self.health = Health()
        self._link = link
        self._tags = tags
        self._scan_s = scan_s
        self._outlet = outlet
        self._reader = reader
        self._coverage = coverage
        self._rest: asyncio.Future[None] | None = None
        self._clock = clock
        self._phase_ns = phase_ns
        self._meter = meter or Meter()
        self._base = base_quality(device)
        self._backoff = Backoff(device.scan, chance)
        self._notices = Notices(device, outlet, clock)
        self._commands = DeviceCommands(tags, coverage, clock, self._notices, self._put_back, self._count_error)
        self._ids = np.array(point_ids(device, tags), np.int32)
        self._last: dict[int, tuple[list[int], npt.NDArray[np.float64]]] = {}
        self._announced: bool | None = None
        self._identity = ""
        self._issues: tuple[str, ...] = ()

    async def run(self) -> None:
        """Serve the device until cancelled."""
        started_ns = self._clock.mono_ns()
        try:
            while True:
                error = await self._live()
                self._went_offline(error, started_ns)
                refused = isinstance(error, ConnectError) and error.refused
                self.health.state = State.BACKOFF
                await asyncio.sleep(self._backoff.next_s(refused))
        finally:
            self._link.close()

    async def _live(self) -> LinkError:
        """From connecting to losing the device; gives what ended it."""
        try:
            self.health.state = State.CONNECTING
            await self._link.open()
            self.health.state = State.IDENTIFYING
            session = await self._identify()
            await self._serve(session)
        except LinkError as error:
            return error
        except DeviceExceptionError as error:
            return LinkError(f"refuses to be identified: {error}")
        finally:
            self._link.close()

    async def _identify(self) -> _Session:
        """Find out where the points lie and what cannot be served."""
        locate: Locate = plain_locate
        if self.device.driver == "sunspec":
            found = await self._discover()
            if found.base < 0:
                raise LinkError(found.issues[0])
            self._recognise(found)
            locate = sunspec_locate(found)
        plan = make_plan(self.device, self._tags, self._scan_s, locate)
        self._report(plan, found.issues if self.device.driver == "sunspec" else ())
        if not plan.groups:
            raise LinkError("the device has none of the configured points")
        channels = [SetpointChannel(one, self._base) for one in plan.setpoints]
        self._commands.connected(plan.commands, channels, self._base)
        schedule = Schedule([group.period_ns for group in plan.groups], self._start_ns(plan))
        return _Session(plan, channels, schedule)

    async def _discover(self) -> Discovery:
        walk = discover()
        address, count = next(walk)
        while True:
            try:
                data = await self._link.read(address, count)
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

    def _recognise(self, found: Discovery) -> None:
        identity = found.identity
        if self._identity and identity != self._identity:
            self._notices.replaced(self._identity, identity)
        self._identity = identity

    def _report(self, plan: DevicePlan, issues: tuple[str, ...]) -> None:
        """Points that the device does not have are BAD|CONFIG; each new issue is told once."""
        issues += tuple(f"{self._tags.tags[tag_id].name}: {reason}" for tag_id, reason in plan.unserved)  # type: ignore[union-attr]
        for issue in issues:
            if issue not in self._issues:
                self._notices.misread(issue)
        self._issues = issues
        if plan.unserved:
            self._put_bad([tag_id for tag_id, _ in plan.unserved], Quality.BAD | Quality.CONFIG)

    def _start_ns(self, plan: DevicePlan) -> int:
        """The first scan: on this device's place in the grid of its fastest period, at once as far as that allows."""
        period = plan.groups[0].period_ns
        now = self._clock.mono_ns()
        return now + (self._phase_ns - now) % period if period < NS_PER_S else now

    async def _serve(self, session: _Session) -> NoReturn:
        """Scan and write for ever; ends only by an error of the link."""
        schedule, groups = session.schedule, session.plan.groups
        self.health.state = State.ONLINE
        self._back_online()
        while True:
            index, due_ns = schedule.next()
            wait_ns = due_ns - self._clock.mono_ns()
            if wait_ns > 0 and not self._commands.waiting:
                await self._pause(wait_ns / NS_PER_S)
            if self._commands.waiting:
                await self._commands.obey(self._link)
                continue
            if index == 0:
                await self._commands.hold(self._act)
                for channel in session.channels:
                    if not self._commands.stands_in(channel):
                        await self._follow(channel)
            self._meter.scanned(self._clock.mono_ns() - due_ns)
            for block in tuple(groups[index].blocks):
                await self._scan(session, groups[index], block)
            schedule.done(index, self._clock.mono_ns())
            self.health.skipped = schedule.skipped

    async def _scan(self, session: _Session, group: Group, block: Block) -> None:
        """One read: values on an answer, BAD at once on a failure.

        Raises:
            LinkError: the connection is of no more use.
        """
        sent_ns = self._clock.mono_ns()
        try:
            data = await self._link.read(block.address, block.count)
        except NoAnswerError:
            session.unanswered += 1
            self._block_failed(session, block, Quality.BAD | Quality.COMM)
            if session.unanswered >= FAILURES_MAX:
                raise
            return
        except DeviceExceptionError as error:
            session.unanswered = 0
            self._refused(session, group, block, error)
            return
        now_ns = self._clock.mono_ns()
        values, quality = block.table.decode(data)
        self._outlet.put(block.table.ids, values, quality, self._clock.utc_ns(), now_ns)
        self._last[block.address] = block.table.tag_ids, values
        self.health.round_trip_ns = now_ns - sent_ns
        self.health.reads += 1
        session.unanswered = 0
        if session.failed:
            session.failed.discard(block.address)
            self.health.state = State.DEGRADED if session.failed else State.ONLINE
        if self.health.reads % 64 == 0:
            self._backoff.reset()

    def _block_failed(self, session: _Session, block: Block, quality: Quality) -> None:
        self.health.errors += 1
        self.health.state = State.DEGRADED
        session.failed.add(block.address)
        self._put_bad(block.table.ids.tolist(), quality)

    def _refused(self, session: _Session, group: Group, block: Block, error: DeviceExceptionError) -> None:
        """An exception: a read that is too large or runs over a hole is cut in two, once and for the session."""
        parts: tuple[Block, ...] = (block,)
        wrong_request = error.code in (ILLEGAL_ADDRESS, ILLEGAL_VALUE)
        if wrong_request:
            parts = bisect(block, self._base)
            at = group.blocks.index(block)
            group.blocks[at : at + 1] = parts
        reason = Quality.CONFIG if wrong_request and len(parts) == 1 else Quality.DEVICE_FAILURE
        self._block_failed(session, block, Quality.BAD | reason)
        if len(parts) > 1:
            session.failed.discard(block.address)

    async def _follow(self, channel: SetpointChannel) -> None:
        """Bring one set-point to what its tag says.

        Raises:
            LinkError: the connection is of no more use.
        """
        now_ns = self._clock.mono_ns()
        if now_ns < channel.retry_mono_ns:
            return
        plan = channel.plan
        leased = self._coverage.until_mono_ns(plan.tag_id)
        wish = wish_of(self._reader.read(plan.tag_id, now_ns), leased, now_ns, plan.tag.low, plan.tag.high)
        try:
            raw = channel.raw(wish)
        except EncodeError as error:
            wish, raw = Wish(wish.leased, math.nan, str(error)), ()
        if channel.judge(wish, now_ns):
            self._notices.setpoint(plan.tag.name, wish.reason)
        action = decide(channel.state, wish, raw, now_ns, plan.config.revert_s)
        if action is not Action.NOTHING:
            await self._act(channel, action, wish)

    async def _act(self, channel: SetpointChannel, action: Action, wish: Wish) -> None:
        name = channel.plan.tag.name
        try:
            back = await channel.carry_out(action, wish, self._link, self._clock.mono_ns())
        except (EncodeError, DeviceExceptionError, WriteForbiddenError) as error:
            self.health.errors += isinstance(error, DeviceExceptionError)
            channel.retry_mono_ns = self._clock.mono_ns() + round(RETRY_S * NS_PER_S)
            self._notices.setpoint(name, f"{action.value}: {error}")
            return
        assert back is not None, "an action without read-back"
        self._put_back(channel, back)
        if back.agrees:
            self._notices.settled(name)
        else:
            self._notices.setpoint(name, f"mismatch: the device holds {back.value:g}")

    def _put_back(self, channel: SetpointChannel, back: ReadBack) -> None:
        tag_id = channel.plan.feedback.tag_id
        self._outlet.put_one(tag_id, back.value, back.quality, self._clock.utc_ns(), self._clock.mono_ns())
        self._last[-tag_id] = [tag_id], np.array([back.value])

    def command(self, order: Order) -> str:
        """Carry out a command as soon as the link is free; why not, or an empty text."""
        why_not = self._commands.take(order, self.health.online)
        if self._rest is not None and not self._rest.done():
            self._rest.set_result(None)
        return why_not

    async def _pause(self, wait_s: float) -> None:
        """Wait; a command ends it early. No dearer than a sleep: it happens before every scan."""
        loop = asyncio.get_running_loop()
        self._rest = rest = loop.create_future()
        timer = loop.call_later(wait_s, _end_of, rest)
        try:
            await rest
        finally:
            timer.cancel()
            self._rest = None

    def _count_error(self) -> None:
        self.health.errors += 1

    def _put_bad(self, tag_ids: Sequence[int], quality: Quality) -> None:
        """Mark tags; the last value stays visible, its quality tells that it is only the last."""
        ids = np.array(sorted(tag_ids), np.int32)
        last = {one: value for known, values in self._last.values() for one, value in zip(known, values, strict=True)}
        values = np.array([last.get(int(one), math.nan) for one in ids])
        bits = np.full(len(ids), int(quality) | self._base, np.uint16)
        self._outlet.put(ids, values, bits, self._clock.utc_ns(), self._clock.mono_ns())

    def _went_offline(self, error: LinkError, started_ns: int) -> None:
        self.health.errors += 1
        self.health.state = State.DISCONNECTED
        self._commands.give_up("the device went offline")
        self._put_bad(self._ids.tolist(), Quality.BAD | Quality.COMM)
        waited = self._clock.mono_ns() - started_ns > FIRST_CONTACT_S * NS_PER_S
        if self._announced or (self._announced is None and waited):
            self._announced = False
            self._notices.offline(str(error))

    def _back_online(self) -> None:
        if self._announced is False:
            self._notices.online(self._identity)
        self._announced = True


def _end_of(rest: asyncio.Future[None]) -> None:
    if not rest.done():
        rest.set_result(None)
