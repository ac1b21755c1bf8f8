"""The 10 ms loop: its process image and tags tick by tick; its thread by what it counts, never by how long it took."""

import ctypes
import math
import os
import select
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from gwanje.control.bench import PERIOD_NS, standalone_loop
from gwanje.core.clock import SystemClock
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.store import TagStore
from gwanje.core.tags.table import Tag, TagTable
from gwanje.ext.control_loop import FAST, LAWS, SLOW, SWAP_DONE, SWAP_REFUSES, SWAP_WAITS, ControlLoop
from gwanje.ext.reference.tie_line import HOLD, ISLAND, ISLAND_HOLD_S, RUN, TRACK, WAIT
from gwanje.ext.tagstore import StoreView

INPUTS = [
    "tie.import_w", "load.load_w", "pv.generation_w",
    "ess.discharge_w", "ess.soc", "ess.online", "ess.charge_w_max", "ess.discharge_w_max",
    "system.lease.tie_line_until_s", "breaker.closed",
]  # fmt: skip
MICROGRID = ["microgrid.state.law", "microgrid.tie.import_limit_w", "microgrid.ess.discharge_wanted_w"]
SETPOINT = "control.ess.discharge_setpoint_w"
SCALARS = [
    2.5e6, 2.0, 0.0, 0.0, 0.15, 4e4, 0.08, 0.3, 1.0, 0.0, 5e4, 1.0, 0.5, 1.0, 10.0, 0.05, 0.95, 60.0, 0.02, 0.15,
    0.06, 0.03, 0.5, 2.0, 0.0,
]  # fmt: skip
S = 1_000_000_000
NO_MICROGRID = np.full(len(MICROGRID), -1, np.int32)


def table():
    tags = [Tag(name, "", "field", stale_after_s=0.5) for name in INPUTS if not name.startswith("system")]
    tags += [Tag(name, "", "control") for name in (*FAST, SETPOINT, *SLOW)]
    tags += [Tag(name, "", "microgrid") for name in MICROGRID]
    tags.append(Tag("system.lease.tie_line_until_s", "s", "core"))
    return TagTable.build(tags)


class Bench:
    """A tag store in a folder, the loop on it, and hands to write what drivers would."""

    def __init__(self, folder):
        self.tags = table()
        self.store = TagStore.create(folder / "tags", self.tags)
        self.writers = {owner: self.store.writer(owner) for owner in ("field", "core", "control", "microgrid")}
        self.now = 100 * S
        self.loop = self.make()

    def make(self, **changes):
        arguments = {
            "store": self.store.view,
            "scalars": np.array(SCALARS),
            "delay_steps": 5,
            "battery": np.array([[5e5, 5e5, 1e6, 3.6e9]]),
            "meter_sign": np.array([1.0, -1.0]),
            "inputs": np.append(self.tags.indices(INPUTS), NO_MICROGRID),
            "fast": self.tags.indices([*FAST, SETPOINT]),
            "slow": self.tags.indices(SLOW),
        }
        return ControlLoop(**(arguments | changes))

    def write(self, name, value, quality=Quality.GOOD, age_s=0.0):
        owner = self.tags.get(name).owner
        self.writers[owner].write_one(self.tags.index(name), value, int(quality), 1, self.now - round(age_s * S))

    def city(self, import_w=3e5, load_w=8e5, pv_w=5e5, discharge_w=0.0, lease_s=5.0):
        values = [import_w, load_w, pv_w, discharge_w, 0.5, 1.0, 5e5, 5e5, 0.0, 1.0]
        for name, value in zip(INPUTS, values, strict=True):
            if name.startswith("system"):
                self.write(name, self.now / S + lease_s if lease_s else 0.0)
            else:
                self.write(name, value, Quality.SIMULATED)

    def tick(self, n=1):
        for _ in range(n):
            self.now += S // 100
            self.loop.tick(self.now, 0.01)

    def read(self, name):
        return self.store.read(self.tags.index(name))


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def test_controls_under_a_lease_and_writes_good_set_points(bench):
    bench.loop.set_setpoint(2e5)
    bench.city()
    bench.tick(3)
    assert bench.loop.mode == RUN
    setpoint = bench.read(SETPOINT)
    assert 0.0 < setpoint.value <= 2e5
    assert setpoint.quality == Quality.GOOD
    assert setpoint.received_mono_ns == bench.now
    assert bench.read("control.tie.net_load_w").value == 3e5
    assert bench.read("control.tie.error_w").value == 1e5
    assert bench.read("control.tie.error_w").quality == Quality.SIMULATED
    assert bench.read("control.loop.ticks").value == 3
    assert bench.read("control.tie.import_setpoint_w").value == 2e5


