"""The measured series that drive the simulated city, and noise that is a function of time alone.

Everything here is stateless: a value depends on the seed and on the world's time only, so that a simulator that was
killed and started again goes on exactly where the world is, and the speed of the run does not change the day.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

DAY_S = 86_400
DAWN_S = 21_600
"""Local time of second 0 of the PV series: 06:00; the series is twelve hours of daylight."""

HOURS = 56 * 24
"""Hours in the extracts of homes and weather; the world repeats them after eight weeks."""


class DataError(Exception):
    """A series is missing or cannot be read; the text is one line that names the file."""


@dataclass(frozen=True, slots=True, eq=False)
class CityData:
    """Measured series, scaled to what the plant needs.

    Attributes:
        pv_pu: PV output over its greatest value, one per second of daylight, (43201,).
        wind_pu: wind output over its greatest value, one per second, (2501,).
        homes_w: mean load of each measured home by the hour, (1344, 12).
        outdoor_c: outdoor temperature by the hour, (1344,).
        ev_sessions: hours of stay, battery Wh, state of charge on arrival and asked for on departure, (n, 4).
    """

    pv_pu: Floats
    wind_pu: Floats
    homes_w: Floats
    outdoor_c: Floats
    ev_sessions: Floats

    @classmethod
    def load(cls, folder: Path) -> CityData:
        """Read the series from a site's ``data`` folder.

        Raises:
            DataError: a file is missing, short, or holds something that is no number.
        """
        pv = _column_file(folder / "pv_1day_1s_a.csv", 0, 1, 43_201)[:, 0]
        wind = _column_file(folder / "wind_2400.csv", 0, 1, 2_501)[:, 0]
        homes = _column_file(folder / "homes_hourly_kwh.csv", 1, 12, HOURS)
        weather = _column_file(folder / "weather_hourly.csv", 1, 1, HOURS)[:, 0]
        sessions = _column_file(folder / "ev_sessions.csv", 1, 4, 1)
        sessions[:, 1] *= 1000.0
        return cls(pv / pv.max(), wind / wind.max(), homes * 1000.0, weather, sessions)


def _column_file(path: Path, n_header: int, n_columns: int, n_rows_min: int) -> Floats:
    try:
        with path.open(encoding="ascii") as file:
            values = np.loadtxt(file, delimiter=",", skiprows=n_header, comments=None, quotechar='"', ndmin=2)
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: {error}") from None
    if values.ndim != 2 or values.shape[1] != n_columns or len(values) < n_rows_min:
        raise DataError(f"{path}: {values.shape} is not at least {n_rows_min} rows of {n_columns} columns")
    if not np.isfinite(values).all():
        raise DataError(f"{path}: holds a value that is not finite")
    return values


def at(points: list[float], position: float) -> float:
    """Linear interpolation between whole positions; the ends hold beyond both ends."""
    if position <= 0.0:
        return points[0]
    whole = int(position)
    if whole >= len(points) - 1:
        return points[-1]
    here = points[whole]
    return here + (position - whole) * (points[whole + 1] - here)


class Tones:
    """Band-limited noise as a sum of sines with seeded periods and phases: zero mean, and a function of time alone.

    Args:
        rng: where periods and phases come from.
        n: independent signals.
        sigma: standard deviation of each over a long time.
        period_s: shortest and longest period; spread evenly by their logarithm.
        n_tones: sines per signal.
    """

    def __init__(
        self, rng: np.random.Generator, n: int, sigma: float, period_s: tuple[float, float], n_tones: int = 6
    ) -> None:
        low, high = np.log(period_s[0]), np.log(period_s[1])
        self._omega = 2.0 * np.pi / np.exp(rng.uniform(low, high, (n, n_tones)))
        self._phase = rng.uniform(0.0, 2.0 * np.pi, (n, n_tones))
        self._amplitude = sigma * np.sqrt(2.0 / n_tones)

    def at(self, time_s: float) -> Floats:
        """Values at one moment, (n,)."""
        values: Floats = np.sin(self._omega * time_s + self._phase).sum(axis=1) * self._amplitude
        return values


class Pulses:
    """Periodic on/off cycles with seeded periods, widths, phases and heights, less their mean.

    Args:
        rng: where everything comes from.
        n: independent signals.
        height: lowest and highest level while on.
        width_s: shortest and longest time on.
        period_s: shortest and longest time from one start to the next.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        n: int,
        height: tuple[float, float],
        width_s: tuple[float, float],
        period_s: tuple[float, float],
    ) -> None:
        self._height = rng.uniform(*height, n)
        self._width_s = rng.uniform(*width_s, n)
        self._period_s = rng.uniform(*period_s, n)
        self._phase_s = rng.uniform(0.0, self._period_s)
        self._mean = self._height * self._width_s / self._period_s

    def at(self, time_s: float) -> Floats:
        """Values at one moment, zero mean over a period each, (n,)."""
        values: Floats = self.on(time_s) - self._mean
        return values

    def on(self, time_s: float) -> Floats:
        """The same with their mean: nothing between two pulses, (n,)."""
        on = np.mod(time_s + self._phase_s, self._period_s) < self._width_s
        values: Floats = np.where(on, self._height, 0.0)
        return values


def hourly(table: Floats, time_s: float) -> Floats:
    """Hourly means drawn through the middles of the hours, repeated beyond the end; (…) of a (n_hours, …) table."""
    position = time_s / 3600.0 - 0.5
    hour = int(np.floor(position))
    share = position - hour
    n = len(table)
    values: Floats = table[hour % n] * (1.0 - share) + table[(hour + 1) % n] * share
    return values
