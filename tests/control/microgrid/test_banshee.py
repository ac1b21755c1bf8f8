"""The site of three feeders: its facts, its plant, its score, and our controller on the hardest parts."""

import dataclasses
import math

import numpy as np
import pytest

from gwanje.control.microgrid.peers.banshee.bench import run_sequence
from gwanje.control.microgrid.peers.banshee.controller import Controller, measured_dark
from gwanje.control.microgrid.peers.banshee.hindsight import hindsight
from gwanje.control.microgrid.peers.banshee.network import Network
from gwanje.control.microgrid.peers.banshee.plant import Command, Moment, begin, demand, step
from gwanje.control.microgrid.peers.banshee.scorecard import PUBLISHED, Scorecard
from gwanje.control.microgrid.peers.banshee.site import read_site

SITE = read_site()
N = len(SITE.loads)
ALL, NONE = (True,) * N, (False,) * N


def started(site=SITE, **world):
    """A quiet moment after the controller's start, with changes."""
    return dataclasses.replace(site.world(330.0), export_limit_w=math.inf, motors=(False, False), **world)


def still(state, command, world, n=1, dt_s=0.1):
    network = Network(SITE)
    for _ in range(n):
        state, moment = step(SITE, network, state, command, world, dt_s)
    return state, moment


def test_the_site_is_what_was_published():
    assert N == 18
    tiers = [one.tier for one in SITE.loads]
    assert [tiers.count(tier) for tier in "CPI"] == [6, 6, 6]
    assert sum(one.demand_va for one in SITE.loads) == pytest.approx(14.45e6)
    lost = np.array([not SITE.world(time + 0.5).grid_up for time in range(1_800)])
    assert np.diff(lost.astype(int)).tolist().count(1) == 2, "two unplanned islandings"
    assert lost.sum() == 180 + 510
    assert SITE.world(600.0).disconnect
    assert SITE.world(400.0).power_factor == 0.5
    assert SITE.world(1_080.0).import_limit_w == 8e6


def test_a_motor_starts_with_six_times_its_current():
    starting, running = SITE.world(600.5), SITE.world(610.0)
    p1 = SITE.loads[6]

    def apparent_va(world):
        load_w, load_var, _ = demand(SITE, world)
        return math.hypot(load_w[6] - p1.load_w, load_var[6] - p1.reactive_var)

    assert apparent_va(starting) == pytest.approx(6.0 * apparent_va(running))
    assert demand(SITE, starting)[2][6] == demand(SITE, running)[2][6], "the surge does not count as served"


def test_power_balances_at_the_connection():
    state, moment = still(begin(SITE), Command(True, ALL, NONE), SITE.world(0.0))
    load = sum(one.load_w for one in SITE.loads)
    assert load < moment.import_w < 1.04 * load, "loads and a few percent of losses"
    assert moment.voltage_pu.min() > 0.95
    assert state.energy_wh == SITE.battery.energy_wh * SITE.battery.initial_soc


def test_an_island_falls_when_the_battery_cannot_carry_it():
    state = dataclasses.replace(begin(SITE), connected=False)
    state, _ = still(state, Command(False, ALL, NONE), started(grid_up=False), n=10)
    assert not state.energised
    assert not any(state.loads_on)


def test_armed_loads_open_with_the_connection():
    armed = tuple(one.tier != "C" for one in SITE.loads)
    state, moment = still(begin(SITE), Command(True, ALL, armed), started(grid_up=False))
    assert not state.connected
    assert state.loads_on == tuple(not one for one in armed)
    assert moment.battery_w > 2.5e6


def test_units_need_their_time_to_start():
    command = Command(True, ALL, NONE, diesel_run=True, diesel_w=3.2e6)
    state, _ = still(begin(SITE), command, started(), n=149)
    assert not state.diesel.running
    state, _ = still(state, command, started(), n=60)
    assert state.diesel.generation_w == pytest.approx(3.2e6)
    assert state.diesel.starts == 1


def test_the_battery_keeps_to_what_it_holds():
    state = dataclasses.replace(begin(SITE), energy_wh=0.1005 * SITE.battery.energy_wh)
    state, moment = still(state, Command(True, ALL, NONE, battery_w=3e6), started(), n=50)
    assert state.energy_wh >= SITE.battery.soc_min * SITE.battery.energy_wh - 1e-6
    assert moment.battery_w == pytest.approx(0.0, abs=1.0)


def moment_of(**values):
    quiet = Moment(0.0, 0.0, 0.0, 0.0, np.array([one.load_w for one in SITE.loads]), np.ones(N + 4), 60.0)
    return dataclasses.replace(quiet, **values)


