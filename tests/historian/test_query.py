from __future__ import annotations

import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gwanje.core.bus.messages import Event
from gwanje.historian import query
from gwanje.historian.columns import event_row
from gwanje.historian.files import HistoryError
from gwanje.historian.query import QueryError, open_history, render
from gwanje.historian.sealing import seal_closed


@pytest.fixture
def history(recorder, feed):
    """30 points archived, 6 in the spool, an event in each."""
    for first, n in ((0, 30), (30, 6)):
        feed(recorder, first, n)
        cry = Event("acoustic", "mic02", "baby_cry", first, 0, "아기 울음", "baby cry", 0.8, 0.5)
        recorder.add_event(event_row(cry))
        recorder.flush()
        recorder.commit()
        if first == 0:
            recorder.roll()
            seal_closed(recorder)
    with open_history(recorder.directory) as opened:
        yield opened


def test_the_count_of_points_is_the_recorder_s_own(history, recorder) -> None:
    count = history.sql("select count(*) as n from points").to_pylist()
    assert count == [{"n": recorder.counts().points_acknowledged}] == [{"n": 36}]
    assert history.moment.n_points == 36


def test_archive_and_spool_are_one_table(history) -> None:
    rows = history.sql("select * from points where tag = 'jincheon.ess1.soc' order by ts").to_pylist()
    assert [row["value"] for row in rows] == [float(value) for value in range(1, 36, 3)]
    assert str(rows[0]["ts"]) == "2026-01-01 00:00:00+00:00"
    assert rows[0]["utc_ns"] == 1_767_225_600_000_000_000
    assert set(rows[0]) == {"ts", "utc_ns", "tag", "value", "quality"}


def test_tags_and_events_are_there(history) -> None:
    tags = history.sql("select tag, unit from tags order by tag").to_pylist()
    assert tags[0] == {"tag": "city.meter.load_w", "unit": "W"}
    events = history.sql("select class, node, confidence, latency_s, ko, en from events").to_pylist()
    assert len(events) == 2
    assert events[0] == {
        "class": "baby_cry", "node": "mic02", "confidence": 0.8, "latency_s": 0.5, "ko": "아기 울음", "en": "baby cry",
    }  # fmt: skip


def test_days_are_those_of_the_chosen_zone(recorder, feed) -> None:
    feed(recorder, 0, 3, utc_ns=1_767_225_600_000_000_000 - 3_600_000_000_000)
    recorder.commit()
    text = "select distinct ts::date::varchar as day from points"
    with open_history(recorder.directory) as opened:
        assert opened.sql(text).to_pylist() == [{"day": "2025-12-31"}]
    with open_history(recorder.directory, "Asia/Seoul") as opened:
        assert opened.sql(text).to_pylist() == [{"day": "2026-01-01"}]
    with pytest.raises(QueryError, match="Nowhere"):
        open_history(recorder.directory, "Nowhere/Land")


@pytest.mark.parametrize(
    "text",
    [
        "copy (select 1) to '{out}'",
        "copy points to '{out}' (format parquet)",
        "explain analyze copy (select 1) to '{out}'",
        "create table x as select 1",
        "drop view points",
        "insert into tags select * from tags",
        "attach '{out}' as other",
        "set enable_external_access = true",
        "pragma version",
        "install httpfs",
        "export database '{out}'",
        "select 1; select 2",
        "",
        ";",
        "-- nothing",
    ],
)
def test_only_one_select_is_taken(history, tmp_path: Path, text: str) -> None:
    out = tmp_path / "out"
    with pytest.raises(QueryError) as caught:
        history.sql(text.replace("{out}", str(out)))
    assert "\n" not in str(caught.value)
    assert not out.exists()
    assert history.sql("select count(*) from points").column(0).to_pylist() == [36]


@pytest.mark.parametrize(
    "text",
    [
        "select * from read_text('/etc/hostname')",
        "select * from read_csv('/etc/hostname')",
        "select * from '{file}'",
        "select * from read_parquet('{file}')",
        "select * from read_parquet('https://example.org/x.parquet')",
        "select * from glob('/*')",
        "select * from parquet_metadata('{file}')",
    ],
)
def test_nothing_outside_the_history_can_be_read(history, tmp_path: Path, text: str) -> None:
    file = tmp_path / "secret.parquet"
    pq.write_table(pa.table({"x": [1]}), file)
    with pytest.raises(QueryError):
        history.sql(text.replace("{file}", str(file)))


