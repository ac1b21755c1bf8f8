"""One BACnet device's driver: find it, subscribe, poll, write its slots, let go of them, come back.

Changes come by subscription (COV) where the device knows that; the poll beside it, in the profile's slow class, finds
what a lost datagram hid. A device that falls silent turns its tags BAD at once and is asked again after a back-off.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Sequence
from typing import NoReturn

from gwanje.core.clock import Clock
from gwanje.core.site.config import Device
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.table import TagTable
from gwanje.io.field.bacnet.board import Board
from gwanje.io.field.bacnet.link import Identity, RefusedError, unit_name
from gwanje.io.field.bacnet.plan import DevicePlan, Target, Watch
from gwanje.io.field.bacnet.ports import Coverage, Link, TagReader
from gwanje.io.field.bacnet.slots import Slot
from gwanje.io.field.bacnet.values import Content, Flags, ObjectId, PropertyError, Reading
from gwanje.io.field.claims import Claim
from gwanje.io.field.errors import LinkError, NoAnswerError, WriteForbiddenError
from gwanje.io.field.health import Health, Meter, State
from gwanje.io.field.kept_orders import NOTHING_KEPT, Kept
from gwanje.io.field.notices import Notices
from gwanje.io.field.order_queue import OrderQueue
from gwanje.io.field.orders import CommandExpiredError, Order
from gwanje.io.field.outlet import Outlet
from gwanje.io.field.scan import NS_PER_S, Backoff, Schedule
from gwanje.io.field.setpoints import RETRY_S, Action, SetpointState, Wish, wish_of

FAILURES_MAX = 2
"""Unanswered requests in a row after which the device counts as gone: datagrams get lost one at a time."""
FIRST_CONTACT_S = 5.0
"""A device that is not there when the city starts is reported after this long; before, it may still be starting."""
TICK_S = 1.0
"""How often slots are looked at: heat moves in minutes, a lease that ends is felt within a second."""

VALUE, FLAGS, RELIABILITY = "present-value", "status-flags", "reliability"


class BacnetDriver:
    """Runs one device.

    Args:
        device: its configuration.
        plan: made of it.
        link: to it, used by this driver alone.
        claim: on its address.
        scan_s: seconds of each scan class.
        process: number of its subscriptions.
        chance: source of the back-off's jitter.
        kept: has the commands that the process before left standing.
    """

    def __init__(
        self, device: Device, plan: DevicePlan, link: Link, claim: Claim, tags: TagTable, scan_s: dict[str, float],
        outlet: Outlet, reader: TagReader, coverage: Coverage, clock: Clock, process: int, chance: random.Random,
        meter: Meter, kept: Kept = NOTHING_KEPT,
    ) -> None:  # fmt: skip
        self.device = device
        self.health = Health()
        self._plan = plan
        self._link = link
        self._claim = claim
        self._tags = tags
        self._scan_s = scan_s
        self._reader = reader
        self._coverage = coverage
        self._clock = clock
        self._process = process
        self._meter = meter
        self._backoff = Backoff(device.scan, chance)
        self._notices = Notices(device, outlet, clock)
        self._awake = asyncio.Event()
        self._orders = OrderQueue(clock, self._barred, self._awake.set)
        self._slots = [Slot(one) for one in plan.targets]
        self._kept = kept
        self._take_up()
        self._watches = [*plan.watches, *self._readbacks()]
        self._by_object = {one.object: one for one in self._watches}
        self._board = Board(outlet, clock, Quality.SIMULATED if device.simulated else Quality.GOOD)
        self._unanswered = 0
        self._renew_mono_ns = 0
        self._no_cov: set[ObjectId] = set()
        self._announced: bool | None = None
        self._identity: Identity | None = None
        self._watchdog_s = max((one.revert_s for one in plan.targets), default=0.0)
        self._watchdog_mono_ns = 0

    def _take_up(self) -> None:
        """What the process before held goes on: written anew once the device is found."""
        for slot in self._slots:
            order = None if slot.target.leased else self._kept.of(slot.target.tag.name)
            if order is not None:
                slot.value, slot.until_mono_ns = order.value, order.until_mono_ns

    def _readbacks(self) -> list[Watch]:
        """What is written is read as well, unless a point reads it already."""
        read = {one.object for one in self._plan.watches}
        fed = {one.tag_id for one in self._plan.watches}
        found: list[Watch] = []
        for one in self._plan.targets:
            if one.object in read or one.readback_id in fed:
                continue  # a command and a lease may share an object: one reading serves both
            read.add(one.object)
            fed.add(one.readback_id)
            found.append(self._back(one))
        return found

    def _back(self, one: Target) -> Watch:
        """The object of a target as its readback."""
        return Watch(
            one.readback_id, one.readback, one.object, one.scale, 0.0, self.device.scan, ""
        )

    async def run(self) -> None:
        """Serve the device until cancelled."""
        started_ns = self._clock.mono_ns()
        while True:
            error = await self._live()
            self._went_offline(error, started_ns)
            self.health.state = State.BACKOFF
            await asyncio.sleep(self._backoff.next_s(refused=False))

    async def _live(self) -> LinkError:
        """From finding the device to losing it; gives what ended it."""
        try:
            self._claim.take()
            self.health.state = State.CONNECTING
            identity = await self._link.identify()
            self.health.state = State.IDENTIFYING
            if self._identity is not None and identity != self._identity:
                self._notices.replaced(str(self._identity), str(identity))
            self._identity = identity
            await self._check_units()
            await self._empty_slots()
            self._renew_mono_ns, self._unanswered = 0, 0
            await self._serve()
        except LinkError as error:
            return error
        except RefusedError as error:
            return LinkError(f"refuses to be read: {error}")

    async def _check_units(self) -> None:
        """Points whose object states another unit than the profile are BAD: their numbers mean something else."""
        stated = [one for one in self._watches if one.units]
        found = await self._link.read([(one.object, "units") for one in stated]) if stated else {}
        self._board.wrong_units.clear()
        for one in stated:
            unit = found[one.object, "units"]
            if isinstance(unit, PropertyError) and unit.code == "unknown-object":
                continue  # its present value will say so
            name = unit_name(unit) if isinstance(unit, float) else "none"
            if name != one.units:
                self._board.wrong_units.add(one.object)
                self._notices.misread(f"{one.tag.name}: {one.object} is in {name}, not in {one.units}")

    async def _empty_slots(self) -> None:
        """What stands in our slots though nothing of ours is wanted there was left by a process that died."""
        now_ns = self._clock.mono_ns()
        for slot in self._slots:
            slot.went_offline()
            target = slot.target
            until_ns = self._coverage.until_mono_ns(target.tag_id) if target.leased else slot.until_mono_ns
            if now_ns < until_ns or not (target.leased or target.hold_s):
                continue
            if not target.leased:
                self._kept.end(target.tag.name)
            try:
                standing = await self._link.slot(target.object, target.priority)
                if isinstance(standing, float):
                    await self._link.write(target.object, None, target.priority)
                    self._notices.manual_ended(target.tag.name, given_back=False)
            except (RefusedError, WriteForbiddenError) as error:
                self._notices.setpoint(target.tag.name, f"slot {target.priority}: {error}")
            else:
                slot.done(Action.END, Wish(False, math.nan), now_ns)

    async def _serve(self) -> NoReturn:
        """Poll, subscribe and write for ever; ends only by an error of the link."""
        groups: dict[str, list[Watch]] = {}
        for one in self._watches:
            groups.setdefault(one.scan, []).append(one)
        ordered = sorted(groups.items(), key=lambda item: self._scan_s[item[0]])
        periods = [round(TICK_S * NS_PER_S), *(round(self._scan_s[scan] * NS_PER_S) for scan, _ in ordered)]
        schedule = Schedule(periods, self._clock.mono_ns())
        while True:
            index, due_ns = schedule.next()
            await self._pause(due_ns)
            await self._obey()
            if self._clock.mono_ns() < due_ns:
                continue
            if index == 0:
                await self._follow()
                await self._subscribe()
            else:
                self._meter.scanned(self._clock.mono_ns() - due_ns)
                await self._scan(ordered[index - 1][1])
            schedule.done(index, self._clock.mono_ns())
            self.health.skipped = schedule.skipped

    async def _pause(self, due_ns: int) -> None:
        wait_ns = due_ns - self._clock.mono_ns()
        if wait_ns <= 0 or self._orders.waiting:
            return
        self._awake.clear()
        try:
            async with asyncio.timeout(wait_ns / NS_PER_S):
                await self._awake.wait()
        except TimeoutError:
            return

    async def _scan(self, watches: Sequence[Watch]) -> None:
        """One poll: values on an answer, BAD at once on a failure.

        Raises:
            NoAnswerError: the device is gone.
        """
        sent_ns = self._clock.mono_ns()
        try:
            found = await self._link.read([(one.object, name) for one in watches for name in (VALUE, FLAGS)])
            faulty = [one for one in watches if _fault(found[one.object, FLAGS])]
            if faulty:
                found |= await self._link.read([(one.object, RELIABILITY) for one in faulty])
        except (NoAnswerError, RefusedError) as error:
            self._failed(watches, error)
            return
        self._unanswered = 0
        self.health.state = State.ONLINE
        self.health.reads += 1
        self.health.round_trip_ns = self._clock.mono_ns() - sent_ns
        readings = [
            Reading(found[one.object, VALUE], found[one.object, FLAGS], found.get((one.object, RELIABILITY)))
            for one in watches
        ]
        self._board.put(watches, readings)
        if self._announced is not True:
            if self._announced is False:
                self._notices.online(str(self._identity))
            self._announced = True
        if self.health.reads % 16 == 0:
            self._backoff.reset()

    def _failed(self, watches: Sequence[Watch], error: NoAnswerError | RefusedError) -> None:
        self.health.errors += 1
        self.health.state = State.DEGRADED
        refused = isinstance(error, RefusedError)
        self._board.put_bad([one.tag_id for one in watches], Quality.DEVICE_FAILURE if refused else Quality.COMM)
        if isinstance(error, NoAnswerError):
            self._unanswered += 1
            if self._unanswered >= FAILURES_MAX:
                raise error

    async def _subscribe(self) -> None:
        """Subscribe, and renew at half of the lifetime.

        Raises:
            NoAnswerError: the device is gone.
        """
        now_ns = self._clock.mono_ns()
        if not self._plan.cov or now_ns < self._renew_mono_ns:
            return
        self._renew_mono_ns = now_ns + self._plan.cov_lifetime_s * NS_PER_S // 2
        for one in self._watches:
            if one.object in self._no_cov:
                continue
            try:
                await self._link.subscribe(one.object, self._process, self._plan.cov_lifetime_s)
            except RefusedError as refusal:
                self._no_cov.add(one.object)
                if refusal.unknown_service:  # it knows no subscriptions at all: the poll must do
                    self._no_cov |= set(self._by_object)
                    return

    def changed(self, process: int, target: ObjectId, found: dict[str, Content]) -> None:
        """A change that the device told by itself."""
        one = self._by_object.get(target)
        if one is None or process != self._process or not self.health.online or VALUE not in found:
            return
        self.health.reads += 1
        self._board.put([one], [Reading(found[VALUE], found.get(FLAGS))])

    def command(self, order: Order) -> str:
        """Carry out a command soon; why not, or an empty text."""
        return self._orders.take(order, self.health.online)

    async def _obey(self) -> None:
        """Write what was commanded.

        Raises:
            LinkError: the connection is of no more use.
        """
        while (order := self._orders.next()) is not None:
            point, value = order.command.point, order.command.value
            slot = next((one for one in self._slots if one.target.tag.name == point and not one.target.leased), None)
            if slot is None:
                order.report("refused", "the device has no such point")
                continue
            try:
                await self._act(slot, Action.BEGIN, Wish(True, value), order)
            except CommandExpiredError:
                order.report("expired", "")
                continue
            except (RefusedError, WriteForbiddenError) as error:
                self.health.errors += isinstance(error, RefusedError)
                order.report("refused", str(error))
                continue
            except LinkError as error:
                order.report("timed_out", str(error))
                raise
            slot.hold(value, self._clock.mono_ns())
            if slot.target.hold_s:
                self._kept.keep(point, value, slot.until_mono_ns)
            else:
                slot.state = SetpointState()  # a switch is written once; nothing of it is kept up
            held = self._board.last(slot.target.readback_id)
            if not math.isclose(held, value, rel_tol=1e-5, abs_tol=1e-6):
                order.report("refused", f"the device holds {held:g}")
                continue
            order.report("accepted", "")

    async def _act(self, slot: Slot, action: Action, wish: Wish, order: Order | None = None) -> None:
        """Write a slot, or let go of it, and read the object back.

        Raises:
            CommandExpiredError: the watchdog took so long that the order's time is over; nothing of it was written.
            LinkError: nobody knows whether it arrived.
            RefusedError: the device does not take it.
            WriteForbiddenError: the site is read only.
        """
        target = slot.target
        ending = action is Action.END
        if not ending:
            await self._arm_watchdog()
        if order is not None and self._orders.expired(order):
            raise CommandExpiredError
        await self._link.write(target.object, None if ending else slot.written(wish.value), target.priority)
        slot.done(action, wish, self._clock.mono_ns())
        found = await self._link.read([(target.object, VALUE), (target.object, FLAGS)])
        reading = Reading(found[target.object, VALUE], found[target.object, FLAGS])
        self._board.put([self._back(target)], [reading])

    async def _follow(self) -> None:
        """Bring every slot to what is wanted there.

        Raises:
            LinkError: the connection is of no more use.
        """
        for slot in self._slots:
            now_ns = self._clock.mono_ns()
            target, name = slot.target, slot.target.tag.name
            if now_ns < slot.retry_mono_ns or not (target.leased or target.hold_s):
                continue
            if target.leased:
                until_ns = self._coverage.until_mono_ns(target.tag_id)
                sample = self._reader.read(target.tag_id, now_ns)
                wish = wish_of(sample, until_ns, now_ns, target.tag.low, target.tag.high)
            else:
                if self._barred(name):
                    slot.stop()
                wish = slot.wish(now_ns)
            action = slot.action(wish, now_ns)
            if action is Action.NOTHING:
                continue
            try:
                await self._act(slot, action, wish)
            except (RefusedError, WriteForbiddenError) as error:
                slot.retry_mono_ns = now_ns + round(RETRY_S * NS_PER_S)
                self._notices.setpoint(name, f"{action.value}: {error}")
                self._kept.refused(name, str(error))
                continue
            self._notices.settled(name)
            self._kept.settled(name)
            if action is Action.END and not target.leased:
                self._kept.end(name)
                self._notices.manual_ended(name, given_back=False)
        if any(one.state.active for one in self._slots) and self._clock.mono_ns() >= self._watchdog_mono_ns:
            await self._arm_watchdog()

    async def _arm_watchdog(self) -> None:
        """Let the device's own timer run for ``revert_s`` more; at half of it this is done again."""
        dog = self._plan.watchdog
        if dog is None or not self._watchdog_s:
            return
        self._watchdog_mono_ns = self._clock.mono_ns() + round(self._watchdog_s * NS_PER_S / 2.0)
        try:
            await self._link.write(dog.object, self._watchdog_s, 16)
        except (RefusedError, WriteForbiddenError) as error:
            self._notices.setpoint(self.device.name, f"watchdog {dog.object}: {error}")

    def _barred(self, point: str) -> bool:
        return self._coverage.until_mono_ns(self._tags.index(point)) < 0

    def _went_offline(self, error: LinkError, started_ns: int) -> None:
        self.health.errors += 1
        self.health.state = State.DISCONNECTED
        self._orders.give_up("the device went offline")
        self._board.put_bad([one.tag_id for one in self._watches], Quality.COMM)
        waited = self._clock.mono_ns() - started_ns > FIRST_CONTACT_S * NS_PER_S
        if self._announced or (self._announced is None and waited):
            self._announced = False
            self._notices.offline(str(error))


def _fault(flags: Content) -> bool:
    return isinstance(flags, Flags) and flags.fault
