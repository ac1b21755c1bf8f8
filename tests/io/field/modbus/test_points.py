"""Values and qualities of a read, against the whole-model decoder as oracle."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gwanje.core.tags.quality import Quality, is_good
from gwanje.io.field.modbus.points import Cell, Place, PointTable
from gwanje.io.field.modbus.sunspec import encode_model, model_layout

LAYOUT = model_layout(701)
NUMBERS = [p for p in LAYOUT.points if p.kind != "string"]


def cells_of(layout, points, **extra):
    return [Cell(i, Place(p.offset, p.kind, p.scale_offset, p.scale_fixed), **extra) for i, p in enumerate(points)]


@given(registers=st.lists(st.integers(0, 0xFFFF), min_size=155, max_size=155))
@settings(max_examples=200)
def test_any_registers_decode_as_the_whole_model_does(registers):
    words = np.array(registers, np.uint16)
    values, quality = PointTable(0, cells_of(LAYOUT, NUMBERS)).decode(words.astype(">u2").tobytes())
    oracle = LAYOUT.decode(words)
    raw = LAYOUT.decode_raw(words)
    for point, value, bits in zip(NUMBERS, values, quality, strict=True):
        expected = oracle[point.name]
        if expected is not None:
            assert value == pytest.approx(expected, rel=1e-15), point.name
            assert bits == Quality.GOOD, point.name
        elif raw[point.name] is None:
            assert math.isnan(value), point.name
            assert bits == Quality.BAD | Quality.NOT_IMPLEMENTED, point.name
        elif words[point.scale_offset] == 0x8000:
            assert value == raw[point.name], point.name
            assert bits == Quality.UNCERTAIN | Quality.CONFIG, point.name
        else:
            assert math.isnan(value), point.name
            assert bits == Quality.BAD | Quality.CONFIG, point.name


def test_a_scale_factor_that_changes_between_reads_is_followed():
    registers = encode_model(701, {"W_SF": 1, "W": 5000})
    place = Place(10, "int16", LAYOUT.point("W").scale_offset)
    table = PointTable(0, [Cell(0, place)])
    assert table.decode(registers.astype(">u2").tobytes())[0][0] == 5000
    LAYOUT.encode_into(registers, {"W_SF": 0})
    assert table.decode(registers.astype(">u2").tobytes())[0][0] == 500
    registers[LAYOUT.point("W_SF").offset] = 99
    values, quality = table.decode(registers.astype(">u2").tobytes())
    assert math.isnan(values[0])
    assert quality[0] == Quality.BAD | Quality.CONFIG
    LAYOUT.encode_into(registers, {"W_SF": 1})
    values, quality = table.decode(registers.astype(">u2").tobytes())
    assert (values[0], quality[0]) == (5000, 0)


def test_values_beyond_the_plausible_range_are_uncertain_and_kept():
    table = PointTable(0, [Cell(0, Place(0, "i16"), low=-100, high=100), Cell(1, Place(1, "i16"), low=0, high=10)])
    values, quality = table.decode(struct.pack(">hh", 101, 10))
    assert list(values) == [101, 10]
    assert list(quality) == [Quality.UNCERTAIN | Quality.OUT_OF_RANGE, 0]


def test_simulated_is_carried_and_does_not_spoil_good():
    table = PointTable(0, [Cell(0, Place(0, "uint16")), Cell(1, Place(1, "uint16"))], Quality.SIMULATED)
    _, quality = table.decode(b"\0\1\xff\xff")
    assert is_good(int(quality[0]))
    assert quality[0] == Quality.SIMULATED
    assert quality[1] == Quality.BAD | Quality.NOT_IMPLEMENTED | Quality.SIMULATED


def test_scale_and_offset_of_the_configuration_come_after_the_scale_factor():
    place = Place(0, "uint16", scale_address=1)
    table = PointTable(0, [Cell(0, place, scale=0.01, offset=-0.5)])
    assert table.decode(struct.pack(">Hh", 7550, -2))[0][0] == pytest.approx(0.255)


def test_plain_registers_have_no_missing_pattern():
    kinds = ["u16", "i16", "u32", "i32", "u64", "f32"]
    places, at = [], 0
    for kind in kinds:
        places.append(Place(at, kind))
        at += places[-1].n_registers
    table = PointTable(0, [Cell(i, place) for i, place in enumerate(places)])
    data = struct.pack(">HhIiQf", 0xFFFF, -0x8000, 0xFFFF_FFFF, -0x8000_0000, 2**64 - 1, 1.5)
    values, quality = table.decode(data)
    assert list(values) == [65535, -32768, 4294967295, -2147483648, float(2**64 - 1), 1.5]
    assert not quality.any()


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
def test_a_float_that_is_no_number_is_never_good(number):
    plain = PointTable(0, [Cell(0, Place(0, "f32"))])
    assert plain.decode(struct.pack(">f", number))[1][0] == Quality.BAD | Quality.DEVICE_FAILURE
    sunspec = PointTable(0, [Cell(0, Place(0, "float32"))])
    expected = Quality.NOT_IMPLEMENTED if math.isnan(number) else Quality.DEVICE_FAILURE
    assert sunspec.decode(struct.pack(">f", number))[1][0] == Quality.BAD | expected


def test_a_word_swapped_float_shows_as_out_of_range():
    """Swapped words of 60.0 read as 0.0 to many digits: the plausible range is what finds it."""
    table = PointTable(0, [Cell(0, Place(0, "f32"), low=57, high=63)])
    right = struct.pack(">f", 60.0)
    assert table.decode(right)[1][0] == 0
    assert table.decode(right[2:] + right[:2])[1][0] == Quality.UNCERTAIN | Quality.OUT_OF_RANGE


def test_an_accumulator_rolls_over_to_a_plain_small_number():
    table = PointTable(0, [Cell(0, Place(0, "acc32"))])
    assert table.decode(struct.pack(">I", 2**32 - 1))[0][0] == 2**32 - 1
    values, quality = table.decode(struct.pack(">I", 3))
    assert (values[0], quality[0]) == (3, 0)


def test_points_that_overlap_or_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="register 1 as u16 overlaps"):
        PointTable(0, [Cell(0, Place(0, "u32")), Cell(1, Place(1, "u16"))])
    with pytest.raises(ValueError, match="is read as u16 and as i16"):
        PointTable(0, [Cell(0, Place(0, "u16")), Cell(1, Place(0, "i16"))])
    with pytest.raises(ValueError, match="is no number"):
        PointTable(0, [Cell(0, Place(0, "string"))])


def test_two_tags_may_read_one_register():
    table = PointTable(5, [Cell(9, Place(5, "u16")), Cell(4, Place(5, "u16"), scale=2)])
    assert list(table.ids) == [4, 9]
    assert list(table.decode(b"\0\7")[0]) == [14, 7]
