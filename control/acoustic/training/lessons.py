"""The mixes that heads learn from: recordings and made sounds in other streets, weathers and codecs than their own."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from gwanje.control.acoustic.classes import CLASS_NAMES
from gwanje.control.acoustic.evaluation.mixes import Mix, beds_of, crowded_streets, event_mix
from gwanje.control.acoustic.features import FULL_SCALE, SAMPLE_RATE_HZ
from gwanje.control.acoustic.training.augment import staged, weathered
from gwanje.control.acoustic.training.clips import N_FOLDS, Clip
from gwanje.control.acoustic.training.scenes import to_int16
from gwanje.control.acoustic.training.synthesis import SYNTHESIS

SNR_DB: Final = (0.0, 3.0, 6.0, 10.0, 15.0, 20.0, 28.0)
MIXES_PER_CLASS: Final = 70
MIXES_PER_CLIP: Final = (3, 16)
EVENT_S_MAX: Final = 6.0
NEGATIVE_S_MAX: Final = 8.0  # of a longer everyday sound a stretch: the variety counts, not the length
STREET_HOURS: Final = 0.7
MADE: Final = "made/"


def _weathered(mix: Mix, rng: np.random.Generator) -> Mix:
    """The same mix in wind, rain or a codec, now and then."""
    samples = mix.samples.astype(np.float32) / np.float32(FULL_SCALE)
    return replace(mix, samples=to_int16(weathered(samples, rng)))


def event_lessons(clips: list[Clip], seed: int) -> list[Mix]:
    """Every recording of an event several times, and the made sounds, each with a fold of its own."""
    pools = beds_of(clips)
    longest = int(EVENT_S_MAX * SAMPLE_RATE_HZ)
    mixes: list[Mix] = []
    for label, name in enumerate(CLASS_NAMES):
        events = [clip for clip in clips if clip.label == label]
        rng = np.random.default_rng([seed, 11, label])
        for clip in events:
            for _ in range(int(np.clip(round(MIXES_PER_CLASS / len(events)), *MIXES_PER_CLIP))):
                other = replace(clip, samples=staged(clip.samples, rng)[:longest])
                mixes.append(_weathered(event_mix(other, float(rng.choice(SNR_DB)), pools[clip.fold], rng), rng))
        make, n_made = SYNTHESIS.get(name, (None, 0))
        for number in range(n_made if make else 0):
            assert make is not None, "a class without synthesis makes nothing"
            fold, title = int(rng.integers(N_FOLDS)), f"{MADE}{name}_{number}"
            made = Clip(title, name, title, fold, staged(make(rng), rng)[:longest])
            pool = pools.get(fold) or next(iter(pools.values()))
            mixes.append(_weathered(event_mix(made, float(rng.choice(SNR_DB[1:])), pool, rng), rng))
    return mixes


def street_lessons(clips: list[Clip], seed: int, hours: float = STREET_HOURS) -> list[Mix]:
    """Crowded streets of altered everyday sounds."""
    rng = np.random.default_rng([seed, 12])
    longest = int(NEGATIVE_S_MAX * SAMPLE_RATE_HZ)
    altered = []
    for clip in clips:
        if clip.class_name in CLASS_NAMES:
            continue
        start = int(rng.integers(max(1, len(clip.samples) - longest + 1)))
        altered.append(replace(clip, samples=staged(clip.samples[start : start + longest], rng)))
    return [_weathered(mix, rng) for mix in crowded_streets(altered, hours, seed + 1)]


def source_at(mix: Mix, end_s: float) -> str:
    """Identity of the recording that a judgement is about."""
    if mix.clip is not None:
        return mix.clip.source
    begun = [name for at_s, name in mix.marks if at_s <= end_s]
    return begun[-1] if begun else f"bed {mix.fold}"


def is_made(mix: Mix) -> bool:
    """Whether the event of a mix was made, not recorded."""
    return mix.clip is not None and mix.clip.name.startswith(MADE)
