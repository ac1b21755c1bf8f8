"""Millisecond envelope and onset shapes in plain numpy, double precision: the oracle of ``gwanje.ext.envelope``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SAMPLES_PER_MS = 16


def envelope(samples: NDArray[np.int16], share: float = 0.9) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Peak and power of every millisecond, from the beginning of a recording.

    Args:
        samples: (n_nodes, n) at 16 kHz, n a multiple of 16.
        share: of the sample before that is taken away.

    Returns:
        (n_nodes, n / 16) largest magnitude, and mean square, full scale 1.
    """
    x = samples.astype(np.float64) / 32768.0
    lighter = x - share * np.concatenate([np.zeros((len(x), 1)), x[:, :-1]], axis=1)
    ms = lighter.reshape(len(x), -1, SAMPLES_PER_MS)
    return np.abs(ms).max(axis=2), np.square(ms).mean(axis=2)


def shape(
    peak_db: NDArray[np.floating], power: NDArray[np.floating], at: int, after: int
) -> NDArray[np.float64]:
    """The eight measures of one onset.

    Args:
        peak_db: (n,) peaks, dB below full scale.
        power: (n,) mean squares.
        at: millisecond of the onset, 1 … n - 1.
        after: how much after it has been heard.

    Returns:
        (8,): see ``gwanje.ext.envelope.shapes``.
    """
    end, start = min(len(peak_db), at + after), max(0, at - 200)
    before = peak_db[start : at - 3 if at > 3 else at].mean()
    top = at + int(np.argmax(peak_db[at:end]))
    low = top
    while low > start and peak_db[low] > peak_db[top] - 12.0:
        low -= 1
    heard = power[at:end]

    def fallen(ms: int) -> float:
        around = [peak_db[t] for t in range(top + ms - 2, top + ms + 3) if 0 <= t < end]
        return float(peak_db[top] - np.mean(around)) if around else 0.0

    again, valley = 0, peak_db[top]
    for value in peak_db[top + 1 : end]:
        valley = min(valley, value)
        if value > valley + 9.0 and value > before + 10.0:
            again, valley = again + 1, value
    return np.array([
        peak_db[top] - before, top - low, peak_db[top] - 10.0 * np.log10(heard.mean() + 1e-12),
        fallen(10), fallen(30), fallen(80),
        (heard * np.arange(len(heard))).sum() / (heard.sum() + 1e-12), again,
    ], dtype=np.float64)  # fmt: skip
