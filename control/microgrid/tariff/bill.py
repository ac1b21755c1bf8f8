"""Monthly bills from quarter-hourly energy: demand, energy, climate, fuel, VAT and fund, to the won as KEPCO cuts them.

Energies are whole milliwatt-hours and money whole hundredths of a won; every product and sum is exact, and each
line is cut once. The lines add up to the total with a line ``rounding``.
A billing month is a calendar month of the site's zone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gwanje.control.microgrid.tariff.local_time import Ints, civil, month_days
from gwanje.control.microgrid.tariff.tariff import CENTI, Dated, Tariff, TariffError, charge_centi_krw, cut, exact_sum

MWH_PER_KWH = 1_000_000
"""Milliwatt-hours in a kilowatt-hour."""
QUARTERS_PER_HOUR = 4
SHARE_UNITS = 1_000_000


@dataclass(frozen=True, slots=True)
class MonthBill:
    """What one month costs.

    Attributes:
        month: months since January 1970, local.
        days: days billed; fewer than the month has when the period begins or ends within it.
        import_mwh: from the utility, milliwatt-hours.
        export_mwh: to the utility.
        band_mwh: imported off-peak, mid and peak.
        peak_mwh: greatest import of a quarter of an hour of this month, milliwatt-hours.
        billed_peak_mwh: the greatest that counts, with the months before and the contract's least.
        demand_centi_krw … fund_centi_krw: the lines, hundredths of a won.
        rounding_centi_krw: what cutting the total takes off, not positive.
        total_centi_krw: the bill.
        export_centi_krw: what the exported energy brings, beside the bill.
    """

    month: int
    days: int
    import_mwh: int
    export_mwh: int
    band_mwh: tuple[int, int, int]
    peak_mwh: int
    billed_peak_mwh: int
    demand_centi_krw: int
    energy_centi_krw: int
    climate_centi_krw: int
    fuel_centi_krw: int
    vat_centi_krw: int
    fund_centi_krw: int
    rounding_centi_krw: int
    total_centi_krw: int
    export_centi_krw: int

    @property
    def label(self) -> str:
        """Year and month, such as 2026-04."""
        return f"{self.month // 12 + 1970}-{self.month % 12 + 1:02d}"

    @property
    def peak_kw(self) -> float:
        """Recorded demand of the month."""
        return self.peak_mwh * QUARTERS_PER_HOUR / MWH_PER_KWH

    @property
    def billed_kw(self) -> float:
        """Demand that is paid for."""
        return self.billed_peak_mwh * QUARTERS_PER_HOUR / MWH_PER_KWH

    @property
    def net_centi_krw(self) -> int:
        """The bill less what export brings."""
        return self.total_centi_krw - self.export_centi_krw


def monthly_bills(
    tariff: Tariff,
    utc_ns: Ints,
    import_mwh: Ints,
    export_mwh: Ints,
    earlier_peaks_mwh: Mapping[int, int] | None = None,
    contract_kw: float | None = None,
) -> list[MonthBill]:
    """Bills of all months that the quarters of an hour lie in.

    Args:
        tariff: what holds.
        utc_ns: begin of each quarter of an hour, rising, (n,).
        import_mwh: from the utility in each, milliwatt-hours.
        export_mwh: to the utility in each.
        earlier_peaks_mwh: greatest import of a quarter of an hour of each month before (months since January 1970).
        contract_kw: instead of the contract in ``tariffs.toml``; 0 bills the recorded demand alone.

    Raises:
        TariffError: the tariff or its table of holidays does not cover all of it.
    """
    if not tariff.knows_holidays(utc_ns):
        raise TariffError(f"holidays.toml has the years {', '.join(map(str, tariff.terms.holiday_years))} only")
    days = civil(utc_ns, tariff.terms.zone)
    centi, bands, months = tariff.energy_centi_krw_per_kwh(utc_ns), tariff.band(utc_ns), days.month
    peaks = dict(earlier_peaks_mwh or {})
    contract = tariff.terms.contract_kw if contract_kw is None else contract_kw
    found = []
    for month in np.unique(months):
        at = months == month
        peaks[int(month)] = max(0, int(import_mwh[at].max()))
        billed = max(
            _counted_peak(tariff, peaks, int(month)),
            round(tariff.terms.contract_share_min * contract * MWH_PER_KWH / QUARTERS_PER_HOUR),
        )
        found.append(_bill(tariff, int(month), days.day[at], centi[at], bands[at], import_mwh[at], export_mwh[at],
                           peaks[int(month)], billed))  # fmt: skip
    return found


def total_centi_krw(bills: Sequence[MonthBill], what: str) -> int:
    """Sum of one line over bills, such as ``energy_centi_krw``."""
    return sum(int(getattr(one, what)) for one in bills)


def invoice(
    lines_centi_krw: int, vat_share: float, fund_share: float, fund_krw: int, total_krw: int
) -> tuple[int, int, int, int]:
    """VAT, fund, rounding and total of a bill whose lines sum up to ``lines_centi_krw``, in hundredths of a won."""
    vat_units = lines_centi_krw * round(vat_share * SHARE_UNITS)
    vat = CENTI * ((2 * vat_units + SHARE_UNITS * CENTI) // (2 * SHARE_UNITS * CENTI))
    fund_step = fund_krw * CENTI
    fund = cut(lines_centi_krw * round(fund_share * SHARE_UNITS), SHARE_UNITS * fund_step) * fund_step
    whole = lines_centi_krw + vat + fund
    total = cut(whole, total_krw * CENTI) * total_krw * CENTI
    return vat, fund, total - whole, total


def _counted_peak(tariff: Tariff, peaks: Mapping[int, int], month: int) -> int:
    """The month's own peak, and those of the counted months among the last ``months_back``, this one included."""
    terms = tariff.terms
    back = range(month - terms.months_back + 1, month)
    return max([peaks[month], *(peaks.get(one, 0) for one in back if one % 12 + 1 in terms.counted_months)])


