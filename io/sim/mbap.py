"""Modbus TCP as a server speaks it: bytes in, bytes out, no I/O.

Written out here rather than taken from the library that our driver uses, for two reasons. A misreading of the standard
shared by driver and simulator would stay hidden, and the simulator is the driver's first referee. And the fault menu
must lie at the level of bytes (lengths, function codes), which no correct server offers.

Source: MODBUS Application Protocol V1.1b3, MODBUS Messaging on TCP/IP V1.0b.
"""

from __future__ import annotations

import struct
from typing import Protocol

HEADER_BYTES = 7
MAX_PDU_BYTES = 253
MAX_READ = 125
MAX_WRITE = 123
MAX_BUFFER_BYTES = 4_096
"""Bytes held for one connection: sixteen requests in one go, more than any master of ours sends."""

ILLEGAL_FUNCTION = 1
ILLEGAL_ADDRESS = 2
ILLEGAL_VALUE = 3
DEVICE_FAILED = 4
TARGET_FAILED = 11

READ_HOLDING = 3
READ_INPUT = 4
WRITE_ONE = 6
WRITE_MANY = 16

_HEADER = struct.Struct(">HHHB")
_PAIR = struct.Struct(">HH")
_REPLY = struct.Struct(">HHHBBB")
_ECHO = struct.Struct(">BHH")


class ProtocolError(Exception):
    """What came is not Modbus TCP; nothing after it can be trusted, the connection is to be closed."""


class Registers(Protocol):
    """What answers: 16-bit registers by address, big-endian bytes."""

    def read(self, address: int, count: int) -> bytes | bytearray | memoryview | None:
        """``2 * count`` bytes, None where the device has no such registers."""

    def write(self, address: int, data: bytes) -> int:
        """Write whole points; gives 0, or the exception code that refuses the write (then nothing was written)."""


class Framer:
    """Cuts a stream of bytes into requests (transaction, unit, PDU)."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[tuple[int, int, bytes]]:
        """Requests that are complete now.

        Raises:
            ProtocolError: a header that cannot be Modbus TCP, or more bytes than a connection may hold.
        """
        buffer = self._buffer
        buffer += data
        requests: list[tuple[int, int, bytes]] = []
        at = 0
        while len(buffer) - at >= HEADER_BYTES:
            transaction, protocol, length, unit = _HEADER.unpack_from(buffer, at)
            if protocol != 0 or not 2 <= length <= MAX_PDU_BYTES + 1:
                raise ProtocolError(f"protocol {protocol}, length {length}")
            end = at + 6 + length
            if len(buffer) < end:
                break
            requests.append((transaction, unit, bytes(buffer[at + HEADER_BYTES : end])))
            at = end
        if at:
            del buffer[:at]
        if len(buffer) > MAX_BUFFER_BYTES:
            raise ProtocolError(f"{len(buffer)} bytes without a request")
        return requests


def exception(function: int, code: int) -> bytes:
    """PDU that refuses a request."""
    return bytes((function & 0x7F | 0x80, code))


def respond(registers: Registers, pdu: bytes) -> bytes:
    """PDU that answers a request's PDU."""
    function = pdu[0]
    if function in (READ_HOLDING, READ_INPUT):
        if len(pdu) != 5:
            return exception(function, ILLEGAL_VALUE)
        address, count = _PAIR.unpack_from(pdu, 1)
        if not 1 <= count <= MAX_READ:
            return exception(function, ILLEGAL_VALUE)
        data = registers.read(address, count)
        if data is None:
            return exception(function, ILLEGAL_ADDRESS)
        return bytes((function, 2 * count)) + data
    if function == WRITE_ONE:
        if len(pdu) != 5:
            return exception(function, ILLEGAL_VALUE)
        refused = registers.write(_PAIR.unpack_from(pdu, 1)[0], pdu[3:])
        return exception(function, refused) if refused else pdu
    if function == WRITE_MANY:
        return _write_many(registers, pdu)
    return exception(function, ILLEGAL_FUNCTION)


def _write_many(registers: Registers, pdu: bytes) -> bytes:
    if len(pdu) < 6:
        return exception(WRITE_MANY, ILLEGAL_VALUE)
    address, count = _PAIR.unpack_from(pdu, 1)
    if not 1 <= count <= MAX_WRITE or pdu[5] != 2 * count or len(pdu) != 6 + 2 * count:
        return exception(WRITE_MANY, ILLEGAL_VALUE)
    refused = registers.write(address, pdu[6:])
    return exception(WRITE_MANY, refused) if refused else _ECHO.pack(WRITE_MANY, address, count)


def frame(transaction: int, unit: int, pdu: bytes) -> bytes:
    """A PDU with its header."""
    return _HEADER.pack(transaction, 0, len(pdu) + 1, unit) + pdu
