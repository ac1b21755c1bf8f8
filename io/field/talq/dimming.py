"""Commands to the lamps of one gateway: taken, sent together, read back, held, refreshed and ended.

A level is an override with an expiry (``revert_s``), sent anew at half its time, for a whole zone in one request.
When it ends, or nobody refreshes it, the gateway's calendar and programme rule again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gwanje.core.clock import NS_PER_S, Clock
from gwanje.core.requests import Code
from gwanje.core.site.config import Setpoint
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.table import TagTable
from gwanje.io.field.errors import LinkError, WriteForbiddenError
from gwanje.io.field.kept_orders import Kept
from gwanje.io.field.notices import Notices
from gwanje.io.field.orders import Order
from gwanje.io.field.street.columns import Columns
from gwanje.io.field.street.floors import Floor, too_dark
from gwanje.io.field.street.holds import DAYLIGHT_S, Coverage, Holds, Sending, held_s
from gwanje.io.field.talq.link import RefusedError, Reply, TalqLink
from gwanje.io.field.talq.messages import MessageError, level_of, override, reference, resume
from gwanje.io.field.talq.points import Member

ORDERS_MAX = 4_096
"""Commands that wait: one for each lamp of the largest gateway we know; beyond it they are refused."""
READ_BACK_MAX = 4
"""So many lamps are read back one by one; of more the gateway's own reports tell within seconds."""
FOLLOW_S = 10.0
"""Lamps of a zone have so long to report that they follow."""
SKEW_MAX_S = 60.0
"""A gateway whose clock is further off gets no override: nobody could say when it would end."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    order: Order
    lamp: int


class Dimming:
    """See the module. Belongs to one gateway and its event loop.

    Args:
        lamps: of the gateway.
        floors: of each lamp.
        zone: the command of the whole gateway and its slot, if it has one.
        group: TALQ address of the group of all lamps.
        link: to the gateway.
        columns: take what is read back.
        tags: the site's.
        coverage: says on which points danger tags hang.
        clock: time.
        notices: tell the operators.
        day: whether a sensor says that it is day.
        day_known: whether that sensor has said anything.
        kept: has the levels that the process before left standing.
    """

    def __init__(
        self, lamps: Sequence[Member], floors: Sequence[Floor], zone: tuple[Setpoint, int] | None, group: str,
        link: TalqLink, columns: Columns, tags: TagTable, coverage: Coverage, clock: Clock, notices: Notices,
        day: Callable[[], bool], day_known: Callable[[], bool], kept: Kept,
    ) -> None:  # fmt: skip
        self._lamps = lamps
        self._floors = floors
        self._zone = zone
        self._group = group
        self._link = link
        self._columns = columns
        self._tags = tags
        self._coverage = coverage
        self._clock = clock
        self._notices = notices
        self._day = day
        self._day_known = day_known
        commands = [one.device.commands[0] for one in lamps if one.device.commands]
        commands += [zone[0]] if zone is not None else []
        self.revert_s = min((one.revert_s for one in commands if one.revert_s), default=600.0)
        self.holds = Holds(len(lamps), self.revert_s)
        self._kept = kept
        own = [(index, one.device.commands[0].tag) for index, one in enumerate(lamps) if one.device.commands]
        for index, point in ([(-1, zone[0].tag)] if zone is not None else []) + own:
            order = kept.of(point)  # a lamp's that is older than the zone's was ended with it
            if order is not None:
                self.holds.take_up(index, order.value, order.until_mono_ns)
        self._dark_until_ns = -1 if self.holds.standing else 0
        self.skew_s = 0.0
        """The gateway's clock minus ours."""
        self._waiting: dict[str, _Waiting] = {}
        self._verify_until_ns = 0

    @property
    def waiting(self) -> bool:
        """Whether commands are to be sent."""
        return bool(self._waiting)

    @property
    def verifying(self) -> bool:
        """Whether a zone's lamps are expected to report a level."""
        return self._verify_until_ns > 0

    def take(self, order: Order, lamp: int) -> str:
        """Have a command sent; why not, or an empty text.

        Args:
            order: for a lamp, or for the zone.
            lamp: index; -1 for the zone.
        """
        point = order.command.point
        if self._barred(point):
            return "a danger tag is on it"
        if lamp >= 0 and not self._lamps[lamp].address:
            return "its gateway does not know it"
        if lamp >= 0 and self._lamps[lamp].lost:
            return "it does not answer its gateway"
        if abs(self.skew_s) > SKEW_MAX_S:
            return f"the gateway's clock is off by {self.skew_s:.0f} s: no override would end in time"
        if why := too_dark(order.command.value, self._floors_of(lamp), self._day()):
            return why
        older = self._waiting.pop(point, None)
        if older is None and len(self._waiting) >= ORDERS_MAX:
            return f"{ORDERS_MAX} commands wait already"
        self._waiting[point] = _Waiting(order, lamp)
        if older is not None:
            older.order.report("refused", order.command.command_id, Code.SUPERSEDED)
        return ""

    def _floors_of(self, lamp: int) -> Sequence[Floor]:
        return self._floors if lamp < 0 else (self._floors[lamp],)

    def _barred(self, point: str) -> bool:
        return self._coverage.until_mono_ns(self._tags.index(point)) < 0

    def give_up(self, reason: str) -> None:
        """Nothing of what waits can be sent."""
        waiting, self._waiting = self._waiting, {}
        for one in waiting.values():
            one.order.report("refused", reason)

    async def obey(self) -> None:
        """Send what waits, in the order it came; neighbours of one level in one request.

        Raises:
            LinkError: the gateway is of no more use.
        """
        while self._waiting:
            batch = self._batch()
            if batch:
                await self._carry_out(batch)

    def _batch(self) -> list[_Waiting]:
        """The oldest commands that fit into one request; what came too late is told so."""
        batch: list[_Waiting] = []
        for point, one in list(self._waiting.items()):
            if batch and (one.lamp < 0 or batch[0].lamp < 0 or _level(one) != _level(batch[0])):
                break
            del self._waiting[point]
            if self._clock.mono_ns() >= one.order.command.expires_mono_ns:
                one.order.report("expired", "")
            elif self._barred(point):
                one.order.report("refused", "a danger tag is on it", Code.SAFETY_TAG)
            else:
                batch.append(one)
        return batch

    async def _carry_out(self, batch: list[_Waiting]) -> None:
        lamps = tuple(one.lamp for one in batch)
        zone = lamps[0] < 0
        level = batch[0].order.command.value
        expires = min(one.order.command.expires_mono_ns for one in batch)
        sending = Sending(level, () if zone else lamps, zone)
        if self._clock.mono_ns() >= expires:
            self._tell(batch, "expired", "")
            return
        try:
            await self._send(sending, batch[0].order.command.command_id)
        except (RefusedError, WriteForbiddenError, MessageError) as error:
            self._tell(batch, "refused", str(error))
            return
        except LinkError as error:
            self._tell(batch, "timed_out", str(error))
            raise
        now_ns = self._clock.mono_ns()
        if zone:
            assert self._zone is not None, "a zone's order without a zone"
            hold_s = held_s(batch[0].order.command.role, self._zone[0].hold_s)
            until_ns = now_ns + round(hold_s * NS_PER_S)
            for lamp in self.holds.own():
                self._kept.end(self._lamps[lamp].device.commands[0].tag)
            self.holds.keep_zone(level, until_ns, now_ns)
            self._kept.keep(self._zone[0].tag, level, until_ns)
            self._verify_until_ns = now_ns + round(FOLLOW_S * NS_PER_S)
            self._tell(batch, "accepted", "")
            return
        for one in batch:
            hold_s = held_s(one.order.command.role, self._lamps[one.lamp].device.commands[0].hold_s)
            until_ns = now_ns + round(hold_s * NS_PER_S)
            self.holds.keep((one.lamp,), level, until_ns, now_ns)
            self._kept.keep(one.order.command.point, level, until_ns)
        await self._read_back(batch)

    def _tell(self, batch: Sequence[_Waiting], outcome: str, detail: str) -> None:
        for one in batch:
            one.order.report(outcome, detail)

    async def _send(self, sending: Sending, cms_ref: str) -> Reply:
        """One request.

        Raises:
            LinkError: no answer.
            RefusedError: the gateway does not take it.
            WriteForbiddenError: the site is read only.
            MessageError: nobody to send it to.
        """
        if sending.zone:
            references = [reference("groups", self._group)]
        else:
            addresses = [self._lamps[one].address for one in sending.lamps if self._lamps[one].address]
            references = [reference("devices", one) for one in addresses]
        if sending.level_pct is None:
            message = resume(references)
        else:
            expires = self._clock.utc_ns() + round((self.revert_s + self.skew_s) * NS_PER_S)
            message = override(references, round(sending.level_pct), expires, cms_ref[:64])
        return await self._link.send("POST", "/override-commands", message)

    async def _read_back(self, batch: Sequence[_Waiting]) -> None:
        """Ask few lamps what they hold; many tell it themselves."""
        if len(batch) > READ_BACK_MAX:
            self._tell(batch, "accepted", "")
            return
        for one in batch:
            member = self._lamps[one.lamp]
            try:
                reply = await self._link.get(f"/devices/{member.address}/{member.actuator}/feedbackLightCommand")
                held = level_of(reply.content.get("value") if isinstance(reply.content, dict) else None)
            except (RefusedError, MessageError) as error:
                one.order.report("timed_out", f"no readback: {error}")
                continue
            except LinkError as error:
                one.order.report("timed_out", f"no readback: {error}")
                raise
            self._columns.take(member.readback, held, 0, self._clock.utc_ns(), self._clock.mono_ns())
            if held == round(one.order.command.value):
                one.order.report("accepted", "")
                self._notices.settled(one.order.command.point)
            else:
                one.order.report("refused", f"the lamp holds {held:g} %")

    async def tend(self) -> None:
        """Refresh what stands, end what has run out, what a danger tag bars, and what night has made too dark.

        Raises:
            LinkError: the gateway is of no more use.
        """
        if self._waits_for_daylight(self._clock.mono_ns()):
            return
        await self._end_forbidden()
        for sending in self.holds.due(self._clock.mono_ns()):
            name, points = self._name_of(sending), self._points_of(sending)
            try:
                await self._send(sending, "refresh")
            except (RefusedError, WriteForbiddenError, MessageError) as error:
                self._notices.setpoint(name, f"{'end' if sending.ends else 'refresh'}: {error}")
                for point in points:
                    self._kept.refused(point, str(error))
            else:
                self._notices.settled(name)
                for point in points:
                    self._kept.settled(point)
            self.holds.sent(sending, self._clock.mono_ns())
            if sending.ends:
                for point in points:
                    self._kept.end(point)
                self._notices.manual_ended(name, given_back=False)

    def _waits_for_daylight(self, now_ns: int) -> bool:
        """Whether levels were taken up and the gateway has not said yet whether it is day."""
        if self._dark_until_ns < 0:
            self._dark_until_ns = now_ns + round(DAYLIGHT_S * NS_PER_S)
        if self._day_known():
            self._dark_until_ns = 0
        return now_ns < self._dark_until_ns

    def _points_of(self, sending: Sending) -> list[str]:
        """Points whose levels a sending refreshes or ends: of lamps that have their own, and of the zone."""
        own = set(self.holds.own())
        found = [self._lamps[one].device.commands[0].tag for one in sending.lamps if one in own]
        whole = sending.zone or any(one not in own for one in sending.lamps)
        return [*found, self._zone[0].tag] if whole and self._zone is not None else found

    def _name_of(self, sending: Sending) -> str:
        if not sending.lamps or len(sending.lamps) > 1:
            return self._zone[0].tag if self._zone is not None else self._lamps[0].device.prefix
        return self._lamps[sending.lamps[0]].device.commands[0].tag

    async def _end_forbidden(self) -> None:
        """What may not stand any longer is resumed now and forgotten."""
        if not self.holds.standing:
            return
        day = self._day()
        level = self.holds.zone_level
        if level is not None and self._zone is not None:
            why = "danger tag" if self._barred(self._zone[0].tag) else too_dark(level, self._floors, day)
            if why:
                self.holds.drop_zone()
                self._kept.end(self._zone[0].tag)
                others = tuple(one for one in range(len(self._lamps)) if self.holds.wanted(one) is None)
                await self._resume(Sending(None, others, not self.holds.standing, ends=True), why)
        dark: list[int] = []
        for lamp in self.holds.own():
            wanted, command = self.holds.wanted(lamp), self._lamps[lamp].device.commands[0]
            assert wanted is not None, "a lamp's own level"
            if self._barred(command.tag) or too_dark(wanted, (self._floors[lamp],), day):
                dark.append(lamp)
        if dark:
            self.holds.drop(dark)
            for lamp in dark:
                self._kept.end(self._lamps[lamp].device.commands[0].tag)
            await self._resume(Sending(None, tuple(dark), ends=True), "too dark or barred")

    async def _resume(self, sending: Sending, why: str) -> None:
        name = self._name_of(sending)
        try:
            await self._send(sending, "end")
        except (RefusedError, WriteForbiddenError, MessageError) as error:
            self._notices.setpoint(name, f"end: {error}")  # it ends by itself within revert_s
        self._notices.setpoint(name, f"ended: {why}")
        self._notices.manual_ended(name, given_back=False)

    def look(self) -> None:
        """Judge whether the zone follows, and put what it holds into its command's tag."""
        if self._zone is None:
            return
        held = np.array([self._columns.value(one.readback) for one in self._lamps if one.address and not one.lost])
        held = held[~np.isnan(held)]
        if not len(held):
            return
        tag, slot = self._zone
        now_utc_ns, now_ns = self._clock.utc_ns(), self._clock.mono_ns()
        wanted = self.holds.zone_level
        if wanted is None:
            self._verify_until_ns = 0
            self._columns.take(slot, float(np.median(held)), 0, now_utc_ns, now_ns)
            return
        own = sum(1 for _ in self.holds.own())
        astray = max(int(np.count_nonzero(held != round(wanted))) - own, 0)
        if not astray:
            self._verify_until_ns = 0
            self._notices.settled(tag.tag)
            self._columns.take(slot, wanted, 0, now_utc_ns, now_ns)
        elif now_ns >= self._verify_until_ns:
            self._verify_until_ns = 0
            self._notices.setpoint(tag.tag, f"mismatch: {astray} of {len(held)} lamps do not follow")
            doubt = int(Quality.UNCERTAIN | Quality.DEVICE_FAILURE)
            self._columns.take(slot, float(np.median(held)), 0, now_utc_ns, now_ns, doubt)


def _level(one: _Waiting) -> float:
    return one.order.command.value
