"""The only place that reads clocks: UTC for what happened, monotonic for deadlines and age.

Parts get a :class:`Clock` passed in; tests pass a :class:`VirtualClock` and move time themselves.
"""

from __future__ import annotations

import os
import select
import time
from datetime import UTC, datetime
from typing import Protocol

NS_PER_S = 1_000_000_000


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
            elif select.select([interrupt_fd], [], [], left_ns * 1e-9)[0]:
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
        if interrupt_fd is not None and select.select([interrupt_fd], [], [], 0)[0]:
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
