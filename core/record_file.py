"""A file of texts by name and records by kind and time, that a part keeps: one SQLite file, each save all or nothing.

For what belongs together and grows: the texts say where a part stands, the records what it has finished. WAL and a
synchronous commit: what :meth:`RecordFile.save` returned from survives kill -9 and a power cut. A file that SQLite
cannot use is set aside under a name of its own, and the caller says so.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

BUSY_MS = 50
"""How long a write waits for somebody who reads the file by hand: a part's next save is seconds away."""
ASIDE_MAX = 100
"""Files set aside before the last name is used again."""
_TABLES = """
CREATE TABLE IF NOT EXISTS texts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS records (
    kind TEXT NOT NULL, utc_ns INTEGER NOT NULL, value TEXT NOT NULL, PRIMARY KEY (kind, utc_ns)
);
"""


class RecordFileError(OSError):
    """The file cannot be opened, read or written."""


class RecordFile:
    """The open file. Use it from one thread.

    Args:
        path: of the file.
        schema: what the texts and records mean; another one's file is set aside.
        read_only: for somebody who only looks; the file must be there then.

    Attributes:
        set_aside: name of a file that could not be used, with the reason; empty when all was well.

    Raises:
        RecordFileError: no file can be opened there.
    """

    def __init__(self, path: Path, schema: str, *, read_only: bool = False) -> None:
        self.set_aside = ""
        try:
            try:
                self._connection = _opened(path, schema, read_only)
            except sqlite3.OperationalError:
                raise  # locked, read-only, no disk: not damaged
            except sqlite3.DatabaseError as error:
                if read_only:
                    raise
                self.set_aside = f"{_aside(path)}: {error}"
                self._connection = _opened(path, schema, read_only)
        except (OSError, sqlite3.Error) as error:
            raise RecordFileError(f"{path.name} cannot be opened: {error}") from error

    def text(self, name: str) -> str:
        """A text; empty when there is none.

        Raises:
            RecordFileError: it cannot be read.
        """
        try:
            row = self._connection.execute("SELECT value FROM texts WHERE name = ?", (name,)).fetchone()
        except sqlite3.Error as error:
            raise RecordFileError(f"{name} cannot be read: {error}") from error
        return str(row[0]) if row else ""

    def records(self, kind: str, first_utc_ns: int, after_utc_ns: int) -> list[str]:
        """Records of a stretch of time, in their order.

        Raises:
            RecordFileError: they cannot be read.
        """
        try:
            found = self._connection.execute(
                "SELECT value FROM records WHERE kind = ? AND utc_ns >= ? AND utc_ns < ? ORDER BY utc_ns",
                (kind, first_utc_ns, after_utc_ns),
            ).fetchall()
        except sqlite3.Error as error:
            raise RecordFileError(f"records cannot be read: {error}") from error
        return [str(value) for (value,) in found]

    def save(
        self, texts: Mapping[str, str], records: Sequence[tuple[str, int, str]] = (),
        forget: Sequence[tuple[str, int]] = (),
    ) -> None:  # fmt: skip
        """Write all of it or nothing.

        Args:
            texts: by name, instead of what they were.
            records: kind, time and value; instead of one of the same kind and time.
            forget: kind and time before which its records go.

        Raises:
            RecordFileError: nothing of it was kept.
        """
        try:
            with self._connection:
                self._connection.executemany("REPLACE INTO records VALUES (?, ?, ?)", records)
                self._connection.executemany("REPLACE INTO texts VALUES (?, ?)", list(texts.items()))
                self._connection.executemany("DELETE FROM records WHERE kind = ? AND utc_ns < ?", forget)
        except sqlite3.Error as error:
            raise RecordFileError(f"it cannot be saved: {error}") from error

    def close(self) -> None:
        """Give the file back."""
        self._connection.close()


def _opened(path: Path, schema: str, read_only: bool) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}", uri=True)
    try:
        connection.execute(f"PRAGMA busy_timeout={BUSY_MS}")
        if not read_only:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.executescript(_TABLES)
            with connection:
                connection.execute("INSERT OR IGNORE INTO texts VALUES ('schema', ?)", (schema,))
        (found,) = connection.execute("SELECT value FROM texts WHERE name = 'schema'").fetchone() or ("",)
        if found != schema:
            raise sqlite3.DatabaseError(f"schema {found!r} is not {schema!r}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _aside(path: Path) -> str:
    """Rename a file that cannot be used, with what SQLite keeps beside it."""
    for number in range(1, ASIDE_MAX + 1):
        name = f"{path.name}.damaged-{number}"
        if not path.with_name(name).exists():
            break
    for ending in ("", "-wal", "-shm"):
        old = path.with_name(path.name + ending)
        if old.exists():
            os.replace(old, path.with_name(name + ending))
    return name
