"""A charge point's line: owns its socket, carries our calls one at a time, and is the gate below which nothing passes.

On a site that is read only no call that changes a charger leaves, whoever asks. Two calls in a row without an answer
end the line: the charger will come back, and then we know that somebody is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from gwanje.core.clock import Clock
from gwanje.io.field.ocpp.facts import Ask
from gwanje.io.field.ocpp.frames import Payload
from gwanje.io.field.ocpp.rpc import CallFailedError, Conversation

CALLS_MAX = 16
"""Calls that wait for a charger: what a start needs is below ten; beyond it nobody would wait for the answer."""
UNANSWERED_MAX = 2
"""Calls in a row without an answer: one may be lost in a restart, two mean nobody is there."""
READS = frozenset({"GetCompositeSchedule", "TriggerMessage", "GetConfiguration", "GetVariables", "GetBaseReport"})
"""Calls that change nothing in a charger."""


class LineError(CallFailedError):
    """No answer: the line is gone, or the charger is silent. What was asked may have been done."""


class ReadOnlyError(CallFailedError):
    """The site is read only: nothing was sent."""


class ExpiredError(CallFailedError):
    """The command's time was over before the call left: nothing was sent."""


class Socket(Protocol):
    """What a line needs of a connection."""

    async def send(self, text: str) -> None:
        """Send a text; waits while the other side does not read."""

    def abort(self) -> None:
        """Drop the connection at once."""


class Line:
    """See the module.

    Args:
        socket: of the charger.
        conversation: of the charger.
        timeout_s: for each answer, the sending included.
        clock: time.
        read_only: the site's own gate.
    """

    def __init__(
        self, socket: Socket, conversation: Conversation, timeout_s: float, clock: Clock, *, read_only: bool
    ) -> None:
        self.conversation = conversation
        self._socket = socket
        self._timeout_s = timeout_s
        self._clock = clock
        self._read_only = read_only
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._unanswered = 0
        self._closed = False
        self._now: asyncio.Future[Payload] | None = None
        self.round_trip_ns = 0

    @property
    def idle(self) -> bool:
        """Whether no call is under way."""
        return not self._waiting

    async def call(self, ask: Ask, expires_mono_ns: int = 0, left: Callable[[], None] | None = None) -> Payload:
        """Ask the charger for something.

        Args:
            ask: what.
            expires_mono_ns: it does not leave from then on; 0 for never.
            left: told when it leaves.

        Raises:
            ReadOnlyError: the site is read only.
            ExpiredError: too late.
            LineError: no answer.
            CallFailedError: the charger answered with an error, or with what is no answer.
        """
        if self._read_only and ask.action not in READS:
            raise ReadOnlyError(f"the site is read only: {ask.action} is not sent")
        if self._waiting >= CALLS_MAX:
            raise CallFailedError(f"{CALLS_MAX} calls wait for the charger already")
        self._waiting += 1
        try:
            async with self._turn:
                return await self._exchange(ask, expires_mono_ns, left)
        finally:
            self._waiting -= 1

    async def _exchange(self, ask: Ask, expires_mono_ns: int, left: Callable[[], None] | None) -> Payload:
        if self._closed:
            raise LineError("the line is gone")
        if expires_mono_ns and self._clock.mono_ns() >= expires_mono_ns:
            raise ExpiredError("its time was over")
        answer: asyncio.Future[Payload] = asyncio.get_running_loop().create_future()
        self._now = answer

        def settle(result: Payload | CallFailedError) -> None:
            if answer.done():
                return
            if isinstance(result, CallFailedError):
                answer.set_exception(result)
            else:
                answer.set_result(result)

        unique_id, text = self.conversation.ask(ask.action, ask.payload, settle)
        began = self._clock.mono_ns()
        try:
            async with asyncio.timeout(self._timeout_s):
                if left is not None:
                    left()
                await self._socket.send(text)
                result = await answer
        except TimeoutError:
            self._unanswered += 1
            if self._unanswered >= UNANSWERED_MAX:
                self.drop()
            raise LineError(f"no answer to {ask.action}") from None
        except CallFailedError:
            self._unanswered = 0
            raise
        finally:
            self.conversation.give_up(unique_id)
            self._now = None
            answer.cancel()
        self._unanswered = 0
        self.round_trip_ns = self._clock.mono_ns() - began
        return result

    def drop(self) -> None:
        """End the line; who waits for an answer hears of it."""
        self.closed()
        self._socket.abort()

    def closed(self) -> None:
        """The line is gone."""
        self._closed = True
        if self._now is not None and not self._now.done():
            self._now.set_exception(LineError("the line broke"))
