"""RTCP: what a camera reports of its clock, and what we report to it. Pure. Source: RFC 3550 §6.4, §6.6."""

from __future__ import annotations

import struct
from dataclasses import dataclass

NTP_EPOCH_S = 2_208_988_800
"""From 1900, where NTP counts from, to 1970."""
SENDER_REPORT, RECEIVER_REPORT, DESCRIPTION, BYE = 200, 201, 202, 203
_MAX_PARTS = 32
"""Packets in one compound; a camera sends two or three."""
_SENDER = struct.Struct(">IIII")
_BLOCK = struct.Struct(">IIIIII")


@dataclass(frozen=True, slots=True)
class SenderReport:
    """A moment on the camera's clock and on its stream.

    Attributes:
        source: of the stream.
        utc_ns: the camera's wall clock, as it says.
        timestamp: of the stream at that moment.
        middle: bits of the NTP time that a report back repeats.
    """

    source: int
    utc_ns: int
    timestamp: int
    middle: int


@dataclass(frozen=True, slots=True)
class Bye:
    """These sources end."""

    sources: tuple[int, ...]


def parse(data: bytes) -> list[SenderReport | Bye]:
    """What a compound packet says, as far as it can be understood."""
    found: list[SenderReport | Bye] = []
    at = 0
    for _ in range(_MAX_PARTS):
        if at + 4 > len(data) or data[at] >> 6 != 2:
            break
        kind, count = data[at + 1], data[at] & 0x1F
        end = at + 4 + 4 * int.from_bytes(data[at + 2 : at + 4], "big")
        if end > len(data):
            break
        if kind == SENDER_REPORT and end - at >= 28:
            source, seconds, fraction, timestamp = struct.unpack_from(">IIII", data, at + 4)
            utc_ns = (seconds - NTP_EPOCH_S) * 1_000_000_000 + (fraction * 1_000_000_000 >> 32)
            middle = ((seconds & 0xFFFF) << 16) | (fraction >> 16)
            found.append(SenderReport(source, utc_ns, timestamp, middle))
        elif kind == BYE and end - at >= 4 + 4 * count:
            found.append(Bye(struct.unpack_from(f">{count}I", data, at + 4)))
        at = end
    return found


def sender_report(source: int, utc_ns: int, timestamp: int, packets: int, payload_bytes: int) -> bytes:
    """A sender's report (for simulated cameras and tests)."""
    seconds, rest = divmod(utc_ns, 1_000_000_000)
    ntp = (seconds + NTP_EPOCH_S) & 0xFFFF_FFFF, (rest << 32) // 1_000_000_000
    body = struct.pack(
        ">IIIIII", source, *ntp, timestamp, packets & 0xFFFF_FFFF, payload_bytes & 0xFFFF_FFFF
    )
    return struct.pack(">BBH", 0x80, SENDER_REPORT, len(body) // 4) + body


def receiver_report(
    ours: int, source: int, lost: int, expected: int, highest: int, jitter: int, middle: int, delay_ns: int
) -> bytes:
    """Our report on a source, with the name that RFC 3550 §6.5 demands beside it.

    Args:
        ours: our own source number.
        source: of the camera.
        lost: packets that never came.
        expected: packets that should have come.
        highest: sequence number with its wraps.
        jitter: in units of the RTP clock.
        middle: of the camera's last report; 0 before the first.
        delay_ns: since that report; below 0 when it came after the caller had looked at the clock.
    """
    fraction = min(255, 256 * max(lost, 0) // max(expected, 1))
    delay = min(max(delay_ns, 0) * 65_536 // 1_000_000_000, 0xFFFF_FFFF) if middle else 0
    losses = fraction << 24 | min(max(lost, 0), 0x7F_FFFF)
    block = _BLOCK.pack(source, losses, highest & 0xFFFF_FFFF, jitter & 0xFFFF_FFFF, middle, delay)
    report = struct.pack(">BBHI", 0x81, RECEIVER_REPORT, 7, ours) + block
    name = struct.pack(">IBB", ours, 1, 6) + b"gwanje"
    name += b"\0" * (4 - len(name) % 4)
    return report + struct.pack(">BBH", 0x81, DESCRIPTION, len(name) // 4) + name
