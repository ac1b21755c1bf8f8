"""Where the sun stands and what it gives through a clear sky: the reference that PV forecasts are relative to.

Source: J. W. Spencer, Fourier series representation of the position of the sun, Search 2 (5), 1971 (declination,
equation of time); B. Haurwitz, Insolation in relation to cloudiness and cloud density, J. Meteorology 2, 1945
(irradiance).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gwanje.control.microgrid.planner.assets import Floats

NS_PER_DAY = 86_400_000_000_000
LOWEST_W_M2 = 20.0
"""Below, what a plant gives says nothing of the sky: the reference is 0 and nothing is learnt."""


def sun_height_sine(utc_ns: npt.NDArray[np.int64], latitude_rad: float, longitude_rad: float) -> Floats:
    """Sine of the sun's height over the horizon, negative at night; within about 0.01 of an ephemeris.

    Args:
        utc_ns: (n,) UTC nanoseconds since 1970.
        latitude_rad: north positive.
        longitude_rad: east positive.
    """
    times = np.asarray(utc_ns, np.int64)
    day = (times.astype("datetime64[ns]") - times.astype("datetime64[ns]").astype("datetime64[Y]")) / np.timedelta64(
        1, "D"
    )
    angle = 2 * np.pi * day / 365.2422
    declination = (
        0.006918 - 0.399912 * np.cos(angle) + 0.070257 * np.sin(angle) - 0.006758 * np.cos(2 * angle)
        + 0.000907 * np.sin(2 * angle) - 0.002697 * np.cos(3 * angle) + 0.00148 * np.sin(3 * angle)
    )  # fmt: skip
    equation_rad = 0.000075 + 0.001868 * np.cos(angle) - 0.032077 * np.sin(angle)
    equation_rad += -0.014615 * np.cos(2 * angle) - 0.040849 * np.sin(2 * angle)
    of_day = (times % NS_PER_DAY) / NS_PER_DAY * 2 * np.pi
    hour = of_day - np.pi + longitude_rad + equation_rad
    upright, flat = np.sin(latitude_rad), np.cos(latitude_rad)
    return np.asarray(upright * np.sin(declination) + flat * np.cos(declination) * np.cos(hour))


def clear_sky_w_m2(utc_ns: npt.NDArray[np.int64], latitude_rad: float, longitude_rad: float) -> Floats:
    """Irradiance of a horizontal square metre under a clear sky; 0 where the sun is down or too low to tell."""
    height = np.maximum(sun_height_sine(utc_ns, latitude_rad, longitude_rad), 1e-6)
    given = 1098.0 * height * np.exp(-0.057 / height)
    return np.where(given >= LOWEST_W_M2, given, 0.0)
