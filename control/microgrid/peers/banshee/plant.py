"""The site, quasi-static: what a moment of the test sequence makes of it and of what a controller orders.

Powers follow orders within ramps; the battery takes what is left over in the island, and the island falls when that is
more than it can for longer than :data:`FALL_S`. Loads that are armed open in the same moment in which the connection
does, as relays do among themselves within 10 ms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from gwanje.control.microgrid.peers.banshee.network import Floats, Network
from gwanje.control.microgrid.peers.banshee.site import Site, Unit, World

FALL_S = 0.3
"""So long a forming battery carries what is beyond its rating: the inverter's short-time current."""
BLACK_START_S = 5.0
"""The battery's inverter energises a dead bus by itself within so long."""
DROOP_HZ = 0.6
"""Droop of the forming battery: 1 % of 60 Hz over its rating."""
MOTOR_START_PF = 0.25
S_PER_H = 3_600.0


@dataclass(frozen=True, slots=True)
class UnitState:
    """Diesel or CHP: ``ready_s`` until it runs, infinite when it is off."""

    ready_s: float = math.inf
    generation_w: float = 0.0
    starts: int = 0

    @property
    def running(self) -> bool:
        """Can give power."""
        return self.ready_s <= 0.0


@dataclass(frozen=True, slots=True)
class State:
    """The site at one time."""

    time_s: float
    energy_wh: float
    connected: bool = True
    energised: bool = True
    black_start_s: float = math.inf
    overload_s: float = 0.0
    loads_on: tuple[bool, ...] = ()
    diesel: UnitState = UnitState()
    chp: UnitState = UnitState()
    pv_w: float = 0.0
    breaker_operations: int = 0


@dataclass(frozen=True, slots=True)
class Command:
    """What a controller orders for the next moment. All powers are of generation or discharge.

    Attributes:
        armed: loads that open by themselves when the connection does.
        battery_w: followed while connected; in the island the battery gives what is left over.
        reactive_var: (diesel, chp, pv, battery) generated.
    """

    connect: bool
    loads_on: tuple[bool, ...]
    armed: tuple[bool, ...]
    black_start: bool = False
    diesel_run: bool = False
    chp_run: bool = False
    diesel_w: float = 0.0
    chp_w: float = 0.0
    battery_w: float = 0.0
    reactive_var: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Moment:
    """What was, over one step: the basis of measured values and of the score.

    ``source_var`` comes from the utility or from the forming battery; the battery's is generation.
    """

    import_w: float
    import_var: float
    battery_w: float
    source_var: float
    served_w: Floats
    voltage_pu: Floats
    frequency_hz: float


def begin(site: Site) -> State:
    """Connected, every load on, every source off."""
    return State(0.0, site.battery.energy_wh * site.battery.initial_soc, loads_on=(True,) * len(site.loads))


def _unit(state: UnitState, facts: Unit, run: bool, order_w: float, live: bool, dt_s: float) -> UnitState:
    if not run:
        return UnitState(starts=state.starts)
    if math.isinf(state.ready_s):
        return UnitState(facts.start_s, 0.0, state.starts + 1)
    if state.ready_s > 0.0:
        return replace(state, ready_s=max(0.0, state.ready_s - dt_s))
    if not live:
        return replace(state, generation_w=0.0)
    wanted = min(max(order_w, facts.generation_w_min), facts.generation_w_max)
    change = min(max(wanted - state.generation_w, -facts.ramp_w_per_s * dt_s), facts.ramp_w_per_s * dt_s)
    return replace(state, generation_w=state.generation_w + change)


def demand(site: Site, world: World) -> tuple[Floats, Floats, Floats]:
    """(n,) what every load would take, W and var, and what of it counts as served: a start's surge does not."""
    facts = site.facts
    load_w = np.array([one.load_w for one in site.loads])
    load_var = np.array([one.reactive_var for one in site.loads])
    counted = load_w.copy()
    labels = [one.label for one in site.loads]
    for label, runs, age in zip(facts.motor_loads, world.motors, world.motor_age_s, strict=True):
        if not runs:
            continue
        at = labels.index(label)
        counted[at] += facts.motor_w
        starting = age < facts.motor_start_s
        apparent = facts.motor_w / facts.power_factor * (facts.motor_inrush if starting else 1.0)
        factor = MOTOR_START_PF if starting else facts.power_factor
        load_w[at] += apparent * factor
        load_var[at] += apparent * math.sqrt(1.0 - factor**2)
    return load_w, load_var, counted


