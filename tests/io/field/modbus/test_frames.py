"""The strict validator: nothing but the exact answer passes, however the bytes are cut or bent."""

from __future__ import annotations

import random
import struct

import pytest

from gwanje.io.field.modbus.frames import READ_HOLDING, WRITE_MULTIPLE, BadReplyError, Expected, Reply, reply_in

READ = Expected(transaction=7, unit=3, function=READ_HOLDING, address=100, count=2)
WRITE = Expected(transaction=7, unit=3, function=WRITE_MULTIPLE, address=100, count=2)


def frame(pdu: bytes, transaction: int = 7, unit: int = 3, protocol: int = 0, length: int | None = None) -> bytes:
    return struct.pack(">HHHB", transaction, protocol, len(pdu) + 1 if length is None else length, unit) + pdu


GOOD = frame(bytes([3, 4, 0, 1, 0, 2]))
ECHO = frame(struct.pack(">BHH", 16, 100, 2))


def test_the_answer_passes():
    assert reply_in(GOOD, READ) == Reply(0, bytes([0, 1, 0, 2]))
    assert reply_in(ECHO, WRITE) == Reply(0, b"")


def test_the_answer_cut_anywhere_waits_for_the_rest():
    for cut in range(len(GOOD)):
        assert reply_in(GOOD[:cut], READ) is None


def test_late_answers_before_it_are_passed_over():
    late = frame(bytes([3, 2, 9, 9]), transaction=6)
    assert reply_in(late + GOOD, READ) == Reply(0, bytes([0, 1, 0, 2]))
    assert reply_in(late, READ) is None


@pytest.mark.parametrize("code", range(1, 12))
def test_exceptions_are_answers(code):
    assert reply_in(frame(bytes([0x83, code])), READ) == Reply(code, b"")


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (frame(bytes([3, 2, 0, 1])), "4 were asked for"),
        (frame(bytes([3, 6, 0, 1, 0, 2, 0, 3])), "4 were asked for"),
        (frame(bytes([3, 4, 0, 1])), "4 were asked for"),
        (frame(bytes([3, 2, 0, 1, 0, 2])), "call themselves 2"),
        (frame(bytes([4, 4, 0, 1, 0, 2])), "function 4 answers"),
        (frame(bytes([6, 4, 0, 1, 0, 2])), "function 6 answers"),
        (frame(bytes([0x84, 2])), "function 132 answers"),
        (frame(bytes([0x83, 0])), "exception of 1 bytes"),
        (frame(bytes([0x83, 2, 2])), "exception of 2 bytes"),
        (frame(bytes([3, 4, 0, 1, 0, 2]), unit=4), "unit 4 answers"),
        (frame(bytes([3, 4, 0, 1, 0, 2]), protocol=1), "no Modbus header"),
        (frame(bytes([3, 4, 0, 1, 0, 2]), length=2), "no Modbus header"),
        (frame(bytes([3, 4, 0, 1, 0, 2]), length=300), "no Modbus header"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no Modbus header"),
    ],
)
def test_what_is_not_the_answer_is_refused(reply, why):
    with pytest.raises(BadReplyError, match=why):
        reply_in(reply, READ)


@pytest.mark.parametrize("pdu", [struct.pack(">BHH", 16, 101, 2), struct.pack(">BHH", 16, 100, 1), bytes([16, 0, 100])])
def test_an_echo_that_differs_is_refused(pdu):
    with pytest.raises(BadReplyError, match="echo of a write differs"):
        reply_in(frame(pdu), WRITE)


def test_bent_frames_never_become_other_values():
    """100 000 frames with up to three bytes changed, lost or doubled: refused, waited for, or an answer of the right
    shape whose header and byte count were right; the data themselves carry no checksum in Modbus TCP."""
    chance = random.Random(20260726)
    for _ in range(100_000):
        bent = bytearray(GOOD)
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(bent))
            match chance.randrange(3):
                case 0:
                    bent[at] = chance.randrange(256)
                case 1:
                    del bent[at]
                case _:
                    bent.insert(at, bent[at])
        try:
            reply = reply_in(bytes(bent), READ)
        except BadReplyError:
            continue
        if reply is not None and not reply.exception:
            start = bytes(bent).index(GOOD[:2] + b"\0\0")
            assert bytes(bent[start : start + 9]) == GOOD[:9], bent.hex()
            assert reply.data == bytes(bent[start + 9 : start + 13]), bent.hex()


def test_noise_is_never_an_answer():
    chance = random.Random(4711)
    for _ in range(20_000):
        noise = chance.randbytes(chance.randint(0, 64))
        try:
            reply = reply_in(noise, READ)
        except BadReplyError:
            continue
        assert reply is None, noise.hex()
