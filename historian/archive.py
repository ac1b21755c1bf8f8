"""The archive: closed segments of the spool become Parquet files by UTC day.

    <history>/manifest.jsonl                                   what has been sealed, one checked line each
    <history>/data/points/2026/01/31/<first>-<end>.parquet     sorted by tag name, then time
    <history>/data/events/2026/01/31/<first>-<end>.parquet     sorted by time

A segment is sealed whole: its files are written beside their names, synced and renamed, their directories synced,
then one line of the manifest takes over its range of sequences. Only then may the segment go. A seal that is
interrupted anywhere is done again from the same segment and writes the same names; readers go by the manifest alone.
So nothing is lost and nothing is there twice.

Files stand by themselves: names instead of ids; the time is ``utc_ms * 1000000 + ns``, because whole milliseconds step
evenly while the nanoseconds below them are noise that all tags of a scan share; ``value`` is ``m / 10^s``, or ``x``
where ``m`` is null (see :mod:`.mantissa`).
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from gwanje.historian import columns, mantissa
from gwanje.historian.columns import EventRow, Points
from gwanje.historian.files import LineLog, fsync_directory, make_durable_directory
from gwanje.historian.manifest import DataFile, Sealed
from gwanje.historian.spool import Segment, read_segment

ROW_GROUP = 262_144
"""Rows that are packed together: large enough for its dictionary of names, small enough to skip by statistics."""
DAYS_MAX = 8
"""Days one segment may touch; a device with a mad clock gets its points into ``other`` instead of thousands of
folders."""
DAY_NS = 86_400 * 1_000_000_000

_ONE_PAGE: dict[str, Any] = (
    {"max_rows_per_page": ROW_GROUP} if "max_rows_per_page" in inspect.signature(pq.write_table).parameters else {}
)
"""A row group is one page: newer writers would cut it every 20 000 rows, and what tags share is then packed again."""
MS_NS = 1_000_000

POINT_SCHEMA = pa.schema(
    [
        ("utc_ms", pa.int64()),
        ("ns", pa.int32()),
        ("tag", pa.dictionary(pa.int32(), pa.string())),
        ("m", pa.int64()),
        ("s", pa.int8()),
        ("x", pa.float64()),
        ("quality", pa.uint16()),
    ]
)
EVENT_SCHEMA = pa.schema(
    [
        ("utc_ns", pa.int64()),
        ("kind", pa.string()),
        ("source", pa.string()),
        ("class", pa.string()),
        ("confidence", pa.float64()),
        ("latency_s", pa.float64()),
        ("text_ko", pa.string()),
        ("text_en", pa.string()),
        ("data", pa.string()),
        ("event_id", pa.string()),
    ]
)


class SealInterruptedError(Exception):
    """The recorder is stopping; the segment stays in the spool and is sealed next time."""


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Sealer:
    """Turns closed segments into files. Used by one thread at a time.

    Attributes:
        directory: the history.
        manifest: its log.
        stopping: asked between row groups; true interrupts the seal.
    """

    directory: Path
    manifest: LineLog
    stopping: Callable[[], bool] = _never

    def seal_points(self, segment: Segment, first: int, end: int, names: Sequence[str]) -> Sealed:
        """Seal one closed segment of points.

        Args:
            segment: which.
            first: sequence the manifest has reached.
            end: sequence behind the segment's last point, as the writer knows it.
            names: tag names by archive id.

        Raises:
            OSError: a file could not be written; nothing has changed.
            SealInterruptedError: the recorder is stopping.
        """
        batches = [columns.unpack_points(frame) for frame in read_segment(segment, first, end)]
        points = columns.concatenate(batches)
        del batches
        files = []
        order, ranks, ranked = _order(points, names)
        for folder, rows in _by_day(points.utc_ns[order]):
            picked = order[rows]
            path = self._path("points", folder, first, end)
            write_points(path, points, picked, ranks[picked], ranked, self.stopping, _note("points", first, end))
            files.append(self._entry(path, points.utc_ns[picked]))
        return self._commit(Sealed("points", first, end, len(points), tuple(files)))

    def seal_events(self, segment: Segment, first: int, end: int) -> Sealed:
        """Seal one closed segment of events; arguments and errors as :meth:`seal_points`."""
        found = [row for frame in read_segment(segment, first, end) for row in columns.unpack_events(frame)]
        found.sort(key=lambda row: row.utc_ns)
        times = np.array([row.utc_ns for row in found], dtype=np.int64)
        files = []
        for folder, rows in _by_day(times):
            path = self._path("events", folder, first, end)
            table = event_table([found[row] for row in rows])
            note = _note("events", first, end)
            _write_parquet(path, iter([table]), EVENT_SCHEMA, note, self.stopping, compression="zstd")
            files.append(self._entry(path, times[rows]))
        return self._commit(Sealed("events", first, end, len(found), tuple(files)))

    def _path(self, stream: str, folder: str, first: int, end: int) -> Path:
        place = self.directory / "data" / stream / folder
        make_durable_directory(place)
        return place / f"{first:020d}-{end:020d}.parquet"

    def _entry(self, path: Path, times: npt.NDArray[np.int64]) -> DataFile:
        name = path.relative_to(self.directory).as_posix()
        return DataFile(name, len(times), int(times.min()), int(times.max()), path.stat().st_size)

    def _commit(self, sealed: Sealed) -> Sealed:
        self.manifest.append(sealed.record())
        return sealed


def _order(points: Points, names: Sequence[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], list[str]]:
    """Rows in the order (tag name, time, as recorded), each row's rank, and the names by rank."""
    used, inverse = np.unique(points.tag, return_inverse=True)
    labels = [names[tag] if tag < len(names) else f"#{tag}" for tag in used.tolist()]
    by_name = sorted(range(len(labels)), key=labels.__getitem__)
    rank_of = np.empty(len(labels), dtype=np.int32)
    rank_of[by_name] = np.arange(len(labels), dtype=np.int32)
    ranks = rank_of[inverse]
    narrow = ranks.astype(np.uint16) if len(labels) <= 65_536 else ranks
    in_time = np.argsort(points.utc_ns, kind="stable")
    order = in_time[np.argsort(narrow[in_time], kind="stable")]
    return order, ranks, [labels[at] for at in by_name]


