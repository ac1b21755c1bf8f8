"""A year of load and PV in quarters of an hour, from 56 measured days of homes and weather, and one of PV.

What is measured stays as it is: every hour's energy of every home, to the watt-hour. What is derived:

* the year repeats whole measured weeks in a seeded order, weekday on weekday; holidays take the Sunday of their week;
* a quarter of an hour's share in its hour is drawn (seeded), since the homes were measured by the hour;
* PV is the clear sky of the site (geometry after Spencer 1971, irradiance after Haurwitz 1945) under clouds: how clear
  a day is follows from its measured range of temperatures (Bristow and Campbell 1984), and how the clouds lie in the
  day from the measured day of the PV plant, turned and mirrored by chance; a configured yield sets the level;
* heat pumps follow monthly mean temperatures with the measured days' course upon them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gwanje.control.microgrid.tariff.local_time import (
    DAY_S,
    HOLIDAY,
    NS_PER_S,
    QUARTER_NS,
    Ints,
    civil,
    day_kinds,
    day_number,
    local_midnight_utc_ns,
)
from gwanje.control.microgrid.tariff.tariff import Floats
from gwanje.control.microgrid.year.settings import YearSettings

DAYS, HOURS = 56, 56 * 24
DAWN_QUARTER = 24
"""Quarter of the day at which the PV plant's measured day begins: 06:00."""
PV_SECONDS = 43_200
CLEAR_TRANSMISSIVITY = 0.70
"""A of Bristow and Campbell: what a cloudless sky lets through."""


class SeriesError(Exception):
    """A measured series is missing or cannot be read; the text is one line that names the file."""


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """The measured series.

    Attributes:
        homes_wh: energy by hour and home, whole watt-hours, (1344, n_homes).
        outdoor_c: temperature by hour, (1344,).
        pv_quarters: mean output of the PV plant in each quarter of an hour from 06:00, over its greatest, (48,).
    """

    homes_wh: Ints
    outdoor_c: Floats
    pv_quarters: Floats

    @classmethod
    def load(cls, folder: Path) -> Measured:
        """Read a site's ``data`` folder.

        Raises:
            SeriesError: a file is missing, short or no table of numbers.
        """
        homes = _table(folder / "homes_hourly_kwh.csv", 1, HOURS)
        weather = _table(folder / "weather_hourly.csv", 1, HOURS)[:, 0]
        pv = _table(folder / "pv_1day_1s_a.csv", 0, PV_SECONDS)[:, 0]
        quarters = pv.reshape(-1, 900).mean(axis=1) / max(float(pv.max()), 1e-9)
        return cls(np.rint(homes * 1000.0).astype(np.int64), weather, quarters)


@dataclass(frozen=True, slots=True, eq=False)
class YearSeries:
    """A year of quarters of an hour.

    Attributes:
        begin_utc_ns: of each, (n,).
        homes_mwh: consumption of each home, (n, n_homes).
        pv_mwh: generation, (n,).
        heat_pump_mwh: consumption of all heat pumps, (n,).
        outdoor_c: temperature, (n,).
        measured_day: which of the 56 days each local day repeats, (n_days,).
    """

    begin_utc_ns: Ints
    homes_mwh: Ints
    pv_mwh: Ints
    heat_pump_mwh: Ints
    outdoor_c: Floats
    measured_day: Ints

    @property
    def load_mwh(self) -> Ints:
        """Homes and heat pumps together."""
        total: Ints = self.homes_mwh.sum(axis=1) + self.heat_pump_mwh
        return total


