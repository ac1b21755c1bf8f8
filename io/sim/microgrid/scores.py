"""What is really so in the simulated microgrid: for scores alone, no controller sees it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from gwanje.ext import microgrid_plant as kernel
from gwanje.io.sim.series import Floats

if TYPE_CHECKING:
    from gwanje.io.sim.microgrid.plant import SimulatedPlant

TIERS = ("critical", "priority", "interruptible")
LIVE_PU = 0.85
"""A bus above this voltage is live."""


class Zero:
    """Where the counters stood when the run began."""

    def __init__(self, plant: SimulatedPlant) -> None:
        self.steps = plant.kernel.steps
        self.system = plant.kernel.system.copy()
        self.unit = plant.kernel.unit.copy()
        self.load = plant.kernel.load.copy()
        self.stored_wh = stored_wh(plant)

    def battery(self, plant: SimulatedPlant, row: int) -> None:
        """A battery was set to another charge: what it holds now counts as if it had held it since the beginning."""
        flowed = plant.kernel.unit[row] - self.unit[row]
        moved = flowed[kernel.U_IN_WH] - flowed[kernel.U_OUT_WH] - flowed[kernel.U_LOSS_WH]
        self.stored_wh[row] = stored_wh(plant)[row] - moved


def stored_wh(plant: SimulatedPlant) -> Floats:
    """Energy in the cells of every battery: the integral of their open-circuit voltage over the charge, Wh."""
    found = np.zeros(len(plant.told.ess))
    for row, ess in enumerate(plant.told.ess):
        ocv = np.array(ess.ocv_v)
        below = np.concatenate([[0.0], np.cumsum(0.5 * (ocv[1:] + ocv[:-1])) * 0.1])
        soc = float(plant.kernel.unit[row, kernel.U_SOC])
        low = min(max(int(soc * 10.0), 0), 9)
        rest = soc - 0.1 * low
        here = ocv[low] + 10.0 * rest * (ocv[low + 1] - ocv[low])
        share = below[low] + rest * 0.5 * (ocv[low] + here)
        mean_v = below[-1]
        found[row] = ess.energy_wh * share / mean_v
    return found


def _grid_dips(system: Floats) -> bool:
    """The utility holds the city's bus and its own voltage is low: nobody behind the closed breaker has more."""
    fed = system[kernel.S_CLOSED] > 0.5 and system[kernel.S_GRID_ALIVE] > 0.5
    return bool(fed and system[kernel.S_GRID_V] * system[kernel.S_FAULT_GRID] <= LIVE_PU)


def truth(plant: SimulatedPlant, zero: Zero) -> Mapping[str, float]:
    """By name: states as they are, energies and counts since the run began.

    ``energy_gap_wh`` is what the network's balance fails to close by; ``battery_gap_wh`` the same of the cells.
    """
    system, unit, load = plant.kernel.system, plant.kernel.unit, plant.kernel.load
    since = system - zero.system
    unit_since, load_since = unit - zero.unit, load - zero.load
    mode = int(system[kernel.S_MODE])
    found = {
        "time_s": plant.now_s,
        "mode": float(mode),
        "frequency_hz": float(system[kernel.S_HZ]),
        "frequency_min_hz": float(system[kernel.S_HZ_MIN]),
        "frequency_max_hz": float(system[kernel.S_HZ_MAX]),
        "rocof_hz_per_s": float(system[kernel.S_ROCOF]),
        "grid_frequency_hz": float(system[kernel.S_GRID_HZ]),
        "grid_alive": float(system[kernel.S_GRID_ALIVE]),
        "tie_w": float(system[kernel.S_IMPORT_W]),
        "tie_var": float(system[kernel.S_REACTIVE_VAR]),
        "breaker_closed": float(system[kernel.S_CLOSED]),
        "breaker_tripped": float(system[kernel.S_TRIPPED]),
        "trip_kind": float(system[kernel.S_TRIP_KIND]),
        "bus_live": float(mode != kernel.DEAD and system[kernel.S_V] > LIVE_PU),
        "grid_dip": float(_grid_dips(system)),
        "voltage_pu": float(system[kernel.S_V]) if mode != kernel.DEAD else 0.0,
        "voltage_min_pu": float(system[kernel.S_V_MIN]) if mode != kernel.DEAD else 0.0,
        "voltage_max_pu": float(system[kernel.S_V_MAX]) if mode != kernel.DEAD else 0.0,
        "angle_rad": float(system[kernel.S_ANGLE]),
        "loss_w": float(system[kernel.S_LOSS_W]),
        "demand_w": float(np.maximum(load[:, kernel.L_DEMAND_W] + load[:, kernel.L_EXTRA_W], 0.0).sum()),
        "load_w": float(load[:, kernel.L_LOAD_W].sum()),
        "import_wh": float(since[kernel.S_IMPORT_WH]),
        "export_wh": float(since[kernel.S_EXPORT_WH]),
        "loss_wh": float(since[kernel.S_LOSS_WH]),
        "closures": float(since[kernel.S_CLOSURES]),
        "closures_out_of_window": float(since[kernel.S_CLOSURES_OUT]),
        "close_angle_rad": float(system[kernel.S_CLOSE_ANGLE]),
        "close_slip_hz": float(system[kernel.S_CLOSE_SLIP_HZ]),
        "close_voltage_difference_pu": float(system[kernel.S_CLOSE_V_DIFFERENCE]),
        "relay_trips": float(since[kernel.S_TRIPS]),
        "unit_trips": float(since[kernel.S_UNIT_TRIPS]),
        "collapses": float(since[kernel.S_COLLAPSES]),
        "unsolved_steps": float(since[kernel.S_UNSOLVED]),
    }
    _tiers(found, plant, load_since)
    _units(found, plant, zero, unit_since)
    stranded = [site.stranded for site in plant.world.sites.values()]
    found["stranded_cars"] = float(sum(stranded))
    found["departed_cars"] = float(sum(site.departed for site in plant.world.sites.values()))
    found["least_laxity_s"] = min(
        (site.laxity_s(plant.world.second) for site in plant.world.sites.values()), default=86_400.0
    )
    out = found["units_out_wh"] - found["units_in_wh"] + found["import_wh"] - found["export_wh"]
    found["energy_gap_wh"] = out - found["served_wh"] - found["loss_wh"]
    return found


