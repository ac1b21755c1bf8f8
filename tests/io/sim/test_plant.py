from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gwanje.io.sim.loads import EvSite, EvSiteParams, Factory, FactoryParams, Homes, HomesParams, LampsParams, lamps_w
from gwanje.io.sim.plant import Plant
from gwanje.io.sim.series import CityData
from gwanje.io.sim.twins import Ami, Ess, Load, Source, TwinError, TwinSpec

MakePlant = Callable[..., Plant]


def balance_w(plant: Plant) -> tuple[float, float]:
    """Import as metered, and as the units and loads say."""
    total = plant.connection.flow.loss_w
    for twin in plant.twins.values():
        match twin:
            case Ess():
                total += twin.aux_w - twin.state.discharge_w
            case Source():
                total -= twin.state.generation_w
            case Load():
                total += twin.load_w
    return plant.connection.flow.import_w, total


def ess(plant: Plant, name: str) -> Ess:
    twin = plant.twins[name]
    assert isinstance(twin, Ess)
    return twin


def order(plant: Plant, name: str, watts: float) -> None:
    control = ess(plant, name).setpoint_w
    control.value, control.enabled = watts, True
    control.renew()


@pytest.mark.parametrize("speed", [1.0, 60.0, 1000.0])
def test_energy_is_conserved_in_every_step(make_plant: MakePlant, speed: float) -> None:
    plant = make_plant(seed=5, speed=speed)
    rng = np.random.default_rng(5)
    for step in range(3000):
        if step % 50 == 0:
            order(plant, "ess1", float(rng.uniform(-6e5, 6e5)))
            order(plant, "ess2", float(rng.uniform(-6e5, 6e5)))
        plant.advance(0.01)
        metered, summed = balance_w(plant)
        assert metered == pytest.approx(summed, rel=1e-9, abs=1e-3 * 1e-6)
        assert plant.connection.flow.loss_w > 0.0


def test_the_meters_hold_what_flowed(make_plant: MakePlant) -> None:
    plant = make_plant(speed=100.0)
    first = plant.connection.imported_wh - plant.connection.exported_wh
    flowed_wh = 0.0
    for _ in range(2000):
        plant.advance(0.01)
        flowed_wh += plant.connection.flow.import_w * 1.0 / 3600.0
    assert plant.connection.imported_wh - plant.connection.exported_wh - first == pytest.approx(flowed_wh, abs=1e-6)


def test_equal_seeds_give_equal_cities(make_plant: MakePlant) -> None:
    one, other, third = make_plant(seed=7), make_plant(seed=7), make_plant(seed=8)
    for _ in range(500):
        for plant in (one, other, third):
            plant.advance(0.01)
    assert one.connection.flow == other.connection.flow
    assert one.save() == other.save()
    assert one.connection.flow != third.connection.flow


def test_speed_moves_the_world_and_not_the_electronics(make_plant: MakePlant) -> None:
    slow, fast = make_plant(speed=1.0), make_plant(speed=200.0)
    for plant in (slow, fast):
        order(plant, "ess1", 100_000.0)
        for _ in range(20):
            plant.advance(0.01)
    assert ess(slow, "ess1").state.discharge_w == pytest.approx(ess(fast, "ess1").state.discharge_w)
    assert fast.series_s - 14_400.0 == pytest.approx(200.0 * (slow.series_s - 14_400.0))
    used = [0.55 - ess(plant, "ess1").state.soc for plant in (slow, fast)]
    assert used[1] == pytest.approx(200.0 * used[0], rel=1e-6)


def test_an_ess_falls_back_to_nothing_when_it_is_not_renewed(make_plant: MakePlant) -> None:
    plant = make_plant()
    order(plant, "ess1", 300_000.0)
    for _ in range(490):
        plant.advance(0.01)
    assert ess(plant, "ess1").state.discharge_w == pytest.approx(300_000.0, rel=1e-3)
    for _ in range(200):
        plant.advance(0.01)
    assert ess(plant, "ess1").state.discharge_w == pytest.approx(0.0, abs=1.0)
    assert ess(plant, "ess1").setpoint_w.reverted == 1


def test_curtailment_is_honoured(make_plant: MakePlant) -> None:
    plant = make_plant()
    roof = plant.twins["pv_roof"]
    assert isinstance(roof, Source)
    roof.limit_pu.value, roof.limit_pu.enabled = 0.25, True
    roof.limit_pu.renew()
    seen = []
    for _ in range(300):
        plant.advance(0.01)
        seen.append(roof.state.generation_w)
    assert seen[-1] == pytest.approx(200_000.0)
    assert roof.available_w > 700_000.0
    assert max(-np.diff(seen)) <= 0.5 * 800_000.0 * 0.01 + 1e-6


