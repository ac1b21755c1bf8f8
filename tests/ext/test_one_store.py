"""The one-store kernel against its twin, and both against a linear programme that knows nothing of value functions."""

import math

import numpy as np
import pytest
from scipy.optimize import linprog

from gwanje.ext.one_store import OneStore
from gwanje.ext.reference.one_store import OneStore as Twin

SEED = 41
NOTHING = np.zeros(1)


def draw(rng, n=None):
    """A random store and its steps: four sources (free, grid, genset, not served) and some export."""
    n = n or int(rng.integers(1, 30))
    store = {
        "energy_wh": rng.uniform(0.5, 8.0) * 1e3, "charge_wh_max": rng.uniform(0.1, 3.0) * 1e3,
        "discharge_wh_max": rng.uniform(0.1, 3.0) * 1e3, "charge_efficiency": rng.uniform(0.7, 1.0),
        "discharge_efficiency": rng.uniform(0.7, 1.0), "wear_per_wh": rng.choice([0.0, 2e-5]), "surplus_per_wh": 1e-3,
    }  # fmt: skip
    load = rng.uniform(0.0, 3.0, n) * 1e3
    price = np.column_stack([
        np.zeros(n), rng.choice([1e-4, 3e-4, 5e-4], n), np.full(n, 4e-4), np.full(n, 1e-2), np.full(n, 5e-5),
    ])  # fmt: skip
    export = rng.choice([0.0, 700.0], n)
    amount = np.column_stack([
        rng.uniform(0.0, 3.0, n) * 1e3 * (rng.random(n) < 0.6), rng.choice([0.0, 2e3], n), np.full(n, 800.0),
        np.full(n, math.inf), export,
    ])  # fmt: skip
    return store, load, -export, np.ascontiguousarray(price), np.ascontiguousarray(amount)


def programme(store, stored, load, floor, price, amount, end_per_wh, first=None):
    """Least cost by scipy; ``first`` fixes the first change. Money as the kernel counts it."""
    n, m = price.shape
    # For each step: its sources, surplus, into and out of the store (inside).
    wide = m + 3
    cost = np.concatenate([
        np.concatenate([one, [store["surplus_per_wh"], store["wear_per_wh"], store["wear_per_wh"]]]) for one in price
    ])  # fmt: skip
    cost = cost.reshape(n, wide)
    cost[:, m + 1] -= end_per_wh
    cost[:, m + 2] += end_per_wh
    balance, level = np.zeros((n, n * wide)), np.zeros((n, n * wide))
    for step in range(n):
        at = step * wide
        balance[step, at : at + m] = 1.0
        balance[step, at + m : at + wide] = [-1.0, -1.0 / store["charge_efficiency"], store["discharge_efficiency"]]
        level[step:, at + m + 1] = 1.0
        level[step:, at + m + 2] = -1.0
    bounds = []
    for step in range(n):
        bounds += [(0, None if math.isinf(one) else one) for one in amount[step]]
        bounds += [(0, None), (0, store["charge_wh_max"]), (0, store["discharge_wh_max"])]
    if first is not None:
        bounds[m + 1], bounds[m + 2] = (max(first, 0.0),) * 2, (max(-first, 0.0),) * 2
    found = linprog(
        cost.ravel(), A_ub=np.vstack([level, -level]),
        b_ub=np.concatenate([np.full(n, store["energy_wh"] - stored), np.full(n, stored)]),
        A_eq=balance, b_eq=load - floor, bounds=bounds, method="highs",
    )  # fmt: skip
    return found.fun if found.status == 0 else None


def make(kind, store, *later):
    made = kind(*store.values())
    made.plan(*later, NOTHING)
    return made


def worth(value, levels):
    """The value function at these levels, from its pieces."""
    slopes, lengths = np.array(value).T
    ends = np.concatenate([[0.0], np.cumsum(lengths)])
    return np.interp(levels, ends, np.concatenate([[0.0], np.cumsum(slopes * lengths)]))


def later_of(steps):
    load, floor, price, amount = steps
    return load[1:].copy(), floor[1:].copy(), price[1:].copy(), amount[1:].copy()


def test_decides_as_the_twin():
    rng = np.random.default_rng(SEED)
    for _ in range(100):
        store, *steps = draw(rng)
        load, floor, price, amount = steps
        ours, twin = make(OneStore, store, *later_of(steps)), make(Twin, store, *later_of(steps))
        levels = np.linspace(0.0, store["energy_wh"], 50)
        np.testing.assert_allclose(worth(ours.value, levels), worth(twin.value, levels), rtol=1e-9, atol=1e-9)
        stored = rng.uniform(0.0, store["energy_wh"])
        change, cost = ours.decide(stored, load[0], floor[0], price[:1], amount[:1])
        expected, expected_cost = twin.decide(stored, load[0], floor[0], price[0], amount[0])
        assert cost == pytest.approx(expected_cost, rel=1e-9, abs=1e-9)
        assert change == pytest.approx(expected, abs=1e-6)


