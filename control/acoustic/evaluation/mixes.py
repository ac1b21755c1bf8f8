"""What the chain is played: events over backgrounds at given ratios, and streets in which nothing happens.

Everything follows from the recordings and the seed. Levels are those of a street microphone; nothing clips, so that
the ratio is the one that is said.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gwanje.control.acoustic.classes import CLASS_NAMES
from gwanje.control.acoustic.features import SAMPLE_RATE_HZ
from gwanje.control.acoustic.training.clips import Clip, ClipError, Wave
from gwanje.control.acoustic.training.scenes import BACKGROUNDS, event_rms, rms, to_int16

SNR_DB: Final = (20.0, 10.0, 5.0, 0.0)
LEAD_S: Final = 3.0
TAIL_S: Final = 2.0
BED_MIN_S: Final = 2.0
BED_LEVEL_DB: Final = (-52.0, -32.0)
PEAK: Final = 0.95
JOINT_S: Final = 0.05  # of a looped bed, and at both ends of a negative that was cut out of something
SESSION_S: Final = 90.0
GAP_S: Final = (0.3, 1.5)
NEGATIVE_SNR_DB: Final = (0.0, 5.0, 10.0, 20.0)
EVERYDAY_PER_H: Final = 30.0
TURN_S: Final = 30.0  # the longest piece of one negative in a session

Generator = np.random.Generator


@dataclass(frozen=True, slots=True)
class Mix:
    """Some seconds or minutes of one microphone.

    Attributes:
        samples: (n,) int16 at 16 kHz.
        clip: the event in it, None in a street without one.
        snr_db: of the event over the background; NaN without one.
        onset_s: where the event's recording begins; NaN without one.
        fold: whose recordings it is made of.
        marks: (second, name) of the negatives in it, in order.
    """

    samples: NDArray[np.int16]
    clip: Clip | None
    snr_db: float
    onset_s: float
    fold: int
    marks: tuple[tuple[float, str], ...] = ()

    @property
    def seconds(self) -> float:
        """Its length."""
        return len(self.samples) / SAMPLE_RATE_HZ


def looped(samples: Wave, n: int, rng: Generator) -> Wave:
    """N samples of a recording from a random place, round and round, without a click at the joint."""
    joint = min(int(JOINT_S * SAMPLE_RATE_HZ), len(samples) // 4)
    start = int(rng.integers(len(samples)))
    if joint:
        ramp = np.linspace(0.0, 1.0, joint, dtype=np.float32)
        ring = samples[: len(samples) - joint].copy()
        ring[:joint] = ring[:joint] * ramp + samples[len(samples) - joint :] * (1.0 - ramp)
    else:
        ring = samples
    return np.asarray(np.take(ring, np.arange(start, start + n), mode="wrap"), dtype=np.float32)


def eased(samples: Wave) -> Wave:
    """The same, faded in and out within 50 ms."""
    n = min(int(JOINT_S * SAMPLE_RATE_HZ), len(samples) // 2)
    out = samples.copy()
    if n:
        ramp = np.linspace(0.0, 1.0, n, dtype=np.float32)
        out[:n] *= ramp
        out[len(out) - n :] *= ramp[::-1]
    return out


def beds_of(clips: list[Clip]) -> dict[int, list[Clip]]:
    """By fold, the negatives that can lie under an event: those of continuous kinds, else all that are long enough.

    Raises:
        ClipError: none is.
    """
    long = [c for c in clips if c.class_name not in CLASS_NAMES and len(c.samples) >= BED_MIN_S * SAMPLE_RATE_HZ]
    if not long:
        raise ClipError(f"no negative of {BED_MIN_S:g} s or more: events need a background")
    pools: dict[int, list[Clip]] = {}
    for fold in sorted({clip.fold for clip in clips}):
        mine = [clip for clip in long if clip.fold == fold]
        pools[fold] = [clip for clip in mine if clip.class_name in BACKGROUNDS] or mine or long
    return pools


def _bed(pool: list[Clip], n: int, rng: Generator) -> Wave:
    """N samples of a background with the root mean square 1."""
    bed = looped(pool[int(rng.integers(len(pool)))].samples, n, rng)
    return bed / np.float32(max(rms(bed), 1e-6))


def _quantised(mixed: Wave) -> NDArray[np.int16]:
    peak = float(np.abs(mixed).max())
    return to_int16(mixed * np.float32(min(1.0, PEAK / max(peak, 1e-9))))


def event_mix(clip: Clip, snr_db: float, pool: list[Clip], rng: Generator) -> Mix:
    """One event over a background: its loudest 40 % are ``snr_db`` above the background."""
    onset = int((LEAD_S + rng.uniform(0.0, 0.24)) * SAMPLE_RATE_HZ)
    mixed = _bed(pool, onset + len(clip.samples) + int(TAIL_S * SAMPLE_RATE_HZ), rng)
    mixed *= np.float32(10 ** (rng.uniform(*BED_LEVEL_DB) / 20))
    gain = rms(mixed) * 10 ** (snr_db / 20) / event_rms(clip.samples)
    mixed[onset : onset + len(clip.samples)] += clip.samples * np.float32(gain)
    return Mix(_quantised(mixed), clip, snr_db, onset / SAMPLE_RATE_HZ, clip.fold)


def event_mixes(clips: list[Clip], repeats: int, seed: int) -> list[Mix]:
    """Every event at every ratio, ``repeats`` times over other backgrounds."""
    pools = beds_of(clips)
    mixes = []
    for number, clip in enumerate(clips):
        if clip.class_name in CLASS_NAMES:
            rng = np.random.default_rng([seed, 1, number])
            mixes += [
                event_mix(clip, snr_db, pools[clip.fold], rng) for snr_db in SNR_DB for _ in range(repeats)
            ]
    return mixes


def _session(pieces: list[tuple[int, Clip, Wave]], n: int, fold: int, pool: list[Clip], rng: Generator) -> Mix:
    """Negatives at their places over one background."""
    mixed = _bed(pool, n, rng) * np.float32(10 ** (rng.uniform(*BED_LEVEL_DB) / 20))
    level = rms(mixed)
    for at, _, wave in pieces:
        gain = level * 10 ** (float(rng.choice(NEGATIVE_SNR_DB)) / 20) / event_rms(wave)
        mixed[at : at + len(wave)] += wave * np.float32(gain)
    marks = tuple((at / SAMPLE_RATE_HZ, clip.name) for at, clip, _ in pieces)
    return Mix(_quantised(mixed), None, float("nan"), float("nan"), fold, marks)


def _turn_of(clip: Clip, rng: Generator) -> Wave:
    longest = int(TURN_S * SAMPLE_RATE_HZ)
    start = int(rng.integers(max(1, len(clip.samples) - longest + 1)))
    return eased(clip.samples[start : start + longest])


def crowded_streets(clips: list[Clip], hours: float, seed: int) -> list[Mix]:
    """At least ``hours`` in which the negatives follow each other with hardly a pause, each as often as the others.

    The hardest street there can be: a false alarm an hour here is one in some six hundred everyday sounds.
    """
    pools = beds_of(clips)
    negatives = [clip for clip in clips if clip.class_name not in CLASS_NAMES]
    mixes: list[Mix] = []
    total, turn = 0.0, 0
    while total < hours * 3600.0:
        rng = np.random.default_rng([seed, 2, turn])
        turn += 1
        for fold in sorted({clip.fold for clip in negatives}):
            mine = [clip for clip in negatives if clip.fold == fold]
            pieces: list[tuple[int, Clip, Wave]] = []
            at = int(SAMPLE_RATE_HZ)
            for i in rng.permutation(len(mine)).tolist():
                wave = _turn_of(mine[i], rng)
                pieces.append((at, mine[i], wave))
                at += len(wave) + int(rng.uniform(*GAP_S) * SAMPLE_RATE_HZ)
                if at >= SESSION_S * SAMPLE_RATE_HZ:
                    mixes.append(_session(pieces, at, fold, pools[fold], rng))
                    total += mixes[-1].seconds
                    pieces, at = [], int(SAMPLE_RATE_HZ)
            if pieces:
                mixes.append(_session(pieces, at + SAMPLE_RATE_HZ, fold, pools[fold], rng))
                total += mixes[-1].seconds
    return mixes


def mixed_streets(clips: list[Clip], hours: float, seed: int, minutes: float = 10.0) -> list[Mix]:
    """``hours`` of backgrounds, each ten minutes another one, with an everyday sound every two minutes on average."""
    pools = beds_of(clips)
    negatives = [clip for clip in clips if clip.class_name not in CLASS_NAMES]
    folds = sorted({clip.fold for clip in negatives})
    mixes: list[Mix] = []
    n = int(minutes * 60.0 * SAMPLE_RATE_HZ)
    for number in range(int(np.ceil(hours * 60.0 / minutes))):
        rng, fold = np.random.default_rng([seed, 3, number]), folds[number % len(folds)]
        mine = [clip for clip in negatives if clip.fold == fold]
        pieces = []
        for at in np.sort(rng.integers(0, n - int((TURN_S + 1.0) * SAMPLE_RATE_HZ),
                                       rng.poisson(EVERYDAY_PER_H * minutes / 60.0))).tolist():
            clip = mine[int(rng.integers(len(mine)))]
            pieces.append((at, clip, _turn_of(clip, rng)))
        mixes.append(_session(pieces, n, fold, pools[fold], rng))
    return mixes
