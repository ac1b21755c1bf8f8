"""MQTT 3.1.1 packets: bytes ↔ data, for the site's own broker and for the simulated things. Sans I/O.

Source: OASIS, MQTT Version 3.1.1 (2014), chapters 2 and 3; section numbers stand at what they are from.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 1, 2, 3, 4, 5, 6, 7
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT = 8, 9, 10, 11, 12, 13, 14
"""Kinds of packets, 2.2.1."""
FLAGS = {PUBREL: 2, SUBSCRIBE: 2, UNSUBSCRIBE: 2}
"""Flags that a kind must have, 2.2.2; all others but PUBLISH have none."""
ACCEPTED, BAD_PROTOCOL, BAD_ID, BAD_USER, NOT_ALLOWED = 0, 1, 2, 4, 5
"""Return codes of CONNACK, 3.2.2.3."""
TOPIC_MAX = 1_024
"""Bytes of a topic or filter; the standard allows 65 535, nobody needs them."""
_U16 = struct.Struct(">H")


class FrameError(ValueError):
    """Bytes are no packet; the connection is of no more use."""


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet.

    Attributes:
        kind: 1 … 14.
        flags: the four low bits of the first byte.
        body: after the length.
    """

    kind: int
    flags: int
    body: bytes


class Decoder:
    """Cuts a stream of bytes into packets.

    Args:
        limit: bytes of one packet.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Packet]:
        """The packets that these bytes complete.

        Raises:
            FrameError: a packet is too long, or its length or flags are none.
        """
        buffer = self._buffer
        buffer += data
        found: list[Packet] = []
        at = 0
        while len(buffer) > at:
            first = buffer[at]
            kind, flags = first >> 4, first & 15
            if not CONNECT <= kind <= DISCONNECT or (kind != PUBLISH and flags != FLAGS.get(kind, 0)):
                raise FrameError(f"first byte {first:#04x}")
            length, head = self._length(at)
            if head == 0 or len(buffer) - at < head + length:
                break
            found.append(Packet(kind, flags, bytes(buffer[at + head : at + head + length])))
            at += head + length
        if at:
            del buffer[:at]
        return found

    def _length(self, at: int) -> tuple[int, int]:
        """(remaining length, bytes before it), the latter 0 when they are not all there; 2.2.3."""
        length = 0
        for n in range(4):
            if at + 1 + n >= len(self._buffer):
                return 0, 0
            byte = self._buffer[at + 1 + n]
            length |= (byte & 127) << (7 * n)
            if byte < 128:
                if length > self._limit:
                    raise FrameError(f"a packet of {length} bytes, more than {self._limit}")
                return length, 2 + n
        raise FrameError("a length of more than four bytes")


def packet(kind: int, body: bytes = b"", flags: int | None = None) -> bytes:
    """A packet's bytes."""
    length, head = len(body), bytearray([kind << 4 | (FLAGS.get(kind, 0) if flags is None else flags)])
    while True:
        length, byte = length >> 7, length & 127
        head.append(byte | 128 if length else byte)
        if not length:
            return bytes(head) + body


def text(value: str) -> bytes:
    """A text with its length before it, 1.5.3."""
    data = value.encode("utf-8")
    return _U16.pack(len(data)) + data


@dataclass(frozen=True, slots=True)
class Connect:
    """What a client says first, 3.1."""

    client_id: str
    keepalive_s: int
    clean: bool
    will: Publish | None
    user: str | None
    password: bytes


@dataclass(frozen=True, slots=True)
class Publish:
    """A message, 3.3.

    Attributes:
        topic: without wildcards.
        payload: of any bytes.
        qos: 0, 1 or 2.
        retain: whether it is kept, or was kept.
        mid: identifier where ``qos`` is not 0.
        dup: sent before.
    """

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    mid: int = 0
    dup: bool = False


class _Reader:
    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._body) - self._at

    def take(self, n: int) -> bytes:
        if self.left < n:
            raise FrameError("cut off")
        self._at += n
        return self._body[self._at - n : self._at]

    def u16(self) -> int:
        return int(_U16.unpack(self.take(2))[0])

    def text(self) -> str:
        try:
            found = self.take(self.u16()).decode("utf-8")
        except UnicodeDecodeError:
            raise FrameError("a text that is no UTF-8") from None
        if "\0" in found:
            raise FrameError("a text with a null character")
        return found

    def rest(self) -> bytes:
        return self.take(self.left)


def connect(message: Connect) -> bytes:
    """CONNECT."""
    will = message.will
    flags = 2 * message.clean
    if will is not None:
        flags |= 4 | will.qos << 3 | will.retain << 5
    if message.user is not None:
        flags |= 0xC0
    body = text("MQTT") + bytes([4, flags]) + _U16.pack(message.keepalive_s) + text(message.client_id)
    if will is not None:
        body += text(will.topic) + _U16.pack(len(will.payload)) + will.payload
    if message.user is not None:
        body += text(message.user) + _U16.pack(len(message.password)) + message.password
    return packet(CONNECT, body)


