"""Radial power flow: the kernel against its twin, against nodal equations solved densely, and a published feeder."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwanje.ext.powerflow import RadialNetwork
from gwanje.ext.radial import NetworkError
from gwanje.ext.reference import powerflow as twin

BARAN_WU = """
1 2 0.0922 0.0470 100 60 | 2 3 0.4930 0.2511 90 40 | 3 4 0.3660 0.1864 120 80 | 4 5 0.3811 0.1941 60 30
5 6 0.8190 0.7070 60 20 | 6 7 0.1872 0.6188 200 100 | 7 8 0.7114 0.2351 200 100 | 8 9 1.0300 0.7400 60 20
9 10 1.0440 0.7400 60 20 | 10 11 0.1966 0.0650 45 30 | 11 12 0.3744 0.1238 60 35 | 12 13 1.4680 1.1550 60 35
13 14 0.5416 0.7129 120 80 | 14 15 0.5910 0.5260 60 10 | 15 16 0.7463 0.5450 60 20 | 16 17 1.2890 1.7210 60 20
17 18 0.7320 0.5740 90 40 | 2 19 0.1640 0.1565 90 40 | 19 20 1.5042 1.3554 90 40 | 20 21 0.4095 0.4784 90 40
21 22 0.7089 0.9373 90 40 | 3 23 0.4512 0.3083 90 50 | 23 24 0.8980 0.7091 420 200 | 24 25 0.8960 0.7011 420 200
6 26 0.2030 0.1034 60 25 | 26 27 0.2842 0.1447 60 25 | 27 28 1.0590 0.9337 60 20 | 28 29 0.8042 0.7006 120 70
29 30 0.5075 0.2585 200 600 | 30 31 0.9744 0.9630 150 70 | 31 32 0.3105 0.3619 210 100 | 32 33 0.3410 0.5302 60 40
"""
"""Branch from, to, ohms, ohms, kW, kvar at "to"; 12.66 kV. M. E. Baran, F. F. Wu, IEEE Trans. Power Del. 4 (1989)."""


def case33():
    """Parent, r, x, p, q in per unit of 1 MVA."""
    n, z_base = 33, 12.66**2
    parent, r, x, p, q = np.full(n, -1), np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n)
    for row in BARAN_WU.replace("\n", " | ").split("|"):
        if row.strip():
            a, b, ohms_r, ohms_x, kw, kvar = (float(one) for one in row.split())
            bus = int(b) - 1
            parent[bus], r[bus], x[bus] = int(a) - 1, ohms_r / z_base, ohms_x / z_base
            p[bus], q[bus] = kw / 1000, kvar / 1000
    return parent, r, x, p, q


@st.composite
def networks(draw):
    """A tree in random numbering, loaded so that it can be solved; shunts and transformers in some."""
    n = draw(st.integers(2, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    parent = np.full(n, -1)
    parent[1:] = [rng.integers(max(0, k - draw(st.sampled_from([1, 4, 60]))), k) for k in range(1, n)]
    rename = rng.permutation(n)
    up = np.full(n, -1)
    up[rename] = np.where(parent < 0, -1, rename[np.maximum(parent, 0)])
    r = rng.uniform(0.1, 1.0, n) * 0.02 / n
    case = {"r": r, "x": r * rng.uniform(0.3, 3.0, n), "p": rng.uniform(-0.5, 1.0, n), "q": rng.uniform(-0.3, 0.3, n)}
    case["shunt"] = rng.uniform(0, 0.05, n) + 1j * rng.uniform(-0.05, 0.05, n) if draw(st.booleans()) else np.zeros(n)
    case["ratio"] = rng.uniform(0.95, 1.05, n) if draw(st.booleans()) else np.ones(n)
    return up, case


def kernel(up, case, **more):
    shunt, ratio = case["shunt"], case["ratio"]
    return RadialNetwork(
        up, case["r"], case["x"], shunt_g=shunt.real if shunt.any() else None,
        shunt_b=shunt.imag if shunt.any() else None, ratio=None if (ratio == 1.0).all() else ratio, **more,
    )  # fmt: skip


def solved(network, p, q, warm=False):
    vr, vi = np.empty(network.n), np.empty(network.n)
    sweeps = network.solve(np.array(p, float), np.array(q, float), vr, vi, warm)
    return vr + 1j * vi, sweeps


@given(networks())
def test_the_kernel_is_its_twin(one):
    up, case = one
    v, sweeps = solved(kernel(up, case), case["p"], case["q"])
    expected, n = twin.solve(up, **case)
    assert sweeps == n
    assert np.abs(v - expected).max() < 1e-12


@given(networks())
def test_what_enters_leaves_or_is_lost(one):
    up, case = one
    network = kernel(up, case)
    v, sweeps = solved(network, case["p"], case["q"])
    assert sweeps > 0
    flow, loss = network.branch_flows(v.real.copy(), v.imag.copy())
    drawn = case["p"] + 1j * case["q"] + np.abs(v) ** 2 * np.conj(case["shunt"])
    source = int(np.flatnonzero(up < 0)[0])
    others = np.arange(network.n) != source
    balance = flow[up == source].sum() - loss[others].sum() - drawn[others].sum()
    assert abs(balance) < 1e-6


@given(networks(), st.integers(1, 20))
def test_lanes_give_what_one_gives(one, n_cases):
    up, case = one
    network = kernel(up, case)
    scale = np.linspace(0.2, 1.0, n_cases)[:, None]
    p, q = scale * case["p"], scale * case["q"]
    vr, vi, sweeps = np.empty(p.shape), np.empty(p.shape), np.zeros(n_cases, np.int32)
    network.solve_many(p, q, vr, vi, sweeps)
    for row in range(n_cases):
        v, n = solved(network, p[row], q[row])
        assert sweeps[row] == n
        assert np.abs(vr[row] + 1j * vi[row] - v).max() < 1e-8


def test_two_buses_by_hand():
    r, x, p, q = 0.02, 0.04, 0.5, 0.2
    v, _ = solved(RadialNetwork([-1, 0], [0, r], [0, x], tolerance=1e-14), [0, p], [0, q])
    # |v|^4 + |v|^2 (2 (r p + x q) - 1) + (r² + x²)(p² + q²) = 0
    half = 0.5 - (r * p + x * q)
    assert abs(v[1]) ** 2 == pytest.approx(half + np.sqrt(half**2 - (r**2 + x**2) * (p**2 + q**2)), abs=1e-12)


def test_the_feeder_of_baran_and_wu():
    parent, r, x, p, q = case33()
    network = RadialNetwork(parent, r, x)
    v, sweeps = solved(network, p, q)
    assert sweeps > 0
    assert np.abs(v).argmin() == 17
    assert np.abs(v).min() == pytest.approx(0.9131, abs=5e-5)
    _, loss = network.branch_flows(v.real.copy(), v.imag.copy())
    assert loss.real.sum() * 1000 == pytest.approx(202.7, abs=0.1)
    assert loss.imag.sum() * 1000 == pytest.approx(135.2, abs=0.1)


TIES = [((7, 20), 2.0, 2.0), ((8, 14), 2.0, 2.0), ((11, 21), 2.0, 2.0), ((17, 32), 0.5, 0.5), ((24, 28), 0.5, 0.5)]


@pytest.mark.parametrize("n_ties", [1, 3, 5])
def test_loops_agree_with_the_nodal_equations(n_ties):
    parent, r, x, p, q = case33()
    z_base, n = 12.66**2, len(parent)
    pairs = [pair for pair, _, _ in TIES[:n_ties]]
    z_loops = [complex(a, b) / z_base for _, a, b in TIES[:n_ties]]
    network = RadialNetwork(
        parent, r, x, loops=pairs, loop_r=[z.real for z in z_loops], loop_x=[z.imag for z in z_loops], tolerance=1e-11
    )
    v, sweeps = solved(network, p, q)
    assert sweeps > 0
    y = np.zeros((n, n), complex)
    branches = [(k, parent[k], 1 / complex(r[k], x[k])) for k in range(1, n)]
    branches += [(a, b, 1 / z) for (a, b), z in zip(pairs, z_loops, strict=True)]
    for a, b, admittance in branches:
        y[a, a] += admittance
        y[b, b] += admittance
        y[a, b] -= admittance
        y[b, a] -= admittance
    injected = -np.conj((p + 1j * q) / v)
    assert np.abs((y @ v - injected)[1:]).max() < 1e-7


def test_a_load_that_no_voltage_carries_is_told_and_not_a_number():
    network = RadialNetwork([-1, 0, 1], [0, 0.1, 0.1], [0, 0.1, 0.1])
    v, sweeps = solved(network, [0, 0, 50.0], [0, 0, 50.0])
    assert sweeps < 0
    assert np.isnan(v).all()
    v, sweeps = solved(network, [0, 0, 0.1], [0, 0, 0.1], warm=True)
    assert sweeps > 0, "the next case does not begin from what was left of it"
    vr, vi, counts = np.empty((3, 3)), np.empty((3, 3)), np.zeros(3, np.int32)
    p = np.array([[0, 0, 0.1], [0, 0, 50.0], [0, 0, 0.1]])
    network.solve_many(p, p, vr, vi, counts)
    assert (counts > 0).tolist() == [True, False, True]
    assert np.isnan(vr[1]).all()
    assert vr[0].tolist() == vr[2].tolist() == pytest.approx(v.real, abs=1e-9)


def test_a_warm_start_needs_fewer_sweeps():
    parent, r, x, p, q = case33()
    network = RadialNetwork(parent, r, x)
    _, cold = solved(network, p, q)
    v, warm = solved(network, 1.001 * p, 1.001 * q, warm=True)
    assert warm < cold
    assert np.abs(v - solved(network, 1.001 * p, 1.001 * q)[0]).max() < 1e-8


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"parent": [-1, -1, 0]}, "one source, there are 2"),
        ({"parent": [1, 2, 0]}, "one source, there are 0"),
        ({"parent": [-1, 2, 1]}, "bus 1 does not hang on the source"),
        ({"parent": [-1, 1, 0]}, "hangs on itself"),
        ({"parent": [-1, 0, 9]}, "does not exist"),
        ({"r": [0, np.nan, 0.1]}, "r of 1 is not finite"),
        ({"x": [0, 0.1, np.inf]}, "x of 2 is not finite"),
        ({"ratio": [1, 1, 0]}, "ratio of bus 2"),
        ({"source_v": 0.0}, "source_v"),
        ({"loops": [(0, 7)], "loop_r": [0.1], "loop_x": [0.1]}, "pairs of buses 0 … 2"),
        ({"loops": [(1, 2), (1, 2)], "loop_r": [0, 0], "loop_x": [0, 0]}, "do not tell them apart"),
    ],
)
def test_a_network_that_is_none_is_refused(changes, reason):
    given_keys = {"parent": [-1, 0, 1], "r": [0, 0.1, 0.1], "x": [0, 0.1, 0.1]} | changes
    with pytest.raises(NetworkError, match=reason):
        RadialNetwork(given_keys.pop("parent"), given_keys.pop("r"), given_keys.pop("x"), **given_keys)


def test_arrays_of_another_length_are_refused():
    network, two = RadialNetwork([-1, 0, 1], [0, 0.1, 0.1], [0, 0.1, 0.1]), np.zeros(2)
    with pytest.raises(ValueError, match="3 entries"):
        network.solve(two, two, two, two)
    with pytest.raises(ValueError, match=r"\(k, 3\)"):
        network.solve_many(*[np.zeros((1, 2))] * 4, np.zeros(1, np.int32))
