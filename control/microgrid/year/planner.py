"""The rolling plan as one more rule of ``gwanje year``: every hour a day ahead, with simple forecasts.

Forecasts know nothing of the future: the load is that of the same quarters of up to four past days of the same kind
(weekday, Saturday, holiday), the sun that of the last three days. The battery then holds the tie at what was planned
for each quarter, and so carries what the forecast missed. The first day, with no past, is that of the rule ``own``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gwanje.control.microgrid.planner.assets import Battery, Grid, Load, Renewable
from gwanje.control.microgrid.planner.planning import Planner
from gwanje.control.microgrid.planner.problem import Problem
from gwanje.control.microgrid.planner.solve import best_solver
from gwanje.control.microgrid.tariff.local_time import Ints, civil, day_kinds
from gwanje.control.microgrid.tariff.tariff import Floats
from gwanje.control.microgrid.year.battery import MWH_PER_W, Limits, battery_step
from gwanje.control.microgrid.year.simulation import YearInputs

HORIZON = 96
EVERY = 4
"""Quarters between two plans."""
SAME_DAYS_MAX = 4
SUNNY_DAYS = 3
WEAR_KRW_PER_KWH = 5.0
"""Of each kWh in and out: keeps a plan from moving energy for next to nothing."""
COUNTED_MONTHS = 6.0
"""Months of demand charge that a new peak in a counted month costs at least, of up to twelve."""


@dataclass(frozen=True, slots=True)
class Forecasts:
    """What is expected from a quarter on, mean W of each quarter of the horizon."""

    load_w: Floats
    pv_w: Floats


def similar_days(load_w: Floats, pv_w: Floats, kinds: Ints, at: int) -> Forecasts:
    """Forecasts from the past alone.

    Args:
        load_w: of every quarter of the year; only those before ``at`` are looked at.
        pv_w: the same.
        kinds: of each local day.
        at: quarter from which on the horizon begins.
    """
    quarters = np.arange(at, min(at + HORIZON, len(load_w)))
    load, pv = np.zeros(len(quarters)), np.zeros(len(quarters))
    today = at // 96
    for day in np.unique(quarters // 96):
        where = quarters // 96 == day
        slots = quarters[where] % 96
        known = [past for past in range(today - 1, -1, -1) if kinds[past] == kinds[day]][:SAME_DAYS_MAX]
        known = known or list(range(max(0, today - 1), today))
        load[where] = _mean(load_w, known, slots)
        pv[where] = _mean(pv_w, range(max(0, today - SUNNY_DAYS), today), slots)
    return Forecasts(load, pv)


def perfect(load_w: Floats, pv_w: Floats, kinds: Ints, at: int) -> Forecasts:
    """What will come: a bound, not a forecast."""
    return Forecasts(load_w[at : at + HORIZON], pv_w[at : at + HORIZON])


def run_plan(inputs: YearInputs, foresee: bool = False) -> tuple[Ints, Ints]:
    """The battery under the rolling plan.

    Args:
        inputs: of the run.
        foresee: with perfect forecasts instead of similar days.

    Returns:
        As :func:`.battery.run_battery`.
    """
    series, tariff = inputs.series, inputs.tariff
    limits = Limits.of(inputs.settings.battery)
    local = civil(series.begin_utc_ns, tariff.terms.zone)
    kinds = day_kinds(np.unique(local.day), tariff.terms.holidays)
    load_w, pv_w = series.load_mwh / MWH_PER_W, series.pv_mwh / MWH_PER_W
    price = tariff.price_krw_per_kwh(series.begin_utc_ns)
    # Where a kWh earns more than it costs, a meter that cannot run both ways at once asks for binaries in each plan: a
    # year would take ten times as long. The plan counts such a kWh at its price; the bill counts it as it is.
    export = np.minimum(tariff.export_krw_per_kwh(series.begin_utc_ns), price)
    demand = tariff.demand_on(local.day)
    counted = np.isin(local.month % 12 + 1, tariff.terms.counted_months)
    net = inputs.net_load_mwh.tolist()
    planner = Planner(best_solver())
    peaks: dict[int, int] = {}
    stored = limits.start_mwh
    flows: list[int] = []
    levels = [stored]
    wanted: Sequence[float] = ()
    for at in range(len(net)):
        if at % EVERY == 0 and at >= 96:
            seen = (perfect if foresee else similar_days)(load_w, pv_w, kinds, at)
            n, month = len(seen.load_w), int(local.month[at])
            span = slice(at, at + n)
            recorded = max([peaks.get(month, 0), *_counted(peaks, month, tariff.terms.counted_months)])
            months = COUNTED_MONTHS if counted[at] else 1.0
            made = planner.plan(
                Problem(
                    step_h=np.full(n, 0.25),
                    grid=Grid(
                        import_w_max=1e6,
                        export_w_max=1e6,
                        price_krw_per_kwh=price[span],
                        export_price_krw_per_kwh=export[span],
                        demand_krw_per_kw=float(demand[at]) * months,
                        recorded_peak_w=recorded / MWH_PER_W,
                    ),
                    loads=(Load("homes", load_w=seen.load_w, unserved_krw_per_kwh=10_000.0),),
                    renewables=(Renewable("pv", available_w=seen.pv_w),),
                    batteries=(_battery(inputs, stored, float(price[span].mean())),),
                )
            )
            wanted = (made.series["grid.import_w"] - made.series["grid.export_w"]).tolist()
        if wanted:
            bought = round(wanted[at % EVERY] * MWH_PER_W)
            flow, stored = battery_step(stored, net[at] - bought, limits)
        else:
            flow, stored = battery_step(stored, net[at], limits)
        month = int(local.month[at])
        peaks[month] = max(peaks.get(month, 0), net[at] - flow)
        flows.append(flow)
        levels.append(stored)
    return np.array(flows, np.int64), np.array(levels, np.int64)


def _counted(peaks: dict[int, int], month: int, counted: Sequence[int]) -> list[int]:
    return [peak for one, peak in peaks.items() if month - 12 < one < month and one % 12 + 1 in counted]


def _battery(inputs: YearInputs, stored_mwh: int, price: float) -> Battery:
    battery = inputs.settings.battery
    return Battery(
        "ess",
        energy_wh=battery.energy_wh,
        charge_w_max=battery.charge_w_max,
        discharge_w_max=battery.discharge_w_max,
        soc=stored_mwh / 1000.0 / battery.energy_wh,
        soc_min=battery.soc_min,
        soc_max=battery.soc_max,
        charge_efficiency=battery.charge_efficiency,
        discharge_efficiency=battery.discharge_efficiency,
        charge_krw_per_kwh=WEAR_KRW_PER_KWH,
        discharge_krw_per_kwh=WEAR_KRW_PER_KWH,
        end_value_krw_per_kwh=price * battery.discharge_efficiency,
    )


def _mean(values: Floats, days: Sequence[int], slots: Ints) -> Floats:
    if not len(days):
        return np.zeros(len(slots))
    mean: Floats = np.mean([values[day * 96 + slots] for day in days], axis=0)
    return mean
