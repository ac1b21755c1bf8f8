"""What could have been had at the most: a linear programme that knows the whole half hour beforehand.

It may serve any share of a load, has no network, no motors' surge, no switching costs and no ramps, and its units run
whenever the fastest start allows. So no controller scores more on the lines that it counts: energy, fuel, stored
energy, what is not served, cycles. Requests, limits and voltages are added as if all were met.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.optimize import linprog

from gwanje.control.microgrid.peers.banshee.plant import demand
from gwanje.control.microgrid.peers.banshee.scorecard import S_PER_H, S_PER_MIN, TIERS, W_PER_KW
from gwanje.control.microgrid.peers.banshee.site import Site, World

STEP_S = 6.0


class HindsightError(Exception):
    """No bound was found."""


@dataclass(frozen=True, slots=True)
class Hindsight:
    """Least that must be missing, and the most that can be earned."""

    dollars: float
    unserved: dict[str, float]


def hindsight(site: Site) -> Hindsight:
    """The bound of the whole sequence."""
    n = round(site.sequence["length_s"] / STEP_S)
    worlds = [site.world((step + 0.5) * STEP_S) for step in range(n)]
    tiers = np.array([one.tier for one in site.loads])
    wanted_kw = np.array([
        [demand(site, world)[2][tiers == tier].sum() / W_PER_KW for tier in TIERS] for world in worlds
    ])  # fmt: skip
    score, started = site.score, site.sequence["controller_start_s"]
    times = (np.arange(n) + 0.5) * STEP_S
    on = times >= started
    grid = np.array([_may_be_connected(site, time) for time in times])
    price = score["energy_per_kwh"]
    diesel = score["diesel_gal_per_kwh"] * score["diesel_per_gal"]
    gas = score["gas_m3_per_kwh"] * score["gas_per_m3"] - score["heat_mbtu_per_kwh"] * score["heat_per_mbtu"]
    cycle = score["cycle_each"] / 2.0 / (site.battery.energy_wh / W_PER_KW)
    worth = {
        "C": score["critical_per_kwh"] + score["critical_unserved_per_kwh"],
        "P": score["priority_per_kwh"] + score["priority_unserved_per_kwh"],
        "I": score["interruptible_per_kwh"],
    }
    battery = site.battery
    full, rating = battery.energy_wh / W_PER_KW, battery.rating_va / W_PER_KW
    # Columns: served C, P, I; import; export; diesel; chp; pv; charge; discharge; energy at the end.
    imports = np.array([min(one.import_limit_w + score["request_tolerance_w"], 1e12) for one in worlds]) / W_PER_KW
    exports = np.array([min(one.export_limit_w + score["request_tolerance_w"], 1e12) for one in worlds]) / W_PER_KW
    upper = [
        *(wanted_kw[:, one] * (on | grid) for one in range(3)),
        np.minimum(imports, 1e6) * grid, np.minimum(exports, 1e6) * grid * on,
        site.diesel.generation_w_max / W_PER_KW * (times >= started + site.diesel.start_s),
        site.chp.generation_w_max / W_PER_KW * (times >= started + site.chp.start_s),
        site.pv.generation_w_max / W_PER_KW * on, rating * on, rating * on, np.full(n, full * battery.soc_max),
    ]  # fmt: skip
    lower = np.zeros((11, n))
    lower[10] = full * battery.soc_min
    hours = STEP_S / S_PER_H
    per_kwh = [*(-worth[tier] for tier in TIERS), price, -price, diesel, gas, 0.0, cycle, cycle]
    cost = np.concatenate([*(np.full(n, one * hours) for one in per_kwh), np.zeros(n)])
    cost[-1] -= score["stored_per_kwh"]
    eye, zero = sparse.identity(n, format="csr"), sparse.csr_matrix((n, n))
    before = sparse.diags([np.ones(n - 1)], [-1], shape=(n, n), format="csr")
    balance = [eye, eye, eye, -eye, eye, -eye, -eye, -eye, eye, -eye, zero]
    stored = [zero] * 8 + [-eye * hours * battery.efficiency, eye * hours / battery.efficiency, eye - before]
    begin = np.zeros(n)
    begin[0] = full * battery.initial_soc
    found = linprog(
        cost, A_eq=sparse.vstack([sparse.hstack(balance), sparse.hstack(stored)], format="csc"),
        b_eq=np.concatenate([np.zeros(n), begin]),
        bounds=np.column_stack([lower.ravel(), np.concatenate(upper)]), method="highs",
    )  # fmt: skip
    if found.status != 0:
        raise HindsightError(found.message)
    served = found.x[: 3 * n].reshape(3, n)
    wanted_kwh = wanted_kw.sum(axis=0) * hours
    penalties = wanted_kwh[0] * score["critical_unserved_per_kwh"] + wanted_kwh[1] * score["priority_unserved_per_kwh"]
    dollars = -float(found.fun) - full * battery.initial_soc * score["stored_per_kwh"] - float(penalties)
    return Hindsight(
        dollars + _requests(site, worlds, grid & on),
        {tier: 1.0 - float(served[one].sum()) * hours / float(wanted_kwh[one]) for one, tier in enumerate(TIERS)},
    )


def _may_be_connected(site: Site, time_s: float) -> bool:
    """The grid is there, and the site was never parted from it, may synchronise, or still may take time to part."""
    world, allowed = site.world(time_s), site.score["disconnect_allowed_s"]
    never_parted = time_s < min(start for start, _ in site.sequence["grid_lost_s"])
    graced = any(start <= time_s < start + allowed for start, _ in site.sequence["disconnect_request_s"])
    return world.grid_up and (never_parted or graced or (world.synchronise and not world.disconnect))


def _requests(site: Site, worlds: Sequence[World], connected: npt.NDArray[np.bool_]) -> float:
    """Every request met whenever the site may be connected."""
    score, minutes = site.score, STEP_S / S_PER_MIN
    earned = 0.0
    for world, there in zip(worlds, connected, strict=True):
        if there:
            limits = math.isfinite(world.import_limit_w) + math.isfinite(world.export_limit_w)
            earned += minutes * (limits * score["request_per_min"] + score["power_factor_per_min"])
    return earned
