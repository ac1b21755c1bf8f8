"""RTP: headers, order, loss, other beginnings, reports; whatever the network and the camera make of it."""

import struct

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from gwanje.io.field.rtsp import rtcp, rtp
from gwanje.io.field.rtsp.rtp import DROPOUT_MAX, HELD_MAX, WAIT_NS, Jitter, Order, RtpPacket

MS = 1_000_000


def packet(sequence: int, *, source: int = 7, at_ms: int | None = None) -> RtpPacket:
    at = sequence * 40 if at_ms is None else at_ms
    return RtpPacket(sequence & 0xFFFF, sequence * 640 & 0xFFFF_FFFF, 97, source, False, b"x", at * MS)


def sequences(packets) -> list[int]:
    return [one.sequence for one in packets]


def header(first: int = 0x80, *, extra: bytes = b"", payload: bytes = b"ab") -> bytes:
    return struct.pack(">BBHII", first, 0xE1, 5, 6, 7) + extra + payload


@pytest.mark.parametrize(
    ("data", "payload"),
    [
        (header(), b"ab"),
        (header(0x82, extra=bytes(8)), b"ab"),  # two contributing sources
        (header(0x90, extra=b"\xbe\xde\x00\x01abcd"), b"ab"),  # a header extension of a word
        (header(0xA0, payload=b"ab\0\0\3"), b"ab"),  # padding
        (header(0xB1, extra=bytes(4) + b"\0\0\0\0", payload=b"abc\1"), b"abc"),
    ],
)
def test_the_payload_is_found_behind_every_header(data, payload):
    found = rtp.parse(data, 1)
    assert (found.payload, found.payload_type, found.marker, found.sequence) == (payload, 97, True, 5)


@pytest.mark.parametrize(
    "data",
    [
        b"", header()[:12], header(0x40), header(0x8F), header(0x90, extra=b"\0\0"),
        header(0x90, extra=b"\0\0\xff\xff"),
        header(0xA0, payload=b"a\0"), header(0xA0, payload=b"ab\xff"), header(0xA0, payload=b"\2\2"),
    ],
)  # fmt: skip
def test_what_is_no_packet_is_none(data):
    assert rtp.parse(data, 1) is None


@settings(max_examples=500, deadline=None)
@given(data=st.binary(max_size=80))
def test_any_bytes_are_a_packet_or_none(data):
    found = rtp.parse(data, 1)
    assert found is None or (found.payload and len(found.payload) <= len(data) - 12)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_what_comes_in_any_order_leaves_in_order(data):
    """Packets moved by up to five places, over the wrap of the sequence: all leave, in order, none is lost."""
    start = data.draw(st.integers(0, 0xFFFF))
    count = data.draw(st.integers(1, 60))
    keys = [index + data.draw(st.integers(0, 5)) if index else -1 for index in range(count)]
    order = Order()
    heard = []
    for index in sorted(range(count), key=lambda one: (keys[one], one)):
        heard += order.take(packet(start + index, at_ms=0))
    assert sequences(heard) == [(start + index) & 0xFFFF for index in range(count)]
    assert (order.counts.lost, order.counts.late, order.counts.packets) == (0, 0, count)
    assert not order.waiting


@settings(max_examples=300, deadline=None)
@given(lost=st.sets(st.integers(1, 98)), start=st.integers(0, 0xFFFF))
def test_what_is_lost_is_counted_and_the_rest_leaves_in_order(lost, start):
    order = Order()
    heard = []
    for index in range(100):
        if index not in lost:
            now = index * 40 * MS
            heard += order.overdue(now)
            heard += order.take(packet(start + index, at_ms=index * 40))
    heard += order.overdue(10**12)
    while order.waiting:
        heard += order.overdue(10**12)
    assert sequences(heard) == [(start + index) & 0xFFFF for index in range(100) if index not in lost]
    assert order.counts.lost == len(lost)


def test_a_missing_packet_is_waited_for_so_long_and_no_longer():
    order = Order()
    order.take(packet(1))
    assert order.take(packet(3, at_ms=100)) == ()
    assert order.overdue(100 * MS + WAIT_NS - 1) == ()
    assert sequences(order.overdue(100 * MS + WAIT_NS)) == [3]
    assert order.take(packet(2)) == ()
    assert (order.counts.lost, order.counts.late) == (1, 1)


def test_duplicates_are_late_and_never_heard_twice():
    order = Order()
    assert sequences(order.take(packet(1))) == [1]
    assert order.take(packet(1)) == ()
    assert order.take(packet(3)) == order.take(packet(3)) == ()
    assert sequences(order.take(packet(2))) == [2, 3]
    assert order.counts.late == 2


