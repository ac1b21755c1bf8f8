from __future__ import annotations

import errno
import os
import struct
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gwanje.core.bus.messages import Event
from gwanje.historian import archive
from gwanje.historian.archive import Sealer, read_points, write_points
from gwanje.historian.columns import Points, event_row
from gwanje.historian.config import HistorianConfig
from gwanje.historian.files import HistoryError
from gwanje.historian.manifest import read_manifest
from gwanje.historian.query import open_history
from gwanje.historian.recorder import Recorder
from gwanje.historian.sealing import seal_closed

DAY_NS = archive.DAY_NS
UTC0 = 1_767_225_600_000_000_000


def everything(directory: Path) -> list[tuple[str, int, float]]:
    with open_history(directory) as history:
        table = history.sql("select tag, utc_ns, value from points order by value")
    return [tuple(row.values()) for row in table.to_pylist()]


def data_files(directory: Path) -> list[str]:
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*.parquet"))


def test_sealing_moves_points_and_events_out_of_the_spool_unchanged(recorder, feed) -> None:
    feed(recorder, 0, 300)
    recorder.add_event(event_row(Event("system", "historian", "x", 9, 0, "가", "a", data={"n": 1})))
    recorder.flush()
    recorder.commit()
    before = everything(recorder.directory)
    with open_history(recorder.directory) as history:
        events = history.sql("select * from events").to_pylist()
    recorder.roll()
    assert seal_closed(recorder) == 2
    assert not list((recorder.directory / "spool").rglob("*.sp"))
    assert everything(recorder.directory) == before
    assert len(before) == 300
    with open_history(recorder.directory) as history:
        assert history.sql("select * from events").to_pylist() == events
    assert data_files(recorder.directory) == [
        "data/events/1970/01/01/00000000000000000000-00000000000000000001.parquet",
        "data/points/2026/01/01/00000000000000000000-00000000000000000300.parquet",
    ]


def test_files_are_sorted_by_name_then_time_and_stand_by_themselves(recorder, feed) -> None:
    feed(recorder, 0, 30)
    feed(recorder, 30, 30, utc_ns=UTC0 - 5_000_000_000)
    recorder.commit()
    recorder.roll()
    seal_closed(recorder)
    (path,) = [recorder.directory / name for name in data_files(recorder.directory) if "2026" in name]
    rows = pq.read_table(path).to_pylist()
    keys = [(row["tag"], row["utc_ms"]) for row in rows]
    assert keys == sorted(keys)
    assert all(row["x"] is None and row["s"] == 0 for row in rows)
    assert pq.read_schema(path).metadata[b"gwanje.end"] == b"60"


def test_every_day_has_its_folder_and_a_mad_clock_does_not_make_thousands(recorder, feed) -> None:
    for number in range(40):
        feed(recorder, number * 3, 3, utc_ns=UTC0 + number * 3 * DAY_NS, step_ns=0)
    feed(recorder, 1000, 30, utc_ns=UTC0, step_ns=0)
    feed(recorder, 2000, 3, utc_ns=-(2**63), step_ns=0)
    feed(recorder, 3000, 3, utc_ns=2**63 - 1, step_ns=0)
    recorder.commit()
    with open_history(recorder.directory) as history:
        assert history.sql("select ts from points").num_rows == 156
    before = everything(recorder.directory)
    recorder.roll()
    seal_closed(recorder)
    folders = {name.rpartition("/")[0] for name in data_files(recorder.directory)}
    assert len(folders) == archive.DAYS_MAX + 1
    assert "data/points/2026/01/01" in folders
    assert "data/points/other" in folders
    assert everything(recorder.directory) == before
    assert len(before) == 156


def test_points_of_one_instant_are_all_kept(recorder, feed) -> None:
    for _ in range(4):
        feed(recorder, 0, 3, step_ns=0)
    recorder.commit()
    recorder.roll()
    seal_closed(recorder)
    assert len(everything(recorder.directory)) == 12


class KilledError(BaseException):
    """Stands for kill -9 at this very call."""


STEPS = ["open", "fsync", "replace", "directory", "manifest before", "manifest after", "unlink"]


