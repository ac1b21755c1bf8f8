"""The shed table: against its twin, and what a choice must keep."""

import math

import numpy as np
import pytest

from gwanje.ext.reference.shed import choose
from gwanje.ext.shed import ShedTable


def problem(random):
    n = int(random.integers(1, 60))
    value = np.round(random.uniform(0, 3, n), int(random.integers(0, 3)))
    amount_w = random.uniform(-1e4, 1e5, n)
    amount_w[random.random(n) < 0.05] = math.nan
    value[random.random(n) < 0.05] = math.nan
    sheddable = (random.random(n) < 0.8).astype(np.uint8)
    return value, amount_w, sheddable, float(random.uniform(-0.1, 1.2) * np.nansum(np.abs(amount_w)))


def test_equals_its_twin():
    random = np.random.default_rng(5)
    for _ in range(2000):
        value, amount_w, sheddable, shed_w = problem(random)
        table, chosen = ShedTable(len(value)), np.full(len(value), 9, np.uint8)
        table.arm(value, amount_w, sheddable)
        got = table.decide(shed_w, chosen)
        expected, expected_w = choose(value, amount_w, sheddable, shed_w)
        assert np.array_equal(chosen, expected)
        assert got == pytest.approx(expected_w, rel=1e-12)


def test_enough_nothing_in_vain_and_the_least_valuable_first():
    random = np.random.default_rng(6)
    for _ in range(500):
        value, amount_w, sheddable, shed_w = problem(random)
        table, chosen = ShedTable(len(value)), np.zeros(len(value), np.uint8)
        table.arm(value, amount_w, sheddable)
        got = table.decide(shed_w, chosen)
        taken = np.flatnonzero(chosen)
        assert all(sheddable[taken])
        if shed_w <= 0.0:
            assert len(taken) == 0
            continue
        assert got >= min(shed_w, table.total_w) * (1 - 1e-12)
        if got >= shed_w:
            assert all(got - amount_w[one] < shed_w for one in taken), "each load taken is needed"
            usable = (sheddable != 0) & (amount_w > 0) & ~np.isnan(value)
            dearest = value[taken].max()
            assert amount_w[usable & (value < dearest)].sum() < shed_w, "nothing dearer than needed is opened"


def test_equal_values_keep_their_order():
    table, chosen = ShedTable(4), np.zeros(4, np.uint8)
    table.arm(np.ones(4), np.full(4, 10.0), np.ones(4, np.uint8))
    assert table.decide(20.0, chosen) == 20.0
    assert list(chosen) == [1, 1, 0, 0]


def test_before_arming_nothing_is_shed():
    chosen = np.ones(3, np.uint8)
    assert ShedTable(3).decide(1e9, chosen) == 0.0
    assert not chosen.any()


def test_other_lengths_are_refused():
    with pytest.raises(ValueError, match="0 loads"):
        ShedTable(0)
    table = ShedTable(3)
    with pytest.raises(ValueError, match="length"):
        table.decide(1.0, np.zeros(2, np.uint8))
    with pytest.raises(ValueError, match="length"):
        table.arm(np.zeros(2), np.zeros(3), np.zeros(3, np.uint8))
