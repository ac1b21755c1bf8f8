"""What a simulated run costs: energy by the tariff, load not served by its tier, fuel, and what the batteries keep.

Unlike a bill this counts each kind of cost once and without taxes, so that runs can be compared.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np

from gwanje.control.microgrid.device_settings import TIER_KRW_PER_KWH
from gwanje.control.microgrid.tariff.reader import load_tariff
from gwanje.core.closed_loop.runner import Record
from gwanje.core.closed_loop.script import LoopScript

FUEL_KRW_PER_L = 1_500.0
"""Diesel for generators in Korea, about the retail price of 2025."""
ZONE = "Asia/Seoul"
DATE = "2026-07-15"
"""A weekday of summer, when a script says none."""
NS_PER_S = 1_000_000_000


def price_run(site_root: Path, script: LoopScript, record: Record) -> dict[str, float]:
    """Costs of a run in KRW.

    ``energy_krw``, ``unserved_krw``, ``fuel_krw``, ``stored_krw`` (worth of what the batteries hold more than at the
    beginning) and ``money_krw``, the whole; ``demand_krw_month`` is what the greatest quarter of an hour would cost in
    a month, and no part of it.
    """
    tariff = load_tariff(site_root, zone=ZONE)
    midnight = datetime.fromisoformat(script.date or DATE).replace(tzinfo=ZoneInfo(ZONE))
    begin_ns = round(midnight.timestamp()) * NS_PER_S + round(script.start_s * NS_PER_S)
    utc_ns = begin_ns + np.round(record.at_s * NS_PER_S).astype(np.int64)
    for_s = np.diff(record.at_s, append=2.0 * record.at_s[-1] - record.at_s[-2])
    kwh = record.series["tie_w"] * for_s / 3.6e6
    bought, sold = np.maximum(kwh, 0.0), np.maximum(-kwh, 0.0)
    price = tariff.price_krw_per_kwh(utc_ns)
    energy_krw = float(bought @ price - sold @ tariff.export_krw_per_kwh(utc_ns))
    unserved_krw = sum(krw * record.truth[f"unserved_{tier}_wh"] / 1000.0 for tier, krw in TIER_KRW_PER_KWH.items())
    fuel_krw = FUEL_KRW_PER_L * record.truth["fuel_l"]
    stored = record.series["stored_wh"]
    stored_krw = float((stored[-1] - stored[0]) / 1000.0 * price.mean())
    quarter = np.floor((script.start_s + record.at_s) / 900.0).astype(int)
    quarters_kw = np.bincount(quarter - quarter[0], weights=kwh) * 4.0
    return {
        "energy_krw": energy_krw,
        "unserved_krw": unserved_krw,
        "fuel_krw": fuel_krw,
        "stored_krw": stored_krw,
        "money_krw": energy_krw + unserved_krw + fuel_krw - stored_krw,
        "demand_krw_month": float(max(quarters_kw.max(), 0.0) * tariff.demand_krw_per_kw_month(utc_ns[:1])[0]),
    }
