"""One device's driver: connect, identify, scan, write set-points, back off, come back.

DISCONNECTED → CONNECTING → IDENTIFYING → ONLINE ⇄ DEGRADED → BACKOFF → CONNECTING. A driver never raises for a device's
sake: what a device does wrong becomes a quality, a count and an event. Each device has its own task and connection, so
a dead one keeps nobody waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from typing import NoReturn

import numpy as np

from gwanje.core.clock import Clock
from gwanje.core.site.config import Device
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.table import TagTable
from gwanje.io.field.errors import ConnectError, LinkError, NoAnswerError, WriteForbiddenError
from gwanje.io.field.health import Health, Meter, State
from gwanje.io.field.kept_orders import NOTHING_KEPT, Kept
from gwanje.io.field.modbus.blocks import Block
from gwanje.io.field.modbus.channel import ReadBack, SetpointChannel
from gwanje.io.field.modbus.device_commands import Coverage, DeviceCommands
from gwanje.io.field.modbus.frames import DeviceExceptionError
from gwanje.io.field.modbus.heartbeat import Heartbeat
from gwanje.io.field.modbus.identify import discover_behind
from gwanje.io.field.modbus.options import options_of
from gwanje.io.field.modbus.polled import PolledDevice
from gwanje.io.field.modbus.ports import Link, PollingLink, TagReader
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
from gwanje.io.field.modbus.samples import Samples
from gwanje.io.field.modbus.session import Session
from gwanje.io.field.modbus.sunspec_types import EncodeError
from gwanje.io.field.notices import Notices
from gwanje.io.field.orders import Order
from gwanje.io.field.outlet import Outlet
from gwanje.io.field.scan import NS_PER_S, Backoff, Schedule
from gwanje.io.field.setpoints import RETRY_S, Action, Wish, decide, wish_of


class WrongDeviceError(LinkError):
    """Another device than the configured one answers."""


FIRST_CONTACT_S = 5.0
"""A device that is not there when the city starts is reported after this long; before, it may still be starting."""


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
        probe_cap_s: longest wait between two tries at a silent device; of its scan class when not given.
        kept: has the commands that the process before left standing.
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
        probe_cap_s: float | None = None,
        kept: Kept = NOTHING_KEPT,
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
        self._backoff = Backoff(device.scan, chance, probe_cap_s)
        self._notices = Notices(device, outlet, clock)
        self._commands = DeviceCommands(
            tags, coverage, clock, self._notices, self._put_back, self._count_error,
            [one.tag for one in device.commands], kept,
        )  # fmt: skip
        self._ids = np.array(point_ids(device, tags), np.int32)
        self._samples = Samples(self._base, outlet, clock)
        self._announced: bool | None = None
        self._options = options_of(device)
        self._identity = ""
        self._first_identity = ""
        self._heartbeat = Heartbeat(self._options)
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

    async def _identify(self) -> Session:
        """Find out where the points lie and what cannot be served."""
        locate: Locate = plain_locate
        issues: tuple[str, ...] = ()
        base = self._base
        if self.device.driver == "sunspec":
            found = await discover_behind(self._link)
            if found.base < 0:
                raise LinkError(found.issues[0])
            if self._recognise(found.identity):
                base |= int(Quality.UNCERTAIN | Quality.CONFIG)
            locate, issues = sunspec_locate(found), found.issues
        self._samples.base = base
        plan = make_plan(self.device, self._tags, self._scan_s, locate, base)
        self._report(plan, issues)
        if not plan.groups:
            raise LinkError("the device has none of the configured points")
        if self.device.driver != "sunspec":
            await self._probe(plan)
        channels = [SetpointChannel(one, base) for one in plan.setpoints]
        self._commands.connected(plan.commands, channels, base)
        return Session(plan, channels, self._samples, self.health, self._backoff, self._wake)

    async def _probe(self, plan: DevicePlan) -> None:
        """One read before a device of plain registers counts as there: behind a gateway the connection says nothing."""
        block = plan.groups[0].blocks[0]
        with contextlib.suppress(DeviceExceptionError):  # it answers: what it refuses the scan finds out
            await self._link.read(block.address, block.count)

    def _recognise(self, identity: str) -> bool:
        """Whether another device answers than the one that this part began with; its values are not plainly good.

        Raises:
            WrongDeviceError: another one than the site's configuration demands.
        """
        wanted = self._options.identity or self._identity
        if wanted and identity != wanted and identity != self._identity:
            self._notices.replaced(wanted, identity)
        self._identity = identity
        if self._options.identity:
            if identity != self._options.identity:
                raise WrongDeviceError(f"{identity!r} answers, {self._options.identity!r} is configured")
            return False
        self._first_identity = self._first_identity or identity
        return identity != self._first_identity

    def _report(self, plan: DevicePlan, issues: tuple[str, ...]) -> None:
        """Points that the device does not have are BAD|CONFIG; each new issue is told once."""
        issues += tuple(f"{self._tags.tags[tag_id].name}: {reason}" for tag_id, reason in plan.unserved)  # type: ignore[union-attr]
        for issue in issues:
            if issue not in self._issues:
                self._notices.misread(issue)
        self._issues = issues
        if plan.unserved:
            self._samples.put_bad([tag_id for tag_id, _ in plan.unserved], Quality.BAD | Quality.CONFIG)

    def _start_ns(self, plan: DevicePlan) -> int:
        """The first scan: on this device's place in the grid of its fastest period, at once as far as that allows."""
        period = plan.groups[0].period_ns
        now = self._clock.mono_ns()
        return now + (self._phase_ns - now) % period if period < NS_PER_S else now

    async def _serve(self, session: Session) -> NoReturn:
        """Scan and write until an error of the link."""
        self.health.state = State.ONLINE
        self._back_online()
        if isinstance(self._link, PollingLink):
            await self._serve_polled(session, self._link)
        else:
            await self._serve_scanned(session)

    async def _serve_scanned(self, session: Session) -> NoReturn:
        """Ask for every read here, one after another."""
        groups = session.plan.groups
        schedule = Schedule([group.period_ns for group in groups], self._start_ns(session.plan))
        while True:
            index, due_ns = schedule.next()
            await self._pause_until(due_ns)
            if self._commands.waiting:
                await self._commands.obey(self._link)
                continue
            if index == 0:
                await self._write(session)
            self._meter.scanned(self._clock.mono_ns() - due_ns)
            for block in tuple(groups[index].blocks):
                await self._scan(session, groups[index], block)
            schedule.done(index, self._clock.mono_ns())
            self.health.skipped = schedule.skipped

    async def _serve_polled(self, session: Session, link: PollingLink) -> NoReturn:
        """The lane reads by itself; what remains is to write, and to hear that it is over.

        Raises:
            LinkError: what ended the session.
        """
        start_ns = self._start_ns(session.plan)
        device = PolledDevice(session, link, self._meter)
        for group in session.plan.groups:
            for block in group.blocks:
                link.poll(group, block, device, start_ns)
        turns = Schedule([session.plan.groups[0].period_ns], start_ns)
        writes = bool(session.channels or session.plan.commands)
        while session.error is None:
            due_ns = turns.next()[1] if writes else None
            await self._pause_until(due_ns)
            if session.error is not None:
                break
            if self._commands.waiting:
                await self._commands.obey(self._link)
            elif due_ns is not None and self._clock.mono_ns() >= due_ns:
                await self._write(session)
                turns.done(0, self._clock.mono_ns())
        raise session.error

    async def _write(self, session: Session) -> None:
        """Manual set-points, then those of programs, then the sign of life that keeps both."""
        await self._commands.hold(self._act)
        for channel in session.channels:
            if not self._commands.stands_in(channel):
                await self._follow(channel)
        if any(one.state.active for one in session.channels) or self._commands.standing:
            await self._beat()

    async def _beat(self) -> None:
        """Count the device's heartbeat register up, at half of its time."""
        now_ns = self._clock.mono_ns()
        if not self._heartbeat.due(now_ns):
            return
        name = f"{self.device.prefix}.heartbeat"
        try:
            await self._link.write(self._options.heartbeat_address, (self._heartbeat.next(now_ns),))
        except (DeviceExceptionError, WriteForbiddenError) as error:
            self.health.errors += isinstance(error, DeviceExceptionError)
            self._notices.setpoint(name, f"heartbeat: {error}")
        else:
            self._notices.settled(name)

    async def _scan(self, session: Session, group: Group, block: Block) -> None:
        """One read: values on an answer, BAD at once on a failure.

        Raises:
            LinkError: the connection is of no more use.
        """
        sent_ns = self._clock.mono_ns()
        try:
            data = await self._link.read(block.address, block.count)
        except NoAnswerError as error:
            session.no_answer(block, error)
            if session.error is not None:
                raise session.error from None
            return
        except DeviceExceptionError as error:
            session.refused(group, block, error)
            return
        values, quality = block.table.decode(data)
        self._samples.put(block.address, block.table, values, quality)
        session.answered(block, values, self._clock.mono_ns() - sent_ns)

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

    async def _act(self, channel: SetpointChannel, action: Action, wish: Wish) -> str:
        """Write a set-point; what went wrong, which the operators have been told, or an empty text."""
        name = channel.plan.tag.name
        try:
            back = await channel.carry_out(action, wish, self._link, self._clock.mono_ns())
        except (EncodeError, DeviceExceptionError, WriteForbiddenError) as error:
            self.health.errors += isinstance(error, DeviceExceptionError)
            channel.retry_mono_ns = self._clock.mono_ns() + round(RETRY_S * NS_PER_S)
            problem = f"{action.value}: {error}"
            self._notices.setpoint(name, problem)
            return problem
        assert back is not None, "an action without read-back"
        self._put_back(channel, back)
        if back.agrees:
            self._notices.settled(name)
            return ""
        problem = f"mismatch: the device holds {back.value:g}"
        self._notices.setpoint(name, problem)
        return problem

    def _put_back(self, channel: SetpointChannel, back: ReadBack) -> None:
        self._samples.put_back(channel.plan.feedback.tag_id, back)

    def command(self, order: Order) -> str:
        """Carry out a command as soon as the link is free; why not, or an empty text."""
        why_not = self._commands.take(order, self.health.online)
        self._wake()
        return why_not

    def _wake(self) -> None:
        if self._rest is not None and not self._rest.done():
            self._rest.set_result(None)

    async def _pause_until(self, due_ns: int | None) -> None:
        """Wait for a moment, or for ever; a command or the session's end breaks it off. No dearer than a sleep."""
        wait_ns = 1 if due_ns is None else due_ns - self._clock.mono_ns()
        if wait_ns <= 0 or self._commands.waiting:
            return
        loop = asyncio.get_running_loop()
        self._rest = rest = loop.create_future()
        timer = None if due_ns is None else loop.call_later(wait_ns / NS_PER_S, _end_of, rest)
        try:
            await rest
        finally:
            if timer is not None:
                timer.cancel()
            self._rest = None

    def _count_error(self) -> None:
        self.health.errors += 1

    def _went_offline(self, error: LinkError, started_ns: int) -> None:
        self.health.errors += 1
        self.health.state = State.DISCONNECTED
        self._commands.give_up("the device went offline")
        reason = Quality.CONFIG if isinstance(error, WrongDeviceError) else Quality.COMM
        self._samples.put_bad(self._ids.tolist(), Quality.BAD | reason)
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
