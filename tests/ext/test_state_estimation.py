"""State estimation: the tree against dense nodal least squares, and what its sigmas promise against what comes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gwanje.ext import state_estimation as se
from gwanje.ext.powerflow import RadialNetwork
from gwanje.ext.radial import NetworkError
from gwanje.ext.reference import state_estimation as twin

NONE = np.nan


def truth_of(up, case):
    """All quantities of the solved network, in the kernel's rows."""
    n, source = len(up), int(np.flatnonzero(up < 0)[0])
    network = RadialNetwork(
        up, case["r"], case["x"], shunt_g=case["shunt"].real, shunt_b=case["shunt"].imag, ratio=case["ratio"],
        tolerance=1e-12, sweeps_max=200,
    )  # fmt: skip
    vr, vi = np.empty(n), np.empty(n)
    assert network.solve(case["p"], case["q"], vr, vi) > 0
    v = vr + 1j * vi
    flow, loss = network.branch_flows(vr, vi)
    drawn = case["p"] + 1j * case["q"] + np.abs(v) ** 2 * np.conj(case["shunt"])
    flow[source] = drawn[source] + flow[up == source].sum()
    loss[source] = 0.0
    arriving = flow - loss
    p, q = case["p"], case["q"]
    return np.array([np.abs(v), p, q, flow.real, flow.imag, arriving.real, arriving.imag, np.angle(v)])


def arrays(n):
    return np.empty((8, n)), np.empty((8, n)), np.empty((7, n))


@st.composite
def cases(draw):
    """A tree in random numbering with readings that determine it, noisy, a few of them certain."""
    n = draw(st.integers(2, 25))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    parent = np.full(n, -1)
    parent[1:] = [rng.integers(max(0, k - draw(st.sampled_from([1, 4, 60]))), k) for k in range(1, n)]
    rename = rng.permutation(n)
    up = np.full(n, -1)
    up[rename] = np.where(parent < 0, -1, rename[np.maximum(parent, 0)])
    r = rng.uniform(0.1, 1.0, n) * 0.03 / n
    case = {"r": r, "x": r * rng.uniform(0.3, 3.0, n), "p": rng.uniform(-0.5, 1.0, n), "q": rng.uniform(-0.3, 0.3, n)}
    case["shunt"] = rng.uniform(0, 0.02, n) + 1j * rng.uniform(-0.02, 0.02, n) if draw(st.booleans()) else np.zeros(n)
    case["ratio"] = rng.uniform(0.95, 1.05, n) if draw(st.booleans()) else np.ones(n)
    source = rename[0]
    nothing = rng.random(n) < 0.3
    nothing[source] = True
    case["p"][nothing] = case["q"][nothing] = 0.0
    truth = truth_of(up, case)
    sigma = np.full((7, n), NONE)
    sigma[0, rng.random(n) < 0.4] = 0.003
    sigma[0, source] = 0.002
    sigma[1:3] = rng.uniform(0.01, 0.05, (2, n))
    sigma[1:3, nothing] = 0.0
    for row in (3, 5):
        sigma[row : row + 2, rng.random(n) < 0.4] = rng.uniform(0.003, 0.02)
    sigma[3:5, source] = 0.01
    sigma[5:7, source] = NONE
    z = truth[:7] + rng.standard_normal((7, n)) * np.nan_to_num(sigma)
    return up, case, z, sigma


@settings(deadline=None, max_examples=50)
@given(cases())
def test_the_tree_is_dense_least_squares(one):
    up, case, z, sigma = one
    kernel = se.RadialEstimator(
        up, case["r"], case["x"], shunt_g=case["shunt"].real, shunt_b=case["shunt"].imag, ratio=case["ratio"],
        tolerance=1e-11,
    )  # fmt: skip
    value, spread, normalised = arrays(kernel.n)
    assert kernel.estimate(z, sigma, value, spread, normalised) > 0
    expected = twin.estimate(up, case["r"], case["x"], z, sigma, shunt=case["shunt"], ratio=case["ratio"])
    assert np.abs(value - expected.value).max() < 2e-7
    assert np.abs(spread - expected.sigma).max() < 1e-5 * max(1.0, expected.sigma.max())
    assert kernel.objective == pytest.approx(expected.objective, rel=1e-5, abs=1e-6)
    certain = sigma == 0.0
    both = ~np.isnan(expected.normalised) & ~certain
    assert np.isnan(normalised[np.isnan(expected.normalised) & ~certain]).all()
    assert np.abs(normalised - expected.normalised)[both].max(initial=0.0) < 1e-3


UP = np.array([-1, 0, 1, 1, 3, 3])
CASE = {
    "r": np.full(6, 0.01), "x": np.full(6, 0.02), "p": np.array([0, 0, 0.3, 0, 0.2, 0.1]),
    "q": np.array([0, 0, 0.1, 0, 0.05, 0.02]), "shunt": np.zeros(6), "ratio": np.ones(6),
}  # fmt: skip
"""Source 0 – station 1 – load 2 and station 3 – loads 4 and 5."""


def readings(**more):
    """The small network as it is, with its sigmas: loads, stations without load, the source's voltage and delivery."""
    truth = truth_of(UP, CASE)
    sigma = np.full((7, 6), NONE)
    sigma[1:3] = 0.01
    sigma[1:3, [0, 1, 3]] = 0.0
    sigma[0, 0], sigma[3:5, 0] = 0.002, 0.005
    for key, value in more.items():
        row, _, bus = key.rpartition("_")
        sigma[getattr(se, row), int(bus)] = value
    return truth[:7].copy(), sigma


def small(**more):
    return se.RadialEstimator(UP, CASE["r"], CASE["x"], **more)


