"""The simulated microgrid of the site: what its devices do, against other solvers, and its books."""

import math
from pathlib import Path

import numpy as np
import pytest

from gwanje.ext import microgrid_plant as at
from gwanje.ext.powerflow import RadialNetwork
from gwanje.io.sim.microgrid.disturbances import KINDS
from gwanje.io.sim.microgrid.plant import open_plant
from gwanje.io.sim.microgrid.scores import TIERS

SITE = Path(__file__).parents[4] / "configs" / "chungbuk"
HOUR = 3600.0
FORMING = {"jincheon.ess1.forming_command": 1.0, "eumseong.ess2.forming_command": 1.0}


def opened(hour=12.0, seed=1, **options):
    return open_plant(SITE, seed, hour * HOUR, options)


def run(plant, seconds, orders=None, every_s=0.1):
    """Move on, telling the same all the time."""
    values = plant.orders(orders or {})
    for _ in range(round(seconds / every_s)):
        plant.command(values)
        plant.advance(every_s)


def seen(plant, tag):
    out = np.empty(len(plant.measured))
    plant.measure(out)
    return out[plant.measured.index(tag)]


def test_tags_are_the_agreed_ones():
    plant = opened()
    assert len(set(plant.measured)) == len(plant.measured)
    assert len(set(plant.commanded)) == len(plant.commanded)
    ess = ["discharge_w", "reactive_var", "soc", "online", "charge_w_max", "discharge_w_max", "temperature_c"]
    devices = ("jincheon.ess1", "eumseong.ess2", "jincheon.storage1")
    expected = {f"{device}.{name}" for device in devices for name in ess}
    expected |= {"jincheon.ess1.forming", "grid.tie.import_w", "grid.breaker.angle_rad", "grid.bus.frequency3_hz",
                 "jincheon.diesel1.fuel_l", "eumseong.chp1.heat_w", "eumseong.heat_pump.store_c", "city.lamps.load_w",
                 "eumseong.ev_site2.energy_needed_wh", "jincheon.pv_roof.available_w"}  # fmt: skip
    assert expected <= set(plant.measured)
    assert {"grid.breaker.reset_command", "jincheon.storage1.reactive_setpoint_var", "jincheon.diesel1.start_command",
            "eumseong.ess2.voltage_setpoint_pu", "eumseong.wind2.generation_w_max_setpoint", "city.lamps.dim_command",
            "jincheon.factory.load_w_max_setpoint", "eumseong.pump_station.close_command",
            } <= set(plant.commanded)  # fmt: skip
    assert not any("storage1.forming" in tag or "wind1.reactive" in tag for tag in plant.measured + plant.commanded)
    assert 90 <= len(plant.buses.names) <= 120


@pytest.mark.parametrize("hour", [3.0, 12.0, 20.0])
def test_steady_state_is_the_power_flow(hour):
    """Voltages and losses of a moment, against the power flow of ext/ from flat voltages."""
    plant = opened(hour, quiet=1)
    run(plant, 2.0)
    kernel, buses = plant.kernel, plant.buses
    network = RadialNetwork(buses.parent, buses.r, buses.x, source_v=kernel.system[at.S_GRID_V])
    vr, vi = np.empty(len(buses.r)), np.empty(len(buses.r))
    assert network.solve(kernel.drawn[0].copy(), kernel.drawn[1].copy(), vr, vi) > 0
    assert np.abs(kernel.v - [vr, vi]).max() < 1e-8
    into = sum(kernel.drawn[0]) * 1e6 + plant.truth()["loss_w"]
    assert plant.truth()["tie_w"] == pytest.approx(into, abs=1.0)


def test_steady_state_is_power_grid_models():
    """The same case by a solver that is not ours; its source stands at 1, the connection's breaker is no branch."""
    pytest.importorskip("power_grid_model")
    from gwanje.control.microgrid.peers.random_feeders import Feeder, pgm_model

    plant = opened(20.0, quiet=1)
    run(plant, 2.0)
    buses, drawn = plant.buses, plant.kernel.drawn
    kept = [bus for bus in range(len(buses.names)) if bus != 1]
    parent = np.array([-1, 0, *(kept.index(up) for up in buses.parent[3:])])
    r, x = buses.r[kept].copy(), buses.x[kept].copy()
    r[1], x[1] = buses.r[1], buses.x[1]
    model, _ = pgm_model(Feeder(parent, r, x, drawn[0][kept], drawn[1][kept]))
    assert plant.kernel.system[at.S_GRID_V] == 1.0
    volts = model.calculate_power_flow(error_tolerance=1e-10)["node"]["u_pu"]
    assert np.abs(volts - np.hypot(*plant.kernel.v)[kept]).max() < 1e-8


