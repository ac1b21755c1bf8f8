"""What electricity costs at a moment: time-of-use prices, demand price, what is paid for export, carbon.

A tariff is dated configuration (``configs/<site>/tariffs/NAME.toml``, read by :mod:`.reader`): every number
holds from a local day until the next entry. Prices are whole hundredths of a won inside: sums of money are exact.
Bills are made in :mod:`.bill`.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from gwanje.control.microgrid.tariff.local_time import (
    HOLIDAY,
    QUARTER_S,
    SATURDAY,
    Ints,
    civil,
    date_of,
    day_kinds,
    day_number,
    month_of,
)

Floats = npt.NDArray[np.float64]

OFF_PEAK, MID, PEAK = 0, 1, 2
BANDS = ("off_peak", "mid", "peak")
SLOTS = 96
"""Quarters of an hour in a day."""
CENTI = 100
"""Hundredths of a won in a won."""
UNTIL_CHANGED = 10**9
"""Day of an end that never comes."""


class TariffError(ValueError):
    """A moment for which the tariff says nothing."""


@dataclass(frozen=True, slots=True)
class Dated:
    """Numbers that hold from a local day on.

    Attributes:
        days: days since 1970-01-01, rising.
        values: what holds from each.
        assumptions: what is assumed of each; empty where a source gives it.
    """

    days: tuple[int, ...]
    values: tuple[float, ...]
    assumptions: tuple[str, ...] = ()

    def at(self, day: Ints) -> Floats:
        """The value of each local day; 0 before the first entry."""
        where = np.searchsorted(np.array(self.days, np.int64), np.asarray(day, np.int64), side="right")
        values: Floats = np.concatenate(([0.0], self.values))[where]
        return values

    def assumed(self, first_day: int, last_day: int) -> list[str]:
        """What is assumed of the entries in force between two local days, both included."""
        ends = (*self.days[1:], UNTIL_CHANGED)
        spans = zip(self.days, ends, self.assumptions, strict=False)
        return [text for begin, end, text in spans if text and begin <= last_day and end > first_day]


@dataclass(frozen=True, slots=True)
class Season:
    """Prices and hours of some months.

    Attributes:
        name: in the file.
        months: 1…12.
        centi_krw_per_kwh: of off-peak, mid and peak.
        bands: band of each quarter of an hour of a weekday, (96,).
    """

    name: str
    months: tuple[int, ...]
    centi_krw_per_kwh: tuple[int, int, int]
    bands: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Discount:
    """A share off the energy price at some hours.

    Attributes:
        months: 1…12.
        kinds: SATURDAY, HOLIDAY or WEEKDAY of :mod:`.local_time`.
        slots: quarters of an hour of the day.
        share: 0…1 that is taken off.
        until: last local day on which it holds.
    """

    months: tuple[int, ...]
    kinds: tuple[int, ...]
    slots: tuple[int, ...]
    share: float
    until: int
    assumption: str = ""


@dataclass(frozen=True, slots=True)
class Period:
    """Everything that holds from a local day on."""

    begin: int
    demand_krw_per_kw_month: float
    saturday_peak_as: int
    holiday_as: int
    seasons: tuple[Season, ...]
    discounts: tuple[Discount, ...] = ()
    assumption: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How a site is billed whatever its tariff, see ``tariffs.toml``."""

    zone: str
    contract_kw: float
    counted_months: tuple[int, ...]
    months_back: int
    contract_share_min: float
    line_krw: int
    fund_krw: int
    total_krw: int
    climate: Dated
    fuel: Dated
    fund: Dated
    vat: Dated
    export: Dated
    carbon: Dated
    holidays: frozenset[int]
    holiday_years: tuple[int, ...]
    assumptions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Tariff:
    """A tariff with the site's terms. All functions take moments in UTC ns, of any shape.

    Attributes:
        name: of its file.
        periods: by their begin.
        terms: of the site.
    """

    name: str
    name_ko: str
    name_en: str
    periods: tuple[Period, ...]
    terms: Terms
    _begins: Ints = field(init=False, repr=False)
    _centi: Ints = field(init=False, repr=False)
    _band: npt.NDArray[np.int8] = field(init=False, repr=False)

    KINDS: ClassVar[int] = 3

    def __post_init__(self) -> None:
        begins = {one.begin for one in self.periods}
        ends = {off.until + 1 for one in self.periods for off in one.discounts}
        days = sorted(begins | {one for one in ends if one > min(begins)})
        tables = [_table(self._period_on(day), day) for day in days]
        object.__setattr__(self, "_begins", np.array(days, np.int64))
        object.__setattr__(self, "_centi", np.stack([centi for centi, _ in tables]))
        object.__setattr__(self, "_band", np.stack([band for _, band in tables]))

    def _period_on(self, day: int) -> Period:
        return [one for one in self.periods if one.begin <= day][-1]

    def price_krw_per_kwh(self, utc_ns: Ints) -> Floats:
        """What one kWh more from the utility costs: energy, climate and fuel, before fund and VAT.

        Raises:
            TariffError: before the first period.
        """
        local = civil(utc_ns, self.terms.zone)
        extra = self.terms.climate.at(local.day) + self.terms.fuel.at(local.day)
        price: Floats = self._look_up(self._centi, local.day, local.second) / CENTI + extra
        return price

    def export_krw_per_kwh(self, utc_ns: Ints) -> Floats:
        """What one kWh more to the utility brings; may be negative."""
        return self.terms.export.at(civil(utc_ns, self.terms.zone).day)

    def energy_centi_krw_per_kwh(self, utc_ns: Ints) -> Ints:
        """Energy price with discounts, without climate and fuel, in hundredths of a won.

        Raises:
            TariffError: before the first period.
        """
        local = civil(utc_ns, self.terms.zone)
        return self._look_up(self._centi, local.day, local.second)

    def band(self, utc_ns: Ints) -> Ints:
        """OFF_PEAK, MID or PEAK.

        Raises:
            TariffError: before the first period.
        """
        local = civil(utc_ns, self.terms.zone)
        return self._look_up(self._band, local.day, local.second)

    def demand_krw_per_kw_month(self, utc_ns: Ints) -> Floats:
        """Price of a kilowatt of billed demand for a month."""
        return self.demand_on(civil(utc_ns, self.terms.zone).day)

    def demand_on(self, day: Ints) -> Floats:
        """The same by local day."""
        prices = Dated(tuple(p.begin for p in self.periods), tuple(p.demand_krw_per_kw_month for p in self.periods))
        return prices.at(day)

    def carbon_kg_per_kwh(self, utc_ns: Ints) -> Floats:
        """CO2 equivalent of one kWh from the utility."""
        return self.terms.carbon.at(civil(utc_ns, self.terms.zone).day)

    def energy_bill(self, utc_ns: Ints, import_mwh: Ints) -> int:
        """Energy charge of imported energy, in hundredths of a won, cut once at the end.

        Args:
            utc_ns: begin of each interval that lies within one quarter of an hour.
            import_mwh: imported in each, milliwatt-hours.
        """
        centi = self.energy_centi_krw_per_kwh(utc_ns)
        return charge_centi_krw(centi, import_mwh)

    def knows_holidays(self, utc_ns: Ints) -> bool:
        """Whether the table of holidays covers every moment; beyond it only Sundays are known as such."""
        years = np.unique(civil(utc_ns, self.terms.zone).month // 12 + 1970)
        return bool(np.isin(years, self.terms.holiday_years).all())

    def assumptions(self, first_day: int, last_day: int) -> list[str]:
        """What is assumed, not sourced, of the prices in force between two local days, both included."""
        ends = [*(one.begin for one in self.periods[1:]), UNTIL_CHANGED]
        found = list(self.terms.assumptions)
        for period, end in zip(self.periods, ends, strict=True):
            if period.begin <= last_day and end > first_day:
                found += [period.assumption, *(one.assumption for one in period.discounts)]
        terms = self.terms
        for what, dated in (("climate", terms.climate), ("fuel", terms.fuel), ("export", terms.export),
                            ("carbon", terms.carbon), ("fund", terms.fund), ("vat", terms.vat)):  # fmt: skip
            found += [f"{what}: {text}" for text in dated.assumed(first_day, last_day)]
        return [text for text in dict.fromkeys(found) if text]

    def _look_up(self, table: npt.NDArray[np.integer], day: Ints, second: Ints) -> Ints:
        which = np.searchsorted(self._begins, day, side="right") - 1
        if which.size and int(which.min()) < 0:
            raise TariffError(f"tariff {self.name} begins on {date_of(int(self._begins[0]))}, asked for earlier")
        month = month_of(day) % 12
        found: Ints = table[which, month, day_kinds(day, self.terms.holidays), second // QUARTER_S].astype(np.int64)
        return found


def charge_centi_krw(centi_krw_per_kwh: Ints, energy_mwh: Ints) -> int:
    """Money for energy: exact products, added exactly, cut to a hundredth of a won towards zero once."""
    total = exact_sum(np.asarray(centi_krw_per_kwh, np.int64) * np.asarray(energy_mwh, np.int64))
    return cut(total, 1_000_000)


def exact_sum(values: Ints) -> int:
    """Sum of 64-bit integers that may not fit into 64 bits."""
    flat = np.asarray(values, np.int64).reshape(-1)
    high = flat >> 32
    return (int(high.sum()) << 32) + int((flat & 0xFFFF_FFFF).sum())


def cut(numerator: int, denominator: int) -> int:
    """Quotient towards zero."""
    whole = abs(numerator) // denominator
    return whole if numerator >= 0 else -whole


def to_dated(entries: Sequence[tuple[date, float, str]]) -> Dated:
    """Dated numbers from (first day, value, assumption)."""
    ordered = sorted(entries, key=operator.itemgetter(0))
    return Dated(
        tuple(day_number(day) for day, _, _ in ordered),
        tuple(value for _, value, _ in ordered),
        tuple(text for _, _, text in ordered),
    )


def _table(period: Period, day: int) -> tuple[Ints, npt.NDArray[np.int8]]:
    """Price in hundredths of a won and band by month, kind of day and quarter of an hour, as they stand on a day."""
    centi = np.zeros((12, Tariff.KINDS, SLOTS), np.int64)
    band = np.zeros((12, Tariff.KINDS, SLOTS), np.int8)
    for season in period.seasons:
        prices = np.array(season.centi_krw_per_kwh, np.int64)
        weekday = np.array(season.bands, np.int8)
        for month in season.months:
            for kind in range(Tariff.KINDS):
                bands = weekday
                if kind == HOLIDAY:
                    bands = np.full(SLOTS, period.holiday_as, np.int8)
                elif kind == SATURDAY:
                    bands = np.where(weekday == PEAK, period.saturday_peak_as, weekday).astype(np.int8)
                band[month - 1, kind] = bands
                centi[month - 1, kind] = prices[bands]
    for off in period.discounts:
        if day <= off.until:
            for month in off.months:
                for kind in off.kinds:
                    slots = np.array(off.slots)
                    kept = centi[month - 1, kind, slots] * (1.0 - off.share)
                    centi[month - 1, kind, slots] = np.floor(kept + 0.5).astype(np.int64)
    return centi, band
