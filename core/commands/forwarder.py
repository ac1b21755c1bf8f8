"""Hands commands to the parts that own their points, without making the core wait."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Any

from gwanje.core.bus import RequestRefusedError, RequestTimeoutError
from gwanje.core.clock import Clock
from gwanje.core.commands.messages import Command, Expired, owner_service, to_message
from gwanje.core.requests import TEXT_MAX, Code, Refused

FORWARD_TIMEOUT_MS = 800
"""How long an owner may take; then the outcome is ``TimedOut``. Below the second in which a part must leave."""
FORWARD_THREADS = 4
"""Owners that are asked at once: a dead one does not hold the others up."""


class Forwarder:
    """Hands commands to the parts that own their points, without making the core wait.

    A few threads ask; the answers are picked up by the core's own thread when :meth:`fileno` is readable.
    """

    def __init__(self, request: Callable[[str, dict[str, Any], int], dict[str, Any]], clock: Clock) -> None:
        self._request = request
        self._clock = clock
        self._threads = ThreadPoolExecutor(FORWARD_THREADS, thread_name_prefix="forward")
        self._answers: SimpleQueue[tuple[str, dict[str, Any] | None]] = SimpleQueue()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        """Readable when there are answers."""
        return self._wake

    def submit(self, owner: str, command: Command) -> None:
        """Ask the owner; the number of commands under way is limited by the command server."""
        self._threads.submit(self._ask, owner, command)

    def _ask(self, owner: str, command: Command) -> None:
        answer: dict[str, Any] | None
        if self._clock.mono_ns() >= command.expires_mono_ns:
            answer = to_message(Expired(command.command_id))
        else:
            try:
                answer = self._request(owner_service(owner), command.to_message(), FORWARD_TIMEOUT_MS)
            except RequestTimeoutError:
                answer = None
            except (RequestRefusedError, ValueError) as error:
                answer = to_message(Refused(Code.OWNER, str(error)[:TEXT_MAX], command.command_id))
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
        self._threads.shutdown(wait=True, cancel_futures=True)
        os.close(self._wake)
