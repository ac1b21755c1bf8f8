"""The bearing of one array from measured delays: least squares over pairs of microphones.

For what measures delays itself (an impulse's arrival at each microphone, a calibration), and for telling which
microphone does not fit. Microphones may lie in space; in the plane, above and below cannot be told apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gwanje.control.acoustic.where.array import ArrayError, turn

STEPS: Final = 12
AZIMUTHS: Final = 72
ELEVATION_MAX: Final = math.radians(75.0)
ELEVATIONS: Final = 11
FLAT_SHARE: Final = 0.05
RIVAL: Final = 3.84
"""So much higher may the sum of squares of another direction be (95 % of one degree of freedom) and still fit."""


@dataclass(frozen=True, slots=True)
class Direction:
    """A direction that fits delays.

    Attributes:
        azimuth: radians clockwise from the array's y axis, [0, 2π).
        elevation: radians above the array's plane; of microphones in a plane the sign is not known and given as ≥ 0.
        sigma: of the azimuth, radians.
        rivals: other azimuths, a tenth of a radian or more away, that fit as well (microphones on a line, or four that
            lie badly).
        residual_s: RMS of what remains of the delays, seconds.
        of_mic_s: (n_mics,) by how much each microphone is late against the others, seconds; NaN where no pair has it.
    """

    azimuth: float
    elevation: float
    sigma: float
    rivals: tuple[float, ...]
    residual_s: float
    of_mic_s: NDArray[np.float64]


def _towards(azimuth: NDArray[np.float64], elevation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit vectors, (…, 3)."""
    azimuth, elevation = np.broadcast_arrays(azimuth, elevation)
    level = np.cos(elevation)
    return np.stack([level * np.sin(azimuth), level * np.cos(azimuth), np.sin(elevation)], axis=-1)


def _polish(
    delays: NDArray[np.float64], apart: NDArray[np.float64], azimuth: float, elevation: float, level: bool
) -> tuple[float, float, float]:
    """Gauss–Newton on the sphere from a direction; azimuth, elevation, sum of squares (m²)."""

    def cost(a: float, e: float) -> float:
        return float(((delays - apart @ _towards(np.array(a), np.array(e))) ** 2).sum())

    best, damping = cost(azimuth, elevation), 1e-4
    for _ in range(STEPS):
        sa, ca, se, ce = math.sin(azimuth), math.cos(azimuth), math.sin(elevation), math.cos(elevation)
        slopes = apart @ np.array([[ce * ca, -se * sa], [-ce * sa, -se * ca], [0.0, ce]])
        if level:
            slopes[:, 1] = 0.0
        left = delays - apart @ np.array([ce * sa, ce * ca, se])
        normal = slopes.T @ slopes
        normal += damping * np.diag(np.diag(normal) + 1e-12)
        step = np.linalg.solve(normal, slopes.T @ left)
        tried = cost(azimuth + step[0], max(-ELEVATION_MAX, min(ELEVATION_MAX, elevation + step[1])))
        if tried <= best:
            azimuth, elevation = azimuth + step[0], max(-ELEVATION_MAX, min(ELEVATION_MAX, elevation + step[1]))
            done, best, damping = best - tried <= 1e-12 * best, tried, damping / 10.0
            if done:
                break
        else:
            damping *= 30.0
    return azimuth, elevation, best


