"""Numbers of meters: locale, missing, negative, units, phases; registers that begin anew; clocks that are wrong."""

import math

import pytest

from gwanje.core.tags.quality import Quality
from gwanje.io.field.ocpp.readings import NOT_A_NUMBER, WRONG_UNIT, EnergyCounter, number, read_sampled
from gwanje.io.field.ocpp.stamps import WRONG_CLOCK, StampJudge, parse_utc_ns, utc_stamp

S = 1_000_000_000
NOW = 1_795_000_000 * S


NO_NUMBERS = ["1,5", "", " 1", "1 0", "NaN", "inf", "-", "0x10", "1e400", "1.2.3", "٣", "1_0", None, True, [], math.nan,
              math.inf, 10**400]  # fmt: skip


@pytest.mark.parametrize("said", NO_NUMBERS)
def test_what_is_no_number_has_no_value(said):
    assert math.isnan(number(said))


@pytest.mark.parametrize(("said", "value"), [("1.5", 1.5), ("-2", -2.0), ("1e3", 1000.0), (7, 7.0), (0.25, 0.25)])
def test_numbers_are_read(said, value):
    assert number(said) == value


def test_units_become_si():
    found = read_sampled([
        {"value": "1.5", "measurand": "Power.Active.Import", "unit": "kW"},
        {"value": "12.5", "unit": "kWh"},
        {"value": "40", "measurand": "SoC", "unit": "Percent", "location": "EV"},
        {"value": 16, "measurand": "Current.Import", "unitOfMeasure": {"unit": "A", "multiplier": -1}},
    ])  # fmt: skip
    assert found["Power.Active.Import"].value == 1500.0
    assert found["Energy.Active.Import.Register"].value == 12_500.0
    assert found["SoC"].value == 40.0
    assert found["Current.Import"].value == pytest.approx(1.6)
    assert not any(one.quality for one in found.values())


def test_a_wrong_unit_and_a_wrong_number_are_bad():
    found = read_sampled([
        {"value": "5", "measurand": "Power.Active.Import", "unit": "Wh"},
        {"value": "1,5", "measurand": "Current.Import", "unit": "A"},
        {"value": 1.0, "measurand": "Voltage", "unitOfMeasure": {"unit": "V", "multiplier": 40}},
    ])  # fmt: skip
    assert found["Power.Active.Import"].quality == WRONG_UNIT
    assert found["Current.Import"].quality == NOT_A_NUMBER
    assert found["Voltage"].quality == WRONG_UNIT
    assert all(math.isnan(one.value) for one in found.values())


def test_phases_are_put_together_where_there_is_no_total():
    def three(measurand, values):
        return [{"value": v, "measurand": measurand, "phase": f"L{n}"} for n, v in enumerate(values, 1)]

    found = read_sampled(
        three("Power.Active.Import", "123") + three("Current.Import", "576") + three("Voltage", ["220", "222", "224"])
    )
    assert found["Power.Active.Import"].value == 6.0
    assert found["Current.Import"].value == 7.0
    assert found["Voltage"].value == 222.0
    total = [{"value": "9", "measurand": "Power.Active.Import"}]
    assert read_sampled(three("Power.Active.Import", "123") + total)["Power.Active.Import"].value == 9.0
    assert read_sampled(three("Power.Active.Import", ["1", "x", "3"]))["Power.Active.Import"].quality == NOT_A_NUMBER


def test_signed_data_and_the_grid_side_are_left_alone():
    assert read_sampled([
        {"value": "AF00", "format": "SignedData"},
        {"value": "5", "measurand": "Power.Active.Import", "location": "Inlet"},
        {"value": "5", "measurand": "RPM"},
    ]) == {}  # fmt: skip


