"""The SunSpec codec: layouts, scale factors, not-implemented values, and agreement with pysunspec2."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sunspec2 import device as peer

from gwanje.io.field.modbus import sunspec
from gwanje.io.field.modbus.sunspec import EncodeError, ModelError
from gwanje.io.field.modbus.sunspec_types import TYPES, missing_bytes, raw_from_bytes, raw_limits, raw_to_bytes

SIMPLE_MODELS = (1, 101, 103, 120, 121, 122, 123, 124, 201, 203, 701, 702, 703, 704, 713, 802)
COUNTED_MODELS = {
    705: {"NPt": 4, "NCrv": 3},
    706: {"NPt": 2, "NCrv": 2},
    707: {"NPt": 5, "NCrvSet": 2},
    708: {"NPt": 1, "NCrvSet": 1},
    709: {"NPt": 3, "NCrvSet": 2},
    710: {"NPt": 3, "NCrvSet": 1},
    711: {"NCtl": 2},
    712: {"NPt": 6, "NCrv": 2},
    714: {"NPrt": 3},
    803: {"NStr": 4},
}


def peer_offsets(model: peer.Model) -> dict[str, int]:
    """Path → register offset as pysunspec2 lays a model out."""
    found: dict[str, int] = {}

    def walk(group: peer.Group, prefix: str) -> None:
        for name, point in group.points.items():
            found[prefix + name] = point.offset
        for name, inner in group.groups.items():
            if isinstance(inner, list):
                for i, one in enumerate(inner):
                    walk(one, f"{prefix}{name}[{i}].")
            else:
                walk(inner, f"{prefix}{name}.")

    walk(model, "")
    return found


@pytest.mark.parametrize("model_id", [*SIMPLE_MODELS, *COUNTED_MODELS])
def test_every_point_lies_where_pysunspec2_puts_it(model_id):
    counts = COUNTED_MODELS.get(model_id, {})
    registers = sunspec.encode_model(model_id, counts)
    model = peer.Model(model_id=model_id, model_len=len(registers) - 2, data=registers.astype(">u2").tobytes())
    layout = sunspec.model_layout(model_id, counts)
    assert not model.error_info
    assert {p.name: p.offset for p in layout.points} == peer_offsets(model)
    assert model.len == layout.n_registers


def test_encode_then_decode_gives_the_values_back():
    values = {"W_SF": 2, "W": 481_200, "Hz_SF": -3, "Hz": 60.013, "InvSt": 3, "TotWh_SF": 0, "TotWhInj": 12_345_678_901}
    decoded = sunspec.decode_model(sunspec.encode_model(701, values))
    assert {name: decoded[name] for name in values} == values
    assert decoded["ID"] == 701
    assert decoded["L"] == 153
    assert decoded["VA"] is None
    assert decoded["MnAlrmInfo"] is None


def test_a_scale_factor_applies_at_the_moment_of_reading():
    registers = sunspec.encode_model(701, {"W_SF": 1, "W": 500})
    layout = sunspec.model_layout(701)
    assert layout.decode(registers)["W"] == 500
    layout.encode_into(registers, {"W_SF": -1})
    assert layout.decode(registers)["W"] == 5


@pytest.mark.parametrize("factor", [11, -11, 300, 0x8000 - 0x10000])
def test_a_value_without_a_usable_scale_factor_is_no_value(factor):
    registers = sunspec.encode_model(701, {"W_SF": 0, "W": 500})
    offset = sunspec.point_address(701, "W_SF")[0]
    registers[offset] = factor & 0xFFFF
    assert sunspec.decode_model(registers)["W"] is None
    with pytest.raises(EncodeError, match="scale factor"):
        sunspec.model_layout(701).encode_into(registers, {"W": 1.0})


@pytest.mark.parametrize("kind", sorted(set(TYPES) - {"pad", "u16", "i16", "u32", "i32", "u64"}))
def test_the_missing_pattern_of_every_type_is_no_value(kind):
    n_registers = TYPES[kind].n_registers or 4
    assert raw_from_bytes(kind, missing_bytes(kind, n_registers)) is None
    assert raw_to_bytes(kind, n_registers, None) == missing_bytes(kind, n_registers)


@given(data=st.data(), kind=st.sampled_from([k for k, t in TYPES.items() if t.form in ("signed", "unsigned")]))
def test_every_integer_of_a_type_survives(data, kind):
    low, high = raw_limits(kind)
    value = data.draw(st.integers(low, high))
    n_registers = TYPES[kind].n_registers
    read = raw_from_bytes(kind, raw_to_bytes(kind, n_registers, value))
    assert read == value or (read is None and TYPES[kind].missing == value)


@given(value=st.floats(width=32, allow_nan=False))
def test_every_float_survives(value):
    assert raw_from_bytes("float32", raw_to_bytes("float32", 2, value)) == value


def test_a_number_that_does_not_fit_is_refused_or_held_at_the_limit():
    with pytest.raises(EncodeError, match=r"model 701 W: 40000.* does not fit int16"):
        sunspec.encode_model(701, {"W_SF": 0, "W": 40_000})
    held = sunspec.encode_model(701, {"W_SF": 0, "W": -40_000, "A_SF": 0, "A": math.inf}, saturate=True)
    assert sunspec.decode_model(held)["W"] == -32_767
    assert sunspec.decode_model(held)["A"] == 32_767


def test_counters_roll_over():
    registers = sunspec.encode_model(203, {"TotWh_SF": 0, "TotWhImp": 2**32 + 5})
    assert sunspec.decode_model(registers)["TotWhImp"] == 5


def test_text_keeps_korean_and_refuses_what_is_too_long():
    assert sunspec.decode_model(sunspec.encode_model(1, {"Mn": "관제"}))["Mn"] == "관제"
    with pytest.raises(EncodeError, match="longer than 32 bytes"):
        sunspec.encode_model(1, {"Mn": "x" * 33})


def test_broken_text_is_shown_not_raised():
    registers = sunspec.encode_model(1, {"Mn": "ok"})
    registers[2] = 0xFF41
    assert sunspec.decode_model(registers)["Mn"] == "�A"


def test_length_may_drop_a_pad_or_grow_but_not_cut_points():
    assert sunspec.model_layout(1, length=65).n_registers == 67
    assert sunspec.model_layout(703, length=20).n_registers == 22
    with pytest.raises(ModelError, match="model 701 has 153 registers, the device says 12"):
        sunspec.model_layout(701, length=12)


def test_counts_are_needed_and_bounded():
    with pytest.raises(ModelError, match="count NCrv"):
        sunspec.model_layout(705)
    with pytest.raises(ModelError, match="out of bounds"):
        sunspec.model_layout(705, {"NPt": 60_000, "NCrv": 1})
    with pytest.raises(ModelError, match="no definition of SunSpec model 4711"):
        sunspec.model_layout(4711)
    with pytest.raises(ModelError, match="no point 'Watt'"):
        sunspec.encode_model(701, {"Watt": 1})


def test_device_image_has_marker_models_and_end():
    common = sunspec.encode_model(1, {"Mn": "Gwanje"})
    image = sunspec.device_image([common])
    assert bytes(image[:2].astype(">u2")) == b"SunS"
    assert np.array_equal(image[2:-2], common)
    assert list(image[-2:]) == [0xFFFF, 0]
