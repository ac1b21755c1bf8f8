"""What this city wants to stand in a device's priority slots: held commands and set-points under a lease. No I/O.

A slot is written when its wish begins or changes, and emptied (relinquished) when it ends: then whatever the device
would do without us counts again. That is the fail-safe; the number ``failsafe`` of a profile is not written.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field

from gwanje.io.field.bacnet.plan import Target
from gwanje.io.field.scan import NS_PER_S
from gwanje.io.field.setpoints import Action, SetpointState, Wish, decide


@dataclass(slots=True)
class Slot:
    """One priority slot of one object.

    Attributes:
        target: its plan.
        state: what the device was told.
        value: of a held command, in the tag's unit.
        until_mono_ns: until when it is held.
        retry_mono_ns: after a write that failed: not before.
        problem: why the wish cannot be followed, told once.
    """

    target: Target
    state: SetpointState = field(default_factory=SetpointState)
    value: float = math.nan
    until_mono_ns: int = 0
    retry_mono_ns: int = 0
    problem: str = ""

    def hold(self, value: float, now_mono_ns: int) -> None:
        """A command was written: it stands from now on, or stands for good where nothing is held."""
        self.value = value
        self.until_mono_ns = now_mono_ns + round(self.target.hold_s * NS_PER_S)

    def stop(self) -> None:
        """The command shall stand no longer."""
        self.until_mono_ns = 0

    def wish(self, now_mono_ns: int) -> Wish:
        """Of a held command."""
        if now_mono_ns < self.until_mono_ns:
            return Wish(True, self.value)
        return Wish(False, math.nan, "its time is over")

    def action(self, wish: Wish, now_mono_ns: int) -> Action:
        """What to do for a wish now."""
        raw = () if wish.reason else bits(self.written(wish.value))
        return decide(self.state, wish, raw, now_mono_ns, 0.0)

    def written(self, value: float) -> float:
        """A tag's value as the object holds it."""
        return value / self.target.scale

    def done(self, action: Action, wish: Wish, now_mono_ns: int) -> None:
        """The device was told."""
        if action is Action.END:
            self.state = SetpointState()
        else:
            self.state = SetpointState(True, bits(self.written(wish.value)), now_mono_ns, now_mono_ns)

    def went_offline(self) -> None:
        """Nobody knows what stands there now; what is to stand is written anew."""
        if self.state.active:
            self.state = SetpointState(active=True)


def bits(value: float) -> tuple[int]:
    """A number as something that is equal only to itself, to the last bit that a BACnet real has."""
    return (int.from_bytes(struct.pack(">f", value), "big"),)
