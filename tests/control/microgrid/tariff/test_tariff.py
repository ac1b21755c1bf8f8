"""Tariffs: prices at every kind of boundary, days of all kinds, the reform of 2026, and errors with file and line."""

import dataclasses
import shutil
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gwanje.control.microgrid.tariff.local_time import civil, day_number, local_midnight_utc_ns, month_days
from gwanje.control.microgrid.tariff.reader import load_tariff, problems, tariff_names
from gwanje.control.microgrid.tariff.tariff import BANDS, Dated, TariffError, cut, exact_sum
from gwanje.core.site.config import load_site
from gwanje.core.site.toml_reader import ConfigErrors

CHUNGBUK = Path(__file__).parents[4] / "configs" / "chungbuk"
SEOUL = ZoneInfo("Asia/Seoul")


def utc(*texts, zone=SEOUL):
    moments = [datetime.fromisoformat(text).replace(tzinfo=zone) for text in texts]
    return np.array([int(moment.timestamp()) * 10**9 for moment in moments], np.int64)


@pytest.fixture(scope="module")
def industrial():
    return load_tariff(CHUNGBUK)


@pytest.fixture(scope="module")
def general():
    return load_tariff(CHUNGBUK, "general_b_high_a_2")


@pytest.fixture
def site(tmp_path):
    root = tmp_path / "town"
    root.mkdir()
    shutil.copytree(CHUNGBUK / "tariffs", root / "tariffs")
    for name in ("tariffs.toml", "holidays.toml"):
        shutil.copy(CHUNGBUK / name, root)
    return root


@pytest.mark.parametrize(
    ("moment", "band", "centi"),
    [
        # before the reform: the day is dear
        ("2026-04-15T10:59:59", "mid", 13340),
        ("2026-04-15T11:00", "peak", 15090),
        ("2026-04-15T12:00", "mid", 13340),
        ("2026-04-15T13:00", "peak", 15090),
        ("2026-04-15T17:59:59.9", "peak", 15090),
        ("2026-04-15T18:00", "mid", 13340),
        ("2026-04-15T22:00", "off_peak", 11600),
        ("2026-04-15T23:59:59", "off_peak", 11600),
        # from the first moment of 16 April the evening is
        ("2026-04-16T00:00", "off_peak", 12110),
        ("2026-04-16T07:59:59", "off_peak", 12110),
        ("2026-04-16T08:00", "mid", 13340),
        ("2026-04-16T11:30", "mid", 13340),
        ("2026-04-16T14:59:59", "mid", 13340),
        ("2026-04-16T15:00", "peak", 13770),
        ("2026-04-16T20:59:59", "peak", 13770),
        ("2026-04-16T21:00", "mid", 13340),
        # seasons change with the month
        ("2026-05-29T16:00", "peak", 13770),
        ("2026-06-01T16:00", "peak", 21210),
        ("2026-08-31T16:00", "peak", 21210),
        ("2026-09-01T16:00", "peak", 13770),
        ("2026-10-31T21:59:59", "mid", 13340),
        ("2026-10-31T22:00", "off_peak", 12110),
        ("2026-11-01T00:00", "off_peak", 12810),
        ("2026-11-02T09:00", "peak", 18770),
        ("2026-11-02T12:00", "mid", 16400),
        ("2026-11-02T16:00", "peak", 18770),
        ("2026-12-31T18:59:59", "peak", 18770),
        ("2027-02-26T18:59:59", "peak", 18770),
        ("2027-03-02T18:59:59", "peak", 13770),
        # Saturday: no peak; Sunday and holidays: off-peak all day
        ("2026-06-13T16:00", "mid", 16380),
        ("2026-06-14T16:00", "off_peak", 12110),
        ("2026-06-03T16:00", "off_peak", 12110),  # local elections, a Wednesday
        ("2026-07-17T16:00", "off_peak", 12110),  # Constitution Day, again from 2026
        ("2025-07-17T16:00", "peak", 22900),  # and a Thursday as any other before
        ("2026-02-17T10:00", "off_peak", 12300),  # Seollal
        ("2026-02-19T10:00", "peak", 20460),
        # half price at noon on free days of spring and autumn
        ("2026-04-18T10:59:59", "mid", 13340),
        ("2026-04-18T11:00", "mid", 6670),
        ("2026-04-18T13:59:59", "mid", 6670),
        ("2026-04-18T14:00", "mid", 13340),
        ("2026-04-19T11:00", "off_peak", 6055),
        ("2026-04-12T11:00", "off_peak", 11600),  # not before the reform
        ("2026-05-05T12:00", "off_peak", 6055),  # Children's Day, a Tuesday
        ("2026-09-25T12:00", "off_peak", 6055),  # Chuseok
        ("2026-06-14T12:00", "off_peak", 12110),  # not in summer
        ("2030-10-26T12:00", "mid", 6670),
        ("2030-12-29T12:00", "off_peak", 12810),
        ("2031-03-01T12:00", "mid", 13340),  # over
    ],
)
def test_price_at(industrial, moment, band, centi):
    assert BANDS[int(industrial.band(utc(moment))[0])] == band
    assert industrial.energy_centi_krw_per_kwh(utc(moment)).tolist() == [centi]
    assert industrial.price_krw_per_kwh(utc(moment))[0] == pytest.approx(centi / 100 + 14.0, abs=1e-9)


