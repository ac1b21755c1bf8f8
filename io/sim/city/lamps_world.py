"""Streetlights as they are: sun, programme, overrides, power, energy and faults of all lamps of a gateway, in columns.

Pure physics on numpy arrays: no I/O, no clock. The world's time runs as fast as the simulated city; overrides expire by
UTC, as their protocols say.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

DAY_S = 86_400.0
DAY_OF_YEAR = 100
"""10 April: sunrise 06:08, sunset 19:02 in Chungbuk; the city's measured PV day is twelve hours long too."""
STANDARD_MERIDIAN_DEG = 135.0
"""Of Korean time: the sun stands highest half an hour after noon."""
SUNSET_DEG = -0.833
"""Elevation of the sun's centre when it rises or sets: refraction and its radius."""
STANDBY_W = 0.6
"""What a lamp's controller draws when the lamp is off."""
DIM_LOSS = 0.07
"""Part of the rated power that the driver needs at the lowest level."""
LATE_FROM_S, LATE_TO_S, LATE_PCT = 82_800.0, 18_000.0, 60.0
"""The programme: full from sunset to 23:00, sixty percent to 05:00, full to sunrise."""

LAMP_FAULTS = {
    "lamp_failure": "the lamp gives no light and draws no power",
    "driver_failure": "the control gear does not answer: the lamp stays as it is, its control gear is reported failed",
    "power_low": "half of the LEDs are dark: power below what the level needs",
    "power_high": "power a third above what the level needs",
    "day_burner": "the lamp burns whatever it is told",
    "comm_failure": "the lamp does not reach its gateway",
    "stuck": "the lamp stays at its level, whatever it is told",
    "wrong_type": "power is reported as a text",
    "old": "everything is reported with a time of an hour ago",
    "out_of_range": "power is reported as two megawatts",
}
"""Kinds of faults of a lamp, with what each does."""
NAMES = tuple(LAMP_FAULTS)


def sun_elevation_deg(local_s: float, latitude_deg: float, longitude_deg: float) -> float:
    """Elevation of the sun, to about half a degree.

    Args:
        local_s: seconds since midnight of the first day, Korean time.
        latitude_deg: north.
        longitude_deg: east.

    Source: Iqbal, An Introduction to Solar Radiation (1983), equations 1.2.2, 1.3.1 and 1.5.1.
    """
    day = DAY_OF_YEAR + local_s / DAY_S
    turn = 2.0 * math.pi * (day - 1.0) / 365.0
    declination = math.radians(23.45) * math.sin(2.0 * math.pi * (284.0 + day) / 365.0)
    equation_min = 229.18 * (
        0.000075 + 0.001868 * math.cos(turn) - 0.032077 * math.sin(turn)
        - 0.014615 * math.cos(2.0 * turn) - 0.04089 * math.sin(2.0 * turn)
    )  # fmt: skip
    solar_s = local_s % DAY_S + 240.0 * (longitude_deg - STANDARD_MERIDIAN_DEG) + 60.0 * equation_min
    hour_angle = math.radians((solar_s / 3600.0 - 12.0) * 15.0)
    latitude = math.radians(latitude_deg)
    sine = math.sin(latitude) * math.sin(declination)
    sine += math.cos(latitude) * math.cos(declination) * math.cos(hour_angle)
    return math.degrees(math.asin(max(-1.0, min(1.0, sine))))


def illuminance_lx(elevation_deg: float) -> float:
    """Light on the ground, from full sun through dusk to night."""
    if elevation_deg > 0.0:
        return 400.0 + 110_000.0 * math.pow(math.sin(math.radians(elevation_deg)), 1.2)
    return max(400.0 * math.pow(10.0, elevation_deg / 3.0), 0.1)


def programme_pct(local_s: float, dark: bool) -> float:
    """What the calendar's programme says."""
    if not dark:
        return 0.0
    second = local_s % DAY_S
    return LATE_PCT if second >= LATE_FROM_S or second < LATE_TO_S else 100.0


@dataclass(slots=True)
class Place:
    """Where the lamps stand, degrees."""

    latitude_deg: float = 36.89
    longitude_deg: float = 127.53


