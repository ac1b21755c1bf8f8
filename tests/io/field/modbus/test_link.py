"""The link against a server that lies, stalls and breaks: never a wrong value, never a wait without end."""

from __future__ import annotations

import asyncio
import logging
import os
import struct

import pytest

from gwanje.io.field.errors import (
    ConnectError,
    ConnectionLostError,
    InvalidReplyError,
    NoAnswerError,
    WriteForbiddenError,
)
from gwanje.io.field.modbus.frames import DeviceExceptionError
from gwanje.io.field.modbus.lane import LaneLink
from gwanje.io.field.modbus.link import ModbusLink

from .hostile import Hostile, Request, honest
from .lanes import lane_link

TIMEOUT_S = 0.2
GIVE_UP_S = 20.0
"""A test that waits this long hangs."""
FOUR = struct.pack(">4H", 10, 11, 12, 13)

@pytest.fixture(autouse=True, params=["pymodbus", "lane"])
def _both_links(request, monkeypatch):
    """Every test once with pymodbus's link and once with the poller's: oracle and product agree."""
    if request.param == "lane":
        monkeypatch.setitem(globals(), "ModbusLink", lane_link)



def run(scenario):
    async def bounded():
        async with asyncio.timeout(GIVE_UP_S):
            return await scenario()

    return asyncio.run(bounded())


async def short_reply(request: Request) -> None:
    request.send(request.frame(struct.pack(">BB3H", 3, 6, 1, 2, 3)))


async def long_reply(request: Request) -> None:
    request.send(request.frame(struct.pack(">BB5H", 3, 10, 1, 2, 3, 4, 5)))


async def other_function(request: Request) -> None:
    request.send(request.frame(struct.pack(">BB4H", 4, 8, 1, 2, 3, 4)))


async def other_unit(request: Request) -> None:
    request.send(request.frame(request.answer()[7:], unit=request.unit + 1))


async def lying_byte_count(request: Request) -> None:
    request.send(request.frame(struct.pack(">BB4H", 3, 200, 1, 2, 3, 4)))


async def html(request: Request) -> None:
    request.send(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n<html>")


async def megabyte_of_garbage(request: Request) -> None:
    request.send(bytes(range(256)) * 4096)


async def oversize(request: Request) -> None:
    request.send(request.frame(bytes([3, 255]) + bytes(400)))


async def wrong_transaction(request: Request) -> None:
    request.send(request.frame(request.answer()[7:], transaction=request.transaction + 100))


async def truncated(request: Request) -> None:
    request.send(request.answer()[:-3])


async def lying_length(request: Request) -> None:
    answer = bytearray(request.answer())
    answer[4:6] = (254).to_bytes(2, "big")
    request.send(bytes(answer))


async def black_hole(request: Request) -> None:
    del request


async def close(request: Request) -> None:
    request.writer.close()


async def half_then_reset(request: Request) -> None:
    request.send(request.answer()[:9])
    await request.writer.drain()
    request.reset()


async def byte_by_byte(request: Request) -> None:
    for byte in request.answer():
        request.send(bytes([byte]))
        await request.writer.drain()
        await asyncio.sleep(0)


async def twice_in_one_segment(request: Request) -> None:
    request.send(request.answer() + request.answer(first=1000))


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        (short_reply, InvalidReplyError),
        (long_reply, InvalidReplyError),
        (other_function, InvalidReplyError),
        (other_unit, InvalidReplyError),
        (lying_byte_count, InvalidReplyError),
        (html, InvalidReplyError),
        (oversize, InvalidReplyError),
        (close, ConnectionLostError),
        (half_then_reset, ConnectionLostError),
    ],
)
def test_a_lie_or_a_loss_ends_the_connection_at_once(behaviour, error, caplog):
    """With a timeout far beyond the test's own: the error must come from the bytes, not from waiting."""

    async def scenario():
        async with Hostile(behaviour) as server:
            link = ModbusLink("127.0.0.1", server.port, 1, timeout_s=2 * GIVE_UP_S)
            await link.open()
            with pytest.raises(error):
                await link.read(10, 4)
            assert not link.connected
            with pytest.raises(ConnectionLostError):
                await link.read(10, 4)
            await link.open()
            assert await link.read(10, 4) == FOUR
            link.close()

    with caplog.at_level(logging.WARNING):
        run(scenario)
    assert "Fatal error" not in caplog.text
    assert "pymodbus" not in {record.name.split(".")[0] for record in caplog.records}


@pytest.mark.parametrize("behaviour", [wrong_transaction, truncated, lying_length, black_hole])
def test_no_answer_ends_with_the_timeout_and_the_next_request_works(behaviour):
    async def scenario():
        async with Hostile(behaviour) as server:
            link = ModbusLink("127.0.0.1", server.port, 1, TIMEOUT_S)
            await link.open()
            with pytest.raises(NoAnswerError):
                await link.read(10, 4)
            assert await link.read(10, 4) == FOUR
            half_a_frame = behaviour in (truncated, lying_length)
            assert server.connections == (2 if half_a_frame and isinstance(link, LaneLink) else 1)
            link.close()

    run(scenario)


