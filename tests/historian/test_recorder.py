from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest

from gwanje.core.bus.messages import Event
from gwanje.core.clock import NS_PER_S
from gwanje.historian.columns import event_row
from gwanje.historian.config import HistorianConfig
from gwanje.historian.dictionary import read_dictionary
from gwanje.historian.files import Disk, HistoryError
from gwanje.historian.query import open_history
from gwanje.historian.recorder import PENDING_EVENTS_MAX, Recorder, State
from gwanje.historian.sealing import seal_closed


def values(directory: Path) -> list[float]:
    with open_history(directory) as history:
        return history.sql("select value from points order by value").column(0).to_pylist()


def an_event(number: int = 0) -> Event:
    return Event("acoustic", "mic01", "glass_break", number, 0, "유리", "glass")


def test_a_commit_makes_everything_durable_with_one_sync(recorder, feed, disk) -> None:
    feed(recorder, 0, 30)
    assert recorder.counts().points_recorded == 30
    assert recorder.counts().points_acknowledged == 0
    assert recorder.commit()
    counts = recorder.counts()
    assert (counts.points_acknowledged, counts.pending_points, counts.state) == (30, 0, State.RECORDING)
    assert disk.calls.count("fdatasync") == 1
    assert values(recorder.directory) == list(range(30))


def test_events_are_durable_and_counted(recorder) -> None:
    recorder.add_event(event_row(an_event(7)))
    recorder.flush()
    recorder.commit()
    assert recorder.counts().events_acknowledged == 1
    with open_history(recorder.directory) as history:
        assert history.sql("select class, node, utc_ns from events").to_pylist() == [
            {"class": "glass_break", "node": "mic01", "utc_ns": 7}
        ]


def test_a_restart_takes_the_count_up_where_the_disk_has_it(recorder, feed, table, clock) -> None:
    feed(recorder, 0, 30)
    recorder.commit()
    feed(recorder, 30, 10)  # never committed: the process dies
    recorder.close()
    again = Recorder(recorder.directory, table, HistorianConfig(), clock)
    assert again.counts().points_recorded == again.counts().points_acknowledged == 30
    feed(again, 30, 5)
    again.commit()
    assert again.counts().points_acknowledged == 35
    assert values(recorder.directory) == list(range(35))
    with open_history(recorder.directory) as history:
        runs = history.sql("select run, first_point, points from runs order by run").to_pylist()
    assert runs == [
        {"run": 1, "first_point": 0, "points": 30},
        {"run": 2, "first_point": 30, "points": 5},
    ]


def test_the_count_survives_sealing_and_restart(recorder, feed, table, clock) -> None:
    feed(recorder, 0, 30)
    recorder.commit()
    recorder.roll()
    assert seal_closed(recorder) == 1
    feed(recorder, 30, 3)
    recorder.commit()
    assert recorder.counts().points_acknowledged == 33
    recorder.close()
    again = Recorder(recorder.directory, table, HistorianConfig(), clock)
    assert again.counts().points_acknowledged == 33


def test_names_keep_their_numbers_when_the_configuration_changes(recorder, feed, clock, make_table) -> None:
    feed(recorder, 0, 3)
    recorder.commit()
    recorder.close()
    changed = make_table("a.new.tag", "jincheon.pv.generation_w", "city.meter.load_w")
    again = Recorder(recorder.directory, changed, HistorianConfig(), clock)
    feed(again, 10, 3)
    again.commit()
    with open_history(recorder.directory) as history:
        rows = history.sql("select tag, value from points order by value").to_pylist()
    assert [(row["tag"], row["value"]) for row in rows] == [
        ("city.meter.load_w", 0.0),
        ("jincheon.ess1.soc", 1.0),
        ("jincheon.pv.generation_w", 2.0),
        ("a.new.tag", 10.0),
        ("jincheon.pv.generation_w", 11.0),
        ("city.meter.load_w", 12.0),
    ]
    assert [tag.name for tag in read_dictionary(recorder.directory / "tags.json")] == [
        "city.meter.load_w",
        "jincheon.ess1.soc",
        "jincheon.pv.generation_w",
        "a.new.tag",
    ]


def test_the_dictionary_is_on_the_disk_before_the_first_point(recorder, feed, monkeypatch) -> None:
    def refuse() -> None:
        raise OSError(errno.ENOSPC, "injected")

    feed(recorder, 0, 3)
    monkeypatch.setattr(recorder.dictionary, "save", refuse)
    assert not recorder.commit()
    assert recorder.counts().state is State.DISK_FULL
    assert recorder.points.spool.next_sequence == 0
    monkeypatch.undo()
    assert recorder.commit()
    assert values(recorder.directory) == [0, 1, 2]


