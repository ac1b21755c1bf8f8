from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from gwanje.io.sim.series import CityData, DataError, Pulses, Tones, at, hourly
from gwanje.io.sim.units import PvParams, pv_available_w, pv_series

SITE_DATA = Path(__file__).parents[3] / "configs" / "chungbuk" / "data"


def test_the_series_are_whole(data: CityData) -> None:
    assert len(data.pv_pu) == 43_201
    assert data.pv_pu.max() == 1.0
    assert data.pv_pu.min() >= 0.0
    assert data.homes_w.shape == (1344, 12)
    assert 0.0 < data.homes_w.mean() < 3000.0
    assert (data.ev_sessions[:, 3] > 0.5).all()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("pv_1day_1s_a.csv", None, "No such file"),
        ("pv_1day_1s_a.csv", "1\n2\n", "not at least 43201 rows"),
        ("wind_2400.csv", "1\nsoup\n", "could not convert"),
        ("weather_hourly.csv", "t\n" + "nan\n" * 1344, "not finite"),
        ("homes_hourly_kwh.csv", "a,b\n1,2\n1\n", "number of columns changed"),
    ],
)
def test_a_bad_series_is_one_line_that_names_the_file(
    tmp_path: Path, name: str, content: str | None, reason: str
) -> None:
    for path in SITE_DATA.glob("*.csv"):
        shutil.copy(path, tmp_path)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_text(content, encoding="ascii")
    with pytest.raises(DataError, match=reason) as caught:
        CityData.load(tmp_path)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_interpolation_between_seconds() -> None:
    points = [0.0, 10.0, 0.0]
    assert at(points, 0.25) == 2.5
    assert at(points, 1.5) == 5.0
    assert at(points, -1.0) == 0.0
    assert at(points, 99.0) == 0.0


def test_hourly_keeps_the_hours_mean() -> None:
    table = np.full(24, 5.0)
    assert all(hourly(table, second) == pytest.approx(5.0) for second in range(0, 200_000, 777))
    ramp = np.arange(24.0)
    assert hourly(ramp, 10.5 * 3600) == pytest.approx(10.0)  # the middle of hour 10 holds its mean


def test_tones_have_the_stated_spread_and_no_mean() -> None:
    tones = Tones(np.random.default_rng(3), 50, 2.0, (5.0, 100.0))
    values = np.array([tones.at(float(second)) for second in range(6000)])
    assert abs(values.mean()) < 0.05
    assert values.std(axis=0).mean() == pytest.approx(2.0, rel=0.05)


def test_pulses_have_no_mean() -> None:
    pulses = Pulses(np.random.default_rng(4), 20, (500.0, 1000.0), (30.0, 60.0), (300.0, 400.0))
    values = np.array([pulses.at(second * 0.5) for second in range(80_000)])
    assert np.abs(values.mean(axis=0)).max() < 5.0
    assert values.max() > 400.0


def test_half_of_the_whole_pv_goes_and_comes_back_within_ten_seconds(data: CityData) -> None:
    """From second 14 400 on, within a quarter of an hour, for the sum of both plants."""
    roof, lake = PvParams(rating_w=800_000.0), PvParams(rating_w=700_000.0, delay_s=2, smooth_s=3)
    roof_series, lake_series = pv_series(data, roof), pv_series(data, lake)
    total = np.array([
        pv_available_w(roof_series, roof, 21_600.0 + second) + pv_available_w(lake_series, lake, 21_600.0 + second)
        for second in range(14_400, 15_300)
    ])  # fmt: skip
    change = total[10:] - total[:-10]
    assert change.min() <= -0.5 * 1_500_000.0
    assert change.max() >= 0.5 * 1_500_000.0
    assert np.argmin(change) - np.argmax(change) < 60  # the fall follows the return of the sun


def test_the_lake_sees_the_clouds_later(data: CityData) -> None:
    series = np.array(pv_series(data, PvParams(delay_s=2, smooth_s=3)))
    assert len(series) == len(data.pv_pu)
    mean3 = (data.pv_pu[:-2] + data.pv_pu[1:-1] + data.pv_pu[2:]) / 3.0
    assert np.allclose(series[3:-1], mean3[:-2])


def test_no_sun_at_night(data: CityData) -> None:
    params = PvParams()
    series = pv_series(data, params)
    for hour in (0, 3, 5.99, 18.1, 23, 24.5):
        assert pv_available_w(series, params, hour * 3600.0) == 0.0
