"""Conditions look by look, and the columns of the engine against their plain twin."""

import math
from typing import Any

import numpy as np
import pytest
from alarms.made import BAD, GOOD, STALE, S, alarm, quick
from hypothesis import given, settings
from hypothesis import strategies as st

from gwanje.core.alarms.conditions import RATE_SLOTS, Reading, Watch, look
from gwanje.core.alarms.definitions import STATE_MAX, AlarmDefinition, Condition
from gwanje.core.alarms.engine import ONSET_AGE_MAX_NS, Engine
from gwanje.core.clock import VirtualClock
from gwanje.core.tags.quality import Quality


class Watched:
    """One alarm on a virtual clock."""

    def __init__(self, definition: AlarmDefinition) -> None:
        self.definition = definition
        self.clock = VirtualClock()
        self.watch = Watch()

    def look(self, value: float, quality: int = GOOD, after_s: float = 0.0, other: float = math.nan) -> bool:
        self.clock.advance_ns(round(after_s * S))
        self.watch = look(self.definition, self.watch, Reading(value, quality, other), self.clock.mono_ns())
        return self.watch.active


def test_on_delay_and_off_delay() -> None:
    one = Watched(alarm())
    assert not one.look(101.0)
    assert not one.look(101.0, after_s=1.999)
    assert one.look(101.0, after_s=0.001)
    assert one.look(50.0)
    assert one.look(50.0, after_s=2.999)
    assert not one.look(50.0, after_s=0.001)


def test_a_spike_shorter_than_the_delay_raises_nothing_and_starts_the_delay_anew() -> None:
    one = Watched(alarm())
    one.look(101.0)
    one.look(101.0, after_s=1.9)
    one.look(99.0, after_s=0.05)
    assert not one.look(101.0, after_s=0.05)
    assert not one.look(101.0, after_s=1.9)
    assert one.look(101.0, after_s=0.1)


def test_deadband_keeps_a_value_on_the_limit_from_chattering() -> None:
    one = Watched(quick(deadband=10.0))
    assert one.look(100.5)
    for value in (99.0, 91.0, 90.5):
        assert one.look(value, after_s=1.0), value
    assert not one.look(90.0, after_s=1.0)
    assert not one.look(99.0, after_s=1.0), "back under the limit is not over it"


@pytest.mark.parametrize(
    ("changes", "raises", "not_"),
    [
        ({"condition": Condition.ABOVE, "limit": 100.0}, 100.1, 100.0),
        ({"condition": Condition.BELOW, "limit": 100.0}, 99.9, 100.0),
        ({"condition": Condition.EQUALS, "limit": 2.0}, 2.0, 3.0),
        ({"condition": Condition.STATE, "states": frozenset({4, 6})}, 6.0, 5.0),
        ({"condition": Condition.STATE, "states": frozenset({4, 6})}, 4.0, 4.5),
        ({"condition": Condition.STATE, "states": frozenset({0, STATE_MAX})}, float(STATE_MAX), STATE_MAX + 1.0),
        ({"condition": Condition.STATE, "states": frozenset({0})}, 0.0, -1.0),
    ],
)
def test_limits_and_states(changes: dict[str, Any], raises: float, not_: float) -> None:
    assert Watched(quick(**changes)).look(raises)
    assert not Watched(quick(**changes)).look(not_)


def test_a_discrepancy_is_two_tags_that_differ_for_a_time() -> None:
    one = Watched(alarm(condition=Condition.DISCREPANCY, other="x", limit=50.0, on_delay_s=5.0, off_delay_s=0.0))
    assert not one.look(100.0, other=160.0)
    assert not one.look(100.0, other=160.0, after_s=4.9)
    assert one.look(100.0, other=160.0, after_s=0.1)
    assert one.look(100.0, other=145.0, after_s=1.0), "within the deadband"
    assert one.look(100.0, other=math.nan, after_s=1.0), "an unknown readback is no agreement"
    assert not one.look(100.0, other=139.0, after_s=1.0)


