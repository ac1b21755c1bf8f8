"""A year of a site under our plan: their environment steps it and counts what it costs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from gwanje.control.microgrid.peers.pymgrid.foresight import Foresight
from gwanje.control.microgrid.peers.pymgrid.peer import Peer, PeerError
from gwanje.control.microgrid.peers.pymgrid.planner import StorePlanner
from gwanje.control.microgrid.peers.pymgrid.site import Action, Floats, Hours, Site, bound, read_hours, read_site, step
from gwanje.core.clock import SystemClock

NS_PER_S = 1e9
LEARNING = 0.3
"""Of what was, in the worth of energy at the end of the forecast: about the last week."""
SAME = 1e-6
"""Relative: so close our account of an hour's cost must be to theirs."""


class Planner(Protocol):
    """Chooses the action of the first hour."""

    def choose(self, hours: Hours, stored_kwh: float) -> Action:
        """From the first hour, which is known, and those that are foreseen."""
        ...


@dataclass(frozen=True, slots=True)
class Year:
    """What came of it.

    Attributes:
        cost_usd: as their environment counts it.
        apart: largest relative difference between their account of an hour and ours.
        action_s: (n_hours,) each decision, forecasts improved and planned, by the clock on the wall.
        action_cpu_s: (n_hours,) the same in processor time, which a busy machine does not stretch.
    """

    cost_usd: float
    unserved_kwh: float
    surplus_kwh: float
    apart: float
    action_s: Floats
    action_cpu_s: Floats


def series_of(observed: Mapping[str, Any]) -> Floats:
    """(n_series, n_hours) what is observed and told: load, pv, and the grid's four columns where there is one."""
    rows = [observed["load"], observed["pv"], *(observed["grid"] or ())]
    return np.asarray(rows, dtype=float)


def hours_of(rows: Floats, site: Site) -> Hours:
    """The same as hours of a site; a forecast below zero is none."""
    grid = np.clip(rows[2:], 0.0, None) if len(rows) > 2 else None
    return read_hours({"load": np.clip(rows[0], 0.0, None), "pv": np.clip(rows[1], 0.0, None), "grid": grid}, site)


def our_year(
    peer: Peer, number: int, n_hours: int, noise: float | None, seed: int, make: type[StorePlanner] = StorePlanner
) -> Year:
    """Runs one scenario hour by hour.

    Raises:
        PeerError: their account of an hour is not ours: then we do not know what we plan for.
    """
    clock = SystemClock()
    opened = peer.open(number, noise, seed)
    site, seen = read_site(opened["about"]), opened["observed"]
    planner: Planner = make(site, learning=LEARNING)
    foresight: Foresight | None = None
    cost = unserved = surplus = apart = 0.0
    took, took_cpu = np.empty(n_hours), np.empty(n_hours)
    for hour in range(n_hours):
        told = series_of(seen)
        stored = float(seen["stored_kwh"])
        started, started_cpu = clock.mono_ns(), time.thread_time()
        if foresight is None:
            foresight = Foresight(*told.shape)
        action = planner.choose(hours_of(foresight.improve(told), site), stored)
        took[hour], took_cpu[hour] = (clock.mono_ns() - started) / NS_PER_S, time.thread_time() - started_cpu
        came = peer.step(action)
        ours = step(site, hours_of(told[:, :1], site), stored, action)
        wrong = abs(ours.cost_usd - came["cost"]) / max(1.0, abs(came["cost"]))
        apart = max(apart, wrong)
        if wrong > SAME:
            raise PeerError(f"site {number}, hour {hour}: {came['cost']} $ in their account, {ours.cost_usd} $ in ours")
        cost += came["cost"]
        unserved += came["unserved_kwh"]
        surplus += came["surplus_kwh"]
        seen = came["observed"]
    return Year(cost, unserved, surplus, apart, took, took_cpu)


def site_bound(peer: Peer, number: int, n_hours: int) -> tuple[float, float]:
    """Least cost in hindsight and what even then is not served; see :func:`site.bound`."""
    opened = peer.open(number, None, 0, series=True)
    site = read_site(opened["about"])
    return bound(site, read_hours(opened["series"], site).part(0, n_hours))
