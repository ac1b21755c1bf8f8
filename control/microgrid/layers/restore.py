"""Fair return of loads that were shed, one pure step a second.

A load returns when it has been off long enough, when some time has gone since the last return, when the frequency is
steady, and when there is room for it with its inrush and a margin. The most valuable returns first; among equal ones
the one that has been off longest. While there is no room for all, loads of one value take turns: one that has been off
for long changes places with the one of its value that has been on the longest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gwanje.control.microgrid.device_settings import Load
from gwanje.control.microgrid.settings import Restore, load_value

UNKNOWN_SHARE = 0.6
"""Of its rating, what a load is taken to draw whose draw was not known when it went off."""


@dataclass(frozen=True, slots=True)
class LoadState:
    """One load: whether we hold it off, for how long that has been so, and what it drew before."""

    off: bool = False
    since_s: float = 0.0
    before_w: float = 0.0


@dataclass(frozen=True, slots=True)
class RestoreState:
    """All loads, and the time since the last return."""

    loads: tuple[LoadState, ...]
    since_s: float = 0.0


@dataclass(frozen=True, slots=True)
class RestoreInputs:
    """What the step looks at.

    Attributes:
        room_w: power that batteries and generators could add for long.
        soc: mean charge of the batteries.
        steady: frequency near its set-point, and frames coming.
        island: supply is the microgrid's own.
        load_w: (n,) what each draws; NaN when it is not known.
    """

    room_w: float
    soc: float
    steady: bool
    island: bool
    load_w: tuple[float, ...]


def shed(state: RestoreState, chosen: Sequence[bool], load_w: Sequence[float], loads: Sequence[Load]) -> RestoreState:
    """These loads have just been shed."""
    after = tuple(
        LoadState(True, 0.0, drew if drew == drew and drew > 0.0 else UNKNOWN_SHARE * one.rated_w)
        if take and not old.off
        else old
        for old, take, drew, one in zip(state.loads, chosen, load_w, loads, strict=True)
    )
    return replace(state, loads=after, since_s=0.0)


def step(
    state: RestoreState, inputs: RestoreInputs, loads: Sequence[Load], params: Restore, dt_s: float
) -> tuple[RestoreState, int, int]:
    """One step; gives the place of the load that returns and of the one that goes for it, or -1."""
    moved = tuple(replace(one, since_s=one.since_s + dt_s) for one in state.loads)
    state = replace(state, loads=moved, since_s=state.since_s + dt_s)
    waits = [at for at, one in enumerate(state.loads) if one.off and one.since_s >= params.wait_s]
    if not waits or not inputs.steady or state.since_s < params.between_s:
        return state, -1, -1
    waits.sort(key=lambda at: (-load_value(loads[at]), -state.loads[at].since_s, at))
    for at in waits:
        if not inputs.island or _fits(state.loads[at], loads[at], inputs, params):
            return _returned(state, at), at, -1
        if loads[at].tier == "critical":
            break  # nothing of less value goes before it
    for at in waits if inputs.island else ():
        other = _turn(state, at, inputs, loads, params)
        if other >= 0:
            swapped = _returned(state, at)
            gone = LoadState(True, 0.0, inputs.load_w[other])
            after = (*swapped.loads[:other], gone, *swapped.loads[other + 1 :])
            return replace(swapped, loads=after), at, other
    return state, -1, -1


def _fits(one: LoadState, load: Load, inputs: RestoreInputs, params: Restore) -> bool:
    if load.tier == "interruptible" and inputs.soc < params.soc_min:
        return False
    return inputs.room_w >= one.before_w * max(params.headroom, load.inrush)


def _turn(state: RestoreState, at: int, inputs: RestoreInputs, loads: Sequence[Load], params: Restore) -> int:
    """The load that makes place for another of its value, or -1."""
    waiting = state.loads[at]
    if waiting.since_s < params.rotate_s or loads[at].inrush > params.headroom:
        return -1
    peers = [
        other
        for other, one in enumerate(state.loads)
        if not one.off
        and loads[other].tier == loads[at].tier
        and load_value(loads[other]) <= load_value(loads[at])
        and one.since_s >= params.rotate_s
        and inputs.load_w[other] == inputs.load_w[other]
        and inputs.room_w + inputs.load_w[other] >= waiting.before_w * params.headroom
    ]
    return max(peers, key=lambda other: (state.loads[other].since_s, -other), default=-1)


def _returned(state: RestoreState, at: int) -> RestoreState:
    back = LoadState(False, 0.0, state.loads[at].before_w)
    return replace(state, loads=(*state.loads[:at], back, *state.loads[at + 1 :]), since_s=0.0)