@pytest.mark.parametrize("step", STEPS)
def test_a_seal_killed_at_any_step_neither_loses_nor_doubles(recorder, feed, table, clock, monkeypatch, step) -> None:
    for number in range(3):
        feed(recorder, number * 30, 30, utc_ns=UTC0 + number * DAY_NS // 2)
        recorder.commit()
        recorder.roll()
    before = everything(recorder.directory)

    def killed(*_args: object, **_keywords: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        _break(patch, step, recorder, killed)
        with pytest.raises(KilledError):
            seal_closed(recorder)
    assert everything(recorder.directory) == before, "a query in the middle of it"
    recorder.close()
    again = Recorder(recorder.directory, table, HistorianConfig(), clock)
    assert again.counts().points_acknowledged == 90
    again.roll()
    seal_closed(again)
    assert everything(recorder.directory) == before
    assert not list((recorder.directory / "spool" / "points").iterdir())
    assert len(data_files(recorder.directory)) == len(
        [file for one in read_manifest(recorder.directory)["points"] for file in one.files]
    ), "no orphans"


def _break(patch: pytest.MonkeyPatch, step: str, recorder: Recorder, killed) -> None:
    if step == "open":
        patch.setattr(pq, "ParquetWriter", killed)
    elif step == "fsync":
        patch.setattr(os, "fsync", killed)
    elif step == "replace":
        patch.setattr(os, "replace", killed)
    elif step == "directory":
        patch.setattr(archive, "fsync_directory", killed)
    elif step == "manifest before":
        patch.setattr(recorder.manifest, "append", killed)
    elif step == "manifest after":
        append = recorder.manifest.append
        patch.setattr(recorder.manifest, "append", lambda record: (append(record), killed()))
    else:
        patch.setattr(recorder._disk, "unlink", killed)


def test_a_seal_is_interrupted_between_row_groups_and_done_later(recorder, feed) -> None:
    feed(recorder, 0, 30)
    recorder.commit()
    recorder.roll()
    assert seal_closed(recorder, stopping=lambda: True) == 0
    assert read_manifest(recorder.directory)["points"] == []
    assert not list(recorder.directory.rglob("*.new"))
    assert seal_closed(recorder) == 1
    assert len(everything(recorder.directory)) == 30


def test_a_full_disk_leaves_the_segment_in_the_spool(recorder, feed, monkeypatch) -> None:
    feed(recorder, 0, 30)
    recorder.commit()
    recorder.roll()

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "injected")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="injected"):
            seal_closed(recorder)
    assert len(everything(recorder.directory)) == 30
    assert not list(recorder.directory.rglob("*.new"))
    assert seal_closed(recorder) == 1
    assert len(everything(recorder.directory)) == 30


def test_a_damaged_frame_is_missing_from_count_and_archive_alike(recorder, feed, table, clock) -> None:
    for number in range(3):
        feed(recorder, number * 10, 10)
        recorder.commit()
    recorder.close()
    (segment,) = (recorder.directory / "spool" / "points").iterdir()
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 4
    segment.write_bytes(content)
    again = Recorder(recorder.directory, table, HistorianConfig(), clock)
    assert again.counts().points_acknowledged == 20
    again.roll()
    seal_closed(again)
    assert [row[2] for row in everything(recorder.directory)] == [*range(10), *range(20, 30)]
    again.close()
    assert Recorder(recorder.directory, table, HistorianConfig(), clock).counts().points_acknowledged == 20


def test_segments_kept_for_a_forwarder_do_not_count_twice(recorder, feed, table, clock) -> None:
    feed(recorder, 0, 30)
    recorder.commit()
    recorder.roll()
    seal_closed(recorder, keep_points_from=10)
    assert list((recorder.directory / "spool" / "points").iterdir())
    assert len(everything(recorder.directory)) == 30
    recorder.close()
    again = Recorder(recorder.directory, table, HistorianConfig(), clock)
    assert again.counts().points_acknowledged == 30
    feed(again, 30, 3)
    again.commit()
    seal_closed(again, keep_points_from=30)
    assert [path.name for path in (recorder.directory / "spool" / "points").iterdir()] == [f"{30:020d}.sp"]
    assert len(everything(recorder.directory)) == 33


