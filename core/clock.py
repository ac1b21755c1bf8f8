"""The only place that reads clocks: UTC for what happened, monotonic for deadlines and age.

Parts get a :class:`Clock` passed in; tests pass a :class:`VirtualClock` and move time themselves.
"""

from __future__ import annotations

import ctypes
import os
import select
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar, Protocol

NS_PER_S = 1_000_000_000
READ_TRIES = 5
"""Readings of both clocks, of which the closest counts: the processor may be taken away between the two."""


@dataclass(frozen=True, slots=True)
class ClockReading:
    """Both clocks at one moment.

    Attributes:
        utc_ns: of the wall clock.
        mono_ns: of the monotonic clock.
        within_ns: how far apart the two may have been read.
    """

    utc_ns: int
    mono_ns: int
    within_ns: int


@dataclass(frozen=True, slots=True)
class Synchronisation:
    """What the kernel knows of its wall clock (adjtimex(2)).

    Attributes:
        synchronised: somebody (NTP, PTP) disciplines it.
        error_s: by how much it may be wrong, as the one who disciplines it says.
    """

    synchronised: bool
    error_s: float


def readable(descriptor: int, timeout_s: float) -> bool:
    """Whether a descriptor becomes readable within a time; also one beyond 1023, which ``select`` cannot take."""
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    return bool(waiting.poll(timeout_s * 1000.0))


class Clock(Protocol):
    """What a part may ask about time."""

    def utc_ns(self) -> int:
        """Nanoseconds since 1970 UTC; may step."""

    def mono_ns(self) -> int:
        """Nanoseconds of CLOCK_MONOTONIC; the same for all processes of the machine, never steps."""

    def wait_until_mono_ns(self, deadline_mono_ns: int, interrupt_fd: int | None = None) -> bool:
        """Wait for a deadline.

        Returns:
            True when the deadline was reached, False when ``interrupt_fd`` became readable first.
        """


class SystemClock:
    """The clocks of the machine."""

    def utc_ns(self) -> int:
        """See :class:`Clock`."""
        return time.time_ns()

    def mono_ns(self) -> int:
        """See :class:`Clock`."""
        return time.monotonic_ns()

    def wait_until_mono_ns(self, deadline_mono_ns: int, interrupt_fd: int | None = None) -> bool:
        """See :class:`Clock`."""
        while (left_ns := deadline_mono_ns - time.monotonic_ns()) > 0:
            if interrupt_fd is None:
                time.sleep(left_ns * 1e-9)
            elif readable(interrupt_fd, left_ns * 1e-9):
                return False
        return True


class VirtualClock:
    """A clock that moves only when told to; for tests and simulation."""

    def __init__(self, utc_ns: int = 1_767_225_600 * NS_PER_S, mono_ns: int = NS_PER_S) -> None:
        self._utc_ns = utc_ns
        self._mono_ns = mono_ns

    def utc_ns(self) -> int:
        """See :class:`Clock`."""
        return self._utc_ns

    def mono_ns(self) -> int:
        """See :class:`Clock`."""
        return self._mono_ns

    def wait_until_mono_ns(self, deadline_mono_ns: int, interrupt_fd: int | None = None) -> bool:
        """Jump to the deadline at once, unless the descriptor is readable already."""
        if interrupt_fd is not None and readable(interrupt_fd, 0.0):
            return False
        if deadline_mono_ns > self._mono_ns:
            self.advance_ns(deadline_mono_ns - self._mono_ns)
        return True

    def advance_ns(self, step_ns: int) -> None:
        """Let both clocks run on by ``step_ns`` (not negative)."""
        assert step_ns >= 0, "time does not run backwards"
        self._utc_ns += step_ns
        self._mono_ns += step_ns

    def step_utc_ns(self, step_ns: int) -> None:
        """Step the wall clock alone, as an NTP correction would; may be negative."""
        self._utc_ns += step_ns


def read_both(clock: Clock) -> ClockReading:
    """Both clocks as close together as this machine allows."""
    best = None
    for _ in range(READ_TRIES):
        before, utc_ns, after = clock.mono_ns(), clock.utc_ns(), clock.mono_ns()
        if best is None or after - before < best.within_ns:
            best = ClockReading(utc_ns, before + (after - before) // 2, after - before)
        if best.within_ns < 100_000:
            break
    assert best is not None
    return best


class _Timex(ctypes.Structure):
    """``struct timex`` of Linux on machines of 64 bits."""

    _fields_: ClassVar = [
        ("modes", ctypes.c_uint), ("offset", ctypes.c_long), ("freq", ctypes.c_long), ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long), ("status", ctypes.c_int), ("constant", ctypes.c_long),
        ("precision", ctypes.c_long), ("tolerance", ctypes.c_long), ("time_s", ctypes.c_long),
        ("time_us", ctypes.c_long), ("tick", ctypes.c_long), ("ppsfreq", ctypes.c_long), ("jitter", ctypes.c_long),
        ("shift", ctypes.c_int), ("stabil", ctypes.c_long), ("jitcnt", ctypes.c_long), ("calcnt", ctypes.c_long),
        ("errcnt", ctypes.c_long), ("stbcnt", ctypes.c_long), ("tai", ctypes.c_int), ("reserved", ctypes.c_int * 11),
    ]  # fmt: skip


_STA_UNSYNC = 0x0040
_TIME_ERROR = 5


def synchronisation() -> Synchronisation | None:
    """What the kernel says of its clock; None where it does not answer (another system, a sandbox)."""
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return None
    look = _Timex()  # modes 0: only ask
    state = adjtimex(ctypes.byref(look))
    if state < 0:
        return None
    return Synchronisation(state != _TIME_ERROR and not look.status & _STA_UNSYNC, max(0, look.esterror) * 1e-6)


def utc_text(utc_ns: int) -> str:
    """ISO 8601 with milliseconds and ``Z``."""
    whole, fraction = divmod(utc_ns, NS_PER_S)
    moment = datetime.fromtimestamp(whole, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{fraction // 1_000_000:03d}Z"


def boot_id() -> str:
    """Identity of this boot: monotonic times of another boot mean nothing."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return f"unknown-{os.uname().nodename}"
