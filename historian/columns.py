"""Points and events as they travel through the spool: columns packed with zstd.

A point keeps its archive tag id, which the :class:`~gwanje.historian.dictionary.TagDictionary` ties to the tag's name
for as long as the history exists; the position of a tag in today's configuration never reaches the disk.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import zstandard

from gwanje.core.bus.messages import AlarmChange, Event
from gwanje.historian.spool import Frame, Packed

FRAME_POINTS_MAX = 65_536
"""Twelve seconds of the city in one frame; 1.4 MB unpacked."""
FRAME_EVENTS_MAX = 256
FLAG_POINTS_ZSTD = 1
FLAG_EVENTS_ZSTD = 2
POINT_BYTES = 22
EVENT_BYTES_MAX = 131_072
"""Unpacked size an event may have; the bus takes 64 kB at most."""
ZSTD_LEVEL = 1


class FrameContentError(ValueError):
    """A frame whose checksum holds but whose content is not ours; another program or version wrote it."""


@dataclass(frozen=True, slots=True)
class Points:
    """Points in the order they were recorded; four columns of one length k.

    Attributes:
        utc_ns: (k,) when each was measured.
        tag: (k,) archive tag ids.
        value: (k,).
        quality: (k,).
    """

    utc_ns: npt.NDArray[np.int64]
    tag: npt.NDArray[np.uint32]
    value: npt.NDArray[np.float64]
    quality: npt.NDArray[np.uint16]

    def __len__(self) -> int:
        return len(self.value)

    def __getitem__(self, part: slice) -> Points:
        return Points(self.utc_ns[part], self.tag[part], self.value[part], self.quality[part])


def no_points() -> Points:
    """An empty batch."""
    return Points(np.empty(0, "<i8"), np.empty(0, "<u4"), np.empty(0, "<f8"), np.empty(0, "<u2"))


def concatenate(parts: Sequence[Points]) -> Points:
    """Batches one behind the other."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return no_points()
    return Points(
        np.concatenate([part.utc_ns for part in parts]),
        np.concatenate([part.tag for part in parts]),
        np.concatenate([part.value for part in parts]),
        np.concatenate([part.quality for part in parts]),
    )


class PointPacker:
    """Packs points; holds the compressor, which costs more to make than to use. Not thread-safe."""

    def __init__(self) -> None:
        self._compress = zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=False)

    def pack(self, points: Points) -> list[Packed]:
        """Frames of at most :data:`FRAME_POINTS_MAX` points.

        Times go as differences, which repeat within a scan; differences wrap around 64 bits and unwrap exactly.
        """
        packed = []
        for begin in range(0, len(points), FRAME_POINTS_MAX):
            part = points[begin : begin + FRAME_POINTS_MAX]
            steps = np.diff(part.utc_ns, prepend=np.int64(0))
            columns = b"".join(
                (
                    steps.astype("<i8", copy=False).tobytes(),
                    part.tag.astype("<u4", copy=False).tobytes(),
                    part.value.astype("<f8", copy=False).tobytes(),
                    part.quality.astype("<u2", copy=False).tobytes(),
                )
            )
            packed.append(Packed(self._compress.compress(columns), len(part), FLAG_POINTS_ZSTD))
        return packed


def unpack_points(frame: Frame) -> Points:
    """Points of a frame.

    Raises:
        FrameContentError: the frame holds something else.
    """
    size = frame.n * POINT_BYTES
    if frame.flags != FLAG_POINTS_ZSTD or frame.n > FRAME_POINTS_MAX:
        raise FrameContentError(f"frame {frame.sequence} holds no points")
    columns = _unzstd(frame, size)
    if len(columns) != size:
        raise FrameContentError(f"frame {frame.sequence} is not {frame.n} points long")
    n = frame.n
    return Points(
        np.cumsum(np.frombuffer(columns, "<i8", n), dtype=np.int64),
        np.frombuffer(columns, "<u4", n, 8 * n),
        np.frombuffer(columns, "<f8", n, 12 * n),
        np.frombuffer(columns, "<u2", n, 20 * n),
    )


