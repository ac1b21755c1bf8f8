"""Geometries of arrays, the speed of sound, angles."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gwanje.control.acoustic.where.array import Array, ArrayError, between, circle, speed_of_sound, square, turn


def test_speed_of_sound_by_temperature() -> None:
    assert speed_of_sound(0.0) == pytest.approx(331.3)
    assert speed_of_sound(20.0) == pytest.approx(343.42)
    assert speed_of_sound(-15.0) == pytest.approx(322.21)
    for wrong in (math.nan, 90.0, -100.0):
        with pytest.raises(ValueError, match="°C"):
            speed_of_sound(wrong)


def test_the_default_is_a_square_of_ten_centimetres() -> None:
    array = square()
    assert array.n_mics == 4
    assert np.allclose(np.hypot(*array.mic_xy_m.T), 0.1)
    assert np.allclose(array.mic_xy_m[0], [0.0, 0.1])
    assert array.line_axis() is None
    assert array.delay_s_max(340.0) == pytest.approx(0.2 / 340.0)


def test_lines_are_known_as_lines() -> None:
    pair = Array(np.array([[0.0, 0.1], [0.0, -0.1]]))
    axis = pair.line_axis()
    assert axis is not None
    assert abs(axis[1]) == pytest.approx(1.0)
    assert Array(np.stack([np.arange(4) * 0.05, np.arange(4) * 0.1], axis=1)).line_axis() is not None
    assert circle(3).line_axis() is None
    assert square().without(np.array([True, False, True, False])).line_axis() is not None


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (np.zeros((1, 2)), "expected"), (np.zeros((4, 3)), "expected"), (np.zeros((17, 2)), "expected"),
        (np.array([[0.0, 0.0], [0.0, 0.001]]), "apart"), (np.array([[0.0, math.nan], [1.0, 0.0]]), "finite"),
        (np.array([[0.0, 0.0], [3.0, 0.0]]), "wider"),
    ],
)  # fmt: skip
def test_impossible_arrays_are_refused(place: np.ndarray, text: str) -> None:
    with pytest.raises(ArrayError, match=text):
        Array(place)


def test_angles_turn_and_differ() -> None:
    assert turn(-math.pi / 2) == pytest.approx(1.5 * math.pi)
    assert turn(-1e-20) == 0.0
    rng = np.random.default_rng(0)
    for one, other in rng.uniform(-20.0, 20.0, (200, 2)):
        assert 0.0 <= turn(one) < 2.0 * math.pi
        assert between(one, other) == pytest.approx(math.remainder(one - other, 2.0 * math.pi), abs=1e-9)
