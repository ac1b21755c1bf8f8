"""From a problem to a sparse linear programme: laid out once for each shape, filled anew at each solution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csc_matrix

from gwanje.control.microgrid.planner import blocks
from gwanje.control.microgrid.planner.assets import Floats
from gwanje.control.microgrid.planner.layout import Layout
from gwanje.control.microgrid.planner.problem import Problem, series

Shape = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Two directions of one device that a plan must not use at once.

    Attributes:
        subject: name of the device.
        chosen: columns of the binary; empty span in a programme without them.
        one: columns of charge or import.
        other: columns of discharge or export.
    """

    subject: str
    chosen: slice
    one: slice
    other: slice


def shape_of(problem: Problem, exclusive: bool) -> Shape:
    """What decides the pattern of the programme; problems of equal shape share one."""
    grid = problem.grid
    stores = [store.name for store in problem.heat_stores]
    return (
        problem.n,
        exclusive,
        grid is not None and (grid.demand_krw_per_kw > 0, bool(np.isfinite(grid.ramp_w_max))),
        tuple(bool(np.max(one.floor_share) > 0) for one in problem.loads),
        len(problem.renewables),
        tuple(one.reserve_krw_per_kwh_h > 0 for one in problem.batteries),
        tuple(
            (one.commits, one.start_krw > 0, stores.index(one.heat_to) if one.heat_to else None)
            for one in problem.gensets
        ),
        len(problem.ev_pools),
        len(stores),
        tuple(stores.index(one.store) for one in problem.heat_pumps),
    )


class Program:
    """Minimise ``cost·x`` with ``row_lower ≤ A x ≤ row_upper`` and ``lower ≤ x ≤ upper``.

    Args:
        problem: any of the shape.
        exclusive: with a binary for each battery and for the grid in each step, so that no direction is used with its
            opposite; only needed where prices make burning energy pay.
    """

    def __init__(self, problem: Problem, exclusive: bool = False) -> None:
        layout, n = Layout(), problem.n
        self.shape = shape_of(problem, exclusive)
        self._balance = layout.rows(n)
        self._surplus = layout.columns(n)
        layout.entries(self._balance, self._surplus, -1.0)
        self._grid = (
            None if problem.grid is None else blocks.GridBlock(layout, self._balance, problem.grid, exclusive)
        )
        balance = self._balance
        self._loads = [blocks.LoadBlock(layout, balance, one) for one in problem.loads]
        self._renewables = [blocks.RenewableBlock(layout, balance) for _ in problem.renewables]
        self._batteries = [blocks.BatteryBlock(layout, balance, one, exclusive) for one in problem.batteries]
        self._ev_pools = [blocks.EvPoolBlock(layout, balance) for _ in problem.ev_pools]
        self._stores = [blocks.HeatStoreBlock(layout, n) for _ in problem.heat_stores]
        by_name = {one.name: block for one, block in zip(problem.heat_stores, self._stores, strict=True)}
        self._pumps = [blocks.HeatPumpBlock(layout, balance, by_name[one.store]) for one in problem.heat_pumps]
        self._gensets = [
            blocks.GensetBlock(layout, balance, one, by_name[one.heat_to] if one.heat_to else None)
            for one in problem.gensets
        ]
        self.vectors, self._matrix = layout.freeze()
        self.n_columns, self.n_rows = layout.n_columns, layout.n_rows
        self.n_entries = len(self.vectors.entries)

    @property
    def matrix(self) -> csc_matrix:
        """A with the entries that were filled in last."""
        return self._matrix.csc

    def fill(self, problem: Problem) -> None:
        """Take the numbers of a problem of this shape."""
        v, h = self.vectors, problem.step_h
        v.offset = 0.0
        v.row_lower[self._balance] = 0.0
        v.cost[self._surplus] = h * problem.overgeneration_krw_per_kwh
        if self._grid is not None and problem.grid is not None:
            self._grid.fill(v, problem.grid, h, problem.carbon_krw_per_kg)
        there = _there(problem)
        for load, load_block in zip(problem.loads, self._loads, strict=True):
            load_block.fill(v, load, h, self._balance)
        for renewable, renewable_block in zip(problem.renewables, self._renewables, strict=True):
            renewable_block.fill(v, renewable, h)
        for battery, battery_block in zip(problem.batteries, self._batteries, strict=True):
            battery_block.fill(v, battery, h, there)
        for pool, pool_block in zip(problem.ev_pools, self._ev_pools, strict=True):
            pool_block.fill(v, pool, h)
        for store, store_block in zip(problem.heat_stores, self._stores, strict=True):
            store_block.fill(v, store, h)
        for pump, pump_block in zip(problem.heat_pumps, self._pumps, strict=True):
            pump_block.fill(v, pump, h)
        for genset, genset_block in zip(problem.gensets, self._gensets, strict=True):
            genset_block.fill(v, genset, h, problem.carbon_krw_per_kg)
        v.row_upper[self._balance] = v.row_lower[self._balance]
        self._matrix.fill(v.entries)

    def exclusions(self, problem: Problem) -> list[Exclusion]:
        """Pairs of directions that must not be used at once."""
        found = []
        none = slice(0, 0)
        if self._grid is not None:
            one = self._grid
            chosen = none if one.exclusive is None else one.exclusive.chosen
            found.append(Exclusion("grid", chosen, one.imports, one.exports))
        for battery, block in zip(problem.batteries, self._batteries, strict=True):
            chosen = none if block.exclusive is None else block.exclusive.chosen
            found.append(Exclusion(battery.name, chosen, block.charge, block.discharge))
        return found

    def commitments(self) -> list[tuple[slice, slice]]:
        """Columns of generation and of on/off of each genset that has them."""
        return [(one.generation, one.on) for one in self._gensets if one.on is not None]

    def read(self, x: Floats, problem: Problem) -> dict[str, Floats]:
        """All series of a solution, W and Wh, named after the assets."""
        found: dict[str, Floats] = {"surplus_w": x[self._surplus] / blocks.KILO}
        there = _there(problem)
        if self._grid is not None:
            self._grid.read(x, found)
        for load, load_block in zip(problem.loads, self._loads, strict=True):
            load_block.read(x, load, found)
        for renewable, renewable_block in zip(problem.renewables, self._renewables, strict=True):
            renewable_block.read(x, renewable, found)
        for battery, battery_block in zip(problem.batteries, self._batteries, strict=True):
            battery_block.read(x, battery, there, found)
        for pool, pool_block in zip(problem.ev_pools, self._ev_pools, strict=True):
            pool_block.read(x, pool, found)
        for store, store_block in zip(problem.heat_stores, self._stores, strict=True):
            store_block.read(x, store, found)
        for pump, pump_block in zip(problem.heat_pumps, self._pumps, strict=True):
            pump_block.read(x, pump, found)
        for genset, genset_block in zip(problem.gensets, self._gensets, strict=True):
            genset_block.read(x, genset, found)
        return found


def _there(problem: Problem) -> Floats:
    """Above 0 in the steps in which there is a grid."""
    return np.zeros(problem.n) if problem.grid is None else series(problem.grid.available, problem.n)
