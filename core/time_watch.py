"""The clock watch: is the wall clock that stamps all source times to be trusted?

UTC must move as fast as the monotonic clock does. Where it does not, somebody has set it: a step, which is an event and
a journal entry. A clock that was set is *doubted*, and so is one whose keeper (NTP, PTP) says that it may be wrong by
more than the site allows, or that nobody keeps where the site requires it. While it is doubted, every value that is
written or published carries ``Quality.TIME``; nothing else changes, because deadlines and ages never ask it.

A step back to where the clock came from ends the doubt at once; so does a keeper that calls the clock synchronised. A
clock that nobody keeps is believed again when it has run evenly for :data:`SETTLE_S`: there is nobody who knows better.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from gwanje.core.bus.messages import Event
from gwanje.core.clock import NS_PER_S, Clock, ClockReading, Synchronisation, read_both, synchronisation, utc_text
from gwanje.core.journal.kinds import EntryKind
from gwanje.core.site.toml_reader import Reader
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.store import Sample

STEP_S = 0.1
"""Faster than any keeper turns a clock evenly (500 ppm), coarser than two readings lie apart."""
SETTLE_S = 60.0
"""A clock that nobody keeps counts as right when it was not set for so long."""
ASK_PERIOD_NS = NS_PER_S
"""The kernel's answer changes at most once a second."""
TAG_BLUR_NS = NS_PER_S // 10
"""How far apart the two times of a written tag may have been read."""


@dataclass(frozen=True, slots=True)
class TimeRules:
    """``[time]`` of ``site.toml``.

    Attributes:
        max_offset_s: a clock that may be wrong by more is doubted.
        require_sync: a clock that nobody keeps is doubted.
    """

    max_offset_s: float = 1.0
    require_sync: bool = False


def read_rules(reader: Reader | None) -> TimeRules:
    """The rules of a site; all keys are optional."""
    if reader is None:
        return TimeRules()
    rules = TimeRules(
        reader.number("max_offset_s", TimeRules().max_offset_s, STEP_S, 3_600.0), reader.flag("require_sync", False)
    )
    reader.finish()
    return rules


@dataclass(frozen=True, slots=True)
class WatchState:
    """What the watch knows.

    Attributes:
        reading: of the look before.
        offset_ns: how far the clock was set from where it is believed to belong.
        stepped_mono_ns: when it was last set; before the first look for never.
        n_steps: how often it was set.
        doubted: values carry ``Quality.TIME``.
    """

    reading: ClockReading
    offset_ns: int = 0
    stepped_mono_ns: int | None = None
    n_steps: int = 0
    doubted: bool = False


@dataclass(frozen=True, slots=True)
class Look:
    """What one look found.

    Attributes:
        step_ns: by how much the clock was set since the look before; 0 when it was not.
        doubts: why the clock is doubted, in English; empty when it is not.
    """

    step_ns: int
    doubts: str


def step(
    state: WatchState, reading: ClockReading, sync: Synchronisation | None, rules: TimeRules
) -> tuple[WatchState, Look]:
    """Compare the two clocks with the look before.

    Args:
        state: of the look before; the first look is ``WatchState(reading)``.
        reading: of both clocks now.
        sync: what the kernel says; None when it does not answer.
        rules: of the site.
    """
    progress_ns = (reading.utc_ns - state.reading.utc_ns) - (reading.mono_ns - state.reading.mono_ns)
    blur_ns = reading.within_ns + state.reading.within_ns
    stepped = abs(progress_ns) > STEP_S * NS_PER_S + blur_ns
    offset_ns, since_ns = state.offset_ns, state.stepped_mono_ns
    if stepped:
        offset_ns, since_ns = offset_ns + progress_ns, reading.mono_ns
    kept = sync is not None and sync.synchronised
    settled = since_ns is None or reading.mono_ns - since_ns >= SETTLE_S * NS_PER_S
    if not stepped and (kept or (settled and not rules.require_sync)):
        offset_ns = 0  # whoever knows better says that this is the time, or nobody does and it ran evenly
    doubts = _doubts(offset_ns, sync, rules)
    fresh = replace(
        state, reading=reading, offset_ns=offset_ns, stepped_mono_ns=since_ns, n_steps=state.n_steps + stepped,
        doubted=bool(doubts),
    )  # fmt: skip
    return fresh, Look(progress_ns if stepped else 0, doubts)


def _doubts(offset_ns: int, sync: Synchronisation | None, rules: TimeRules) -> str:
    if abs(offset_ns) > rules.max_offset_s * NS_PER_S:
        return f"it was set by {offset_ns / NS_PER_S:+.3f} s"
    if sync is not None and sync.synchronised and sync.error_s > rules.max_offset_s:
        return f"its keeper says that it may be wrong by {sync.error_s:.3f} s"
    if rules.require_sync and (sync is None or not sync.synchronised):
        return "nobody keeps it"
    return ""


