from __future__ import annotations

from pathlib import Path

import pytest

from gwanje.historian import archive
from gwanje.historian.follow import Follower, Position
from gwanje.historian.sealing import seal_closed


def follow(recorder, position: Position = Position()) -> tuple[list[float], Position]:  # noqa: B008
    """Everything behind a position, and where it ends."""
    follower = Follower(recorder.directory, lambda: recorder.points.spool.next_sequence)
    seen: list[float] = []
    while (stretch := follower.next(position)) is not None:
        seen += stretch.points.value.tolist()
        position = stretch.position(len(stretch.points))
    return seen, position


def segments(directory: Path) -> list[Path]:
    return sorted((directory / "spool" / "points").iterdir())


def test_the_spool_is_followed_as_it_grows(recorder, feed) -> None:
    follower = Follower(recorder.directory, lambda: recorder.points.spool.next_sequence)
    position = Position()
    assert follower.next(position) is None
    for number in range(5):
        feed(recorder, number * 6, 6)
        recorder.commit()
        if number == 2:
            recorder.roll()
        stretch = follower.next(position)
        assert stretch is not None
        assert stretch.points.value.tolist() == list(range(number * 6, number * 6 + 6))
        assert [stretch.names[tag] for tag in stretch.points.tag[:2]] == ["city.meter.load_w", "jincheon.ess1.soc"]
        position = stretch.position(6)
        assert follower.next(position) is None


def test_a_position_in_the_middle_goes_on_there(recorder, feed) -> None:
    for number in range(4):
        feed(recorder, number * 6, 6)
        recorder.commit()
    assert follow(recorder, Position(8)) == ([float(value) for value in range(8, 24)], Position(24))


def test_what_is_not_acknowledged_is_not_given_out(recorder, feed) -> None:
    feed(recorder, 0, 6)
    recorder.commit()
    feed(recorder, 6, 6)
    recorder.commit()
    follower = Follower(recorder.directory, lambda: 6)
    stretch = follower.next(Position())
    assert stretch is not None
    assert len(stretch.points) == 6
    assert follower.next(Position(6)) is None


def test_far_behind_the_sealed_files_are_followed(recorder, feed, monkeypatch) -> None:
    monkeypatch.setattr(archive, "ROW_GROUP", 7)
    for number in range(3):
        feed(recorder, number * 30, 30)
        recorder.commit()
        recorder.roll()
        seal_closed(recorder)
    feed(recorder, 90, 3)
    recorder.commit()
    assert len(segments(recorder.directory)) == 1
    seen, position = follow(recorder)
    assert sorted(seen) == list(range(93))
    assert position == Position(93)


@pytest.mark.parametrize("stop_after", range(0, 60, 7))
def test_a_sealed_range_is_finished_where_it_was_left(recorder, feed, monkeypatch, stop_after: int) -> None:
    monkeypatch.setattr(archive, "ROW_GROUP", 10)
    feed(recorder, 0, 30, utc_ns=1_767_225_600_000_000_000 - 500_000_000)  # two days
    feed(recorder, 30, 30)
    recorder.commit()
    recorder.roll()
    seal_closed(recorder)
    follower = Follower(recorder.directory, lambda: 60)
    position, seen = Position(), []
    while len(seen) < stop_after:
        stretch = follower.next(position)
        assert stretch is not None
        n = min(len(stretch.points), stop_after - len(seen))
        seen += stretch.points.value.tolist()[:n]
        position = stretch.position(n)
    rest, end = follow(recorder, position)
    assert sorted(seen + rest) == list(range(60))
    assert end == Position(60)


def test_a_range_that_was_sealed_meanwhile_is_delivered_again_not_skipped(recorder, feed) -> None:
    for number in range(2):
        feed(recorder, number * 6, 6)
        recorder.commit()
    _, position = follow(recorder)
    recorder.roll()
    seal_closed(recorder)
    assert follow(recorder, Position(6)) == ([float(v) for v in sorted(range(12), key=lambda v: v % 3)], Position(12))
    assert follow(recorder, position) == ([], Position(12))


def test_kept_segments_serve_a_follower_in_order(recorder, feed) -> None:
    for number in range(2):
        feed(recorder, number * 6, 6)
        recorder.commit()
    recorder.roll()
    seal_closed(recorder, keep_points_from=6)
    feed(recorder, 12, 3)
    recorder.commit()
    assert follow(recorder, Position(6)) == ([float(value) for value in range(6, 15)], Position(15))


def test_a_damaged_frame_is_passed_over(recorder, feed) -> None:
    for number in range(3):
        feed(recorder, number * 6, 6)
        recorder.commit()
    (path,) = segments(recorder.directory)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert follow(recorder) == ([*map(float, range(6)), *map(float, range(12, 18))], Position(18))
    content[-1] ^= 1
    path.write_bytes(content)
    assert follow(recorder) == ([*map(float, range(6))], Position(18))


def test_frames_larger_than_a_read_are_followed(recorder, feed, monkeypatch) -> None:
    monkeypatch.setattr("gwanje.historian.follow.READ_BYTES", 64)
    for number in range(3):
        feed(recorder, number * 60, 60)
        recorder.commit()
    assert follow(recorder) == ([float(value) for value in range(180)], Position(180))
