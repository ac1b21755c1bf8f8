"""Voltage sensitivities: the tree against nodal equations and finite differences of the power flow."""

import numpy as np
import pytest

from gwanje.ext.powerflow import RadialNetwork
from gwanje.ext.radial import NetworkError
from gwanje.ext.reference import voltage_sensitivity as twin
from gwanje.ext.voltage_sensitivity import VoltageSensitivity, lindistflow


def network_of(seed):
    """A tree in random numbering, loaded so that it can be solved; shunts and transformers in every other."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 40))
    parent = np.full(n, -1)
    parent[1:] = [rng.integers(max(0, k - (1, 4, 60)[seed % 3]), k) for k in range(1, n)]
    rename = rng.permutation(n)
    up = np.full(n, -1)
    up[rename] = np.where(parent < 0, -1, rename[np.maximum(parent, 0)])
    r, some = rng.uniform(0.1, 1.0, n) * 0.03 / n, seed % 2
    case = {"r": r, "x": r * rng.uniform(0.3, 3.0, n), "p": rng.uniform(-0.5, 1.0, n), "q": rng.uniform(-0.3, 0.3, n)}
    case["shunt"] = some * (rng.uniform(0, 0.05, n) + 1j * rng.uniform(-0.05, 0.05, n))
    case["ratio"] = 1.0 + some * rng.uniform(-0.05, 0.05, n)
    return up, case


def solved(up, case, p, q):
    network = RadialNetwork(
        up, case["r"], case["x"], shunt_g=case["shunt"].real, shunt_b=case["shunt"].imag, ratio=case["ratio"],
        tolerance=1e-13, sweeps_max=300,
    )  # fmt: skip
    vr, vi = np.empty(len(up)), np.empty(len(up))
    assert network.solve(p, q, vr, vi) > 0
    return vr + 1j * vi


def kernel(up, case, v, buses=None):
    n = len(up)
    one = VoltageSensitivity(
        up, case["r"], case["x"], shunt_g=case["shunt"].real, shunt_b=case["shunt"].imag, ratio=case["ratio"]
    )
    buses = np.arange(n, dtype=np.int32) if buses is None else np.array(buses, np.int32)
    by_p, by_q, supply = np.empty((len(buses), n)), np.empty((len(buses), n)), np.empty((len(buses), 4))
    one.solve(v.real.copy(), v.imag.copy(), case["p"], case["q"], buses, by_p, by_q, supply)
    return by_p, by_q, supply


@pytest.mark.parametrize("seed", range(20))
def test_the_tree_is_the_inverse_of_the_nodal_equations(seed):
    up, case = network_of(seed)
    v = solved(up, case, case["p"], case["q"])
    found = kernel(up, case, v)
    s = case["p"] + 1j * case["q"]
    expected = twin.solve(up, case["r"], case["x"], v, s, shunt=case["shunt"], ratio=case["ratio"])
    for mine, other in zip(found, expected, strict=True):
        assert np.abs(mine - other).max() < 1e-9


@pytest.mark.parametrize("seed", range(12))
def test_a_little_more_load_moves_the_power_flow_as_told(seed):
    up, case = network_of(seed)
    n, step = len(up), 1e-4
    source = int(np.flatnonzero(up < 0)[0])
    v = solved(up, case, case["p"], case["q"])
    bus = int(np.random.default_rng(n).integers(n))
    by_p, by_q, supply = kernel(up, case, v, [bus])
    for mine, name, column in ((by_p, "p", 0), (by_q, "q", 1)):
        sides = []
        for sign in (1.0, -1.0):
            powers = {"p": case["p"].copy(), "q": case["q"].copy()}
            powers[name][bus] += sign * step
            w = solved(up, case, powers["p"], powers["q"])
            drawn = powers["p"] + 1j * powers["q"] + np.abs(w) ** 2 * np.conj(case["shunt"])
            z = case["r"] + 1j * case["x"]
            others = np.flatnonzero(up >= 0)
            loss = np.abs((w[up[others]] / case["ratio"][others] - w[others]) / z[others]) ** 2 * z[others]
            sides.append((np.abs(w), drawn.sum() + loss.sum()))
        assert np.abs((sides[0][0] - sides[1][0]) / (2 * step) - mine[0]).max() < 1e-6
        delivered = (sides[0][1] - sides[1][1]) / (2 * step)
        assert [delivered.real, delivered.imag] == pytest.approx([supply[0, column], supply[0, column + 2]], abs=1e-5)
    assert by_p[0, source] == 0.0


def test_lindistflow_is_near_and_knows_no_load():
    up, r = np.array([-1, 0, 1, 1]), np.array([0, 0.01, 0.02, 0.03])
    by_p, by_q = lindistflow(up, r, 2 * r)
    assert by_p.tolist() == pytest.approx(np.array([[0, 0, 0, 0], [0, -0.01, -0.01, -0.01], [0, -0.01, -0.03, -0.01],
                                                    [0, -0.01, -0.01, -0.04]]))  # fmt: skip
    assert np.allclose(by_q, 2 * by_p)
    case = {"r": r, "x": 2 * r, "p": np.array([0, 0, 0.3, 0.2]), "q": np.array([0, 0, 0.1, 0.1])}
    case |= {"shunt": np.zeros(4, complex), "ratio": np.ones(4)}
    exact, _, supply = kernel(up, case, solved(up, case, case["p"], case["q"]))
    assert np.abs(exact - by_p).max() < 0.1 * 0.04
    assert supply[3, 0] == pytest.approx(1.0 + 0.03, abs=0.02), "a further watt at the end costs losses too"


def test_what_does_not_fit_is_refused():
    with pytest.raises(NetworkError, match="ratio"):
        VoltageSensitivity([-1, 0], [0, 0.1], [0, 0.1], ratio=[1, 0])
    one, two, row = VoltageSensitivity([-1, 0], [0, 0.1], [0, 0.1]), np.ones(2), np.ones((1, 2))
    with pytest.raises(ValueError, match="2 entries"):
        one.solve(two, two, np.ones(3), two, np.array([1], np.int32), row, row.copy(), np.ones((1, 4)))
    with pytest.raises(ValueError, match="bus 7"):
        one.solve(two, two, two, two, np.array([7], np.int32), row, row.copy(), np.ones((1, 4)))
