"""The same sound elsewhere: between other facades, farther away, in the wind, through a camera's codec.

For training only. What is recorded close by in a studio reaches a street microphone with the ground, the facades and
the air in between; a head that has only met the dry recording knows the studio.
"""

from __future__ import annotations

import io
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gwanje.control.acoustic.features import SAMPLE_RATE_HZ

Wave = NDArray[np.float32]
Generator = np.random.Generator

SOUND_M_PER_S: Final = 343.0
AIR_DB_PER_M_KHZ2: Final = 0.0016  # 20 °C, 50 % humidity: 0.1 dB/m at 8 kHz (ISO 9613-1, rounded)
CODECS: Final = ("a_law", "mu_law", "opus", "mp3")


def street_response(rng: Generator) -> Wave:
    """Impulse response of a street, (n,) float32, the direct sound first and 1.

    Source and microphone stand in a canyon: the ground and both facades up to the third order, each duller than the
    one before, then what the street scatters, falling by 60 dB in 0.3…1.2 s.
    """
    from scipy.signal import lfilter

    distance_m, width_m, height_m = rng.uniform(4.0, 40.0), rng.uniform(8.0, 30.0), rng.uniform(2.5, 6.0)
    source_m, ear_m = rng.uniform(0.5, width_m - 0.5), rng.uniform(0.5, width_m - 0.5)
    decay_s, diffuse = rng.uniform(0.3, 1.2), 10 ** (rng.uniform(-38.0, -22.0) / 20)
    length = int((0.12 + 0.6 * decay_s) * SAMPLE_RATE_HZ)
    response = np.zeros(length, np.float64)
    direct_m = float(np.hypot(distance_m, source_m - ear_m))
    wall, ground = rng.uniform(0.5, 0.85), rng.uniform(0.4, 0.9)
    for order in range(-3, 4):
        across_m = order * width_m + (source_m if order % 2 == 0 else width_m - source_m) - ear_m
        for below in (0, 1):
            path_m = float(np.sqrt(distance_m**2 + across_m**2 + (2.0 * height_m * below) ** 2))
            at = round((path_m - direct_m) / SOUND_M_PER_S * SAMPLE_RATE_HZ)
            if 0 <= at < length:
                response[at] += wall ** abs(order) * ground**below * direct_m / path_m
    t = np.arange(length) / SAMPLE_RATE_HZ
    tail = rng.standard_normal(length) * 10 ** (-3.0 * t / decay_s) * diffuse
    tail[: int(0.01 * SAMPLE_RATE_HZ)] = 0.0
    response += lfilter([0.4], [1.0, -0.6], tail) if rng.random() < 0.5 else tail
    return np.asarray(response / max(float(response[0]), 1e-3), dtype=np.float32)


def through(wave: Wave, response: Wave) -> Wave:
    """A sound in a street."""
    from scipy.signal import fftconvolve

    return np.asarray(fftconvolve(wave, response), dtype=np.float32)


def from_afar(wave: Wave, distance_m: float) -> Wave:
    """What the air leaves of it: the high frequencies go first."""
    spectrum = np.fft.rfft(wave)
    khz = np.fft.rfftfreq(len(wave), 1.0 / SAMPLE_RATE_HZ) / 1000.0
    left = spectrum * 10 ** (-AIR_DB_PER_M_KHZ2 * khz**2 * distance_m / 20.0)
    return np.fft.irfft(left, len(wave)).astype(np.float32)


