"""Frames: what we encode we decode; what lies is refused as a whole; nothing becomes GOOD that was not."""

import math

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwanje.core.bus.messages import AlarmChange, Blob, Event
from gwanje.core.bus.msgpack_map import FrameError, Limits, unpack_map
from gwanje.core.bus.scan import KNOWN_BITS, MAX_FRAME_BYTES, MAX_TAGS_PER_FRAME, NO_VALUE, NOT_FINITE, Scan
from gwanje.core.tags.quality import Quality
from gwanje.ext import columns
from gwanje.ext.reference.columns import RUNS, pack

SICK = int(Quality.BAD | Quality.COMM)


def scan(k: int = 5) -> Scan:
    ids = np.arange(3, 3 + k, dtype=np.uint32)
    return Scan(ids, np.linspace(-1, 1, k), np.full(k, SICK, np.uint16), np.arange(k) + 10**18, 4, "field", 99)


def changed(**change) -> bytes:
    """A scan with other columns: numbers and bytes as they are, lists of what one tag has each as runs of one."""
    runs = {
        key: np.array([(first, 1) for first in one], RUNS[key]).tobytes() if isinstance(one, list) else one
        for key, one in change.items()
    }
    return pack(msgpack.unpackb(scan().encode()) | runs)


def test_scan_round_trip():
    got = Scan.decode(scan().encode(), 100, 4, "field", 99)
    for name in ("ids", "values", "quality", "source_utc_ns"):
        np.testing.assert_array_equal(getattr(got, name), getattr(scan(), name))
    assert (got.sequence, got.part, got.published_mono_ns) == (4, "field", 99)


def test_the_largest_scan_fits_into_a_frame():
    k = MAX_TAGS_PER_FRAME
    usual = Scan(np.arange(k, dtype=np.uint32), np.ones(k), np.zeros(k, np.uint16), np.ones(k, np.int64), 0, "", 0)
    ids, quality = np.arange(0, 2 * k, 2, dtype=np.uint32), np.where(np.arange(k) % 2, 0, SICK).astype(np.uint16)
    for full in (usual, Scan(ids, np.ones(k), quality, np.arange(k), 0, "", 0)):
        assert len(full.encode()) < MAX_FRAME_BYTES
        assert len(Scan.decode(full.encode()).ids) == k
    one = np.ones(k + 1, np.uint16)
    longer = Scan(np.arange(k + 1), one, one, one, 0, "", 0)
    with pytest.raises(FrameError, match="2049 tags in one frame"):
        longer.encode()


def test_the_kernel_knows_the_qualities_there_are():
    assert (columns.KNOWN_BITS, columns.NO_VALUE, columns.NOT_FINITE) == (KNOWN_BITS, NO_VALUE, NOT_FINITE)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"n": 6}, "whole runs of 6"),
        ({"n": 4}, "whole runs of 4"),
        ({"n": b""}, "no number"),
        ({"n": 2_049}, "tags in one frame"),
        ({"v": b"123"}, "whole runs"),
        ({"q": b"12345"}, "whole runs"),
        ({"t": b""}, "add up"),
        ({"q": 5}, "cut off"),
        ({"x": 5}, "not a map of five"),
        ({"i": [3, 4, 5, 6, 100]}, "ascending"),
        ({"i": [3, 4, 4, 6, 7]}, "ascending"),
        ({"i": [7, 6, 5, 4, 3]}, "ascending"),
        ({"i": [3, 4, 5, 6]}, "add up"),
        ({"i": [3, 4, 5, 6, 7, 8]}, "add up"),
        ({"i": np.array([(3, 5), (9, 0)], RUNS["i"]).tobytes()}, "add up"),
        ({"i": np.array([(96, 5)], RUNS["i"]).tobytes()}, "ascending"),
        ({"i": np.array([(2**32 - 2, 5)], RUNS["i"]).tobytes()}, "ascending"),
        ({"i": np.array([(3, 2), (4, 3)], RUNS["i"]).tobytes()}, "ascending"),
        ({"q": np.array([(0, 65_535)], RUNS["q"]).tobytes()}, "add up"),
        ({"t": [1, 2, -3, 4, 5]}, "before 1970"),
        ({"q": [0, 0, 0x2000, 0, 0]}, "unknown bits"),
        ({"q": [0, 0, 0xC000, 0, 0]}, "uncertain and bad"),
        ({"q": [0, 0xFFFF, 0, 0, 0]}, "unknown bits"),
    ],
)
def test_scans_that_lie_are_refused(change, reason):
    with pytest.raises(FrameError, match=reason):
        Scan.decode(changed(**change), n_tags=100)


