"""Checks passwords in a thread of its own: a tenth of a second that the core's loop must not spend.

An unknown or disabled user's password is checked like any other, against the hash of a random one: whoever asks cannot
tell by the time it takes whether there is such a user.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Protocol

from argon2.exceptions import HashingError

from gwanje.core.authority.passwords import hash_password, outdated, verify


@dataclass(frozen=True, slots=True)
class Checked:
    """One password was looked at.

    Attributes:
        job: number that :meth:`PasswordDesk.submit` was given.
        right: it belongs to the hash.
        trouble: why it could not be looked at, or an outdated hash not be renewed; empty when all is well.
    """

    job: int
    right: bool
    trouble: str = ""


class PasswordDesk(Protocol):
    """Where the core hands in passwords."""

    def submit(self, job: int, name: str, encoded: str | None, password: str) -> None:
        """Check a password against a user's hash; ``None`` for a user who may not sign in or does not exist."""

    def answers(self) -> list[Checked]:
        """What was checked since the last call."""

    def fileno(self) -> int:
        """Readable when there are answers."""

    def close(self) -> None:
        """Start nothing more."""


class Verifier:
    """One thread that checks one password after the other.

    Args:
        renew: stores a fresh hash: (name, old hash, fresh hash).
        fails: what ``renew`` may raise.
    """

    def __init__(self, renew: Callable[[str, str, str], None], fails: type[Exception]) -> None:
        self._renew = renew
        self._fails = fails
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="passwords")
        self._answers: SimpleQueue[Checked] = SimpleQueue()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._decoy = self._thread.submit(lambda: hash_password(secrets.token_urlsafe(24)))

    def fileno(self) -> int:
        """Readable when there are answers."""
        return self._wake

    def submit(self, job: int, name: str, encoded: str | None, password: str) -> None:
        """See :class:`PasswordDesk`."""
        self._thread.submit(self._check, job, name, encoded, password)

    def _check(self, job: int, name: str, encoded: str | None, password: str) -> None:
        right, trouble = False, ""
        try:
            right = verify(self._decoy.result() if encoded is None else encoded, password) and encoded is not None
            if right and encoded is not None and outdated(encoded):
                self._renew(name, encoded, hash_password(password))
        except (HashingError, self._fails) as error:  # no memory for the hash, or a file that cannot be written
            trouble = str(error)
        finally:
            self._answers.put(Checked(job, right, trouble))  # whoever asked gets an answer in any case
            os.eventfd_write(self._wake, 1)

    def answers(self) -> list[Checked]:
        """See :class:`PasswordDesk`."""
        try:
            os.eventfd_read(self._wake)
        except BlockingIOError:
            return []
        found: list[Checked] = []
        while True:
            try:
                found.append(self._answers.get_nowait())
            except Empty:
                return found

    def close(self) -> None:
        """Wait for the password under way, start nothing more."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        os.close(self._wake)
