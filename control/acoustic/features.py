"""What the sound classifier reads: its mel bands, window and frame rate, and the levels beside them.

The front end is YAMNet's (AudioSet, 16 kHz): magnitude of a 25 ms periodic Hann window every 10 ms through 64
triangular mel bands from 125 to 7500 Hz, natural logarithm of the band plus 0.001. The triangles are straight in mel,
as TensorFlow's ``linear_to_mel_weight_matrix`` draws them, not straight in hertz.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from gwanje.ext.logmel import LogMel

SAMPLE_RATE_HZ: Final = 16_000
WINDOW_SAMPLES: Final = 400
HOP_SAMPLES: Final = 160
HOP_S: Final = HOP_SAMPLES / SAMPLE_RATE_HZ
N_FFT: Final = 512
N_MELS: Final = 64
LOW_HZ: Final = 125.0
HIGH_HZ: Final = 7_500.0
LOG_OFFSET: Final = 0.001
PATCH_FRAMES: Final = 96
FULL_SCALE: Final = 32_768.0
SILENCE_DB: Final = -96.0  # half a step of int16: nothing below it can be told from silence


def mel(hertz: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Mel of a frequency, HTK's formula."""
    return np.asarray(1127.0 * np.log1p(np.asarray(hertz) / 700.0))


def mel_weights(
    n_mels: int = N_MELS,
    n_fft: int = N_FFT,
    sample_rate_hz: float = SAMPLE_RATE_HZ,
    low_hz: float = LOW_HZ,
    high_hz: float = HIGH_HZ,
) -> NDArray[np.float32]:
    """Triangular bands, straight in mel, peak 1, nothing from the zero-frequency bin.

    Returns:
        (n_fft / 2 + 1, n_mels) float32.
    """
    bins = mel(np.linspace(0.0, sample_rate_hz / 2, n_fft // 2 + 1))[:, None]
    edges = np.linspace(mel(low_hz), mel(high_hz), n_mels + 2)
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    weights = np.maximum(0.0, np.minimum(rising, falling))
    weights[0] = 0.0
    return np.ascontiguousarray(weights, dtype=np.float32)


def hann(n: int = WINDOW_SAMPLES) -> NDArray[np.float32]:
    """Periodic Hann window, (n,) float32."""
    return (0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(n) / n)).astype(np.float32)


def front_end(n_channels: int) -> LogMel:
    """The compiled front end for ``n_channels`` streams."""
    return LogMel(n_channels, mel_weights(), hann(), HOP_SAMPLES, LOG_OFFSET)


LEVELLED_PEAK: Final = 20.0  # strongest band of a patch after levelling: that of a voice recorded near full scale
GAIN_MAX: Final = 30.0


def levelled(patches: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same sounds as if each patch had been recorded louder, up to 30 dB, never quieter.

    A street microphone hears most events far below full scale, the network was trained on recordings near it.

    Args:
        patches: (n, 96, 64) log-mel.
    """
    bands = np.exp(patches) - np.float32(LOG_OFFSET)
    peak = bands.max(axis=(1, 2), keepdims=True)
    gain = np.clip(LEVELLED_PEAK / np.maximum(peak, 1e-6), 1.0, GAIN_MAX)
    louder = np.maximum(bands, 0.0) * gain.astype(np.float32) + np.float32(LOG_OFFSET)
    return np.asarray(np.log(louder), dtype=np.float32)
