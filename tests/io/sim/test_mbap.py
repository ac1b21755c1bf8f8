from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gwanje.io.sim.mbap import MAX_BUFFER_BYTES, Framer, ProtocolError, frame, respond
from gwanje.io.sim.registers import ArrayImage, Moving, RegisterImage, Writable


class Counter:
    """A plant of one number, with a register that sets it."""

    def __init__(self) -> None:
        self.step = 0
        self.value = 12.5
        self.asked = 0
        self.image = RegisterImage(
            100,
            bytes(range(20)),
            [Moving(2, "int16", 10.0, self.get), Moving(4, "int32", 1.0, lambda: -self.value, control=True)],
            [Writable(4, "int32", 1.0, self.put, lambda value: abs(value) <= 1000.0)],
            lambda: self.step,
        )

    def get(self) -> float:
        self.asked += 1
        return self.value

    def put(self, value: float) -> None:
        self.value = value


def read(image: RegisterImage, address: int, count: int) -> tuple[int, ...]:
    answer = respond(image, struct.pack(">BHH", 3, address, count))
    assert answer[0] == 3
    assert answer[1] == 2 * count == len(answer) - 2
    return struct.unpack(f">{count}H", answer[2:])


def test_reads_hold_static_and_moving_registers() -> None:
    counter = Counter()
    assert read(counter.image, 100, 3) == (0x0001, 0x0203, 125)
    assert read(counter.image, 109, 1) == (0x1213,)


def test_moving_points_are_packed_once_a_step() -> None:
    counter = Counter()
    for _ in range(5):
        read(counter.image, 100, 10)
    assert counter.asked == 1
    counter.value = 20.0
    assert read(counter.image, 102, 1) == (125,)
    counter.step += 1
    assert read(counter.image, 102, 1) == (200,)


def test_values_beyond_a_register_are_held_at_its_limit_and_never_read_as_missing() -> None:
    counter = Counter()
    counter.value = 1e9
    assert read(counter.image, 102, 1) == (0x7FFF,)
    counter.value, counter.step = -1e9, 1
    assert read(counter.image, 102, 1) == (0x8001,)


@pytest.mark.parametrize(
    ("pdu", "code"),
    [
        (struct.pack(">BHH", 3, 99, 1), 2),
        (struct.pack(">BHH", 3, 109, 2), 2),
        (struct.pack(">BHH", 4, 65535, 125), 2),
        (struct.pack(">BHH", 3, 100, 0), 3),
        (struct.pack(">BHH", 3, 100, 126), 3),
        (b"\x03\x00", 3),
        (struct.pack(">BHH", 1, 100, 1), 1),
        (struct.pack(">BHH", 0x2B, 100, 1), 1),
        (struct.pack(">BHH", 6, 102, 1), 2),  # read only
        (struct.pack(">BHH", 6, 104, 1), 2),  # half a point
        (struct.pack(">BHHBi", 16, 104, 2, 4, 2000), 3),  # refused by the point
        (struct.pack(">BHHBi", 16, 103, 2, 4, 1), 2),
        (struct.pack(">BHHBH", 16, 104, 2, 4, 1), 3),  # fewer bytes than it says
        (struct.pack(">BHHB", 16, 104, 0, 0), 3),
        (b"\x10\x00", 3),
        (struct.pack(">BHHBiH", 16, 104, 3, 6, 1, 1), 2),  # the second point is no point
    ],
)
def test_refusals(pdu: bytes, code: int) -> None:
    counter = Counter()
    assert respond(counter.image, pdu) == bytes((pdu[0] | 0x80, code))
    assert counter.value == 12.5  # a refused write writes nothing


def test_a_write_is_taken_and_read_back_within_the_same_step() -> None:
    counter = Counter()
    pdu = struct.pack(">BHHBi", 16, 104, 2, 4, -321)
    assert respond(counter.image, pdu) == pdu[:5]
    assert counter.value == -321.0
    assert read(counter.image, 104, 2) == (0, 321)


def test_stuck_freezes_measured_values_only() -> None:
    counter = Counter()
    read(counter.image, 102, 1)
    counter.image.stuck = True
    counter.value, counter.step = 50.0, 1
    assert read(counter.image, 102, 1) == (125,)
    assert struct.unpack(">i", struct.pack(">2H", *read(counter.image, 104, 2))) == (-50,)
    counter.image.stuck, counter.step = False, 2
    assert read(counter.image, 102, 1) == (500,)


def test_a_collector_is_read_only() -> None:
    image = ArrayImage(0, 4, lambda: struct.pack(">2I", 7, 70_000), lambda: 0)
    assert respond(image, struct.pack(">BHH", 4, 2, 2)) == struct.pack(">BBI", 4, 4, 70_000)
    assert respond(image, struct.pack(">BHH", 6, 0, 1)) == b"\x86\x02"
    assert respond(image, struct.pack(">BHH", 3, 3, 2)) == b"\x83\x02"


requests = st.lists(
    st.tuples(st.integers(0, 0xFFFF), st.integers(0, 255), st.binary(min_size=1, max_size=253)), min_size=1, max_size=8
)


@settings(max_examples=150, deadline=None)
@given(sent=requests, cuts=st.lists(st.integers(1, 40), min_size=1, max_size=30))
def test_requests_survive_any_cutting(sent: list[tuple[int, int, bytes]], cuts: list[int]) -> None:
    stream = b"".join(frame(*one) for one in sent)
    framer = Framer()
    got: list[tuple[int, int, bytes]] = []
    at = turn = 0
    while at < len(stream):
        size = cuts[turn % len(cuts)]
        got += framer.feed(stream[at : at + size])
        at, turn = at + size, turn + 1
    assert got == sent


def test_requests_byte_by_byte() -> None:
    sent = [(1, 1, b"\x03\x00\x00\x00\x01"), (2, 1, b"\x06\x00\x01\x00\x02")]
    framer = Framer()
    got = [one for byte in b"".join(frame(*one) for one in sent) for one in framer.feed(bytes((byte,)))]
    assert got == sent


@pytest.mark.parametrize(
    "garbage",
    [b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\0\0\0\1\3", b"\0\0\0\0\0\1\1", b"\0\0\0\0\1\0\1\3", b"\xff" * 64],
)
def test_garbage_is_no_request(garbage: bytes) -> None:
    with pytest.raises(ProtocolError):
        Framer().feed(garbage)


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=600))
def test_any_bytes_are_requests_or_refused(data: bytes) -> None:
    framer, counter = Framer(), Counter()
    try:
        found = framer.feed(data)
    except ProtocolError:
        return
    for _, _, pdu in found:
        answer = respond(counter.image, pdu)
        assert 2 <= len(answer) <= 253
        assert answer[0] & 0x7F == pdu[0] & 0x7F


def test_a_connection_holds_a_bounded_number_of_bytes() -> None:
    framer = Framer()
    for _ in range(10_000):
        assert len(framer.feed(b"\0\1\0\0\0\xfe\1" + bytes(253))) == 1
    assert len(framer._buffer) == 0
    assert MAX_BUFFER_BYTES < 10_000
