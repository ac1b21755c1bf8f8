"""Signals and meters in a running city: all online, a person's request to the lamps, a conflict to its alarm."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from gwanje.core.bus.bus import Bus
from gwanje.core.clock import SystemClock

pytestmark = pytest.mark.timeout(240)
PASSWORD = "seven green kites"
PHASE = "jincheon.signal01.priority_phase"


@pytest.fixture(scope="module")
def city(start_city):
    running = start_city("--seed", "5", families=("signals", "meters"))
    running.wait_for(lambda line: line["tie_import_w"] is not None, 60)
    return running


def until(condition, seconds=40.0):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "not in time"
    return found


def family(city, part):
    return next(one for one in city.status()["families"] if one["part"] == part)


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


def test_all_come_online(city):
    assert until(lambda: family(city, "signals")["online"] == 64)
    assert until(lambda: family(city, "meters")["online"] == 104)
    assert family(city, "signals")["devices"] == 64


def test_a_person_asks_for_a_phase_and_the_controller_has_it(city):
    gwanje(city, "user", "add", "minji", "--role", "operator", "--data", str(city.data))
    until(lambda: "signed in as" in gwanje(city, "login", "minji", "--run", str(city.run_dir)))
    held = city.cli("area", "take", "traffic")
    assert held.returncode == 0, held.stdout + held.stderr
    done = city.cli("operate", "execute", PHASE, "2", "--reason", "119 on its way", "--lang", "en")
    assert done.returncode == 0, done.stdout + done.stderr
    state = ask(city, {"op": "state", "device": "signal01"})["state"]
    assert (state["held"], state["called"], state["backup_s"]) == (2, 2, 60)
    refused = city.cli("operate", "execute", "jincheon.signal20.priority_phase", "2", "--reason", "no", "--lang", "en")
    assert refused.returncode != 0
    assert "only watched" in refused.stdout + refused.stderr
    assert ask(city, {"op": "state", "device": "signal20"})["state"]["sets"] == 0


def test_a_conflict_becomes_an_alarm_and_nothing_is_done_about_it(city):
    sets = ask(city, {"op": "state", "device": "signal30"})["state"]["sets"]
    assert ask(city, {"op": "fault", "device": "signal30", "kind": "conflict"}) == {"ok": True}

    def standing():
        answer = city.cli("alarms", "list", "--json")
        assert answer.returncode == 0, answer.stderr
        return [one for one in json.loads(answer.stdout)["alarms"] if "signal_conflict" in one["alarm_id"]]

    assert until(standing)
    assert ask(city, {"op": "clear", "device": "signal30"}) == {"ok": True}
    assert ask(city, {"op": "state", "device": "signal30"})["state"]["sets"] == sets


def test_when_the_part_dies_a_request_ends_by_the_controllers_own_timer(city):
    """The part is killed and nobody refreshes any more: a minute later the controller goes on by itself."""
    state = ask(city, {"op": "state", "device": "signal01"})["state"]
    assert state["held"] == 2
    os.kill(city.pid_of("signals"), signal.SIGKILL)
    until(lambda: family(city, "signals")["online"] == 64, 60)
    until(lambda: ask(city, {"op": "state", "device": "signal01"})["state"]["held"] == 0, 90)
    assert ask(city, {"op": "state", "device": "signal01"})["state"]["fallbacks"] == 1
