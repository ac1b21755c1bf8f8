"""The part: with a real store and bus, time moved by the test, solutions on the spot."""

import logging
import os
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
from hearing import Ear

from gwanje.control.microgrid.planner import main as part_main
from gwanje.control.microgrid.planner.history import recorded_means
from gwanje.control.microgrid.planner.main import Desk, billed_peak_w, read_site
from gwanje.control.microgrid.planner.outlook import QUARTER_NS
from gwanje.control.microgrid.planner.settings import read_settings
from gwanje.core.bus.bus import Bus, RequestTimeoutError
from gwanje.core.bus.messages import Event
from gwanje.core.city.part import Heartbeat, PartContext, PartError, RunOptions
from gwanje.core.clock import VirtualClock
from gwanje.core.site.config import load_site
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.store import TagStore
from gwanje.core.tags.table import TagTable

SITE = Path(__file__).resolve().parents[4] / "configs" / "chungbuk"
S = 1_000_000_000
WORLD = {
    "grid.tie.import_w": 4e5, "grid.breaker.closed": 1.0, "jincheon.homes.load_w": 1.5e5,
    "jincheon.factory.load_w": 5e5, "jincheon.ev_site.load_w": 5e4, "eumseong.heat_pump.load_w": 6e4,
    "city.lamps.load_w": 5e4, "jincheon.pv_roof.generation_w": 2e5, "eumseong.pv_float.generation_w": 1.5e5,
    "jincheon.pv_school.generation_w": 1e4, "jincheon.pv_parking.generation_w": 1e4,
    "eumseong.wind1.generation_w": 5e4, "eumseong.wind2.generation_w": 5e3, "jincheon.ess1.soc": 0.5,
    "eumseong.ess2.soc": 0.6, "jincheon.storage1.soc": 0.4, "jincheon.clinic.load_w": 4e4,
    "eumseong.homes2.load_w": 9e4, "jincheon.shops.load_w": 8e4, "eumseong.pump_station.load_w": 3e4,
    "eumseong.ev_site2.load_w": 1e4, "eumseong.chp1.generation_w": 0.0, "eumseong.chp1.heat_w": 0.0,
    "eumseong.chp1.running": 0.0, "jincheon.diesel1.generation_w": 0.0, "jincheon.diesel1.running": 0.0,
    "eumseong.heat_pump.store_c": 57.0, "jincheon.ess1.discharge_w": 0.0, "eumseong.ess2.discharge_w": 0.0,
    "jincheon.storage1.discharge_w": 0.0, "jincheon.pv_roof.available_w": 2e5, "eumseong.pv_float.available_w": 1.5e5,
    "jincheon.pv_school.available_w": 1e4, "jincheon.pv_parking.available_w": 1e4, "eumseong.wind1.available_w": 5e4,
    "eumseong.wind2.available_w": 5e3,
}  # fmt: skip


@pytest.fixture(scope="module")
def site():
    return load_site(SITE)


@pytest.fixture(scope="module")
def planner_tags(site):
    return [one for one in site.tags if one.owner == "planner"]


class Now:
    """Solves when it is asked."""

    def submit(self, work):
        future = Future()
        future.set_result(work())
        return future


class Never:
    """Never comes back."""

    def submit(self, _work):
        return Future()


class Part:
    def __init__(self, folder, site, planner_tags, worker):
        self.tags = TagTable.build([*(one for one in site.tags if one.owner != "planner"), *planner_tags])
        self.clock = VirtualClock()
        self.store = TagStore.create(folder / "tags", self.tags)
        owners = {self.tags.get(name).owner for name in WORLD}
        self.writers = {owner: self.store.writer(owner) for owner in owners}
        self.bus = Bus(folder, "planner", self.clock, self.tags.n)
        stop, self.stop_write = os.pipe()
        self.ctx = PartContext(
            "planner", site, self.tags, self.store, self.clock, self.bus, folder, RunOptions(data_dir=str(folder)),
            stop, logging.getLogger("test"), Heartbeat(folder, "planner"),
        )  # fmt: skip
        self.ctx.state_dir.mkdir()
        self.settings, tariff = read_site(self.ctx)
        self.hear = Ear(Bus(folder, "hmi", self.clock, self.tags.n), self.bus.publisher(), ["event"])
        self.desk = Desk(self.ctx, self.settings, tariff, self.store.writer("planner"), worker)
        self.world = dict(WORLD)
        self.events = []

    def go(self, seconds):
        for _ in range(seconds):
            self.clock.advance_ns(S)
            for name, value in self.world.items():
                if value is not None:
                    self.writers[self.tags.get(name).owner].write_one(
                        self.tags.index(name), value, int(Quality.GOOD), self.clock.utc_ns(), self.clock.mono_ns()
                    )
            self.desk.turn()
        self.events += [message.class_name for message in self.hear.all() if isinstance(message, Event)]

    def tag(self, name):
        return self.store.read(self.tags.index(name), self.clock.mono_ns())


@pytest.fixture
def part(tmp_path, site, planner_tags, request):
    part = Part(tmp_path, site, planner_tags, getattr(request, "param", Now)())
    yield part
    part.hear.close()
    part.bus.close()


def test_the_site_has_every_tag_that_the_planner_writes(planner_tags):
    settings = read_settings(SITE)
    assert sorted(one.name for one in planner_tags) == sorted(settings.writes())


