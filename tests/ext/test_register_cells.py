"""The kernel that decodes registers against its twin: any table, any registers, the same values and reasons."""

import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwanje.ext.reference import register_cells as reference
from gwanje.ext.register_cells import CellTable, decode_blocks

COUNT = 12
NASTY = [0, 1, 0x7FFF, 0x8000, 0xFFFF, 0xFFFE, 0x7FC0, 0x7F80, 10, 0xFFF6, 11, 0xFFF5]
WORDS = st.lists(st.one_of(st.sampled_from(NASTY), st.integers(0, 0xFFFF)), min_size=COUNT, max_size=COUNT)


@st.composite
def rows(draw):
    """One cell of a read of twelve registers."""
    n = draw(st.sampled_from([1, 2, 4]))
    form = draw(st.sampled_from([0, 1, 2] if n > 1 else [0, 1]))
    mask = draw(st.sampled_from([0, 0, 1, 0x8000, 0x0F0, 0xFFFF])) if form == 0 else 0
    shift = (mask & -mask).bit_length() - 1 if mask else 0
    bits = 16 * n
    missing = draw(st.sampled_from([None, 0, (1 << bits) - 1, 1 << (bits - 1)])) if form < 2 else None
    low, high = draw(st.sampled_from([(-math.inf, math.inf), (0.0, 100.0), (-5e3, 5e3)]))
    return (
        draw(st.integers(0, COUNT - n)), form, n, draw(st.booleans()), missing, form == 2 and draw(st.booleans()),
        mask, shift, draw(st.integers(-1, COUNT - 1)), draw(st.integers(-10, 10)),
        draw(st.sampled_from([1.0, 0.001, -2.5])), draw(st.sampled_from([0.0, -40.0])), low, high,
    )  # fmt: skip


def same(found, expected):
    values, qualities = found
    for value, quality, (wanted, bits) in zip(values, qualities, expected, strict=True):
        assert quality == bits
        assert value == wanted or (math.isnan(value) and math.isnan(wanted))


@given(cells=st.lists(rows(), max_size=8), words=WORDS, good=st.sampled_from([0, 2048, 0x4200]))
def test_values_and_reasons_are_those_of_the_twin(cells, words, good):
    table = CellTable(cells, good, COUNT)
    expected = reference.decode(cells, good, words)
    same(table.decode(struct.pack(f">{COUNT}H", *words)), expected)
    block = np.array([words, words], np.uint16)
    values, quality = np.empty((2, table.n)), np.empty((2, table.n), np.uint16)
    table.decode_rows(block, values, quality)
    same((values[1], quality[1]), expected)


@given(parts=st.lists(st.tuples(st.lists(rows(), max_size=3), WORDS), max_size=4))
def test_a_batch_of_different_reads_is_each_of_them(parts):
    tables = [CellTable(cells, 0, COUNT) for cells, _ in parts]
    n = sum(one.n for one in tables)
    values, quality = np.empty(n), np.empty(n, np.uint16)
    decode_blocks(tables, np.array([words for _, words in parts], np.uint16).reshape(-1, COUNT), values, quality)
    same((values, quality), [one for cells, words in parts for one in reference.decode(cells, 0, words)])


GOOD_ROW = (0, 0, 1, False, None, False, 0, 0, -1, 0, 1.0, 0.0, -math.inf, math.inf)


def row(**changes):
    names = ("offset", "form", "n", "swapped", "missing", "nan", "mask", "shift", "scale_at", "exponent", "scale")
    return tuple(changes.get(name, value) for name, value in zip(names, GOOD_ROW[:11], strict=True)) + GOOD_ROW[11:]


@pytest.mark.parametrize(
    "wrong",
    [row(offset=COUNT), row(offset=-1), row(n=3), row(form=2), row(scale_at=COUNT), row(exponent=11), row(form=7)],
)
def test_a_cell_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match="cell 0"):
        CellTable([wrong], 0, COUNT)


def test_arrays_that_do_not_fit_are_refused():
    table = CellTable([GOOD_ROW], 0, COUNT)
    with pytest.raises(ValueError, match="22 bytes"):
        table.decode(bytes(22))
    words = np.zeros((2, COUNT), np.uint16)
    with pytest.raises(ValueError, match="do not fit"):
        table.decode_rows(words, np.empty((2, 2)), np.empty((2, 2), np.uint16))
    with pytest.raises(ValueError, match="do not fit"):
        decode_blocks([table], words, np.empty(1), np.empty(1, np.uint16))
    with pytest.raises(ValueError, match="do not fit"):
        decode_blocks([table, table], words, np.empty(3), np.empty(3, np.uint16))
    with pytest.raises(ValueError, match="do not fit"):
        decode_blocks([table, table], words[:, : COUNT - 1].copy(), np.empty(2), np.empty(2, np.uint16))


def test_a_word_swapped_float_and_a_counter_that_rolls_over():
    swapped = row(form=2, n=2, swapped=True)
    high, low = struct.unpack(">HH", struct.pack(">f", 230.5))
    assert CellTable([swapped], 0, 2).decode(struct.pack(">HH", low, high))[0][0] == 230.5
    assert CellTable([row(form=2, n=2)], 0, 2).decode(struct.pack(">HH", low, high))[0][0] != 230.5
    counter = CellTable([row(n=2)], 0, 2)
    assert [counter.decode(one)[0][0] for one in (b"\xff\xff\xff\xff", b"\0\0\0\1")] == [0xFFFFFFFF, 1]
