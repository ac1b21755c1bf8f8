"""The tag store: every tag's latest sample in shared memory, for all parts of a running city.

The compiled :class:`gwanje.ext.tagstore.StoreView` does the copying; this module owns the file, its header and the
rights: any process may read, only a :class:`TagWriter` of the owning part may write an owner's blocks, and only the
core's :class:`CommonWriter` what lies over all of them: substituted and blocked values, and the quality flags that
every writer adds.

A read with the time of the reader is what everybody decides by: too old is BAD|STALE, and overrides are in force until
their end. A read without it shows what the owners wrote, for those who keep the store.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from gwanje.core.tags.quality import SEVERITY_MASK, Quality
from gwanje.core.tags.table import BLOCK, TagTable
from gwanje.ext.tagstore import BLOCK_BYTES, COMMON_BYTES, NOT_SEEN, OVERRIDES_MAX, StoreView, changes

_MAGIC = b"GWANJETS"
_VERSION = 2
_HEADER = struct.Struct("<8sII64s")
_PAGE = 4096
_COMMON_AT = _PAGE  # after one page of header
_BLOCKS_AT = _COMMON_AT + -(-COMMON_BYTES // _PAGE) * _PAGE  # on a page, so that the blocks begin aligned

Columns = tuple[npt.NDArray[np.integer[Any]], npt.NDArray[np.float64], npt.NDArray[np.uint16], npt.NDArray[np.int64]]
"""ids, values, quality and source times (UTC) of a scan, (k,) each."""


class StoreError(Exception):
    """The store cannot be created, attached or written; the text says why in one line."""


@dataclass(slots=True)
class Snapshot:
    """All tags at one moment; consistent per block of 1024.

    Attributes:
        value: (n,) values.
        quality: (n,) :class:`~gwanje.core.tags.quality.Quality` bits.
        source_utc_ns: (n,) when the value was true, UTC.
        received_mono_ns: (n,) when it was written, monotonic; 0 for never.

    One that is filled again and again by :meth:`TagStore.snapshot_at` is kept up to date: blocks that nobody wrote are
    not copied again, so nobody else may change its columns.
    """

    value: npt.NDArray[np.float64]
    quality: npt.NDArray[np.uint16]
    source_utc_ns: npt.NDArray[np.int64]
    received_mono_ns: npt.NDArray[np.int64]
    _seen: tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]] | None = field(default=None, repr=False, compare=False)
    _seen_in: object = field(default=None, repr=False, compare=False)
    _seen_at_ns: int = field(default=0, repr=False, compare=False)

    def turns_seen(
        self, store: object, n_blocks: int, now_mono_ns: int
    ) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
        """Which turn of each block of a store the columns hold, and until when it is fresh, for the kernel to keep."""
        if self._seen is None or self._seen_in is not store or now_mono_ns < self._seen_at_ns:
            self._seen = np.full(n_blocks, NOT_SEEN, np.uint64), np.zeros(n_blocks, np.int64)
            self._seen_in = store
        self._seen_at_ns = now_mono_ns
        return self._seen

    def forget_turns(self) -> None:
        """The columns were filled in another way."""
        self._seen = None

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
        self._leave = weakref.finalize(self, os.close, self._lock)
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
        """Give the writer's place up; one that nobody knows any more gives it up by itself."""
        self._leave()


@dataclass(frozen=True, slots=True)
class Overrides:
    """Values that lie over those of their owners; columns of (m,) in ascending order of the ids.

    Attributes:
        ids: tags.
        value: what readers get.
        quality: its quality; the bit SIMULATED of the owner's sample stays.
        source_utc_ns: since when it is true.
        received_mono_ns: what its age is counted from; 0: it is as fresh as its reader.
        until_mono_ns: when it ends by itself.
    """

    ids: npt.NDArray[np.int32]
    value: npt.NDArray[np.float64]
    quality: npt.NDArray[np.uint16]
    source_utc_ns: npt.NDArray[np.int64]
    received_mono_ns: npt.NDArray[np.int64]
    until_mono_ns: npt.NDArray[np.int64]


