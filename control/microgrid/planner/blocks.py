"""The columns and rows of each kind of asset. Inside a programme power is in kW, energy in kWh, money in won.

A block is laid out once and filled at every solution. The balance is rows 0 … n of the programme, with what
generates positive; their right-hand side is what all loads would take.
"""

from __future__ import annotations

import numpy as np

from gwanje.control.microgrid.planner.assets import (
    Battery,
    EvPool,
    Floats,
    Genset,
    Grid,
    HeatPump,
    HeatStore,
    Load,
    Renewable,
)
from gwanje.control.microgrid.planner.layout import Layout, Span, Vectors, after, before
from gwanje.control.microgrid.planner.problem import series

KILO = 1e-3
VENT_KRW_PER_KWH = 0.01
"""Of heat that is let go: so little that nothing is decided by it, and yet no heat is made to be let go."""

ENVELOPE_KWH = 1e-3
"""An envelope of vehicles is no narrower than a watt-hour: presolve with binaries calls narrower ones empty."""

Found = dict[str, Floats]
"""Series of a solution by their names."""


class Exclusive:
    """Two directions of which a step has one: a binary for each step, in programmes that need it.

    Args:
        layout: to lay out in.
        one: columns of the first direction.
        other: columns of the second.
        n: steps.
    """

    def __init__(self, layout: Layout, one: Span, other: Span, n: int) -> None:
        self.chosen = layout.columns(n, binary=True)
        self._one_rows, self._other_rows = layout.rows(n), layout.rows(n)
        layout.entries(self._one_rows, one, 1.0)
        layout.entries(self._other_rows, other, 1.0)
        self._one_most = layout.entries(self._one_rows, self.chosen)
        self._other_most = layout.entries(self._other_rows, self.chosen)

    def fill(self, v: Vectors, one_max: Floats, other_max: Floats) -> None:
        """With the most of each direction, kW."""
        v.upper[self.chosen] = 1.0
        v.entries[self._one_most] = -one_max
        v.entries[self._other_most] = other_max
        v.row_upper[self._one_rows] = 0.0
        v.row_upper[self._other_rows] = other_max


