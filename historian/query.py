"""SQL over a history: what is archived and what still lies in the spool, while the recorder writes and after it.

    points(ts, utc_ns, tag, value, quality)   every recorded point
    tags(tag, unit, kind, owner, low, high, ko, en, simulated)
    events(ts, utc_ns, kind, source, node, class, confidence, latency_s, ko, en, data, event_id)
    runs(run, started, first_point, points, torn_bytes)   each start of the recorder

A query sees one moment: the archive's manifest and the spool behind it are read so that no point is missing and none
comes twice, whatever the sealer does meanwhile. SQL may read these four and nothing else: no other file, no network, no
change.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from gwanje.historian import columns
from gwanje.historian.archive import event_table
from gwanje.historian.columns import EventRow, FrameContentError, Points
from gwanje.historian.dictionary import ArchivedTag, read_dictionary
from gwanje.historian.files import HistoryError, read_log
from gwanje.historian.manifest import Layout, Sealed, end_of, read_manifest
from gwanje.historian.spool import list_segments, read_segments

Format = Literal["table", "csv", "parquet"]
ATTEMPTS = 20
"""Each retry means that a segment was sealed in the same milliseconds; twenty in a row do not happen."""
CELL_WIDTH_MAX = 60
TABLE_ROWS_MAX = 10_000
"""A table is for reading; whoever wants more asks for csv or parquet."""


class QueryError(Exception):
    """The question cannot be answered; one line for the user."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A history at one moment.

    Attributes:
        ranges: sealed ranges by stream.
        tags: by archive id.
        points: those behind the archive.
        events: those behind the archive.
        runs: the recorder's starts.
    """

    ranges: dict[str, list[Sealed]]
    tags: list[ArchivedTag]
    points: Points
    events: list[EventRow]
    runs: list[dict[str, Any]]

    @property
    def n_points(self) -> int:
        """How many points there are."""
        return sum(one.count for one in self.ranges["points"]) + len(self.points)


def read_moment(directory: Path) -> Moment:
    """Everything a query needs, consistent.

    Raises:
        HistoryError: there is no history, or it is damaged.
    """
    layout = Layout(directory)
    if not layout.manifest.exists():
        raise HistoryError(f"no history in {directory}")
    for _ in range(ATTEMPTS):
        ranges = read_manifest(directory)
        try:
            points = _spooled_points(layout, end_of(ranges["points"]))
            events = _spooled_events(layout, end_of(ranges["events"]))
        except FileNotFoundError:
            continue
        except FrameContentError as error:
            raise HistoryError(f"{directory}: {error}") from None
        if read_manifest(directory) == ranges:
            return Moment(ranges, read_dictionary(layout.tags), points, events, read_log(layout.runs))
    raise HistoryError(f"{directory} changes faster than it can be read")


def _spooled_points(layout: Layout, reached: int) -> Points:
    frames = read_segments(list_segments(layout.spool("points")), reached)
    return columns.concatenate([columns.unpack_points(frame) for frame in frames])


def _spooled_events(layout: Layout, reached: int) -> list[EventRow]:
    frames = read_segments(list_segments(layout.spool("events")), reached)
    return [row for frame in frames for row in columns.unpack_events(frame)]


def open_history(directory: Path, timezone: str = "UTC") -> History:
    """Open a history for questions.

    Args:
        directory: as the recorder writes it.
        timezone: in which ``ts`` is shown and cut into days.

    Raises:
        HistoryError: there is none, or it is damaged.
    """
    return History(directory.resolve(), timezone)


class History:
    """A history at the moment it was opened; ask it in SQL. Not thread-safe."""

    def __init__(self, directory: Path, timezone: str = "UTC") -> None:
        """See :func:`open_history`."""
        self.directory = directory
        self.moment = read_moment(directory)
        self._connection = _hardened(self.moment, directory, timezone)

    def sql(self, text: str) -> pa.Table:
        """Answer one SELECT.

        Raises:
            QueryError: it is no single SELECT, cannot be parsed, or fails.
        """
        try:
            statements = self._connection.extract_statements(_without_explain(text))
            if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
                raise QueryError("one SELECT is taken; a history is read-only")
            return self._connection.sql(text).to_arrow_table()
        except (duckdb.Error, pa.ArrowException) as error:
            raise QueryError(_one_line(error)) from None

    def close(self) -> None:
        """Let go of memory and files."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _hardened(moment: Moment, directory: Path, timezone: str) -> duckdb.DuckDBPyConnection:
    """A connection that can read this history's files and nothing else."""
    connection = duckdb.connect(":memory:")
    files = {
        stream: [str(directory / file.path) for one in moment.ranges[stream] for file in one.files]
        for stream in ("points", "events")
    }
    try:
        connection.execute("SET TimeZone = $1", [timezone])
    except duckdb.Error as error:
        raise QueryError(_one_line(error)) from None
    connection.execute("SET enable_progress_bar = false")
    connection.execute("SET temp_directory = ''")  # nothing of a query reaches the disk
    connection.execute(f"SET allowed_paths = {_list(files['points'] + files['events'])}")
    connection.register("spooled_points", _spool_table(moment.points, moment.tags))
    connection.register("spooled_events", event_table(moment.events))
    connection.register("tags", _tags_table(moment.tags))
    connection.register("runs", _runs_table(moment))
    connection.execute(_points_view(files["points"]))
    connection.execute(_events_view(files["events"]))
    connection.execute("SET enable_external_access = false")
    connection.execute("SET python_enable_replacements = false")
    connection.execute("SET lock_configuration = true")
    return connection