class LampWorld:
    """All lamps of one gateway.

    Args:
        nominal_w: rated power of each lamp, (n,).
        seed: of the small differences between them.
        local_s: the world's time at the beginning.
        place: where they stand.
    """

    def __init__(self, nominal_w: Floats, seed: int, local_s: float, place: Place | None = None) -> None:
        n = len(nominal_w)
        chance = np.random.default_rng([seed, n])
        self.place = place or Place()
        self.local_s = local_s
        self.utc_ns = 0
        self.nominal_w = nominal_w * chance.normal(1.0, 0.015, n)
        self.energy_wh: Floats = nominal_w * chance.uniform(2_000.0, 9_000.0, n)
        self.burning_s: Floats = self.energy_wh / nominal_w * 3600.0
        self.override_pct: Floats = np.full(n, np.nan)
        self.override_until_ns = np.zeros(n, np.int64)
        self.level_pct: Floats = np.zeros(n)
        self.power_w: Floats = np.full(n, STANDBY_W)
        self.fault = np.full(n, -1, np.int8)
        self.held_pct: Floats = np.zeros(n)
        self.dark = False
        self.lux = 0.0
        self.programme = 0.0
        self.step(0.0, 0)

    def __len__(self) -> int:
        return len(self.nominal_w)

    def is_fault(self, kind: str) -> Bools:
        """Which lamps have a fault."""
        return np.asarray(self.fault == NAMES.index(kind))

    def set_fault(self, lamp: int, kind: str) -> None:
        """Begin a fault."""
        self.fault[lamp] = NAMES.index(kind)
        self.held_pct[lamp] = 100.0 if kind == "day_burner" else self.level_pct[lamp]
        self._settle()

    def clear_fault(self, lamp: int) -> None:
        """The lamp is well again."""
        self.fault[lamp] = -1
        self._settle()

    def override(self, lamps: npt.NDArray[np.int64], level_pct: float, until_utc_ns: int) -> None:
        """Lamps leave their programme until a time."""
        self.override_pct[lamps] = level_pct
        self.override_until_ns[lamps] = until_utc_ns
        self._settle()

    def resume(self, lamps: npt.NDArray[np.int64]) -> None:
        """Lamps follow their programme again."""
        self.override_pct[lamps] = np.nan
        self._settle()

    @property
    def overridden(self) -> Bools:
        """Which lamps stand under an override."""
        return np.asarray(~np.isnan(self.override_pct))

    @property
    def commanded_pct(self) -> Floats:
        """The command in effect: override or programme."""
        return np.where(self.overridden, self.override_pct, self.programme)

    def step(self, dt_s: float, utc_ns: int) -> None:
        """The world goes on.

        Args:
            dt_s: of the world's time.
            utc_ns: now, by which overrides expire.
        """
        self.energy_wh += self.power_w * dt_s / 3600.0
        self.burning_s += np.where(self.level_pct > 0.0, dt_s, 0.0)
        self.local_s += dt_s
        self.utc_ns = utc_ns
        elevation = sun_elevation_deg(self.local_s, self.place.latitude_deg, self.place.longitude_deg)
        self.dark = elevation < SUNSET_DEG
        self.lux = illuminance_lx(elevation)
        self.programme = programme_pct(self.local_s, self.dark)
        over = self.overridden & (self.override_until_ns <= utc_ns)
        if over.any():
            self.override_pct[over] = np.nan
        self._settle()

    def _settle(self) -> None:
        """Level and power of every lamp follow from what it is told and what is wrong with it."""
        held = self.is_fault("stuck") | self.is_fault("day_burner") | self.is_fault("driver_failure")
        level = np.where(held, self.held_pct, self.commanded_pct)
        level[self.is_fault("lamp_failure")] = 0.0
        power = np.where(
            level > 0.0, self.nominal_w * (DIM_LOSS + (1.0 - DIM_LOSS) * (level / 100.0) ** 1.05), STANDBY_W
        )
        power[self.is_fault("power_low")] *= 0.5
        power[self.is_fault("power_high")] *= 1.33
        self.level_pct, self.power_w = level, power
