"""Hands commands to the parts that own their points, without making the core wait.

Each owner has a line of its own and is asked one thing at a time: a dead one holds nobody else up, and two commands of
one point never overtake each other. Of one point only the newest waits: an older one that has not been sent is answered
as superseded. What has expired, or has waited too long behind an owner that hangs, is not sent at all.

It runs in the core's own loop: a thread between the core and an owner would cost a command more than the way itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from gwanje.core.bus.bus import RequestRefusedError, TransportError
from gwanje.core.clock import NS_PER_S, Clock
from gwanje.core.commands.messages import FORWARD_TIMEOUT_NS, Command, Expired, owner_service, to_message
from gwanje.core.commands.owner import seal
from gwanje.core.requests import TEXT_MAX, Code, Refused

WAIT_S = 1.0
"""How long a command waits for its turn at an owner; then it is refused, unsent. With the time above it is known what
became of a command before the core gives it up (``operations_table.ANSWER_S``)."""


class Asks(Protocol):
    """What is needed of a connection to an owner; see :class:`gwanje.core.bus.bus.Asker`."""

    def ask(self, message: Mapping[str, Any]) -> None:
        """Send; raises RequestRefusedError when it cannot be sent at all."""

    def answer(self) -> dict[str, Any] | None:
        """The answer when it is there; raises RequestRefusedError for an error."""

    def give_up(self) -> None:
        """The answer is not waited for any more, and what was asked is taken back where it has not left."""

    def close(self) -> None:
        """Let go of the connection."""


@dataclass(slots=True)
class _Line:
    """One owner: what it was asked, until when it may answer, and what waits for it, in the order of coming."""

    asker: Asks | None = None
    asked: Command | None = None
    until_mono_ns: int = 0
    waiting: dict[str, tuple[Command, int]] = field(default_factory=dict)


_FAILURES = (RequestRefusedError, TransportError, OSError, ValueError)
"""What a connection may raise: no descriptors left, a socket that is gone. The command is refused, the core goes on."""


class Forwarder:
    """See the module. Use it from one thread, and call :meth:`answers` whenever a connection is readable.

    Args:
        asker: opens a connection to a service.
        clock: of the machine.
        secret: of the run, with which commands are sealed; without one no owner takes any.
        shut: whether the gate is closed: what waits then does not leave any more.
    """

    def __init__(self, asker: Callable[[str], Asks], clock: Clock, secret: bytes, shut: Callable[[], bool]) -> None:
        self._asker = asker
        self._clock = clock
        self._secret = secret
        self._shut = shut
        self._sent_mono_ns = 0
        self._lines: dict[str, _Line] = {}
        self._answered: list[tuple[str, dict[str, Any] | None]] = []

    def submit(self, owner: str, command: Command) -> None:
        """Ask the owner, now or when its turn comes; the number under way is limited by the command server."""
        line = self._lines.setdefault(owner, _Line())
        older = line.waiting.pop(command.point, None)
        line.waiting[command.point] = command, self._clock.mono_ns()
        if older is not None:
            self._refused(older[0], Code.SUPERSEDED, command.command_id)
        self._next(owner, line)

    def _next(self, owner: str, line: _Line) -> None:
        """Ask the next thing that is still wanted."""
        while line.asked is None and line.waiting:
            command, since_ns = line.waiting.pop(next(iter(line.waiting)))
            now = self._clock.mono_ns()
            if now >= command.expires_mono_ns:
                self._answered.append((command.command_id, to_message(Expired(command.command_id))))
            elif now - since_ns > WAIT_S * NS_PER_S:
                self._refused(command, Code.OWNER, f"{owner} does not answer")
            elif self._shut():
                self._refused(command, Code.READ_ONLY, "")
            else:
                self._ask(owner, line, command, now)

    def _ask(self, owner: str, line: _Line, command: Command, now_mono_ns: int) -> None:
        self._sent_mono_ns = max(now_mono_ns, self._sent_mono_ns + 1)  # owners take things in order
        try:
            if line.asker is None:
                line.asker = self._asker(owner_service(owner))
            line.asker.ask(seal(self._secret, owner, command, self._sent_mono_ns))
        except _FAILURES as error:
            self._refused(command, Code.OWNER, str(error))
            self._renew(line, error)
            return
        line.asked, line.until_mono_ns = command, now_mono_ns + FORWARD_TIMEOUT_NS

    def _refused(self, command: Command, code: Code, why: str) -> None:
        refused = Refused(code, why[:TEXT_MAX], command.command_id)
        self._answered.append((command.command_id, to_message(refused)))

    def _renew(self, line: _Line, error: Exception) -> None:
        """A connection that failed is of no more use; the next command opens another."""
        if isinstance(error, RequestRefusedError) or line.asker is None:
            return
        with contextlib.suppress(*_FAILURES, KeyError):
            line.asker.close()
        line.asker = None

    def answers(self) -> list[tuple[str, dict[str, Any] | None]]:
        """(command id, answer or ``None`` for none in time) since the last call."""
        for owner, line in self._lines.items():
            if line.asked is not None:
                self._look(line, line.asked)
                self._next(owner, line)
        found, self._answered = self._answered, []
        return found

    def _look(self, line: _Line, command: Command) -> None:
        """Take the answer to what was sent; where none can be had any more, nobody knows what became of it."""
        assert line.asker is not None, "what was asked was asked through a connection"
        try:
            answer = line.asker.answer()
            if answer is not None:
                self._answered.append((command.command_id, answer))
            elif self._clock.mono_ns() < line.until_mono_ns:
                return
            else:
                self._answered.append((command.command_id, None))
                line.asker.give_up()
        except RequestRefusedError as error:
            self._refused(command, Code.OWNER, str(error))
        except _FAILURES as error:
            if not self._answered or self._answered[-1][0] != command.command_id:
                self._answered.append((command.command_id, None))
            self._renew(line, error)
        line.asked = None

    def close(self) -> None:
        """Let go of the connections; what is under way is found as timed out by the next core."""
        for line in self._lines.values():
            if line.asker is not None:
                line.asker.close()
