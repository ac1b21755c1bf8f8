"""Recordings for training: reading, classes, and which of them stem from one source."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from math import gcd
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gwanje.control.acoustic.classes import CLASS_NAMES
from gwanje.control.acoustic.features import SAMPLE_RATE_HZ

N_FOLDS: Final = 5
SAME_SOURCE: Final = {"osfx_osfx_23": "131385"}
"""Clips whose manifest row does not show that they were cut from another clip's recording."""
RATES_HZ: Final = (4_000, 384_000)
MAX_EVENT_S: Final = 5.0  # of a longer recording the loudest stretch is the event

Wave = NDArray[np.float32]


class ClipError(Exception):
    """The folder of recordings cannot be used; the text is one line."""


@dataclass(frozen=True, slots=True)
class Clip:
    """One recording.

    Attributes:
        name: path below the folder, without suffix.
        class_name: one of the alarm classes, or ``neg_…``.
        source: identity of the original recording; never on both sides of a split.
        fold: 0…4.
        samples: (n,) 16 kHz mono, as recorded.
    """

    name: str
    class_name: str
    source: str
    fold: int
    samples: Wave

    @property
    def label(self) -> int:
        """Index of the class, or the number of classes for a negative."""
        return CLASS_NAMES.index(self.class_name) if self.class_name in CLASS_NAMES else len(CLASS_NAMES)


def source_of(path: str, url: str) -> str:
    """Identity of the recording a clip was cut from, by its web address, else its name.

    >>> source_of("train_dev/gunshot/a.ogg", "https://freesound.org/people/x/sounds/473846/")
    '473846'
    """
    stem = Path(path).stem
    if stem in SAME_SOURCE:
        return SAME_SOURCE[stem]
    found = re.search(r"freesound\.org/(?:.*/)?(?:sounds|s)/(\d+)", url)
    if found:
        return found.group(1)
    specific = url.startswith("http") and not re.search(r"github\.com/[^/]+/[^/]+(?:/blob/.*)?/?$", url)
    return url if specific else stem


def read_wave(path: Path) -> Wave:
    """Read a recording as 16 kHz mono float32.

    Raises:
        ClipError: unreadable.
    """
    from scipy.signal import resample_poly

    try:
        import soundfile
    except ImportError as error:
        raise ClipError(f"reading recordings needs soundfile (pip install soundfile): {error}") from None
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError, RuntimeError, MemoryError) as error:
        raise ClipError(f"{path.name}: {error}") from None
    if not RATES_HZ[0] <= rate <= RATES_HZ[1]:
        raise ClipError(f"{path.name}: {rate} samples a second, expected {RATES_HZ[0]}…{RATES_HZ[1]}")
    if len(samples) == 0:
        return np.zeros(0, np.float32)
    common = gcd(rate, SAMPLE_RATE_HZ)
    mono = samples.mean(axis=1)
    if rate != SAMPLE_RATE_HZ:
        mono = resample_poly(mono, SAMPLE_RATE_HZ // common, rate // common)
    return np.ascontiguousarray(mono, dtype=np.float32)


def event_of(clip: Clip) -> Wave:
    """The stretch of an alarm recording that holds the event; negatives as they are."""
    samples, longest = clip.samples, int(MAX_EVENT_S * SAMPLE_RATE_HZ)
    if clip.label == len(CLASS_NAMES) or len(samples) == 0:
        return samples
    loud = np.flatnonzero(np.abs(samples) > 0.003 * np.abs(samples).max())
    samples = samples[loud[0] : loud[-1] + 1] if len(loud) else samples
    if len(samples) <= longest:
        return samples
    energy = np.concatenate([[0.0], np.cumsum(samples.astype(np.float64) ** 2)])
    start = int(np.argmax(energy[longest:] - energy[:-longest]))
    return samples[start : start + longest]


def with_folds(clips: list[Clip]) -> list[Clip]:
    """Deal the sources of each class out over the folds; a source lies in one fold, whatever its classes."""
    fold_of: dict[str, int] = {}
    dealt = 0
    rng = np.random.default_rng(1)
    for name in sorted({clip.class_name for clip in clips}, key=lambda one: (one.startswith("neg_"), one)):
        sources = sorted({clip.source for clip in clips if clip.class_name == name})
        rng.shuffle(sources)
        for source in sources:
            if source not in fold_of:
                fold_of[source] = dealt % N_FOLDS
                dealt += 1
    return [replace(clip, fold=fold_of[clip.source]) for clip in clips]
