"""The three feeders as a tree of buses: behind the utility, or behind the battery with the ties closed."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from gwanje.control.microgrid.peers.banshee.site import Site, transformer_va
from gwanje.ext.powerflow import RadialNetwork

Floats = npt.NDArray[np.float64]
BASE_VA = 10e6
HEADS = (1, 2, 3)
"""Buses of the feeders' heads; 0 is the source, loads follow."""
FIRST_LOAD = 4
TIE_Z = (0.002, 0.002)
"""Per unit: the cable between feeders 1 and 2, and from the battery to its feeder."""
FORMING_V_PU = 1.035
"""Set-point of the forming battery: feeder 3 hangs on it through two transformers until the CHP runs."""
TIES_TO_FEEDER3 = 3
"""At 480 V, each through two transformers."""
TIE_TRANSFORMER_VA = 1_500_000


class Network:
    """Voltages and the source's power, connected and islanded."""

    def __init__(self, site: Site, forming_v_pu: float = FORMING_V_PU) -> None:
        facts = site.facts
        n = FIRST_LOAD + len(site.loads)
        self._n = n
        self._heads = np.array([0, *HEADS])

        def transformer(va: float) -> tuple[float, float]:
            z = facts.transformer_z_pu * BASE_VA / va
            r = z / math.hypot(1.0, facts.transformer_x_r)
            return r, r * facts.transformer_x_r

        r, x, parent = np.zeros(n), np.zeros(n), np.zeros(n, np.int32)
        parent[0] = -1
        for at, load in enumerate(site.loads, FIRST_LOAD):
            parent[at] = load.feeder
            r[at], x[at] = transformer(transformer_va(facts, load.demand_va))
        base_a = BASE_VA / (math.sqrt(3.0) * facts.voltage_v)
        for head, amps, x_r in zip(HEADS, facts.short_circuit_a, facts.short_circuit_x_r, strict=True):
            r[head] = base_a / amps / math.hypot(1.0, x_r)
            x[head] = r[head] * x_r
        source = complex(facts.source_v_pu)
        self._grid = RadialNetwork(parent, r, x, source_v=source)
        island, island_r, island_x = parent.copy(), r.copy(), x.copy()
        island[1] = island[3] = 2
        for head in (1, 2):
            island_r[head], island_x[head] = TIE_Z
        tie_r, tie_x = transformer(TIE_TRANSFORMER_VA)
        island_r[3], island_x[3] = 2 * tie_r / TIES_TO_FEEDER3, 2 * tie_x / TIES_TO_FEEDER3
        self._island = RadialNetwork(island, island_r, island_x, source_v=complex(forming_v_pu))
        self._v = np.empty(n), np.empty(n)

    def solve(
        self, connected: bool, load_w: Floats, load_var: Floats, head_w: Floats, head_var: Floats
    ) -> tuple[complex, Floats]:
        """One state of the network.

        Args:
            connected: behind the utility; else behind the battery.
            load_w: (n_loads,) drawn.
            load_var: (n_loads,) drawn.
            head_w: (3,) fed in at the feeders' heads.
            head_var: (3,) fed in there.

        Returns:
            What the source gives, W and var, and (n,) voltages in per unit. Not finite where there is no solution:
            a voltage collapse.
        """
        network = self._grid if connected else self._island
        p, q = np.zeros(self._n), np.zeros(self._n)
        p[FIRST_LOAD:], q[FIRST_LOAD:] = load_w / BASE_VA, load_var / BASE_VA
        p[1:FIRST_LOAD], q[1:FIRST_LOAD] = -head_w / BASE_VA, -head_var / BASE_VA
        vr, vi = self._v
        if network.solve(p, q, vr, vi) <= 0:
            return complex(math.nan, math.nan), np.full(self._n, math.nan)
        _, loss = network.branch_flows(vr, vi)
        return complex((p.sum() + 1j * q.sum() + loss.sum()) * BASE_VA), np.hypot(vr, vi)
