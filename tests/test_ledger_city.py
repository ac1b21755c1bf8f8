"""Planner, ledger, estimation in a running city: a plan is there, energy counts as meters do, a kill costs seconds."""

import csv
import os
import signal
import time

import pytest

from gwanje.core.bus.bus import Bus
from gwanje.core.city.part import Heartbeat
from gwanje.core.clock import SystemClock
from gwanje.core.site.config import load_site
from gwanje.core.tags.quality import is_bad
from gwanje.core.tags.store import TagStore

pytestmark = pytest.mark.timeout(300)


class Inside:
    """A city with its tag store and its bus at hand: a program's start costs a second of a core."""

    def __init__(self, city):
        self.city, self.clock = city, SystemClock()
        self.site = load_site(city.site)
        self.store = TagStore.attach(city.run_dir / "tags", self.site.tags)
        self.bus = Bus(city.run_dir, "cli", self.clock)

    def tag(self, name):
        """Its value; None for BAD."""
        sample = self.store.read(self.site.tags.index(name), self.clock.mono_ns())
        return None if is_bad(sample.quality) else sample.value

    def until(self, name, condition, timeout_s=90.0):
        """The tag's value once it is so."""
        end = time.monotonic() + timeout_s
        while (value := self.tag(name)) is None or not condition(value):
            assert time.monotonic() < end, f"{name} is {value}; {self.figures(name)}; {self.city.errors[-5:]}"
            self.city.wait_for(lambda _line: True)
        return value

    def figures(self, name):
        stem = name.rpartition(".")[0]
        return {one.name: self.tag(one.name) for one in self.site.tags if one.name.startswith(f"{stem}.")}

    def counted(self, span="day"):
        return self.bus.request("ledger", {"op": "report", "span": span}, timeout_ms=20_000)["report"]

    def pid(self, part):
        return Heartbeat(self.city.run_dir, part).pid()


@pytest.fixture(scope="module")
def inside(start_city):
    """With the small units, which planner and ledger read in files of their own."""
    running = start_city("--seed", "5", families=["units"])
    running.wait_for(lambda line: line["tie_import_w"] is not None and (line["ticks"] or 0) > 100, 60)
    inside = Inside(running)
    yield inside
    inside.bus.close()


def test_a_plan_is_there_and_commands_nothing(inside):
    inside.until("planner.plan.source", lambda value: value == 2.0)
    names = [one.name for one in inside.site.tags if one.owner == "planner"]
    assert len(names) == 27
    assert [name for name in names if inside.tag(name) is None] == []
    assert inside.tag("planner.plan.bad_input") == inside.tag("planner.plan.no_plan") == 0
    journal = inside.city.cli("journal", "show", "--json").stdout.splitlines()
    assert [line for line in journal if "planner" in line and '"kind": "part_' not in line] == []


def test_the_network_is_estimated_and_no_meter_of_a_sound_city_is_suspected(inside):
    assert inside.until("estimation.network.state", lambda _value: True) == 0.0
    assert inside.until("estimation.network.unobservable_buses", lambda value: value == 0.0) == 0.0
    volts = inside.until("estimation.city.voltage_pu", lambda value: value > 0.0)
    sigma = inside.tag("estimation.city.voltage_sigma_pu")
    assert volts == pytest.approx(inside.tag("grid.bus.voltage_v") / 22_900, abs=6.0 * sigma)
    assert inside.tag("estimation.network.suspected_meters") == 0.0


def test_the_ledger_counts_what_the_meters_count(inside):
    inside.until("ledger.day.generation_wh", lambda value: value > 0.0)

    def factory_wh():
        meters = inside.counted()["meters"]
        return next(one for one in meters if one["tag"] == "jincheon.factory.load_w")["forward_wh"]

    meter_wh, ledger_wh = inside.tag("jincheon.factory.load_wh"), factory_wh()
    now_wh = inside.until("jincheon.factory.load_wh", lambda value: value > meter_wh + 1_000.0)
    assert factory_wh() - ledger_wh == pytest.approx(now_wh - meter_wh, rel=0.3, abs=500.0), "read a moment apart"
    found = inside.counted()
    total = found["total"]
    assert (found["simulated"], total["residual_mwh"], found["speed"]) == (True, 0, 1.0)
    assert abs(total["unaccounted_wh"]) < 0.2 * total["use_wh"]


def test_killed_it_goes_on_and_nothing_is_counted_twice(inside):
    time_before, before = time.monotonic(), inside.counted()
    killed = {part: inside.pid(part) for part in ("ledger", "planner")}
    for pid in killed.values():
        os.kill(pid, signal.SIGKILL)
    inside.until("ledger.day.gap_s", lambda value: value > 0.0)
    after = inside.counted()
    passed_s = time.monotonic() - time_before
    assert after["begin_utc_ns"] == before["begin_utc_ns"]
    counted_s = (after["end_utc_ns"] - before["end_utc_ns"]) / 1e9
    assert 0 < counted_s <= passed_s + 1.5
    assert after["total"]["gap_s"] < passed_s + 7.0
    assert after["total"]["residual_mwh"] == 0
    inside.until("planner.plan.source", lambda value: value == 2.0 and inside.pid("planner") != killed["planner"])


def test_the_table_is_for_people_and_the_file_answers_when_the_city_is_down(inside, tmp_path):
    city, live = inside.city, inside.counted()
    assert "bill" in inside.counted("month")
    table = city.cli("ledger", "--lang", "en")
    assert "SIMULATED" in table.stdout, table.stderr
    summary = city.stop()
    assert summary["not_running"] == []
    assert city.process.returncode == 0, city.errors
    (data,) = city.data.glob("*/latest")
    out = tmp_path / "day.csv"
    written = city.cli("ledger", "--csv", str(out), "--data", str(data), "--day", live["label"])
    assert written.returncode == 0, written.stderr
    with out.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert sum(float(one["generation_wh"]) for one in rows) >= live["total"]["generation_wh"] > 0.0
