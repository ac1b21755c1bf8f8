"""The poller against peers made of plain sockets: what it asks, what it takes, what it never sends."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import select
import socket
import struct
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gwanje.ext import modbus_poller as poller
from gwanje.ext.modbus_poller import Poller, PollerFull, judge
from gwanje.ext.reference import modbus_poller as reference

SECOND = 1_000_000_000
LIMIT_S = 20.0


class Peer:
    """A listening socket, and the frames that come."""

    def __init__(self, *, rtu: bool = False) -> None:
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(64)
        self.listener.settimeout(LIMIT_S)
        self.port = self.listener.getsockname()[1]
        self.rtu = rtu
        self.sock: socket.socket | None = None

    def accept(self) -> None:
        if self.sock is not None:
            self.sock.close()
        self.sock, _ = self.listener.accept()
        self.sock.settimeout(LIMIT_S)

    def _exactly(self, n: int) -> bytes:
        data = b""
        while len(data) < n:
            more = self.sock.recv(n - len(data))
            assert more, "the poller closed"
            data += more
        return data

    def request(self) -> tuple[int, int, int, int, int, bytes]:
        """(transaction, unit, function, address, count, payload) of the next request."""
        if self.rtu:
            head = self._exactly(6)
            unit, function, address, count = struct.unpack(">BBHH", head)
            rest = self._exactly(1 + 2 * count) if function == 16 else b""
            assert self._exactly(2) == reference.crc16(head + rest).to_bytes(2, "little")
            return 0, unit, function, address, count, rest[1:]
        transaction, protocol, length = struct.unpack(">HHH", self._exactly(6))
        assert protocol == 0
        body = self._exactly(length)
        unit, function, address, count = struct.unpack(">BBHH", body[:6])
        return transaction, unit, function, address, count, body[7:]

    def frame(self, request, pdu: bytes) -> bytes:
        if self.rtu:
            data = bytes([request[1]]) + pdu
            return data + reference.crc16(data).to_bytes(2, "little")
        return struct.pack(">HHHB", request[0], 0, len(pdu) + 1, request[1]) + pdu

    def answer(self, request, first: int = 0) -> bytes:
        """The right answer: registers that hold their own address plus ``first``."""
        _, _, function, address, count, _ = request
        if function == 16:
            return self.frame(request, struct.pack(">BHH", 16, address, count))
        words = [(address + first + k) & 0xFFFF for k in range(count)]
        return self.frame(request, struct.pack(f">BB{count}H", function, 2 * count, *words))

    def serve(self, first: int = 0):
        """Answer one request rightly; gives it."""
        request = self.request()
        self.sock.sendall(self.answer(request, first))
        return request

    def silent(self) -> bool:
        """Whether nothing more has come."""
        return not select.select([self.sock], [], [], 0.05)[0]

    def close(self) -> None:
        if self.sock is not None:
            self.sock.close()
        self.listener.close()


def now() -> int:
    return time.monotonic_ns()


class Bench:
    """A poller with one connection to a peer, and what it gave."""

    def __init__(self, *, rtu: bool = False, read_only: bool = False, timeout_s: float = 5.0, **options) -> None:
        self.peer = Peer(rtu=rtu)
        self.poller = Poller(4, 16, 16, read_only=read_only, connects_per_s=1e5)
        self.poller.start()
        self.conn = self.poller.add_conn(
            "127.0.0.1", self.peer.port, round(timeout_s * SECOND), framing=poller.RTU if rtu else poller.TCP, **options
        )
        self.blocks: list[tuple[int, ...]] = []
        self.words: list[np.ndarray] = []
        self.shots: dict[int, tuple[int, ...]] = {}
        self.conns: list[tuple[int, int, int]] = []

    def open(self):
        self.poller.open(self.conn)
        self.peer.accept()
        self.until(lambda: self.conns)
        assert self.conns == [(self.conn, poller.OK, 0)]
        self.conns.clear()
        return self

    def take(self) -> None:
        blocks, words, shots, conns = self.poller.take()
        self.blocks += [tuple(column) for column in blocks.T.tolist()]
        self.words += list(words)
        self.shots |= {one[0]: one[1:] for one in shots}
        self.conns += conns

    def until(self, condition) -> None:
        limit = now() + round(LIMIT_S * SECOND)
        self.take()
        while not condition():
            assert now() < limit, (self.blocks, self.shots, self.conns, self.poller.counts(self.conn))
            select.select([self.poller.fileno()], [], [], 0.2)
            self.take()

    def poll(self, address: int = 10, count: int = 4, period_s: float = 1000.0, unit: int = 1) -> int:
        return self.poller.add_block(self.conn, unit, address, count, round(period_s * SECOND), now())

    def status(self) -> tuple[int, int]:
        """Status and code of the next poll that ends."""
        self.until(lambda: self.blocks)
        found = self.blocks.pop(0)
        return found[1], found[2]

    def close(self) -> None:
        self.poller.stop()
        self.peer.close()


@contextlib.contextmanager
def bench(**options):
    one = Bench(**options)
    try:
        yield one
    finally:
        one.close()


STREAMS = st.tuples(
    st.integers(0, 1), st.integers(0, 0xFFFF), st.integers(0, 255), st.sampled_from([3, 4, 16]), st.integers(0, 65_000),
    st.integers(1, 125), st.booleans(), st.binary(max_size=20),
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 255)), max_size=3),
)  # fmt: skip


@settings(max_examples=400)
@given(STREAMS)
def test_any_stream_is_judged_as_the_twin_judges_it_at_every_cut(case):
    framing, transaction, unit, function, address, count, waiting, tail, changes = case
    pdu = struct.pack(">BHH", 16, address, count) if function == 16 else bytes([function, 2 * count]) + bytes(2 * count)
    if framing:
        data = bytes([unit]) + pdu
        data += reference.crc16(data).to_bytes(2, "little")
    else:
        data = struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu
    bent = bytearray(data + tail)
    for at, value in changes:
        bent[at % len(bent)] = value
    asked = (transaction, unit, function, address, count, waiting)
    for end in {*range(min(len(bent), 15)), len(data) - 1, len(data), len(bent)}:
        stream = bytes(bent[:end])
        assert judge(framing, stream, *asked) == reference.judge(framing, stream, *asked)


def test_registers_arrive_in_their_row():
    with bench() as one:
        one.open()
        block = one.poll(1000, 125)
        assert one.peer.serve()[1:5] == (1, 3, 1000, 125)
        assert one.status() == (poller.OK, 0)
        assert one.words[0].tolist() == list(range(1000, 1125))
        assert one.poller.words[block].tolist() == list(range(1000, 1125))
        assert one.poller.state(one.conn) == "open"


def exact(peer, request):
    return peer.answer(request)


WRONG = {
    "short but consistent": (lambda p, r: p.frame(r, bytes([3, 6]) + bytes(6)), 4),
    "oversize": (lambda p, r: p.frame(r, bytes([3, 250]) + bytes(251)), 4),
    "other function": (lambda p, r: p.frame(r, bytes([4, 8]) + bytes(8)), 3),
    "byte count lies": (lambda p, r: p.frame(r, bytes([3, 10]) + bytes(8)), 4),
    "other unit": (lambda p, r: p.answer((r[0], 9, *r[2:])), 2),
    "exception of no code": (lambda p, r: p.frame(r, bytes([0x83, 0])), 6),
    "long exception": (lambda p, r: p.frame(r, bytes([0x83, 2, 2])), 6),
    "exception of another function": (lambda p, r: p.frame(r, bytes([0x84, 2])), 3),
    "protocol 1": (lambda p, r: p.answer(r)[:2] + b"\0\1" + p.answer(r)[4:], 1),
    "length 0": (lambda p, r: p.answer(r)[:4] + b"\0\0" + p.answer(r)[6:], 1),
    "a web server": (lambda p, r: b"HTTP/1.1 400 Bad Request\r\n\r\n", 1),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_answer_is_no_value_and_ends_the_connection(case):
    make, reason = WRONG[case]
    with bench() as one:
        one.open()
        one.poll()
        one.peer.sock.sendall(make(one.peer, one.peer.request()))
        assert one.status() == (poller.INVALID, reason)
        one.until(lambda: one.conns)
        assert one.conns == [(one.conn, poller.INVALID, reason)]
        assert not one.poller.words.any()
        assert one.poller.state(one.conn) == "closed"


def test_a_megabyte_of_garbage_ends_the_connection():
    with bench() as one:
        one.open()
        one.poll()
        one.peer.request()
        with contextlib.suppress(ConnectionError):
            one.peer.sock.sendall(bytes(range(256)) * 4096)
        assert one.status() == (poller.INVALID, 1)
        assert one.poller.counts(one.conn)["answered"] == 0


def test_a_frame_byte_by_byte_and_one_with_another_behind_it():
    with bench() as one:
        one.open()
        one.poll(period_s=0.01)
        for byte in one.peer.answer(one.peer.request()):
            one.peer.sock.sendall(bytes([byte]))
        assert one.status() == (poller.OK, 0)
        request = one.peer.request()
        one.peer.sock.sendall(one.peer.answer(request) + one.peer.answer(request, first=7777))
        assert one.status() == (poller.OK, 0)
        one.peer.serve()
        assert one.status() == (poller.OK, 0)
        assert all(row[:4].tolist() == [10, 11, 12, 13] for row in one.words)
        one.until(lambda: one.poller.counts(one.conn)["late"] == 1)


def test_half_a_frame_from_before_the_request_is_not_its_answer():
    """A device that guesses the next transaction: what began before the request left answers something older."""
    with bench() as one:
        one.open()
        first = one.poller.read(one.conn, 1, 10, 4)
        request = one.peer.request()
        forged = one.peer.answer(((request[0] + 1) & 0xFFFF, *request[1:]), first=6666)
        one.peer.sock.sendall(one.peer.answer(request) + forged[:8])
        one.until(lambda: first in one.shots)
        second = one.poller.read(one.conn, 1, 10, 4)
        request = one.peer.request()
        one.peer.sock.sendall(forged[8:] + one.peer.answer(request))
        one.until(lambda: second in one.shots)
        assert one.shots[second][3] == struct.pack(">4H", 10, 11, 12, 13)


def test_unsolicited_frames_without_end_are_no_server():
    with bench() as one:
        one.open()
        frame = struct.pack(">HHHBBB", 1, 0, 3, 1, 0x83, 2)
        with contextlib.suppress(ConnectionError):
            one.peer.sock.sendall(frame * 200)
        one.until(lambda: one.conns)
        assert one.conns == [(one.conn, poller.INVALID, 8)]


@pytest.mark.parametrize("code", [*range(1, 12), 255])
def test_exceptions_are_counted_by_code_and_keep_the_connection(code):
    with bench() as one:
        one.open()
        one.poll()
        request = one.peer.request()
        one.peer.sock.sendall(one.peer.frame(request, bytes([0x83, code])))
        assert one.status() == (poller.EXCEPTION, code)
        assert one.poller.stats()["exceptions"][code if code < 12 else 0] == 1
        assert one.poller.state(one.conn) == "open"


def test_a_late_answer_is_discarded_and_the_next_one_taken():
    with bench(timeout_s=0.1) as one:
        one.open()
        one.poll(period_s=0.15)
        late = one.peer.request()
        assert one.status() == (poller.NO_ANSWER, 0)
        request = one.peer.request()
        one.peer.sock.sendall(one.peer.answer(late, first=7777) + one.peer.answer(request))
        assert one.status() == (poller.OK, 0)
        assert one.words[-1][:4].tolist() == [10, 11, 12, 13]
        assert one.poller.counts(one.conn)["late"] == 1


def test_a_close_and_a_reset_within_a_frame_are_losses():
    for reset in (False, True):
        with bench() as one:
            one.open()
            one.poll()
            one.peer.sock.sendall(one.peer.answer(one.peer.request())[:9])
            if reset:
                one.peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.peer.sock.close()
            assert one.status()[0] == poller.LOST
            assert one.conns[0][1] == poller.LOST


def test_a_refused_connection_says_so_and_a_silent_one_times_out():
    with bench(timeout_s=0.2) as one:
        one.peer.listener.close()
        one.poller.open(one.conn)
        one.until(lambda: one.conns)
        assert one.conns == [(one.conn, poller.NO_CONNECTION, errno.ECONNREFUSED)]
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    full = [socket.socket() for _ in range(4)]  # nobody accepts: the queue is full, further SYNs are dropped
    for client in full:
        client.setblocking(False)
        client.connect_ex(listener.getsockname())
    with bench(timeout_s=0.2) as one:
        conn = one.poller.add_conn("127.0.0.1", listener.getsockname()[1], SECOND // 5)
        one.poller.open(conn)
        one.until(lambda: one.conns)
        assert one.conns == [(conn, poller.NO_CONNECTION, errno.ETIMEDOUT)]
    for client in (*full, listener):
        client.close()


def test_nothing_is_written_by_a_read_only_poller():
    with bench(read_only=True) as one:
        one.open()
        with pytest.raises(PermissionError):
            one.poller.write(one.conn, 1, 40, [1])
        assert one.peer.silent()
        assert one.poller.stats()["writes"] == 0


def test_a_write_is_read_back_before_anything_else_is_asked():
    with bench() as one:
        one.open()
        one.poll(period_s=0.001)
        held = one.peer.request()
        number = one.poller.write(one.conn, 7, 40, [1, 0xFFFF], back_address=40, back_count=2)
        one.peer.sock.sendall(one.peer.answer(held))
        assert one.peer.serve()[1:] == (7, 16, 40, 2, b"\0\1\xff\xff")
        assert one.peer.serve()[1:5] == (7, 3, 40, 2)
        one.until(lambda: number in one.shots)
        assert one.shots[number][0] == poller.OK
        assert one.shots[number][3] == struct.pack(">HH", 40, 41)


def test_a_different_echo_of_a_write_is_no_success():
    with bench() as one:
        one.open()
        number = one.poller.write(one.conn, 1, 40, [1])
        request = one.peer.request()
        one.peer.sock.sendall(one.peer.frame(request, struct.pack(">BHH", 16, 41, 1)))
        one.until(lambda: number in one.shots)
        assert one.shots[number][:2] == (poller.INVALID, 5)


def test_a_command_that_expires_while_it_waits_never_leaves():
    with bench() as one:
        one.open()
        one.poll()
        held = one.peer.request()
        dead = one.poller.write(one.conn, 1, 40, [1], expires_ns=now() + 1_000_000)
        alive = one.poller.write(one.conn, 1, 50, [2], expires_ns=now() + 1000 * SECOND)
        past = now() + 2_000_000
        while now() < past:
            pass
        one.peer.sock.sendall(one.peer.answer(held))
        assert one.peer.serve()[2:4] == (16, 50)
        one.until(lambda: {dead, alive} <= set(one.shots))
        assert (one.shots[dead][0], one.shots[alive][0]) == (poller.EXPIRED, poller.OK)
        assert one.poller.stats()["writes"] == 1


def test_a_cancelled_request_that_waits_never_leaves():
    with bench() as one:
        one.open()
        one.poll()
        held = one.peer.request()
        dead = one.poller.write(one.conn, 1, 40, [1])
        one.poller.cancel(dead)
        alive = one.poller.read(one.conn, 1, 50, 1)
        one.peer.sock.sendall(one.peer.answer(held))
        assert one.peer.serve()[2:4] == (3, 50)
        one.until(lambda: alive in one.shots)
        assert dead not in one.shots or dead == alive


def test_an_overrun_skips_and_counts():
    with bench() as one:
        one.open()
        block = one.poll(period_s=0.01)
        held, past = one.peer.request(), now() + 50_000_000
        while now() < past:
            pass
        one.peer.sock.sendall(one.peer.answer(held))
        one.until(lambda: one.blocks)
        assert one.blocks[0][6] >= 3
        assert one.poller.skipped(block) == one.blocks[0][6]
        assert one.poller.late_us(0.5) > 0.0


def test_the_shorter_deadline_goes_first():
    with bench() as one:
        one.open()
        held = one.poller.read(one.conn, 1, 0, 1)
        request, first = one.peer.request(), now()
        for address, period_s in ((100, 50.0), (200, 1.0), (300, 10.0)):
            one.poller.add_block(one.conn, 1, address, 1, round(period_s * SECOND), first)
        one.peer.sock.sendall(one.peer.answer(request))
        assert [one.peer.serve()[3] for _ in range(3)] == [200, 300, 100]
        one.until(lambda: held in one.shots and len(one.blocks) == 3)


def test_new_connections_are_limited_in_a_second():
    peer = Peer()
    many = Poller(8, 8, read_only=True, connects_per_s=50)
    many.start()
    conns = [many.add_conn("127.0.0.1", peer.port, 10 * SECOND) for _ in range(8)]
    begin = now()
    for one in conns:
        many.open(one)
    limit = begin + round(LIMIT_S * SECOND)
    while any(many.state(one) != "open" for one in conns):
        assert now() < limit
    assert now() - begin >= 7 * SECOND // 50
    many.stop()
    peer.close()


def test_a_thousand_connections_leave_no_descriptor_and_no_memory():
    def memory_kb() -> int:
        gc.collect()
        with open("/proc/self/status", encoding="ascii") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))

    with bench() as one:
        before = 0
        for turn in range(1000):
            one.open()
            one.poll()
            one.peer.request()
            one.peer.sock.close()
            one.until(lambda: one.conns)
            for block in range(16):
                with contextlib.suppress(ValueError):
                    one.poller.remove_block(block)
            for held in (one.blocks, one.words, one.conns):
                held.clear()
            if turn == 100:
                before, memory = len(os.listdir("/proc/self/fd")), memory_kb()
        assert len(os.listdir("/proc/self/fd")) <= before
        assert memory_kb() - memory < 4_000
        assert one.poller.counts(one.conn)["opened"] == 1000


def test_rtu_frames_and_a_second_frame_behind_the_answer():
    with bench(rtu=True) as one:
        one.open()
        one.poll(unit=9)
        assert one.peer.serve()[1:5] == (9, 3, 10, 4)
        assert one.status() == (poller.OK, 0)
        assert one.words[0][:4].tolist() == [10, 11, 12, 13]
        number = one.poller.read(one.conn, 9, 20, 1)
        request = one.peer.request()
        one.peer.sock.sendall(one.peer.answer(request) * 2)
        one.until(lambda: number in one.shots)
        assert one.shots[number][:2] == (poller.INVALID, 8), "which of the two is the answer nobody can say"


def test_rtu_with_a_wrong_checksum_is_no_value():
    with bench(rtu=True) as one:
        one.open()
        one.poll()
        answer = bytearray(one.peer.answer(one.peer.request()))
        answer[-1] ^= 1
        one.peer.sock.sendall(bytes(answer))
        assert one.status() == (poller.INVALID, 7)


def test_on_a_shared_line_a_silent_unit_costs_its_time_and_nobodys_connection():
    with bench(rtu=True, timeout_s=0.1, shared=True) as one:
        one.open()
        dead, alive = one.poll(unit=1, period_s=0.3), one.poll(unit=2, period_s=0.05)
        ends: dict[int, list[int]] = {dead: [], alive: []}
        limit = now() + round(LIMIT_S * SECOND)
        while len(ends[alive]) < 10 or len(ends[dead]) < 2:
            assert now() < limit, ends
            if select.select([one.peer.sock], [], [], 0.02)[0]:
                try:
                    request = one.peer.request()
                except (AssertionError, ConnectionError):
                    one.peer.accept()  # after a time-out the line is made anew: late bytes must not answer the next
                    continue
                if request[1] == 2:
                    one.peer.sock.sendall(one.peer.answer(request))
            one.take()
            for found in one.blocks:
                ends[found[0]].append(found[1])
            one.blocks.clear()
        assert set(ends[alive]) == {poller.OK}
        assert set(ends[dead]) == {poller.NO_ANSWER}
        assert not one.conns, "nobody is told of a line that was made anew"


def test_a_rest_between_answer_and_next_request_is_kept():
    with bench(gap_ns=30_000_000) as one:
        one.open()
        one.poll(period_s=0.001)
        one.peer.serve()
        answered = now()
        one.peer.serve()
        assert now() - answered >= 29_000_000


def test_what_does_not_fit_is_refused_by_name():
    one = Poller(1, 1, 1, read_only=False)
    with pytest.raises(ValueError, match=r"device\.example"):
        one.add_conn("device.example", 502, SECOND)
    conn = one.add_conn("127.0.0.1", 502, SECOND)
    with pytest.raises(PollerFull, match="1 connections"):
        one.add_conn("127.0.0.1", 503, SECOND)
    one.add_block(conn, 1, 0, 1, SECOND, 0)
    with pytest.raises(PollerFull, match="1 blocks"):
        one.add_block(conn, 1, 0, 1, SECOND, 0)
    for unit, address, count in ((256, 0, 1), (1, 65_535, 2), (1, 0, 126), (1, 0, 0), (-1, 0, 1)):
        with pytest.raises(ValueError, match="not"):
            one.add_block(conn, unit, address, count, SECOND, 0)
    with pytest.raises(ValueError, match="124 registers"):
        one.write(conn, 1, 0, [0] * 124)
    with pytest.raises(ConnectionError):
        one.read(conn, 1, 0, 1)
    with pytest.raises(ValueError, match="no connection 5"):
        one.open(5)
    with pytest.raises(ValueError, match="no block 7"):
        one.remove_block(7)
    one.remove_conn(conn)
    assert one.add_conn("::1", 502, SECOND) == conn