def test_general_service_changes_hours_only_and_later(general):
    moments = utc("2026-05-29T17:00", "2026-05-29T19:00", "2026-06-01T12:30", "2026-06-01T17:00", "2026-06-01T19:00")
    assert [BANDS[one] for one in general.band(moments)] == ["peak", "mid", "mid", "peak", "peak"]
    assert general.energy_centi_krw_per_kwh(utc("2026-09-05T12:00", "2026-09-06T12:00")).tolist() == [10980, 8730]


def test_a_year_of_quarters_has_every_band_and_no_gap(industrial):
    begin = local_midnight_utc_ns(day_number(datetime(2026, 1, 1)), "Asia/Seoul")
    quarters = begin + np.arange(365 * 96) * 900 * 10**9
    days = civil(quarters, "Asia/Seoul").day
    assert (np.bincount(days - days[0]) == 96).all()
    prices = industrial.energy_centi_krw_per_kwh(quarters)
    assert sorted(set(prices.tolist())) == [
        6055, 6670, 11600, 12110, 12300, 12810, 13340, 13770, 15090, 16380, 16400, 18770, 20460, 21210,
    ]  # fmt: skip
    noon, evening = prices[96 * 200 + 48], prices[96 * 200 + 78]  # 20 July 2026, a Monday
    assert evening > noon


def test_other_dated_numbers(industrial):
    before, after = utc("2025-12-17T23:59:59", "2025-12-18T00:00")
    assert industrial.carbon_kg_per_kwh(np.array([before, after])).tolist() == [0.4541, 0.4173]
    assert industrial.demand_krw_per_kw_month(utc("2026-01-01T00:00")).tolist() == [8320.0]
    assert industrial.export_krw_per_kwh(utc("2026-01-01T00:00")).tolist() == [100.0]
    assert Dated((10, 20), (1.0, 2.0)).at(np.array([9, 10, 19, 20])).tolist() == [0.0, 1.0, 1.0, 2.0]


def test_outside_of_what_is_known(industrial):
    with pytest.raises(TariffError, match="begins on 2024-10-24"):
        industrial.price_krw_per_kwh(utc("2024-10-23T23:59:59"))
    assert industrial.price_krw_per_kwh(utc("2024-10-24T00:00")).shape == (1,)
    assert industrial.knows_holidays(utc("2025-01-01T00:00", "2027-12-31T23:59:59"))
    assert not industrial.knows_holidays(utc("2028-01-01T00:00"))


def test_energy_bill_is_exact(industrial):
    quarters = utc("2026-04-19T11:00", "2026-04-19T14:00", "2026-04-16T15:00")
    assert industrial.energy_bill(quarters, np.array([1_000_000, 2_000_000, 1_500_000])) == 6055 + 24220 + 20655
    assert industrial.energy_bill(quarters, np.array([1, 0, 0])) == 0  # far below a hundredth of a won


