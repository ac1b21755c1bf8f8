"""Our plan for a site with one battery: exact for the hours that are foreseen, and exact about the genset now.

Later hours are planned with :class:`gwanje.ext.one_store.OneStore`, the genset's minimum left out; of the present hour
both are tried, genset off and genset on, with what the battery's energy is worth afterwards.
"""

from __future__ import annotations

import math

import numpy as np

from gwanje.control.microgrid.peers.pymgrid.site import Action, Floats, Hours, Site
from gwanje.ext.one_store import OneStore

WH_PER_KWH = 1_000.0
GENSET, UNSERVED, GRID = 1, 2, 3
"""Columns of sources; PV is the first, export (which is load that may be left) the last."""
N_SOURCES = 5
DAY_H = 24
LEVELS = 32
"""Slices of the battery in what is remembered of its worth."""
NEVER = 1_000.0
"""A load that can be served is served: so many times the price that the environment asks for it."""


class StorePlanner:
    """Plans one site, hour by hour.

    Args:
        site: what stands there.
        hours_max: most hours of one plan.
        learning: weight of the last day in what is remembered; 0 plans as if nothing came after the last foreseen hour.
    """

    def __init__(self, site: Site, hours_max: int = 48, learning: float = 0.0) -> None:
        self.site = site
        self.learning = learning
        self._hour = 0
        self._worth = np.zeros((DAY_H, LEVELS))
        self._seen = np.zeros(DAY_H, dtype=bool)
        self._now = np.zeros(LEVELS)
        self._store = OneStore(
            (site.energy_kwh_max - site.energy_kwh_min) * WH_PER_KWH,
            site.charge_kwh_max * WH_PER_KWH,
            site.discharge_kwh_max * WH_PER_KWH,
            site.efficiency,
            site.efficiency,
            site.cycle_usd_per_kwh / WH_PER_KWH,
            site.surplus_usd_per_kwh / WH_PER_KWH,
            hours_max,
            N_SOURCES,
        )
        self._price = np.zeros((hours_max, N_SOURCES))
        self._amount = np.zeros((hours_max, N_SOURCES))
        self._price[:, GENSET] = site.genset_usd_per_kwh / WH_PER_KWH
        self._price[:, UNSERVED] = site.unserved_usd_per_kwh * NEVER / WH_PER_KWH
        self._amount[:, UNSERVED] = math.inf

    def choose(self, hours: Hours, stored_kwh: float) -> Action:
        """The action of the first hour."""
        site, n = self.site, len(hours)
        price, amount = self._price[:n], self._amount[:n]
        amount[:, 0] = hours.pv_kwh * WH_PER_KWH
        amount[:, GENSET] = site.genset_kwh_max * WH_PER_KWH
        price[:, GRID] = hours.import_usd_per_kwh / WH_PER_KWH
        amount[:, GRID] = site.import_kwh_max * WH_PER_KWH * hours.up
        # Export at no price is left out: it earns nothing, and the environment then counts PV as used.
        price[:, -1] = hours.export_usd_per_kwh / WH_PER_KWH
        amount[:, -1] = np.where(hours.export_usd_per_kwh > 0.0, site.export_kwh_max * WH_PER_KWH * hours.up, 0.0)
        load, floor = hours.load_kwh * WH_PER_KWH, -amount[:, -1]
        self._store.plan(load[1:], floor[1:], price[1:], amount[1:], self._worth[(self._hour + n) % DAY_H])
        self._remember()

        stored = (stored_kwh - site.energy_kwh_min) * WH_PER_KWH
        now, most = price[:1], amount[:1]
        most[0, GENSET] = 0.0
        change, cost = self._store.decide(stored, load[0], floor[0], now, most)
        least = 0.0
        if site.genset_kwh_max > 0.0:
            most[0, GENSET] = (site.genset_kwh_max - site.genset_kwh_min) * WH_PER_KWH
            running = site.genset_kwh_min * WH_PER_KWH
            on_change, on_cost = self._store.decide(stored, load[0], floor[0] + running, now, most)
            on_cost += running * now[0, GENSET]
            if on_cost < cost:
                change, least = on_change, running
            else:
                most[0, GENSET] = 0.0
        return self._action(change, load[0], least, now[0], most[0])

    def _remember(self) -> None:
        """What a kWh is worth at this time of the day, from what later proved to be known of it."""
        self._hour += 1
        if self.learning == 0.0:
            return
        at = self._hour % DAY_H
        self._store.worth(self._now)
        # What is remembered is money: the price at which a load is never given up would outlive its hour for weeks.
        np.minimum(self._now, self.site.unserved_usd_per_kwh / WH_PER_KWH, out=self._now)
        weight = self.learning if self._seen[at] else 1.0
        self._worth[at] += weight * (self._now - self._worth[at])
        self._worth[at] = np.minimum.accumulate(self._worth[at])
        self._seen[at] = True

    def _action(self, change_wh: float, load_wh: float, least_wh: float, price: Floats, most: Floats) -> Action:
        """Cheapest sources first, as the plan counted them."""
        out = change_wh / self.site.efficiency if change_wh > 0.0 else change_wh * self.site.efficiency
        need = load_wh + out - least_wh + most[-1]
        taken = np.zeros(N_SOURCES)
        for one in np.argsort(price, kind="stable"):
            taken[one] = min(max(0.0, need), most[one])
            need -= taken[one]
        on = least_wh > 0.0 or taken[GENSET] > 0.0
        return Action(
            discharge_kwh=-out / WH_PER_KWH,
            import_kwh=(taken[GRID] + taken[-1] - most[-1]) / WH_PER_KWH,
            genset_kwh=(least_wh + taken[GENSET]) / WH_PER_KWH,
            genset_on=bool(on),
        )
