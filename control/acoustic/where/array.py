"""The microphones of one node as a geometry, and how fast sound travels.

Every array has a frame of its own: y points forward, x to the right, bearings turn clockwise from y. What a node's
frame is on the map is its yaw (:mod:`calibration`): map bearing = bearing in the frame + yaw.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

MICS_MIN: Final = 2
MICS_MAX: Final = 16
APART_M_MIN: Final = 0.005
WIDTH_M_MAX: Final = 2.0
"""Beyond it a street sound is no plane wave any more across the array."""
LINE_SHARE: Final = 0.05
"""Narrower than this share of their length, microphones stand on a line: the two sides look the same."""
BUILT_SIGMA_M: Final = 0.0005
AIR_C_MIN: Final = -60.0
AIR_C_MAX: Final = 60.0


class ArrayError(ValueError):
    """Microphones that cannot be an array; the text says why."""


@dataclass(frozen=True, slots=True, eq=False)
class Array:
    """Microphones in the plane.

    Attributes:
        mic_xy_m: (n_mics, 2) metres, x right, y forward.
        built_sigma_m: how exactly the positions are known, per coordinate.

    Raises:
        ArrayError: fewer than 2 or more than 16 microphones, two at one place, positions that are not finite.
    """

    mic_xy_m: NDArray[np.float64]
    built_sigma_m: float = BUILT_SIGMA_M

    def __post_init__(self) -> None:
        place = np.ascontiguousarray(self.mic_xy_m, np.float64)
        if place.ndim != 2 or place.shape[1] != 2 or not MICS_MIN <= len(place) <= MICS_MAX:
            raise ArrayError(f"positions {place.shape}: expected x and y of {MICS_MIN}…{MICS_MAX} microphones")
        if not np.isfinite(place).all():
            raise ArrayError("a position is not finite")
        apart = np.hypot(*(place[:, None] - place[None]).transpose(2, 0, 1)) + np.eye(len(place))
        if apart.min() < APART_M_MIN:
            i, j = np.unravel_index(int(apart.argmin()), apart.shape)
            raise ArrayError(f"microphones {i} and {j} are less than {APART_M_MIN * 1000:.0f} mm apart")
        if np.ptp(place, axis=0).max() > WIDTH_M_MAX:
            raise ArrayError(f"wider than {WIDTH_M_MAX:.0f} m")
        if not self.built_sigma_m >= 0.0:
            raise ArrayError("built_sigma_m must not be negative")
        object.__setattr__(self, "mic_xy_m", place)

    @property
    def n_mics(self) -> int:
        """How many microphones."""
        return len(self.mic_xy_m)

    def line_axis(self) -> NDArray[np.float64] | None:
        """Unit vector along microphones that stand on one line, whose two sides cannot be told apart; else None."""
        _, sizes, axes = np.linalg.svd(self.mic_xy_m - self.mic_xy_m.mean(axis=0), full_matrices=False)
        if self.n_mics > 2 and sizes[1] > LINE_SHARE * sizes[0]:
            return None
        return np.asarray(axes[0])

    def delay_s_max(self, speed_m_s: float) -> float:
        """Longest delay between two microphones that a sound can have."""
        apart = self.mic_xy_m[:, None] - self.mic_xy_m[None]
        return float(np.hypot(apart[..., 0], apart[..., 1]).max()) / speed_m_s

    def without(self, mics: NDArray[np.bool_]) -> Array:
        """The same array with only the microphones that are True here."""
        return Array(self.mic_xy_m[mics], self.built_sigma_m)


def circle(n_mics: int, radius_m: float = 0.1) -> Array:
    """Microphones evenly on a circle, the first in front, clockwise."""
    angle = 2.0 * np.pi * np.arange(n_mics) / n_mics
    return Array(radius_m * np.stack([np.sin(angle), np.cos(angle)], axis=1))


def square(radius_m: float = 0.1) -> Array:
    """Four microphones: front, right, back, left; the default of a listening camera."""
    return circle(4, radius_m)


def speed_of_sound(air_c: float) -> float:
    """Speed of sound in air of a temperature in °C, m/s; at a street's humidities exact to a third of a percent.

    Raises:
        ValueError: a temperature that no street has.
    """
    if not AIR_C_MIN <= air_c <= AIR_C_MAX:
        raise ValueError(f"air of {air_c} °C outside {AIR_C_MIN:.0f}…{AIR_C_MAX:.0f}")
    return 331.3 + 0.606 * air_c


def turn(angle: float) -> float:
    """The same angle in [0, 2π)."""
    turned = math.fmod(angle, 2.0 * math.pi)
    turned = turned + 2.0 * math.pi if turned < 0.0 else turned
    return 0.0 if turned >= 2.0 * math.pi else turned


def between(angle: float, other: float) -> float:
    """Smallest turn from ``other`` to ``angle``, in (−π, π]."""
    return math.pi - turn(math.pi - (angle - other))
