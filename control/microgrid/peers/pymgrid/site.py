"""A site of python-microgrid as we read it, its rules for an hour, and the bound that no plan can beat.

Units are theirs, since the score is: kWh in an hour, $ and kg a kWh. What their environment does with an action is said
again in :func:`step`, so that a plan can be tried without it; that both agree is tested hour by hour in every run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.optimize import linprog

Floats = npt.NDArray[np.float64]


class SiteError(ValueError):
    """A site says something that we do not understand."""


@dataclass(frozen=True, slots=True)
class Site:
    """What stands there. A source that is missing has a maximum of 0.

    Attributes:
        efficiency: of the battery, each way.
        cycle_usd_per_kwh: for each kWh moved inside the battery.
        energy_kwh_min: never below; the battery's energy is counted from 0.
    """

    energy_kwh_min: float
    energy_kwh_max: float
    charge_kwh_max: float
    discharge_kwh_max: float
    efficiency: float
    cycle_usd_per_kwh: float
    initial_kwh: float
    unserved_usd_per_kwh: float
    surplus_usd_per_kwh: float
    import_kwh_max: float
    export_kwh_max: float
    grid_co2_usd_per_kg: float
    genset_kwh_min: float
    genset_kwh_max: float
    genset_usd_per_kwh: float


@dataclass(frozen=True, slots=True)
class Hours:
    """Some hours in a row, the first being now.

    Attributes:
        load_kwh, pv_kwh: (n,) wanted and available.
        import_usd_per_kwh: (n,) with the price of its CO2.
        export_usd_per_kwh: (n,) earned.
        up: (n,) 1 where the grid is there, between in a forecast that is not sure.
    """

    load_kwh: Floats
    pv_kwh: Floats
    import_usd_per_kwh: Floats
    export_usd_per_kwh: Floats
    up: Floats

    def __len__(self) -> int:
        return len(self.load_kwh)

    def part(self, start: int, stop: int) -> Hours:
        """The hours from ``start`` to ``stop``, without it."""
        chosen = slice(start, stop)
        return Hours(
            self.load_kwh[chosen], self.pv_kwh[chosen], self.import_usd_per_kwh[chosen],
            self.export_usd_per_kwh[chosen], self.up[chosen],
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Action:
    """What is asked of an hour; PV, and what is not served or too much, follow by themselves."""

    discharge_kwh: float = 0.0
    import_kwh: float = 0.0
    genset_kwh: float = 0.0
    genset_on: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an hour cost and left."""

    stored_kwh: float
    cost_usd: float
    unserved_kwh: float
    surplus_kwh: float


