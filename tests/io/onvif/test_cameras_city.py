"""Cameras and the heat network in a running city: all online, a person moves and speaks, and what dies lets go."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import wave
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from running_city import ask, family, sign_in, state, until

from gwanje.core.audio_ring import file_system_of
from gwanje.core.bus.bus import Bus
from gwanje.core.clock import SystemClock
from gwanje.core.site.config import load_site
from gwanje.core.sound.mouths import Echo
from gwanje.core.tags.store import TagStore

pytestmark = pytest.mark.timeout(300)
SETPOINT = "jincheon.heatpump1.supply_temperature_setpoint"


@pytest.fixture(scope="module")
def city(start_city):
    running = start_city("--seed", "5", families=("cameras", "heat"))
    running.wait_for(lambda line: line["tie_import_w"] is not None, 90)
    return running


def execute(city, point, value):
    """Operate a point; on a machine that does much else a command may expire on its way: it is given again."""
    said = []

    def done():
        answer = city.cli("operate", "execute", point, str(value), "--reason", "test", "--lang", "en")
        said.append(answer.stdout + answer.stderr)
        return answer.returncode == 0

    end = time.monotonic() + 60.0
    while not done():
        assert time.monotonic() < end, said


def test_all_come_online(city):
    until(lambda: family(city, "cameras")["online"] == 20)
    until(lambda: family(city, "heat")["online"] == 9)
    assert (family(city, "cameras")["devices"], family(city, "heat")["devices"]) == (20, 9)


def test_a_person_turns_a_camera_speaks_through_it_and_sets_a_heat_pump(city):
    sign_in(city, "streets", "jincheon")
    execute(city, "jincheon.cam01.preset", 3)
    until(lambda: abs(state(city, "cam01")["pan"] - 0.4) < 0.02)
    execute(city, "jincheon.cam02.prompt", 1)
    assert until(lambda: state(city, "cam02")["speaker"]["packets"] > 20)
    assert state(city, "cam03")["speaker"]["packets"] == 0
    execute(city, SETPOINT, 55)
    assert state(city, "heatpump1")["slots"]["supply_temperature_setpoint"] == {"8": 55.0}, "beside it the watchdog"


def told(answer):
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


def asked(city, service):
    """What a list of the core holds; quicker than a command."""
    bus = Bus(city.run_dir, "hmi", SystemClock())
    try:
        return bus.request(service, {"op": "list"})[service]
    finally:
        bus.close()


@pytest.fixture(scope="module")
def value(city):
    """Reads a tag of the running city."""
    tags = load_site(city.site).tags
    store = TagStore.attach(city.run_dir / "tags", tags)
    return lambda name: store.read(tags.index(name), SystemClock().mono_ns()).value


def test_a_prompt_mutes_its_own_microphones_and_raises_nothing(city, value):
    before = state(city, "cam02")["speaker"]["packets"]
    # tones that sound like an alarm, at a node that nothing else happens at
    speaking = threading.Thread(target=execute, args=(city, "jincheon.cam02.prompt", 4))
    speaking.start()
    until(lambda: value("jincheon.mic02.echo") == Echo.OWN)
    speaking.join()
    until(lambda: value("jincheon.mic02.echo") == Echo.NONE and value("jincheon.cam02.speaking") == 0.0)
    assert state(city, "cam02")["speaker"]["packets"] - before >= 100
    assert not [one for one in asked(city, "events") if one["kind"] == "acoustic" and one["source"] == "mic02"]


def test_the_self_test_hears_its_loudspeaker_and_tells_of_one_that_is_broken(city, value):
    heard = told(city.cli("acoustic", "chirp", "cam03", "--lang", "en"))
    assert "heard the test sound" in heard
    assert "dBFS" in heard
    assert value("jincheon.mic03.self_test") == 1.0
    assert ask(city, {"op": "fault", "device": "cam03", "kind": "broken_speaker"}).get("ok")
    broken = city.cli("acoustic", "chirp", "cam03", "--lang", "en")
    assert broken.returncode == 1
    assert "loudspeaker dead" in broken.stdout
    until(lambda: [one for one in asked(city, "alarms") if one["alarm_id"].startswith("loudspeaker_silent")])
    assert ask(city, {"op": "clear", "device": "cam03"}).get("ok")


def test_a_person_listens_in_and_speaks_with_a_reason_and_everybody_is_told(city, value, tmp_path):
    heard = told(city.cli("listen", "mic02", "--reason", "a scream was told", "--for", "2", "--lang", "en"))
    assert "everybody sees it" in heard
    levels = [float(line.split()[1]) for line in heard.splitlines() if " dB " in line]
    assert len(levels) >= 2
    assert max(levels) > -60.0, "a street is to be heard"
    assert value("jincheon.mic02.listened") == 0.0
    path = tmp_path / "words.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8_000)
        file.writeframes((b"\x00\x20" * 20 + b"\x00\xe0" * 20) * 400)
    before = state(city, "cam05")["speaker"]["packets"]
    said = told(city.cli("talk", "cam05", "--reason", "he shall step back", "--file", str(path), "--lang", "en"))
    assert "speech has ended" in said
    assert state(city, "cam05")["speaker"]["packets"] - before >= 100
    seen = {(one["class_name"], one["source"]) for one in asked(city, "events")}
    entries = told(city.cli("journal", "show", "--lang", "en"))
    for kind, words, place, reason in (
        ("listen_in_started", "listen-in started", "mic02", "a scream was told"),
        ("listen_in_ended", "listen-in ended", "mic02", "a scream was told"),
        ("talk_started", "live speech started", "cam05", "he shall step back"),
        ("talk_ended", "live speech ended", "cam05", "he shall step back"),
    ):
        assert (kind, place) in seen
        line = next(one for one in entries.splitlines() if words in one and place in one)
        assert "minji" in line
        assert reason in line


def test_sound_stays_in_memory_and_leaves_to_cameras_alone(city):
    """Every file that the parts with sound can write lies in memory; the acoustic chain has no connection at all."""
    for part in ("media", "acoustic"):
        process = Path(f"/proc/{city.pid_of(part)}")
        held = {link: os.readlink(link) for link in (process / "fd").iterdir()}
        for link, target in held.items():
            flags = (process / "fdinfo" / link.name).read_text(encoding="ascii").split("flags:")[1].split()[0]
            writable = int(flags, 8) & (os.O_WRONLY | os.O_RDWR)
            if writable and target.startswith("/") and not target.startswith(("/dev/null", "/proc/", "/sys/")):
                assert file_system_of(link) == "tmpfs", (part, target)
        sockets = {target.removeprefix("socket:[").rstrip("]") for target in held.values() if "socket:" in target}
        rows = [line.split() for name in ("tcp", "tcp6", "udp", "udp6")
                for line in (process / "net" / name).read_text(encoding="ascii").splitlines()[1:]]  # fmt: skip
        mine = [row for row in rows if row[9] in sockets]
        if part == "acoustic":
            assert not mine
        assert all(row[3] != "0A" for row in mine), "listens"
        ports = {urlsplit(node.url).port for node in load_site(city.site).nodes}
        assert {int(row[2].rpartition(":")[2], 16) for row in mine} <= ports, part


def test_a_camera_that_turns_when_its_part_is_killed_stands_by_its_own_time_out(city):
    killed = city.pid_of("cameras")
    before = state(city, "cam05")["asked"].get("Stop", 0)
    turning = subprocess.Popen(
        [sys.executable, "-m", "gwanje.core.cli.main", "operate", "execute", "jincheon.cam05.pan_speed", "0.2",
         "--reason", "test", "--site", str(city.site), "--run", str(city.run_dir)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    until(lambda: state(city, "cam05")["moving"])
    os.kill(killed, signal.SIGKILL)
    died = time.monotonic()
    until(lambda: not state(city, "cam05")["moving"], 30)
    assert time.monotonic() - died < 10.0, "by its time-out of 1.5 s; the rest is this machine's"
    assert state(city, "cam05")["asked"].get("Stop", 0) == before, "nobody told it to"
    assert state(city, "cam05")["pan"] < 0.9
    turning.wait(60)
    until(lambda: family(city, "cameras")["online"] == 20, 90)


def test_a_heat_part_that_died_holds_what_was_ordered_when_it_is_back(city):
    held = state(city, "heatpump1")["slots"]
    assert held
    killed = city.pid_of("heat")
    os.kill(killed, signal.SIGKILL)
    until(lambda: city.pid_of("heat") != killed, 60)
    until(lambda: family(city, "heat")["online"] == 9, 60)
    until(lambda: state(city, "heatpump1")["slots"] == held, 60)


def test_faults_show_where_they_are_and_nowhere_else(city):
    assert ask(city, {"op": "fault", "device": "cam07", "kind": "silent"}) == {"ok": True}
    assert ask(city, {"op": "fault", "device": "heatmeter1", "kind": "silent"}) == {"ok": True}
    until(lambda: family(city, "cameras")["online"] == 19)
    until(lambda: family(city, "heat")["online"] == 8, 90)
    assert ask(city, {"op": "clear"}) == {"ok": True}
    until(lambda: family(city, "cameras")["online"] == 20, 90)
    until(lambda: family(city, "heat")["online"] == 9, 90)