def read_connect(body: bytes) -> Connect:
    """CONNECT as it came.

    Raises:
        FrameError: it is none of version 3.1.1.
    """
    reader = _Reader(body)
    if reader.text() != "MQTT" or reader.take(1) != b"\x04":
        raise FrameError("not MQTT 3.1.1")
    flags, keepalive_s = reader.take(1)[0], reader.u16()
    client_id = reader.text()
    will = user = None
    password = b""
    if flags & 1 or (not flags & 4 and flags & 0x38) or flags >> 3 & 3 == 3 or (flags & 0x40 and not flags & 0x80):
        raise FrameError(f"flags {flags:#04x} of CONNECT")
    if flags & 4:
        topic = check_topic(reader.text())
        will = Publish(topic, reader.take(reader.u16()), min(flags >> 3 & 3, 1), bool(flags & 0x20))
    if flags & 0x80:
        user = reader.text()
    if flags & 0x40:
        password = reader.take(reader.u16())
    if reader.left:
        raise FrameError("more than a CONNECT")
    return Connect(client_id, keepalive_s, bool(flags & 2), will, user, password)


def check_topic(topic: str) -> str:
    """A topic that can be published to, 4.7.1.

    Raises:
        FrameError: it cannot.
    """
    if not topic or len(topic) > TOPIC_MAX or "+" in topic or "#" in topic:
        raise FrameError(f"topic {topic[:40]!r}")
    return topic


def publish(message: Publish) -> bytes:
    """PUBLISH."""
    mid = _U16.pack(message.mid) if message.qos else b""
    flags = message.dup << 3 | message.qos << 1 | message.retain
    return packet(PUBLISH, text(message.topic) + mid + message.payload, flags)


def read_publish(flags: int, body: bytes) -> Publish:
    """PUBLISH as it came.

    Raises:
        FrameError: it is none.
    """
    qos = flags >> 1 & 3
    reader = _Reader(body)
    topic = check_topic(reader.text())
    mid = reader.u16() if qos else 0
    if qos == 3 or (qos and not mid):
        raise FrameError("a message of QoS 3, or without identifier")
    return Publish(topic, reader.rest(), qos, bool(flags & 1), mid, bool(flags & 8))


def answer(kind: int, mid: int) -> bytes:
    """PUBACK, PUBREC, PUBREL, PUBCOMP, UNSUBACK."""
    return packet(kind, _U16.pack(mid))


def read_mid(body: bytes) -> int:
    """The identifier of an answer.

    Raises:
        FrameError: it has none.
    """
    return _Reader(body).u16()


def subscribe(mid: int, filters: list[tuple[str, int]]) -> bytes:
    """SUBSCRIBE."""
    return packet(SUBSCRIBE, _U16.pack(mid) + b"".join(text(one) + bytes([qos]) for one, qos in filters))


def read_subscribe(body: bytes) -> tuple[int, list[tuple[str, int]]]:
    """(identifier, filters with the QoS asked for).

    Raises:
        FrameError: it is none.
    """
    reader = _Reader(body)
    mid, found = reader.u16(), []
    while reader.left:
        pattern, qos = reader.text(), reader.take(1)[0]
        if qos > 2:
            raise FrameError(f"QoS {qos}")
        found.append((pattern, qos))
    if not found:
        raise FrameError("a subscription to nothing")
    return mid, found


def read_unsubscribe(body: bytes) -> tuple[int, list[str]]:
    """(identifier, filters).

    Raises:
        FrameError: it is none.
    """
    reader = _Reader(body)
    mid, found = reader.u16(), []
    while reader.left:
        found.append(reader.text())
    return mid, found


def is_filter(pattern: str) -> bool:
    """Whether a filter can be subscribed to, 4.7.1."""
    levels = pattern.split("/")
    hashes = [n for n, one in enumerate(levels) if "#" in one]
    if not pattern or len(pattern) > TOPIC_MAX or any("+" in one and one != "+" for one in levels):
        return False
    return not hashes or (hashes == [len(levels) - 1] and levels[-1] == "#")


def matches(pattern: str, topic: str) -> bool:
    """Whether a filter hears a topic, 4.7; topics that begin with $ are heard by no wildcard at the beginning."""
    wanted, levels = pattern.split("/"), topic.split("/")
    if topic.startswith("$") and wanted[0] in ("+", "#"):
        return False
    for n, one in enumerate(wanted):
        if one == "#":
            return True
        if n >= len(levels) or one not in ("+", levels[n]):
            return False
    return len(wanted) == len(levels)
