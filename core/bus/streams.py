"""What a subscriber knows of each stream it hears: the next sequence, gaps, restarts, replays and latencies.

A stream is one topic of one part. A publisher that starts again is a new incarnation and begins at zero; within an
incarnation numbers only grow, and one that is over never comes back. Whatever goes backwards is refused: an old GOOD
must not stand on a screen again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from gwanje.core.bus.latency import LatencyHistogram
from gwanje.core.bus.msgpack_map import FrameError
from gwanje.core.bus.wire import Envelope

Key = tuple[str, str]
"""(part, topic)."""

MAX_STREAMS = 4_096
"""Some twelve parts with three topics each and display data of 1000 nodes; a histogram takes 2 kB."""
MAX_RETIRED = 64
"""Incarnations of one part that are remembered as over; a part that restarts more often has other troubles."""
MAX_JUMP = 2**40
"""A gap beyond it is no gap: 30 years of 1000 messages a second."""


@dataclass(slots=True)
class Counters:
    """What a subscriber saw.

    Attributes:
        received: messages taken.
        refused: messages that were not what they said, replays among them.
        replayed: messages that came again, out of order, or from an incarnation that is over.
        skipped: messages that a snapshot held already.
        gaps: (part, topic) → messages that never arrived.
        restarts: (part, topic) → times a publisher began again.
    """

    received: int = 0
    refused: int = 0
    replayed: int = 0
    skipped: int = 0
    gaps: dict[Key, int] = field(default_factory=dict)
    restarts: dict[Key, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Publisher:
    incarnation: int
    retired: deque[int]


@dataclass(slots=True)
class _Stream:
    incarnation: int
    expected: int
    received: int
    latency: LatencyHistogram


@dataclass(frozen=True, slots=True)
class Cut:
    """A place in a part's scans: everything before ``sequence`` of this incarnation is in the snapshot."""

    incarnation: int
    sequence: int


class Streams:
    """The streams of one subscriber."""

    def __init__(self) -> None:
        self.counters = Counters()
        self._publishers: dict[str, _Publisher] = {}
        self._streams: dict[Key, _Stream] = {}
        self._cuts: dict[str, Cut] = {}

    def take(self, envelope: Envelope, now_mono_ns: int) -> bool:
        """Count a message.

        Args:
            envelope: of the message.
            now_mono_ns: time of reception on the publisher's monotonic clock.

        Returns:
            False when a snapshot holds it already.

        Raises:
            FrameError: it goes backwards, or there are too many streams.
        """
        key = (envelope.part, envelope.topic)
        counters = self.counters
        self._meet(envelope)
        stream = self._streams.get(key)
        if stream is None:
            if len(self._streams) >= MAX_STREAMS:
                raise FrameError(f"more than {MAX_STREAMS} streams")
            stream = self._streams[key] = _Stream(envelope.incarnation, envelope.sequence, 0, LatencyHistogram())
        elif stream.incarnation != envelope.incarnation:
            counters.restarts[key] = counters.restarts.get(key, 0) + 1
            stream.incarnation, stream.expected = envelope.incarnation, 0
        if envelope.topic == "scan" and self._skip(envelope, stream):
            counters.skipped += 1
            return False
        ahead = envelope.sequence - stream.expected
        if ahead < 0:
            counters.replayed += 1
            raise FrameError(f"{envelope.topic} {envelope.sequence} of {envelope.part} came before")
        if ahead:
            if ahead > MAX_JUMP:
                raise FrameError(f"sequence {envelope.sequence} after {stream.expected}")
            counters.gaps[key] = counters.gaps.get(key, 0) + ahead
        stream.expected = envelope.sequence + 1
        stream.received += 1
        counters.received += 1
        stream.latency.add(now_mono_ns - envelope.published_mono_ns)
        return True

    def forget(self, topic: str) -> None:
        """A topic is not heard any more: what comes of it once it is heard again does not follow on anything."""
        for key in [key for key in self._streams if key[1] == topic]:
            del self._streams[key]

    def _meet(self, envelope: Envelope) -> None:
        """Note a new incarnation of a part; refuse one that is over."""
        known = self._publishers.get(envelope.part)
        if known is None:
            self._publishers[envelope.part] = _Publisher(envelope.incarnation, deque(maxlen=MAX_RETIRED))
        elif known.incarnation != envelope.incarnation:
            if envelope.incarnation in known.retired:
                self.counters.replayed += 1
                raise FrameError(f"{envelope.topic} of an incarnation of {envelope.part} that is over")
            known.retired.append(known.incarnation)
            known.incarnation = envelope.incarnation

    def _skip(self, envelope: Envelope, stream: _Stream) -> bool:
        """Whether a scan lies before the cut; the first one at or after it is measured against the cut."""
        cut = self._cuts.get(envelope.part)
        if cut is None:
            return False
        if cut.incarnation == envelope.incarnation:
            if envelope.sequence < cut.sequence:
                return True
            stream.expected = cut.sequence
        del self._cuts[envelope.part]
        return False

    def cut(self, cuts: Mapping[str, Cut]) -> None:
        """From now on pass over scans that a snapshot holds. Scans taken before are none of it: snapshot first.

        A scan between the snapshot and the first one heard counts as a gap: then the snapshot must be taken again.
        """
        self._cuts = {
            part: one
            for part, one in cuts.items()
            if (stream := self._streams.get((part, "scan"))) is None
            or stream.incarnation != one.incarnation
            or stream.expected < one.sequence
        }

    def rows(self) -> list[dict[str, str | int | float]]:
        """One row per stream: part, topic, received, gaps, restarts and latency in µs."""
        return [
            {
                "part": key[0], "topic": key[1], "received": stream.received,
                "gaps": self.counters.gaps.get(key, 0), "restarts": self.counters.restarts.get(key, 0),
                **stream.latency.summary_us(),
            }
            for key, stream in sorted(self._streams.items())
        ]  # fmt: skip

    def gaps_total(self) -> int:
        """Messages that never arrived, over all streams."""
        return sum(self.counters.gaps.values())

    def latency(self, part: str, topic: str) -> LatencyHistogram | None:
        """Latencies of one stream; None when nothing was heard of it."""
        stream = self._streams.get((part, topic))
        return None if stream is None else stream.latency
