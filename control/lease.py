"""Keeps the lease of the loop's set-points: asks, renews, gives up; in a thread of its own.

A request waits for the core's answer, up to two seconds when the core is just being restarted; the shell that publishes
every 100 ms must not wait with it. The loop does not look here: it reads the lease's tag, as the drivers do.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gwanje.core.clock import readable
from gwanje.core.commands.messages import Granted, Released, TimedOut
from gwanje.core.requests import Code, Refused

TTL_S = 5.0
"""What a controller that died leaves behind ends after this at the latest."""
RENEW_S = 1.0
"""A fifth of the life: four renewals may fail in a row."""


class LeaseClient(Protocol):
    """The part of :class:`gwanje.core.commands.client.CommandClient` that is used here."""

    def lease(self, name: str, points: Sequence[str], ttl_s: float, reason: str) -> Granted | Refused | TimedOut:
        """Ask for the lease."""

    def renew(self, name: str) -> Granted | Refused | TimedOut:
        """Prolong it."""

    def release(self, name: str) -> Released | Refused | TimedOut:
        """Give it up."""


@dataclass(frozen=True, slots=True)
class LeaseView:
    """What the shell may know of the lease.

    Attributes:
        points: it covers; none when it is not held.
        reason_ko: why it is not held.
        reason_en: the same in English.
        elsewhere: somebody else holds it, or some of its points: what its tag says is not meant for us.
    """

    points: tuple[str, ...] = ()
    reason_ko: str = ""
    reason_en: str = ""
    elsewhere: bool = False


class LeaseKeeper:
    """One lease.

    Args:
        client: of the command path.
        name: of the lease.
        points: tags to cover.
        reason: for the journal.
    """

    def __init__(self, client: LeaseClient, name: str, points: Sequence[str], reason: str) -> None:
        self._client = client
        self._name = name
        self._points = tuple(points)
        self._reason = reason
        self._held = False
        self.view = LeaseView()
        self.failure: Exception | None = None
        """What ended the thread that steps it; without one the lease runs out."""

    def step(self, wanted: bool) -> LeaseView:
        """Ask, renew or release once; the view after it."""
        if not wanted:
            if self._held:
                self._client.release(self._name)
            self._held = False
            self.view = LeaseView((), "수전 계측 없음", "the import is not measured")
            return self.view
        if self._held:
            answer = self._client.renew(self._name)
        else:
            answer = self._client.lease(self._name, self._points, TTL_S, self._reason)
        match answer:
            case Granted(points=points):
                self._held = True
                self.view = LeaseView(points)
            case Refused():
                self._held = False
                self.view = LeaseView((), answer.text_ko, answer.text_en, answer.code is Code.LEASED)
            case TimedOut():
                # The lease may live on: keep asking for its renewal until the core says what became of it.
                self.view = LeaseView(self.view.points, "명령 서비스 응답 없음", "the command service does not answer")
        return self.view

    def bits(self) -> int:
        """Bit k: the lease covers point k.

        While none is held every bit is set, because the lease's tag decides then (a restarted part finds its own lease
        still valid); none is set while somebody else has it.
        """
        if self.view.elsewhere:
            return 0
        covered = self.view.points or self._points
        return sum(1 << number for number, point in enumerate(self._points) if point in covered)


class LeaseThread:
    """Steps a keeper once a second until it is closed; ``wanted`` is asked each time."""

    def __init__(self, keeper: LeaseKeeper, wanted: Callable[[], bool]) -> None:
        self._keeper = keeper
        self._wanted = wanted
        self._wake_read, self._wake_write = os.pipe()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def _run(self) -> None:
        try:
            while not readable(self._wake_read, RENEW_S if self._keeper.view.points else RENEW_S / 4):
                self._keeper.step(self._wanted())
        except Exception as error:  # noqa: BLE001 - the shell raises it: a part that cannot renew is started anew
            self._keeper.failure = error

    def close(self, wait_s: float) -> None:
        """End; a request that is under way is waited for ``wait_s``. The lease runs out by itself."""
        os.write(self._wake_write, b"x")
        self._thread.join(wait_s)
