"""One alarm's condition, look by look: the plain twin and oracle of :mod:`gwanje.core.alarms.engine`.

Pure: a look takes what was watched so far and a reading, and gives what is watched from now on. A value that is BAD
neither raises nor returns a limit alarm: it stops a running delay, and the alarm stays where it is until the value can
be believed again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from gwanje.core.alarms.definitions import STATE_MAX, AlarmDefinition, Condition
from gwanje.core.clock import NS_PER_S
from gwanje.core.tags.quality import Quality, is_bad

RATE_SLOTS = 9
"""Values kept of a rate's window: eight steps across it, so that its far end is known to an eighth."""
SAME = 1e-9
"""Two states are the same number when they differ by less."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a look sees.

    Attributes:
        value: of the tag.
        quality: of the value, staleness included.
        other: value of a discrepancy's other tag.
        other_quality: its quality.
    """

    value: float
    quality: int = Quality.GOOD
    other: float = math.nan
    other_quality: int = Quality.GOOD


@dataclass(frozen=True, slots=True)
class Watch:
    """What is remembered of an alarm's condition from look to look.

    Attributes:
        active: whether the alarm is raised, delays included.
        differs_since_mono_ns: since when the condition contradicts ``active`` (a delay runs); -1 when it does not.
        last: what a ``rises`` alarm read at its last look; NaN before the first.
        kept: (monotonic time, value) of a ``rate`` alarm's window, oldest first, at most :data:`RATE_SLOTS`.
    """

    active: bool = False
    differs_since_mono_ns: int = -1
    last: float = math.nan
    kept: tuple[tuple[int, float], ...] = ()


def spacing_ns(window_ns: int) -> int:
    """How far apart the kept values of a rate's window lie at least."""
    return -(-window_ns // (RATE_SLOTS - 1))


def holds(definition: AlarmDefinition, watch: Watch, reading: Reading, mono_ns: int) -> bool | None:
    """Whether an alarm's condition holds; ``None`` when the reading does not let it be told."""
    match definition.condition:
        case Condition.STALE:
            return bool(reading.quality & (Quality.STALE | Quality.NEVER))
        case Condition.BAD:
            return is_bad(reading.quality)
    value = reading.value
    if is_bad(reading.quality) or math.isnan(value):
        return None
    band = definition.deadband if watch.active else 0.0
    match definition.condition:
        case Condition.ABOVE:
            return value > definition.limit - band
        case Condition.BELOW:
            return value < definition.limit + band
        case Condition.EQUALS:
            return abs(value - definition.limit) <= band + SAME
        case Condition.STATE:
            return 0 <= value <= STATE_MAX and abs(value - round(value)) <= SAME and round(value) in definition.states
        case Condition.RISES:
            return value - watch.last > definition.limit
        case Condition.RATE:
            rate = _rate(watch, definition.window_ns, value, mono_ns)
            return None if math.isnan(rate) else abs(rate) > definition.limit - band
        case Condition.DISCREPANCY:
            if is_bad(reading.other_quality) or math.isnan(reading.other):
                return None
            if (reading.quality | reading.other_quality) & Quality.BLOCKED:
                return None  # a set-point that nobody may send, or a frozen value: there is nothing to follow
            return abs(value - reading.other) > definition.limit - band
        case _:  # pragma: no cover - the two quality conditions returned above
            raise AssertionError(definition.condition)


def _rate(watch: Watch, window_ns: int, value: float, mono_ns: int) -> float:
    """Change per second since the youngest kept value that is a window old; NaN when there is none."""
    for at, kept in reversed(watch.kept):
        if mono_ns - at >= window_ns:
            return (value - kept) / ((mono_ns - at) / NS_PER_S)
    return math.nan


def _remembered(definition: AlarmDefinition, watch: Watch, reading: Reading, mono_ns: int) -> Watch:
    """The watch with this look's value kept, for the conditions that look back."""
    believed = not is_bad(reading.quality) and not math.isnan(reading.value)
    if definition.condition is Condition.RISES and believed:
        return replace(watch, last=reading.value)
    if definition.condition is not Condition.RATE:
        return watch
    if not believed:
        return replace(watch, kept=())  # nobody knows what happened in the gap
    if watch.kept and mono_ns - watch.kept[-1][0] < spacing_ns(definition.window_ns):
        return watch
    return replace(watch, kept=(*watch.kept, (mono_ns, reading.value))[-RATE_SLOTS:])


def look(definition: AlarmDefinition, watch: Watch, reading: Reading, mono_ns: int) -> Watch:
    """Advance one alarm by one look at its tag."""
    held = holds(definition, watch, reading, mono_ns)
    watch = _remembered(definition, watch, reading, mono_ns)
    if held is None or held == watch.active:
        return replace(watch, differs_since_mono_ns=-1)
    since = mono_ns if watch.differs_since_mono_ns < 0 else watch.differs_since_mono_ns
    if mono_ns - since < (definition.on_delay_ns if held else definition.off_delay_ns):
        return replace(watch, differs_since_mono_ns=since)
    return replace(watch, active=held, differs_since_mono_ns=-1)
