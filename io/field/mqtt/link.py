"""The connection to a broker: paho reads when the event loop says so and fills a bounded queue, emptied in batches.

paho's own thread would fight the event loop for Python's lock at each of its three reads per message, and its
``select`` fails beyond 1 023 descriptors; so the event loop watches the socket, as paho provides for. Whatever comes
faster than it is looked at pushes out the oldest: of a thing's states only the last one counts. What was pushed out is
counted. Nothing that changes a thing leaves a site that is read only: the gate is here.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from gwanje.io.field.errors import ConnectError, ConnectionLostError, LinkError, NoAnswerError, WriteForbiddenError

BATCH_MAX = 512
"""Messages that are handled in one go of the event loop: some milliseconds."""
INFLIGHT_MAX = 256
"""Commands that wait for the broker's acknowledgement."""
OUTGOING_MAX = 2_048
"""Commands that wait to be sent; beyond it they are refused."""
READ_MAX = 256
"""Packets that are read in one go of the event loop: what waits for it then waits some milliseconds."""
MISC_S = 1.0
"""How often paho looks after its keep-alive."""

Message = tuple[str, bytes, bool, int]
"""Topic, payload, whether it was retained, monotonic nanoseconds of its arrival."""


class Inbox:
    """A bounded queue, also between two threads; the oldest gives way.

    Args:
        limit: messages that may wait.
        wake: makes the reader look; called where messages are put, at most once until it has looked.
    """

    def __init__(self, limit: int, wake: Callable[[], None]) -> None:
        self._messages: deque[Message] = deque(maxlen=limit)
        self._limit = limit
        self._wake = wake
        self._woken = False
        self.dropped = 0
        """Messages that gave way."""
        self.taken = 0
        """Messages that came."""

    def put(self, message: Message) -> None:
        """At the end, in place of the oldest when it is full."""
        if len(self._messages) >= self._limit:
            self.dropped += 1
        self._messages.append(message)  # pushes out the oldest by itself
        self.taken += 1
        if not self._woken:
            self._woken = True
            self._wake()

    def batch(self, most: int) -> list[Message]:
        """The oldest messages."""
        self._woken = False
        found: list[Message] = []
        while len(found) < most:
            try:
                found.append(self._messages.popleft())
            except IndexError:  # emptied: the only sure way to see it beside another thread
                break
        return found

    def __len__(self) -> int:
        return len(self._messages)


@dataclass(frozen=True, slots=True)
class Account:
    """Who we are at the broker.

    Attributes:
        client_id: two of one id throw each other out.
        user: empty without.
        password: see ``user``.
        keepalive_s: of the connection.
        tls: context, ``None`` on loopback.
    """

    client_id: str
    user: str = ""
    password: str = ""
    keepalive_s: int = 20
    tls: ssl.SSLContext | None = None


