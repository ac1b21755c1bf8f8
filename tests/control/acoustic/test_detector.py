"""The detector's pure step: when an event begins, ends, and what is held off."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gwanje.control.acoustic.classes import CLASS_NAMES
from gwanje.control.acoustic.detector import Detection, DetectorParams, NodeState, confidence_of, step

HOP_NS = 240_000_000
N = len(CLASS_NAMES)
GLASS, SCREAM, SIREN = (CLASS_NAMES.index(name) for name in ("glass_break", "scream", "siren_alarm"))


def margins(**by_class: float) -> np.ndarray:
    row = np.full(N, -6.0, np.float32)
    for name, value in by_class.items():
        row[CLASS_NAMES.index(name)] = value
    return row


def play(rows: list[np.ndarray], params: DetectorParams) -> tuple[NodeState, list[Detection]]:
    state, found = NodeState(), []
    for i, row in enumerate(rows):
        state, one = step(state, row, i * HOP_NS, params)
        found += [one] if one else []
    return state, found


def test_one_event_for_one_sound() -> None:
    rows = [margins()] * 4 + [margins(glass_break=2.0)] * 4 + [margins()] * 10
    state, found = play(rows, DetectorParams())
    assert [one.class_index for one in found] == [GLASS]
    assert found[0].mono_ns == 4 * HOP_NS
    assert found[0].confidence > 0.8
    assert state.active == -1


def test_median_wants_a_second_patch() -> None:
    params = DetectorParams(median_patches=(2,) * N)
    assert play([margins()] * 3 + [margins(glass_break=3.0)] + [margins()] * 3, params)[1] == []
    _, found = play([margins()] * 3 + [margins(glass_break=3.0)] * 2, params)
    assert [one.mono_ns for one in found] == [4 * HOP_NS]


def test_median_of_three_outlives_one_quiet_patch() -> None:
    params = DetectorParams(median_patches=(3,) * N)
    loud, quiet = margins(scream=2.0), margins()
    _, found = play([quiet, loud, quiet, loud, quiet, loud, quiet], params)
    assert [one.class_index for one in found] == [SCREAM]


def test_hysteresis_keeps_one_event_while_it_dips() -> None:
    params = DetectorParams(hold_off_s=(0.5,) * N, shadow_s=0.0)
    dip = [margins(siren_alarm=1.0), margins(siren_alarm=-1.0)] * 20
    assert len(play(dip, params)[1]) == 1
    deep = [margins(siren_alarm=1.0)] * 3 + [margins(siren_alarm=-4.0)] * 6 + [margins(siren_alarm=1.0)] * 3
    assert len(play(deep, params)[1]) == 2


def test_hold_off_per_class_and_shadow_for_others() -> None:
    glass, scream, quiet = margins(glass_break=2.0), margins(scream=2.0), margins()
    params = DetectorParams(release_s=0.0, hold_off_s=(5.0,) * N, shadow_s=1.0)
    _, found = play([glass, quiet, quiet, glass] + [quiet] * 20 + [glass], params)
    assert [one.mono_ns // HOP_NS for one in found] == [0, 24]
    _, found = play([glass, quiet, scream, scream, scream, scream], params)
    assert [(one.class_index, one.mono_ns // HOP_NS) for one in found] == [(GLASS, 0), (SCREAM, 5)]


def test_the_highest_margin_gets_the_event() -> None:
    _, found = play([margins(glass_break=1.0, scream=3.0)], DetectorParams())
    assert [one.class_index for one in found] == [SCREAM]


def test_disabled_class_and_missing_numbers_never_fire() -> None:
    rows = [margins(glass_break=-np.inf, scream=np.nan)] * 5
    assert play(rows, DetectorParams(median_patches=(2,) * N))[1] == []


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.floats(-10, 10, width=32), min_size=N, max_size=N), min_size=1, max_size=60),
    st.integers(1, 5),
)
def test_limits_hold_for_any_margins(rows: list[list[float]], median: int) -> None:
    params = DetectorParams(median_patches=(median,) * N, hold_off_s=(3.0,) * N, shadow_s=1.0)
    _, found = play([np.array(row, np.float32) for row in rows], params)
    for earlier, later in itertools.pairwise(found):
        assert later.mono_ns - earlier.mono_ns >= 1_000_000_000
    for c in range(N):
        times = [one.mono_ns for one in found if one.class_index == c]
        assert all(b - a >= 3_000_000_000 for a, b in itertools.pairwise(times))
    assert all(one.margin >= 0.0 and 0.5 <= one.confidence <= 1.0 for one in found)


def test_confidence_is_one_half_at_the_threshold() -> None:
    assert confidence_of(0.0) == 0.5
    assert 0.0 <= confidence_of(-100.0) < confidence_of(1.0) < confidence_of(100.0) <= 1.0


def test_refuses_parameters_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="one per class"):
        DetectorParams(median_patches=(1, 1))
    with pytest.raises(ValueError, match="1…5"):
        DetectorParams(median_patches=(6,) * N)
    with pytest.raises(ValueError, match="end as it begins"):
        DetectorParams(release_margin=(0.5,) * N)
