"""Numbers out of a record."""

import math

import numpy as np
import pytest

from gwanje.core.closed_loop.comparison import plain, worst_of
from gwanje.core.closed_loop.report import shown
from gwanje.core.closed_loop.runner import Record
from gwanje.core.closed_loop.scoring import Criterion, Measure, measured, score


def record(x, step_s=0.1, **more):
    return Record(np.arange(len(x)) * step_s, {"x": np.array(x, float)}, **more)


def number(x, of, step_s=0.1, **more):
    return measured(record(x, step_s), Measure(name="m", of=of, signals=("x",), **more))


def test_extremes_and_means():
    x = [1.0, 3.0, -2.0, 4.0]
    assert [number(x, of) for of in ("min", "max", "mean", "first", "final", "change")] == [-2, 4, 1.5, 1, 4, 3]
    assert number(x, "max_abs", target=1.0) == 3.0
    assert number(x, "rms", target=1.0) == pytest.approx(math.sqrt((0 + 4 + 9 + 9) / 4))
    assert number(x, "integral_h", step_s=3600.0) == pytest.approx(6.0)
    assert number(x, "min", from_s=0.1, until_s=0.15) == 3.0
    assert number(x, "max", scale=2.0) == 8.0
    assert number([0.0, 59.8, 60.0], "min", positive=True) == 59.8
    assert math.isnan(number(x, "min", from_s=7.0))


def test_settling_counts_from_the_window_to_the_last_time_outside():
    x = [0.0] * 10 + [1.0, 0.6, 0.2, 0.04, 0.06, 0.01, 0.0, 0.0]
    assert number(x, "settle", from_s=1.0, band=0.05) == pytest.approx(0.5)
    assert number(x, "reach", from_s=1.0, band=0.05) == pytest.approx(0.3)
    assert number(x, "outside", from_s=1.0, band=0.05) == pytest.approx(0.4)
    assert number([1.0, 1.0, 1.0], "settle", band=0.05) == math.inf
    assert number([0.0, math.nan, 0.0], "settle", band=0.05) == pytest.approx(0.2)


def test_a_dip_is_excused_by_its_cause_and_its_length_and_is_counted_apart():
    x = [1, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 1, 0]
    cause = [0, 1, 1, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0]
    both = Record(np.arange(13) * 0.1, {"x": np.array(x, float), "cause": np.array(cause, float)})
    numbers = [
        measured(both, Measure(name="m", of=of, signals=("x",), beside="cause", target=0.5, band=0.2))
        for of in ("below_excused", "below_unexcused")
    ]
    assert numbers == pytest.approx([0.2, 0.7]), "one begins without its cause, one lasts too long, one is never over"


def test_means_weigh_by_time_where_the_record_is_finer():
    uneven = Record(np.array([0.0, 1.0, 1.1, 1.2, 1.3]), {"x": np.array([0.0, 1.0, 1.0, 1.0, 1.0])})
    assert measured(uneven, Measure(name="m", of="mean", signals=("x",))) == pytest.approx(0.4 / 1.4)


def test_quarters_of_an_hour_are_whole_ones():
    x = [1.0] * 900 + [3.0] * 900 + [9.0] * 100
    assert number(x, "quarter_max", step_s=1.0) == pytest.approx(3.0)
    assert number([2.0] * 100, "quarter_max", step_s=1.0) == pytest.approx(2.0)


def test_signals_are_added_and_rises_and_rates_counted():
    both = Record(np.arange(3.0), {"a": np.array([1.0, 2.0, 3.0]), "b": np.array([1.0, 1.0, 2.0])})
    assert measured(both, Measure(name="m", of="max", signals=("a", "b"))) == 5.0
    assert number([0.0, 1.0, 0.0, 1.0], "rises", target=0.5) == 2.0
    assert number([0.0, 1.0, 0.0], "rate_max") == pytest.approx(10.0)


def test_two_signals_are_subtracted_or_looked_at_side_by_side():
    both = Record(np.arange(4.0), {"closed": np.array([1.0, 1.0, 0.0, 0.0]), "tie": np.array([9.0, 3.0, 0.5, 0.0])})
    assert measured(both, Measure(name="m", of="before_fall", signals=("closed",), beside="tie", target=0.5)) == 3.0
    assert measured(both, Measure(name="m", of="fall", signals=("closed",), target=0.5)) == 2.0
    assert measured(both, Measure(name="m", of="max", signals=("tie", "-closed"))) == 8.0
    assert number([1.0, 1.0], "fall", target=0.5) == math.inf
    assert math.isnan(number([1.0, 1.0], "before_fall", target=0.5))
    assert number([0.0, 0.3, 0.0], "change_rms") == pytest.approx(3.0)


def test_criteria_need_a_number():
    one = Criterion(metric="m", at_least=1.0, at_most=2.0)
    assert one.holds({"m": 1.5})
    for value in (0.9, 2.1, math.nan, math.inf, None, True):
        assert not one.holds({"m": value})
    assert not one.holds({})
    assert one.text() == "m >= 1 and <= 2"


def test_every_run_tells_how_it_went():
    found = score(record([0.0, 1.0], modes=[(0.0, "a"), (1.0, "b")], sent=10, lost=1, bump_w=5.0), ())
    assert found == {"mode_changes": 1.0, "requests_refused": 0.0, "bump_w": 5.0, "samples_lost_share": 0.1}


def test_of_several_runs_the_worst_counts():
    criteria = (Criterion(metric="nadir", at_least=59.7), Criterion(metric="late", at_most=1.0))
    runs = [{"nadir": 59.9, "late": 0.2, "wh": 1.0}, {"nadir": 59.8, "late": math.inf, "wh": 3.0}]
    assert worst_of(runs, criteria) == {"nadir": 59.8, "late": math.inf, "wh": 2.0}
    assert math.isnan(worst_of([{"nadir": 59.9}, {"nadir": math.nan}], criteria)["nadir"])
    assert plain({"a": math.inf, "b": 1.0, "c": "x"}) == {"a": None, "b": 1.0, "c": "x"}


def test_numbers_are_shown_with_their_units():
    assert shown("tie_rms_w", 12_345.0) == "12.35 kW"
    assert shown("nadir_hz", 59.71234) == "59.712 Hz"
    assert shown("settle_s", math.inf) == "never"
    assert shown("money_krw", 1234567.8) == "1,234,568 KRW"
    assert shown("closures", 3.0) == "3"
    assert shown("unknown_s", None) == "–"
