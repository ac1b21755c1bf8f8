"""Unbalanced power flow: the kernel against its twin, the single-phase kernel and transformers by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwanje.ext.powerflow import RadialNetwork
from gwanje.ext.radial import NetworkError
from gwanje.ext.reference import unbalanced as twin
from gwanje.ext.unbalanced import CURRENT, IMPEDANCE, POWER, UnbalancedNetwork, two_port

TURN = np.exp(-2j * np.pi / 3)
BALANCED = 230.0 * np.array([1, TURN, TURN**2])
ANY = (0.0, 1e9)


def solved(network, p, q, warm=False):
    v = np.empty(network.n_nodes, complex)
    sweeps = network.solve(np.array(p, float), np.array(q, float), v, warm)
    return v, sweeps


def coupled(rng, w, ohms):
    """A series impedance with coupling between its conductors."""
    z = rng.uniform(0.1, 0.4, (w, w)) * (1 + 2j)
    return ohms * (0.5 * (z + z.T) + np.diag(rng.uniform(0.6, 1.0, w) * (1 + 1.5j)))


@st.composite
def cases(draw):
    """A tree of one- to three-wire lines and a transformer here and there, with loads and shunts of every kind."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(2, 25))
    width, parent, branches = [3], [-1], [None]
    for k in range(1, n):
        up = int(rng.integers(max(0, k - 5), k))
        parent.append(up)
        if width[up] == 3 and rng.random() < 0.2:
            ratio, z = rng.uniform(0.95, 1.05, 3), coupled(rng, 3, 0.02)
            a = np.diag(1 / ratio)
            width.append(3)
            branches.append(("two_port", a, z, 1e-4 * np.eye(3), a))
        else:
            w = int(rng.integers(1, width[up] + 1))
            nodes = tuple(int(one) for one in sorted(rng.choice(width[up], w, replace=False)))
            width.append(w)
            branches.append(("line", coupled(rng, w, 0.02), nodes))
    loads = []
    for _ in range(draw(st.integers(1, 20))):
        bus = int(rng.integers(0, n))
        node = int(rng.integers(0, width[bus]))
        other = int(rng.choice([-1, *(one for one in range(width[bus]) if one != node)]))
        nominal = 230.0 if other < 0 else 400.0
        loads.append((bus, node, other, int(rng.integers(0, 3)), nominal, 0.8 * nominal, 1.2 * nominal))
    p, q = rng.uniform(-2000, 5000, len(loads)), rng.uniform(-1000, 2000, len(loads))
    shunts = [(bus, 1e-3j * np.eye(width[bus])) for bus in range(n) if rng.random() < 0.3]
    return {
        "width": width, "parent": parent, "branches": branches, "source_v": BALANCED, "base_v": [230.0] * n,
        "shunts": shunts, "loads": loads,
    }, p, q  # fmt: skip


@given(cases())
def test_the_kernel_is_its_twin(one):
    case, p, q = one
    network = UnbalancedNetwork(**case)
    v, sweeps = solved(network, p, q)
    expected, n = twin.solve(p=p, q=q, **case)
    assert sweeps == n
    assert sweeps > 0
    assert np.abs(v - np.concatenate(expected)).max() < 1e-9


def test_a_balanced_network_is_three_single_ones():
    rng = np.random.default_rng(5)
    parent, n = [-1, 0, 1, 1, 3], 5
    z = rng.uniform(0.02, 0.1, n) * (1 + 1j)
    p, q = rng.uniform(0, 5000, n), rng.uniform(0, 2000, n)
    branches = [None, *(("line", z[k] * np.eye(3), (0, 1, 2)) for k in range(1, n))]
    loads = [(bus, node, -1, POWER, 230.0, *ANY) for bus in range(1, n) for node in range(3)]
    three = UnbalancedNetwork([3] * n, parent, branches, BALANCED, [230.0] * n, loads=loads, tolerance=1e-12)
    v, _ = solved(three, np.repeat(p[1:], 3), np.repeat(q[1:], 3))
    base = 230.0**2  # ohms at 1 W
    single = RadialNetwork(parent, z.real / base, z.imag / base, tolerance=1e-13)
    vr, vi, drawn_p, drawn_q = np.empty(n), np.empty(n), p.copy(), q.copy()
    drawn_p[0] = drawn_q[0] = 0.0
    assert single.solve(drawn_p, drawn_q, vr, vi) > 0
    expected = 230.0 * (vr + 1j * vi)
    for phase in range(3):
        assert np.abs(v.reshape(n, 3)[:, phase] - expected * TURN**phase).max() < 1e-6