def test_the_breaker_opens_in_60_ms_and_closes_when_its_spring_is_charged(make_plant: MakePlant) -> None:
    plant = make_plant()
    breaker = plant.breaker
    assert breaker is not None

    def steps_until(closed: bool) -> int:
        for step in range(1, 1000):
            plant.advance(0.01)
            if breaker.closed is closed:
                return step
        raise AssertionError("the breaker did not move")

    breaker.order(False)
    assert steps_until(False) == 6
    breaker.order(True)
    assert steps_until(True) == 8
    assert not breaker.spring_charged
    breaker.order(False)
    assert steps_until(False) == 6, "it opens with the spring still empty"
    breaker.order(True)
    assert 270 <= steps_until(True) <= 310, "three seconds of charging, less what it had, and the stroke"
    breaker.order(True)
    plant.advance(0.01)
    assert breaker.closed, "closing what is closed does nothing"


def test_a_closing_that_waits_for_the_spring_is_overruled_and_survives_a_kill(make_plant: MakePlant) -> None:
    plant = make_plant()
    assert plant.breaker is not None
    for close in (False, True, False, True):
        plant.breaker.order(close)
        for _ in range(10):
            plant.advance(0.01)
    assert not plant.breaker.closed
    again = make_plant()
    again.restore(json.loads(json.dumps(plant.save())))
    assert again.breaker is not None
    assert (again.breaker.closed, again.breaker.close_command, again.breaker.spring_charged) == (False, True, False)
    plant.breaker.order(False)
    for _ in range(400):
        plant.advance(0.01)
        again.advance(0.01)
    assert not plant.breaker.closed
    assert again.breaker.closed


def test_a_jammed_drive_takes_the_command_and_stays(make_plant: MakePlant) -> None:
    plant = make_plant()
    assert plant.breaker is not None
    plant.breaker.jammed = lambda: True
    plant.breaker.order(False)
    for _ in range(100):
        plant.advance(0.01)
    assert (plant.breaker.closed, plant.breaker.close_command) == (True, False)


def test_an_open_breaker_darkens_the_city_and_closing_brings_it_back(make_plant: MakePlant) -> None:
    plant = make_plant()
    order(plant, "ess1", 100_000.0)
    plant.advance(0.01)
    assert plant.breaker is not None
    plant.breaker.closed = False
    plant.advance(0.01)
    flow = plant.connection.flow
    assert (flow.import_w, flow.voltage_v, flow.frequency_hz) == (0.0, 0.0, 0.0)
    assert all(twin.load_w == 0.0 for twin in plant.twins.values() if isinstance(twin, Load))
    assert ess(plant, "ess1").state.discharge_w == 0.0
    plant.breaker.closed = True
    for _ in range(100):
        plant.advance(0.01)
    roof = plant.twins["pv_roof"]
    assert isinstance(roof, Source)
    assert roof.state.generation_w == 0.0
    assert plant.connection.flow.import_w > 500_000.0
    for _ in range(1000):
        plant.advance(0.01)
    assert roof.state.generation_w > 500_000.0


def test_the_city_lies_within_the_reach_of_its_batteries(make_plant: MakePlant) -> None:
    """Through the hardest quarter the net load stays inside what two batteries can balance around zero import."""
    plant = make_plant(speed=10.0)
    seen = []
    while plant.series_s < 15_300.0:
        plant.advance(0.01)
        seen.append(plant.connection.flow.import_w)
    assert -900_000.0 < min(seen) < -300_000.0
    assert 300_000.0 < max(seen) < 900_000.0


def test_voltage_and_frequency_stay_where_a_grid_keeps_them(make_plant: MakePlant) -> None:
    plant = make_plant(speed=5.0)
    volts, hertz = [], []
    for _ in range(6000):
        plant.advance(0.01)
        volts.append(plant.connection.flow.voltage_v)
        hertz.append(plant.connection.flow.frequency_hz)
    assert 22_900 * 0.97 < min(volts) < max(volts) < 22_900 * 1.03
    assert 59.95 < min(hertz) < max(hertz) < 60.05
    assert np.std(hertz) > 0.001
    assert max(np.abs(np.diff(hertz))) < 0.002


def test_the_collector_reads_what_the_feeder_carries(make_plant: MakePlant) -> None:
    plant = make_plant()
    ami, homes = plant.twins["ami1"], plant.twins["homes"]
    assert isinstance(ami, Ami)
    assert isinstance(homes, Load)
    for _ in range(250):
        plant.advance(0.01)
        loads = ami.home_loads_w()
        assert loads.shape == (100,)
        assert loads.sum() == pytest.approx(homes.load_w)
        assert loads.min() >= 29.0