class GridBlock:
    """Import, export, the recorded peak as an epigraph, the tie's ramp."""

    def __init__(self, layout: Layout, balance: Span, grid: Grid, exclusive: bool) -> None:
        n = balance.stop
        self.imports, self.exports = layout.columns(n), layout.columns(n)
        layout.entries(balance, self.imports, 1.0)
        layout.entries(balance, self.exports, -1.0)
        self._peak = layout.columns(1) if grid.demand_krw_per_kw > 0 else None
        if self._peak is not None:
            self._peak_rows = layout.rows(n)
            self._peak_share = layout.entries(self._peak_rows, self.imports)
            layout.entries(self._peak_rows, self._peak, -1.0)
        self._broken = (layout.columns(n), layout.columns(n)) if np.isfinite(grid.ramp_w_max) else None
        if self._broken is not None:
            self._ramp = layout.rows(n)
            layout.entries(self._ramp, self.imports, 1.0)
            layout.entries(self._ramp, self.exports, -1.0)
            layout.entries(after(self._ramp), before(self.imports), -1.0)
            layout.entries(after(self._ramp), before(self.exports), 1.0)
            for columns, sign in zip(self._broken, (-1.0, 1.0), strict=True):  # upward, downward
                layout.entries(self._ramp, columns, sign)
        self.exclusive = Exclusive(layout, self.imports, self.exports, n) if exclusive else None

    def fill(self, v: Vectors, grid: Grid, h: Floats, carbon_krw_per_kg: float) -> None:
        """With the numbers of a problem."""
        n = len(h)
        there = series(grid.available, n)
        import_max = KILO * series(grid.import_w_max, n) * there
        export_max = KILO * series(grid.export_w_max, n) * there
        v.upper[self.imports], v.upper[self.exports] = import_max, export_max
        carbon = carbon_krw_per_kg * series(grid.carbon_kg_per_kwh, n)
        v.cost[self.imports] = h * (series(grid.price_krw_per_kwh, n) + carbon)
        v.cost[self.exports] = -h * series(grid.export_price_krw_per_kwh, n)
        if self._peak is not None:
            self._fill_peak(v, grid, h)
        if self._broken is not None:
            self._fill_ramp(v, grid, there)
        if self.exclusive is not None:
            self.exclusive.fill(v, import_max, export_max)

    def _fill_peak(self, v: Vectors, grid: Grid, h: Floats) -> None:
        """The peak is the greatest mean of a window, and at least what is recorded; what is recorded costs nothing."""
        assert self._peak is not None
        recorded = KILO * grid.recorded_peak_w
        v.lower[self._peak] = recorded
        v.cost[self._peak] = grid.demand_krw_per_kw
        v.offset -= grid.demand_krw_per_kw * recorded
        v.entries[self._peak_share] = np.minimum(1.0, h / grid.demand_window_h)
        most = np.where(series(grid.demand_counts, len(h)) > 0, 0.0, np.inf)
        most[0] -= KILO * grid.window_import_wh / grid.demand_window_h
        v.row_upper[self._peak_rows] = most

    def _fill_ramp(self, v: Vectors, grid: Grid, there: Floats) -> None:
        """A tie that goes or comes by an outage has no ramp."""
        assert self._broken is not None
        for columns in self._broken:
            v.cost[columns] = grid.ramp_krw_per_kw
        # No change is greater than this: a row that binds nothing has numbers all the same, for solvers that want them.
        reach = KILO * float(np.max(grid.import_w_max) + np.max(grid.export_w_max))
        most = np.full(len(there), KILO * grid.ramp_w_max)
        most[1:][(there[1:] == 0) | (there[:-1] == 0)] = reach
        known = np.isfinite(grid.import_before_w) and there[0] > 0
        v.row_upper[self._ramp], v.row_lower[self._ramp] = most, -most
        v.row_upper[self._ramp.start] = KILO * (grid.import_before_w + grid.ramp_w_max) if known else reach
        v.row_lower[self._ramp.start] = KILO * (grid.import_before_w - grid.ramp_w_max) if known else -reach

    def read(self, x: Floats, found: Found) -> None:
        """Series and figures of a solution."""
        found["grid.import_w"] = x[self.imports] / KILO
        found["grid.export_w"] = x[self.exports] / KILO
        if self._peak is not None:
            found["grid.peak_w"] = x[self._peak] / KILO
        if self._broken is not None:
            found["grid.ramp_broken_w"] = (x[self._broken[0]] + x[self._broken[1]]) / KILO


