"""What an entry of the ledger says in Wh, KRW and kg; sums over entries of whatever channels; the bill so far. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from gwanje.control.microgrid.ledger.accounting import LedgerParams, LedgerState, Span, co2_kg, so_far
from gwanje.control.microgrid.ledger.entry import BALANCED, Channel, Entry, add, balance
from gwanje.control.microgrid.tariff.bill import MonthBill, monthly_bills
from gwanje.control.microgrid.tariff.local_time import civil
from gwanje.control.microgrid.tariff.tariff import CENTI, Tariff

MWH_PER_WH = 1_000
QUARTERS_PER_HOUR = 4
COST_UNITS_PER_KRW = 1_000_000 * CENTI
"""Milliwatt-hours times hundredths of a won per kWh."""
NS_PER_S = 1e9
UNSURE_SHARE = 0.01
"""Of a period: when more of it is estimated or missing its figures are uncertain."""
GREATEST = ("peak_import_w",)
"""Figures of which a sum takes the greatest."""


def figures(entry: Entry, channels: Sequence[Channel]) -> dict[str, float]:
    """An entry's lines; all add up over entries but the greatest demand and the share of self-sufficiency."""
    lines = balance(channels, entry)
    worst = max(
        (a + b for one, a, b in zip(channels, entry.estimated_ns, entry.missing_ns, strict=True)
         if one.role in BALANCED),
        default=0,
    )  # fmt: skip
    return {
        "import_wh": lines.import_mwh / MWH_PER_WH,
        "export_wh": lines.export_mwh / MWH_PER_WH,
        "generation_wh": lines.generation_mwh / MWH_PER_WH,
        "load_wh": lines.load_mwh / MWH_PER_WH,
        "use_wh": lines.consumption_mwh / MWH_PER_WH,
        "charge_wh": lines.charge_mwh / MWH_PER_WH,
        "discharge_wh": lines.discharge_mwh / MWH_PER_WH,
        "storage_change_wh": lines.storage_change_mwh / MWH_PER_WH,
        "storage_loss_wh": lines.storage_loss_mwh / MWH_PER_WH,
        "network_loss_wh": lines.network_loss_mwh / MWH_PER_WH,
        "unaccounted_wh": lines.unaccounted_mwh / MWH_PER_WH,
        "peak_import_w": entry.peak_import_mwh / MWH_PER_WH * QUARTERS_PER_HOUR,
        "cost_krw": entry.import_cost / COST_UNITS_PER_KRW,
        "unpriced_wh": entry.unpriced_mwh / MWH_PER_WH,
        "co2_import_kg": co2_kg(entry.import_co2),
        "co2_avoided_kg": co2_kg(entry.avoided_co2),
        "estimated_s": worst / NS_PER_S,
        "gap_s": entry.gap_ns / NS_PER_S,
        "residual_mwh": float(lines.residual_mwh),
        "self_sufficiency": lines.self_sufficiency,
    }


def summed_figures(each: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Figures of several entries together, whatever channels they have; empty for none."""
    total: dict[str, float] = {}
    for one in each:
        for key, value in one.items():
            before = total.get(key, 0.0)
            total[key] = max(before, value) if key in GREATEST else before + value
    if total:
        used = total["use_wh"]
        total["self_sufficiency"] = 1.0 - total["import_wh"] / used if used else math.nan
    return total


def running(state: LedgerState, params: LedgerParams, span: Span) -> Entry | None:
    """The quarter, day, month or year under way, so far; ``None`` when nothing is in it yet.

    Its greatest demand is that of the whole quarter hours, as a meter has it.
    """
    quarter = so_far(state, params)
    if span == "quarter":
        return quarter
    closed: Entry | None = getattr(state, span)
    if quarter is None or closed is None:
        return quarter if closed is None else closed
    return add(closed, quarter)


def unsure(entry: Entry, channels: Sequence[Channel]) -> bool:
    """Whether too much of an entry is estimated or missing."""
    length_s = (entry.end_utc_ns - entry.begin_utc_ns) / NS_PER_S
    return figures(entry, channels)["estimated_s"] > UNSURE_SHARE * length_s


def month_number(utc_ns: int, zone: str) -> int:
    """Months since January 1970 of a moment."""
    return int(civil(np.array([utc_ns], np.int64), zone).month[0])


def bill_so_far(
    tariff: Tariff, quarters: Sequence[tuple[int, int, int]], peaks_mwh: Mapping[int, int]
) -> MonthBill | None:
    """What a month costs as far as it is counted; its demand is charged for the days so far.

    Args:
        tariff: of the site.
        quarters: begin, import and export in milliwatt-hours, of quarter hours of one month; the last may run yet.
        peaks_mwh: greatest quarter hour by month, for what a bill looks back at.

    Raises:
        TariffError: the tariff or its holidays do not cover the month.
    """
    if not quarters:
        return None
    begin, imported, exported = (np.array(one, np.int64) for one in zip(*quarters, strict=True))
    return monthly_bills(tariff, begin, imported, exported, peaks_mwh)[-1]