def test_energy_goes_on_over_rollover_and_another_meter():
    counter = EnergyCounter()
    assert counter.step(9_999_990.0).total_wh == 9_999_990.0
    over = counter.step(40.0)
    assert (over.total_wh, over.note) == (10_000_040.0, "rollover")
    assert over.quality == Quality.UNCERTAIN
    assert counter.step(140.0).total_wh == 10_000_140.0
    jitter = counter.step(135.0)
    assert (jitter.total_wh, jitter.quality, jitter.note) == (10_000_140.0, 0, "")
    replaced = counter.step(0.0)
    assert (replaced.total_wh, replaced.note) == (10_000_140.0, "replaced")
    assert counter.step(25.0).total_wh == 10_000_165.0


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01T00:00:00Z", "9999999-01-01T00:00:00Z"])
def test_what_is_no_time_is_none(text):
    assert parse_utc_ns(text) is None


def test_times_are_read_as_they_are_written():
    assert parse_utc_ns(utc_stamp(NOW + 123_000_000)) == NOW + 123_000_000
    assert parse_utc_ns("2026-01-01T09:00:00+09:00") == parse_utc_ns("2026-01-01T00:00:00")


def judge(judge_, age_s, at_s=0.0, **more):
    now = NOW + round(at_s * S)
    return judge_.judge(utc_stamp(now - round(age_s * S)), now, round(at_s * S) + S, **more)


def test_what_is_new_is_live_with_its_own_time():
    one = StampJudge()
    verdict = judge(one, 2.0)
    assert (verdict.live, verdict.quality, verdict.utc_ns) == (True, 0, NOW - 2 * S)


@pytest.mark.parametrize("stamp", ["0001-01-01T00:00:10Z", "9999-12-31T23:59:58Z"])
def test_a_clock_of_another_age_still_gives_a_time_to_begin_at(stamp):
    judge = StampJudge()
    verdict = judge.judge(stamp, NOW, 0, triggered=True)
    assert verdict.live
    assert verdict.quality == WRONG_CLOCK
    for wait_s in (-30, 0, 30):
        assert len(utc_stamp(judge.charger_utc_ns(NOW + wait_s * S))) == 24


def test_what_was_kept_is_never_live():
    one = StampJudge()
    for age_s in (600.0, 590.0, 580.0, 570.0):
        assert not judge(one, age_s).live
    assert judge(one, 600.0).utc_ns == NOW - 600 * S
    assert not judge(one, 1.0, offline=True).live
    assert judge(one, 0.5).live


def test_what_is_older_than_the_last_is_not_live():
    one = StampJudge()
    assert judge(one, 1.0).live
    assert not judge(one, 9.0).live


@pytest.mark.parametrize("skew_s", [3600.0, 120.0])
def test_a_slow_clock_is_found_out_by_its_constancy(skew_s):
    one = StampJudge()
    assert not judge(one, skew_s, 0.0).live, "it may be replayed"
    assert not judge(one, skew_s + 0.5, 6.0).live
    verdict = judge(one, skew_s - 0.5, 12.0)
    assert verdict.live
    assert verdict.quality == WRONG_CLOCK
    assert verdict.utc_ns == NOW + 12 * S, "its arrival counts"
    assert abs(one.offset_ns - skew_s * S) <= S
    assert not judge(one, skew_s + 300.0, 20.0).live, "replayed by a slow clock"


def test_a_fast_clock_is_live_with_the_time_of_arrival():
    one = StampJudge()
    verdict = judge(one, -3600.0)
    assert (verdict.live, verdict.quality, verdict.utc_ns) == (True, WRONG_CLOCK, NOW)


def test_a_triggered_reading_tells_the_clock_at_once_and_a_clock_put_right_is_believed_again():
    one = StampJudge()
    assert judge(one, 3600.0, triggered=True).quality == WRONG_CLOCK
    assert judge(one, 3600.0, 5.0).live
    assert judge(one, 1.0, 10.0).quality == WRONG_CLOCK, "replayed, or put right?"
    assert judge(one, 1.0, 16.0).quality == WRONG_CLOCK
    assert judge(one, 1.0, 22.0).quality == 0


def test_a_time_that_cannot_be_read_is_uncertain():
    one = StampJudge()
    assert one.judge("soon", NOW, S).quality == WRONG_CLOCK
    assert one.judge(None, NOW, S).utc_ns == NOW