def _tiers(found: dict[str, float], plant: SimulatedPlant, since: Floats) -> None:
    for what, column in (
        ("served", kernel.L_SERVED_WH), ("unserved", kernel.L_UNSERVED_WH), ("deferred", kernel.L_DEFERRED_WH),
    ):  # fmt: skip
        for tier in TIERS:
            rows = [row for row, one in enumerate(plant.told.load) if one.tier == tier]
            found[f"{what}_{tier}_wh"] = float(since[rows, column].sum())
        found[f"{what}_wh"] = float(since[:, column].sum())
    for row, one in enumerate(plant.told.load):
        found[f"{one.device}.load_w"] = float(plant.kernel.load[row, kernel.L_LOAD_W])
        found[f"{one.device}.served_wh"] = float(since[row, kernel.L_SERVED_WH])
        found[f"{one.device}.unserved_wh"] = float(since[row, kernel.L_UNSERVED_WH])
    for row, pump in plant.world.pumps.items():
        found[f"{plant.told.load[row].device}.store_c"] = pump.store_c


def _units(found: dict[str, float], plant: SimulatedPlant, zero: Zero, since: Floats) -> None:
    told, unit = plant.told, plant.kernel.unit
    n_ess, n_gensets = len(told.ess), len(told.genset)
    found["units_out_wh"] = float(since[:, kernel.U_OUT_WH].sum())
    found["units_in_wh"] = float(since[:, kernel.U_IN_WH].sum())
    found["curtailed_wh"] = float(since[:, kernel.U_CURTAILED_WH].sum())
    found["renewable_wh"] = float(since[n_ess + n_gensets :, kernel.U_OUT_WH].sum())
    found["genset_wh"] = float(since[n_ess : n_ess + n_gensets, kernel.U_OUT_WH].sum())
    found["fuel_l"] = float(since[:, kernel.U_FUEL_USED_L].sum())
    found["heat_wh"] = float(since[:, kernel.U_HEAT_WH].sum())
    found["genset_starts"] = float(since[:, kernel.U_STARTS].sum())
    found["battery_loss_wh"] = float(since[:n_ess, kernel.U_LOSS_WH].sum())
    found["battery_throughput_wh"] = float(since[:n_ess, [kernel.U_OUT_WH, kernel.U_IN_WH]].sum())
    stored = stored_wh(plant)
    found["stored_wh"] = float(stored.sum())
    flowed = since[:n_ess, kernel.U_IN_WH] - since[:n_ess, kernel.U_OUT_WH] - since[:n_ess, kernel.U_LOSS_WH]
    found["battery_gap_wh"] = float((stored - zero.stored_wh - flowed).sum())
    for row, device in enumerate(plant.tables.units):
        found[f"{device}.power_w"] = float(unit[row, kernel.U_P_W])
        found[f"{device}.reactive_var"] = float(unit[row, kernel.U_Q_VAR])
        if row < n_ess:
            found[f"{device}.soc"] = float(unit[row, kernel.U_SOC])
            found[f"{device}.temperature_c"] = float(unit[row, kernel.U_TEMPERATURE_C])
        elif row >= n_ess + n_gensets:
            found[f"{device}.available_w"] = float(unit[row, kernel.U_AVAILABLE_W])
