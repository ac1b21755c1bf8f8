"""The whole city as a newcomer starts it: values come, a window breaks, parts die and return, nothing stays behind."""

import csv
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gwanje.core.audio_ring import file_system_of

ROOT = Path(__file__).resolve().parents[1]
SOUNDS = ROOT / "io" / "sim" / "sounds"
PARTS = (
    "core", "sim", "simsound", "field", "media", "control", "microgrid", "planner", "ledger", "estimation",
    "acoustic", "historian", "query",
)  # fmt: skip

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def city(start_city):
    """One city for the whole module, up to the point where its loop turns and its microphones are heard."""
    running = start_city("--seed", "7")
    running.wait_for(lambda line: line["tie_import_w"] is not None and (line["ticks"] or 0) > 100, 60)
    running.wait_for(lambda line: (line["points_acknowledged"] or 0) > 100, 60)
    return running


def sound(name):
    """The first shipped recording whose file name holds a word."""
    recordings = (path for path in SOUNDS.rglob("*") if path.suffix in (".ogg", ".wav", ".flac"))
    found = sorted(path for path in recordings if name in path.as_posix())
    assert found, f"no recording of {name} in {SOUNDS}"
    return found[0]


def test_every_device_and_every_part_is_well(city):
    status = city.status()
    assert status["offline"] == []
    states = {one["part"]: one["state"] for one in status["parts"]}
    assert states == dict.fromkeys(PARTS, "running")
    tags = city.cli("tags", "grid.tie.*")
    assert tags.returncode == 0
    assert "GOOD (simulated)" in tags.stdout
    assert "BAD" not in tags.stdout


def test_the_tie_line_holds_its_setpoint(city):
    line = city.wait_for(lambda one: one["tie_import_w"] is not None and one["tie_setpoint_w"] is not None)
    assert abs(line["tie_import_w"] - line["tie_setpoint_w"]) < 0.05 * 2_500_000


def node_events(city, node):
    """Classes heard at a node so far, from the live event tag's history."""
    sql = f"select class from events where node = '{node}' and kind = 'acoustic' order by utc_ns"
    answer = city.cli("query", sql, "--format", "csv")
    assert answer.returncode == 0, answer.stderr
    return [row[0] for row in csv.reader(answer.stdout.splitlines())][1:]


def test_a_breaking_window_is_heard_and_rain_and_steps_are_not(city):
    for name in ("rain", "footstep"):
        before = len(node_events(city, "mic05"))
        assert city.cli("play", str(sound(name)), "--node", "mic05").returncode == 0
        count = len(city.lines) + 8
        city.wait_for(lambda _line, count=count: len(city.lines) >= count)
        assert node_events(city, "mic05")[before:] == [], f"{name} was taken for something else"
    assert city.cli("play", str(sound("glass_break")), "--node", "mic05").returncode == 0
    deadline = time.monotonic() + 20
    while "glass_break" not in node_events(city, "mic05"):
        assert time.monotonic() < deadline, "the breaking window went unheard"