def wind(rng: Generator, n: int) -> Wave:
    """Gusts on a microphone's windscreen, root mean square 1: noise that falls steeply above some 60 Hz."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    hz = np.fft.rfftfreq(n, 1.0 / SAMPLE_RATE_HZ)
    rumble = np.fft.irfft(spectrum / (1.0 + (hz / rng.uniform(30.0, 120.0)) ** rng.uniform(1.2, 2.2)), n)
    knots = np.exp(rng.normal(0.0, 0.7, max(2, n // 6_000 + 2)))
    gust = np.interp(np.linspace(0.0, len(knots) - 1.0, n), np.arange(len(knots)), knots)
    blown = rumble * gust
    return np.asarray(blown / (np.sqrt(np.mean(blown**2)) + 1e-12), dtype=np.float32)


def pattering(rng: Generator, n: int) -> Wave:
    """Rain on the housing, root mean square 1: many drops, each a short ring, over a hiss."""
    drops = (rng.random(n) < rng.uniform(20.0, 300.0) / SAMPLE_RATE_HZ) * rng.exponential(1.0, n)
    t = np.arange(int(0.008 * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    ring = np.sin(2 * np.pi * rng.uniform(800.0, 4500.0) * t) * np.exp(-t / rng.uniform(0.0008, 0.003))
    rain = np.convolve(drops, ring, "same") + rng.uniform(0.01, 0.08) * rng.standard_normal(n)
    return np.asarray(rain / (np.sqrt(np.mean(rain**2)) + 1e-12), dtype=np.float32)


def _compressed(samples: Wave, law: str) -> Wave:
    """G.711 there and back: eight bits, finer where it is quiet."""
    x = np.clip(samples, -1.0, 1.0)
    loud = np.abs(x)
    if law == "mu_law":
        code = np.round(np.log1p(255.0 * loud) / np.log(256.0) * 127.0) / 127.0
        back = np.expm1(code * np.log(256.0)) / 255.0
    else:
        small, base = 1.0 / 87.6, 1.0 + np.log(87.6)
        code = np.where(loud < small, 87.6 * loud / base, (1.0 + np.log(np.maximum(87.6 * loud, 1.0))) / base)
        code = np.round(code * 127.0) / 127.0
        back = np.where(code < 1.0 / base, code * base / 87.6, np.exp(code * base - 1.0) / 87.6)
    return np.asarray(np.sign(x) * back, dtype=np.float32)


def through_codec(samples: Wave, codec: str) -> Wave:
    """What a camera's codec leaves: G.711 at 8 kHz, or Opus or MP3 as the sound library encodes them.

    Args:
        samples: (n,) full scale 1.
        codec: one of ``CODECS``.

    Returns:
        (n,) float32. Nothing touches a disk.
    """
    from scipy.signal import resample_poly

    n = len(samples)
    if codec in ("a_law", "mu_law"):
        half = _compressed(resample_poly(samples, 1, 2).astype(np.float32), codec)
        return _fitted(resample_poly(half, 2, 1), n)
    import soundfile

    kind, subtype, rate = ("OGG", "OPUS", 16_000) if codec == "opus" else ("MP3", "MPEG_LAYER_III", 16_000)
    memory = io.BytesIO()
    soundfile.write(memory, np.clip(samples, -1.0, 1.0), rate, format=kind, subtype=subtype)
    memory.seek(0)
    decoded, decoded_rate = soundfile.read(memory, dtype="float32")
    if decoded_rate != SAMPLE_RATE_HZ:
        decoded = resample_poly(decoded, SAMPLE_RATE_HZ, decoded_rate)
    delay = 0 if codec == "opus" else _delay(samples, decoded)
    return _fitted(decoded[delay:], n)


def _delay(samples: Wave, decoded: Wave) -> int:
    """By how many samples a codec is late, up to 0.2 s."""
    n = min(len(samples), len(decoded), 4 * SAMPLE_RATE_HZ)
    size = 2 * n
    both = np.fft.irfft(np.fft.rfft(decoded[:n], size) * np.conj(np.fft.rfft(samples[:n], size)), size)
    return int(np.argmax(both[: SAMPLE_RATE_HZ // 5]))


def _fitted(samples: NDArray[np.floating], n: int) -> Wave:
    out = np.zeros(n, np.float32)
    out[: min(n, len(samples))] = samples[:n]
    return out


def staged(wave: Wave, rng: Generator) -> Wave:
    """A recording as another event of its kind in another street: pitch, tilt, air, walls."""
    from scipy.signal import resample_poly

    if rng.random() < 0.7:
        wave = resample_poly(wave, int(rng.integers(85, 119)), 100).astype(np.float32)
    if rng.random() < 0.5:
        tilt = np.float32(rng.uniform(-0.6, 0.6))
        wave = np.concatenate([wave[:1], wave[1:] + tilt * wave[:-1]])
    if rng.random() < 0.5:
        wave = from_afar(wave, rng.uniform(5.0, 80.0))
    if rng.random() < 0.6:
        wave = through(wave, street_response(rng))
    return wave


def weathered(mixed: Wave, rng: Generator) -> Wave:
    """A scene in wind or rain, some of the time, and through a codec, some of the time."""
    level = np.float32(np.sqrt(np.mean(mixed**2)) + 1e-9)
    if rng.random() < 0.15:
        mixed = mixed + wind(rng, len(mixed)) * level * np.float32(10 ** (rng.uniform(-15.0, 6.0) / 20))
    if rng.random() < 0.1:
        mixed = mixed + pattering(rng, len(mixed)) * level * np.float32(10 ** (rng.uniform(-20.0, 0.0) / 20))
    if rng.random() < 0.25:
        mixed = through_codec(mixed, str(rng.choice(CODECS)))
    return mixed
