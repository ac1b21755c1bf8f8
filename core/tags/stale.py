"""The stale watch: tells everybody once that a tag's value has become too old to be used.

Readers mark staleness themselves when they take a snapshot; nobody has to wait for this. The watch is for those who
live from changes: the historian records that the value ended, instead of drawing the last one on for ever. It looks at
ages on the monotonic clock, never asks the driver (which may hang), and leaves values that come back to their writer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gwanje.core.tags.quality import Quality
from gwanje.core.tags.store import Snapshot

_STALE = np.uint16(Quality.STALE)
_NEVER = np.uint16(Quality.NEVER)


@dataclass(frozen=True, slots=True)
class StaleState:
    """What the watch knew at its last look.

    Attributes:
        told: (n,) tags whose staleness was told; a tag leaves when its value is fresh again.
    """

    told: npt.NDArray[np.bool_]

    @classmethod
    def empty(cls, n: int) -> StaleState:
        """Nothing told yet."""
        return cls(np.zeros(n, dtype=np.bool_))


@dataclass(frozen=True, slots=True)
class StaleLook:
    """What one look found.

    Attributes:
        fresh_stale: ids that became stale since the last look, ascending.
        n_stale: tags that are stale now.
        n_never: tags that never had a value.
    """

    fresh_stale: npt.NDArray[np.int32]
    n_stale: int
    n_never: int


def step(
    state: StaleState, quality: npt.NDArray[np.uint16], exists: npt.NDArray[np.bool_]
) -> tuple[StaleState, StaleLook]:
    """Compare a snapshot with what was told before.

    Args:
        state: of the last look.
        quality: (n,) of a snapshot in which staleness is marked (``snapshot_at``).
        exists: (n,) False where the id is padding.

    Returns:
        The new state, and what became stale. A tag that never had a value is no change and is counted by itself.
    """
    never = ((quality & _NEVER) != 0) & exists
    stale = ((quality & _STALE) != 0) & exists & ~never
    fresh = np.flatnonzero(stale & ~state.told).astype(np.int32)
    return StaleState(stale), StaleLook(fresh, int(stale.sum()), int(never.sum()))


def columns(
    look: StaleLook, snapshot: Snapshot, utc_ns: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64], npt.NDArray[np.uint16], npt.NDArray[np.int64]]:
    """The samples to publish: the last value, BAD|STALE, true as of now (when it stopped being known).

    Returns:
        ids, values, quality, source times, each (len(look.fresh_stale),).
    """
    ids = look.fresh_stale
    return ids, snapshot.value[ids], snapshot.quality[ids], np.full(len(ids), utc_ns, dtype=np.int64)
