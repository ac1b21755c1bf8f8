"""Coalescing, schedule and back-off."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwanje.io.field.modbus.blocks import SpanError, bisect, coalesce
from gwanje.io.field.modbus.points import Cell, Place
from gwanje.io.field.scan import BACKOFF_JITTER, Backoff, Schedule

MS = 1_000_000


@st.composite
def cell_lists(draw):
    """Points side by side, in any order, some with a scale factor up to 100 registers later."""
    cells, at = [], draw(st.integers(0, 1000))
    for tag_id in range(draw(st.integers(1, 60))):
        kind = draw(st.sampled_from(["u16", "u32", "u64", "f32"]))
        at += draw(st.sampled_from([0, 0, 0, 1, 50, 300]))
        place = Place(at, kind)
        at = place.span[1]
        cells.append(Cell(tag_id, place))
    draw(st.randoms()).shuffle(cells)
    return cells


@given(cells=cell_lists(), max_count=st.sampled_from([4, 10, 125]), max_gap=st.sampled_from([0, 3, 125]))
def test_every_point_is_read_once_whole_and_within_limits(cells, max_count, max_gap):
    blocks = coalesce(cells, max_count=max_count, max_gap=max_gap)
    assert sorted(tag for block in blocks for tag in block.table.tag_ids) == sorted(cell.tag_id for cell in cells)
    for block in blocks:
        assert 1 <= block.count <= max_count
        wanted = set()
        for cell in block.cells:
            low, high = cell.place.span
            assert block.address <= low
            assert high <= block.address + block.count
            wanted.update(range(low, high))
        gaps = [b - a - 1 for a, b in zip(sorted(wanted), sorted(wanted)[1:], strict=False)]
        assert max(gaps, default=0) <= max_gap


def test_a_number_and_its_scale_factor_are_never_split():
    far = [Cell(0, Place(0, "u16")), Cell(1, Place(100, "u32", scale_address=160)), Cell(2, Place(130, "u16"))]
    blocks = coalesce(far)
    assert [(block.address, block.count, block.table.tag_ids) for block in blocks] == [(0, 1, [0]), (100, 61, [1, 2])]
    with pytest.raises(SpanError, match="126 registers belong together"):
        coalesce([Cell(0, Place(0, "u16", scale_address=125))])


def test_bisecting_ends_at_what_belongs_together():
    cells = [Cell(i, Place(2 * i, "u32")) for i in range(8)]
    (block,) = coalesce(cells)
    halves = bisect(block)
    assert [(half.address, half.count) for half in halves] == [(0, 8), (8, 8)]
    single = bisect(bisect(halves[0])[0])[0]
    assert bisect(single) == (single,)


def test_the_earliest_deadline_is_next_and_the_faster_group_first():
    schedule = Schedule([50 * MS, 1000 * MS], start_mono_ns=100)
    order = []
    for _ in range(4):
        group, due = schedule.next()
        order.append((group, due))
        schedule.done(group, due + MS)
    assert order == [(0, 100), (1, 100), (0, 100 + 50 * MS), (0, 100 + 100 * MS)]
    assert schedule.skipped == 0


def test_an_overrun_skips_and_stays_on_its_grid():
    schedule = Schedule([50 * MS], start_mono_ns=0)
    schedule.done(0, 175 * MS)
    assert schedule.next() == (0, 200 * MS)
    assert schedule.skipped == 3
    schedule.done(0, 201 * MS)
    assert schedule.next() == (0, 250 * MS)
    assert schedule.skipped == 3


@pytest.mark.parametrize(
    ("scan", "refused", "expected"),
    [
        ("fast", False, [0.5, 1, 2, 4, 5, 5]),
        ("normal", False, [0.5, 1, 2, 4, 8, 16, 30, 30]),
        ("fast", True, [0.1, 0.2, 0.4, 0.5, 0.5]),
        ("slow", True, [0.1, 0.2, 0.4, 0.8, 1.6, 2, 2]),
    ],
)
def test_the_back_off_doubles_up_to_its_cap(scan, refused, expected):
    backoff = Backoff(scan, random.Random(1))
    for middle in expected:
        assert abs(backoff.next_s(refused) / middle - 1.0) <= BACKOFF_JITTER
    backoff.reset()
    assert backoff.next_s(refused) <= expected[0] * (1 + BACKOFF_JITTER)
