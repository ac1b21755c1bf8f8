"""How loud sounds are, and what counts as a background."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from gwanje.control.acoustic.features import FULL_SCALE, HOP_SAMPLES
from gwanje.control.acoustic.training.clips import Wave

BACKGROUNDS: Final = (
    "neg_ambient", "neg_rain", "neg_wind", "neg_traffic", "neg_vehicle", "neg_helicopter", "neg_sea", "neg_crowd",
    "neg_insect", "neg_construction", "neg_aircraft", "neg_train", "neg_motorcycle", "neg_bus", "neg_chainsaw",
)  # fmt: skip
ACTIVE_DB: Final = -25.0  # frames within this of the loudest one are the event


def rms(samples: Wave) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)) + 1e-12))


def frame_energy(samples: Wave) -> NDArray[np.float64]:
    """Mean square of each 10 ms, (n // 160,)."""
    n = len(samples) // HOP_SAMPLES
    frames = samples[: n * HOP_SAMPLES].reshape(n, HOP_SAMPLES)
    return np.asarray(np.square(frames, dtype=np.float64).mean(axis=1))


def event_rms(samples: Wave) -> float:
    """Root mean square of the loudest 40 % of the 10 ms frames: pauses and tails do not count."""
    energy = np.sort(frame_energy(samples))[::-1]
    if len(energy) == 0:
        return rms(samples)
    return float(np.sqrt(energy[: max(1, int(0.4 * len(energy)))].mean() + 1e-12))


def to_int16(samples: Wave) -> NDArray[np.int16]:
    """Quantise; what exceeds full scale clips, as it does in a microphone."""
    return np.clip(np.round(samples * FULL_SCALE), -32768, 32767).astype(np.int16)
