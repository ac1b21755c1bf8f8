"""The store's kernel against its numpy twin, under writers that race and die."""

import math
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gwanje.core.clock import NS_PER_S
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.store import ChangeFilter, Overrides, Sample, Snapshot, StoreError, TagStore
from gwanje.core.tags.table import BLOCK, Tag, TagTable
from gwanje.ext import tagstore
from gwanje.ext.reference import tagstore as reference
from gwanje.ext.tagstore import BLOCK_BYTES, COMMON_BYTES, NOT_SEEN, OVERRIDES_MAX, StoreView

BAD_STALE = 0x8001


def table(n: int = 1500, stale_after_s: float = 0.0) -> TagTable:
    tags = [Tag(f"a.b.t{i}", "W", "field", stale_after_s=stale_after_s) for i in range(n)]
    return TagTable.build([*tags, Tag("a.c.x", "", "control")])


def view(blocks: int = 2, stale_ns: int = 0) -> StoreView:
    return StoreView(np.zeros(blocks * BLOCK_BYTES, np.uint8), np.full(blocks * BLOCK, stale_ns, np.int64))


COLUMNS = ("value", "quality", "source_utc_ns", "received_mono_ns")


def columns(snapshot: Snapshot) -> tuple:
    return tuple(getattr(snapshot, name) for name in COLUMNS)


def overrides(*entries: tuple[int, float, int, int, int, int]) -> tuple:
    """Columns of (id, value, quality, source, received, until) in the order of the ids."""
    ordered = sorted(entries)
    types = (np.int32, np.float64, np.uint16, np.int64, np.int64, np.int64)
    return tuple(np.array([one[k] for one in ordered], dtype) for k, dtype in enumerate(types))


SECONDS = st.integers(1, 2**40)
IDS = st.integers(0, 2 * BLOCK - 1)
OVERRIDE = st.tuples(st.floats(allow_nan=False), st.sampled_from([32, 0x4080]), SECONDS, st.integers(0, 2**40), SECONDS)
STEP = st.one_of(
    st.tuples(st.just("write"), st.dictionaries(IDS, st.floats(), max_size=30), st.integers(0, 0xFFFF), SECONDS),
    st.tuples(st.just("override"), st.dictionaries(IDS, OVERRIDE, max_size=20)),
    st.tuples(st.just("flag"), st.sampled_from([0, 4096])),
    st.tuples(st.just("read"), st.lists(IDS, min_size=1, max_size=40), st.one_of(st.just(0), SECONDS)),
    st.tuples(st.just("snapshot"), SECONDS),
)


@settings(deadline=None, max_examples=150)
@given(st.lists(STEP, max_size=25), st.integers(0, 2**41))
def test_whatever_is_done_the_kernel_agrees_with_its_twin(steps: list, stale_ns: int) -> None:
    store = view(2, stale_ns)
    twin = reference.ReferenceStore(np.full(store.n, stale_ns, np.int64))
    kept, seen, until, last_ns = Snapshot.empty(store.n), np.full(2, NOT_SEEN, np.uint64), np.zeros(2, np.int64), 0
    everything = np.arange(store.n, dtype=np.int32)
    for step in steps:
        match step:
            case ("write", samples, quality, now):
                ids = np.array(sorted(samples), np.int32)
                values = np.array([samples[int(one)] for one in ids])
                k = len(ids)
                args = (ids, values, np.full(k, quality, np.uint16), np.arange(k, dtype=np.int64), now)
                store.write(*args)
                twin.write(*args)
            case ("override", entries):
                twin.overrides = dict(entries)
                store.override(*overrides(*((one, *rest) for one, rest in entries.items())))
            case ("flag", bits):
                twin.quality_flags = store.quality_flags = bits
            case ("read", some, now):
                got = Snapshot.empty(len(some))
                store.read(np.array(some, np.int32), now, *columns(got))
                for mine, theirs in zip(columns(got), twin.read(np.array(some, np.int32), now), strict=True):
                    np.testing.assert_array_equal(mine, theirs)
                out = np.zeros(OVERRIDES_MAX, np.int32)
                assert out[: store.overridden(now, out)].tolist() == twin.overridden(now)
            case ("snapshot", now):
                last_ns = max(last_ns, now)
                fresh = Snapshot.empty(store.n)
                store.snapshot(last_ns, *columns(fresh))
                store.snapshot(last_ns, *columns(kept), seen, until)
                for mine, again, theirs in zip(
                    columns(fresh), columns(kept), twin.read(everything, last_ns), strict=True
                ):
                    np.testing.assert_array_equal(mine, theirs)
                    np.testing.assert_array_equal(again, theirs, err_msg="brought up to date")