def _by_day(times: npt.NDArray[np.int64]) -> Iterator[tuple[str, npt.NDArray[np.int64]]]:
    """Folder and rows of each UTC day, keeping the order of the rows."""
    if not len(times):
        return
    day = times // DAY_NS
    if int(day.min()) == int(day.max()):
        yield _folder(int(day[0])), np.arange(len(times))
        return
    days, counts = np.unique(day, return_counts=True)
    own = days[np.argsort(-counts, kind="stable")[:DAYS_MAX]]
    for one in sorted(own.tolist()):
        yield _folder(one), np.flatnonzero(day == one)
    rest = np.flatnonzero(~np.isin(day, own))
    if len(rest):
        yield "other", rest


def _folder(day: int) -> str:
    try:
        return f"{datetime.fromtimestamp(day * 86_400, UTC):%Y/%m/%d}"
    except (ValueError, OverflowError, OSError):
        return f"day{day}"


def _note(stream: str, first: int, end: int) -> dict[str, str]:
    """What a file says of itself, so that a lost manifest can be made again."""
    return {"gwanje.stream": stream, "gwanje.first": str(first), "gwanje.end": str(end)}


def write_points(
    path: Path,
    points: Points,
    rows: npt.NDArray[np.int64],
    ranks: npt.NDArray[np.int32],
    ranked: Sequence[str],
    stopping: Callable[[], bool] = _never,
    note: Mapping[str, str] | None = None,
) -> None:
    """Write rows that are sorted by rank and time as one durable Parquet file.

    Args:
        path: final name; it appears when the content is on the disk.
        points: columns.
        rows: (k,) rows to write, in order.
        ranks: (k,) rank of each row's tag, ascending.
        ranked: tag names by rank.
        stopping: asked between row groups.
        note: key-value metadata of the file.

    Raises:
        OSError: the disk refused.
        SealInterruptedError: ``stopping`` became true.
    """

    def groups() -> Iterator[pa.Table]:
        for begin in range(0, len(rows), ROW_GROUP):
            part = slice(begin, begin + ROW_GROUP)
            yield point_table(points, rows[part], ranks[part], ranked)

    _write_parquet(
        path,
        groups(),
        POINT_SCHEMA,
        note or {},
        stopping,
        compression="zstd",
        compression_level=3,
        use_dictionary=["tag", "s", "quality"],
        column_encoding={
            "utc_ms": "DELTA_BINARY_PACKED",
            "ns": "BYTE_STREAM_SPLIT",
            "m": "DELTA_BINARY_PACKED",
            "x": "BYTE_STREAM_SPLIT",
        },
        data_page_size=8 * ROW_GROUP,
        write_batch_size=ROW_GROUP,
        write_statistics=["utc_ms", "tag"],
        **_ONE_PAGE,
    )


