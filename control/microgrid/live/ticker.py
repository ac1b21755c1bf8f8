"""Steps the live loop on absolute deadlines, and counts how late it comes and what it loses."""

from __future__ import annotations

import math

from gwanje.control.microgrid.live.lateness import Lateness
from gwanje.control.microgrid.live.loop import LiveLoop
from gwanje.core.clock import Clock


class Ticker:
    """Steps a loop on absolute deadlines and counts how that goes.

    Args:
        clock: of the machine.
        loop: to step.
        period_s: of it.

    Attributes:
        lateness: since the start.
        minute: since the shell last took it.
        step_max_us: longest period of work.
        step_us: of all of them together.
    """

    def __init__(self, clock: Clock, loop: LiveLoop, period_s: float) -> None:
        self._clock, self._loop = clock, loop
        self.period_ns = round(period_s * 1e9)
        self.lateness, self.minute = Lateness(), Lateness()
        self.step_max_us = self.step_us = 0.0
        self._deadline = clock.mono_ns() + self.period_ns

    def run(self, periods: int) -> bool:
        """Step so many times."""
        clock = self._clock
        for _ in range(periods):
            clock.wait_until_mono_ns(self._deadline)
            begin = clock.mono_ns()
            late = begin - self._deadline
            skipped = self.lateness.add(late, self.period_ns)
            self.minute.add(late, self.period_ns)
            self._loop.step(begin, clock.utc_ns(), (1 + skipped) * self.period_ns * 1e-9)
            took_us = (clock.mono_ns() - begin) * 1e-3
            self.step_us += took_us
            self.step_max_us = max(self.step_max_us, took_us)
            self._deadline += (1 + skipped) * self.period_ns
        return True

    def figures(self, minute_us: float, fifo: bool) -> dict[str, float]:
        """By tag."""
        late = self.lateness
        return {
            "microgrid.loop.ticks": float(late.ticks),
            "microgrid.loop.ticks_lost": float(late.lost),
            "microgrid.loop.late_p50_us": late.quantile_us(0.5),
            "microgrid.loop.late_p99_us": late.quantile_us(0.99),
            "microgrid.loop.late_p999_us": late.quantile_us(0.999),
            "microgrid.loop.late_max_us": late.max_us,
            "microgrid.loop.late_minute_us": minute_us,
            "microgrid.loop.step_max_us": self.step_max_us,
            "microgrid.loop.step_mean_us": self.step_us / late.ticks if late.ticks else math.nan,
            "microgrid.loop.fifo": float(fifo),
        }
