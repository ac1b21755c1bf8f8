"""What a run of a scenario amounts to: each fault shown in time and recovered from, and nobody else disturbed. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

import numpy as np
import numpy.typing as npt

from gwanje.core.scenario.plan import Place, Step, shown_by
from gwanje.core.scenario.script import Expect, Rule
from gwanje.core.tags.quality import SEVERITY_MASK, Quality, describe

Indices = npt.NDArray[np.intp]

MISSED_KEPT = 20
"""Missed periods that are listed of each group and reason; of more it is said how many there were."""


@dataclass(frozen=True, slots=True)
class Look:
    """All watched tags at one moment.

    Attributes:
        at_s: since the scenario began.
        value: (n,).
        quality: (n,) bits, staleness marked.
        age_s: (n,) since they were written; inf for never.
    """

    at_s: float
    value: npt.NDArray[np.float64]
    quality: npt.NDArray[np.uint16]
    age_s: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Missed:
    """A tag that missed its period although nothing was done to its device."""

    tag: str
    at_s: float
    why: str


class Others:
    """Watches the tags that nobody does anything to.

    Args:
        tags: names, (n,).
        groups: what each belongs to, such as its driver, for the sum.
        scan_s: period of each; 0 for what comes by itself, of which only a bad quality counts.
        periods: a tag misses its period when it is older than so many of them …
        slack_s: … and this.
    """

    def __init__(
        self, tags: Sequence[str], groups: Sequence[str], scan_s: Sequence[float], periods: float, slack_s: float
    ) -> None:
        self._tags, self._groups = tuple(tags), tuple(groups)
        period = np.array(scan_s, dtype=np.float64)
        self._oldest_s = np.where(period > 0.0, periods * period + slack_s, np.inf)
        self._touched = np.zeros(len(self._tags), np.int32)
        self._good_once = np.zeros(len(self._tags), bool)
        self._missing = np.zeros(len(self._tags), bool)
        self.missed: list[Missed] = []
        self.by_group: Counter[str] = Counter()

    @property
    def n_missed(self) -> int:
        """Periods missed in all."""
        return self.by_group.total()

    def touch(self, tags: Indices) -> None:
        """Something is done to these: whatever they show is not counted here."""
        self._touched[tags] += 1

    def leave(self, tags: Indices) -> None:
        """It is over and they are well again."""
        self._touched[tags] -= 1

    def look(self, look: Look) -> None:
        """Count the tags that have begun to miss their period."""
        bad = (look.quality & Quality.BAD) != 0
        late = look.age_s > self._oldest_s
        untouched = self._touched == 0
        missing = (bad | late) & untouched & self._good_once
        for at in np.flatnonzero(missing & ~self._missing).tolist():
            shown = describe(int(look.quality[at])) if bad[at] else "too old"
            group = f"{self._groups[at]}: {shown}"
            self.by_group[group] += 1
            if self.by_group[group] <= MISSED_KEPT:
                why = shown if bad[at] else f"{look.age_s[at]:.2f} s old"
                self.missed.append(Missed(self._tags[at], look.at_s, why))
        self._missing = missing
        self._good_once |= ~bad & untouched


class Phase(Enum):
    """Where a step stands."""

    FAULTY = auto()
    RECOVERING = auto()
    OVER = auto()


@dataclass(slots=True)
class StepScore:
    """Judges one fault from the looks at its device's tags.

    Attributes:
        tags: positions of all tags of the device, and of those behind it.
        shown: positions of those that must show the fault.
        names: of ``shown``.
        set_s: when the fault was set.
        good_before: of ``tags``; those that were bad before need not recover.
        n_bad: tags that were BAD when the fault had stood long enough, of those that were not before.
        n_doubtful: … and that were UNCERTAIN.
    """

    step: Step
    device: str
    tags: Indices
    shown: Indices
    names: tuple[str, ...]
    set_s: float
    good_before: npt.NDArray[np.bool_]
    phase: Phase = Phase.FAULTY
    shown_s: float | None = None
    recovered_s: float | None = None
    why: str = ""
    n_bad: int = 0
    n_doubtful: int = 0
    _seen: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))
    _cleared_s: float = 0.0

    @classmethod
    def begin(cls, step: Step, place: Place, position: dict[str, int], look: Look) -> StepScore:
        """A step whose fault was set just after a look."""
        tags = np.array([position[one] for one in place.tags], np.intp)
        good = (look.quality[tags] & Quality.BAD) == 0
        known = {position[one] for one, fine in zip(place.tags, good.tolist(), strict=True) if fine}
        names = tuple(one for one in shown_by(place, step.rule) if position[one] in known)
        shown = np.array([position[one] for one in names], np.intp)
        mute = step.rule.expect is not Expect.ANY and not names
        why = "no tag of it was good before and could show the fault" if mute else ""
        return cls(step, place.name, tags, shown, names, look.at_s, good, why=why, _seen=np.zeros(len(names), bool))

    @property
    def rule(self) -> Rule:
        """What is expected."""
        return self.step.rule

    @property
    def passed(self) -> bool:
        """Whether all was as expected; only once it is over."""
        return self.phase is Phase.OVER and not self.why

    def look(self, look: Look) -> None:
        """Take in how the tags are while the fault stands, or after it."""
        if self.phase is Phase.FAULTY:
            self._look_at_fault(look)
        elif self.phase is Phase.RECOVERING:
            self._look_at_recovery(look)

    def _look_at_fault(self, look: Look) -> None:
        all_of = look.quality[self.tags][self.good_before]
        self.n_bad = int(((all_of & Quality.BAD) != 0).sum())
        self.n_doubtful = int(((all_of & SEVERITY_MASK) == Quality.UNCERTAIN).sum())
        quality, took_s = look.quality[self.shown], look.at_s - self.set_s
        match self.rule.expect:
            case Expect.ANY:
                return
            case Expect.GOOD:
                fits = (quality & SEVERITY_MASK) == 0
                self._fail_unless(fits, "must stay GOOD", look)
                return
            case Expect.BAD:
                fits = (quality & Quality.BAD) != 0
            case Expect.NOT_GOOD:
                fits = (quality & SEVERITY_MASK) != 0
        fits = fits | np.isin(look.value[self.shown], list(self.rule.values))
        if self.rule.stays:
            self._fail_unless(fits | ~self._seen, "was GOOD again while the fault stood", look)
        self._seen |= fits
        if self.shown_s is None and self._seen.all():
            self.shown_s = took_s
        if took_s > self.rule.within_s:
            self._fail_unless(self._seen, f"not {self.rule.expect} within {self.rule.within_s:g} s", look)

    def _fail_unless(self, fits: npt.NDArray[np.bool_], reason: str, look: Look) -> None:
        if self.why or fits.all():
            return
        at = int(np.flatnonzero(~fits)[0])
        others = int((~fits).sum()) - 1
        more = f" (and {others} more)" if others else ""
        value, quality = look.value[self.shown[at]], int(look.quality[self.shown[at]])
        self.why = f"{self.names[at]}{more} {reason}: {value:g} {describe(quality)}"

    def due_to_clear(self, at_s: float) -> bool:
        """Whether the fault has stood long enough."""
        return self.phase is Phase.FAULTY and at_s - self.set_s >= self.rule.hold_s

    def cleared(self, at_s: float) -> None:
        """The fault was taken away."""
        self.phase, self._cleared_s = Phase.RECOVERING, at_s

    def _look_at_recovery(self, look: Look) -> None:
        bad = (look.quality[self.tags] & Quality.BAD) != 0
        waiting = bad & self.good_before
        took_s = look.at_s - self._cleared_s
        if not waiting.any():
            self.recovered_s = took_s if self.recovered_s is None else self.recovered_s
            if took_s - self.recovered_s >= self.rule.settle_s:
                self.phase = Phase.OVER
            return
        self.recovered_s = None
        if took_s > self.rule.recover_s:
            self.why = self.why or f"{int(waiting.sum())} tags not well again {self.rule.recover_s:g} s after it"
            self.phase = Phase.OVER

    def to_message(self) -> dict[str, Any]:
        """As it is reported."""
        return {
            "driver": self.step.driver, "kind": self.step.kind, "device": self.device, "tags": len(self.tags),
            "shown_by": len(self.shown), "bad": self.n_bad, "uncertain": self.n_doubtful,
            "expect": str(self.rule.expect), "at_s": round(self.set_s, 1), "shown_s": _rounded(self.shown_s),
            "recovered_s": _rounded(self.recovered_s), "passed": self.passed, "why": self.why,
        }  # fmt: skip


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
