"""Forecasts against the measured homes: learnt on the first four weeks, scored on the last four; and on bad days."""

import csv
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pytest

from gwanje.control.microgrid.planner.clear_sky import clear_sky_w_m2, sun_height_sine
from gwanje.control.microgrid.planner.forecast import (
    METHODS,
    ForecastParams,
    Inputs,
    begin,
    step,
)
from gwanje.control.microgrid.planner.vehicles import Vehicle, envelope

DATA = Path(__file__).resolve().parents[4] / "configs" / "chungbuk" / "data"
HOURLY = ForecastParams(slots=24, horizon=24)


def homes():
    with open(DATA / "homes_hourly_kwh.csv") as file:
        return np.array([[float(one) for one in row] for row in list(csv.reader(file))[1:]])


def run(series, params, reference=None, state=None):
    """Forecast at each step and what was judged of it."""
    n, h = params.slots, params.horizon
    reference = np.ones(len(series) + h) if reference is None else reference
    state = begin(params) if state is None else state
    judged, given = [], []
    for t, value in enumerate(series):
        ahead = np.arange(t + 1, t + h + 1)
        inputs = Inputs(
            value, t % n, int(t // n % 7 >= 5), reference[t], (ahead // n % 7 >= 5).astype(np.int8), reference[ahead]
        )
        state, forecast, one = step(state, inputs, params)
        judged.append(np.stack([one.pinball, one.inside, one.absolute]))
        given.append(forecast)
    return state, given, np.array(judged)


def test_own_beats_persistence_and_similar_day_on_days_it_has_not_seen():
    _, _, judged = run(homes().sum(axis=1), HOURLY)
    pinball, inside, _ = np.nanmean(judged[28 * 24 :], axis=0)
    score = dict(zip(METHODS, pinball, strict=True))
    assert score["own"] < 0.6 * score["persistence"]
    assert score["own"] < 0.9 * score["similar_day"]
    assert 0.72 < inside[0] < 0.88, "the 10–90 % band holds about four fifths"


def test_a_forecast_knows_nothing_of_what_comes_after_it():
    """The same past and another future give the same forecasts: no leak."""
    series = homes()[: 9 * 24, 0]
    other = series.copy()
    other[8 * 24 :] = 99.0
    _, one, _ = run(series, HOURLY)
    _, two, _ = run(other, HOURLY)
    for t in range(8 * 24):
        assert np.array_equal(one[t]["own"].middle, two[t]["own"].middle)
    assert not np.array_equal(one[8 * 24]["own"].middle, two[8 * 24]["own"].middle)


def test_steps_are_pure_and_their_memory_does_not_grow():
    state, _, _ = run(homes()[: 10 * 24, 1], HOURLY)
    size = sum(one.nbytes for one in astuple(state) if isinstance(one, np.ndarray))
    before = [np.copy(one) for one in astuple(state)]
    inputs = Inputs(1.0, 0, 0, 1.0, np.zeros(24, np.int8), np.ones(24))
    first, second = step(state, inputs, HOURLY), step(state, inputs, HOURLY)
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(before, astuple(state), strict=True))
    assert np.array_equal(first[1]["own"].high, second[1]["own"].high)
    assert size == sum(one.nbytes for one in astuple(first[0]) if isinstance(one, np.ndarray))
    assert size < 300_000


def test_missing_values_teach_nothing_and_forecasts_stay_whole():
    series = homes()[: 20 * 24, 2]
    whole, _, _ = run(series[: 14 * 24], HOURLY)
    holes = np.full(24, np.nan)
    state, given, judged = run(holes, HOURLY, state=replace(whole))
    assert all(np.isfinite(one["own"].middle).all() for one in given)
    assert np.array_equal(state.weights, whole.weights)
    assert np.isnan(judged[:, 0]).all()
    _, given, _ = run(np.full(3, np.nan), HOURLY)
    assert np.isnan(given[-1]["own"].middle).all(), "of nothing nothing is known"


@pytest.mark.parametrize("wild", [1e9, 0.0])
def test_one_wild_value_does_not_stay(wild):
    series = homes()[: 21 * 24].sum(axis=1)
    spoilt = series.copy()
    spoilt[10 * 24] = wild
    _, _, clean = run(series, HOURLY)
    _, given, judged = run(spoilt, HOURLY)
    assert np.isfinite(given[-1]["own"].high).all()
    assert np.nanmean(judged[-96:, 0, 0]) < 1.2 * np.nanmean(clean[-96:, 0, 0])


