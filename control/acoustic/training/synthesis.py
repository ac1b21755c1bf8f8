"""Parametric sounds for the classes with few recordings: for training only, never counted in a score."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gwanje.control.acoustic.features import SAMPLE_RATE_HZ

Wave = NDArray[np.float32]
Generator = np.random.Generator


def harmonic(rng: Generator, frequency_hz: NDArray[np.float64], rolloff: float, n_harmonics: int = 12) -> Wave:
    """A tone of changing frequency with harmonics that fall by a power of their number, below 7.5 kHz."""
    phase = 2 * np.pi * np.cumsum(frequency_hz) / SAMPLE_RATE_HZ
    wave = np.zeros(len(phase))
    for k in range(1, n_harmonics + 1):
        wave += np.where(k * frequency_hz < 7500.0, np.sin(k * phase + rng.uniform(0, 6.28)) * k**-rolloff, 0.0)
    return wave.astype(np.float32)


def band_noise(rng: Generator, n: int, centre_hz: float, width_hz: float) -> Wave:
    """Noise around a frequency."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    bins = np.fft.rfftfreq(n, 1 / SAMPLE_RATE_HZ)
    return np.fft.irfft(spectrum * np.exp(-0.5 * ((bins - centre_hz) / width_hz) ** 2), n).astype(np.float32)


def modal(rng: Generator, n: int, low_hz: float, high_hz: float, n_modes: int, decay_s: tuple[float, float]) -> Wave:
    """Struck resonances: decaying sines at random frequencies."""
    t = np.arange(n) / SAMPLE_RATE_HZ
    wave = np.zeros(n)
    for _ in range(n_modes):
        frequency = np.exp(rng.uniform(np.log(low_hz), np.log(high_hz)))
        wave += rng.uniform(0.2, 1.0) * np.sin(2 * np.pi * frequency * t + rng.uniform(0, 6.28)) * np.exp(
            -t / rng.uniform(*decay_s)
        )
    return wave.astype(np.float32)


