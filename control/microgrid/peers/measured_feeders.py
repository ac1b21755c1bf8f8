"""Feeders with instruments, and the same readings in the terms of power-grid-model and pandapower."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gwanje.control.microgrid.peers.random_feeders import BASE_V, BASE_W, Feeder, random_feeder
from gwanje.ext import state_estimation as se
from gwanje.ext.powerflow import RadialNetwork

Floats = npt.NDArray[np.float64]
INJECTION_SHARE, VOLTAGE_SHARE, HEAD_SHARE, FLOW_SHARE = 0.02, 0.002, 0.005, 0.01
"""Sigma of the instruments, as a share of what they read."""
VOLTAGES_READ = 0.2
"""Share of the buses whose voltage is read; the source's is always."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A feeder, what is true of it, and how well each quantity is read.

    Attributes:
        feeder: the network.
        truth: (7, n) rows as in :mod:`gwanje.ext.state_estimation`.
        sigma: (7, n) NaN where nothing reads, 0 where nothing is connected.
    """

    feeder: Feeder
    truth: Floats
    sigma: Floats

    def read(self, rng: np.random.Generator) -> Floats:
        """(7, n) one set of readings with their errors."""
        return self.truth + rng.standard_normal(self.truth.shape) * np.nan_to_num(self.sigma)


def measured(feeder: Feeder, rng: np.random.Generator) -> Measured:
    """Every injection 2 %, a fifth of the voltages 0.2 %, what the source delivers 0.5 %."""
    n = feeder.n
    network, vr, vi = RadialNetwork(feeder.parent, feeder.r, feeder.x, tolerance=1e-11), np.empty(n), np.empty(n)
    assert network.solve(feeder.p, feeder.q, vr, vi) > 0, "the feeder was made solvable"
    flow, _ = network.branch_flows(vr, vi)
    flow[0] = flow[feeder.parent == 0].sum()
    truth = np.zeros((se.N_READ, n))
    truth[: se.ARRIVING_P] = np.hypot(vr, vi), feeder.p, feeder.q, flow.real, flow.imag
    sigma = np.full((se.N_READ, n), np.nan)
    sigma[se.V, rng.random(n) < VOLTAGES_READ] = VOLTAGE_SHARE
    sigma[se.V, 0] = VOLTAGE_SHARE
    sigma[se.P : se.FLOW_P] = INJECTION_SHARE * np.hypot(feeder.p, feeder.q)
    sigma[se.FLOW_P : se.ARRIVING_P, 0] = HEAD_SHARE * abs(flow[0])
    return Measured(feeder, truth, sigma)


def metered_twice(n: int, seed: int) -> Measured:
    """A street with a transformer to each load, metered on both sides; nothing is drawn from the street itself."""
    rng = np.random.default_rng(seed)
    street = random_feeder(n // 2, seed)
    m = street.n
    parent = np.concatenate([street.parent, np.arange(n - m) % (m - 1) + 1])
    r, x = np.append(street.r, street.r[parent[m:]]), np.append(street.x, street.x[parent[m:]])
    p, q = np.zeros(n), np.zeros(n)
    p[m:], q[m:] = street.p[parent[m:]], street.q[parent[m:]]
    plain = measured(Feeder(parent, r, x, p, q), rng)
    flow = np.hypot(plain.truth[se.FLOW_P], plain.truth[se.FLOW_Q])
    plain.sigma[se.FLOW_P : se.ARRIVING_P, 1:] = FLOW_SHARE * flow[1:]
    return plain


def pgm_estimator(one: Measured, z: Floats) -> Any:
    """The readings in power-grid-model."""
    from power_grid_model import LoadGenType, MeasuredTerminalType, PowerGridModel, initialize_array

    feeder, n = one.feeder, one.feeder.n
    z_base = BASE_V**2 / BASE_W
    node = initialize_array("input", "node", n)
    node["id"], node["u_rated"] = np.arange(n), BASE_V
    line = initialize_array("input", "line", n - 1)
    line["id"], line["from_node"], line["to_node"] = np.arange(n, 2 * n - 1), feeder.parent[1:], np.arange(1, n)
    line["from_status"] = line["to_status"] = 1
    line["r1"], line["x1"], line["c1"], line["tan1"] = feeder.r[1:] * z_base, feeder.x[1:] * z_base, 0.0, 0.0
    source = initialize_array("input", "source", 1)
    source["id"], source["node"], source["status"], source["u_ref"] = 2 * n - 1, 0, 1, 1.0
    load = initialize_array("input", "sym_load", n - 1)
    load["id"], load["node"], load["status"] = np.arange(2 * n, 3 * n - 1), np.arange(1, n), 1
    load["type"], load["p_specified"], load["q_specified"] = LoadGenType.const_power, 0.0, 0.0
    at = np.flatnonzero(np.isfinite(one.sigma[se.V]))
    volts = initialize_array("input", "sym_voltage_sensor", len(at))
    volts["id"], volts["measured_object"] = 3 * n + np.arange(len(at)), at
    volts["u_sigma"], volts["u_measured"] = one.sigma[se.V, at] * BASE_V, z[se.V, at] * BASE_V
    power = initialize_array("input", "sym_power_sensor", n)
    power["id"] = 5 * n + np.arange(n)
    power["measured_object"] = np.append(load["id"], 2 * n - 1)
    power["measured_terminal_type"] = MeasuredTerminalType.load
    power["measured_terminal_type"][-1] = MeasuredTerminalType.source
    for name, row in (("p_measured", se.P), ("q_measured", se.Q)):
        power[name] = np.append(z[row, 1:], z[row + 2, 0]) * BASE_W
    power["power_sigma"] = np.append(one.sigma[se.P, 1:], one.sigma[se.FLOW_P, 0]) * BASE_W
    return PowerGridModel(
        {"node": node, "line": line, "source": source, "sym_load": load, "sym_voltage_sensor": volts,
         "sym_power_sensor": power}, system_frequency=60.0,
    )  # fmt: skip


def pandapower_estimator(one: Measured, z: Floats) -> Any:
    """The readings in pandapower."""
    import pandapower as pp

    feeder, n = one.feeder, one.feeder.n
    net = pp.create_empty_network(sn_mva=1.0, f_hz=60.0)
    buses = pp.create_buses(net, n, BASE_V / 1e3)
    pp.create_ext_grid(net, buses[0])
    z_base = BASE_V**2 / BASE_W
    pp.create_lines_from_parameters(
        net, feeder.parent[1:], np.arange(1, n), 1.0, r_ohm_per_km=feeder.r[1:] * z_base,
        x_ohm_per_km=feeder.x[1:] * z_base, c_nf_per_km=0.0, max_i_ka=10.0,
    )  # fmt: skip
    pp.create_loads(net, np.arange(1, n), feeder.p[1:], feeder.q[1:])
    for at in np.flatnonzero(np.isfinite(one.sigma[se.V])):
        pp.create_measurement(net, "v", "bus", z[se.V, at], one.sigma[se.V, at], int(at))
    for name, row in (("p", se.P), ("q", se.Q)):
        for bus in range(1, n):
            pp.create_measurement(net, name, "bus", z[row, bus], one.sigma[row, bus], bus)
        pp.create_measurement(net, name, "bus", -z[row + 2, 0], one.sigma[row + 2, 0], 0)
    return net
