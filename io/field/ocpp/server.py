"""The door that charge points come in by: a WebSocket server around lines and chargers.

Only charge points of the site's files come in, in the version that they are configured for. A second line of one charge
point is taken only when the first is silent: it is asked, and has a second to answer. There are never two.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import ssl
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, ConnectionClosedError
from websockets.http11 import Request, Response
from websockets.protocol import State as WsState
from websockets.typing import Subprotocol

from gwanje.core.city.part import PartError
from gwanje.core.clock import NS_PER_S, Clock
from gwanje.io.field.ocpp.charger import Charger
from gwanje.io.field.ocpp.door import Flood, Pace, Passwords, identity_of
from gwanje.io.field.ocpp.frames import FRAME_MAX
from gwanje.io.field.ocpp.link import Line
from gwanje.io.field.ocpp.rpc import Conversation

SUBPROTOCOLS = (Subprotocol("ocpp2.0.1"), Subprotocol("ocpp1.6"))
OPEN_S = 5.0
"""A knock that is not followed by a request in this time is dropped."""
PROBE_S = 1.0
"""How long an older line has to answer before a newer one takes its place."""
QUEUE_MAX = 8
"""Messages of a charger that wait to be looked at; then it waits itself."""
WRITE_MAX = 65_536
"""Bytes that wait for a charger which does not read; then our call waits, and times out."""
MESSAGES_PER_S = 20.0
MESSAGES_BURST = 200.0
"""A charger sends a message a second at most; one that was offline sends what it kept."""
QUIET_NS = 600 * NS_PER_S
"""Somebody who is turned away for the same reason is not reported again for ten minutes; the count goes on."""
PATH_MAX = 80
"""Characters of a foreign path that are told."""
HALF_OPEN_MAX = 256
"""Connections whose handshake is not over: a fleet that comes back at once, twice over."""


Start = Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]]


class _Socket:
    """A connection behind the interface of a line's socket."""

    def __init__(self, connection: ServerConnection) -> None:
        self._connection = connection

    async def send(self, text: str) -> None:
        """Send a text."""
        try:
            await self._connection.send(text)
        except ConnectionClosed:
            self.abort()  # who waits for an answer hears of it when the connection's handler ends

    def abort(self) -> None:
        """Drop the connection at once."""
        self._connection.transport.abort()