class BatteryBlock:
    """Charge, discharge, energy; below the reserve at a price.

    With a reserve the energy is the sum of two columns: up to the reserve, which pays for each kWh that is there, and
    above it. What pays fills first, so that the price of what is missing needs no row of its own.
    """

    def __init__(self, layout: Layout, balance: Span, battery: Battery, exclusive: bool) -> None:
        n = balance.stop
        self.charge, self.discharge, self._energy = layout.columns(n), layout.columns(n), layout.columns(n)
        layout.entries(balance, self.charge, -1.0)
        layout.entries(balance, self.discharge, 1.0)
        self._rows = layout.rows(n)
        self._above = layout.columns(n) if battery.reserve_krw_per_kwh_h > 0 else None
        self._parts = [self._energy] if self._above is None else [self._energy, self._above]
        for part in self._parts:
            layout.entries(self._rows, part, 1.0)
        self._kept = [layout.entries(after(self._rows), before(part)) for part in self._parts]
        self._in = layout.entries(self._rows, self.charge)
        self._out = layout.entries(self._rows, self.discharge)
        self.exclusive = Exclusive(layout, self.charge, self.discharge, n) if exclusive else None

    def fill(self, v: Vectors, one: Battery, h: Floats, there: Floats) -> None:
        """With the numbers of a problem; ``there`` is 1 where the grid is."""
        n = len(h)
        full, kept = KILO * one.energy_wh, one.kept_per_h**h
        charge_max, discharge_max = KILO * series(one.charge_w_max, n), KILO * series(one.discharge_w_max, n)
        v.upper[self.charge], v.upper[self.discharge] = charge_max, discharge_max
        v.cost[self.charge] = h * series(one.charge_krw_per_kwh, n)
        v.cost[self.discharge] = h * series(one.discharge_krw_per_kwh, n)
        resting = full * one.soc * np.cumprod(kept)
        least, most = np.minimum(full * one.soc_min, resting), np.maximum(full * one.soc_max, resting)
        v.lower[self._energy], v.upper[self._energy] = least, most
        v.cost[self._energy] = 0.0
        if self._above is not None:
            wanted = np.clip(full * series(one.reserve_soc, n), least, most)
            price = h * one.reserve_krw_per_kwh_h * (there > 0)
            v.upper[self._energy], v.upper[self._above] = wanted, most - wanted
            v.cost[self._energy] = -price
            v.offset += float(price @ wanted)
            v.cost[self._above] = 0.0
        for part, before_it in zip(self._parts, self._kept, strict=True):
            v.cost[part.stop - 1] -= one.end_value_krw_per_kwh
            v.entries[before_it] = -kept[1:]
        v.entries[self._in] = -h * one.charge_efficiency
        v.entries[self._out] = h / one.discharge_efficiency
        v.row_lower[self._rows] = v.row_upper[self._rows] = 0.0
        v.row_lower[self._rows.start] = v.row_upper[self._rows.start] = kept[0] * full * one.soc
        if self.exclusive is not None:
            self.exclusive.fill(v, charge_max, discharge_max)

    def read(self, x: Floats, one: Battery, there: Floats, found: Found) -> None:
        """Series of a solution."""
        found[f"{one.name}.discharge_w"] = (x[self.discharge] - x[self.charge]) / KILO
        energy = sum((x[part] for part in self._parts), np.zeros(len(x[self._energy])))
        found[f"{one.name}.energy_wh"] = energy / KILO
        if self._above is not None:
            wanted = series(one.reserve_soc, len(energy)) * one.energy_wh
            missing = np.maximum(wanted - energy / KILO, 0.0)
            found[f"{one.name}.reserve_missing_wh"] = missing * (there > 0)


class EvPoolBlock:
    """Charging inside the energy envelope; energy that was needed and did not come, at a price."""

    def __init__(self, layout: Layout, balance: Span) -> None:
        n = balance.stop
        self._charge, self._energy, self._missing = layout.columns(n), layout.columns(n), layout.columns(n)
        layout.entries(balance, self._charge, -1.0)
        self._rows = layout.rows(n)
        layout.entries(self._rows, self._energy, 1.0)
        layout.entries(after(self._rows), before(self._energy), -1.0)
        self._in = layout.entries(self._rows, self._charge)
        layout.entries(self._rows, self._missing, -1.0)

    def fill(self, v: Vectors, one: EvPool, h: Floats) -> None:
        """With the numbers of a problem. Envelopes never fall; what leaves wins over what is full."""
        v.upper[self._charge] = KILO * series(one.charge_w_max, len(h))
        least = np.maximum.accumulate(KILO * series(one.energy_wh_min, len(h)))
        v.lower[self._energy] = least
        most = np.maximum.accumulate(KILO * series(one.energy_wh_max, len(h)))
        v.upper[self._energy] = np.maximum(most, least + ENVELOPE_KWH)
        v.cost[self._missing] = one.unserved_krw_per_kwh
        v.entries[self._in] = -h * one.efficiency
        v.row_lower[self._rows] = v.row_upper[self._rows] = 0.0

    def read(self, x: Floats, one: EvPool, found: Found) -> None:
        """Series of a solution."""
        found[f"{one.name}.load_w"] = x[self._charge] / KILO
        found[f"{one.name}.energy_wh"] = x[self._energy] / KILO
        found[f"{one.name}.unserved_wh"] = x[self._missing] / KILO


