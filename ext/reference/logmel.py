"""Log-mel spectrogram in plain numpy, double precision: the oracle of ``gwanje.ext.logmel``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def log_mel(
    samples: NDArray[np.int16],
    weights: NDArray[np.floating],
    window: NDArray[np.floating],
    hop: int,
    offset: float,
) -> NDArray[np.float64]:
    """Log-mel frames of whole recordings.

    Args:
        samples: (n_channels, n) int16; full scale counts as 1.0.
        weights: (n_fft / 2 + 1, n_mels) filter bank.
        window: (n_window,), n_window ≤ n_fft.
        hop: samples between frames.
        offset: added to each band before the logarithm.

    Returns:
        (n_channels, n_frames, n_mels); frame ``i`` covers samples ``[i * hop, i * hop + n_window)``.
    """
    n_channels, n_samples = samples.shape
    n_frames = max(0, (n_samples - len(window)) // hop + 1)
    if n_frames == 0:
        return np.empty((n_channels, 0, weights.shape[1]))
    frames = np.lib.stride_tricks.sliding_window_view(samples, len(window), axis=1)[:, : (n_frames - 1) * hop + 1 : hop]
    spectrum = np.fft.rfft(frames / 32768.0 * window, 2 * (weights.shape[0] - 1), axis=2)
    result: NDArray[np.float64] = np.log(np.abs(spectrum) @ weights + offset)
    return result