def _bill(
    tariff: Tariff, month: int, days: Ints, centi: Ints, bands: Ints, import_mwh: Ints, export_mwh: Ints, peak: int,
    billed: int,
) -> MonthBill:  # fmt: skip
    terms = tariff.terms
    line = terms.line_krw * CENTI
    own_days = np.unique(days)
    first, after = month_days(month)
    daily = np.rint(tariff.demand_on(own_days) * CENTI).astype(np.int64)
    demand = cut(exact_sum(daily) * billed * QUARTERS_PER_HOUR, MWH_PER_KWH * (after - first))
    energy = charge_centi_krw(centi, import_mwh)
    climate, fuel, export = (
        charge_centi_krw(_centi(dated, days), flow)
        for dated, flow in ((terms.climate, import_mwh), (terms.fuel, import_mwh), (terms.export, export_mwh))
    )
    demand, energy, climate, fuel = (cut(one, line) * line for one in (demand, energy, climate, fuel))
    last = own_days[-1:]
    vat, fund, rounding, total = invoice(
        demand + energy + climate + fuel, float(terms.vat.at(last)[0]), float(terms.fund.at(last)[0]), terms.fund_krw,
        terms.total_krw,
    )  # fmt: skip
    off_peak, mid, peak_band = (exact_sum(import_mwh[bands == band]) for band in range(3))
    return MonthBill(
        month=month,
        days=len(own_days),
        import_mwh=exact_sum(import_mwh),
        export_mwh=exact_sum(export_mwh),
        band_mwh=(off_peak, mid, peak_band),
        peak_mwh=peak,
        billed_peak_mwh=billed,
        demand_centi_krw=demand,
        energy_centi_krw=energy,
        climate_centi_krw=climate,
        fuel_centi_krw=fuel,
        vat_centi_krw=vat,
        fund_centi_krw=fund,
        rounding_centi_krw=rounding,
        total_centi_krw=total,
        export_centi_krw=export,
    )


def _centi(dated: Dated, days: Ints) -> Ints:
    centi: Ints = np.rint(dated.at(days) * CENTI).astype(np.int64)
    return centi