def test_same_seed_same_bits_other_seed_other_run():
    def bits(seed):
        plant = opened(9.0, seed)
        run(plant, 3.0, {"jincheon.ess1.discharge_setpoint_w": 1e5})
        plant.disturb("cloud", {"depth": 0.5, "duration_s": 5.0})
        plant.disturb("grid_lost", {})
        run(plant, 3.0)
        return plant.kernel.memory.tobytes() + plant.kernel.shown.tobytes() + repr(plant.truth()).encode()

    assert bits(3) == bits(3)
    assert bits(3) != bits(4)


def test_steps_of_any_length_are_the_same_run():
    whole, parts = opened(), opened()
    whole.advance(2.5)
    for _ in range(250):
        parts.advance(0.01)
    assert whole.kernel.memory.tobytes() == parts.kernel.memory.tobytes()
    with pytest.raises(ValueError, match="milliseconds"):
        whole.advance(0.0005)


def test_unplanned_islanding_with_a_unit_that_forms_loses_nothing():
    plant = opened(12.0, soc=0.6)
    run(plant, 1.0, FORMING)
    plant.disturb("grid_lost", {})
    run(plant, 10.0, FORMING)
    truth = plant.truth()
    assert truth["trip_kind"] == at.R_LOSS_OF_MAINS
    assert truth["unserved_wh"] == truth["collapses"] == 0.0
    assert truth["bus_live"] == 1.0
    assert abs(truth["energy_gap_wh"]) < 1e-3
    assert seen(plant, "grid.breaker.tripped") == 1.0
    assert seen(plant, "grid.tie.voltage_v") < 100.0


def test_planned_islanding_and_back_through_the_window():
    plant = opened(3.0, mode="islanded")
    assert plant.truth()["mode"] == at.ISLANDED
    hz, volt = 60.0, 1.0
    for _ in range(900):
        slip, apart = seen(plant, "grid.breaker.slip_hz"), seen(plant, "grid.breaker.voltage_difference_pu")
        hz, volt = hz + 0.1 * (0.05 - slip), volt - 0.05 * apart
        orders = {"grid.breaker.close_command": 1.0}
        for device in ("jincheon.ess1", "eumseong.ess2"):
            orders |= {f"{device}.frequency_setpoint_hz": hz, f"{device}.voltage_setpoint_pu": volt}
        run(plant, 0.1, orders)
        if plant.truth()["breaker_closed"]:
            break
    truth = plant.truth()
    assert truth["closures"] == 1.0
    assert truth["closures_out_of_window"] == 0.0
    assert abs(truth["close_angle_rad"]) < 0.1745
    assert truth["collapses"] == truth["unserved_wh"] == 0.0


def test_without_sync_check_a_bad_closure_is_counted_and_trips():
    plant = opened(3.0, mode="islanded", sync_check=0)
    plant.kernel.system[at.S_ANGLE] = 2.5
    run(plant, 0.5, {"grid.breaker.close_command": 1.0})
    truth = plant.truth()
    assert truth["closures_out_of_window"] == 1.0
    assert truth["unit_trips"] >= 2.0


def test_black_start_by_the_diesel():
    plant = opened(3.0, mode="black")
    assert plant.truth()["bus_live"] == 0.0
    assert math.isnan(seen(plant, "grid.breaker.angle_rad"))
    off = {f"{one.device}.close_command": 0.0 for one in plant.told.load if one.tier != "critical"}
    run(plant, 7.0, {**off, "jincheon.diesel1.start_command": 1.0})
    assert plant.truth()["bus_live"] == 0.0
    run(plant, 6.0, {**off, "jincheon.diesel1.start_command": 1.0})
    truth = plant.truth()
    assert truth["bus_live"] == 1.0
    assert truth["jincheon.clinic.load_w"] > 2e4
    assert truth["collapses"] == 0.0
    assert truth["fuel_l"] > 0.0
    plant.disturb("grid_back", {})
    run(plant, 12.0, {"eumseong.homes2.close_command": 1.0, "jincheon.diesel1.start_command": 1.0})
    assert plant.truth()["eumseong.homes2.load_w"] > 2e4
    assert plant.truth()["unit_trips"] == 0.0


def test_a_relay_that_trips_needs_a_reset():
    plant = opened(3.0)
    plant.disturb("fault_short", {"residual_pu": 0.2, "duration_s": 0.4})
    plant.advance(0.15)
    assert plant.truth()["breaker_closed"] == 1.0
    plant.advance(0.05)
    assert plant.truth()["breaker_closed"] == 0.0
    assert plant.truth()["trip_kind"] == 27.0


