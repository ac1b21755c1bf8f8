"""Commands that wait for their device: the newest of each point, none after its time. No I/O.

A driver takes them with :meth:`OrderQueue.next` immediately before it writes: what has expired meanwhile, or was barred
by a danger tag, is reported there and never reaches the device.
"""

from __future__ import annotations

from collections.abc import Callable

from gwanje.core.clock import Clock
from gwanje.core.requests import Code
from gwanje.io.field.orders import Order


class OrderQueue:
    """The waiting commands of one device; bounded by its points.

    Args:
        clock: of the machine.
        barred: whether nobody may write a point now.
        wake: called when there is something to do.
    """

    def __init__(self, clock: Clock, barred: Callable[[str], bool], wake: Callable[[], None]) -> None:
        self._clock = clock
        self._barred = barred
        self._wake = wake
        self._orders: dict[str, Order] = {}

    @property
    def waiting(self) -> bool:
        """Whether something is to be written."""
        return bool(self._orders)

    def take(self, order: Order, online: bool) -> str:
        """Have a command carried out; why not, or an empty text."""
        if self._barred(order.command.point):
            return "a danger tag is on it"
        if not online:
            return "the device does not answer"
        older = self._orders.pop(order.command.point, None)
        self._orders[order.command.point] = order
        if older is not None:
            older.report("refused", order.command.command_id, Code.SUPERSEDED)
        self._wake()
        return ""

    def next(self) -> Order | None:
        """The oldest that may be carried out at this moment; ``None`` when nothing waits any more."""
        while self._orders:
            point = next(iter(self._orders))
            order = self._orders.pop(point)
            if self._barred(point):
                order.report("refused", "a danger tag is on it", Code.SAFETY_TAG)
            elif self.expired(order):
                order.report("expired", "")
            else:
                return order
        return None

    def expired(self, order: Order) -> bool:
        """Whether a command's time is over; asked again where a driver had to wait before its write."""
        return self._clock.mono_ns() >= order.command.expires_mono_ns

    def give_up(self, reason: str) -> None:
        """Nothing of what waits can be carried out."""
        orders, self._orders = list(self._orders.values()), {}
        for order in orders:
            order.report("refused", reason)
