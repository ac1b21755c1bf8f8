"""What one node says of a sound that was heard: onset and bearing, from the second around it in the ring.

Read once, when an event begins, and forgotten: nothing but numbers leaves this module.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from gwanje.control.acoustic.live import onset as onsets
from gwanje.control.acoustic.live.places import NodePlace
from gwanje.control.acoustic.where.array import turn
from gwanje.control.acoustic.where.bearing import Bearing, NoBearing, Why, listen
from gwanje.control.acoustic.where.health import DelayEvidence, pair_delays
from gwanje.control.acoustic.where.position import Heard

SAMPLE_NS: Final = 62_500
RATE_HZ: Final = 16_000.0
BEFORE: Final = 14_400
AFTER: Final = 8_000
COARSE_SIGMA_S: Final = 0.05
"""Of the chain's own onset, where no finer one is found."""

Samples = NDArray[np.int16]


class Ring(Protocol):
    """What is needed of :class:`gwanje.core.audio_ring.RingReader`."""

    def rows(self, node_index: int, start: int, stop: int) -> tuple[Samples, int]:
        """What all microphones heard."""

    def gaps(self, node_index: int, start: int, stop: int) -> list[tuple[int, int]]:
        """What never arrived."""

    def time_of(self, node_index: int, position: int) -> int:
        """Monotonic ns of a sample."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a node says of one sound.

    Attributes:
        heard: for the place; times are CLOCK_MONOTONIC.
        bearing: of the array, or why there is none; None for one microphone.
        snr_db: height of the onset above the noise; NaN where no onset was found.
        evidence: delays between its microphones, for the check of the array; None where they cannot be told.
    """

    heard: Heard
    bearing: Bearing | NoBearing | None
    snr_db: float
    evidence: DelayEvidence | None


def tell(
    ring: Ring, node_index: int, place: NodePlace, onset_mono_ns: int, speed_m_s: float, *,
    well: NDArray[np.bool_] | None = None, clock_sigma_s: float = 0.0,
) -> Told:  # fmt: skip
    """Listen to the sound again that began at a node.

    Args:
        ring: of all nodes.
        node_index: of the node.
        place: of the node.
        onset_mono_ns: when the chain says that it began.
        speed_m_s: speed of sound.
        well: (n_mics,) microphones that may be used; None for all. Where none may, there is no bearing.
        clock_sigma_s: of the node's clock.
    """
    zero_ns = ring.time_of(node_index, 0)
    at = (onset_mono_ns - zero_ns) // SAMPLE_NS
    rows, start = ring.rows(node_index, at - BEFORE, at + AFTER)
    found = onsets.find(rows, at - start) if rows.shape[1] else None
    if found is None:
        sigma_s = float(np.hypot(COARSE_SIGMA_S, clock_sigma_s))
        none = NoBearing(Why.NOTHING_STANDS_OUT) if place.array is not None else None
        return Told(Heard(place.name, place.xy_m, onset_ns=onset_mono_ns, onset_sigma_s=sigma_s), none, np.nan, None)
    onset_ns = zero_ns + round((start + found.sample) * SAMPLE_NS)
    sigma_s = float(np.hypot(found.sigma_s, clock_sigma_s))
    alone = Heard(place.name, place.xy_m, onset_ns=onset_ns, onset_sigma_s=sigma_s)
    if place.array is None:
        return Told(alone, None, found.snr_db, None)
    if len(rows) != place.array.n_mics:  # the ring of a driver that knows another array
        return Told(alone, NoBearing(Why.TOO_FEW_MICROPHONES), found.snr_db, None)
    lost = np.zeros(rows.shape[1], np.bool_)
    for begin, end in ring.gaps(node_index, start, start + rows.shape[1]):
        lost[begin - start : end - start] = True
    first = round(found.sample)
    evidence = None
    if well is None or well.all():
        try:
            evidence = DelayEvidence(*pair_delays(rows, first, RATE_HZ, place.array.delay_s_max(speed_m_s)))
        except ValueError:
            evidence = None  # the sound began too near the end of what is there
    usable = np.ones(len(rows), np.bool_) if well is None else well
    if usable.sum() < 2:
        return Told(alone, NoBearing(Why.TOO_FEW_MICROPHONES), found.snr_db, evidence)
    bearing = listen(rows[usable], place.array.without(usable), first, speed_m_s, lost=lost)
    if isinstance(bearing, NoBearing):
        return Told(alone, bearing, found.snr_db, evidence)
    mirror = None if bearing.mirror is None else turn(bearing.mirror + place.yaw)
    heard = Heard(
        place.name, place.xy_m, turn(bearing.azimuth + place.yaw), bearing.sigma, mirror, onset_ns, sigma_s,
        place.yaw_sigma,
    )  # fmt: skip
    return Told(heard, bearing, found.snr_db, evidence)
