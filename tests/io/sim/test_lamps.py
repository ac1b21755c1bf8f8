"""Simulated streetlights: sun, programme, power, energy, overrides, faults, loggers; nodes and sensors on MQTT."""

import asyncio
import json
import math

import aiohttp
import numpy as np
import pytest
from street_rig import NIGHT_S, NOON_S, Rig, broker_text, free_ports, gateway_text, lamps_text, run, things_text

from gwanje.io.field.talq.schema import checker
from gwanje.io.sim.city.family import CityFault
from gwanje.io.sim.city.lamps_logger import Logger, period_s
from gwanje.io.sim.city.lamps_wire import LampTeller
from gwanje.io.sim.city.lamps_world import LAMP_FAULTS, LampWorld, programme_pct, sun_elevation_deg
from gwanje.io.sim.city.mqtt_things_world import TELLERS, NodeLamp, World
from gwanje.io.sim.faults import FaultError

HOUR = 3600.0
S = 1_000_000_000


def world(local_s=NIGHT_S, n=10):
    return LampWorld(np.full(n, 100.0), 1, local_s)


def test_the_sun_rises_and_sets_when_it_does_in_chungbuk():
    """10 April at 36.9° N, 127.5° E: sunrise 06:06, noon 12:31, sunset 18:58 (Korean time), within ten minutes."""
    heights = np.array([sun_elevation_deg(60.0 * minute, 36.89, 127.53) for minute in range(1440)])
    up = np.flatnonzero(heights > -0.833)
    assert abs(up[0] - (6 * 60 + 6)) < 10
    assert abs(up[-1] - (18 * 60 + 58)) < 10
    assert abs(int(heights.argmax()) - (12 * 60 + 31)) < 5
    assert heights.max() == pytest.approx(90.0 - 36.89 + 7.9, abs=0.6)


def test_the_programme_dims_the_late_night():
    assert [programme_pct(hour * HOUR, True) for hour in (20, 23.5, 3, 5.5)] == [100.0, 60.0, 60.0, 100.0]
    assert programme_pct(12 * HOUR, False) == 0.0


def test_power_follows_the_level_and_energy_the_power():
    lamps = world()
    before = lamps.energy_wh.copy()
    lamps.step(3600.0, 0)
    assert lamps.energy_wh - before == pytest.approx(lamps.nominal_w, rel=0.01)
    lamps.override(np.array([0]), 50.0, S)
    assert 0.4 < lamps.power_w[0] / lamps.nominal_w[0] < 0.6
    noon = world(NOON_S)
    assert (noon.level_pct == 0.0).all()
    assert noon.power_w.max() < 1.0


def test_an_override_ends_by_utc_and_by_resume():
    lamps = world()
    lamps.override(np.array([1, 2]), 40.0, 100 * S)
    lamps.step(1.0, 99 * S)
    assert lamps.overridden.tolist() == [False, True, True, *[False] * 7]
    lamps.resume(np.array([2]))
    lamps.step(1.0, 100 * S)
    assert not lamps.overridden.any()
    assert lamps.level_pct[1] == 100.0


def test_each_fault_of_a_lamp_is_what_it_says():
    lamps = world()
    for n, kind in enumerate(("lamp_failure", "power_low", "power_high", "stuck", "driver_failure")):
        lamps.set_fault(n, kind)
    lamps.override(np.arange(10), 50.0, 10**18)
    fine = lamps.power_w[9] / lamps.nominal_w[9]
    share = lamps.power_w / lamps.nominal_w / fine
    assert lamps.level_pct[:5].tolist() == [0.0, 50.0, 50.0, 100.0, 100.0]
    assert share[1] == pytest.approx(0.5)
    assert share[2] == pytest.approx(1.33)
    lamps.clear_fault(3)
    assert lamps.level_pct[3] == 50.0


def teller(n=10, local_s=NIGHT_S):
    return LampTeller(world(local_s, n), "gw", tuple(f"A-{one}" for one in range(n)))


