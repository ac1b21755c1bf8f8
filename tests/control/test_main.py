"""The control part's shell: publishes, tells, supervises; with a real store and bus, and time moved by the test."""

import logging
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from hearing import Ear

from gwanje.control.lease import LeaseKeeper, LeaseThread
from gwanje.control.loop import allowed_processors, build_loop, input_ids, processors
from gwanje.control.main import Shell, main, read_config
from gwanje.control.microgrid.params import parse
from gwanje.control.tuning.desk import Desk
from gwanje.control.tuning.loop_hand import LoopHand
from gwanje.control.tuning.owner import CONTROL
from gwanje.control.tuning.part import tuning_file
from gwanje.control.tuning.taken_up import taken_up
from gwanje.core.authority.principal import Role
from gwanje.core.bus.bus import Bus
from gwanje.core.bus.messages import Event
from gwanje.core.bus.scan import Scan
from gwanje.core.city.part import Heartbeat, PartContext, PartError, RunOptions
from gwanje.core.clock import VirtualClock
from gwanje.core.commands.messages import Command, Granted, Released
from gwanje.core.site.config import load_site
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.store import TagStore
from gwanje.ext.reference.tie_line import RUN, WAIT

CHUNGBUK = Path(__file__).parents[2] / "configs" / "chungbuk"
S = 1_000_000_000
WORLD = {
    "grid.tie.import_w": -100e3, "jincheon.homes.load_w": 150e3, "jincheon.factory.load_w": 500e3,
    "jincheon.ev_site.load_w": 100e3, "eumseong.heat_pump.load_w": 100e3, "city.lamps.load_w": 50e3,
    "jincheon.pv_roof.generation_w": 500e3, "eumseong.pv_float.generation_w": 400e3,
    "eumseong.wind1.generation_w": 100e3, "jincheon.ess1.discharge_w": 0.0, "eumseong.ess2.discharge_w": 0.0,
    "jincheon.ess1.soc": 0.5, "eumseong.ess2.soc": 0.5, "jincheon.ess1.online": 1.0, "eumseong.ess2.online": 1.0,
    "grid.breaker.closed": 1.0,
}  # fmt: skip


class Client:
    """A command path that grants."""

    def lease(self, name, points, ttl_s, reason):
        return Granted(name, "id", tuple(points), 1)

    def renew(self, name):
        return Granted(name, "id", (), 1)

    def release(self, name):
        return Released(name)


class RunningLoop:
    """The compiled loop stepped by the test in place of its thread."""

    def __init__(self, loop):
        self._loop = loop
        self.running = True

    def __getattr__(self, name):
        return getattr(self._loop, name)


