"""Simulated chargers without a line: batteries, meters, limits and their ends; what they say follows the schemas."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from gwanje.core.clock import VirtualClock
from gwanje.core.site.config import Device, Twin
from gwanje.io.field.ocpp.facts import Profile
from gwanje.io.field.ocpp.frames import check_call, check_result
from gwanje.io.field.ocpp.v16 import V16
from gwanje.io.field.ocpp.v201 import V201
from gwanje.io.sim.city.chargers import KINDS, make_plug, read_stays
from gwanje.io.sim.city.chargers_client import ChargePoint
from gwanje.io.sim.city.chargers_messages import Messages
from gwanje.io.sim.city.chargers_model import Limit, Plug, read_profile

DATA = Path(__file__).resolve().parents[3] / "configs" / "chungbuk" / "data"
STAYS = [(4.0, 60_000.0, 0.5, 0.9)]
T0 = 1_780_000_000.0


def plug(seed: int = 1, bikes: bool = False) -> Plug:
    one = Plug(7_040.0, 0.0 if bikes else 1_320.0, 220.0, 1, bikes, STAYS, random.Random(seed))
    one.begin()
    return one


def charging(soc: float = 0.3) -> Plug:
    one = plug()
    one.arrive()
    one.soc = soc
    return one


def device(version: str) -> Device:
    params = {"version": version, "rated_w": 7_040, "voltage_v": 220, "phases": 1, "min_a": 6}
    return Device(
        "ev", "a", "충전기", "Charger", "ocpp", "", 0, 0, "slow", 1.0, (), (), Twin("car_charger", {}), "t/x.toml",
        params=params, address="CP-1", via="csms", profile="charger_16",
    )  # fmt: skip


def test_measured_stays_are_read():
    stays = read_stays(DATA)
    assert len(stays) > 1_000
    assert all(0 < hours < 200 and 10_000 < wh < 200_000 and 0 <= soc <= 1 for hours, wh, soc, _ in stays)


def test_equal_seeds_give_equal_days():
    def day(seed):
        one = plug(seed)
        return [(one.advance(600.0, 7_040.0), one.energy_wh) for _ in range(100)]

    assert day(3) == day(3)
    assert day(3) != day(4)


def test_energy_is_power_times_time_and_ends_in_the_battery():
    one = charging()
    before, soc = one.energy_wh, one.soc
    one.advance(1_800.0, 7_040.0)
    assert one.energy_wh - before == pytest.approx(3_520.0)
    assert one.soc - soc == pytest.approx(0.92 * 3_520.0 / one.stay.capacity_wh)


def test_a_battery_takes_less_above_eighty_percent_and_stops_where_it_was_asked_to():
    one = charging(0.85)
    assert 1_320.0 <= one.load_w(7_040.0) < 7_040.0
    for _ in range(40):
        one.advance(300.0, 7_040.0)
    assert one.status(7_040.0) == "SuspendedEV"
    assert one.load_w(7_040.0) == 0.0


def test_below_six_amperes_a_car_stops_and_a_bike_goes_on():
    one = charging()
    assert one.load_w(1_300.0) == 0.0
    assert one.status(1_300.0) == "SuspendedEVSE"
    assert one.load_w(1_320.0) == 1_320.0
    bike = plug(bikes=True)
    bike.arrive()
    assert bike.load_w(40.0) == 40.0


def test_people_come_and_go():
    one = plug()
    happened = [word for _ in range(2_000) for word in one.advance(600.0, 7_040.0)]
    assert happened.count("arrived") > 20
    assert abs(happened.count("arrived") - happened.count("left")) <= 1
    one.operative = False
    one.stay = None
    assert one.advance(1e6, 7_040.0) == [], "nobody comes to a charger that is out of service"


def test_of_limits_the_highest_level_of_each_purpose_holds_and_of_those_the_lowest():
    one = charging()
    one.set_limit("Max", Limit(0, 1_320.0, 0.0, float("inf")))
    one.set_limit("Max", Limit(1, 5_000.0, T0, T0 + 300.0))
    one.set_limit("Tx", Limit(0, 6_000.0, 0.0, float("inf")))
    assert one.limit_w(T0 + 1) == 5_000.0
    assert one.limit_w(T0 - 1) == 1_320.0
    assert one.limit_w(T0 + 300) == 1_320.0, "its duration is over"
    assert one.clear_limits("Max", None) == 2
    assert one.limit_w(T0) == 6_000.0


@pytest.mark.parametrize("dialect", [V16(), V201()])
@pytest.mark.parametrize(("limit", "unit", "watts"), [(16.0, "A", 3_520.0), (3_520.0, "W", 3_520.0)])
def test_profiles_of_both_versions_are_understood(dialect, limit, unit, watts):
    ask = dialect.set_limit(Profile(limit, unit, "max", 330, "2026-06-01T00:00:00.000Z"))
    check_call(dialect.version, ask.action, ask.payload)
    _, found = read_profile(ask.payload, 220.0)
    assert (found.level, found.limit_w, found.end_s - found.start_s) == (1, watts, 330.0)
    ask = dialect.set_limit(Profile(6.0, "A", "tx", 0, ""))
    check_call(dialect.version, ask.action, ask.payload)
    _, found = read_profile(ask.payload, 220.0)
    assert (found.level, found.end_s) == (0, float("inf"))


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
def test_what_a_simulated_charger_says_follows_the_schemas(version):
    say = Messages(device(version))
    stamp = "2026-06-01T00:00:00.000Z"
    check_call(version, "BootNotification", say.boot())
    one = charging()
    sampled = say.sampled(one.readings(7_040.0), "Sample.Periodic", wrong=False)
    value = [{"timestamp": stamp, "sampledValue": sampled}]
    check_call(version, "MeterValues", say.readings(value, 0))
    for word in ("Available", "Charging", "SuspendedEV", "SuspendedEVSE", "Finishing", "Unavailable"):
        check_call(version, "StatusNotification", say.status(word, stamp))
    if version == "2.0.1":
        about = {"transactionId": "T"}
        event = say.event("Updated", "MeterValuePeriodic", "Charging", about, stamp, {"meterValue": value})
        check_call(version, "TransactionEvent", event)
    else:
        check_call(version, "MeterValues", say.readings(value, 7))
    asked = {"duration": 60, "connectorId": 0, "evseId": 0}
    check_result(version, "GetCompositeSchedule", say.schedule(asked, 13.6, "A", stamp))


def test_a_broken_meter_writes_what_is_no_number():
    say = Messages(device("1.6"))
    values = [one["value"] for one in say.sampled(charging().readings(7_040.0), "Trigger", wrong=True)]
    assert values[0] == ""
    assert "," in values[1]
    assert "-5" in values
    assert "NaN" in values


def test_what_happens_at_a_plug_is_found_once_however_often_it_is_looked_at():
    clock = VirtualClock()
    plugged = plug(bikes=True)
    plugged.stay, plugged.left_s, plugged.charging = None, 5.0, False
    point = ChargePoint(device("2.0.1"), "ws://127.0.0.1:1", plugged, clock, 1.0, random.Random(1))
    for _ in range(12):
        clock.advance_ns(1_000_000_000)
        point.plug_time()
    assert point.advance() == ["arrived"]
    assert point.advance() == []


def test_a_device_becomes_a_plug_as_its_profile_says():
    one = make_plug(replace(device("1.6"), twin=Twin("ebike_charger", {})), STAYS, random.Random(1))
    assert one.bikes
    assert (one.rated_w, one.min_w) == (7_040.0, 1_320.0)
    assert set(KINDS) >= {"silent", "flapping", "garbage", "callerror", "rejecting", "offline", "clock_skew", "freeze"}
