"""Mixtures: an event or a negative over a background, at a level and signal-to-noise ratio, as the ring holds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gwanje.control.acoustic.features import FULL_SCALE, HOP_SAMPLES, SAMPLE_RATE_HZ, WINDOW_SAMPLES
from gwanje.control.acoustic.training.clips import Clip, Wave

BACKGROUNDS: Final = (
    "neg_ambient", "neg_rain", "neg_wind", "neg_traffic", "neg_vehicle", "neg_helicopter", "neg_sea", "neg_crowd",
    "neg_insect", "neg_construction", "neg_aircraft", "neg_train", "neg_motorcycle", "neg_bus", "neg_chainsaw",
)  # fmt: skip
BACKGROUND_MIN_S: Final = 2.0
LEAD_S: Final = 2.0  # background before the event: longer than a patch
ACTIVE_DB: Final = -25.0  # frames within this of the loudest one are the event


@dataclass(frozen=True, slots=True)
class Scene:
    """A few seconds of sound with at most one event.

    Attributes:
        samples: (n,) int16 at 16 kHz.
        clip: the event or negative in it.
        snr_db: event over background; NaN for a background by itself.
        onset_s: where the event begins; NaN without event.
        active: (n_frames,) energy of the event per 10 ms frame, 0 where it is not heard.
        plain: without augmentation, fit to be counted.
    """

    samples: NDArray[np.int16]
    clip: Clip
    snr_db: float
    onset_s: float
    active: NDArray[np.float64]
    plain: bool


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


def stretch_of(samples: Wave, n: int, rng: np.random.Generator) -> Wave:
    """A random stretch of n samples; a short recording is repeated."""
    if len(samples) >= n:
        start = int(rng.integers(len(samples) - n + 1))
        return samples[start : start + n]
    return np.tile(samples, n // len(samples) + 1)[:n]


def varied(samples: Wave, rng: np.random.Generator) -> Wave:
    """The same event elsewhere: faster or slower, brighter or duller, between walls."""
    from scipy.signal import fftconvolve, resample_poly

    if rng.random() < 0.6:
        samples = resample_poly(samples, int(rng.integers(88, 115)), 100).astype(np.float32)
    if rng.random() < 0.5:
        tilt = np.float32(rng.uniform(-0.6, 0.6))
        samples = np.concatenate([samples[:1], samples[1:] + tilt * samples[:-1]])
    if rng.random() < 0.4:
        length = rng.uniform(0.15, 0.9)
        t = np.arange(int(length * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
        room = rng.standard_normal(len(t)) * 10 ** (-3 * t / length) * rng.uniform(0.01, 0.06)
        room[0] = 1.0
        samples = fftconvolve(samples, room).astype(np.float32)
    return samples


def narrow(samples: Wave) -> Wave:
    """Through an 8 kHz telephone codec's band."""
    from scipy.signal import resample_poly

    half = resample_poly(samples, 1, 2)
    return np.asarray(resample_poly(half, 2, 1)[: len(samples)], dtype=np.float32)


class Mixer:
    """Makes scenes; backgrounds come from the fold of the event, so that no recording crosses a split."""

    def __init__(self, clips: list[Clip], seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._pools: dict[int, list[Clip]] = {}
        for clip in clips:
            if clip.class_name in BACKGROUNDS and len(clip.samples) > BACKGROUND_MIN_S * SAMPLE_RATE_HZ:
                self._pools.setdefault(clip.fold, []).append(clip)

    def background(self, fold: int, n: int) -> Wave:
        """N samples of street with the root mean square 1."""
        pool = self._pools[fold]
        quiet = [clip for clip in pool if clip.class_name in BACKGROUNDS[:5]]
        chosen = quiet if quiet and self._rng.random() < 0.7 else pool
        samples = stretch_of(chosen[int(self._rng.integers(len(chosen)))].samples, n, self._rng)
        return samples / np.float32(rms(samples))

    def event(self, clip: Clip, snr_db: float, plain: bool, background: Wave | None = None) -> Scene:
        """An event over a background.

        Args:
            clip: the event.
            snr_db: of the event's loudest 40 % over the background.
            plain: keep the event as it was recorded.
            background: (n,) to use instead of a random one.
        """
        rng = self._rng
        event = clip.samples if plain else varied(clip.samples, rng)
        onset = int((LEAD_S + rng.uniform(0.0, 0.24)) * SAMPLE_RATE_HZ)
        n = onset + len(event) + int(1.2 * SAMPLE_RATE_HZ)
        street = self.background(clip.fold, n) if background is None else background / np.float32(rms(background))
        n = min(n, len(street))
        level = 10 ** (rng.uniform(-50.0, -26.0) / 20)
        gain = level * 10 ** (snr_db / 20) / event_rms(event)
        ceiling = rng.uniform(0.5, 1.5) / (float(np.abs(event).max()) + 1e-9)  # above 1 it clips
        if gain > ceiling:
            level, gain = level * ceiling / gain, ceiling
        event = (event[: n - onset] * gain).astype(np.float32)
        mixed = street[:n] * np.float32(level)
        mixed[onset : onset + len(event)] += event
        if not plain and rng.random() < 0.2:
            mixed = narrow(mixed)
        active = np.zeros((n - WINDOW_SAMPLES) // HOP_SAMPLES + 1)
        energy = frame_energy(event)
        energy[energy < energy.max(initial=0.0) * 10 ** (ACTIVE_DB / 10)] = 0.0
        first = onset // HOP_SAMPLES
        room = active[first : first + len(energy)]
        room[:] = energy[: len(room)]
        return Scene(to_int16(mixed), clip, snr_db, onset / SAMPLE_RATE_HZ, active, plain)

    def negative(self, clip: Clip, plain: bool) -> Scene:
        """A negative by itself when it is long, over a background when it is short; at a level a street could have."""
        rng = self._rng
        samples = clip.samples if plain else varied(clip.samples, rng)
        if len(samples) < BACKGROUND_MIN_S * SAMPLE_RATE_HZ:
            onset = int(rng.uniform(1.0, 1.5) * SAMPLE_RATE_HZ)
            n = onset + len(samples) + int(1.0 * SAMPLE_RATE_HZ)
            level = 10 ** (rng.uniform(-52.0, -28.0) / 20)
            snr_db = float(rng.choice([0.0, 5.0, 10.0, 20.0, 30.0]))
            gain = level * 10 ** (snr_db / 20) / event_rms(samples)
            gain = min(gain, rng.uniform(0.1, 0.7) / (float(np.abs(samples).max()) + 1e-9))
            mixed = self.background(clip.fold, n) * np.float32(level)
            mixed[onset : onset + len(samples)] += (samples * gain).astype(np.float32)
        else:
            snr_db = float("nan")
            gain = 10 ** (rng.uniform(-46.0, -14.0) / 20) / rms(samples)
            mixed = samples * np.float32(min(gain, 0.9 / (float(np.abs(samples).max()) + 1e-9)))
        if not plain and rng.random() < 0.2:
            mixed = narrow(mixed)
        frames = max(0, (len(mixed) - WINDOW_SAMPLES) // HOP_SAMPLES + 1)
        return Scene(to_int16(mixed.astype(np.float32)), clip, snr_db, float("nan"), np.zeros(frames), plain)