def point_table(
    points: Points, rows: npt.NDArray[np.int64], ranks: npt.NDArray[np.int32], ranked: Sequence[str]
) -> pa.Table:
    """One row group in the archive's encoding."""
    values = points.value[rows]
    starts = np.flatnonzero(np.diff(ranks, prepend=np.int32(-1)))
    encoded = mantissa.encode(values, starts)
    raw = encoded.scale == mantissa.RAW
    group = np.zeros(len(rows), dtype=np.int32)
    group[starts[1:]] = 1
    names = [ranked[rank] for rank in ranks[starts].tolist()]
    tag = pa.DictionaryArray.from_arrays(pa.array(np.cumsum(group, dtype=np.int32)), pa.array(names, pa.string()))
    utc_ms, ns = split_ns(points.utc_ns[rows])
    return pa.Table.from_arrays(
        [
            pa.array(utc_ms),
            pa.array(ns),
            tag,
            pa.array(encoded.mantissa, mask=raw),
            pa.array(encoded.scale, mask=raw),
            pa.array(values, mask=~raw, from_pandas=False),
            pa.array(points.quality[rows]),
        ],
        schema=POINT_SCHEMA,
    )


def split_ns(utc_ns: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Whole milliseconds towards zero, and what is left of the sign of the time: no product leaves 64 bits."""
    utc_ms, ns = np.divmod(utc_ns, MS_NS)
    before = (utc_ns < 0) & (ns != 0)
    return utc_ms + before, (ns - before * MS_NS).astype(np.int32)


def event_table(rows: Sequence[EventRow]) -> pa.Table:
    """Events as the archive keeps them."""
    listed = {
        name: [getattr(row, "class_name" if name == "class" else name) for row in rows] for name in EVENT_SCHEMA.names
    }
    return pa.table(listed, schema=EVENT_SCHEMA)


def read_points(path: Path) -> Iterator[tuple[list[str], Points]]:
    """Row groups of a file of points, decoded; ``tag`` holds positions in the list of names."""
    with pq.ParquetFile(path, read_dictionary=["tag"]) as file:
        for number in range(file.num_row_groups):
            table = file.read_row_group(number).combine_chunks()
            tag = table.column("tag").chunk(0)
            scale = table.column("s").fill_null(mantissa.RAW).to_numpy()
            whole = table.column("m").fill_null(0).to_numpy()
            raw = table.column("x").fill_null(0.0).to_numpy()
            yield (
                tag.dictionary.to_pylist(),
                Points(
                    table.column("utc_ms").to_numpy() * MS_NS + table.column("ns").to_numpy(),
                    tag.indices.to_numpy().astype(np.uint32),
                    mantissa.decode(whole, scale, raw),
                    table.column("quality").to_numpy(),
                ),
            )


def _write_parquet(
    path: Path,
    tables: Iterator[pa.Table],
    schema: pa.Schema,
    note: Mapping[str, str],
    stopping: Callable[[], bool],
    **options: Any,
) -> None:
    """Write row groups to a new name, sync, rename, sync the directory."""
    temporary = path.with_name(path.name + ".new")
    try:
        with open(temporary, "wb") as file:
            with pq.ParquetWriter(file, schema.with_metadata(dict(note)), **options) as writer:
                for table in tables:
                    if stopping():
                        raise SealInterruptedError
                    writer.write_table(table.replace_schema_metadata(dict(note)), row_group_size=ROW_GROUP)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_directory(path.parent)