class CommonWriter:
    """Writes what lies over all tags. At most one process may hold it; the file lock enforces it."""

    def __init__(self, store: TagStore) -> None:
        self._view = store.view
        self._lock = os.open(store.path.with_name("writer-common.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise StoreError("another process writes the overrides") from None
        self._leave = weakref.finalize(self, os.close, self._lock)

    def override(self, overrides: Overrides) -> None:
        """Replace all overrides at once, for every reader.

        Raises:
            ValueError: more than ``OVERRIDES_MAX``, or ids not ascending inside the store.
        """
        self._view.override(
            overrides.ids, overrides.value, overrides.quality, overrides.source_utc_ns, overrides.received_mono_ns,
            overrides.until_mono_ns,
        )  # fmt: skip

    def flag(self, quality: int) -> None:
        """Have every writer add these bits (no severity) to the quality from now on; 0 for none."""
        assert not quality & SEVERITY_MASK, "a severity is for the writer of a value to say"
        self._view.quality_flags = quality

    def close(self) -> None:
        """Give the writer's place up; what it wrote stays."""
        self._leave()


class ChangeFilter:
    """Report by exception: says which tags moved by more than their deadband since they were last told.

    Args:
        deadband: (n,) in each tag's unit; 0 for any change.
    """

    def __init__(self, deadband: npt.NDArray[np.float64]) -> None:
        self._deadband = deadband
        self._value = np.full(len(deadband), np.nan)
        self._quality = np.full(len(deadband), 0xFFFF, np.uint16)  # no sample has it: the first look tells everything
        self._out = np.empty(len(deadband), np.int32)

    def take(self, value: npt.NDArray[np.float64], quality: npt.NDArray[np.uint16]) -> npt.NDArray[np.int32]:
        """Positions of what changed, ascending, valid until the next call; they count as told from now on.

        Args:
            value: (n,) now.
            quality: (n,) now; a change of it is a change.
        """
        return self._out[: changes(self._value, self._quality, value, quality, self._deadband, self._out)]


class TagStore:
    """A mapped store. Use :meth:`create` in the supervisor and :meth:`attach` in every part."""

    def __init__(self, path: Path, table: TagTable, mapping: mmap.mmap) -> None:
        self.path = path
        self.table = table
        self.stale_after_ns = table.stale_after_ns()
        self._mapping = mapping
        blocks = np.frombuffer(mapping, dtype=np.uint8, offset=_BLOCKS_AT)
        common = np.frombuffer(mapping, dtype=np.uint8, offset=_COMMON_AT, count=COMMON_BYTES)
        self.view = StoreView(blocks, self.stale_after_ns, common)
        self._overridden = np.empty(OVERRIDES_MAX, np.int32)

    @classmethod
    def create(cls, path: Path, table: TagTable) -> TagStore:
        """Make the file with every tag BAD|NEVER.

        Raises:
            StoreError: the file cannot be made (it exists, no memory).
        """
        size = _BLOCKS_AT + table.n // BLOCK * BLOCK_BYTES
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
        if len(mapping) < _BLOCKS_AT:
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

    def common_writer(self) -> CommonWriter:
        """The one writer of what lies over all tags.

        Raises:
            StoreError: another process writes it.
        """
        return CommonWriter(self)

    def snapshot(self, out: Snapshot | None = None) -> Snapshot:
        """All tags as their owners wrote them, neither aged nor overridden: not to decide by."""
        snapshot = out or Snapshot.empty(self.table.n)
        snapshot.forget_turns()
        self.view.snapshot(0, snapshot.value, snapshot.quality, snapshot.source_utc_ns, snapshot.received_mono_ns)
        return snapshot

    def snapshot_at(self, now_mono_ns: int, out: Snapshot | None = None) -> Snapshot:
        """All tags; what is older than its tag allows at ``now_mono_ns`` is BAD|STALE, overrides are in force.

        Args:
            now_mono_ns: monotonic time of the reader, above 0.
            out: brought up to date and returned when given.
        """
        snapshot = out or Snapshot.empty(self.table.n)
        self.view.snapshot(
            now_mono_ns, snapshot.value, snapshot.quality, snapshot.source_utc_ns, snapshot.received_mono_ns,
            *(snapshot.turns_seen(self, self.view.n_blocks, now_mono_ns) if out else ()),
        )  # fmt: skip
        return snapshot

    def overridden(self, now_mono_ns: int) -> npt.NDArray[np.int32]:
        """Ids with an override in force, ascending; valid until the next call."""
        return self._overridden[: self.view.overridden(now_mono_ns, self._overridden)]

    def outgoing(
        self,
        now_mono_ns: int,
        ids: npt.NDArray[np.integer[Any]],
        values: npt.NDArray[np.float64],
        quality: npt.NDArray[np.uint16],
        source_utc_ns: npt.NDArray[np.int64],
    ) -> Columns:
        """What an owner may publish of a scan: without overridden tags (the core tells of those), with the flags."""
        if (flags := self.view.quality_flags) != 0:
            quality = quality | np.uint16(flags)
        if len(over := self.overridden(now_mono_ns)):
            keep = ~np.isin(ids, over)
            return ids[keep], values[keep], quality[keep], source_utc_ns[keep]
        return ids, values, quality, source_utc_ns

    def read(self, tag_id: int, now_mono_ns: int = 0) -> Sample:
        """One tag's sample; aged and overridden when ``now_mono_ns`` is given, else as its owner wrote it."""
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
        """Samples of several tags, (k,) columns in the order of the ids; 0 for the time reads as the owners wrote."""
        snapshot = out or Snapshot.empty(len(ids))
        self.view.read(
            ids, now_mono_ns, snapshot.value, snapshot.quality, snapshot.source_utc_ns, snapshot.received_mono_ns
        )
        return snapshot
