"""Live checks of the arrays: one after the other, a second each; what is wrong takes confidence, it never adds a place.

Levels tell of dead, silent, clipped microphones; the delays of what was heard tell of exchanged ones; a node whose
bearings miss the places that the others agree on was turned. A fault counts when it was seen twice, and is over when it
was not seen twice.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gwanje.control.acoustic.live.hearing import RATE_HZ, Ring
from gwanje.control.acoustic.live.places import NodePlace
from gwanje.control.acoustic.where.array import between
from gwanje.control.acoustic.where.health import DelayEvidence, Fault, delays, levels

SAMPLES: Final = 16_000
EVENTS_KEPT: Final = 8
TWICE: Final = 2
TURNED: Final = math.radians(8.0)
"""Beyond what streets bend sound by, and what a pole moves in the wind."""
TURNED_SPREAD: Final = math.radians(4.0)
TURNED_MIN: Final = 3
SERIOUS: Final = frozenset({Fault.DEAD, Fault.SILENT, Fault.LOUD, Fault.CLIPPED, Fault.NOT_FINITE, Fault.UNRELATED})


class State(IntEnum):
    """Of an array; the value of its tag ``array_health``."""

    WELL = 0
    ALONE = 1
    """One microphone: nothing to check."""
    MICROPHONE = 2
    EXCHANGED = 3
    TURNED = 4
    UNKNOWN = 5
    """Not looked at yet."""


WORDS: Final = {
    State.WELL: ("정상으로 돌아왔습니다", "is well again"),
    State.MICROPHONE: ("마이크 일부가 이상합니다", "has a microphone that is not well"),
    State.EXCHANGED: ("마이크 배선이 바뀌었거나 한 채널이 늦습니다", "has exchanged or late channels"),
    State.TURNED: ("방향이 돌아갔습니다", "was turned"),
}


@dataclass(slots=True)
class Array:
    """What is known of one array.

    Attributes:
        state: that is told.
        well: (n_mics,) microphones that may be used for bearings.
        faults: of the microphones, in words.
        evidence: delays of the latest events.
        off: incident → by how much its bearing missed the place, radians; of the latest.
    """

    state: State
    well: NDArray[np.bool_]
    faults: str = ""
    evidence: deque[DelayEvidence] = field(default_factory=lambda: deque(maxlen=EVENTS_KEPT))
    off: dict[int, float] = field(default_factory=dict)
    _seen: tuple[State, int] = (State.UNKNOWN, 0)
    _ill: NDArray[np.int64] | None = None

    def see(self, state: State) -> bool:
        """A state was seen; whether what is told changes."""
        before, times = self._seen
        self._seen = state, times + 1 if state is before else 1
        if state is self.state or (self._seen[1] < TWICE and self.state is not State.UNKNOWN):
            return False
        if self.state is State.UNKNOWN and state is not State.WELL and self._seen[1] < TWICE:
            return False
        self.state = state
        return True

    def hear(self, ill: NDArray[np.bool_]) -> None:
        """Microphones that are ill now: used again after two looks at which they are not."""
        count = np.zeros(len(ill), np.int64) if self._ill is None else self._ill
        count = np.where(ill, np.maximum(count, 0) + 1, np.minimum(count, 0) - 1)
        self._ill = count
        self.well = np.where(count >= TWICE, False, np.where(count <= -TWICE, True, self.well))


class Arrays:
    """All arrays of a site.

    Args:
        places: of the nodes.
    """

    def __init__(self, places: tuple[NodePlace, ...]) -> None:
        self._places = places
        self.of = [
            Array(State.ALONE, np.ones(1, np.bool_)) if one.array is None
            else Array(State.UNKNOWN, np.ones(one.array.n_mics, np.bool_)) for one in places
        ]  # fmt: skip
        self.nodes = [index for index, one in enumerate(places) if one.array is not None]

    def usable(self, node: int) -> NDArray[np.bool_] | None:
        """Microphones whose delays may be believed; None for one alone. Of exchanged ones none."""
        one = self.of[node]
        if one.state is State.ALONE:
            return None
        return np.zeros(len(one.well), np.bool_) if one.state is State.EXCHANGED else one.well

    def look(self, node: int, ring: Ring, newest: int, speed_m_s: float) -> bool:
        """Look at the last second of a node; whether its state has changed."""
        place, one = self._places[node], self.of[node]
        assert place.array is not None, "only arrays are looked at"
        rows, _ = ring.rows(node, newest - SAMPLES, newest)
        too_little = len(rows) != place.array.n_mics or rows.shape[1] < SAMPLES // 2 or not rows.any()
        if too_little or ring.gaps(node, newest - SAMPLES, newest):
            return False  # no sound at all is told by the driver
        seen = levels(rows, place.array, RATE_HZ, speed_m_s)
        ill = np.array([bool(SERIOUS.intersection(of_mic)) for of_mic in seen.faults])
        one.hear(ill)
        one.faults = "; ".join(
            f"{mic + 1}: {', '.join(of_mic)}" for mic, of_mic in enumerate(seen.faults) if SERIOUS.intersection(of_mic)
        )
        return one.see(self._judged(one, place, bool(ill.any()), speed_m_s))

    def _judged(self, one: Array, place: NodePlace, ill: bool, speed_m_s: float) -> State:
        assert place.array is not None, "only arrays are looked at"
        if ill:
            return State.MICROPHONE
        if one.evidence and delays(list(one.evidence), place.array, speed_m_s).fits is False:
            return State.EXCHANGED
        if len(one.off) >= TURNED_MIN:
            off = np.array(list(one.off.values()))
            middle = float(np.median(off))
            spread = float(np.median(np.abs(off - middle)))
            if abs(middle) > TURNED and spread < TURNED_SPREAD:
                return State.TURNED
        return State.WELL

    def heard(self, node: int, evidence: DelayEvidence | None) -> None:
        """Delays of something that a node heard."""
        if evidence is not None:
            self.of[node].evidence.append(evidence)

    def placed(self, node: int, incident: int, bearing: float, place_xy_m: tuple[float, float]) -> None:
        """Where a sound was that a node took a bearing of; a later place of the same incident takes the earlier's."""
        own, off = self._places[node].xy_m, self.of[node].off
        towards = math.atan2(place_xy_m[0] - own[0], place_xy_m[1] - own[1])
        off[incident] = between(bearing, towards)
        while len(off) > EVENTS_KEPT:
            del off[next(iter(off))]
