"""One second of the estimation: from meters and switches to the network's picture. Pure: :func:`observe`.

The source's breaker decides which network is estimated: the whole on the utility, or the island behind it, out of
which nothing flows. A dead city is a state of its own, not an error. A breaker that says what is not so is found by
trying the other network, as the switches within one are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from gwanje.control.microgrid.estimation.bad_data import FLIP_MARGIN
from gwanje.control.microgrid.estimation.estimator import (
    ROW,
    EstimationInputs,
    EstimationOutputs,
    EstimationState,
    Finding,
    Floats,
    positions,
    readings,
    step,
    unobservable,
)
from gwanje.control.microgrid.estimation.gross_errors import STUCK_SAMPLES, GrossError, by_ratio
from gwanje.control.microgrid.estimation.model import NONE, Model, Row, Topology
from gwanje.core.tags.quality import SEVERITY_MASK, Quality
from gwanje.ext import state_estimation as se

UNCERTAIN, BAD = int(Quality.UNCERTAIN), int(Quality.BAD)
KEPT_TURNS = 5
"""Consistent turns that are remembered: a meter that begins to lie has moved since the oldest of them."""
ONSET_TURNS = 10
"""After so many suspicious turns whatever moved has moved by itself."""
ONSET_BAND = 0.35
"""A meter began to lie when it moved by what is missing now, to this share."""
ONSET_SIGMAS = 4.0
"""Of its own, that a meter must be off for that."""
DEAD_SIGMAS = 5.0
"""In a dead city no power is above its meter's error by more."""
CAN_SIGMAS = 6.0
"""Of a meter, beyond the limits of its tag, from which it says what cannot be."""
FORMS = (GrossError.SIGN, GrossError.TENFOLD, GrossError.THOUSANDFOLD)
"""Errors that single a meter out."""
PASSES_MAX = 3
"""Estimates of one turn: without what the one before named."""
ANGLE_MAX_RAD = 0.05
"""Across a breaker, above which it is open: its relay reads it to a few thousandths."""
NOTHING_FLOWS = 9.0
"""Square of a flow over its sigma, up to which it is none."""
LOADING_GOOD, LOADING_KNOWN = 0.05, 0.5
"""Sigma of a transformer's loading up to which it is good, and above which it is not known."""


class Mode(IntEnum):
    """What is estimated; the values of ``estimation.network.state``."""

    CONNECTED = 0
    ISLANDED = 1
    DEAD = 2
    UNKNOWN = 3


@dataclass(frozen=True, slots=True)
class ObserveInputs:
    """What came.

    Attributes:
        values: (n_channels,) in the tags' units.
        quality: (n_channels,) worst of each channel's tags.
        age_s: (n_channels,) of the oldest.
        closed: tag of a switch → its position; None when it is not known.
        dt_s: since the last turn.
        angles: tag → angle across a breaker, rad, of what is known.
    """

    values: Floats
    quality: npt.NDArray[np.uint16]
    age_s: Floats
    closed: Mapping[str, bool | None]
    dt_s: float = 1.0
    angles: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ObserveState:
    """What is kept from turn to turn.

    Attributes:
        last: (n_channels,) of the last turn.
        kept: values of the last consistent turns, oldest first.
        suspicious_turns: in a row, until now.
        accused: meters that began to lie while all others stood still; until readings are consistent again.
        estimates: history of each network.
        still: (n_channels,) turns for which each value has been the same to the last bit.
    """

    last: Floats | None = None
    kept: tuple[Floats, ...] = ()
    suspicious_turns: int = 0
    accused: frozenset[str] = frozenset()
    estimates: tuple[EstimationState, EstimationState] = (EstimationState(), EstimationState())
    still: npt.NDArray[np.int64] | None = None


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


@dataclass(frozen=True, slots=True)
class _Channels:
    """What is taken for each channel: (n_channels,) value, sigma (NaN: nothing), whether its meter said it.

    ``beyond``: it said what cannot be, and is not used.
    """

    value: Floats
    sigma: Floats
    real: npt.NDArray[np.bool_]
    beyond: npt.NDArray[np.bool_]


