"""The whole city cut off from the utility: by accident and as planned, through deaths of its controllers, and back."""

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from gwanje.control.microgrid.modes.types import Mode
from gwanje.core.bus.bus import Bus
from gwanje.core.clock import SystemClock
from gwanje.core.site.config import load_site
from gwanje.core.tags.quality import is_bad
from gwanje.core.tags.store import TagStore

pytestmark = pytest.mark.timeout(600)
PASSWORD = "seven green kites"
MODES = tuple(Mode)
WATCHED = (
    "microgrid.state.frequency_hz", "grid.bus.frequency2_hz", "grid.bus.voltage_v", "grid.tie.import_w",
    "jincheon.pv_roof.generation_w", "control.ess1.discharge_setpoint_w", "grid.breaker.closed",
    "microgrid.loop.ticks",
)  # fmt: skip
LOW_HZ, HIGH_HZ = 59.3, 60.5
DEAD_V = 10_000
LOOK_NS = 10_000_000


class Watcher(threading.Thread):
    """Looks at live tags a hundred times a second, as a screen or another controller would."""

    def __init__(self, city):
        super().__init__(daemon=True)
        self.site, self.clock = load_site(city.site), SystemClock()
        self.store = TagStore.attach(city.run_dir / "tags", self.site.tags)
        self.bus = Bus(city.run_dir, "hmi", self.clock, self.site.tags.n)
        self.rows: list[dict[str, float]] = []
        self.over = threading.Event()

    def run(self):
        while not self.over.is_set():
            self.rows.append({name: self.value(name) for name in WATCHED})
            self.clock.wait_until_mono_ns(self.clock.mono_ns() + LOOK_NS)

    def value(self, name):
        sample = self.store.read(self.site.tags.index(name), self.clock.mono_ns())
        return math.nan if is_bad(sample.quality) else sample.value

    def mode(self):
        value = self.value("microgrid.state.mode")
        return MODES[int(value)] if value == value else None

    def until(self, condition, within_s=60.0, what=""):
        end = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < end, f"{what or condition}: {({name: self.value(name) for name in WATCHED})}"
            self.clock.wait_until_mono_ns(self.clock.mono_ns() + LOOK_NS)

    def disturb(self, **message):
        answer = self.bus.request("sim", message)
        assert answer == {"ok": True}, answer

    def seen(self, name, since):
        return [row[name] for row in self.rows[since:] if row[name] == row[name]]

    def alive(self, since):
        """Frequency within its limits and the bus live in every look."""
        for name in ("microgrid.state.frequency_hz", "grid.bus.frequency2_hz"):
            hz = self.seen(name, since)
            assert hz
            assert min(hz) >= LOW_HZ, (name, min(hz))
            assert max(hz) <= HIGH_HZ, (name, max(hz))
        assert min(self.seen("grid.bus.voltage_v", since)) > DEAD_V


def sooner(site):
    """The utility counts as well after seconds instead of five minutes."""
    path = site / "microgrid" / "control.toml"
    text = path.read_text(encoding="utf-8")
    assert "[modes]\n" in text
    path.write_text(text.replace("[modes]\n", "[modes]\nenter_service_s = 3\n"), encoding="utf-8")


@pytest.fixture(scope="module")
def city(start_city):
    running = start_city("--seed", "5", prepare=sooner)
    running.wait_for(lambda line: line["tie_import_w"] is not None and (line["ticks"] or 0) > 100, 60)
    command("keys", "init", str(running.site), "--data", str(running.data))
    command("user", "add", "minji", "--role", "operator", "--site", str(running.site), "--data", str(running.data),
            "--password-stdin")  # fmt: skip
    end = time.monotonic() + 30
    places = ("--site", str(running.site), "--run", str(running.run_dir))
    while "signed in as" not in (said := command("login", "minji", "--password-stdin", *places, check=False)):
        assert time.monotonic() < end, said
    assert running.cli("area", "take", "microgrid").returncode == 0
    return running


