"""Networks of pandapower in the terms of our kernels, with the voltages that pandapower finds for them.

What is read are the tables of branches and buses that its solvers work on: loads, taps, charging currents and closed
switches are what it says they are.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gwanje.ext.powerflow import RadialNetwork
from gwanje.ext.unbalanced import POWER, UnbalancedNetwork

BALANCED = ("cigre_mv", "cigre_lv", "case33bw")
TURN = np.exp(2j * np.pi / 3)
PHASES = np.array([[1, 1, 1], [1, TURN**2, TURN], [1, TURN, TURN**2]])
"""From sequences 0, 1, 2 to phases."""

Columns = Mapping[str, Any]


def balanced(name: str) -> dict[str, Any]:
    """One of :data:`BALANCED` as columns, solved by pandapower to 1e-10 MVA. Only its largest island is taken."""
    import pandapower as pp
    from pandapower import networks

    makers = {"cigre_mv": networks.create_cigre_network_mv, "cigre_lv": networks.create_cigre_network_lv,
              "case33bw": networks.case33bw}  # fmt: skip
    net = makers[name]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pp.runpp(net, tolerance_mva=1e-10, calculate_voltage_angles=True, numba=False, max_iteration=30)
    ppc = net._ppc["internal"]
    bus, branch, base = np.real(ppc["bus"]), ppc["branch"], float(ppc["baseMVA"])
    n, taps = len(bus), np.asarray(branch[:, 8].real)
    ends = branch[:, :2].real.astype(int)
    root = int(np.flatnonzero(bus[:, 1] == 3)[0])
    parent, ratio, shift = np.full(n, -1), np.ones(n), np.zeros(n)
    r, x, shunt = np.zeros(n), np.zeros(n), (bus[:, 4] + 1j * bus[:, 5]) / base
    todo, seen, used = [root], {root}, np.zeros(len(branch), bool)
    while todo:
        at = todo.pop()
        for k in np.flatnonzero((ends == at).any(axis=1) & ~used & (branch[:, 10].real > 0)):
            used[k] = True
            down = int(ends[k].sum()) - at
            assert down not in seen, f"{name} has a loop"
            tap = float(taps[k]) or 1.0
            assert tap == 1.0 or ends[k, 0] == at, "a tap at the lower end"
            half = 0.5 * (branch[k, 4] * 1j + (branch[k, 17] if branch.shape[1] > 17 else 0.0))
            parent[down], ratio[down] = at, tap
            shift[down] = shift[at] + np.radians(branch[k, 9].real)
            r[down], x[down] = branch[k, 2].real, branch[k, 3].real
            shunt[down] += half
            shunt[at] += half / tap**2
            seen.add(down)
            todo.append(down)
    assert len(seen) == n, f"{name}: {n - len(seen)} buses hang on nothing"
    v = ppc["V"] * np.exp(1j * shift)
    return {
        "parent": parent.tolist(), "r": r.tolist(), "x": x.tolist(), "g": shunt.real.tolist(), "b": shunt.imag.tolist(),
        "ratio": ratio.tolist(), "p": (bus[:, 2] / base).tolist(), "q": (bus[:, 3] / base).tolist(),
        "vr": v.real.tolist(), "vi": v.imag.tolist(),
    }  # fmt: skip


def european_lv() -> dict[str, Any]:
    """The IEEE European low-voltage feeder at its peak, unbalanced, from the transformer's busbar on."""
    import pandapower as pp
    from pandapower.networks import ieee_european_lv_asymmetric

    net = ieee_european_lv_asymmetric("on_peak_566")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pp.runpp_3ph(net, tolerance_mva=1e-10, calculate_voltage_angles=True, numba=False, max_iteration=60)
    base_v = float(net.bus.vn_kv[net.trafo.lv_bus.iloc[0]]) * 1e3 / np.sqrt(3.0)
    root, lines = int(net.trafo.lv_bus.iloc[0]), net.line[net.line.in_service]
    names, parent, branch = [root], [-1], [[0.0] * 6]
    left = {int(k): (int(line.from_bus), int(line.to_bus)) for k, line in lines.iterrows()}
    place = {root: 0}
    while left:
        ready = [k for k, ends in left.items() if (ends[0] in place) != (ends[1] in place)]
        assert ready, "lines that hang on nothing, or a loop"
        for k in ready:
            a, b = left.pop(k)
            up, down = (a, b) if a in place else (b, a)
            line, place[down] = lines.loc[k], len(names)
            names.append(down)
            parent.append(place[up])
            km = float(line.length_km) / float(line.parallel)
            omega = 2e-9 * np.pi * float(net.f_hz) * float(line.length_km) * float(line.parallel)
            branch.append(
                [km * float(line[one]) for one in ("r_ohm_per_km", "x_ohm_per_km", "r0_ohm_per_km", "x0_ohm_per_km")]
                + [omega * float(line[one]) for one in ("c_nf_per_km", "c0_nf_per_km")]
            )
    loads = []
    for _, load in net.asymmetric_load[net.asymmetric_load.in_service].iterrows():
        for phase, letter in enumerate("abc"):
            p, q = (float(load[f"{one}_{letter}_{unit}"]) * 1e6 for one, unit in (("p", "mw"), ("q", "mvar")))
            if p or q:
                loads.append([place[int(load.bus)], phase, p, q])
    found = net.res_bus_3ph.loc[names]
    v = np.stack([
        found[f"vm_{one}_pu"] * base_v * np.exp(1j * np.radians(found[f"va_{one}_degree"])) for one in "abc"
    ], axis=1)  # fmt: skip
    return {"parent": parent, "branch": branch, "loads": loads, "base_v": base_v, "vr": v.real.tolist(),
            "vi": v.imag.tolist()}  # fmt: skip


