"""Where alarms survive: a small SQLite file with one row for each alarm that is not normal.

WAL with ``synchronous=FULL``: what :meth:`AlarmStore.write` returned from survives kill -9 and power loss. A damaged
file is found by SQLite's own check, set aside under a new name and replaced by an empty one; the caller says so.
"""

from __future__ import annotations

import math
import os
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

from gwanje.core.alarms.table import Phase, StoredAlarm

BUSY_MS = 500
"""How long a write waits for somebody who reads the file by hand; longer would hold the alarm step up."""
SCHEMA = 1
_COLUMNS = tuple(one.name for one in fields(StoredAlarm))


class AlarmStoreError(OSError):
    """Alarm states cannot be kept; the alarms themselves go on."""


class AlarmStore:
    """The open file. Use it from one thread."""

    def __init__(self, path: Path) -> None:
        """Open, check and make the table; a damaged file is set aside first.

        Attributes:
            set_aside: name of the damaged file, with the reason; empty when all was well.

        Raises:
            AlarmStoreError: no file can be opened there.
        """
        self.set_aside = ""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._connection = _opened(path)
            except sqlite3.OperationalError:
                raise  # locked, read-only, no disk: not damaged
            except (sqlite3.DatabaseError, _DamagedError) as error:
                self.set_aside = f"{_aside(path)}: {error}"
                self._connection = _opened(path)
        except (OSError, sqlite3.Error) as error:
            raise AlarmStoreError(f"alarm states cannot be kept: {error}") from error

    def load(self) -> list[StoredAlarm]:
        """Every alarm that was not normal when it was last written.

        Raises:
            AlarmStoreError: it cannot be read.
        """
        try:
            rows = self._connection.execute(f"SELECT {', '.join(_COLUMNS)} FROM alarm ORDER BY alarm_id").fetchall()
        except sqlite3.Error as error:
            raise AlarmStoreError(f"alarm states cannot be read: {error}") from error
        return [_stored(row) for row in rows]

    def write(self, changed: Mapping[str, StoredAlarm | None]) -> None:
        """Keep the new states of some alarms in one transaction.

        Args:
            changed: alarm id → its state, or ``None`` when it is normal again.

        Raises:
            AlarmStoreError: nothing of it was kept.
        """
        marks = ", ".join("?" * len(_COLUMNS))
        try:
            with self._connection:
                for alarm_id, stored in changed.items():
                    if stored is None:
                        self._connection.execute("DELETE FROM alarm WHERE alarm_id = ?", (alarm_id,))
                    else:
                        self._connection.execute(f"REPLACE INTO alarm VALUES ({marks})", astuple(stored))
        except sqlite3.Error as error:
            raise AlarmStoreError(f"alarm states cannot be kept: {error}") from error

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()


class _DamagedError(Exception):
    """The file opens, but what stands in it is not ours."""


def _opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_MS / 1000)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        found = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found is None or found[0] != "ok":
            raise _DamagedError(str(found[0]) if found else "no answer to the check")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, SCHEMA):
            raise _DamagedError(f"schema {version}, not {SCHEMA}")
        columns = ", ".join(f"{name} {_kind(name)}" for name in _COLUMNS)
        with connection:
            connection.execute(f"CREATE TABLE IF NOT EXISTS alarm ({columns}) WITHOUT ROWID")
            connection.execute(f"PRAGMA user_version={SCHEMA}")
        _check_rows(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _check_rows(connection: sqlite3.Connection) -> None:
    """Every row must be a state that the alarm table can take up."""
    try:
        for (phase,) in connection.execute("SELECT phase FROM alarm").fetchall():
            if Phase(phase) is Phase.NORMAL:
                raise _DamagedError("a normal alarm is kept")
        connection.execute(f"SELECT {', '.join(_COLUMNS)} FROM alarm LIMIT 1").fetchone()
    except (ValueError, sqlite3.OperationalError) as error:
        raise _DamagedError(str(error)) from None


def _kind(name: str) -> str:
    if name == "alarm_id":
        return "TEXT PRIMARY KEY"
    return "REAL" if name == "value" else "INTEGER NOT NULL" if name.endswith("_ns") else "TEXT NOT NULL"


def _stored(row: Sequence[Any]) -> StoredAlarm:
    """A row as a state; SQLite keeps NaN as NULL."""
    whole: list[Any] = [math.nan if one is None else one for one in row]
    return StoredAlarm(*whole)


def _aside(path: Path) -> str:
    """Rename a damaged file and its companions; the new name."""
    number = 1
    while (fresh := path.with_name(f"{path.stem}-damaged-{number}{path.suffix}")).exists():
        number += 1
    os.rename(path, fresh)
    for suffix in ("-wal", "-shm"):
        companion = path.with_name(path.name + suffix)
        if companion.exists():
            os.rename(companion, fresh.with_name(fresh.name + suffix))
    return fresh.name
