"""The discovery walk on honest maps and on maps that lie."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwanje.io.field.modbus.discovery import MODELS_MAX, discover, walk_image
from gwanje.io.field.modbus.sunspec import device_image, encode_model

COMMON = encode_model(1, {"Mn": "Gwanje", "Md": "Test", "SN": "7"})
METER = encode_model(203, {"W_SF": 0, "W": 5})
CURVES = encode_model(705, {"NPt": 4, "NCrv": 3})


@pytest.mark.parametrize("base", [40000, 0, 50000])
def test_the_map_is_found_at_each_base(base):
    found = walk_image(device_image([COMMON, METER, CURVES]), base)
    assert found.base == base
    assert found.identity == "Gwanje / Test / 7"
    assert found.issues == ()
    places = [(one.model_id, one.address - base, one.length) for one in found.models]
    assert places == [(1, 2, 66), (203, 70, 105), (705, 177, 67)]
    assert found.models[2].layout.point("Crv[2].Pt[3].Var").offset == 68
    assert found.model(701) is None


def test_no_marker_is_no_device():
    found = walk_image(np.zeros(100, np.uint16), 40000)
    assert found.base == -1
    assert found.models == ()


def test_an_unknown_model_is_walked_over():
    vendor = np.array([64999, 3, 1, 2, 3], np.uint16)
    found = walk_image(device_image([COMMON, vendor, METER]), 40000)
    assert [(one.model_id, one.layout is not None) for one in found.models] == [(1, True), (64999, False), (203, True)]


def test_a_missing_end_is_told_and_what_came_before_is_used():
    found = walk_image(device_image([COMMON, METER])[:-2], 40000)
    assert [one.model_id for one in found.models] == [1, 203]
    assert "no end marker" in found.issues[0]


def test_a_model_that_says_too_short_a_length_is_not_used():
    short = METER.copy()
    short[1] = 20
    found = walk_image(device_image([COMMON, short]), 40000)
    assert found.model(203) is None
    assert "model 203 has 105 registers, the device says 20" in found.issues[0]


def test_after_a_surplus_length_only_a_whole_map_is_trusted():
    longer = np.concatenate([METER, np.zeros(4, np.uint16)])
    longer[1] = 109
    whole = walk_image(device_image([COMMON, longer, CURVES]), 40000)
    assert whole.model(203).layout.point("W").offset == METER.tolist().index(5)
    assert whole.model(705) is not None
    lying = METER.copy()
    lying[1] = 109
    broken = walk_image(device_image([COMMON, lying, CURVES])[:-2], 40000)
    assert broken.model(203) is None
    assert broken.model(705) is None
    assert broken.models[0].model_id == 1


def test_a_map_that_repeats_ends():
    found = walk_image(device_image([COMMON, METER] * 3), 40000)
    assert [one.model_id for one in found.models] == [1, 203]
    assert "second common model" in found.issues[0]


def converse(answer, limit=10 * MODELS_MAX):
    """Walk with answers from a function; gives what was found and the number of requests."""
    walk = discover()
    request = next(walk)
    for n in range(limit):
        assert 1 <= request[1] <= 125
        assert 0 <= request[0] <= 0x10000 - request[1]
        try:
            request = walk.send(answer(n, *request))
        except StopIteration as stop:
            return stop.value, n + 1
    raise AssertionError("the walk did not end")


def test_a_map_without_end_is_bounded():
    found, n = converse(lambda n, address, count: np.array([64999, 0] if n else [0x5375, 0x6E53], np.uint16))
    assert n <= MODELS_MAX + 2
    assert "does not end" in found.issues[0]


def test_counts_that_lie_leave_the_model_out():
    lying = CURVES.copy()
    lying[5] = 60_000
    found = walk_image(device_image([COMMON, lying]), 40000)
    assert found.model(705) is None
    assert "out of bounds" in found.issues[0]


@given(words=st.lists(st.integers(0, 0xFFFF), max_size=300), base=st.sampled_from([40000, 0, 50000]))
def test_any_map_ends_and_stays_inside_the_register_space(words, base):
    image = np.array([0x5375, 0x6E53, *words], np.uint16)

    def answer(n, address, count):
        at = address - base
        return image[at : at + count] if 0 <= at <= len(image) - count else None

    found, _ = converse(answer)
    assert len(found.models) <= MODELS_MAX
