"""Frames as a hostile device may send them, from a seed: most are wrong in one way, some are right."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from gwanje.ext.modbus_poller import judge
from gwanje.ext.reference import modbus_poller as twin

RTU_SHARE = 0.3
OK = 0


@dataclass(frozen=True, slots=True)
class Ask:
    """A request, and the stream that came back."""

    framing: int
    transaction: int
    unit: int
    function: int
    address: int
    count: int
    data: bytes


def frames(n: int, seed: int) -> Iterator[Ask]:
    """Requests with answers that were bent."""
    rng = random.Random(seed)
    for _ in range(n):
        framing = int(rng.random() < RTU_SHARE)
        count = rng.choice((1, 2, 4, 60, 125, rng.randint(1, 125)))
        function = rng.choice((3, 3, 3, 4, 16))
        unit, transaction, address = rng.randrange(256), rng.randrange(0x10000), rng.randrange(0x10000 - count)
        body = struct.pack(">BHH", 16, address, count) if function == 16 else (
            bytes((function, 2 * count)) + rng.randbytes(2 * count)
        )  # fmt: skip
        if rng.random() < 0.1:
            body = bytes((function | 0x80, rng.randrange(12)))
        if framing:
            data = bytes((unit,)) + body
            data += twin.crc16(data).to_bytes(2, "little")
        else:
            data = struct.pack(">HHHB", transaction, 0, len(body) + 1, unit) + body
        yield Ask(framing, transaction, unit, function, address, count, bent(data, rng))


def bent(data: bytes, rng: random.Random) -> bytes:
    """A stream as a hostile device may send it: now and then whole, mostly cut, lengthened or changed."""
    step = rng.random()
    if step < 0.1:
        return data
    if step < 0.2:
        return data[: rng.randrange(len(data) + 1)]
    if step < 0.3:
        return data + rng.randbytes(rng.randrange(1, 20))
    if step < 0.35:
        return rng.randbytes(rng.randrange(300))
    out = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        at = min(int(rng.expovariate(0.15)), len(out) - 1)  # mostly in the header, where lies are
        out[at] = rng.choice((out[at] ^ 1 << rng.randrange(8), 0, 0xFF, rng.randrange(256)))
    return bytes(out)


def is_right(ask: Ask) -> bool:
    """Whether a stream begins with the very answer asked for, byte by byte; for RTU, is nothing else."""
    n = 2 * ask.count
    if ask.framing:
        if ask.function == 16:
            body = struct.pack(">BBHH", ask.unit, 16, ask.address, ask.count)
        else:
            body = bytes((ask.unit, ask.function, n)) + ask.data[3 : 3 + n]
        return len(ask.data) == len(body) + 2 and ask.data == body + twin.crc16(body).to_bytes(2, "little")
    if ask.function == 16:
        return ask.data.startswith(
            struct.pack(">HHHBBHH", ask.transaction, 0, 6, ask.unit, 16, ask.address, ask.count)
        )
    head = struct.pack(">HHHBBB", ask.transaction, 0, 3 + n, ask.unit, ask.function, n)
    return ask.data.startswith(head) and len(ask.data) >= len(head) + n


def wrong_of(n: int, seed: int, *, with_twin: bool = True) -> tuple[int, int, int]:
    """Try frames on the poller's judgement.

    Returns:
        (frames taken for good, good frames that were not right or right ones that were refused, differences from the
        twin): the last two must be 0.
    """
    good = wrong = other = 0
    for ask in frames(n, seed):
        found = judge(ask.framing, ask.data, ask.transaction, ask.unit, ask.function, ask.address, ask.count)
        taken = found[0] == OK
        good += taken
        if taken != is_right(ask):
            wrong += 1
        if with_twin:
            other += found != twin.judge(
                ask.framing, ask.data, ask.transaction, ask.unit, ask.function, ask.address, ask.count
            )
    return good, wrong, other
