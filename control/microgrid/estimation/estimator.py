"""The microgrid's state from what its meters say: value, sigma and quality of every voltage, power and flow.

Pure: :func:`step` takes readings with their ages and gives estimates; the network, the meters and the limits stand in
:class:`EstimationParams`. Meters of one second and meters that are read every quarter of an hour go into one estimate:
between its readings a meter's word grows uncertain (:func:`aged_sigma`), and it is never simply believed or dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial

import numpy as np
import numpy.typing as npt

from gwanje.control.microgrid.estimation.bad_data import BadDataParams, Judge, Reading, Verdict
from gwanje.control.microgrid.estimation.gross_errors import GrossError, by_ratio, is_stuck, swapped, time_shift
from gwanje.core.tags.quality import Quality, is_bad, is_good
from gwanje.ext import state_estimation as se
from gwanje.ext.state_estimation import RadialEstimator

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

HISTORY = 64
"""Steps that are kept to tell what kind of error a reading has."""
UNKNOWN = 100.0
"""Sigma of an injection that nobody reads, per unit: anything at all."""
UNTOLD = 0.3 * UNKNOWN
"""An injection with at least this sigma is unobservable: no reading tells it."""
PLAUSIBLE_SIGMAS = 6.0
"""Of a reading, by which what others say in its place may lie outside of what it can be."""
FACTOR_SIGMAS = 4.0
"""Of a reading, that it must be to be taken for a multiple of what it should be."""
FORGET_PERIODS = 96.0
"""Periods after which a meter's last word is worth nothing (a day of quarter hours)."""


@dataclass(frozen=True, slots=True)
class EstimatorNetwork:
    """A radial network in per unit.

    Attributes:
        buses: name of each bus.
        parent: (n,) bus at the other end of each bus's branch; −1 for the source.
        r: (n,) resistance of that branch, per unit.
        x: (n,) reactance.
        base_w: power of 1 per unit, W.
        base_v: (n,) volts of 1 per unit, line to line.
        shunt_b: (n,) susceptance to ground, per unit, or None.
        ratio: (n,) voltage ratio parent : child in per unit, or None for 1.
        switches: buses whose branch has a switch that tells its position.
        empty: buses at which nothing is connected: their injection is 0, certainly.
    """

    buses: tuple[str, ...]
    parent: Ints
    r: Floats
    x: Floats
    base_w: float
    base_v: Floats
    shunt_b: Floats | None = None
    ratio: Floats | None = None
    switches: tuple[int, ...] = ()
    empty: tuple[int, ...] = ()


class MeterKind(StrEnum):
    """What a meter measures: a magnitude of voltage, power drawn at a bus, or a flow at an end of a bus's branch."""

    VOLTAGE_V = "voltage_v"
    LOAD_W = "load_w"
    LOAD_VAR = "load_var"
    FLOW_W = "flow_w"
    FLOW_VAR = "flow_var"
    ARRIVING_W = "arriving_w"
    ARRIVING_VAR = "arriving_var"


ROW = dict(zip(MeterKind, range(se.N_READ), strict=True))


@dataclass(frozen=True, slots=True)
class Meter:
    """One metered quantity.

    Attributes:
        tag: whose values it delivers.
        kind: what it measures.
        bus: where; a flow's branch is named by its lower bus.
        sign: −1 where the tag is positive in the other direction (``generation_w``, ``discharge_w`` as a load); or the
            share of the tag's value that is measured here.
        sigma_share: of the reading.
        sigma_floor: in the tag's unit; what remains at 0.
        period_s: between two readings.
        within_share: sigma of the present value within the period that one reading averages, as a share of it.
        wander_share: sigma of the value long after a reading, as a share of ``scale``.
        wander_s: time in which it wanders there.
        scale: typical size, in the tag's unit.
        low: the least it can be here, in the unit of the row: with its sign.
        high: the most.
    """

    tag: str
    kind: MeterKind
    bus: int
    sign: float = 1.0
    sigma_share: float = 0.01
    sigma_floor: float = 1.0
    period_s: float = 1.0
    within_share: float = 0.0
    wander_share: float = 0.5
    wander_s: float = 900.0
    scale: float = 1_000.0
    low: float = -np.inf
    high: float = np.inf


def ami(tag: str, kind: MeterKind, bus: int, scale: float, sign: float = 1.0) -> Meter:
    """A meter that is read every quarter of an hour: 20 % of its word when it comes, 50 % of its size at last."""
    return Meter(tag, kind, bus, sign, 0.01, 0.01 * scale, 900.0, 0.2, 0.5, 900.0, scale)


