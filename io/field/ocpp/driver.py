"""The devices of a central system as the part's shell sees them: chargers and groups with their commands.

Of one point only the newest command counts. Nothing leaves once a command's time is over; what was written is read back
where the protocol can.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine
from typing import Any

from gwanje.core.clock import NS_PER_S, Clock
from gwanje.core.requests import Code
from gwanje.core.site.config import Device, Setpoint
from gwanje.io.field.health import Health, State
from gwanje.io.field.kept_orders import Kept
from gwanje.io.field.ocpp.charger import Charger
from gwanje.io.field.ocpp.facts import Ask, accepted
from gwanje.io.field.ocpp.limits import LIMIT, Hold, Limits, RefusedError
from gwanje.io.field.ocpp.link import ExpiredError, LineError, ReadOnlyError
from gwanje.io.field.ocpp.notices import ChargerNotices
from gwanje.io.field.ocpp.rpc import CallFailedError
from gwanje.io.field.ocpp.samples import Samples
from gwanje.io.field.orders import Order

FOLLOW_S = 4.0
"""A group has so long to come below a new limit before the command counts as timed out: two time-outs of a charger."""
OVER_NS = 30 * NS_PER_S
"""A group that cannot keep its limit is told of after this long: at the start nobody knows what chargers hold."""
Start = Callable[[Coroutine[Any, Any, None], str], None]


class ChargerDriver:
    """A charger's commands.

    Args:
        charger: whose.
        limits: of all.
        clock: time.
        barred: whether a point may not be written now.
        start: runs a short task.
        kept: has the limit that the process before left standing.
    """

    def __init__(
        self, charger: Charger, limits: Limits, clock: Clock, barred: Callable[[str], bool], start: Start, kept: Kept
    ) -> None:
        self.charger = charger
        self.hold: Hold | None = None
        self._limits = limits
        self._clock = clock
        self._barred = barred
        self._start = start
        self._orders: dict[str, Order] = {}
        self._busy = False
        self._commands = {one.tag: one for one in charger.device.commands}
        self._n_started = 0
        self._kept = kept
        point = self._limit_point()
        order = kept.of(point.tag) if point is not None else None
        if order is not None:
            self.hold = Hold(order.value, order.until_mono_ns)
            limits.desk.cap(charger.device.name, self._cap_w(order.value))

    @property
    def device(self) -> Device:
        """Its configuration."""
        return self.charger.device

    @property
    def health(self) -> Health:
        """How it does."""
        return self.charger.health

    def command(self, order: Order) -> str:
        """Carry out a command soon; why not, or an empty text."""
        point = order.command.point
        if self._barred(point):
            return "a danger tag is on it"
        if not self.health.online:
            return "the charger does not answer"
        older = self._orders.pop(point, None)
        self._orders[point] = order
        if older is not None:
            older.report("refused", order.command.command_id, Code.SUPERSEDED)
        if not self._busy:
            self._busy = True
            self._start(self._obey(), f"commands {self.device.name}")
        return ""

    async def _obey(self) -> None:
        try:
            while self._orders:
                order = self._orders.pop(next(iter(self._orders)))
                await self._carry_out(order)
        finally:
            self._busy = False

    async def _carry_out(self, order: Order) -> None:
        point = self._commands[order.command.point]
        if self._barred(point.tag):
            order.report("refused", "a danger tag is on it", Code.SAFETY_TAG)
            return
        try:
            if point.at["do"] == "limit":
                await self._limit(order, point)
                return
            await self._act(order, str(point.at["do"]), order.command.value)
        except ExpiredError:
            order.report("expired", "")
            return
        except LineError as error:
            order.report("timed_out", str(error))
            return
        except CallFailedError as error:
            code = Code.READ_ONLY if isinstance(error, ReadOnlyError) else Code.OWNER
            order.report("refused", str(error), code)
            return
        order.report("accepted", "")

    async def _act(self, order: Order, what: str, value: float) -> None:
        """A command that is done once.

        Raises:
            CallFailedError: it was not.
        """
        charger, line = self.charger, self.charger.line
        if line is None:
            raise LineError("the charger does not answer")
        answer = await line.call(self._ask(what, value), order.command.expires_mono_ns)
        if not accepted(answer):
            raise CallFailedError(f"the charger says {answer.get('status')}")
        charger.done(what, value)

    def _ask(self, what: str, value: float) -> Ask:
        charger = self.charger
        dialect, connector, session = charger.dialect, charger.settings.connector, charger.session
        if value < 0.5 and what != "availability":
            raise CallFailedError("0 asks for nothing")
        match what:
            case "availability":
                return dialect.availability(connector, value >= 0.5)
            case "reset":
                return dialect.reset(value >= 1.5)
            case "start":
                if session.active:
                    raise CallFailedError("a session is going on")
                self._n_started += 1
                return dialect.start_session(connector, charger.settings.token, self._n_started)
        if not session.active:
            raise CallFailedError("no session is going on")
        return dialect.stop_session(session.transaction)

    async def _limit(self, order: Order, point: Setpoint) -> None:
        """A limit for this charger alone: what it shares is cut down to it, and it is read back.

        A limit above its group's share stands and is confirmed with what the share is: a limit says how much at most.
        """
        name, desk, value = self.device.name, self._limits.desk, order.command.value
        now, expires = self._clock.mono_ns(), order.command.expires_mono_ns
        if now >= expires:
            raise ExpiredError("its time was over")
        if self.charger.line is None:
            raise LineError("the charger does not answer")
        self._limits.try_cap(name, self._cap_w(value), expires)

        def done() -> bool:
            leaf = desk.leaves[name]
            waits = leaf.sending or not leaf.commanded(self._clock.mono_ns())
            return not waits and leaf.may_draw_w(self._clock.mono_ns()) <= max(value, 0.0) + 1e-6

        def shared() -> bool:
            return done() and desk.has_its_share(name, self._clock.mono_ns())

        in_time = await self._limits.until(shared, max(expires - now, 0) / NS_PER_S) or done()
        self._limits.end_trial(name, kept=in_time)
        if not in_time and desk.leaves[name].refused_until_ns > self._clock.mono_ns():
            raise RefusedError("the charger does not take the limit")
        if not in_time:
            raise LineError("the charger did not follow in time")
        self.hold = Hold(value, self._clock.mono_ns() + round(point.hold_s * NS_PER_S))
        self._kept.keep(point.tag, value, self.hold.until_ns)
        kept_w = await self._limits.read_back(self.charger)
        step_w = self.charger.settings.w_per_a * 0.11
        group = desk.tightest(name, self._clock.mono_ns())
        if kept_w > value + step_w:
            order.report("refused", f"the charger keeps {kept_w:g} W")
        elif kept_w < value - step_w and group:
            order.report("confirmed", f"{group}: {kept_w:g} W", Code.SHARE)
        else:
            order.report("accepted", "")

    def _cap_w(self, value: float) -> float:
        """A limit at or above the rating is none."""
        return math.inf if value >= self.charger.settings.rated_w else value

    def _limit_point(self) -> Setpoint | None:
        return next((one for one in self.device.commands if one.at["do"] == "limit"), None)

    def tick(self) -> None:
        """Once a second: end a limit whose time is over or that nobody may write any more."""
        point = self._limit_point()
        if self.hold is None or point is None:
            return
        if self._clock.mono_ns() < self.hold.until_ns and not self._barred(point.tag):
            return
        self.hold = None
        self._kept.end(point.tag)
        self._limits.desk.cap(self.device.name, self._cap_w(point.failsafe))
        self.charger.notices.manual_ended(point.tag, given_back=False)
        self._limits.soon()
        if not self._limits.desk.leaves[self.device.name].chain:
            self._start(self._clear(), f"clear {self.device.name}")

    async def _clear(self) -> None:
        try:
            await self._limits.clear(self.charger)
        except CallFailedError as error:
            self.charger.notices.limit_refused(str(error), self.charger.settings.fallback_w)


class GroupDriver:
    """A group of chargers with its limit.

    Args:
        device: its configuration.
        default_w: its limit when nobody has set one.
        limits: of all.
        samples: its tags.
        notices: tells the operators.
        clock: time.
        barred: whether a point may not be written now.
        start: runs a short task.
        kept: has the limit that the process before left standing.
    """

    def __init__(
        self, device: Device, default_w: float, limits: Limits, samples: Samples, notices: ChargerNotices,
        clock: Clock, barred: Callable[[str], bool], start: Start, kept: Kept,
    ) -> None:  # fmt: skip
        self.device = device
        self.health = Health(State.ONLINE)
        self.hold: Hold | None = None
        self.settled_ns = 0
        """How long the chargers took to follow the last command."""
        self._default_w = default_w
        self._limits = limits
        self._samples = samples
        self._notices = notices
        self._clock = clock
        self._barred = barred
        self._start = start
        self._order: Order | None = None
        self._over_ns = 0
        self._told_over = False
        self._kept = kept
        order = kept.of(device.commands[0].tag)
        if order is not None:
            self.hold = Hold(order.value, order.until_mono_ns)
            limits.desk.limit(device.name, order.value)

    def command(self, order: Order) -> str:
        """Carry out a limit at once; why not, or an empty text."""
        if self._barred(order.command.point):
            return "a danger tag is on it"
        if self._order is not None:
            self._order.report("refused", order.command.command_id, Code.SUPERSEDED)
        self._order = order
        self._start(self._follow(order), f"limit {self.device.name}")
        return ""

    async def _follow(self, order: Order) -> None:
        name, desk, began = self.device.name, self._limits.desk, self._clock.mono_ns()
        expires = order.command.expires_mono_ns
        if self._order is not order:
            return
        if began >= expires:
            self._order = None
            order.report("expired", "")
            return
        point = self.device.commands[0]
        self.hold = Hold(order.command.value, began + round(point.hold_s * NS_PER_S))
        self._kept.keep(point.tag, order.command.value, self.hold.until_ns)
        desk.limit(name, order.command.value)
        self._limits.pump()
        settled = await self._limits.until(
            lambda: self._order is not order or desk.settled(name, self._clock.mono_ns()), FOLLOW_S
        )
        if self._order is not order:
            return  # a newer one took its place and has told so
        self._order = None
        self.settled_ns = self._clock.mono_ns() - began
        self.health.round_trip_ns = self.settled_ns
        self.show()
        if settled:
            order.report("accepted", "")
        else:
            may_w = desk.sum_w(desk.node(name), self._clock.mono_ns())
            order.report("timed_out", f"the limit stands, but its chargers may draw {may_w:.0f} W")

    def tick(self) -> None:
        """Once a second: end a limit whose time is over, and show how the group does."""
        point = self.device.commands[0]
        if self.hold is not None and (self._clock.mono_ns() >= self.hold.until_ns or self._barred(point.tag)):
            self.hold = None
            self._kept.end(point.tag)
            self._limits.desk.limit(self.device.name, self._default_w)
            self._notices.manual_ended(point.tag, given_back=False)
            self._limits.soon()
        self.show()

    def show(self) -> None:
        """Its tags."""
        desk, now = self._limits.desk, self._clock.mono_ns()
        node = desk.node(self.device.name)
        may_w = desk.sum_w(node, now)
        over = not desk.dirty and may_w > node.limit_w + 1e-6
        self._over_ns = (self._over_ns or now) if over else 0
        load_w, quality = self._limits.power(node.name)
        self._samples.put({
            LIMIT: (node.limit_w, 0),
            "state allotted": (may_w, 0),
            "state power": (load_w, quality),
            "state sessions": (float(sum(one.active for one in node.members)), 0),
            "state paused": (float(sum(one.active and not one.served_ns for one in node.members)), 0),
            "state overcommitted": (float(over), 0),
        })  # fmt: skip
        if not over:
            self._told_over = False
        elif now - self._over_ns >= OVER_NS and not self._told_over:
            self._told_over = True
            self._notices.overcommitted(may_w, node.limit_w)


class SystemDriver:
    """The central system itself: how many chargers have a line, and what was turned away.

    Args:
        device: its configuration.
        samples: its tags.
        counts: gives what its points show.
    """

    def __init__(self, device: Device, samples: Samples, counts: Callable[[], dict[str, float]]) -> None:
        self.device = device
        self.health = Health(State.CONNECTING)
        self._samples = samples
        self._counts = counts

    def command(self, order: Order) -> str:
        """It has none."""
        return f"{order.command.point} cannot be commanded"

    def tick(self) -> None:
        """Once a second: show the counts."""
        self._samples.put({f"state {name}": (value, 0) for name, value in self._counts().items()})
