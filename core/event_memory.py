"""The last events, for a screen that starts late: the core's service ``events``."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from gwanje.core.bus.messages import Event
from gwanje.core.bus.rate import RateLimit
from gwanje.core.clock import Clock
from gwanje.core.requests import Code, refusal

EVENTS_MAX = 500
"""Events kept for a screen that starts late: several hours of a normal day."""
LISTS_PER_S, LIST_BURST = 10.0, 20
"""Of all askers together: a list takes the core a few milliseconds; twenty consoles may start at once."""


class EventMemory:
    """The last events, for a screen that starts late."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._events: deque[dict[str, Any]] = deque(maxlen=EVENTS_MAX)
        self._rate = RateLimit(LISTS_PER_S, LIST_BURST)

    def take(self, event: Event) -> None:
        """Remember an event, as it is told: that is made once, not for every screen."""
        self._events.append(asdict(event))

    def handle(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """The service ``events``: ``{"op": "list"}``, newest first."""
        if message.get("op") != "list":
            return refusal(Code.MALFORMED, "unknown op")
        if not self._rate.take("events", self._clock.mono_ns()):
            return refusal(Code.BUSY, "too many lists of events are asked for")
        return {"events": list(reversed(self._events))}