def test_no_plan_is_cheaper_than_the_kernels():
    rng = np.random.default_rng(SEED + 1)
    for _ in range(40):
        store, *steps = draw(rng)
        load, floor, price, amount = steps
        stored = rng.uniform(0.0, store["energy_wh"])
        ours = make(OneStore, store, *later_of(steps))
        change, _ = ours.decide(stored, load[0], floor[0], price[:1], amount[:1])
        least = programme(store, stored, *steps, 0.0)
        taken = programme(store, stored, *steps, 0.0, first=change)
        assert taken is not None, "what the kernel decides is within the limits"
        assert taken == pytest.approx(least, rel=1e-7, abs=1e-6)


def test_what_is_left_at_the_end_has_its_worth():
    store, *_ = draw(np.random.default_rng(3))
    nothing = (np.zeros(0), np.zeros(0), np.zeros((0, 2)), np.zeros((0, 2)))
    now = (np.array([[1e-4, 1e-2]]), np.array([[1e5, math.inf]]))
    kept, left = OneStore(*store.values()), OneStore(*store.values())
    kept.plan(*nothing, np.ones(1))
    left.plan(*nothing, NOTHING)
    assert kept.decide(0.0, 0.0, 0.0, *now)[0] == pytest.approx(min(store["charge_wh_max"], store["energy_wh"]))
    assert left.decide(0.0, 0.0, 0.0, *now)[0] == 0.0


def test_a_plan_continues_with_the_worth_of_another():
    """Two plans of half the steps, joined by what the later says a Wh is worth, are the plan of all steps."""
    rng = np.random.default_rng(SEED + 2)
    for _ in range(20):
        store, *steps = draw(rng, 16)
        first, last = [one[:8].copy() for one in steps], [one[8:].copy() for one in steps]
        whole, parts = OneStore(*store.values(), levels_max=4_000), OneStore(*store.values())
        twin = Twin(*store.values())
        parts.plan(*last, NOTHING)
        twin.plan(*last, NOTHING)
        levels, expected = np.empty(4_000), np.empty(4_000)
        parts.worth(levels)
        twin.worth(expected)
        np.testing.assert_allclose(levels, expected, atol=1e-9)
        whole.plan(*first, levels)
        parts.plan(*steps, NOTHING)
        at = np.linspace(0.0, store["energy_wh"], 40)
        np.testing.assert_allclose(worth(whole.value, at), worth(parts.value, at), atol=2e-3)


def test_a_floor_above_the_load_goes_into_the_store_before_it_is_lost():
    store = OneStore(1_000.0, 500.0, 500.0, 0.9, 0.9, 0.0, 1e-3)
    store.plan(np.zeros(0), np.zeros(0), np.zeros((0, 1)), np.zeros((0, 1)), NOTHING)
    change, cost = store.decide(0.0, 100.0, 300.0, np.array([[1e-2]]), np.array([[math.inf]]))
    assert change == pytest.approx(180.0)
    assert cost == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("wrong", ["price", "amount", "limit", "shape", "load", "end"])
def test_what_is_no_problem_is_refused(wrong):
    store = OneStore(1.0, 1.0, 1.0, 0.9, 0.9, 0.0, 0.0)
    load, floor = np.zeros(2), np.zeros(2)
    price, amount = np.array([[0.0, 1.0]] * 2), np.array([[1.0, math.inf]] * 2)
    if wrong == "price":
        price[1, 1] = -1.0
    elif wrong == "amount":
        amount[1, 0] = math.nan
    elif wrong == "limit":
        amount[1, 1] = 5.0
    elif wrong == "shape":
        floor = np.zeros(3)
    elif wrong == "load":
        load[0] = math.nan
    end = np.array([0.0, 1.0]) if wrong == "end" else NOTHING
    with pytest.raises(ValueError, match=r"step|shapes|level"):
        store.plan(load, floor, price, amount, end)


def test_a_store_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="efficiency"):
        OneStore(1.0, 1.0, 1.0, 0.0, 0.9, 0.0, 0.0)
    with pytest.raises(ValueError, match="limit"):
        OneStore(math.nan, 1.0, 1.0, 0.9, 0.9, 0.0, 0.0)