def test_without_lease_it_computes_and_marks_set_points_as_not_in_force(bench):
    bench.loop.set_setpoint(2e5)
    bench.city(lease_s=0.0, discharge_w=5e4)
    bench.tick(3)
    assert bench.loop.mode == TRACK
    assert bench.read(SETPOINT).value == 5e4
    assert bench.read(SETPOINT).quality == Quality.UNCERTAIN | Quality.BLOCKED


def test_lease_runs_out_by_the_monotonic_clock(bench):
    bench.loop.set_setpoint(2e5)
    bench.city(lease_s=0.05)
    bench.tick(3)
    assert bench.loop.in_force
    bench.tick(4)
    assert not bench.loop.in_force
    assert bench.loop.mode == TRACK


def test_open_breaker_ends_control(bench):
    bench.loop.set_setpoint(2e5)
    bench.city()
    bench.write("breaker.closed", 0.0)
    bench.tick(2)
    assert bench.loop.mode == TRACK


class Island(Bench):
    """The same beside a microgrid's controller."""

    def make(self, **changes):
        return super().make(**({"inputs": self.tags.indices([*INPUTS, *MICROGRID])} | changes))

    def said(self, law, wanted_w=math.nan, limit_w=math.nan, quality=Quality.GOOD, age_s=0.0):
        for name, value in zip(MICROGRID, (float(LAWS.index(law)), limit_w, wanted_w), strict=True):
            known = quality if math.isfinite(value) else Quality.BAD
            self.write(name, value, known, age_s)

    def setpoint(self):
        found = self.read(SETPOINT)
        assert found.quality == Quality.GOOD
        return found.value


@pytest.fixture
def island(tmp_path):
    found = Island(tmp_path)
    found.loop.set_setpoint(2e5)
    found.city()
    found.said("tie")
    found.tick(20)
    assert found.loop.mode == RUN
    return found


def test_a_microgrids_wish_is_relayed_from_the_tick_in_which_its_law_says_so(island):
    before = island.setpoint()
    island.city(import_w=0.0)
    island.write("breaker.closed", 0.0)
    island.tick()
    assert island.loop.mode == ISLAND
    assert island.setpoint() == before, "open, and nothing said of it yet: held"
    island.said("island", before + 5e4)
    island.tick(2)
    assert island.setpoint() == pytest.approx(before + 2e4), "no faster than the battery's ramp"
    island.city(import_w=0.0)
    island.write("breaker.closed", 0.0)
    island.said("island", before + 5e4)
    island.tick(6)
    assert island.setpoint() == before + 5e4
    island.said("island", 9e5)
    for _ in range(60):
        island.said("island", 9e5)
        island.city(import_w=0.0)
        island.tick()
    assert island.setpoint() == 5e5, "no more than its rating"
    assert island.loop.relaying
    assert island.loop.in_force


@pytest.mark.parametrize("trouble", ["stale", "bad", "uncertain"])
def test_what_a_microgrid_does_not_say_any_more_is_held_then_nothing(island, trouble):
    quality = {"bad": Quality.BAD, "uncertain": Quality.UNCERTAIN}.get(trouble, Quality.GOOD)
    for _ in range(40):
        island.city(import_w=0.0)
        island.said("island", 1e5)
        island.tick()
    before = island.setpoint()
    assert before == 1e5

    def tick():
        island.city(import_w=0.0)
        island.write("breaker.closed", 0.0)
        island.said("island", 3e5, quality=quality, age_s=0.4 if trouble == "stale" else 0.0)
        island.tick()

    for _ in range(round(ISLAND_HOLD_S * 100) - 1):
        tick()
        assert island.setpoint() == before
    for _ in range(20):
        tick()
    assert island.setpoint() == 0.0