class RenewableBlock:
    """Generation up to what is available."""

    def __init__(self, layout: Layout, balance: Span) -> None:
        self._taken = layout.columns(balance.stop)
        layout.entries(balance, self._taken, 1.0)

    def fill(self, v: Vectors, one: Renewable, h: Floats) -> None:
        """With the numbers of a problem."""
        available = KILO * series(one.available_w, len(h))
        left = series(one.curtailment_krw_per_kwh, len(h))
        v.upper[self._taken] = available
        v.cost[self._taken] = h * (one.generation_krw_per_kwh - left)
        v.offset += float(h @ (left * available))

    def read(self, x: Floats, one: Renewable, found: Found) -> None:
        """Series of a solution."""
        found[f"{one.name}.generation_w"] = x[self._taken] / KILO
        left = series(one.available_w, len(found[f"{one.name}.generation_w"])) - found[f"{one.name}.generation_w"]
        found[f"{one.name}.curtailed_w"] = np.maximum(left, 0.0)


class LoadBlock:
    """What a load does not get: the flexible part, and below its floor."""

    def __init__(self, layout: Layout, balance: Span, load: Load) -> None:
        self._missing = layout.columns(balance.stop)
        layout.entries(balance, self._missing, 1.0)
        self._below = layout.columns(balance.stop) if np.max(load.floor_share) > 0 else None
        if self._below is not None:
            layout.entries(balance, self._below, 1.0)

    def fill(self, v: Vectors, one: Load, h: Floats, balance: Span) -> None:
        """With the numbers of a problem."""
        wanted, floor = KILO * series(one.load_w, len(h)), series(one.floor_share, len(h))
        v.row_lower[balance] += wanted
        v.upper[self._missing] = wanted * (1.0 - floor)
        v.cost[self._missing] = h * series(one.unserved_krw_per_kwh, len(h))
        if self._below is not None:
            v.upper[self._below] = wanted * floor
            v.cost[self._below] = h * one.floor_krw_per_kwh

    def read(self, x: Floats, one: Load, found: Found) -> None:
        """Series of a solution."""
        missing = x[self._missing] if self._below is None else x[self._missing] + x[self._below]
        found[f"{one.name}.unserved_w"] = missing / KILO
        found[f"{one.name}.load_w"] = series(one.load_w, len(missing)) - missing / KILO
        if self._below is not None:
            found[f"{one.name}.below_floor_w"] = x[self._below] / KILO


class HeatStoreBlock:
    """Heat in a store; drawn heat that is not there, at a price."""

    def __init__(self, layout: Layout, n: int) -> None:
        self._energy, self._missing, self._vented = layout.columns(n), layout.columns(n), layout.columns(n)
        self.rows = layout.rows(n)
        layout.entries(self.rows, self._energy, 1.0)
        self._kept = layout.entries(after(self.rows), before(self._energy))
        self._came = layout.entries(self.rows, self._missing)
        self._left = layout.entries(self.rows, self._vented)

    def fill(self, v: Vectors, one: HeatStore, h: Floats) -> None:
        """With the numbers of a problem."""
        n, kept = len(h), one.kept_per_h**h
        load = KILO * series(one.heat_load_w, n)
        resting = KILO * one.energy_wh * np.cumprod(kept)
        v.lower[self._energy] = np.minimum(KILO * one.energy_wh_min, resting)
        v.upper[self._energy] = np.maximum(KILO * one.energy_wh_max, resting)
        v.cost[self._energy.stop - 1] = -one.end_value_krw_per_kwh
        v.upper[self._missing] = load
        v.cost[self._missing] = h * one.unserved_krw_per_kwh
        v.cost[self._vented] = h * VENT_KRW_PER_KWH
        v.entries[self._kept] = -kept[1:]
        v.entries[self._came], v.entries[self._left] = -h, h
        net = h * (KILO * series(one.heat_in_w, n) - load)
        net[0] += kept[0] * KILO * one.energy_wh
        v.row_lower[self.rows] = v.row_upper[self.rows] = net

    def read(self, x: Floats, one: HeatStore, found: Found) -> None:
        """Series of a solution."""
        found[f"{one.name}.energy_wh"] = x[self._energy] / KILO
        found[f"{one.name}.unserved_heat_w"] = x[self._missing] / KILO
        found[f"{one.name}.vented_w"] = x[self._vented] / KILO


