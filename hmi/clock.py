"""The one timer of the screen: 30 frames a second, and every view in its class. No view owns a timer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from PySide6.QtCore import QObject, Qt, QTimer

from gwanje.core.clock import Clock
from gwanje.hmi.schedule import EVERY, Schedule


def _always() -> bool:
    return True


@dataclass(frozen=True, slots=True)
class _Client:
    rate: str
    call: Callable[[int], None]
    visible: Callable[[], bool]


class FrameClock(QObject):
    """Calls views at the rate of their class, and only while they can be seen.

    Args:
        clock: the machine's clocks, or a virtual one.
    """

    def __init__(self, clock: Clock, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._clock = clock
        self._clients: list[_Client] = []
        self.schedule = Schedule()
        self._running = False
        self._timer = QTimer(self)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._fire)

    def add(self, rate: str, call: Callable[[int], None], visible: Callable[[], bool] = _always) -> None:
        """Call ``call(now_mono_ns)`` at the rate of a class of :data:`gwanje.hmi.schedule.EVERY`."""
        if rate not in EVERY:
            raise ValueError(f"rate {rate!r} is none of {', '.join(EVERY)}")
        self._clients.append(_Client(rate, call, visible))

    def start(self) -> None:
        """Begin at once."""
        self._running = True
        self._fire()

    def stop(self) -> None:
        """No further frames."""
        self._running = False
        self._timer.stop()

    def _fire(self) -> None:
        """Serve a frame, then wait for the next one: on absolute deadlines, so that lateness does not add up."""
        self.tick()
        if self._running:
            left_ns = self.schedule.due_mono_ns() - self._clock.mono_ns()
            self._timer.start(max(1, -(-left_ns // 1_000_000)))

    def tick(self) -> None:
        """Serve the frame of this moment."""
        now_mono_ns = self._clock.mono_ns()
        due = self.schedule.tick(now_mono_ns)
        for client in self._clients:
            if client.rate in due and client.visible():
                client.call(now_mono_ns)