def read_site(about: Mapping[str, Any]) -> Site:
    """A site from what the environment says of it.

    Raises:
        SiteError: a part is missing or a number is not one.
    """
    try:
        battery, grid, genset = about["battery"], about["grid"] or {}, about["genset"] or {}
        site = Site(
            energy_kwh_min=float(battery["energy_min_kwh"]),
            energy_kwh_max=float(battery["energy_max_kwh"]),
            charge_kwh_max=float(battery["charge_max_kwh"]),
            discharge_kwh_max=float(battery["discharge_max_kwh"]),
            efficiency=float(battery["efficiency"]),
            cycle_usd_per_kwh=float(battery["cycle_cost"]),
            initial_kwh=float(battery["initial_kwh"]),
            unserved_usd_per_kwh=float(about["unserved_cost"]),
            surplus_usd_per_kwh=float(about["surplus_cost"]),
            import_kwh_max=float(grid.get("import_max_kwh", 0.0)),
            export_kwh_max=float(grid.get("export_max_kwh", 0.0)),
            grid_co2_usd_per_kg=float(grid.get("co2_cost", 0.0)),
            genset_kwh_min=float(genset.get("min_kwh", 0.0)),
            genset_kwh_max=float(genset.get("max_kwh", 0.0)),
            genset_usd_per_kwh=float(genset.get("cost", 0.0))
            + float(genset.get("co2_kg", 0.0)) * float(genset.get("co2_cost", 0.0)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise SiteError(f"a site that is not understood: {error!r}") from error
    numbers = [getattr(site, name) for name in Site.__dataclass_fields__]
    if not all(math.isfinite(one) and one >= 0.0 for one in numbers) or not 0.0 < site.efficiency <= 1.0:
        raise SiteError("a number of the site is negative or not finite")
    return site


def read_hours(series: Mapping[str, Any], site: Site) -> Hours:
    """Hours from series of the environment: ``load``, ``pv`` and the grid's four columns.

    Raises:
        SiteError: series of different lengths, or no numbers.
    """
    try:
        load, pv = np.asarray(series["load"], float), np.asarray(series["pv"], float)
        grid = np.zeros((4, len(load))) if series["grid"] is None else np.asarray(series["grid"], float)
    except (KeyError, TypeError, ValueError) as error:
        raise SiteError(f"hours that are not understood: {error!r}") from error
    if load.shape != pv.shape or grid.shape != (4, len(load)) or not np.isfinite([*load, *pv, *grid.ravel()]).all():
        raise SiteError("series of different lengths, or with a number missing")
    import_price, export_price, co2, up = grid
    return Hours(load, pv, import_price + co2 * site.grid_co2_usd_per_kg, export_price, up)


def step(site: Site, hour: Hours, stored_kwh: float, action: Action) -> Outcome:
    """What their environment makes of an action: whatever cannot be had is cut to what can."""
    load, pv, up = float(hour.load_kwh[0]), float(hour.pv_kwh[0]), float(hour.up[0])
    if action.discharge_kwh >= 0.0:
        most = min(site.discharge_kwh_max, stored_kwh - site.energy_kwh_min) * site.efficiency
        discharge = min(action.discharge_kwh, most)
        change = -discharge / site.efficiency
    else:
        most = min(site.charge_kwh_max, site.energy_kwh_max - stored_kwh) / site.efficiency
        discharge = -min(-action.discharge_kwh, most)
        change = -discharge * site.efficiency
    imported = min(max(action.import_kwh, -site.export_kwh_max * up), site.import_kwh_max * up)
    genset = min(max(action.genset_kwh, site.genset_kwh_min), site.genset_kwh_max) if action.genset_on else 0.0
    missing = load - discharge - imported - genset
    unserved = max(0.0, missing - pv)
    surplus = max(0.0, -missing)
    price = float(hour.import_usd_per_kwh[0] if imported >= 0.0 else hour.export_usd_per_kwh[0])
    cost = (
        abs(change) * site.cycle_usd_per_kwh
        + imported * price
        + genset * site.genset_usd_per_kwh
        + unserved * site.unserved_usd_per_kwh
        + surplus * site.surplus_usd_per_kwh
    )
    return Outcome(max(stored_kwh + change, site.energy_kwh_min), cost, unserved, surplus)


def bound(site: Site, hours: Hours, initial_kwh: float | None = None) -> tuple[float, float]:
    """Least cost in hindsight: one linear programme over all hours, with the genset's minimum left out.

    Without that minimum more is allowed than the environment allows, so no plan costs less.

    Returns:
        Cost in $, and the kWh that even then are not served.
    """
    n = len(hours)
    # Columns a block each: pv, import, export, genset, into and out of the battery (inside), unserved, surplus, energy.
    eye, zero = sparse.identity(n, format="csr"), sparse.csr_matrix((n, n))
    given = [eye, eye, -eye, eye, -eye / site.efficiency, eye * site.efficiency, eye, -eye, zero]
    before = sparse.diags([np.ones(n - 1)], [-1], shape=(n, n), format="csr")
    moved = [zero, zero, zero, zero, -eye, eye, zero, zero, eye - before]
    ones = np.ones(n)
    cost = np.concatenate([
        0 * ones, hours.import_usd_per_kwh, -hours.export_usd_per_kwh, site.genset_usd_per_kwh * ones,
        site.cycle_usd_per_kwh * ones, site.cycle_usd_per_kwh * ones, site.unserved_usd_per_kwh * ones,
        site.surplus_usd_per_kwh * ones, 0 * ones,
    ])  # fmt: skip
    limits = [
        hours.pv_kwh, site.import_kwh_max * hours.up, site.export_kwh_max * hours.up, site.genset_kwh_max * ones,
        site.charge_kwh_max * ones, site.discharge_kwh_max * ones, np.inf * ones, np.inf * ones,
        site.energy_kwh_max * ones,
    ]  # fmt: skip
    lower = np.concatenate([np.zeros(8 * n), site.energy_kwh_min * ones])
    start = np.zeros(n)
    start[0] = site.initial_kwh if initial_kwh is None else initial_kwh
    found = linprog(
        cost, A_eq=sparse.vstack([sparse.hstack(given), sparse.hstack(moved)], format="csc"),
        b_eq=np.concatenate([hours.load_kwh, start]), bounds=np.column_stack([lower, np.concatenate(limits)]),
        method="highs",
    )  # fmt: skip
    if found.status != 0:
        raise SiteError(f"no bound: {found.message}")
    return float(found.fun), float(found.x[6 * n : 7 * n].sum())
