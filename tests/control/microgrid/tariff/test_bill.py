"""Bills: lines to the won, demand by the rule of counted months, sums that close, negative prices and exports."""

import dataclasses
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gwanje.control.microgrid.tariff.bill import invoice, monthly_bills, total_centi_krw
from gwanje.control.microgrid.tariff.local_time import day_number, local_midnight_utc_ns
from gwanje.control.microgrid.tariff.reader import load_tariff
from gwanje.control.microgrid.tariff.tariff import TariffError, to_dated

CHUNGBUK = Path(__file__).parents[4] / "configs" / "chungbuk"
KWH = 1_000_000


@pytest.fixture(scope="module")
def tariff():
    return load_tariff(CHUNGBUK)


def quarters(first, last):
    begin, end = (local_midnight_utc_ns(day_number(one), "Asia/Seoul") for one in (first, last))
    return np.arange(begin, end, 900 * 10**9)


def with_terms(tariff, **terms):
    return dataclasses.replace(tariff, terms=dataclasses.replace(tariff.terms, **terms))


def test_invoice_as_the_utility_works_it_out():
    """The worked example of 2016: 1 600 + 23 357 won, VAT 2 496, fund 920 at 3.7 %, total 28 370."""
    assert invoice(2_495_700, 0.10, 0.037, 10, 10) == (249_600, 92_000, -300, 2_837_000)


def test_a_month_by_hand(tariff):
    when = quarters(date(2026, 7, 1), date(2026, 8, 1))
    bought = np.full(when.shape, KWH)  # 4 kW all the time
    (bill,) = monthly_bills(tariff, when, bought, np.zeros_like(bought), contract_kw=0)
    assert (bill.label, bill.days, bill.import_mwh) == ("2026-07", 31, 2976 * KWH)
    assert (bill.peak_kw, bill.billed_kw) == (4.0, 4.0)
    assert bill.demand_centi_krw == 4 * 8320_00
    # July 2026: 22 weekdays without the 17th, 4 Saturdays, 4 Sundays and the holiday
    off_peak, mid, peak = 22 * 40 + 4 * 40 + 5 * 96, 22 * 32 + 4 * 56, 22 * 24
    assert bill.band_mwh == (off_peak * KWH, mid * KWH, peak * KWH)
    assert bill.energy_centi_krw == (off_peak * 12110 + mid * 16380 + peak * 21210) // 100 * 100
    assert bill.climate_centi_krw == 2976 * 900
    assert bill.fuel_centi_krw == 2976 * 500
    lines = bill.demand_centi_krw + bill.energy_centi_krw + bill.climate_centi_krw + bill.fuel_centi_krw
    assert bill.fund_centi_krw == lines * 27 // 1000 // 1000 * 1000
    assert bill.total_centi_krw % 1000 == 0
    assert bill.total_centi_krw == (
        lines + bill.vat_centi_krw + bill.fund_centi_krw + bill.rounding_centi_krw
    )
    assert bill.net_centi_krw == bill.total_centi_krw


def test_demand_counts_summer_and_winter_for_a_year(tariff):
    when = quarters(date(2026, 1, 1), date(2027, 1, 1))
    bought = np.full(when.shape, KWH)
    for first, kwh in ((date(2026, 3, 10), 9), (date(2026, 8, 10), 5), (date(2026, 10, 10), 7)):
        bought[int(np.searchsorted(when, quarters(first, date(2027, 1, 1))[40]))] = kwh * KWH
    bills = monthly_bills(tariff, when, bought, np.zeros_like(bought), contract_kw=0)
    assert [one.billed_kw for one in bills] == [4, 4, 36, 4, 4, 4, 4, 20, 20, 28, 20, 20]
    earlier = {(2025 - 1970) * 12 + 1: 50 * KWH, (2025 - 1970) * 12 + 0: 99 * KWH, (2025 - 1970) * 12 + 2: 80 * KWH}
    bills = monthly_bills(tariff, when, bought, np.zeros_like(bought), earlier, contract_kw=0)
    # January 2025 is 12 months back and does not count any more, February does for January 2026, March never
    assert [one.billed_kw for one in bills[:3]] == [200, 4, 36]