@dataclass(frozen=True, slots=True)
class EventRow:
    """One event as the archive keeps it; changes of alarms are events of kind ``alarm``.

    Attributes:
        utc_ns: when it happened.
        kind: ``acoustic``, ``device``, ``control``, ``system`` or ``alarm``.
        source: node, device, part or tag.
        class_name: what happened; for an alarm the state it came into.
        confidence: 0…1.
        latency_s: from its happening to its publication.
        text_ko: one line for operators.
        text_en: the same in English.
        data: further content as JSON.
        event_id: unique; for an alarm its definition's id.
    """

    utc_ns: int
    kind: str
    source: str
    class_name: str
    confidence: float
    latency_s: float
    text_ko: str
    text_en: str
    data: str
    event_id: str


_EVENT_TYPES: dict[str, type] = {
    one.name: {"int": int, "float": float, "str": str}[str(one.type)] for one in fields(EventRow)
}


def event_row(event: Event) -> EventRow:
    """The row of an event."""
    return EventRow(
        event.utc_ns,
        event.kind,
        event.source,
        event.class_name,
        float(event.confidence),
        float(event.latency_s),
        event.text_ko,
        event.text_en,
        _json(event.data),
        event.event_id,
    )


def alarm_row(change: AlarmChange) -> EventRow:
    """The row of an alarm's change."""
    data = {
        "priority": change.priority,
        "value": change.value,
        "unit": change.unit,
        "limit": change.limit,
        "raised_utc_ns": change.utc_ns,
    }
    latency_s = max(0.0, (change.changed_utc_ns - change.utc_ns) * 1e-9)
    return EventRow(
        change.changed_utc_ns,
        "alarm",
        change.source,
        change.state,
        1.0,
        latency_s,
        change.text_ko,
        change.text_en,
        _json(data),
        change.alarm_id,
    )


class EventPacker:
    """Packs events. Not thread-safe."""

    def __init__(self) -> None:
        self._compress = zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=False)

    def pack(self, rows: Sequence[EventRow]) -> list[Packed]:
        """Frames of at most :data:`FRAME_EVENTS_MAX` events."""
        packed = []
        for begin in range(0, len(rows), FRAME_EVENTS_MAX):
            part = rows[begin : begin + FRAME_EVENTS_MAX]
            text = json.dumps([[getattr(row, name) for name in _EVENT_TYPES] for row in part], ensure_ascii=False)
            packed.append(Packed(self._compress.compress(text.encode()), len(part), FLAG_EVENTS_ZSTD))
        return packed


def unpack_events(frame: Frame) -> list[EventRow]:
    """Events of a frame.

    Raises:
        FrameContentError: the frame holds something else.
    """
    if frame.flags != FLAG_EVENTS_ZSTD or frame.n > FRAME_EVENTS_MAX:
        raise FrameContentError(f"frame {frame.sequence} holds no events")
    try:
        content = json.loads(_unzstd(frame, frame.n * EVENT_BYTES_MAX))
    except ValueError as error:
        raise FrameContentError(f"frame {frame.sequence}: {error}") from None
    if not isinstance(content, list) or len(content) != frame.n:
        raise FrameContentError(f"frame {frame.sequence} is not {frame.n} events long")
    return [_event_of(frame.sequence, values) for values in content]


def _event_of(sequence: int, values: Any) -> EventRow:
    if not isinstance(values, list) or len(values) != len(_EVENT_TYPES):
        raise FrameContentError(f"frame {sequence} holds something that is no event")
    for value, kind in zip(values, _EVENT_TYPES.values(), strict=True):
        if not isinstance(value, kind):
            raise FrameContentError(f"frame {sequence} holds an event with {value!r} in place of {kind.__name__}")
    return EventRow(*values)


def _unzstd(frame: Frame, size_max: int) -> bytes:
    try:
        described = zstandard.frame_content_size(frame.payload)
        if described < 0 or described > size_max:
            raise FrameContentError(f"frame {frame.sequence} says it unpacks to {described} bytes")
        return zstandard.ZstdDecompressor().decompress(frame.payload)
    except zstandard.ZstdError as error:
        raise FrameContentError(f"frame {frame.sequence}: {error}") from None


def _json(data: dict[str, Any]) -> str:
    """JSON that every reader takes: numbers that JSON lacks become null."""

    def plain(items: Iterable[tuple[str, Any]]) -> dict[str, Any]:
        return {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in items}

    return json.dumps(plain(data.items()), ensure_ascii=False, allow_nan=False)
