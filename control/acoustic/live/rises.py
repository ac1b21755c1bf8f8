"""Whether something stands out all over the city at once: the sky or the sirens, no single place.

The chain's heads hear thunder at some nodes as an explosion and at most as nothing; but the level rises at all of them,
and sound from one street cannot have come so far. Every node's latest rise is kept; nothing else.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from gwanje.control.acoustic.live.places import NodePlace

ABOVE_DB: Final = 12.0
QUIET_DB: Final = 6.0
"""A rise begins above the one and ends below the other, over the node's noise floor."""
WITHIN_NS: Final = 1_600_000_000
"""Rises this long before an event, or after it, are of the same happening."""
OWN_NS: Final = 3_000_000_000
"""A node's own rise so long before what was heard is of the same sound."""
SPEED_M_S: Final = 340.0
NEAR_S: Final = 0.6
"""The source may be 200 m away from the node."""
FAR_M: Final = 400.0
"""Nobody in between hears one street sound at both of two nodes so far apart."""
SHARE_MIN: Final = 0.25
"""By chance an eighth of them has a rise in that time; a clap has reached a third when the first node has judged it."""
NODES_MIN: Final = 6
"""Of single nodes something passes now and then: of nine, six at once by chance in one of a thousand events."""
NEVER: Final = -(1 << 62)


class Rises:
    """Latest rises of all nodes.

    Args:
        places: of the nodes.
    """

    def __init__(self, places: tuple[NodePlace, ...]) -> None:
        self._xy_m = np.array([one.xy_m for one in places])
        self._begun_ns = [NEVER] * len(places)
        self._heard_ns = [NEVER] * len(places)
        self._up = [False] * len(places)

    def take(self, node: int, end_ns: int, level_db: float, floor_db: float) -> None:
        """A block of a node: its loudest frame and its noise floor."""
        self._heard_ns[node] = end_ns
        above_db = level_db - floor_db
        if above_db >= ABOVE_DB and not self._up[node]:
            self._up[node] = True
            self._begun_ns[node] = end_ns
        elif above_db < QUIET_DB:
            self._up[node] = False

    def city_wide(self, node: int, at_ns: int) -> bool:
        """Whether what a node heard at a moment stands out at far too many others to have one place.

        A loud siren is heard a kilometre away, too: but later by what sound needs for it. Only nodes at which it rose
        too soon for that count.
        """
        own_ns = self._begun_ns[node]
        if not 0 <= at_ns - own_ns <= OWN_NS:
            own_ns = at_ns
        begun = np.array(self._begun_ns, np.int64)
        listening = np.array(self._heard_ns, np.int64) >= at_ns - WITHIN_NS
        range_m = np.hypot(*(self._xy_m - self._xy_m[node]).T)
        far = listening & (range_m > FAR_M)
        sooner_ns = np.minimum((range_m / SPEED_M_S - NEAR_S) * 1e9, WITHIN_NS)
        n_risen = int((far & (np.abs(begun - own_ns) <= sooner_ns)).sum())
        return n_risen >= max(NODES_MIN, SHARE_MIN * int(far.sum()))