def test_a_setpoint_that_nobody_may_send_is_not_followed() -> None:
    one = Watched(quick(condition=Condition.DISCREPANCY, other="x", limit=50.0))
    assert not one.look(100.0, quality=BLOCKED, other=400.0)
    assert one.look(100.0, other=400.0)
    assert one.look(100.0, quality=BLOCKED, other=100.0), "nor does it tell that all is well again"


def test_a_rate_is_the_change_over_its_window() -> None:
    one = Watched(quick(condition=Condition.RATE, limit=1.0, window_s=2.0))
    value = 0.0
    for _ in range(20):  # 0.5 per second
        value += 0.1
        assert not one.look(value, after_s=0.2)
    raised = []
    for _ in range(15):  # 2 per second
        value += 0.4
        raised.append(one.look(value, after_s=0.2))
    assert raised[-1]
    assert not raised[0], "one step is not two seconds"
    for _ in range(15):
        still = one.look(value, after_s=0.2)
    assert not still
    for _ in range(15):
        value -= 0.4
        fell = one.look(value, after_s=0.2)
    assert fell, "falling is a rate too"


def test_a_rate_is_not_told_over_a_gap_of_bad_values() -> None:
    one = Watched(quick(condition=Condition.RATE, limit=1.0, window_s=1.0))
    for _ in range(10):
        one.look(0.0, after_s=0.2)
    one.look(500.0, BAD, after_s=0.2)
    for _ in range(5):
        assert not one.look(500.0, after_s=0.2)
    assert not one.look(500.0, after_s=0.2)


@pytest.mark.parametrize("quality", [BAD, STALE, int(Quality.BAD | Quality.NEVER)])
def test_a_bad_value_never_raises_a_limit_alarm(quality: int) -> None:
    assert not Watched(quick()).look(1e9, quality, after_s=100.0)
    one = Watched(alarm())
    one.look(101.0)
    one.look(101.0, quality, after_s=1.5)
    assert not one.look(101.0, after_s=1.0), "the delay begins anew with the first value to be believed"


def test_a_bad_value_does_not_return_an_alarm_either() -> None:
    one = Watched(quick())
    one.look(200.0)
    assert one.look(0.0, BAD, after_s=100.0)
    assert one.look(math.nan, GOOD, after_s=1.0)
    assert not one.look(0.0, after_s=1.0)


def test_simulated_and_uncertain_values_are_watched() -> None:
    assert Watched(quick()).look(200.0, int(Quality.SIMULATED))
    assert Watched(quick()).look(200.0, int(Quality.UNCERTAIN | Quality.CLAMPED))


def test_stale_and_bad_are_about_the_quality() -> None:
    stale, bad = Watched(quick(condition=Condition.STALE)), Watched(quick(condition=Condition.BAD))
    assert stale.look(1.0, STALE)
    assert bad.look(1.0, STALE)
    assert not stale.look(1.0, BAD)
    assert bad.look(1.0, BAD)
    assert not bad.look(1.0, GOOD)


def test_a_counter_that_rises() -> None:
    one = Watched(quick(condition=Condition.RISES, limit=0.0, off_delay_s=60.0))
    assert not one.look(7.0), "the first look only tells where the counter stands"
    assert not one.look(7.0, after_s=0.2)
    assert not one.look(0.0, after_s=0.2), "a restarted counter begins again"
    assert not one.look(3.0, BAD, after_s=0.2)
    assert one.look(1.0, after_s=0.2)
    assert one.look(1.0, after_s=59.0)
    assert one.look(2.0, after_s=1.0), "it rose again: the off delay begins anew"
    assert one.look(2.0, after_s=1.0)
    assert one.look(2.0, after_s=59.0)
    assert not one.look(2.0, after_s=1.0)
    assert one.look(3.0, after_s=0.2)


# ---------------------------------------------------------------- the engine against its twin

VALUES = st.sampled_from([0.0, 1.0, 2.0, 3.0, 4.5, 10.0, -10.0, 95.0, 100.0, 105.0, math.nan, math.inf, 1e300, -1e300])
BLOCKED = int(Quality.UNCERTAIN | Quality.BLOCKED)
QUALITIES = st.sampled_from(
    [GOOD, GOOD, GOOD, int(Quality.UNCERTAIN), BLOCKED, BAD, STALE, int(Quality.BAD | Quality.NEVER)]
)
DELAYS = st.sampled_from([0.0, 0.2, 0.5, 1.0])


