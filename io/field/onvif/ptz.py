"""What a camera's drives are told, and when: held speeds, their refresh, and the stop. Pure.

A speed is held for a while after each command (a joystick sends them again and again) and told to the camera with a
time-out of its own, refreshed at half of it: whoever dies, the camera stands within that time.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gwanje.core.clock import NS_PER_S
from gwanje.io.field.onvif.messages import Position, Preset

AXES = ("pan", "tilt", "zoom")
TIMEOUT_LEAST_S = 0.2
"""A shorter time-out could be over before the camera begins."""
NEAR = 0.01
"""So near a preset's position the camera looks at it: half a degree of a half turn."""
_NUMBER = re.compile(r"(\d{1,4})$")


@dataclass(frozen=True, slots=True)
class Move:
    """Move at these speeds for so long."""

    pan: float
    tilt: float
    zoom: float
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Halt:
    """Stop all axes."""


@dataclass(slots=True)
class Held:
    """A speed and until when it is held."""

    speed: float = 0.0
    until_mono_ns: int = 0


@dataclass(slots=True)
class Drives:
    """Held speeds of a camera.

    Attributes:
        revert_s: time-out given to the camera.
    """

    revert_s: float
    axes: dict[str, Held] = field(default_factory=lambda: {one: Held() for one in AXES})
    _told: tuple[float, float, float] | None = None
    _refresh_mono_ns: int = 0

    @property
    def told(self) -> bool:
        """Whether the camera was told to move and not yet to stop."""
        return self._told is not None

    def hold(self, axis: str, speed: float, now_mono_ns: int, hold_s: float) -> None:
        """Move an axis from now on; 0 lets go of it."""
        self.axes[axis] = Held(speed, now_mono_ns + round(hold_s * NS_PER_S) if speed else 0)

    def let_go(self) -> None:
        """No axis is held any more."""
        for axis in AXES:
            self.axes[axis] = Held()

    def forget(self) -> None:
        """The camera does something else now, or nobody knows: nothing is to be stopped by us."""
        self.let_go()
        self._told = None

    def speed(self, axis: str, now_mono_ns: int) -> float:
        """What is held of an axis now."""
        held = self.axes[axis]
        return held.speed if now_mono_ns < held.until_mono_ns else 0.0

    def next(self, now_mono_ns: int) -> Move | Halt | None:
        """What to tell the camera now; :meth:`done` when it was told."""
        wanted = tuple(self.speed(one, now_mono_ns) for one in AXES)
        if not any(wanted):
            return Halt() if self._told is not None else None
        if wanted == self._told and now_mono_ns < self._refresh_mono_ns:
            return None
        ends = max(one.until_mono_ns for one in self.axes.values())
        timeout_s = min(self.revert_s, max((ends - now_mono_ns) / NS_PER_S, TIMEOUT_LEAST_S))
        return Move(wanted[0], wanted[1], wanted[2], timeout_s)

    def done(self, action: Move | Halt, now_mono_ns: int) -> None:
        """The camera was told."""
        if isinstance(action, Halt):
            self._told = None
        else:
            self._told = action.pan, action.tilt, action.zoom
            self._refresh_mono_ns = now_mono_ns + round(action.timeout_s * NS_PER_S / 2.0)

    def due_mono_ns(self) -> int:
        """When :meth:`next` will have something, at the latest; 0 when nothing is held."""
        if self._told is None:
            return 0
        ends = [one.until_mono_ns for one in self.axes.values() if one.until_mono_ns]
        return min([self._refresh_mono_ns, *ends])


def numbered(presets: Sequence[Preset], named: Mapping[int, str]) -> dict[int, Preset]:
    """Presets by their number.

    Args:
        presets: of the camera.
        named: numbers that the site gives to tokens or names. Without one the number at the end of a preset's token is
            its number (``3``, ``Preset_3``): never its place in the list, which shifts when one is deleted.
    """
    by_word = {one.name: one for one in presets if one.name} | {one.token: one for one in presets}
    found: dict[int, Preset] = {}
    for one in presets:
        digits = _NUMBER.search(one.token)
        if digits is not None:
            found.setdefault(int(digits[1]), one)
    for number, word in named.items():
        found.pop(number, None)
        if word in by_word:
            found[number] = by_word[word]
    return found


def preset_at(position: Position, presets: Mapping[int, Preset]) -> int:
    """Number of the preset that a camera looks at; 0 at none."""
    for number, one in sorted(presets.items()):
        if one.position is not None and _near(position, one.position):
            return number
    return 0


def _near(one: Position, other: Position) -> bool:
    pairs = ((one.pan, other.pan), (one.tilt, other.tilt), (one.zoom, other.zoom))
    known = [(a, b) for a, b in pairs if a is not None and b is not None]
    return bool(known) and all(math.isclose(a, b, abs_tol=NEAR) for a, b in known)
