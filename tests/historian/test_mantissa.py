from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gwanje.historian import mantissa

BITS = st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack("<d", struct.pack("<Q", bits))[0])
"""Every double there is, each NaN payload among them."""
DECIMALS = st.builds(lambda whole, scale: whole / 10**scale, st.integers(-(10**9), 10**9), st.integers(0, 6))
SPECIAL = st.sampled_from([0.0, -0.0, np.nan, np.inf, -np.inf, 5e-324, 2.2e-308, 1.8e308, 2.0**53, 2.0**53 + 2, 0.1])
GROUPS = st.lists(st.lists(st.one_of(BITS, DECIMALS, SPECIAL, st.floats()), min_size=1, max_size=20), min_size=1)


def there_and_back(groups: list[list[float]]) -> tuple[np.ndarray, np.ndarray, mantissa.Mantissas]:
    values = np.array([value for group in groups for value in group], dtype=np.float64)
    starts = np.cumsum([0, *(len(group) for group in groups[:-1])]).astype(np.int64)
    encoded = mantissa.encode(values, starts)
    return values, mantissa.decode(encoded.mantissa, encoded.scale, values), encoded


@settings(max_examples=300, deadline=None)
@given(GROUPS)
def test_every_double_comes_back_bit_for_bit(groups: list[list[float]]) -> None:
    values, back, _ = there_and_back(groups)
    np.testing.assert_array_equal(values.view(np.uint64), back.view(np.uint64))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(-(10**7), 10**7), min_size=1, max_size=30), st.integers(0, 6))
def test_decimals_of_one_scale_need_no_raw_double(wholes: list[int], scale: int) -> None:
    _, _, encoded = there_and_back([[whole / 10**scale if whole else 0.0 for whole in wholes]])
    assert not np.any(encoded.scale == mantissa.RAW)
    assert int(encoded.scale.max()) <= scale


def test_one_scale_serves_a_tag_so_that_differences_stay_small() -> None:
    _, _, encoded = there_and_back([[230.1, 230.11, 230.0], [1.0, 2.0]])
    assert encoded.scale.tolist() == [2, 2, 2, 0, 0]
    assert encoded.mantissa.tolist() == [23010, 23011, 23000, 1, 2]


@pytest.mark.parametrize("value", [-0.0, np.nan, np.inf, -np.inf, 5e-324, 1e300, np.pi, 2.0**60 + 2.0**8])
def test_what_is_no_decimal_stays_raw(value: float) -> None:
    _, _, encoded = there_and_back([[value]])
    assert encoded.scale.tolist() == [mantissa.RAW]


def test_a_stray_value_does_not_cost_its_tag_the_scale() -> None:
    _, _, encoded = there_and_back([[1.25, 1.5, np.nan, 2.75]])
    assert encoded.scale.tolist() == [2, 2, mantissa.RAW, 2]


def test_a_negative_zero_keeps_its_sign() -> None:
    values, back, _ = there_and_back([[-0.0, 0.0, 1.5]])
    assert np.signbit(back).tolist() == np.signbit(values).tolist() == [True, False, False]
