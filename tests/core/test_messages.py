"""Frames: what we encode we decode; what lies is refused as a whole."""

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwanje.core.messages import AlarmChange, Blob, Event
from gwanje.core.scan import FrameError, Scan


def scan(k: int = 5) -> Scan:
    ids = np.arange(3, 3 + k, dtype=np.uint32)
    return Scan(ids, np.linspace(-1, 1, k), np.full(k, 7, np.uint16), np.arange(k) + 10**18, 4, "field", 99)


def test_scan_round_trip():
    got = Scan.decode(scan().encode(), n_tags=100)
    for name in ("ids", "values", "quality", "source_utc_ns"):
        np.testing.assert_array_equal(getattr(got, name), getattr(scan(), name))
    assert (got.sequence, got.part, got.published_mono_ns) == (4, "field", 99)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"n": 6}, "column 'i'"),
        ({"n": -1}, "lacks"),
        ({"n": True}, "lacks"),
        ({"n": 10**9}, "tags in one frame"),
        ({"v": b"123"}, "column 'v'"),
        ({"q": None}, "column 'q'"),
        ({"t": "text"}, "column 't'"),
        ({"p": 5}, "lacks"),
        ({"s": -3}, "lacks"),
        ({"i": np.array([3, 4, 5, 6, 100], "<u4").tobytes()}, "ascending"),
        ({"i": np.array([3, 4, 4, 6, 7], "<u4").tobytes()}, "ascending"),
    ],
)
def test_scans_that_lie_are_refused(change, reason):
    content = msgpack.unpackb(scan().encode()) | change
    with pytest.raises(FrameError, match=reason):
        Scan.decode(msgpack.packb(content), n_tags=100)


def test_deep_nesting_is_refused():
    with pytest.raises(FrameError):
        Scan.decode(b"\x81\xa1p" + b"\x91" * 5000 + b"\x00")


@given(st.binary(max_size=200))
def test_garbage_is_refused_or_sound(frame):
    for decode in (Scan.decode, Event.decode, AlarmChange.decode, lambda one: Blob.decode("spectrum.x", one)):
        with pytest.raises(FrameError):
            decode(frame)


@given(st.data())
def test_mutated_scans_never_bring_wrong_lengths(data):
    frame = bytearray(scan().encode())
    for _ in range(data.draw(st.integers(1, 4))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    try:
        got = Scan.decode(bytes(frame), n_tags=100)
    except FrameError:
        return
    assert len(got.ids) == len(got.values) == len(got.quality) == len(got.source_utc_ns)
    assert not len(got.ids) or got.ids.max() < 100


def test_event_round_trip_and_limits():
    event = Event("acoustic", "mic03", "glass_break", 1, 2, "유리 파손", "glass break", 0.9, 0.4, {"snr_db": 12.5})
    assert Event.decode(event.encode()) == event
    with pytest.raises(ValueError, match="confidence"):
        Event("acoustic", "mic03", "x", 1, 2, "", "", confidence=1.5)
    with pytest.raises(ValueError, match="not a whole number"):
        Event("acoustic", "mic03", "x", 1.5, 2, "", "")
    with pytest.raises(FrameError, match="Event"):
        Event.decode(msgpack.packb({"kind": "acoustic"}))
    content = msgpack.unpackb(event.encode())
    for data in ({"a": None}, {"a": [1]}, {str(i): i for i in range(65)}, "text"):
        with pytest.raises(FrameError, match="data"):
            Event.decode(msgpack.packb(content | {"data": data}))


def test_blob_round_trip_and_lies():
    blob = Blob("spectrum.mic01", {"node": "mic01"}, (np.arange(128, dtype=np.uint8).reshape(2, 64),))
    got = Blob.decode("spectrum.mic01", blob.encode())
    np.testing.assert_array_equal(got.arrays[0], blob.arrays[0])
    content = msgpack.unpackb(blob.encode())
    content["a"][0]["s"] = [2, 65]
    with pytest.raises(FrameError, match="do not fill"):
        Blob.decode("spectrum.mic01", msgpack.packb(content))
    content["a"][0] |= {"s": [2, 64], "d": "|O8"}
    with pytest.raises(FrameError, match="type"):
        Blob.decode("spectrum.mic01", msgpack.packb(content))