def test_a_fault_in_the_city_passes_when_it_is_short():
    plant = opened(12.0)
    plant.disturb("fault_short", {"side": "city", "residual_pu": 0.6, "duration_s": 0.1})
    plant.advance(0.05)
    assert plant.truth()["voltage_max_pu"] < 0.7
    plant.advance(3.0)
    assert plant.truth()["breaker_closed"] == 1.0
    assert plant.truth()["voltage_min_pu"] > 0.9


def test_batteries_derate_and_run_empty():
    plant = opened(3.0, soc={"jincheon.ess1": 0.055})
    orders = {"jincheon.ess1.discharge_setpoint_w": 5e5, "eumseong.ess2.discharge_setpoint_w": 5e5}
    plant.disturb("ess_derate", {"device": "eumseong.ess2", "share": 0.4})
    run(plant, 60.0, orders, 1.0)
    assert seen(plant, "eumseong.ess2.discharge_w") == pytest.approx(2e5, rel=0.01)
    assert seen(plant, "jincheon.ess1.discharge_w") < 1e5
    truth = plant.truth()
    assert truth["jincheon.ess1.soc"] > 0.049
    assert abs(truth["battery_gap_wh"]) < 0.01
    plant.disturb("ess_soc", {"device": "jincheon.ess1", "soc": 0.9})
    run(plant, 5.0, orders, 1.0)
    assert seen(plant, "jincheon.ess1.discharge_w") == pytest.approx(5e5, rel=0.01)
    assert abs(plant.truth()["battery_gap_wh"]) < 0.01


def test_a_round_trip_loses_about_a_tenth():
    plant = opened(3.0, soc=0.5)
    for watts in (3e5, -3e5):
        run(plant, 120.0, {"jincheon.ess1.discharge_setpoint_w": watts}, 2.0)
    unit = plant.kernel.unit[plant.unit_row["jincheon.ess1"]]
    lost = unit[at.U_LOSS_WH] / unit[at.U_OUT_WH]
    assert 0.04 < lost < 0.14
    assert unit[at.U_TEMPERATURE_C] > unit[at.U_AMBIENT_C]


def test_heat_of_the_chp_spares_the_heat_pump():
    """Both plants cool for a minute with the pump off; the one whose CHP runs cools by its heat less."""
    stores = []
    for start in (0.0, 1.0):
        plant = opened(3.0)
        run(plant, 150.0, {"eumseong.chp1.start_command": start, "eumseong.heat_pump.close_command": 0.0}, 1.0)
        stores.append((plant.truth()["eumseong.heat_pump.store_c"], plant.truth()["heat_wh"]))
    assert stores[1][1] > 500.0
    assert stores[1][0] - stores[0][0] == pytest.approx(stores[1][1] / 2e6, rel=0.05)


def test_clouds_reach_the_floating_plant_later():
    plant, clear = opened(12.5), opened(12.5)
    plant.disturb("cloud", {"depth": 0.8, "duration_s": 30.0, "edge_s": 2.0})
    lost = {"jincheon.pv_roof": [], "eumseong.pv_float": []}
    for _ in range(90):
        plant.advance(1.0)
        clear.advance(1.0)
        for device, values in lost.items():
            key = f"{device}.available_w"
            values.append(1.0 - plant.truth()[key] / clear.truth()[key])
    assert max(lost["jincheon.pv_roof"]) == pytest.approx(0.8, abs=0.01)
    first = [next(k for k, value in enumerate(values) if value > 0.4) for values in lost.values()]
    assert first[1] - first[0] == 40


def test_curtailed_energy_is_counted():
    plant = opened(12.0)
    run(plant, 20.0, {"jincheon.pv_roof.generation_w_max_setpoint": 1e5}, 1.0)
    assert seen(plant, "jincheon.pv_roof.generation_w") == pytest.approx(1e5, rel=0.02)
    assert plant.truth()["curtailed_wh"] > 0.5 * 6e5 * 18 / 3600