def step(
    site: Site, network: Network, state: State, command: Command, world: World, dt_s: float
) -> tuple[State, Moment]:
    """One moment."""
    connected, energised, operations = state.connected, state.energised, state.breaker_operations
    on = np.array(state.loads_on)
    wanted = np.array(command.loads_on)
    black_start_s = state.black_start_s
    tripped = False
    if connected and not world.grid_up:
        # The relays at the connection open, and with them what was armed.
        connected, tripped = False, True
        wanted = wanted & ~np.array(command.armed)
        energised = energised and world.controller_started
    elif connected and not command.connect and world.controller_started:
        connected = False
        tripped = True
    elif not connected and command.connect and world.grid_up:
        connected = energised = tripped = True
    if not energised and command.black_start and world.controller_started:
        black_start_s = BLACK_START_S if math.isinf(black_start_s) else black_start_s - dt_s
        if black_start_s <= 0.0:
            energised, black_start_s = True, math.inf
            wanted &= False
    new_on = wanted & energised if world.controller_started or not energised else on
    new_on &= np.array([one.label != world.faulted for one in site.loads])
    operations += int((new_on != on).sum()) + 3 * tripped

    live = energised
    diesel = _unit(state.diesel, site.diesel, command.diesel_run, command.diesel_w, live, dt_s)
    chp = _unit(state.chp, site.chp, command.chp_run, command.chp_w, live, dt_s)
    pv_up = state.pv_w + site.pv.ramp_w_per_s * dt_s
    pv_w = min(site.pv.generation_w_max, pv_up) if live and world.controller_started else 0.0

    load_w, load_var, counted = demand(site, world)
    load_w, load_var = np.where(new_on, load_w, 0.0), np.where(new_on, load_var, 0.0)
    q = np.clip(command.reactive_var, -1e9, 1e9)
    battery_w = command.battery_w if connected and world.controller_started else 0.0
    battery_w = _battery_limited(site, state.energy_wh, battery_w, dt_s)
    overload_s, voltage = 0.0, np.zeros(0)
    source = 0j
    if live:
        head_w = np.array([diesel.generation_w, pv_w + battery_w, chp.generation_w])
        head_var = np.array([q[0] * diesel.running, q[2] + q[3] * connected, q[1] * chp.running])
        source, voltage = network.solve(connected, load_w, load_var, head_w, head_var)
        if not connected:
            battery_w = source.real
            held = _battery_limited(site, state.energy_wh, battery_w, dt_s)
            beyond = not math.isfinite(battery_w) or abs(held - battery_w) > 1.0
            beyond |= abs(source) > site.battery.rating_va * 1.0 + 1.0
            overload_s = state.overload_s + dt_s if beyond else 0.0
            battery_w = held if math.isfinite(battery_w) else 0.0
            if overload_s > FALL_S:
                return _fallen(state, new_on, operations, dt_s), _dark(site)
    efficiency = site.battery.efficiency
    change = -battery_w * dt_s / S_PER_H * (efficiency if battery_w < 0 else 1.0 / efficiency)
    after = State(
        state.time_s + dt_s, state.energy_wh + change, connected, energised, black_start_s, overload_s,
        tuple(bool(one) for one in new_on), diesel, chp, pv_w, operations,
    )  # fmt: skip
    frequency = 60.0 if connected or not live else 60.0 - DROOP_HZ * battery_w / site.battery.rating_va
    return after, Moment(
        source.real if connected and live else 0.0, source.imag if connected and live else 0.0, battery_w,
        source.imag if live and math.isfinite(source.imag) else 0.0,
        np.where(new_on, counted, 0.0) if live else np.zeros(len(site.loads)), voltage, frequency,
    )  # fmt: skip


def _battery_limited(site: Site, energy_wh: float, power_w: float, dt_s: float) -> float:
    """Within its rating, and within what it holds or can still take in this step."""
    facts = site.battery
    room = (facts.energy_wh * facts.soc_max - energy_wh) / facts.efficiency * S_PER_H / dt_s
    held = (energy_wh - facts.energy_wh * facts.soc_min) * facts.efficiency * S_PER_H / dt_s
    if not math.isfinite(power_w):
        return 0.0
    return min(max(power_w, -facts.rating_va, -max(0.0, room)), facts.rating_va, max(0.0, held))


def _fallen(state: State, on: np.ndarray[tuple[int], np.dtype[np.bool_]], operations: int, dt_s: float) -> State:
    """The island is dark: every unit trips, every load is off."""
    return State(
        state.time_s + dt_s, state.energy_wh, False, False, math.inf, 0.0, (False,) * len(on),
        UnitState(starts=state.diesel.starts), UnitState(starts=state.chp.starts), 0.0, operations + int(on.sum()),
    )  # fmt: skip


def _dark(site: Site) -> Moment:
    return Moment(0.0, 0.0, 0.0, 0.0, np.zeros(len(site.loads)), np.zeros(0), 60.0)