def test_an_island_is_left_only_on_evidence(island):
    """A breaker that nobody sees, and no word of the microgrid's controller: it stays what it was."""
    for _ in range(20):
        island.city(import_w=0.0)
        island.said("island", 1e5)
        island.tick()
    for _ in range(300):
        island.city(import_w=0.0)
        island.write("breaker.closed", 1.0, Quality.BAD)
        island.said("island", 1e5, age_s=9.0)
        island.tick()
        assert island.loop.mode == ISLAND, "not a tie line that is dead"
    island.city()
    island.tick()
    assert island.loop.mode == RUN, "the breaker is seen closed"


def test_a_tie_line_stays_one_while_nothing_is_known(island):
    for _ in range(30):
        island.city()
        island.write("breaker.closed", 0.0, Quality.BAD)
        island.said("island", 1e5, quality=Quality.BAD)
        island.tick()
        assert island.loop.mode == RUN


def test_back_at_the_utility_the_law_begins_from_what_is_commanded(island):
    for _ in range(50):
        island.city(import_w=0.0, discharge_w=2.4e5, load_w=7.4e5)
        island.said("sync", 2e5)
        island.tick()
    assert island.setpoint() == 2e5
    for number in range(40):
        island.city(import_w=0.0, discharge_w=2.4e5, load_w=7.4e5)
        island.said("tie")
        island.tick()
        assert island.loop.mode == RUN
        assert abs(island.setpoint() - 2e5) < 2e4 + 1e4 * number, "no jump"
    assert island.read("control.tie.import_setpoint_w").value == pytest.approx(0.08 * 2.5e6 * 0.4), "it glides back"


def test_the_set_point_is_driven_to_nothing_before_an_islanding_and_narrowed_by_a_limit(island):
    for _ in range(30):
        island.city()
        island.said("drive_tie_to_zero")
        island.tick()
    assert island.loop.mode == RUN
    assert island.read("control.tie.import_setpoint_w").value == pytest.approx(2e5 - 0.3 * 2e5)
    for _ in range(200):
        island.city()
        island.said("drive_tie_to_zero")
        island.tick()
    assert island.read("control.tie.import_setpoint_w").value == 0.0
    for _ in range(200):
        island.city()
        island.said("tie", limit_w=1.5e5)
        island.tick()
    assert island.read("control.tie.import_setpoint_w").value == 1.5e5
    for _ in range(100):
        island.city()
        island.said("tie", limit_w=9e5)
        island.tick()
    assert island.read("control.tie.import_setpoint_w").value == 2e5, "a limit only narrows"


def test_an_islands_controller_without_a_lease_moves_nothing(island):
    island.city(lease_s=0.0)
    island.said("island", 3e5)
    island.tick(3)
    assert island.loop.mode == TRACK
    assert island.read(SETPOINT).quality == Quality.UNCERTAIN | Quality.BLOCKED


@pytest.mark.parametrize("quality", [Quality.BAD, Quality.BAD | Quality.COMM])
def test_bad_import_is_held_then_given_up(bench, quality):
    bench.loop.set_setpoint(2e5)
    bench.city()
    bench.tick(2)
    bench.write("tie.import_w", 9e9, quality)
    bench.tick(40)
    assert bench.loop.mode == HOLD
    assert bench.loop.import_w == 3e5
    bench.city()
    bench.write("tie.import_w", 9e9, quality)
    bench.tick(80)
    assert bench.loop.mode == WAIT
    assert bench.read("control.tie.error_w").quality & Quality.BAD


def test_stale_tags_are_bad_by_their_age(bench):
    bench.loop.set_setpoint(2e5)
    bench.city()
    bench.write("load.load_w", 8e5, age_s=0.6)
    bench.tick(2)
    assert bench.loop.meters_live == (False, True)
    assert bench.read("control.tie.net_load_w").quality & Quality.UNCERTAIN
    bench.write("load.load_w", math.nan)
    bench.tick(2)
    assert bench.loop.meters_live == (False, True)


def test_battery_outside_the_lease_is_left_alone(bench):
    bench.loop.set_setpoint(2e5)
    bench.loop.set_leased_batteries(0)
    bench.city()
    bench.tick(3)
    assert bench.loop.batteries_usable == (False,)
    assert bench.read(SETPOINT).quality & Quality.UNCERTAIN


