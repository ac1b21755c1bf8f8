"""A published message on the wire: topic, part, header, body; and what is checked before anybody sees it.

The header carries version, incarnation of the publisher, sequence within part and topic, time of publication and a
CRC-32 over everything. The sum finds what a broken program or memory did to a message; against forgers stand the
permissions of the run directory on the machine and CURVE beyond it. The body is decoded by its topic.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from gwanje.core.messages import AlarmChange, Blob, Event
from gwanje.core.msgpack_map import FrameError
from gwanje.core.scan import MAX_FRAME_BYTES, Scan

Message = Scan | Event | AlarmChange | Blob

VERSION = 1
_FIELDS = struct.Struct("<BQQQ")
_SUM = struct.Struct("<I")
HEADER_BYTES = _FIELDS.size + _SUM.size
MAX_TOPIC_BYTES = 64
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
        body: at most :data:`gwanje.core.scan.MAX_FRAME_BYTES`.
    """

    topic: str
    part: str
    incarnation: int
    sequence: int
    published_mono_ns: int
    body: bytes


def seal(topic: str, part: str, incarnation: int, sequence: int, published_mono_ns: int, body: bytes) -> list[bytes]:
    """The frames of a message.

    Raises:
        FrameError: the body is longer than any subscriber takes.
    """
    if len(body) > MAX_FRAME_BYTES:
        raise FrameError(f"{topic} of {len(body)} bytes, at most {MAX_FRAME_BYTES} can be published")
    head = [topic.encode(), part.encode(), _FIELDS.pack(VERSION, incarnation, sequence, published_mono_ns)]
    head[2] += _SUM.pack(_sum(head[0], head[1], head[2], body))
    return [*head, body]


def _sum(topic: bytes, part: bytes, fields: bytes, body: bytes) -> int:
    # lengths are part of it: bytes that moved from one frame to its neighbour change the sum
    return zlib.crc32(body, zlib.crc32(b"%d/%d/%b%b%b" % (len(topic), len(part), topic, part, fields)))


def unseal(frames: Sequence[bytes], parts: Collection[str], check_sum: bool = True) -> Envelope:
    """Read the frames of a message and check all but the body.

    Args:
        frames: as they arrived.
        parts: who may publish.
        check_sum: false where every message is authenticated anyway.

    Raises:
        FrameError: anything about it is wrong.
    """
    if len(frames) != 4 or len(frames[2]) != HEADER_BYTES:
        raise FrameError(f"{len(frames)} frames in a message, or no header")
    topic, part, header, body = frames
    if len(body) > MAX_FRAME_BYTES:
        raise FrameError(f"body of {len(body)} bytes, at most {MAX_FRAME_BYTES} are taken")
    if not 0 < len(topic) <= MAX_TOPIC_BYTES or len(part) > MAX_TOPIC_BYTES:
        raise FrameError("topic or part is too long")
    version, incarnation, sequence, published = _FIELDS.unpack_from(header)
    if version != VERSION:
        raise FrameError(f"version {version} of the bus")
    if check_sum and _SUM.unpack_from(header, _FIELDS.size)[0] != _sum(topic, part, header[: _FIELDS.size], body):
        raise FrameError("the sum does not fit the message")
    if max(incarnation, sequence, published) >= MAX_TIME_NS:
        raise FrameError("a number of the header is too large")
    try:
        name, who = topic.decode("ascii"), part.decode("ascii")
    except UnicodeDecodeError as error:
        raise FrameError(str(error)) from None
    if who not in parts or not name.isprintable():
        raise FrameError(f"topic {name!r} of {who!r}")
    return Envelope(name, who, incarnation, sequence, published, body)


def decode(envelope: Envelope, n_tags: int) -> Message:
    """The message in an envelope.

    Args:
        envelope: from :func:`unseal`.
        n_tags: length of the tag table; scans with ids beyond it are refused.

    Raises:
        FrameError: the body is not what the topic says.
    """
    topic = envelope.topic
    if topic == "scan":
        return Scan.decode(
            envelope.body, n_tags, envelope.sequence, envelope.part, envelope.published_mono_ns
        )
    if topic == "event":
        return Event.decode(envelope.body)
    if topic == "alarm":
        return AlarmChange.decode(envelope.body)
    return Blob.decode(topic, envelope.body)
