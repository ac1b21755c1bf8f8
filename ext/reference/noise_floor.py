"""Minimum statistics in plain numpy, double precision: the oracle of ``gwanje.ext.noise_floor``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def noise_floor(
    frames: NDArray[np.floating],
    turn_frames: int = 48,
    n_turns: int = 8,
    share: float = 0.15,
    bias: float = 0.25,
) -> NDArray[np.float64]:
    """The floor of one node after each of its frames.

    Args:
        frames: (n, n_bands) log-mel from the node's first frame on.
        turn_frames: frames of a turn.
        n_turns: whole turns looked back on.
        share: of the way to a frame that the smoothed band takes with it.
        bias: added to the minimum.

    Returns:
        (n, n_bands).
    """
    smooth = np.empty(frames.shape, np.float64)
    for t, frame in enumerate(frames.astype(np.float64)):
        smooth[t] = frame if t == 0 else smooth[t - 1] + share * (frame - smooth[t - 1])
    out = np.empty_like(smooth)
    for t in range(len(frames)):
        turn = (t + 1) // turn_frames  # the last frame of a turn begins the next one too
        first = max(0, (turn - n_turns) * turn_frames - 1)
        out[t] = smooth[first : t + 1].min(axis=0) + bias
    return out