def test_bands_are_ordered_and_never_below_the_least():
    _, given, _ = run(homes()[: 7 * 24, 3], HOURLY)
    for one in given[1:]:
        for method in METHODS:
            assert (one[method].low <= one[method].middle).all()
            assert (one[method].middle <= one[method].high).all()
            assert one[method].low.min() >= 0


def test_pv_relative_to_the_clear_sky_follows_the_sun():
    """The one measured day, a quarter hour each: the same sky an hour later is not the same power."""
    with open(DATA / "pv_1day_1s_a.csv") as file:
        pv = np.array([float(line) for line in file][:43_200]).reshape(-1, 900).mean(axis=1)
    sun = np.maximum(0.0, np.sin(np.pi * (np.arange(48) + 0.5) / 48))
    relative = ForecastParams(slots=48, horizon=8)
    reference = np.concatenate([np.where(sun > 0.1, sun, 0.0), np.zeros(8)])
    _, given, _ = run(pv, relative, reference)
    _, naive, _ = run(pv, relative)
    lead, moments = 4, range(8, 40)
    ours = np.mean([abs(given[t]["persistence"].middle[lead - 1] - pv[t + lead]) for t in moments])
    plain = np.mean([abs(naive[t]["persistence"].middle[lead - 1] - pv[t + lead]) for t in moments])
    assert ours < plain


class TestClearSky:
    def test_noon_of_an_equinox_stands_at_ninety_degrees_less_the_latitude(self):
        day = np.datetime64("2026-03-20T00:00", "ns").astype(np.int64)
        minutes = day + np.arange(1440) * 60_000_000_000
        height = sun_height_sine(minutes, np.radians(36.85), np.radians(127.44))
        assert np.degrees(np.arcsin(height.max())) == pytest.approx(90 - 36.85, abs=0.5)
        noon = minutes[np.argmax(height)] % 86_400_000_000_000 / 3.6e12
        assert noon == pytest.approx(12 - 127.44 / 15 + 7.5 / 60, abs=0.05)  # the equation of time is -7.5 min
        assert (height > 0).mean() == pytest.approx(0.5, abs=0.01)

    def test_solstices(self):
        for day, degrees in (("2026-06-21", 90 - 36.85 + 23.44), ("2026-12-22", 90 - 36.85 - 23.44)):
            minutes = np.datetime64(day, "ns").astype(np.int64) + np.arange(1440) * 60_000_000_000
            height = sun_height_sine(minutes, np.radians(36.85), np.radians(127.44))
            assert np.degrees(np.arcsin(height.max())) == pytest.approx(degrees, abs=0.3)

    def test_night_is_nothing_and_a_summer_noon_about_a_kilowatt(self):
        minutes = np.datetime64("2026-06-21", "ns").astype(np.int64) + np.arange(1440) * 60_000_000_000
        given = clear_sky_w_m2(minutes, np.radians(36.85), np.radians(127.44))
        assert given.min() == 0.0
        assert 900 < given.max() < 1_100


class TestEnvelope:
    STEPS = np.full(8, 0.25)

    def test_one_vehicle_between_as_late_and_as_early_as_it_can(self):
        least, most = envelope(self.STEPS, [Vehicle(7e3, 1e4, 1.0, 1e4)], np.zeros(8), 2.0, 1e5)
        assert least == pytest.approx([0, 2e3, 4.5e3, 7e3, 7e3, 7e3, 7e3, 7e3])
        assert most == pytest.approx([2.5e3, 5e3, 7.5e3, 1e4, 1e4, 1e4, 1e4, 1e4])

    def test_a_vehicle_that_cannot_have_all_gets_what_it_can(self):
        least, most = envelope(self.STEPS, [Vehicle(5e4, 5e4, 0.5, 1e4)], np.zeros(8), 2.0, 1e5)
        assert least[-1] == pytest.approx(5e3)
        assert (least <= most).all()

    def test_expected_ones_may_take_theirs_at_once_and_must_within_their_stay(self):
        least, most = envelope(self.STEPS, [], np.array([4e3, 0, 0, 0, 0, 0, 0, 0]), 1.0, 1e5)
        assert most == pytest.approx(np.full(8, 4e3))
        assert least[3] == pytest.approx(0.0, abs=1)
        assert least[4:] == pytest.approx(np.full(4, 4e3))
