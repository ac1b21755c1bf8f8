"""The tag store in numpy: what the compiled kernel must do, without its latch, its threads and its speed."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

BAD_STALE = 0x8001
AHEAD_NS = 1_000_000_000
"""A sample may be this much newer than its reader's time; beyond it is stale."""
UNCERTAIN = 0x4000
SIMULATED = 0x0800


@dataclass(slots=True)
class ReferenceStore:
    """Columns of n tags; methods as of :class:`gwanje.ext.tagstore.StoreView`, which return instead of filling.

    Attributes:
        stale_after_ns: (n,) age at which each tag is stale; 0 for never.
        overrides: tag id → (value, quality, source UTC, received or 0, until), times in ns.
        quality_flags: bits that every write adds.
    """

    stale_after_ns: npt.NDArray[np.int64]
    value: npt.NDArray[np.float64] = field(init=False)
    quality: npt.NDArray[np.uint16] = field(init=False)
    source_utc_ns: npt.NDArray[np.int64] = field(init=False)
    received_mono_ns: npt.NDArray[np.int64] = field(init=False)
    overrides: dict[int, tuple[float, int, int, int, int]] = field(default_factory=dict)
    quality_flags: int = 0

    def __post_init__(self) -> None:
        n = len(self.stale_after_ns)
        self.value = np.zeros(n)
        self.quality = np.zeros(n, np.uint16)
        self.source_utc_ns = np.zeros(n, np.int64)
        self.received_mono_ns = np.zeros(n, np.int64)

    def write(
        self,
        ids: npt.NDArray[np.int32],
        values: npt.NDArray[np.float64],
        quality: npt.NDArray[np.uint16],
        source_utc_ns: npt.NDArray[np.int64],
        received_mono_ns: int,
    ) -> None:
        """Write k tags."""
        self.value[ids] = values
        self.quality[ids] = quality | np.uint16(self.quality_flags)
        self.source_utc_ns[ids] = source_utc_ns
        self.received_mono_ns[ids] = received_mono_ns

    def read(
        self, ids: npt.NDArray[np.int32], now_mono_ns: int
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint16], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Read k tags as of a time; 0 for what was written."""
        value, quality = self.value[ids], self.quality[ids]
        source, received = self.source_utc_ns[ids], self.received_mono_ns[ids]
        if now_mono_ns <= 0:
            return value, quality, source, received
        limit = self.stale_after_ns[ids]
        old = (limit > 0) & ((now_mono_ns - received > limit) | (received > now_mono_ns + AHEAD_NS))
        quality[old] = quality[old] & ~np.uint16(UNCERTAIN) | np.uint16(BAD_STALE)
        for tag_id, (over, bits, since, counted_from, until) in self.overrides.items():
            if now_mono_ns >= until:
                continue
            here = ids == tag_id
            value[here] = over
            quality[here] = np.uint16(bits) | (quality[here] & np.uint16(SIMULATED))
            source[here] = since
            received[here] = counted_from or now_mono_ns
        return value, quality, source, received

    def overridden(self, now_mono_ns: int) -> list[int]:
        """Ids with an override in force, ascending."""
        return sorted(tag_id for tag_id, one in self.overrides.items() if now_mono_ns < one[4])


def changes(
    last_values: npt.NDArray[np.float64],
    last_quality: npt.NDArray[np.uint16],
    values: npt.NDArray[np.float64],
    quality: npt.NDArray[np.uint16],
    deadband: npt.NDArray[np.float64],
) -> npt.NDArray[np.int32]:
    """Ids of what moved by more than its deadband or changed its quality, ascending; the reference takes those over."""
    with np.errstate(invalid="ignore"):
        within = np.abs(values - last_values) <= deadband
    alike = (values == last_values) | (np.isnan(values) & np.isnan(last_values))
    ids = np.flatnonzero((~within & ~alike) | (quality != last_quality)).astype(np.int32)
    last_values[ids] = values[ids]
    last_quality[ids] = quality[ids]
    return ids
