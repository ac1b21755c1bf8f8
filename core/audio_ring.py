"""The only place where sound lives: a ring in RAM per microphone node, ten seconds long, never on a disk.

One process writes (the microphone driver), any number read (the acoustic chain), none waits for another. The file lies
on a RAM file system and nowhere else; its pages are locked out of swap where the machine allows it and left out of core
dumps, and it is wiped when the writer leaves.

How a reader knows that what it copied is whole: the writer first *claims* the samples it is about to overwrite, then
writes them, then publishes the new position. A reader copies and then looks at the claim: whatever the claim reached is
counted as lost, the rest is as it was written. Position, capture time and loss count travel in two slots used in turn,
so a writer that was killed between two stores leaves the last whole state behind. This order of stores is what the
memory model of x86-64 guarantees; where stores may pass each other (ARM64), ``_NodeView.publish`` needs a barrier.

A node of several microphones has a row of samples for each, written together. Whoever follows a stream reads the first
row; the others are read when something was heard (:meth:`RingReader.rows`).
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

RING_NAME = "audio"
"""Name of the ring's file in the run directory."""
SAMPLE_RATE_HZ = 16_000
READABLE_SAMPLES = 10 * SAMPLE_RATE_HZ
CAPACITY_SAMPLES = 163_840
"""Ten seconds and 0.24 s of slack, so that a reader which asks for all ten can copy them while the writer goes on."""
MAX_NODES = 4_096
"""1.3 GB; refuses a header that lies about its length."""
CHANNELS_MAX = 8
"""Microphones of one node; an array of a listening camera has four."""
LOSS_MARKS = 512
"""Every second packet of 20 ms lost for ten seconds makes 250 marks."""
SAMPLE_NS = 1_000_000_000 // SAMPLE_RATE_HZ

_MAGIC = 0x474E_5249_4E47_3032  # "GNRING02"
_HEADER_WORDS = 512  # one page: magic, nodes, capacity, marks, rate, names
_NODE_WORDS = 512 + 2 * LOSS_MARKS  # claim, state, flags, count of publications, the two slots on lines of their own
_NAME_BYTES = 32
_CLAIM, _STATE, _FLAGS, _COUNT, _SLOTS = 0, 8, 9, 16, 24
_SLOT_WORDS = 8  # position, mono_ns, lost in total, marks in total
_READ_TRIES = 100
"""A reader meets a writer that publishes 50 times a second: even two tries are rare."""

Samples = npt.NDArray[np.int16]
Words = npt.NDArray[np.int64]


class AudioRingError(Exception):
    """The ring cannot be used; the text is one line."""


class Read(NamedTuple):
    """What :meth:`RingReader.read_from` gives.

    Attributes:
        samples: (n,) int16, one after another in time; lost stretches inside are zeros.
        next_position: where to go on reading.
        lost: samples since the asked position that never arrived or were overwritten before they were read.
    """

    samples: Samples
    next_position: int
    lost: int


@dataclass(frozen=True, slots=True)
class Head:
    """Where a node's writer stands.

    Attributes:
        position: samples written since the ring was made; the newest is number ``position - 1``.
        mono_ns: when the newest sample was captured; 0 before the first.
        lost: samples that never arrived, in total.
        marks: stretches of loss, in total.
        state: health of the node's stream as the driver numbers it.
        flags: what the driver noticed in the signal, as bits.
    """

    position: int
    mono_ns: int
    lost: int
    marks: int
    state: int
    flags: int


def file_system_of(path: Path) -> str:
    """Type of the file system that holds ``path``, as the kernel calls it; empty when it does not say."""
    device = os.stat(path).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as table:
        for line in table:
            before, _, after = line.partition(" - ")
            if before.split()[2] == wanted:
                return after.split()[0]
    return ""


def require_ram(folder: Path) -> None:
    """Make sure that a file in ``folder`` cannot reach a disk.

    Raises:
        AudioRingError: the folder is missing or lies on anything but tmpfs or ramfs.
    """
    try:
        kind = file_system_of(folder)
    except OSError as error:
        raise AudioRingError(f"{folder}: {error.strerror}: the sound ring needs a folder on tmpfs") from None
    if kind not in ("tmpfs", "ramfs"):
        raise AudioRingError(
            f"{folder} is on {kind or 'an unknown file system'}, not on tmpfs: sound must not reach a disk"
        )