@pytest.mark.parametrize("content", [b"nonsense\n{}\n", b"00000000 {}\n00000000 {}\n"])
def test_a_damaged_manifest_is_one_clear_error(recorder, table, clock, content: bytes) -> None:
    recorder.close()
    (recorder.directory / "manifest.jsonl").write_bytes(content)
    with pytest.raises(HistoryError, match=r"manifest\.jsonl: line 1 is damaged"):
        Recorder(recorder.directory, table, HistorianConfig(), clock)


def test_a_torn_last_line_of_the_manifest_is_cut(recorder, feed, table, clock) -> None:
    for _ in range(2):
        feed(recorder, 0, 30)
        recorder.commit()
        recorder.roll()
    seal_closed(recorder, keep_points_from=0)
    recorder.close()
    manifest = recorder.directory / "manifest.jsonl"
    whole = manifest.read_bytes()
    first = whole.index(b"\n") + 1
    for length in range(first, len(whole)):
        manifest.write_bytes(whole[:length])
        again = Recorder(recorder.directory, table, HistorianConfig(), clock)
        assert again.counts().points_acknowledged == 60
        assert len(again.points.ranges) == 1
        again.close()
        assert manifest.read_bytes() == whole[:first]


ANY_DOUBLE = st.one_of(
    st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack("<d", struct.pack("<Q", bits))[0]),
    st.sampled_from([0.0, -0.0, float("nan"), float("inf"), 5e-324, 0.1, 230.15]),
    st.decimals(-1000, 1000, places=2).map(float),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(-(2**63), 2**63 - 1), ANY_DOUBLE), min_size=1, max_size=40))
def test_parquet_and_sql_give_every_double_back(tmp_path: Path, rows: list[tuple[int, int, float]]) -> None:
    rows = sorted(rows, key=lambda row: row[:2])
    tag, utc_ns, value = (
        np.array(column, dtype) for column, dtype in zip(zip(*rows, strict=True), ("i8", "i8", "f8"), strict=True)
    )
    points = Points(utc_ns, tag.astype(np.uint32), value, np.arange(len(rows), dtype=np.uint16))
    path = tmp_path / "x.parquet"
    order = np.arange(len(rows))
    write_points(path, points, order, tag.astype(np.int32), [f"a.b.{number}" for number in range(5)])
    ((names, back),) = list(read_points(path))
    np.testing.assert_array_equal(back.value.view(np.uint64), value.view(np.uint64))
    np.testing.assert_array_equal(back.utc_ns, points.utc_ns)
    assert [names[at] for at in back.tag] == [f"a.b.{at}" for at in tag]


def test_row_groups_have_only_their_own_names(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(archive, "ROW_GROUP", 10)
    k = 35
    points = Points(np.arange(k), np.zeros(k, np.uint32), np.arange(k) / 4, np.zeros(k, np.uint16))
    ranks = np.repeat(np.arange(7), 5).astype(np.int32)
    write_points(tmp_path / "x.parquet", points, np.arange(k), ranks, [f"t{number}" for number in range(7)])
    groups = list(read_points(tmp_path / "x.parquet"))
    assert [names for names, _ in groups] == [["t0", "t1"], ["t2", "t3"], ["t4", "t5"], ["t6"]]
    np.testing.assert_array_equal(np.concatenate([points.value for _, points in groups]), points.value)


def test_sealer_says_what_hinders_it(recorder, feed) -> None:
    sealer = Sealer(recorder.directory, recorder.manifest)
    feed(recorder, 0, 3)
    recorder.commit()
    recorder.roll()
    (closed,) = recorder.points.closed()
    sealed = sealer.seal_points(closed.segment, closed.first, closed.end, ["only one name"])
    assert sealed.count == 3
    with open_history(recorder.directory) as history:
        tags = history.sql("select distinct tag from points order by tag").column(0).to_pylist()
    assert tags == ["#1", "#2", "only one name"]
