"""What a node's own street usually makes the heads say, and how much more it must take there to raise an alarm.

Beside a school yard the head for screams is never quite silent, under a flight path the one for sirens. Where a class's
margin usually stays close under its threshold, the threshold of that node and class goes up by as much as it is closer
than the reserve. It follows in minutes; a single event, however loud, counts as little above the usual.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from gwanje.control.acoustic.classes import CLASS_NAMES

RESERVE: Final = 3.0  # log odds that the usual may come to the threshold without lifting it
LIFT_MAX: Final = 2.5
FOLLOW_S: Final = 240.0
STEP_S_MAX: Final = 2.0
ABOVE_MAX: Final = 1.5


class Usual:
    """The usual margins of all nodes of a site."""

    def __init__(self, n_nodes: int) -> None:
        self._margin = np.full((n_nodes, len(CLASS_NAMES)), -2.0 * RESERVE, np.float32)

    def above(self, node: int, margins: NDArray[np.float32], elapsed_ns: int) -> NDArray[np.float32]:
        """Margins above the node's own thresholds.

        Args:
            node: its index.
            margins: (n_classes,) of its newest patch, above the thresholds that all nodes share.
            elapsed_ns: since its last patch.
        """
        usual = self._margin[node]
        share = min(elapsed_ns * 1e-9, STEP_S_MAX) / FOLLOW_S
        known = np.where(np.isfinite(margins), margins, usual)
        new = usual + np.float32(share) * (np.clip(known, -4.0 * RESERVE, usual + ABOVE_MAX) - usual)
        self._margin[node] = new
        lift = np.clip(new + RESERVE, 0.0, LIFT_MAX)
        return np.asarray(margins - lift, dtype=np.float32)

    def lift(self, node: int) -> NDArray[np.float32]:
        """(n_classes,) by how much the node's thresholds lie higher than those of others."""
        return np.asarray(np.clip(self._margin[node] + RESERVE, 0.0, LIFT_MAX), dtype=np.float32)