def test_loads_obey_limits_dimming_and_breakers():
    plant = opened(20.0)
    run(plant, 5.0)
    before = {name: plant.truth()[f"{name}.load_w"] for name in ("city.lamps", "jincheon.factory", "jincheon.ev_site")}
    orders = {"city.lamps.dim_command": 0.4, "jincheon.factory.load_w_max_setpoint": 0.0,
              "jincheon.ev_site.load_w_max_setpoint": 5e3, "jincheon.shops.close_command": 0.0}  # fmt: skip
    run(plant, 5.0, orders)
    truth = plant.truth()
    assert truth["city.lamps.load_w"] == pytest.approx(0.4 * before["city.lamps"], rel=0.03)
    assert truth["jincheon.factory.load_w"] == pytest.approx(before["jincheon.factory"] - 150e3, rel=0.15)
    assert truth["jincheon.ev_site.load_w"] < 5.2e3 < before["jincheon.ev_site"]
    assert truth["jincheon.shops.load_w"] == 0.0
    assert truth["unserved_priority_wh"] > 0.0
    assert truth["unserved_critical_wh"] == 0.0
    plant.disturb("breaker_refuses", {"device": "jincheon.shops"})
    run(plant, 1.0, {"jincheon.shops.close_command": 1.0})
    assert seen(plant, "jincheon.shops.closed") == 0.0


def test_energy_closes_on_a_day_of_everything():
    """Seven minutes with islanding, tripping, clouds and limits: the books of network and cells close to the Wh."""
    plant = opened(11.5)
    rng = np.random.default_rng(5)
    devices = list(plant.load_row)
    for minute in range(20):
        orders = {**FORMING, "grid.breaker.reset_command": 1.0, "grid.breaker.close_command": float(minute % 7 != 3)}
        orders["jincheon.ess1.discharge_setpoint_w"] = rng.uniform(-5e5, 5e5)
        orders["jincheon.diesel1.start_command"] = float(minute % 5 < 3)
        orders[f"{devices[minute % len(devices)]}.close_command"] = float(rng.integers(0, 2))
        match minute % 6:
            case 1:
                plant.disturb("cloud", {"depth": 0.6, "duration_s": 15.0})
            case 2:
                plant.disturb("motor_start", {"device": "eumseong.pump_station", "w": 60e3, "duration_s": 20.0})
            case 4:
                plant.disturb("trip", {"device": "jincheon.pv_roof"})
            case 5:
                plant.disturb("grid_lost", {"duration_s": 9.0})
        run(plant, 20.0, orders, 1.0)
    truth = plant.truth()
    assert abs(truth["energy_gap_wh"]) < 0.5
    assert abs(truth["battery_gap_wh"]) < 0.5
    assert truth["served_wh"] == pytest.approx(sum(truth[f"served_{tier}_wh"] for tier in TIERS))
    assert truth["served_wh"] > 3e4


def test_what_may_happen_is_checked():
    plant = opened()
    with pytest.raises(ValueError, match=r"known are .*grid_lost"):
        plant.disturb("earthquake", {})
    with pytest.raises(ValueError, match=r"none of jincheon\.ess1"):
        plant.disturb("ess_soc", {"device": "jincheon.ess9", "soc": 0.5})
    with pytest.raises(ValueError, match="within 0 … 1"):
        plant.disturb("ess_soc", {"device": "jincheon.ess1", "soc": 2.0})
    with pytest.raises(ValueError, match="unknown value 'depht'"):
        plant.disturb("cloud", {"depht": 0.5})
    for option, value in (("mode", "upside"), ("soc", {"jincheon.ess9": 0.5}), ("sock", 1)):
        with pytest.raises(ValueError, match=f"{option}|ess9"):
            opened(**{option: value})


def test_every_disturbance_leaves_a_plant_that_runs():
    device = {"load_step": "jincheon.shops", "motor_start": "jincheon.factory", "trip": "jincheon.ess1",
              "breaker_refuses": "grid.breaker", "ess_derate": "jincheon.ess1", "derate": "eumseong.chp1",
              "ess_soc": "jincheon.ess1", "fuel": "jincheon.diesel1"}  # fmt: skip
    values = {"grid_voltage": {"pu": 0.95}, "grid_frequency": {"hz": 59.9}, "load_step": {"w": 5e4},
              "ess_derate": {"share": 0.5}, "derate": {"share": 0.5}, "ess_soc": {"soc": 0.4}, "fuel": {"l": 10.0},
              "irradiance": {"share": 0.3}, "wind": {"share": 0.3},
              "meter_bias": {"tag": "grid.bus.frequency2_hz", "bias": 0.4}}  # fmt: skip
    plant = opened(12.0, soc=0.6)
    run(plant, 0.5, FORMING)
    for kind in sorted(KINDS):
        plant.disturb(kind, {**values.get(kind, {}), **({"device": device[kind]} if kind in device else {})})
        run(plant, 0.5, FORMING)
    truth = plant.truth()
    assert all(math.isfinite(value) for value in truth.values())
    assert abs(truth["energy_gap_wh"]) < 1e-3
    assert seen(plant, "grid.bus.frequency2_hz") - seen(plant, "grid.bus.frequency1_hz") == pytest.approx(0.4, abs=0.01)