def admittances(z, ratio, connect):
    """Admittance matrix of three single-phase transformers whose windings go to the nodes that ``connect`` says."""
    one = np.array([[1, -ratio], [-ratio, ratio**2]]) / z
    y = np.zeros((6, 6), complex)
    for windings in connect:
        incidence = np.zeros((2, 6))
        for row, (plus, minus) in enumerate(windings):
            incidence[row, plus] = 1.0
            if minus >= 0:
                incidence[row, minus] = -1.0
        y += incidence.T @ one @ incidence
    return y


def test_a_delta_wye_transformer_turns_by_thirty_degrees():
    high = 22_900.0 / np.sqrt(3) * np.array([1, TURN, TURN**2])
    ratio = 22_900.0 / 230.0
    wye = [((0, 1), (3, -1)), ((1, 2), (4, -1)), ((2, 0), (5, -1))]
    z = 22_900.0**2 / 1e6 * 0.05j
    branch = ("two_port", *two_port(admittances(z, ratio, wye), 3))
    loads = [(1, node, -1, POWER, 230.0, *ANY) for node in range(3)]
    network = UnbalancedNetwork([3, 3], [-1, 0], [None, branch], high, [13_221.0, 230.0], loads=loads, tolerance=1e-12)
    v, _ = solved(network, [0, 0, 0], [0, 0, 0])
    assert np.abs(v[3:]) == pytest.approx(230.0, rel=1e-9)
    assert np.degrees(np.angle(v[3] / v[0])) == pytest.approx(30.0, abs=1e-6)
    v, sweeps = solved(network, [5000, 0, 0], [0, 0, 0])
    assert sweeps > 0
    through = 5000 / np.conj(v[3])
    drop = z / ratio**2 * through
    assert abs((v[3] + drop) / 230.0) == pytest.approx(1.0, abs=1e-9)


def test_a_split_phase_transformer_feeds_two_halves():
    z, ratio = 1e-4 * (1 + 1j), 60.0
    incidence = np.array([[1, 0, 0], [0, 1, 0], [0, 0, -1]])
    leak = np.array([[1, -1, -1], [-1, 1, 0], [-1, 0, 1]], float) / z
    scale = np.diag([1 / ratio, 1.0, 1.0])
    y = incidence.T @ scale @ leak @ scale @ incidence + np.diag([1e-9, 0, 0])
    branch = ("two_port", *two_port(y, 1))
    loads = [(1, 0, -1, POWER, 120.0, *ANY), (1, 1, -1, POWER, 120.0, *ANY), (1, 0, 1, POWER, 240.0, *ANY)]
    network = UnbalancedNetwork([1, 2], [-1, 0], [None, branch], [7200.0], [7200.0, 120.0], loads=loads)
    v, sweeps = solved(network, [1000, 500, 2000], [0, 0, 0])
    assert sweeps > 0
    assert v[1] == pytest.approx(120.0, abs=0.02)
    assert v[2] == pytest.approx(-120.0, abs=0.02)
    assert abs(v[1]) < abs(v[2]), "the half that carries more has less"


