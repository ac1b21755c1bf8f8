"""The historian part on a real bus, in its own process: it hears, records, counts, is killed, comes back, stops."""

from __future__ import annotations

import importlib.util
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gwanje.core.bus.bus import Bus
from gwanje.core.bus.messages import AlarmChange, Event
from gwanje.core.bus.scan import Scan
from gwanje.core.city.part import PartError
from gwanje.core.clock import NS_PER_S, SystemClock
from gwanje.core.tags.store import TagStore
from gwanje.historian import main as part
from gwanje.historian.query import open_history

SCRIPT = Path(__file__).with_name("bus_recorder.py")
DEADLINE_S = 30.0


def _script_module():
    spec = importlib.util.spec_from_file_location("bus_recorder", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


bus_recorder = _script_module()


class City:
    """The test as the rest of the city: publishes scans of running numbers, hears what the historian says."""

    def __init__(self, run_dir: Path, data_dir: Path) -> None:
        self.run_dir, self.data_dir = run_dir, data_dir
        self.clock = SystemClock()
        self.table = bus_recorder.table()
        self.store = TagStore.create(run_dir / "tags", self.table)
        self.bus = Bus(run_dir, "field", self.clock, self.table.n)
        self.publisher = self.bus.publisher()
        self.heard = self.bus.subscriber(["scan", "event"], ["historian"])
        self.ids = self.table.by_owner("field")
        self.acknowledged_id = self.table.index(part.TAG_PREFIX + "points_acknowledged")
        self.acknowledged = 0
        self.reports = 0
        self.number = 0
        self.events: list[Event] = []
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, settings: dict | None = None) -> None:
        command = [sys.executable, str(SCRIPT), str(self.run_dir), str(self.data_dir), json.dumps(settings or {})]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE)

    def pump(self) -> None:
        """Publish a scan, wait a moment for an answer, note what is acknowledged."""
        k = len(self.ids)
        values = np.arange(self.number, self.number + k, dtype=np.float64)
        times = np.full(k, self.clock.utc_ns(), np.int64)
        self.publisher.scan(self.ids, values, np.zeros(k, np.uint16), times)
        self.number += k
        self.hear(5)

    def hear(self, timeout_ms: int) -> bool:
        """Note what the historian said; whether it said anything within the time."""
        anything = self.heard.poll(timeout_ms)
        while (message := self.heard.receive()) is not None:
            if isinstance(message, Event):
                self.events.append(message)
            elif isinstance(message, Scan):
                self.reports += 1
                at = np.searchsorted(message.ids, self.acknowledged_id)
                self.acknowledged = int(message.values[at])
        return anything

    def pump_until_acknowledged(self, more: int) -> None:
        """Until so many points have been acknowledged since the first report after this call."""
        reports, goal = self.reports, None
        deadline = self.clock.mono_ns() + int(DEADLINE_S * NS_PER_S)
        while goal is None or self.acknowledged < goal:
            self.pump()
            if goal is None and self.reports > reports:
                goal = self.acknowledged + more
            assert self.process is not None
            assert self.process.poll() is None, "the historian died by itself"
            assert self.clock.mono_ns() < deadline, "the historian does not acknowledge"

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self._close_pipe()
        while self.hear(100):  # what it had said before it died
            pass

    def stop(self) -> str:
        """Ask it to stop as the supervisor does; returns what it complained of."""
        assert self.process is not None
        self.process.terminate()
        _, said = self.process.communicate(timeout=DEADLINE_S)
        assert self.process.returncode == 0, said
        return said.decode()

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()
        self.bus.close()

    def tag(self, name: str) -> float:
        return self.store.read(self.table.index(part.TAG_PREFIX + name)).value

    def _close_pipe(self) -> None:
        assert self.process is not None
        assert self.process.stderr is not None
        self.process.stderr.close()


@pytest.fixture
def city(tmp_path: Path) -> Iterator[City]:
    with tempfile.TemporaryDirectory(prefix="gwanje-test-") as run_dir:  # short, because socket names are
        one = City(Path(run_dir), tmp_path)
        yield one
        one.close()


