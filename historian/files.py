"""Files that survive kill -9 and power loss: atomic replacement, checked line logs, the lock, and the disk itself.

:class:`Disk` is every system call that the spool makes. Tests hand in one that fails where they want it to.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FULL_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What the system answers when nothing more may be written: no space, quota, file size limit."""


class HistoryError(Exception):
    """A history directory that cannot be used; one line for the user."""


class Disk:
    """The system calls of the spool, one method each."""

    def open(self, path: Path) -> int:
        """Open a file for reading and writing, creating it; returns the descriptor."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def pwrite(self, descriptor: int, data: bytes | memoryview, offset: int) -> int:
        """Write at an offset; returns the bytes written, which may be fewer."""
        return os.pwrite(descriptor, data, offset)

    def fdatasync(self, descriptor: int) -> None:
        """Return when the data are on the disk."""
        os.fdatasync(descriptor)

    def ftruncate(self, descriptor: int, size: int) -> None:
        """Cut the file."""
        os.ftruncate(descriptor, size)

    def close(self, descriptor: int) -> None:
        """Close the descriptor."""
        os.close(descriptor)

    def unlink(self, path: Path) -> None:
        """Remove a file."""
        path.unlink(missing_ok=True)

    def fsync_directory(self, path: Path) -> None:
        """Return when the names in a directory are on the disk."""
        fsync_directory(path)

    def free_bytes(self, path: Path) -> int:
        """Space left for ordinary users on the file system of ``path``."""
        found = os.statvfs(path)
        return found.f_bavail * found.f_frsize


def fsync_directory(path: Path) -> None:
    """Return when the names in a directory are on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_durable_directory(path: Path) -> None:
    """Create a directory and its parents, each name on the disk before this returns."""
    missing = []
    level = path
    while not level.is_dir():
        missing.append(level)
        level = level.parent
    for one in reversed(missing):
        one.mkdir(exist_ok=True)
        fsync_directory(one.parent)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file so that a reader, now or after a crash, sees the old content or the new, never a part."""
    temporary = path.with_name(path.name + ".new")
    with open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    fsync_directory(path.parent)


def checked_line(record: Mapping[str, Any]) -> bytes:
    """A record as one line: crc32 in eight hex digits, a space, JSON."""
    body = json.dumps(record, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    return b"%08x %b\n" % (zlib.crc32(body), body)


def parse_checked_line(line: bytes) -> dict[str, Any] | None:
    """The record of a line without its newline, or None when the line is damaged."""
    if len(line) < 10 or line[8:9] != b" ":
        return None
    body = line[9:]
    try:
        if int(line[:8], 16) != zlib.crc32(body):
            return None
        record = json.loads(body)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def read_log(path: Path) -> list[dict[str, Any]]:
    """Records of a line log; a torn last line is left out, an absent file is empty.

    Raises:
        HistoryError: a line before the last is damaged.
    """
    return _parse_log(path)[0]


def _parse_log(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Records and the length of the sound part."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return [], 0
    records: list[dict[str, Any]] = []
    sound = 0
    for number, line in enumerate(content.split(b"\n"), start=1):
        end = sound + len(line) + 1
        record = parse_checked_line(line) if end <= len(content) else None
        if record is None:
            if end < len(content):
                raise HistoryError(f"{path}: line {number} is damaged")
            return records, sound
        records.append(record)
        sound = end
    return records, sound


class LineLog:
    """An append-only file of checked lines; a record is durable when :meth:`append` returns."""

    def __init__(self, path: Path) -> None:
        """Open, cutting a torn last line.

        Raises:
            HistoryError: a line before the last is damaged.
        """
        self.path = path
        self.records, self._size = _parse_log(path)
        created = not path.exists()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        os.ftruncate(self._file, self._size)
        os.fsync(self._file)
        if created:
            fsync_directory(path.parent)

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a record.

        Raises:
            OSError: the disk refused; the log is as it was before.
        """
        line = checked_line(record)
        try:
            written = os.pwrite(self._file, line, self._size)
            if written != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, self._size)
            raise
        self._size += len(line)
        self.records.append(dict(record))

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


class DirectoryLock:
    """Holds a history directory for one recorder; the system lets go of it when the process dies."""

    def __init__(self, directory: Path) -> None:
        """Take the lock.

        Raises:
            HistoryError: another recorder holds it.
        """
        self._file = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._file)
            raise HistoryError(f"{directory}: another recorder writes here") from None

    def release(self) -> None:
        """Let go."""
        os.close(self._file)
