"""A small deterministic simulation of the core's surroundings: a disk that fails in every way a disk can, and faults.

Everything random comes from one ``random.Random(seed)``, everything about time from a ``VirtualClock``: the same seed
gives the same run. Import it as ``from simulation import MemoryDisk, seeds``.
"""

import errno
import hashlib
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gwanje.core.journal.chain import JournalLockedError

SECTOR = 512


class KilledError(BaseException):
    """The process is gone: nobody may handle this but the test."""


def seeds(n: int) -> list[int]:
    """Seeds of a test's runs; ``GWANJE_SEED=7`` runs that one alone, ``GWANJE_SEEDS=500`` more of them."""
    if "GWANJE_SEED" in os.environ:
        return [int(os.environ["GWANJE_SEED"])]
    return list(range(int(os.environ.get("GWANJE_SEEDS", n))))


@dataclass
class MemoryFile:
    """A file as the kernel sees it, as the disk has it, and what lies between."""

    seen: bytearray = field(default_factory=bytearray)
    kept: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes]] = field(default_factory=list)
    """Writes that no sync has waited for; offset -1 stands for a truncation to ``len(bytes)``."""


class MemoryStorage:
    """An open file of a :class:`MemoryDisk`."""

    def __init__(self, disk: "MemoryDisk", file: MemoryFile, reserve: int) -> None:
        self._disk, self._file, self._reserve = disk, file, reserve

    def write(self, at: int, data: bytes) -> None:
        self._disk.operation("write", lambda: self._put(at, data[: self._disk.part_of(at, data)]))
        if at + len(data) > len(self._file.seen) and self._disk.full:
            self._put(at, data[: self._disk.random.randint(0, max(0, len(data) - 1))])
            raise OSError(errno.ENOSPC, "No space left on device")
        if self._reserve and at + len(data) > len(self._file.seen):
            self._put(len(self._file.seen), bytes(at + len(data) + self._reserve - len(self._file.seen)))
        self._put(at, data)

    def _put(self, at: int, data: bytes) -> None:
        seen = self._file.seen
        if at > len(seen):
            seen.extend(bytes(at - len(seen)))
        seen[at : at + len(data)] = data
        self._file.pending.append((at, data))

    def sync(self) -> None:
        self._disk.operation("sync")
        if self._disk.fail_sync:
            self._file.pending.clear()  # as Linux does: the pages count as clean afterwards
            raise OSError(errno.EIO, "Input/output error")
        self._file.kept[:] = self._file.seen
        self._file.pending.clear()

    def truncate(self, size: int) -> None:
        self._disk.operation("truncate")
        del self._file.seen[size:]
        self._file.pending.append((-1, bytes(size)))

    def size(self) -> int:
        return len(self._file.seen)

    def read(self, at: int, size: int) -> bytes:
        return bytes(self._file.seen[at : at + size])

    def close(self) -> None:
        pass


class MemoryDisk:
    """A folder in memory that can be full, fail, lose power, and kill its user at any of its operations."""

    def __init__(self, seed: int = 0) -> None:
        self.random = random.Random(seed)
        self.files: dict[str, MemoryFile] = {}
        self.locked = False
        self.full = False
        self.fail_sync = False
        self.operations: list[str] = []
        self.die_at: int | None = None
        """Index into the operations at which the process is killed; a write is then done in part."""

    def operation(self, name: str, half: Callable[[], Any] = lambda: None) -> None:
        """Count one; the one at which to die is done by half."""
        self.operations.append(name)
        if self.die_at is not None and len(self.operations) > self.die_at:
            half()
            raise KilledError(f"{name}, operation {len(self.operations)}")

    def part_of(self, at: int, data: bytes) -> int:
        """How much of a write that is cut short is done: a single sector is written whole or not at all."""
        if at % SECTOR == 0 and len(data) <= SECTOR:
            return self.random.choice([0, len(data)])
        return self.random.randint(0, len(data))

    # ---- what a journal uses

    def lock(self, name: str) -> None:
        if self.locked:
            raise JournalLockedError(f"{name} is written by another process")
        self.locked = True

    def names(self) -> list[str]:
        return list(self.files)

    def open(self, name: str, reserve: int = 4096) -> MemoryStorage:
        if name not in self.files:
            self.operation("make")
            if self.full:
                raise OSError(errno.ENOSPC, "No space left on device")
            self.files[name] = MemoryFile()
        return MemoryStorage(self, self.files[name], reserve)

    def rename(self, old: str, new: str) -> None:
        self.operation("rename")
        if new in self.files:
            raise OSError(errno.EEXIST, f"{new} is there already")
        self.files[new] = self.files.pop(old)
        self.operation("renamed")

    def digest(self, name: str) -> bytes:
        return hashlib.sha256(self.files[name].seen).digest()

    def close(self) -> None:
        self.locked = False

    # ---- what happens to it

    def kill(self) -> None:
        """The process is gone; the kernel keeps what it was given."""
        self.locked, self.die_at = False, None
        self.operations.clear()

    def cut_power(self) -> None:
        """The machine is gone: of what no sync waited for, any sectors reached the disk, in any order."""
        self.kill()
        for file in self.files.values():
            for at, data in file.pending:
                if at < 0:
                    if self.random.random() < 0.5:
                        del file.kept[len(data) :]
                    continue
                for start in range(0, len(data), SECTOR):
                    if self.random.random() < 0.5:
                        part = data[start : start + SECTOR]
                        if at + start > len(file.kept):
                            file.kept.extend(bytes(at + start - len(file.kept)))
                        file.kept[at + start : at + start + len(part)] = part
            file.seen[:] = file.kept
            file.pending.clear()

    def dump(self, folder: Any) -> None:
        """Write all files as they are seen, for ``verify`` to look at."""
        folder.mkdir(exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        for name, file in self.files.items():
            (folder / name).write_bytes(file.seen)
