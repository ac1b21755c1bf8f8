"""The tag store at its design load: how long a snapshot of 100 000 tags takes under a writer, and whether any is torn.

The writer is a process of its own on a processor of its own. Every 10 ms it writes ten whole blocks (10 240 tags) and
goes round the store; each turn stamps a block: all its values, qualities and times tell the same number. One check is
one block of one snapshot: 1024 tags whose four columns must all tell one stamp. Every timed snapshot is checked behind
the clock; then the writer runs without pause until enough *fresh* blocks (changed since they were last checked) were
looked at. The same check over a numpy copy of plain columns shows that it finds torn blocks where nothing prevents
them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gwanje.core.bench import BenchOptions, Result, Watch, median, per_round, result
from gwanje.core.benches.children import Child, Door, in_memory, pinned, two_processors
from gwanje.core.clock import SystemClock
from gwanje.core.tags.store import Snapshot, TagStore
from gwanje.core.tags.table import BLOCK, Tag, TagTable

N_TAGS = 100_000
"""The design load."""
SNAPSHOTS = 600
"""Of one arm in one round, one a millisecond: the 99 % quantile stands on six of them."""
CHECKS = 1_000_000
"""Fresh blocks looked at under a writer that never pauses."""
PEER_CHECKS = 100_000
"""Of the numpy copy: it only has to show that tearing is found."""
PACE_NS = 1_000_000
WRITE_PERIOD_NS = 10_000_000
BLOCKS_PER_WRITE = 10
"""10 240 tags every 10 ms: a million samples a second."""
STAMP_QUALITY = 0x3F
"""Bits of a stamp that fit into a quality without meaning anything bad."""

EARLY_NS = 1
"""The reader's time: ages are looked at, and no stamp is too old."""

IDLE, PACED, FLAT_OUT, LEAVE = range(4)
STORE, COLUMNS = range(2)


def table_of(n_tags: int) -> TagTable:
    """Tags of one owner that turn stale after a minute."""
    return TagTable.build(
        [Tag(f"city.meter{number:06d}.load_w", "W", "field", stale_after_s=60.0) for number in range(n_tags)]
    )


class Columns:
    """The peer's store: plain numpy columns in shared memory, without any latch, and the cell that steers the writer.

    Attributes:
        cell: (8,) what the writer shall do, into what, and how many turns it made.
        samples: (n,) columns.
    """

    def __init__(self, path: Path, n: int) -> None:
        room = 64 + n * (8 + 8 + 8 + 2)
        if not path.exists():
            path.write_bytes(bytes(room))
        raw = np.memmap(path, np.uint8, "r+", shape=(room,))
        at = [64 + n * width for width in (0, 8, 16, 24)]
        self.cell: npt.NDArray[np.int64] = raw[:64].view(np.int64)
        self.samples = Snapshot(
            raw[at[0] : at[1]].view(np.float64), raw[at[3] : at[3] + 2 * n].view(np.uint16),
            raw[at[1] : at[2]].view(np.int64), raw[at[2] : at[3]].view(np.int64),
        )  # fmt: skip

    def copy(self, out: Snapshot) -> None:
        """Four copies, one after the other: what numpy can do."""
        np.copyto(out.value, self.samples.value)
        np.copyto(out.quality, self.samples.quality)
        np.copyto(out.source_utc_ns, self.samples.source_utc_ns)
        np.copyto(out.received_mono_ns, self.samples.received_mono_ns)


def write_stamps(door: Door, place: Path, n_tags: int) -> None:
    """Body of the writer; the cell steers it because asking the door costs more than a turn."""
    store = TagStore.attach(place / "tags", table_of(n_tags))
    writer = store.writer("field")
    columns = Columns(place / "columns", store.table.n)
    first, end = store.table.range_of("field")
    n_blocks = (end - first) // BLOCK
    groups = [
        np.arange(begin * BLOCK, min(begin + BLOCKS_PER_WRITE, n_blocks) * BLOCK, dtype=np.int32)
        for begin in range(0, n_blocks, BLOCKS_PER_WRITE)
    ]
    size = BLOCKS_PER_WRITE * BLOCK
    one = Snapshot.empty(size)
    clock, stamp, deadline = SystemClock(), 0, 0

    def turn(target: int) -> None:
        ids = groups[stamp % len(groups)]
        k = len(ids)
        if target == STORE:
            one.value[:k], one.quality[:k], one.source_utc_ns[:k] = stamp, stamp & STAMP_QUALITY, stamp
            writer.write(ids, one.value[:k], one.quality[:k], one.source_utc_ns[:k], stamp)
            return
        part, to = slice(int(ids[0]), int(ids[-1]) + 1), columns.samples
        to.value[part], to.quality[part] = stamp, stamp & STAMP_QUALITY
        to.source_utc_ns[part], to.received_mono_ns[part] = stamp, stamp

    for target in (STORE, COLUMNS):
        for _ in groups:
            stamp += 1
            turn(target)
    door.answer()
    while (mode := int(columns.cell[0])) != LEAVE:
        now = clock.mono_ns()
        if mode != FLAT_OUT:
            deadline = deadline + WRITE_PERIOD_NS if now - deadline < WRITE_PERIOD_NS else now + WRITE_PERIOD_NS
            clock.wait_until_mono_ns(deadline)
        if mode != IDLE:
            stamp += 1
            turn(int(columns.cell[1]))
            columns.cell[2] = stamp