def observe(state: ObserveState, inputs: ObserveInputs, model: Model) -> tuple[ObserveState, Picture]:
    """One turn."""
    channels = _channels(state, inputs, model)
    said = inputs.closed.get(model.breaker[1]) if model.islanded is not None else True
    if _dead(channels, model):
        live = _outside(channels, model)
        alive = live is not None and live.value > model.settings.general.dead_pu
        untrue = (model.breaker[0],) if model.islanded is not None and said and alive else ()
        return ObserveState(inputs.values), _dead_picture(channels, model, untrue)
    islanded, lying = _which(channels, inputs, model, said)
    topology = model.islanded if islanded and model.islanded is not None else model.connected
    own = state.estimates[islanded]
    own, out = step(own, _readings(topology, channels, inputs), topology.params)
    estimates = (state.estimates[0], own) if islanded else (own, state.estimates[1])
    still = _still(state, inputs)
    kept = ObserveState(inputs.values, state.kept, state.suspicious_turns, state.accused, estimates, still)
    if not out.solved or not (channels.real & _powers(model)).any():
        return kept, Picture(Mode.UNKNOWN, unobservable=_real_buses(model), settled=False)
    blame = _blame(kept, inputs, model, topology, channels, own, out)
    named = dict(blame.named) | _told_of(inputs, channels.beyond, topology, blame.out, model)
    group = tuple(one for one in blame.group if one not in named)
    picture = _picture(inputs, model, topology, blame.channels, out, blame.out, (said, islanded, lying), (named, group))
    suspicious = out.verdict.suspicious
    before = state.kept if suspicious else (*state.kept[1 - KEPT_TURNS :], inputs.values)
    turns = state.suspicious_turns + 1 if suspicious else 0
    return ObserveState(inputs.values, before, turns, blame.accused, estimates, still), picture


@dataclass(frozen=True, slots=True)
class _Blame:
    """Who is wrong, and the estimate without them."""

    named: Mapping[str, Named]
    group: tuple[str, ...]
    accused: frozenset[str]
    channels: _Channels
    out: EstimationOutputs


def _blame(
    state: ObserveState, inputs: ObserveInputs, model: Model, topology: Topology, channels: _Channels,
    own: EstimationState, out: EstimationOutputs,
) -> _Blame:  # fmt: skip
    """Name meters, estimate without them, and see whether more are wrong.

    Who was accused stays so while that explains all.
    """
    if not out.verdict.suspicious:
        return _Blame({}, (), frozenset(), channels, out)
    still = state.still if state.still is not None else np.zeros(len(inputs.values), np.int64)
    if state.accused:
        mask = np.array([one.id in state.accused for one in model.channels])
        less = _left_out(channels, mask, model)
        _, without = step(own, _readings(topology, less, inputs), topology.params)
        if without.solved and not without.verdict.suspicious:
            named = _told_of(inputs, mask & channels.real, topology, without, model)
            return _Blame(named, (), state.accused, less, without)
    findings = _findings(topology, channels, out)
    accused = _accused(state, findings, channels, model)
    named, group = _named(findings, accused, still, model, channels)
    doubted = group
    for _ in range(PASSES_MAX - 1):
        if not (named or doubted):
            break
        channels = _without(channels, named, findings, model)
        _, out = step(own, _readings(topology, channels, inputs), topology.params)
        findings = _findings(topology, channels, out)
        more, doubted = _named(findings, accused, still, model, channels)
        if not out.solved or not (set(more) - set(named)):
            break
        named |= more
    return _Blame(named, group, accused, channels, out)


def _left_out(channels: _Channels, mask: npt.NDArray[np.bool_], model: Model) -> _Channels:
    """The channels with typical values in the place of some meters."""
    column = model.columns
    return _Channels(
        np.where(mask, column["typical"], channels.value), np.where(mask, column["typical_sigma"], channels.sigma),
        channels.real & ~mask, channels.beyond,
    )  # fmt: skip


def _without(
    channels: _Channels, named: Mapping[str, Named], findings: list[tuple[int, Row, Finding]], model: Model
) -> _Channels:  # fmt: skip
    """The channels without the meters that are named; those of which one is wrong count less, and what follows them."""
    channels = _left_out(channels, np.array([one.id in named for one in model.channels]), model)
    sigma = channels.sigma.copy()
    for channel, row, finding in findings:
        if finding.doubted and channels.real[channel]:
            sigma[channel] = max(sigma[channel], abs(_missing(row, finding)))
    return _Channels(channels.value, sigma, channels.real, channels.beyond)


