"""All alarm conditions of a site at once: columns instead of objects, so that a look costs the same whether 20 or
20 000 alarms are watched. :mod:`gwanje.core.alarms.conditions` is its plain twin; a property test holds them together.

Python touches only what changed: :meth:`Engine.look` gives the positions whose alarm is raised or returns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gwanje.core.alarms.conditions import RATE_SLOTS, SAME, spacing_ns
from gwanje.core.alarms.definitions import STATE_MAX, AlarmDefinition, Condition
from gwanje.core.clock import NS_PER_S
from gwanje.core.tags.quality import Quality

ONSET_AGE_MAX_NS = NS_PER_S
"""A condition's beginning is taken from the sample that shows it, unless that is older than this: then it is now."""

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Wholes = npt.NDArray[np.int64]
Positions = npt.NDArray[np.intp]

_NOTHING: Positions = np.zeros(0, np.intp)


@dataclass(slots=True)
class _Family:
    """The alarms of one condition: their positions, and the places of their tags among the samples."""

    where: Positions
    tag: Positions
    limit: Floats
    band: Floats


class Engine:
    """The watched conditions of all definitions. Not thread-safe; makes no object per alarm."""

    def __init__(self, definitions: Sequence[AlarmDefinition], tag: Sequence[int], other: Sequence[int]) -> None:
        """Every alarm at rest.

        Args:
            definitions: n alarms.
            tag: (n,) place of each alarm's tag among the samples of a look.
            other: (n,) place of a discrepancy's other tag; anything for the rest.
        """
        n = len(definitions)
        self.active: Bools = np.zeros(n, np.bool_)
        """(n,) raised, delays included."""
        self.since_mono_ns: Wholes = np.full(n, -1, np.int64)
        """(n,) since when the condition contradicts ``active``; -1 when it does not."""
        self.onset_mono_ns: Wholes = np.zeros(n, np.int64)
        """(n,) when the sample arrived that first showed the present or last contradiction."""
        self._on: Wholes = np.array([one.on_delay_ns for one in definitions], np.int64)
        self._off: Wholes = np.array([one.off_delay_ns for one in definitions], np.int64)
        self._tag: Positions = np.array(tag, np.intp)
        self._families = {
            condition: _family(definitions, tag, condition)
            for condition in Condition
            if any(one.condition is condition for one in definitions)
        }
        second = [
            b if one.condition is Condition.DISCREPANCY else a
            for one, a, b in zip(definitions, tag, other, strict=True)
        ]
        self._second: Positions = np.array(second, np.intp)
        self._from_sample: Bools = np.array([one.condition is not Condition.STALE for one in definitions], np.bool_)
        rises, rates = self._family_size(Condition.RISES), self._family_size(Condition.RATE)
        self._last: Floats = np.full(rises, np.nan)
        states = self._families.get(Condition.STATE)
        picked = [] if states is None else [definitions[position].state_bits for position in states.where]
        self._states: Wholes = np.array(picked, np.int64)
        differing = self._families.get(Condition.DISCREPANCY)
        self._other: Positions = np.array(other, np.intp)[differing.where] if differing else _NOTHING
        rated = self._families.get(Condition.RATE)
        windows = [] if rated is None else [definitions[position].window_ns for position in rated.where]
        self._window: Wholes = np.array(windows, np.int64)
        self._spacing: Wholes = np.array([spacing_ns(one) for one in windows], np.int64)
        self._kept_at: Wholes = np.full((rates, RATE_SLOTS), -1, np.int64)
        self._kept: Floats = np.full((rates, RATE_SLOTS), np.nan)
        self._newest: Positions = np.zeros(rates, np.intp)
        self._held: Bools = np.zeros(n, np.bool_)
        self._known: Bools = np.zeros(n, np.bool_)

    def _family_size(self, condition: Condition) -> int:
        return len(self._families[condition].where) if condition in self._families else 0

    def look(
        self, value: Floats, quality: npt.NDArray[np.uint16], received_mono_ns: Wholes, mono_ns: int
    ) -> Positions:
        """Look at every tag once.

        Args:
            value: (k,) samples, in the places that ``tag`` and ``other`` name.
            quality: (k,) staleness marked.
            received_mono_ns: (k,) when they were written.
            mono_ns: now.

        Returns:
            Positions of the definitions whose ``active`` has changed, ascending.
        """
        if not len(self.active):
            return _NOTHING
        believed = ((quality & Quality.BAD) == 0) & ~np.isnan(value)
        with np.errstate(all="ignore"):
            for condition, family in self._families.items():
                self._compare(condition, family, value, quality, believed, mono_ns)
        differs = self._known & (self._held != self.active)
        since = self.since_mono_ns
        busy = np.flatnonzero(differs | (since >= 0))
        if not len(busy):
            return _NOTHING
        since[busy[~differs[busy]]] = -1
        differing = busy[differs[busy]]
        fresh = differing[since[differing] < 0]
        since[fresh] = mono_ns
        self.onset_mono_ns[fresh] = self._onset(fresh, received_mono_ns, mono_ns)
        delay = np.where(self._held[differing], self._on[differing], self._off[differing])
        changed: Positions = differing[mono_ns - since[differing] >= delay]
        self.active[changed] = self._held[changed]
        since[changed] = -1
        return changed

    def _onset(self, fresh: Positions, received_mono_ns: Wholes, mono_ns: int) -> Wholes:
        arrived = np.maximum(received_mono_ns[self._tag[fresh]], received_mono_ns[self._second[fresh]])
        recent = self._from_sample[fresh] & (arrived <= mono_ns) & (mono_ns - arrived < ONSET_AGE_MAX_NS)
        onset: Wholes = np.where(recent, arrived, mono_ns)
        return onset

    def _compare(
        self, condition: Condition, family: _Family, value: Floats, quality: npt.NDArray[Any], believed: Bools,
        mono_ns: int,
    ) -> None:  # fmt: skip
        """Fill ``_held`` and ``_known`` of one family."""
        where, tag = family.where, family.tag
        if condition is Condition.STALE:
            self._held[where] = (quality[tag] & (Quality.STALE | Quality.NEVER)) != 0
            self._known[where] = True
            return
        if condition is Condition.BAD:
            self._held[where] = (quality[tag] & Quality.BAD) != 0
            self._known[where] = True
            return
        seen, known = value[tag], believed[tag]
        band = np.where(self.active[where], family.band, 0.0)
        match condition:
            case Condition.ABOVE:
                held = seen > family.limit - band
            case Condition.BELOW:
                held = seen < family.limit + band
            case Condition.EQUALS:
                held = np.abs(seen - family.limit) <= band + SAME
            case Condition.STATE:
                held = self._in_states(seen)
            case Condition.RISES:
                held = seen - self._last > family.limit
                self._last = np.where(known, seen, self._last)
            case Condition.RATE:
                rate = self._rate(seen, mono_ns)
                held = np.abs(rate) > family.limit - band
                self._remember(seen, known, mono_ns)
                known = known & ~np.isnan(rate)
            case Condition.DISCREPANCY:
                held = np.abs(seen - value[self._other]) > family.limit - band
                known = known & believed[self._other]
                known &= ((quality[tag] | quality[self._other]) & Quality.BLOCKED) == 0
            case _:  # pragma: no cover - the two quality conditions returned above
                raise AssertionError(condition)
        self._held[where] = held
        self._known[where] = known

    def _in_states(self, seen: Floats) -> Bools:
        whole = np.rint(seen)
        fits = (seen >= 0) & (seen <= STATE_MAX) & (np.abs(seen - whole) <= SAME)
        bit = np.where(fits, whole, 0).astype(np.int64)
        held: Bools = fits & ((self._states >> bit) & 1 == 1)
        return held

    def _rate(self, seen: Floats, mono_ns: int) -> Floats:
        """Change per second since the youngest kept value that is a window old; NaN where there is none."""
        at = self._kept_at
        old_enough = (at >= 0) & (mono_ns - at >= self._window[:, None])
        slot = np.where(old_enough, at, -1).argmax(axis=1)
        rows = np.arange(len(slot))
        elapsed_s = (mono_ns - at[rows, slot]) / NS_PER_S
        rate: Floats = np.where(old_enough[rows, slot], (seen - self._kept[rows, slot]) / elapsed_s, np.nan)
        return rate

    def _remember(self, seen: Floats, known: Bools, mono_ns: int) -> None:
        self._kept_at[~known] = -1  # nobody knows what happened in the gap
        rows = np.arange(len(seen))
        newest = self._kept_at[rows, self._newest]
        due = np.flatnonzero(known & ((newest < 0) | (mono_ns - newest >= self._spacing)))
        slot = (self._newest[due] + 1) % RATE_SLOTS
        self._newest[due] = slot
        self._kept_at[due, slot] = mono_ns
        self._kept[due, slot] = seen[due]


def _family(definitions: Sequence[AlarmDefinition], tag: Sequence[int], condition: Condition) -> _Family:
    where = [position for position, one in enumerate(definitions) if one.condition is condition]
    return _Family(
        np.array(where, np.intp),
        np.array([tag[position] for position in where], np.intp),
        np.array([definitions[position].limit for position in where], np.float64),
        np.array([definitions[position].deadband for position in where], np.float64),
    )