@st.composite
def definitions(draw: Any) -> AlarmDefinition:
    return alarm(
        condition=draw(st.sampled_from(list(Condition))),
        limit=draw(st.sampled_from([0.0, 2.0, 100.0])),
        deadband=draw(st.sampled_from([0.0, 1.0, 6.0])),
        on_delay_s=draw(DELAYS),
        off_delay_s=draw(DELAYS),
        window_s=draw(st.sampled_from([0.4, 1.0, 3.0])),
        states=frozenset(draw(st.sets(st.integers(0, 4), min_size=1))),
        other="x",
    )


LOOKS = st.lists(
    st.tuples(st.lists(st.tuples(VALUES, QUALITIES), min_size=4, max_size=4), st.sampled_from([0, 1, 200, 333, 2_000])),
    min_size=1, max_size=40,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(definitions(), min_size=1, max_size=30), LOOKS, st.randoms(use_true_random=False))
def test_the_engine_does_what_its_twin_does(chosen: list[AlarmDefinition], looks: list[Any], random: Any) -> None:
    tag = [random.randrange(4) for _ in chosen]
    other = [random.randrange(4) for _ in chosen]
    engine, watches, mono = Engine(chosen, tag, other), [Watch() for _ in chosen], S
    for row, after_ms in looks:
        mono += after_ms * 1_000_000
        value = np.array([one for one, _ in row])
        quality = np.array([one for _, one in row], np.uint16)
        before = engine.active.copy()
        changed = engine.look(value, quality, np.zeros(4, np.int64), mono).tolist()
        for position, definition in enumerate(chosen):
            a, b = row[tag[position]], row[other[position]]
            watches[position] = look(definition, watches[position], Reading(*a, *b), mono)
        assert engine.active.tolist() == [one.active for one in watches]
        assert engine.since_mono_ns.tolist() == [one.differs_since_mono_ns for one in watches]
        assert changed == np.flatnonzero(before != engine.active).tolist()


def test_onset_is_when_the_sample_arrived() -> None:
    chosen = [quick(), alarm(on_delay_s=1.0), quick(condition=Condition.STALE)]
    engine = Engine(chosen, [0, 0, 1], [0, 0, 0])
    value, quality = np.array([200.0, 1.0]), np.array([GOOD, STALE], np.uint16)
    engine.look(value, quality, np.array([10 * S - 37_000_000, 1], np.int64), 10 * S)
    assert engine.onset_mono_ns.tolist() == [10 * S - 37_000_000, 10 * S - 37_000_000, 10 * S]
    changed = engine.look(value, quality, np.array([11 * S, 1], np.int64), 11 * S)
    assert changed.tolist() == [1]
    assert engine.onset_mono_ns[1] == 10 * S - 37_000_000, "the beginning, not the end of the delay"
    fresh = Engine([quick()], [0], [0])
    fresh.look(value, quality, np.array([5, 5], np.int64), 5 + ONSET_AGE_MAX_NS)
    assert fresh.onset_mono_ns.tolist() == [5 + ONSET_AGE_MAX_NS]


def test_a_discrepancy_begins_with_the_later_of_its_two_samples() -> None:
    engine = Engine([quick(condition=Condition.DISCREPANCY, limit=0.5, other="x")], [0], [1])
    quality = np.zeros(2, np.uint16)
    engine.look(np.array([1.0, 0.0]), quality, np.array([9 * S + S // 2, 10 * S - 7]), 10 * S)
    assert engine.onset_mono_ns.tolist() == [10 * S - 7]


def test_an_engine_without_alarms_finds_nothing() -> None:
    assert Engine([], [], []).look(np.zeros(0), np.zeros(0, np.uint16), np.zeros(0, np.int64), 1).tolist() == []


def test_a_rate_never_keeps_more_than_its_slots() -> None:
    one = Watched(quick(condition=Condition.RATE, limit=1.0, window_s=3_600.0))
    for _ in range(200):
        one.look(0.0, after_s=60.0)
    assert len(one.watch.kept) == RATE_SLOTS
