"""Streetlights and sensors in a running city: all online, a zone dimmed by a person, the broker killed and back."""

import os
import signal
import subprocess
import sys
import time

import pytest

from gwanje.core.bus.bus import Bus
from gwanje.core.clock import SystemClock

pytestmark = pytest.mark.timeout(300)
PASSWORD = "seven green kites"
ZONE = "jincheon.lamp_gateway1.dim_setpoint_pct"
ALL = 2_800 + 200 + 20 + 3


@pytest.fixture(scope="module")
def city(start_city):
    running = start_city("--seed", "5", families=("street", "sensors"))
    running.wait_for(lambda line: line["tie_import_w"] is not None, 60)
    return running


def until(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "not in time"
    return found


def online(city):
    return next((one["online"] for one in city.status()["families"] if one["part"] == "street"), 0)


def ask(city, message):
    bus = Bus(city.run_dir, "hmi", SystemClock())
    try:
        return bus.request("simcity", message)
    finally:
        bus.close()


def gwanje(city, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "gwanje.core.cli.main", *arguments, "--password-stdin", "--site", str(city.site)],
        input=f"{PASSWORD}\n", capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return done.stdout + done.stderr


def test_three_thousand_lamps_and_twenty_sensors_come_online(city):
    assert until(lambda: online(city) == ALL)


def test_a_person_dims_a_whole_zone(city):
    until(lambda: online(city) == ALL)
    gwanje(city, "user", "add", "minji", "--role", "operator", "--data", str(city.data))
    until(lambda: "signed in as" in gwanje(city, "login", "minji", "--run", str(city.run_dir)))
    held = city.cli("area", "take", "streets")
    assert held.returncode == 0, held.stdout + held.stderr
    done = city.cli("operate", "execute", ZONE, "40", "--reason", "festival", "--lang", "en")
    assert done.returncode == 0, done.stdout + done.stderr
    assert until(lambda: ask(city, {"op": "state", "device": "lamp0700"})["state"]["level_pct"] == 40.0)
    assert ask(city, {"op": "state", "device": "lamp_gateway1"})["state"]["overridden"] >= 1_399
    assert ask(city, {"op": "state", "device": "lamp_gateway2"})["state"]["overridden"] == 0


def test_the_broker_is_killed_and_everybody_comes_back(city):
    until(lambda: online(city) == ALL)
    broker = next(one for one in city.status()["parts"] if one["part"] == "broker")
    os.kill(broker["pid"], signal.SIGKILL)
    until(lambda: online(city) < ALL)
    until(lambda: online(city) == ALL)
    assert next(one for one in city.status()["parts"] if one["part"] == "broker")["pid"] != broker["pid"]


def test_a_gateway_that_falls_silent_takes_its_lamps_along_and_no_others(city):
    until(lambda: online(city) == ALL)
    assert ask(city, {"op": "fault", "device": "lamp_gateway2", "kind": "http_503"})["ok"]
    until(lambda: online(city) == ALL - 1_401)
    assert ask(city, {"op": "clear", "device": "lamp_gateway2"})["ok"]
    until(lambda: online(city) == ALL)
