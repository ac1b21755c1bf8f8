"""RTP as it arrives: packets, their order, what is lost, and another source on the way. No I/O, no clock of its own.

Sources: RFC 3550 §5.1 (header), appendix A.1 (sequence numbers), §6.4.1 and A.8 (jitter).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, fields
from typing import NamedTuple

HELD_MAX = 64
"""Packets that wait for one before them; at 20 ms this is over a second, far more than :data:`WAIT_NS` lets wait."""
WAIT_NS = 100_000_000
"""So long a missing packet may still come: two packets of 40 ms, in whatever order the network brings them."""
DROPOUT_MAX = 1_500
"""A minute of packets of 40 ms: a jump further ahead is another beginning, not a loss."""
MISORDER_MAX = 100
"""RFC 3550's own number: so far behind a packet is late, further it is another beginning."""

_HEADER = struct.Struct(">BBHII")
HEADER_BYTES = 12


class RtpPacket(NamedTuple):
    """One packet with the sound in it."""

    sequence: int
    timestamp: int
    payload_type: int
    source: int
    marker: bool
    payload: bytes
    arrival_ns: int


def parse(data: bytes, arrival_ns: int) -> RtpPacket | None:
    """A packet, None for what is none or holds nothing."""
    if len(data) <= HEADER_BYTES:
        return None
    first, second, sequence, timestamp, source = _HEADER.unpack_from(data)
    if first == 0x80:
        return RtpPacket(sequence, timestamp, second & 0x7F, source, second > 127, data[12:], arrival_ns)
    if first >> 6 != 2:
        return None
    begin, end = HEADER_BYTES + 4 * (first & 0x0F), len(data)
    if first & 0x10:
        if begin + 4 > end:
            return None
        begin += 4 + 4 * int.from_bytes(data[begin + 2 : begin + 4], "big")
    if first & 0x20:
        if not 0 < data[-1] <= end - begin:
            return None
        end -= data[-1]
    if begin >= end:
        return None
    return RtpPacket(sequence, timestamp, second & 0x7F, source, second > 127, data[begin:end], arrival_ns)


@dataclass(slots=True)
class Counts:
    """What became of a connection's packets.

    Attributes:
        packets: that came and were used.
        lost: that never came.
        late: that came after they were given up, or twice.
        restarts: other beginnings: sources, jumps of the sequence.
        unused: of payload types that are no sound.
        bad: that could not be parsed or decoded.
    """

    packets: int = 0
    lost: int = 0
    late: int = 0
    restarts: int = 0
    unused: int = 0
    bad: int = 0

    def add(self, other: Counts) -> None:
        """Take up those of another connection."""
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))


class Order:
    """Puts the packets of one connection in order and follows its source.

    A packet in its turn passes at once. One that is ahead waits for those before it, up to :data:`WAIT_NS`. Another
    source, or a sequence far away, is believed when a second packet goes on where the first one stood.
    """

    __slots__ = ("_doubted", "_expected", "_held", "_source", "_waits_since", "counts", "highest")

    def __init__(self) -> None:
        self.counts = Counts()
        self.highest = 0
        """Highest sequence number with its wraps, for the reports to the camera."""
        self._expected = -1
        self._source = -1
        self._held: dict[int, RtpPacket] = {}
        self._waits_since = 0
        self._doubted: RtpPacket | None = None

    @property
    def waiting(self) -> bool:
        """Whether packets wait for one before them."""
        return bool(self._held)

    @property
    def source(self) -> int:
        """Of the packets; -1 before the first."""
        return self._source

    def take(self, packet: RtpPacket) -> tuple[RtpPacket, ...]:
        """Packets whose turn it is now that this one came."""
        if packet.sequence == self._expected and packet.source == self._source:
            self._doubted = None
            self._turn(packet)
            return (packet, *self._drain()) if self._held else (packet,)
        if self._expected < 0:
            self._source = packet.source
            self._turn(packet)
            return (packet,)
        if packet.source != self._source:
            return self._doubt(packet)
        ahead = (packet.sequence - self._expected) & 0xFFFF
        if ahead > 0xFFFF - MISORDER_MAX:
            self.counts.late += 1
            return ()
        if ahead > DROPOUT_MAX:
            return self._doubt(packet)
        self._doubted = None
        if packet.sequence in self._held:
            self.counts.late += 1
            return ()
        if not self._held:
            self._waits_since = packet.arrival_ns
        self._held[packet.sequence] = packet
        return self._skip() if len(self._held) > HELD_MAX else ()

    def overdue(self, now_ns: int) -> tuple[RtpPacket, ...]:
        """Packets that have waited long enough: what they waited for is lost."""
        if not self._held or now_ns - self._waits_since < WAIT_NS:
            return ()
        return self._skip()

    def _turn(self, packet: RtpPacket) -> None:
        self._expected = (packet.sequence + 1) & 0xFFFF
        self.highest += (packet.sequence - self.highest) & 0xFFFF
        self.counts.packets += 1

    def _drain(self) -> list[RtpPacket]:
        """Held packets that follow one another from the expected one on."""
        found = []
        while (packet := self._held.pop(self._expected, None)) is not None:
            self._turn(packet)
            found.append(packet)
        if self._held:
            self._waits_since = min(one.arrival_ns for one in self._held.values())
        return found

    def _skip(self) -> tuple[RtpPacket, ...]:
        """Give up what is missing before the first held packet."""
        nearest = min(self._held, key=lambda one: (one - self._expected) & 0xFFFF)
        self.counts.lost += (nearest - self._expected) & 0xFFFF
        self._expected = nearest
        return tuple(self._drain())

    def _doubt(self, packet: RtpPacket) -> tuple[RtpPacket, ...]:
        """Another beginning: believed at its second packet, and then with its first."""
        doubted, self._doubted = self._doubted, packet
        if (
            doubted is None
            or doubted.source != packet.source
            or packet.sequence != (doubted.sequence + 1) & 0xFFFF
        ):
            return ()
        old = tuple(self._held[key] for key in sorted(self._held, key=lambda one: (one - self._expected) & 0xFFFF))
        self._held.clear()
        self._doubted = None
        self._source = packet.source
        self.counts.restarts += 1
        self.counts.packets += len(old)
        self.highest = doubted.sequence
        self._turn(doubted)
        self._turn(packet)
        return (*old, doubted, packet)


class Jitter:
    """Interarrival jitter as reports want it (RFC 3550 A.8), in units of the RTP clock."""

    __slots__ = ("_transit", "value")

    def __init__(self) -> None:
        self.value = 0.0
        self._transit: int | None = None

    def add(self, timestamp: int, arrival_ns: int, clock_hz: int) -> None:
        """A packet arrived."""
        transit = (arrival_ns * clock_hz // 1_000_000_000 - timestamp) & 0xFFFF_FFFF
        if self._transit is not None:
            moved = (transit - self._transit) & 0xFFFF_FFFF
            moved = min(moved, 0x1_0000_0000 - moved)
            if moved < clock_hz:  # a second and more is a jump of the timestamps
                self.value += (moved - self.value) / 16.0
        self._transit = transit