@pytest.mark.parametrize("frame", [scan().encode(), changed(q=[0, 1, 2, 3, 4])])
def test_other_forms_of_the_same_map_and_what_stands_behind_it_are_refused(frame):
    content = msgpack.unpackb(frame)
    turned = {key: content[key] for key in reversed(content)}
    for other in (msgpack.packb(content), pack(turned), frame + b"\x00", frame + frame, b"\x85" + frame):
        with pytest.raises(FrameError):
            Scan.decode(other, n_tags=100)


@pytest.mark.parametrize(
    ("columns_of", "reason"),
    [
        (lambda ids, values, quality, times: (ids[::-1], values, quality, times), "ascending"),
        (lambda ids, values, quality, times: (ids.astype(np.int64) - 9, values, quality, times), "ascending"),
        (lambda ids, values, quality, times: (ids.astype(np.int64) + 2**32, values, quality, times), "ascending"),
        (lambda ids, values, quality, times: (ids, values, quality | 0x2000, times), "unknown bits"),
        (lambda ids, values, quality, times: (ids, values, quality.astype(int) + 2**16, times), "unknown bits"),
        (lambda ids, values, quality, times: (ids, values, quality | 0xC000, times), "uncertain and bad"),
        (lambda ids, values, quality, times: (ids, values, quality, -times), "before 1970"),
        (lambda ids, values, quality, times: (ids, values[1:], quality, times), "different length"),
    ],
)
def test_what_would_be_refused_is_not_written(columns_of, reason):
    one = scan()
    with pytest.raises(FrameError, match=reason):
        Scan(*columns_of(one.ids, one.values, one.quality, one.source_utc_ns), 0, "", 0).encode()


def test_uncertain_and_bad_in_one_scan_are_no_lie():
    quality = [0x4000, 0x8000, 0, 0x4200, 0x8001]
    got = Scan.decode(changed(q=quality), n_tags=100)
    np.testing.assert_array_equal(got.quality, quality)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("quality", [0, 0x4000, 0x4010, 0x0800])
def test_what_is_not_finite_is_bad_and_its_neighbours_stay(value, quality):
    values, qualities = np.array([1.0, value, -1e308, 1e308, 0.0]), [0, quality, 0, 0x4200, 0x8001]
    got = Scan.decode(changed(v=values.tobytes(), q=qualities), n_tags=100)
    assert got.quality[1] == NOT_FINITE | (quality & 0x0FFF)
    np.testing.assert_array_equal(np.delete(got.quality, 1), np.delete(qualities, 1))
    np.testing.assert_array_equal(got.values, values)


@pytest.mark.parametrize("reason", [one for one in Quality if one & NO_VALUE])
def test_good_with_a_reason_that_says_there_is_no_value_is_bad(reason):
    got = Scan.decode(changed(q=[reason, 0, 0x800, 0x4000 | reason, 0]), n_tags=100)
    assert list(got.quality) == [0x8000 | reason, 0, 0x800, 0x4000 | reason, 0]


def test_deep_nesting_is_refused():
    for depth in (9, 500, 1_023, 1_025, 60_000):
        for opening in (b"\x91", b"\x81\xa1a"):
            with pytest.raises(FrameError):
                Scan.decode(b"\x81\xa1n" + opening * depth + b"\x00")
            with pytest.raises(FrameError):
                unpack_map(b"\x81\xa1n" + opening * depth + b"\x00", Limits(10**6, 10**6, 8))


def test_depth_and_containers_are_counted_exactly():
    def nested(depth):
        return b"\x81\xa1a" * depth + b"\x00"

    assert unpack_map(nested(6), Limits(100, 6, 6))
    with pytest.raises(FrameError, match="nested too deep"):
        unpack_map(nested(7), Limits(100, 100, 6))
    with pytest.raises(FrameError, match="too many"):
        unpack_map(nested(6), Limits(100, 5, 100))


@pytest.mark.parametrize(
    "frame",
    [
        b"\x82\xa1a\x01\xa1a\x02",  # a key twice
        b"\x81\xc4\x01a\x01",  # a key of bytes
        b"\x81\x01\x01",  # a key that is a number
        b"\x81\xa1a\xd4\x05\x00",  # an extension
        b"\x81\xa1a\xd6\xff\x00\x00\x00\x00",  # a timestamp
        b"\x81\xa1a\xc7\x00\x05",  # an extension of no bytes
        b"\x81\xa1a\xa2\xff\xfe",  # no UTF-8
        b"\x81\xa1a",  # cut off
        b"\x81\xa1a\x01\x00",  # something behind
        b"\x93\x01\x02\x03",
        b"\xdf\xff\xff\xff\xff",  # four thousand million members
        b"\xdd\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xc1",
        b"",
    ],
)
def test_odd_maps_are_refused(frame):
    with pytest.raises(FrameError):
        unpack_map(frame, Limits(1_000, 10, 4))


