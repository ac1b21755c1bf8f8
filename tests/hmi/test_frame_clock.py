"""Frames on a virtual clock: rates, phases, hidden views, lateness, degradation."""

from collections import Counter

import pytest

from gwanje.core.clock import VirtualClock
from gwanje.hmi.clock import FrameClock
from gwanje.hmi.schedule import EVERY, FRAME_NS, LATE_WINDOW, Schedule


def run(schedule, n, now=0, step=FRAME_NS):
    counted = Counter()
    for _ in range(n):
        counted.update(schedule.tick(now))
        now += step
    return counted, now


def test_every_class_has_its_rate():
    counted, _ = run(Schedule(), 300)
    assert counted == {name: 300 // every for name, every in EVERY.items()}


def test_slow_classes_do_not_fall_into_one_frame():
    schedule = Schedule()
    most = max(len(schedule.tick(frame * FRAME_NS)) for frame in range(60))
    assert most <= 3


def test_a_frame_is_served_once():
    schedule = Schedule()
    assert schedule.tick(0)
    assert schedule.tick(FRAME_NS // 3) == ()


def test_missed_frames_are_counted_and_classes_still_take_turns():
    schedule = Schedule()
    counted, _ = run(schedule, 300, step=2 * FRAME_NS)
    assert schedule.skipped == 299
    assert counted["trend"] == 300 // EVERY["trend"]


def test_a_late_screen_runs_at_half_rate_and_recovers():
    schedule = Schedule()
    _, now = run(schedule, LATE_WINDOW, step=3 * FRAME_NS)
    assert schedule.degraded
    counted, now = run(schedule, LATE_WINDOW, now)
    assert counted["fast"] == pytest.approx(LATE_WINDOW / 2, abs=1)
    assert not schedule.degraded
    counted, _ = run(schedule, 30, now)
    assert counted["fast"] == 30


def test_lateness_is_measured_from_the_first_frame_nobody_served():
    schedule = Schedule()
    schedule.tick(0)
    schedule.tick(FRAME_NS + 5_000_000)
    assert schedule.late_ns(100) == 5_000_000


def test_hidden_views_are_passed_over(application):
    clock, calls, seen = VirtualClock(), [], [True]
    frames = FrameClock(clock)
    frames.add("fast", calls.append, lambda: seen[0])
    frames.tick()
    seen[0] = False
    clock.advance_ns(FRAME_NS)
    frames.tick()
    seen[0] = True
    clock.advance_ns(FRAME_NS)
    frames.tick()
    assert len(calls) == 2


def test_the_timer_aims_at_absolute_deadlines(application):
    """However long a frame takes, the next one is asked for at its own time."""
    clock, frames_taken = VirtualClock(), []
    frames = FrameClock(clock)
    frames.add("fast", lambda now: (frames_taken.append(now), clock.advance_ns(7_000_000)))
    frames.start()
    assert frames._timer.remainingTime() <= 27
    assert frames._timer.interval() == 27
    frames.stop()
    assert not frames._timer.isActive()


def test_an_unknown_rate_is_refused(application):
    with pytest.raises(ValueError, match="none of fast"):
        FrameClock(VirtualClock()).add("often", print)
