"""Made-up scenes with a known truth: plane waves in the free field, and a street canyon by image sources.

For tests and measurements; nothing here runs in a city. The canyon needs pyroomacoustics.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from gwanje.control.acoustic.where.array import Array

RATE_HZ: Final = 16_000
ACTIVE_SHARE: Final = 0.4
DIFFUSE_WAVES: Final = 24
STREET_M: Final = (100.0, 24.0, 30.0)
"""Length, width between the facades, height up to which they reach."""
FACADE_ABSORBED: Final = 0.3
GROUND_ABSORBED: Final = 0.2
REFLECTIONS: Final = 3
ARRAY_HEIGHT_M: Final = 4.0


@dataclass(frozen=True, slots=True)
class Scene:
    """What an array hears, and what is true.

    Attributes:
        samples: (n_mics, n) int16.
        onset: sample at which the event reaches the array.
        azimuth: of the source in the array's frame, radians.
    """

    samples: NDArray[np.int16]
    onset: int
    azimuth: float


def active_level(sound: NDArray[np.floating]) -> float:
    """RMS of the loudest two fifths of the 20 ms frames: how loud an event is, whatever silence is around it."""
    n = RATE_HZ // 50
    frames = np.pad(sound, (0, -len(sound) % n)).reshape(-1, n)
    power = np.sort((frames**2).mean(axis=1))[::-1]
    return math.sqrt(float(power[: max(1, round(ACTIVE_SHARE * len(power)))].mean()))


def onset_of(sound: NDArray[np.floating]) -> int:
    """Sample at which a recorded event begins: where its 2 ms envelope first comes within 20 dB of its peak."""
    n = RATE_HZ // 500
    envelope = np.sqrt(np.convolve(sound**2, np.ones(n) / n, "same"))
    return int(np.argmax(envelope >= 0.1 * envelope.max()))


def _early(array: Array, azimuth: float, elevation: float, speed_m_s: float) -> NDArray[np.float64]:
    """By how much a plane wave reaches each microphone before the array's origin, seconds, (n_mics,)."""
    towards = math.cos(elevation) * np.array([math.sin(azimuth), math.cos(azimuth)])
    return np.asarray(array.mic_xy_m @ towards / speed_m_s)


def plane_wave(
    sound: NDArray[np.floating], array: Array, azimuth: float, speed_m_s: float, elevation: float = 0.0
) -> NDArray[np.float64]:
    """A sound as it reaches each microphone, (n_mics, n), delayed exactly in the frequency domain."""
    n = scipy.fft.next_fast_len(len(sound) + 256, real=True)
    early_s = _early(array, azimuth, elevation, speed_m_s)
    omega = 2.0 * np.pi * np.fft.rfftfreq(n, 1.0 / RATE_HZ)
    spectrum = scipy.fft.rfft(np.pad(sound, (128, 0)), n)
    return np.asarray(scipy.fft.irfft(spectrum * np.exp(1j * omega * early_s[:, None]), n)[:, 128 : 128 + len(sound)])