def _checked(
    delays_s: NDArray[np.float64], pairs: NDArray[np.integer], mic_m: NDArray[np.float64], speed_m_s: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Delays as metres, and positions in space."""
    if mic_m.ndim != 2 or mic_m.shape[1] not in (2, 3) or not np.isfinite(mic_m).all():
        raise ArrayError(f"positions {mic_m.shape}: expected finite x, y (and z)")
    if pairs.ndim != 2 or pairs.shape[1] != 2 or delays_s.shape != (len(pairs),) or len(pairs) < 2:
        raise ArrayError(f"{delays_s.shape} delays of pairs {pairs.shape}: two or more of as many are needed")
    if pairs.min() < 0 or pairs.max() >= len(mic_m):
        raise ArrayError("a pair names a microphone that does not exist")
    if not np.isfinite(delays_s).all():
        raise ArrayError("a delay is not finite")
    if not speed_m_s > 0.0:
        raise ArrayError("the speed of sound must be positive")
    place = np.zeros((len(mic_m), 3))
    place[:, : mic_m.shape[1]] = mic_m
    return delays_s * speed_m_s, place


def direction(
    delays_s: NDArray[np.float64],
    pairs: NDArray[np.integer],
    mic_m: NDArray[np.float64],
    speed_m_s: float,
    sigma_s: float = 5e-6,
) -> Direction:
    """Direction of the plane wave that fits measured delays best.

    Args:
        delays_s: (n_pairs,) arrival at j minus arrival at i, seconds.
        pairs: (n_pairs, 2) microphones (i, j).
        mic_m: (n_mics, 2) or (n_mics, 3) metres.
        speed_m_s: speed of sound.
        sigma_s: standard deviation of a delay; what is left over counts when it is more.

    Raises:
        ArrayError: shapes that do not fit, numbers that are not finite, microphones at one place.
    """
    delays, place = _checked(delays_s, pairs, mic_m, speed_m_s)
    apart = place[pairs[:, 0]] - place[pairs[:, 1]]
    spread = np.linalg.svd(apart, compute_uv=False)
    if spread[0] < 1e-3:
        raise ArrayError("the microphones are at one place")
    flat = np.ptp(place[:, 2]) <= FLAT_SHARE * np.ptp(place[:, :2], axis=0).max()
    line = spread[1] <= FLAT_SHARE * spread[0]  # it knows the angle to itself alone: the source counts as level
    azimuths = 2.0 * np.pi * np.arange(AZIMUTHS) / AZIMUTHS
    elevations = np.linspace(0.0 if flat else -1.0, 1.0, ELEVATIONS) * math.radians(60.0)
    if line:
        elevations = np.zeros(1)
    grid = _towards(azimuths[None, :], elevations[:, None])
    cost = ((delays - grid @ apart.T) ** 2).sum(axis=2)
    over = cost.min(axis=0)
    hollow = np.flatnonzero((over <= np.roll(over, 1)) & (over < np.roll(over, -1)))
    starts = hollow[np.argsort(over[hollow])][:4] if len(hollow) else [int(over.argmin())]
    found = sorted(
        (_polish(delays, apart, azimuths[k], elevations[int(cost[:, k].argmin())], line) for k in starts),
        key=lambda one: one[2],
    )
    azimuth, elevation, best = found[0]
    free = max(1, len(np.unique(pairs)) - 1 - 2)
    noise = max(sigma_s * speed_m_s, math.sqrt(best / len(pairs) * (len(pairs) / free if len(pairs) > free else 1.0)))
    rivals: list[float] = []
    for other, _, value in found[1:]:
        aside = abs(math.remainder(other - azimuth, 2.0 * math.pi))
        if value - best <= RIVAL * noise**2 and aside > 0.1 and all(
            abs(math.remainder(other - known, 2.0 * math.pi)) > 0.1 for known in rivals
        ):
            rivals.append(turn(other))
    left = delays - apart @ _towards(np.array(azimuth), np.array(elevation))
    return Direction(
        turn(azimuth), abs(elevation) if flat else elevation, _sigma(apart, place, pairs, azimuth, elevation, noise),
        tuple(rivals), float(np.sqrt((left**2).mean())) / speed_m_s,
        _of_mics(left, pairs, len(place)) / speed_m_s,
    )  # fmt: skip


def _sigma(
    apart: NDArray[np.float64], place: NDArray[np.float64], pairs: NDArray[np.integer], azimuth: float,
    elevation: float, noise: float,
) -> float:  # fmt: skip
    """Of the azimuth, for independent errors of each microphone's arrival."""
    sa, ca, se, ce = math.sin(azimuth), math.cos(azimuth), math.sin(elevation), math.cos(elevation)
    slopes = apart @ np.array([[ce * ca, -se * sa], [-ce * sa, -se * ca], [0.0, ce]])
    if abs(se) < 1e-3:  # level sounds: the elevation has no slope there
        slopes = slopes[:, :1]
    inverse = np.linalg.pinv(slopes.T @ slopes, rcond=1e-9)
    ends = np.zeros((len(pairs), len(place)))
    ends[np.arange(len(pairs)), pairs[:, 1]] = 1.0
    ends[np.arange(len(pairs)), pairs[:, 0]] -= 1.0
    gain = inverse @ slopes.T @ ends
    # One arrival's error is a pair's over the square root of two.
    return min(math.pi, math.sqrt(float((gain[0] ** 2).sum())) * noise / math.sqrt(2.0))


def _of_mics(left: NDArray[np.float64], pairs: NDArray[np.integer], n_mics: int) -> NDArray[np.float64]:
    """What is left of the pairs, laid on the microphones: least squares with mean zero."""
    ends = np.zeros((len(pairs), n_mics))
    ends[np.arange(len(pairs)), pairs[:, 1]] = 1.0
    ends[np.arange(len(pairs)), pairs[:, 0]] -= 1.0
    used = np.abs(ends).sum(axis=0) > 0.0
    found = np.full(n_mics, np.nan)
    found[used] = np.linalg.pinv(ends[:, used]) @ left
    return found
