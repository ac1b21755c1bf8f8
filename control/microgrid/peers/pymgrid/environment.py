"""The side of python-microgrid: opens a scenario, steps it with our actions, or lets its own controllers run.

Runs with the interpreter of ``build/pymgrid`` (``prepare`` beside this file) in a process of its own; imports nothing
of ours and is imported by nothing of ours. It reads requests on stdin, one JSON object a line, and answers each in one:

    {"open": 0, "noise": 0.2 | null, "seed": 1}      → what the site has, and the first observation
    {"step": {"discharge_kwh": …, "import_kwh": …, "genset_kwh": …, "genset_on": …}}
                                                      → cost, what was lost, and the next observation
    {"run": "mpc" | "mpc-grid-blind" | "rule", "hours": 100}
                                                      → costs of their controller on the open scenario

``mpc`` plans with the state of the grid that is observed and forecast, as the repository does since after 1.4.1;
``mpc-grid-blind`` is what 1.4.1 does: it plans as if the grid were always up.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from importlib.metadata import version
from typing import Any

import cvxpy
import numpy as np
from pymgrid import Microgrid
from pymgrid.algos import ModelPredictiveControl, RuleBasedControl

FORECAST_HOURS = 23
NS_PER_S = 1e9


class GridAwareControl(ModelPredictiveControl):  # type: ignore[misc]  # of a package without types
    """Their controller with the grid's observed and forecast state, and a second solver when the first gives up."""

    SOLVERS = (cvxpy.GLPK_MI, cvxpy.CLARABEL)
    GRID_STATE = 2
    """Where the values that they plan with hold the state of the grid."""

    def _get_modular_state_values(self) -> tuple[Any, ...]:
        values = list(super()._get_modular_state_values())
        if "grid" in self.microgrid_module_names:
            values[self.GRID_STATE] = self.microgrid.modules[self.microgrid_module_names["grid"]].item().grid_status
        return tuple(values)

    def _get_solver(self, failure: bool = False) -> Any:
        return self.SOLVERS[1] if failure else self.SOLVERS[0]


class Opened:
    """One scenario, stepped."""

    def __init__(self, number: int, noise: float | None, seed: int) -> None:
        self.grid = Microgrid.from_scenario(number)
        if noise is not None:
            np.random.seed(seed)
            self.grid.set_forecaster(noise, forecast_horizon=FORECAST_HOURS, forecaster_relative_noise=True)
            self.grid.reset()
        self.modules = {name: modules[0] for name, modules in self.grid.modules.iterdict()}

    def about(self) -> dict[str, Any]:
        """What the site has, in their units: kWh in an hour, $ a kWh, kg CO2 a kWh."""
        battery, lost = self.modules["battery"], self.modules["unbalanced_energy"]
        grid, genset = self.modules.get("grid"), self.modules.get("genset")
        return {
            "versions": {one: version(one) for one in ("python-microgrid", "numpy", "pandas", "cvxpy", "cvxopt")},
            "battery": {
                "energy_min_kwh": battery.min_capacity, "energy_max_kwh": battery.max_capacity,
                "charge_max_kwh": battery.max_charge, "discharge_max_kwh": battery.max_discharge,
                "efficiency": battery.efficiency, "cycle_cost": battery.battery_cost_cycle,
                "initial_kwh": battery.current_charge,
            },
            "unserved_cost": lost.loss_load_cost, "surplus_cost": lost.overgeneration_cost,
            "grid": grid and {
                "import_max_kwh": grid.max_import, "export_max_kwh": grid.max_export,
                "co2_cost": grid.cost_per_unit_co2,
            },
            "genset": genset and {
                "min_kwh": genset.running_min_production, "max_kwh": genset.running_max_production,
                "cost": genset.genset_cost, "co2_kg": genset.co2_per_unit, "co2_cost": genset.cost_per_unit_co2,
            },
        }  # fmt: skip

    def series(self) -> dict[str, Any]:
        """The whole year as it comes, for a bound in hindsight: load, pv, and the grid's four columns."""
        grid = self.modules.get("grid")
        return {
            "load": (-self.modules["load"].time_series[:, 0]).tolist(),
            "pv": self.modules["pv"].time_series[:, 0].tolist(),
            "grid": None if grid is None else grid.time_series.T.tolist(),
        }

    def observed(self) -> dict[str, Any]:
        """Now and the next hours, as a controller may know them."""
        grid = self.modules.get("grid")
        return {
            "stored_kwh": float(self.modules["battery"].current_charge),
            "load": (-np.asarray(self.modules["load"].state, dtype=float)).tolist(),
            "pv": np.asarray(self.modules["pv"].state, dtype=float).tolist(),
            "grid": None if grid is None else np.asarray(grid.state, dtype=float).reshape(-1, 4).T.tolist(),
        }

    def step(self, action: dict[str, float]) -> dict[str, Any]:
        """One hour with an action of ours."""
        control = {"battery": [np.array([action["discharge_kwh"]])]}
        if "grid" in self.modules:
            control["grid"] = [np.array([action["import_kwh"]])]
        if "genset" in self.modules:
            control["genset"] = [np.array([action["genset_on"], action["genset_kwh"]])]
        _, reward, _, info = self.grid.step(control, normalized=False)
        balance = info["unbalanced_energy"][0]
        return {
            "cost": -float(reward),
            "unserved_kwh": float(balance.get("provided_energy", 0.0)),
            "surplus_kwh": float(balance.get("absorbed_energy", 0.0)),
        }

    def run(self, name: str, hours: int) -> dict[str, Any]:
        """Their own controller, and the seconds that each of its actions took, less those of the step itself."""
        if name == "rule":
            started = time.perf_counter_ns()
            log = RuleBasedControl(self.grid).run(max_steps=hours)
            times = np.full(hours, (time.perf_counter_ns() - started) / hours / NS_PER_S)
        else:
            kind = GridAwareControl if name == "mpc" else ModelPredictiveControl
            mixed = "genset" in self.modules
            control = kind(self.grid, solver=cvxpy.GLPK_MI if mixed else cvxpy.CLARABEL)
            control.SOLVERS = (cvxpy.GLPK_MI, cvxpy.CLARABEL) if mixed else (cvxpy.CLARABEL, cvxpy.GLPK_MI)
            times = np.empty(hours)
            for hour in range(hours):
                started = time.perf_counter_ns()
                action = control.get_action()
                times[hour] = (time.perf_counter_ns() - started) / NS_PER_S
                self.grid.step(action, normalized=False)
            log = self.grid.get_log()
        lost = [one for one in log.columns if one[2] == "loss_load"]
        return {
            "cost": -float(log[("balance", 0, "reward")].sum()),
            "unserved_kwh": float(log[lost].sum().sum()),
            "action_ms": {
                "median": float(np.median(times)) * 1e3, "p99": float(np.quantile(times, 0.99)) * 1e3,
                "max": float(times.max()) * 1e3,
            },
        }  # fmt: skip


def main() -> None:
    """Answer until stdin ends."""
    warnings.filterwarnings("ignore")
    opened: Opened | None = None
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        asked = json.loads(line)
        answer: dict[str, Any]
        if "open" in asked:
            opened = Opened(asked["open"], asked["noise"], asked["seed"])
            answer = {"about": opened.about(), "observed": opened.observed()}
            if asked.get("series"):
                answer["series"] = opened.series()
        elif opened is None:
            answer = {"error": "no scenario is open"}
        elif "run" in asked:
            answer = opened.run(asked["run"], asked["hours"])
        else:
            answer = opened.step(asked["step"])
            answer["observed"] = opened.observed()
        answers.write(json.dumps(answer, default=float) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
