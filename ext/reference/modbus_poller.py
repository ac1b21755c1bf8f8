"""Twin of the frame checks of ``modbus_poller``: what the first frame of a stream is worth."""

from __future__ import annotations

import struct

OK, NO_ANSWER, EXCEPTION, INVALID = range(4)
MORE, OTHER = -1, -2
HEADER, UNIT, FUNCTION, COUNT, ECHO, WRONG_EXCEPTION, CRC, SURPLUS = range(1, 9)
WRITE = 16

Judged = tuple[int, int, int, bytes]
"""(status, code, used bytes, registers)."""


def judge(
    framing: int, data: bytes, transaction: int, unit: int, function: int, address: int, count: int,
    waiting: bool = True,
) -> Judged:
    """See ``modbus_poller.judge``."""
    if framing:
        return _rtu(data, unit, function, address, count, waiting)
    if len(data) < 7:
        return MORE, 0, 0, b""
    sent, protocol, length = struct.unpack_from(">HHH", data)
    if protocol != 0 or not 3 <= length <= 254:
        return INVALID, HEADER, 0, b""
    end = 6 + length
    if len(data) < end:
        return MORE, 0, 0, b""
    if not waiting or sent != transaction:
        return OTHER, 0, end, b""
    if data[6] != unit:
        return INVALID, UNIT, end, b""
    status, code, registers = _pdu(data[7:end], function, address, count)
    return status, code, end, registers


def _pdu(pdu: bytes, function: int, address: int, count: int) -> tuple[int, int, bytes]:
    body = pdu[1:]
    if pdu[0] == function | 0x80:
        return (EXCEPTION, body[0], b"") if len(body) == 1 and body[0] else (INVALID, WRONG_EXCEPTION, b"")
    if pdu[0] != function:
        return INVALID, FUNCTION, b""
    if function == WRITE:
        return (OK, 0, b"") if body == struct.pack(">HH", address, count) else (INVALID, ECHO, b"")
    if body[0] != 2 * count or len(body) != 1 + 2 * count:
        return INVALID, COUNT, b""
    return OK, 0, body[1:]


def crc16(data: bytes) -> int:
    """Modbus RTU's checksum."""
    crc = 0xFFFF
    for one in data:
        crc ^= one
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
    return crc


def _rtu(data: bytes, unit: int, function: int, address: int, count: int, waiting: bool) -> Judged:
    if not data:
        return MORE, 0, 0, b""
    if not waiting:
        return INVALID, SURPLUS, 0, b""
    if data[0] != unit:
        return INVALID, UNIT, 0, b""
    if len(data) < 3:
        return MORE, 0, 0, b""
    if data[1] == function | 0x80:
        size = 5
    elif data[1] != function:
        return INVALID, FUNCTION, 0, b""
    elif function == WRITE:
        size = 8
    elif data[2] != 2 * count:
        return INVALID, COUNT, 0, b""
    else:
        size = 5 + 2 * count
    if len(data) < size:
        return MORE, 0, 0, b""
    if len(data) > size:
        return INVALID, SURPLUS, 0, b""
    if crc16(data[: size - 2]) != int.from_bytes(data[size - 2 :], "little"):
        return INVALID, CRC, 0, b""
    status, code, registers = _pdu(data[1 : size - 2], function, address, count)
    return status, code, size, registers