@dataclass(slots=True)
class Checks:
    """Blocks looked at, how many of them had changed since the look before, and how many were torn."""

    blocks: int = 0
    fresh: int = 0
    torn: int = 0
    repeats: int = 0


class Checker:
    """Looks whether every block of a snapshot tells one stamp."""

    def __init__(self, n_blocks: int) -> None:
        self._n_blocks = n_blocks
        self._last = np.zeros(n_blocks)
        self.checks = Checks()

    def look(self, snapshot: Snapshot) -> None:
        """Check one snapshot; only blocks that the writer fills as a whole."""
        n = self._n_blocks * BLOCK
        value, quality, source, received = (
            column[:n].reshape(-1, BLOCK)
            for column in (snapshot.value, snapshot.quality, snapshot.source_utc_ns, snapshot.received_mono_ns)
        )
        stamp = value[:, :1].astype(np.int64)
        whole = (
            (value == value[:, :1]).all(1)
            & (quality == (stamp & STAMP_QUALITY).astype(np.uint16)).all(1)
            & (source == stamp).all(1)
            & (received == stamp).all(1)
        )
        self.checks.blocks += self._n_blocks
        self.checks.fresh += int(np.count_nonzero(value[:, 0] != self._last))
        self.checks.torn += int(np.count_nonzero(~whole))
        self._last[:] = value[:, 0]


def quantile_us(taken_ns: list[int], share: float) -> float:
    """A quantile of times in µs."""
    return float(np.quantile(np.array(taken_ns), share)) * 1e-3


class _Arms:
    """The store, its peers, and the writer that works on whichever is measured."""

    def __init__(self, stack: ExitStack, n_tags: int) -> None:
        place = stack.enter_context(in_memory())
        writers, self.reader = two_processors()
        self.table = table_of(n_tags)
        self.store = TagStore.create(place / "tags", self.table)
        self.columns = Columns(place / "columns", self.table.n)
        stack.enter_context(Child(write_stamps, place, n_tags, processor=writers))
        stack.callback(self.steer, LEAVE, STORE)
        stack.enter_context(pinned(self.reader))
        self.kept, self.out, self.plain = (Snapshot.empty(self.table.n) for _ in range(3))
        self.clock = SystemClock()
        self.n_blocks = n_tags // BLOCK
        self.samples = {one.name: (0.0, 0, 0, 0) for one in self.table}

    def steer(self, mode: int, target: int) -> None:
        """Tell the writer what to do."""
        self.columns.cell[1] = target
        self.columns.cell[0] = mode

    def renew(self) -> int:
        """Bring a snapshot up to date as every reader of the product does: what nobody wrote is not copied again."""
        self.store.snapshot_at(EARLY_NS, self.kept)
        return 0

    def copy(self) -> int:
        """Copy the whole store; returns how many block copies had to be repeated."""
        out = self.out
        return self.store.view.snapshot(
            EARLY_NS, out.value, out.quality, out.source_utc_ns, out.received_mono_ns
        )

    def paced(self, call: Callable[[], object], snapshots: int, look: Callable[[], None] | None) -> list[int]:
        """Nanoseconds of each call, one call a millisecond."""
        taken, clock = [], self.clock
        for _ in range(snapshots):
            clock.wait_until_mono_ns(clock.mono_ns() + PACE_NS)
            begin = clock.mono_ns()
            call()
            taken.append(clock.mono_ns() - begin)
            if look is not None:
                look()
        return taken


def run(
    options: BenchOptions, n_tags: int = N_TAGS, snapshots: int = SNAPSHOTS, checks: int = CHECKS
) -> list[Result]:
    """Time of a snapshot and of its peers, and torn blocks."""
    with ExitStack() as stack:
        arms = _Arms(stack, n_tags)
        watch = Watch()
        paced = Checker(arms.n_blocks)
        taken = _timed(arms, options, snapshots, paced)
        results = _times(taken, options, n_tags, watch, arms.reader is not None)
        return [*results, _torn(arms, paced.checks, checks, options)]


