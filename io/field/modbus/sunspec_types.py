"""Value types in registers: width, sign and SunSpec's pattern that says "not implemented". No I/O.

Source: SunSpec Device Information Model Specification v1.1, section "Point types"; the patterns agree with pysunspec2.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Literal

Form = Literal["unsigned", "signed", "float", "text", "ipv6", "eui48"]


class EncodeError(ValueError):
    """A value that its point cannot carry."""


@dataclass(frozen=True, slots=True)
class ValueType:
    """How a point type looks on the wire.

    Attributes:
        n_registers: 16-bit registers, 0 when each point states its own (text).
        form: how the bits are read.
        missing: raw unsigned pattern that means "not implemented", ``None`` when every pattern is a value (pad) or when
            the rule is not one pattern (floats: every NaN; text: first byte 0).
        wraps: a counter that rolls over at its width.
    """

    n_registers: int
    form: Form
    missing: int | None
    wraps: bool = False


TYPES: dict[str, ValueType] = {
    "int16": ValueType(1, "signed", 0x8000),
    "uint16": ValueType(1, "unsigned", 0xFFFF),
    "count": ValueType(1, "unsigned", 0xFFFF),
    "acc16": ValueType(1, "unsigned", 0, wraps=True),
    "enum16": ValueType(1, "unsigned", 0xFFFF),
    "bitfield16": ValueType(1, "unsigned", 0xFFFF),
    "pad": ValueType(1, "unsigned", None),
    "sunssf": ValueType(1, "signed", 0x8000),
    "int32": ValueType(2, "signed", 0x8000_0000),
    "uint32": ValueType(2, "unsigned", 0xFFFF_FFFF),
    "acc32": ValueType(2, "unsigned", 0, wraps=True),
    "enum32": ValueType(2, "unsigned", 0xFFFF_FFFF),
    "bitfield32": ValueType(2, "unsigned", 0xFFFF_FFFF),
    "ipaddr": ValueType(2, "unsigned", 0),
    "int64": ValueType(4, "signed", 0x8000_0000_0000_0000),
    "uint64": ValueType(4, "unsigned", 0xFFFF_FFFF_FFFF_FFFF),
    "acc64": ValueType(4, "unsigned", 0, wraps=True),
    "float32": ValueType(2, "float", None),
    "float64": ValueType(4, "float", None),
    "string": ValueType(0, "text", None),
    "ipv6addr": ValueType(8, "ipv6", None),
    "eui48": ValueType(4, "eui48", None),
    "u16": ValueType(1, "unsigned", None),
    "i16": ValueType(1, "signed", None),
    "u32": ValueType(2, "unsigned", None),
    "i32": ValueType(2, "signed", None),
    "u64": ValueType(4, "unsigned", None),
    "f32": ValueType(2, "float", None),
}
"""SunSpec's types, and the plain register types of devices that do not speak it (high word first, no missing value)."""

_FLOAT_NAN = {2: b"\x7f\xc0\x00\x00", 4: b"\x7f\xf8\x00\x00\x00\x00\x00\x00"}
_FLOAT_FORMAT = {2: ">f", 4: ">d"}
_EUI48_MISSING = b"\xff\xff\xff\xff\xff\xff"


def raw_from_bytes(kind: str, data: bytes) -> int | float | str | None:
    """The unscaled value in the big-endian bytes of one point, ``None`` when it is not implemented."""
    value_type = TYPES[kind]
    match value_type.form:
        case "unsigned" | "signed":
            pattern = int.from_bytes(data, "big")
            if pattern == value_type.missing:
                return None
            return int.from_bytes(data, "big", signed=value_type.form == "signed")
        case "float":
            value: float = struct.unpack(_FLOAT_FORMAT[value_type.n_registers], data)[0]
            return None if value != value else value
        case "text":
            text = data.split(b"\0", 1)[0].decode("utf-8", errors="replace")
            return text or None
        case "ipv6":
            if not any(data):
                return None
            return ":".join(data[at : at + 4].hex().upper() for at in range(0, 16, 4))
        case "eui48":
            if not any(data) or data[2:] == _EUI48_MISSING:
                return None
            return data[2:].hex(":").upper()


def missing_bytes(kind: str, n_registers: int) -> bytes:
    """The bytes of a point of this type that is not implemented."""
    value_type = TYPES[kind]
    if value_type.form == "float":
        return _FLOAT_NAN[n_registers]
    if value_type.form == "eui48":
        return b"\0\0" + _EUI48_MISSING
    return (value_type.missing or 0).to_bytes(2 * n_registers, "big")


def raw_limits(kind: str) -> tuple[int, int]:
    """Lowest and highest unscaled integer of a type that is a value, not the "not implemented" pattern."""
    value_type = TYPES[kind]
    bits = 16 * value_type.n_registers
    if value_type.form == "signed":
        low = -(1 << (bits - 1))
        return low + (value_type.missing is not None), -low - 1
    high = (1 << bits) - 1
    return 0, high - 1 if value_type.missing == high else high


def raw_to_bytes(kind: str, n_registers: int, value: object, *, saturate: bool = False) -> bytes:
    """The big-endian bytes of an unscaled value.

    Args:
        kind: SunSpec type name.
        n_registers: width of the point.
        value: integer, float or text; ``None`` and NaN give the "not implemented" pattern.
        saturate: hold a number that does not fit at the type's limit instead of raising; counters always roll over.

    Raises:
        EncodeError: the value has the wrong type or does not fit.
    """
    if value is None or (isinstance(value, float) and value != value):
        return missing_bytes(kind, n_registers)
    value_type = TYPES[kind]
    match value_type.form:
        case "unsigned" | "signed":
            return _integer_bytes(kind, n_registers, value, saturate)
        case "float":
            if not isinstance(value, int | float):
                raise EncodeError(f"{value!r} is not a number")
            return struct.pack(_FLOAT_FORMAT[n_registers], value)
        case "text":
            data = str(value).encode()
            if len(data) > 2 * n_registers:
                raise EncodeError(f"text {value!r} is longer than {2 * n_registers} bytes")
            return data.ljust(2 * n_registers, b"\0")
        case "ipv6":
            return _hex_bytes(value, 16)
        case "eui48":
            return b"\0\0" + _hex_bytes(value, 6)


def _integer_bytes(kind: str, n_registers: int, value: object, saturate: bool) -> bytes:
    if not isinstance(value, int | float):
        raise EncodeError(f"{value!r} is not a number")
    value_type = TYPES[kind]
    low, high = raw_limits(kind)
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        if not saturate:
            raise EncodeError(f"{value!r} does not fit {kind}")
        number = high if value > 0 else low
    else:
        number = round(value)
    if value_type.wraps:
        number %= high + 1
    elif not low <= number <= high:
        if not saturate:
            raise EncodeError(f"{value!r} does not fit {kind} ({low}…{high})")
        number = min(max(number, low), high)
    return number.to_bytes(2 * n_registers, "big", signed=value_type.form == "signed")


def _hex_bytes(value: object, n_bytes: int) -> bytes:
    try:
        data = bytes.fromhex(str(value).replace(":", ""))
    except ValueError:
        raise EncodeError(f"{value!r} is not hexadecimal") from None
    if len(data) != n_bytes:
        raise EncodeError(f"{value!r} is not {n_bytes} bytes")
    return data