def aged_sigma(meter: Meter, value: float, age_s: float) -> float:
    """Sigma of a quantity when its meter said ``value`` that long ago, in the tag's unit.

    What it measures wanders about like an Ornstein-Uhlenbeck process from the end of one period on.
    """
    late_s = max(0.0, age_s - (meter.period_s if meter.within_share == 0.0 else 0.0))
    fresh = (meter.sigma_share**2 + meter.within_share**2) * value**2 + meter.sigma_floor**2
    gone = -np.expm1(-2.0 * late_s / meter.wander_s)
    return float(np.sqrt(fresh + gone * (meter.wander_share * max(meter.scale, abs(value))) ** 2))


@dataclass(frozen=True, slots=True)
class EstimationParams:
    """Network, meters and limits.

    Attributes:
        network: what is estimated.
        meters: what is read, in the order of the inputs.
        bad_data: how readings are judged.
        voltage_good: sigma up to which a voltage is GOOD, per unit.
        voltage_known: sigma up to which it is at least UNCERTAIN.
        power_good: sigma up to which a power is GOOD, as a share of ``power_scale_w``.
        power_scale_w: see there.
        decide_by_form: of several readings that explain as much, the one is removed whose error has a known form; else
            all are doubted.
        judge: the estimator, made from the rest; it keeps nothing from one call to the next.
        bounds: what each reading can be, from its meters, per unit.
    """

    network: EstimatorNetwork
    meters: tuple[Meter, ...]
    bad_data: BadDataParams = field(default_factory=BadDataParams)
    voltage_good: float = 0.005
    voltage_known: float = 0.05
    power_good: float = 0.02
    power_scale_w: float = 500e3
    decide_by_form: bool = True
    judge: Judge = field(init=False)
    bounds: Mapping[Reading, tuple[float, float]] = field(init=False)

    def __post_init__(self) -> None:
        one = self.network
        wrong = [m.tag for m in self.meters if not 0 <= m.bus < len(one.buses) or not m.period_s > 0.0]
        if wrong:
            raise ValueError(f"meters at no bus, or without a period: {', '.join(wrong)}")
        kernel = RadialEstimator(one.parent, one.r, one.x, shunt_b=one.shunt_b, ratio=one.ratio, unknown=UNKNOWN)
        object.__setattr__(self, "judge", Judge(kernel, self.bad_data))
        scale, bounds = units(one), dict[Reading, tuple[float, float]]()
        for m in self.meters:
            at = ROW[m.kind], m.bus
            low, high = bounds.get(at, (0.0, 0.0) if at[0] in (se.P, se.Q) else (np.inf, -np.inf))
            mine = m.low / scale[at], m.high / scale[at]
            summed = at[0] in (se.P, se.Q)
            bounds[at] = (low + mine[0], high + mine[1]) if summed else (min(low, mine[0]), max(high, mine[1]))
        object.__setattr__(self, "bounds", bounds)


@dataclass(frozen=True, slots=True)
class EstimationInputs:
    """What came.

    Attributes:
        values: (n_meters,) in the tags' units.
        quality: (n_meters,) as :class:`Quality`.
        age_s: (n_meters,) since each was measured.
        closed: (n_switches,) what the switches say: 1 closed, 0 open.
        sigma: (n_meters,) of the values, in the tags' units, NaN where there is none: then quality and age have been
            considered already; None: they tell.
    """

    values: Floats
    quality: npt.NDArray[np.uint16]
    age_s: Floats
    closed: npt.NDArray[np.uint8]
    sigma: Floats | None = None


