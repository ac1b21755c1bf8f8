"""The last events, for a screen that starts late: the core's service ``events``."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from gwanje.core.messages import Event
from gwanje.core.requests import Code, refusal

EVENTS_MAX = 500
"""Events kept for a screen that starts late: several hours of a normal day."""


class EventMemory:
    """The last events, for a screen that starts late."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque(maxlen=EVENTS_MAX)

    def take(self, event: Event) -> None:
        """Remember an event."""
        self._events.append(event)

    def handle(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """The service ``events``: ``{"op": "list"}``, newest first."""
        if message.get("op") != "list":
            return refusal(Code.MALFORMED, "unknown op")
        return {"events": [asdict(one) for one in reversed(self._events)]}