def test_assumptions_are_told_while_in_force(industrial):
    texts = industrial.assumptions(day_number(datetime(2025, 6, 1)), day_number(datetime(2025, 6, 30)))
    assert not any("winter" in text for text in texts)
    texts = industrial.assumptions(day_number(datetime(2026, 6, 1)), day_number(datetime(2026, 6, 30)))
    assert any("winter keeps its hours" in text for text in texts)
    assert any(text.startswith("export:") for text in texts)


def test_zone_with_summer_time_has_days_of_23_and_25_hours():
    zone = ZoneInfo("Europe/Berlin")
    for text, hours in (("2026-03-29", 23), ("2026-10-25", 25), ("2026-06-01", 24)):
        day = day_number(datetime.fromisoformat(text))
        first, after = (local_midnight_utc_ns(one, "Europe/Berlin") for one in (day, day + 1))
        assert after - first == hours * 3600 * 10**9
        local = civil(np.arange(first, after, 900 * 10**9), "Europe/Berlin")
        assert set(local.day.tolist()) == {day}
    moment = datetime(2026, 3, 29, 1, 59, 59, tzinfo=zone) + timedelta(0)
    both = np.array([int(moment.timestamp()), int(moment.timestamp()) + 1]) * 10**9
    assert civil(both, "Europe/Berlin").second.tolist() == [7199, 10800]


@given(st.integers(0, 4_000_000_000))
@settings(max_examples=100, deadline=None)
def test_civil_agrees_with_the_standard_library(second):
    for zone in ("Asia/Seoul", "America/New_York", "Australia/Lord_Howe"):
        local = datetime.fromtimestamp(second, ZoneInfo(zone))
        ours = civil(np.array([second * 10**9]), zone)
        assert ours.day[0] == day_number(local.date())
        assert ours.second[0] == local.hour * 3600 + local.minute * 60 + local.second
        assert ours.month[0] == (local.year - 1970) * 12 + local.month - 1
        assert ours.weekday[0] == local.weekday()


def test_months():
    assert month_days((2026 - 1970) * 12 + 1) == (day_number(datetime(2026, 2, 1)), day_number(datetime(2026, 3, 1)))
    assert month_days((2024 - 1970) * 12 + 1)[1] - month_days((2024 - 1970) * 12 + 1)[0] == 29


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=40))
def test_exact_sum_does_not_overflow(values):
    assert exact_sum(np.array(values, np.int64)) == sum(values)


def test_cut_goes_towards_zero():
    assert [cut(7, 2), cut(-7, 2), cut(0, 5)] == [3, -3, 0]


def test_site_is_right_and_its_names_are_known(site):
    chungbuk = load_site(CHUNGBUK)
    assert problems(chungbuk) == []
    assert tariff_names(CHUNGBUK) == ["general_b_high_a_2", "industrial_b_high_a_2"]
    # what `gwanje check` gets of a wrong file, also of a tariff that nobody chose; a site may have no tariffs at all
    other = site / "tariffs" / "general_b_high_a_2.toml"
    other.write_text(other.read_text(encoding="utf-8").replace("[tariff]", "[tarif]"), encoding="utf-8")
    told = problems(dataclasses.replace(chungbuk, root=site))
    assert [(file, path) for file, path, _ in told] == [
        ("tariffs/general_b_high_a_2.toml", ("tariff",)),
        ("tariffs/general_b_high_a_2.toml", ("tarif",)),
    ]
    assert problems(dataclasses.replace(chungbuk, root=site.parent)) == []