def bill(world, moment, state=None, seconds=60):
    state = state or begin(SITE)
    card = Scorecard(SITE)
    for _ in range(seconds):
        card.moment(state, state, moment, world, 1.0)
    return card, card.close(state)


def test_a_minute_of_served_load_is_worth_what_the_rubric_says():
    _, lines = bill(started(), moment_of())
    kwh = {tier: sum(one.load_w for one in SITE.loads if one.tier == tier) / 60e3 for tier in "CPI"}
    assert lines["served"] == pytest.approx(kwh["C"] * 0.33 + kwh["P"] * 0.30 + kwh["I"] * 0.267)
    assert lines["unserved"] == pytest.approx(0.0)
    _, lines = bill(started(), moment_of(served_w=np.zeros(N)))
    assert lines["unserved"] == pytest.approx(-kwh["C"] * 1.5 - kwh["P"] * 0.67)


def test_energy_beyond_a_limit_costs_three_times():
    _, lines = bill(started(), moment_of(import_w=13e6))
    assert lines["energy"] == pytest.approx(-(12_000 + 3 * 1_000) / 60 * 0.175)
    _, lines = bill(started(), moment_of(import_w=-7e6))
    assert lines["energy"] == pytest.approx((6_000 + 0.5 * 1_000) / 60 * 0.175)
    _, lines = bill(started(), moment_of(import_w=5e6, import_var=6e6))
    assert lines["reactive"] == pytest.approx(-1_000 / 60 * 0.125)


def test_requests_count_when_they_are_met():
    world = started(import_limit_w=8e6)
    card, _ = bill(world, moment_of(import_w=8.05e6, import_var=1e6))
    assert card.tally.met_s["import"] == card.tally.asked_s["import"] > 55
    assert card.tally.met_s["power_factor"] == card.tally.asked_s["power_factor"]
    card, lines = bill(world, moment_of(import_w=8.2e6, import_var=8e6))
    assert card.tally.met_s["import"] == card.tally.met_s["power_factor"] == 0.0
    assert lines.get("requests", 0.0) == 0.0
    half = moment_of(import_w=4e6, import_var=4e6 * math.tan(math.acos(0.5)))
    card, _ = bill(started(power_factor=0.5), half)
    assert card.tally.met_s["power_factor"] == card.tally.asked_s["power_factor"] > 0


def test_late_parting_low_battery_and_voltage_are_charged():
    low = dataclasses.replace(begin(SITE), energy_wh=0.3e6)
    _, lines = bill(dataclasses.replace(started(), disconnect=True), moment_of(), low)
    assert lines["late disconnect"] == pytest.approx(-6.5 * 30 / 60)
    assert lines["low soc"] == pytest.approx(-1.87)
    assert lines["stored"] == pytest.approx(-500 * 0.33)
    card, lines = bill(started(), moment_of(voltage_pu=np.array([1.0, 0.86, 1.06])))
    assert lines["voltage"] == pytest.approx(-0.02 * 60 * 4.88)
    assert card.shares()["deviation"] == 1.0


def test_the_controller_comes_through_the_first_outage_and_back():
    """The grid is lost, the controller starts a minute later with everything off, the grid returns after two more."""
    run = run_sequence(SITE, until_s=345.0)
    assert run.last.connected
    assert all(run.last.loads_on)
    assert run.last.diesel.starts == 1, "no island fell"
    dark = 60.0 / 345.0
    assert dark < run.shares["C"] < dark + 0.05
    assert run.shares["deviation"] < 0.02


def test_the_connection_is_lost_without_a_collapse():
    """Full load, only the CHP runs: what is armed opens, the battery carries the rest until the diesel is up."""
    network, controller = Network(SITE), Controller(SITE)
    chp = dataclasses.replace(begin(SITE).chp, ready_s=0.0, generation_w=2.8e6, starts=1)
    state = dataclasses.replace(begin(SITE), chp=chp, pv_w=1.6e6, energy_wh=0.9e6)
    moment = measured_dark(N)
    for now in range(400):
        world = started(grid_up=now < 50, synchronise=False)
        state, moment = step(SITE, network, state, controller.decide(state, moment, world), world, 0.1)
        assert state.energised, now
    assert not state.connected
    critical = [on for on, one in zip(state.loads_on, SITE.loads, strict=True) if one.tier == "C"]
    assert all(critical)
    assert state.diesel.running


def test_hindsight_is_better_than_anything_that_was_done():
    best = hindsight(SITE)
    none = run_sequence(SITE, controlled=False, dt_s=0.5)
    assert none.bill["total"] < best.dollars
    assert best.unserved["C"] < min(one["C"] for one in PUBLISHED.values())
    assert best.unserved["C"] == pytest.approx(60 / 1_800, abs=0.005), "dark only before the controller starts"
