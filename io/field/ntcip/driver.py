"""One intersection's driver: identify, watch, tell of conflicts, carry requests where the site allows them.

DISCONNECTED → CONNECTING → IDENTIFYING → ONLINE ⇄ DEGRADED → BACKOFF, as all drivers. A conflict of greens is told and
marked; nothing is ever done about it from here.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Mapping
from typing import NoReturn, Protocol

import numpy as np

from gwanje.core.clock import NS_PER_S, Clock
from gwanje.core.requests import Code
from gwanje.core.site.config import Device
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.table import TagTable
from gwanje.io.field.errors import ConnectError, LinkError, NoAnswerError, WriteForbiddenError
from gwanje.io.field.health import Health, Meter, State
from gwanje.io.field.kept_orders import NOTHING_KEPT, Kept
from gwanje.io.field.ntcip import ber, objects, requests, snmp
from gwanje.io.field.ntcip.link import AgentError, SnmpLink
from gwanje.io.field.ntcip.notices import SignalNotices
from gwanje.io.field.ntcip.phases import Matrix
from gwanje.io.field.ntcip.plan import FROZEN, Group, Status, Watch, make_groups
from gwanje.io.field.ntcip.talk import Question
from gwanje.io.field.orders import Order
from gwanje.io.field.outlet import Outlet
from gwanje.io.field.scan import Backoff, Schedule

FAILURES_MAX = 2
"""Unanswered questions in a row after which the controller counts as gone; each was put twice."""
FIRST_CONTACT_S = 5.0
"""A controller that is not there when the city starts is reported after this long; before, it may still be starting."""
FROZEN_AFTER_S = 600.0
"""Lamps that stand for longer than two of the longest cycles (NTCIP: 255 s) do so because nobody moves them."""
LOOK_S = 10.0
"""What the controller holds of our requests is read this often: somebody else may have taken them back."""
RESET_AFTER = 64
"""Answers in a row after which the next failure begins a new back-off."""
IDENTITY = Question.of((objects.SYS_DESCR,))


class Coverage(Protocol):
    """Which points nobody may write now; see ``core.commands.coverage.LeaseCoverage``."""

    def until_mono_ns(self, tag_id: int) -> int:
        """Negative when a danger tag bars the point."""


class Driver:
    """Runs one intersection.

    Args:
        device: its configuration.
        matrix: of its phases.
        link: used by this driver alone.
        tags: the site's tags.
        scan_s: seconds of each scan class.
        outlet: takes samples and events.
        coverage: says what danger tags bar.
        clock: time.
        phase_ns: where in its period it is scanned.
        chance: source of the back-off's jitter.
        meter: of the lateness of scans.
        claim: takes the claim on the controller, or raises a LinkError.
        kept: has the requests that the process before left standing.
    """

    def __init__(
        self, device: Device, matrix: Matrix, link: SnmpLink, tags: TagTable, scan_s: Mapping[str, float],
        outlet: Outlet, coverage: Coverage, clock: Clock, phase_ns: int, chance: random.Random, meter: Meter,
        claim: Callable[[], None] = lambda: None, kept: Kept = NOTHING_KEPT,
    ) -> None:  # fmt: skip
        self.device = device
        self.health = Health()
        self._matrix = matrix
        self._link = link
        self._claim = claim
        self._outlet = outlet
        self._coverage = coverage
        self._clock = clock
        self._phase_ns = phase_ns
        self._meter = meter
        self._base = int(Quality.SIMULATED) if device.simulated else 0
        self._groups = make_groups(device, tags, scan_s, matrix, self._base)
        self._schedule = Schedule([one.period_ns for one in self._groups], 0)
        self._backoff = Backoff(device.scan, chance)
        self._notices = SignalNotices(device, outlet, clock)
        self._watch = Watch(float(device.params.get("frozen_after_s", FROZEN_AFTER_S)))
        self._standing = {one.config.tag: one for one in requests.standings(device, tags)}
        self._allowed = bool(device.params.get("allow_priority", False))
        self._kept = kept
        for point, standing in self._standing.items():
            order = kept.of(point) if self._allowed else None
            if order is not None:
                standing.take_up(round(order.value), order.until_mono_ns)
        self._backup_s = int(device.params.get("backup_time_s", requests.BACKUP_TIME_S))
        self._orders: dict[str, Order] = {}
        self._rest: asyncio.Future[None] | None = None
        self._last = {int(one): math.nan for group in self._groups for one in group.ids}
        self._announced: bool | None = None
        self._identity = ""
        self._lacking = ""
        self._conflict = self._frozen = False
        self._unanswered = self._answered = self._look_ns = 0

    async def run(self) -> None:
        """Serve the intersection until cancelled."""
        started_ns = self._clock.mono_ns()
        try:
            while True:
                error = await self._live()
                self._went_offline(error, started_ns)
                self.health.state = State.BACKOFF
                await asyncio.sleep(self._backoff.next_s(isinstance(error, ConnectError) and error.refused))
        finally:
            self._link.close()

    async def _live(self) -> LinkError:
        """From connecting to losing the controller; gives what ended it."""
        try:
            self.health.state = State.CONNECTING
            self._claim()
            await self._link.open()
            self.health.state = State.IDENTIFYING
            await self._identify()
            await self._serve()
        except LinkError as error:
            return error
        finally:
            self._link.close()

    async def _identify(self) -> None:
        """Who answers; and the fail-safe, where we may set it."""
        try:
            identity = _text((await self._link.get(IDENTITY)).varbinds[0])
        except AgentError:
            identity = ""
        if self._identity and identity != self._identity:
            self._notices.replaced(self._identity, identity)
        self._identity = identity
        self._look_ns = 0
        if not self._allowed or not self._standing:
            return
        try:
            await self._link.set(requests.backup_time(self._backup_s))
        except (AgentError, WriteForbiddenError) as error:
            self._notices.setpoint(f"{self.device.prefix}.backup_time_s", f"refused: {error}")
        for one in self._standing.values():
            one.next_mono_ns = 0  # the controller may have been away for longer than its backup time

    async def _serve(self) -> NoReturn:
        """Scan and write for ever; ends only by an error of the link."""
        period = self._groups[0].period_ns
        now = self._clock.mono_ns()
        start = now if self._announced is None else now + (self._phase_ns - now) % period
        schedule = self._schedule = Schedule([one.period_ns for one in self._groups], start)
        self._unanswered = 0
        self.health.state = State.ONLINE
        if self._announced is False:
            self._notices.online(self._identity)
        self._announced = True
        while True:
            index, due_ns = schedule.next()
            wait_ns = due_ns - self._clock.mono_ns()
            if wait_ns > 0 and not self._orders:
                await self._pause(wait_ns / NS_PER_S)
            if self._orders:
                await self._obey()
                continue
            await self._hold()
            self._meter.scanned(self._clock.mono_ns() - due_ns)
            await self._scan(self._groups[index])
            schedule.done(index, self._clock.mono_ns())
            self.health.skipped = schedule.skipped

    async def _scan(self, group: Group) -> None:
        """One round of questions: values on answers, BAD at once on a failure.

        Raises:
            LinkError: the controller counts as gone.
        """
        sent_ns = self._clock.mono_ns()
        got: dict[bytes, snmp.Varbind] = {}
        pending = list(group.questions)
        while pending:
            question = pending.pop(0)
            try:
                pdu = await self._link.get(question)
            except NoAnswerError:
                self._unanswered += 1
                self._failed(group, Quality.BAD | Quality.COMM)
                if self._unanswered >= FAILURES_MAX:
                    raise
                return
            except AgentError as error:
                self._unanswered = 0
                halves = group.cut(question) if error.status == snmp.ErrorStatus.TOO_BIG else ()
                if halves:
                    pending = [*halves, *pending]
                    continue
                self._failed(group, Quality.BAD | Quality.DEVICE_FAILURE)
                return
            got.update((one.oid, one) for one in pdu.varbinds)
        now_ns = self._clock.mono_ns()
        self._unanswered = 0
        status, values, quality = group.decode(got)
        self._judge(status, quality, now_ns)
        self._outlet.put(group.ids, values, quality, self._clock.utc_ns(), now_ns)
        self._last.update(zip(group.ids.tolist(), values.tolist(), strict=True))
        self._tell_lacking(got)
        self.health.state = State.ONLINE
        self.health.round_trip_ns = now_ns - sent_ns
        self.health.reads += 1
        self._answered += 1
        if self._answered == RESET_AFTER:
            self._backoff.reset()

    def _judge(self, status: Status, quality: np.ndarray[tuple[int], np.dtype[np.uint16]], now_ns: int) -> None:
        """Conflicts and standing lamps, each told once; a conflict is never acted upon."""
        lamps = status.lamps
        if lamps is None:
            return
        pair = self._matrix.conflict(*lamps)
        if pair and not self._conflict:
            self._notices.conflict(*pair)
        if self._conflict and not pair:
            self._notices.conflict_over()
        self._conflict = pair is not None
        frozen = self._watch.frozen(status, now_ns)
        if frozen != self._frozen:
            self._frozen = frozen
            (self._notices.frozen if frozen else self._notices.moving)()
        if frozen:
            quality |= FROZEN

    def _tell_lacking(self, got: Mapping[bytes, snmp.Varbind]) -> None:
        lacking = ", ".join(ber.oid_text(oid) for oid, one in got.items() if one.tag in snmp.MISSING)
        if lacking and lacking != self._lacking:
            self._notices.lacks(lacking)
            self._lacking = lacking

    def _failed(self, group: Group, quality: Quality) -> None:
        self.health.errors += 1
        self.health.state = State.DEGRADED
        self._answered = 0
        self._put_bad(group, quality)

    def _put_bad(self, group: Group, quality: Quality) -> None:
        """The last values stay visible, their quality tells that they are only the last."""
        values = np.array([self._last[int(one)] for one in group.ids])
        bits = np.full(len(group.ids), int(quality) | self._base, np.uint16)
        self._outlet.put(group.ids, values, bits, self._clock.utc_ns(), self._clock.mono_ns())

    def command(self, order: Order) -> str:
        """Carry out a request as soon as the link is free; why not, or an empty text."""
        standing = self._standing.get(order.command.point)
        if standing is None:
            return "the intersection has no such point"
        if not self._allowed:
            return requests.forbidden(())
        if self._barred(standing):
            return "a danger tag is on it"
        if not self.health.online:
            return "the device does not answer"
        try:
            standing.write(order.command.value, self._matrix)
        except ValueError as error:
            return str(error)
        older = self._orders.pop(order.command.point, None)
        self._orders[order.command.point] = order
        if older is not None:
            older.report("refused", order.command.command_id, Code.SUPERSEDED)
        if self._rest is not None and not self._rest.done():
            self._rest.set_result(None)
        return ""

    async def _obey(self) -> None:
        """Carry out what waits.

        Raises:
            LinkError: the controller counts as gone.
        """
        while self._orders:
            point = next(iter(self._orders))
            order, standing = self._orders.pop(point), self._standing[point]
            if self._barred(standing):
                order.report("refused", "a danger tag is on it", Code.SAFETY_TAG)
                continue
            if self._clock.mono_ns() >= order.command.expires_mono_ns:
                order.report("expired", "")
                continue
            try:
                back = await self._write(standing, order.command.value)
            except (AgentError, WriteForbiddenError) as error:
                self.health.errors += isinstance(error, AgentError)
                order.report("refused", str(error))
                continue
            except LinkError as error:
                order.report("timed_out", str(error))
                raise
            if back != round(order.command.value):
                standing.active = False  # never refreshed: the controller's own timer ends whatever it is
                self._kept.end(point)
                order.report("refused", f"the controller holds {'something else' if back is None else back}")
                continue
            standing.begin(round(order.command.value), self._clock.mono_ns(), self._backup_s)
            if standing.active:
                self._kept.keep(point, standing.value, standing.until_mono_ns)
            else:
                self._kept.end(point)
            order.report("accepted", "")

    async def _hold(self) -> None:
        """Refresh what stands, end what is over or barred; look now and then at what the controller holds.

        Raises:
            LinkError: the controller counts as gone.
        """
        look = self._clock.mono_ns() >= self._look_ns
        if look:
            self._look_ns = self._clock.mono_ns() + round(LOOK_S * NS_PER_S)
        for standing in self._standing.values():
            if look:
                await self._look(standing)
            if standing.active and self._barred(standing):
                standing.until_mono_ns = 0
            if not standing.due(self._clock.mono_ns()):
                continue
            over = standing.over(self._clock.mono_ns())
            name = standing.config.tag
            try:
                await self._write(standing, standing.config.failsafe if over else standing.value)
            except (AgentError, WriteForbiddenError) as error:
                self._notices.setpoint(name, f"refused: {error}")
                self._kept.refused(name, str(error))
                standing.retry(self._clock.mono_ns())
                if over:
                    standing.active = False  # nobody refreshes it: the controller's own timer ends it
                    self._kept.end(name)
                continue
            standing.refreshed(self._clock.mono_ns(), self._backup_s)
            self._notices.settled(name)
            self._kept.settled(name)
            if over:
                standing.active = False
                self._kept.end(name)
                self._notices.manual_ended(name, given_back=False)

    async def _write(self, standing: requests.Standing, value: float) -> int | None:
        """Write and read back into the request's tag; what the controller holds now, None when it cannot be told."""
        await self._link.set(standing.write(value, self._matrix))
        return await self._look(standing)

    async def _look(self, standing: requests.Standing) -> int | None:
        """Read what the controller holds of a request into its tag."""
        question = Question.of(one.oid for one in standing.write(standing.config.failsafe, self._matrix))
        try:
            pdu = await self._link.get(question)
            back = requests.read_back(pdu.varbinds, standing.kind)
            missing = any(one.tag in snmp.MISSING for one in pdu.varbinds)
        except AgentError:
            back, missing = None, False
        wrong = Quality.NOT_IMPLEMENTED if missing else Quality.DEVICE_FAILURE
        self._put_request(standing, back, Quality.GOOD if back is not None else Quality.BAD | wrong)
        return back

    def _put_request(self, standing: requests.Standing, value: int | None, quality: Quality) -> None:
        shown = math.nan if value is None else float(value)
        bits = int(quality) | self._base
        self._outlet.put_one(standing.tag_id, shown, bits, self._clock.utc_ns(), self._clock.mono_ns())

    def _barred(self, standing: requests.Standing) -> bool:
        return self._coverage.until_mono_ns(standing.tag_id) < 0

    async def _pause(self, wait_s: float) -> None:
        """Wait; a command ends it early."""
        loop = asyncio.get_running_loop()
        self._rest = rest = loop.create_future()
        timer = loop.call_later(wait_s, _end_of, rest)
        try:
            await rest
        finally:
            timer.cancel()
            self._rest = None

    def _went_offline(self, error: LinkError, started_ns: int) -> None:
        self.health.errors += 1
        self.health.state = State.DISCONNECTED
        orders, self._orders = list(self._orders.values()), {}
        for order in orders:
            order.report("refused", "the device went offline")
        for group in self._groups:
            self._put_bad(group, Quality.BAD | Quality.COMM)
        for standing in self._standing.values():
            self._put_request(standing, None, Quality.BAD | Quality.COMM)
        waited = self._clock.mono_ns() - started_ns > FIRST_CONTACT_S * NS_PER_S
        if self._announced or (self._announced is None and waited):
            self._announced = False
            self._notices.offline(str(error))


def _text(one: snmp.Varbind) -> str:
    return one.value.decode("utf-8", "replace") if isinstance(one.value, bytes) and one.tag == ber.OCTETS else ""


def _end_of(rest: asyncio.Future[None]) -> None:
    if not rest.done():
        rest.set_result(None)
