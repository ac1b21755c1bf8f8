"""The microphone driver's judgement: health, sample rate, capture time and signal."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gwanje.core.audio_ring import SAMPLE_NS
from gwanje.core.clock import NS_PER_S, VirtualClock
from gwanje.core.site.config import Node
from gwanje.io.field.media import NodeWatch, event_of
from gwanje.io.field.microphone import (
    FLOOR_DB,
    FROZEN_AFTER_NS,
    OFF_AFTER_NS,
    CaptureTime,
    Flag,
    HalfSecond,
    Health,
    Look,
    RateWatch,
    halves_of,
    health_of,
    signal_flags,
)

S = NS_PER_S


def look(**changes) -> Look:
    normal = {"now_ns": 100 * S, "playing": True, "attempt_ns": 50 * S, "heard_ns": 100 * S, "failed": False}
    return Look(**{**normal, "flags": Flag(0), **changes})


@pytest.mark.parametrize(
    ("changes", "before", "lost_s", "expected"),
    [
        ({}, Health.CONNECTING, 0, Health.OK),
        ({"flags": Flag.CLIPPED}, Health.OK, 0, Health.CLIPPED),
        ({"flags": Flag.CLIPPED | Flag.RATE}, Health.OK, 0, Health.RATE),
        ({"flags": Flag.SILENT | Flag.RATE}, Health.OK, 0, Health.SILENT),
        ({"flags": Flag.DC | Flag.LOSS}, Health.OK, 0, Health.OK),
        ({"heard_ns": 100 * S - FROZEN_AFTER_NS}, Health.OK, 0, Health.OK),
        ({"heard_ns": 100 * S - FROZEN_AFTER_NS - 1}, Health.OK, 0, Health.FROZEN),
        # opened again, nothing heard yet
        ({"attempt_ns": 99 * S, "heard_ns": 90 * S}, Health.CONNECTING, 99, Health.CONNECTING),
        ({"attempt_ns": 99 * S, "heard_ns": 90 * S}, Health.FROZEN, 99, Health.FROZEN),
        ({"attempt_ns": 99 * S, "heard_ns": 90 * S}, Health.OFF, 99, Health.OFF),
        ({"attempt_ns": 97 * S, "heard_ns": 90 * S}, Health.OFF, 99, Health.FROZEN),
        ({"attempt_ns": 97 * S, "heard_ns": 0}, Health.CONNECTING, 99, Health.FROZEN),
        # no stream
        ({"playing": False}, Health.OK, 99, Health.CONNECTING),
        ({"playing": False}, Health.CONNECTING, 97, Health.CONNECTING),
        ({"playing": False}, Health.CONNECTING, 96.9, Health.OFF),
        ({"playing": False}, Health.OFF, 99, Health.OFF),
        ({"playing": False}, Health.FROZEN, 99, Health.FROZEN),
        ({"playing": False, "failed": True}, Health.FROZEN, 99, Health.CONNECTING),
        ({"playing": False, "failed": True}, Health.FROZEN, 90, Health.OFF),
    ],
)
def test_health_follows_from_what_is_seen(changes, before, lost_s, expected):
    assert OFF_AFTER_NS == 3 * S
    assert health_of(look(**changes), before, int(lost_s * S)) is expected


def test_a_rate_that_lies_is_found_and_a_good_one_is_not():
    for ratio, wrong in ((1.0, False), (1.0001, False), (1.015, False), (0.9, True), (1.1, True), (0.5, True)):
        watch = RateWatch()
        for half in range(20):
            arrival = half * S // 2
            watch.look(1, int(arrival / SAMPLE_NS * ratio), arrival + 1)
        assert watch.wrong is wrong, ratio
        assert watch.ratio == pytest.approx(ratio, rel=1e-3)


def test_bursts_and_a_new_connection_do_not_look_like_a_wrong_rate():
    watch = RateWatch()
    for half in range(40):
        burst = half // 2  # looked at twice a second, arrives once a second
        assert not watch.look(1, burst * 16_000, burst * S + 1)
    for half in range(40):  # ten minutes later, from another position
        arrival = 600 * S + half * S // 2
        assert not watch.look(2, 5_000_000 + half * 8_000, arrival)


@pytest.mark.parametrize("late_ms", [160, -160])
def test_a_machine_that_is_busy_for_a_moment_is_no_wrong_rate(late_ms):
    watch = RateWatch()
    for half in range(40):
        position = (half + 1) * 8_000 - (late_ms * 16 if half == (0 if late_ms > 0 else 8) else 0)
        assert not watch.look(1, position, (half + 1) * S // 2)


def test_a_wrong_rate_stays_wrong_until_it_is_clearly_right():
    watch = RateWatch()
    position, arrival = 0, 1
    for ratio, expected in ((1.03, True), (1.015, True), (1.005, False), (1.015, False)):
        for _ in range(40):
            position += int(8_000 * ratio)
            arrival += S // 2
            watch.look(1, position, arrival)
        assert watch.wrong is expected, ratio


@settings(max_examples=100, deadline=None)
@given(delays=st.lists(st.integers(0, 300_000_000), min_size=1, max_size=100))
def test_capture_times_lie_between_the_truth_and_the_arrival(delays):
    capture = CaptureTime()
    begun = 10 * S
    for index, delay in enumerate(delays):
        position = (index + 1) * 640
        arrival = begun + position * SAMPLE_NS + delay
        at = capture.of(position, arrival)
        assert begun + position * SAMPLE_NS <= at <= arrival
        late = at - begun - position * SAMPLE_NS
        assert late <= min(delays[: index + 1]) + (max(delays) >> 8) * index + 1, "close to the earliest so far"


def test_capture_time_follows_a_slow_crystal():
    capture = CaptureTime()
    at = 0
    for index in range(25 * 600):  # ten minutes, 100 ppm slow
        position = (index + 1) * 640
        arrival = int(position * SAMPLE_NS * 1.0001)
        at = capture.of(position, arrival)
    assert 0 <= arrival - at < 2_000_000


def test_signal_checks_see_dead_clipped_and_offset_microphones():
    rng = np.random.default_rng(3)
    street = rng.normal(0, 300, 8_000).astype(np.int16)
    whisper = rng.integers(-3, 4, 8_000).astype(np.int16)
    dither = rng.integers(-1, 2, 8_000).astype(np.int16)
    loud = np.clip(rng.normal(0, 30_000, 8_000), -32_768, 32_767).astype(np.int16)

    def flags(first, second):
        return signal_flags((HalfSecond.of(first), HalfSecond.of(second)))

    assert flags(street, street) == Flag(0)
    assert flags(whisper, whisper) == Flag(0)
    assert flags(np.zeros_like(street), np.zeros_like(street)) == Flag.SILENT
    assert flags(dither, dither) == Flag.SILENT
    assert flags(np.full_like(street, 700), np.full_like(street, 700)) == Flag.SILENT
    assert flags(street, np.zeros_like(street)) == Flag(0), "half a second of zeros is a gap, not a dead microphone"
    assert flags(loud, loud) == Flag.CLIPPED
    assert flags(street + np.int16(6_000), street + np.int16(6_000)) == Flag.DC
    assert signal_flags((HalfSecond.of(street),)) == Flag(0)


def test_levels_are_rms_below_full_scale_without_the_offset():
    square = np.tile(np.array([16_384, -16_384], np.int16), 4_000)
    assert HalfSecond.of(square).level_db == pytest.approx(-6.02, abs=0.01)
    assert HalfSecond.of(square // 2 + np.int16(9_000)).level_db == pytest.approx(-12.04, abs=0.01)
    assert HalfSecond.of(np.zeros(100, np.int16)).level_db == FLOOR_DB


class Line:
    """A node's link as the watch sees it, and the half seconds that it hears."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.playing, self.clock_off = False, False
        self.failure = ""
        self.attempt_ns, self.connections, self.position, self.lost = self.clock.mono_ns(), 0, 0, 0
        self.heard = (0, 0)
        self.rng = np.random.default_rng(1)

    def hear(self, one: NodeWatch, value: int | None = None) -> None:
        half = self.rng.normal(0, 500, 8_000).astype(np.int16) if value is None else np.full(8_000, value, np.int16)
        self.clock.advance_ns(S // 2)
        self.position += 8_000
        self.heard = (self.clock.mono_ns(), self.position)
        one.measured(self.position, self.lost, HalfSecond.of(half))


def watch() -> tuple[NodeWatch, Line]:
    line = Line()
    node = Node("mic01", "here", "골목", "alley", "rtsp://127.0.0.1:1/mic01", "L16", 0.0, 0.0, True, {})
    return NodeWatch(node, line, began_ns=line.clock.mono_ns()), line


def test_a_watch_goes_through_a_node_s_bad_day():
    one, line = watch()
    now = line.clock.mono_ns
    assert one.update(now()) is Health.CONNECTING
    assert one.health is Health.CONNECTING
    line.playing, line.connections = True, 1
    line.hear(one)
    one.update(now())
    assert one.health is Health.OK
    assert one.level_db == pytest.approx(-36.3, abs=0.5)
    assert one.age_s == 0.0
    line.clock.advance_ns(1_600_000_000)
    one.measured(line.position, line.lost, None)
    one.update(now())
    assert one.health is Health.FROZEN
    assert one.age_s == pytest.approx(1.6)
    line.playing, line.failure = False, "Connection refused"
    line.clock.advance_ns(1 * S)
    one.update(now())
    assert one.health is Health.CONNECTING
    line.clock.advance_ns(4 * S)
    one.update(now())
    assert one.health is Health.OFF
    event = event_of(one, 5, 6)
    assert event.class_name == "microphone_off"
    assert event.data["reason"] == "Connection refused"
    line.playing, line.connections, line.attempt_ns = True, 2, now()
    for _ in range(3):
        line.hear(one, value=0)
        one.update(now())
    assert one.health is Health.SILENT
    for _ in range(2):
        line.hear(one)
        one.update(now())
    assert one.health is Health.OK


def test_loss_and_a_clock_that_is_off_are_flags():
    one, line = watch()
    line.playing, line.connections, line.clock_off, line.lost = True, 1, True, 640
    line.hear(one)
    one.update(line.clock.mono_ns())
    assert one.flags == Flag.LOSS | Flag.CLOCK
    assert one.health is Health.OK
    line.clock_off = False
    line.hear(one)
    one.update(line.clock.mono_ns())
    assert one.flags == Flag(0)


def test_a_clock_step_on_the_wall_changes_nothing():
    one, line = watch()
    line.playing, line.connections = True, 1
    for step in (3_600 * S, -7_200 * S, 0):
        line.hear(one)
        line.clock.step_utc_ns(step)
        one.update(line.clock.mono_ns())
        assert one.health is Health.OK
        assert one.age_s == 0.0


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), level=st.sampled_from([0, 3, 300, 9_000, 40_000]))
def test_many_nodes_at_once_are_judged_as_each_alone(seed, level):
    rng = np.random.default_rng(seed)
    block = np.clip(rng.normal(rng.integers(-8_000, 8_000), level, (5, 8_000)), -32_768, 32_767).astype(np.int16)
    for half, row in zip(halves_of(block), block, strict=True):
        alone = HalfSecond.of(row)
        assert (half.low, half.high, half.n_clipped, half.n_samples) == (
            alone.low, alone.high, alone.n_clipped, alone.n_samples
        )  # fmt: skip
        assert half.mean == pytest.approx(alone.mean, abs=0.5)
        assert half.rms == pytest.approx(alone.rms, rel=0.01, abs=2.0)
