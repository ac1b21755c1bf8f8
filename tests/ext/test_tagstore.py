"""The store's kernel against a plain twin, under writers that race and die."""

import os
import subprocess
import sys

import numpy as np
import pytest

from gwanje.core.store import Snapshot, StoreError, TagStore
from gwanje.core.tags import BLOCK, Tag, TagTable
from gwanje.ext.tagstore import BLOCK_BYTES, StoreView

BAD_STALE = 0x8001


def table(n: int = 1500, stale_after_s: float = 0.0) -> TagTable:
    tags = [Tag(f"a.b.t{i}", "W", "field", stale_after_s=stale_after_s) for i in range(n)]
    return TagTable.build([*tags, Tag("a.c.x", "", "control")])


def view(blocks: int = 2, stale_ns: int = 0) -> StoreView:
    return StoreView(np.zeros(blocks * BLOCK_BYTES, np.uint8), np.full(blocks * BLOCK, stale_ns, np.int64))


def test_random_writes_agree_with_the_twin():
    rng = np.random.default_rng(7)
    store = view(3)
    twin = Snapshot.empty(store.n)
    twin.value[:] = 0.0
    for _ in range(200):
        ids = np.sort(rng.choice(store.n, rng.integers(1, 400), replace=False)).astype(np.int32)
        values = rng.normal(size=len(ids))
        quality = rng.integers(0, 4096, len(ids)).astype(np.uint16)
        times = rng.integers(0, 2**60, len(ids))
        now = int(rng.integers(1, 2**40))
        store.write(ids, values, quality, times, now)
        twin.value[ids], twin.quality[ids], twin.source_utc_ns[ids], twin.received_mono_ns[ids] = (
            values, quality, times, now,
        )  # fmt: skip
    got = Snapshot.empty(store.n)
    store.snapshot(0, got.value, got.quality, got.source_utc_ns, got.received_mono_ns)
    for name in ("value", "quality", "source_utc_ns", "received_mono_ns"):
        np.testing.assert_array_equal(getattr(got, name), getattr(twin, name))
    some = rng.integers(0, store.n, 500).astype(np.int32)
    part = Snapshot.empty(500)
    store.read(some, 0, part.value, part.quality, part.source_utc_ns, part.received_mono_ns)
    np.testing.assert_array_equal(part.value, twin.value[some])


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
from gwanje.core.store import TagStore
from gwanje.core.tags import Tag, TagTable

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


def test_no_snapshot_is_torn_while_a_writer_races(race):
    store, start = race
    start()
    out = Snapshot.empty(store.table.n)
    first = store.table.range_of("field")[0]
    block = slice(first, first + 1024)
    seen = set()
    while len(seen) < 2_000:
        store.snapshot(out)
        turns = np.unique(out.source_utc_ns[block])
        assert len(turns) == 1, f"torn: {turns}"
        assert (out.value[block] == turns[0]).all()
        assert (out.received_mono_ns[block] == turns[0]).all()
        seen.add(int(turns[0]))


def test_a_killed_writer_leaves_a_whole_block_and_its_place(race):
    store, start = race
    out = Snapshot.empty(store.table.n)
    first = store.table.range_of("field")[0]
    for _ in range(5):
        writer = start()
        writer.kill()
        writer.wait()
        store.snapshot(out)
        assert len(np.unique(out.source_utc_ns[first : first + 1024])) == 1
    store.writer("field").close()


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