def test_homes_keep_the_measured_energy(data: CityData) -> None:
    homes = Homes(HomesParams(), data, np.random.default_rng(2))
    day = np.array([homes.at(second) for second in np.arange(0, 86_400, 60.0)])
    assert 0.9 < day.sum(axis=1).mean() / 100 / data.homes_w[: 28 * 24].mean() < 1.15
    assert len({tuple(home) for home in np.round(day.T, 3)}) == 100  # no two homes alike


def test_lamps_burn_at_night_only() -> None:
    params = LampsParams()
    assert lamps_w(params, 12 * 3600.0) == pytest.approx(3_000.0)
    assert lamps_w(params, 23 * 3600.0) == pytest.approx(300_000.0)
    assert lamps_w(params, 3 * 3600.0) == pytest.approx(300_000.0)
    assert 3_000.0 < lamps_w(params, 19 * 3600.0 + 60.0) < 300_000.0


def test_the_factory_follows_its_shifts() -> None:
    factory = Factory(FactoryParams(), np.random.default_rng(1))

    def mean_w(hour: float) -> float:
        return float(np.mean([factory.at(hour * 3600.0 + second) for second in range(0, 900, 5)]))

    assert mean_w(3.0) == pytest.approx(150_000.0, rel=0.05)
    assert mean_w(10.0) == pytest.approx(600_000.0, rel=0.05)
    assert mean_w(12.3) < 0.8 * mean_w(10.0)
    assert mean_w(19.0) < mean_w(10.0)


def test_ev_sessions_never_take_more_posts_than_there_are(data: CityData) -> None:
    site = EvSite(EvSiteParams(n_ac=3, n_dc=1, arrivals_per_day=400.0), data, seed=3)
    day = [site.at(86_400.0 * 3 + second) for second in range(0, 86_400, 60)]
    assert max(day) <= 3 * 11_000.0 + 50_000.0 + 1e-6
    assert max(day) > 60_000.0
    again = EvSite(EvSiteParams(n_ac=3, n_dc=1, arrivals_per_day=400.0), data, seed=3)
    assert day[700] == again.at(86_400.0 * 3 + 700 * 60)


def test_a_day_and_a_night(make_plant: MakePlant) -> None:
    plant = make_plant(speed=3600.0)
    store = []
    for _ in range(2400):
        plant.advance(0.01)
        store.append(plant._pump_states[0].store_c)
        flow = plant.connection.flow
        assert np.isfinite(flow.import_w)
        assert abs(flow.import_w) < 2_500_000.0
    assert 40.0 < min(store) < max(store) < 60.0


def test_a_restored_city_goes_on(make_plant: MakePlant) -> None:
    plant = make_plant(seed=9)
    order(plant, "ess2", 150_000.0)
    for _ in range(300):
        plant.advance(0.01)
    saved = json.loads(json.dumps(plant.save()))
    again = make_plant(seed=9)
    again.restore(saved)
    assert again.save() == plant.save()
    plant.advance(0.01)
    again.advance(0.01)
    assert ess(again, "ess2").state == ess(plant, "ess2").state
    assert again.connection.flow.import_w == pytest.approx(plant.connection.flow.import_w, abs=20_000.0)


@pytest.mark.parametrize(
    "saved",
    [
        {},
        {"twins": {"nobody": [1.0]}},
        {"twins": {"ess1": [1.0]}, "pumps": [], "world_s": 1.0, "device_s": 1.0},
        {"world_s": float("nan")},
        {"pumps": [[50.0, "two", 0.0]]},
    ],
)
def test_a_damaged_state_is_refused_and_changes_nothing(make_plant: MakePlant, saved: dict[str, Any]) -> None:
    plant = make_plant()
    before = plant.save()
    with pytest.raises(ValueError, match="not the state of this city"):
        plant.restore({**before, **saved} if saved else {})
    assert plant.save() == before


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (TwinSpec("x", "a", "nuclear"), "unknown twin kind 'nuclear'"),
        (TwinSpec("x", "a", "ess", {"power": 1}), "no key 'power'"),
        (TwinSpec("x", "a", "ess", {"rating_w": "big"}), "'rating_w' must be float"),
        (TwinSpec("x", "a", "ess", {"soc": float("nan")}), "must be finite"),
        (TwinSpec("x", "a", "homes", {"count": 1.5}), "'count' must be int"),
        (TwinSpec("x", "a", "breaker", {"closed": 1}), "'closed' must be bool"),
        (TwinSpec("x", "a", "ami", {"homes": "nobody"}), "must name one device"),
        (TwinSpec("tie", "grid", "lamps"), "is there twice"),
        (TwinSpec("x", "grid", "connection"), "exactly one twin"),
    ],
)
def test_bad_twins_are_named(specs: list[TwinSpec], data: CityData, spec: TwinSpec, reason: str) -> None:
    with pytest.raises(TwinError, match=reason):
        Plant([*specs, spec], data)
