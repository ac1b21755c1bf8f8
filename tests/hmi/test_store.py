"""The screen's snapshot: whole samples without a lock, newer beats older, age."""

import sys
import threading

import numpy as np
import pytest

from gwanje.core.tags.quality import Quality
from gwanje.hmi.store import Snapshot


def columns(n, value, mono_ns=1):
    return np.full(n, float(value)), np.full(n, value, np.uint16), np.full(n, value, np.int64), mono_ns


def test_a_fresh_snapshot_has_nothing():
    snapshot = Snapshot(np.zeros(4, np.int64))
    readings = snapshot.read(np.arange(4))
    assert np.isnan(readings.value).all()
    assert (readings.quality == Quality.BAD | Quality.NEVER).all()
    assert (readings.gen == 0).all()


def test_every_write_raises_the_generation_by_two():
    snapshot = Snapshot(np.zeros(8, np.int64))
    snapshot.write(np.array([2, 5]), *columns(2, 7))
    assert snapshot.gen.tolist() == [0, 0, 2, 0, 0, 2, 0, 0]
    assert snapshot.value[[2, 5]].tolist() == [7.0, 7.0]


def test_an_id_outside_of_the_table_is_an_error():
    with pytest.raises(IndexError):
        Snapshot(np.zeros(4, np.int64)).write(np.array([4]), *columns(1, 1))


def test_readers_never_see_half_a_sample():
    """One writer, two readers, 3000 writes: value, quality and source time always belong together."""
    n = 2_000
    snapshot = Snapshot(np.zeros(n, np.int64))
    ids = np.arange(n)
    stop, torn, reads = threading.Event(), [], []

    def read():
        count = 0
        while not stop.is_set():
            readings = snapshot.read(ids)
            count += 1
            known = ~np.isnan(readings.value)
            if (readings.value[known].astype(np.int64) & 0x3FF != readings.quality[known] & 0x3FF).any():
                torn.append(count)
            if (readings.gen & 1).any():
                torn.append(-count)
        reads.append(count)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for one in readers:
        one.start()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # as many chances to read in the middle of a write as possible
    try:
        for number in range(3_000):
            snapshot.write(ids, *columns(n, number & 0x3FF, number))
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        for one in readers:
            one.join(30)
    assert not torn
    assert len(reads) == 2
    assert all(count > 0 for count in reads)


def test_only_what_arrived_later_is_taken_over():
    snapshot = Snapshot(np.zeros(3, np.int64))
    snapshot.write(np.array([0, 1]), np.array([1.0, 1.0]), np.zeros(2, np.uint16), np.zeros(2, np.int64), 100)
    received = np.array([50, 150, 0])
    taken = snapshot.write_newer(np.full(3, 2.0), np.zeros(3, np.uint16), np.zeros(3, np.int64), received)
    assert taken == 1
    assert snapshot.value[:2].tolist() == [1.0, 2.0]
    assert np.isnan(snapshot.value[2])


def test_age_makes_stale_unless_the_tag_never_is():
    snapshot = Snapshot(np.array([0, 500, 500]))
    snapshot.write(np.array([0, 1, 2]), *columns(3, 1, mono_ns=np.array([1_000, 1_000, 1_600])))
    assert snapshot.stale(np.arange(3), 2_000).tolist() == [False, True, False]