def diffuse(array: Array, n: int, speed_m_s: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Street noise from everywhere, falling 3 dB per octave above 500 Hz, RMS 1, (n_mics, n)."""
    size = scipy.fft.next_fast_len(n, real=True)
    frequencies = np.fft.rfftfreq(size, 1.0 / RATE_HZ)
    total = np.zeros((array.n_mics, len(frequencies)), np.complex128)
    for wave in range(DIFFUSE_WAVES):
        sound = rng.standard_normal(len(frequencies)) + 1j * rng.standard_normal(len(frequencies))
        azimuth = 2.0 * math.pi * (wave + rng.uniform()) / DIFFUSE_WAVES
        early_s = _early(array, azimuth, rng.uniform(0.0, 0.5), speed_m_s)
        total += sound * np.exp(2j * np.pi * frequencies * early_s[:, None])
    noise = scipy.fft.irfft(total / np.sqrt(1.0 + frequencies / 500.0), size)[:, :n]
    noise = noise / noise.std() + 0.05 * rng.standard_normal(noise.shape)
    return np.asarray(noise / noise.std())


def _mixed(
    event: NDArray[np.float64], level: float, noise: NDArray[np.float64], snr_db: float, peak: float
) -> NDArray[np.int16]:
    """Event and noise at an SNR, the loudest sample at ``peak`` of full scale or less."""
    both = event / max(level, 1e-12) + noise * 10.0 ** (-snr_db / 20.0)
    loudest = float(np.abs(both).max())
    return np.asarray(np.rint(both / loudest * peak * 32_000.0), np.int16)


def free_field(
    sound: NDArray[np.floating], array: Array, azimuth: float, snr_db: float, rng: np.random.Generator,
    speed_m_s: float = 343.0, lead_s: float = 0.6, elevation: float = 0.0, white: bool = False,
) -> Scene:  # fmt: skip
    """A plane wave in noise from everywhere (or, white, of each microphone's own)."""
    lead = round(lead_s * RATE_HZ)
    whole = np.concatenate([np.zeros(lead), sound, np.zeros(RATE_HZ // 4)])
    event = plane_wave(whole, array, azimuth, speed_m_s, elevation)
    noise = rng.standard_normal(event.shape) if white else diffuse(array, event.shape[1], speed_m_s, rng)
    return Scene(_mixed(event, active_level(sound), noise, snr_db, 0.5), lead + onset_of(sound), azimuth)


def canyon(
    sound: NDArray[np.floating], array: Array, snr_db: float, rng: np.random.Generator, speed_m_s: float = 343.0,
    lead_s: float = 0.6,
) -> Scene:  # fmt: skip
    """A sound 8 to 11 m from an array at 4 m height, somewhere in a street between two facades.

    Raises:
        ImportError: pyroomacoustics is not installed.
    """
    import pyroomacoustics as pra

    length, width, _ = STREET_M
    centre = np.array([length / 2, rng.uniform(2.0, width - 2.0)])
    while True:
        azimuth, apart_m = rng.uniform(0.0, 2.0 * math.pi), rng.uniform(8.0, 11.0)
        source = centre + apart_m * np.array([math.sin(azimuth), math.cos(azimuth)])
        if 0.5 < source[1] < width - 0.5:
            break
    walls: dict[str, Any] = {
        name: pra.Material(absorbed)
        for name, absorbed in (
            ("east", 1.0), ("west", 1.0), ("ceiling", 1.0), ("floor", GROUND_ABSORBED), ("north", FACADE_ABSORBED),
            ("south", FACADE_ABSORBED),
        )
    }  # fmt: skip
    room = pra.ShoeBox(STREET_M, fs=RATE_HZ, materials=walls, max_order=REFLECTIONS, air_absorption=False)
    room.set_sound_speed(speed_m_s)
    room.add_source([*source, rng.uniform(0.8, 1.7)])
    places = np.vstack([(centre + array.mic_xy_m).T, np.full(array.n_mics, ARRAY_HEIGHT_M)])
    room.add_microphone_array(places)
    room.compute_rir()
    responses = [of_mic[0] for of_mic in room.rir]
    lead, tail = round(lead_s * RATE_HZ), max(len(one) for one in responses)
    n = lead + len(sound) + tail
    event = np.zeros((array.n_mics, n))
    for mic, response in enumerate(responses):
        event[mic, lead : lead + len(sound) + len(response) - 1] = fftconvolve(sound, response.astype(np.float64))
    first = int(np.argmax(np.abs(responses[0]) >= 0.3 * np.abs(responses[0]).max()))
    noise = diffuse(array, n, speed_m_s, rng)
    level = active_level(event[0, lead:])
    return Scene(_mixed(event, level, noise, snr_db, 0.5), lead + first + onset_of(sound), azimuth)