def test_a_megabyte_of_garbage_is_no_value_and_no_crash(caplog):
    async def scenario():
        async with Hostile(megabyte_of_garbage) as server:
            link = ModbusLink("127.0.0.1", server.port, 1, TIMEOUT_S)
            await link.open()
            with pytest.raises((InvalidReplyError, NoAnswerError)):
                await link.read(10, 4)
            link.close()
            await link.open()
            assert await link.read(10, 4) == FOUR
            link.close()

    run(scenario)
    assert "Fatal error" not in caplog.text


@pytest.mark.parametrize("behaviour", [byte_by_byte, twice_in_one_segment])
def test_odd_segments_are_no_fault(behaviour):
    async def scenario():
        async with Hostile(behaviour) as server:
            link = ModbusLink("127.0.0.1", server.port, 1, timeout_s=GIVE_UP_S)
            await link.open()
            assert await link.read(10, 4) == FOUR
            assert await link.read(20, 1) == b"\0\x14"
            link.close()

    run(scenario)


def test_a_late_answer_is_never_taken_for_the_next_one():
    async def scenario():
        held: list[Request] = []

        async def hold(request: Request) -> None:
            held.append(request)

        async def release_then_answer(request: Request) -> None:
            request.send(held[0].answer(first=7777))
            await honest(request)

        async with Hostile(hold, release_then_answer) as server:
            link = ModbusLink("127.0.0.1", server.port, 1, TIMEOUT_S)
            await link.open()
            with pytest.raises(NoAnswerError):
                await link.read(10, 4)
            assert await link.read(10, 4) == FOUR
            link.close()

    run(scenario)


@pytest.mark.parametrize("code", range(1, 12))
def test_exceptions_carry_their_code_and_keep_the_connection(code):
    async def scenario():
        async def refuse(request: Request) -> None:
            request.send(request.frame(bytes([0x83, code])))

        async with Hostile(refuse) as server:
            link = ModbusLink("127.0.0.1", server.port, 1, timeout_s=GIVE_UP_S)
            await link.open()
            with pytest.raises(DeviceExceptionError) as caught:
                await link.read(10, 4)
            assert caught.value.code == code
            assert await link.read(10, 4) == FOUR
            assert server.connections == 1
            link.close()

    run(scenario)


@pytest.mark.parametrize("unit", [0, 255])
def test_any_unit_may_be_asked(unit):
    async def scenario():
        async with Hostile() as server:
            link = ModbusLink("127.0.0.1", server.port, unit, timeout_s=GIVE_UP_S)
            await link.open()
            assert await link.read(10, 4) == FOUR
            assert server.requests[0].unit == unit
            link.close()

    run(scenario)


def test_a_write_reaches_the_device_and_a_different_echo_is_no_success():
    async def scenario():
        async def other_echo(request: Request) -> None:
            request.send(request.frame(struct.pack(">BHH", 16, request.address + 1, request.count)))

        async with Hostile(honest, other_echo) as server:
            link = ModbusLink("127.0.0.1", server.port, 1, timeout_s=GIVE_UP_S)
            await link.open()
            await link.write(40, [1, 0xFFFF])
            assert server.requests[0].payload == b"\0\1\xff\xff"
            with pytest.raises(InvalidReplyError):
                await link.write(40, [1, 2])
            link.close()

    run(scenario)


def test_a_read_only_site_sends_no_write():
    async def scenario():
        async with Hostile() as server:
            link = ModbusLink("127.0.0.1", server.port, 1, timeout_s=GIVE_UP_S, read_only=True)
            await link.open()
            with pytest.raises(WriteForbiddenError):
                await link.write(40, [1])
            assert await link.read(10, 4) == FOUR
            assert [request.function for request in server.requests] == [3]
            link.close()

    run(scenario)


def test_a_refused_connection_says_so():
    async def scenario():
        async with Hostile() as server:
            port = server.port
        link = ModbusLink("127.0.0.1", port, 1, timeout_s=GIVE_UP_S)
        with pytest.raises(ConnectError) as caught:
            await link.open()
        assert caught.value.refused

    run(scenario)


def test_a_thousand_connections_leave_nothing_behind():
    async def scenario():
        async with Hostile(then=close) as server:
            link = ModbusLink("127.0.0.1", server.port, 1, timeout_s=GIVE_UP_S)
            before = 0
            for round_ in range(1000):
                await link.open()
                with pytest.raises(ConnectionLostError):
                    await link.read(10, 4)
                if round_ == 50:
                    before = len(os.listdir("/proc/self/fd"))
            assert len(os.listdir("/proc/self/fd")) <= before + 10
            assert server.connections == 1000

    run(scenario)


def test_cancelling_a_request_leaves_a_usable_link():
    async def scenario():
        async with Hostile(black_hole) as server:
            link = ModbusLink("127.0.0.1", server.port, 1, TIMEOUT_S)
            await link.open()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await link.read(10, 4)
            assert await link.read(10, 4) == FOUR
            link.close()

    run(scenario)
