"""COSEM data in A-XDR (IEC 62056-6-2): strict reading, and writing for the simulated meters. No I/O.

The library's own decoder reads past the end without a word, which makes short data a wrong number; here it is an error.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

DEPTH_MAX = 8
"""Structures inside structures: a load profile has three levels."""
ITEMS_MAX = 65_536
"""Elements of one value: a load profile of a month at 15 minutes with a dozen columns has half of that."""

NULL, ARRAY, STRUCTURE, BOOL, BITS, INT32, UINT32, OCTETS, VISIBLE, UTF8 = 0, 1, 2, 3, 4, 5, 6, 9, 10, 12
BCD, INT8, INT16, UINT8, UINT16, INT64, UINT64, ENUM, FLOAT32, FLOAT64 = 13, 15, 16, 17, 18, 20, 21, 22, 23, 24
DATE_TIME, DATE, TIME = 25, 26, 27

Value = None | bool | int | float | bytes | str | list["Value"]

_NUMBERS = {
    BOOL: ">?", INT8: ">b", INT16: ">h", INT32: ">i", INT64: ">q", UINT8: ">B", UINT16: ">H", UINT32: ">I",
    UINT64: ">Q", ENUM: ">B", BCD: ">B", FLOAT32: ">f", FLOAT64: ">d",
}  # fmt: skip
_FORMATS = {tag: struct.Struct(one) for tag, one in _NUMBERS.items()}
_FIXED = {DATE_TIME: 12, DATE: 5, TIME: 4}


class AxdrError(ValueError):
    """Bytes that are no COSEM data; the text says where."""


def length_at(data: bytes, at: int) -> tuple[int, int]:
    """A length and where it ends.

    Raises:
        AxdrError: it is none.
    """
    if at >= len(data):
        raise AxdrError(f"no length at {at}")
    first = data[at]
    at += 1
    if first < 0x80:
        return first, at
    n = first & 0x7F
    if not 1 <= n <= 4 or at + n > len(data):
        raise AxdrError(f"bad length at {at - 1}")
    return int.from_bytes(data[at : at + n], "big"), at + n


def decode(data: bytes) -> Value:
    """One value that fills its place.

    Raises:
        AxdrError: it does not.
    """
    value, at = decode_at(data, 0)
    if at != len(data):
        raise AxdrError(f"{len(data) - at} bytes after the value")
    return value


def decode_at(data: bytes, at: int) -> tuple[Value, int]:
    """One value and where it ends.

    Raises:
        AxdrError: it is none.
    """
    budget = [ITEMS_MAX]
    return _decode(data, at, DEPTH_MAX, budget)


def _decode(data: bytes, at: int, depth: int, budget: list[int]) -> tuple[Value, int]:
    if at >= len(data):
        raise AxdrError(f"no data at {at}")
    budget[0] -= 1
    if budget[0] < 0 or not depth:
        raise AxdrError("more elements than any meter has")
    tag = data[at]
    at += 1
    if number := _FORMATS.get(tag):
        if at + number.size > len(data):
            raise AxdrError(f"a number ends early at {at}")
        return number.unpack_from(data, at)[0], at + number.size
    if tag == NULL:
        return None, at
    if tag in (ARRAY, STRUCTURE):
        n, at = length_at(data, at)
        if n > len(data) - at:
            raise AxdrError(f"{n} elements in {len(data) - at} bytes")
        items: list[Value] = []
        for _ in range(n):
            one, at = _decode(data, at, depth - 1, budget)
            items.append(one)
        return items, at
    return _string(data, at, tag)


def _string(data: bytes, at: int, tag: int) -> tuple[Value, int]:
    if tag in _FIXED:
        n = _FIXED[tag]
    elif tag in (OCTETS, VISIBLE, UTF8, BITS):
        n, at = length_at(data, at)
        n = (n + 7) // 8 if tag == BITS else n
    else:
        raise AxdrError(f"unknown type {tag} at {at - 1}")
    if at + n > len(data):
        raise AxdrError(f"{n} bytes at {at} run over the end")
    raw = bytes(data[at : at + n])
    if tag in (VISIBLE, UTF8):
        try:
            return raw.decode("utf-8" if tag == UTF8 else "latin-1"), at + n
        except UnicodeDecodeError:
            raise AxdrError(f"text at {at} is not UTF-8") from None
    return raw, at + n


def length(n: int) -> bytes:
    """A length."""
    if n < 0x80:
        return bytes((n,))
    raw = n.to_bytes((n.bit_length() + 7) // 8, "big")
    return bytes((0x80 | len(raw),)) + raw


def number(tag: int, value: float) -> bytes:
    """A number of a type."""
    return bytes((tag,)) + _FORMATS[tag].pack(value)


def octets(value: bytes) -> bytes:
    """An octet string."""
    return bytes((OCTETS,)) + length(len(value)) + value


def many(tag: int, items: Sequence[bytes]) -> bytes:
    """An array or a structure of encoded elements."""
    return bytes((tag,)) + length(len(items)) + b"".join(items)
