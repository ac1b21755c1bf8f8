"""What ``gwanje year`` prints and writes: a table with all rules side by side in Korean and English, months, CSV."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from unicodedata import east_asian_width
from zoneinfo import ZoneInfo

import numpy as np

from gwanje.control.microgrid.ledger.accounting import co2_kg
from gwanje.control.microgrid.tariff.local_time import NS_PER_S
from gwanje.control.microgrid.tariff.tariff import BANDS
from gwanje.control.microgrid.year.simulation import KWH, RuleYear, YearInputs, audit, derived, month_figures

NAMES = {
    "none": ("배터리 없음", "no battery"),
    "own": ("자가소비", "own use"),
    "peak": ("자가소비+피크", "own use+peak"),
    "site": ("현장 평활", "site, smooth"),
    "plan": ("계획", "plan"),
    "plan-perfect": ("계획(완전예측)", "plan, foreseen"),
}
"""Rule → what a person calls it."""
LABEL_COLUMNS = 46
COLUMN = 15
Cell = Callable[[RuleYear], str]


def lines(inputs: YearInputs, runs: Sequence[RuleYear], derive_s: float) -> Iterator[str]:
    """The whole report, line by line.

    Args:
        inputs: of the run.
        runs: one for each rule; the first is what the others are compared with.
        derive_s: how long reading and deriving the series took.
    """
    tariff, battery, options = inputs.tariff, inputs.settings.battery, inputs.options
    n_homes = inputs.series.homes_mwh.shape[1]
    yield (f"모의 {options.year}년 · simulated year {options.year}: {n_homes}가구 homes, "
           f"PV {inputs.settings.pv_peak_w / 1e3:g} kWp, "
           f"ESS {battery.energy_wh / 1e3:g} kWh / {battery.discharge_w_max / 1e3:g} kW")  # fmt: skip
    yield f"요금 · tariff: {tariff.name_ko} · {tariff.name_en}"
    yield ""
    yield row("", [NAMES.get(run.rule, (run.rule, run.rule))[0] for run in runs])
    yield row("", [NAMES.get(run.rule, (run.rule, run.rule))[1] for run in runs])
    for label, cell in _rows(runs[0]):
        yield row(label, [cell(run) for run in runs]) if cell is not None else label
    yield ""
    closes = all(not audit(run) for run in runs)
    yield from closing(runs[-1], closes)
    for run in runs:
        yield from (f"! {run.rule}: {problem}" for problem in audit(run))
    yield ""
    per_minute = ", ".join(f"{run.rule} {60.0 / run.seconds:,.0f}" for run in runs if math.isfinite(run.seconds))
    yield f"속도 · speed: {per_minute} 년/분 · years per minute; 자료 작성 · series {derive_s:.2f} s"
    yield ""
    for ko, en in derived(inputs):
        yield f"* {ko} · {en}"


def row(label: str, cells: Sequence[str]) -> str:
    """A line of the table; Korean letters take two columns."""
    padded = label + " " * max(1, LABEL_COLUMNS - _columns(label))
    return padded + "".join(" " * max(1, COLUMN - _columns(cell)) + cell for cell in cells)


def closing(run: RuleYear, closes: bool) -> Iterator[str]:
    """The identity of the last rule in numbers, to the milliwatt-hour."""
    books = run.lines
    yield f"장부 · ledger ({run.rule}), kWh"
    yield (f"  수전 import {_exact(books.import_mwh)} + 발전 generation {_exact(books.generation_mwh)} = "
           f"{_exact(books.sources_mwh)}")  # fmt: skip
    yield (f"  부하 load {_exact(books.load_mwh)} + 송전 export {_exact(books.export_mwh)} + ESS 손실 losses "
           f"{_exact(books.storage_loss_mwh)} + ESS 증감 change {_exact(books.storage_change_mwh)} = "
           f"{_exact(books.uses_mwh)}")  # fmt: skip
    verdict = "정확히 일치 · closes exactly" if closes else "불일치 · DOES NOT CLOSE"
    yield f"  미계량 unaccounted {books.unaccounted_mwh} mWh: {verdict}"


def month_lines(run: RuleYear) -> Iterator[str]:
    """The months of one rule."""
    names = ("부하 load", "PV", "수전 import", "송전 export", "자급률 self %", "피크 peak", "적용 billed", "청구 bill")
    units = ("kWh", "kWh", "kWh", "kWh", "%", "kW", "kW", "KRW")
    yield f"월별 · months ({run.rule})"
    yield " " * 8 + "".join(" " * max(1, COLUMN - _columns(name)) + name for name in names)
    yield " " * 8 + "".join(name.rjust(COLUMN) for name in units)
    for k in range(len(run.bills)):
        month = month_figures(run, k)
        cells = [
            f"{month[key]:,.0f}" for key in ("load_kwh", "generation_kwh", "import_kwh", "export_kwh")
        ]  # fmt: skip
        cells += [f"{100 * month['self_sufficiency']:.1f}", f"{month['peak_kw']:.2f}", f"{month['billed_kw']:.2f}"]
        cells.append(f"{month['bill_krw']:,.0f}")
        yield f"{month['month']:8}" + "".join(cell.rjust(COLUMN) for cell in cells)


def write_csv(path: Path, inputs: YearInputs, run: RuleYear) -> int:
    """Every quarter of an hour of one rule; returns how many.

    Columns carry their units. Energies are exact to the milliwatt-hour; ``price_krw_per_kwh`` is what a kWh more from
    the utility costs in that quarter before VAT and fund. ``origin`` says for every row that it is simulated.
    """
    series, tariff, columns = inputs.series, inputs.tariff, run.columns
    zone = ZoneInfo(tariff.terms.zone)
    tie, discharge = columns.channel(0), columns.channel(2)
    flows: list[tuple[str, Any]] = [
        ("homes_wh", series.homes_mwh.sum(axis=1)),
        ("heat_pumps_wh", series.heat_pump_mwh),
        ("pv_wh", series.pv_mwh),
        ("import_wh", np.maximum(tie, 0)),
        ("export_wh", np.maximum(-tie, 0)),
        ("charge_wh", np.maximum(-discharge, 0)),
        ("discharge_wh", np.maximum(discharge, 0)),
        ("stored_end_wh", columns.stored_mwh[1:, 0]),
    ]
    bands, prices = tariff.band(series.begin_utc_ns), tariff.price_krw_per_kwh(series.begin_utc_ns)
    carbon = tariff.carbon_kg_per_kwh(series.begin_utc_ns)
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow(["begin_local", "begin_utc_s", *(name for name, _ in flows), "band", "price_krw_per_kwh",
                      "carbon_kg_per_kwh", "outdoor_c", "rule", "origin"])  # fmt: skip
        table = np.column_stack([flow for _, flow in flows]).tolist()
        for k, energies in enumerate(table):
            utc_s = int(series.begin_utc_ns[k]) // NS_PER_S
            local = datetime.fromtimestamp(utc_s, zone).isoformat()
            out.writerow([local, utc_s, *(f"{one / 1000:.3f}" for one in energies), BANDS[int(bands[k])],
                          f"{prices[k]:.2f}", f"{carbon[k]:.4f}", f"{series.outdoor_c[k]:.1f}", run.rule,
                          "simulated"])  # fmt: skip
    return len(table)


def _rows(base: RuleYear) -> Iterator[tuple[str, Cell | None]]:
    """Label and cell of every row; ``None`` for a heading."""

    def energy(name: str) -> Cell:
        return lambda run: f"{getattr(run.lines, f'{name}_mwh') / KWH:,.1f}"

    def won(line: str) -> Cell:
        return lambda run: f"{run.krw(line):,.0f}"

    yield "에너지 · energy", None
    yield "  사용량 consumption of loads, kWh", energy("load")
    yield "  태양광 발전 PV generation, kWh", energy("generation")
    yield "  수전 import, kWh", energy("import")
    yield "  송전 export, kWh", energy("export")
    yield "  ESS 충전 charge, kWh", energy("charge")
    yield "  ESS 방전 discharge, kWh", energy("discharge")
    yield "  ESS 손실 losses, kWh", energy("storage_loss")
    yield "  ESS 등가 사이클 full cycles", lambda run: f"{run.full_cycles:.1f}"
    yield "  출력제한·미공급 curtailed, unserved, kWh", lambda run: (
        f"{run.lines.curtailed_mwh / KWH:,.1f}, {run.lines.unserved_mwh / KWH:,.1f}"
    )
    yield "자립 · independence", None
    yield "  자급률 self-sufficiency, %", lambda run: f"{100 * run.lines.self_sufficiency:.2f}"
    yield "  자가소비율 self-consumption, %", lambda run: f"{100 * run.lines.self_consumption:.2f}"
    yield "최대수요 · demand (15 min)", None
    yield "  연중 최대 peak, kW", lambda run: f"{run.peak_kw:.2f}"
    yield "  발생 at", lambda run: _when(run)
    yield "전기요금 · bill, KRW", None
    yield "  기본요금 demand charge", won("demand")
    yield "  전력량요금 energy", won("energy")
    yield "  기후환경·연료비 climate, fuel", lambda run: f"{run.krw('climate') + run.krw('fuel'):,.0f}"
    yield "  부가세·기금·절사 VAT, fund, rounding", lambda run: (
        f"{run.krw('vat') + run.krw('fund') + run.krw('rounding'):,.0f}"
    )
    yield "  청구액 total", won("total")
    yield "  송전 수익 export", won("export")
    yield "  순비용 net", won("net")
    yield "  첫 열 대비 against the first column", lambda run: f"{run.krw('net') - base.krw('net'):+,.0f}"
    yield "탄소 · CO2 equivalent, kg", None
    yield "  수전 of import", lambda run: f"{co2_kg(run.entry.import_co2):,.1f}"
    yield "  감축 avoided", lambda run: f"{co2_kg(run.entry.avoided_co2):,.1f}"


def _when(run: RuleYear) -> str:
    moment = datetime.fromtimestamp(run.peak_at_utc_ns // NS_PER_S, ZoneInfo(run.params.zone))
    return moment.strftime("%m-%d %H:%M")


def _exact(energy_mwh: int) -> str:
    """Kilowatt-hours with every milliwatt-hour."""
    sign = "-" if energy_mwh < 0 else ""
    whole, rest = divmod(abs(energy_mwh), KWH)
    return f"{sign}{whole:,}.{rest:06d}"


def _columns(text: str) -> int:
    return sum(2 if east_asian_width(one) in "WF" else 1 for one in text)
