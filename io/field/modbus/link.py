"""Modbus TCP through pymodbus, with a strict validator in front: the oracle that the lane is held against.

pymodbus keeps the socket, numbers and encodes the requests; ``frames`` alone decides what an answer is, because
pymodbus 3.16 takes short and foreign answers for good ones, learns of a closed connection only after its timeout, and
spends 50 µs on each answer. A link never waits longer than its timeout and never retries: that is the driver's part.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.pdu import ModbusPDU
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, WriteMultipleRegistersRequest

from gwanje.io.field.errors import (
    ConnectError,
    ConnectionLostError,
    InvalidReplyError,
    LinkError,
    NoAnswerError,
    WriteForbiddenError,
)
from gwanje.io.field.modbus.frames import (
    READ_HOLDING,
    READ_MAX,
    WRITE_MAX,
    WRITE_MULTIPLE,
    BadReplyError,
    DeviceExceptionError,
    Expected,
    Reply,
    reply_in,
)

BUFFER_MAX = 4_096
"""Bytes that may wait for their frame: an answer of 259 behind a dozen late ones; more is no Modbus."""
REQUESTS_MAX = 256
"""Read requests kept ready; a device has a few blocks, and its discovery a few dozen."""


class ModbusLink:
    """One connection to one Modbus unit; one request at a time.

    Args:
        host: address of the device.
        port: TCP port.
        unit: Modbus unit, 0…255.
        timeout_s: for connecting and for each answer.
        read_only: the site-wide gate: when true no write leaves, whoever asks.
    """

    def __init__(self, host: str, port: int, unit: int, timeout_s: float, *, read_only: bool = False) -> None:
        self._address = (host, port)
        self._unit = unit
        self._timeout_s = timeout_s
        self._read_only = read_only
        self._client: AsyncModbusTcpClient | None = None
        self._expected: Expected | None = None
        self._answer: asyncio.Future[Reply] | None = None
        self._lost: LinkError | None = None
        self._requests: dict[tuple[int, int], ReadHoldingRegistersRequest] = {}

    @property
    def connected(self) -> bool:
        """Whether the connection stands as far as this end knows."""
        return self._client is not None and self._client.connected

    async def open(self) -> None:
        """Connect; a connection that stands is dropped first.

        Raises:
            ConnectError: within the timeout there was none.
        """
        self.close()
        host, port = self._address
        logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)  # the driver reports, once per change
        client = AsyncModbusTcpClient(
            host,
            port=port,
            timeout=self._timeout_s,
            retries=0,
            reconnect_delay=0,
            trace_packet=self._packet,
            trace_connect=self._connection,
        )
        client.ctx.max_buffer_size = BUFFER_MAX
        await self._connect(client)
        self._lost = None
        self._client = client

    async def _connect(self, client: AsyncModbusTcpClient) -> None:
        host, port = self._address
        try:
            async with asyncio.timeout(self._timeout_s):
                client.ctx.transport, _ = await client.ctx.call_create()
        except TimeoutError:
            raise ConnectError(f"{host}:{port} does not answer", refused=False) from None
        except ConnectionRefusedError:
            raise ConnectError(f"{host}:{port} refuses the connection", refused=True) from None
        except OSError as error:
            raise ConnectError(f"{host}:{port}: {error.strerror or error}", refused=False) from None

    def close(self) -> None:
        """Drop the connection at once; harmless when there is none."""
        client, self._client = self._client, None
        if client is not None:
            if isinstance(client.ctx.transport, asyncio.WriteTransport):
                client.ctx.transport.abort()
            client.close()

    async def read(self, address: int, count: int) -> bytes:
        """Read holding registers.

        Args:
            address: first register.
            count: 1…125.

        Returns:
            Exactly ``2 * count`` bytes, big-endian.

        Raises:
            LinkError: no valid answer.
            DeviceExceptionError: the device refused.
        """
        request = self._requests.get((address, count))
        if request is None:
            assert 1 <= count <= READ_MAX, "a count that Modbus cannot carry"
            assert 0 <= address <= 0x10000 - count, "an address beyond the last register"
            if len(self._requests) >= REQUESTS_MAX:
                self._requests.clear()
            request = ReadHoldingRegistersRequest(address=address, count=count, dev_id=self._unit)
            self._requests[address, count] = request
        reply = await self._exchange(request, READ_HOLDING, address, count)
        return reply.data

    async def write(self, address: int, registers: Sequence[int], *, until_mono_ns: int = 0) -> None:
        """Write holding registers with function 16.

        The request leaves before anything else can happen, so whoever looked at ``until_mono_ns`` just now need not
        look again.

        Raises:
            WriteForbiddenError: the site is read only.
            LinkError: no valid answer; whether the device took the values is not known.
            DeviceExceptionError: the device refused.
        """
        if self._read_only:
            raise WriteForbiddenError("the site is read only")
        del until_mono_ns
        count = len(registers)
        assert 1 <= count <= WRITE_MAX, "a count that Modbus cannot carry"
        assert 0 <= address <= 0x10000 - count, "an address beyond the last register"
        request = WriteMultipleRegistersRequest(address=address, registers=list(registers), dev_id=self._unit)
        await self._exchange(request, WRITE_MULTIPLE, address, count)

    async def _exchange(self, request: ModbusPDU, function: int, address: int, count: int) -> Reply:
        client = self._client
        if client is None or client.ctx.transport is None:
            raise ConnectionLostError(f"not connected: {self._lost}" if self._lost else "not connected")
        loop = asyncio.get_running_loop()
        request.transaction_id = client.ctx.getNextTID()
        self._expected = Expected(request.transaction_id, self._unit, function, address, count)
        self._answer = answer = loop.create_future()
        timer = loop.call_later(self._timeout_s, self._expire, answer)
        try:
            client.ctx.pdu_send(request)
            reply: Reply = await answer
        except (ConnectionLostError, InvalidReplyError):
            self.close()
            raise
        finally:
            timer.cancel()
            self._answer = None
        if reply.exception:
            raise DeviceExceptionError(reply.exception)
        return reply

    def _expire(self, answer: asyncio.Future[Reply]) -> None:
        if not answer.done():
            answer.set_exception(NoAnswerError(f"no answer within {self._timeout_s:g} s"))

    def _packet(self, sending: bool, data: bytes) -> bytes:
        """All bytes pass here. Those that arrive go no further: pymodbus gets nothing to decode.

        Args:
            sending: a request leaves.
            data: the request, or all bytes since the last request left.
        """
        if sending:
            return data
        answer = self._answer
        if answer is None or answer.done():
            return b""  # late: nobody waits for it any more
        assert self._expected is not None, "an answer is awaited, but not known to what"
        try:
            reply = reply_in(data, self._expected)
        except BadReplyError as error:
            self._fail(InvalidReplyError(str(error)))
            return b""
        if reply is not None:
            answer.set_result(reply)
        return b""

    def _connection(self, connected: bool) -> None:
        if not connected:
            self._fail(ConnectionLostError("the device closed the connection"))

    def _fail(self, error: LinkError) -> None:
        """End the pending request now instead of after the timeout."""
        self._lost = error
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