def periodic(names, threshold=None, period="PT60S"):
    attributes = [{"name": name, **({} if threshold is None else {"onChangeThreshold": threshold})} for name in names]
    return {
        "address": "x", "ownerCMS": "c",
        "recordingMode": {
            "type": "PeriodicRecordingMode",
            "content": [{"function": {"functionType": "any", "attributes": attributes}}],
            "samplingProfiles": [{"samplingStartTime": "2026-01-01T00:00:00Z", "samplingPeriod": period}],
        },
    }  # fmt: skip


def entries(logger):
    return [one["data"] for body in logger.reports(500) for one in json.loads(body)["entries"]]


def test_the_refresh_is_spread_over_its_period_and_tells_everybody_once():
    told = teller(30)
    logger = Logger(periodic(["activePower"]), np.arange(30), "", told)
    counts, seen = [], []
    for second in range(61):
        logger.sample(10**18 + second * S)
        found = entries(logger)
        counts.append(len(found))
        seen += [one["srcAddress"] for one in found]
    assert max(counts) <= 2
    assert len(seen) == len(set(seen)) == 30


def test_changes_are_told_beyond_their_threshold():
    told = teller()
    logger = Logger(periodic(["activePower", "actualLightState"], 5, "PT1S"), np.arange(10), "", told)
    logger.sample(10**18)
    assert entries(logger) == []
    told.world.override(np.array([4]), 50.0, 2 * 10**18)
    logger.sample(10**18 + 2 * S)
    assert {one["attributeName"] for one in entries(logger)} == {"activePower", "actualLightState"}
    told.world.override(np.array([4]), 51.0, 2 * 10**18)
    logger.sample(10**18 + 4 * S)
    assert entries(logger) == []


def test_what_nobody_takes_is_forgotten_in_the_end(monkeypatch):
    monkeypatch.setattr("gwanje.io.sim.city.lamps_logger.PENDING_MAX", 25)
    logger = Logger(periodic(["activePower"]), np.arange(10), "", teller())
    for _ in range(10):
        logger.everything(10**18)
    assert len(logger.pending) == 25


def test_durations():
    assert [period_s(one) for one in ("PT60S", "PT1H", "P1DT1M", "soon", "PT0S")] == [60, 3600, 86_460, 60, 1]


def test_every_device_and_entry_fits_the_schema_whatever_its_fault():
    told = teller(len(LAMP_FAULTS))
    for n, kind in enumerate(LAMP_FAULTS):
        told.world.set_fault(n, kind)
    told.world.override(np.array([1]), 30.0, 2 * 10**18)
    wrong = []
    for kind, text in zip(LAMP_FAULTS, told.devices(range(len(LAMP_FAULTS)), 10**18), strict=True):
        if checker("Device")(json.loads(text)):
            wrong.append(kind)
    assert wrong == ["wrong_type"]


def test_a_gateway_takes_only_what_the_standard_allows(tmp_path):
    async def body():
        port, door = free_ports(2)
        text = gateway_text("gw1", "jincheon", port, door) + lamps_text(1, 3, "gw1", "jincheon")
        async with Rig(tmp_path, text) as rig:
            await rig.all_online()
            server = rig.lamps.servers[0]
            base = {"talq-api-version": "2.7.1", "authorization": "Bearer secret-gw1"}
            who, lamp = {"clientAddress": server.cms_address}, server.teller.addresses[0]
            target = {"state": {"name": "LevelState", "value": 40}, "reason": "override"}
            command = {"addresses": [{"resource": "devices", "address": lamp}], "targetCommand": target}
            ahead = {**target, "expiration": "2999-01-01T00:00:00Z"}
            async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:

                async def post(content, headers=base, query=who):
                    async with session.post("/override-commands", params=query, json=content, headers=headers) as one:
                        return one.status

                assert await post(command) == 422  # no end
                assert await post({**command, "targetCommand": {**target, "expiration": "2020-01-01T00:00:00Z"}}) == 422
                assert await post({**command, "targetCommand": {**ahead, "reason": "mood"}}) == 400
                assert await post({**command, "addresses": [{"resource": "devices", "address": "x"}]}) == 400
                assert await post({}, {**base, "talq-api-version": "1.4.0"}) == 400
                assert await post({}, {**base, "authorization": "Bearer x"}) == 401
                assert await post({}, base, {"clientAddress": "x"}) == 403
                assert await post({**command, "targetCommand": ahead}) == 201
                async with session.get(
                    "/devices", params={**who, "offset": 1, "limit": 2}, headers=base
                ) as one:  # fmt: skip
                    assert one.headers["pagination-totalCount"] == "4"
                    assert len(await one.json()) == 2
            assert rig.lamps.state("lamp0001")["commanded_pct"] == 40.0

    run(body)


