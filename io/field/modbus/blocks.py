"""What is read together: cells coalesced into requests, and requests cut in two that a device refuses. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gwanje.io.field.modbus.frames import READ_MAX
from gwanje.io.field.modbus.points import Cell, PointTable


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
    for cell in sorted(cells, key=lambda one: one.span):
        low, high = cell.span
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
    cells = sorted(block.cells, key=lambda one: one.span)
    borders = [at for at in range(1, len(cells)) if cells[at - 1].span != cells[at].span]
    if not borders:
        return (block,)
    middle = min(borders, key=lambda at: abs(at - len(cells) // 2))
    halves = []
    for half in (cells[:middle], cells[middle:]):
        spans = [cell.span for cell in half]
        halves.append(_block(min(low for low, _ in spans), max(high for _, high in spans), half, base_quality))
    return tuple(halves)
