"""The tag store: every tag's latest sample in shared memory, for all parts of a running city.

The compiled :class:`gwanje.ext.tagstore.StoreView` does the copying; this module owns the file, its header and the
rights: any process may read, only a :class:`TagWriter` of the owning part may write an owner's blocks.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from gwanje.core.quality import Quality
from gwanje.core.tags import BLOCK, TagTable
from gwanje.ext.tagstore import BLOCK_BYTES, StoreView

_MAGIC = b"GWANJETS"
_VERSION = 1
_HEADER = struct.Struct("<8sII64s")
_HEADER_BYTES = 4096  # one page, so that the blocks begin aligned


class StoreError(Exception):
    """The store cannot be created, attached or written; the text says why in one line."""


@dataclass(slots=True)
class Snapshot:
    """All tags at one moment; consistent per block of 1024.

    Attributes:
        value: (n,) values.
        quality: (n,) :class:`~gwanje.core.quality.Quality` bits.
        source_utc_ns: (n,) when the value was true, UTC.
        received_mono_ns: (n,) when it was written, monotonic; 0 for never.
    """

    value: npt.NDArray[np.float64]
    quality: npt.NDArray[np.uint16]
    source_utc_ns: npt.NDArray[np.int64]
    received_mono_ns: npt.NDArray[np.int64]

    @classmethod
    def empty(cls, n: int) -> Self:
        """Room for n tags."""
        return cls(np.full(n, np.nan), np.zeros(n, np.uint16), np.zeros(n, np.int64), np.zeros(n, np.int64))


@dataclass(frozen=True, slots=True)
class Sample:
    """Value, quality and times of one tag."""

    value: float
    quality: int
    source_utc_ns: int
    received_mono_ns: int


class TagWriter:
    """Writes the tags of one owner. At most one process may hold an owner's writer; the file lock enforces it."""

    def __init__(self, store: TagStore, owner: str) -> None:
        self._first, self._end = store.table.range_of(owner)
        if self._first == self._end:
            raise StoreError(f"owner {owner!r} has no tags")
        self._view = store.view
        self.owner = owner
        self._lock = os.open(store.path.with_name(f"writer-{owner}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise StoreError(f"another process writes the tags of {owner!r}") from None
        first_block = self._first // BLOCK
        self._view.heal(first_block, -(-self._end // BLOCK))
        self._one_id = np.zeros(1, np.int32)
        self._one_value = np.zeros(1)
        self._one_quality = np.zeros(1, np.uint16)
        self._one_time = np.zeros(1, np.int64)

    def write(
        self,
        ids: npt.NDArray[np.int32],
        values: npt.NDArray[np.float64],
        quality: npt.NDArray[np.uint16],
        source_utc_ns: npt.NDArray[np.int64],
        received_mono_ns: int,
    ) -> None:
        """Write k samples in one turn of the block.

        Args:
            ids: (k,) ascending ids of this owner.
            values: (k,).
            quality: (k,).
            source_utc_ns: (k,).
            received_mono_ns: when the samples arrived.

        Raises:
            StoreError: an id belongs to another owner.
            ValueError: lengths differ.
        """
        if len(ids) and not (self._first <= ids.min() and ids.max() < self._end):
            raise StoreError(f"{self.owner!r} may write ids {self._first}…{self._end - 1} only")
        self._view.write(ids, values, quality, source_utc_ns, received_mono_ns)

    def write_one(self, tag_id: int, value: float, quality: int, source_utc_ns: int, received_mono_ns: int) -> None:
        """Write one sample; see :meth:`write`."""
        self._one_id[0] = tag_id
        self._one_value[0] = value
        self._one_quality[0] = quality
        self._one_time[0] = source_utc_ns
        self.write(self._one_id, self._one_value, self._one_quality, self._one_time, received_mono_ns)

    def close(self) -> None:
        """Give the writer's place up."""
        os.close(self._lock)


class TagStore:
    """A mapped store. Use :meth:`create` in the supervisor and :meth:`attach` in every part."""

    def __init__(self, path: Path, table: TagTable, mapping: mmap.mmap) -> None:
        self.path = path
        self.table = table
        self.stale_after_ns = table.stale_after_ns()
        self._mapping = mapping
        blocks = np.frombuffer(mapping, dtype=np.uint8, offset=_HEADER_BYTES)
        self.view = StoreView(blocks, self.stale_after_ns)

    @classmethod
    def create(cls, path: Path, table: TagTable) -> TagStore:
        """Make the file with every tag BAD|NEVER.

        Raises:
            StoreError: the file cannot be made (it exists, no memory).
        """
        size = _HEADER_BYTES + table.n // BLOCK * BLOCK_BYTES
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, size)
                mapping = mmap.mmap(descriptor, size)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise StoreError(f"cannot create the tag store {path}: {error.strerror}") from error
        store = cls(path, table, mapping)
        n = table.n
        ids = np.arange(n, dtype=np.int32)
        never = np.full(n, Quality.BAD | Quality.NEVER, np.uint16)
        store.view.write(ids, np.full(n, np.nan), never, np.zeros(n, np.int64), 0)
        mapping[: _HEADER.size] = _HEADER.pack(_MAGIC, _VERSION, n, table.sha256.encode())
        return store

    @classmethod
    def attach(cls, path: Path, table: TagTable) -> TagStore:
        """Map an existing store.

        Raises:
            StoreError: it is not there, is no store, or was laid out from other tag files.
        """
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                mapping = mmap.mmap(descriptor, 0)
            finally:
                os.close(descriptor)
        except (OSError, ValueError) as error:
            raise StoreError(f"cannot attach the tag store {path}: {error}") from error
        if len(mapping) < _HEADER_BYTES:
            raise StoreError(f"{path} is not a tag store")
        magic, version, n, layout = _HEADER.unpack(mapping[: _HEADER.size])
        if magic != _MAGIC or version != _VERSION:
            raise StoreError(f"{path} is not a tag store of version {_VERSION}")
        if n != table.n or layout.decode("ascii", "replace") != table.sha256:
            raise StoreError(f"{path} was laid out from other tag files; restart the city")
        return cls(path, table, mapping)

    def writer(self, owner: str) -> TagWriter:
        """The one writer of an owner's tags.

        Raises:
            StoreError: the owner has no tags, or another process writes them.
        """
        return TagWriter(self, owner)

    def snapshot(self, out: Snapshot | None = None) -> Snapshot:
        """All tags with their quality as written: for copying, not for deciding."""
        return self.snapshot_at(0, out)

    def snapshot_at(self, now_mono_ns: int, out: Snapshot | None = None) -> Snapshot:
        """All tags; what is older than its tag allows at ``now_mono_ns`` is BAD|STALE.

        Args:
            now_mono_ns: monotonic time of the reader.
            out: filled and returned when given.
        """
        snapshot = out or Snapshot.empty(self.table.n)
        self.view.snapshot(
            now_mono_ns, snapshot.value, snapshot.quality, snapshot.source_utc_ns, snapshot.received_mono_ns
        )
        return snapshot

    def read(self, tag_id: int, now_mono_ns: int = 0) -> Sample:
        """One tag's sample; stale values are marked when ``now_mono_ns`` is given."""
        one = Snapshot.empty(1)
        self.view.read(
            np.array([tag_id], np.int32),
            now_mono_ns,
            one.value,
            one.quality,
            one.source_utc_ns,
            one.received_mono_ns,
        )
        return Sample(
            float(one.value[0]), int(one.quality[0]), int(one.source_utc_ns[0]), int(one.received_mono_ns[0])
        )

    def read_many(self, ids: npt.NDArray[np.int32], now_mono_ns: int, out: Snapshot | None = None) -> Snapshot:
        """Samples of several tags, (k,) columns in the order of the ids."""
        snapshot = out or Snapshot.empty(len(ids))
        self.view.read(
            ids, now_mono_ns, snapshot.value, snapshot.quality, snapshot.source_utc_ns, snapshot.received_mono_ns
        )
        return snapshot
