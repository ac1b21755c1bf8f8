"""BACnet/IP for the simulated heat network: bytes in, values out, and back. No sockets, no clock, no library.

The driver speaks through bacpypes3; this side is written from the standard alone, so that neither repeats the other's
misreading. Source: ANSI/ASHRAE 135-2016, 20.1 (APDUs), 20.2 (tags), 21 (services), annex J (BACnet/IP).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

BVLC_UNICAST, BVLC_BROADCAST = 0x0A, 0x0B
READ_PROPERTY, READ_MULTIPLE, WRITE_PROPERTY, SUBSCRIBE_COV = 12, 14, 15, 5
I_AM, COV_NOTIFICATION, WHO_IS = 0, 2, 8

OBJECT_TYPES = {
    "analog-input": 0, "analog-output": 1, "analog-value": 2, "binary-input": 3, "binary-output": 4, "binary-value": 5,
    "device": 8, "multi-state-input": 13, "multi-state-output": 14, "multi-state-value": 19, "accumulator": 23,
}  # fmt: skip
DEVICE = OBJECT_TYPES["device"]
PROPERTIES = {
    "firmware-revision": 44, "max-apdu-length-accepted": 62, "model-name": 70, "object-identifier": 75,
    "object-list": 76, "object-name": 77, "object-type": 79, "out-of-service": 81, "present-value": 85,
    "priority-array": 87, "reliability": 103, "relinquish-default": 104, "segmentation-supported": 107,
    "status-flags": 111, "system-status": 112, "units": 117, "vendor-identifier": 120, "vendor-name": 121,
}  # fmt: skip
UNITS = {
    "degrees-celsius": 62, "degrees-fahrenheit": 64, "watts": 47, "kilowatts": 48, "watt-hours": 18, "percent": 98,
    "no-units": 95, "watts-per-square-meter": 35, "cubic-meters-per-second": 85,
}  # fmt: skip

CLASS_DEVICE, CLASS_OBJECT, CLASS_PROPERTY = 0, 1, 2
UNKNOWN_OBJECT, UNKNOWN_PROPERTY, VALUE_OUT_OF_RANGE, WRITE_DENIED = 31, 32, 37, 40
INVALID_ARRAY_INDEX, NOT_COV_OBJECT, OPERATIONAL_PROBLEM, INVALID_DATA_TYPE = 42, 79, 25, 9

Value = tuple[str, object]
"""Kind of an application tag, and what is in it: ``("real", 21.5)``."""


class DecodeError(ValueError):
    """These bytes are no request that can be understood."""


@dataclass(frozen=True, slots=True)
class Tag:
    """One tag (20.2.1).

    Attributes:
        number: of the tag.
        context: context specific instead of application.
        kind: ``value``, ``open`` or ``close``.
        data: content; of an application boolean one byte.
    """

    number: int
    context: bool
    kind: str
    data: bytes = b""


def tags(data: bytes) -> Iterator[Tag]:
    """Cut bytes into tags.

    Raises:
        DecodeError: one reaches beyond the end.
    """
    at = 0
    while at < len(data):
        first = data[at]
        at += 1
        number, context, length = first >> 4, bool(first & 8), first & 7
        if number == 15:
            raise DecodeError("an extended tag number")
        if context and length in (6, 7):
            yield Tag(number, True, "open" if length == 6 else "close")
            continue
        if not context and number == 1:
            yield Tag(1, False, "value", bytes([length]))
            continue
        if length == 5:
            if at >= len(data) or data[at] >= 254:
                raise DecodeError("a length that is missing or absurd")
            length = data[at]
            at += 1
        if at + length > len(data):
            raise DecodeError("a tag reaches beyond the end")
        yield Tag(number, context, "value", data[at : at + length])
        at += length


def unsigned(data: bytes) -> int:
    """A whole number of one to four bytes.

    Raises:
        DecodeError: it has another length.
    """
    if not 1 <= len(data) <= 4:
        raise DecodeError("a number of no or too many bytes")
    return int.from_bytes(data, "big")


def object_id(data: bytes) -> tuple[int, int]:
    """(type, instance).

    Raises:
        DecodeError: it is none.
    """
    if len(data) != 4:
        raise DecodeError("an object identifier of another length than four bytes")
    whole = int.from_bytes(data, "big")
    return whole >> 22, whole & 0x3F_FFFF


def application(tag: Tag) -> Value:
    """What an application tag holds.

    Raises:
        DecodeError: a kind that is not written here.
    """
    data = tag.data
    match tag.number:
        case 0:
            return "null", None
        case 1:
            return "boolean", bool(data[0])
        case 2:
            return "unsigned", unsigned(data)
        case 3 if 1 <= len(data) <= 4:
            return "signed", int.from_bytes(data, "big", signed=True)
        case 4 if len(data) == 4:
            return "real", struct.unpack(">f", data)[0]
        case 5 if len(data) == 8:
            return "double", struct.unpack(">d", data)[0]
        case 9:
            return "enumerated", unsigned(data)
    raise DecodeError(f"application tag {tag.number} of {len(data)} bytes")


def head(number: int, context: bool, data: bytes) -> bytes:
    """A tag with its content."""
    first = number << 4 | (8 if context else 0)
    if len(data) < 5:
        return bytes([first | len(data)]) + data
    if len(data) < 254:
        return bytes([first | 5, len(data)]) + data
    return bytes([first | 5, 254]) + len(data).to_bytes(2, "big") + data


def whole(number: int) -> bytes:
    """A number in as few bytes as it takes."""
    return number.to_bytes(max(1, (number.bit_length() + 7) // 8), "big")


def opened(number: int, content: bytes) -> bytes:
    """Content between an opening and a closing tag."""
    return bytes([number << 4 | 0x0E]) + content + bytes([number << 4 | 0x0F])


def context(number: int, value: int) -> bytes:
    """A whole number in a context tag."""
    return head(number, True, whole(value))


def context_id(number: int, kind: int, instance: int) -> bytes:
    """An object identifier in a context tag."""
    return head(number, True, (kind << 22 | instance).to_bytes(4, "big"))


def encode(value: Value) -> bytes:
    """An application tag."""
    kind, content = value
    match kind, content:
        case "null", _:
            return b"\x00"
        case "boolean", bool():
            return b"\x11" if content else b"\x10"
        case "unsigned", int():
            return head(2, False, whole(content))
        case "real", float() | int():
            return head(4, False, struct.pack(">f", content))
        case "text", str():
            return head(7, False, b"\x00" + content.encode())
        case "bits", tuple():
            packed = sum(1 << 7 - index for index, bit in enumerate(content) if bit)
            return head(8, False, bytes([8 - len(content), packed]))
        case "enumerated", int():
            return head(9, False, whole(content))
        case "object", (int(first), int(second)):
            return head(12, False, (first << 22 | second).to_bytes(4, "big"))
    raise AssertionError(f"no encoding for {value}")


@dataclass(frozen=True, slots=True)
class Asked:
    """One property of one object (21: BACnetPropertyReference)."""

    kind: int
    instance: int
    property: int
    index: int | None = None


@dataclass(frozen=True, slots=True)
class Write:
    """A WriteProperty request."""

    what: Asked
    value: Value
    priority: int


@dataclass(frozen=True, slots=True)
class Subscription:
    """A SubscribeCOV request; without ``lifetime_s`` a cancellation."""

    process: int
    kind: int
    instance: int
    confirmed: bool
    lifetime_s: int | None


def parse_read(data: bytes) -> Asked:
    """A ReadProperty request.

    Raises:
        DecodeError: it is none.
    """
    found = list(tags(data))
    if len(found) not in (2, 3) or [one.number for one in found] != list(range(len(found))):
        raise DecodeError("no ReadProperty request")
    index = unsigned(found[2].data) if len(found) == 3 else None
    return Asked(*object_id(found[0].data), unsigned(found[1].data), index)


def parse_read_multiple(data: bytes) -> list[Asked]:
    """A ReadPropertyMultiple request.

    Raises:
        DecodeError: it is none.
    """
    asked: list[Asked] = []
    current: tuple[int, int] | None = None
    inside = False
    for one in tags(data):
        match one:
            case Tag(0, True, "value", content) if not inside:
                current = object_id(content)
            case Tag(1, True, "open") if current is not None and not inside:
                inside = True
            case Tag(1, True, "close") if inside:
                inside = False
            case Tag(0, True, "value", content) if current is not None:
                asked.append(Asked(*current, unsigned(content)))
            case Tag(1, True, "value", content) if inside and asked:
                last = asked[-1]
                asked[-1] = Asked(last.kind, last.instance, last.property, unsigned(content))
            case _:
                raise DecodeError("no ReadPropertyMultiple request")
    if inside or not asked:
        raise DecodeError("a ReadPropertyMultiple request that is cut off")
    return asked


def parse_write(data: bytes) -> Write:
    """A WriteProperty request.

    Raises:
        DecodeError: it is none, or of a list.
    """
    found = list(tags(data))
    index = None
    if len(found) > 2 and found[2].kind == "value" and found[2].number == 2:
        index = unsigned(found.pop(2).data)
    if len(found) not in (5, 6) or (found[2].kind, found[4].kind) != ("open", "close"):
        raise DecodeError("no WriteProperty request of one value")
    priority = unsigned(found[5].data) if len(found) == 6 else 16
    if not 1 <= priority <= 16:
        raise DecodeError(f"priority {priority}")
    asked = Asked(*object_id(found[0].data), unsigned(found[1].data), index)
    return Write(asked, application(found[3]), priority)


def parse_subscribe(data: bytes) -> Subscription:
    """A SubscribeCOV request.

    Raises:
        DecodeError: it is none.
    """
    found = {one.number: one.data for one in tags(data)}
    if not {0, 1} <= found.keys() <= {0, 1, 2, 3}:
        raise DecodeError("no SubscribeCOV request")
    confirmed = bool(found.get(2, b"\x00")[-1:] == b"\x01")
    lifetime = unsigned(found[3]) if 3 in found else (0 if 2 in found else None)
    return Subscription(unsigned(found[0]), *object_id(found[1]), confirmed, lifetime)


def read_reply(asked: Asked, value: bytes) -> bytes:
    """The content of a ReadProperty answer."""
    index = b"" if asked.index is None else context(2, asked.index)
    return context_id(0, asked.kind, asked.instance) + context(1, asked.property) + index + opened(3, value)


def read_multiple_reply(results: list[tuple[Asked, bytes | tuple[int, int]]]) -> bytes:
    """The content of a ReadPropertyMultiple answer: of each property its value, or its error's class and code."""
    out = bytearray()
    at = 0
    while at < len(results):
        first = results[at][0]
        inner = bytearray()
        while at < len(results) and (results[at][0].kind, results[at][0].instance) == (first.kind, first.instance):
            asked, found = results[at]
            inner += context(2, asked.property) + (b"" if asked.index is None else context(3, asked.index))
            if isinstance(found, bytes):
                inner += opened(4, found)
            else:
                inner += opened(5, encode(("enumerated", found[0])) + encode(("enumerated", found[1])))
            at += 1
        out += context_id(0, first.kind, first.instance) + opened(1, bytes(inner))
    return bytes(out)


def packet(apdu: bytes) -> bytes:
    """An APDU in its NPDU and BVLC: for the one who asked, on this network."""
    return bytes([0x81, BVLC_UNICAST]) + (len(apdu) + 6).to_bytes(2, "big") + b"\x01\x00" + apdu


def unwrap(data: bytes) -> bytes:
    """The APDU of a packet; empty for what concerns routers and other networks.

    Raises:
        DecodeError: it is no BACnet/IP packet.
    """
    if len(data) < 6 or data[0] != 0x81 or int.from_bytes(data[2:4], "big") != len(data) or data[4] != 1:
        raise DecodeError("no BACnet/IP packet")
    if data[1] not in (BVLC_UNICAST, BVLC_BROADCAST) or data[5] & 0x80:
        return b""
    at = 6
    if data[5] & 0x20:
        at += 3 + data[8] if len(data) > 8 else 3
    if data[5] & 0x08:
        at += 3 + data[at + 2] if len(data) > at + 2 else 3
    if data[5] & 0x20:
        at += 1
    if at > len(data):
        raise DecodeError("an NPDU that is cut off")
    return data[at:]
