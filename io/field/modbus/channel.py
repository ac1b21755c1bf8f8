"""One set-point of one connected device: carries out what the rules of :mod:`gwanje.io.field.setpoints` decide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from gwanje.io.field.modbus.frames import DeviceExceptionError
from gwanje.io.field.modbus.points import Place, PointTable
from gwanje.io.field.modbus.registers import SetpointPlan
from gwanje.io.field.modbus.sunspec import scale_factor
from gwanje.io.field.modbus.sunspec_types import EncodeError, raw_to_bytes
from gwanje.io.field.scan import NS_PER_S
from gwanje.io.field.setpoints import HOLD_S, Action, SetpointState, Wish


class RegisterPort(Protocol):
    """What a set-point needs of a link; see ``modbus.ModbusLink`` for errors."""

    async def read(self, address: int, count: int) -> bytes:
        """Read registers."""

    async def write(self, address: int, registers: Sequence[int], *, until_mono_ns: int = 0) -> None:
        """Write registers; nothing leaves from ``until_mono_ns`` on, 0 for always."""


@dataclass(frozen=True, slots=True)
class ReadBack:
    """What the device says it took.

    Attributes:
        value: SI value of the feedback tag.
        quality: of it.
        agrees: the registers are those that were written.
    """

    value: float
    quality: int
    agrees: bool


class SetpointChannel:
    """One set-point of one connected device.

    Args:
        plan: registers and limits.
        base_quality: bits that every value of the device carries.
    """

    def __init__(self, plan: SetpointPlan, base_quality: int) -> None:
        self.plan = plan
        # A device without a timer of its own may still follow a process that is gone: not known to be off.
        self.state = SetpointState(active=plan.config.revert_s == 0.0 and bool(plan.config.lease))
        self.retry_mono_ns = 0
        self._useless_since_ns = 0
        self._exponents: dict[int, int | None] = {}
        first, end = plan.place.span
        self._first, self._count = first, end - first
        self._table = PointTable(first, [plan.feedback], base_quality)

    def raw(self, wish: Wish) -> tuple[int, ...]:
        """Registers of a wish with the scale factor known so far; empty when there are none."""
        return () if wish.reason else self._encode(self.plan.place, wish.value / self.plan.config.scale)

    async def carry_out(self, action: Action, wish: Wish, port: RegisterPort, now_mono_ns: int) -> ReadBack | None:
        """Do it, and read back what the device made of it.

        Raises:
            EncodeError: the value does not fit its register, or the device gives no scale factor for it.
            LinkError, DeviceExceptionError, WriteForbiddenError: see the link.
        """
        plan = self.plan
        if action is Action.NOTHING:
            return None
        if action is not Action.WRITE:
            await self._learn_scales(port)
        if action is Action.END:
            return await self._end(port, now_mono_ns)
        raw = self._raw(wish.value)
        if action in (Action.BEGIN, Action.REFRESH):
            self.state = replace(self.state, active=True)  # from the first write on the device may be following
            await self._write_all(plan.enable, port)
        await port.write(plan.place.address, raw)
        if action in (Action.BEGIN, Action.REFRESH):
            await self._write_all(plan.switches, port)
        self._note(action, raw, now_mono_ns)
        return await self._read_back(raw, port)

    async def _end(self, port: RegisterPort, now_mono_ns: int) -> ReadBack:
        """Failsafe value, then switched off; off also when the device refuses the value: then it matters most."""
        refused: DeviceExceptionError | EncodeError | None = None
        raw: tuple[int, ...] = ()
        try:
            raw = self._raw(self.plan.config.failsafe)
            await port.write(self.plan.place.address, raw)
        except (DeviceExceptionError, EncodeError) as error:
            refused = error
        await self._write_all([(place, 0.0) for place, _ in self.plan.switches], port)
        if refused is not None:
            raise refused
        self._note(Action.END, raw, now_mono_ns)
        return await self._read_back(raw, port)

    def _raw(self, value: float) -> tuple[int, ...]:
        raw = self._encode(self.plan.place, value / self.plan.config.scale)
        if not raw:
            raise EncodeError(f"{self.plan.tag.name}: the device gives no scale factor")
        return raw

    def forget(self) -> None:
        """Somebody else commands the register now: nothing of ours stands in it, nothing must be ended."""
        self.state = SetpointState(valid_mono_ns=self.state.valid_mono_ns)

    def judge(self, wish: Wish, now_mono_ns: int) -> bool:
        """Note how a wish looks; gives whether its reason is worth telling."""
        if not wish.reason:
            self.state = replace(self.state, valid_mono_ns=now_mono_ns)
        if not wish.reason or not wish.leased:
            self._useless_since_ns = 0
            return False
        self._useless_since_ns = self._useless_since_ns or now_mono_ns
        return not wish.passing or now_mono_ns - self._useless_since_ns >= HOLD_S * NS_PER_S

    def _note(self, action: Action, raw: tuple[int, ...], now_mono_ns: int) -> None:
        if action is Action.END:
            self.forget()
        elif action is Action.WRITE:
            self.state = replace(self.state, written=raw)
        else:
            self.state = replace(self.state, active=True, written=raw, refreshed_mono_ns=now_mono_ns)

    async def _write_all(self, values: Sequence[tuple[Place, float]], port: RegisterPort) -> None:
        for place, value in values:
            raw = self._encode(place, value)
            if not raw:
                raise EncodeError(f"{self.plan.tag.name}: register {place.address} has no scale factor")
            await port.write(place.address, raw)

    async def _read_back(self, raw: tuple[int, ...], port: RegisterPort) -> ReadBack:
        data = await port.read(self._first, self._count)
        values, quality = self._table.decode(data)
        at = 2 * (self.plan.place.address - self._first)
        written = b"".join(word.to_bytes(2, "big") for word in raw)
        return ReadBack(float(values[0]), int(quality[0]), data[at : at + len(written)] == written)

    async def _learn_scales(self, port: RegisterPort) -> None:
        places = [self.plan.place, *(place for place, _ in (*self.plan.enable, *self.plan.switches))]
        for address in {place.scale_address for place in places if place.scale_address is not None}:
            self._exponents[address] = scale_factor(int.from_bytes(await port.read(address, 1), "big"))

    def _encode(self, place: Place, value: float) -> tuple[int, ...]:
        """Registers of a number in the device's own unit; empty while its scale factor is not known."""
        exponent: int | None = place.exponent
        if place.scale_address is not None:
            exponent = self._exponents.get(place.scale_address)
        if exponent is None:
            return ()
        number = value / 10.0**exponent if exponent >= 0 else value * 10.0**-exponent
        data = raw_to_bytes(place.kind, place.n_registers, number)
        words = tuple(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
        return words[::-1] if place.swapped else words
