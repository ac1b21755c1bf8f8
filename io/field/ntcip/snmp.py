"""SNMP messages and PDUs, bytes to data and back (RFC 3416, RFC 1901). No I/O, no security; v3 is in :mod:`.usm`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from gwanje.io.field.ntcip import ber

VERSION_2C, VERSION_3 = 1, 3
MESSAGE_MAX = 65_507
"""Bytes of a UDP datagram; what is longer cannot have come by one."""
VARBINDS_MAX = 256
"""Of one message: far above what a controller's status takes, far below what would keep the event loop."""

COUNTER32, GAUGE32, TIME_TICKS, OPAQUE, COUNTER64, IP_ADDRESS = 0x41, 0x42, 0x43, 0x44, 0x46, 0x40
NO_SUCH_OBJECT, NO_SUCH_INSTANCE, END_OF_VIEW = 0x80, 0x81, 0x82
MISSING = (NO_SUCH_OBJECT, NO_SUCH_INSTANCE, END_OF_VIEW)
"""What stands in the place of a value that the agent does not have."""
_SIGNED = (ber.INTEGER,)
_UNSIGNED = (COUNTER32, GAUGE32, TIME_TICKS, COUNTER64)
_BYTES = (ber.OCTETS, ber.OID, IP_ADDRESS, OPAQUE)
_NULL_BODY = bytes((ber.NULL, 0))

Value = int | bytes | None


class Kind(IntEnum):
    """Kinds of PDUs."""

    GET = 0xA0
    GET_NEXT = 0xA1
    RESPONSE = 0xA2
    SET = 0xA3
    GET_BULK = 0xA5
    REPORT = 0xA8


_KINDS = {int(one): one for one in Kind}


class ErrorStatus(IntEnum):
    """Why an agent did not do what it was asked."""

    NO_ERROR = 0
    TOO_BIG = 1
    NO_SUCH_NAME = 2
    BAD_VALUE = 3
    READ_ONLY = 4
    GEN_ERR = 5
    NO_ACCESS = 6
    WRONG_TYPE = 7
    WRONG_LENGTH = 8
    WRONG_ENCODING = 9
    WRONG_VALUE = 10
    NO_CREATION = 11
    INCONSISTENT_VALUE = 12
    RESOURCE_UNAVAILABLE = 13
    COMMIT_FAILED = 14
    UNDO_FAILED = 15
    AUTHORIZATION_ERROR = 16
    NOT_WRITABLE = 17
    INCONSISTENT_NAME = 18


def error_name(status: int) -> str:
    """The agent's own word, such as ``genErr``."""
    if status not in tuple(ErrorStatus):
        return f"error {status}"
    first, *rest = ErrorStatus(status).name.lower().split("_")
    return first + "".join(one.title() for one in rest)


@dataclass(frozen=True, slots=True)
class Varbind:
    """An object and its value.

    Attributes:
        oid: encoded content.
        tag: of the value; one of :data:`MISSING` when there is none.
        value: number, bytes (strings; OIDs encoded) or None.
    """

    oid: bytes
    tag: int = ber.NULL
    value: Value = None

    @property
    def number(self) -> int | None:
        """The value when it is a number."""
        return self.value if isinstance(self.value, int) else None


@dataclass(frozen=True, slots=True)
class Pdu:
    """What a message is about. In a GET_BULK the error fields hold non-repeaters and repetitions.

    Attributes:
        error_index: counted from 1; 0 for none.
    """

    kind: Kind
    request_id: int
    varbinds: tuple[Varbind, ...]
    error_status: int = 0
    error_index: int = 0


def encode_varbind(one: Varbind) -> bytes:
    """One object with its value."""
    return ber.tlv(ber.SEQUENCE, ber.tlv(ber.OID, one.oid) + _value(one))


def _value(one: Varbind) -> bytes:
    if isinstance(one.value, int):
        return ber.integer(one.value, one.tag)
    if one.value is None:
        return _NULL_BODY if one.tag == ber.NULL else bytes((one.tag, 0))
    return ber.tlv(one.tag, one.value)


