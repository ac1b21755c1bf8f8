"""A planning problem: steps, prices, assets and forecasts, checked once, before anything is computed from them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

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
    Series,
)

STEPS_MAX = 1_000
"""Ten days of quarter hours: beyond, a solution no longer comes within the minute."""
ASSETS_MAX = 1_000
"""A plan is for groups of devices; thousands of single ones are the dispatcher's."""


class ProblemError(ValueError):
    """A number of a problem cannot be planned with.

    Attributes:
        subject: asset or ``problem``.
        what: its field.
        why: in English, with the step where it is one.
    """

    def __init__(self, subject: str, what: str, why: str) -> None:
        super().__init__(f"{subject}.{what}: {why}")
        self.subject = subject
        self.what = what
        self.why = why


@dataclass(frozen=True)
class Problem:
    """What is to be planned.

    Attributes:
        step_h: (n_steps,) length of each step in hours; the first may be what is left of a quarter hour.
        grid: the connection; ``None`` for a site without one.
        loads: fixed, sheddable and dimmable.
        renewables: PV and wind.
        batteries: stationary storage.
        gensets: diesel and CHP.
        ev_pools: vehicles.
        heat_stores: with the heat drawn from them.
        heat_pumps: each charges one of the stores.
        carbon_krw_per_kg: price of what import and gensets emit.
        overgeneration_krw_per_kwh: for what is generated and can go nowhere (a genset at its minimum).
        start_utc_ns: beginning of the first step.

    Raises:
        ProblemError: naming asset, field and step.
    """

    step_h: Floats
    grid: Grid | None = None
    loads: tuple[Load, ...] = ()
    renewables: tuple[Renewable, ...] = ()
    batteries: tuple[Battery, ...] = ()
    gensets: tuple[Genset, ...] = ()
    ev_pools: tuple[EvPool, ...] = ()
    heat_stores: tuple[HeatStore, ...] = ()
    heat_pumps: tuple[HeatPump, ...] = ()
    carbon_krw_per_kg: float = 0.0
    overgeneration_krw_per_kwh: float = 1_000.0
    start_utc_ns: int = 0
    n: int = field(init=False)

    def __post_init__(self) -> None:
        steps = np.asarray(self.step_h, np.float64)
        if steps.ndim != 1 or not 1 <= len(steps) <= STEPS_MAX:
            raise ProblemError("problem", "step_h", f"needs 1…{STEPS_MAX} steps")
        if not (np.isfinite(steps).all() and (steps > 0).all() and (steps <= 24).all()):
            raise ProblemError("problem", "step_h", "each step is longer than 0 and at most 24 h")
        object.__setattr__(self, "step_h", steps)
        object.__setattr__(self, "n", len(steps))
        for what in ("carbon_krw_per_kg", "overgeneration_krw_per_kwh"):
            if not 0 <= getattr(self, what) < math.inf:
                raise ProblemError("problem", what, "is finite and not negative")
        names = [one.name for one in self.assets()]
        if len(names) > ASSETS_MAX:
            raise ProblemError("problem", "assets", f"more than {ASSETS_MAX}")
        for name in names:
            if names.count(name) > 1:
                raise ProblemError(name, "name", "occurs twice")
        if self.grid is not None:
            _check(self.grid, "grid", self.n)
        for one in self.assets():
            _check(one, one.name, self.n)
        _check_links(self)

    def assets(
        self,
    ) -> Iterator[Load | Renewable | Battery | Genset | EvPool | HeatStore | HeatPump]:
        """All but the grid, in the order of a plan."""
        yield from self.loads
        yield from self.renewables
        yield from self.batteries
        yield from self.gensets
        yield from self.ev_pools
        yield from self.heat_stores
        yield from self.heat_pumps


def series(value: Series, n: int) -> Floats:
    """A series with a number for each step."""
    array = np.asarray(value, np.float64)
    return np.full(n, float(array)) if array.ndim == 0 else array


_SIGNED = frozenset(
    {"price_krw_per_kwh", "export_price_krw_per_kwh", "end_value_krw_per_kwh", "generation_krw_per_kwh"}
)
"""Prices that may be negative: the market pays, or feeding costs."""
_SHARES = frozenset(
    {
        "available", "soc", "soc_min", "soc_max", "charge_efficiency", "discharge_efficiency", "efficiency",
        "kept_per_h", "reserve_soc", "floor_share", "demand_counts",
    }
)  # fmt: skip
_POSITIVE = frozenset({"charge_efficiency", "discharge_efficiency", "efficiency", "kept_per_h", "demand_window_h"})
_ENDLESS = frozenset({"ramp_w_max"})
_UNKNOWN = frozenset({"import_before_w"})
"""NaN means that it is not known."""


def _check(asset: object, name: str, n: int) -> None:
    for what in type(asset).__dataclass_fields__:  # type: ignore[attr-defined]
        value = getattr(asset, what)
        if isinstance(value, (str, bool)):
            continue
        array = np.asarray(value, np.float64)
        if array.shape not in ((), (n,)):
            raise ProblemError(name, what, f"has shape {array.shape}, the problem has {n} steps")
        if what in _UNKNOWN and not np.isinf(array).any():
            continue
        fits = array >= (-math.inf if what in _SIGNED else 0.0)
        if what in _SHARES:
            fits &= array <= 1.0
        if what in _POSITIVE:
            fits &= array > 0.0
        fits &= np.isfinite(array) | ((array == math.inf) & (what in _ENDLESS))
        if not fits.all():
            step = int(np.argmin(np.atleast_1d(fits)))
            wrong = float(np.atleast_1d(array)[step])
            raise ProblemError(name, what, f"is {wrong:g}" + (f" at step {step}" if array.ndim else ""))
    if not name:
        raise ProblemError("problem", "name", "is empty")


def _check_links(problem: Problem) -> None:
    for one in problem.batteries:
        if one.soc_min > one.soc_max:
            raise ProblemError(one.name, "soc_min", "is above soc_max")
    for store in problem.heat_stores:
        if store.energy_wh_min > store.energy_wh_max:
            raise ProblemError(store.name, "energy_wh_min", "is above energy_wh_max")
    known = {store.name for store in problem.heat_stores}
    for pump in problem.heat_pumps:
        if pump.store not in known:
            raise ProblemError(pump.name, "store", f"there is no heat store {pump.store!r}")
    for genset in problem.gensets:
        if genset.heat_to and genset.heat_to not in known:
            raise ProblemError(genset.name, "heat_to", f"there is no heat store {genset.heat_to!r}")
        if genset.generation_w_min > np.max(genset.generation_w_max):
            raise ProblemError(genset.name, "generation_w_min", "is above generation_w_max")