def _told_of(
    inputs: ObserveInputs, mask: npt.NDArray[np.bool_], topology: Topology, out: EstimationOutputs, model: Model
) -> dict[str, Named]:  # fmt: skip
    """What an estimate without some meters says of them, with the form of their errors."""
    found: dict[str, Named] = {}
    index = {name: k for k, name in enumerate(topology.buses)}
    for row in topology.rows:
        if row.channel == NONE or row.follows or not mask[row.channel]:
            continue
        one, value, at = model.channels[row.channel], float(inputs.values[row.channel]), (ROW[row.kind], index[row.bus])
        others, sigma = float(out.value[at]) / row.factor, float(out.sigma[at]) / abs(row.factor)
        kind = by_ratio(value, others, float(np.hypot(sigma, one.sigma_floor)))
        found.setdefault(one.id, Named(kind or GrossError.OTHER, value, others, row.channel))
    return found


def _still(state: ObserveState, inputs: ObserveInputs) -> npt.NDArray[np.int64]:
    if state.last is None or state.still is None:
        return np.zeros(len(inputs.values), np.int64)
    return np.where(inputs.values == state.last, state.still + 1, 0)


def _channels(state: ObserveState, inputs: ObserveInputs, model: Model) -> _Channels:
    """Values with the sigma of meters and movement; typical ones where a meter says nothing, or too late."""
    column, factor = model.columns, model.settings.general.uncertain_factor
    value, quality, age_s = inputs.values.copy(), inputs.quality, inputs.age_s
    real = np.isfinite(value) & ((quality & BAD) == 0) & (age_s >= 0.0) & (age_s <= column["max_age_s"])
    sigma = np.hypot(column["sigma_share"] * value, column["sigma_floor"])
    beyond = real & ((value < column["low"] - CAN_SIGMAS * sigma) | (value > column["high"] + CAN_SIGMAS * sigma))
    real &= ~beyond
    value[~real] = np.nan
    sigma = np.hypot(column["sigma_share"] * value, column["sigma_floor"])
    sigma *= np.where(quality & UNCERTAIN, factor, 1.0)
    if state.last is not None:
        moved = np.abs(value - state.last) / max(inputs.dt_s, 0.1)
        sigma = np.hypot(sigma, column["delay_s"] * np.where(np.isfinite(moved), moved, 0.0))
    value = np.where(real, value, column["typical"])
    return _Channels(value, np.where(real, sigma, column["typical_sigma"]), real, beyond)


def _powers(model: Model) -> npt.NDArray[np.bool_]:
    return np.array([not one.nominal_v for one in model.channels])


def _readings(
    topology: Topology, channels: _Channels, inputs: ObserveInputs, pseudo: bool = True, flipped: tuple[int, ...] = ()
) -> EstimationInputs:  # fmt: skip
    """The rows of a network; without ``pseudo`` only what meters say."""
    none = topology.channel == NONE
    at = np.where(none, 0, topology.channel)
    for k, row in enumerate(topology.rows):
        if row.again and not channels.real[row.channel]:
            at[k] = next((one for one in row.again if channels.real[one]), row.channel)
    value = np.where(none, 0.0, topology.factor * channels.value[at])
    own = np.hypot(topology.factor * channels.sigma[at], topology.factor_sigma * channels.value[at])
    sigma = np.where(none, topology.sigma, np.hypot(own, topology.sigma))
    closed = np.array([inputs.closed.get(tag) is not False for tag in topology.switch_tags], np.uint8)
    places = {bus: k for k, bus in enumerate(topology.params.network.switches)}
    for bus in flipped:
        closed[places[bus]] ^= 1
    standin = ~none & ~channels.real[at]
    if pseudo:
        off = {topology.buses[bus] for bus, k in places.items() if not closed[k]}
        standin &= np.array([one.bus in off for one in topology.rows])
    sigma[standin] = np.nan
    n = len(value)
    return EstimationInputs(value, np.zeros(n, np.uint16), np.zeros(n), closed, sigma)


