"""Per-channel energy normalisation in plain numpy, double precision: the oracle of ``gwanje.ext.pcen``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def pcen(
    frames: NDArray[np.floating],
    share: float = 0.025,
    alpha: float = 0.98,
    offset: float = 1e-6,
    delta: float = 2.0,
) -> NDArray[np.float64]:
    """PCEN of whole recordings.

    Args:
        frames: (n_nodes, n, n_bands) log-mel, natural logarithm.
        share: of the way to a frame that a band's past takes with it.
        alpha: how much of the past is divided away.
        offset: added to the past.
        delta: bias before the square root.

    Returns:
        (n_nodes, n, n_bands).

    Source: Wang et al., Trainable frontend for robust and far-field keyword spotting (2017), equations 1 and 2.
    """
    magnitude = np.exp(frames.astype(np.float64))
    out = np.empty_like(magnitude)
    past = magnitude[:, 0].copy() if magnitude.shape[1] else magnitude.sum(axis=1)
    for t in range(magnitude.shape[1]):
        past += share * (magnitude[:, t] - past)
        out[:, t] = np.sqrt(magnitude[:, t] * (offset + past) ** -alpha + delta) - np.sqrt(delta)
    return out