def test_offline_battery_is_excluded(bench):
    bench.loop.set_setpoint(2e5)
    bench.city()
    bench.write("ess.online", 0.0)
    bench.tick(2)
    assert bench.loop.batteries_usable == (False,)


def test_restart_takes_up_the_measured_discharge(bench):
    bench.loop.set_setpoint(1e5)
    bench.city(import_w=1e5, discharge_w=2e5)
    bench.tick(3)
    assert bench.read(SETPOINT).value == pytest.approx(2e5, abs=1.0)


def test_slow_tags_come_once_a_second(bench):
    bench.city()
    bench.loop.set_setpoint(2e5)
    bench.loop.set_strategy(1.0)
    bench.tick(1)
    first = bench.read("control.tie.strategy")
    assert (first.value, first.received_mono_ns) == (1.0, bench.now)
    bench.tick(99)
    assert bench.read("control.tie.strategy").received_mono_ns == first.received_mono_ns
    bench.tick(1)
    assert bench.read("control.tie.strategy").received_mono_ns == bench.now
    assert bench.read("control.loop.fifo").value == 0.0


def test_tie_error_is_rated_once_per_sample(bench):
    bench.loop.set_setpoint(2e5)
    for _ in range(20):
        bench.city(import_w=2.5e5)
        bench.tick(5)
    assert bench.loop.rms_pct == pytest.approx(2.0)


def test_sites_without_lease_tag_take_the_lease_from_their_shell(bench):
    ids = bench.tags.indices(INPUTS)
    ids[-2:] = -1
    bench.loop = bench.make(inputs=np.append(ids, NO_MICROGRID))
    bench.loop.set_setpoint(2e5)
    bench.city(lease_s=0.0)
    bench.tick(1)
    assert bench.loop.mode == TRACK
    bench.loop.set_lease(bench.now + S)
    bench.tick(1)
    assert bench.loop.mode == RUN


def params(**changes):
    """Arguments of ``set_params`` with some scalars changed, by their index."""
    scalars = np.array(SCALARS)
    for index, value in changes.items():
        scalars[int(index.removeprefix("s"))] = value
    return scalars, 5, np.array([[5e5, 5e5, 1e6, 3.6e9]]), np.array([1.0, -1.0])


KI, KP, LEAD_S, LAG_S, SOC_MIN = "s1", "s2", "s3", "s6", "s15"


def test_other_gains_are_taken_in_the_middle_of_a_transient_without_a_bump(bench, tmp_path):
    (tmp_path / "twin").mkdir()
    twin = Bench(tmp_path / "twin")
    for one in (bench, twin):
        one.loop.set_setpoint(2e5)
        one.city()
        one.tick(20)
        one.city(import_w=4e5, load_w=9e5)
        one.tick(3)
    bench.loop.set_params(*params(**{KI: 5.0, KP: 0.5, LEAD_S: 0.3, LAG_S: 0.2}), bump_w_max=0.005 * 2.5e6)
    assert bench.loop.swapped[0] == SWAP_WAITS
    bench.tick()
    twin.tick()
    state, bump_w = bench.loop.swapped
    assert state == SWAP_DONE
    assert bump_w <= 0.005 * 2.5e6
    assert abs(bench.read(SETPOINT).value - twin.read(SETPOINT).value) <= 0.005 * 2.5e6
    bench.tick(100)
    assert bench.read("control.tuning.bump_pct").value == pytest.approx(100 * bump_w / 2.5e6)


def test_a_bump_is_refused_after_its_tries_and_the_old_parameters_stay(bench):
    bench.loop.set_setpoint(0.0)
    bench.city(import_w=0.0, discharge_w=3e5)
    bench.tick(20)
    before = bench.read(SETPOINT).value
    bench.loop.set_params(*params(**{SOC_MIN: 0.6}), bump_w_max=12.5e3, tries=5)  # the charge is 0.5: no discharge
    bench.tick(4)
    assert bench.loop.swapped[0] == SWAP_WAITS
    bench.tick(3)
    assert bench.loop.swapped[0] == SWAP_REFUSES
    assert bench.loop.swapped[1] >= 2e5
    assert bench.read(SETPOINT).value >= before


