"""Where alarms survive: a small SQLite file with one row for each alarm that is not at rest, and the key figures.

WAL: what :meth:`AlarmStore.write` returned from survives kill -9. What people did also survives a power cut, because
that write waits for the disk; what the plant did by itself does so within ten seconds, and a storm does not wait for
the disk a hundred times a second. A damaged file is found by SQLite's own check and by checking every row,
set aside under a new name and replaced by an empty one;
the caller says so.

Monotonic times in the rows are of the boot that the table ``meta`` names. After another boot
:func:`rebased` counts them anew from the wall clock: what was to end in ten minutes ends in at most ten minutes.
"""

from __future__ import annotations

import math
import os
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from operator import attrgetter
from pathlib import Path
from typing import Any

from gwanje.core.alarms.records import StoredAlarm
from gwanje.core.alarms.states import Hidden, Phase

BUSY_MS = 50
"""How long a write waits for somebody who reads the file by hand; longer would hold commands up."""
SCHEMA = 2
META_BYTES_MAX = 1_000_000
"""Longest text of the table ``meta``: a day's key figures are about 200 kB."""
_COLUMNS = tuple(one.name for one in fields(StoredAlarm))
_row = attrgetter(*_COLUMNS)
_HIDDEN_ALL = sum(Hidden)


class AlarmStoreError(OSError):
    """Alarm states cannot be kept; the alarms themselves go on."""


class AlarmStore:
    """The open file. Use it from one thread."""

    def __init__(self, path: Path) -> None:
        """Open, check and make the tables; a damaged file is set aside first.

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
        """Every alarm that was not at rest when it was last written.

        Raises:
            AlarmStoreError: it cannot be read.
        """
        try:
            rows = self._connection.execute(f"SELECT {', '.join(_COLUMNS)} FROM alarm ORDER BY alarm_id").fetchall()
        except sqlite3.Error as error:
            raise AlarmStoreError(f"alarm states cannot be read: {error}") from error
        return [_stored(row) for row in rows]

    def meta(self) -> dict[str, str]:
        """The texts beside the alarms.

        Raises:
            AlarmStoreError: they cannot be read.
        """
        try:
            return dict(self._connection.execute("SELECT key, value FROM meta").fetchall())
        except sqlite3.Error as error:
            raise AlarmStoreError(f"alarm states cannot be read: {error}") from error

    def write(
        self, changed: Mapping[str, StoredAlarm | None], meta: Mapping[str, str] | None = None, wait: bool = True
    ) -> None:
        """Keep the new states of some alarms in one transaction.

        Args:
            changed: alarm id → its state, or ``None`` when it is at rest again.
            meta: texts to keep beside them.
            wait: for the disk, and with it for everything that was written before.

        Raises:
            AlarmStoreError: nothing of it was kept.
        """
        marks = ", ".join("?" * len(_COLUMNS))
        gone = [(alarm_id,) for alarm_id, one in changed.items() if one is None]
        rows = [_row(one) for one in changed.values() if one is not None]
        try:
            self._connection.execute(f"PRAGMA synchronous={'FULL' if wait else 'NORMAL'}")
            with self._connection:
                self._connection.executemany("DELETE FROM alarm WHERE alarm_id = ?", gone)
                self._connection.executemany(f"REPLACE INTO alarm VALUES ({marks})", rows)
                self._connection.executemany("REPLACE INTO meta VALUES (?, ?)", list((meta or {}).items()))
        except sqlite3.Error as error:
            raise AlarmStoreError(f"alarm states cannot be kept: {error}") from error

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()


def rebased(one: StoredAlarm, mono_ns: int, utc_ns: int) -> StoredAlarm:
    """An alarm of another boot with its monotonic times counted anew.

    Args:
        one: as it was kept.
        mono_ns: now.
        utc_ns: now; it may have stepped while nobody ran, so an age is never negative, and a shelf never ends later
            than it would have when it was made.
    """

    def past(at_utc_ns: int) -> int:
        return mono_ns - max(0, utc_ns - at_utc_ns)

    def future(until_utc_ns: int, until_mono_ns: int) -> int:
        left = max(0, until_mono_ns - one.changed_mono_ns)  # of its time, when the alarm was last written
        return mono_ns + min(left, max(0, until_utc_ns - utc_ns))

    return replace(
        one,
        raised_mono_ns=past(one.raised_utc_ns),
        onset_mono_ns=past(one.onset_utc_ns),
        changed_mono_ns=past(one.changed_utc_ns),
        shelf_until_mono_ns=future(one.shelf_until_utc_ns, one.shelf_until_mono_ns),
        service_until_mono_ns=future(one.service_until_utc_ns, one.service_until_mono_ns),
    )


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
            connection.execute("CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)")
            connection.execute(f"PRAGMA user_version={SCHEMA}")
        _check_rows(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _check_rows(connection: sqlite3.Connection) -> None:
    """Every row must be a state that the alarm table can take up."""
    try:
        for row in connection.execute(f"SELECT {', '.join(_COLUMNS)} FROM alarm").fetchall():
            _check_row(_stored(row))
        for key, value in connection.execute("SELECT key, value FROM meta").fetchall():
            if not isinstance(key, str) or not isinstance(value, str) or len(value) > META_BYTES_MAX:
                raise _DamagedError("table meta holds something else than texts")
    except (ValueError, TypeError, sqlite3.OperationalError) as error:
        raise _DamagedError(str(error)) from None


def _check_row(one: StoredAlarm) -> None:
    for name in _COLUMNS:
        value, kind = getattr(one, name), _kind(name)
        wanted = float | int if kind == "REAL" else int if "INTEGER" in kind else str
        if not isinstance(value, wanted):
            raise _DamagedError(f"{name} is {value!r}")
    if not 0 <= one.hidden <= _HIDDEN_ALL:
        raise _DamagedError(f"hidden is {one.hidden}")
    if Phase(one.phase) is Phase.NORMAL and not one.hidden:
        raise _DamagedError("an alarm at rest is kept")
    if min(one.raised_utc_ns, one.changed_utc_ns, one.sequence) < 0:
        raise _DamagedError("a time before 1970")


def _kind(name: str) -> str:
    if name == "alarm_id":
        return "TEXT PRIMARY KEY"
    if name == "value":
        return "REAL"
    whole = name.endswith("_ns") or name in ("hidden", "first_out", "sequence")
    return "INTEGER NOT NULL" if whole else "TEXT NOT NULL"


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
