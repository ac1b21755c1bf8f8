"""Set-points of a device: when to begin, write, refresh, hold and end. The rules, for every protocol; no I/O.

A set-point follows its tag while the lease is valid and the tag is good, fresh and inside its limits. A value that is
none of these is not written and the device's reversion timer is not refreshed; after a short hold, or at once when the
lease ends, the failsafe value is written and what was switched on is switched off. If this process dies, the device's
own timer does the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from gwanje.core.tags.quality import is_good
from gwanje.core.tags.store import Sample

NS_PER_S = 1_000_000_000
HOLD_S = 1.0
"""A set-point that stops making sense is held this long: a restarting controller is back within it mostly."""
RETRY_S = 1.0
"""After a write that failed the device is left alone this long: a refusing device is not asked 20 times a second."""


class Action(Enum):
    """What to do with a set-point now."""

    NOTHING = "nothing"
    BEGIN = "begin"
    WRITE = "write"
    REFRESH = "refresh"
    END = "end"


@dataclass(frozen=True, slots=True)
class Wish:
    """What a set-point should be.

    Attributes:
        leased: the lease is valid.
        value: SI value to write; NaN when the tag gives none that may be written.
        reason: why it may not, empty when it may.
        passing: the reason may pass by itself in a moment: a controller that starts has no good set-point yet.
    """

    leased: bool
    value: float
    reason: str = ""
    passing: bool = False


@dataclass(frozen=True, slots=True)
class SetpointState:
    """What the device was last told.

    Attributes:
        active: switched on by us, or not known to be off.
        written: raw registers written last, empty for none.
        refreshed_mono_ns: when everything was last written.
        valid_mono_ns: when the wish was last one that may be written.
    """

    active: bool = False
    written: tuple[int, ...] = ()
    refreshed_mono_ns: int = 0
    valid_mono_ns: int = 0


def wish_of(sample: Sample, leased_until_mono_ns: int, now_mono_ns: int, low: float, high: float) -> Wish:
    """Judge a set-point tag.

    Args:
        sample: the tag, staleness applied.
        leased_until_mono_ns: until when a lease covers this very point; 0 when none does.
        now_mono_ns: now.
        low: lowest value that may be written.
        high: highest; beyond either the value is refused, never clamped: who asks for too much is mistaken.
    """
    if leased_until_mono_ns <= now_mono_ns:
        return Wish(False, math.nan, "no lease")
    if not is_good(sample.quality):
        return Wish(True, math.nan, "the set-point is not good", passing=True)
    if not low <= sample.value <= high:
        return Wish(True, math.nan, f"{sample.value:g} is outside {low:g} … {high:g}")
    return Wish(True, sample.value)


def decide(state: SetpointState, wish: Wish, raw: tuple[int, ...], now_mono_ns: int, revert_s: float) -> Action:
    """What to do now.

    Args:
        state: what the device was told.
        wish: what it should be.
        raw: registers of the wish's value, empty when it has none.
        now_mono_ns: now.
        revert_s: the device's own timer, 0 without one.
    """
    if wish.reason:
        held = wish.leased and now_mono_ns - state.valid_mono_ns < HOLD_S * NS_PER_S
        return Action.END if state.active and not held else Action.NOTHING
    if not state.active or not state.written:
        return Action.BEGIN
    if revert_s > 0.0 and now_mono_ns - state.refreshed_mono_ns >= revert_s / 2.0 * NS_PER_S:
        return Action.REFRESH
    return Action.WRITE if raw != state.written else Action.NOTHING
