"""Typed stub of the PCEN kernel."""

import numpy as np
from numpy.typing import NDArray

class Pcen:
    """PCEN of many nodes; keeps the slow past of every band."""

    n_nodes: int
    n_bands: int

    def __init__(
        self,
        n_nodes: int,
        n_bands: int,
        share: float = 0.025,
        alpha: float = 0.98,
        offset: float = 1e-6,
        delta: float = 2.0,
    ) -> None:
        """Set the constants.

        Args:
            n_nodes: how many nodes.
            n_bands: bands of a frame.
            share: of the way to a frame that a band's past takes with it; 0.025 at 10 ms is 0.4 s.
            alpha: how much of the past is divided away, 0…1.
            offset: added to the past, positive: below it a band counts as silent.
            delta: bias before the square root, positive.

        Raises:
            ValueError: a number outside these limits.
        """

    def process(self, nodes: NDArray[np.int64], frames: NDArray[np.float32], out: NDArray[np.float32]) -> None:
        """Normalise the next frames of some nodes.

        Args:
            nodes: (k,) distinct indices.
            frames: (k, n, n_bands) log-mel, natural logarithm.
            out: (k, n, n_bands), written; 0 where there is nothing but the past.

        Raises:
            ValueError: shapes that do not fit.
            IndexError: a node that does not exist.
        """

    def reset(self, node: int) -> None:
        """Forget a node's past: its next frame is its own past."""