def faded(wave: Wave, fade_s: float = 0.01) -> Wave:
    """The same with soft ends, peak 1."""
    n = min(len(wave) // 2, int(fade_s * SAMPLE_RATE_HZ))
    shape = np.ones(len(wave), dtype=np.float32)
    if n:
        shape[:n] = np.linspace(0, 1, n)
        shape[-n:] = np.linspace(1, 0, n)
    return wave * shape / np.float32(np.abs(wave).max() + 1e-9)


def siren(rng: Generator) -> Wave:
    """Wail, yelp, two-tone, rising horn, or an alarm's beeps."""
    duration = rng.uniform(2.0, 5.0)
    t = np.arange(int(duration * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    low, high = rng.uniform(400, 800), rng.uniform(1000, 1800)
    kind = int(rng.integers(5))
    gate = np.ones(len(t))
    if kind == 0:
        frequency = low + (high - low) * (0.5 - 0.5 * np.cos(2 * np.pi * rng.uniform(0.15, 0.5) * t))
    elif kind == 1:
        frequency = low + (high - low) * (1 - (rng.uniform(2.0, 4.5) * t) % 1.0)
    elif kind == 2:
        step = (t * rng.uniform(0.8, 2.5)).astype(int) % 2
        base = rng.uniform(380, 950)
        frequency = np.where(step == 0, base, base * rng.uniform(1.2, 1.5))
    elif kind == 3:
        frequency = rng.uniform(300, 500) * (1 - np.exp(-t / rng.uniform(0.5, 2.0))) + 100.0
    else:
        frequency = np.full(len(t), rng.uniform(900, 3300))
        gate = ((t * rng.uniform(1.0, 4.0)) % 1.0 < rng.uniform(0.4, 0.7)).astype(float)
    wave = harmonic(rng, frequency, rng.uniform(0.6, 1.8)) * gate.astype(np.float32)
    return faded(wave, 0.05)


def horn(rng: Generator) -> Wave:
    """One to three honks of a two-tone horn."""
    base, ratio, rolloff = rng.uniform(280, 520), rng.uniform(1.15, 1.35), rng.uniform(0.2, 0.9)
    pieces: list[Wave] = []
    for _ in range(int(rng.integers(1, 4))):
        n = int(rng.uniform(0.15, 1.2) * SAMPLE_RATE_HZ)
        bend = 1.0 - 0.02 * np.exp(-np.arange(n) / (0.05 * SAMPLE_RATE_HZ))
        tone = harmonic(rng, base * bend, rolloff, 20) + harmonic(rng, base * ratio * bend, rolloff, 20)
        pieces += [faded(tone, 0.015), np.zeros(int(rng.uniform(0.05, 0.3) * SAMPLE_RATE_HZ), dtype=np.float32)]
    return np.concatenate(pieces[:-1])


def crash(rng: Generator) -> Wave:
    """Tyres, then sheet metal, plastic and glass; sometimes the impact alone."""
    pieces: list[Wave] = []
    if rng.random() < 0.6:
        n = int(rng.uniform(0.4, 1.6) * SAMPLE_RATE_HZ)
        pitch = rng.uniform(700, 1500) * (1 + 0.08 * np.cumsum(rng.standard_normal(n)) / np.sqrt(n))
        squeal = harmonic(rng, pitch, 1.0, 5) + 2.0 * band_noise(rng, n, float(pitch.mean()), 250.0)
        pieces.append(0.5 * faded(squeal, 0.08))
    n = int(rng.uniform(0.6, 1.6) * SAMPLE_RATE_HZ)
    t = np.arange(n) / SAMPLE_RATE_HZ
    decay = np.exp(-t / rng.uniform(0.06, 0.25)).astype(np.float32)
    thump = band_noise(rng, n, rng.uniform(60, 200), 120.0)
    burst = thump / np.abs(thump).max() + 0.6 * rng.standard_normal(n).astype(np.float32) / 3
    metal = modal(rng, n, 200, 3000, int(rng.integers(15, 40)), (0.03, 0.3))
    impact = burst * decay + rng.uniform(0.3, 1.0) * metal / np.abs(metal).max()
    for _ in range(int(rng.integers(3, 14))):
        at = int(rng.uniform(0.02, 0.7) * n)
        piece = modal(rng, n - at, 1500, 7000, 4, (0.01, 0.06))
        impact[at:] += np.float32(rng.uniform(0.05, 0.4) / np.abs(piece).max()) * piece
    pieces.append(faded(impact.astype(np.float32), 0.003))
    return np.concatenate(pieces)


def scream(rng: Generator) -> Wave:
    """A rough, high voice through a mouth's resonances."""
    n = int(rng.uniform(0.5, 1.8) * SAMPLE_RATE_HZ)
    t = np.arange(n) / SAMPLE_RATE_HZ
    shape = 1 + 0.35 * np.sin(np.pi * np.minimum(1.0, t / t[-1])) * rng.uniform(-0.3, 1.0)
    jitter = 1 + 0.02 * np.sin(2 * np.pi * rng.uniform(5, 9) * t) + 0.01 * rng.standard_normal(n)
    voice = harmonic(rng, rng.uniform(450, 1300) * shape * jitter, 0.5, 14)
    rough = 1 + rng.uniform(0.0, 0.9) * np.sin(2 * np.pi * rng.uniform(40, 110) * t)
    wave = voice * rough.astype(np.float32) + rng.uniform(0.05, 0.4) * rng.standard_normal(n).astype(np.float32)
    spectrum = np.fft.rfft(wave)
    bins = np.fft.rfftfreq(n, 1 / SAMPLE_RATE_HZ)
    mouth = 0.15 + sum(
        np.exp(-0.5 * ((bins - centre * rng.uniform(0.85, 1.2)) / width) ** 2)
        for centre, width in ((900.0, 250.0), (1500.0, 300.0), (2900.0, 500.0))
    )
    return faded(np.fft.irfft(spectrum * mouth, n).astype(np.float32), 0.05)


def glass(rng: Generator) -> Wave:
    """A pane that bursts and falls: a crack, then splinters ringing between 2 and 8 kHz."""
    n = int(rng.uniform(0.3, 1.4) * SAMPLE_RATE_HZ)
    t = np.arange(n) / SAMPLE_RATE_HZ
    crack = rng.standard_normal(n) * np.exp(-t / rng.uniform(0.005, 0.04))
    wave = (crack / 3).astype(np.float32)
    for _ in range(int(rng.integers(15, 60))):
        at = int(n * min(0.9, rng.exponential(0.25)))
        piece = modal(rng, n - at, 1800, 7800, int(rng.integers(2, 6)), (0.008, 0.07))
        wave[at:] += np.float32(rng.uniform(0.05, 0.5) * np.exp(-at / (0.4 * n)) / np.abs(piece).max()) * piece
    return faded(wave, 0.002)


def gunshot(rng: Generator) -> Wave:
    """A muzzle blast: a steep shock with its under-pressure, the ground, echoes, and a tail that grows duller.

    Friedlander's wave, as it is used for blasts in the open; supersonic shots begin with the bullet's crack.
    """
    n = int(rng.uniform(0.3, 1.6) * SAMPLE_RATE_HZ)
    t = np.arange(n) / SAMPLE_RATE_HZ
    positive_s = np.exp(rng.uniform(np.log(0.0003), np.log(0.003)))
    shock = (1.0 - t / positive_s) * np.exp(-t / positive_s)
    burst = rng.standard_normal(n) * np.exp(-t / np.exp(rng.uniform(np.log(0.002), np.log(0.02))))
    wave = shock + rng.uniform(0.2, 1.0) * burst
    for _ in range(int(rng.integers(1, 7))):
        at = int(np.exp(rng.uniform(np.log(0.002), np.log(0.25))) * SAMPLE_RATE_HZ)
        if at < n:
            echo = np.convolve(wave[: n - at], np.ones(int(rng.integers(1, 6))) / 3.0)[: n - at]
            wave[at:] += rng.uniform(0.05, 0.45) * echo
    tail = np.zeros(n)
    decay_s = rng.uniform(0.08, 0.6)
    for low, high, faster in ((80.0, 600.0, 1.0), (600.0, 2500.0, 0.6), (2500.0, 7000.0, 0.3)):
        centre = np.exp(rng.uniform(np.log(low), np.log(high)))
        band = band_noise(rng, n, centre, 0.5 * centre)
        tail += band / (np.abs(band).max() + 1e-9) * np.exp(-t / (decay_s * faster))
    tail[: int(0.004 * SAMPLE_RATE_HZ)] *= 0.2
    wave = wave / np.abs(wave).max() + 10 ** (rng.uniform(-26.0, -8.0) / 20) * tail
    if rng.random() < 0.25:
        crack, ahead = np.zeros(n), int(rng.uniform(0.005, 0.08) * SAMPLE_RATE_HZ)
        crack[:8] = [1.0, 0.6, 0.1, -0.5, -0.9, -0.4, 0.2, 0.1]
        wave = np.concatenate([crack[:ahead] * rng.uniform(0.2, 0.8), wave])
    return faded(wave.astype(np.float32), 0.0005)


def blast(rng: Generator) -> Wave:
    """An explosion: a deep push, a roar that rolls off, rubble after it."""
    n = int(rng.uniform(0.9, 3.0) * SAMPLE_RATE_HZ)
    t = np.arange(n) / SAMPLE_RATE_HZ
    positive_s = np.exp(rng.uniform(np.log(0.004), np.log(0.03)))
    push = (1.0 - t / positive_s) * np.exp(-t / positive_s)
    roar = np.zeros(n)
    decay_s = rng.uniform(0.15, 0.9)
    for centre, faster in ((70.0, 1.0), (180.0, 0.8), (500.0, 0.5), (1500.0, 0.25), (4000.0, 0.12)):
        middle = centre * rng.uniform(0.7, 1.4)
        band = band_noise(rng, n, middle, 0.6 * middle)
        sway = 1.0 + 0.4 * np.interp(t, np.linspace(0, t[-1], 30), rng.standard_normal(30))
        roar += rng.uniform(0.3, 1.0) * band / (np.abs(band).max() + 1e-9) * sway * np.exp(-t / (decay_s * faster))
    rise = 1.0 - np.exp(-t / rng.uniform(0.001, 0.03))
    wave = rng.uniform(0.1, 1.0) * push / np.abs(push).max() + rise * roar
    for _ in range(int(rng.integers(0, 12))):
        at = int(rng.uniform(0.1, 0.8) * n)
        piece = modal(rng, n - at, 200, 4000, 3, (0.01, 0.05))
        wave[at:] += np.float32(rng.uniform(0.01, 0.1) / (np.abs(piece).max() + 1e-9)) * piece
    return faded(wave.astype(np.float32), 0.001)


SYNTHESIS: Final[dict[str, tuple[Callable[[Generator], Wave], int]]] = {
    "gunshot": (gunshot, 36),
    "explosion": (blast, 26),
    "siren_alarm": (siren, 40),
    "car_horn": (horn, 28),
    "vehicle_crash": (crash, 26),
    "scream": (scream, 20),
    "glass_break": (glass, 14),
}
"""Class → generator and how many sounds of it enter the training."""
