"""How a sound reaches microphones at places: true delays, distance, ground, and street noise from everywhere. Pure.

Metres east, north and up; sound travels straight and off the ground, facades are left out. Levels fall by the distance
law, high tones also by what the air takes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import scipy.fft

Floats = npt.NDArray[np.float64]
Sound = npt.NDArray[np.int16]

GROUND_REFLECTS = 0.4
"""Of the amplitude: asphalt takes part of it, and roughness scatters the rest."""
AIR_DB_PER_M_AT_1KHZ = 0.005
"""At 15 °C and 60 % humidity; it grows with the frequency to the power 1.6 or so."""
AIR_POWER = 1.6
NEAR_M = 1.0
"""Nobody's sound comes from nearer: the distance law has no end there."""
WAVES = 16
"""Directions that street noise comes from."""
TAPS = 16
"""Half the taps of a fractional delay: exact to a thousandth up to 7 kHz."""
OWN_NOISE = 0.05
"""Of each microphone by itself, beside the street's."""
REFERENCE_M = 10.0
"""Where the level of a sound at a place is given."""


def speed_m_s(air_c: float) -> float:
    """Speed of sound in air."""
    return 331.3 + 0.606 * air_c


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sound comes from: metres east, north and above the street."""

    x_m: float
    y_m: float
    height_m: float = 1.2


@dataclass(frozen=True)
class Post:
    """Where a node's microphones are.

    Attributes:
        x_m: of the array's middle, east.
        y_m: north.
        height_m: above the street.
        mic_xy_m: in the array's frame, right and forward; empty for one microphone in the middle.
        yaw: where its front looks, radians clockwise from north.
    """

    x_m: float
    y_m: float
    height_m: float = 4.0
    mic_xy_m: tuple[tuple[float, float], ...] = ()
    yaw: float = 0.0

    @cached_property
    def mics_m(self) -> Floats:
        """(n_mics, 3) on the map."""
        own = np.array(self.mic_xy_m or ((0.0, 0.0),))
        sine, cosine = math.sin(self.yaw), math.cos(self.yaw)
        east = own[:, 0] * cosine + own[:, 1] * sine
        north = -own[:, 0] * sine + own[:, 1] * cosine
        return np.stack([self.x_m + east, self.y_m + north, np.full(len(own), self.height_m)], axis=1)

    def ahead(self, range_m: float) -> Place:
        """A place in front of the array."""
        return Place(self.x_m + range_m * math.sin(self.yaw), self.y_m + range_m * math.cos(self.yaw))

    def range_m(self, place: Place) -> float:
        """Distance to a place."""
        return math.dist((self.x_m, self.y_m, self.height_m), (place.x_m, place.y_m, place.height_m))


@dataclass(frozen=True, slots=True)
class Arrival:
    """What one node hears of a sound at a place.

    Attributes:
        samples: (n_mics, n) real, in the unit of the sound as it is at :data:`REFERENCE_M`.
        first: whole samples after the sound's beginning at which they begin.
    """

    samples: Floats
    first: int


def arrive(
    sound: npt.NDArray[np.floating] | Sound, rate_hz: int, post: Post, place: Place, air_speed_m_s: float,
    shift: float = 0.0,
) -> Arrival:  # fmt: skip
    """A sound as it reaches each microphone, delayed exactly (in the frequency domain).

    Args:
        sound: (n,) as it is at :data:`REFERENCE_M` from its place.
        rate_hz: of the samples.
        post: of the node.
        place: of the sound.
        air_speed_m_s: speed of sound.
        shift: part of a sample that everything is later, 0…1.
    """
    source = np.array([place.x_m, place.y_m, place.height_m])
    straight = np.maximum(np.linalg.norm(post.mics_m - source, axis=1), NEAR_M)
    mirrored = np.linalg.norm(post.mics_m - source * (1.0, 1.0, -1.0), axis=1)
    late = straight / air_speed_m_s * rate_hz + shift
    first = math.floor(float(late.min())) - 8
    tail = math.ceil(float((mirrored / air_speed_m_s * rate_hz + shift).max())) - first + 16
    size = scipy.fft.next_fast_len(len(sound) + tail, real=True)
    hz = np.fft.rfftfreq(size, 1.0 / rate_hz)
    omega = 2.0 * np.pi * hz / rate_hz
    air = 10.0 ** (-AIR_DB_PER_M_AT_1KHZ * (float(straight.mean()) - REFERENCE_M) * (hz / 1_000.0) ** AIR_POWER / 20.0)
    spectrum = scipy.fft.rfft(np.asarray(sound, np.float64), size) * np.minimum(air, 1.0)
    rows = np.empty((len(straight), len(sound) + tail))
    for row, (near, far) in enumerate(zip(straight.tolist(), mirrored.tolist(), strict=True)):
        way = REFERENCE_M / near * np.exp(-1j * omega * (near / air_speed_m_s * rate_hz + shift - first))
        off_ground = far / air_speed_m_s * rate_hz + shift - first
        way += GROUND_REFLECTS * REFERENCE_M / far * np.exp(-1j * omega * off_ground)
        rows[row] = scipy.fft.irfft(spectrum * way, size)[: len(sound) + tail]
    return Arrival(rows, first)


def everywhere(
    loop: Sound, mic_xy_m: Sequence[tuple[float, float]], rate_hz: int, air_speed_m_s: float = 340.0
) -> Sound:
    """A looped street as an array hears it: the same recording at other moments from every direction.

    Args:
        loop: (n,) that repeats without a seam.
        mic_xy_m: of the array.
        rate_hz: of the samples.
        air_speed_m_s: speed of sound.

    Returns:
        (n_mics, n) that repeat without a seam, the first as loud as the loop.
    """
    n = len(loop)
    rng = np.random.default_rng(n)
    spectrum = scipy.fft.rfft(loop.astype(np.float64))
    angle = 2.0 * np.pi * (np.arange(WAVES) + rng.uniform(size=WAVES)) / WAVES
    level = np.cos(rng.uniform(0.0, 0.5, WAVES))
    towards = level[:, None] * np.stack([np.sin(angle), np.cos(angle)], axis=1)
    moment = rng.integers(0, n, WAVES)
    rows = np.empty((len(mic_xy_m), n))
    tap = np.arange(-TAPS, TAPS)
    for row, mic in enumerate(np.array(mic_xy_m)):
        late = moment - towards @ mic / air_speed_m_s * rate_hz
        whole = np.floor(late).astype(np.int64)
        apart = tap[None] - (late - whole)[:, None]
        weight = np.sinc(apart) * np.cos(0.5 * np.pi * np.clip(apart / TAPS, -1.0, 1.0)) ** 2
        ways = np.zeros(n)
        np.add.at(ways, (whole[:, None] + tap[None]) % n, weight)
        rows[row] = scipy.fft.irfft(spectrum * scipy.fft.rfft(ways), n)
    scale = math.sqrt(float((loop.astype(np.float64) ** 2).mean() / max(float((rows[0] ** 2).mean()), 1e-9)))
    rows *= scale
    own = OWN_NOISE * math.sqrt(float((rows[0] ** 2).mean()))
    rows += rng.normal(0.0, own, rows.shape)
    return np.clip(np.rint(rows), -32_768, 32_767).astype(np.int16)
