"""When exactly a sound began at a node: from the samples around where the chain says it did.

Places come from differences of milliseconds between nodes, so every node must take the same point of the same sound:
where its envelope has risen to a quarter of the height it has within the first tenth of a second.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy.signal
from numpy.typing import NDArray

RATE_HZ: Final = 16_000
LOW_HZ: Final = 400.0
"""Below it lies the street's rumble, which has no edges."""
SMOOTH: Final = 16
"""Samples of the envelope: a millisecond."""
BEFORE_S: Final = 0.35
AFTER_S: Final = 0.15
ABOVE_NOISE: Final = 4.0
"""12 dB over the noise before, of amplitude."""
HEIGHT_S: Final = 0.1
SHARE: Final = 0.25
SIGMA_S_MIN: Final = 0.001


@dataclass(frozen=True, slots=True)
class Onset:
    """The beginning of a sound.

    Attributes:
        sample: where, with its fraction.
        sigma_s: how exactly: the slower it rises the less.
        snr_db: height of its beginning above the noise before.
    """

    sample: float
    sigma_s: float
    snr_db: float


def find(samples: NDArray[np.int16], about: int) -> Onset | None:
    """The onset near a sample; None where nothing rises there.

    Args:
        samples: (n,) or (n_mics, n) at 16 kHz; of several microphones the envelopes are added.
        about: where the chain says the sound began, exact to a tenth of a second or two.
    """
    rows = np.atleast_2d(samples).astype(np.float64)
    begin, end = max(0, about - round(BEFORE_S * RATE_HZ)), min(rows.shape[1], about + round(AFTER_S * RATE_HZ))
    if end - begin < RATE_HZ // 8:
        return None
    sos = scipy.signal.butter(2, LOW_HZ, "highpass", fs=RATE_HZ, output="sos")
    high = scipy.signal.sosfilt(sos, rows[:, : min(rows.shape[1], end + round(HEIGHT_S * RATE_HZ))], axis=1)
    power = np.convolve((high**2).mean(axis=0), np.full(SMOOTH, 1.0 / SMOOTH))[: high.shape[1]]
    envelope = np.sqrt(power)
    quiet = envelope[begin : max(begin + SMOOTH, about - round(0.1 * RATE_HZ))]
    noise = max(float(np.median(quiet)), 1.0)
    over = np.flatnonzero(envelope[begin:end] >= ABOVE_NOISE * noise)
    if not len(over):
        return None
    first = begin + int(over[0])
    height = float(envelope[first : first + round(HEIGHT_S * RATE_HZ)].max())
    wanted = max(SHARE * height, ABOVE_NOISE * noise)
    at = first + int(np.argmax(envelope[first:] >= wanted))
    before, there = float(envelope[at - 1]), float(envelope[at])
    part = (wanted - before) / (there - before) if there > before and at > begin else 0.0
    rise = np.flatnonzero(envelope[first:] >= 0.8 * height)
    rise_s = (int(rise[0]) if len(rise) else 0) / RATE_HZ
    sigma_s = max(SIGMA_S_MIN, 0.5 * rise_s * noise / height + 0.1 * rise_s)
    # The envelope is of the past millisecond: its middle is half of that earlier.
    return Onset(at - 1 + part - SMOOTH / 2, sigma_s, 20.0 * float(np.log10(height / noise)))
