"""Where the delays of an array's microphone pairs lie for every direction: tables for the SRP-PHAT kernel and its twin.

Pairs whose microphones lie apart by the same vector have the same delay in the far field; their cross spectra are
added before anything is done with them (a square has six pairs and four such baselines).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

TAPS: Final = 4
SAME_BASELINE: Final = 1e-3
"""Share of the array's width below which two baselines count as equal: less than arrays are built exactly."""


@dataclass(frozen=True, slots=True)
class Steering:
    """Tables of one array.

    Attributes:
        pairs: (n_pairs, 2) int32 microphones (i, j), pairs of one baseline after one another; the delay of a pair is
            the arrival at j minus the arrival at i.
        base_at: (n_baselines + 1,) int32 where each baseline's pairs begin.
        baselines: (n_baselines, 2) position of i minus position of j, metres: times the unit vector towards the source
            it is the delay times the speed of sound.
        lag_at: (n_azimuths, n_baselines) int32 first of the lags that are summed, in samples.
        taps: (n_azimuths, n_baselines, 4) float32 their weights.
        azimuth: (n_azimuths,) radians clockwise from the array's y axis.
    """

    pairs: NDArray[np.int32]
    base_at: NDArray[np.int32]
    baselines: NDArray[np.float64]
    lag_at: NDArray[np.int32]
    taps: NDArray[np.float32]
    azimuth: NDArray[np.float64]

    @property
    def lags_max(self) -> int:
        """Largest lag that any direction touches, either way, in samples."""
        return int(max(-self.lag_at.min(), self.lag_at.max() + TAPS - 1))


def grouped_pairs(
    mic_xy_m: NDArray[np.float64],
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]:
    """``pairs``, ``base_at`` and ``baselines`` of an array, see :class:`Steering`.

    Args:
        mic_xy_m: (n_mics, 2) positions, metres.
    """
    n = len(mic_xy_m)
    near = SAME_BASELINE * max(float(np.ptp(mic_xy_m, axis=0).max()), 1e-9)
    vectors: list[NDArray[np.float64]] = []
    members: list[list[tuple[int, int]]] = []
    for i in range(n):
        for j in range(i + 1, n):
            apart = mic_xy_m[i] - mic_xy_m[j]
            for k, known in enumerate(vectors):
                if np.abs(apart - known).max() <= near:
                    members[k].append((i, j))
                    break
                if np.abs(apart + known).max() <= near:
                    members[k].append((j, i))
                    break
            else:
                vectors.append(apart)
                members.append([(i, j)])
    pairs = np.array([pair for of_base in members for pair in of_base], np.int32)
    base_at = np.concatenate([[0], np.cumsum([len(of_base) for of_base in members])]).astype(np.int32)
    i, j = pairs.T
    of_pair = mic_xy_m[i] - mic_xy_m[j]
    baselines = np.add.reduceat(of_pair, base_at[:-1], axis=0) / np.diff(base_at)[:, None]
    return pairs, base_at, baselines


def interpolation(fraction: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """Weights of four neighbouring samples that stand for the value between the middle two.

    Least squares over the band: the error of a tone, averaged over its frequency between the two edges, is smallest.

    Args:
        fraction: (…,) place behind the second sample, 0…1.
        low: lower edge of the band, as a share of half the sampling rate.
        high: upper edge.

    Returns:
        (…, 4) weights.
    """

    def overlap(apart: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(high * np.sinc(high * apart) - low * np.sinc(low * apart))

    at = np.arange(TAPS) - 1.0
    matrix = overlap(at[:, None] - at[None, :]) + 1e-6 * np.eye(TAPS)
    return np.asarray(np.linalg.solve(matrix, overlap(np.asarray(fraction)[..., None] - at)[..., None])[..., 0])


def steering(
    mic_xy_m: NDArray[np.float64],
    speed_m_s: float,
    rate_hz: float,
    n_azimuths: int,
    band_hz: tuple[float, float],
) -> Steering:
    """Tables of an array.

    Args:
        mic_xy_m: (n_mics, 2) positions, metres; two microphones or more, no two at one place.
        speed_m_s: speed of sound.
        rate_hz: sampling rate.
        n_azimuths: directions of the map, evenly around the circle, the first along y.
        band_hz: band that is listened to; the interpolation is made for it.

    Raises:
        ValueError: fewer than two microphones, two at one place, a number that is not positive or not finite.
    """
    mic_xy_m = np.asarray(mic_xy_m, np.float64)
    if mic_xy_m.ndim != 2 or mic_xy_m.shape[1] != 2 or len(mic_xy_m) < 2:
        raise ValueError("positions of two microphones or more are needed, (n, 2)")
    if not np.isfinite(mic_xy_m).all():
        raise ValueError("a position is not finite")
    if not (speed_m_s > 0.0 and rate_hz > 0.0 and n_azimuths >= 4):
        raise ValueError("speed of sound and rate must be positive, azimuths four or more")
    if not 0.0 <= band_hz[0] < band_hz[1] <= rate_hz / 2:
        raise ValueError(f"band {band_hz} outside 0…{rate_hz / 2} Hz")
    pairs, base_at, baselines = grouped_pairs(mic_xy_m)
    if np.hypot(*baselines.T).min() < 1e-3:
        raise ValueError("two microphones are less than a millimetre apart")
    azimuth = 2.0 * np.pi * np.arange(n_azimuths) / n_azimuths
    towards = np.stack([np.sin(azimuth), np.cos(azimuth)], axis=1)
    lag = towards @ baselines.T / speed_m_s * rate_hz
    whole = np.floor(lag)
    taps = interpolation(lag - whole, 2.0 * band_hz[0] / rate_hz, 2.0 * band_hz[1] / rate_hz)
    return Steering(
        pairs, base_at, baselines, (whole - 1.0).astype(np.int32), np.ascontiguousarray(taps, np.float32), azimuth
    )