def test_play_says_what_is_wrong(city, tmp_path):
    answer = city.cli("play", str(sound("rain")), "--node", "mic99")
    assert (answer.returncode, "no node 'mic99'" in answer.stderr) == (2, True)
    (tmp_path / "not-sound.wav").write_bytes(b"this is no recording")
    answer = city.cli("play", str(tmp_path / "not-sound.wav"), "--node", "mic05")
    assert answer.returncode == 2
    assert "Traceback" not in answer.stderr
    assert len(answer.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("part", PARTS)
def test_a_killed_part_returns_and_the_loop_goes_on(city, part):
    before = city.status()
    lost = city.wait_for(lambda one: one["ticks_lost"] is not None)["ticks_lost"]
    restarts = {one["part"]: one["restarts"] for one in before["parts"]}
    os.kill(city.pid_of(part), signal.SIGKILL)
    deadline = time.monotonic() + 20
    while True:
        now = {one["part"]: one for one in city.status()["parts"]}
        if now[part]["restarts"] == restarts[part] + 1 and now[part]["state"] == "running":
            break
        assert time.monotonic() < deadline, f"{part} did not return: {now[part]}"
    assert {name: now[name]["restarts"] for name in PARTS if name != part} == {
        name: restarts[name] for name in PARTS if name != part
    }
    line = city.wait_for(lambda one: (one["ticks"] or 0) > 0 and one["tie_import_w"] is not None, 30)
    if part != "control":
        fifo = "1" in city.cli("tags", "control.loop.fifo").stdout.split()[1]
        assert line["ticks_lost"] == lost or not fifo, f"{line['ticks_lost'] - lost} ticks lost"


def test_deaths_of_parts_are_in_the_record(city):
    sql = "select source from events where class = 'part_died'"
    answer = city.cli("query", sql, "--format", "csv")
    assert answer.returncode == 0, answer.stderr
    died = {row[0] for row in csv.reader(answer.stdout.splitlines()[1:])}
    # What died while the recorder itself was being started anew may be missing; the others may not.
    assert died >= {f"part_{part}" for part in PARTS if part != "historian"}


def secret(city, password, *arguments):
    """A command about the city that reads a password."""
    command = [sys.executable, "-m", "gwanje.core.cli.main", *arguments, "--password-stdin"]
    places = ["--site", str(city.site), "--run", str(city.run_dir)]
    return subprocess.run([*command, *places], input=f"{password}\n", capture_output=True, text=True, timeout=60)


def test_a_person_is_added_signs_in_takes_an_area_and_leaves(city):
    assert any("nobody can operate this city yet" in line for line in city.errors)
    refused = city.cli("area", "take", "microgrid")
    assert (refused.returncode, "nobody is signed in" in refused.stderr) == (2, True)
    added = secret(city, "correct horse battery", "user", "add", "kim", "--role", "operator", "--areas", "microgrid")
    assert added.returncode == 0, added.stderr
    deadline = time.monotonic() + 20
    while "kim" not in (signed := secret(city, "correct horse battery", "login", "kim")).stdout:
        assert time.monotonic() < deadline, signed.stderr  # the core looks at the users once a second
    assert "signed in as kim (operator)" in signed.stdout
    assert "is signed in already" in secret(city, "", "login", "kim").stdout
    assert "kim (operator" in city.cli("area", "take", "microgrid").stdout
    assert "may not take the area" in city.cli("area", "take", "jincheon").stderr
    assert "microgrid" in city.cli("who").stdout
    city.cli("user", "disable", "kim")
    deadline = time.monotonic() + 20
    while "nobody is signed in" not in (seen := city.cli("who")).stdout:
        assert time.monotonic() < deadline, seen.stdout
    assert "the session is over" in city.cli("area", "take", "microgrid").stderr
    assert "kim" not in city.cli("area", "list").stdout


def test_a_substituted_value_is_everybodys_through_kill_9_and_in_the_record(city):
    """By hand: substitute a broken meter, see it in derived values, kill the core, find it as it was, give it back."""
    meter, total = "jincheon.pv_roof.generation_w", "city.pv.generation_w"
    assert secret(city, "correct horse battery", "user", "add", "han", "--role", "operator").returncode == 0
    deadline = time.monotonic() + 20
    while "signed in" not in (signed := secret(city, "correct horse battery", "login", "han")).stdout:
        assert time.monotonic() < deadline, signed.stderr
    refused = city.cli("substitute", meter, "1000", "--reason", "meter broken")
    assert (refused.returncode, "area of authority is not held" in refused.stderr) == (2, True)
    assert city.cli("area", "take", "jincheon").returncode == 0
    done = city.cli("substitute", meter, "1000", "--reason", "meter broken", "--for", "30m", "--lang", "en")
    assert "1000 W for 30 min" in done.stdout, done.stderr
    (live,) = json.loads(city.cli("tags", meter, "--json").stdout)
    assert (live["value"], live["override"]["author"]) == (1000.0, "han")
    assert "GOOD SUBSTITUTED" in live["quality_words"]
    assert "SUBSTITUTED" in city.cli("tags", total).stdout
    pid = city.pid_of("core")
    os.kill(pid, signal.SIGKILL)
    assert "GOOD SUBSTITUTED" in city.cli("tags", meter).stdout  # whoever lives
    deadline = time.monotonic() + 20
    while "meter broken" not in (told := city.cli("overrides")).stdout:
        assert time.monotonic() < deadline, told.stderr
    assert city.pid_of("core") != pid
    assert "its own value again" in city.cli("restore", meter, "--reason", "repaired", "--lang", "en").stdout
    assert "SUBSTITUTED" not in city.cli("tags", meter).stdout
    sql = f"select distinct cast(value as int) as n from points where tag = '{meter}' and quality & 32 > 0"
    deadline = time.monotonic() + 20
    while city.cli("query", sql, "--format", "csv").stdout.split()[1:] != ["1000"]:
        assert time.monotonic() < deadline, city.cli("query", sql).stdout
    journal = city.cli("journal", "show", "--json").stdout
    assert "value_substituted" in journal
    assert "value_restored" in journal
    assert city.cli("logout").returncode == 0


def test_a_second_city_in_the_same_place_is_refused(city):
    answer = subprocess.run(
        [sys.executable, "-m", "gwanje.core.cli.main", "up", str(city.site), "--run", str(city.run_dir), "--for", "1"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert answer.returncode == 2
    assert "runs already" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_ctrl_c_stops_all_and_leaves_nothing_behind(city):
    """Last of the module: the history afterwards holds what the recorder counted, the journal is whole."""
    summary = city.stop()
    assert city.process.returncode == 0
    assert not city.run_dir.exists()
    left = [
        entry.name
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and str(city.run_dir).encode() in _command_line(entry)
    ]
    assert left == []
    assert summary["points_recorded"] == summary["points_acknowledged"] > 1_000
    history = city.data / "chungbuk" / "latest" / "history"
    answer = city.cli("query", "select count(*) as n from points", "--format", "csv", "--history", str(history))
    assert answer.returncode == 0, answer.stderr
    assert int(answer.stdout.split()[1]) == summary["points_recorded"]
    verified = city.cli("journal", "verify", str(city.data / "chungbuk" / "latest" / "state" / "journal.jsonl"))
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert not [line for line in city.errors if "Traceback" in line], city.errors


def _command_line(entry):
    try:
        return (entry / "cmdline").read_bytes()
    except OSError:
        return b""


def test_without_a_city_commands_say_so(tmp_path):
    for command in (["status"], ["tags"], ["hmi"], ["play", str(sound("rain")), "--node", "mic01"]):
        answer = subprocess.run(
            [sys.executable, "-m", "gwanje.core.cli.main", *command, "--run", str(tmp_path / "none")],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert answer.returncode == 2
        assert answer.stderr.startswith("gwanje: no running city found; start one with `gwanje up`")
        assert json.dumps(answer.stderr).count("\\n") == 1


def test_a_taken_port_is_named_and_the_run_does_not_count_as_well(site_copy, tmp_path):
    energy = (site_copy / "devices" / "energy.toml").read_text(encoding="utf-8")
    port = int(re.search(r"(?m)^port = (\d+)$", energy)[1])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        answer = subprocess.run(
            [
                sys.executable, "-m", "gwanje.core.cli.main", "up", str(site_copy), "--for", "4", "--no-hmi", "--json",
                "--run", f"/dev/shm/gwanje-taken-{os.getpid()}", "--data", str(tmp_path / "data"),
            ],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    assert answer.returncode == 1
    assert f"127.0.0.1:{port}" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert json.loads(answer.stdout.splitlines()[-1])["not_running"] == ["sim"]


def test_a_run_directory_on_a_disk_is_refused_before_anything_starts(site_copy, tmp_path):
    answer = subprocess.run(
        [
            sys.executable, "-m", "gwanje.core.cli.main", "up", str(site_copy), "--for", "4", "--no-hmi",
            "--run", str(ROOT / "build" / "run-on-disk"), "--data", str(tmp_path / "data"),
        ],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    if file_system_of(ROOT) in ("tmpfs", "ramfs"):
        pytest.skip("the checkout itself lies in memory")
    assert answer.returncode == 2
    assert "sound must not reach a disk; give --run a folder on /dev/shm" in answer.stderr
    assert not (ROOT / "build" / "run-on-disk").exists()
