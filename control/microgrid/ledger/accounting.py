"""The energy ledger, one pure step a sample: quarter hours, days, months and years that close to the milliwatt-hour.

Inside a quarter of an hour, energy is summed in whole milliwatts times nanoseconds, so that nothing is lost however
short the samples are; at its end it is cut to milliwatt-hours and the rest carried on. What is missing is estimated
where that can be defended, and marked: one missing flow follows from the balance of all others; several hold their
last value for ``hold_s``; after that they count as nothing and as missing. The state is plain numbers and survives a
restart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from gwanje.control.microgrid.ledger.entry import BALANCED, CO2_UNITS_PER_KG, SOURCE_SIGN, Channel, Entry, add
from gwanje.control.microgrid.tariff.local_time import QUARTER_NS, civil
from gwanje.control.microgrid.tariff.tariff import Tariff, TariffError

UNITS_PER_MWH = 3_600_000_000_000
"""Milliwatts times nanoseconds in a milliwatt-hour."""
POWER_W_MAX = 1e12
"""More than all power stations of the world: such a sample is missing, not a number."""
MG_PER_KWH = 10**6
Span = Literal["quarter", "day", "month", "year"]
PERIODS: tuple[Span, ...] = ("day", "month", "year")


class LedgerStateError(ValueError):
    """A stored state does not belong to these channels."""


@dataclass(frozen=True, slots=True)
class LedgerParams:
    """What is counted and how.

    Attributes:
        channels: at most one of role ``tie``.
        zone: whose days, months and years; IANA name.
        hold_s: how long several missing flows keep their last value.
        tariff: prices and carbon of the import; without one, cost and CO2 stay 0.
    """

    channels: tuple[Channel, ...]
    zone: str = "Asia/Seoul"
    hold_s: float = 60.0
    tariff: Tariff | None = None

    @property
    def n_storages(self) -> int:
        """How many channels are storages."""
        return sum(one.role == "storage" for one in self.channels)


@dataclass(frozen=True, slots=True)
class Sample:
    """Mean flows over a span, as measured.

    Attributes:
        begin_utc_ns: begin of the span, source time.
        end_utc_ns: its end.
        power_w: of each channel in the direction of its role; NaN for what is not known.
        stored_wh: in each storage at the end; NaN for what is not known.
        estimated: whether a value is not measured but substituted by somebody before; empty for none.
    """

    begin_utc_ns: int
    end_utc_ns: int
    power_w: tuple[float, ...]
    stored_wh: tuple[float, ...] = ()
    estimated: tuple[bool, ...] = ()


@dataclass(frozen=True, slots=True)
class Sums:
    """The quarter of an hour under way, in milliwatts times nanoseconds; the carries of the one before included."""

    forward: tuple[int, ...]
    reverse: tuple[int, ...]
    estimated: tuple[int, ...]
    estimated_ns: tuple[int, ...]
    missing_ns: tuple[int, ...]
    open_gap: int = 0
    open_meters: int = 0
    gap_ns: int = 0


@dataclass(frozen=True, slots=True)
class LedgerState:
    """Where the ledger stands.

    Attributes:
        utc_ns: end of what is counted; 0 before the first sample.
        begin_utc_ns: begin of the quarter of an hour under way, or of the first sample in it.
        sums: of that quarter.
        last_mw: last known flow of each channel, milliwatts; ``None`` when it was never known.
        known_ns: until when each was known.
        stored_mwh: in each storage as last known; ``None`` before.
        stored_begin_mwh: at the begin of the quarter, or when it was first known.
        day, month, year: closed quarters of the period under way.
        peaks_mwh: greatest quarter's import by month (months since January 1970), for the demand charge.
        overlap_ns: time of samples that was counted already, such as after a clock was put back.
    """

    utc_ns: int
    begin_utc_ns: int
    sums: Sums
    last_mw: tuple[int | None, ...]
    known_ns: tuple[int, ...]
    stored_mwh: tuple[int | None, ...]
    stored_begin_mwh: tuple[int | None, ...]
    day: Entry | None = None
    month: Entry | None = None
    year: Entry | None = None
    peaks_mwh: tuple[tuple[int, int], ...] = ()
    overlap_ns: int = 0


@dataclass(frozen=True, slots=True)
class Closed:
    """A period that is over, and its entry."""

    span: Span
    entry: Entry


MONTHS_KEPT = 36
"""Peaks of so many months are kept: the longest rule a tariff may have."""


def begin(params: LedgerParams) -> LedgerState:
    """An empty ledger."""
    assert sum(one.role == "tie" for one in params.channels) <= 1, "one tie"
    n, storages = len(params.channels), params.n_storages
    return LedgerState(0, 0, _empty(n), (None,) * n, (0,) * n, (None,) * storages, (None,) * storages)


def step(state: LedgerState, sample: Sample, params: LedgerParams) -> tuple[LedgerState, tuple[Closed, ...]]:
    """Count one sample.

    Returns:
        The state after it, and what it closed: quarters, then the days, months and years that ended with them.
    """
    assert len(sample.power_w) == len(params.channels)
    assert len(sample.stored_wh) in (0, params.n_storages)
    first = sample.begin_utc_ns if state.utc_ns == 0 else max(sample.begin_utc_ns, state.utc_ns)
    overlap = min(sample.end_utc_ns, first) - sample.begin_utc_ns
    state = replace(state, overlap_ns=state.overlap_ns + max(overlap, 0))
    if sample.end_utc_ns <= first:
        return state, ()
    closed: list[Closed] = []
    if state.utc_ns == 0:
        stored = _stored(state, sample)
        state = replace(state, utc_ns=first, begin_utc_ns=first, stored_mwh=stored, stored_begin_mwh=stored)
    elif first > state.utc_ns:
        nothing: tuple[int | None, ...] = (None,) * len(params.channels)
        state = _until(state, first, nothing, (False,) * len(nothing), True, params, closed)
    flows = tuple(_milliwatts(one) for one in sample.power_w)
    marks = sample.estimated or (False,) * len(flows)
    # what is stored was read at the end of the sample: it belongs to the quarter that the sample ends in
    last_whole = (sample.end_utc_ns - 1) // QUARTER_NS * QUARTER_NS
    if last_whole > state.utc_ns:
        state = _until(state, last_whole, flows, marks, False, params, closed)
    stored = _stored(state, sample)
    known = tuple(now if a is None else a for a, now in zip(state.stored_begin_mwh, stored, strict=True))
    state = replace(state, stored_mwh=stored, stored_begin_mwh=known)
    state = _until(state, sample.end_utc_ns, flows, marks, False, params, closed)
    return state, tuple(closed)


def _until(
    state: LedgerState, end_utc_ns: int, flows: tuple[int | None, ...], marks: tuple[bool, ...], gap: bool,
    params: LedgerParams, closed: list[Closed],
) -> LedgerState:  # fmt: skip
    """Count constant flows up to a moment, quarter by quarter."""
    hold_ns = round(params.hold_s * 1e9)
    while state.utc_ns < end_utc_ns:
        stop = min(end_utc_ns, (state.utc_ns // QUARTER_NS + 1) * QUARTER_NS)
        holds = [known + hold_ns for known, flow in zip(state.known_ns, flows, strict=True) if flow is None]
        stop = min([stop, *(one for one in holds if one > state.utc_ns)])
        state = _count(state, stop, flows, marks, gap, params)
        if stop % QUARTER_NS == 0:
            state = _close(state, params, closed)
    return state


def _count(
    state: LedgerState, stop: int, flows: tuple[int | None, ...], marks: tuple[bool, ...], gap: bool,
    params: LedgerParams,
) -> LedgerState:  # fmt: skip
    """Add a span within one quarter in which nothing changes."""
    span = stop - state.utc_ns
    values, estimated, missing = _filled(state, flows, params)
    sums = state.sums
    guessed = [a or b for a, b in zip(estimated, marks, strict=True)]
    at_bus = sum(
        SOURCE_SIGN[channel.role] * value
        for channel, value in zip(params.channels, values, strict=True)
        if channel.role in BALANCED
    )
    unsure = gap or any(
        (a or b) and channel.role in BALANCED
        for channel, a, b in zip(params.channels, guessed, missing, strict=True)
    )  # fmt: skip
    known = [
        stop if flow is not None else before for flow, before in zip(flows, state.known_ns, strict=True)
    ]  # fmt: skip
    return replace(
        state,
        utc_ns=stop,
        last_mw=tuple(flow if flow is not None else last for flow, last in zip(flows, state.last_mw, strict=True)),
        known_ns=tuple(known),
        sums=Sums(
            forward=tuple(a + max(v, 0) * span for a, v in zip(sums.forward, values, strict=True)),
            reverse=tuple(a + max(-v, 0) * span for a, v in zip(sums.reverse, values, strict=True)),
            estimated=tuple(
                a + abs(v) * span * g for a, v, g in zip(sums.estimated, values, guessed, strict=True)
            ),
            estimated_ns=tuple(a + span * g for a, g in zip(sums.estimated_ns, guessed, strict=True)),
            missing_ns=tuple(a + span * m for a, m in zip(sums.missing_ns, missing, strict=True)),
            open_gap=sums.open_gap + at_bus * span * unsure,
            open_meters=sums.open_meters + at_bus * span * (not unsure),
            gap_ns=sums.gap_ns + span * gap,
        ),
    )  # fmt: skip


def _filled(
    state: LedgerState, flows: tuple[int | None, ...], params: LedgerParams
) -> tuple[list[int], list[bool], list[bool]]:
    """Flows without holes, which of them are estimated, and which are missing and count as nothing."""
    n = len(flows)
    unknown = [k for k, flow in enumerate(flows) if flow is None]
    values = [flow if flow is not None else 0 for flow in flows]
    estimated, missing = [False] * n, [False] * n
    in_balance = [k for k in unknown if params.channels[k].role in BALANCED]
    if len(in_balance) == 1:
        (k,) = in_balance
        others = sum(
            SOURCE_SIGN[channel.role] * value
            for channel, value in zip(params.channels, values, strict=True)
            if channel.role in BALANCED
        )
        values[k] = -SOURCE_SIGN[params.channels[k].role] * others
        estimated[k] = True
        unknown.remove(k)
    for k in unknown:
        last = state.last_mw[k]
        if last is not None and state.utc_ns < state.known_ns[k] + round(params.hold_s * 1e9):
            values[k], estimated[k] = last, True
        else:
            missing[k] = True
    return values, estimated, missing


def so_far(state: LedgerState, params: LedgerParams) -> Entry | None:
    """The quarter of an hour under way as if it ended now; ``None`` when nothing is in it yet."""
    return _entry(state, params)[0] if state.utc_ns > state.begin_utc_ns else None


def _close(state: LedgerState, params: LedgerParams, closed: list[Closed]) -> LedgerState:
    """End the quarter under way: cut to milliwatt-hours, carry the rest, add to day, month and year."""
    entry, carried = _entry(state, params)
    closed.append(Closed("quarter", entry))
    state = replace(
        state,
        begin_utc_ns=state.utc_ns,
        stored_begin_mwh=state.stored_mwh,
        sums=carried,
        peaks_mwh=_peaks(state, entry, params),
    )
    here, after = (_periods(at, params.zone) for at in (entry.end_utc_ns - 1, entry.end_utc_ns))
    for span in PERIODS:
        before: Entry | None = getattr(state, span)
        total = entry if before is None else add(before, entry)
        over = here[span] != after[span]
        kept: dict[str, Any] = {span: None if over else total}
        state = replace(state, **kept)
        if over:
            closed.append(Closed(span, total))
    return state


def _entry(state: LedgerState, params: LedgerParams) -> tuple[Entry, Sums]:
    """The quarter under way, cut to milliwatt-hours, and what the next one begins with."""
    sums = state.sums
    forward, forward_rest = _cut(sums.forward)
    reverse, reverse_rest = _cut(sums.reverse)
    estimated, estimated_rest = _cut(sums.estimated)
    (gap, meters), (gap_rest, meters_rest) = _cut((sums.open_gap, sums.open_meters))
    pairs = list(zip(state.stored_mwh, state.stored_begin_mwh, strict=True))
    change = tuple(now - before if now is not None and before is not None else 0 for now, before in pairs)
    storages = [k for k, one in enumerate(params.channels) if one.role == "storage"]
    open_storage = sum(
        reverse[k] - forward[k] - moved
        for k, moved, (now, _) in zip(storages, change, pairs, strict=True)
        if sums.estimated_ns[k] or sums.missing_ns[k] or now is None
    )
    entry = Entry(
        begin_utc_ns=state.begin_utc_ns,
        end_utc_ns=state.utc_ns,
        forward_mwh=forward,
        reverse_mwh=reverse,
        estimated_mwh=estimated,
        estimated_ns=sums.estimated_ns,
        missing_ns=sums.missing_ns,
        stored_change_mwh=change,
        stored_end_mwh=tuple(now if now is not None else 0 for now, _ in pairs),
        open_gap_mwh=gap,
        open_meters_mwh=meters,
        open_storage_mwh=open_storage,
        gap_ns=sums.gap_ns,
    )
    carried = replace(
        _empty(len(params.channels)), forward=forward_rest, reverse=reverse_rest, estimated=estimated_rest,
        open_gap=gap_rest, open_meters=meters_rest,
    )  # fmt: skip
    return priced(entry, params), carried


def priced(entry: Entry, params: LedgerParams) -> Entry:
    """A quarter's entry with peak, cost of its import, and carbon."""
    tie = next((k for k, one in enumerate(params.channels) if one.role == "tie"), None)
    if tie is None:
        return entry
    bought, sold = entry.forward_mwh[tie], entry.reverse_mwh[tie]
    entry = replace(entry, peak_import_mwh=max(0, bought - sold))
    if params.tariff is None:
        return entry
    when = np.array([entry.begin_utc_ns], np.int64)
    carbon = round(float(params.tariff.carbon_kg_per_kwh(when)[0]) * MG_PER_KWH)
    own = sum(entry.forward_mwh[k] * one.co2_mg_per_kwh for k, one in enumerate(params.channels))
    load = sum(
        entry.forward_mwh[k] - entry.reverse_mwh[k]
        for k, one in enumerate(params.channels)
        if one.role in ("load", "loss")
    )
    try:
        cost, unpriced = bought * int(params.tariff.energy_centi_krw_per_kwh(when)[0]), 0
    except TariffError:
        cost, unpriced = 0, bought
    return replace(
        entry,
        import_cost=cost,
        unpriced_mwh=unpriced,
        import_co2=bought * carbon,
        avoided_co2=(load + sold - bought) * carbon - own,
    )