class MqttLink:
    """See the module. Use it from one event loop.

    Args:
        host: of the broker.
        port: of the broker.
        account: who we are.
        queue: messages that may wait.
        timeout_s: to connect.
        arrived: called in the event loop when messages wait.
        read_only: nothing is published.
        mono_ns: monotonic clock.
    """

    def __init__(
        self, host: str, port: int, account: Account, queue: int, timeout_s: float, arrived: Callable[[], None], *,
        read_only: bool, mono_ns: Callable[[], int],
    ) -> None:  # fmt: skip
        self._host, self._port, self._account = host, port, account
        self._timeout_s = timeout_s
        self._read_only = read_only
        self._mono_ns = mono_ns
        self._arrived = arrived
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lost: asyncio.Future[str] | None = None
        self._client: paho.Client | None = None
        self._misc: asyncio.TimerHandle | None = None
        self.inbox = Inbox(queue, self._wake)
        self.unreadable = 0
        """Messages whose topic is no text."""

    async def open(self, filters: Sequence[str]) -> asyncio.Future[str]:
        """Connect and subscribe.

        Args:
            filters: what to hear.

        Returns:
            Done, with the reason, when the connection is lost.

        Raises:
            LinkError: no connection.
        """
        self._loop = loop = asyncio.get_running_loop()
        await self.close()
        ready: asyncio.Future[None] = loop.create_future()
        lost: asyncio.Future[str] = loop.create_future()
        client = self._made(filters, ready, lost)
        self._client, self._lost = client, lost
        try:
            await loop.run_in_executor(None, self._connect, client)
            if self._client is not client:
                _close(loop, client)
                raise ConnectionLostError("closed")
            self._watch(loop, client)
            async with asyncio.timeout(self._timeout_s):
                await ready
        except TimeoutError:
            await self.close()
            raise NoAnswerError(f"no answer of the broker within {self._timeout_s:g} s") from None
        except LinkError:
            await self.close()
            raise
        return lost

    def _connect(self, client: paho.Client) -> None:
        try:
            client.connect(self._host, self._port, self._account.keepalive_s)
        except ConnectionRefusedError:
            raise ConnectError("connection refused", True) from None
        except (OSError, ValueError) as error:
            raise ConnectError(str(error)[:120] or type(error).__name__, False) from None

    def _watch(self, loop: asyncio.AbstractEventLoop, client: paho.Client) -> None:
        """Have the event loop read and write for a client that has connected, and look after its keep-alive."""
        inbox = self.inbox

        def read() -> None:
            for _ in range(READ_MAX):
                taken = inbox.taken
                if client.loop_read() != paho.MQTT_ERR_SUCCESS:
                    return
                line: Any = client.socket()
                held = isinstance(line, ssl.SSLSocket) and line.pending()  # read already: the socket shows it no more
                if line is None or (inbox.taken == taken and not held):
                    return

        def misc() -> None:
            if client.loop_misc() == paho.MQTT_ERR_SUCCESS and self._client is client:
                self._misc = loop.call_later(MISC_S, misc)

        def on_write(_client: paho.Client, _data: Any, line: Any) -> None:
            loop.add_writer(line, client.loop_write)

        def on_written(_client: paho.Client, _data: Any, line: Any) -> None:
            loop.remove_writer(line)

        def on_close(_client: paho.Client, _data: Any, line: Any) -> None:
            loop.remove_reader(line)

        line: Any = client.socket()
        if line is None:  # the broker hung up while paho greeted it
            raise ConnectionLostError("the broker hung up")
        client.on_socket_register_write, client.on_socket_unregister_write = on_write, on_written
        client.on_socket_close = on_close
        loop.add_reader(line, read)
        if client.want_write():
            loop.add_writer(line, client.loop_write)
        self._misc = loop.call_later(MISC_S, misc)

    def _made(self, filters: Sequence[str], ready: asyncio.Future[None], lost: asyncio.Future[str]) -> paho.Client:
        account = self._account
        client = paho.Client(
            CallbackAPIVersion.VERSION2, account.client_id, clean_session=True, protocol=paho.MQTTv311,
            reconnect_on_failure=False,
        )  # fmt: skip
        client.connect_timeout = self._timeout_s
        client.max_inflight_messages_set(INFLIGHT_MAX)
        client.max_queued_messages_set(OUTGOING_MAX)
        if account.user:
            client.username_pw_set(account.user, account.password)
        if account.tls is not None:
            client.tls_set_context(account.tls)
        put, mono_ns = self.inbox.put, self._mono_ns

        def on_message(_client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
            try:
                topic = message.topic
            except UnicodeDecodeError:
                self.unreadable += 1
                return
            put((topic, bytes(message.payload), message.retain, mono_ns()))

        def on_connect(_client: paho.Client, _data: Any, _flags: Any, code: ReasonCode, _properties: Any) -> None:
            if code.is_failure:
                _settle(ready, ConnectError(f"the broker refuses: {code}", False))
                return
            client.subscribe([(one, 1) for one in filters])

        def on_subscribe(_client: paho.Client, _data: Any, _mid: int, codes: Any, _properties: Any) -> None:
            bad = [str(one) for one in codes if one.is_failure]
            _settle(ready, ConnectError(f"the broker refuses to tell: {bad[0]}", False) if bad else None)

        def on_disconnect(_client: paho.Client, _data: Any, _flags: Any, code: ReasonCode, _properties: Any) -> None:
            why = f"connection lost: {code}"
            _settle(ready, ConnectionLostError(why))
            if not lost.done():
                lost.set_result(why)

        client.on_message = on_message
        client.on_connect = on_connect
        client.on_subscribe = on_subscribe
        client.on_disconnect = on_disconnect
        return client

    def _wake(self) -> None:
        if self._loop is not None:
            self._loop.call_soon(self._arrived)

    def publish(self, topic: str, payload: bytes) -> None:
        """Send a command, at least once.

        Raises:
            WriteForbiddenError: the site is read only.
            LinkError: not connected, or too much waits already.
        """
        if self._read_only:
            raise WriteForbiddenError("the site is read only")
        client = self._client
        if client is None or not client.is_connected():
            raise ConnectionLostError("not connected")
        info = client.publish(topic, payload, qos=1, retain=False)
        if info.rc == paho.MQTT_ERR_QUEUE_SIZE:
            raise LinkError(f"{OUTGOING_MAX} commands wait already")
        if info.rc != paho.MQTT_ERR_SUCCESS:
            raise ConnectionLostError(paho.error_string(info.rc))

    async def close(self) -> None:
        """Drop the connection."""
        client, self._client = self._client, None
        lost, self._lost = self._lost, None
        if self._misc is not None:
            self._misc.cancel()
        if lost is not None and not lost.done():
            lost.set_result("closed")
        if client is not None:
            _close(asyncio.get_running_loop(), client)


def _settle(ready: asyncio.Future[None], error: LinkError | None) -> None:
    if not ready.done():
        ready.set_result(None) if error is None else ready.set_exception(error)


def _close(loop: asyncio.AbstractEventLoop, client: paho.Client) -> None:
    """Say good-bye if that can be said at once; the socket is closed in any case."""
    client.disconnect()
    client.loop_write()
    line: Any = client.socket()
    if isinstance(line, socket.socket):  # a peer that takes nothing more
        loop.remove_reader(line)
        loop.remove_writer(line)
        line.close()
    # Their closures hold the client: without them its sockets are closed now, not when memory is swept.
    client.on_message = client.on_connect = client.on_subscribe = client.on_disconnect = None
    client.on_socket_register_write = client.on_socket_unregister_write = client.on_socket_close = None
