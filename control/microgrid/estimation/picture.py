"""The network's picture: voltages, flows, losses, and who does not say what is so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from gwanje.control.microgrid.estimation.channels import BAD, UNCERTAIN, ObserveInputs, Taken, network_readings
from gwanje.control.microgrid.estimation.estimator import EstimationOutputs, readings, unobservable
from gwanje.control.microgrid.estimation.gross_errors import GrossError
from gwanje.control.microgrid.estimation.model import Model, Topology
from gwanje.core.tags.quality import SEVERITY_MASK
from gwanje.ext import state_estimation as se

LOADING_GOOD, LOADING_KNOWN = 0.05, 0.5
"""Sigma of a transformer's loading up to which it is good, and above which it is not known."""


class Mode(IntEnum):
    """What is estimated; the values of ``estimation.network.state``."""

    CONNECTED = 0
    ISLANDED = 1
    DEAD = 2
    UNKNOWN = 3


@dataclass(frozen=True, slots=True)
class Known:
    """A figure with sigma and quality."""

    value: float
    sigma: float
    quality: int


@dataclass(frozen=True, slots=True)
class Named:
    """A meter that does not say what is so.

    Attributes:
        kind: form of the error.
        value: what it says, in its tag's unit.
        others: what all others say in its place.
        channel: which of its quantities.
    """

    kind: GrossError
    value: float
    others: float
    channel: int


@dataclass(frozen=True, slots=True)
class Picture:
    """The network now.

    Attributes:
        mode: which network.
        voltages: bus → voltage per unit.
        flows: lower bus of a line that is shown → W, var, losses behind its upper end.
        loading: transformer → apparent power over its rating.
        losses: of all lines and transformers, W.
        chi2_ratio: sum of squares over its limit, of all readings as they came; NaN without an estimate.
        n_removed: readings that are not used.
        n_doubted: readings of which one is wrong.
        named: meter → why.
        group: meters of which one is wrong, and nothing says which.
        switches: those that do not say what is so.
        unobservable: buses that no meter tells, pseudo-measurements aside.
        settled: what is left of the readings fits.
        silent: meters that say nothing now, about which nothing can be found out.
        silent_switches: switches whose positions nobody knows.
    """

    mode: Mode
    voltages: Mapping[str, Known] = field(default_factory=dict)
    flows: Mapping[str, tuple[Known, Known, Known]] = field(default_factory=dict)
    loading: Mapping[str, Known] = field(default_factory=dict)
    losses: Known = Known(float("nan"), float("nan"), BAD)
    chi2_ratio: float = float("nan")
    n_removed: int = 0
    n_doubted: int = 0
    named: Mapping[str, Named] = field(default_factory=dict)
    group: tuple[str, ...] = ()
    switches: tuple[str, ...] = ()
    unobservable: tuple[str, ...] = ()
    settled: bool = True
    silent: frozenset[str] = frozenset()
    silent_switches: frozenset[str] = frozenset()


def outside(channels: Taken, model: Model) -> Known | None:
    """Voltage on the utility's side of an open breaker: what its meters say."""
    seen = [at for at in model.outside if channels.real[at]]
    if not seen:
        return None
    nominal = model.channels[seen[0]].nominal_v
    weight = np.array([channels.sigma[at] ** -2 for at in seen])
    value = float(np.sum(weight * channels.value[seen]) / weight.sum()) / nominal
    sigma = float(weight.sum() ** -0.5) / nominal
    return Known(value, sigma, UNCERTAIN if sigma > model.settings.general.voltage_good_pu else 0)


def dead_picture(channels: Taken, model: Model, wrong: tuple[str, ...]) -> Picture:
    """Of a city without voltage; ``wrong`` are switches that say otherwise."""
    inside = set((model.islanded or model.connected).buses)
    zero = Known(0.0, model.settings.general.dead_pu, 0)
    voltages = {one.id: zero for one in model.settings.bus if one.id in inside}
    if (live := outside(channels, model)) is not None:
        voltages[model.source] = live
    nothing = Known(0.0, 0.0, 0)
    return Picture(
        Mode.DEAD, voltages, {one.bus: (nothing,) * 3 for one in model.settings.line if one.shown},
        {one.bus: nothing for one in model.settings.transformer}, nothing, 0.0, switches=wrong,
        unobservable=() if live is not None or model.islanded is None else (model.source,),
    )  # fmt: skip


def all_buses(model: Model) -> tuple[str, ...]:
    """Those of the site."""
    return tuple(one.id for one in model.settings.bus)


def make_picture(
    inputs: ObserveInputs, model: Model, topology: Topology, channels: Taken, first: EstimationOutputs,
    out: EstimationOutputs, which: tuple[bool | None, bool, tuple[str, ...]],
    blamed: tuple[dict[str, Named], tuple[str, ...]],
) -> Picture:  # fmt: skip
    """What the estimate says of buses, branches, meters and switches.

    Args:
        inputs: of this turn.
        model: of the site.
        topology: which network it is.
        channels: what the estimate was made from.
        first: estimate from all readings.
        out: estimate without those that are wrong.
        which: what the breaker says, whether the city is an island, and the breaker where it says what is not so.
        blamed: meters that are wrong, and those of which one is.
    """
    said, islanded, wrong = which
    named, group = blamed
    floor = UNCERTAIN if said is None else 0
    untold = _untold(topology, channels, inputs, out) if out.solved else all_buses(model)
    voltages = _voltages(model, topology, out, set(untold), floor)
    if islanded:
        live = outside(channels, model)
        if live is not None:
            voltages[model.source] = live
        else:
            untold = (*untold, model.source)
    flows, losses = _flows(model, topology, out, floor)
    live_switches = _live_behind(named, topology, inputs, first)
    named = {name: one for name, one in named.items() if name not in live_switches}
    switches = (*wrong, *(_switch(topology, name) for name in first.switches_wrong), *live_switches)
    return Picture(
        Mode.ISLANDED if islanded else Mode.CONNECTED, voltages, flows, _loading(model, topology, out, floor), losses,
        first.verdict.ratio, len(first.verdict.removed), len(first.verdict.doubted), named, group,
        tuple(dict.fromkeys(switches)), untold, out.verdict.settled,
    )  # fmt: skip


