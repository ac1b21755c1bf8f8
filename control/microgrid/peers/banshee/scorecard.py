"""The score of the 2017 rubric in dollars, and the figures that were published of two controllers.

Source: rubric and figures as listed in ``SOURCES.md``; what is counted follows the rubric's formulas, written anew.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from gwanje.control.microgrid.peers.banshee.network import Floats
from gwanje.control.microgrid.peers.banshee.plant import Moment, State, demand
from gwanje.control.microgrid.peers.banshee.site import Site, World

S_PER_H, S_PER_MIN, W_PER_KW = 3_600.0, 60.0, 1e3
TIERS = ("C", "P", "I")
DEVIATION_PU = 0.05
LARGEST_PU = 0.5
"""Beyond, a bus counts as switched off, as in the report."""

PUBLISHED = {
    "vendor 1": {"C": 0.24, "P": 0.91, "I": 0.93, "power_factor": 0.001, "export": 1.0, "import": 0.61, "pv_kwh": 431.0,
                 "deviation": 0.72},
    "vendor 2": {"C": 0.22, "P": 0.89, "I": 0.91, "power_factor": 0.006, "export": 1.0, "import": 1.0, "pv_kwh": 470.0,
                 "deviation": 0.54},
}  # fmt: skip
"""Shares of energy not served, of time in which a request was met, of time with more than 5 % deviation."""


@dataclass
class Tally:
    """Sums over a run; seconds, kWh and what the rubric counts."""

    wanted_kwh: Floats
    served_kwh: Floats
    asked_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("power_factor", "export", "import"), 0.0))
    met_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("power_factor", "export", "import"), 0.0))
    since_s: dict[str, float] = field(default_factory=dict)
    deviation_s: Floats = field(default_factory=lambda: np.zeros(0))
    dollars: dict[str, float] = field(default_factory=dict)
    pv_kwh: float = 0.0
    moved_kwh: float = 0.0
    time_s: float = 0.0

    def add(self, what: str, dollars: float) -> None:
        """To one line of the bill."""
        self.dollars[what] = self.dollars.get(what, 0.0) + dollars


class Scorecard:
    """Adds up a run, moment by moment."""

    def __init__(self, site: Site) -> None:
        n = len(site.loads)
        self.site = site
        self.tally = Tally(np.zeros(n), np.zeros(n))
        self._disconnect_s = 0.0
        self._asked: tuple[float, float, float] = (math.inf, math.inf, 1.0)
        self._asked_s = 0.0

    def moment(self, before: State, after: State, moment: Moment, world: World, dt_s: float) -> None:
        """One step of the run."""
        tally, hours = self.tally, dt_s / S_PER_H
        tally.time_s += dt_s
        tally.wanted_kwh += demand(self.site, world)[2] * hours / W_PER_KW
        tally.served_kwh += moment.served_w * hours / W_PER_KW
        tally.pv_kwh += after.pv_w * hours / W_PER_KW
        tally.moved_kwh += abs(moment.battery_w) * hours / W_PER_KW
        self._fuel(after, hours)
        self._grid(after, moment, hours)
        self._requests(after, moment, world, dt_s)
        self._voltage(moment, dt_s)
        low = after.energy_wh < self.site.score["low_soc"] * self.site.battery.energy_wh
        if after.connected and low and world.controller_started:
            tally.add("low soc", -self.site.score["low_soc_per_min"] * dt_s / S_PER_MIN)

    def _fuel(self, state: State, hours: float) -> None:
        score, tally = self.site.score, self.tally
        if state.diesel.running:
            kwh = state.diesel.generation_w * hours / W_PER_KW
            gal = score["diesel_gal_per_kwh"] * kwh + score["diesel_gal_per_h"] * hours
            tally.add("diesel", -gal * score["diesel_per_gal"])
        if state.chp.running:
            kwh = state.chp.generation_w * hours / W_PER_KW
            gas = score["gas_m3_per_kwh"] * kwh + score["gas_m3_per_h"] * hours
            tally.add("gas", -gas * score["gas_per_m3"])
            tally.add("heat", score["heat_mbtu_per_kwh"] * kwh * score["heat_per_mbtu"])

    def _grid(self, state: State, moment: Moment, hours: float) -> None:
        if not state.connected:
            return
        score, price = self.site.score, self.site.score["energy_per_kwh"]
        bought, sold = max(0.0, moment.import_w), max(0.0, -moment.import_w)
        over = max(0.0, bought - score["import_limit_w"])
        beyond = max(0.0, sold - score["export_limit_w"])
        value = -(bought - over) - over * score["over_import_factor"] + sold - beyond
        value += beyond * score["over_export_factor"]
        self.tally.add("energy", value * hours / W_PER_KW * price)
        reactive = max(0.0, abs(moment.import_var) - score["reactive_limit_var"])
        self.tally.add("reactive", -reactive * hours / W_PER_KW * score["over_reactive_per_kvarh"])

    def _requests(self, state: State, moment: Moment, world: World, dt_s: float) -> None:
        score, tally = self.site.score, self.tally
        asked = (world.import_limit_w, world.export_limit_w, world.power_factor)
        self._asked_s = 0.0 if asked != self._asked or not state.connected else self._asked_s + dt_s
        self._asked = asked
        if state.connected and world.controller_started and self._asked_s >= score["settling_s"]:
            tolerance = score["request_tolerance_w"]
            apparent = math.hypot(moment.import_w, moment.import_var)
            factor = abs(moment.import_w) / apparent if apparent > 0.0 else 1.0
            wrong = abs(factor - world.power_factor)
            met = {
                "import": moment.import_w <= world.import_limit_w + tolerance,
                "export": -moment.import_w <= world.export_limit_w + tolerance,
                "power_factor": wrong <= score["power_factor_tolerance"],
            }
            active = {
                "import": math.isfinite(world.import_limit_w),
                "export": math.isfinite(world.export_limit_w),
                "power_factor": True,
            }
            for name, asks in active.items():
                tally.asked_s[name] += dt_s * asks
                tally.met_s[name] += dt_s * (asks and met[name])
                if asks and met[name]:
                    price = score["power_factor_per_min" if name == "power_factor" else "request_per_min"]
                    tally.add("requests", price * dt_s / S_PER_MIN)
        self._disconnect_s = self._disconnect_s + dt_s if world.disconnect else 0.0
        if state.connected and self._disconnect_s > score["disconnect_allowed_s"]:
            tally.add("late disconnect", -score["late_disconnect_per_min"] * dt_s / S_PER_MIN)
        if state.connected and not world.grid_up:
            tally.add("late disconnect", -score["unplanned_disconnect_per_min"] * dt_s / S_PER_MIN)

    def _voltage(self, moment: Moment, dt_s: float) -> None:
        tally, score = self.tally, self.site.score
        if moment.voltage_pu.size == 0:
            return
        if tally.deviation_s.size == 0:
            tally.deviation_s = np.zeros(moment.voltage_pu.size)
        away = np.abs(moment.voltage_pu - 1.0)
        tally.deviation_s += dt_s * ((away > DEVIATION_PU) & (away < LARGEST_PU))
        outside = np.maximum(score["voltage_low_pu"] - moment.voltage_pu, moment.voltage_pu - score["voltage_high_pu"])
        tally.add("voltage", -float(np.maximum(0.0, outside).sum()) * dt_s * score["voltage_per_pu_s"])

    def close(self, last: State) -> dict[str, float]:
        """The bill, line by line; ``total`` is the score."""
        site, score, tally = self.site, self.site.score, self.tally
        tiers = np.array([one.tier for one in site.loads])
        served = {tier: float(tally.served_kwh[tiers == tier].sum()) for tier in TIERS}
        missing = {tier: float((tally.wanted_kwh - tally.served_kwh)[tiers == tier].sum()) for tier in TIERS}
        tally.add("served", served["C"] * score["critical_per_kwh"] + served["P"] * score["priority_per_kwh"]
                  + served["I"] * score["interruptible_per_kwh"])  # fmt: skip
        tally.add("unserved", -missing["C"] * score["critical_unserved_per_kwh"]
                  - missing["P"] * score["priority_unserved_per_kwh"])  # fmt: skip
        began = site.battery.energy_wh * site.battery.initial_soc
        tally.add("stored", (last.energy_wh - began) / W_PER_KW * score["stored_per_kwh"])
        tally.add("starts", -(last.diesel.starts + last.chp.starts) * score["start_each"])
        cycles = tally.moved_kwh / 2.0 / (site.battery.energy_wh / W_PER_KW)
        tally.add("cycles", -cycles * score["cycle_each"])
        tally.add("breakers", -last.breaker_operations * score["breaker_each"])
        return {**tally.dollars, "total": sum(tally.dollars.values())}

    def shares(self) -> dict[str, float]:
        """What the report published, of this run: see :data:`PUBLISHED`."""
        tally = self.tally
        tiers = np.array([one.tier for one in self.site.loads])
        found = {}
        for tier in TIERS:
            wanted = float(tally.wanted_kwh[tiers == tier].sum())
            found[tier] = 1.0 - float(tally.served_kwh[tiers == tier].sum()) / wanted
        for name, asked in tally.asked_s.items():
            found[name] = tally.met_s[name] / asked if asked else math.nan
        found["pv_kwh"] = tally.pv_kwh
        found["deviation"] = float(tally.deviation_s.max(initial=0.0)) / tally.time_s
        return found
