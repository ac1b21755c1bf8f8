"""The strict half of Modbus TCP: is this byte stream the answer to that request? No I/O, no clock.

Whatever is not exactly the answer asked for is refused here, before any library reads it: other function, other unit,
other count, byte count that lies, echo of a write that differs. Source: Modbus Application Protocol v1.1b3 and Modbus
Messaging on TCP/IP v1.0b.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

READ_HOLDING = 3
WRITE_MULTIPLE = 16
EXCEPTION_BIT = 0x80
READ_MAX = 125
WRITE_MAX = 123
PDU_MAX = 253
_HEADER = struct.Struct(">HHHB")

EXCEPTIONS = {
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
    4: "device failure",
    5: "acknowledge",
    6: "device busy",
    7: "negative acknowledge",
    8: "memory parity error",
    10: "gateway path unavailable",
    11: "gateway target did not answer",
}
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE = 1, 2, 3


class BadReplyError(Exception):
    """Bytes that are no answer to the request: the stream can no longer be trusted."""


class DeviceExceptionError(Exception):
    """The device answered with a Modbus exception.

    Attributes:
        code: 1…255.
    """

    def __init__(self, code: int) -> None:
        super().__init__(f"exception {code} ({EXCEPTIONS.get(code, 'unknown')})")
        self.code = code


@dataclass(frozen=True, slots=True)
class Expected:
    """What the answer to a request must look like.

    Attributes:
        transaction: number of the request on this connection.
        unit: Modbus unit.
        function: function code.
        address: first register.
        count: registers read or written.
    """

    transaction: int
    unit: int
    function: int
    address: int
    count: int


@dataclass(frozen=True, slots=True)
class Reply:
    """A validated answer.

    Attributes:
        exception: the device's exception code, 0 when it answered.
        data: register bytes of a read, big-endian, exactly two per register asked for.
    """

    exception: int
    data: bytes


def reply_in(buffer: bytes, expected: Expected) -> Reply | None:
    """The answer in what has arrived so far.

    Args:
        buffer: bytes since the request was sent; late answers to earlier requests in it are passed over.
        expected: the request.

    Returns:
        The answer, or None while more bytes are needed.

    Raises:
        BadReplyError: the bytes are no Modbus, or this transaction's answer does not fit the request.
    """
    at = 0
    while len(buffer) - at >= _HEADER.size:
        transaction, protocol, length, unit = _HEADER.unpack_from(buffer, at)
        if protocol != 0 or not 3 <= length <= PDU_MAX + 1:
            raise BadReplyError(f"no Modbus header: {buffer[at : at + 8].hex(' ')}")
        end = at + 6 + length
        if len(buffer) < end:
            return None
        if transaction == expected.transaction:
            if unit != expected.unit:
                raise BadReplyError(f"unit {unit} answers, unit {expected.unit} was asked")
            return _checked(buffer[at:end], expected)
        at = end
    return None


def _checked(frame: bytes, expected: Expected) -> Reply:
    function, body = frame[7], frame[8:]
    if function == expected.function | EXCEPTION_BIT:
        if len(body) != 1 or body[0] == 0:
            raise BadReplyError(f"exception of {len(body)} bytes: {body.hex(' ')}")
        return Reply(body[0], b"")
    if function != expected.function:
        raise BadReplyError(f"function {function} answers, function {expected.function} was asked")
    if function == READ_HOLDING:
        if body[0] != 2 * expected.count or len(body) != 1 + 2 * expected.count:
            raise BadReplyError(
                f"{len(body) - 1} bytes that call themselves {body[0]}, {2 * expected.count} were asked for"
            )
        return Reply(0, body[1:])
    if body != struct.pack(">HH", expected.address, expected.count):
        raise BadReplyError(f"the echo of a write differs: {body.hex(' ')}")
    return Reply(0, b"")
