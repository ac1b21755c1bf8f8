"""Plausibility: the kernel against its twin, and each of the faults it is there for."""

import math

import numpy as np
import pytest

from gwanje.ext import plausibility as kernel
from gwanje.ext.plausibility import NUMBER, RANGE, RATE, SIGN, STUCK, Plausibility, median3
from gwanje.ext.reference import plausibility as twin

BOUNDS = twin.Bounds(low=-100.0, high=100.0, rate_per_s=50.0, stuck_s=1.0, sign_floor=5.0)


def judge(bounds=BOUNDS):
    """A judge of one value: (now, value, age, model) → flags."""
    arrays = [np.array([getattr(bounds, one)]) for one in ("low", "high", "rate_per_s", "stuck_s", "sign_floor")]
    one, flags = Plausibility(*arrays), np.zeros(1, np.uint8)

    def look(now_s, value, age_s=0.0, model=math.nan, missing=0):
        one.check(now_s, np.array([value]), np.array([missing], np.uint8), np.array([age_s]), np.array([model]), flags)
        return int(flags[0])

    return look


def test_equals_its_twin():
    random = np.random.default_rng(4)
    for _ in range(60):
        look, state, value = judge(), twin.Watched(), 0.0
        for k in range(100):
            kind = random.random()
            value = value if kind < 0.3 else float(random.normal() * 60) if kind < 0.5 else value + random.normal()
            shown = math.nan if random.random() < 0.05 else value
            model = float(random.choice([math.nan, -value, value, 3.0]))
            age_s, missing = float(random.uniform(-0.02, 0.2)), int(random.random() < 0.05)
            now_s = 0.1 * (k if random.random() < 0.9 else k - 1)
            state, expected = twin.judge(state, BOUNDS, now_s, shown, bool(missing), age_s, model)
            assert look(now_s, shown, age_s, model, missing) == expected


def test_range_number_and_missing():
    look = judge()
    assert look(0.0, 1.0) == 0
    assert look(0.1, 101.0) == RANGE
    assert look(0.2, math.nan) == NUMBER
    assert look(0.3, math.inf) == NUMBER
    assert look(0.4, 1.0, missing=1) == kernel.MISSING


def test_a_spike_is_refused_and_a_real_jump_is_believed_at_its_third_sample():
    look = judge()
    look(0.0, 0.0)
    assert look(0.1, 90.0) == RATE
    assert look(0.2, 1.0) == 0
    assert [look(0.3 + 0.01 * k, 90.0 + 0.1 * k) for k in range(4)] == [RATE, RATE, 0, 0]


def test_the_same_sample_again_counts_once():
    look = judge()
    look(0.0, 0.0)
    assert [look(0.1 + 0.01 * k, 90.0, 0.01 * k) for k in range(10)] == [RATE] * 10


def test_a_value_that_stays_to_the_bit_is_stuck():
    look = judge()
    seen = [look(0.1 * k, 7.0) for k in range(14)]
    assert seen[:11] == [0] * 11
    assert seen[12] == STUCK
    assert look(1.5, 7.001) == 0


def test_a_mirrored_sign_is_seen_at_the_third_sample_against_the_model():
    look = judge()
    assert [look(0.1 * k, -20.0 - 0.1 * k, model=20.0) for k in range(4)] == [0, 0, SIGN, SIGN]
    assert look(0.5, 20.0, model=20.0) in (0, RATE)
    assert [look(1.0 + k, -2.0 - 0.01 * k, model=2.0) for k in range(4)] == [0] * 4, "small models say nothing"


def test_two_out_of_three():
    nan = math.nan
    assert median3(60.0, 60.01, 60.02, 0.05) == (60.01, -1)
    assert median3(60.0, 57.0, 60.02, 0.05) == (60.0, 1)
    assert median3(nan, 60.0, 60.02, 0.05) == (pytest.approx(60.01), -1)
    assert median3(nan, nan, 60.0, 0.05) == (60.0, -1)
    value, liar = median3(nan, 57.0, 60.0, 0.05)
    assert math.isnan(value)
    assert liar == -1
    assert math.isnan(median3(55.0, 57.0, 60.0, 0.05)[0])
    assert math.isnan(median3(nan, nan, nan, 0.05)[0])
    random = np.random.default_rng(8)
    for _ in range(3000):
        three = [nan if random.random() < 0.2 else float(60 + random.normal() * 0.1) for _ in range(3)]
        ours, theirs = median3(*three, 0.1), twin.median3(*three, 0.1)
        assert ours[1] == theirs[1]
        assert ours[0] == pytest.approx(theirs[0], nan_ok=True)


def test_other_lengths_are_refused():
    with pytest.raises(ValueError, match="length"):
        Plausibility(np.zeros(2), np.zeros(1), np.zeros(2), np.zeros(2), np.zeros(2))


def test_take_equals_its_twin_whatever_the_clock_shows():
    random = np.random.default_rng(9)
    for _ in range(30):
        names = ("low", "high", "rate_per_s", "stuck_s", "sign_floor")
        one = Plausibility(*[np.array([getattr(BOUNDS, name)]) for name in names])
        out = [np.zeros(1), np.zeros(1), np.zeros(1), np.zeros(1, np.uint8)]
        state, stamp_s, skew_s = twin.Watched(), -math.inf, float(random.choice([0.0, -1.0, 1.0]))
        for k in range(120):
            now_s = 0.01 * k
            if random.random() < 0.3:
                stamp_s = now_s - float(random.uniform(0, 0.1)) - skew_s
            value, quality = float(random.normal() * 60), int(random.choice([0, 0, 0, 0x8000]))
            state, usable, old_s, flags = twin.take(
                state, BOUNDS, now_s, value, quality, now_s - stamp_s, math.nan, 0.3, 0.2
            )
            one.take(now_s, np.array([value]), np.array([quality], np.uint16), np.array([now_s - stamp_s]),
                     np.array([math.nan]), np.array([0.3]), 0.2, *out)  # fmt: skip
            assert out[0][0] == pytest.approx(usable, nan_ok=True)
            assert out[1][0] == pytest.approx(old_s)
            assert out[3][0] == flags


def test_a_clock_ahead_cannot_keep_a_dead_value_alive():
    one = Plausibility(*[np.array([x]) for x in (-1.0, 1.0, np.inf, np.inf, np.inf)])
    usable, old_s, stamp_s, flags = np.zeros(1), np.zeros(1), np.zeros(1), np.zeros(1, np.uint8)

    def look(now_s, stamp):
        one.take(now_s, np.array([0.5]), np.zeros(1, np.uint16), np.array([now_s - stamp]), np.array([math.nan]),
                 np.array([0.3]), 0.2, usable, old_s, stamp_s, flags)  # fmt: skip
        return int(flags[0])

    assert look(10.0, 15.0) == kernel.CLOCK, "used, and told"
    assert usable[0] == 0.5
    assert look(10.4, 15.0) & kernel.MISSING
    assert math.isnan(usable[0])
