"""Random radial feeders of any size, and the same feeder in the terms of lightsim2grid and power-grid-model."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gwanje.ext.powerflow import RadialNetwork

Floats = npt.NDArray[np.float64]
N_FEEDERS = 6
BASE_V = 22_900.0
BASE_W = 1e6
LOWEST_V = 0.95
"""Voltage at the far end that the loads are scaled to."""


@dataclass(frozen=True, slots=True)
class Feeder:
    """A tree in per unit of 22.9 kV and 1 MW; bus 0 is the source.

    Attributes:
        parent: (n,) bus at the other end of each bus's branch.
        r: (n,) resistance.
        x: (n,) reactance.
        p: (n,) active power drawn.
        q: (n,) reactive power drawn.
    """

    parent: npt.NDArray[np.int64]
    r: Floats
    x: Floats
    p: Floats
    q: Floats

    @property
    def n(self) -> int:
        """Buses."""
        return len(self.parent)


def random_feeder(n: int, seed: int) -> Feeder:
    """A tree of a few feeders with laterals, loaded until its lowest voltage is :data:`LOWEST_V`."""
    rng = np.random.default_rng(seed)
    parent = np.full(n, -1, np.int64)
    reach = max(4, n // (3 * N_FEEDERS))
    for bus in range(1, n):
        parent[bus] = 0 if bus <= N_FEEDERS else rng.integers(max(1, bus - reach), bus)
    r = rng.uniform(0.5, 1.5, n) * 1e-4
    x = r * rng.uniform(0.5, 2.0, n)
    p = rng.uniform(0.2, 1.0, n) * 20.0 / n
    q = p * rng.uniform(0.1, 0.4, n)
    p[0] = q[0] = 0.0
    network, vr, vi = RadialNetwork(parent, r, x), np.empty(n), np.empty(n)
    for _ in range(40):
        lowest = np.hypot(vr, vi).min() if network.solve(p, q, vr, vi) > 0 else 0.0
        if abs(lowest - LOWEST_V) < 1e-6:
            break
        factor = (1.0 - LOWEST_V) / (1.0 - lowest) if lowest > 0.6 else 0.3
        p, q = p * factor, q * factor
    return Feeder(parent, r, x, p, q)


def lightsim_model(feeder: Feeder) -> Any:
    """The feeder in lightsim2grid."""
    import pandapower as pp  # imported here: a second of imports that only this bench needs
    from lightsim2grid.network import init_from_pandapower

    net = pp.create_empty_network(sn_mva=1.0, f_hz=60.0)
    buses = pp.create_buses(net, feeder.n, BASE_V / 1e3)
    pp.create_ext_grid(net, buses[0])
    z_base = BASE_V**2 / BASE_W
    pp.create_lines_from_parameters(
        net, feeder.parent[1:], np.arange(1, feeder.n), 1.0, r_ohm_per_km=feeder.r[1:] * z_base,
        x_ohm_per_km=feeder.x[1:] * z_base, c_nf_per_km=0.0, max_i_ka=10.0,
    )  # fmt: skip
    pp.create_loads(net, np.arange(1, feeder.n), feeder.p[1:], feeder.q[1:])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it takes the external grid as slack, and says so
        return init_from_pandapower(net)


def pgm_model(feeder: Feeder) -> tuple[Any, Any]:
    """The feeder in power-grid-model, and the table of loads that a batch changes."""
    from power_grid_model import LoadGenType, PowerGridModel, initialize_array

    n = feeder.n
    z_base = BASE_V**2 / BASE_W
    node = initialize_array("input", "node", n)
    node["id"], node["u_rated"] = np.arange(n), BASE_V
    line = initialize_array("input", "line", n - 1)
    line["id"] = np.arange(n, 2 * n - 1)
    line["from_node"], line["to_node"] = feeder.parent[1:], np.arange(1, n)
    line["from_status"] = line["to_status"] = 1
    line["r1"], line["x1"], line["c1"], line["tan1"] = feeder.r[1:] * z_base, feeder.x[1:] * z_base, 0.0, 0.0
    source = initialize_array("input", "source", 1)
    source["id"], source["node"], source["status"], source["u_ref"], source["sk"] = 2 * n - 1, 0, 1, 1.0, 1e20
    load = initialize_array("input", "sym_load", n - 1)
    load["id"], load["node"], load["status"] = np.arange(2 * n, 3 * n - 1), np.arange(1, n), 1
    load["type"] = LoadGenType.const_power
    load["p_specified"], load["q_specified"] = feeder.p[1:] * BASE_W, feeder.q[1:] * BASE_W
    model = PowerGridModel({"node": node, "line": line, "source": source, "sym_load": load}, system_frequency=60.0)
    return model, load["id"]