FILE = "tariffs/industrial_b_high_a_2.toml"


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        (FILE, 'from = "2026-04-16"', 'from = "2026-04-31"', f"{FILE}:43: period.from: '2026-04-31' is not a date"),
        (FILE, 'from = "2026-04-16"', 'from = "2024-01-01"', f"{FILE}:43: period.from: is not after the period before"),
        (FILE, "peak_krw_per_kwh = 212.1", "peak_krw_per_kwh = 2121000", "period.season.peak_krw_per_kwh: 2121000 is"),
        (FILE, "peak_krw_per_kwh = 212.1", "peak_krw_per_kwh = 212.105", "212.105 has more than 2 decimals"),
        (FILE, "peak_krw_per_kwh = 212.1", "peak_krw_per_kw = 212.1", "period.season.peak_krw_per_kw: unknown key"),
        (FILE, 'peak = ["15:00-21:00"]', 'peak = ["07:00-21:00"]', "07:00 is off-peak and peak"),
        (FILE, 'peak = ["15:00-21:00"]', 'peak = ["15:10-21:00"]', "'15:10-21:00' is not a span of quarters"),
        (FILE, "months = [6, 7, 8]", "months = [6, 7]", "every month stands in one season: missing [8], twice []"),
        (FILE, "months = [6, 7, 8]", "months = [6, 7, 8, 13]", "13 is no month"),
        (FILE, 'holiday_as = "off_peak"', 'holiday_as = "free"', "'free' is none of off_peak, mid, peak"),
        (FILE, 'days = ["saturday", "holiday"]', 'days = ["monday"]', "'monday' is none of weekday, saturday, holiday"),
        (FILE, 'name_en = "', 'name_en = 3 # "', "tariff.name_en: must be text"),
        ("tariffs.toml", "0.4173\nsource", "0.4173\n#source", "neither source nor assumption"),
        ("tariffs.toml", 'tariff = "industrial_b_high_a_2"', 'tariff = "gold"', "there is no tariffs/gold.toml"),
        ("tariffs.toml", "[rounding]", "[rounded]", "tariffs.toml:1: rounding: is missing"),
        ("holidays.toml", 'date = "2026-05-05"', 'date = "2028-05-05"', "2028 is not among the years"),
        ("holidays.toml", 'date = "2026-05-05"', 'date = "2026-05-25"', "stands here twice"),
        ("holidays.toml", "years = [", "years = ", "is not TOML"),
    ],
)
def test_errors_name_file_line_and_key(site, file, old, new, told):
    path = site / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigErrors) as caught:
        load_tariff(site)
    assert told in str(caught.value)
    assert f"town/{file}:" in str(caught.value)


@pytest.mark.parametrize(
    ("spans", "n", "first", "last"),
    [
        ('["22:00-24:00"]', 8, 88, 95),
        ('["00:00-24:00"]', 96, 0, 95),
        ('["23:45-00:15"]', 2, 0, 95),
        ('["00:00-00:15", "23:45-24:00"]', 2, 0, 95),
        ("[]", 0, None, None),
    ],
)
def test_spans_reach_midnight_from_both_sides(site, spans, n, first, last):
    path = site / FILE
    text = path.read_text(encoding="utf-8").replace('off_peak = ["22:00-08:00"]', 'off_peak = ["22:00-08:00"] # old')
    text = text.replace('off_peak = ["22:00-08:00"] # old', f"off_peak = {spans}")
    for peak in ('["11:00-12:00", "13:00-18:00"]', '["09:00-12:00", "16:00-19:00"]', '["15:00-21:00"]'):
        text = text.replace(f"peak = {peak}", "peak = []")
    path.write_text(text, encoding="utf-8")
    day = utc("2026-06-16T00:00")[0] + np.arange(96) * 900 * 10**9
    cheap = np.flatnonzero(load_tariff(site).band(day) == BANDS.index("off_peak"))
    assert len(cheap) == n
    if n:
        assert (cheap[0], cheap[-1]) == (first, last)


@pytest.mark.parametrize(
    "span", ["22:00", "08:00-08:00", "24:00-08:00", "25:00-26:00", "8-9", "07:60-09:00", "-1:00-2:00"]
)
def test_spans_that_are_none(site, span):
    path = site / FILE
    path.write_text(path.read_text(encoding="utf-8").replace("22:00-08:00", span), encoding="utf-8")
    with pytest.raises(ConfigErrors, match="is not a span of quarters"):
        load_tariff(site)


def test_missing_files_are_told(site):
    (site / "holidays.toml").unlink()
    with pytest.raises(ConfigErrors, match=r"holidays\.toml:1: cannot be read"):
        load_tariff(site)
    shutil.copy(CHUNGBUK / "holidays.toml", site)
    with pytest.raises(ConfigErrors, match=r"town/tariffs/none\.toml:1: cannot be read"):
        load_tariff(site, "none")
