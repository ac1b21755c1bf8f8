"""``gwanje year``: a year of homes, sun and a battery through the tariff and the ledger, rule beside rule.

Everything in integers from the quarter of an hour on: what the tie carries is load less generation less discharge, the
ledger adds it up, the bill is made of it, and nothing is left over.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np

from gwanje.control.microgrid.ledger.accounting import LedgerParams, co2_kg
from gwanje.control.microgrid.ledger.columns import Columns, entries
from gwanje.control.microgrid.ledger.entry import Balance, Channel, Entry, balance, summed
from gwanje.control.microgrid.params import SetpointParams, parse
from gwanje.control.microgrid.tariff.bill import MonthBill, monthly_bills, total_centi_krw
from gwanje.control.microgrid.tariff.local_time import Ints, day_number
from gwanje.control.microgrid.tariff.reader import load_tariff, tariff_names
from gwanje.control.microgrid.tariff.tariff import CENTI, Tariff
from gwanje.control.microgrid.year.battery import RULES, run_battery, sized
from gwanje.control.microgrid.year.series import Measured, SeriesError, YearSeries, year_series
from gwanje.control.microgrid.year.settings import YearSettings, load_year
from gwanje.core.site.config import Site

Rule = Callable[["YearInputs"], tuple[Ints, Ints]]
"""A rule beyond those of :mod:`.battery`: discharge of each quarter and what is stored."""
KWH = 1_000_000
"""Milliwatt-hours."""


class YearError(Exception):
    """The year cannot be run; the text is one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class YearOptions:
    """What the person asked for; ``None`` takes the site's.

    Attributes:
        year: local calendar year; its holidays must be known.
        tariff: name of a file in ``tariffs/``.
        battery_wh: energy; its power goes with it.
        pv_w: peak power of the PV plant.
        heat_pump_share: of the homes.
        contract_kw: contract power for the least demand; 0 bills the recorded demand.
        rules: of the battery, in this order.
    """

    year: int = 2026
    tariff: str | None = None
    seed: int = 1
    battery_wh: float | None = None
    pv_w: float | None = None
    heat_pump_share: float | None = None
    contract_kw: float = 0.0
    rules: tuple[str, ...] = RULES


@dataclass(frozen=True, slots=True, eq=False)
class YearInputs:
    """What all rules of a run share."""

    series: YearSeries
    settings: YearSettings
    tariff: Tariff
    setpoint: SetpointParams
    options: YearOptions

    @property
    def net_load_mwh(self) -> Ints:
        """Load less generation of each quarter."""
        return self.series.load_mwh - self.series.pv_mwh


@dataclass(frozen=True, slots=True, eq=False)
class RuleYear:
    """A year under one rule.

    Attributes:
        rule: its name.
        params: of the ledger.
        columns: every quarter of an hour.
        entry: the year.
        months: its months.
        lines: the year's lines by kind.
        bills: its months' bills.
        battery_wh: energy of the battery.
        seconds: how long the rule, the ledger and the bills took; NaN when nobody measured.
    """

    rule: str
    params: LedgerParams
    columns: Columns
    entry: Entry
    months: list[Entry]
    lines: Balance
    bills: list[MonthBill]
    battery_wh: float
    seconds: float = float("nan")

    @property
    def peak_kw(self) -> float:
        """Greatest mean import of a quarter of an hour."""
        return self.entry.peak_import_mwh * 4 / KWH

    @property
    def peak_at_utc_ns(self) -> int:
        """When it began."""
        return int(self.columns.begin_utc_ns[int(np.argmax(self.columns.channel(0)))])

    def krw(self, line: str) -> float:
        """A line of the year's bills, won."""
        return total_centi_krw(self.bills, f"{line}_centi_krw") / CENTI

    @property
    def full_cycles(self) -> float:
        """Discharged energy over the battery's."""
        return self.lines.discharge_mwh / 1000.0 / self.battery_wh if self.battery_wh else 0.0


