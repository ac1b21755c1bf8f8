"""From packets to the ring: what is missing, timestamps that lie, codecs that change, clocks that are off."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gwanje.core.audio_ring import RingReader, RingWriter
from gwanje.core.clock import NS_PER_S, VirtualClock
from gwanje.io.field.rtsp import pcm
from gwanje.io.field.rtsp.intake import BAD_MAX, Intake, Mixer
from gwanje.io.field.rtsp.rtcp import SenderReport
from gwanje.io.field.rtsp.rtp import Counts, RtpPacket
from gwanje.io.field.rtsp.sdp import Format
from gwanje.io.sim import sound_codecs

S = NS_PER_S
FORMATS = {
    97: Format("L16", 16_000, 1, "L16"), 0: Format("PCMU", 8_000, 1, "PCMU"), 8: Format("PCMA", 8_000, 1, "PCMA"),
    98: Format("OPUS", 48_000, 2, "OPUS"), 99: Format("L16", 48_000, 2, "L16"), 100: Format("PCMU", 16_000, 1, "PCMU"),
    101: Format("L16", 44_100, 1, "L16"), 96: Format("AAC", 16_000, 1, "AAC", {"config": "00"}),
    102: Format("L16", 16_000, 2, "L16"),
}  # fmt: skip


class Line:
    """A ring with one node, and a device that sends what it is told; packets of 40 ms."""

    def __init__(self, folder: str) -> None:
        self.clock = VirtualClock()
        self.ring = RingWriter.open(Path(folder) / "audio", ["mic01"])
        self.reader = RingReader.attach(Path(folder) / "audio")
        self.mixer = Mixer(1)
        self.connect()

    def connect(self) -> None:
        self.intake = Intake(0, self.ring, FORMATS, Counts())
        self.timestamp = 0

    def send(self, value: int = 1_000, payload_type: int = 97, step: int | None = None, payload: bytes | None = None):
        form = FORMATS.get(payload_type, FORMATS[97])
        n = form.clock_hz // 25
        if payload is None:
            samples = np.full(n * form.channels, value, np.int16)
            payload = sound_codecs.encode(samples, form.codec)
        self.clock.advance_ns(40_000_000)
        packet = RtpPacket(0, self.timestamp & 0xFFFF_FFFF, payload_type, 7, False, payload, self.clock.mono_ns())
        self.mixer.take([(self.intake, packet)])
        self.timestamp += n if step is None else step

    def lose(self, n_packets: int) -> None:
        self.timestamp += n_packets * 640
        self.clock.advance_ns(n_packets * 40_000_000)


@pytest.fixture
def line():
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="gwanje-test-") as folder:
        yield Line(folder)


def test_lost_packets_become_marked_zeros_of_the_right_length(line):
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


@pytest.mark.parametrize("jump", [10**9, -(10**9), 2**31, 80_000])
def test_timestamps_that_jump_are_bounded_by_the_clock(line, jump):
    line.send()
    line.timestamp += jump
    line.send()
    assert line.reader.head(0).lost == 0, "no time has passed, so nothing can be missing"
    assert line.intake.jumps == 1
    line.send()
    line.send()
    assert line.reader.head(0).position == 4 * 640
    assert line.reader.head(0).lost == 0


def test_a_jump_together_with_a_real_pause_counts_by_the_clock(line):
    line.send()
    line.clock.advance_ns(S)
    line.timestamp += 10**8
    line.send()
    assert line.reader.head(0).lost == 16_000


def test_timestamps_go_on_through_their_wrap(line):
    line.timestamp = 2**32 - 640
    for _ in range(4):
        line.send()
    assert (line.reader.head(0).lost, line.intake.jumps) == (0, 0)


def test_rounding_in_timestamps_is_not_loss(line):
    for step in (640, 641, 639, 650, 640, 630):
        line.send(step=step)
    assert line.reader.head(0).lost == 0


def test_time_between_connections_is_a_marked_gap(line):
    line.send()
    line.clock.advance_ns(7 * S)
    line.connect()
    line.send()
    head = line.reader.head(0)
    assert head.lost == 7 * 16_000
    assert head.position == 2 * 640 + 7 * 16_000
    assert head.mono_ns == line.clock.mono_ns()


def test_the_first_sound_ever_has_no_gap_before_it(line):
    line.clock.advance_ns(3_600 * S)
    line.send()
    assert (line.reader.head(0).position, line.reader.head(0).lost) == (640, 0)


@pytest.mark.parametrize("payload_type", [97, 0, 8, 99, 100, 101, 102])
def test_every_plain_format_ends_at_16_khz_mono(line, payload_type):
    for _ in range(50):
        line.send(value=1_000, payload_type=payload_type)
    read = line.reader.read_from(0, 0)
    assert read.next_position == pytest.approx(32_000, abs=200)
    assert read.lost == 0
    value = read.samples[2_000:-2_000].astype(int)
    assert np.abs(value - (1_000 if payload_type in (97, 99, 101, 102) else value[0])).max() <= 2
    assert abs(value[0] - 1_000) <= 24


def test_the_codec_may_change_in_mid_stream_to_what_was_described(line):
    for payload_type in (97, 0, 8, 100, 97):
        for _ in range(5):
            line.send(payload_type=payload_type, step=0)
            line.timestamp += FORMATS[payload_type].clock_hz // 25
    assert line.reader.head(0).position == 25 * 640
    assert line.reader.head(0).lost == 0
    assert line.intake.counts.unused == 0


def test_what_was_not_described_is_noted_and_comfort_noise_is_not(line):
    line.send()
    line.send(payload_type=13)
    assert line.intake.unknown_type == -1
    line.send(payload_type=111)
    assert line.intake.unknown_type == 111
    assert line.intake.counts.unused == 2
    line.send()
    assert line.intake.unknown_type == -1


@pytest.mark.parametrize(("payload_type", "payload"), [(97, b"odd"), (98, b"\xff" * 50), (99, b"abc"), (96, b"abcd")])
def test_packets_that_do_not_hold_what_they_promise_are_counted(line, payload_type, payload):
    for _ in range(BAD_MAX):
        line.send(payload_type=payload_type, payload=payload)
    assert line.intake.bad >= BAD_MAX
    assert line.reader.head(0).position == 0
    line.send()
    assert line.intake.bad == 0


def test_a_packet_longer_than_the_ring_is_refused(line):
    line.send(payload=bytes(2 * 170_000))
    assert line.intake.bad == 1
    assert line.reader.head(0).position == 0


def test_the_camera_s_clock_gives_capture_times_where_it_can_be_believed(line):
    def report(offset_ns: int) -> None:
        """The camera says that the end of its last packet was captured so long ago by its clock."""
        utc_ns = line.clock.utc_ns()
        line.intake.report(SenderReport(7, utc_ns + offset_ns, line.timestamp, 0), utc_ns, line.clock.mono_ns())

    for offset_ns, delay_ns, off in ((-30_000_000, 30_000_000, False), (20_000_000, 0, False), (-S, 0, False),
                                     (-3 * S, 0, True), (3_600 * S, 0, True)):  # fmt: skip
        line.send()
        report(offset_ns)
        line.send()
        assert line.clock.mono_ns() - line.reader.head(0).mono_ns == delay_ns, offset_ns
        assert line.intake.clock_off is off, offset_ns
        assert line.intake.clock_offset_ns == offset_ns


def test_capture_times_of_telephone_sound_know_of_the_filter(line):
    line.send(payload_type=0)
    assert line.clock.mono_ns() - line.reader.head(0).mono_ns == pcm.DELAY_NS


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_many_nodes_side_by_side_hear_what_each_alone_would(seed):
    rng = np.random.default_rng(seed)
    n = 6
    types = rng.choice([97, 0, 8, 100], n)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as one, tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        rings = [RingWriter.open(Path(place) / "audio", [f"mic{k}" for k in range(n)]) for place in (one, other)]
        together, alone = Mixer(n), Mixer(n)
        intakes = [[Intake(k, ring, FORMATS, Counts()) for k in range(n)] for ring in rings]
        packets = []
        for k, payload_type in enumerate(types):
            form = FORMATS[int(payload_type)]
            size = form.clock_hz // 25 * (2 if form.codec == "L16" else 1)
            packets += [
                (k, RtpPacket(i, i * form.clock_hz // 25, int(payload_type), 7, False, rng.bytes(size), i * 40_000_000))
                for i in range(5)
            ]
        rng.shuffle(order := np.arange(len(packets)))
        order = sorted(order, key=lambda at: packets[at][1].sequence)
        for batch in np.array_split(order, 4):
            together.take([(intakes[0][packets[at][0]], packets[at][1]) for at in batch])
        for at in order:
            alone.take([(intakes[1][packets[at][0]], packets[at][1])])
        for k in range(n):
            first, second = (RingReader.attach(Path(place) / "audio").read_from(k, 0) for place in (one, other))
            np.testing.assert_array_equal(first.samples, second.samples)
            assert len(first.samples) == 5 * 640
        for ring in rings:
            ring.close()


@settings(max_examples=50, deadline=None)
@given(sizes=st.lists(st.integers(1, 400), min_size=1, max_size=8), seed=st.integers(0, 1_000))
def test_doubling_is_the_same_however_the_stream_is_cut(sizes, seed):
    samples = np.random.default_rng(seed).integers(-32_768, 32_768, sum(sizes)).astype(np.int16)
    whole = pcm.Doubler(1).double(samples.reshape(1, -1), np.array([0]))[0]
    doubler, at, pieces = pcm.Doubler(3), 0, []
    for size in sizes:
        pieces.append(doubler.double(samples[at : at + size].reshape(1, -1), np.array([1]))[0])
        at += size
    np.testing.assert_array_equal(np.concatenate(pieces), whole)


@pytest.mark.parametrize("hz", [100, 1_000, 3_000])
def test_doubling_keeps_the_band_and_makes_no_images(hz):
    tone = (16_000 * np.sin(2 * np.pi * hz * np.arange(8_000) / 8_000)).astype(np.int16)
    doubled = pcm.Doubler(1).double(tone.reshape(1, -1), np.array([0]))[0][1_000:].astype(float)
    spectrum = np.abs(np.fft.rfft(doubled * np.hanning(len(doubled)))) ** 2
    at = np.fft.rfftfreq(len(doubled), 1 / 16_000)
    image = spectrum[np.abs(at - (8_000 - hz)) < 60].sum() / spectrum[np.abs(at - hz) < 60].sum()
    assert 10 * np.log10(image) < (-60 if hz <= 1_000 else -48)
    assert doubled.std() * 2**0.5 == pytest.approx(16_000, rel=0.03)
