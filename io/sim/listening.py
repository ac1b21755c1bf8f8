"""What every simulated Modbus address does: listen, give the port away it was given, drop who is connected."""

from __future__ import annotations

import asyncio
import os
from abc import ABC, abstractmethod
from typing import Generic, Protocol, TypeVar

MAX_CONNECTIONS = 32
"""Connections a device keeps; like a real one it turns further masters away."""


class PortTakenError(Exception):
    """The device's address cannot be listened on; the text is the operating system's reason."""


class Droppable(Protocol):
    """A master's connection."""

    def drop(self) -> None:
        """End it."""


One = TypeVar("One", bound=Droppable)


class Listening(ABC, Generic[One]):
    """One address.

    Args:
        host: address to listen on.
        port: 0 takes a free one (tests).

    Attributes:
        connections: of masters, now.
    """

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self.connections: set[One] = set()
        self._server: asyncio.Server | None = None

    @abstractmethod
    def connected(self) -> asyncio.Protocol:
        """What talks to a new master."""

    async def open(self) -> None:
        """Listen.

        Raises:
            PortTakenError: somebody else does already, or the address is not this machine's.
        """
        if self._server is not None:
            return
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                self.connected, self.host, self.port, reuse_address=True, backlog=MAX_CONNECTIONS
            )
        except OSError as error:
            raise PortTakenError(os.strerror(error.errno) if error.errno else str(error)) from None
        self.port = self._server.sockets[0].getsockname()[1]

    def shut(self) -> None:
        """Stop listening and drop every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in list(self.connections):
            connection.drop()