def open_year(site: Site, options: YearOptions) -> YearInputs:
    """Read what a run needs.

    Raises:
        ConfigErrors: the site's files.
        YearError: the options, or a measured series.
    """
    names = tariff_names(site.root)
    if options.tariff is not None and options.tariff not in names:
        raise YearError(f"no tariff {options.tariff!r}; the site has {', '.join(names)}")
    tariff = load_tariff(site.root, options.tariff, site.timezone)
    if options.year not in tariff.terms.holiday_years:
        years = ", ".join(map(str, tariff.terms.holiday_years))
        raise YearError(f"the holidays of {options.year} are not known; holidays.toml has {years}")
    settings = load_year(site.root)
    if options.battery_wh is not None:
        settings = replace(settings, battery=sized(settings.battery, options.battery_wh))
    if options.pv_w is not None:
        settings = replace(settings, pv_peak_w=options.pv_w)
    if options.heat_pump_share is not None:
        settings = replace(settings, heat_pump=replace(settings.heat_pump, share=options.heat_pump_share))
    try:
        measured = Measured.load(site.root / "data")
        series = year_series(
            measured, settings, options.year, site.timezone, tariff.terms.holidays, options.seed
        )  # fmt: skip
    except SeriesError as error:
        raise YearError(str(error)) from None
    return YearInputs(series, settings, tariff, parse(site.control).setpoint, options)


def run_rule(inputs: YearInputs, rule: str, own: Rule | None = None) -> RuleYear:
    """A year under one rule: the battery, the ledger, the bills.

    Args:
        inputs: of the run.
        rule: one of ``RULES``, or the name of ``own``.
        own: a rule of the caller's.
    """
    series, tariff = inputs.series, inputs.tariff
    if own is not None:
        discharge, stored = own(inputs)
    else:
        discharge, stored = run_battery(
            rule, inputs.net_load_mwh, series.begin_utc_ns, tariff.terms.zone, inputs.settings.battery, inputs.setpoint
        )
    n_homes = series.homes_mwh.shape[1]
    channels = [Channel("tie", "tie"), Channel("pv", "generation"), Channel("ess", "storage")]
    channels += [Channel(f"home{k + 1:02d}", "load") for k in range(n_homes)]
    channels.append(Channel("heat_pumps", "load"))
    params = LedgerParams(tuple(channels), tariff.terms.zone, tariff=tariff)
    tie = inputs.net_load_mwh - discharge
    energy = np.column_stack((tie, series.pv_mwh, discharge, series.homes_mwh, series.heat_pump_mwh))
    columns = Columns(series.begin_utc_ns, energy, stored[:, None])
    months = entries(columns, params, "month")
    entry = summed(months)
    bills = monthly_bills(
        tariff, series.begin_utc_ns, np.maximum(tie, 0), np.maximum(-tie, 0), contract_kw=inputs.options.contract_kw
    )
    lines = balance(params.channels, entry)
    return RuleYear(rule, params, columns, entry, months, lines, bills, inputs.settings.battery.energy_wh)


def audit(run: RuleYear) -> list[str]:
    """What does not close; an empty list for right books.

    The year is added up anew by other ways: days against months, the bills' energies against the ledger's, the energy
    charge against cost by quarter, every quarter's bus, and the store's levels against flows and losses.
    """
    wrong = []
    days = summed(entries(run.columns, run.params, "day"))
    if days != run.entry:
        wrong.append("days and months give different years")
    if run.lines.residual_mwh or run.lines.unaccounted_mwh:
        wrong.append(f"{run.lines.unaccounted_mwh} mWh unaccounted, {run.lines.residual_mwh} mWh residual")
    if total_centi_krw(run.bills, "import_mwh") != run.lines.import_mwh:
        wrong.append("the bills' import is not the ledger's")
    if total_centi_krw(run.bills, "export_mwh") != run.lines.export_mwh:
        wrong.append("the bills' export is not the ledger's")
    cut_off = run.entry.import_cost - total_centi_krw(run.bills, "energy_centi_krw") * KWH
    if not 0 <= cut_off < len(run.bills) * CENTI * KWH:
        wrong.append("the energy charge is not the ledger's cost of import, cut to won each month")
    sign = np.array([1, 1, 1] + [-1] * (run.columns.energy_mwh.shape[1] - 3), np.int64)
    if (run.columns.energy_mwh @ sign).any():
        wrong.append("a quarter of an hour does not balance")
    kept = np.diff(run.columns.stored_mwh[:, 0])
    if ((-run.columns.channel(2) - kept) < 0).any():
        wrong.append("the battery gives more than it had")
    return wrong