def test_a_forced_change_is_taken_at_its_last_try(bench):
    bench.loop.set_setpoint(0.0)
    bench.city(import_w=0.0, discharge_w=3e5)
    bench.tick(20)
    bench.loop.set_params(*params(**{SOC_MIN: 0.6}), bump_w_max=12.5e3, tries=5, force=True)
    bench.tick(4)
    assert bench.read(SETPOINT).value > 2e5
    bench.tick(1)
    assert bench.loop.swapped[0] == SWAP_DONE
    assert bench.read(SETPOINT).value == 0.0


def test_a_later_change_replaces_one_that_waits(bench):
    bench.loop.set_setpoint(0.0)
    bench.city(import_w=0.0, discharge_w=3e5)
    bench.tick(20)
    bench.loop.set_params(*params(**{SOC_MIN: 0.6}), bump_w_max=12.5e3, tries=1000)
    bench.tick(3)
    bench.loop.set_params(*params(**{KI: 3.0}), bump_w_max=12.5e3)
    bench.tick()
    assert bench.loop.swapped[0] == SWAP_DONE


def test_tuning_that_does_not_fit_the_loop_is_refused(bench):
    scalars, steps, battery, sign = params()
    for wrong in (
        (scalars, steps, np.vstack([battery, battery]), sign),
        (scalars, steps, battery, np.array([1.0])),
        (params(s0=3e6)[0], steps, battery, sign),
        (params(s2=1.5)[0], steps, battery, sign),
    ):
        with pytest.raises(ValueError, match=r"."):
            bench.loop.set_params(*wrong, bump_w_max=1e4)
    with pytest.raises(ValueError, match="tries"):
        bench.loop.set_params(scalars, steps, battery, sign, bump_w_max=1e4, tries=0)
    assert bench.loop.swapped[0] == 0


def test_what_is_tuned_is_shown_once_a_second(bench):
    bench.city()
    bench.loop.set_tuning(4.0, 3.0, 59.0)
    bench.tick()
    shown = [bench.read(f"control.tuning.{name}").value for name in ("change_set", "kept", "watch_left_s")]
    assert shown == [4.0, 3.0, 59.0]
    assert bench.read("control.tuning.bump_pct").quality & Quality.BAD


@pytest.mark.parametrize(
    "changes",
    [
        {"inputs": np.zeros(3, np.int32)},
        {"inputs": np.full(10, 5000, np.int32)},
        {"fast": np.zeros(2, np.int32)},
        {"slow": np.full(len(SLOW), -1, np.int32)},
        {"period_ns": 10},
        {"scalars": np.zeros(len(SCALARS))},
    ],
)
def test_what_does_not_fit_is_refused(bench, changes):
    with pytest.raises(ValueError, match=r"."):
        bench.make(**changes)


def until(condition, seconds=30.0):
    """Let real time pass until a count says so; a broken loop ends in the assertion, not in a hang."""
    clock = SystemClock()
    end = clock.mono_ns() + round(seconds * S)
    while not condition() and clock.mono_ns() < end:
        select.select([], [], [], 0.005)
    assert condition()


def test_other_parameters_are_taken_while_the_thread_runs():
    loop = standalone_loop()
    batteries, meters = len(loop.batteries_usable), len(loop.meters_live)
    battery, sign = np.full((batteries, 4), 5e5), np.ones(meters)
    loop.start(fifo_priority=0, cpus=(-1, -1), lock_memory=False)
    for ki_per_s in (1.0, 2.0, 3.0, 4.0, 5.0):
        scalars, steps, _, _ = params(**{KI: ki_per_s})
        loop.set_params(scalars, steps, battery, sign, 12.5e3)
        until(lambda: loop.swapped[0] == SWAP_DONE)
    ticks = loop.ticks
    until(lambda: loop.ticks > ticks + 3)
    loop.stop()
    assert loop.swapped == (SWAP_DONE, 0.0)


def test_thread_counts_ticks_and_every_period_is_accounted_for():
    loop = standalone_loop()
    clock = SystemClock()
    before = clock.mono_ns()
    loop.start(fifo_priority=0, lock_memory=False)
    until(lambda: loop.ticks >= 20)
    loop.stop()
    periods = (clock.mono_ns() - before) // 10_000_000
    assert 20 <= loop.ticks + loop.lost <= periods + 1
    assert not loop.running
    assert loop.refused == (-1, -1, -1)
    assert 0.0 <= loop.late_us(0.5) <= loop.late_us(0.999) <= loop.late_max_us + 1e-9