def test_variables_of_the_caller_are_no_tables(history) -> None:
    secret = pa.table({"x": [1]})  # noqa: F841  the engine could find it in this frame
    with pytest.raises(QueryError, match="secret"):
        history.sql("select * from secret")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("selec 1", "syntax error"),
        ("select nope from points", "nope"),
        ("select * from nowhere", "nowhere"),
        ("select value::int from points where 1 = 'x'", "x"),
        ("select error('first\nsecond')", "first second"),
    ],
)
def test_errors_are_one_clear_line(history, text: str, says: str) -> None:
    with pytest.raises(QueryError, match=says) as caught:
        history.sql(text)
    assert "\n" not in str(caught.value)


def test_explain_is_allowed(history) -> None:
    assert history.sql("EXPLAIN select * from points").num_rows > 0


def test_there_must_be_a_history(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match="no history in"):
        open_history(tmp_path)


def test_a_history_without_points_answers(recorder) -> None:
    with open_history(recorder.directory) as opened:
        assert opened.sql("select count(*) from points").column(0).to_pylist() == [0]
        assert opened.sql("select * from events").num_rows == 0


def test_a_query_beside_a_busy_sealer_always_sees_every_point_once(recorder, feed) -> None:
    """Whatever the sealer moves between two reads, the values before a known acknowledgement are all there, once."""
    done = threading.Event()
    failures: list[BaseException] = []

    def record() -> None:
        try:
            for number in range(60):
                feed(recorder, number * 30, 30)
                recorder.commit()
                recorder.roll()
                seal_closed(recorder)
        except BaseException as error:  # noqa: BLE001  told in the test's own thread
            failures.append(error)
        finally:
            done.set()

    feed(recorder, 10_000, 3)
    recorder.commit()
    thread = threading.Thread(target=record)
    thread.start()
    looks = 0
    while not done.is_set() or looks < 2:
        acknowledged = recorder.counts().points_acknowledged
        with open_history(recorder.directory) as opened:
            (row,) = opened.sql("select count(*) as n, count(distinct value) as d from points").to_pylist()
        assert row["n"] == row["d"] >= acknowledged
        looks += 1
    thread.join()
    assert not failures
    with open_history(recorder.directory) as opened:
        assert opened.moment.n_points == 1803


def test_a_history_that_never_holds_still_is_an_error_not_a_loop(recorder, monkeypatch) -> None:
    def gone(*_args: object) -> list[object]:
        raise FileNotFoundError

    monkeypatch.setattr(query, "list_segments", gone)
    with pytest.raises(HistoryError, match="changes faster"):
        open_history(recorder.directory)


def test_table_for_people(history) -> None:
    text = render(history.sql("select 1.5 as half, 'ab' as word, null as nothing, ['x'] as many"), "table").decode()
    assert text.splitlines() == [
        "half  word  nothing  many",
        "────  ────  ───────  ─────",
        " 1.5  ab    –        ['x']",
    ]


def test_korean_columns_line_up(history) -> None:
    text = render(history.sql("select '유리' as a, 'x' as b union all select 'ab', 'y' order by b"), "table").decode()
    assert text.splitlines() == ["a     b", "────  ─", "유리  x", "ab    y"]


def test_long_answers_say_what_is_left_out(history) -> None:
    text = render(history.sql("select * from range(10005)"), "table").decode()
    assert text.splitlines()[-1] == "… 5 more rows; use --format csv or parquet for all"


def test_csv_and_parquet(history, tmp_path: Path) -> None:
    table = history.sql("select value, tag, [1, 2] as pair from points order by value limit 2")
    assert render(table, "csv").decode().splitlines() == [
        '"value","tag","pair"',
        '0,"city.meter.load_w","[1, 2]"',
        '1,"jincheon.ess1.soc","[1, 2]"',
    ]
    path = tmp_path / "x.parquet"
    path.write_bytes(render(table, "parquet"))
    assert pq.read_table(path).to_pylist() == table.to_pylist()


def test_the_command_answers_and_complains_in_one_line(history, recorder, tmp_path: Path, capfd) -> None:
    assert query.command(recorder.directory, "select count(*) as n from points") == 0
    assert capfd.readouterr().out.splitlines()[-1] == "36"
    out = tmp_path / "o.csv"
    assert query.command(recorder.directory, "select count(*) as n from points", "csv", out) == 0
    assert out.read_text() == '"n"\n36\n'
    for directory, text, target in (
        (recorder.directory, "selec", None),
        (tmp_path / "none", "select 1", None),
        (recorder.directory, "select 1", tmp_path / "no" / "such" / "folder.csv"),
    ):
        assert query.command(directory, text, "csv", target) == 1
        said = capfd.readouterr().err
        assert said.startswith("gwanje query: ")
        assert said.count("\n") == 1
