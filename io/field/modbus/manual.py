"""Commands on their way into a device: one-off switching, and manual set-points that are held for a while.

A one-off (a breaker's coil) is written once, also when it was the last one written: a switch may have moved by itself.
A manual set-point (``hold_s``) is begun, refreshed at half of the device's reversion time, written only when it
changes, and ended with its failsafe value when its time is over. While it stands, the lease's set-point of the same
register stands back; when the point has been given back to a program and a lease covers it anew, the program takes
over. A lost connection does not end it: it is begun again when the device is back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from gwanje.core.clock import NS_PER_S, Clock
from gwanje.io.field.modbus.channel import RegisterPort, SetpointChannel
from gwanje.io.field.modbus.options import NVM_REST_S, is_nvm
from gwanje.io.field.modbus.sunspec_types import EncodeError
from gwanje.io.field.orders import CommandExpiredError
from gwanje.io.field.setpoints import Action, Wish, decide


class WornError(Exception):
    """A register that wears out would be written too often."""


class ExpiringPort:
    """A link that writes nothing of a command once its time is over; after its value is written, everything."""

    def __init__(self, port: RegisterPort, clock: Clock, expires_mono_ns: int, value_address: int) -> None:
        self._port = port
        self._clock = clock
        self._expires_mono_ns = expires_mono_ns
        self._value_address = value_address
        self._written = False
        self.touched = False
        """Whether anything has been written at all."""

    async def read(self, address: int, count: int) -> bytes:
        """Read registers."""
        return await self._port.read(address, count)

    async def write(self, address: int, registers: Sequence[int], *, until_mono_ns: int = 0) -> None:
        """Write registers; the link below looks at the time once more when they leave.

        Raises:
            CommandExpiredError: too late.
        """
        del until_mono_ns
        if self._written:
            await self._port.write(address, registers)
            return
        if self._clock.mono_ns() >= self._expires_mono_ns:
            raise CommandExpiredError
        before, self.touched = self.touched, True
        try:
            await self._port.write(address, registers, until_mono_ns=self._expires_mono_ns)
        except CommandExpiredError:
            self.touched = before
            raise
        self._written |= address == self._value_address


class CommandChannel:
    """One commanded register of one connected device.

    Args:
        channel: writes it.
        before: of the connection before, whose manual set-point goes on.
    """

    def __init__(self, channel: SetpointChannel, before: CommandChannel | None = None) -> None:
        self.channel = channel
        self._value: float = math.nan
        self._until_mono_ns: int = 0
        self._seen_free: bool = False
        self._rested_mono_ns: int = 0
        if before is not None:
            self._value, self._until_mono_ns, self._seen_free = before._value, before._until_mono_ns, before._seen_free
            self._rested_mono_ns = before._rested_mono_ns

    def take_up(self, value: float, until_mono_ns: int) -> None:
        """A set-point that a process before left standing goes on; a lease that covers the register takes it back."""
        self._value, self._until_mono_ns, self._seen_free = value, until_mono_ns, True

    @property
    def until_mono_ns(self) -> int:
        """Until when the last set-point is held; 0 for none."""
        return self._until_mono_ns

    @property
    def address(self) -> int:
        """Of the register."""
        return self.channel.plan.place.address

    def holds(self, now_mono_ns: int) -> bool:
        """Whether a manual set-point stands."""
        return now_mono_ns < self._until_mono_ns

    def standing(self, now_mono_ns: int) -> bool:
        """Whether a manual set-point stands, or has run out and must still be ended."""
        return self.channel.state.active or self.holds(now_mono_ns)

    def wish(self, now_mono_ns: int) -> Wish:
        """What should stand in the register."""
        return Wish(True, self._value) if self.holds(now_mono_ns) else Wish(False, math.nan, "its time is over")

    def obey(self, value: float, now_mono_ns: int) -> tuple[Action, Wish]:
        """What to do for a new command; :meth:`keep` once it is done."""
        wish = Wish(True, value)
        config = self.channel.plan.config
        if is_nvm(config.at) and now_mono_ns < self._rested_mono_ns:
            raise WornError(f"the register wears out: once in {NVM_REST_S:g} s is often enough")
        if not config.hold_s:
            return Action.BEGIN, wish
        return decide(
            self.channel.state, wish, self.channel.raw(wish), now_mono_ns, config.revert_s
        ), wish

    def keep(self, value: float, now_mono_ns: int) -> None:
        """The command was written, or stood there already: hold it from now on."""
        hold_s = self.channel.plan.config.hold_s
        self._rested_mono_ns = now_mono_ns + round(NVM_REST_S * NS_PER_S)
        if not hold_s:
            self.channel.forget()
            return
        self._value = value
        self._until_mono_ns = now_mono_ns + round(hold_s * NS_PER_S)
        self._seen_free = False

    def next(self, now_mono_ns: int) -> tuple[Action, Wish]:
        """What time alone asks for: a refresh, or the end."""
        wish = self.wish(now_mono_ns)
        try:
            raw = self.channel.raw(wish)
        except EncodeError:
            raw = ()  # the device came back with another map: writing it will say so
        return decide(self.channel.state, wish, raw, now_mono_ns, self.channel.plan.config.revert_s), wish

    def yields_to(self, covered: bool) -> bool:
        """Whether a program has been given the register back: a lease covers it again after none did."""
        self._seen_free |= not covered
        return covered and self._seen_free

    def stop(self) -> None:
        """The manual set-point shall not stand any longer: it is ended at once."""
        self._until_mono_ns = 0

    def release(self) -> None:
        """A program writes the register from now on."""
        self._until_mono_ns = 0
        self.channel.forget()
