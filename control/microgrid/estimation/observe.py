"""One second of the estimation: from meters and switches to the network's picture. Pure: :func:`observe`.

The source's breaker decides which network is estimated: the whole on the utility, or the island behind it, out of
which nothing flows. A dead city is a state of its own, not an error. A breaker that says what is not so is found by
trying the other network, as the switches within one are.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from gwanje.control.microgrid.estimation.bad_data import FLIP_MARGIN
from gwanje.control.microgrid.estimation.blame import ObserveState, blame, told_of
from gwanje.control.microgrid.estimation.channels import BAD, ObserveInputs, Taken, network_readings, taken
from gwanje.control.microgrid.estimation.estimator import positions, readings, step
from gwanje.control.microgrid.estimation.model import Model, Topology
from gwanje.control.microgrid.estimation.picture import (
    Mode,
    Picture,
    all_buses,
    dead_picture,
    make_picture,
    outside,
)

KEPT_TURNS = 5
"""Consistent turns that are remembered: a meter that begins to lie has moved since the oldest of them."""
DEAD_SIGMAS = 5.0
"""In a dead city no power is above its meter's error by more."""
ANGLE_MAX_RAD = 0.05
"""Across a breaker, above which it is open: its relay reads it to a few thousandths."""
NOTHING_FLOWS = 9.0
"""Square of a flow over its sigma, up to which it is none."""


def observe(state: ObserveState, inputs: ObserveInputs, model: Model) -> tuple[ObserveState, Picture]:
    """One turn."""
    state, picture = _observed(state, inputs, model)
    known = np.isfinite(inputs.values) & ((inputs.quality & BAD) == 0)
    silent = frozenset(one.id for one, says in zip(model.channels, known, strict=True) if not says)
    switches = model.settings.switches().items()
    unknown = frozenset(name for tag, name in switches if inputs.closed.get(tag) is None)
    return state, replace(picture, silent=silent, silent_switches=unknown)


def _observed(state: ObserveState, inputs: ObserveInputs, model: Model) -> tuple[ObserveState, Picture]:
    channels = taken(state.last, inputs, model)
    said = inputs.closed.get(model.breaker[1]) if model.islanded is not None else True
    if _dead(channels, model):
        live = outside(channels, model)
        alive = live is not None and live.value > model.settings.general.dead_pu
        untrue = (model.breaker[0],) if model.islanded is not None and said and alive else ()
        return ObserveState(inputs.values), dead_picture(channels, model, untrue)
    islanded, lying = _which(channels, inputs, model, said)
    topology = model.islanded if islanded and model.islanded is not None else model.connected
    own = state.estimates[islanded]
    own, out = step(own, network_readings(topology, channels, inputs), topology.params)
    estimates = (state.estimates[0], own) if islanded else (own, state.estimates[1])
    still = _still(state, inputs)
    kept = ObserveState(inputs.values, state.kept, state.suspicious_turns, state.accused, estimates, still)
    if not out.solved or not (channels.real & _powers(model)).any():
        return kept, Picture(Mode.UNKNOWN, unobservable=all_buses(model), settled=False)
    found = blame(kept, inputs, model, topology, channels, own, out)
    named = dict(found.named) | told_of(inputs, channels.beyond, topology, found.out, model)
    group = tuple(one for one in found.group if one not in named)
    which, blamed = (said, islanded, lying), (named, group)
    picture = make_picture(inputs, model, topology, found.channels, out, found.out, which, blamed)
    suspicious = out.verdict.suspicious
    before = state.kept if suspicious else (*state.kept[1 - KEPT_TURNS :], inputs.values)
    turns = state.suspicious_turns + 1 if suspicious else 0
    return ObserveState(inputs.values, before, turns, found.accused, estimates, still), picture


def _still(state: ObserveState, inputs: ObserveInputs) -> npt.NDArray[np.int64]:
    if state.last is None or state.still is None:
        return np.zeros(len(inputs.values), np.int64)
    return np.where(inputs.values == state.last, state.still + 1, 0)


def _powers(model: Model) -> npt.NDArray[np.bool_]:
    return np.array([not one.nominal_v for one in model.channels])


def _dead(channels: Taken, model: Model) -> bool:
    """Whether there is no voltage in the city, and no power either."""
    topology = model.islanded or model.connected
    volts = [at for at in topology.voltage_channels if channels.real[at]]
    limit = model.settings.general.dead_pu
    if not volts or any(channels.value[at] > limit * model.channels[at].nominal_v for at in volts):
        return False
    drawn = [at for at, one in enumerate(model.channels) if not one.nominal_v and channels.real[at]]
    return all(abs(channels.value[at]) <= DEAD_SIGMAS * channels.sigma[at] for at in drawn)


def _which(
    channels: Taken, inputs: ObserveInputs, model: Model, said: bool | None
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


def _squares(topology: Topology, channels: Taken, inputs: ObserveInputs) -> tuple[float, float]:
    """Sum of squares of a network, and about what removing its worst reading would leave."""
    rows, judge = network_readings(topology, channels, inputs), topology.params.judge
    z, sigma, _, _ = readings(rows, topology.params)
    if judge.solve(z, sigma, positions(rows.closed, topology.params.network)) < 0:
        return np.inf, np.inf
    worst = np.nanmax(np.abs(judge.normalised), initial=0.0)
    return judge.kernel.objective, judge.kernel.objective - float(worst) ** 2