def year_series(
    measured: Measured, settings: YearSettings, year: int, zone: str, holidays: frozenset[int], seed: int
) -> YearSeries:
    """The series of a calendar year.

    Args:
        measured: what was measured.
        settings: of the site.
        year: local.
        zone: of the site; one without summer time, since the measured days have 24 hours.
        holidays: days since 1970-01-01.
        seed: of the order of weeks, the shares of quarters and the clouds.
    """
    rng = np.random.default_rng(seed)
    first, after = day_number(date(year, 1, 1)), day_number(date(year + 1, 1, 1))
    begin = local_midnight_utc_ns(first, zone)
    n_days = after - first
    begin_utc_ns = begin + np.arange(n_days * 96, dtype=np.int64) * QUARTER_NS
    if (civil(begin_utc_ns[::96], zone).second != 0).any():
        raise SeriesError(f"{zone} changes its clocks in {year}; the measured days have 24 hours")
    days = np.arange(first, after)
    source = _days_repeated(days, holidays, settings.first_weekday, rng)
    hours = (source[:, None] * 24 + np.arange(24)).reshape(-1)
    homes = _quarters(measured.homes_wh[hours] * 1000, settings.quarter_spread, rng)
    outdoor = _outdoor(measured, settings, days, source)
    share = settings.heat_pump
    heat_w = share.loss_w_per_k * np.maximum(share.heated_to_c - outdoor, 0.0)
    cop = np.clip(share.cop_at_7_c + share.cop_per_k * (outdoor - 7.0), 1.0, 10.0)
    heat_pump = np.rint(share.share * homes.shape[1] * heat_w / cop * 250.0).astype(np.int64)
    pv = _pv(measured, settings, begin_utc_ns, source, rng)
    return YearSeries(begin_utc_ns, homes, pv, heat_pump, outdoor, source)


