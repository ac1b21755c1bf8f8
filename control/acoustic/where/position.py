"""The place of an event that several nodes heard: bearings and onsets, least squares, and when there is no answer.

The unknowns are the place and the moment of the event. A bearing says where the place lies seen from its node, an onset
how far away it is compared with the other nodes. What does not fit together gives no place: when the sum of squares is
too large, single measurements are left out, one at a time and all onsets at once (clocks), and only when all that then
fits leads to one and the same place is it believed. A wrong place sends people into the wrong street.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from gwanje.control.acoustic.where.array import turn

ELLIPSE_SQUARED: Final = float(chi2.ppf(0.95, 2))
HUBER: Final = 1.5
STEPS: Final = 25
STARTS: Final = 12
DESCENTS: Final = 6
FREEDOM_MIN: Final = 2
"""With less, something wrong can fit by chance after something else was left out."""
NODES_MAX: Final = 24
"""More nodes than hear one street sound; the nearest in time are used."""


class Why(StrEnum):
    """Why there is no place."""

    TOO_FEW = "too_few"
    CONTRADICTION = "contradiction"
    TOO_WIDE = "too_wide"
    TOO_FAR = "too_far"


class Note(StrEnum):
    """What is to be known of a place besides its numbers."""

    CLOCKS = "clocks"
    """The onsets do not fit; the place is from bearings alone."""
    LEFT_OUT = "left_out"
    """A measurement that does not fit was left out."""
    BEARINGS_ONLY = "bearings_only"
    ONSETS_ONLY = "onsets_only"
    UNTESTED = "untested"
    """Next to nothing is left over that could contradict."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What one node says of an event.

    Attributes:
        node: its name.
        xy_m: (x, y) of its array, metres east and north.
        bearing: towards the source, radians clockwise from north; None where it has none.
        bearing_sigma: radians.
        mirror: the bearing that fits as well, of microphones on a line.
        onset_ns: UTC of the onset as its clock says; None where it is not known.
        onset_sigma_s: of the onset, its clock included.
        yaw_sigma: how well the node's orientation is known, radians.
    """

    node: str
    xy_m: tuple[float, float]
    bearing: float | None = None
    bearing_sigma: float = math.radians(1.0)
    mirror: float | None = None
    onset_ns: int | None = None
    onset_sigma_s: float = 0.002
    yaw_sigma: float = math.radians(0.5)


@dataclass(frozen=True, slots=True)
class PositionParams:
    """When a place is believed.

    Attributes:
        speed_m_s: speed of sound.
        doubt: probability below which what does not fit is a contradiction.
        wide_m_max: longest semi-axis of a 95 % ellipse that is still a place.
        far_m_max: farthest from the nearest node that heard it.
        bearing_sigma_min: of any bearing, radians: streets bend sound.
        onset_sigma_s_min: of any onset.
        untested_m_min: shortest semi-axis of a place that next to nothing tests (two nodes): one of the bearings may be
            an echo's, so it is never told as a sharp one.
        untested_doubt: what two nodes' onsets must say at least for their crossed bearings.
    """

    speed_m_s: float = 343.0
    doubt: float = 0.003
    wide_m_max: float = 60.0
    far_m_max: float = 400.0
    bearing_sigma_min: float = math.radians(0.5)
    onset_sigma_s_min: float = 0.001
    untested_m_min: float = 25.0
    untested_doubt: float = 0.05


@dataclass(frozen=True, slots=True)
class Position:
    """Where an event happened.

    Attributes:
        xy_m: metres east and north.
        semi_major_m: of the ellipse that holds the place with 95 %.
        semi_minor_m: of the same.
        angle: direction of its long axis, radians clockwise from north, [0, π).
        when_ns: UTC of the event at its place; None without onsets.
        nodes: that were used.
        left_out: measurements that were not: ``NODE:bearing`` or ``NODE:onset``.
        chi_squared: weighted sum of squares of what does not fit.
        freedom: measurements more than unknowns.
        notes: what else is to be known.
    """

    xy_m: tuple[float, float]
    semi_major_m: float
    semi_minor_m: float
    angle: float
    when_ns: int | None
    nodes: tuple[str, ...]
    left_out: tuple[str, ...]
    chi_squared: float
    freedom: int
    notes: tuple[Note, ...]

    def holds(self, xy_m: tuple[float, float], scale: float = 1.0) -> bool:
        """Whether a place lies in the ellipse, its axes times ``scale``."""
        dx, dy = xy_m[0] - self.xy_m[0], xy_m[1] - self.xy_m[1]
        along = dx * math.sin(self.angle) + dy * math.cos(self.angle)
        across = dx * math.cos(self.angle) - dy * math.sin(self.angle)
        major, minor = max(self.semi_major_m, 1e-6) * scale, max(self.semi_minor_m, 1e-6) * scale
        return (along / major) ** 2 + (across / minor) ** 2 <= 1.0


@dataclass(frozen=True, slots=True)
class NoPosition:
    """No place, and why; ``nodes`` that were asked."""

    why: Why
    nodes: tuple[str, ...]
    chi_squared: float = math.nan


@dataclass(frozen=True, slots=True)
class _Facts:
    """Measurements as arrays; a mirrored bearing is a choice made at every step."""

    xy_m: NDArray[np.float64]
    bearing: NDArray[np.float64]
    mirror: NDArray[np.float64]
    bearing_sigma: NDArray[np.float64]
    onset_s: NDArray[np.float64]
    onset_sigma_s: NDArray[np.float64]
    nodes: tuple[str, ...]
    begin_ns: int

    def without(self, bearings: Sequence[int] = (), onsets: Sequence[int] = ()) -> _Facts:
        """The same, some measurements left out."""
        bearing, onset_s = self.bearing.copy(), self.onset_s.copy()
        bearing[list(bearings)] = np.nan
        onset_s[list(onsets)] = np.nan
        return _Facts(
            self.xy_m, bearing, self.mirror, self.bearing_sigma, onset_s, self.onset_sigma_s, self.nodes, self.begin_ns
        )

    @property
    def n_bearings(self) -> int:
        return int((~np.isnan(self.bearing)).sum())

    @property
    def n_onsets(self) -> int:
        """Onsets that say something: one alone does not."""
        n = int((~np.isnan(self.onset_s)).sum())
        return n if n > 1 else 0

    @property
    def freedom(self) -> int:
        return self.n_bearings + max(0, self.n_onsets - 1) - 2


def _facts(heard: Sequence[Heard], params: PositionParams) -> _Facts:
    onsets = [one.onset_ns for one in heard if one.onset_ns is not None]
    begin_ns = min(onsets, default=0)
    bearing = [
        one.bearing if one.bearing is not None and math.isfinite(one.bearing + one.bearing_sigma) else math.nan
        for one in heard
    ]  # fmt: skip
    return _Facts(
        np.array([one.xy_m for one in heard], np.float64).reshape(-1, 2),
        np.array(bearing),
        np.array([math.nan if one.mirror is None else one.mirror for one in heard]),
        np.array([math.hypot(max(one.bearing_sigma, params.bearing_sigma_min), one.yaw_sigma) for one in heard]),
        np.array([math.nan if one.onset_ns is None else (one.onset_ns - begin_ns) * 1e-9 for one in heard]),
        np.array([max(one.onset_sigma_s, params.onset_sigma_s_min) for one in heard]),
        tuple(one.node for one in heard),
        begin_ns,
    )


def _residuals(
    facts: _Facts, at: NDArray[np.float64], speed_m_s: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """How a place fits.

    Returns:
        What does not fit, in units of sigma: first bearings, then onsets, NaN what is not there; its slopes by x and y;
        the moment of the event that fits best.
    """
    apart = at - facts.xy_m
    range_m = np.maximum(np.hypot(apart[:, 0], apart[:, 1]), 0.5)
    towards = np.arctan2(apart[:, 0], apart[:, 1])
    off = np.angle(np.exp(1j * (facts.bearing - towards)))
    other = np.angle(np.exp(1j * (facts.mirror - towards)))
    with np.errstate(invalid="ignore"):
        off = np.where(np.abs(other) < np.abs(off), other, off)
    turned = -np.stack([apart[:, 1], -apart[:, 0]], axis=1) / range_m[:, None] ** 2
    late = facts.onset_s - range_m / speed_m_s
    slower = -apart / range_m[:, None] / speed_m_s
    weight = np.where(np.isnan(late), 0.0, facts.onset_sigma_s**-2.0)
    when = 0.0
    if weight.any():
        share = weight / weight.sum()
        when = float(np.nansum(share * late))
        late = late - when
        slower = slower - share @ slower
    residuals = np.concatenate([off / facts.bearing_sigma, late / facts.onset_sigma_s])
    slopes = np.concatenate([turned / facts.bearing_sigma[:, None], slower / facts.onset_sigma_s[:, None]])
    return residuals, slopes, when


def _huber(residuals: NDArray[np.float64]) -> float:
    size = np.abs(residuals[~np.isnan(residuals)])
    return float(np.where(size <= HUBER, size**2, 2.0 * HUBER * size - HUBER**2).sum())


def _descend(facts: _Facts, at: NDArray[np.float64], speed_m_s: float) -> tuple[NDArray[np.float64], float]:
    """Robust Gauss–Newton from a place; where it ends and its loss."""
    residuals, slopes, _ = _residuals(facts, at, speed_m_s)
    loss, damping = _huber(residuals), 1e-3
    for _ in range(STEPS):
        known = ~np.isnan(residuals)
        r, j = residuals[known], slopes[known]
        weight = np.minimum(1.0, HUBER / np.maximum(np.abs(r), 1e-12))
        normal = (j * weight[:, None]).T @ j
        normal += damping * np.diag(np.diag(normal) + 1e-9)
        step = np.linalg.solve(normal, -(j * weight[:, None]).T @ r)
        size = float(np.hypot(*step))
        step *= min(1.0, 50.0 / max(size, 1e-9))
        tried, tried_slopes, _ = _residuals(facts, at + step, speed_m_s)
        tried_loss = _huber(tried)
        if tried_loss <= loss:
            at, residuals, slopes, loss, damping = at + step, tried, tried_slopes, tried_loss, max(damping / 10, 1e-9)
            if size < 1e-4:
                break
        else:
            damping *= 10.0
            if damping > 1e8:
                break
    return at, loss


def _starts(facts: _Facts) -> list[NDArray[np.float64]]:
    """Places to begin from: where bearings cross, and around the node that heard it first."""
    known = np.flatnonzero(~np.isnan(facts.bearing))
    starts: list[NDArray[np.float64]] = []
    for a, i in enumerate(known):
        for j in known[a + 1 :]:
            for of_i in (facts.bearing[i], facts.mirror[i]):
                for of_j in (facts.bearing[j], facts.mirror[j]):
                    if math.isnan(of_i) or math.isnan(of_j):
                        continue
                    di, dj = (np.array([math.sin(one), math.cos(one)]) for one in (of_i, of_j))
                    crossed = np.array([di, -dj]).T
                    if abs(np.linalg.det(crossed)) < 0.05:
                        continue
                    along = np.linalg.solve(crossed, facts.xy_m[j] - facts.xy_m[i])
                    starts.append(facts.xy_m[i] + max(1.0, min(float(along[0]), 1000.0)) * di)
    centre = facts.xy_m.mean(axis=0)
    first = centre if np.isnan(facts.onset_s).all() else facts.xy_m[int(np.nanargmin(facts.onset_s))]
    reach = max(20.0, 0.3 * float(np.hypot(*np.ptp(facts.xy_m, axis=0))))
    around = [first + reach * np.array([math.sin(a), math.cos(a)]) for a in 2.0 * math.pi * np.arange(4) / 4]
    return [*starts[:STARTS], centre, *around]


@dataclass(frozen=True, slots=True)
class _Fit:
    """The best place for some measurements."""

    facts: _Facts
    at: NDArray[np.float64]
    chi_squared: float
    covariance: NDArray[np.float64]
    when: float
    unique: bool

    def fits(self, params: PositionParams) -> bool:
        return self.facts.freedom <= 0 or self.chi_squared <= float(chi2.ppf(1.0 - params.doubt, self.facts.freedom))


def _fit(facts: _Facts, params: PositionParams) -> _Fit | None:
    """The place that fits best from all starts; None where the measurements cannot give one."""
    if facts.freedom < 0 or facts.n_bearings + facts.n_onsets == 0:
        return None
    starts = sorted(_starts(facts), key=lambda start: _huber(_residuals(facts, start, params.speed_m_s)[0]))
    ends = sorted((_descend(facts, start, params.speed_m_s) for start in starts[:DESCENTS]), key=lambda end: end[1])
    at, loss = ends[0]
    residuals, slopes, when = _residuals(facts, at, params.speed_m_s)
    known = ~np.isnan(residuals)
    normal = slopes[known].T @ slopes[known]
    if np.linalg.cond(normal) > 1e9:
        return None
    # Another place that fits nearly as well: three onsets alone often have two.
    unique = not any(
        other <= loss + 4.0 and float(np.hypot(*(place - at))) > 10.0 for place, other in ends[1:]
    )  # fmt: skip
    covariance = np.asarray(np.linalg.inv(normal), np.float64)
    return _Fit(facts, at, float((residuals[known] ** 2).sum()), covariance, when, unique)


def locate(heard: Sequence[Heard], params: PositionParams | None = None) -> Position | NoPosition:
    """Place of one event from what the nodes say of it.

    Args:
        heard: one entry per node that heard it, in any order.
        params: when a place is believed.
    """
    params = params or PositionParams()
    names = tuple(one.node for one in heard)
    usable = [
        one for one in heard if all(math.isfinite(place) for place in one.xy_m)
        and (one.bearing is not None or one.onset_ns is not None)
    ]  # fmt: skip
    if len(usable) > NODES_MAX:
        far_ns = 1 << 62
        usable = sorted(usable, key=lambda one: far_ns if one.onset_ns is None else one.onset_ns)[:NODES_MAX]
    facts = _facts(usable, params)
    if len(usable) < 2 or facts.freedom < 0 or (facts.n_bearings < 2 and facts.freedom < 1):
        return NoPosition(Why.TOO_FEW, names)
    whole = _fit(facts, params)
    if whole is None:
        return NoPosition(Why.TOO_FEW, names)
    if whole.fits(params):
        if facts.freedom == 1 and facts.n_bearings == 2:
            return _crossed(whole, params, names)
        return _believed(whole, (), (), params, names)
    return _without_what_contradicts(whole, params, names)


def _crossed(whole: _Fit, params: PositionParams, names: tuple[str, ...]) -> Position | NoPosition:
    """Two nodes: where their bearings cross.

    Their onsets only check it: clocks that are off would draw the place away before they contradict.
    """
    if whole.chi_squared > float(chi2.ppf(1.0 - params.untested_doubt, 1)):
        return NoPosition(Why.CONTRADICTION, names, whole.chi_squared)
    crossed = _fit(whole.facts.without((), range(len(whole.facts.nodes))), params)
    if crossed is None:
        return NoPosition(Why.TOO_FEW, names)
    place = _believed(crossed, (), (), params, names)
    if isinstance(place, NoPosition):
        return place
    return replace(place, when_ns=whole.facts.begin_ns + round(whole.when * 1e9), notes=(Note.UNTESTED,))


def _without_what_contradicts(whole: _Fit, params: PositionParams, names: tuple[str, ...]) -> Position | NoPosition:
    """The place when one measurement, one node or all onsets are left out, if there is but one such place."""
    facts, n = whole.facts, len(whole.facts.nodes)
    tries: list[tuple[_Facts, tuple[str, ...], tuple[Note, ...]]] = []
    for i, node in enumerate(facts.nodes):
        has_bearing, has_onset = not math.isnan(facts.bearing[i]), not math.isnan(facts.onset_s[i])
        if has_bearing:
            tries.append((facts.without([i]), (f"{node}:bearing",), (Note.LEFT_OUT,)))
        if has_onset:
            tries.append((facts.without((), [i]), (f"{node}:onset",), (Note.LEFT_OUT,)))
        if has_bearing and has_onset:
            tries.append((facts.without([i], [i]), (f"{node}:bearing", f"{node}:onset"), (Note.LEFT_OUT,)))
    if facts.n_onsets:
        left = tuple(f"{facts.nodes[i]}:onset" for i in range(n) if not math.isnan(facts.onset_s[i]))
        tries.append((facts.without((), range(n)), left, (Note.CLOCKS,)))
    passed = []
    for one, left, notes in tries:
        if one.freedom < FREEDOM_MIN:
            continue
        found = _fit(one, params)
        if found is not None and found.fits(params):
            passed.append((found, left, notes))
    if not passed:
        return NoPosition(Why.CONTRADICTION, names, whole.chi_squared)
    best = max(passed, key=lambda entry: (entry[0].facts.freedom, -entry[0].chi_squared))
    place = _believed(best[0], best[1], best[2], params, names)
    if isinstance(place, NoPosition):
        return place
    for found, _, _ in passed:
        if not place.holds((float(found.at[0]), float(found.at[1])), 2.0):
            return NoPosition(Why.CONTRADICTION, names, whole.chi_squared)
    return place


def _believed(
    fit: _Fit, left_out: tuple[str, ...], notes: tuple[Note, ...], params: PositionParams, names: tuple[str, ...]
) -> Position | NoPosition:
    """The place of a fit, unless it is too wide, too far, or one of two."""
    facts, more = fit.facts, list(notes)
    if not fit.unique:
        return NoPosition(Why.CONTRADICTION if facts.freedom > 0 else Why.TOO_FEW, names, fit.chi_squared)
    scale = math.sqrt(max(1.0, fit.chi_squared / facts.freedom)) if facts.freedom > 0 else 1.0
    if facts.freedom == 0:
        more.append(Note.UNTESTED)
    if facts.n_bearings == 0:
        more.append(Note.ONSETS_ONLY)
    if facts.n_onsets == 0:
        more.append(Note.BEARINGS_ONLY)
    sizes, axes = np.linalg.eigh(fit.covariance)
    least = params.untested_m_min if facts.freedom == 0 else 0.0
    minor, major = (max(least, math.sqrt(max(0.0, float(size)) * ELLIPSE_SQUARED) * scale) for size in sizes)
    if major > params.wide_m_max:
        return NoPosition(Why.TOO_WIDE, names, fit.chi_squared)
    used = [
        i for i in range(len(facts.nodes)) if not (math.isnan(facts.bearing[i]) and math.isnan(facts.onset_s[i]))
    ]  # fmt: skip
    if float(np.hypot(*(facts.xy_m[used] - fit.at).T).min()) > params.far_m_max:
        return NoPosition(Why.TOO_FAR, names, fit.chi_squared)
    angle = turn(math.atan2(axes[0, 1], axes[1, 1])) % math.pi
    when_ns = facts.begin_ns + round(fit.when * 1e9) if facts.n_onsets else None
    return Position(
        (float(fit.at[0]), float(fit.at[1])), major, minor, angle, when_ns, tuple(facts.nodes[i] for i in used),
        left_out, fit.chi_squared, facts.freedom, tuple(more),
    )  # fmt: skip
