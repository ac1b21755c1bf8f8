"""Hands commands to the parts that own their points, without making the core wait.

Each owner has a thread of its own: a dead one holds nobody else up, and two commands of one point never overtake each
other. Of one point only the newest waits: an older one that has not been sent is answered as superseded. What has
expired, or has waited too long behind an owner that hangs, is not sent at all.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

from gwanje.core.bus import RequestRefusedError, RequestTimeoutError
from gwanje.core.clock import NS_PER_S, Clock
from gwanje.core.commands.messages import Command, Expired, owner_service, to_message
from gwanje.core.requests import TEXT_MAX, Code, Refused

FORWARD_TIMEOUT_MS = 800
"""How long an owner may take; then the outcome is ``TimedOut``. Below the second in which a part must leave."""
WAIT_S = 1.0
"""How long a command waits for its turn at an owner; then it is refused, unsent. With the time above it is known what
became of a command before the core gives it up (``operations_table.ANSWER_S``)."""


@dataclass(slots=True)
class _Line:
    """What waits for one owner: point → (command, when it came), in the order of coming."""

    waiting: dict[str, tuple[Command, int]] = field(default_factory=dict)
    wake: threading.Condition = field(default_factory=threading.Condition)
    closed: bool = False


class Forwarder:
    """See the module. :meth:`submit`, :meth:`answers` and :meth:`close` belong to the core's own thread.

    Args:
        request: asks a service; called in the owners' threads.
        clock: of the machine.
    """

    def __init__(self, request: Callable[[str, dict[str, Any], int], dict[str, Any]], clock: Clock) -> None:
        self._request = request
        self._clock = clock
        self._lines: dict[str, _Line] = {}
        self._threads: list[threading.Thread] = []
        self._answers: SimpleQueue[tuple[str, dict[str, Any] | None]] = SimpleQueue()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        """Readable when there are answers."""
        return self._wake

    def submit(self, owner: str, command: Command) -> None:
        """Ask the owner; the number of commands under way is limited by the command server."""
        line = self._lines.get(owner)
        if line is None:
            line = self._lines[owner] = _Line()
            thread = threading.Thread(target=self._serve, args=(owner, line), name=f"forward-{owner}", daemon=True)
            self._threads.append(thread)
            thread.start()
        with line.wake:
            older = line.waiting.pop(command.point, None)
            line.waiting[command.point] = command, self._clock.mono_ns()
            line.wake.notify()
        if older is not None:
            self._put(older[0], to_message(Refused(Code.SUPERSEDED, command.command_id, older[0].command_id)))

    def _serve(self, owner: str, line: _Line) -> None:
        while True:
            with line.wake:
                line.wake.wait_for(lambda: line.waiting or line.closed)
                if line.closed:
                    return
                point = next(iter(line.waiting))
                command, since_ns = line.waiting.pop(point)
            self._put(command, self._ask(owner, command, since_ns))

    def _ask(self, owner: str, command: Command, since_ns: int) -> dict[str, Any] | None:
        now = self._clock.mono_ns()
        if now >= command.expires_mono_ns:
            return to_message(Expired(command.command_id))
        if now - since_ns > WAIT_S * NS_PER_S:
            return to_message(Refused(Code.OWNER, f"{owner} does not answer", command.command_id))
        try:
            return self._request(owner_service(owner), command.to_message(), FORWARD_TIMEOUT_MS)
        except RequestTimeoutError:
            return None
        except (RequestRefusedError, ValueError) as error:
            return to_message(Refused(Code.OWNER, str(error)[:TEXT_MAX], command.command_id))

    def _put(self, command: Command, answer: dict[str, Any] | None) -> None:
        self._answers.put((command.command_id, answer))
        os.eventfd_write(self._wake, 1)

    def answers(self) -> list[tuple[str, dict[str, Any] | None]]:
        """(command id, answer or ``None`` for none in time) since the last call."""
        try:
            os.eventfd_read(self._wake)
        except BlockingIOError:
            return []
        found: list[tuple[str, dict[str, Any] | None]] = []
        while True:
            try:
                found.append(self._answers.get_nowait())
            except Empty:
                return found

    def close(self) -> None:
        """Wait for what is under way (at most :data:`FORWARD_TIMEOUT_MS`), start nothing more."""
        for line in self._lines.values():
            with line.wake:
                line.closed = True
                line.wake.notify()
        for thread in self._threads:
            thread.join()
        os.close(self._wake)
