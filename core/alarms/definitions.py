"""What an alarm is: the words, limits and times of its definition, as ``alarms.toml`` gives them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Self

from gwanje.core.clock import NS_PER_S


class Condition(StrEnum):
    """What a tag alarm watches for."""

    ABOVE = "above"
    BELOW = "below"
    EQUALS = "equals"
    STATE = "state"
    RISES = "rises"
    RATE = "rate"
    DISCREPANCY = "discrepancy"
    STALE = "stale"
    BAD = "bad"


LIMIT_CONDITIONS = frozenset(
    {Condition.ABOVE, Condition.BELOW, Condition.EQUALS, Condition.RISES, Condition.RATE, Condition.DISCREPANCY}
)
"""Conditions that compare with ``limit``."""
DELAY_S = {
    Condition.ABOVE: 5.0, Condition.BELOW: 5.0, Condition.RATE: 0.0, Condition.DISCREPANCY: 5.0,
    Condition.EQUALS: 0.5, Condition.STATE: 0.5, Condition.RISES: 0.0, Condition.STALE: 0.0, Condition.BAD: 0.5,
}  # fmt: skip
"""On and off delay of a definition that names none: 5 s for what is measured, 0.5 s for states. A rate looks back over
its window already, a rise is seen for one look only, and what is stale has waited for its period."""
STATE_MAX = 62
"""Highest state number that a ``state`` alarm can watch for: the states are bits of a whole number."""


@dataclass(frozen=True, slots=True)
class Texts:
    """What an operator reads, in Korean and English."""

    text_ko: str
    text_en: str
    cause_ko: str
    cause_en: str
    consequence_ko: str
    consequence_en: str
    response_ko: str
    response_en: str

    def filled(self, names: Mapping[str, str | tuple[str, str]]) -> Self:
        """With ``{name}`` replaced by what it stands for: one word, or a Korean and an English one.

        An English text begins with a capital, also where a name that begins with a small letter stands first.
        """
        changed: dict[str, str] = {}
        for one in fields(self):
            text = getattr(self, one.name)
            for name, meaning in names.items():
                word = meaning if isinstance(meaning, str) else meaning[one.name.endswith("_en")]
                text = text.replace("{" + name + "}", word)
            changed[one.name] = text[:1].upper() + text[1:] if one.name.endswith("_en") else text
        return replace(self, **changed)


TEXT_KEYS = tuple(one.name for one in fields(Texts))


@dataclass(frozen=True, slots=True)
class AlarmDefinition:
    """One alarm on one tag.

    Attributes:
        id: unique; ``<id>:<tag>`` where a pattern made it.
        tag: what it watches.
        condition: what it watches for.
        limit: in the tag's unit (per second for a rate); how much a counter may rise from look to look, how far two
            tags may differ; NaN where nothing is compared.
        deadband: how far the value must come back over the limit, in the limit's unit.
        on_delay_s: the condition must hold this long before the alarm is raised.
        off_delay_s: and must be gone this long before it returns.
        priority: 1 urgent … 4 diagnostic.
        respond_within_s: time an operator has.
        texts: what the operator reads.
        other: tag that a discrepancy compares with.
        window_s: a rate is the change over this long.
        states: numbers that a state alarm watches for.
        latching: stays after its return until it is reset.
        re_alarm_s: acknowledged and still there after this long, it must be acknowledged again; 0 for never.
        suppress_when: expression; while it holds the alarm is suppressed by design.
        node: of the site's topology; empty when the tag says it.
    """

    id: str
    tag: str
    condition: Condition
    limit: float
    deadband: float
    on_delay_s: float
    off_delay_s: float
    priority: int
    respond_within_s: float
    texts: Texts
    other: str = ""
    window_s: float = 0.0
    states: frozenset[int] = frozenset()
    latching: bool = False
    re_alarm_s: float = 0.0
    suppress_when: str = ""
    node: str = ""

    @property
    def on_delay_ns(self) -> int:
        """On delay in whole nanoseconds."""
        return round(self.on_delay_s * NS_PER_S)

    @property
    def off_delay_ns(self) -> int:
        """Off delay in whole nanoseconds."""
        return round(self.off_delay_s * NS_PER_S)

    @property
    def window_ns(self) -> int:
        """A rate's window in whole nanoseconds."""
        return round(self.window_s * NS_PER_S)

    @property
    def state_bits(self) -> int:
        """The states as bits."""
        return sum(1 << one for one in self.states)

    @property
    def shown_limit(self) -> float:
        """What a screen draws as limit; NaN for none."""
        return self.limit if self.condition in LIMIT_CONDITIONS else math.nan


@dataclass(frozen=True, slots=True)
class EventAlarmDefinition:
    """An alarm that an event raises.

    Attributes:
        id: unique; the alarm of one source is ``<id>:<source>``.
        kind: of the event.
        class_name: of the event.
        min_confidence: events below it raise nothing.
        returns_after_s: how long after its last event the alarm counts as returned.
        priority: 1 urgent … 4 diagnostic.
        respond_within_s: time an operator has.
        texts: what the operator reads.
        latching: stays after its return until it is reset.
        re_alarm_s: acknowledged and still there after this long, it must be acknowledged again; 0 for never.
        suppress_when: expression; while it holds the alarm is suppressed by design.
        node: of the site's topology; empty when the source says it.
    """

    id: str
    kind: str
    class_name: str
    min_confidence: float
    returns_after_s: float
    priority: int
    respond_within_s: float
    texts: Texts
    latching: bool = False
    re_alarm_s: float = 0.0
    suppress_when: str = ""
    node: str = ""
