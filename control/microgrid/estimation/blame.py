"""Who is wrong: from what an estimate says against meters to their names, and the estimate without them.

Several meters often explain an error as well as each other. Then the one is named that was seen to begin: it moved by
what is missing now while no other did; or that alone stands still; or whose error alone has a known form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from gwanje.control.microgrid.estimation.channels import (
    CAN_SIGMAS,
    ObserveInputs,
    Taken,
    left_out,
    network_readings,
)
from gwanje.control.microgrid.estimation.estimator import (
    ROW,
    EstimationOutputs,
    EstimationState,
    Finding,
    Floats,
    step,
)
from gwanje.control.microgrid.estimation.gross_errors import STUCK_SAMPLES, GrossError, by_ratio
from gwanje.control.microgrid.estimation.model import NONE, Model, Row, Topology
from gwanje.control.microgrid.estimation.picture import Named

ONSET_TURNS = 10
"""After so many suspicious turns whatever moved has moved by itself."""
ONSET_BAND = 0.35
"""A meter began to lie when it moved by what is missing now, to this share."""
ONSET_SIGMAS = 4.0
"""Of its own, that a meter must be off for that."""
FORMS = (GrossError.SIGN, GrossError.TENFOLD, GrossError.THOUSANDFOLD)
"""Errors that single a meter out."""
PASSES_MAX = 3
"""Estimates of one turn: without what the one before named."""


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
class Blame:
    """Who is wrong, and the estimate without them."""

    named: Mapping[str, Named]
    group: tuple[str, ...]
    accused: frozenset[str]
    channels: Taken
    out: EstimationOutputs


def blame(
    state: ObserveState, inputs: ObserveInputs, model: Model, topology: Topology, channels: Taken,
    own: EstimationState, out: EstimationOutputs,
) -> Blame:  # fmt: skip
    """Name meters, estimate without them, and see whether more are wrong.

    Who was accused stays so while that explains all.
    """
    if not out.verdict.suspicious:
        return Blame({}, (), frozenset(), channels, out)
    still = state.still if state.still is not None else np.zeros(len(inputs.values), np.int64)
    if state.accused:
        mask = np.array([one.id in state.accused for one in model.channels])
        less = left_out(channels, mask, model)
        _, without = step(own, network_readings(topology, less, inputs), topology.params)
        if without.solved and not without.verdict.suspicious:
            named = told_of(inputs, mask & channels.real, topology, without, model)
            return Blame(named, (), state.accused, less, without)
    findings = _findings(topology, channels, out)
    accused = _accused(state, findings, channels, model)
    named, group = _named(findings, accused, still, model, channels)
    doubted = group
    for _ in range(PASSES_MAX - 1):
        if not (named or doubted):
            break
        channels = _without(channels, named, findings, model)
        _, out = step(own, network_readings(topology, channels, inputs), topology.params)
        findings = _findings(topology, channels, out)
        more, doubted = _named(findings, accused, still, model, channels)
        if not out.solved or not (set(more) - set(named)):
            break
        named |= more
    return Blame(named, group, accused, channels, out)


def _without(
    channels: Taken, named: Mapping[str, Named], findings: list[tuple[int, Row, Finding]], model: Model
) -> Taken:  # fmt: skip
    """The channels without the meters that are named; those of which one is wrong count less, and what follows them."""
    channels = left_out(channels, np.array([one.id in named for one in model.channels]), model)
    sigma = channels.sigma.copy()
    for channel, row, finding in findings:
        if finding.doubted and channels.real[channel]:
            sigma[channel] = max(sigma[channel], abs(_missing(row, finding)))
    return Taken(channels.value, sigma, channels.real, channels.beyond)


def told_of(
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


def _findings(topology: Topology, channels: Taken, out: EstimationOutputs) -> list[tuple[int, Row, Finding]]:
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
    state: ObserveState, findings: list[tuple[int, Row, Finding]], channels: Taken, model: Model
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
    channels: Taken,
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


def _is_something(one: Named, channels: Taken) -> bool:
    """Whether a meter says more than its noise, which is a multiple of anything."""
    return abs(one.value) > CAN_SIGMAS * float(channels.sigma[one.channel])