class CentralSystem:
    """See the module.

    Args:
        host: address to listen on.
        port: see ``host``; 0 takes a free one.
        chargers: by the id in their address.
        clock: time.
        ping_s: how often a line is tried, and how long it has to answer.
        welcome: what to do with a charger whose line has just opened.
        start: runs a task.
        log: of the part.
        read_only: the site's own gate.
        tls: beyond this machine.
        passwords: beyond this machine.
    """

    def __init__(
        self, host: str, port: int, chargers: Mapping[str, Charger], clock: Clock, *, ping_s: float,
        welcome: Callable[[Charger], Coroutine[Any, Any, None]], start: Start, log: logging.Logger,
        read_only: bool = False,
        tls: ssl.SSLContext | None = None, passwords: Passwords | None = None,
    ) -> None:  # fmt: skip
        self._host = host
        self.port = port
        self._chargers = chargers
        self._clock = clock
        self._ping_s = ping_s
        self._welcome = welcome
        self._read_only = read_only
        self._tls = tls
        self._passwords = passwords
        self._flood = Flood(len(chargers), clock.mono_ns())
        self._strangers = Flood(0, clock.mono_ns())
        self._connections: dict[str, ServerConnection] = {}
        self._deciding: dict[str, asyncio.Lock] = {name: asyncio.Lock() for name in chargers}
        self._log = log
        self._start = start
        self._half_open: set[ServerConnection] = set()
        self.refused: Counter[str] = Counter()
        """Connections that were turned away, by reason."""
        self._told_ns: dict[str, int] = {}
        self.listening = asyncio.Event()

    @property
    def connected(self) -> int:
        """Charge points with a line."""
        return len(self._connections)

    async def run(self) -> None:
        """Serve until cancelled.

        Raises:
            PartError: the address cannot be listened on.
        """
        try:
            server = await serve(
                self._serve, self._host, self.port, subprotocols=SUBPROTOCOLS,
                select_subprotocol=self._version, process_request=self._look_at, compression=None,
                open_timeout=OPEN_S, close_timeout=1.0, ping_interval=self._ping_s, ping_timeout=self._ping_s,
                max_size=FRAME_MAX, max_queue=QUEUE_MAX, write_limit=WRITE_MAX, server_header=None,
                logger=_quiet_log(), ssl=self._tls, create_connection=_knocking(self._half_open),
            )  # fmt: skip
        except OSError as error:
            why = "somebody listens there already" if error.errno == errno.EADDRINUSE else error.strerror
            raise PartError(f"cannot listen for chargers on {self._host}:{self.port}: {why}") from None
        try:
            self.port = next(iter(server.sockets)).getsockname()[1]
            self.listening.set()
            await asyncio.get_running_loop().create_future()
        finally:
            server.close(close_connections=True)
            await server.wait_closed()

    # ---- coming in

    async def _look_at(self, connection: ServerConnection, request: Request) -> Response | None:
        """A response turns the connection away."""
        self._half_open.discard(connection)
        identity = identity_of(request.path)
        charger = self._chargers.get(identity)
        flood = self._strangers if charger is None else self._flood  # strangers use up nobody else's turns
        if not flood.admits(self._clock.mono_ns()):
            return self._refuse(connection, HTTPStatus.TOO_MANY_REQUESTS, "flood")
        if charger is None:
            return self._refuse(connection, HTTPStatus.NOT_FOUND, "unknown")
        if self._passwords and not self._passwords.admits(identity, request.headers.get("Authorization", "")):
            response = self._refuse(connection, HTTPStatus.UNAUTHORIZED, "password")
            response.headers["WWW-Authenticate"] = 'Basic realm="ocpp"'
            return response
        offered = request.headers.get("Sec-WebSocket-Protocol", "").replace(",", " ").split()
        if charger.dialect.subprotocol not in offered:
            charger.flaw("subprotocol", f"offers {' '.join(offered)[:60] or 'none'}, not {charger.dialect.subprotocol}")
            return self._refuse(connection, HTTPStatus.BAD_REQUEST, "subprotocol")
        async with self._deciding[identity]:
            if not await self._makes_room(identity):
                charger.flaw("second_line", "a second line while the first one answers")
                return self._refuse(connection, HTTPStatus.CONFLICT, "second")
            self._connections[identity] = connection
        return None

    def _refuse(self, connection: ServerConnection, status: HTTPStatus, reason: str) -> Response:
        self.refused[reason] += 1
        now = self._clock.mono_ns()
        if now - self._told_ns.get(reason, -QUIET_NS) >= QUIET_NS:
            self._told_ns[reason] = now
            path = connection.request.path[:PATH_MAX] if connection.request else ""
            self._log.warning("a charge point that asks for %r was turned away: %s", path, reason)
        return connection.respond(status, f"{reason}\n")

    async def _makes_room(self, identity: str) -> bool:
        """Whether nobody is connected under this name, or nobody alive: the older line is asked."""
        older = self._connections.get(identity)
        if older is None or older.state in (WsState.CLOSING, WsState.CLOSED) or older.transport.is_closing():
            return self._forget(identity, "the connection was closed")
        if older.state is WsState.CONNECTING:
            return False
        try:
            async with asyncio.timeout(PROBE_S):
                await (await older.ping())
        except (TimeoutError, ConnectionClosed):
            older.transport.abort()
            return self._forget(identity, "another line took its place")
        return False

    def _forget(self, identity: str, reason: str) -> bool:
        """The line under this name is gone."""
        if self._connections.pop(identity, None) is not None:
            self._chargers[identity].disconnected(reason)
        return True

    def _version(self, connection: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
        assert connection.request is not None, "looked at before"
        wanted = Subprotocol(self._chargers[identity_of(connection.request.path)].dialect.subprotocol)
        return wanted if wanted in offered else None

    # ---- being there

    async def _serve(self, connection: ServerConnection) -> None:
        assert connection.request is not None, "looked at before"
        identity = identity_of(connection.request.path)
        charger = self._chargers[identity]
        if self._connections.get(identity) is not connection:
            connection.transport.abort()
            return
        conversation = Conversation(charger.dialect.version, charger.handle)
        line = Line(_Socket(connection), conversation, charger.device.timeout_s, self._clock, read_only=self._read_only)
        charger.connected(line)
        welcome = self._start(self._welcome(charger), f"welcome {identity}")
        reason = "the connection was closed"
        try:
            await self._listen(connection, conversation, charger)
        except ConnectionClosedError as error:
            reason = _why(error)
            if "too big" in str(error) or "1009" in str(error):
                charger.flaw("oversized", f"a frame of more than {FRAME_MAX} bytes")
        except ConnectionClosed:
            reason = "it closed the connection"
        except TimeoutError:
            reason = "it does not read what we answer"
            connection.transport.abort()
        except Exception:
            self._log.exception("charge point %s", identity)
            raise
        finally:
            welcome.cancel()
            if self._connections.get(identity) is connection:
                self._forget(identity, reason)

    async def _listen(self, connection: ServerConnection, conversation: Conversation, charger: Charger) -> None:
        pace = Pace(MESSAGES_PER_S, MESSAGES_BURST, self._clock.mono_ns())
        while True:
            message = await connection.recv()
            charger.heard()
            flaws = conversation.flaws.total()
            answer = conversation.receive(message)
            if conversation.flaws.total() != flaws:
                kind, _, reason = conversation.last_flaw.partition(": ")
                charger.flaw(kind, reason)
            if answer:
                async with asyncio.timeout(charger.device.timeout_s):
                    await connection.send(answer)
            if wait_s := pace.wait_s(self._clock.mono_ns()):
                await asyncio.sleep(wait_s)


def _knocking(half_open: set[ServerConnection]) -> type[ServerConnection]:
    """Connections that count while their handshake is not over, and are dropped when there are too many of them."""

    class Knock(ServerConnection):
        """A connection that has not said yet what it wants."""

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            """See asyncio."""
            super().connection_made(transport)
            if len(half_open) >= HALF_OPEN_MAX:
                self.transport.abort()
            else:
                half_open.add(self)

        def connection_lost(self, exc: Exception | None) -> None:
            """See asyncio."""
            half_open.discard(self)
            super().connection_lost(exc)

    return Knock


def _why(error: ConnectionClosed) -> str:
    """Words for how a connection ended."""
    if "keepalive" in str(error):
        return "no answer to a ping"
    code = error.rcvd.code if error.rcvd else error.sent.code if error.sent else 0
    return f"the connection broke (code {code})" if code else "the connection broke"


def _quiet_log() -> logging.Logger:
    """The library tells of every broken handshake with a traceback; what matters is counted here."""
    log = logging.getLogger("gwanje.ocpp.websockets")
    log.setLevel(logging.CRITICAL)
    return log