class Part:
    def __init__(self, folder):
        self.site = load_site(CHUNGBUK)
        tags = self.site.tags
        self.clock = VirtualClock()
        self.store = TagStore.create(folder / "tags", tags)
        self.writers = {owner: self.store.writer(owner) for owner in ("field", "core", "control", "planner")}
        self.bus = Bus(folder, "control", self.clock, tags.n)
        self.stop_fd, self.stop_write = os.pipe()
        self.ctx = PartContext(
            "control", self.site, tags, self.store, self.clock, self.bus, folder, RunOptions(), self.stop_fd,
            logging.getLogger("test"), Heartbeat(folder, "control"),
        )  # fmt: skip
        self.config = parse(self.site.control)
        self.loop = RunningLoop(build_loop(self.config, self.site.rating_w, tags, self.store.view))
        points = [one.setpoint_tag for one in self.config.battery]
        self.keeper = LeaseKeeper(Client(), "tie_line", points, "test")
        self.hear = Ear(Bus(folder, "hmi", self.clock, tags.n), self.bus.publisher(), ["scan", "event"])
        self.recorded = []
        state = tuning_file(self.ctx, CONTROL)
        taken = taken_up(state, self.config, self.clock)
        self.desk = Desk(self.config, taken, LoopHand(self.loop, self.site.rating_w), state, self.clock, self.record)
        self.shell = Shell(self.ctx, self.desk, self.loop, self.keeper)
        self.world = dict(WORLD)
        self.plan = {}
        self.scans: list[Scan] = []
        self.events: list[Event] = []

    def record(self, entry):
        self.recorded.append(entry)
        return ""

    def write(self, owner, name, value):
        now = self.clock.mono_ns()
        self.writers[owner].write_one(self.site.tags.index(name), value, int(Quality.GOOD), self.clock.utc_ns(), now)

    def go(self, seconds):
        for _ in range(round(seconds * 10)):
            for _ in range(10):
                self.clock.advance_ns(S // 100)
                for name, value in self.world.items():
                    self.write("field", name, value)
                for name, value in self.plan.items():
                    self.write("planner", name, value)
                self.write("core", "system.lease.tie_line_until_s", self.clock.mono_ns() / S + 5.0)
                self.loop.tick(self.clock.mono_ns(), 0.01)
            self.shell.turn()
            self.collect()

    def collect(self):
        for message in self.hear.all():
            (self.scans if isinstance(message, Scan) else self.events).append(message)


@pytest.fixture
def part(tmp_path):
    part = Part(tmp_path)
    yield part
    part.hear.close()
    part.bus.close()


def test_takes_the_import_as_it_is_and_then_controls(part):
    part.go(2)
    assert part.loop.mode == RUN
    assert part.store.read(part.site.tags.index("control.tie.import_setpoint_w")).value == pytest.approx(-100e3, abs=50)
    assert part.ctx.beat.last_mono_ns() == part.clock.mono_ns()


def test_publishes_fast_tags_at_ten_hertz_and_all_once_a_second(part):
    part.go(4)
    names = [part.site.tags.by_id(int(one)).name for one in part.scans[-1].ids]
    sizes = [len(scan.ids) for scan in part.scans[-20:]]
    assert set(sizes) == {10, 23}
    assert sizes.count(23) == 2
    assert "control.ess1.discharge_setpoint_w" in names
    assert np.isfinite(part.scans[-1].values[:8]).all()


def test_a_commanded_import_is_reached_by_its_ramp(part):
    part.go(2)
    now = part.clock.mono_ns()
    point = "control.tie.import_setpoint_w"
    command = Command("c1", point, -90e3, "W", "kim", Role.OPERATOR, "", "peak", now, 0, now + 5 * S)
    assert part.shell.commands.carry_out(command) is None
    tag = part.site.tags.index(point)
    part.go(2)
    assert -100e3 < part.store.read(tag).value < -94e3, "2 kW a second"
    part.go(5)
    assert part.store.read(tag).value == -90e3
    assert part.store.read(part.site.tags.index("control.tie.strategy")).value == 2.0


PLAN = {
    "planner.plan.age_s": 5.0, "planner.plan.peak_w": 750e3, "planner.ess1.discharge_setpoint_w": 30e3,
    "planner.ess2.discharge_setpoint_w": -10e3,
}  # fmt: skip


def choose(part, value):
    now = part.clock.mono_ns()
    point = "control.tie.strategy"
    command = Command(f"c{now}", point, value, "", "kim", Role.OPERATOR, "", "plan", now, 0, now + 5 * S)
    assert part.shell.commands.carry_out(command) is None


def setpoint_w(part):
    return part.store.read(part.site.tags.index("control.tie.import_setpoint_w")).value


class TestPlan:
    def test_is_followed_when_it_is_chosen(self, part):
        part.plan = dict(PLAN)
        part.go(2)
        choose(part, 3.0)
        part.go(15)
        assert setpoint_w(part) == pytest.approx(-100e3 - 20e3, abs=4_000)
        assert part.store.read(part.site.tags.index("control.tie.strategy")).value == 3.0
        assert "plan_missing" not in [event.class_name for event in part.events]

    def test_its_peak_is_kept(self, part):
        part.plan = PLAN | {"planner.plan.peak_w": -130e3}
        part.go(2)
        choose(part, 3.0)
        part.go(20)
        assert setpoint_w(part) == pytest.approx(-130e3, abs=500)

    @pytest.mark.parametrize("dies", [True, False])
    def test_a_planner_that_dies_or_plans_no_more_leaves_it_smooth_without_a_bump(self, part, dies):
        part.plan = dict(PLAN)
        part.go(2)
        choose(part, 3.0)
        part.go(15)
        before_w = setpoint_w(part)
        if dies:
            part.plan = {}
        else:
            part.plan["planner.plan.age_s"] = 901.0
        moved = []
        for _ in range(20):
            part.go(1)
            moved.append(abs(setpoint_w(part) - before_w))
            before_w = setpoint_w(part)
        assert max(moved) <= part.config.setpoint.ramp_w_per_s + 1
        assert setpoint_w(part) == pytest.approx(-100e3, abs=4_000)
        told = [event for event in part.events if event.class_name == "plan_missing"]
        assert len(told) == 1
        assert (told[0].source, "운전계획" in told[0].text_ko, "no plan" in told[0].text_en) == ("control", True, True)
        part.plan = dict(PLAN)
        part.go(15)
        assert setpoint_w(part) == pytest.approx(-120e3, abs=6_000)
        assert "plan_missing_ended" in [event.class_name for event in part.events]

    def test_what_it_wants_of_a_battery_that_is_out_is_wanted_of_nobody(self, part):
        part.plan = dict(PLAN)
        part.world["jincheon.ess1.online"] = 0.0
        part.go(2)
        choose(part, 3.0)
        part.go(15)
        assert setpoint_w(part) == pytest.approx(-100e3 + 10e3, abs=4_000)


def test_tells_a_dead_battery_link_once_in_both_languages(part):
    part.go(3)
    part.world["jincheon.ess1.online"] = 0.0
    part.go(4)
    told = [event for event in part.events if event.class_name == "battery_excluded"]
    assert len(told) == 1
    assert (told[0].kind, told[0].source) == ("control", "ess1")
    assert told[0].text_ko.startswith("진천 ESS")
    assert told[0].text_en.startswith("Jincheon ESS")
    part.world["jincheon.ess1.online"] = 1.0
    part.go(5)
    assert [event.class_name for event in part.events if "battery" in event.class_name][-1] == "battery_excluded_ended"


def test_tells_a_missing_import(part):
    part.go(3)
    del part.world["grid.tie.import_w"]
    part.go(4)
    assert part.loop.mode == WAIT
    assert "import_missing" in [event.class_name for event in part.events]


def test_an_ended_loop_ends_the_part(part):
    part.loop.running = False
    with pytest.raises(PartError, match="thread has ended"):
        part.shell.turn()


def test_an_ended_lease_thread_ends_the_part(part):
    asked = threading.Event()

    def wanted():
        asked.set()
        raise OSError("too many open files")

    thread = LeaseThread(part.keeper, wanted)
    thread.start()
    assert asked.wait(30)
    thread.close(30)
    with pytest.raises(PartError, match="too many open files"):
        part.shell.turn()


def test_every_input_of_the_default_site_has_a_tag(part):
    assert (input_ids(part.config, part.site.tags) >= 0).all()


def test_wrong_configuration_is_one_line(part):
    part.site.control["loop"]["period_ms"] = 0
    with pytest.raises(PartError, match=r"^control.toml: loop.period_ms: 0 is not within 1…100$"):
        read_config(part.ctx)


def test_second_control_part_is_refused(part):
    with pytest.raises(PartError, match="another process writes"):
        main(part.ctx)


def test_whole_part_starts_and_leaves_when_asked(part):
    part.writers["control"].close()
    os.write(part.stop_write, b"x")
    main(part.ctx)
    assert part.store.writer("control").owner == "control"


@pytest.mark.parametrize(
    ("threads", "allowed", "got"),
    [(1, {0, 1}, (1,)), (2, {0, 1}, (0, 1)), (2, {0, 1, 5}, (1, 5)), (4, {0, 1}, (0, 1)), (2, set(), (-1,))],
)
def test_processors(threads, allowed, got):
    assert processors(threads, frozenset(allowed)) == got
    assert allowed_processors()