class Flags(Protocol):
    """Adds quality bits to all that is written; see :class:`gwanje.core.tags.store.CommonWriter`."""

    def flag(self, quality: int) -> None:
        """Bits from now on."""


class TimeWatch:
    """Looks at the clock for a running core, and tells.

    Args:
        clock: both clocks.
        rules: of the site.
        flags: where ``Quality.TIME`` is set.
        note: takes a journal entry.
        tell: publishes an event.
        before: the sample of ``system.time.offset_s`` that a core before us wrote: with it the watch goes on, and finds
            steps that nobody was there to see.
        ask: what the kernel says of the clock.
    """

    def __init__(
        self, clock: Clock, rules: TimeRules, flags: Flags, note: Callable[..., None], tell: Callable[[Event], None],
        before: Sample | None = None, ask: Callable[[], Synchronisation | None] = synchronisation,
    ) -> None:  # fmt: skip
        self._clock, self._rules, self._flags, self._note, self._tell, self._ask = clock, rules, flags, note, tell, ask
        self._sync = ask()
        self._ask_at_ns = clock.mono_ns() + ASK_PERIOD_NS
        self._state = _taken_up(before) or WatchState(read_both(clock))
        self.step()
        self._flags.flag(Quality.TIME if self._state.doubted else 0)

    def step(self) -> None:
        """Look once; call it several times a second, so that little is written with a wrong stamp."""
        reading = read_both(self._clock)
        asked = reading.mono_ns >= self._ask_at_ns
        if asked:
            self._sync, self._ask_at_ns = self._ask(), reading.mono_ns + ASK_PERIOD_NS
        before = self._state
        self._state, look = step(before, reading, self._sync, self._rules)
        if look.step_ns and not asked:
            self._sync = self._ask()  # what it said before the step says nothing any more
        if self._state.doubted != before.doubted:
            self._flags.flag(Quality.TIME if self._state.doubted else 0)
        if look.step_ns:
            self._say_step(before.reading, look.step_ns)
        if self._state.doubted and not before.doubted:
            self._note(EntryKind.CLOCK_DOUBTED, reason=look.doubts)
            self._event("clock_doubted", "시계를 믿을 수 없음", f"the clock is not trusted: {look.doubts}")
        elif before.doubted and not self._state.doubted:
            self._note(EntryKind.CLOCK_TRUSTED)
            self._event("clock_trusted", "시계 정상", "the clock is trusted again")

    def _say_step(self, before: ClockReading, step_ns: int) -> None:
        now = self._state.reading
        expected_ns = before.utc_ns + now.mono_ns - before.mono_ns
        self._note(
            EntryKind.CLOCK_STEPPED, step_s=round(step_ns / NS_PER_S, 3), expected_utc=_text(expected_ns),
            found_utc=_text(now.utc_ns),
        )  # fmt: skip
        seconds = f"{step_ns / NS_PER_S:+.3f}"
        text_en = f"the clock was set by {seconds} s"
        self._event("clock_stepped", f"시각이 {seconds}초 바뀜", text_en, step_ns / NS_PER_S)

    def _event(self, class_name: str, text_ko: str, text_en: str, step_s: float | None = None) -> None:
        data: dict[str, Any] = {} if step_s is None else {"step_s": step_s}
        utc_ns, mono_ns = self._clock.utc_ns(), self._clock.mono_ns()
        self._tell(Event("system", "clock", class_name, utc_ns, mono_ns, text_ko, text_en, data=data))

    def status(self) -> Mapping[str, float]:
        """Figures for the status tags; NaN where the kernel does not answer."""
        sync = self._sync
        return {
            "system.time.offset_s": self._state.offset_ns / NS_PER_S,
            "system.time.error_s": sync.error_s if sync and sync.synchronised else math.nan,
            "system.time.synchronised": float(sync.synchronised) if sync else math.nan,
            "system.time.trusted": float(not self._state.doubted),
            "system.time.steps": self._state.n_steps,
        }


def _taken_up(before: Sample | None) -> WatchState | None:
    """Where the watch of a core before us was: its tag carries its reading of both clocks."""
    if before is None or not before.received_mono_ns or not math.isfinite(before.value):
        return None
    reading = ClockReading(before.source_utc_ns, before.received_mono_ns, TAG_BLUR_NS)
    offset_ns = round(before.value * NS_PER_S)
    return WatchState(reading, offset_ns, before.received_mono_ns if offset_ns else None, doubted=bool(offset_ns))


def _text(utc_ns: int) -> str:
    """A time that may be any number of years off."""
    try:
        return utc_text(utc_ns)
    except (ValueError, OverflowError, OSError):
        return f"{utc_ns} ns"
