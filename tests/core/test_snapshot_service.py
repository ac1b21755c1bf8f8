"""A late joiner: the picture and the stream fit together, whatever is published meanwhile."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwanje.core.bus.bus import Bus
from gwanje.core.bus.scan import MAX_TAGS_PER_FRAME
from gwanje.core.bus.snapshot import PICTURE_BURST, SnapshotError, SnapshotService, TagPicture
from gwanje.core.bus.streams import Cut
from gwanje.core.clock import SystemClock, VirtualClock
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.store import TagStore
from gwanje.core.tags.table import Tag, TagTable

N = 2 * MAX_TAGS_PER_FRAME + 100
TABLE = TagTable.build(
    [Tag(f"a.b{index}.x_w", "W", "field") for index in range(N)] + [Tag("a.c.stale_w", "W", "sim", stale_after_s=1.0)]
)


@pytest.fixture
def store(tmp_path):
    return TagStore.create(tmp_path / "tags", TABLE)


def columns(value, k=N):
    return np.arange(*TABLE.range_of("field"))[:k], np.full(k, float(value)), np.zeros(k, np.uint16), np.full(k, 5)


def test_the_picture_holds_what_the_store_holds_with_age(store):
    clock = VirtualClock()
    writer, other = store.writer("field"), store.writer("sim")
    ids, values, quality, times = columns(3.5, k=10)
    writer.write(ids.astype(np.int32), values, quality, times, clock.mono_ns())
    other.write_one(TABLE.index("a.c.stale_w"), 1.0, 0, 7, clock.mono_ns())
    clock.advance_ns(3 * 10**9)
    answer = SnapshotService(store, clock, lambda: {"field": Cut(5, 6)}).handle({})
    picture = TagPicture.read(answer, TABLE)
    np.testing.assert_array_equal(picture.now.value[ids], values)
    assert picture.now.quality[ids[0]] == 0
    assert picture.now.quality[ids[0] + 10] == Quality.BAD | Quality.NEVER
    assert picture.now.quality[TABLE.index("a.c.stale_w")] == Quality.BAD | Quality.STALE
    assert picture.now.received_mono_ns[ids[0]] == clock.mono_ns() - 3 * 10**9
    assert picture.now.quality[-1] == Quality.BAD | Quality.NEVER
    assert (picture.cuts, picture.mono_ns, picture.utc_ns) == ({"field": Cut(5, 6)}, clock.mono_ns(), clock.utc_ns())


def test_many_askers_are_limited(store):
    clock = VirtualClock()
    service = SnapshotService(store, clock, dict)
    answers = [service.handle({}) for _ in range(PICTURE_BURST + 3)]
    assert [one["outcome"] for one in answers] == ["snapshot"] * PICTURE_BURST + ["refused"] * 3
    with pytest.raises(SnapshotError, match="too many snapshots"):
        TagPicture.read(answers[-1], TABLE)
    clock.advance_ns(10**9)
    assert service.handle({})["outcome"] == "snapshot"


@pytest.mark.parametrize(
    "lie",
    [
        {"outcome": "other"}, {"layout": "x"}, {"mono_ns": -1}, {"utc_ns": 1.5}, {"cuts": []}, {"cuts": {"field": [1]}},
        {"cuts": {"field": [1, -1]}}, {"cuts": {str(i): [1, 1] for i in range(99)}}, {"frames": None}, {"frames": []},
        {"frames": [b"", b"", b""]}, {"frames": [1, 2, 3]}, {"received": [b"", b"", b""]}, {"received": [1, 2, 3]},
        {"frames": [b""] * 100, "received": [b""] * 100}, {"mono_ns": 2**63},
    ],
)  # fmt: skip
def test_answers_that_lie_are_no_picture(store, lie):
    answer = SnapshotService(store, VirtualClock(), dict).handle({})
    TagPicture.read(answer, TABLE)
    with pytest.raises(SnapshotError):
        TagPicture.read(answer | lie, TABLE)


@given(st.dictionaries(st.sampled_from(["outcome", "layout", "cuts", "frames", "received", "mono_ns"]), st.one_of(
    st.none(), st.integers(), st.text(max_size=5), st.lists(st.binary(max_size=9), max_size=4),
    st.dictionaries(st.text(max_size=3), st.lists(st.integers(), max_size=3), max_size=3),
)))  # fmt: skip
def test_nothing_but_a_snapshot_error_comes_of_garbage(lie):
    good = {"outcome": "snapshot", "layout": TABLE.sha256, "mono_ns": 1, "utc_ns": 1, "cuts": {}, "frames": [],
            "received": []}  # fmt: skip
    try:
        TagPicture.read(good | lie, TABLE)
    except SnapshotError:
        return


def test_who_joins_in_the_middle_ends_with_what_everybody_has(tmp_path, store):
    """A publisher counts up all the time; a joiner subscribes, takes the picture, cuts, and is never behind it."""
    clock = SystemClock()
    field, late = Bus(tmp_path, "field", clock, TABLE.n), Bus(tmp_path, "hmi", clock, TABLE.n)
    writer, publisher = store.writer("field"), field.publisher()
    service = SnapshotService(store, clock, late.marks)
    stop, last = threading.Event(), [0]

    def publish():
        value = 0
        while not stop.is_set():
            value += 1
            ids, values, quality, times = columns(value, k=50)
            writer.write(ids.astype(np.int32), values, quality, times, clock.mono_ns())
            publisher.scan(ids, values, quality, times)
            last[0] = value
            clock.wait_until_mono_ns(clock.mono_ns() + 200_000)

    worker = threading.Thread(target=publish)
    worker.start()
    try:
        for _ in range(5):
            subscriber = late.subscriber(["scan"], ["field"])
            while not subscriber.poll(100):
                pass
            picture = TagPicture.read(service.handle({}), TABLE)
            subscriber.cut(picture.cuts)
            start = picture.now.value[0]
            heard = []
            while len(heard) < 40 and subscriber.poll(2_000):
                if (scan := subscriber.receive()) is not None:
                    heard.append(scan.values[0])
                    picture.take(scan)
            assert heard == [heard[0] + index for index in range(40)]
            assert heard[0] <= start + 1, "nothing between the picture and the stream is missing"
            assert heard[0] >= start, "nothing older than the picture comes behind it"
            assert subscriber.gaps == {}
            assert picture.now.value[0] == heard[-1]
            subscriber.close()
    finally:
        stop.set()
        worker.join()
        field.close()
        late.close()


def test_a_joiner_that_missed_scans_between_picture_and_stream_is_told(tmp_path, store):
    clock = SystemClock()
    field, late = Bus(tmp_path, "field", clock, TABLE.n), Bus(tmp_path, "hmi", clock, TABLE.n)
    publisher = field.publisher()
    publisher.scan(*columns(1, k=5))
    picture = TagPicture.read(SnapshotService(store, clock, late.marks).handle({}), TABLE)
    assert picture.cuts == {"field": Cut(publisher.incarnation, 1)}
    for _ in range(3):
        publisher.scan(*columns(1, k=5))
    subscriber = late.subscriber(["scan"], ["field"])
    subscriber.cut(picture.cuts)
    while not subscriber.poll(20):
        publisher.scan(*columns(1, k=5))
    assert subscriber.receive().sequence > 3
    assert subscriber.gaps[("field", "scan")] >= 3
    field.close()
    late.close()