def store(folder: Path) -> None:
    """Write all networks into a folder, for tests that need no pandapower."""
    for name in (*BALANCED, "european_lv"):
        columns = european_lv() if name == "european_lv" else balanced(name)
        (folder / f"{name}.json").write_text(json.dumps(columns, separators=(",", ":")) + "\n", encoding="utf-8")


def apart(columns: Columns) -> float:
    """Largest difference of our voltages from those that came with a balanced network, per unit."""
    parent, n = np.array(columns["parent"]), len(columns["parent"])
    v = np.array(columns["vr"]) + 1j * np.array(columns["vi"])
    kernel = RadialNetwork(
        parent, columns["r"], columns["x"], shunt_g=columns["g"], shunt_b=columns["b"], ratio=columns["ratio"],
        source_v=complex(v[parent < 0][0]), tolerance=1e-11, sweeps_max=200,
    )  # fmt: skip
    vr, vi = np.empty(n), np.empty(n)
    if kernel.solve(np.array(columns["p"]), np.array(columns["q"]), vr, vi) <= 0:
        return np.inf
    return float(np.abs(vr + 1j * vi - v).max())


def apart_unbalanced(columns: Columns) -> float:
    """The same of the unbalanced feeder, in per unit of a phase's nominal voltage."""
    n, base_v = len(columns["parent"]), float(columns["base_v"])
    v = np.array(columns["vr"]) + 1j * np.array(columns["vi"])
    branches: list[Any] = []
    shunt = np.zeros((n, 3, 3), complex)
    for k, (r1, x1, r0, x0, b1, b0) in enumerate(columns["branch"]):
        up = columns["parent"][k]
        branches.append(None if up < 0 else ("line", _phases(complex(r0, x0), complex(r1, x1)), (0, 1, 2)))
        for end in (k, up) if up >= 0 else ():
            shunt[end] += 0.5 * _phases(1j * b0, 1j * b1)
    loads = [(int(bus), int(phase), -1, POWER, base_v, 0.0, 1e9) for bus, phase, _, _ in columns["loads"]]
    kernel = UnbalancedNetwork(
        np.full(n, 3), columns["parent"], branches, v[0], np.full(n, base_v), loads=loads, tolerance=1e-11,
        shunts=[(k, one) for k, one in enumerate(shunt) if one.any()],
    )  # fmt: skip
    out = np.empty(kernel.n_nodes, complex)
    p, q = np.array([one[2] for one in columns["loads"]]), np.array([one[3] for one in columns["loads"]])
    if kernel.solve(p, q, out) <= 0:
        return np.inf
    return float(np.abs(out.reshape(n, 3) - v).max() / base_v)


def _phases(zero: complex, one: complex) -> npt.NDArray[np.complex128]:
    matrix: npt.NDArray[np.complex128] = PHASES @ np.diag([zero, one, one]) @ np.linalg.inv(PHASES)
    return matrix