def test_racing_threads_take_each_deadline_once():
    loop = standalone_loop()
    clock = SystemClock()
    loop.start(fifo_priority=0, cpus=(-1,) * 8, lock_memory=False)
    before = clock.mono_ns()
    until(lambda: loop.ticks >= 50)
    loop.stop()
    periods = (clock.mono_ns() - before) // 10_000_000
    assert 50 <= loop.ticks + loop.lost <= periods + 2
    with pytest.raises(ValueError, match="threads"):
        loop.start(cpus=(-1,) * 9)


KEEP_A_PROCESSOR = """
import os, sys, time
os.sched_setaffinity(0, {int(sys.argv[1])})
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(95))
end = time.monotonic() + 0.4
while time.monotonic() < end:
    pass
"""


def test_the_loop_goes_on_when_one_processor_is_taken_away():
    """As a host does to a virtual machine: a process of higher priority keeps one of the loop's two processors."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        pytest.skip("needs two processors")
    loop = standalone_loop()
    loop.start(cpus=allowed[-2:], lock_memory=False)
    try:
        until(lambda: loop.ticks >= 10)
        if loop.refused[0] != 0:
            pytest.skip(f"SCHED_FIFO refused: {os.strerror(loop.refused[0])}")
        for cpu in allowed[-2:]:
            # From before until after: on a loaded machine this process may learn of the beginning after the end.
            before, began_s = loop.ticks, time.monotonic()
            with subprocess.Popen([sys.executable, "-c", KEEP_A_PROCESSOR, str(cpu)]) as hog:
                assert hog.wait(60) == 0
            ticks, periods = loop.ticks - before, (time.monotonic() - began_s) * 1e9 / PERIOD_NS
            assert periods - ticks <= 20, f"{ticks} ticks in {periods:.0f} periods while processor {cpu} was kept"
    finally:
        loop.stop()


def test_a_held_gil_does_not_hold_the_loop():
    """The test's own thread keeps the GIL inside a C call of 300 ms; the loop goes on counting."""
    loop = standalone_loop()
    loop.start(lock_memory=False)
    until(lambda: loop.ticks >= 5)
    wait_with_gil = ctypes.PyDLL(None).poll  # PyDLL keeps the GIL during the call
    before = loop.ticks
    wait_with_gil(None, 0, 300)
    after = loop.ticks
    loop.stop()
    assert after > before


def test_a_thread_that_computes_in_python_does_not_hold_the_loop():
    stop = threading.Event()

    def hog():
        number = 0
        while not stop.is_set():
            number = (number * 31 + 7) % 1_000_003

    thread = threading.Thread(target=hog)
    loop = standalone_loop()
    thread.start()
    try:
        loop.start(lock_memory=False)
        until(lambda: loop.ticks >= 30)
    finally:
        stop.set()
        thread.join()
        loop.stop()


def test_start_and_stop_can_be_repeated_and_statistics_begin_anew():
    loop = standalone_loop()
    loop.start(fifo_priority=0, lock_memory=False)
    with pytest.raises(RuntimeError, match="runs already"):
        loop.start()
    with pytest.raises(RuntimeError, match="runs"):
        loop.tick(1, 0.01)
    until(lambda: loop.ticks >= 2)
    loop.stop()
    loop.stop()
    loop.reset_statistics()
    assert loop.ticks == 0
    assert math.isnan(loop.late_us(0.5))
    loop.start(fifo_priority=0, lock_memory=False)
    until(lambda: loop.ticks >= 2)
    loop.stop()


def test_loop_is_stopped_with_its_object():
    loop = standalone_loop()
    loop.start(fifo_priority=0, lock_memory=False)
    del loop
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    assert "gwanje-loop" not in names


def test_store_is_kept_alive_by_the_loop(tmp_path):
    bench = Bench(tmp_path)
    loop = bench.make()
    view = bench.store.view
    assert isinstance(view, StoreView)
    del bench, view
    loop.tick(200 * S, 0.01)
    assert loop.ticks == 1
