"""Typed stub of the noise-floor kernel."""

import numpy as np
from numpy.typing import NDArray

class NoiseFloor:
    """Floors of many nodes; the window is ``n_turns`` turns of ``turn_frames`` frames and the one that is on."""

    n_nodes: int
    n_bands: int
    turn_frames: int
    n_turns: int

    def __init__(
        self,
        n_nodes: int,
        n_bands: int,
        turn_frames: int = 48,
        n_turns: int = 8,
        share: float = 0.15,
        bias: float = 0.25,
    ) -> None:
        """Set the constants.

        Args:
            n_nodes: how many nodes.
            n_bands: bands of a frame.
            turn_frames: frames of a turn.
            n_turns: turns in the ring, 1…256; with the defaults the floor looks back 3.84…4.32 s at 10 ms.
            share: of the way to a frame that the smoothed band takes with it.
            bias: added to the minimum, which lies below the mean of what sways; natural logarithm, 0…5.

        Raises:
            ValueError: a number outside these limits.
        """

    def process(self, nodes: NDArray[np.int64], frames: NDArray[np.float32], out: NDArray[np.float32]) -> None:
        """Follow the next frames of some nodes.

        Args:
            nodes: (k,) distinct indices.
            frames: (k, n, n_bands) log-mel, n at least 1.
            out: (k, n_bands), written: the floors after these frames, natural logarithm.

        Raises:
            ValueError: shapes that do not fit.
            IndexError: a node that does not exist.
        """

    def reset(self, node: int) -> None:
        """Forget a node's past."""