def _timed(arms: _Arms, options: BenchOptions, snapshots: int, checker: Checker) -> dict[str, list[list[int]]]:
    """Nanoseconds of every snapshot of every round, arms in rotation; the first round only warms up."""
    ours: list[tuple[str, int, Callable[[], Any], Callable[[], None] | None]] = [
        ("store", STORE, arms.renew, lambda: checker.look(arms.kept)),
        ("whole", STORE, arms.copy, None),
    ]
    if options.peers:
        ours += [
            ("numpy", COLUMNS, lambda: arms.columns.copy(arms.plain), None),
            ("dict", STORE, lambda: dict(arms.samples), None),
        ]
    taken: dict[str, list[list[int]]] = {name: [] for name, *_ in ours}
    for turn in range(options.rounds + 1):
        for name, target, call, look in ours[turn % len(ours) :] + ours[: turn % len(ours)]:
            arms.steer(PACED, target)
            some = arms.paced(call, snapshots if turn else snapshots // 10 + 1, look)
            if turn:
                taken[name].append(some)
    arms.steer(IDLE, STORE)
    return taken


def _times(
    taken: dict[str, list[list[int]]], options: BenchOptions, n_tags: int, watch: Watch, is_pinned: bool
) -> list[Result]:
    p99 = {name: [quantile_us(some, 0.99) for some in rounds] for name, rounds in taken.items()}
    p50 = {name: [quantile_us(some, 0.5) for some in rounds] for name, rounds in taken.items()}
    ours = p99["store"]
    where = "reader and writer pinned to a processor each, no FIFO" if is_pinned else "one processor: nothing pinned"
    note = (
        f"{n_tags} tags with value, quality and two times, ages looked at, brought up to date once a millisecond while "
        f"another process writes 10 240 tags every 10 ms; median over rounds of p99 "
        f"({min(ours):.0f}…{max(ours):.0f}), p50 {median(p50['store']):.1f} us; {where}"
    )
    whole = (
        f"every block copied anew, as a reader's first snapshot is ({min(p99['whole']):.0f}…{max(p99['whole']):.0f}), "
        f"p50 {median(p50['whole']):.1f} us"
    )
    vs = "ratio is ours / peer; the peer copies four plain numpy columns under the same writer: not consistent, no ages"
    if not options.peers:
        vs = "not measured: run with --peers"
    notes = {
        ("snapshot_p99", "store", "numpy"): f"{note}; {vs}",
        ("snapshot_whole_p99", "whole", "numpy"): whole,
        ("snapshot_whole_dict", "whole", "dict"): "the peer copies a dict of tuples, shallowly and inside one process: "
        "nothing is shared, no ages",
    }
    peers = {"numpy": f"numpy {np.__version__} copy", "dict": "copy of a dict"}
    return [
        result(
            f"store.{name}", median(p99[arm]), "us", rounds=options.rounds, peer=peers[peer],
            peer_value=median(p99[peer]) if peer in p99 else None,
            ratios=per_round(p99[arm], p99[peer]) if peer in p99 else (),
            goal="<= 100" if arm == "store" else None, note=told, watch=watch,
        )
        for (name, arm, peer), told in notes.items()
    ]  # fmt: skip


def _torn(arms: _Arms, paced: Checks, checks: int, options: BenchOptions) -> Result:
    """Torn blocks of all that were looked at."""
    watch = Watch()
    arms.steer(FLAT_OUT, STORE)
    flat = Checker(arms.n_blocks)
    for call, out, enough in ((arms.copy, arms.out, checks // 2), (arms.renew, arms.kept, checks)):
        while flat.checks.fresh < enough:
            flat.checks.repeats += call()
            flat.look(out)
    note = (
        f"one check is one block of 1024 tags whose four columns must tell one stamp: {flat.checks.fresh} blocks that "
        f"had changed since their last check, under a writer that never pauses, half of them in whole copies "
        f"({flat.checks.repeats} block copies were repeated) and half in renewed ones, and "
        f"{paced.blocks} under the paced one ({paced.fresh} changed)"
    )
    peer, torn_share = None, None
    if options.peers:
        arms.steer(FLAT_OUT, COLUMNS)
        plain = Checker(arms.n_blocks)
        while plain.checks.fresh < min(PEER_CHECKS, checks):
            arms.columns.copy(arms.plain)
            plain.look(arms.plain)
        peer, torn_share = "numpy copy of plain columns, torn", float(plain.checks.torn)
        note += f"; the numpy copy tore {plain.checks.torn} of {plain.checks.fresh}: the check finds what is torn"
    arms.steer(IDLE, STORE)
    return result(
        "store.snapshot_torn", float(flat.checks.torn + paced.torn), "blocks", rounds=1, peer=peer,
        peer_value=torn_share, goal="== 0", note=note, watch=watch,
    )  # fmt: skip