def _names_bytes(n_nodes: int) -> int:
    """Names, and a byte for the number of channels of each node."""
    return -(-n_nodes * (_NAME_BYTES + 1) // 4096) * 4096


def _file_bytes(n_nodes: int, n_channels: int) -> int:
    return _HEADER_WORDS * 8 + _names_bytes(n_nodes) + n_nodes * _NODE_WORDS * 8 + n_channels * CAPACITY_SAMPLES * 2


class _NodeView:
    """The words and samples of one node inside the mapping; ``rows`` is (channels, capacity), ``samples`` its first."""

    __slots__ = ("marks", "rows", "samples", "words")

    def __init__(self, buffer: mmap.mmap, offset: int, samples_offset: int, channels: int) -> None:
        self.words: Words = np.frombuffer(buffer, np.int64, 512, offset)
        self.marks: Words = np.frombuffer(buffer, np.int64, 2 * LOSS_MARKS, offset + 4096).reshape(LOSS_MARKS, 2)
        rows: Samples = np.frombuffer(buffer, np.int16, channels * CAPACITY_SAMPLES, samples_offset)
        self.rows: Samples = rows.reshape(channels, CAPACITY_SAMPLES)
        self.samples: Samples = self.rows[0]

    def head(self) -> Head:
        """The last whole publication."""
        words = self.words
        for _ in range(_READ_TRIES):
            count = int(words[_COUNT])
            slot = _SLOTS + (count & 1) * _SLOT_WORDS
            position, mono_ns, lost, marks = words[slot : slot + 4].tolist()
            if int(words[_COUNT]) == count:
                return Head(position, mono_ns, lost, marks, int(words[_STATE]), int(words[_FLAGS]))
        raise AudioRingError("the ring's writer publishes faster than anything can read")

    def own(self) -> tuple[int, int, int]:
        """Position, lost and marks as the writer itself published them last: nobody else writes them."""
        words = self.words
        slot = _SLOTS + (int(words[_COUNT]) & 1) * _SLOT_WORDS
        position, _, lost, marks = words[slot : slot + 4].tolist()
        return position, lost, marks

    def publish(self, position: int, mono_ns: int, lost: int, marks: int) -> None:
        """Fill the slot nobody reads, then turn to it with one store."""
        words = self.words
        count = int(words[_COUNT]) + 1
        slot = _SLOTS + (count & 1) * _SLOT_WORDS
        words[slot] = position
        words[slot + 1] = mono_ns
        words[slot + 2] = lost
        words[slot + 3] = marks
        words[_COUNT] = count

    def copy(self, start: int, stop: int) -> Samples:
        """Samples [start, stop) of the first row wherever they lie; at most the capacity."""
        out = np.empty(stop - start, np.int16)
        at = start % CAPACITY_SAMPLES
        first = min(stop - start, CAPACITY_SAMPLES - at)
        out[:first] = self.samples[at : at + first]
        out[first:] = self.samples[: stop - start - first]
        return out

    def copy_rows(self, start: int, stop: int) -> Samples:
        """The same of every row, (channels, stop - start)."""
        out = np.empty((len(self.rows), stop - start), np.int16)
        at = start % CAPACITY_SAMPLES
        first = min(stop - start, CAPACITY_SAMPLES - at)
        out[:, :first] = self.rows[:, at : at + first]
        out[:, first:] = self.rows[:, : stop - start - first]
        return out

    def store(self, start: int, samples: Samples) -> None:
        """Put samples at a position; at most the capacity.

        Args:
            start: position.
            samples: (n,) for the first row, silence for the others; or (channels, n).
        """
        if samples.ndim == 1:
            _put(self.samples, start, samples)
            for row in self.rows[1:]:
                _put(row, start, np.zeros(len(samples), np.int16))
            return
        for row, of_row in zip(self.rows, samples, strict=True):
            _put(row, start, of_row)


def _put(row: Samples, start: int, samples: Samples) -> None:
    at = start % CAPACITY_SAMPLES
    room = CAPACITY_SAMPLES - at
    if len(samples) <= room:
        row[at : at + len(samples)] = samples
        return
    row[at:] = samples[:room]
    row[: len(samples) - room] = samples[room:]


class _Mapping:
    """A mapped ring file, checked."""

    def __init__(self, path: Path, descriptor: int, access: int = mmap.ACCESS_WRITE) -> None:
        size = os.fstat(descriptor).st_size
        if size < _file_bytes(0, 0):
            raise AudioRingError(f"{path} is no sound ring")
        self.path = path
        self.buffer = mmap.mmap(descriptor, size, access=access)
        self.buffer.madvise(mmap.MADV_DONTDUMP)
        self.words: Words = np.frombuffer(self.buffer, np.int64, _HEADER_WORDS, 0)
        magic, n_nodes, capacity, marks, rate = self.words[:5].tolist()
        layout = (capacity, marks, rate) == (CAPACITY_SAMPLES, LOSS_MARKS, SAMPLE_RATE_HZ)
        if magic != _MAGIC or not layout or not 0 < n_nodes <= MAX_NODES or size < _file_bytes(n_nodes, n_nodes):
            raise AudioRingError(f"{path} is no sound ring")
        names = self.buffer[_HEADER_WORDS * 8 : _HEADER_WORDS * 8 + n_nodes * _NAME_BYTES]
        self.names = tuple(
            names[at : at + _NAME_BYTES].rstrip(b"\0").decode(errors="replace")
            for at in range(0, len(names), _NAME_BYTES)
        )
        begin = _HEADER_WORDS * 8 + n_nodes * _NAME_BYTES
        self.channels = tuple(self.buffer[begin : begin + n_nodes])
        known = all(0 < one <= CHANNELS_MAX for one in self.channels)
        if not known or size != _file_bytes(n_nodes, sum(self.channels)):
            raise AudioRingError(f"{path} is no sound ring")
        first = _HEADER_WORDS * 8 + _names_bytes(n_nodes)
        step = _NODE_WORDS * 8
        at, self.nodes = first + n_nodes * step, []
        for index, channels in enumerate(self.channels):
            self.nodes.append(_NodeView(self.buffer, first + index * step, at, channels))
            at += channels * CAPACITY_SAMPLES * 2
        self.all_words: Words = np.ndarray((n_nodes, 512), np.int64, self.buffer, first, (step, 8))

    @property
    def wiped(self) -> bool:
        """The writer has left for good; another file may stand under the same name."""
        return int(self.words[0]) != _MAGIC


class RingWriter:
    """The driver's end. Each node's ``write`` and ``gap`` belong to one thread; ``set_state`` may come from another."""

    def __init__(self, mapping: _Mapping, locked: bool) -> None:
        self._mapping = mapping
        self.locked = locked
        """Whether the pages are kept out of swap."""

    @classmethod
    def open(cls, path: Path, names: Sequence[str], channels: Sequence[int] | None = None) -> Self:
        """Take up the ring that an earlier writer left, if it is of the same nodes, or make a new one.

        Args:
            path: of the file, in RAM.
            names: of the nodes.
            channels: microphones of each; one each when left out.

        Raises:
            AudioRingError: the folder is not in RAM, or names or channels do not fit.
        """
        require_ram(path.parent)
        wanted = tuple(names)
        rows = (1,) * len(wanted) if channels is None else tuple(channels)
        if len(rows) != len(wanted) or not all(0 < one <= CHANNELS_MAX for one in rows):
            raise AudioRingError(f"a node has 1 to {CHANNELS_MAX} microphones")
        if not 0 < len(wanted) <= MAX_NODES or any(len(name.encode()) > _NAME_BYTES for name in wanted):
            raise AudioRingError(f"a sound ring holds 1 to {MAX_NODES} nodes with names of up to {_NAME_BYTES} bytes")
        mapping = cls._existing(path, wanted, rows) or cls._fresh(path, wanted, rows)
        address = ctypes.c_char.from_buffer(mapping.buffer)
        locked = ctypes.CDLL(None).mlock(ctypes.byref(address), ctypes.c_size_t(len(mapping.buffer))) == 0
        writer = cls(mapping, locked)
        for index, node in enumerate(mapping.nodes):  # a writer killed on the way leaves a claim that it never filled
            head = node.head()
            writer.gap(index, int(node.words[_CLAIM]) - head.position, head.mono_ns)
        return writer

    @staticmethod
    def _existing(path: Path, names: tuple[str, ...], channels: tuple[int, ...]) -> _Mapping | None:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise AudioRingError(f"{path}: {error.strerror}") from None
        try:
            os.fchmod(descriptor, 0o600)
            mapping = _Mapping(path, descriptor)
        except AudioRingError:
            return None
        finally:
            os.close(descriptor)
        if mapping.names == names and mapping.channels == channels:
            return mapping
        mapping.words[0] = 0  # its readers let go of it
        return None

    @staticmethod
    def _fresh(path: Path, names: tuple[str, ...], channels: tuple[int, ...]) -> _Mapping:
        unfinished = path.with_name(f".{path.name}.new")
        unfinished.unlink(missing_ok=True)
        descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, _file_bytes(len(names), sum(channels)))
            header = np.zeros(_HEADER_WORDS, np.int64)
            header[:5] = (_MAGIC, len(names), CAPACITY_SAMPLES, LOSS_MARKS, SAMPLE_RATE_HZ)
            words = b"".join(name.encode().ljust(_NAME_BYTES, b"\0") for name in names)
            os.pwrite(descriptor, header.tobytes() + words + bytes(channels), 0)
            mapping = _Mapping(path, descriptor)
        except OSError as error:
            unfinished.unlink()
            raise AudioRingError(f"{path}: no room in RAM for the sound ring ({error.strerror})") from None
        finally:
            os.close(descriptor)
        unfinished.rename(path)
        return mapping

    @property
    def names(self) -> tuple[str, ...]:
        """Nodes by index."""
        return self._mapping.names

    @property
    def channels(self) -> tuple[int, ...]:
        """Microphones of each node."""
        return self._mapping.channels

    def head(self, node_index: int) -> Head:
        """Where a node stands."""
        return self._mapping.nodes[node_index].head()

    def reader(self) -> RingReader:
        """A reader in the writer's own process, on the same mapping."""
        return RingReader(self._mapping)

    def write(self, node_index: int, samples: Samples, mono_ns: int) -> None:
        """Append samples.

        Args:
            node_index: of the node.
            samples: (n,) int16 at 16 kHz, at most the capacity; of a node of several microphones (channels, n).
            mono_ns: when the last of them was captured.
        """
        n_samples = samples.shape[-1]
        assert n_samples <= CAPACITY_SAMPLES, "a packet longer than the ring"
        node = self._mapping.nodes[node_index]
        position, lost, marks = node.own()
        end = position + n_samples
        node.words[_CLAIM] = end
        node.store(position, samples)
        node.publish(end, mono_ns, lost, marks)

    def gap(self, node_index: int, n_samples: int, mono_ns: int) -> None:
        """Go on by samples that never arrived: zeros, marked as lost.

        Args:
            node_index: of the node.
            n_samples: how many; may exceed the ring.
            mono_ns: when the last of them would have been captured.
        """
        if n_samples <= 0:
            return
        node = self._mapping.nodes[node_index]
        head = node.head()
        node.words[_CLAIM] = head.position + n_samples
        node.store(
            head.position + max(0, n_samples - CAPACITY_SAMPLES), np.zeros(min(n_samples, CAPACITY_SAMPLES), np.int16)
        )
        node.marks[head.marks % LOSS_MARKS] = (head.position, head.position + n_samples)
        node.publish(head.position + n_samples, mono_ns, head.lost + n_samples, head.marks + 1)

    def set_state(self, node_index: int, state: int, flags: int = 0) -> None:
        """Tell readers how the node is; the numbers are the driver's."""
        words = self._mapping.nodes[node_index].words
        words[_STATE] = state
        words[_FLAGS] = flags

    def close(self) -> None:
        """Wipe: overwrite every sample, tell the readers, take the name away."""
        for node in self._mapping.nodes:
            node.rows[:] = 0
            node.words[:] = 0
        self._mapping.words[0] = 0
        self._mapping.path.unlink(missing_ok=True)