def test_only_so_many_packets_are_held():
    order = Order()
    order.take(packet(0))
    heard = []
    for index in range(HELD_MAX + 1):
        heard += order.take(packet(2 + index, at_ms=0))
    assert len(heard) == HELD_MAX + 1
    assert order.counts.lost == 1


def test_another_source_is_believed_at_its_second_packet():
    order = Order()
    order.take(packet(10))
    assert order.take(packet(500, source=8)) == ()
    assert sequences(order.take(packet(11))) == [11], "a stray packet changes nothing"
    assert order.take(packet(700, source=8)) == ()
    assert sequences(order.take(packet(701, source=8))) == [700, 701]
    assert order.source == 8
    assert order.counts.restarts == 1
    assert order.counts.lost == 0


def test_a_jump_of_the_sequence_is_another_beginning_not_an_hour_of_loss():
    order = Order()
    order.take(packet(1))
    far = 1 + DROPOUT_MAX + 5
    assert order.take(packet(far)) == ()
    assert sequences(order.take(packet(far + 1))) == [far, far + 1]
    back = far - 5_000
    assert order.take(packet(back)) == ()
    assert sequences(order.take(packet(back + 1))) == [back & 0xFFFF, back + 1 & 0xFFFF]
    assert (order.counts.lost, order.counts.restarts) == (0, 2)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.sampled_from([7, 8])), max_size=200))
def test_hostile_sequences_are_bounded_and_never_raise(steps):
    order = Order()
    given_out = 0
    for now, (sequence, source) in enumerate(steps):
        given_out += len(order.take(packet(sequence, source=source, at_ms=now * 40)))
        given_out += len(order.overdue(now * 40 * MS))
        assert len(order._held) <= HELD_MAX + 1
    assert given_out == order.counts.packets <= len(steps)


def test_jitter_is_that_of_rfc_3550():
    steady, shaky = Jitter(), Jitter()
    for index in range(200):
        steady.add(index * 640, index * 40 * MS, 16_000)
        shaky.add(index * 640, (index * 40 + (10 if index % 2 else 0)) * MS, 16_000)
    assert steady.value == 0
    assert shaky.value == pytest.approx(160, rel=0.01)  # every packet 10 ms off the one before
    shaky.add(2**31, 8_000 * MS, 16_000)
    assert shaky.value == pytest.approx(160, rel=0.01), "a jump of the timestamps is no jitter"


def test_a_sender_s_report_comes_through_and_a_bye():
    data = rtcp.sender_report(7, 1_700_000_000_250_000_000, 640, 3, 90) + struct.pack(">BBHI", 0x81, 203, 1, 7)
    report, bye = rtcp.parse(data)
    assert (report.source, report.timestamp) == (7, 640)
    assert abs(report.utc_ns - 1_700_000_000_250_000_000) < 10
    assert bye.sources == (7,)


def test_a_report_that_came_after_the_look_at_the_clock_is_answered_without_delay() -> None:
    """On a busy machine a camera's report may be newer than the time that the answer was begun with."""
    early = rtcp.receiver_report(1, 7, 5, 100, 70_000, 12, 0x1234, -3_000_000)
    assert early == rtcp.receiver_report(1, 7, 5, 100, 70_000, 12, 0x1234, 0)


def test_our_report_is_a_compound_that_says_what_was_lost():
    data = rtcp.receiver_report(1, 7, 5, 100, 70_000, 12, 0x1234, 2_000_000_000)
    assert data[:4] == b"\x81\xc9\x00\x07"
    ours, source, loss, highest, jitter, last, delay = struct.unpack_from(">7I", data, 4)
    assert (ours, source, highest, jitter, last, delay) == (1, 7, 70_000, 12, 0x1234, 131_072)
    assert (loss >> 24, loss & 0xFFFFFF) == (12, 5)
    assert data[33] == 202
    assert len(data) % 4 == 0
    assert len(data) == 32 + 4 + 4 * int.from_bytes(data[34:36], "big")


@settings(max_examples=500, deadline=None)
@given(data=st.binary(max_size=120))
def test_any_bytes_as_report_are_understood_or_left_out(data):
    assert all(isinstance(one, (rtcp.SenderReport, rtcp.Bye)) for one in rtcp.parse(b"\x80\xc8\x00\x06" + data))
    assert isinstance(rtcp.parse(data), list)