def test_everything_on_the_bus_is_recorded_and_counted(city: City, tmp_path: Path) -> None:
    city.start()
    city.pump_until_acknowledged(2_000)
    city.publisher.event(Event("acoustic", "mic01", "glass_break", 5, 5, "유리", "glass", 0.9, 0.7))
    city.publisher.alarm(AlarmChange(
        "overload", "unack_active", 1, "grid.tie.import_w", "과", "over", "", "", "", "", "", "", 1.0, "W", 2.0, 3, 4
    ))  # fmt: skip
    city.pump_until_acknowledged(500)
    assert city.stop() == ""
    recorded, acknowledged = city.tag("points_recorded"), city.tag("points_acknowledged")
    with open_history(tmp_path / "history") as history:
        assert history.sql("select count(*) from points").column(0).to_pylist() == [acknowledged] == [recorded]
        rows = history.sql("select kind, source, class from events order by kind").to_pylist()
        own = history.sql("select count(*) from points where tag = 'system.historian.commit_ms'").column(0)
        found = history.sql("select min(value) as low, max(value) as high, count(*) as n, count(distinct value) as d "
                            "from points where tag like 'city.%'").to_pylist()[0]
    assert rows == [
        {"kind": "acoustic", "source": "mic01", "class": "glass_break"},
        {"kind": "alarm", "source": "grid.tie.import_w", "class": "unack_active"},
    ]
    assert own.to_pylist()[0] >= 1
    assert found["n"] == found["d"] == found["high"] - found["low"] + 1 >= 2_000
    assert city.tag("gaps") == city.tag("points_refused") == city.tag("state") == city.tag("backlog") == 0


@pytest.mark.timeout(300)
def test_ten_kills_lose_nothing_that_was_acknowledged(city: City, tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(10**9)
    print(f"seed {seed}")
    dice = random.Random(seed)
    kills = 10
    promised = []
    for _ in range(kills):
        city.start()
        city.pump_until_acknowledged(dice.randrange(200, 3_000))
        for _ in range(dice.randrange(0, 60)):
            city.pump()
        city.kill()
        promised.append(city.acknowledged)
    assert promised == sorted(promised)
    city.start()
    city.pump_until_acknowledged(100)
    city.stop()
    final = city.tag("points_acknowledged")
    with open_history(tmp_path / "history") as history:
        assert history.sql("select count(*) from points").column(0).to_pylist() == [final], f"seed {seed}"
        assert final >= promised[-1]
        found = history.sql("select count(*) as n, count(distinct value) as d from points where tag like 'city.%'")
        (row,) = found.to_pylist()
        assert row["n"] == row["d"], f"seed {seed}: points twice"
        holes = history.sql(
            "select count(*) as holes from (select value - lag(value) over (order by value) as step "
            "from points where tag like 'city.%') where step != 1"
        ).column(0)
        assert holes.to_pylist()[0] <= kills, f"seed {seed}: points are missing between two starts"
        assert history.sql("select count(*) from runs").column(0).to_pylist() == [kills + 1]


def test_a_disk_without_room_is_told_and_nobody_waits(city: City, tmp_path: Path) -> None:
    city.start({"disk_reserve_mb": 1_048_576})  # more than any disk here has
    deadline = city.clock.mono_ns() + int(DEADLINE_S * NS_PER_S)
    while not city.events or city.tag("state") != 1:
        city.pump()
        assert city.clock.mono_ns() < deadline, "neither event nor tag tells of the full disk"
    assert city.events[0].class_name == "disk_full"
    assert "disk_reserve_mb" in city.events[0].text_en
    assert city.tag("points_acknowledged") == 0
    assert city.tag("points_recorded") > 0
    assert "disk full" in city.stop()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"commit_s": -1}, "historian.toml: commit_s"),
        ({"influx": {"enabled": True, "token_file": "/no/such"}}, "influx"),
    ],
)
def test_wrong_settings_are_one_line(city: City, tmp_path: Path, settings: dict, says: str) -> None:
    ctx = bus_recorder.context(city.run_dir, tmp_path, settings, 0)
    with pytest.raises(PartError, match=says) as caught:
        part.main(ctx)
    assert "\n" not in str(caught.value)
    ctx.bus.close()


def test_a_history_in_use_is_one_line(city: City, tmp_path: Path) -> None:
    city.start()
    city.pump_until_acknowledged(100)
    ctx = bus_recorder.context(city.run_dir, tmp_path, {}, 0)
    with pytest.raises(PartError, match="another recorder"):
        part.main(ctx)
    ctx.bus.close()
    city.stop()


def test_the_recorder_starts_without_the_query_engine_and_parquet() -> None:
    heavy = ("duckdb", "pyarrow", "influxdb_client")
    code = f"import sys, gwanje.historian.main; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