SAMPLE = st.tuples(
    st.one_of(st.sampled_from([0.0, 1.0, 1.5, math.nan, math.inf, -math.inf]), st.floats(-10, 10)),
    st.sampled_from([0, 0x8001]),
)


@settings(deadline=None)
@given(st.data(), st.integers(1, 200), st.integers(0, 2**32 - 1))
def test_changes_agree_with_their_twin(data: st.DataObject, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    deadband = rng.choice([0.0, 0.5, 2.0], n)
    last, twin_last = (np.zeros(n), np.zeros(n, np.uint16)), (np.zeros(n), np.zeros(n, np.uint16))
    out = np.empty(n, np.int32)
    for _ in range(data.draw(st.integers(1, 4))):
        value, quality = rng.normal(size=n).round(1), rng.choice([0, 0x8001], n, p=[0.9, 0.1]).astype(np.uint16)
        for position, (one, bits) in data.draw(st.dictionaries(st.integers(0, n - 1), SAMPLE, max_size=5)).items():
            value[position], quality[position] = one, bits
        found = out[: tagstore.changes(*last, value, quality, deadband, out)]
        np.testing.assert_array_equal(found, reference.changes(*twin_last, value, quality, deadband))
        np.testing.assert_array_equal(last[0], twin_last[0])
        np.testing.assert_array_equal(last[1], twin_last[1])


def test_a_slow_drift_is_told_once_it_has_left_the_deadband():
    told = ChangeFilter(np.array([1.0]))
    heard = [len(told.take(np.array([value]), np.zeros(1, np.uint16))) for value in (0.0, 0.6, 1.0, 1.1, 1.9, 2.1, 2.2)]
    assert heard == [1, 0, 0, 1, 0, 0, 1]


def test_a_filter_of_a_hundred_thousand_tags_tells_each_change_once():
    n, rng = 100_000, np.random.default_rng(3)
    told = ChangeFilter(np.full(n, 0.5))
    value, quality = rng.normal(size=n), np.zeros(n, np.uint16)
    assert len(told.take(value, quality)) == n
    moved = np.sort(rng.choice(n, n // 10, replace=False))
    value[moved] += 1.0
    np.testing.assert_array_equal(told.take(value, quality), moved)
    assert len(told.take(value, quality)) == 0


@pytest.mark.parametrize("short", range(6))
def test_columns_that_do_not_fit_changes_are_refused(short):
    good = [np.zeros(8, dtype) for dtype in ("f8", "u2", "f8", "u2", "f8", "i4")]
    good[short] = good[short][:7]
    with pytest.raises(ValueError, match="different length"):
        tagstore.changes(*good)


def test_overrides_that_cannot_be_are_refused():
    store, entry = view(), (1.0, 32, 1, 0, 9)
    with pytest.raises(ValueError, match="at most 512"):
        store.override(*overrides(*((one, *entry) for one in range(OVERRIDES_MAX + 1))))
    for ids in ([2, 1], [1, 1], [-1], [2 * BLOCK]):
        columns_of = overrides(*((one, *entry) for one in ids))
        with pytest.raises(ValueError, match="not ascending inside"):
            store.override(np.array(ids, np.int32), *columns_of[1:])
    with pytest.raises(ValueError, match="different length"):
        store.override(*overrides((1, *entry))[:5], np.zeros(2, np.int64))
    with pytest.raises(ValueError, match="room for"):
        store.overridden(1, np.zeros(3, np.int32))
    with pytest.raises(ValueError, match="common region"):
        StoreView(np.zeros(BLOCK_BYTES, np.uint8), np.zeros(BLOCK, np.int64), np.zeros(COMMON_BYTES - 1, np.uint8))
    with pytest.raises(ValueError, match="one per block"):
        store.snapshot(1, *columns(Snapshot.empty(store.n)), np.zeros(3, np.uint64), np.zeros(2, np.int64))
    with pytest.raises(ValueError, match="one per block"):
        store.snapshot(1, *columns(Snapshot.empty(store.n)), np.zeros(2, np.uint64))


def test_a_full_set_of_overrides_serves_first_and_last():
    store = view()
    store.override(*overrides(*((4 * one, float(one), 32, 7, 0, 100) for one in range(OVERRIDES_MAX))))
    out = Snapshot.empty(4)
    store.read(np.array([0, 4 * (OVERRIDES_MAX - 1), 1, 2047], np.int32), 50, *columns(out))
    assert out.value.tolist() == [0.0, OVERRIDES_MAX - 1.0, 0.0, 0.0]
    assert out.quality.tolist() == [32, 32, 0, 0]


def test_old_values_turn_bad_and_keep_their_reasons():
    store = view(1, stale_ns=1000)
    ids = np.array([3], np.int32)
    store.write(ids, np.array([1.0]), np.array([2048], np.uint16), np.array([5]), 10_000)
    out = Snapshot.empty(store.n)
    store.snapshot(11_000, out.value, out.quality, out.source_utc_ns, out.received_mono_ns)
    assert out.quality[3] == 2048
    store.snapshot(11_001, out.value, out.quality, out.source_utc_ns, out.received_mono_ns)
    assert out.quality[3] == 2048 | BAD_STALE
    assert out.value[3] == 1.0


def test_a_value_from_the_future_is_stale_however_it_is_read_until_its_time_has_come():
    store = view(1, stale_ns=1000)
    later, now = 10 * NS_PER_S, 5 * NS_PER_S
    ids = np.array([3], np.int32)
    store.write(ids, np.array([1.0]), np.array([0], np.uint16), np.array([5]), later)
    kept, one = Snapshot.empty(store.n), Snapshot.empty(1)
    seen, fresh = np.full(1, NOT_SEEN, np.uint64), np.zeros(1, np.int64)
    for at, wanted in (
        (now, BAD_STALE), (now + 1, BAD_STALE), (later - NS_PER_S - 1, BAD_STALE), (later - NS_PER_S, 0), (later, 0),
        (later + 1000, 0), (later + 1001, BAD_STALE),
    ):  # fmt: skip
        store.snapshot(at, *columns(kept), seen, fresh)
        store.read(ids, at, *columns(one))
        assert (int(kept.quality[3]), int(one.quality[0])) == (wanted, wanted), at


def test_no_reader_meets_overrides_of_two_turns():
    """Either all of the first set lie over the tags or the one of the second; never some of both."""
    store = StoreView(np.zeros(BLOCK_BYTES, np.uint8), np.zeros(BLOCK, np.int64), np.zeros(COMMON_BYTES, np.uint8))
    many = overrides(*((one, 1.0, 32, 1, 0, 100) for one in range(OVERRIDES_MAX)))
    few = overrides((BLOCK - 1, 2.0, 32, 1, 0, 100))
    stop = threading.Event()

    def turn() -> None:
        while not stop.is_set():
            store.override(*many)
            store.override(*few)

    store.override(*many)
    writer = threading.Thread(target=turn)
    writer.start()
    out = Snapshot.empty(store.n)
    try:
        for _ in range(20_000):
            store.snapshot(1, *columns(out))
            first, last = int((out.value[:OVERRIDES_MAX] == 1.0).sum()), out.value[BLOCK - 1]
            assert (first, last) in ((OVERRIDES_MAX, 0.0), (0, 2.0))
    finally:
        stop.set()
        writer.join()


@pytest.mark.parametrize("bad", [[-1], [BLOCK * 2], [5, BLOCK * 2]])
def test_ids_outside_the_store_are_refused(bad):
    ids = np.array(bad, np.int32)
    k = len(bad)
    with pytest.raises(ValueError, match="outside the store"):
        view().write(ids, np.zeros(k), np.zeros(k, np.uint16), np.zeros(k, np.int64), 0)


def test_columns_of_different_length_are_refused():
    with pytest.raises(ValueError, match="different length"):
        view().write(np.zeros(2, np.int32), np.zeros(1), np.zeros(2, np.uint16), np.zeros(2, np.int64), 0)


RACER = """
import sys
from pathlib import Path
import numpy as np
from gwanje.core.tags.store import TagStore
from gwanje.core.tags.table import Tag, TagTable

tags = [Tag(f"a.b.t{i}", "W", "field") for i in range(1500)]
store = TagStore.attach(Path(sys.argv[1]), TagTable.build([*tags, Tag("a.c.x", "", "control")]))
writer = store.writer("field")
first = store.table.range_of("field")[0]
ids = np.arange(first, first + 1024, dtype=np.int32)
turn = int(store.view.sequence(first // 1024))
while True:
    turn += 1
    writer.write(ids, np.full(1024, float(turn)), np.full(1024, turn & 1023, np.uint16), np.full(1024, turn), turn)
"""


@pytest.fixture
def race(tmp_path):
    """A store with a process that writes whole blocks as fast as it can; call to start one, kill to end it."""
    store = TagStore.create(tmp_path / "tags", table())
    running = []

    def start():
        running.append(subprocess.Popen([sys.executable, "-c", RACER, str(tmp_path / "tags")]))
        first_block = store.table.range_of("field")[0] // BLOCK
        before = store.view.sequence(first_block)
        while store.view.sequence(first_block) < before + 50:
            assert running[-1].poll() is None, "the writer died"
            os.sched_yield()
        return running[-1]

    yield store, start
    for process in running:
        process.kill()
        process.wait()


@pytest.mark.parametrize("way", ["whole", "aged", "brought up to date"])
def test_no_snapshot_is_torn_while_a_writer_races(race, way):
    store, start = race
    start()
    out = Snapshot.empty(store.table.n)
    first = store.table.range_of("field")[0]
    block = slice(first, first + 1024)
    take = {
        "whole": lambda: store.snapshot(out),
        "aged": lambda: store.view.snapshot(1, *columns(out)),
        "brought up to date": lambda: store.snapshot_at(1, out),
    }[way]
    seen = set()
    while len(seen) < 2_000:
        take()
        turns = np.unique(out.source_utc_ns[block])
        assert len(turns) == 1, f"torn: {turns}"
        assert (out.value[block] == turns[0]).all()
        assert (out.received_mono_ns[block] == turns[0]).all()
        seen.add(int(turns[0]))


def test_a_killed_writer_leaves_a_whole_block_and_its_place(race):
    """Killed at random moments: readers find one turn; the next writer heals the other copy."""
    store, start = race
    out, rng = Snapshot.empty(store.table.n), np.random.default_rng(5)
    first = int(store.table.range_of("field")[0])
    half = np.arange(first, first + 512, dtype=np.int32)
    for _ in range(25):
        writer = start()
        until = store.view.sequence(first // BLOCK) + int(rng.integers(1, 3_000))
        while store.view.sequence(first // BLOCK) < until:
            os.sched_yield()
        writer.kill()
        writer.wait()
        store.snapshot(out)
        turns = np.unique(out.source_utc_ns[first : first + 1024])
        assert len(turns) == 1
        assert (out.value[first : first + 1024] == turns[0]).all()
        # A write of one half goes into the other copy: unless that was healed, its second half is of another turn.
        heir = store.writer("field")
        heir.write(half, np.full(512, -1.0), np.zeros(512, np.uint16), np.full(512, -1), 1)
        store.snapshot(out)
        assert set(out.source_utc_ns[first : first + 512].tolist()) == {-1}
        assert set(out.source_utc_ns[first + 512 : first + 1024].tolist()) == {int(turns[0])}
        heir.close()


def test_one_writer_per_owner(tmp_path):
    store = TagStore.create(tmp_path / "tags", table())
    writer = store.writer("field")
    with pytest.raises(StoreError, match="another process writes"):
        store.writer("field")
    foreign = np.array([store.table.index("a.c.x")], np.int32)
    with pytest.raises(StoreError, match="may write ids"):
        writer.write(foreign, np.zeros(1), np.zeros(1, np.uint16), np.zeros(1, np.int64), 0)
    writer.close()
    store.writer("field").close()


def test_attach_refuses_another_layout_and_other_files(tmp_path):
    TagStore.create(tmp_path / "tags", table())
    with pytest.raises(StoreError, match="other tag files"):
        TagStore.attach(tmp_path / "tags", table(1600))
    (tmp_path / "junk").write_bytes(b"x" * 10_000)
    with pytest.raises(StoreError, match="not a tag store"):
        TagStore.attach(tmp_path / "junk", table())
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(StoreError, match="cannot attach"):
        TagStore.attach(tmp_path / "empty", table())
    with pytest.raises(StoreError, match="cannot attach"):
        TagStore.attach(tmp_path / "absent", table())


# ---------------------------------------------------------------- what lies over the tags


OVERRIDER = """
import sys
from pathlib import Path
import numpy as np
from gwanje.core.tags.store import Overrides, TagStore
from gwanje.core.tags.table import Tag, TagTable

tags = [Tag(f"a.b.t{i}", "W", "field") for i in range(1500)]
store = TagStore.attach(Path(sys.argv[1]), TagTable.build([*tags, Tag("a.c.x", "", "control")]))
writer = store.common_writer()
first = store.table.range_of("field")[0]
print("ready", flush=True)
turn = 0
while True:
    turn = turn % 500 + 1
    ids = np.arange(first, first + turn, dtype=np.int32)
    times = np.full(turn, turn, np.int64)
    writer.override(Overrides(ids, np.full(turn, float(turn)), np.full(turn, 32, np.uint16), times, times,
                              np.full(turn, 2**62)))
"""


def start_overrider(path):
    process = subprocess.Popen([sys.executable, "-c", OVERRIDER, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_no_reader_meets_half_an_override_however_often_their_writer_is_killed(tmp_path):
    store = TagStore.create(tmp_path / "tags", table())
    first = store.table.range_of("field")[0]
    ids = np.arange(first, first + 600, dtype=np.int32)
    out, many, rng = Snapshot.empty(store.table.n), Snapshot.empty(600), np.random.default_rng(11)

    def check(value, source, received):
        over = np.flatnonzero(source)
        assert (value[over] == source[over]).all(), "value and time are of two turns"
        assert (received[over] == source[over]).all()

    for _ in range(15):
        process = start_overrider(tmp_path / "tags")
        before = store.view.override_turns
        while store.view.override_turns < before + int(rng.integers(1, 2_000)):
            store.snapshot_at(5, out)
            check(out.value, out.source_utc_ns, out.received_mono_ns)
            store.read_many(ids, 5, many)
            check(many.value, many.source_utc_ns, many.received_mono_ns)
        process.kill()
        process.wait()
        over = store.overridden(5)
        sources = store.read_many(over.copy(), 5).source_utc_ns
        assert len(np.unique(sources)) == 1, "a set of two turns"
        assert int(sources[0]) == len(over)
    store.common_writer().close()


def make_store(tmp_path):
    store = TagStore.create(tmp_path / "tags", table(stale_after_s=1e-6))
    return store, store.writer("field"), store.common_writer(), int(store.table.range_of("field")[0])


def test_a_substituted_value_is_good_and_fresh_until_its_end_whoever_reads(tmp_path):
    store, writer, common, first = make_store(tmp_path)
    writer.write_one(first, 5.0, Quality.SIMULATED, 11, 1_000)
    common.override(Overrides(*overrides((first, 7.0, int(Quality.SUBSTITUTED), 22, 0, 9_000))))
    for read in (lambda now: store.read(first, now), lambda now: sample_of(store.snapshot_at(now), first)):
        assert (read(8_999).value, read(8_999).quality) == (7.0, Quality.SUBSTITUTED | Quality.SIMULATED)
        assert (read(8_999).source_utc_ns, read(8_999).received_mono_ns) == (22, 8_999)
        ended = read(9_000)
        assert (ended.value, ended.source_utc_ns) == (5.0, 11)
        assert ended.quality == Quality.BAD | Quality.STALE | Quality.SIMULATED
    assert store.read(first).value == 5.0  # as its owner wrote it


def sample_of(snapshot, tag_id):
    return Sample(*(column[tag_id].item() for column in columns(snapshot)))


def test_a_blocked_value_is_frozen_and_ages_but_is_not_stale(tmp_path):
    store, writer, common, first = make_store(tmp_path)
    blocked = int(Quality.UNCERTAIN | Quality.BLOCKED)
    common.override(Overrides(*overrides((first, 5.0, blocked, 11, 1_000, 90_000))))
    writer.write_one(first, 6.0, Quality.GOOD, 33, 50_000)
    sample = store.read(first, 80_000)
    assert (sample.value, sample.quality, sample.received_mono_ns) == (5.0, blocked, 1_000)


def test_a_snapshot_brought_up_to_date_gives_back_what_was_overridden(tmp_path):
    store, writer, common, first = make_store(tmp_path)
    writer.write_one(first, 5.0, Quality.GOOD, 11, 1_000)
    out = Snapshot.empty(store.table.n)
    assert store.snapshot_at(1_000, out).value[first] == 5.0
    common.override(Overrides(*overrides((first, 7.0, 32, 22, 0, 9_000))))
    assert store.snapshot_at(1_001, out).value[first] == 7.0
    common.override(Overrides(*overrides()))
    assert store.snapshot_at(1_002, out).value[first] == 5.0
    assert store.snapshot(out).value[first] == 5.0
    assert store.snapshot_at(1_500, out).quality[first] == Quality.GOOD  # an earlier time than before is no trap either
    other = TagStore.create(tmp_path / "other", table(stale_after_s=1e-6))
    assert math.isnan(other.snapshot_at(2_000, out).value[first])


def test_a_snapshot_brought_up_to_date_ages_what_nobody_writes_at_its_own_time(tmp_path):
    tags = [Tag(f"a.b.t{number}", "", "field", stale_after_s=number * 1e-9) for number in range(300)]
    store = TagStore.create(tmp_path / "tags", TagTable.build(tags))
    ids = np.arange(300, dtype=np.int32)
    store.writer("field").write(ids, np.ones(300), np.zeros(300, np.uint16), ids.astype(np.int64), 1_000)
    out = Snapshot.empty(store.table.n)
    for age in (0, 1, 2, 3, 50, 51, 52, 299, 300, 10_000):
        stale = np.flatnonzero(store.snapshot_at(1_000 + age, out).quality[:300] & Quality.STALE)
        np.testing.assert_array_equal(stale, np.arange(1, min(age, 300)), err_msg=f"age {age}")


def test_flags_are_added_to_what_is_written_and_to_what_is_published(tmp_path):
    store, writer, common, first = make_store(tmp_path)
    columns_of = (np.array([first]), np.array([1.0]), np.zeros(1, np.uint16), np.array([5]))
    common.flag(Quality.TIME)
    writer.write_one(first, 1.0, Quality.GOOD, 5, 1_000)
    assert store.read(first, 1_000).quality == Quality.TIME
    assert store.outgoing(1_000, *columns_of)[2].tolist() == [Quality.TIME]
    common.flag(0)
    writer.write_one(first, 1.0, Quality.GOOD, 5, 1_000)
    assert store.read(first, 1_000).quality == Quality.GOOD
    assert store.outgoing(1_000, *columns_of)[2] is columns_of[2]  # nothing to do costs nothing
    with pytest.raises(AssertionError):
        common.flag(Quality.BAD)


def test_an_owner_does_not_publish_what_is_overridden(tmp_path):
    store, _, common, first = make_store(tmp_path)
    common.override(Overrides(*overrides((first + 1, 7.0, 32, 22, 0, 9_000))))
    scan = (np.arange(first, first + 3), np.arange(3.0), np.zeros(3, np.uint16), np.zeros(3, np.int64))
    assert store.outgoing(8_999, *scan)[0].tolist() == [first, first + 2]
    assert store.outgoing(8_999, *scan)[1].tolist() == [0.0, 2.0]
    assert store.outgoing(9_000, *scan)[0].tolist() == [first, first + 1, first + 2]


def test_one_process_writes_what_lies_over_the_tags(tmp_path):
    store, _, common, _ = make_store(tmp_path)
    with pytest.raises(StoreError, match="another process writes the overrides"):
        store.common_writer()
    common.close()
    store.common_writer().close()


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2 * BLOCK - 1), st.integers(1, 1_500)), min_size=1, max_size=4))
def test_neighbours_across_blocks_with_and_without_holes_are_written_as_they_are(ranges: list[tuple[int, int]]) -> None:
    ids = np.unique(np.concatenate([np.arange(first, min(first + n, 2 * BLOCK)) for first, n in ranges]))
    store, twin = view(), reference.ReferenceStore(np.zeros(2 * BLOCK, np.int64))
    store.quality_flags = twin.quality_flags = 4096
    for turn in (1, 2):
        written = ids.astype(np.int32), ids * 0.5 * turn, (ids % 7).astype(np.uint16), ids * 3 + turn
        store.write(*written, turn)
        twin.write(*written, turn)
        got = [np.zeros(2 * BLOCK, one) for one in (np.float64, np.uint16, np.int64, np.int64)]
        store.snapshot(0, *got)
        for name, column in zip(COLUMNS, got, strict=True):
            np.testing.assert_array_equal(column, getattr(twin, name))
    for wrong in (-1, 2 * BLOCK):
        with pytest.raises(ValueError, match="outside the store of 2048"):
            store.write(np.array([wrong], np.int32), np.ones(1), np.zeros(1, np.uint16), np.ones(1, np.int64), 1)
