"""The few file operations of a journal. Tests give others: a disk that is full, loses power, or dies at any step."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
from pathlib import Path
from typing import Protocol

from gwanje.core.journal.chain import JournalLockedError

RESERVE_BYTES = 1 << 20
"""Space taken ahead of the writing, as zeros at the end of the file. Within it an entry changes no file size, so that
the disk waits for the entry's block alone; and when the disk is full some thousand entries still find room."""


class Storage(Protocol):
    """One open file of a journal."""

    def write(self, at: int, data: bytes) -> None:
        """Put bytes at an offset (a killed process loses none); raises OSError when any of it failed."""

    def sync(self) -> None:
        """Wait until the disk has everything that was written."""

    def truncate(self, size: int) -> None:
        """Cut the file to ``size`` bytes; the disk may learn of it later."""

    def size(self) -> int:
        """Bytes in the file, with the zeros reserved at its end."""

    def read(self, at: int, size: int) -> bytes:
        """Up to ``size`` bytes from an offset."""

    def close(self) -> None:
        """Let go of the file."""


class Disk(Protocol):
    """The folder that a journal lies in."""

    def lock(self, name: str) -> None:
        """Be its only writer until :meth:`close`; raises JournalLockedError when another one is."""

    def names(self) -> list[str]:
        """All files."""

    def open(self, name: str, reserve: int = RESERVE_BYTES) -> Storage:
        """Open a file for writing, or make it; space is taken ``reserve`` bytes ahead."""

    def rename(self, old: str, new: str) -> None:
        """Give a file a new name, which the disk knows on return."""

    def digest(self, name: str) -> bytes:
        """SHA-256 of a file."""

    def close(self) -> None:
        """Let go of the folder."""


class FileStorage:
    """A real file."""

    def __init__(self, path: Path, reserve: int = RESERVE_BYTES) -> None:
        """Open or make it; space is taken ``reserve`` bytes ahead.

        Raises:
            OSError: it cannot be opened.
        """
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        self._ahead = reserve
        self._reserved = os.fstat(self._fd).st_size

    def write(self, at: int, data: bytes) -> None:
        """See :class:`Storage`."""
        if self._ahead and at + len(data) > self._reserved:
            # no room to reserve is no reason not to write: the entry itself may still fit
            with contextlib.suppress(OSError):
                os.posix_fallocate(self._fd, at, len(data) + self._ahead)
            self._reserved = os.fstat(self._fd).st_size
        written = os.pwrite(self._fd, data, at)
        if written != len(data):
            raise OSError(errno.ENOSPC, f"No space left on device: {written} of {len(data)} bytes written")

    def sync(self) -> None:
        """See :class:`Storage`."""
        os.fdatasync(self._fd)

    def truncate(self, size: int) -> None:
        """See :class:`Storage`."""
        os.ftruncate(self._fd, size)
        self._reserved = size

    def size(self) -> int:
        """See :class:`Storage`."""
        return os.fstat(self._fd).st_size

    def read(self, at: int, size: int) -> bytes:
        """See :class:`Storage`."""
        return os.pread(self._fd, size, at)

    def close(self) -> None:
        """See :class:`Storage`."""
        os.close(self._fd)


class FolderDisk:
    """A real folder."""

    def __init__(self, folder: Path) -> None:
        """Use a folder, or make it.

        Raises:
            OSError: it cannot be used.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._lock = -1

    def lock(self, name: str) -> None:
        """See :class:`Disk`."""
        self._lock = os.open(self._folder / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise JournalLockedError(f"{name} is written by another process") from None

    def names(self) -> list[str]:
        """See :class:`Disk`."""
        return os.listdir(self._folder)

    def open(self, name: str, reserve: int = RESERVE_BYTES) -> Storage:
        """See :class:`Disk`."""
        made = not (self._folder / name).exists()
        storage = FileStorage(self._folder / name, reserve)
        if made:
            self._sync_folder()
        return storage

    def rename(self, old: str, new: str) -> None:
        """See :class:`Disk`."""
        if (self._folder / new).exists():
            raise OSError(errno.EEXIST, f"{new} is there already")
        os.rename(self._folder / old, self._folder / new)
        self._sync_folder()

    def digest(self, name: str) -> bytes:
        """See :class:`Disk`."""
        with open(self._folder / name, "rb") as file:
            return hashlib.file_digest(file, "sha256").digest()

    def _sync_folder(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """See :class:`Disk`."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
