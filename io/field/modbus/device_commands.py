"""The commands of one device: what waits to be written, which manual set-points stand, and who gives way to whom."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from gwanje.core.clock import Clock
from gwanje.core.requests import Code
from gwanje.core.tags.table import TagTable
from gwanje.io.field.errors import LinkError, WriteForbiddenError
from gwanje.io.field.kept_orders import Kept, KeptOrder
from gwanje.io.field.modbus.channel import ReadBack, RegisterPort, SetpointChannel
from gwanje.io.field.modbus.frames import DeviceExceptionError
from gwanje.io.field.modbus.manual import CommandChannel, ExpiringPort, WornError
from gwanje.io.field.modbus.registers import SetpointPlan
from gwanje.io.field.modbus.sunspec_types import EncodeError
from gwanje.io.field.notices import Notices
from gwanje.io.field.orders import CommandExpiredError, Order
from gwanje.io.field.setpoints import Action, Wish

Act = Callable[[SetpointChannel, Action, Wish], Awaitable[str]]


class Coverage(Protocol):
    """Which set-points leases cover; see ``core.commands.coverage.LeaseCoverage``."""

    def until_mono_ns(self, tag_id: int) -> int:
        """Until when a lease covers this very tag; 0 when none does, negative when nobody may write it."""


class DeviceCommands:
    """See the module. Belongs to one driver and its event loop.

    Args:
        tags: the site's tags.
        coverage: says which set-points leases cover, and what danger tags bar.
        clock: time.
        notices: tells the operators.
        put_back: takes what a register reads after it was written.
        failed: counts an error of the device.
        points: that can be commanded.
        kept: has the set-points that the process before left standing.
    """

    def __init__(
        self, tags: TagTable, coverage: Coverage, clock: Clock, notices: Notices,
        put_back: Callable[[SetpointChannel, ReadBack], None], failed: Callable[[], None], points: Sequence[str],
        kept: Kept,
    ) -> None:  # fmt: skip
        self._tags = tags
        self._coverage = coverage
        self._clock = clock
        self._notices = notices
        self._put_back = put_back
        self._failed = failed
        self._orders: dict[str, Order] = {}
        self._commands: dict[str, CommandChannel] = {}
        self._channels: Sequence[SetpointChannel] = ()
        self._kept = kept
        left = {one: kept.of(one) for one in points}
        self._left: dict[str, KeptOrder] = {one: order for one, order in left.items() if order is not None}

    @property
    def standing(self) -> bool:
        """Whether a manual set-point stands, or must still be ended."""
        now_ns = self._clock.mono_ns()
        return any(one.standing(now_ns) for one in self._commands.values())

    @property
    def waiting(self) -> bool:
        """Whether something is to be written."""
        return bool(self._orders)

    def connected(self, plans: Sequence[SetpointPlan], channels: Sequence[SetpointChannel], base_quality: int) -> None:
        """The device is there (again); manual set-points of the connection before go on.

        Args:
            plans: of what can be commanded.
            channels: of the set-points that leases cover.
            base_quality: bits that every value of the device carries.
        """
        self._channels = channels
        self._commands = {
            one.tag.name: CommandChannel(SetpointChannel(one, base_quality), self._commands.get(one.tag.name))
            for one in plans
        }
        left, self._left = self._left, {}
        for point, order in left.items():
            if point in self._commands:
                self._commands[point].take_up(order.value, order.until_mono_ns)
            else:
                self._kept.refused(point, "its map lacks the register")
                self._kept.end(point)

    def take(self, order: Order, online: bool) -> str:
        """Have a command carried out; why not, or an empty text.

        Of one point only the newest counts: one that has not been written yet is given up.
        """
        if self._barred(order.command.point):
            return "a danger tag is on it"
        if not online:
            return "the device does not answer"
        older = self._orders.pop(order.command.point, None)
        self._orders[order.command.point] = order
        if older is not None:
            older.report("refused", order.command.command_id, Code.SUPERSEDED)
        return ""

    def give_up(self, reason: str) -> None:
        """Nothing of what waits can be carried out."""
        orders, self._orders = list(self._orders.values()), {}
        for order in orders:
            order.report("refused", reason)

    async def obey(self, link: RegisterPort) -> None:
        """Carry out what waits.

        Raises:
            LinkError: the connection is of no more use.
        """
        while self._orders:
            point = next(iter(self._orders))
            order = self._orders.pop(point)
            command = self._commands.get(point)
            if command is None:
                order.report("refused", "the device has no such point")
            elif self._barred(point):
                order.report("refused", "a danger tag is on it", Code.SAFETY_TAG)
            else:
                await self._carry_out(command, order, link)

    async def _carry_out(self, command: CommandChannel, order: Order, link: RegisterPort) -> None:
        channel, value, now_ns = command.channel, order.command.value, self._clock.mono_ns()
        before = channel.state
        port = ExpiringPort(link, self._clock, order.command.expires_mono_ns, command.address)
        try:
            action, wish = command.obey(value, now_ns)
            if action is Action.NOTHING and now_ns >= order.command.expires_mono_ns:
                raise CommandExpiredError
            back = await channel.carry_out(action, wish, port, now_ns)
        except CommandExpiredError:
            if not port.touched:
                channel.state = before  # nothing was begun, nothing is to be ended
            order.report("expired", "")
            return
        except (EncodeError, DeviceExceptionError, WriteForbiddenError, WornError) as error:
            if isinstance(error, DeviceExceptionError):
                self._failed()
            order.report("refused", str(error))
            return
        except LinkError as error:
            order.report("timed_out", str(error))
            raise
        command.keep(value, self._clock.mono_ns())
        if command.until_mono_ns:
            self._kept.keep(order.command.point, value, command.until_mono_ns)
        for other in self._channels:
            if other.plan.place.address == command.address:
                other.forget()  # what stands in the register now is the person's
        if back is not None:
            self._put_back(channel, back)
            if not back.agrees:
                order.report("refused", f"the device holds {back.value:g}")
                return
        order.report("accepted", "")

    async def hold(self, act: Act) -> None:
        """Refresh manual set-points, end them, or leave their registers to a program.

        Args:
            act: writes a set-point, tells the operators what went wrong, and gives it; an empty text when all is well.

        Raises:
            LinkError: the connection is of no more use.
        """
        for command in self._commands.values():
            now_ns = self._clock.mono_ns()
            if not command.standing(now_ns) or now_ns < command.channel.retry_mono_ns:
                continue
            name = command.channel.plan.tag.name
            if self._barred(name):
                command.stop()
            if command.yields_to(self._covered(command, now_ns)):
                command.release()
                self._kept.end(name)
                self._notices.manual_ended(name, given_back=True)
                continue
            action, wish = command.next(now_ns)
            if action is not Action.NOTHING:
                problem = await act(command.channel, action, wish)
                if problem:
                    self._kept.refused(name, problem)
                else:
                    self._kept.settled(name)
            if action is Action.END and not command.standing(now_ns):
                self._kept.end(name)
                self._notices.manual_ended(name, given_back=False)

    def stands_in(self, channel: SetpointChannel) -> bool:
        """Whether a manual set-point stands in a channel's register."""
        address, now_ns = channel.plan.place.address, self._clock.mono_ns()
        return any(one.standing(now_ns) and one.address == address for one in self._commands.values())

    def _barred(self, point: str) -> bool:
        return self._coverage.until_mono_ns(self._tags.index(point)) < 0

    def _covered(self, command: CommandChannel, now_ns: int) -> bool:
        """Whether a lease covers a set-point of the command's register."""
        return any(
            self._coverage.until_mono_ns(one.plan.tag_id) > now_ns
            for one in self._channels
            if one.plan.place.address == command.address
        )
