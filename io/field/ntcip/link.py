"""The UDP shell of a conversation: sends, waits, asks again once, and is the place where a write is let through or not.

The socket is connected, so the kernel drops what others send. A GET whose answer is lost is repeated once within its
time; a SET never is: it might act twice, or after its command has expired.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

from gwanje.core.clock import Clock
from gwanje.io.field.errors import ConnectError, InvalidReplyError, LinkError, NoAnswerError, WriteForbiddenError
from gwanje.io.field.ntcip import snmp
from gwanje.io.field.ntcip.talk import Again, Answer, Nothing, Question, Refusal, Talk

REPEAT_AFTER = 0.4
"""Share of the time-out after which a GET is repeated: the second copy has longer than the first had."""

Guard = Callable[[Sequence[snmp.Varbind]], str]
"""Why a write is not allowed; an empty text lets it through."""


class AgentError(Exception):
    """The agent answered that it will not.

    Attributes:
        status: its error.
        index: of the object it is about, from 1; 0 for none.
    """

    def __init__(self, status: int, index: int) -> None:
        super().__init__(f"the controller answers {snmp.error_name(status)}" + (f" at object {index}" if index else ""))
        self.status = status
        self.index = index


class _Port(asyncio.DatagramProtocol):
    def __init__(self, take: Callable[[bytes], None], fail: Callable[[LinkError], None]) -> None:
        self._take = take
        self._fail = fail

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        del addr
        self._take(data)

    def error_received(self, exc: Exception) -> None:
        self._fail(ConnectError(str(exc), refused=isinstance(exc, ConnectionRefusedError)))

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(LinkError(str(exc) if exc else "the socket was closed"))


class SnmpLink:
    """One agent's socket; one question at a time.

    Args:
        host: of the agent.
        port: of the agent.
        timeout_s: for an answer, its repetition included.
        talk: the conversation.
        clock: time.
        guard: judges every write before it is encoded.
        read_only: of the site: no write leaves, whoever asks.
    """

    def __init__(
        self, host: str, port: int, timeout_s: float, talk: Talk, clock: Clock, guard: Guard, *, read_only: bool
    ) -> None:
        self._address = (host, port)
        self._timeout_s = timeout_s
        self._talk = talk
        self._clock = clock
        self._guard = guard
        self._read_only = read_only
        self._transport: asyncio.DatagramTransport | None = None
        self._waiting: asyncio.Future[snmp.Pdu] | None = None
        self._last = b""
        self.passed_over = 0
        """Datagrams that were no answer, ever."""

    async def open(self) -> None:
        """Have a socket; nothing is sent yet.

        Raises:
            ConnectError: the address cannot be used.
        """
        self.close()
        loop = asyncio.get_running_loop()
        try:
            transport, _ = await loop.create_datagram_endpoint(
                lambda: _Port(self._take, self._fail), remote_addr=self._address
            )
        except OSError as error:
            raise ConnectError(str(error), refused=False) from None
        self._transport = transport

    def close(self) -> None:
        """Drop the socket."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    async def get(self, question: Question) -> snmp.Pdu:
        """The values of objects, in the order of the question.

        Raises:
            AgentError: the agent refuses; nothing of its answer may be used.
            LinkError: no answer, or one that cannot be used.
        """
        pdu = await self._exchange(snmp.Kind.GET, question.varbinds, repeat=True)
        if pdu.error_status:
            raise AgentError(pdu.error_status, pdu.error_index)
        if not snmp.same_objects(question.oids, pdu):
            raise InvalidReplyError("the answer names other objects than were asked for")
        return pdu

    async def set(self, varbinds: Sequence[snmp.Varbind]) -> snmp.Pdu:
        """Write objects, all or none.

        Raises:
            WriteForbiddenError: nothing left this machine.
            AgentError: the agent refuses.
            LinkError: nobody knows whether it was written.
        """
        if self._read_only:
            raise WriteForbiddenError("the site is read only")
        if reason := self._guard(varbinds):
            raise WriteForbiddenError(reason)
        pdu = await self._exchange(snmp.Kind.SET, snmp.varbind_list(varbinds), repeat=False)
        if pdu.error_status:
            raise AgentError(pdu.error_status, pdu.error_index)
        if not snmp.same_objects([one.oid for one in varbinds], pdu):
            raise InvalidReplyError("the answer names other objects than were written")
        return pdu

    async def _exchange(self, kind: snmp.Kind, varbinds: bytes, *, repeat: bool) -> snmp.Pdu:
        if self._transport is None:
            raise LinkError("the socket is not open")
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[snmp.Pdu] = loop.create_future()
        self._waiting = waiting
        self._last = self._talk.ask(kind, varbinds, self._clock.mono_ns())
        self._transport.sendto(self._last)
        timers = [loop.call_later(self._timeout_s, self._fail, NoAnswerError(f"no answer in {self._timeout_s:g} s"))]
        if repeat:
            timers.append(loop.call_later(self._timeout_s * REPEAT_AFTER, self._repeat))
        try:
            return await waiting
        finally:
            self._waiting = None
            for timer in timers:
                timer.cancel()

    def _repeat(self) -> None:
        """The same bytes once more: whichever copy's answer comes first counts, the other is passed over."""
        if self._transport is not None:
            self._transport.sendto(self._last)

    def _take(self, data: bytes) -> None:
        waiting = self._waiting
        if waiting is None or waiting.done():
            self.passed_over += 1
            return
        match self._talk.hear(data, self._clock.mono_ns()):
            case Answer(pdu):
                waiting.set_result(pdu)
            case Again(again):
                self._last = again
                cast("asyncio.DatagramTransport", self._transport).sendto(again)
            case Refusal(reason):
                waiting.set_exception(InvalidReplyError(reason))
            case Nothing():
                self.passed_over += 1

    def _fail(self, error: LinkError) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)