def test_faults_belong_to_their_kind_of_device(tmp_path):
    async def body():
        port, door, broker = free_ports(3)
        text = gateway_text("gw1", "jincheon", port, door) + lamps_text(1, 3, "gw1", "jincheon") + broker_text(broker)
        text += things_text("noise_meter", "noise", 1, 1, "m", "noise_meter")
        async with Rig(tmp_path, text) as rig:
            for device, kind in (("gw1", "stuck"), ("lamp0001", "http_503")):
                with pytest.raises(FaultError, match="it knows"):
                    await rig.lamps.set_fault(CityFault(device, kind, 0.0, {}))
            with pytest.raises(FaultError, match="no lamp"):
                await rig.things.set_fault(CityFault("noise1", "day_burner", 0.0, {}))
            await rig.all_online()

    run(body)


def test_sensors_have_plausible_days():
    for kind, tell in TELLERS.items():
        rows = [tell(World(minute * 600.0, 3), "x") for minute in range(144)]
        assert all(math.isfinite(value) for row in rows for value in row.values()), kind
        assert tell(World(5_000.0, 3), "x") == tell(World(5_000.0, 3), "x")
    day = [TELLERS["weather_station"](World(hour * HOUR, 3), "x") for hour in range(24)]
    assert day[2]["irradiance_w_m2"] == 0.0
    assert max(one["irradiance_w_m2"] for one in day) > 300.0
    assert day[14]["temperature_c"] > day[4]["temperature_c"]
    noise = [TELLERS["noise_meter"](World(hour * HOUR, 3), "x")["laeq"] for hour in range(24)]
    assert noise[8] > noise[3] + 3.0


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"id": "a", "dim_pct": 50, "hold_s": 600, "not_after": 99.0}, "too late"),
        ({"id": "a", "dim_pct": 50, "hold_s": 600}, "too late"),
        ({"id": "a", "dim_pct": 150, "hold_s": 600, "not_after": 101.0}, "no level"),
        ({"id": "a", "dim_pct": 50, "hold_s": 0, "not_after": 101.0}, "no end"),
        ({"id": "a", "dim_pct": 50, "not_after": 101.0}, "no end"),
        ([], "no command"),
    ],
)  # fmt: skip
def test_a_node_refuses_what_it_must(message, reason):
    answer = NodeLamp(40.0, 0.0).obey(message, 100 * S, World(NIGHT_S, 1))
    assert (answer["ok"], answer["reason"]) == (False, reason)


def test_a_node_takes_a_level_for_a_time():
    lamp, night = NodeLamp(40.0, 0.0), World(NIGHT_S, 1)
    answer = lamp.obey({"id": "a", "dim_pct": 50, "hold_s": 600, "not_after": 101.0}, 100 * S, night)
    assert answer == {"id": "a", "ok": True, "dim_pct": 50}
    assert lamp.state(night)["by"] == "override"
    lamp.expire(700 * S)
    assert lamp.state(night)["dim_pct"] == 100
    lamp.fault = "day_burner"
    assert lamp.state(World(NOON_S, 1))["fault"] == "day_burner"


def test_things_leave_nothing_behind(tmp_path):
    async def body():
        text = broker_text(free_ports(1)[0]) + things_text("noise_meter", "noise", 1, 5, "m", "noise_meter")
        async with Rig(tmp_path, text) as rig:
            await rig.all_online()
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1

    run(body)
