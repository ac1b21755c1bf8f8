"""What is read together and when: coalescing into requests, earliest deadline first, back-off. No I/O, no clock."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gwanje.io.field.modbus_frames import READ_MAX
from gwanje.io.field.points import Cell, PointTable

NS_PER_S = 1_000_000_000

BACKOFF_FIRST_S = 0.5
BACKOFF_CAP_S = {"fast": 5.0, "normal": 30.0, "slow": 30.0}
"""A silent device of the fast class is asked again within five seconds, any other within thirty."""
REFUSED_CAP_S = {"fast": 0.5, "normal": 2.0, "slow": 2.0}
"""A refused connection costs nobody anything and mostly means a restart: ask again soon."""
REFUSED_FIRST_S = 0.1
BACKOFF_JITTER = 0.2
"""A fleet that comes back at once must not be asked at once."""


class SpanError(ValueError):
    """A number and its scale factor lie further apart than one read reaches."""


@dataclass(frozen=True, slots=True)
class Block:
    """One read request and the cells decoded from it.

    Attributes:
        address: first register.
        count: registers, 1…125.
        cells: whose numbers and scale factors lie inside.
        table: compiled from the cells.
    """

    address: int
    count: int
    cells: tuple[Cell, ...]
    table: PointTable


def coalesce(
    cells: Iterable[Cell], *, max_count: int = READ_MAX, max_gap: int = READ_MAX, base_quality: int = 0
) -> tuple[Block, ...]:
    """Put cells into as few reads as their order allows; a cell's span is never split.

    Args:
        cells: in any order.
        max_count: most registers of one read.
        max_gap: registers that may be read though nobody wants them; 0 where holes may be illegal.
        base_quality: bits that every value carries.

    Raises:
        SpanError: a span is longer than ``max_count``.
    """
    blocks: list[Block] = []
    batch: list[Cell] = []
    first = end = 0
    for cell in sorted(cells, key=lambda one: one.place.span):
        low, high = cell.place.span
        if high - low > max_count:
            raise SpanError(f"{high - low} registers belong together, one read takes {max_count}")
        if batch and (max(end, high) - first > max_count or low - end > max_gap):
            blocks.append(_block(first, end, batch, base_quality))
            batch = []
        if not batch:
            first, end = low, high
        batch.append(cell)
        end = max(end, high)
    if batch:
        blocks.append(_block(first, end, batch, base_quality))
    return tuple(blocks)


def _block(first: int, end: int, cells: Sequence[Cell], base_quality: int) -> Block:
    return Block(first, end - first, tuple(cells), PointTable(first, cells, base_quality))


def bisect(block: Block, base_quality: int = 0) -> tuple[Block, ...]:
    """Two smaller reads for the same cells, or the block itself when its cells belong together.

    For a device that refuses a read as a whole because of a hole or because it takes fewer registers at once.
    """
    cells = sorted(block.cells, key=lambda one: one.place.span)
    middle = len(cells) // 2
    if middle == 0 or cells[0].place.span == cells[-1].place.span:
        return (block,)
    halves = []
    for half in (cells[:middle], cells[middle:]):
        spans = [cell.place.span for cell in half]
        halves.append(_block(min(low for low, _ in spans), max(high for _, high in spans), half, base_quality))
    return tuple(halves)


class Schedule:
    """Earliest deadline first over a device's scan groups; an overrun skips, it never queues.

    Args:
        periods_ns: of each group.
        start_mono_ns: when the first scan of every group is due.
    """

    def __init__(self, periods_ns: Sequence[int], start_mono_ns: int) -> None:
        assert periods_ns, "a schedule of nothing"
        assert min(periods_ns) > 0, "a period of nothing"
        self._periods_ns = tuple(periods_ns)
        self._due_ns = [start_mono_ns] * len(periods_ns)
        self.skipped = 0

    def next(self) -> tuple[int, int]:
        """(group, monotonic time it is due): the earliest, the shorter period first where two are due at once."""
        due = self._due_ns
        earliest = min(due)
        if due[0] == earliest:  # groups stand fastest first: the common case
            return 0, earliest
        group = min((period, index) for index, period in enumerate(self._periods_ns) if due[index] == earliest)[1]
        return group, earliest

    def done(self, group: int, now_mono_ns: int) -> None:
        """A group was scanned; its next turn is the first of its grid that is not over."""
        period = self._periods_ns[group]
        due = self._due_ns[group] + period
        if due <= now_mono_ns:
            late = (now_mono_ns - due) // period + 1
            self.skipped += late
            due += late * period
        self._due_ns[group] = due


class Backoff:
    """How long to leave a device alone after each failed try.

    Args:
        scan: class of the device.
        chance: source of the jitter.
    """

    def __init__(self, scan: str, chance: random.Random) -> None:
        self._cap_s = BACKOFF_CAP_S[scan]
        self._refused_cap_s = REFUSED_CAP_S[scan]
        self._chance = chance
        self._failures = 0

    def next_s(self, refused: bool) -> float:
        """Wait before the next try; doubles with each failure up to the cap."""
        first, cap = (REFUSED_FIRST_S, self._refused_cap_s) if refused else (BACKOFF_FIRST_S, self._cap_s)
        wait = min(first * 2.0 ** min(self._failures, 16), cap)
        self._failures += 1
        return wait * self._chance.uniform(1.0 - BACKOFF_JITTER, 1.0 + BACKOFF_JITTER)

    def reset(self) -> None:
        """The device answered: the next failure begins anew."""
        self._failures = 0