def test_plans_within_two_seconds_and_shows_it(part):
    part.go(3)
    assert part.tag("planner.plan.source").value == 2.0
    for name in part.settings.writes():
        assert part.tag(name).quality & Quality.BAD == 0, name
    expires = part.tag("planner.plan.until_s").value - part.clock.mono_ns() / S
    assert expires == pytest.approx(part.settings.general.setpoint_s, abs=1.5)
    total = sum(part.tag(f"planner.{one}.discharge_setpoint_w").value for one in ("ess1", "ess2", "storage1"))
    assert abs(total) <= 1.1e6
    assert part.ctx.beat.last_mono_ns() == part.clock.mono_ns()


def test_everything_turns_bad_when_the_planner_dies(part):
    part.go(3)
    part.clock.advance_ns(11 * S)
    assert part.tag("planner.ess1.discharge_setpoint_w").quality & Quality.BAD
    assert part.tag("planner.plan.source").quality & Quality.BAD


def test_a_missing_state_of_charge_is_told_and_the_last_plan_goes_on(part):
    part.go(3)
    part.world["jincheon.ess1.soc"] = None
    part.go(130)
    assert part.tag("planner.plan.bad_input").value >= 1
    assert part.tag("planner.plan.source").value == 1.0
    assert "bad_input" in part.events
    assert "plan_shifted" in part.events
    part.world["jincheon.ess1.soc"] = 0.5
    part.go(70)
    assert part.tag("planner.plan.source").value == 2.0
    assert "plan_again" in part.events


@pytest.mark.parametrize("part", [Never], indirect=True)
def test_a_solution_that_never_comes_withdraws_the_set_points_and_keeps_the_heart(part):
    part.go(5)
    assert part.tag("planner.plan.source").value == 0.0
    assert part.tag("planner.ess1.discharge_setpoint_w").quality & Quality.BAD
    assert part.tag("planner.plan.plans").value == 0.0
    assert part.ctx.beat.last_mono_ns() == part.clock.mono_ns()


def test_the_peak_of_a_quarter_hour_is_kept_over_a_restart(part):
    part.world["grid.tie.import_w"] = 1.2e6
    part.clock.advance_ns((-part.clock.utc_ns()) % QUARTER_NS)
    part.go(902)
    assert part.desk._load_peaks() == {672: pytest.approx(1.2e6)}  # January 2026
    assert part.tag("planner.plan.peak_w").value >= 1.2e6 - 1


def test_a_bill_charges_this_months_peak_the_counted_ones_and_its_least(part):
    _, tariff = read_site(part.ctx)
    terms = tariff.terms
    least = terms.contract_share_min * terms.contract_kw * 1e3
    november, july, may = 682, 678, 676  # months since January 1970
    assert billed_peak_w({}, november, terms) == least
    assert billed_peak_w({july: 2e6}, november, terms) == 2e6
    assert billed_peak_w({may: 2e6}, november, terms) == least, "May is not counted"
    assert billed_peak_w({november: 1.9e6, july - 12: 2e6}, november, terms) == 1.9e6


def test_wrong_files_are_told_in_one_line(part, tmp_path, monkeypatch):
    monkeypatch.setattr(part_main, "FILE", "planner.toml")
    part.ctx.tags = TagTable.build([one for one in part.ctx.site.tags if one.owner != "planner"])
    with pytest.raises(PartError, match=r"planner\.plan\.source: there is no such tag"):
        read_site(part.ctx)


class Historian:
    def __init__(self, answer):
        self.answer, self.asked = answer, []

    def request(self, name, message, timeout_ms=0):
        self.asked.append((name, message["n"], len(message["tags"])))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class TestHistory:
    def test_means_of_quarter_hours(self):
        times = [10 * QUARTER_NS, 10 * QUARTER_NS + 5, 12 * QUARTER_NS, 99 * QUARTER_NS]
        answer = {"series": {"a": {"utc_ns": times, "value": [1.0, 3.0, None, 7.0]}}}
        assert recorded_means(Historian(answer), ["a"], 10, 20) == {"a": {10: 2.0}}

    @pytest.mark.parametrize("answer", [RequestTimeoutError("no"), {}, {"series": {"a": None}}])
    def test_no_history_is_no_failure(self, answer):
        assert recorded_means(Historian(answer), ["a"], 10, 20) == {}

    def test_asks_in_portions(self):
        historian = Historian({"series": {f"t{k}": {"utc_ns": [], "value": []} for k in range(40)}})
        recorded_means(historian, [f"t{k}" for k in range(40)], 0, 768)
        assert [one[2] for one in historian.asked] == [16, 16, 8]
        assert all(one[1] <= 4_800 for one in historian.asked)


def test_learns_from_the_historian(part):
    day = {quarter: 1e5 + 1e3 * (quarter % 96) for quarter in range(100)}
    now = part.clock.utc_ns() // QUARTER_NS
    means = {now - 100 + quarter: value for quarter, value in day.items()}

    class Recorded:
        def request(self, _name, message, _timeout_ms=0):
            times = [quarter * QUARTER_NS for quarter in means]
            return {"series": {tag: {"utc_ns": times, "value": list(means.values())} for tag in message["tags"]}}

    part.ctx.bus = Recorded()
    part.desk.remember()
    seen = part.desk._series["jincheon.homes"].last["own"].middle
    assert np.isfinite(seen).all()
    assert seen.min() > 9e4
