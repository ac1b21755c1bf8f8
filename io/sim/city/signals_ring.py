"""The simulated intersection: two rings of phases between barriers, run by a plan against the clock. Pure.

The standard eight phases (NEMA TS 2): ring 1 runs phases 1 2 | 3 4, ring 2 runs 5 6 | 7 8, the bar is the barrier that
both rings cross together. A plan gives the cycle and where the barrier and each ring's change of phase lie in it, so
the state follows from the clock. A request moves the change of phase inside its own side of the barrier, never the
barrier, and never into the yellow of a phase that runs; another plan begins where the cycle ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SIDES = (((1, 2), (5, 6)), ((3, 4), (7, 8)))
"""(side of the barrier) → (ring) → its two phases in order."""
YELLOW_S, ALL_RED_S = 3.0, 2.0
CLEAR_S = YELLOW_S + ALL_RED_S
GREEN_MIN_S = 7.0
WALK_S = 7.0
PATTERN_FREE, PATTERN_FLASH = 254, 255
BACKUP_PATTERN = 1
"""What the controller's own timetable says when nobody manages it and the clock says nothing else."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A timing plan.

    Attributes:
        cycle_s: of the coordination.
        side_s: of the first side; the second has the rest.
        first_s: (side, ring) of the first phase with its clearance.
    """

    cycle_s: float
    side_s: float
    first_s: tuple[tuple[float, float], tuple[float, float]]


PLANS = {
    1: Plan(90.0, 50.0, ((15.0, 18.0), (14.0, 16.0))),
    2: Plan(120.0, 70.0, ((20.0, 22.0), (18.0, 20.0))),
    3: Plan(110.0, 56.0, ((22.0, 16.0), (20.0, 18.0))),
}
"""1 off the peaks, 2 in the morning, 3 in the evening."""


def pattern_at(second_of_day: float) -> int:
    """The pattern of the timetable."""
    hour = second_of_day / 3600.0
    return 2 if 7.0 <= hour < 9.5 else 3 if 17.0 <= hour < 20.0 else 1


@dataclass(frozen=True, slots=True)
class Lamps:
    """Masks of what is lit; phase 1 is bit 0."""

    reds: int
    yellows: int
    greens: int
    walks: int


class Rings:
    """One intersection's phases.

    Args:
        offset_s: of its cycle against the clock.
    """

    def __init__(self, offset_s: float) -> None:
        self._origin_s = offset_s
        self._cycle = -1
        self.pattern = 0
        """The plan that runs; 0 before the first look."""
        self._at: tuple[int, int, int] = (-1, -1, -1)
        self._change_s = [0.0, 0.0]
        self.requested = 0
        """Phase that is called and held, 0 for none."""

    def lamps(self, pattern: int, now_s: float) -> Lamps:
        """What is lit at a moment; moments come in order.

        Args:
            pattern: of :data:`PLANS`; an unknown one runs as the first.
            now_s: seconds of the clock.
        """
        self.pattern = self.pattern or pattern
        plan = PLANS.get(self.pattern, PLANS[BACKUP_PATTERN])
        cycle, into_s = divmod(now_s - self._origin_s, plan.cycle_s)
        if pattern != self.pattern and int(cycle) != self._cycle:
            self._origin_s = now_s - into_s
            self.pattern, plan, cycle = pattern, PLANS.get(pattern, PLANS[BACKUP_PATTERN]), 0.0
        self._cycle = int(cycle)
        side = int(into_s >= plan.side_s)
        into_s -= plan.side_s * side
        length_s = plan.cycle_s - plan.side_s if side else plan.side_s
        here = (self.pattern, self._cycle, side)
        for ring in (0, 1):
            wanted = self._wanted(plan.first_s[side][ring], SIDES[side][ring], length_s)
            if here != self._at:
                self._change_s[ring] = wanted
            elif into_s < self._change_s[ring] - CLEAR_S:  # its first phase is green still: the change may move
                self._change_s[ring] = max(wanted, into_s + CLEAR_S)
        self._at = here
        return _lit(side, self._change_s, into_s, length_s)

    def _wanted(self, first_s: float, phases: Sequence[int], length_s: float) -> float:
        """Where the change of phase lies: moved as far as the other phase's shortest green allows."""
        shortest = GREEN_MIN_S + CLEAR_S
        if self.requested == phases[0]:
            return length_s - shortest
        return shortest if self.requested == phases[1] else first_s


def _lit(side: int, change_s: Sequence[float], into_s: float, length_s: float) -> Lamps:
    yellows = greens = walks = 0
    for ring, (first, second) in enumerate(SIDES[side]):
        phase, since_s, left_s = (
            (first, into_s, change_s[ring] - into_s) if into_s < change_s[ring]
            else (second, into_s - change_s[ring], length_s - into_s)
        )  # fmt: skip
        bit = 1 << phase - 1
        if left_s > CLEAR_S:
            greens |= bit
            walks |= bit if since_s < WALK_S and not phase % 2 else 0
        elif left_s > ALL_RED_S:
            yellows |= bit
    return Lamps(0xFF & ~(greens | yellows), yellows, greens, walks)


class Controller:
    """A controller: what it shows, what it was asked, and how it falls back to its own timetable.

    Args:
        offset_s: of its cycle.
        timezone_s: of the site's clock against UTC.
    """

    def __init__(self, offset_s: float, timezone_s: float) -> None:
        self._rings = Rings(offset_s)
        self._timezone_s = timezone_s
        self.backup_s = 0
        self.asked_pattern = 0
        self.hold = [0, 0]
        self.call = [0, 0]
        self.flashing = False
        self._managed_s = float("-inf")
        self.fallbacks = 0
        """How often nobody refreshed what was asked for, and it was dropped."""

    @property
    def managed(self) -> bool:
        """Whether anything is asked for."""
        return bool(self.asked_pattern or any(self.hold) or any(self.call))

    def touched(self, now_s: float) -> None:
        """A control object was written: the backup timer starts anew."""
        self._managed_s = now_s

    def step(self, now_s: float) -> None:
        """Drop what was asked for when nobody has refreshed it for the backup time."""
        if self.managed and self.backup_s and now_s - self._managed_s >= self.backup_s:
            self.asked_pattern = 0
            self.hold, self.call = [0, 0], [0, 0]
            self.fallbacks += 1
        held = self.hold[0] & self.call[0]
        self._rings.requested = (held & -held).bit_length()

    def pattern(self, now_s: float) -> int:
        """The pattern that is wanted: asked for, or of the timetable; flash stands above both."""
        if self.flashing:
            return PATTERN_FLASH
        return self.asked_pattern or pattern_at((now_s + self._timezone_s) % 86_400.0)

    def running(self, now_s: float) -> int:
        """The pattern that runs now."""
        self.lamps(now_s)
        return PATTERN_FLASH if self.flashing else self._rings.pattern

    def lamps(self, now_s: float) -> Lamps:
        """What is lit; in flash, the yellows of the main street blink."""
        if self.flashing:
            blink = int(now_s * 2) % 2
            return Lamps(0xDD if blink else 0x00, 0x22 if blink else 0x00, 0, 0)
        return self._rings.lamps(self.pattern(now_s), now_s)