def _dead(channels: _Channels, model: Model) -> bool:
    """Whether there is no voltage in the city, and no power either."""
    topology = model.islanded or model.connected
    volts = [at for at in topology.voltage_channels if channels.real[at]]
    limit = model.settings.general.dead_pu
    if not volts or any(channels.value[at] > limit * model.channels[at].nominal_v for at in volts):
        return False
    drawn = [at for at, one in enumerate(model.channels) if not one.nominal_v and channels.real[at]]
    return all(abs(channels.value[at]) <= DEAD_SIGMAS * channels.sigma[at] for at in drawn)


def _outside(channels: _Channels, model: Model) -> Known | None:
    """Voltage on the utility's side of an open breaker: what its meters say."""
    seen = [at for at in model.outside if channels.real[at]]
    if not seen:
        return None
    nominal = model.channels[seen[0]].nominal_v
    weight = np.array([channels.sigma[at] ** -2 for at in seen])
    value = float(np.sum(weight * channels.value[seen]) / weight.sum()) / nominal
    sigma = float(weight.sum() ** -0.5) / nominal
    return Known(value, sigma, UNCERTAIN if sigma > model.settings.general.voltage_good_pu else 0)


def _dead_picture(channels: _Channels, model: Model, wrong: tuple[str, ...]) -> Picture:
    inside = set((model.islanded or model.connected).buses)
    zero = Known(0.0, model.settings.general.dead_pu, 0)
    voltages = {one.id: zero for one in model.settings.bus if one.id in inside}
    if (live := _outside(channels, model)) is not None:
        voltages[model.source] = live
    nothing = Known(0.0, 0.0, 0)
    return Picture(
        Mode.DEAD, voltages, {one.bus: (nothing,) * 3 for one in model.settings.line if one.shown},
        {one.bus: nothing for one in model.settings.transformer}, nothing, 0.0, switches=wrong,
        unobservable=() if live is not None or model.islanded is None else (model.source,),
    )  # fmt: skip


def _which(
    channels: _Channels, inputs: ObserveInputs, model: Model, said: bool | None
) -> tuple[bool, tuple[str, ...]]:
    """Whether the city is an island, and the breaker when it does not say so."""
    if model.islanded is None:
        return False, ()
    whole, whole_less = _squares(model.connected, channels, inputs)
    turned = model.angle and abs(inputs.angles.get(model.angle, 0.0)) > ANGLE_MAX_RAD
    if said and not turned and not model.connected.params.judge.suspicious():
        return False, ()
    island, island_less = _squares(model.islanded, channels, inputs)
    if said and turned and island < np.inf:  # voltages that lean against each other are not joined
        return True, (model.breaker[0],)
    through = [at for row in model.tie_flows if channels.real[at := row.channel]]
    flowing = float(sum((channels.value[at] / channels.sigma[at]) ** 2 for at in through))
    island, island_less = island + flowing, island_less + flowing
    if said is None:
        return bool(island < whole), ()
    if said:  # one wrong voltage could explain it as well, but hardly that nothing at all flows beside it
        whole_less = whole if flowing < NOTHING_FLOWS * len(through) and through else whole_less
        return (True, (model.breaker[0],)) if island + FLIP_MARGIN < whole_less else (False, ())
    return (False, (model.breaker[0],)) if whole + FLIP_MARGIN < island_less else (True, ())


def _squares(topology: Topology, channels: _Channels, inputs: ObserveInputs) -> tuple[float, float]:
    """Sum of squares of a network, and about what removing its worst reading would leave."""
    rows, judge = _readings(topology, channels, inputs), topology.params.judge
    z, sigma, _, _ = readings(rows, topology.params)
    if judge.solve(z, sigma, positions(rows.closed, topology.params.network)) < 0:
        return np.inf, np.inf
    worst = np.nanmax(np.abs(judge.normalised), initial=0.0)
    return judge.kernel.objective, judge.kernel.objective - float(worst) ** 2


def _untold(
    topology: Topology, channels: _Channels, inputs: ObserveInputs, out: EstimationOutputs
) -> tuple[str, ...]:  # fmt: skip
    """Buses of the site that meters alone do not tell."""
    rows = _readings(topology, channels, inputs, pseudo=False, flipped=out.verdict.flipped)
    _, sigma, _, _ = readings(rows, topology.params)
    blind = unobservable(topology.params, sigma, rows.closed)
    return tuple(dict.fromkeys(one.partition("@")[0] for one in blind))


