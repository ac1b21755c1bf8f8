"""An operator's session by hand on a running city: keys, a user, the breaker, a shelf, kill -9, a forged journal."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(240)
BREAKER = "grid.breaker.close_command"
RECONNECT = "microgrid.request.reconnect"
PASSWORD = "seven green kites"


def sooner(site):
    """The utility counts as well after seconds instead of five minutes."""
    path = site / "microgrid" / "control.toml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("[modes]\n", "[modes]\nenter_service_s = 3\n"), encoding="utf-8")


@pytest.fixture(scope="module")
def city(start_city):
    running = start_city("--seed", "11", prepare=sooner)
    running.wait_for(lambda line: line["tie_import_w"] is not None and (line["ticks"] or 0) > 100, 60)
    gwanje(running, "keys", "init", str(running.site), "--data", str(running.data))
    for name, role in (("minji", "operator"), ("sora", "supervisor")):
        gwanje(running, "user", "add", name, "--role", role, "--site", str(running.site), "--data", str(running.data),
               "--password-stdin", password=PASSWORD)  # fmt: skip
    sign_in(running, "minji")
    return running


def gwanje(city, *arguments, password=""):
    """A command that is not about the running city alone."""
    done = subprocess.run(
        [sys.executable, "-m", "gwanje.core.cli.main", *arguments],
        input=f"{password}\n", capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def sign_in(city, name):
    """The core notices a new user within two seconds."""
    until = time.monotonic() + 30
    while True:
        done = subprocess.run(
            [sys.executable, "-m", "gwanje.core.cli.main", "login", name, "--password-stdin", "--site", str(city.site),
             "--run", str(city.run_dir)],
            input=f"{PASSWORD}\n", capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        if "signed in as" in done.stdout:
            return
        assert time.monotonic() < until, done.stderr


def said(answer):
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


def alarms(city):
    return {one["alarm_id"]: one for one in json.loads(said(city.cli("alarms", "list", "--json")))["alarms"]}


def wait_for_alarm(city, name):
    until = time.monotonic() + 60
    while name not in (found := alarms(city)):
        assert time.monotonic() < until, sorted(found)
    return found[name]


def test_the_breaker_is_operated_by_who_holds_its_area_and_saw_what_is(city):
    """Select → check → execute to *confirmed*; refused without the area, for a stale view, and without the name."""
    opening = ("operate", "execute", BREAKER, "open", "--reason", "line work", "--lang", "en")
    refused = city.cli("operate", "select", BREAKER, "--lang", "en")
    assert refused.returncode == 1
    assert "area" in refused.stderr
    said(city.cli("area", "take", "microgrid"))
    sheet = said(city.cli("operate", "select", BREAKER, "--lang", "en"))
    assert "present value" in sheet
    assert "would block" in sheet
    stale = city.cli(*opening, "--retype", BREAKER, "--seen-age", "5")
    assert stale.returncode == 1
    assert "stale_view" in stale.stderr
    untyped = city.cli(*opening)
    assert untyped.returncode == 1
    assert "name" in untyped.stderr
    done = said(city.cli(*opening, "--retype", BREAKER))
    assert "accepted" in done
    assert "CONFIRMED" in done
    assert "open" in said(city.cli("tags", "grid.breaker.closed", "--lang", "en"))
    late = city.cli(*opening, "--retype", BREAKER, "--as-seen")
    assert late.returncode == 2
    assert "select it again" in late.stderr, "what was seen was used up"


def test_alarm_and_shelf_are_as_they_were_after_kill_9_of_the_core(city):
    breaker = wait_for_alarm(city, "breaker_open")
    told = said(city.cli("alarms", "show", "breaker_open", "--lang", "en"))
    assert all(word in told for word in ("cause: ", "consequence: ", "do: "))
    assert "–" in said(city.cli("alarms", "kpis")), "nobody has acknowledged anything yet"
    urgent = city.cli("alarms", "shelve", "breaker_open", "--reason", "line work", "--lang", "en")
    assert urgent.returncode != 0
    assert "supervisor" in urgent.stderr
    shelved_id = "glass_break:mic03"  # the simulated street's own, twenty seconds after the start
    wait_for_alarm(city, shelved_id)
    said(city.cli("area", "take", "streets"))
    said(city.cli("alarms", "shelve", shelved_id, "--reason", "line work", "--for", "20m"))
    before = alarms(city)[shelved_id]
    assert before["state"] == "shelved"
    os.kill(city.pid_of("core"), signal.SIGKILL)
    until = time.monotonic() + 30
    while (answer := city.cli("alarms", "list", "--json")).returncode != 0:
        assert time.monotonic() < until, answer.stderr
    after = alarms(city)
    assert after[shelved_id]["state"] == "shelved"
    assert after[shelved_id]["hidden_until_utc_ns"] == before["hidden_until_utc_ns"]
    for key in ("state", "priority", "changed_utc_ns", "onset_utc_ns"):
        assert after["breaker_open"][key] == breaker[key]
    shelf = json.loads(said(city.cli("alarms", "shelved", "--json")))["shelved"]
    assert [(one["alarm_id"], one["author"], one["reason"]) for one in shelf] == [(shelved_id, "minji", "line work")]
    said(city.cli("operate", "select", RECONNECT, "--lang", "en"))
    assert "CONFIRMED" in said(city.cli(
        "operate", "execute", RECONNECT, "1", "--reason", "work done", "--retype", RECONNECT, "--lang", "en"
    ))  # fmt: skip
    until = time.monotonic() + 60
    while "closed" not in (seen := said(city.cli("tags", "grid.breaker.closed"))):
        assert time.monotonic() < until, seen


def test_status_tells_who_comes_on_duty_what_stands(city):
    desk = city.status()["desk"]
    assert (desk["read_only"], desk["alarms_shelved"], desk["journal_ok"], desk["journal_signed"]) == (0, 1, 1, 1)
    assert None not in desk.values()
    told = said(city.cli("status"))
    assert "1 shelved" in told
    assert "gate: open" in told


def test_one_flipped_byte_of_the_signed_journal_is_named(city):
    journal = city.data / "chungbuk" / "latest" / "state" / "journal.jsonl"
    assert "minji" in said(city.cli("journal", "show", "--kind", "command_requested", "--lang", "en"))
    report = said(city.cli("journal", "verify"))
    assert "signatures right" in report
    assert "unsigned" not in report
    city.stop()
    folder = journal.resolve().parent
    lines = (folder / "journal.jsonl").read_bytes().splitlines(keepends=True)
    number = next(at for at, line in enumerate(lines) if b"command_requested" in line)
    lines[number] = lines[number].replace(b"line work", b"line wark")
    (folder / "journal.jsonl").write_bytes(b"".join(lines))
    keys = Path(city.data) / "chungbuk" / "security"
    forged = city.cli("journal", "verify", str(folder / "journal.jsonl"), "--keys", str(keys))
    assert forged.returncode == 1
    assert f"line {number + 1}" in forged.stdout + forged.stderr