class RingReader:
    """A reader's end; as many as wanted, in any process of this user."""

    def __init__(self, mapping: _Mapping) -> None:
        self._mapping = mapping

    @classmethod
    def attach(cls, path: Path) -> Self:
        """Map the ring of a running driver.

        Raises:
            AudioRingError: there is none (yet), or the file is something else.
        """
        return cls(cls._mapped(path))

    @staticmethod
    def _mapped(path: Path) -> _Mapping:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            raise AudioRingError(f"{path}: {error.strerror}: the microphone driver has no ring there") from None
        try:
            return _Mapping(path, descriptor, mmap.ACCESS_READ)
        finally:
            os.close(descriptor)

    @property
    def names(self) -> tuple[str, ...]:
        """Nodes by index."""
        return self._mapping.names

    @property
    def channels(self) -> tuple[int, ...]:
        """Microphones of each node."""
        return self._mapping.channels

    @property
    def wiped(self) -> bool:
        """The writer left and wiped the ring; :meth:`refresh` finds its successor's."""
        return self._mapping.wiped

    def refresh(self) -> bool:
        """Turn to the ring that now has the name, if this one was wiped; positions then begin again.

        Returns:
            Whether the ring can be read.
        """
        if self.wiped:
            try:
                self._mapping = self._mapped(self._mapping.path)
            except AudioRingError:
                return False
        return True

    def head(self, node_index: int) -> Head:
        """Where a node's writer stands."""
        return self._mapping.nodes[node_index].head()

    def positions(self) -> npt.NDArray[np.int64]:
        """Samples written of every node, (n_nodes,), in one look: to see which nodes have anything new."""
        words, rows = self._mapping.all_words, np.arange(len(self._mapping.nodes))
        counts = words[:, _COUNT].copy()
        found: npt.NDArray[np.int64] = words[rows, _SLOTS + (counts & 1) * _SLOT_WORDS]
        for node_index in np.flatnonzero(words[:, _COUNT] != counts).tolist():  # published meanwhile
            found[node_index] = self.head(node_index).position
        return found

    def time_of(self, node_index: int, position: int) -> int:
        """Monotonic ns at which the sample number ``position`` was captured, by the newest one's time."""
        head = self.head(node_index)
        return head.mono_ns - (head.position - 1 - position) * SAMPLE_NS

    def read_from(self, node_index: int, position: int) -> Read:
        """Everything from a position to the newest sample.

        Args:
            node_index: of the node.
            position: number of the first wanted sample; one beyond the newest (a ring that began again) is taken as the
                newest.

        Returns:
            Samples, where to go on, and how many of the stretch are lost.
        """
        return self._read(self._mapping.nodes[node_index], position, None)

    def rows(self, node_index: int, start: int, stop: int) -> tuple[Samples, int]:
        """What all microphones of a node heard in [start, stop), as far as it is there still or already.

        Returns:
            (channels, n) samples, and the position of the first; n may be 0. What is lost is zero, see :meth:`gaps`.
        """
        node = self._mapping.nodes[node_index]
        newest = node.head().position
        stop = min(stop, newest)
        start = min(max(start, 0, newest - READABLE_SAMPLES), stop)
        samples = node.copy_rows(start, stop)
        oldest = min(int(node.words[_CLAIM]) - CAPACITY_SAMPLES, stop)  # after the copy: what lies before may be mixed
        return (samples[:, oldest - start :], oldest) if oldest > start else (samples, start)

    def latest(self, node_index: int, n: int) -> Read:
        """The newest ``n`` samples (at most ten seconds), fewer when there are not so many."""
        return self._read(self._mapping.nodes[node_index], None, min(n, READABLE_SAMPLES))

    @staticmethod
    def _read(node: _NodeView, position: int | None, n: int | None) -> Read:
        head = node.head()
        stop = head.position
        asked = max(0, stop - n) if n is not None else min(max(position or 0, 0), stop)
        start = max(asked, stop - READABLE_SAMPLES)
        samples = node.copy(start, stop)
        oldest = int(node.words[_CLAIM]) - CAPACITY_SAMPLES  # after the copy: what lies before may be mixed
        if oldest > start:
            samples = samples[min(oldest, stop) - start :]
            start = min(oldest, stop)
        gaps = _gaps(node, head, start, stop)
        return Read(samples, stop, start - asked + sum(end - begin for begin, end in gaps))

    def gaps(self, node_index: int, start: int, stop: int) -> list[tuple[int, int]]:
        """Stretches within [start, stop) that never arrived, as (first, one past the last), oldest first."""
        node = self._mapping.nodes[node_index]
        return _gaps(node, node.head(), start, stop)


def _gaps(node: _NodeView, head: Head, start: int, stop: int) -> list[tuple[int, int]]:
    if head.marks == 0 or start >= stop:
        return []
    known = min(head.marks, LOSS_MARKS - 1)  # the oldest slot may be in the writer's hands
    marks = node.marks[np.arange(head.marks - known, head.marks) % LOSS_MARKS]
    inside = marks[(marks[:, 1] > start) & (marks[:, 0] < stop)]
    return [(max(int(begin), start), min(int(end), stop)) for begin, end in inside]
