"""One broker and the things behind it: connect, listen, command, refresh, come back.

DISCONNECTED → CONNECTING → ONLINE → BACKOFF → CONNECTING. A thing is online while its last will is not published and it
goes on telling; one that says wrong things is bad, its neighbours never notice.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass

from gwanje.core.clock import NS_PER_S, Clock
from gwanje.core.requests import Code
from gwanje.core.site.config import Device
from gwanje.core.tags.table import TagTable
from gwanje.io.field.claims import Claim, ClaimedElsewhereError
from gwanje.io.field.errors import ConnectError, ConnectionLostError, LinkError, WriteForbiddenError
from gwanje.io.field.health import Health, Meter, State
from gwanje.io.field.kept_orders import NOTHING_KEPT, Kept
from gwanje.io.field.mqtt.link import BATCH_MAX, MqttLink
from gwanje.io.field.mqtt.payload import Ack, command, topic_of
from gwanje.io.field.mqtt.things import Thing, Things, filters_of
from gwanje.io.field.notices import Notices
from gwanje.io.field.orders import Order
from gwanje.io.field.scan import Backoff
from gwanje.io.field.street.columns import Columns
from gwanje.io.field.street.floors import Floor, floor_of, too_dark
from gwanje.io.field.street.holds import DAYLIGHT_S, Coverage, Holds, Sending, held_s

TURN_S = 0.25
"""How often acknowledgements that do not come, refreshes and silent things are looked at."""
PENDING_MAX = 4_096
"""Commands that wait for their acknowledgement."""
FIRST_CONTACT_S = 10.0
"""A broker that is not there when the city starts is reported after this long."""
REVERT_S_DEFAULT = 600.0
"""Of things whose commands have no time of their own."""


@dataclass(slots=True)
class Node:
    """The driver of one thing: its hub does the work."""

    thing: Thing
    hub: Hub
    index: int

    @property
    def device(self) -> Device:
        """Its configuration."""
        return self.thing.device

    @property
    def health(self) -> Health:
        """How it does."""
        return self.thing.health

    def command(self, order: Order) -> str:
        """Have it sent; why not, or an empty text."""
        return self.hub.take(order, self.index)


@dataclass(frozen=True, slots=True)
class _Pending:
    thing: Thing
    index: int
    order: Order
    deadline_mono_ns: int


class Hub:
    """See the module.

    Args:
        device: the broker.
        things: behind it; those that can be commanded are lamps.
        link: to it; its ``arrived`` is :meth:`arrived`.
        columns: take the values.
        tags: the site's.
        coverage: says on which points danger tags hang.
        clock: time.
        chance: of the back-off's jitter.
        meter: of lateness.
        claim: on the broker.
        notices: tell the operators.
        own: (what, slot) of the broker's own points.
        kept: has the levels that the process before left standing.
    """

    def __init__(
        self, device: Device, things: Sequence[Thing], columns: Columns, tags: TagTable, coverage: Coverage,
        clock: Clock, chance: random.Random, meter: Meter, claim: Claim, notices: Notices,
        own: Sequence[tuple[str, int]], kept: Kept = NOTHING_KEPT,
    ) -> None:  # fmt: skip
        self.device = device
        self.health = Health()
        self._columns = columns
        self._tags = tags
        self._coverage = coverage
        self._clock = clock
        self._meter = meter
        self._claim = claim
        self._notices = notices
        self._own = own
        self._backoff = Backoff(device.scan, chance)
        self.nodes = [Node(one, self, index) for index, one in enumerate(things)]
        self.things = Things(things, columns, self._now, self._acked)
        self._floors: dict[int, Floor] = {n: floor_of(one.device) for n, one in enumerate(things) if one.commanded}
        self._filters = filters_of([one.device for one in things])
        reverts = [command.revert_s for one in things for command in one.device.commands if command.revert_s]
        self.revert_s = min(reverts, default=REVERT_S_DEFAULT)
        self.holds = Holds(len(things), self.revert_s)
        self._kept = kept
        for index, one in enumerate(things):
            order = kept.of(one.device.commands[0].tag) if one.commanded is not None else None
            if order is not None:
                self.holds.take_up(index, order.value, order.until_mono_ns)
        self._dark_until_ns = -1 if self.holds.standing else 0
        self._pending: dict[str, _Pending] = {}
        self._link: MqttLink | None = None
        self._announced: bool | None = None
        self._rate = (0, 0)

    def connect(self, link: MqttLink) -> None:
        """The link to use; its messages come to :meth:`arrived`."""
        self._link = link

    @property
    def link(self) -> MqttLink:
        """See :meth:`connect`."""
        assert self._link is not None, "connected before it runs"
        return self._link

    def _now(self) -> tuple[int, int]:
        return self._clock.utc_ns(), self._clock.mono_ns()

    def arrived(self) -> None:
        """Messages wait: handle a batch, and come back for the rest after everybody else had a turn."""
        batch = self.link.inbox.batch(BATCH_MAX)
        if not batch:
            return
        take, refused = self.things.take, self.things.refused
        for topic, payload, retained, _ in batch:
            take(topic, payload, retained)
        now_ns = self._clock.mono_ns()
        self._meter.scanned(now_ns - batch[0][3])
        self.health.reads += len(batch)
        self.health.errors += self.things.refused - refused
        self._columns.flush(now_ns)
        if len(self.link.inbox):
            asyncio.get_running_loop().call_soon(self.arrived)

    async def run(self) -> None:
        """Drive the broker for as long as the part lives."""
        started_ns = self._clock.mono_ns()
        try:
            while True:
                self.health.state = State.CONNECTING
                try:
                    self._claim.take()
                    lost = await self.link.open(self._filters)
                    self._went_online()
                    await self._live(lost)
                except (LinkError, ClaimedElsewhereError) as error:
                    self._went_offline(error, started_ns)
                    self.health.state = State.BACKOFF
                    await asyncio.sleep(self._backoff.next_s(isinstance(error, ConnectError) and error.refused))
        finally:
            await self.link.close()

    def _went_online(self) -> None:
        self._backoff.reset()
        self.health.state = State.ONLINE
        if self._announced is False:
            self._notices.online(f"{self.device.host}:{self.device.port}")
        self._announced = True

    def _went_offline(self, error: LinkError, started_ns: int) -> None:
        self.health.errors += 1
        pending, self._pending = list(self._pending.values()), {}
        for one in pending:
            one.order.report("timed_out", "the connection to the broker was lost")
        self.things.lose_all()
        self._columns.flush(self._clock.mono_ns())
        waited = self._clock.mono_ns() - started_ns > FIRST_CONTACT_S * NS_PER_S
        if self._announced or (self._announced is None and waited):
            self._announced = False
            self._notices.offline(str(error))

    async def _live(self, lost: asyncio.Future[str]) -> None:
        """Until the connection is lost.

        Raises:
            LinkError: it is.
        """
        while not lost.done():
            due_ns = self._clock.mono_ns() + round(TURN_S * NS_PER_S)
            await asyncio.wait({lost}, timeout=TURN_S)
            now_utc_ns, now_ns = self._now()
            self._meter.scanned(now_ns - due_ns)
            self._give_up_late(now_ns)
            self._tend(now_ns)
            self.things.silent(now_utc_ns)
            self._tell_own(now_utc_ns, now_ns)
            self._columns.flush(now_ns)
        raise ConnectionLostError(lost.result())

    def _tell_own(self, now_utc_ns: int, now_ns: int) -> None:
        inbox = self.link.inbox
        before, before_ns = self._rate
        if self._own and now_ns - before_ns >= 5 * NS_PER_S:
            rate = (inbox.taken - before) * NS_PER_S / (now_ns - before_ns) if before_ns else 0.0
            self._rate = inbox.taken, now_ns
            known = {
                "received_per_s": rate, "dropped": float(inbox.dropped),
                "refused": float(self.things.refused + self.link.unreadable),
            }  # fmt: skip
            for what, slot in self._own:
                self._columns.take(slot, known[what], 0, now_utc_ns, now_ns)

    # ---- commands

    def command(self, order: Order) -> str:
        """A broker takes none."""
        return f"a broker has no {order.command.point}"

    def is_day(self, thing: Thing) -> bool:
        """Whether the lamp's own light sensor says so and can be believed."""
        dark = thing.dark
        return dark >= 0 and self._columns.good(dark, self._clock.utc_ns()) and self._columns.value(dark) == 0.0

    def take(self, order: Order, index: int) -> str:
        """Have a command sent; why not, or an empty text."""
        thing = self.nodes[index].thing
        if thing.commanded is None or order.command.point != thing.device.commands[0].tag:
            return f"it has no {order.command.point}"
        if not self.health.online:
            return "the broker does not answer"
        if not thing.health.online:
            return "it is offline"
        if self._barred(order.command.point):
            return "a danger tag is on it"
        if why := too_dark(order.command.value, (self._floors[index],), self.is_day(thing)):
            return why
        if len(self._pending) >= PENDING_MAX:
            return f"{PENDING_MAX} commands wait already"
        return self._send_order(order, thing, index)

    def _barred(self, point: str) -> bool:
        return self._coverage.until_mono_ns(self._tags.index(point)) < 0

    def _send_order(self, order: Order, thing: Thing, index: int) -> str:
        now_utc_ns, now_ns = self._now()
        asked = order.command
        if now_ns >= asked.expires_mono_ns:
            return "it has expired"
        for known, one in list(self._pending.items()):
            if one.index == index:
                del self._pending[known]
                one.order.report("refused", asked.command_id, Code.SUPERSEDED)
        try:
            self._publish(thing, asked.command_id, asked.value, now_utc_ns + asked.expires_mono_ns - now_ns)
        except (LinkError, WriteForbiddenError) as error:
            return str(error)
        deadline = min(now_ns + round(thing.device.timeout_s * NS_PER_S), asked.expires_mono_ns)
        self._pending[asked.command_id] = _Pending(thing, index, order, deadline)
        return ""

    def _publish(self, thing: Thing, command_id: str, value: float | None, not_after_utc_ns: int) -> None:
        """One message to one thing.

        Raises:
            WriteForbiddenError: the site is read only.
            LinkError: it cannot be sent.
        """
        assert thing.commanded is not None, "only things with a command are told anything"
        topic = topic_of(thing.commanded.topic, thing.device.address)
        self.link.publish(topic, command(command_id, thing.commanded.field, value, self.revert_s, not_after_utc_ns))

    def _acked(self, thing: Thing, ack: Ack) -> None:
        """A thing acknowledges: it holds a value, or says why not."""
        now_utc_ns, now_ns = self._now()
        if ack.ok and ack.value == ack.value:
            self._columns.take(thing.readback, ack.value, 0, now_utc_ns, now_ns)
        pending = self._pending.get(ack.command_id)
        if pending is None or pending.thing is not thing:
            return  # of a refresh, a repetition, or somebody else's
        del self._pending[ack.command_id]
        order = pending.order
        if not ack.ok:
            order.report("refused", ack.reason or "the thing refuses")
        elif ack.value != order.command.value:
            order.report("refused", f"the thing holds {ack.value:g}")
        else:
            hold_s = held_s(order.command.role, thing.device.commands[0].hold_s)
            if hold_s:
                until_ns = now_ns + round(hold_s * NS_PER_S)
                self.holds.keep((pending.index,), order.command.value, until_ns, now_ns)
                self._kept.keep(order.command.point, order.command.value, until_ns)
            order.report("accepted", "")

    def _give_up_late(self, now_ns: int) -> None:
        for known, one in list(self._pending.items()):
            if now_ns >= one.deadline_mono_ns:
                del self._pending[known]
                one.thing.health.errors += 1
                one.order.report("timed_out", "no acknowledgement")

    def _tend(self, now_ns: int) -> None:
        """Refresh what stands, end what has run out, what a danger tag bars and what night has made too dark."""
        if self._waits_for_daylight(now_ns):
            return
        for index in self.holds.own():
            thing, level = self.nodes[index].thing, self.holds.wanted(index)
            assert level is not None, "a lamp's own level"
            tag = thing.device.commands[0].tag
            if self._barred(tag) or too_dark(level, (self._floors[index],), self.is_day(thing)):
                self.holds.drop((index,))
                self._kept.end(tag)
                self._say(thing, None)
                self._notices.manual_ended(tag, given_back=False)
        for sending in self.holds.due(now_ns):
            self._carry_out(sending, now_ns)

    def _waits_for_daylight(self, now_ns: int) -> bool:
        """Whether levels were taken up whose lamps have not said yet whether it is day."""
        if self._dark_until_ns < 0:
            self._dark_until_ns = now_ns + round(DAYLIGHT_S * NS_PER_S)
        if now_ns >= self._dark_until_ns:
            return False
        slots = [self.nodes[index].thing.dark for index in self.holds.own()]
        utc_ns = self._clock.utc_ns()
        if all(one < 0 or self._columns.good(one, utc_ns) for one in slots):
            self._dark_until_ns = 0
        return now_ns < self._dark_until_ns

    def _carry_out(self, sending: Sending, now_ns: int) -> None:
        for index in sending.lamps:
            thing = self.nodes[index].thing
            self._say(thing, sending.level_pct)
            if sending.ends:
                self._kept.end(thing.device.commands[0].tag)
                self._notices.manual_ended(thing.device.commands[0].tag, given_back=False)
        self.holds.sent(sending, now_ns)

    def _say(self, thing: Thing, value: float | None) -> None:
        """A refresh or an end; one that cannot be sent is made good by the thing's own time-out."""
        now_utc_ns, now_ns = self._now()
        tag = thing.device.commands[0].tag
        try:
            self._publish(thing, f"refresh-{now_ns}", value, now_utc_ns + round(self.revert_s / 2.0 * NS_PER_S))
        except (LinkError, WriteForbiddenError) as error:
            self._notices.setpoint(tag, f"refresh: {error}")
            self._kept.refused(tag, str(error))
        else:
            self._notices.settled(tag)
            self._kept.settled(tag)