_TS = "make_timestamptz(utc_ns // 1000) AS ts"


def _points_view(files: list[str]) -> str:
    parts = ["SELECT utc_ns, tag::VARCHAR AS tag, value, quality FROM spooled_points"]
    if files:
        parts.append(
            "SELECT utc_ms * 1000000 + ns AS utc_ns, tag, coalesce(m::DOUBLE / pow(10::DOUBLE, s), x) AS value, "
            f"quality FROM read_parquet({_list(files)})"
        )
    return f"CREATE VIEW points AS SELECT {_TS}, utc_ns, tag, value, quality FROM ({' UNION ALL '.join(parts)})"


def _events_view(files: list[str]) -> str:
    parts = ["SELECT * FROM spooled_events"]
    if files:
        parts.append(f"SELECT * FROM read_parquet({_list(files)})")
    return (
        f"CREATE VIEW events AS SELECT {_TS}, utc_ns, kind, source, "
        "CASE WHEN kind = 'acoustic' THEN source END AS node, class, confidence, latency_s, "
        f"text_ko AS ko, text_en AS en, data, event_id FROM ({' UNION ALL '.join(parts)})"
    )


def _list(texts: list[str]) -> str:
    return "[" + ", ".join("'" + text.replace("'", "''") + "'" for text in texts) + "]"


def _spool_table(points: Points, tags: list[ArchivedTag]) -> pa.Table:
    names = [tag.name for tag in tags]
    used, inverse = np.unique(points.tag, return_inverse=True)
    labels = [names[tag] if tag < len(names) else f"#{tag}" for tag in used.tolist()]
    tag = pa.DictionaryArray.from_arrays(pa.array(inverse.astype(np.int32)), pa.array(labels, pa.string()))
    return pa.table({"utc_ns": points.utc_ns, "tag": tag, "value": points.value, "quality": points.quality})


def _tags_table(tags: list[ArchivedTag]) -> pa.Table:
    return pa.table(
        {
            "tag": pa.array([one.name for one in tags], pa.string()),
            "unit": pa.array([one.unit for one in tags], pa.string()),
            "kind": pa.array([one.kind for one in tags], pa.string()),
            "owner": pa.array([one.owner for one in tags], pa.string()),
            "low": pa.array([one.low for one in tags], pa.float64()),
            "high": pa.array([one.high for one in tags], pa.float64()),
            "ko": pa.array([one.description_ko for one in tags], pa.string()),
            "en": pa.array([one.description_en for one in tags], pa.string()),
            "simulated": pa.array([one.simulated for one in tags], pa.bool_()),
        }
    )