def _untold(
    topology: Topology, channels: Taken, inputs: ObserveInputs, out: EstimationOutputs
) -> tuple[str, ...]:  # fmt: skip
    """Buses of the site that meters alone do not tell."""
    rows = network_readings(topology, channels, inputs, pseudo=False, flipped=out.verdict.flipped)
    _, sigma, _, _ = readings(rows, topology.params)
    blind = unobservable(topology.params, sigma, rows.closed)
    return tuple(dict.fromkeys(one.partition("@")[0] for one in blind))


def _live_behind(
    named: Mapping[str, Named], topology: Topology, inputs: ObserveInputs, out: EstimationOutputs
) -> tuple[str, ...]:  # fmt: skip
    """Switches that say open while what their load's meter says is more than nothing.

    The meter may as well be wrong; but a line that is shown dead and may be live is the switch's matter.
    """
    flipped = {_switch(topology, name) for name in out.switches_wrong}
    opened = (
        name for name, tag in zip(topology.switch_ids, topology.switch_tags, strict=True)
        if inputs.closed.get(tag) is False and name not in flipped
    )  # fmt: skip
    return tuple(name for name in dict.fromkeys(opened) if name in named)


def _switch(topology: Topology, bus: str) -> str:
    places = [topology.buses[k] for k in topology.params.network.switches]
    return topology.switch_ids[places.index(bus)]


def _voltages(
    model: Model, topology: Topology, out: EstimationOutputs, untold: set[str], floor: int
) -> dict[str, Known]:  # fmt: skip
    index = {name: k for k, name in enumerate(topology.buses)}
    found = {}
    for bus in model.settings.bus:
        if (k := index.get(bus.id)) is None:
            continue
        quality = int(out.quality[se.V, k]) | floor | (UNCERTAIN if bus.id in untold else 0)
        quality = quality & ~UNCERTAIN if quality & BAD else quality
        nominal = bus.nominal_v
        found[bus.id] = Known(float(out.value[se.V, k]) / nominal, float(out.sigma[se.V, k]) / nominal, quality)
    return found


def _flows(
    model: Model, topology: Topology, out: EstimationOutputs, floor: int
) -> tuple[dict[str, tuple[Known, Known, Known]], Known]:
    """Flows into the lines that are shown with what is lost behind them, and all losses."""
    network = topology.params.network
    lost = out.value[se.FLOW_P] - out.value[se.ARRIVING_P]
    lost[network.parent < 0] = 0.0
    behind = lost.copy()
    for k in _leaves_first(network.parent):
        if network.parent[k] >= 0:
            behind[network.parent[k]] += behind[k]
    index = {name: at for at, name in enumerate(topology.buses)}
    unsure = floor | (0 if out.verdict.settled else UNCERTAIN)
    found = {}
    for line in model.settings.line:
        if line.shown and (at := index.get(line.bus)) is not None:
            p, q = (
                Known(float(out.value[row, at]), float(out.sigma[row, at]), int(out.quality[row, at]) | floor)
                for row in (se.FLOW_P, se.FLOW_Q)
            )
            found[line.bus] = (p, q, Known(float(behind[at]), float("nan"), (p.quality & SEVERITY_MASK) | unsure))
    worst = max((int(out.quality[se.FLOW_P, index[one]]) & SEVERITY_MASK for one in found), default=0)
    return found, Known(float(lost.sum()), float("nan"), worst | unsure)


def _leaves_first(parent: npt.NDArray[np.int64]) -> list[int]:
    depth = np.zeros(len(parent), np.int64)
    for k in range(len(parent)):
        here = k
        while parent[here] >= 0:
            here, depth[k] = int(parent[here]), depth[k] + 1
    return [int(k) for k in np.argsort(-depth, kind="stable")]


def _loading(model: Model, topology: Topology, out: EstimationOutputs, floor: int) -> dict[str, Known]:
    index = {name: k for k, name in enumerate(topology.buses)}
    found = {}
    for one in model.settings.transformer:
        if (k := index.get(one.bus)) is None:
            continue
        p, q = out.value[se.FLOW_P, k], out.value[se.FLOW_Q, k]
        sp, sq = out.sigma[se.FLOW_P, k], out.sigma[se.FLOW_Q, k]
        size = max(float(np.hypot(p, q)), 1.0)
        sigma = float(np.hypot(p * sp, q * sq)) / size if size > sp + sq else float(np.hypot(sp, sq))
        share = sigma / one.rated_va
        quality = BAD if share > LOADING_KNOWN else UNCERTAIN if share > LOADING_GOOD else floor
        found[one.bus] = Known(float(np.hypot(p, q)) / one.rated_va, share, quality)
    return found