def test_points_of_no_tag_are_counted_and_left_out(recorder) -> None:
    ids = np.array([0, 2, 5, 1023, 4_000_000_000], np.uint32)
    recorder.add_scan(ids, np.arange(5.0), np.zeros(5, np.uint16), np.zeros(5, np.int64))
    recorder.flush()
    recorder.commit()
    assert recorder.counts().points_unknown == 3
    assert recorder.counts().points_recorded == recorder.counts().points_acknowledged == 2
    assert values(recorder.directory) == [0, 1]


def test_a_full_disk_is_a_state_and_recording_resumes_by_itself(recorder, feed, disk) -> None:
    feed(recorder, 0, 30)
    disk.failures, disk.short = {"pwrite": [errno.ENOSPC, errno.ENOSPC]}, 17
    assert not recorder.commit()
    counts = recorder.counts()
    assert (counts.state, counts.points_acknowledged, counts.pending_points) == (State.DISK_FULL, 0, 30)
    assert "ENOSPC" in counts.reason
    feed(recorder, 30, 6)
    assert not recorder.commit()
    assert recorder.commit()
    counts = recorder.counts()
    assert (counts.state, counts.reason, counts.points_acknowledged) == (State.RECORDING, "", 36)
    assert values(recorder.directory) == list(range(36))


def test_the_reserve_of_the_disk_is_left_alone(recorder, feed, disk, clock) -> None:
    disk.space = 1000
    feed(recorder, 0, 3)
    assert not recorder.commit()
    assert recorder.counts().reason == "less space left than disk_reserve_mb"
    disk.space = 1 << 40
    assert recorder.commit()
    assert values(recorder.directory) == [0, 1, 2]


def test_a_sync_error_costs_nothing(recorder, feed, disk) -> None:
    feed(recorder, 0, 3)
    recorder.commit()
    disk.failures = {"fdatasync": [errno.EIO]}
    feed(recorder, 3, 3)
    assert recorder.commit()
    disk.failures = {"fdatasync": [errno.EIO, errno.EIO]}
    feed(recorder, 6, 3)
    assert not recorder.commit()
    assert recorder.counts().state is State.DISK_ERROR
    assert recorder.commit()
    assert values(recorder.directory) == list(range(9))


def test_memory_is_bounded_while_the_disk_refuses(tmp_path, table, clock, disk, feed) -> None:
    config = HistorianConfig(pending_points_max=10_000)
    recorder = Recorder(tmp_path / "h", table, config, clock, disk)
    disk.space = 0
    feed(recorder, 0, 12_000)
    counts = recorder.counts()
    assert counts.pending_points <= 10_000
    assert counts.points_refused == 12_000 - counts.pending_points
    for number in range(PENDING_EVENTS_MAX + 5):
        recorder.add_event(event_row(an_event(number)))
    recorder.flush()
    assert recorder.counts().events_refused == 5
    disk.space = 1 << 40
    clock.advance_ns(NS_PER_S)
    assert recorder.commit()
    assert recorder.counts().points_acknowledged == counts.pending_points == recorder.counts().points_recorded
    assert values(tmp_path / "h") == list(range(counts.pending_points))


def test_points_behind_a_failed_event_are_acknowledged_and_not_written_again(recorder, feed, disk) -> None:
    feed(recorder, 0, 3)
    recorder.add_event(event_row(an_event()))
    recorder.flush()
    disk.failures = {"fdatasync": [None, errno.EIO, errno.EIO]}
    assert not recorder.commit()
    assert recorder.counts().points_acknowledged == 3
    assert recorder.commit()
    assert recorder.counts().events_acknowledged == 1
    assert values(recorder.directory) == [0, 1, 2]


def test_an_old_segment_is_closed_though_it_is_small(recorder, feed, clock) -> None:
    feed(recorder, 0, 3)
    recorder.commit()
    assert recorder.points.closed() == []
    clock.advance_ns(901 * NS_PER_S)
    feed(recorder, 3, 3)
    recorder.commit()
    (closed,) = recorder.points.closed()
    assert (closed.first, closed.end) == (0, 6)


def test_a_second_recorder_is_refused(recorder, table, clock) -> None:
    with pytest.raises(HistoryError, match="another recorder"):
        Recorder(recorder.directory, table, HistorianConfig(), clock)
    recorder.close()
    Recorder(recorder.directory, table, HistorianConfig(), clock, Disk()).close()


def test_a_torn_tail_is_told_in_runs(recorder, feed, table, clock) -> None:
    feed(recorder, 0, 3)
    recorder.commit()
    recorder.close()
    (segment,) = (recorder.directory / "spool" / "points").iterdir()
    with open(segment, "ab") as file:
        file.write(b"GWSP half a frame")
    again = Recorder(recorder.directory, table, HistorianConfig(), clock)
    feed(again, 3, 3)
    again.commit()
    with open_history(recorder.directory) as history:
        assert history.sql("select torn_bytes from runs where run = 2").column(0).to_pylist() == [17]
    assert values(recorder.directory) == list(range(6))