def _runs_table(moment: Moment) -> pa.Table:
    """Each start with the points it recorded: up to the next start's first, or the end."""
    firsts = [int(run["first_point"]) for run in moment.runs]
    ends = [*firsts[1:], end_of(moment.ranges["points"]) + len(moment.points)][: len(firsts)]
    started = [int(run["started_utc_ns"]) // 1000 for run in moment.runs]
    return pa.table(
        {
            "run": pa.array([int(run["run"]) for run in moment.runs], pa.int64()),
            "started": pa.array(started, pa.timestamp("us", tz="UTC")),
            "first_point": pa.array(firsts, pa.int64()),
            "points": pa.array([end - first for first, end in zip(firsts, ends, strict=True)], pa.int64()),
            "torn_bytes": pa.array([int(run["torn_bytes"]) for run in moment.runs], pa.int64()),
        }
    )


_EXPLAIN = re.compile(r"^\s*explain(\s+analyze)?\s", re.IGNORECASE)


def _without_explain(text: str) -> str:
    """The statement that is explained, because EXPLAIN ANALYZE carries out what it explains."""
    return _EXPLAIN.sub("", text, count=1)


def _one_line(error: Exception) -> str:
    """What the engine says, without its copy of the query."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    kept = []
    for line in lines:
        if line.startswith("LINE "):
            break
        kept.append(line)
    return " ".join(kept) or type(error).__name__


# ---- rendering


def render(table: pa.Table, form: Format) -> bytes:
    """An answer as text for people, CSV, or a Parquet file.

    Args:
        table: the answer.
        form: ``table``, ``csv`` or ``parquet``.
    """
    if form == "parquet":
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        return bytes(sink.getvalue().to_pybytes())
    if form == "csv":
        sink = pa.BufferOutputStream()
        pa_csv.write_csv(_csv_ready(table), sink)
        return bytes(sink.getvalue().to_pybytes())
    return "\n".join(_table_lines(table)).encode() + b"\n"


def _csv_ready(table: pa.Table) -> pa.Table:
    """Columns CSV cannot hold (lists, structs) as text."""
    for at, one in enumerate(table.schema):
        if pa.types.is_nested(one.type):
            texts = [None if value is None else str(value) for value in table.column(at).to_pylist()]
            table = table.set_column(at, one.name, pa.array(texts, pa.string()))
    return table


def _table_lines(table: pa.Table) -> Iterator[str]:
    shown = table.slice(0, TABLE_ROWS_MAX)
    cells = [[_cell(value) for value in column.to_pylist()] for column in shown.columns]
    right = [_is_number(one.type) for one in shown.schema]
    widths = [
        max([_width(name), *(_width(cell) for cell in column)])
        for name, column in zip(shown.column_names, cells, strict=True)
    ]
    yield "  ".join(
        _pad(name, width, to_right) for name, width, to_right in zip(shown.column_names, widths, right, strict=True)
    ).rstrip()
    yield "  ".join("─" * width for width in widths)
    for row in zip(*cells, strict=True):
        yield "  ".join(
            _pad(cell, width, to_right) for cell, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
    if table.num_rows > TABLE_ROWS_MAX:
        yield f"… {table.num_rows - TABLE_ROWS_MAX} more rows; use --format csv or parquet for all"


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    text = f"{value:.10g}" if isinstance(value, float) else str(value)
    text = text.replace("\n", "⏎")
    return text if len(text) <= CELL_WIDTH_MAX else text[: CELL_WIDTH_MAX - 1] + "…"


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _width(text: str) -> int:
    """Columns on a terminal: Hangul and other wide signs take two."""
    return sum(2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text)


def _pad(text: str, width: int, to_right: bool) -> str:
    blank = " " * (width - _width(text))
    return blank + text if to_right else text + blank


def command(directory: Path, text: str, form: str = "table", out: Path | None = None) -> int:
    """``gwanje query``: answer on standard output or into a file; 1 after a one-line error."""
    chosen: Format = "csv" if form == "csv" else "parquet" if form == "parquet" else "table"
    if chosen == "parquet" and out is None and sys.stdout.isatty():
        return _complain("parquet is no text; name a file with --out")
    try:
        with open_history(Path(directory)) as history:
            content = render(history.sql(text), chosen)
        if out is None:
            sys.stdout.buffer.write(content)
            sys.stdout.buffer.flush()
        else:
            Path(out).write_bytes(content)
    except (QueryError, HistoryError) as error:
        return _complain(str(error))
    except OSError as error:
        return _complain(f"{error.filename or directory}: {error.strerror}")
    return 0


def _complain(reason: str) -> int:
    sys.stderr.write(f"gwanje query: {reason}\n")
    return 1
