"""SRP-PHAT in plain numpy, double precision: the oracle of ``gwanje.ext.srp_phat``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gwanje.ext.steering import Steering

LEAST_SHARE = 0.05
"""Share of the band that is added to the sum of the weights: a frame in which nothing stands out shows no peak."""
STEPS_MAX = 40


def spectra(samples: NDArray[np.int16], window: NDArray[np.floating], hop: int) -> NDArray[np.complex128]:
    """Spectra of whole recordings, (n_mics, n_frames, n_window / 2 + 1); full scale counts as 1."""
    n = len(window)
    if samples.shape[1] < n:
        return np.empty((len(samples), 0, n // 2 + 1), np.complex128)
    frames = np.lib.stride_tricks.sliding_window_view(samples, n, axis=1)[:, ::hop]
    found: NDArray[np.complex128] = np.fft.rfft(frames / 32768.0 * window, axis=2)
    return found


def weights(power: NDArray[np.float64], excess: float, smooth: float, rise: float) -> NDArray[np.float64]:
    """What each bin counts in each frame, 0…1, (n_frames, n_bins), from the power summed over the microphones."""
    if excess == 0.0:
        return np.ones_like(power)
    out = np.empty_like(power)
    smoothed = floor = power[0] if len(power) else power
    for frame, now in enumerate(power):
        if frame:
            smoothed = smoothed + (now - smoothed) * smooth
            floor = np.minimum(smoothed, floor * rise + 1e-18)
        out[frame] = np.maximum(0.0, (now - floor * excess - 1e-18) / (now + 1e-18))
    return out


def srp_phat(
    samples: NDArray[np.int16],
    table: Steering,
    window: NDArray[np.floating],
    hop: int,
    first_bin: int,
    last_bin: int,
    excess: float = 0.0,
    smooth: float = 0.3,
    rise: float = 1.01,
) -> NDArray[np.float64]:
    """Maps of a node's whole recording.

    Args:
        samples: (n_mics, n) int16.
        table: of the array.
        window: (n_window,).
        hop: samples between frames.
        first_bin: first frequency bin that is listened to.
        last_bin: bin behind the last one.
        excess: see the kernel's stub.
        smooth: as well.
        rise: as well.

    Returns:
        (n_frames, n_azimuths).
    """
    band = spectra(samples, window, hop)[:, :, first_bin:last_bin] * 2.0  # the packed transforms give twice of it
    of_mic = np.abs(band) ** 2
    power = of_mic.sum(axis=0)
    # What is added keeps silence silent; microphones are transformed in twos, hence the partner's share of it.
    partner = np.zeros_like(of_mic)
    partner[0 : len(band) - 1 : 2], partner[1::2] = of_mic[1::2], of_mic[0 : len(band) - 1 : 2]
    white = band / np.sqrt(of_mic + (of_mic + partner) * 1e-8 + 1e-18)
    counted = weights(power, excess, smooth, rise)
    i, j = table.pairs.T
    cross = np.add.reduceat(white[j] * white[i].conj(), table.base_at[:-1], axis=0) * counted
    n = len(window)
    whole = np.zeros((len(cross), cross.shape[1], n // 2 + 1), np.complex128)
    whole[:, :, first_bin:last_bin] = cross
    correlation = np.fft.irfft(whole, n, axis=2) * n
    lag = (table.lag_at[:, :, None] + np.arange(table.taps.shape[2])) % n
    base = np.arange(len(cross))[None, :, None]
    response = (np.moveaxis(correlation, 1, 0)[:, base, lag] * table.taps).sum(axis=(2, 3))
    scale = counted.sum(axis=1) + LEAST_SHARE * (last_bin - first_bin)
    result: NDArray[np.float64] = response * (0.5 / len(table.pairs) / scale[:, None])
    return result


def response(
    cross: NDArray[np.complex128], delay_s: NDArray[np.float64], omega: NDArray[np.float64], at: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Exact response at a direction, its gradient and the negated matrix of its second derivatives.

    Args:
        cross: (n_baselines, n_bins).
        delay_s: (n_baselines, 2).
        omega: (n_bins,) rad/s.
        at: (2,).
    """
    turned = cross * np.exp(1j * omega * (delay_s @ at)[:, None])
    slope = -(omega * turned.imag).sum(axis=1)
    bend = (omega**2 * turned.real).sum(axis=1)
    return float(turned.real.sum()), slope @ delay_s, (delay_s * bend[:, None]).T @ delay_s


def refine(
    cross: NDArray[np.complex128],
    delay_s: NDArray[np.float64],
    omega: float,
    omega_step: float,
    x: float,
    y: float,
    step_max: float = 0.05,
) -> tuple[float, float, float]:
    """Damped Newton ascent of the exact response, see the kernel's stub."""
    frequencies = np.asarray(omega + omega_step * np.arange(cross.shape[1]), np.float64)
    at, damping = np.array([x, y]), 1e-3
    value, slope, bend = response(cross, delay_s, frequencies, at)
    for _ in range(STEPS_MAX):
        trace = abs(bend[0, 0]) + abs(bend[1, 1]) + 1e-300
        damped = bend + damping * trace * np.eye(2)
        determinant = damped[0, 0] * damped[1, 1] - damped[0, 1] ** 2
        if not (damped[0, 0] > 0.0 and determinant > 1e-12 * trace * trace * damping):
            damping *= 8.0
            if damping > 1e9:
                break
            continue
        step = np.linalg.solve(damped, slope)
        length = float(np.hypot(*step))
        if length > step_max:
            step *= step_max / length
        higher, next_slope, next_bend = response(cross, delay_s, frequencies, at + step)
        if higher >= value:
            at, value, slope, bend = at + step, higher, next_slope, next_bend
            damping = max(damping / 16.0, 1e-9)
            if length < 1e-7:
                break
        else:
            damping *= 8.0
            if length < 1e-7 or damping > 1e9:
                break
    return float(at[0]), float(at[1]), value