def _days_repeated(days: Ints, holidays: frozenset[int], first_weekday: int, rng: np.random.Generator) -> Ints:
    """Measured day that each day repeats: whole weeks in a drawn order, holidays as Sundays."""
    weekday = (days + 3) % 7
    week = (days - days[0] + weekday[0]) // 7
    n_weeks = DAYS // 7
    order = np.concatenate([rng.permutation(n_weeks) for _ in range(int(week[-1]) // n_weeks + 1)])
    wanted = np.where(day_kinds(days, holidays) == HOLIDAY, 6, weekday)
    repeated: Ints = order[week] * 7 + (wanted - first_weekday) % 7
    return repeated


def _quarters(hourly_mwh: Ints, spread: float, rng: np.random.Generator) -> Ints:
    """Hours as four quarters each that add up to them exactly."""
    shares = np.exp(rng.normal(0.0, spread, (hourly_mwh.shape[0], 4, hourly_mwh.shape[1])))
    edges = np.cumsum(shares, axis=1) / shares.sum(axis=1, keepdims=True)
    ends = np.rint(hourly_mwh[:, None, :] * edges).astype(np.int64)
    ends[:, 3, :] = hourly_mwh
    quarters: Ints = np.diff(ends, axis=1, prepend=0).reshape(-1, hourly_mwh.shape[1])
    return quarters


def _outdoor(measured: Measured, settings: YearSettings, days: Ints, source: Ints) -> Floats:
    """Monthly means drawn through the middles of the months, with the course of the measured days upon them."""
    months = np.array(settings.heat_pump.mean_c)
    of_year = (days - days[0] + 0.5) / len(days) * 12.0
    middles = np.arange(-0.5, 13.0)
    seasonal = np.interp(of_year, middles, np.concatenate(([months[-1]], months, [months[0]])))
    course = (measured.outdoor_c - measured.outdoor_c.mean()).reshape(DAYS, 24)[source]
    hourly = (seasonal[:, None] + course).reshape(-1)
    outdoor: Floats = np.repeat(hourly, 4)
    return outdoor


def _pv(
    measured: Measured, settings: YearSettings, begin_utc_ns: Ints, source: Ints, rng: np.random.Generator
) -> Ints:
    """Generation of each quarter of an hour."""
    if settings.pv_peak_w == 0.0:
        return np.zeros(len(begin_utc_ns), np.int64)
    clear = clear_sky(settings, begin_utc_ns).reshape(-1, 96)
    reached = _clearness(measured)[source]
    pattern = _cloud_pattern(measured)
    turns, mirrored = rng.integers(-12, 13, len(source)), rng.random(len(source)) < 0.5
    weather = np.empty_like(clear)
    for k, (turn, mirror) in enumerate(zip(turns.tolist(), mirrored.tolist(), strict=True)):
        weather[k] = _under_clouds(clear[k], np.roll(pattern[::-1] if mirror else pattern, turn), float(reached[k]))
    energy = weather.reshape(-1)
    energy *= settings.pv_peak_w * settings.yield_wh_per_w * 1000.0 / energy.sum()
    pv: Ints = np.rint(np.minimum(energy, settings.pv_peak_w * 250.0)).astype(np.int64)
    return pv


def clear_sky(settings: YearSettings, begin_utc_ns: Ints) -> Floats:
    """Irradiance of a cloudless sky on the tilted plane, mean of three moments of each quarter, W/m² roughly."""
    total = np.zeros(len(begin_utc_ns))
    for part in (1, 3, 5):
        utc_s = (begin_utc_ns + part * QUARTER_NS // 6) / NS_PER_S
        day_angle = 2.0 * math.pi * ((utc_s / DAY_S) % 365.2425) / 365.2425
        declination = (
            0.006918 - 0.399912 * np.cos(day_angle) + 0.070257 * np.sin(day_angle) - 0.006758 * np.cos(2 * day_angle)
            + 0.000907 * np.sin(2 * day_angle) - 0.002697 * np.cos(3 * day_angle) + 0.00148 * np.sin(3 * day_angle)
        )  # fmt: skip
        equation_min = 229.18 * (
            0.000075 + 0.001868 * np.cos(day_angle) - 0.032077 * np.sin(day_angle) - 0.014615 * np.cos(2 * day_angle)
            - 0.040849 * np.sin(2 * day_angle)
        )  # fmt: skip
        solar_h = (utc_s % DAY_S) / 3600.0 + settings.longitude_deg / 15.0 + equation_min / 60.0
        hour_angle = (solar_h - 12.0) * math.pi / 12.0
        latitude, tilt = math.radians(settings.latitude_deg), math.radians(settings.pv_tilt_deg)
        up = math.sin(latitude) * np.sin(declination) + math.cos(latitude) * np.cos(declination) * np.cos(hour_angle)
        # a plane tilted to the south stands as a level one does further north by its tilt
        level = latitude - tilt
        on_plane = math.sin(level) * np.sin(declination) + math.cos(level) * np.cos(declination) * np.cos(hour_angle)
        high = np.maximum(up, 1e-3)
        horizontal = np.where(up > 0.0, 1098.0 * high * np.exp(-0.059 / high), 0.0)
        beam = np.clip(on_plane, 0.0, None) / np.maximum(high, 0.1)
        total += horizontal * (0.85 * beam + 0.15 * (1.0 + math.cos(tilt)) / 2.0)
    mean: Floats = total / 3.0
    return mean


def _clearness(measured: Measured) -> Floats:
    """Share of the clear sky's energy that each measured day reaches, (56,)."""
    by_day = measured.outdoor_c.reshape(DAYS, 24)
    ranges = by_day.max(axis=1) - by_day.min(axis=1)
    slope = 0.036 * math.exp(-0.154 * float(ranges.mean()))
    through = CLEAR_TRANSMISSIVITY * (1.0 - np.exp(-slope * ranges**2.4))
    reached: Floats = np.clip(through / CLEAR_TRANSMISSIVITY, 0.02, 1.0)
    return reached


def _cloud_pattern(measured: Measured) -> Floats:
    """What the clouds of the measured day let through, by quarter of the day, (96,); 1 at night."""
    middle = (np.arange(48) + 0.5) / 48.0
    bell = np.sin(math.pi * middle) ** 1.2
    pattern = np.ones(96)
    pattern[DAWN_QUARTER : DAWN_QUARTER + 48] = np.clip(measured.pv_quarters / bell, 0.05, 1.0)
    return pattern


def _under_clouds(clear: Floats, pattern: Floats, reached: float) -> Floats:
    """A clear day under a pattern of clouds as dense as it takes to let ``reached`` of the energy through."""
    shaded = float((clear * (1.0 - pattern)).sum())
    density = min(1.0, (1.0 - reached) * float(clear.sum()) / shaded) if shaded > 0.0 else 0.0
    cloudy = clear * (1.0 - (1.0 - pattern) * density)
    result: Floats = cloudy * (reached * clear.sum() / cloudy.sum())
    return result


def _table(path: Path, n_header: int, n_rows_min: int) -> npt.NDArray[np.float64]:
    try:
        table = np.loadtxt(path, delimiter=",", skiprows=n_header, ndmin=2, max_rows=n_rows_min)
    except (OSError, ValueError) as error:
        raise SeriesError(f"{path}: {error}") from None
    if len(table) < n_rows_min or not np.isfinite(table).all():
        raise SeriesError(f"{path}: needs {n_rows_min} rows of numbers, has {len(table)}")
    return table


