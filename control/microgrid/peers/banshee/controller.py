"""A controller for the site: requests of the utility, islands by the value of what they carry, and back again.

Compact, of the same pieces as the city's: :class:`gwanje.ext.shed.ShedTable` armed for the loss of the connection and
:class:`gwanje.ext.dispatch.Dispatcher` for reactive power. It sees what is measured and asked, never what comes.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from gwanje.control.microgrid.peers.banshee.network import Floats
from gwanje.control.microgrid.peers.banshee.plant import Command, Moment, State
from gwanje.control.microgrid.peers.banshee.site import Site, World
from gwanje.ext.dispatch import Dispatcher
from gwanje.ext.shed import ShedTable

Flags = npt.NDArray[np.bool_]

HORIZON_S = 120.0
"""So long the battery should last. Short: what is served now is worth as much as later, and an island may end."""
KEPT_SOC = 0.15
"""Kept for motor starts and for the next black start."""
BATTERY_MARGIN_W = 500e3
"""Of its rating, for what the next second brings."""
ADD_MARGIN_W = 150e3
ADD_EVERY_S = 0.5
"""Loads come back one after another, each when the last one is seen to be carried."""
FAULT_WAIT_S = 5.0
"""A load that opened by its relay is closed again after so long."""
SYNC_S = 10.0
PREPARE_S = 25.0
"""After a request to disconnect, the connection opens at the latest after so long: 30 s are allowed."""
SMALL_W = 0.02
"""Of the contract: so little flows when the connection opens."""
FULL_SOC = 0.95
READY_SOC = 0.85
LIMIT_MARGIN_W = 300e3
REACTIVE_MARGIN = 0.98
S_PER_H = 3_600.0


class Controller:
    """Decides from what is measured; the memory is timers."""

    def __init__(self, site: Site) -> None:
        n = len(site.loads)
        self.site = site
        score = site.score
        worth = {
            "C": score["critical_per_kwh"] + score["critical_unserved_per_kwh"],
            "P": score["priority_per_kwh"] + score["priority_unserved_per_kwh"],
            "I": score["interruptible_per_kwh"],
        }
        self._value = np.array([worth[one.tier] for one in site.loads])
        self._load_w = np.array([one.load_w for one in site.loads])
        self._feeder3 = np.array([one.feeder == 3 for one in site.loads])
        # The most valuable first, small before large: more of them fit.
        self._order = np.lexsort((self._load_w, -self._value))
        self._table = ShedTable(n)
        self._chosen = np.zeros(n, np.uint8)
        self._off_since = np.full(n, -math.inf)
        self._last_on = np.ones(n, bool)
        self._added_s = -math.inf
        self._sync_since = math.inf
        self._asked_since = math.inf
        self._q = np.zeros(4)
        self._q_room = np.zeros(4)

    def decide(self, state: State, moment: Moment, world: World) -> Command:
        """Orders for the next moment."""
        n = len(self._load_w)
        on = np.array(state.loads_on)
        if not world.controller_started:
            return Command(True, state.loads_on, (False,) * n)
        # What went off without an order went off by its relay.
        now = state.time_s
        self._off_since = np.where(self._last_on & ~on & state.energised, now, self._off_since)
        self._asked_since = min(self._asked_since, now) if world.disconnect else math.inf
        wait = now - self._off_since < FAULT_WAIT_S
        connect = self._connects(state, world)
        leaving = state.connected and world.disconnect
        want = self._island_loads(state, moment, on, wait) if leaving or not connect else ~wait
        if leaving and (abs(moment.import_w) < SMALL_W * self.site.score["import_limit_w"] or self._late(now)):
            connect = not bool((want == on).all() or self._late(now))
        asked = leaving or math.isfinite(world.import_limit_w) or world.power_factor < 1.0
        # Little in the battery is an island that carries little: until it is full the diesel makes room for charging.
        asked |= state.energy_wh < READY_SOC * self.site.battery.energy_wh
        diesel = not state.connected or asked
        battery_w = self._battery_w(state, moment, world, leaving)
        self._last_on = want
        return Command(
            connect=connect,
            loads_on=tuple(bool(one) for one in want),
            armed=self._armed(state, moment, on),
            black_start=not state.energised,
            diesel_run=diesel,
            chp_run=True,
            diesel_w=self._diesel_w(state, moment, asked),
            chp_w=self.site.chp.generation_w_max,
            battery_w=battery_w,
            reactive_var=self._reactive_var(state, moment, world, battery_w),
        )

    def _late(self, now_s: float) -> bool:
        return now_s - self._asked_since >= PREPARE_S

    def _connects(self, state: State, world: World) -> bool:
        """Whether the connection should be closed, but for a request to open it."""
        if state.connected:
            return True
        allowed = world.grid_up and world.synchronise and not world.disconnect
        self._sync_since = min(self._sync_since, state.time_s) if allowed else math.inf
        waited = state.time_s - self._sync_since
        return allowed and (waited >= SYNC_S or not state.energised)

    def _capacity_w(self, state: State) -> float:
        """What an island may carry: now, with what the battery can give at once, and for as long as it should last."""
        facts = self.site.battery
        left = max(0.0, state.energy_wh - facts.energy_wh * KEPT_SOC) * facts.efficiency
        at_once = facts.rating_va - BATTERY_MARGIN_W if left > 0.0 else 0.0
        now = at_once + state.diesel.generation_w + state.chp.generation_w + state.pv_w
        if not state.diesel.running:
            # The diesel runs within seconds: until then the battery need not last.
            return now
        lasting = min(at_once, left * S_PER_H / HORIZON_S) + self.site.diesel.generation_w_max + state.pv_w
        return min(now, lasting + (state.chp.generation_w if state.chp.running else 0.0))

    def _island_loads(self, state: State, moment: Moment, on: Flags, wait: Flags) -> Flags:
        """Loads of an island: what is on and fits stays, the most valuable of the others comes, the cheapest goes."""
        made = state.diesel.generation_w + state.chp.generation_w + state.pv_w + moment.battery_w + moment.import_w
        # Motors and losses: what flows beyond the loads' demands.
        beyond = max(0.0, made - float(self._load_w[on].sum())) if state.energised else 0.0
        capacity = self._capacity_w(state) - beyond
        tie = state.chp.generation_w + self.site.facts.feeder3_tie_w_max
        want = on & ~wait
        for keep, most in ((self._feeder3, tie), (np.ones(len(on), bool), capacity)):
            excess = float(self._load_w[want & keep].sum()) - most
            if excess > 0.0:
                self._table.arm(self._value, self._load_w, (want & keep).astype(np.uint8))
                self._table.decide(excess, self._chosen)
                want = want & ~(self._chosen == 1)
        if state.energised and not state.connected and state.time_s - self._added_s >= ADD_EVERY_S:
            self._add(want, wait, capacity, tie, state)
        return want

    def _add(self, want: Flags, wait: Flags, capacity: float, tie: float, state: State) -> None:
        """The most valuable load that is off and fits; also in place of less valuable ones."""
        for one in self._order:
            if want[one] or wait[one]:
                continue
            less = want & (self._value < self._value[one])
            for given_up in (np.zeros(len(want), bool), less):
                rest = want & ~given_up
                fits = self._load_w[rest].sum() + self._load_w[one] + ADD_MARGIN_W <= capacity
                if self._feeder3[one]:
                    fits &= self._load_w[rest & self._feeder3].sum() + self._load_w[one] <= tie
                if not fits:
                    continue
                if given_up.any():
                    need = float(self._load_w[want].sum() + self._load_w[one] + ADD_MARGIN_W - capacity)
                    self._table.arm(self._value, self._load_w, less.astype(np.uint8))
                    self._table.decide(max(need, 1.0), self._chosen)
                    want &= ~(self._chosen == 1)
                want[one] = True
                self._added_s = state.time_s
                return

    def _armed(self, state: State, moment: Moment, on: Flags) -> tuple[bool, ...]:
        """What opens with the connection, so that the battery can carry the rest."""
        rating = self.site.battery.rating_va - BATTERY_MARGIN_W
        missing = moment.import_w + moment.battery_w - rating
        if not state.connected or missing <= 0.0:
            return (False,) * len(on)
        self._table.arm(self._value, self._load_w, on.astype(np.uint8))
        self._table.decide(missing, self._chosen)
        return tuple(bool(one) for one in self._chosen)

    def _battery_w(self, state: State, moment: Moment, world: World, leaving: bool) -> float:
        """While connected: full when nothing is asked, giving when an import is limited or the power factor low."""
        facts, score = self.site.battery, self.site.score
        soc = state.energy_wh / facts.energy_wh
        without = moment.import_w + moment.battery_w
        most = min(score["import_limit_w"], world.import_limit_w) - LIMIT_MARGIN_W
        wanted = -facts.rating_va if soc < FULL_SOC else 0.0
        if leaving or world.power_factor < 1.0:
            wanted = min(without, facts.rating_va) if soc > score["low_soc"] else 0.0
        # Never export more than is allowed, never import more.
        least = min(score["export_limit_w"], world.export_limit_w)
        return float(min(max(wanted, without - most, -facts.rating_va), without + least, facts.rating_va))

    def _diesel_w(self, state: State, moment: Moment, asked: bool) -> float:
        """In the island as much as the battery can take; connected only what was asked for."""
        facts = self.site.diesel
        if state.connected:
            return facts.generation_w_max if asked else 0.0
        room = state.energy_wh < FULL_SOC * self.site.battery.energy_wh
        charge = self.site.battery.rating_va - 2 * BATTERY_MARGIN_W if room else 0.0
        return max(0.0, min(facts.generation_w_max, state.diesel.generation_w + moment.battery_w + charge))

    def _reactive_var(
        self, state: State, moment: Moment, world: World, battery_w: float
    ) -> tuple[float, float, float, float]:
        """Shared by what each source has left beside its power; the power factor at the connection as asked."""
        site = self.site
        powers = (state.diesel.generation_w, state.chp.generation_w, state.pv_w, battery_w)
        there = (state.diesel.running, state.chp.running, state.energised, state.connected)
        ratings = (site.diesel.rating_va, site.chp.rating_va, site.pv.rating_va, site.battery.rating_va)
        previous = float(self._q.sum())
        for one, (power, runs, rating) in enumerate(zip(powers, there, ratings, strict=True)):
            self._q_room[one] = math.sqrt(max(0.0, rating**2 - power**2)) * REACTIVE_MARGIN if runs else 0.0
        target = 0.0
        if state.connected and world.power_factor < 1.0:
            target = abs(moment.import_w) * math.tan(math.acos(world.power_factor))
        reactive = Dispatcher(np.zeros(4), self._q_room + 1.0, -self._q_room, self._q_room, self._q)
        reactive.solve(previous + moment.source_var - target)
        return (float(self._q[0]), float(self._q[1]), float(self._q[2]), float(self._q[3]))


def measured_dark(n_loads: int) -> Moment:
    """What is measured before the first moment."""
    empty: Floats = np.zeros(0)
    return Moment(0.0, 0.0, 0.0, 0.0, np.zeros(n_loads), empty, 60.0)
