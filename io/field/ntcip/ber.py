"""Basic encoding rules as far as SNMP uses them (X.690, RFC 3417 §8): lengths, integers, strings, OIDs. No I/O.

Strict where leniency would invent a value: a length that runs over its container, an empty integer, an unfinished OID.
Non-minimal lengths and integers are taken, since agents send them. OIDs stay encoded: as bytes they compare and hash
fast, and order as encoded content only by :func:`oid_key`.
"""

from __future__ import annotations

from functools import lru_cache

INTEGER, OCTETS, NULL, OID, SEQUENCE = 0x02, 0x04, 0x05, 0x06, 0x30

LENGTH_BYTES_MAX = 4
"""Bytes of a length: a datagram never needs more than three."""
INTEGER_BYTES_MAX = 9
"""Bytes of an integer: Counter64 with its leading zero."""
OID_CACHE = 4_096
"""Texts of OIDs whose encoding is kept: a site's profiles name a few hundred."""


class BerError(ValueError):
    """Bytes that are not what they say; the text says where."""


def tlv(tag: int, body: bytes) -> bytes:
    """A tag, a length and what belongs to it."""
    n = len(body)
    if n < 0x80:
        return bytes((tag, n)) + body
    if n < 0x100:
        return bytes((tag, 0x81, n)) + body
    return bytes((tag, 0x82)) + n.to_bytes(2, "big") + body


def integer(value: int, tag: int = INTEGER) -> bytes:
    """A signed integer, as short as it goes; unsigned types (Counter, Gauge, TimeTicks) differ by their tag alone."""
    if 0 <= value < 0x80:
        return bytes((tag, 1, value))
    n = ((value if value >= 0 else ~value).bit_length() >> 3) + 1
    return bytes((tag, n)) + value.to_bytes(n, "big", signed=True)


def head(data: bytes, at: int, end: int) -> tuple[int, int, int]:
    """Tag, beginning and end of the content at a position.

    Args:
        data: all bytes.
        at: where the tag is.
        end: where the container ends.

    Raises:
        BerError: it does not fit into its container.
    """
    if at + 2 > end:
        raise BerError(f"nothing at {at}")
    tag, n, begin = data[at], data[at + 1], at + 2
    if n >= 0x80:
        more = n & 0x7F
        if not 1 <= more <= LENGTH_BYTES_MAX or begin + more > end:
            raise BerError(f"bad length at {at}")
        n = int.from_bytes(data[begin : begin + more], "big")
        begin += more
    if begin + n > end:
        raise BerError(f"{n} bytes at {at} run over the end")
    return tag, begin, begin + n


def expect(data: bytes, at: int, end: int, tag: int) -> tuple[int, int]:
    """Beginning and end of a content that must have a certain tag.

    Raises:
        BerError: it is something else.
    """
    found, begin, stop = head(data, at, end)
    if found != tag:
        raise BerError(f"tag {found:#04x} at {at}, not {tag:#04x}")
    return begin, stop


def to_int(data: bytes, begin: int, end: int, *, signed: bool = True) -> int:
    """An integer's content.

    Raises:
        BerError: it is empty or too long.
    """
    if not 1 <= end - begin <= INTEGER_BYTES_MAX:
        raise BerError(f"integer of {end - begin} bytes at {begin}")
    return int.from_bytes(data[begin:end], "big", signed=signed)


def read_int(data: bytes, at: int, end: int) -> tuple[int, int]:
    """An INTEGER and where it ends.

    Raises:
        BerError: it is none.
    """
    begin, stop = expect(data, at, end, INTEGER)
    return to_int(data, begin, stop), stop


@lru_cache(maxsize=OID_CACHE)
def oid(text: str) -> bytes:
    """Encoded content of an OID such as ``"1.3.6.1.2.1.1.1.0"``.

    Raises:
        BerError: it is none.
    """
    try:
        numbers = [int(one) for one in text.strip(".").split(".")]
    except ValueError:
        raise BerError(f"{text!r} is not an OID") from None
    if len(numbers) < 2 or not 0 <= numbers[0] <= 2 or min(numbers) < 0 or max(numbers) > 0xFFFF_FFFF:
        raise BerError(f"{text!r} is not an OID")
    if numbers[0] < 2 and numbers[1] >= 40:
        raise BerError(f"{text!r} is not an OID")
    return b"".join(_base128(one) for one in (numbers[0] * 40 + numbers[1], *numbers[2:]))


def _base128(value: int) -> bytes:
    out = bytearray((value & 0x7F,))
    while value := value >> 7:
        out.append(0x80 | value & 0x7F)
    out.reverse()
    return bytes(out)


def oid_key(encoded: bytes) -> tuple[int, ...]:
    """Numbers of an encoded OID, the first two as one; orders OIDs as agents walk them.

    Raises:
        BerError: it is empty, or ends inside a number.
    """
    numbers, value = [], 0
    for byte in encoded:
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            numbers.append(value)
            value = 0
    if not encoded or encoded[-1] >= 0x80:
        raise BerError("unfinished OID")
    return tuple(numbers)


def oid_text(encoded: bytes) -> str:
    """The OID in dotted numbers.

    Raises:
        BerError: see :func:`oid_key`.
    """
    first, *rest = oid_key(encoded)
    top = min(first // 40, 2)
    return ".".join(map(str, (top, first - 40 * top, *rest)))