def varbind_list(varbinds: Iterable[Varbind]) -> bytes:
    """The list in a PDU; made once for a request that is repeated."""
    return ber.tlv(ber.SEQUENCE, b"".join(map(encode_varbind, varbinds)))


def question(oids: Iterable[bytes]) -> bytes:
    """The list of a GET: objects without values."""
    return varbind_list(map(Varbind, oids))


def encode_pdu(kind: int, request_id: int, varbinds: bytes, error_status: int = 0, error_index: int = 0) -> bytes:
    """A PDU around a list that is encoded already."""
    numbers = ber.integer(request_id) + ber.integer(error_status) + ber.integer(error_index)
    return ber.tlv(kind, numbers + varbinds)


def decode_pdu(data: bytes, at: int, end: int) -> Pdu:
    """A PDU that fills its place.

    Raises:
        BerError: it is none.
    """
    tag, at, stop = ber.head(data, at, end)
    kind = _KINDS.get(tag)
    if kind is None or stop != end:
        raise ber.BerError(f"no PDU, tag {tag:#04x}")
    request_id, at = ber.read_int(data, at, stop)
    status, at = ber.read_int(data, at, stop)
    index, at = ber.read_int(data, at, stop)
    at, last = ber.expect(data, at, stop, ber.SEQUENCE)
    if last != stop:
        raise ber.BerError("bytes after the varbinds")
    varbinds = []
    while at < last:
        one, at = _varbind(data, at, last)
        varbinds.append(one)
        if len(varbinds) > VARBINDS_MAX:
            raise ber.BerError(f"more than {VARBINDS_MAX} varbinds")
    return Pdu(kind, request_id, tuple(varbinds), status, index)


def _varbind(data: bytes, at: int, end: int) -> tuple[Varbind, int]:
    at, stop = ber.expect(data, at, end, ber.SEQUENCE)
    begin, at = ber.expect(data, at, stop, ber.OID)
    oid = data[begin:at]
    if not oid or oid[-1] >= 0x80:
        raise ber.BerError(f"unfinished OID at {begin}")
    tag, begin, last = ber.head(data, at, stop)
    if last != stop:
        raise ber.BerError(f"bytes after the value at {last}")
    value: Value
    if tag in _SIGNED:
        value = ber.to_int(data, begin, last)
    elif tag in _UNSIGNED:
        value = ber.to_int(data, begin, last, signed=False)
    elif tag in _BYTES:
        value = data[begin:last]
    elif tag == ber.NULL or tag in MISSING:
        if begin != last:
            raise ber.BerError(f"content where none may be at {begin}")
        value = None
    else:
        raise ber.BerError(f"unknown type {tag:#04x} at {at}")
    return Varbind(oid, tag, value), stop


def encode_v2c(community: bytes, pdu: bytes) -> bytes:
    """A message of version 2c around an encoded PDU."""
    return ber.tlv(ber.SEQUENCE, ber.integer(VERSION_2C) + ber.tlv(ber.OCTETS, community) + pdu)


def version_of(data: bytes) -> tuple[int, int, int]:
    """Version of a message, where it goes on, and its end.

    Raises:
        BerError: it is none.
    """
    if len(data) > MESSAGE_MAX:
        raise ber.BerError("longer than a datagram")
    at, end = ber.expect(data, 0, len(data), ber.SEQUENCE)
    if end != len(data):
        raise ber.BerError("bytes after the message")
    version, at = ber.read_int(data, at, end)
    return version, at, end


def decode_v2c(data: bytes) -> tuple[bytes, Pdu]:
    """Community and PDU of a message of version 2c.

    Raises:
        BerError: it is none.
    """
    version, at, end = version_of(data)
    if version != VERSION_2C:
        raise ber.BerError(f"version {version}, not 2c")
    begin, at = ber.expect(data, at, end, ber.OCTETS)
    return data[begin:at], decode_pdu(data, at, end)


def same_objects(asked: Sequence[bytes], pdu: Pdu) -> bool:
    """Whether a response speaks of exactly the objects that were asked for, in their order."""
    return len(asked) == len(pdu.varbinds) and all(
        oid == one.oid for oid, one in zip(asked, pdu.varbinds, strict=True)
    )
