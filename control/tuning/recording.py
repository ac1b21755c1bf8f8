"""A recorded stretch of the historian's as a world to replay: net load as it was, with what is missing said. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gwanje.control.microgrid.params import ControlConfig
from gwanje.core.clock import NS_PER_S
from gwanje.core.tags.quality import Quality

Floats = npt.NDArray[np.float64]
Column = tuple[npt.NDArray[np.int64], Floats, npt.NDArray[np.int64]]
"""Times (UTC ns, rising), values and qualities of one tag."""
TICK_S = 0.01
GAP_S = 2.0
"""A fast tag that was silent for longer was not recorded."""
SETTLE_S = 10.0
"""After a gap the loop finds itself again; that long does not count."""
SETPOINT_TAG = "control.tie.import_setpoint_w"


class NothingRecordedError(ValueError):
    """The stretch holds nothing to replay; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class Gap:
    """What is missing: from, until (s of the stretch), and the tag that was silent or bad, the first one."""

    from_s: float
    until_s: float
    tag: str


@dataclass(frozen=True, slots=True)
class World:
    """What a controller is run against, in ticks of 10 ms.

    Attributes:
        net_load_w: (n,) all loads less all generation, with losses: what import and batteries together carry.
        meters_w: (n, m) what the meters show, in the order of the configuration.
        setpoint_w: (n,) of the import.
        measured: (n,) whether anything is measured; False in a gap.
        counts: (n,) whether a tick is rated.
        discharge_w: of each battery at the begin.
        soc: of each battery at the begin.
        gaps: in it.
    """

    net_load_w: Floats
    meters_w: Floats
    setpoint_w: Floats
    measured: npt.NDArray[np.bool_]
    counts: npt.NDArray[np.bool_]
    discharge_w: tuple[float, ...]
    soc: tuple[float, ...]
    gaps: tuple[Gap, ...] = ()


def tags_of(config: ControlConfig) -> list[str]:
    """What must be asked of the historian."""
    names = [config.tie_line.import_tag, SETPOINT_TAG, *(one.tag for one in config.meter)]
    return names + [tag for one in config.battery for tag in (one.discharge_tag, one.soc_tag)]


def recorded_world(config: ControlConfig, columns: Mapping[str, Column], from_utc_ns: int, until_utc_ns: int) -> World:
    """The net load of a recorded stretch.

    The net load is the measured import and the measured discharge of all batteries, each drawn straight between its
    samples; where one of them, or a meter, was BAD or silent for more than two seconds there is a gap.

    Args:
        config: whose tags.
        columns: tag → its points in the stretch.
        from_utc_ns: begin.
        until_utc_ns: end.

    Raises:
        NothingRecordedError: import or a battery was not recorded at all.
    """
    n = max(int((until_utc_ns - from_utc_ns) // round(TICK_S * NS_PER_S)), 0)
    at: Floats = np.arange(n, dtype=np.float64) * TICK_S
    good = {tag: _good(columns.get(tag), from_utc_ns) for tag in tags_of(config)}
    needed = [config.tie_line.import_tag, *(one.discharge_tag for one in config.battery)]
    for tag in needed:
        if n == 0 or len(good[tag][0]) < 2:
            raise NothingRecordedError(f"{tag} was not recorded there")
    known = np.ones(n, np.bool_)
    gaps: list[Gap] = []
    for tag in [*needed, *(one.tag for one in config.meter)]:
        for gap in _gaps(good[tag][0], tag, n * TICK_S):
            inside = (at >= gap.from_s) & (at < gap.until_s)
            if known[inside].any():
                gaps.append(gap)
            known &= ~inside
    discharge = [_drawn(good[one.discharge_tag], at) for one in config.battery]
    import_w = _drawn(good[config.tie_line.import_tag], at)
    setpoint = good[SETPOINT_TAG]
    setpoint_w = _drawn(setpoint, at) if len(setpoint[0]) else np.full(n, float(np.mean(import_w)))
    first = int(np.argmax(known)) if known.any() else 0
    return World(
        net_load_w=import_w + np.sum(discharge, axis=0),
        meters_w=np.column_stack([_drawn(good[one.tag], at) for one in config.meter] or [np.zeros((n, 0))]),
        setpoint_w=setpoint_w,
        measured=known,
        counts=_settled(known),
        discharge_w=tuple(float(one[first]) for one in discharge),
        soc=tuple(_first(good[one.soc_tag], 0.5) for one in config.battery),
        gaps=tuple(sorted(gaps, key=lambda gap: gap.from_s)),
    )


def _good(column: Column | None, from_utc_ns: int) -> tuple[Floats, Floats]:
    """Seconds of the stretch and values of the samples that are not BAD."""
    if column is None:
        return np.empty(0), np.empty(0)
    utc_ns, value, quality = column
    use = ((quality & int(Quality.BAD)) == 0) & np.isfinite(value)
    return (utc_ns[use] - from_utc_ns) / NS_PER_S, value[use]


def _drawn(good: tuple[Floats, Floats], at: Floats) -> Floats:
    if not len(good[0]):
        return np.zeros(len(at))
    found: Floats = np.interp(at, good[0], good[1])
    return found


def _first(good: tuple[Floats, Floats], otherwise: float) -> float:
    return float(good[1][0]) if len(good[1]) else otherwise


def _gaps(at: Floats, tag: str, length_s: float) -> list[Gap]:
    edges = np.concatenate([[0.0], at[(at >= 0.0) & (at <= length_s)], [length_s]])
    wide = np.nonzero(np.diff(edges) > GAP_S)[0]
    return [Gap(float(edges[k]), float(edges[k + 1]), tag) for k in wide]


def _settled(known: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Ticks before which everything was known for :data:`SETTLE_S`."""
    n = round(SETTLE_S / TICK_S)
    ticks = np.arange(len(known))
    last_unknown = np.maximum.accumulate(np.where(known, -1, ticks)) if len(known) else ticks
    settled: npt.NDArray[np.bool_] = ticks - last_unknown > n
    return settled