@pytest.fixture(scope="module")
def watch(city):
    watcher = Watcher(city)
    watcher.start()
    watcher.until(lambda: watcher.mode() is Mode.CONNECTED, what="connected")
    for name in ("jincheon.ess1.forming", "eumseong.ess2.forming", "microgrid.state.lease"):
        watcher.until(lambda name=name: watcher.value(name) == 1.0, what=name)
    watcher.until(lambda: watcher.value("control.tie.mode") == 2.0, what="controlling")
    yield watcher
    watcher.over.set()
    watcher.join(5)
    watcher.bus.close()


def command(*arguments, check=True):
    done = subprocess.run(
        [sys.executable, "-m", "gwanje.core.cli.main", *arguments],
        input=f"{PASSWORD}\n", capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert not check or done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def operate(city, point, value="1"):
    selected = city.cli("operate", "select", point, "--lang", "en")
    assert selected.returncode == 0, selected.stderr
    return city.cli("operate", "execute", point, value, "--reason", "test", "--retype", point, "--lang", "en")


def ask(city, what):
    done = operate(city, f"microgrid.request.{what}")
    assert "CONFIRMED" in done.stdout, done.stdout + done.stderr


def kill(city, watch, part):
    """SIGKILL, and wait until its successor writes its tags."""
    before = {one["part"]: one["restarts"] for one in city.status()["parts"]}[part]
    os.kill(city.pid_of(part), signal.SIGKILL)

    def back():
        now = {one["part"]: one for one in city.status()["parts"]}[part]
        return now["restarts"] == before + 1 and now["state"] == "running"

    watch.until(back, what=f"{part} is back")


def reconnect(city, watch):
    """As soon as the utility has been well for long enough; until then the request is refused, with what is left."""
    since = len(watch.rows)

    def taken():
        done = operate(city, "microgrid.request.reconnect")
        assert "CONFIRMED" in done.stdout or "utility must be well" in done.stderr, done.stdout + done.stderr
        return "CONFIRMED" in done.stdout

    watch.until(taken, 60, "reconnecting")
    watch.until(lambda: watch.mode() is Mode.CONNECTED, 120, "connected again")
    watch.until(lambda: watch.value("control.tie.mode") == 2.0, what="the import is controlled again")
    watch.alive(since)


def settled(watch):
    """The import is where its set-point is."""
    watch.until(
        lambda: abs(watch.value("grid.tie.import_w") - watch.value("control.tie.import_setpoint_w")) < 50e3, 60, "tie"
    )


def test_what_the_controller_refuses_comes_back_with_its_reason(city, watch):
    refused = operate(city, "microgrid.request.reconnect")
    assert refused.returncode == 1
    assert "needs islanded" in refused.stderr


def test_a_breaker_that_opens_leaves_an_island_that_lives(city, watch):
    since, generation_w = len(watch.rows), watch.value("jincheon.pv_roof.generation_w")
    watch.disturb(op="breaker", closed=False)
    watch.until(lambda: watch.mode() is Mode.ISLANDED, 20, "islanded")
    watch.until(lambda: watch.value("control.tie.mode") == 4.0, what="the loop relays")
    assert watch.value("microgrid.state.unplanned") == 1.0
    deadline = watch.value("microgrid.state.island_s") + 5.0
    watch.until(lambda: watch.value("microgrid.state.island_s") > deadline, what="five seconds of island")
    watch.alive(since)
    kept_w = watch.seen("jincheon.pv_roof.generation_w", since)
    assert min(kept_w) > 0.5 * generation_w, "the plants rode through"
    raised = json.loads(city.cli("alarms", "list", "--json").stdout)["alarms"]
    assert "microgrid_unplanned_island" in {one["alarm_id"] for one in raised}


@pytest.mark.parametrize("part", ["microgrid", "control"])
def test_kill_9_of_a_controller_in_the_island_moves_nothing(city, watch, part):
    since, setpoint_w = len(watch.rows), watch.value("control.ess1.discharge_setpoint_w")
    kill(city, watch, part)
    watch.until(lambda: watch.mode() is Mode.ISLANDED, what="islanded, as found")
    watch.until(lambda: watch.value("control.tie.mode") == 4.0, what="the loop relays")
    assert watch.value("microgrid.state.unplanned") == 1.0, "what began the island is not forgotten"
    deadline = watch.value("microgrid.state.island_s") + 3.0
    watch.until(lambda: watch.value("microgrid.state.island_s") > deadline, what="three seconds of island")
    watch.alive(since)
    hz = watch.seen("grid.bus.frequency2_hz", since)
    assert max(abs(one - 60.0) for one in hz) < 0.2, "the frequency stays"
    assert abs(watch.value("control.ess1.discharge_setpoint_w") - setpoint_w) < 100e3


def test_it_comes_back_by_an_operators_request_inside_the_window(city, watch):
    reconnect(city, watch)
    settled(watch)
    assert watch.value("microgrid.state.unplanned") == 0.0
    since = len(watch.rows)
    watch.until(lambda: len(watch.rows) > since + 200)
    imported_w = watch.seen("grid.tie.import_w", since)
    assert max(imported_w) - min(imported_w) < 300e3, "no bump"


def test_an_island_as_planned_begins_and_ends_without_a_bump(city, watch):
    since = len(watch.rows)
    ask(city, "island")
    watch.until(lambda: watch.mode() is Mode.ISLANDED, 60, "islanded")
    deadline = watch.value("microgrid.state.island_s") + 2.0
    watch.until(lambda: watch.value("microgrid.state.island_s") > deadline)
    opened = next(at for at in range(since, len(watch.rows)) if watch.rows[at]["grid.breaker.closed"] == 0.0)
    before_w = [row["grid.tie.import_w"] for row in watch.rows[opened - 10 : opened]]
    assert max(abs(one) for one in before_w if one == one) < 100e3, "little flowed when it opened"
    watch.alive(since)
    hz = watch.seen("grid.bus.frequency2_hz", since)
    assert max(abs(one - 60.0) for one in hz) < 0.15
    reconnect(city, watch)
    settled(watch)


def test_a_lost_utility_is_left_and_rejoined(city, watch):
    since = len(watch.rows)
    watch.disturb(op="disturb", what="grid_lost")
    watch.until(lambda: watch.mode() is Mode.ISLANDED, 30, "islanded")
    watch.alive(since)
    watch.disturb(op="disturb", what="grid_back")
    refused = operate(city, "microgrid.request.reconnect")
    assert "CONFIRMED" in refused.stdout or "refused" in refused.stderr
    watch.until(lambda: watch.value("grid.tie.voltage_v") > 20_000, what="the utility is back")
    if watch.mode() is not Mode.RESYNC:
        watch.until(lambda: "CONFIRMED" in operate(city, "microgrid.request.reconnect").stdout, 60, "reconnecting")
    watch.until(lambda: watch.mode() is Mode.CONNECTED, 120, "connected again")


def test_limits_of_operators_narrow_the_import_and_outlive_the_part(city, watch):
    done = operate(city, "microgrid.limit.demand_cap_w", "1500000")
    assert "CONFIRMED" in done.stdout, done.stdout + done.stderr
    kill(city, watch, "microgrid")
    watch.until(lambda: watch.value("microgrid.limit.demand_cap_w") == 1.5e6, what="the cap is kept")
    watch.until(lambda: watch.mode() is Mode.CONNECTED, what="connected, as found")


def test_the_recorder_has_the_island(city, watch):
    sql = "select count(*) from points where tag = 'microgrid.state.mode' and value = 3"
    answer = city.cli("query", sql, "--format", "csv")
    assert answer.returncode == 0, answer.stderr
    assert int(answer.stdout.split()[-1]) > 0
    summary = city.stop()
    assert summary["points_recorded"] == summary["points_acknowledged"]
    assert summary["not_running"] == []
    assert Path(city.data).exists()
