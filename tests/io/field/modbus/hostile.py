"""A Modbus TCP server for tests that answers byte for byte what a test tells it to."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable

Behaviour = Callable[["Request"], Awaitable[None]]


class Request:
    """A request as it came, with ways to answer it."""

    def __init__(self, raw: bytes, writer: asyncio.StreamWriter) -> None:
        self.raw = raw
        self.writer = writer
        self.transaction, _, _, self.unit, self.function, self.address, self.count = struct.unpack(">HHHBBHH", raw[:12])
        self.payload = raw[13:]

    def frame(self, pdu: bytes, *, transaction: int | None = None, unit: int | None = None) -> bytes:
        """A frame that answers this request unless told otherwise."""
        head = (self.transaction if transaction is None else transaction, 0, len(pdu) + 1)
        return struct.pack(">HHHB", *head, self.unit if unit is None else unit) + pdu

    def answer(self, first: int = 0) -> bytes:
        """The right answer: registers that hold their own address plus ``first``."""
        words = [(self.address + first + i) & 0xFFFF for i in range(self.count)]
        return self.frame(struct.pack(f">BB{self.count}H", self.function, 2 * self.count, *words))

    def send(self, data: bytes) -> None:
        """Send as it is."""
        self.writer.write(data)

    def reset(self) -> None:
        """RST instead of FIN."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


async def honest(request: Request) -> None:
    """Answer reads with address = value and confirm writes."""
    if request.function == 3:
        request.send(request.answer())
    else:
        request.send(request.frame(struct.pack(">BHH", 16, request.address, request.count)))


class Hostile:
    """Listens on loopback; ``behaviours`` are used up one per request, then it is honest."""

    def __init__(self, *behaviours: Behaviour, then: Behaviour = honest) -> None:
        self.behaviours = list(behaviours)
        self.then = then
        self.requests: list[Request] = []
        self.connections = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Hostile:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            while True:
                head = await reader.readexactly(6)
                raw = head + await reader.readexactly(int.from_bytes(head[4:6], "big"))
                request = Request(raw, writer)
                self.requests.append(request)
                await (self.behaviours.pop(0) if self.behaviours else self.then)(request)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            return
        finally:
            self._tasks.discard(task)
            writer.close()
