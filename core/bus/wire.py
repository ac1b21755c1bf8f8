"""A published message on the wire: topic, part, header, body, in one frame; and what is checked before anybody sees it.

``topic NUL part NUL header body``: one frame, because CURVE, the kernel and Python each cost per frame; the topic comes
first, so that subscriptions by prefix mean what they say. The header carries version, whether there is a sum,
incarnation of the publisher, sequence within part and topic, time of publication and a CRC-32 over everything else.

The sum finds what a broken program or memory did to a message; against forgers stand the permissions of the run
directory on the machine and CURVE beyond it. Where CURVE authenticates every message a publisher may leave the sum out;
who does not hear through CURVE takes no message without one, whatever its header says.

The body is decoded by its topic.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache

from gwanje.core.bus.messages import AlarmChange, Blob, Event
from gwanje.core.bus.msgpack_map import FrameError
from gwanje.core.bus.scan import MAX_FRAME_BYTES, Scan

Message = Scan | Event | AlarmChange | Blob

VERSION = 2
_FIELDS = struct.Struct("<BBQQQ")
_SUM = struct.Struct("<I")
HEADER_BYTES = _FIELDS.size + _SUM.size
WITHOUT_SUM, WITH_SUM = 0, 1
_NO_SUM = bytes(_SUM.size)
MAX_TOPIC_BYTES = 64
_NAMES_KEPT = 4_096
"""Pairs of topic and part that are not looked at again: as many as a subscriber follows streams."""
MAX_TIME_NS = 2**63
"""Times, sequences and incarnations are below it: they fit into the signed columns of everything behind the bus."""


@dataclass(slots=True)
class Envelope:
    """A message whose sum is right; its body has not been looked at.

    Attributes:
        topic: what it is about, or ``spectrum.…`` and the like for display data.
        part: who says that it published it.
        incarnation: random number of this run of the publisher.
        sequence: within part, topic and incarnation.
        published_mono_ns: monotonic time of the publishing machine.
        body: at most :data:`gwanje.core.bus.scan.MAX_FRAME_BYTES`.
    """

    topic: str
    part: str
    incarnation: int
    sequence: int
    published_mono_ns: int
    body: bytes


def seal(
    topic: str, part: str, incarnation: int, sequence: int, published_mono_ns: int, body: bytes, with_sum: bool = True
) -> bytes:
    """A message's one frame.

    Args:
        topic: what it is about.
        part: who publishes.
        incarnation: of the publisher.
        sequence: within topic and incarnation.
        published_mono_ns: when.
        body: as it is.
        with_sum: false only where every message is authenticated: nobody else takes it.

    Raises:
        FrameError: the body is longer than any subscriber takes.
    """
    if len(body) > MAX_FRAME_BYTES:
        raise FrameError(f"{topic} of {len(body)} bytes, at most {MAX_FRAME_BYTES} can be published")
    head = _named(topic, part) + _FIELDS.pack(VERSION, with_sum, incarnation, sequence, published_mono_ns)
    return b"".join((head, _SUM.pack(zlib.crc32(body, zlib.crc32(head))) if with_sum else _NO_SUM, body))


@lru_cache(_NAMES_KEPT)
def _named(topic: str, part: str) -> bytes:
    return b"%b\0%b\0" % (topic.encode(), part.encode())


@lru_cache(_NAMES_KEPT)
def _names(named: bytes) -> tuple[str, str]:
    """Topic and part of a message's beginning.

    Raises:
        FrameError: they are no such names.
    """
    try:
        topic, _, part = named.decode("ascii").removesuffix("\0").partition("\0")
    except UnicodeDecodeError as error:
        raise FrameError(str(error)) from None
    if not 0 < len(topic) <= MAX_TOPIC_BYTES or len(part) > MAX_TOPIC_BYTES or not topic.isprintable():
        raise FrameError(f"topic {topic!r} of {part!r}")
    return topic, part


def unseal(frame: bytes, parts: Collection[str], check_sum: bool = True) -> Envelope:
    """Read a message and check all but the body.

    Args:
        frame: as it arrived.
        parts: who may publish.
        check_sum: false where every message is authenticated anyway; else one without a sum is refused.

    Raises:
        FrameError: anything about it is wrong.
    """
    named = frame.find(b"\0", frame.find(b"\0", 0, MAX_TOPIC_BYTES + 1) + 1, 2 * MAX_TOPIC_BYTES + 2) + 1
    begin = named + HEADER_BYTES
    if not named or len(frame) < begin:
        raise FrameError(f"no topic, part and header in {len(frame)} bytes")
    if len(frame) > begin + MAX_FRAME_BYTES:
        raise FrameError(f"body of {len(frame) - begin} bytes, at most {MAX_FRAME_BYTES} are taken")
    version, summed, incarnation, sequence, published = _FIELDS.unpack_from(frame, named)
    if version != VERSION or summed > WITH_SUM:
        raise FrameError(f"version {version}.{summed} of the bus")
    body = frame[begin:]
    if check_sum:
        fields = named + _FIELDS.size
        if summed != WITH_SUM or _SUM.unpack_from(frame, fields)[0] != zlib.crc32(body, zlib.crc32(frame[:fields])):
            raise FrameError("the sum does not fit the message, or there is none")
    if incarnation >= MAX_TIME_NS or sequence >= MAX_TIME_NS or published >= MAX_TIME_NS:
        raise FrameError("a number of the header is too large")
    topic, who = _names(frame[:named])
    if who not in parts:
        raise FrameError(f"topic {topic!r} of {who!r}")
    return Envelope(topic, who, incarnation, sequence, published, body)


def decode(envelope: Envelope, n_tags: int) -> Message:
    """The message in an envelope.

    Args:
        envelope: from :func:`unseal`.
        n_tags: length of the tag table; scans with ids beyond it are refused.

    Raises:
        FrameError: the body is not what the topic says.
    """
    topic = envelope.topic
    if topic in ("scan", "past"):
        return Scan.decode(
            envelope.body, n_tags, envelope.sequence, envelope.part, envelope.published_mono_ns
        )
    if topic == "event":
        return Event.decode(envelope.body)
    if topic == "alarm":
        return AlarmChange.decode(envelope.body)
    return Blob.decode(topic, envelope.body)
