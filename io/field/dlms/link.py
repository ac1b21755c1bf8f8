"""The TCP shell of a collector or meter: one connection, one exchange at a time, for all logical devices behind it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from gwanje.io.field.dlms.framing import Framing, Hdlc, Way, Wrapper
from gwanje.io.field.dlms.session import Steps
from gwanje.io.field.errors import ConnectError, ConnectionLostError, InvalidReplyError, LinkError, NoAnswerError

READ_BYTES = 65_536
"""Taken from the socket at once."""
FRAMINGS = ("wrapper", "hdlc")


class MeterLink:
    """One TCP connection.

    Args:
        host: of the collector or meter.
        port: of it.
        timeout_s: for each answer.
        framing: of :data:`FRAMINGS`.
    """

    def __init__(self, host: str, port: int, timeout_s: float, framing: str) -> None:
        self._address = (host, port)
        self._timeout_s = timeout_s
        self._kind = framing
        self._framing: Framing = Wrapper()
        self._greeted: Way | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self.exchanges = 0
        """Answers taken, ever."""

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self._writer is not None

    async def open(self) -> None:
        """Connect.

        Raises:
            ConnectError: nobody is there.
        """
        self.close()
        self._framing = Hdlc() if self._kind == "hdlc" else Wrapper()
        self._greeted = None
        try:
            async with asyncio.timeout(self._timeout_s):
                self._reader, self._writer = await asyncio.open_connection(*self._address)
        except TimeoutError:
            raise ConnectError(f"no connection in {self._timeout_s:g} s", refused=False) from None
        except OSError as error:
            raise ConnectError(str(error), refused=isinstance(error, ConnectionRefusedError)) from None

    def close(self) -> None:
        """Drop the connection."""
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None

    async def run(self, way: Way, steps: Steps) -> Any:
        """Run an exchange to its end; its result.

        Raises:
            NoAnswerError: an answer did not come; the connection stays, late answers are passed over.
            LinkError: anything else that ends the exchange; of those that end the connection, :attr:`is_open` tells.
        """
        if self._kind == "hdlc" and self._greeted != way:
            await self._send_and_take(self._framing.hello(way))
            self._greeted = way
        try:
            apdu = next(steps)
            while True:
                apdu = steps.send(await self._send_and_take(self._framing.wrap(way, apdu)))
        except StopIteration as stop:
            return stop.value

    async def _send_and_take(self, data: bytes) -> bytes:
        reader, writer = self._reader, self._writer
        if reader is None or writer is None:
            raise ConnectionLostError("not connected")
        try:
            async with asyncio.timeout(self._timeout_s):
                while True:
                    if data:
                        writer.write(data)
                        await writer.drain()
                    came = await reader.read(READ_BYTES)
                    if not came:
                        raise ConnectionLostError("the connection was closed")
                    apdu, data = self._framing.take(came)
                    if apdu is not None:
                        self.exchanges += 1
                        return apdu
        except TimeoutError:
            if self._kind == "hdlc":
                self.close()  # its sequence numbers are lost
            raise NoAnswerError(f"no answer in {self._timeout_s:g} s") from None
        except (ConnectionLostError, InvalidReplyError):
            self.close()
            raise
        except OSError as error:
            self.close()
            raise ConnectionLostError(str(error)) from None

    async def leave(self, way: Way, steps: Steps) -> None:
        """Send the first APDU of an exchange and wait for nothing."""
        with contextlib.suppress(LinkError, StopIteration, OSError):
            if self._writer is not None:
                self._writer.write(self._framing.wrap(way, next(steps)))