@dataclass(frozen=True, slots=True)
class EstimationState:
    """Last steps: (readings, what the network said in their places), oldest first, NaN where there was none."""

    history: tuple[tuple[Floats, Floats], ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """A reading that is not used (or counts less), and why.

    Attributes:
        tags: of the meters behind it; more than one where the loads of a bus add up.
        kind: form of the error.
        value: what was read, in the unit of the row (V, W, var).
        others: what everything else says in its place.
        doubted: it is one of several, of which one is wrong.
        lag_steps: by how many steps it is late, for a time shift.
    """

    tags: tuple[str, ...]
    kind: GrossError
    value: float
    others: float
    doubted: bool = False
    lag_steps: int = 0


@dataclass(frozen=True, slots=True)
class EstimationOutputs:
    """The network's state, rows as in :mod:`gwanje.ext.state_estimation`, in V, W, var and radians.

    Attributes:
        value: (8, n) estimates.
        sigma: (8, n).
        quality: (8, n) as :class:`Quality`.
        verdict: tests and what they removed.
        findings: removed and doubted readings with the form of their errors.
        switches_wrong: names of buses whose branch's switch says what is not so.
        unobservable: names of buses that no reading tells.
        solved: False: nothing fits, and all is BAD.
    """

    value: Floats
    sigma: Floats
    quality: npt.NDArray[np.uint16]
    verdict: Verdict
    findings: tuple[Finding, ...] = ()
    switches_wrong: tuple[str, ...] = ()
    unobservable: tuple[str, ...] = ()
    solved: bool = True


def units(network: EstimatorNetwork) -> Floats:
    """(8, n): what 1 per unit is in each row."""
    n = len(network.buses)
    return np.vstack([network.base_v, np.full((6, n), network.base_w), np.ones(n)])


def readings(
    inputs: EstimationInputs, params: EstimationParams
) -> tuple[Floats, Floats, Mapping[Reading, list[int]], Floats]:
    """Readings and sigmas in the kernel's rows, the meters behind each, each meter's sigma; loads of a bus add up."""
    network, n = params.network, len(params.network.buses)
    z, variance = np.full((se.N_READ, n), np.nan), np.full((se.N_READ, n), np.nan)
    behind: dict[Reading, list[int]] = {}
    own = np.full(len(params.meters), np.nan)
    for index, meter in enumerate(params.meters):
        behind.setdefault((ROW[meter.kind], meter.bus), []).append(index)
    scale = units(network)
    for at, meters in behind.items():
        total, squares = 0.0, 0.0
        for index in meters:
            meter, value = params.meters[index], float(inputs.values[index])
            sigma = _sigma(meter, inputs, index)
            if not (np.isfinite(value) and np.isfinite(sigma)):
                total = squares = np.nan
                break
            own[index] = abs(meter.sign) * sigma
            total, squares = total + meter.sign * value, squares + own[index] ** 2
        if len(meters) > 1 and at[0] not in (se.P, se.Q):
            total, squares = total / len(meters), squares / len(meters) ** 2
        z[at], variance[at] = total / scale[at], squares / scale[at] ** 2
    for bus in network.empty:
        z[1:3, bus], variance[1:3, bus] = 0.0, 0.0
    return z, np.sqrt(variance), behind, own


def _sigma(meter: Meter, inputs: EstimationInputs, index: int) -> float:
    """Sigma of a meter's present value in its tag's unit; NaN when it is not to be used."""
    if inputs.sigma is not None:
        return float(inputs.sigma[index])
    value, quality, age_s = float(inputs.values[index]), int(inputs.quality[index]), float(inputs.age_s[index])
    if is_bad(quality) or not 0.0 <= age_s < FORGET_PERIODS * meter.period_s:
        return float("nan")
    return aged_sigma(meter, value, age_s) * (1.0 if is_good(quality) else 3.0)


def positions(closed: npt.NDArray[np.uint8], network: EstimatorNetwork) -> npt.NDArray[np.uint8]:
    """(n,) of every branch from what the switches say."""
    found = np.ones(len(network.buses), np.uint8)
    found[list(network.switches)] = closed
    return found


def unobservable(params: EstimationParams, sigma: Floats, closed: npt.NDArray[np.uint8]) -> tuple[str, ...]:
    """Names of live buses that readings with these sigmas do not tell; asked before there are any values."""
    z = np.where(np.isfinite(sigma), 0.0, np.nan)
    z[0] = np.where(np.isfinite(sigma[0]), 1.0, np.nan)
    turns = params.judge.solve(z, sigma, positions(closed, params.network))
    return _untold(params) if turns > 0 else params.network.buses


def _untold(params: EstimationParams) -> tuple[str, ...]:
    spread, names = params.judge.spread, params.network.buses
    blind = (spread[se.P] > UNTOLD) | (spread[se.V] > params.voltage_known)
    return tuple(names[k] for k in np.flatnonzero(blind))


def step(
    state: EstimationState, inputs: EstimationInputs, params: EstimationParams
) -> tuple[EstimationState, EstimationOutputs]:
    """One estimate, made from this second's readings alone; what was before only tells what kind of error one has."""
    network, judge = params.network, params.judge
    z, sigma, behind, own = readings(inputs, params)
    closed = positions(inputs.closed, network)
    known, can = partial(_recognised, sigma=sigma), partial(_plausible, sigma=sigma, bounds=params.bounds)
    verdict = judge.judge(z, sigma, closed, network.switches, known if params.decide_by_form else None, can)
    scale = units(network)
    if verdict.iterations < 0:
        nothing, bad = np.full((se.N_RESULT, len(network.buses)), np.nan), int(Quality.BAD)
        quality = np.full(nothing.shape, bad, np.uint16)
        return state, EstimationOutputs(nothing, nothing, quality, verdict, unobservable=network.buses, solved=False)
    others = np.array([judge.value[ROW[m.kind], m.bus] * scale[ROW[m.kind], m.bus] for m in params.meters])
    raw = np.array([m.sign for m in params.meters]) * inputs.values
    history = (*state.history[1 - HISTORY :], (raw, others))
    findings = _findings(verdict, history, behind, own, params, z * scale[: se.N_READ])
    value, spread = judge.value * scale, judge.spread * scale
    outputs = EstimationOutputs(
        value, spread, _qualities(verdict, params), verdict, findings,
        tuple(network.buses[one] for one in verdict.flipped), _untold(params),
    )  # fmt: skip
    return EstimationState(history), outputs


def _recognised(at: Reading, value: float, others: float, sigma: Floats) -> bool:
    """Whether a factor explains it; what is nothing but noise is no factor of anything."""
    within = float(sigma[at])
    return at[0] != se.V and abs(value) > FACTOR_SIGMAS * within and by_ratio(value, others, within) is not None


def _plausible(at: Reading, others: float, sigma: Floats, bounds: Mapping[Reading, tuple[float, float]]) -> bool:
    low, high = bounds.get(at, (-np.inf, np.inf))
    band = PLAUSIBLE_SIGMAS * float(np.nan_to_num(sigma[at]))
    return low - band <= others <= high + band


def _qualities(verdict: Verdict, params: EstimationParams) -> npt.NDArray[np.uint16]:
    """By sigma; what stands in the place of a removed reading says so."""
    spread, base_w = params.judge.spread, params.network.base_w
    found = np.full(spread.shape, int(Quality.UNCERTAIN), np.uint16)
    for row in range(se.N_RESULT):
        voltage = row in (se.V, se.ANGLE)
        good = params.voltage_good if voltage else params.power_good * params.power_scale_w / base_w
        bad = params.voltage_known if voltage else UNTOLD
        found[row, spread[row] <= good] = int(Quality.GOOD)
        found[row, spread[row] > bad] = int(Quality.BAD)
    for at in verdict.removed:
        found[at] |= int(Quality.SUBSTITUTED)
    for at in verdict.doubted:
        found[at] = int(Quality.UNCERTAIN)
    if not verdict.settled:
        found[found == int(Quality.GOOD)] = int(Quality.UNCERTAIN)
    return found


def _findings(
    verdict: Verdict, history: tuple[tuple[Floats, Floats], ...], behind: Mapping[Reading, list[int]], own: Floats,
    params: EstimationParams, read: Floats,
) -> tuple[Finding, ...]:  # fmt: skip
    """Each removed or doubted reading with the form of its error."""
    found: list[Finding] = []
    scale, judge = units(params.network), params.judge
    instead = dict(zip(verdict.doubted, verdict.instead, strict=True))
    for at in (*verdict.removed, *verdict.doubted):
        meters = behind.get(at, [])
        value, others = float(read[at]), float(instead.get(at, judge.value[at]) * scale[at])
        sigma = float(np.hypot(np.sqrt(np.sum(own[meters] ** 2)), judge.spread[at] * scale[at]))
        kind, lag = GrossError.OTHER, 0
        if len(meters) == 1:
            seen = np.array([one[0][meters[0]] for one in history])
            beside = np.array([one[1][meters[0]] for one in history])
            lag = time_shift(seen, beside)
            if is_stuck(seen, beside, sigma):
                kind = GrossError.STUCK
            elif lag:
                kind = GrossError.TIME_SHIFT
        kind = by_ratio(value, others, sigma) or kind if kind is not GrossError.STUCK else kind
        tags = tuple(params.meters[one].tag for one in meters) or (f"nothing at {params.network.buses[at[1]]}",)
        found.append(Finding(tags, kind, value, others, at in verdict.doubted, lag))
    same_row: dict[int, list[int]] = {}
    for index, at in enumerate(verdict.removed):
        same_row.setdefault(at[0], []).append(index)
    for indices in same_row.values():
        sigmas = np.array([float(judge.spread[verdict.removed[i]] * scale[verdict.removed[i]]) for i in indices])
        values, others_ = np.array([found[i].value for i in indices]), np.array([found[i].others for i in indices])
        reading = np.array([np.sqrt(np.sum(own[behind.get(verdict.removed[i], [])] ** 2)) for i in indices])
        for pair in swapped(values, others_, np.hypot(sigmas, reading)):
            for one in pair:
                old = found[indices[one]]
                found[indices[one]] = Finding(old.tags, GrossError.SWAPPED, old.value, old.others)
    return tuple(found)
