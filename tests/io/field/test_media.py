"""The microphone driver's judgement: health, sample rate, capture time, signal, and what becomes of missing packets."""

import tempfile
import threading
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gwanje.core.audio_ring import SAMPLE_NS, RingReader, RingWriter
from gwanje.core.clock import NS_PER_S, VirtualClock
from gwanje.core.site.config import Node
from gwanje.io.field.media import NodeStream, NodeWatch, StreamError, _Sink, event_of
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
    """A ring with a sink, and a device that sends what it is told."""

    def __init__(self, folder: str, rate: int = 16_000, packet: int = 640) -> None:
        self.clock = VirtualClock()
        self.ring = RingWriter.open(Path(folder) / "audio", ["mic01"])
        self.reader = RingReader.attach(Path(folder) / "audio")
        self.rate, self.packet = rate, packet
        self.connect()

    def connect(self) -> None:
        self.sink = _Sink(self.ring, 0, self.clock)
        self.pts = 0

    def send(self, value: int = 1_000, layout: str = "mono", pts_step: int | None = None) -> None:
        channels = 2 if layout == "stereo" else 1
        frame = av.AudioFrame.from_ndarray(np.full((1, channels * self.packet), value, np.int16), "s16", layout)
        frame.sample_rate = self.rate
        frame.pts, frame.time_base = self.pts, Fraction(1, self.rate)
        self.clock.advance_ns(self.packet * S // self.rate)
        self.sink.take(frame)
        self.pts += self.packet if pts_step is None else pts_step

    def lose(self, n_packets: int) -> None:
        self.pts += n_packets * self.packet
        self.clock.advance_ns(n_packets * self.packet * S // self.rate)


@pytest.fixture
def folder():
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="gwanje-test-") as name:
        yield name


def test_lost_packets_become_marked_zeros_of_the_right_length(folder):
    line = Line(folder)
    for _ in range(3):
        line.send()
    line.lose(2)
    for _ in range(3):
        line.send()
    read = line.reader.read_from(0, 0)
    assert read.next_position == 8 * 640
    assert read.lost == 2 * 640
    assert line.reader.gaps(0, 0, 8 * 640) == [(3 * 640, 5 * 640)]
    assert not read.samples[3 * 640 : 5 * 640].any()
    assert (read.samples[5 * 640 :] == 1_000).all()
    assert line.reader.head(0).mono_ns == line.clock.mono_ns()


def test_timestamps_that_jump_are_bounded_by_the_clock(folder):
    line = Line(folder)
    line.send()
    line.pts += 10**9
    line.send()
    assert line.reader.head(0).lost == 0, "no time has passed, so nothing can be missing"
    line.pts -= 5 * 10**8
    line.send()
    line.send()
    assert line.reader.head(0).position == 4 * 640
    assert line.reader.head(0).lost == 0


def test_rounding_in_timestamps_is_not_loss(folder):
    line = Line(folder)
    for step in (640, 641, 639, 650, 640, 630):
        line.send(pts_step=step)
    assert line.reader.head(0).lost == 0


def test_time_between_connections_is_a_marked_gap(folder):
    line = Line(folder)
    line.send()
    line.clock.advance_ns(7 * S)
    line.connect()
    line.send()
    head = line.reader.head(0)
    assert head.lost == 7 * 16_000
    assert head.position == 2 * 640 + 7 * 16_000
    assert head.mono_ns == line.clock.mono_ns()


def test_the_first_sound_ever_has_no_gap_before_it(folder):
    line = Line(folder)
    line.clock.advance_ns(3_600 * S)
    line.send()
    assert (line.reader.head(0).position, line.reader.head(0).lost) == (640, 0)


@pytest.mark.parametrize(
    ("rate", "layout"), [(8_000, "mono"), (48_000, "mono"), (16_000, "stereo"), (44_100, "stereo")]
)
def test_every_rate_and_layout_ends_at_16_khz_mono(folder, rate, layout):
    line = Line(folder, rate=rate, packet=rate // 25)
    for _ in range(50):
        line.send(value=1_000, layout=layout)
    read = line.reader.read_from(0, 0)
    assert read.next_position == pytest.approx(32_000, abs=200)
    assert read.lost == 0
    assert np.abs(read.samples[2_000:-2_000].astype(int) - 1_000).max() <= 2


def test_a_packet_longer_than_the_ring_is_refused(folder):
    line = Line(folder, packet=200_000)
    with pytest.raises(StreamError, match="longer than ten seconds"):
        line.send()


def watch(folder: str) -> tuple[NodeWatch, Line]:
    line = Line(folder)
    node = Node("mic01", "here", "골목", "alley", "rtsp://127.0.0.1:1/mic01", "L16", 0.0, 0.0, True, {})
    stream = NodeStream(0, node, line.ring, line.clock, threading.Event())
    return NodeWatch(node, stream, began_ns=line.clock.mono_ns()), line


def hear(one: NodeWatch, line: Line, n_packets: int, value: int | None = None) -> None:
    rng = np.random.default_rng(1)
    for _ in range(n_packets):
        frame = rng.normal(0, 500, 640).astype(np.int16) if value is None else np.full(640, value, np.int16)
        line.clock.advance_ns(40_000_000)
        line.ring.write(0, frame, line.clock.mono_ns())
        one.stream.heard = (line.clock.mono_ns(), line.ring.head(0).position)


def test_a_watch_goes_through_a_node_s_bad_day(folder):
    one, line = watch(folder)
    assert one.update(line.reader, 0, line.clock.mono_ns()) is Health.CONNECTING
    assert one.health is Health.CONNECTING
    one.stream.playing, one.stream.connections = True, 1
    hear(one, line, 13)
    one.update(line.reader, 0, line.clock.mono_ns())
    assert one.health is Health.OK
    assert one.level_db == pytest.approx(-36.3, abs=0.5)
    assert one.age_s == 0.0
    line.clock.advance_ns(1_600_000_000)
    one.update(line.reader, 0, line.clock.mono_ns())
    assert one.health is Health.FROZEN
    assert one.age_s == pytest.approx(1.6)
    one.stream.playing, one.stream.failure = False, "Connection refused"
    line.clock.advance_ns(1 * S)
    one.update(line.reader, 0, line.clock.mono_ns())
    assert one.health is Health.CONNECTING
    line.clock.advance_ns(4 * S)
    one.update(line.reader, 0, line.clock.mono_ns())
    assert one.health is Health.OFF
    event = event_of(one, 5, 6)
    assert event.class_name == "microphone_off"
    assert event.data["reason"] == "Connection refused"
    one.stream.playing, one.stream.connections, one.stream.attempt_ns = True, 2, line.clock.mono_ns()
    for _ in range(3):
        hear(one, line, 13, value=0)
        one.update(line.reader, 0, line.clock.mono_ns())
    assert one.health is Health.SILENT
    hear(one, line, 13)
    one.update(line.reader, 0, line.clock.mono_ns())
    hear(one, line, 13)
    one.update(line.reader, 0, line.clock.mono_ns())
    assert one.health is Health.OK


def test_a_stream_that_breaks_the_decoder_is_opened_again(folder, monkeypatch):
    one, _line = watch(folder)
    stop, tried = one.stream._stop_asked, []

    def read():
        tried.append(one.stream.failure)
        if len(tried) == 2:
            stop.set()
        raise ZeroDivisionError("Fraction(640, 0)")

    monkeypatch.setattr(one.stream, "_read", read)
    one.stream.run()
    assert tried == ["", "Fraction(640, 0)"]


def test_a_clock_step_on_the_wall_changes_nothing(folder):
    one, line = watch(folder)
    one.stream.playing, one.stream.connections = True, 1
    for step in (3_600 * S, -7_200 * S, 0):
        hear(one, line, 13)
        line.clock.step_utc_ns(step)
        one.update(line.reader, 0, line.clock.mono_ns())
        assert one.health is Health.OK
        assert one.age_s == 0.0
