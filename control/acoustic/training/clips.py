"""Recordings for training: reading, classes, and which of them stem from one source."""

from __future__ import annotations

import csv
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
MAX_EVENT_S: Final = 5.0  # of a longer recording the loudest stretch is the event
AUDIO_SUFFIXES: Final = (".ogg", ".wav", ".flac", ".mp3")

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
    import soundfile
    from scipy.signal import resample_poly

    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise ClipError(f"{path.name}: {error}") from None
    common = gcd(rate, SAMPLE_RATE_HZ)
    mono = samples.mean(axis=1)
    if rate != SAMPLE_RATE_HZ:
        mono = resample_poly(mono, SAMPLE_RATE_HZ // common, rate // common)
    return np.ascontiguousarray(mono, dtype=np.float32)


def load_clips(folder: Path) -> list[Clip]:
    """Every recording below ``folder/CLASS/``, with the manifest beside or above it where there is one.

    Raises:
        ClipError: no folder, no recordings, or an unreadable one.
    """
    if not folder.is_dir():
        raise ClipError(f"{folder}: no such folder")
    urls: dict[Path, str] = {}
    for home in (folder, folder.parent):
        if (home / "manifest.csv").is_file():
            with (home / "manifest.csv").open(encoding="utf-8", newline="") as file:
                urls = {(home / row["path"]).resolve(): row.get("source_url", "") for row in csv.DictReader(file)}
            break
    paths = sorted(path for path in folder.glob("*/*") if path.suffix in AUDIO_SUFFIXES)
    clips = [
        Clip(
            str(path.relative_to(folder).with_suffix("")), path.parent.name,
            source_of(str(path), urls.get(path.resolve(), "")), 0, read_wave(path),
        )
        for path in paths
        if path.parent.name in CLASS_NAMES or path.parent.name.startswith("neg_")
    ]  # fmt: skip
    if not clips:
        raise ClipError(f"{folder}: no recordings in folders named after classes")
    return with_folds([replace(clip, samples=event_of(clip)) for clip in clips])


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