@pytest.mark.parametrize(("model", "power"), [(POWER, 1.0), (CURRENT, 0.9), (IMPEDANCE, 0.81)])
def test_what_a_load_draws_at_nine_tenths_of_its_voltage(model, power):
    nominal = 230.0 / 0.9
    loads = [(1, 0, -1, model, nominal, 0.5 * nominal, 2 * nominal)]
    network = UnbalancedNetwork([1, 1], [-1, 0], [None, ("line", [[1e-6]], (0,))], [230.0], [230.0] * 2, loads=loads)
    v, _ = solved(network, [1000], [0])
    assert (v[1] * np.conj((v[0] - v[1]) / 1e-6)).real == pytest.approx(1000 * power, rel=1e-3)


def test_a_load_of_constant_power_lets_go_below_its_low_voltage():
    loads = [(1, 0, -1, POWER, 230.0, 0.85 * 230.0, 1e9)]
    network = UnbalancedNetwork([1, 1], [-1, 0], [None, ("line", [[2.0]], (0,))], [230.0], [230.0] * 2, loads=loads)
    v, sweeps = solved(network, [9000], [0])
    assert sweeps > 0, "a load of constant power would have no solution"
    ohms = (0.85 * 230.0) ** 2 / 9000
    assert v[1] == pytest.approx(230.0 * ohms / (ohms + 2.0), rel=1e-6)


def test_a_load_that_no_voltage_carries_is_told_and_not_a_number():
    loads = [(1, 0, -1, POWER, 230.0, *ANY)]
    network = UnbalancedNetwork([1, 1], [-1, 0], [None, ("line", [[2.0]], (0,))], [230.0], [230.0] * 2, loads=loads)
    v, sweeps = solved(network, [9000], [0])
    assert sweeps < 0
    assert np.isnan(v).all()
    v, sweeps = solved(network, [100], [0], warm=True)
    assert sweeps > 0
    again, fewer = solved(network, [101], [0], warm=True)
    assert fewer < sweeps
    assert again[1].real < v[1].real


LINE = ("line", [[0.1]], (0,))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"width": [1, 4]}, "bus 1 has not one to three nodes"),
        ({"width": [1]}, "one length"),
        ({"parent": [-1, -1]}, "one source"),
        ({"parent": [-1, 1]}, "hangs on itself"),
        ({"branches": [None, ("line", [[0.1]], (1,))]}, r"the line to bus 1 hangs on nodes \(1,\) of 1"),
        ({"branches": [None, ("line", np.eye(2), (0,))]}, "finite 1 x 1 matrices"),
        ({"branches": [None, ("line", [[np.nan]], (0,))]}, "finite 1 x 1"),
        ({"branches": [None, ("cable",)]}, "neither a line nor a two_port"),
        ({"source_v": [230.0, 230.0]}, "must be 1 voltages"),
        ({"base_v": [230.0, 0.0]}, "base_v of bus 1"),
        ({"shunts": [(1, np.eye(2))]}, "the shunt at bus 1"),
        ({"loads": [(1, 0, 0, POWER, 230.0, 0.0, 1e9)]}, "load 0 hangs on nodes 0 and 0"),
        ({"loads": [(1, 0, -1, 7, 230.0, 0.0, 1e9)]}, "load 0: model 7"),
        ({"loads": [(1, 0, -1, POWER, 230.0, 9.0, 5.0)]}, "load 0"),
        ({"tolerance": 0.0}, "tolerance"),
    ],
)
def test_a_network_that_is_none_is_refused(changes, reason):
    case = {
        "width": [1, 1], "parent": [-1, 0], "branches": [None, LINE], "source_v": [230.0], "base_v": [230.0, 230.0],
    }  # fmt: skip
    with pytest.raises(NetworkError, match=reason):
        UnbalancedNetwork(**(case | changes))


def test_a_winding_that_nothing_holds_is_refused():
    delta = [((0, -1), (3, 4)), ((1, -1), (4, 5)), ((2, -1), (5, 3))]
    with pytest.raises(NetworkError, match="nothing holds"):
        two_port(admittances(0.1j, 10.0, delta), 3)