def test_the_contract_has_a_least_demand(tariff):
    when = quarters(date(2026, 5, 1), date(2026, 6, 1))
    flow = np.full(when.shape, KWH)
    (bill,) = monthly_bills(tariff, when, flow, flow * 0)
    assert bill.billed_kw == 750.0
    assert bill.peak_kw == 4.0
    (none,) = monthly_bills(tariff, when, flow * 0, flow * 0, contract_kw=0)
    assert none.total_centi_krw == 0


def test_part_of_a_month_pays_part_of_the_demand(tariff):
    when = quarters(date(2026, 6, 11), date(2026, 6, 26))
    flow = np.full(when.shape, KWH)
    (bill,) = monthly_bills(tariff, when, flow, flow * 0, contract_kw=0)
    assert (bill.days, bill.demand_centi_krw) == (15, 4 * 8320_00 // 2)


def test_negative_prices_and_negative_export(tariff):
    when = quarters(date(2026, 6, 1), date(2026, 6, 2))
    flow = np.full(when.shape, KWH)
    paid = with_terms(tariff, export=to_dated([(date(2020, 1, 1), -12.34, "")]))
    (bill,) = monthly_bills(paid, when, flow * 0, flow, contract_kw=0)
    assert bill.export_centi_krw == -96 * 1234
    assert bill.net_centi_krw == 96 * 1234
    cheap = with_terms(tariff, fuel=to_dated([(date(2020, 1, 1), -500.0, "")]))
    (bill,) = monthly_bills(cheap, when, flow, flow * 0, contract_kw=0)
    assert bill.fuel_centi_krw == -96 * 50_000
    assert bill.total_centi_krw < 0
    lines = bill.demand_centi_krw + bill.energy_centi_krw + bill.climate_centi_krw + bill.fuel_centi_krw
    assert lines + bill.vat_centi_krw + bill.fund_centi_krw + bill.rounding_centi_krw == bill.total_centi_krw
    # an export that was measured the wrong way round is money back, not lost
    (bill,) = monthly_bills(tariff, when, flow, -flow, contract_kw=0)
    assert bill.export_centi_krw == -96 * 10_000


def test_no_bill_without_holidays(tariff):
    when = quarters(date(2028, 1, 1), date(2028, 1, 2))
    with pytest.raises(TariffError, match=r"has the years 2025, 2026, 2027 only"):
        monthly_bills(tariff, when, np.zeros_like(when), np.zeros_like(when))


@given(st.integers(0, 2**32), st.integers(1, 40))
@settings(max_examples=25, deadline=None)
def test_bills_of_parts_add_up_to_the_whole(tariff, seed, n_days):
    rng = np.random.default_rng(seed)
    when = quarters(date(2026, 4, 1), date(2026, 6, 1))[: n_days * 96]
    bought, sold = rng.integers(0, 10**9, (2, len(when)))
    bills = monthly_bills(tariff, when, bought, sold, contract_kw=0)
    assert total_centi_krw(bills, "import_mwh") == int(bought.sum())
    assert sum(sum(one.band_mwh) for one in bills) == int(bought.sum())
    assert total_centi_krw(bills, "export_mwh") == int(sold.sum())
    for bill in bills:
        lines = bill.demand_centi_krw + bill.energy_centi_krw + bill.climate_centi_krw + bill.fuel_centi_krw
        assert lines + bill.vat_centi_krw + bill.fund_centi_krw + bill.rounding_centi_krw == bill.total_centi_krw
        assert -1000 < bill.rounding_centi_krw <= 0
    exact = int((tariff.energy_centi_krw_per_kwh(when).astype(object) * bought.astype(object)).sum())
    assert 0 <= exact / 1e6 - total_centi_krw(bills, "energy_centi_krw") < 100 * len(bills) + 1
