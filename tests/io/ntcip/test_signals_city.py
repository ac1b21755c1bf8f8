"""Signals and meters in a running city: all online, a person's request to the lamps, a conflict to its alarm."""

import json
import os
import signal

import pytest
from running_city import ask, family, sign_in, state, until

pytestmark = pytest.mark.timeout(240)
PHASE = "jincheon.signal01.priority_phase"


@pytest.fixture(scope="module")
def city(start_city):
    running = start_city("--seed", "5", families=("signals", "meters"))
    running.wait_for(lambda line: line["tie_import_w"] is not None, 60)
    return running


def test_all_come_online(city):
    assert until(lambda: family(city, "signals")["online"] == 64)
    assert until(lambda: family(city, "meters")["online"] == 104)
    assert family(city, "signals")["devices"] == 64


def test_a_person_asks_for_a_phase_and_the_controller_has_it(city):
    sign_in(city, "traffic")
    done = city.cli("operate", "execute", PHASE, "2", "--reason", "119 on its way", "--lang", "en")
    assert done.returncode == 0, done.stdout + done.stderr
    now = state(city, "signal01")
    assert (now["held"], now["called"], now["backup_s"]) == (2, 2, 60)
    refused = city.cli("operate", "execute", "jincheon.signal20.priority_phase", "2", "--reason", "no", "--lang", "en")
    assert refused.returncode != 0
    assert "only watched" in refused.stdout + refused.stderr
    assert state(city, "signal20")["sets"] == 0


def test_a_conflict_becomes_an_alarm_and_nothing_is_done_about_it(city):
    sets = state(city, "signal30")["sets"]
    assert ask(city, {"op": "fault", "device": "signal30", "kind": "conflict"}) == {"ok": True}

    def standing():
        answer = city.cli("alarms", "list", "--json")
        assert answer.returncode == 0, answer.stderr
        return [one for one in json.loads(answer.stdout)["alarms"] if "signal_conflict" in one["alarm_id"]]

    assert until(standing)
    assert ask(city, {"op": "clear", "device": "signal30"}) == {"ok": True}
    assert state(city, "signal30")["sets"] == sets


def test_when_the_part_dies_its_successor_takes_the_request_up(city):
    """The controller's own timer of a minute never runs out: the request stands until a person or its end takes it."""
    before = state(city, "signal01")
    assert before["held"] == 2
    os.kill(city.pid_of("signals"), signal.SIGKILL)
    until(lambda: family(city, "signals")["online"] == 64, 60)
    until(lambda: state(city, "signal01")["sets"] > before["sets"], 90)
    after = state(city, "signal01")
    assert (after["held"], after["fallbacks"]) == (2, before["fallbacks"])
