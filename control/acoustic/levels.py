"""Loudness, noise floor and onset, from 10 ms frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gwanje.control.acoustic.features import FULL_SCALE, HOP_S, HOP_SAMPLES, SILENCE_DB

FLOOR_QUANTILE: Final = 0.2
FLOOR_RISE_DB_PER_S: Final = 1.0  # slower than any event, fast enough for rain that sets in
FLOOR_FALL: Final = 0.5  # share of the way down per block: quiet is believed at once
ONSET_MARGIN_DB: Final = 6.0
ONSET_GAP_FRAMES: Final = 30  # 0.3 s: the pauses within one event, such as two honks or the splinters of a pane

Levels = NDArray[np.float32]


def frame_levels(samples: NDArray[np.int16]) -> Levels:
    """Level of each 10 ms.

    Args:
        samples: (n_nodes, n) with n a multiple of 160.

    Returns:
        (n_nodes, n / 160) dB below full scale (RMS), not under ``SILENCE_DB``.
    """
    n_nodes, n = samples.shape
    frames = samples.reshape(n_nodes, n // HOP_SAMPLES, HOP_SAMPLES).astype(np.float32)
    power = np.einsum("ijk,ijk->ij", frames, frames) / (HOP_SAMPLES * FULL_SCALE**2)
    return np.asarray(10.0 * np.log10(np.maximum(power, 10.0 ** (SILENCE_DB / 10.0))), dtype=np.float32)


def next_floors(floors_db: NDArray[np.float64], levels_db: Levels) -> NDArray[np.float64]:
    """The noise floors after another block: they follow quiet down quickly and noise up slowly.

    Args:
        floors_db: (k,) before the block, NaN at the start.
        levels_db: (k, n) of the block.
    """
    n = levels_db.shape[1]
    rank = int(FLOOR_QUANTILE * (n - 1))
    quiet = np.partition(levels_db, rank, axis=1)[:, rank].astype(np.float64)
    fallen = floors_db + FLOOR_FALL * (quiet - floors_db)
    risen = np.minimum(quiet, floors_db + FLOOR_RISE_DB_PER_S * HOP_S * n)
    return np.where(np.isnan(floors_db), quiet, np.where(quiet < floors_db, fallen, risen))


@dataclass(frozen=True, slots=True)
class Onset:
    """Where an event begins.

    Attributes:
        frames_back: 10 ms frames between its beginning and the end of the levels looked at.
        level_db: its loudest frame.
        snr_db: that frame above the noise floor.
    """

    frames_back: int
    level_db: float
    snr_db: float


def find_onset(levels_db: Levels, floor_db: float, patch_frames: int) -> Onset:
    """Where the sound that fills the newest patch began.

    From the loudest frame of the patch back in time to where the level last crossed half-way between floor and peak
    (at least 6 dB above the floor); pauses of up to 0.3 s are part of the event.

    Args:
        levels_db: (n,) latest levels, newest last; more than a patch, so that the beginning may lie before it.
        floor_db: noise floor.
        patch_frames: frames of the patch.
    """
    n = len(levels_db)
    start = max(0, n - patch_frames)
    peak = start + int(np.argmax(levels_db[start:]))
    level_db = float(levels_db[peak])
    edge_db = floor_db + max(ONSET_MARGIN_DB, (level_db - floor_db) / 2.0)
    above = np.flatnonzero(levels_db[: peak + 1] >= edge_db)
    first = peak
    for frame in above[::-1]:
        if first - int(frame) > ONSET_GAP_FRAMES:
            break
        first = int(frame)
    return Onset(n - first, level_db, level_db - floor_db)
