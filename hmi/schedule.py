"""Which views are due in which frame. Pure: told the time, it says what to do; tests move time themselves."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

FRAME_NS = 33_333_333
"""30 Hz: a changed tag waits one frame at most, a third of the 100 ms that people notice."""

EVERY = {"fast": 1, "values": 3, "table": 6, "trend": 15, "axes": 30}
"""Class → every how many frames: spectrogram 30 Hz, values 10, tables 5, trends 2, axes 1."""
PHASE = {"fast": 0, "values": 0, "table": 1, "trend": 2, "axes": 5}
"""Frame within the period: spread, so that no frame carries all classes at once."""

LATE_WINDOW = 300
"""Frames over which lateness is judged: 10 s."""
DEGRADE_LATE_NS = 50_000_000
"""Above this p99 the screen asks too much of the machine: every class runs at half its rate."""
RECOVER_LATE_NS = 20_000_000
"""Below this p99 over a whole window the full rates come back."""


@dataclass(slots=True)
class Schedule:
    """Frames on absolute deadlines, with their lateness.

    Attributes:
        frame: running number of the frame.
        skipped: frames that could not be held at all.
        degraded: whether every class runs at half its rate.
    """

    frame: int = -1
    skipped: int = 0
    degraded: bool = False
    _start_mono_ns: int = 0
    _turn: int = -1
    _late_ns: list[int] = field(default_factory=list)

    def tick(self, now_mono_ns: int) -> tuple[str, ...]:
        """Classes due now; none when this frame was served already.

        Args:
            now_mono_ns: when the timer fired.
        """
        if self.frame < 0:
            self._start_mono_ns = now_mono_ns
        frame = (now_mono_ns - self._start_mono_ns + FRAME_NS // 4) // FRAME_NS
        if frame <= self.frame:
            return ()
        missed = frame - self.frame - 1
        self.skipped += missed
        # What a late frame is late by counts from the first frame that nobody served.
        self._note(max(0, now_mono_ns - self.due_mono_ns()))
        self.frame = frame
        # Classes are counted in served frames: a machine that holds only 20 of 30 still serves every class in turn.
        self._turn += 1
        stretch = 2 if self.degraded else 1
        return tuple(
            name for name, every in EVERY.items() if self._turn % (every * stretch) == PHASE[name] % (every * stretch)
        )

    def due_mono_ns(self) -> int:
        """When the next frame is due."""
        return self._start_mono_ns + (self.frame + 1) * FRAME_NS

    def _note(self, late_ns: int) -> None:
        self._late_ns.append(late_ns)
        if len(self._late_ns) < LATE_WINDOW:
            return
        p99 = self.late_ns(99)
        if not self.degraded and p99 > DEGRADE_LATE_NS:
            self.degraded = True
        elif self.degraded and p99 < RECOVER_LATE_NS:
            self.degraded = False
        self._late_ns.clear()

    def late_ns(self, percentile: float) -> int:
        """Percentile of the lateness in the running window; 0 before the first frame."""
        return int(np.percentile(self._late_ns, percentile)) if self._late_ns else 0