def test_what_nobody_reads_is_what_the_others_leave_of_the_flow():
    z, sigma = readings(P_4=NONE, Q_4=NONE)
    z[1:3, 4] = NONE
    kernel, (value, spread, normalised) = small(), arrays(6)
    assert kernel.estimate(z, sigma, value, spread, normalised) > 0
    assert value[se.P, 4] == pytest.approx(0.2, abs=1e-6)
    assert 0.014 < spread[se.P, 4] < 0.02, "what two loads and the source do not know of each other"
    assert np.isnan(normalised[se.P]).sum() == 6, "all others are needed to tell it: nothing contradicts them"


def test_two_unread_loads_are_told_as_unknown_and_their_sum_is_known():
    z, sigma = readings(P_4=NONE, Q_4=NONE, P_5=NONE, Q_5=NONE, FLOW_P_3=0.005)
    kernel, (value, spread, normalised) = small(), arrays(6)
    assert kernel.estimate(z, sigma, value, spread, normalised) > 0
    assert spread[se.P, 4] > 10.0
    assert spread[se.P, 5] > 10.0
    assert value[se.FLOW_P, 3] == pytest.approx(truth_of(UP, CASE)[se.FLOW_P, 3], abs=1e-4)
    assert spread[se.FLOW_P, 3] <= 0.005


def test_behind_an_open_branch_there_is_nothing():
    z, sigma = readings(V_3=0.002, V_4=0.002)
    closed = np.array([1, 1, 1, 0, 1, 1], np.uint8)
    kernel, (value, spread, normalised) = small(), arrays(6)
    assert kernel.estimate(z, sigma, value, spread, normalised, closed) > 0
    assert kernel.n_live == 3
    assert (value[:7, 3:] == 0.0).all()
    assert normalised[se.V, 3] > 400.0, "a voltage where there can be none"
    assert normalised[se.P, 4] == pytest.approx(20.0)
    z[:, 3:] = 0.0
    z[3:5, 0] = truth_of(UP, CASE | {"p": CASE["p"] * [1, 1, 1, 0, 0, 0], "q": CASE["q"] * [1, 1, 1, 0, 0, 0]})[3:5, 0]
    assert kernel.estimate(z, sigma, value, spread, normalised, closed, True) > 0
    assert kernel.objective < 1e-9


def test_without_any_voltage_it_is_nominal_within_a_tenth():
    z, sigma = readings(V_0=NONE)
    kernel, (value, spread, normalised) = small(), arrays(6)
    assert kernel.estimate(z, sigma, value, spread, normalised) > 0
    assert value[se.V, 0] == pytest.approx(1.0, abs=1e-3)
    assert spread[se.V, 0] == pytest.approx(0.1, rel=0.02)


def test_errors_come_as_often_as_the_sigmas_promise():
    rng = np.random.default_rng(5)
    exact, sigma = readings(V_2=0.003, V_5=0.003, FLOW_P_3=0.004, FLOW_Q_3=0.004, ARRIVING_P_2=0.006)
    truth, kernel, (value, spread, normalised) = truth_of(UP, CASE), small(), arrays(6)
    errors, scores, objectives = [], [], []
    for _ in range(2000):
        z = exact + rng.standard_normal((7, 6)) * np.nan_to_num(sigma)
        assert kernel.estimate(z, sigma, value, spread, normalised, None, True) > 0
        known = spread[:7] > 5e-6
        errors.append(((value - truth)[:7] / np.where(known, spread[:7], 1.0))[known])
        scores.append(normalised[(sigma > 0.0) & ~np.isnan(normalised)])
        objectives.append(kernel.objective)
    assert np.sqrt(np.mean(np.square(errors), axis=0)) == pytest.approx(1.0, abs=0.07)
    assert np.sqrt(np.mean(np.square(scores), axis=0)) == pytest.approx(1.0, abs=0.07)
    assert kernel.n_free == pytest.approx(kernel.n_readings - (2 * kernel.n_live + 1), abs=1e-3)
    assert np.mean(objectives) == pytest.approx(kernel.n_free, rel=0.05)


def test_warm_it_gives_the_same():
    z, sigma = readings(V_2=0.003)
    z[1, 4] *= 1.2
    kernel, cold, warm = small(tolerance=1e-12), arrays(6), arrays(6)
    assert kernel.estimate(z, sigma, *cold) > 1
    assert kernel.estimate(z, sigma, *warm, None, True) <= 2
    assert all(np.allclose(a, b, rtol=1e-8, atol=1e-12, equal_nan=True) for a, b in zip(cold, warm, strict=True))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"parent": [-1, -1, 0]}, "one source, there are 2"),
        ({"r": [0, np.nan, 0.1]}, "r of 1 is not finite"),
        ({"ratio": [1, 1, 0]}, "ratio of bus 2"),
        ({"unknown": 1e-9}, "exact < unknown"),
    ],
)
def test_a_network_that_is_none_is_refused(changes, reason):
    given_keys = {"parent": [-1, 0, 1], "r": [0, 0.1, 0.1], "x": [0, 0.1, 0.1]} | changes
    with pytest.raises(NetworkError, match=reason):
        se.RadialEstimator(given_keys.pop("parent"), given_keys.pop("r"), given_keys.pop("x"), **given_keys)


def test_arrays_of_another_shape_are_refused():
    z, sigma = readings()
    kernel, (value, spread, normalised) = small(), arrays(6)
    with pytest.raises(ValueError, match=r"\(7, 6\)"):
        kernel.estimate(z[:, :5].copy(), sigma, value, spread, normalised)
    with pytest.raises(ValueError, match="closed"):
        kernel.estimate(z, sigma, value, spread, normalised, np.ones(5, np.uint8))