def _real_buses(model: Model) -> tuple[str, ...]:
    return tuple(one.id for one in model.settings.bus)


def _picture(
    inputs: ObserveInputs, model: Model, topology: Topology, channels: _Channels, first: EstimationOutputs,
    out: EstimationOutputs, which: tuple[bool | None, bool, tuple[str, ...]],
    blamed: tuple[dict[str, Named], tuple[str, ...]],
) -> Picture:  # fmt: skip
    """What the estimate says of buses, branches, meters and switches; ``first`` was made from all readings."""
    said, islanded, wrong = which
    named, group = blamed
    floor = UNCERTAIN if said is None else 0
    untold = _untold(topology, channels, inputs, out) if out.solved else _real_buses(model)
    voltages = _voltages(model, topology, out, set(untold), floor)
    if islanded:
        live = _outside(channels, model)
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


def _findings(topology: Topology, channels: _Channels, out: EstimationOutputs) -> list[tuple[int, Row, Finding]]:
    """What is said against meters: (channel, row, finding); stand-ins and what only follows a meter are left out."""
    found = []
    for one in out.findings:
        for tag in one.tags:
            row = topology.rows[int(tag)] if tag.isdigit() else None
            if row is not None and row.channel != NONE and not row.follows and channels.real[row.channel]:
                found.append((row.channel, row, one))
    return found


def _missing(row: Row, finding: Finding) -> float:
    """By how much a meter is off what all others say, in its tag's unit, when it alone is wrong."""
    return (finding.value - finding.others) / row.factor if row.factor else 0.0


def _accused(
    state: ObserveState, findings: list[tuple[int, Row, Finding]], channels: _Channels, model: Model
) -> frozenset[str]:  # fmt: skip
    """Meters that moved by what is missing, when it began to be missing, while no other of the doubted did."""
    here = {model.channels[channel].id for channel, _, _ in findings}
    if state.accused & here or not state.kept or state.suspicious_turns >= ONSET_TURNS:
        return state.accused & here
    before = state.kept[0]
    moved = set()
    for channel, row, finding in findings:
        missing = _missing(row, finding)
        change = channels.value[channel] - before[channel]
        great = abs(missing) > ONSET_SIGMAS * channels.sigma[channel]
        if finding.doubted and great and abs(change - missing) <= ONSET_BAND * abs(missing):
            moved.add(model.channels[channel].id)
    return frozenset(moved) if len(moved) == 1 else frozenset()


def _named(
    findings: list[tuple[int, Row, Finding]], accused: frozenset[str], still: npt.NDArray[np.int64], model: Model,
    channels: _Channels,
) -> tuple[dict[str, Named], tuple[str, ...]]:  # fmt: skip
    """Meters that are wrong, and those of which one is.

    Of several the one is named that was seen to begin, else that alone stands still, else whose error alone has a form.
    """
    named: dict[str, Named] = {}
    doubted: dict[str, Named] = {}
    alone = len({channel for channel, _, one in findings if one.doubted}) == 1
    for channel, row, one in findings:
        value = float(channels.value[channel])
        others = value - _missing(row, one)
        those = doubted if one.doubted and not alone else named
        those[model.channels[channel].id] = Named(one.kind, value, others, channel)
    began = sorted(accused & set(doubted))
    stuck = [name for name, one in doubted.items() if still[one.channel] >= STUCK_SAMPLES]
    formed = [name for name, one in doubted.items() if one.kind in FORMS and _is_something(one, channels)]
    if began:
        named |= {name: doubted[name] for name in began}
    elif len(stuck) == 1:
        named[stuck[0]] = replace(doubted[stuck[0]], kind=GrossError.STUCK)
    elif len(formed) == 1:
        named[formed[0]] = doubted[formed[0]]
    group = () if set(named) & set(doubted) else tuple(doubted)
    return named, group


def _is_something(one: Named, channels: _Channels) -> bool:
    """Whether a meter says more than its noise, which is a multiple of anything."""
    return abs(one.value) > CAN_SIGMAS * float(channels.sigma[one.channel])