def test_longer_than_the_limit_is_not_even_looked_at():
    with pytest.raises(FrameError, match="1001 bytes"):
        unpack_map(b"\xc1" * 1_001, Limits(1_000, 10, 4))
    with pytest.raises(FrameError, match="bytes, at most"):
        Event.decode(b"\x80" + b"\x00" * MAX_FRAME_BYTES)


@given(st.binary(max_size=200))
def test_garbage_is_refused_or_sound(frame):
    for decode in (Scan.decode, Event.decode, AlarmChange.decode, lambda one: Blob.decode("spectrum.x", one)):
        with pytest.raises(FrameError):
            decode(frame)


def test_every_cut_of_every_message_is_refused():
    event = Event("acoustic", "mic03", "glass_break", 1, 2, "유리 파손", "glass break", 0.9, 0.4, {"snr_db": 12.5})
    blob = Blob("spectrum.mic01", {"node": "mic01"}, (np.arange(12, dtype=np.uint8),))
    for decode, frame in (
        (Scan.decode, scan().encode()), (Event.decode, event.encode()),
        (lambda one: Blob.decode("spectrum.mic01", one), blob.encode()),
    ):  # fmt: skip
        decode(frame)
        for end in range(len(frame)):
            with pytest.raises(FrameError):
                decode(frame[:end])


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
    for data in ({"a": None}, {"a": [1]}, {str(i): i for i in range(65)}, "text", {"a": 2**63}):
        with pytest.raises(FrameError, match="data"):
            Event.decode(msgpack.packb(content | {"data": data}))


@pytest.mark.parametrize(
    "change",
    [
        {"utc_ns": -1}, {"utc_ns": 2**63}, {"mono_ns": 2**63}, {"mono_ns": math.nan},
        {"mono_ns": True}, {"confidence": math.nan},
        {"latency_s": math.inf}, {"latency_s": None}, {"kind": 5}, {"more": 1}, {"data": {1: 2}},
    ],
)  # fmt: skip
def test_events_that_lie_are_refused(change):
    content = msgpack.unpackb(Event("device", "ess1", "device_offline", 1, 2, "끊김", "offline").encode())
    with pytest.raises(FrameError):
        Event.decode(msgpack.packb(content | change))


def test_an_event_may_have_begun_before_the_machine_did():
    event = Event("acoustic", "mic03", "glass_break", 1, -3_000_000_000, "", "")
    assert Event.decode(event.encode()) == event


@pytest.mark.parametrize("missing", ["kind", "event_id", "data", "confidence"])
def test_an_event_without_a_member_is_refused(missing):
    content = msgpack.unpackb(Event("device", "ess1", "device_offline", 1, 2, "끊김", "offline").encode())
    del content[missing]
    with pytest.raises(FrameError, match="missing"):
        Event.decode(msgpack.packb(content))


def test_blob_round_trip_and_lies():
    blob = Blob("spectrum.mic01", {"node": "mic01"}, (np.arange(128, dtype=np.uint8).reshape(2, 64),))
    got = Blob.decode("spectrum.mic01", blob.encode())
    np.testing.assert_array_equal(got.arrays[0], blob.arrays[0])
    array = {"d": "|u1", "s": [2, 64], "b": bytes(128)}
    for lie, reason in (
        ({"s": [2, 65]}, "do not fill"), ({"d": "|O8"}, "type"), ({"d": ["|u1"]}, "type"), ({"x": 1}, "no map of"),
        ({"s": [True, 128]}, "shape"), ({"s": [-2, -64]}, "shape"), ({"s": [2**40, 0]}, "shape"),
        ({"b": None}, "lacks"),
    ):  # fmt: skip
        with pytest.raises(FrameError, match=reason):
            Blob.decode("spectrum.mic01", msgpack.packb({"h": {}, "a": [array | lie]}))
    for lie in ({"h": 5}, {"h": {"a": [1]}}, {"h": {"a": {}}}, {"a": {}}, {"a": [array] * 9}, {"x": 1}):
        with pytest.raises(FrameError):
            Blob.decode("spectrum.mic01", msgpack.packb({"h": {}, "a": [array]} | lie))
