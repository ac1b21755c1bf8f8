"""Modbus TCP through pymodbus, with a strict validator in front. The only file that touches pymodbus.

pymodbus keeps the socket and the transaction; ``modbus_frames`` decides what an answer is. Bytes reach pymodbus only
after they were found to be exactly the answer asked for, because pymodbus 3.16 takes short and foreign answers for
good ones. A link never waits longer than its timeout, learns at once when the peer closes, and never retries: that is
the driver's business.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException
from pymodbus.pdu import ModbusPDU
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, WriteMultipleRegistersRequest

from gwanje.io.field.modbus_frames import (
    EXCEPTIONS,
    READ_HOLDING,
    READ_MAX,
    WRITE_MAX,
    WRITE_MULTIPLE,
    BadReplyError,
    Expected,
    Reply,
    reply_in,
)

BUFFER_MAX = 4_096
"""Bytes that may wait for their frame: an answer of 259 behind a dozen late ones; more is no Modbus."""
UNANSWERED_MAX = 1_000_000
"""pymodbus's own count before it closes: out of reach, the driver closes after two."""


class LinkError(Exception):
    """The link failed; the text is one line."""


class ConnectError(LinkError):
    """No connection.

    Attributes:
        refused: the host answered, but nobody listens: a restart, likely short.
    """

    def __init__(self, text: str, refused: bool) -> None:
        super().__init__(text)
        self.refused = refused


class NoAnswerError(LinkError):
    """No answer within the timeout."""


class ConnectionLostError(LinkError):
    """The peer closed or reset the connection, or it was never open."""


class InvalidReplyError(LinkError):
    """Something answered that is no answer to the request; the connection was dropped."""


class WriteForbiddenError(Exception):
    """The site is read only: nothing is written to the field."""


class DeviceExceptionError(Exception):
    """The device answered with a Modbus exception.

    Attributes:
        code: 1…255.
    """

    def __init__(self, code: int) -> None:
        super().__init__(f"exception {code} ({EXCEPTIONS.get(code, 'unknown')})")
        self.code = code


class _PlainReply(ModbusPDU):
    """An answer that was validated already: pymodbus need not look into it again."""

    function_code = READ_HOLDING

    def encode(self) -> bytes:
        raise AssertionError("a client never sends answers")

    def decode(self, data: bytes) -> None:
        del data


class _PlainWriteReply(_PlainReply):
    function_code = WRITE_MULTIPLE


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
        self._reply: Reply | None = None
        self._lost: LinkError | None = None

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
        client.register(_PlainReply)
        client.register(_PlainWriteReply)
        client.set_max_no_responses(UNANSWERED_MAX)
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
        assert 1 <= count <= READ_MAX, "a count that Modbus cannot carry"
        assert 0 <= address <= 0x10000 - count, "an address beyond the last register"
        request = ReadHoldingRegistersRequest(address=address, count=count, dev_id=self._unit)
        reply = await self._exchange(request, READ_HOLDING, address, count)
        return reply.data

    async def write(self, address: int, registers: Sequence[int]) -> None:
        """Write holding registers with function 16.

        Raises:
            WriteForbiddenError: the site is read only.
            LinkError: no valid answer; whether the device took the values is not known.
            DeviceExceptionError: the device refused.
        """
        if self._read_only:
            raise WriteForbiddenError("the site is read only")
        count = len(registers)
        assert 1 <= count <= WRITE_MAX, "a count that Modbus cannot carry"
        assert 0 <= address <= 0x10000 - count, "an address beyond the last register"
        request = WriteMultipleRegistersRequest(address=address, registers=list(registers), dev_id=self._unit)
        await self._exchange(request, WRITE_MULTIPLE, address, count)

    async def _exchange(self, request: ModbusPDU, function: int, address: int, count: int) -> Reply:
        client = self._client
        if client is None or client.ctx.transport is None:
            raise self._lost or ConnectionLostError("not connected")
        self._expected = Expected(0, self._unit, function, address, count)
        self._reply = None
        try:
            await client.execute(False, request)
        except ModbusException:
            raise NoAnswerError(f"no answer within {self._timeout_s:g} s") from None
        except LinkError:
            self.close()
            raise
        finally:
            self._expected = None
        reply: Reply | None = self._reply
        assert reply is not None, "pymodbus saw an answer that the validator did not pass"
        if reply.exception:
            raise DeviceExceptionError(reply.exception)
        return reply

    def _packet(self, sending: bool, data: bytes) -> bytes:
        """Every frame passes here: requests get their number noted, answers are validated before pymodbus sees them."""
        expected = self._expected
        if sending:
            assert expected is not None, "a request outside _exchange"
            number = int.from_bytes(data[:2], "big")
            self._expected = Expected(number, expected.unit, expected.function, expected.address, expected.count)
            return data
        if expected is None:
            return b""  # late: nobody waits for it any more
        try:
            reply = reply_in(data, expected)
        except BadReplyError as error:
            self._fail(InvalidReplyError(str(error)))
            return b""
        if reply is None:
            return b""
        self._reply = reply
        return reply.frame

    def _connection(self, connected: bool) -> None:
        if not connected:
            self._fail(ConnectionLostError("the device closed the connection"))

    def _fail(self, error: LinkError) -> None:
        """End the pending request now instead of after the timeout."""
        self._lost = error
        client, waiting = self._client, self._expected is not None
        self._expected = None
        if client is not None and waiting and not client.ctx.response_future.done():
            client.ctx.response_future.set_exception(error)
