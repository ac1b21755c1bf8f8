"""Streetlights and sensors in a running city: all online, a zone dimmed by a person, the broker killed and back."""

import os
import signal

import pytest
from running_city import ask, hearing, sign_in, state, until

pytestmark = pytest.mark.timeout(300)
ZONE = "jincheon.lamp_gateway1.dim_setpoint_pct"
ALL = 2_800 + 200 + 20 + 3


@pytest.fixture(scope="module")
def city(start_city):
    running = start_city("--seed", "5", families=("street", "sensors"))
    running.wait_for(lambda line: line["tie_import_w"] is not None, 60)
    return running


def online(city):
    return next((one["online"] for one in city.status()["families"] if one["part"] == "street"), 0)


def test_three_thousand_lamps_and_twenty_sensors_come_online(city):
    assert until(lambda: online(city) == ALL)


def test_a_person_dims_a_whole_zone(city):
    until(lambda: online(city) == ALL)
    sign_in(city, "streets")
    done = city.cli("operate", "execute", ZONE, "40", "--reason", "festival", "--lang", "en")
    assert done.returncode == 0, done.stdout + done.stderr
    assert until(lambda: state(city, "lamp0700")["level_pct"] == 40.0)
    assert state(city, "lamp_gateway1")["overridden"] >= 1_399
    assert state(city, "lamp_gateway2")["overridden"] == 0


def test_the_broker_is_killed_and_everybody_comes_back(city):
    until(lambda: online(city) == ALL)
    broker = next(one for one in city.status()["parts"] if one["part"] == "broker")
    with hearing(city, "street") as told:
        os.kill(broker["pid"], signal.SIGKILL)
        until(lambda: "device_offline" in told())
        until(lambda: "device_online" in told())
    until(lambda: online(city) == ALL)
    assert next(one for one in city.status()["parts"] if one["part"] == "broker")["pid"] != broker["pid"]


def test_a_gateway_that_falls_silent_takes_its_lamps_along_and_no_others(city):
    until(lambda: online(city) == ALL)
    assert ask(city, {"op": "fault", "device": "lamp_gateway2", "kind": "http_503"})["ok"]
    until(lambda: online(city) == ALL - 1_401)
    assert ask(city, {"op": "clear", "device": "lamp_gateway2"})["ok"]
    until(lambda: online(city) == ALL)