def co2_kg(units: int) -> float:
    """Kilograms of a carbon line."""
    return units / CO2_UNITS_PER_KG


def _peaks(state: LedgerState, entry: Entry, params: LedgerParams) -> tuple[tuple[int, int], ...]:
    month = int(civil(np.array([entry.end_utc_ns - 1]), params.zone).month[0])
    peaks = dict(state.peaks_mwh)
    peaks[month] = max(peaks.get(month, 0), entry.peak_import_mwh)
    return tuple(sorted((one, peak) for one, peak in peaks.items() if one > month - MONTHS_KEPT))


def _periods(utc_ns: int, zone: str) -> dict[Span, int]:
    local = civil(np.array([utc_ns], np.int64), zone)
    month = int(local.month[0])
    return {"day": int(local.day[0]), "month": month, "year": month // 12}


def _stored(state: LedgerState, sample: Sample) -> tuple[int | None, ...]:
    """What is in the storages after a sample; what is not known stays as it was."""
    if not sample.stored_wh:
        return state.stored_mwh
    return tuple(
        round(now * 1000.0) if math.isfinite(now) else before
        for now, before in zip(sample.stored_wh, state.stored_mwh, strict=True)
    )


def _milliwatts(power_w: float) -> int | None:
    return round(power_w * 1000.0) if math.isfinite(power_w) and abs(power_w) <= POWER_W_MAX else None


def _cut(values: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Whole milliwatt-hours, and what is left over."""
    pairs = [divmod(one, UNITS_PER_MWH) for one in values]
    return tuple(whole for whole, _ in pairs), tuple(rest for _, rest in pairs)


def _empty(n: int) -> Sums:
    zeros = (0,) * n
    return Sums(zeros, zeros, zeros, zeros, zeros)
