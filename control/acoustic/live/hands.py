"""Cameras and lamps are commanded in threads of their own, by the command path, as every program's commands.

A command waits for its device; whoever listens to the city must not wait with it. What people hold, what a danger tag
bars and what the gate keeps shut is refused by the core, told once and not tried again.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, assert_never

from gwanje.core.clock import Clock
from gwanje.core.commands.messages import Accepted, Confirmed, Expired, Outcome, TimedOut
from gwanje.core.requests import Refused

JOBS_MAX: Final = 64
"""More orders than that wait only when devices hang; the oldest would come too late anyway."""
EXPIRES_S: Final = 5.0
POLL_S: Final = 0.2


class Writer(Protocol):
    """What is needed of :class:`gwanje.core.commands.client.CommandClient`."""

    def write(self, point: str, value: float, reason: str, expires_s: float = EXPIRES_S) -> Outcome:
        """One point shall take one value."""


@dataclass(frozen=True, slots=True)
class Job:
    """Points that shall take a value because of an incident.

    Attributes:
        what: ``camera`` or ``lamps``.
        name: of the camera; of lamps empty.
        incident: its number.
        points: tags to command, in this order.
        value: for all of them.
        reason: for the journal.
        asked_ns: when the incident was told, CLOCK_MONOTONIC.
        off: of a camera, by how much its preset looks beside the sound, radians.
    """

    what: str
    name: str
    incident: int
    points: tuple[str, ...]
    value: float
    reason: str
    asked_ns: int
    off: float = 0.0


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a job.

    Attributes:
        job: which.
        n_taken: points that took it.
        why_ko: the first reason against it; empty when there is none.
        why_en: the same in English.
        begun_ns: when the first command left.
        done_ns: when the last answer came.
    """

    job: Job
    n_taken: int
    why_ko: str
    why_en: str
    begun_ns: int
    done_ns: int


def carry_out(job: Job, writer: Writer, clock: Clock) -> Done:
    """Command all points of a job."""
    begun_ns, taken, why = clock.mono_ns(), 0, ("", "")
    for point in job.points:
        outcome = writer.write(point, job.value, job.reason, EXPIRES_S)
        match outcome:
            case Accepted() | Confirmed():
                taken += 1
                continue
            case Refused():
                said = outcome.text_ko, outcome.text_en
            case Expired():
                said = "명령 시간 지남", "the command expired"
            case TimedOut():
                said = "응답 없음", "no answer"
            case _:
                assert_never(outcome)
        why = said if not why[1] else why
    return Done(job, taken, *why, begun_ns, clock.mono_ns())


class Hand:
    """One thread with its queue.

    Args:
        name: of the thread.
        writer: makes the client, in the thread that uses it.
        clock: of the machine.
        done: takes what became of the jobs; shared by all hands, read by the part's own thread.
    """

    def __init__(self, name: str, writer: Callable[[], Writer], clock: Clock, done: deque[Done]) -> None:
        self._writer, self._clock, self._done = writer, clock, done
        self._jobs: queue.Queue[Job] = queue.Queue(JOBS_MAX)
        self._ends = threading.Event()
        self.failure: Exception | None = None
        """What ended the thread; the part raises it."""
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def give(self, job: Job) -> bool:
        """Have a job done; False when too many wait."""
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            self.dropped += 1
            return False
        return True

    def _run(self) -> None:
        try:
            writer = self._writer()
            while not self._ends.is_set():
                try:
                    job = self._jobs.get(timeout=POLL_S)
                except queue.Empty:
                    continue
                self._done.append(carry_out(job, writer, self._clock))
        except Exception as error:  # noqa: BLE001 - the part raises it and is started anew
            self.failure = error

    def close(self, wait_s: float) -> None:
        """End; a command under way is waited for."""
        self._ends.set()
        self._thread.join(wait_s)
