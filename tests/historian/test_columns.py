from __future__ import annotations

import json
import math

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gwanje.core.bus.messages import AlarmChange, Event
from gwanje.historian import columns
from gwanje.historian.columns import EventPacker, FrameContentError, PointPacker, Points, unpack_events, unpack_points
from gwanje.historian.spool import Frame


def frames_of(packed: list) -> list[Frame]:
    return [Frame(0, one.n, one.flags, one.payload) for one in packed]


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 40).flatmap(lambda k: st.tuples(
    hnp.arrays(np.int64, k), hnp.arrays(np.uint32, k), hnp.arrays(np.uint64, k), hnp.arrays(np.uint16, k)
)))
def test_points_come_back_bit_for_bit(arrays: tuple) -> None:
    utc_ns, tag, bits, quality = arrays
    points = Points(utc_ns, tag, bits.view(np.float64), quality)
    (frame,) = frames_of(PointPacker().pack(points))
    back = unpack_points(frame)
    np.testing.assert_array_equal(back.utc_ns, utc_ns)
    np.testing.assert_array_equal(back.tag, tag)
    np.testing.assert_array_equal(back.value.view(np.uint64), bits)
    np.testing.assert_array_equal(back.quality, quality)


def test_a_long_batch_becomes_several_frames() -> None:
    k = columns.FRAME_POINTS_MAX * 2 + 5
    points = Points(np.arange(k), np.zeros(k, np.uint32), np.arange(k, dtype=float), np.zeros(k, np.uint16))
    packed = PointPacker().pack(points)
    assert [one.n for one in packed] == [columns.FRAME_POINTS_MAX, columns.FRAME_POINTS_MAX, 5]
    back = columns.concatenate([unpack_points(frame) for frame in frames_of(packed)])
    np.testing.assert_array_equal(back.value, points.value)


def zst(content: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(content)


@pytest.mark.parametrize(
    "frame",
    [
        Frame(0, 1, columns.FLAG_POINTS_ZSTD, b"not zstd"),
        Frame(0, 1, columns.FLAG_POINTS_ZSTD, b""),
        Frame(0, 1, columns.FLAG_EVENTS_ZSTD, zst(b"\0" * 22)),
        Frame(0, 2, columns.FLAG_POINTS_ZSTD, zst(b"\0" * 22)),
        Frame(0, 1, columns.FLAG_POINTS_ZSTD, zst(b"\0" * 44)),
        Frame(0, 10**6, columns.FLAG_POINTS_ZSTD, zst(b"\0" * 22)),
        Frame(0, 1, 99, zst(b"\0" * 22)),
    ],
)
def test_a_frame_of_something_else_is_refused_as_points(frame: Frame) -> None:
    with pytest.raises(FrameContentError):
        unpack_points(frame)


@pytest.mark.parametrize(
    "content",
    [b"", b"[", b"{}", b"[[1]]", b"[1]", b'[["x","k","s","c",1.0,0.0,"","","{}","id"]]',
     b'[[1,"k","s","c","high",0.0,"","","{}","id"]]', b"\xff\xfe"],
)
def test_a_frame_of_something_else_is_refused_as_events(content: bytes) -> None:
    with pytest.raises(FrameContentError):
        unpack_events(Frame(0, 1, columns.FLAG_EVENTS_ZSTD, zst(content)))


def test_an_event_comes_back_whole() -> None:
    event = Event(
        "acoustic", "mic03", "glass_break", 5, 6, "유리 깨짐", "glass break", 0.93, 0.4, {"snr_db": 12.5, "x": math.nan}
    )
    row = columns.event_row(event)
    (frame,) = frames_of(EventPacker().pack([row]))
    assert unpack_events(frame) == [row]
    assert (row.source, row.class_name, row.text_ko) == ("mic03", "glass_break", "유리 깨짐")
    assert json.loads(row.data) == {"snr_db": 12.5, "x": None}


def test_a_change_of_an_alarm_is_an_event_of_its_own_kind() -> None:
    change = AlarmChange(
        "tie_overload", "unack_active", 1, "grid.tie.import_w", "과부하", "overload", "", "", "", "", "", "",
        2.6e6, "W", math.nan, 1_000_000_000, 3_000_000_000,
    )
    row = columns.alarm_row(change)
    assert (row.kind, row.class_name, row.utc_ns, row.latency_s) == ("alarm", "unack_active", 3_000_000_000, 2.0)
    assert json.loads(row.data)["value"] == 2.6e6
    assert json.loads(row.data)["limit"] is None
