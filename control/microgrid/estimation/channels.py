"""What meters and switches say in one second, and what is taken for each before anything is estimated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from gwanje.control.microgrid.estimation.estimator import EstimationInputs, Floats
from gwanje.control.microgrid.estimation.model import NONE, Model, Topology
from gwanje.core.tags.quality import Quality

UNCERTAIN, BAD = int(Quality.UNCERTAIN), int(Quality.BAD)
CAN_SIGMAS = 6.0
"""Of a meter, beyond the limits of its tag, from which it says what cannot be."""


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
class Taken:
    """What is taken for each channel: (n_channels,) value, sigma (NaN: nothing), whether its meter said it.

    ``beyond``: it said what cannot be, and is not used.
    """

    value: Floats
    sigma: Floats
    real: npt.NDArray[np.bool_]
    beyond: npt.NDArray[np.bool_]


def taken(last: Floats | None, inputs: ObserveInputs, model: Model) -> Taken:
    """Values with the sigma of meters and movement; typical ones where a meter says nothing, or too late.

    Args:
        last: (n_channels,) values of the turn before.
        inputs: of this one.
        model: of the site.
    """
    column, factor = model.columns, model.settings.general.uncertain_factor
    value, quality, age_s = inputs.values.copy(), inputs.quality, inputs.age_s
    real = np.isfinite(value) & ((quality & BAD) == 0) & (age_s >= 0.0) & (age_s <= column["max_age_s"])
    sigma = np.hypot(column["sigma_share"] * value, column["sigma_floor"])
    beyond = real & ((value < column["low"] - CAN_SIGMAS * sigma) | (value > column["high"] + CAN_SIGMAS * sigma))
    real &= ~beyond
    value[~real] = np.nan
    sigma = np.hypot(column["sigma_share"] * value, column["sigma_floor"])
    sigma *= np.where(quality & UNCERTAIN, factor, 1.0)
    if last is not None:
        moved = np.abs(value - last) / max(inputs.dt_s, 0.1)
        sigma = np.hypot(sigma, column["delay_s"] * np.where(np.isfinite(moved), moved, 0.0))
    value = np.where(real, value, column["typical"])
    return Taken(value, np.where(real, sigma, column["typical_sigma"]), real, beyond)


def network_readings(
    topology: Topology, channels: Taken, inputs: ObserveInputs, pseudo: bool = True, flipped: tuple[int, ...] = ()
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


def left_out(channels: Taken, mask: npt.NDArray[np.bool_], model: Model) -> Taken:
    """The channels with typical values in the place of some meters."""
    column = model.columns
    return Taken(
        np.where(mask, column["typical"], channels.value), np.where(mask, column["typical_sigma"], channels.sigma),
        channels.real & ~mask, channels.beyond,
    )  # fmt: skip
