"""The fast guard, one pure step every 10 ms: sees that the utility is gone, and says how much must go with it.

A breaker that says open is believed at once. Frequency is believed from two out of three meters and only after several
new samples in a row, or with the first one when the import has vanished with it: two witnesses that share no
instrument. With a breaker that says closed that means that the utility beyond is gone, and the mode machine opens. What
is shed is decided by what was imported before: the memory is older than any frame of the event itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from gwanje.control.microgrid.settings import Guard

MEMORY_EVERY_S = 0.1
"""The import is remembered in steps of this; the one used is two to three steps old."""
STARTING_HZ = 0.7
"""How much lower the frequency may dip while motors start."""
RISING_HZ_PER_S = 0.5
"""A frequency that rises so fast recovers by what was shed already: more would only throw it over."""
SUSPECTED_S = 0.2
"""For so long at most a vanished import keeps the tie-line law still: by then the loss is confirmed, or was none."""
SUSPECTED_SHARE = 0.25
"""Of the limit of the frequency's rate, what a vanished import needs beside it to be suspected."""
DEAD_PU = 0.3
"""A bus below this is dark: nothing is left to shed."""


@dataclass(frozen=True, slots=True)
class GuardState:
    """What the guard remembers.

    Attributes:
        import_w: imports of the last steps of memory, oldest first.
        since_s: since the memory moved.
        open_before: the breaker was open in the last period; None before it was known.
        alone_before: there was no utility in the last period, by breaker or witnesses.
        beyond: new samples in a row with a frequency, or its rate, beyond the limits.
        under: new samples in a row below the shedding frequency.
        under_since_s: since the last step of under-frequency or under-voltage shedding.
        sagged_s: for how long the island's voltage has been too low.
        stamp_s: of the last frequency sample.
        hz: its value.
        rocof_hz_per_s: its rate, filtered.
        suspected_s: for how long a loss has been suspected.
    """

    import_w: tuple[float, float, float] = (math.nan, math.nan, math.nan)
    since_s: float = 0.0
    open_before: bool | None = None
    alone_before: bool = False
    beyond: int = 0
    under: int = 0
    under_since_s: float = math.inf
    sagged_s: float = 0.0
    stamp_s: float = -math.inf
    hz: float = math.nan
    rocof_hz_per_s: float = 0.0
    suspected_s: float = 0.0


@dataclass(frozen=True, slots=True)
class GuardInputs:
    """One process image; NaN for what may not be used.

    Attributes:
        now_s: monotonic.
        closed: the breaker.
        frequency_hz: two out of three.
        stamp_s: of its sample.
        import_w: measured.
        island: a law of the island is in force, or none.
        free_w: discharge that batteries and running generators could add at once.
        room_w: charge that the batteries could add at once.
        load_w: all loads.
        starting: motors of a load that has just returned are starting: a dip is expected.
        voltage_pu: of the city's bus.
    """

    now_s: float
    closed: float
    frequency_hz: float
    stamp_s: float
    import_w: float
    island: bool
    free_w: float
    room_w: float
    load_w: float
    starting: bool = False
    voltage_pu: float = math.nan


@dataclass(frozen=True, slots=True)
class GuardOutputs:
    """What the guard wants in this period.

    Attributes:
        opened: supply has just become the microgrid's own while the tie-line law was in force.
        grid_lost: frequency says that the utility is gone.
        shed_w: to shed now.
        curtail_w: generation to give up now.
        lost_w: import that was lost, of the memory; NaN when it is not known.
        suspected: the utility may be gone: what looks like a wrong import is not to be corrected now.
    """

    opened: bool = False
    grid_lost: bool = False
    shed_w: float = 0.0
    curtail_w: float = 0.0
    lost_w: float = math.nan
    suspected: bool = False


