"""Events of a simulated camera as they stand in a pull: topics, states, and subscriptions that hold them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime

EVENTS_MAX = 64
"""That wait in one subscription; the oldest is lost."""
TOPICS = {
    "motion": ("tns1:RuleEngine/CellMotionDetector/Motion", "IsMotion"),
    "tamper": ("tns1:RuleEngine/TamperDetector/Tamper", "IsTamper"),
    "digital_input": ("tns1:Device/Trigger/DigitalInput", "LogicalState"),
}


@dataclass(slots=True)
class Subscription:
    """A pull point: events that wait, and until when it lives (camera's clock, UTC ns)."""

    until_ns: int
    waiting: deque[str] = field(default_factory=lambda: deque(maxlen=EVENTS_MAX))


def stamp(utc_ns: int) -> str:
    """A time as XML has it."""
    return datetime.fromtimestamp(utc_ns / 1e9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def notification(name: str, state: bool, utc_ns: int, operation: str) -> str:
    """A message of a pull."""
    topic, item = TOPICS[name]
    return (
        '<wsnt:NotificationMessage><wsnt:Topic Dialect="http://www.onvif.org/ver10/tev/topicExpression/ConcreteSet">'
        f'{topic}</wsnt:Topic><wsnt:Message><tt:Message UtcTime="{stamp(utc_ns)}" PropertyOperation="{operation}">'
        '<tt:Source><tt:SimpleItem Name="VideoSourceConfigurationToken" Value="V1"/></tt:Source>'
        f'<tt:Data><tt:SimpleItem Name="{item}" Value="{str(state).lower()}"/></tt:Data></tt:Message></wsnt:Message>'
        "</wsnt:NotificationMessage>"
    )
