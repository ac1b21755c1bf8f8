"""Where a history's data are: the manifest of sealed ranges and the names inside the directory.

Kept apart from :mod:`.archive` because the recorder must be recording within a second of its restart, and needs to
know what is sealed long before it needs Parquet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gwanje.historian.files import HistoryError, read_log

STREAMS = ("points", "events")


@dataclass(frozen=True, slots=True)
class DataFile:
    """A sealed file.

    Attributes:
        path: relative to the history.
        rows: how many.
        utc_ns_min: earliest time inside.
        utc_ns_max: latest time inside.
        size_bytes: of the file.
    """

    path: str
    rows: int
    utc_ns_min: int
    utc_ns_max: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Sealed:
    """One sealed range.

    Attributes:
        stream: ``points`` or ``events``.
        first: sequence of the first item.
        end: sequence behind the last.
        count: items in the files; fewer than ``end - first`` when damage took some.
        files: one for each day.
    """

    stream: str
    first: int
    end: int
    count: int
    files: tuple[DataFile, ...]

    def record(self) -> dict[str, Any]:
        """The manifest's line."""
        files = [[one.path, one.rows, one.utc_ns_min, one.utc_ns_max, one.size_bytes] for one in self.files]
        return {
            "stream": self.stream,
            "first": self.first,
            "end": self.end,
            "count": self.count,
            "files": files,
        }

    @classmethod
    def of(cls, record: dict[str, Any]) -> Sealed:
        """Read a line.

        Raises:
            ValueError: the line is not one of a manifest.
        """
        try:
            files = tuple(DataFile(str(path), *map(int, numbers)) for path, *numbers in record["files"])
            sealed = cls(str(record["stream"]), int(record["first"]), int(record["end"]), int(record["count"]), files)
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a line of a manifest: {error}") from None
        if sealed.stream not in STREAMS or sum(one.rows for one in files) != sealed.count:
            raise ValueError("a line of a manifest whose files do not add up")
        return sealed


@dataclass(frozen=True, slots=True)
class Layout:
    """Names inside a history directory."""

    directory: Path

    @property
    def manifest(self) -> Path:
        """Log of what has been sealed."""
        return self.directory / "manifest.jsonl"

    @property
    def tags(self) -> Path:
        """Tag names by archive id."""
        return self.directory / "tags.json"

    @property
    def runs(self) -> Path:
        """Log of the recorder's starts."""
        return self.directory / "runs.jsonl"

    def spool(self, stream: str) -> Path:
        """Segments of a stream."""
        return self.directory / "spool" / stream


def sealed_ranges(records: Sequence[dict[str, Any]], where: Path) -> dict[str, list[Sealed]]:
    """Sealed ranges by stream, in order.

    Raises:
        HistoryError: the lines are not those of a manifest, or leave a hole.
    """
    ranges: dict[str, list[Sealed]] = {stream: [] for stream in STREAMS}
    for number, record in enumerate(records, start=1):
        try:
            sealed = Sealed.of(record)
        except ValueError as error:
            raise HistoryError(f"{where}: line {number}: {error}") from None
        if sealed.first != end_of(ranges[sealed.stream]):
            raise HistoryError(f"{where}: line {number} does not follow the range before it")
        ranges[sealed.stream].append(sealed)
    return ranges


def end_of(ranges: Sequence[Sealed]) -> int:
    """Sequence the archive has reached."""
    return ranges[-1].end if ranges else 0


def read_manifest(directory: Path) -> dict[str, list[Sealed]]:
    """Sealed ranges of a history by stream.

    Raises:
        HistoryError: the manifest is damaged.
    """
    path = Layout(directory).manifest
    return sealed_ranges(read_log(path), path)