def step(state: GuardState, inputs: GuardInputs, params: Guard, dt_s: float) -> tuple[GuardState, GuardOutputs]:
    """One period."""
    state = _samples(state, inputs, params, dt_s)
    is_open = state.open_before if math.isnan(inputs.closed) else inputs.closed < 0.5
    lost_w = next((one for one in state.import_w if one == one), math.nan)
    # Beyond nothing is gone too: a piece of the utility that is left hangs on the city until the breaker opens.
    vanished = abs(lost_w) >= params.vanishing_w and inputs.import_w * math.copysign(1.0, lost_w) <= 0.25 * abs(lost_w)
    lost = not is_open and (state.beyond >= params.confirm_ticks or (state.beyond >= 1 and vanished))
    moves = abs(state.rocof_hz_per_s) >= SUSPECTED_SHARE * params.rocof_hz_per_s
    doubt = vanished and is_open is False and not inputs.island and (moves or state.suspected_s > 0.0)
    suspected_s = state.suspected_s + dt_s if doubt else 0.0
    alone = lost or is_open is True
    opened = alone and not state.alone_before and state.open_before is False and not inputs.island
    shed_w = curtail_w = 0.0
    if opened and lost_w == lost_w:
        shed_w = max(lost_w * (1.0 + params.shed_margin) - inputs.free_w, 0.0) if lost_w > 0.0 else 0.0
        curtail_w = max(-lost_w - inputs.room_w, 0.0)
    under_since_s = state.under_since_s + dt_s
    # Beyond their current, units that form an island hold its frequency and let its voltage go: that is shed for too.
    sags = alone and not inputs.starting and DEAD_PU <= inputs.voltage_pu < params.under_voltage_pu
    sagged_s = state.sagged_s + dt_s if sags else 0.0
    short = state.under >= params.confirm_ticks or sagged_s >= params.under_voltage_s
    if alone and short and under_since_s >= params.under_every_s:
        shed_w = max(shed_w, params.under_step * max(inputs.load_w, 0.0))
        under_since_s = 0.0
    after = GuardState(
        state.import_w, state.since_s, is_open, alone, state.beyond, state.under, under_since_s, sagged_s,
        state.stamp_s, state.hz, state.rocof_hz_per_s, suspected_s,
    )  # fmt: skip
    return after, GuardOutputs(opened, lost, shed_w, curtail_w, lost_w, 0.0 < suspected_s <= SUSPECTED_S + 1e-9)


def _samples(state: GuardState, inputs: GuardInputs, params: Guard, dt_s: float) -> GuardState:
    """Memory of the import, rate of the frequency, and new samples beyond a limit."""
    memory, since_s = state.import_w, state.since_s + dt_s
    if since_s >= MEMORY_EVERY_S - 1e-9:
        memory, since_s = (*memory[1:], inputs.import_w), 0.0
    hz = inputs.frequency_hz
    if math.isnan(hz) or not inputs.stamp_s > state.stamp_s:
        return GuardState(
            memory, since_s, state.open_before, state.alone_before, state.beyond, state.under, state.under_since_s,
            state.sagged_s, state.stamp_s, state.hz, state.rocof_hz_per_s, state.suspected_s,
        )  # fmt: skip
    rocof, since = state.rocof_hz_per_s, inputs.stamp_s - state.stamp_s
    if state.hz != state.hz or since > 10.0 * params.rocof_window_s:
        rocof = 0.0
    else:  # a single false sample goes out again with the next one
        rocof += ((hz - state.hz) / since - rocof) * min(since / params.rocof_window_s, 1.0)
    rises = hz - state.hz > RISING_HZ_PER_S * since
    under = hz < params.under_hz - (STARTING_HZ if inputs.starting else 0.0) and not rises
    beyond = not params.frequency_low_hz <= hz <= params.frequency_high_hz or abs(rocof) > params.rocof_hz_per_s
    return replace(
        state,
        import_w=memory,
        since_s=since_s,
        beyond=state.beyond + 1 if beyond else 0,
        under=state.under + 1 if under else 0,
        stamp_s=inputs.stamp_s,
        hz=hz,
        rocof_hz_per_s=rocof,
    )
