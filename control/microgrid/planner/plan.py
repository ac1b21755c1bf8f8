"""A plan: series by the names of the devices, its price, and where it had to give way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from gwanje.control.microgrid.planner.assets import Floats
from gwanje.control.microgrid.planner.problem import Problem

TOLD_WH = 10.0
"""Less is a solver's tolerance, not something that is missing."""
TOLD_W = 100.0


@dataclass(frozen=True, slots=True)
class Softening:
    """A wish that a plan could not keep. The plan is the best there is all the same.

    Attributes:
        kind: ``load_unserved``, ``floor_broken``, ``vehicles_unserved``, ``heat_unserved``, ``reserve_missing``,
            ``surplus``, ``ramp_broken``, ``soc_outside``.
        subject: device.
        amount: how much, in ``unit``.
        unit: Wh, W or 1.
        ko: for operators.
        en: for operators.
    """

    kind: str
    subject: str
    amount: float
    unit: str
    ko: str
    en: str


@dataclass(frozen=True)
class Plan:
    """What to do in each step.

    Attributes:
        start_utc_ns: beginning of the first step.
        step_h: (n_steps,) length of each.
        objective_krw: price of all steps by the problem's prices, with end values and penalties.
        series: W, Wh or 0…1 for each step, by ``<device>.<quantity>``: ``grid.import_w``, ``grid.export_w``,
            ``grid.peak_w`` (one figure), ``<battery>.discharge_w`` (negative: charge), ``<battery>.energy_wh`` at each
            step's end, ``<genset>.generation_w`` and ``<genset>.on``, ``<pv>.generation_w`` and ``.curtailed_w``,
            ``<load>.load_w`` and ``.unserved_w``, ``<vehicles>.load_w``, ``<pump>.load_w``, ``<store>.energy_wh``,
            ``surplus_w``.
        softened: where it gave way, by name.
        solver: that found it.
        integer: whether binaries had to be decided.
        gap: relative distance to what is proven; 0 without binaries.
    """

    start_utc_ns: int
    step_h: Floats
    objective_krw: float
    series: Mapping[str, Floats]
    softened: tuple[Softening, ...]
    solver: str
    integer: bool
    gap: float

    def first(self, name: str) -> float:
        """Value of a series in the first step."""
        return float(self.series[name][0])


def softenings(problem: Problem, series: Mapping[str, Floats]) -> tuple[Softening, ...]:
    """Where a solution gives way, largest of each kind and device once."""
    h = problem.step_h
    found = []

    def energy(kind: str, subject: str, power_w: Floats, ko: str, en: str) -> None:
        amount = float(h @ power_w)
        if amount > TOLD_WH:
            text = f"{amount / 1e3:,.1f} kWh"
            found.append(Softening(kind, subject, amount, "Wh", f"{subject}: {ko} {text}", f"{subject}: {text} {en}"))

    for load in problem.loads:
        if load.tier != "flexible":
            energy("load_unserved", load.name, series[f"{load.name}.unserved_w"], "부하 미공급", "of load not served")
        elif f"{load.name}.below_floor_w" in series:
            below = series[f"{load.name}.below_floor_w"]
            energy("floor_broken", load.name, below, "최소 한도 미달", "missing below its floor")
    for pool in problem.ev_pools:
        missing_w = series[f"{pool.name}.unserved_wh"] / h
        energy("vehicles_unserved", pool.name, missing_w, "차량 충전 부족", "short for vehicles that leave")
    for store in problem.heat_stores:
        missing_w = series[f"{store.name}.unserved_heat_w"]
        energy("heat_unserved", store.name, missing_w, "열 미공급", "of heat not served")
    energy("surplus", "site", series["surplus_w"], "잉여 발전", "generated that nothing takes")
    for battery in problem.batteries:
        if not battery.soc_min <= battery.soc <= battery.soc_max:
            away = max(battery.soc_min - battery.soc, battery.soc - battery.soc_max)
            pct = f"{100 * battery.soc:.1f} %"
            ko, en = f"{battery.name}: 충전율 {pct}, 한도 밖", f"{battery.name}: charge {pct} is outside its limits"
            found.append(Softening("soc_outside", battery.name, away, "1", ko, en))
        short = series.get(f"{battery.name}.reserve_missing_wh")
        if short is not None and np.max(short) > TOLD_WH:
            most = float(np.max(short))
            text = f"{most / 1e3:,.1f} kWh"
            ko, en = f"{battery.name}: 독립운전 예비량 부족 {text}", f"{battery.name}: island reserve short by {text}"
            found.append(Softening("reserve_missing", battery.name, most, "Wh", ko, en))
    broken = series.get("grid.ramp_broken_w")
    if broken is not None and np.max(broken) > TOLD_W:
        most = float(np.max(broken))
        text = f"{most / 1e3:,.1f} kW"
        ko, en = f"연계선: 변화율 한도 초과 {text}", f"tie-line: ramp exceeded by {text}"
        found.append(Softening("ramp_broken", "grid", most, "W", ko, en))
    return tuple(found)
