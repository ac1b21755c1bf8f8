"""All that a part published so far, however busy the machine: its subscription is awaited, and its end is marked."""

from gwanje.core.bus.bus import Bus, Message, Publisher, Subscriber
from gwanje.core.bus.messages import Event
from gwanje.core.clock import SystemClock

PATIENCE_NS = 60_000_000_000
PAUSE_NS = 1_000_000
MARK = "hearing_mark"
CLOCK = SystemClock()


class Ear:
    """Hears one publisher of this process from its first message on.

    Args:
        bus: of another part.
        publisher: what is heard; call from the thread that publishes.
        topics: prefixes; "event" must be among them, for the mark.
    """

    def __init__(self, bus: Bus, publisher: Publisher, topics: list[str]) -> None:
        assert "event" in topics
        self._publisher = publisher
        self._subscriber: Subscriber = bus.subscriber(topics, [publisher.part], high_water=100_000)
        wanted, deadline = set(topics), CLOCK.mono_ns() + PATIENCE_NS
        while wanted:
            wanted -= publisher.wished_anew()
            assert CLOCK.mono_ns() < deadline, f"{sorted(wanted)} never reached {publisher.part}"
            CLOCK.wait_until_mono_ns(CLOCK.mono_ns() + PAUSE_NS)

    def all(self) -> list[Message]:
        """What came since the last call."""
        self._publisher.event(Event("system", "test", MARK, 0, 0, "", ""))
        found: list[Message] = []
        deadline = CLOCK.mono_ns() + PATIENCE_NS
        while True:
            while (message := self._subscriber.receive()) is not None:
                if isinstance(message, Event) and message.class_name == MARK:
                    return found
                found.append(message)
            assert CLOCK.mono_ns() < deadline, "the mark never arrived"
            self._subscriber.poll(100)

    def close(self) -> None:
        self._subscriber.close()