def derived(inputs: YearInputs) -> list[tuple[str, str]]:
    """What of the result is not measured, Korean and English."""
    settings, options = inputs.settings, inputs.options
    said = [
        ("실측: 가구 12호의 시간별 전력량 56일, 같은 날의 외기온, 태양광 하루(1초)",
         "measured: hourly energy of 12 homes on 56 days, their outdoor temperature, one day of a PV plant at 1 s"),
        ("가구와 날씨는 캘리포니아, 태양광은 북미 자료이며 한국의 부하가 아니다",
         "homes and weather are Californian, the PV plant North American: no Korean load"),
        (f"연간 부하: 실측 주를 무작위 순서(seed {options.seed})로 반복, 공휴일은 일요일로, 15분 값은 합성",
         f"year of load: measured weeks in a drawn order (seed {options.seed}), holidays as Sundays; "
         "quarters synthetic"),
        ("연간 태양광: 진천의 맑은 하늘 × 일교차로 본 맑음 × 실측일의 구름, "
         f"연 {settings.yield_wh_per_w:g} kWh/kWp에 맞춤",
         f"year of PV: clear sky of the site × clearness by the range of temperature × clouds of the measured day, "
         f"set to {settings.yield_wh_per_w:g} kWh/kWp"),
        ("배터리: 모의, 15분 평균 전력, 열화 없음", "battery: simulated, means of 15 minutes, no ageing"),
    ]  # fmt: skip
    if settings.heat_pump.share:
        share = f"{settings.heat_pump.share:.0%}"
        said.append((f"히트펌프: 가구의 {share}, 월평균 기온 모형", f"heat pumps: a model, {share} of the homes"))
    if not options.contract_kw:
        said.append(("기본요금: 계약전력 하한 없이 기록된 최대수요로", "demand charge: on the recorded peak alone"))
    first, last = (day_number(one) for one in (date(options.year, 1, 1), date(options.year, 12, 31)))
    said += [("가정", f"assumed: {text}") for text in inputs.tariff.assumptions(first, last)]
    said += [("가정", f"assumed ({key}): {text}") for key, text in settings.assumptions
             if key != "heat_pump" or settings.heat_pump.share]  # fmt: skip
    return said


def figures(run: RuleYear) -> dict[str, Any]:
    """The year's key figures by name with unit, for JSON."""
    lines = run.lines
    energy = {
        name: getattr(lines, f"{name}_mwh") / KWH
        for name in ("load", "generation", "import", "export", "charge", "discharge", "storage_loss", "storage_change",
                     "curtailed", "unserved")
    }  # fmt: skip
    return {
        "rule": run.rule,
        **{f"{name}_kwh": value for name, value in energy.items()},
        "unaccounted_mwh": lines.unaccounted_mwh,
        "self_sufficiency": lines.self_sufficiency,
        "self_consumption": lines.self_consumption,
        "full_cycles": run.full_cycles,
        "peak_kw": run.peak_kw,
        "peak_at_utc_ns": run.peak_at_utc_ns,
        "import_co2_kg": co2_kg(run.entry.import_co2),
        "avoided_co2_kg": co2_kg(run.entry.avoided_co2),
        **{f"bill_{name}_krw": run.krw(name) for name in ("demand", "energy", "climate", "fuel", "vat", "fund",
                                                          "rounding", "total", "export", "net")},
        "closes": not audit(run),
        "months": [month_figures(run, k) for k in range(len(run.bills))],
    }  # fmt: skip


def month_figures(run: RuleYear, k: int) -> dict[str, Any]:
    """A month's key figures."""
    bill, lines = run.bills[k], balance(run.params.channels, run.months[k])
    return {
        "month": bill.label,
        "load_kwh": lines.load_mwh / KWH,
        "generation_kwh": lines.generation_mwh / KWH,
        "import_kwh": lines.import_mwh / KWH,
        "export_kwh": lines.export_mwh / KWH,
        "self_sufficiency": lines.self_sufficiency,
        "peak_kw": bill.peak_kw,
        "billed_kw": bill.billed_kw,
        "bill_krw": bill.total_centi_krw / CENTI,
        "net_krw": bill.net_centi_krw / CENTI,
    }
