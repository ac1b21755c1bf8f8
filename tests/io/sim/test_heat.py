"""The simulated heat network: its physics hang together, and its packets survive anything that arrives."""

from __future__ import annotations

import random

import pytest

from gwanje.io.sim.city.heat import twin_problem
from gwanje.io.sim.city.heat_apdu import DecodeError, encode, tags, unwrap
from gwanje.io.sim.city.heat_device import BacnetDevice, BacnetObject
from gwanje.io.sim.city.heat_network import Collector, HeatNetwork, Meter, Pump, Store

ASKER = "127.0.0.1", 40_000


def network() -> HeatNetwork:
    return HeatNetwork(
        {"p1": Pump(400_000, "ground"), "p2": Pump(300_000, "sewage")}, {"s1": Collector(800)},
        {"m1": Meter(180_000), "m2": Meter(90_000)}, {"store": Store(4_000, [72.0, 66.0, 60.0, 54.0, 48.0, 42.0])},
    )  # fmt: skip


def test_heat_is_neither_made_nor_lost_in_a_day():
    heat = network()
    store = heat.stores["store"]
    for second in range(0, 86_400, 60):
        before_wh, surplus_w = store.stored_wh, 0.0
        heat.step(second, 60.0)
        surplus_w = sum(one.heat_w for one in heat.pumps.values()) + heat.collectors["s1"].heat_w
        surplus_w -= sum(one.heat_w for one in heat.meters.values())
        assert store.charge_w == pytest.approx(surplus_w, abs=1.0)
        gained_wh = store.stored_wh - before_wh
        assert gained_wh == pytest.approx(surplus_w / 60.0, abs=max(abs(surplus_w) / 60.0 * 0.35, 300.0))
        assert 0.0 <= store.soc <= 1.0
        assert all(1.5 <= one.cop <= 7.0 for one in heat.pumps.values())


def test_a_pump_follows_its_setpoint_and_stops_when_told():
    heat = network()
    pump = heat.pumps["p1"]
    pump.setpoint = 60.0
    for _ in range(3_600):
        heat.step(30_000.0, 1.0)
    assert pump.supply == pytest.approx(60.0, abs=0.5)
    assert pump.state == 2
    pump.enabled = False
    for _ in range(1_800):
        heat.step(30_000.0, 1.0)
    assert pump.heat_w < 1.0
    assert pump.state == 0


def test_warmer_sources_need_less_electricity():
    ground, air = Pump(1.0, "ground", supply=50.0), Pump(1.0, "air", supply=50.0)
    assert ground.cop > air.cop


@pytest.mark.parametrize(
    ("kind", "params", "words"),
    [
        ("boiler", {}, "none of"),
        ("heat_pump", {"rating_w": 1.0}, "takes rating_w, source"),
        ("heat_pump", {"rating_w": -1.0, "source": "ground"}, "positive"),
        ("heat_pump", {"rating_w": 1.0, "source": "moon"}, "none of ground"),
        ("seasonal_store", {"volume_m3": True}, "positive"),
    ],
)
def test_twins_are_checked(kind, params, words):
    assert words in twin_problem(kind, params)


def device() -> BacnetDevice:
    objects = {(0, n): BacnetObject(0, n, f"ai{n}", 62, 20.0 + n) for n in range(1, 9)}
    return BacnetDevice(7, "d", "m", {**objects, (2, 1): BacnetObject(2, 1, "av", 62, 50.0, 0.0, 90.0)})


def test_a_read_as_the_standard_writes_it_is_answered():
    packet = bytes.fromhex("810a0011" "0104" "0005010c" "0c00000001" "1955")
    (answer,) = device().receive(packet, ASKER)
    assert answer.hex() == "810a0017" "0100" "30010c" "0c00000001" "1955" "3e" "4441a80000" "3f"


def test_who_is_is_answered_inside_its_limits_only():
    whole = bytes.fromhex("810b0008" "0100" "1008")
    (answer,) = device().receive(whole, ASKER)
    assert unwrap(answer)[:7].hex() == "1000" "c402000007"
    assert device().receive(bytes.fromhex("810b000c" "0100" "1008" "09081910"), ASKER) == []


def test_anything_may_arrive():
    chance = random.Random(4)
    known = [
        bytes.fromhex("810a0011" "0104" "0005010c" "0c00000001" "1955"),
        bytes.fromhex("810a0013" "0104" "0275020e" "0c00000001" "1e0955" "1f"),
        bytes.fromhex("810a0017" "0104" "0005030f" "0c00800001" "1955" "3e4442480000" "3f"),
        bytes.fromhex("810a0016" "0104" "00050405" "0907" "1c00000001" "2900" "393c"),
    ]
    one = device()
    for _ in range(30_000):
        data = bytearray(chance.choice(known))
        for _ in range(chance.randint(0, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        data = data[: chance.randint(0, len(data))] if chance.random() < 0.3 else data
        if len(data) > 4 and chance.random() < 0.8:
            data[2:4] = len(data).to_bytes(2, "big")
        for answer in one.receive(bytes(data), ASKER):
            assert answer[:2] == b"\x81\x0a"
            assert int.from_bytes(answer[2:4], "big") == len(answer)
    assert all(20.0 < one.objects[0, n].value < 30.0 for n in range(1, 9))


@pytest.mark.parametrize("data", [b"\xf0", b"\x0d", b"\x45", b"\x0d\xff\x00", b"\x0c\x00\x00"])
def test_tags_that_reach_beyond_the_end_are_refused(data):
    with pytest.raises(DecodeError):
        list(tags(data))


def test_values_are_written_as_the_standard_says():
    # the examples of 20.2.3 … 20.2.14
    assert encode(("boolean", False)).hex() == "10"
    assert encode(("unsigned", 72)).hex() == "2148"
    assert encode(("real", 72.0)).hex() == "4442900000"
    text = bytes.fromhex("7519") + b"\0This is a BACnet string!"
    assert encode(("text", "This is a BACnet string!")) == text
    assert encode(("bits", (True, False, True, False, True))).hex() == "8203a8"
    assert encode(("object", (3, 15))).hex() == "c400c0000f"
