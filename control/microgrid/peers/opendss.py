"""Reads a feeder that OpenDSS has solved into the terms of our kernel: the peer gives the circuit and its solution.

What stands between two buses becomes one two-port (or a line), from the admittance matrices that OpenDSS builds of its
elements; what hangs on one bus becomes a shunt; loads keep their connection, model and voltages.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gwanje.ext.unbalanced import CURRENT, IMPEDANCE, POWER, UnbalancedNetwork, two_port

FEEDERS = Path(__file__).parent / "ieee_feeders"
MASTERS = {
    "ieee13": "IEEE13Nodeckt.dss", "ieee34": "ieee34Mod1.dss", "ieee123": "IEEE123Master.dss", "ieee8500": "Master.dss",
}  # fmt: skip
NO_ELEMENTS = {"energymeter", "monitor", "regcontrol", "capcontrol"}
OPEN_S = 1e-7
"""Admittance of an open switch."""

Node = tuple[str, int]
Load = tuple[int, int, int, int, float, float, float]
Piece = tuple[list[Node], Any]


@dataclass
class Circuit:
    """Elements of a solved circuit by the buses that they join.

    Attributes:
        between: two buses → (nodes, admittance matrix) of each element between them.
        at: bus → the same of what hangs there.
        lines: pairs that only lines join.
        loads: (node, other node or None, P, Q, model, nominal V, low V, high V).
        source: nodes, admittance and voltages behind it.
        nodes: every bus's nodes.
        base_v: every bus's volts to ground.
        solution: voltage of each node.
    """

    between: dict[tuple[str, str], list[Piece]] = field(default_factory=dict)
    at: dict[str, list[Piece]] = field(default_factory=dict)
    lines: set[tuple[str, str]] = field(default_factory=set)
    loads: list[tuple[Any, ...]] = field(default_factory=list)
    source: tuple[list[Node], Any, Any] = ([], None, None)
    nodes: dict[str, list[int]] = field(default_factory=dict)
    base_v: dict[str, float] = field(default_factory=dict)
    solution: dict[Node, complex] = field(default_factory=dict)


def solved_circuit(dss: Any, feeder: str, tolerance: float = 1e-9) -> Circuit:
    """Compile and solve a feeder with its controls, hold them, solve again tightly, and read it."""
    dss.AllowChangeDir = False
    for command in ("clear", f'compile "{FEEDERS / feeder / MASTERS[feeder]}"', "set maxiterations=100"):
        dss.Text.Command = command
    solution = dss.ActiveCircuit.Solution
    solution.Solve()
    dss.Text.Command = "set controlmode=off"
    solution.Tolerance = tolerance
    solution.Solve()
    assert solution.Converged, f"OpenDSS does not solve {feeder}"
    return read(dss.ActiveCircuit)


def read(circuit: Any) -> Circuit:
    """The active circuit."""
    found = Circuit()
    only: dict[tuple[str, str], set[str]] = {}
    for name in circuit.AllElementNames:
        circuit.SetActiveElement(name)
        element = circuit.ActiveCktElement
        kind, _, own = name.lower().partition(".")
        if kind in NO_ELEMENTS or not element.Enabled:
            continue
        buses = [one.split(".")[0].lower() for one in element.BusNames]
        if kind == "load":
            found.loads += _loads(circuit, own, buses[0], [int(one) for one in element.NodeOrder])
            continue
        n = element.NumConductors * element.NumTerminals
        y = np.asarray(element.Yprim, float).view(complex).reshape(n, n)
        ends = [(buses[i // element.NumConductors], int(element.NodeOrder[i])) for i in range(n)]
        kept = [i for i, (_, node) in enumerate(ends) if node]
        piece = [ends[i] for i in kept], y[np.ix_(kept, kept)]
        if kind == "vsource":
            found.source = _source(circuit, own, piece, buses[0])
            continue
        places = sorted({bus for bus, _ in piece[0]})
        assert len(places) <= 2, f"{name} joins {places}"
        if len(places) == 1:
            found.at.setdefault(places[0], []).append(piece)
        else:
            found.between.setdefault((places[0], places[1]), []).append(piece)
            only.setdefault((places[0], places[1]), set()).add(kind)
    found.lines = {pair for pair, kinds in only.items() if kinds <= {"line", "reactor"}}
    volts = np.asarray(circuit.AllBusVolts, float).view(complex)
    for name, volt in zip(circuit.AllNodeNames, volts, strict=True):
        bus, node = name.lower().split(".")
        found.nodes.setdefault(bus, []).append(int(node))
        found.solution[bus, int(node)] = complex(volt)
    for bus, nodes in found.nodes.items():
        nodes.sort()
        circuit.SetActiveBus(bus)
        found.base_v[bus] = circuit.ActiveBus.kVBase * 1e3
    return found


def _source(circuit: Any, name: str, piece: Piece, bus: str) -> tuple[list[Node], Any, Any]:
    source = circuit.Vsources
    source.Name = name
    nodes = [one for one in piece[0] if one[0] == bus]
    volts = source.BasekV * 1e3 * source.pu / np.sqrt(3)
    turned = np.exp(1j * np.deg2rad(source.AngleDeg - 120.0 * np.arange(len(nodes))))
    return nodes, piece[1][: len(nodes), : len(nodes)], volts * turned


def _loads(circuit: Any, name: str, bus: str, nodes: list[int]) -> Iterable[tuple[Any, ...]]:
    load = circuit.Loads
    load.Name = name
    n = load.Phases
    if load.IsDelta:
        ends = [(nodes[i], nodes[(i + 1) % 3]) for i in range(3)] if n == 3 else [(nodes[0], nodes[1])]
        nominal = load.kV * 1e3
    else:
        ends = [(nodes[i], nodes[n] if len(nodes) > n else 0) for i in range(n)]
        nominal = load.kV * 1e3 / (np.sqrt(3) if n > 1 else 1.0)
    p, q = load.kW * 1e3 / len(ends), load.kvar * 1e3 / len(ends)
    split = {
        1: [(POWER, p, q)], 2: [(IMPEDANCE, p, q)], 5: [(CURRENT, p, q)],
        4: [(CURRENT, p, 0.0), (IMPEDANCE, 0.0, q)],  # watts follow the voltage, vars its square
    }[int(load.Model)]  # fmt: skip
    for a, b in ends:
        for model, watts, vars_ in split:
            other = (bus, b) if b else None
            yield (bus, a), other, watts, vars_, model, nominal, load.Vminpu * nominal, load.Vmaxpu * nominal


@dataclass
class Feeder:
    """A feeder in our kernel's terms.

    Attributes:
        network: the kernel.
        p: watts of each load.
        q: vars of each load.
        expected: the peer's voltage at each of our nodes, NaN where it has none to compare.
        base_v: volts of each of our nodes.
    """

    network: UnbalancedNetwork
    p: Any
    q: Any
    expected: Any
    base_v: Any


def feeder_of(circuit: Circuit, **options: Any) -> Feeder:
    """Build our network of a circuit.

    Nodes of one bus that no element joins are buses of their own; a node that nothing but coupling feeds is left out.
    """
    part = _parts(circuit)
    nodes: dict[Node, list[int]] = {}
    for bus, node in part:
        nodes.setdefault(part[bus, node], []).append(node)
    between: dict[tuple[Node, Node], list[Piece]] = {}
    only_lines: dict[tuple[Node, Node], bool] = {}
    for pair, pieces in circuit.between.items():
        for ends, y in pieces:
            a, b = sorted({part[end] for end in ends})
            between.setdefault((a, b), []).append((ends, y))
            only_lines[a, b] = only_lines.get((a, b), True) and pair in circuit.lines
    beside: dict[Node, list[Node]] = {}
    for (a, b), pieces in between.items():
        if max(abs(_across(one, part, a, b)).max() for one in pieces) > OPEN_S:
            beside.setdefault(a, []).append(b)
            beside.setdefault(b, []).append(a)

    ends, y, behind = circuit.source
    first = part[ends[0]]
    names: list[Node | None] = [None, first]
    parent, width = [-1, 0], [len(ends), len(nodes[first])]
    known = [node for _, node in ends]
    branches: list[Any] = [None, ("line", np.linalg.inv(y), [known.index(one) for one in nodes[first]])]
    shunts: dict[int, Any] = {}
    index, queue = {first: 1}, [first]
    while queue:
        here = queue.pop(0)
        for there in beside.get(here, []):
            if there in index:
                continue
            joint = (here, there) if (here, there) in between else (there, here)
            if only_lines[joint]:
                nodes[there] = [one for one in nodes[there] if one in nodes[here]]
            whole, n = _joined(between[joint], part, here, there, nodes)
            index[there] = len(names)
            names.append(there)
            parent.append(index[here])
            width.append(len(nodes[there]))
            queue.append(there)
            if only_lines[joint]:
                hangs = [nodes[here].index(one) for one in nodes[there]]
                across = whole[np.ix_(hangs, range(n, len(whole)))]
                branches.append(("line", -np.linalg.inv(across), hangs))
                near = whole[:n, :n].copy()
                near[np.ix_(hangs, hangs)] += across
                shunts[index[here]] = shunts.get(index[here], 0) + near
                shunts[index[there]] = shunts.get(index[there], 0) + whole[n:, n:] + across.T
            else:
                branches.append(("two_port", *two_port(whole, n)))
    for pieces in circuit.at.values():
        for ends, y in pieces:
            place = part[ends[0]]
            if place in index:
                row = np.zeros((len(nodes[place]),) * 2, complex)
                at = [nodes[place].index(node) for _, node in ends]
                np.add.at(row, np.ix_(at, at), y)
                shunts[index[place]] = shunts.get(index[place], 0) + row
    loads: list[Load] = []
    p, q = [], []
    for (bus, a), other, watts, vars_, model, nominal, low, high in circuit.loads:
        place = part[bus, a]
        to = nodes[place].index(other[1]) if other else -1
        loads.append((index[place], nodes[place].index(a), to, model, nominal, low, high))
        p.append(watts)
        q.append(vars_)
    bases = [abs(behind[0]) if one is None else circuit.base_v[one[0]] for one in names]
    network = UnbalancedNetwork(
        width, parent, branches, behind, bases, shunts=[(k, v) for k, v in shunts.items() if abs(v).max() > 0],
        loads=loads, **options,
    )  # fmt: skip
    expected = [
        complex(np.nan) if name is None else circuit.solution[name[0], node]
        for name in names
        for node in (known if name is None else nodes[name])
    ]
    return Feeder(network, np.array(p), np.array(q), np.array(expected), np.repeat(bases, width))


def _parts(circuit: Circuit) -> dict[Node, Node]:
    """Node → the first node of those of its bus that elements join."""
    up = {(bus, node): (bus, node) for bus, nodes in circuit.nodes.items() for node in nodes}

    def top(one: Node) -> Node:
        while up[one] != one:
            one = up[one]
        return one

    def join(ends: Iterable[Node]) -> None:
        first: dict[str, Node] = {}
        for end in ends:
            up[top(end)] = top(first.setdefault(end[0], end))

    for pieces in (*circuit.between.values(), *circuit.at.values()):
        for ends, _ in pieces:
            join(ends)
    for end, other, *_ in circuit.loads:
        join([end, *([other] if other else [])])
    join(circuit.source[0])
    return {one: top(one) for one in up}


def _across(piece: Piece, part: dict[Node, Node], a: Node, b: Node) -> Any:
    ends, y = piece
    rows = [i for i, end in enumerate(ends) if part[end] == a]
    columns = [i for i, end in enumerate(ends) if part[end] == b]
    return y[np.ix_(rows, columns)]


def _joined(
    pieces: list[Piece], part: dict[Node, Node], here: Node, there: Node, nodes: dict[Node, list[int]]
) -> tuple[Any, int]:
    """Admittance matrix of all elements between two buses, the nodes of ``here`` first, and how many those are."""
    at = {(here, node): i for i, node in enumerate(nodes[here])}
    at |= {(there, node): len(nodes[here]) + i for i, node in enumerate(nodes[there])}
    whole = np.zeros((len(at), len(at)), complex)
    for ends, y in pieces:
        places = [(i, at[part[end], end[1]]) for i, end in enumerate(ends) if (part[end], end[1]) in at]
        for i, row in places:
            for j, column in places:
                whole[row, column] += y[i, j]
    return whole, len(nodes[here])