class HeatPumpBlock:
    """Electricity that becomes heat in a store."""

    def __init__(self, layout: Layout, balance: Span, store: HeatStoreBlock) -> None:
        self._load = layout.columns(balance.stop)
        layout.entries(balance, self._load, -1.0)
        self._heat = layout.entries(store.rows, self._load)

    def fill(self, v: Vectors, one: HeatPump, h: Floats) -> None:
        """With the numbers of a problem."""
        v.upper[self._load] = KILO * series(one.load_w_max, len(h))
        v.entries[self._heat] = -h * series(one.cop, len(h))

    def read(self, x: Floats, one: HeatPump, found: Found) -> None:
        """Series of a solution."""
        found[f"{one.name}.load_w"] = x[self._load] / KILO


class GensetBlock:
    """Generation; on and off as binaries where the minimum or the price of running asks for it."""

    def __init__(self, layout: Layout, balance: Span, genset: Genset, store: HeatStoreBlock | None) -> None:
        n = balance.stop
        self.generation = layout.columns(n)
        layout.entries(balance, self.generation, 1.0)
        self._heat = layout.entries(store.rows, self.generation) if store is not None else None
        self.on = layout.columns(n, binary=True) if genset.commits else None
        if self.on is not None:
            self._most, self._least = layout.rows(n), layout.rows(n)
            layout.entries(self._most, self.generation, 1.0)
            layout.entries(self._least, self.generation, 1.0)
            self._most_on, self._least_on = layout.entries(self._most, self.on), layout.entries(self._least, self.on)
        self._start = layout.columns(n) if genset.start_krw > 0 else None
        if self._start is not None and self.on is not None:
            self._starts = layout.rows(n)
            layout.entries(self._starts, self._start, 1.0)
            layout.entries(self._starts, self.on, -1.0)
            layout.entries(after(self._starts), before(self.on), 1.0)

    def fill(self, v: Vectors, one: Genset, h: Floats, carbon_krw_per_kg: float) -> None:
        """With the numbers of a problem."""
        n = len(h)
        most = KILO * series(one.generation_w_max, n)
        v.upper[self.generation] = most
        price = series(one.generation_krw_per_kwh, n) + carbon_krw_per_kg * one.carbon_kg_per_kwh
        v.cost[self.generation] = h * price
        if self._heat is not None:
            v.entries[self._heat] = -h * one.heat_per_power
        if self.on is not None:
            least = KILO * one.generation_w_min
            v.upper[self.on] = np.where((most >= least) & (most > 0), 1.0, 0.0)
            v.cost[self.on] = h * one.no_load_krw_per_h
            v.entries[self._most_on], v.entries[self._least_on] = -most, -least
            v.row_upper[self._most], v.row_lower[self._least] = 0.0, 0.0
        if self._start is not None:
            v.cost[self._start] = one.start_krw
            v.row_lower[self._starts] = 0.0
            v.row_lower[self._starts.start] = -float(one.running)

    def read(self, x: Floats, one: Genset, found: Found) -> None:
        """Series of a solution."""
        found[f"{one.name}.generation_w"] = x[self.generation] / KILO
        if self.on is not None:
            found[f"{one.name}.on"] = np.round(x[self.on])
