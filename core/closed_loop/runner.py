"""A plant and a controller in virtual time: events by script, both ways of the channel, records at a chosen rate.

One loop of 10 ms. In each turn: what happens now, instruments → channel → controller (when its period is over) →
channel → devices, then the plant moves on. Nothing waits, nothing reads a clock: equal seeds give equal runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from gwanje.core.closed_loop.channel import Channel, Way
from gwanje.core.closed_loop.interface import Controller, Floats, Plant, Told

TICK_S = 0.01
"""One turn; the plant's own steps are shorter."""
SETPOINT_WORDS = ("discharge_setpoint_w", "generation_setpoint_w")
"""Tags whose sum is the total command."""
LINES_MAX = 10_000
"""What a controller told; a run that tells more has said enough."""

Ways = Sequence[tuple[str, Way]]


class LoopError(Exception):
    """A run cannot be carried out as it is written."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens in a run.

    Attributes:
        at_s: when.
        kind: ``ask`` the controller, ``disturb`` the plant, or ``way``: change the channel.
        what: request, disturbance, or ``up`` (measured) and ``down`` (commanded).
        tags: pattern, of a change of the channel.
        values: its numbers.
    """

    at_s: float
    kind: str
    what: str
    tags: str = "*"
    values: Mapping[str, float | str] = field(default_factory=dict, hash=False)


@dataclass(slots=True)
class Record:
    """What a run leaves.

    Attributes:
        at_s: (n,) times of the samples.
        series: signal → (n,) values.
        truth: the plant's truth at the end.
        modes: (time, mode) at each change.
        told: what the controller told.
        refused: requests and disturbances with the reasons against them.
        bump_w: greatest step of the total command beside a change of mode.
        bumps: each change of mode with its step: time, mode, W.
        sent: samples that left on both ways.
        lost: of those, that never arrived.
        unheard: tags that the controller commands and no device obeys.
        unseen: tags that it reads and nothing measures.
    """

    at_s: Floats
    series: dict[str, Floats]
    truth: dict[str, float] = field(default_factory=dict)
    modes: list[tuple[float, str]] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    refused: list[tuple[float, str, str]] = field(default_factory=list)
    bump_w: float = 0.0
    bumps: list[tuple[float, str, float]] = field(default_factory=list)
    sent: int = 0
    lost: int = 0
    unheard: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()


class ClosedLoop:
    """One run.

    Args:
        plant: at its beginning.
        controller: at its beginning.
        up: ways of what is measured.
        down: ways of what is commanded.
        seed: of the channel.
        signals: what is recorded: a key of the plant's truth, ``tag:NAME`` as the controller sees it, ``command:NAME``
            as it was given, or ``state:KEY`` of the controller.
        record_s: rate of the record, a whole number of ticks.
        fine: times from … until in which every tick is recorded.
    """

    def __init__(
        self,
        plant: Plant,
        controller: Controller,
        up: Ways,
        down: Ways,
        seed: int,
        signals: Sequence[str] = (),
        record_s: float = 0.1,
        fine: Sequence[tuple[float, float]] = (),
    ) -> None:
        self.plant, self.controller = plant, controller
        self._measured, self._commanded = list(plant.measured), list(plant.commanded)
        reads, writes = list(controller.reads), list(controller.writes)
        seen = [tag for tag in reads if tag in set(self._measured)]
        heard = [tag for tag in writes if tag in set(self._commanded)]
        self._unseen = tuple(tag for tag in reads if tag not in set(seen))
        self._unheard = tuple(tag for tag in writes if tag not in set(heard))
        self.up, self.down = Channel(seen, up, seed), Channel(heard, down, seed + 1, hold=False)
        self._seen_at = np.array([self._measured.index(tag) for tag in seen], np.intp)
        self._read_at = np.array([reads.index(tag) for tag in seen], np.intp)
        self._heard_at = np.array([writes.index(tag) for tag in heard], np.intp)
        self._obey_at = np.array([self._commanded.index(tag) for tag in heard], np.intp)
        self._shown = np.full(len(self._measured), np.nan)
        self._orders = np.full(len(self._commanded), np.nan)
        self._out = np.full(len(writes), np.nan)
        self._last_out = np.full(len(writes), np.nan)
        self._values = np.full(len(reads), np.nan)
        self._quality = np.full(len(reads), 0x8000 | 1024, np.uint16)
        self._age_s = np.full(len(reads), np.inf)
        n = len(seen)
        self._v, self._q, self._a = np.zeros(n), np.zeros(n, np.uint16), np.zeros(n)
        self._fresh = np.full(len(heard), np.nan)
        self._total_at = np.array([k for k, tag in enumerate(writes) if tag.endswith(SETPOINT_WORDS)], np.intp)
        self._period_ticks = max(1, round(controller.period_s / TICK_S))
        self._record_ticks = max(1, round(record_s / TICK_S))
        self._fine = tuple((round(begin / TICK_S), round(end / TICK_S)) for begin, end in fine)
        self._signals = tuple(signals)
        self._getters = [self._getter(one) for one in self._signals]
        self._rows: list[list[float]] = []
        self._truth: Mapping[str, float] = {}
        self._state: Mapping[str, float | str] = {}
        self._tick = 0
        self.record = Record(np.zeros(0), {}, unheard=self._unheard, unseen=self._unseen)

    @property
    def now_s(self) -> float:
        """Of the run."""
        return self._tick * TICK_S

    def run(self, events: Sequence[Event], until_s: float, watch: Callable[[float], None] | None = None) -> Record:
        """Go on until a time; gives the record so far.

        Args:
            events: that happen on the way; those before now are over.
            until_s: end.
            watch: called each simulated second with the time.

        Raises:
            LoopError: the plant does not know a disturbance, or a signal does not exist.
        """
        waiting = sorted((one for one in events if one.at_s >= self.now_s - 1e-9), key=lambda one: one.at_s)
        last = round(until_s / TICK_S)
        while self._tick < last:
            now_s = self.now_s
            while waiting and waiting[0].at_s <= now_s + 1e-9:
                self._happen(waiting.pop(0), now_s)
            self._turn(now_s)
            if watch is not None and self._tick % 100 == 0:
                watch(now_s)
            self.plant.advance(TICK_S)
            self._tick += 1
        return self._finished()

    def _turn(self, now_s: float) -> None:
        if len(self._seen_at) and self.up.next_s <= now_s + 1e-9:
            self.plant.measure(self._shown)
            self.up.put(now_s, self._shown[self._seen_at])
        if self._tick % self._period_ticks == 0:
            self._control(now_s)
        if len(self._heard_at):
            self.down.put(now_s, self._out[self._heard_at])
            self._out[:] = np.nan
            if self.down.fresh(now_s, self._fresh):
                self._orders[:] = np.nan
                self._orders[self._obey_at] = self._fresh
                self.plant.command(self._orders)
        if self._tick % self._record_ticks == 0 or any(begin <= self._tick < end for begin, end in self._fine):
            self._write_down(now_s)

    def _control(self, now_s: float) -> None:
        if len(self._seen_at):
            self.up.take(now_s, self._v, self._q, self._a)
            self._values[self._read_at] = self._v
            self._quality[self._read_at] = self._q
            self._age_s[self._read_at] = self._a
        before = self._last_out[self._total_at].copy()
        self.controller.step(now_s, self._values, self._quality, self._age_s, self._out)
        np.copyto(self._last_out, self._out, where=np.isfinite(self._out))
        self._state = self.controller.state()
        mode = str(self._state.get("mode", ""))
        modes = self.record.modes
        if not modes or modes[-1][1] != mode:
            # a unit that is commanded for the first time steps from nothing known: no bump
            step_w = abs(float(np.nansum(self._last_out[self._total_at] - before)))
            modes.append((now_s, mode))
            if len(modes) > 1:
                self.record.bumps.append((now_s, mode, step_w))
                self.record.bump_w = max(self.record.bump_w, step_w)
        lines = self.controller.told()
        if lines:
            self.record.told.extend(lines[: LINES_MAX - len(self.record.told)])

    def _happen(self, event: Event, now_s: float) -> None:
        if event.kind == "ask":
            if reason := self.controller.ask(event.what, event.values):
                self.record.refused.append((now_s, event.what, reason))
            return
        try:
            if event.kind == "disturb":
                self.plant.disturb(event.what, event.values)
                return
            channel = {"up": self.up, "down": self.down}[event.what]
            channel.change(event.tags, **{key: float(value) for key, value in event.values.items()})
        except (ValueError, KeyError) as error:
            raise LoopError(f"at {now_s:g} s, {event.kind} {event.what}: {error}") from None

    def _getter(self, signal: str) -> Callable[[], float]:
        kind, colon, name = signal.partition(":")
        if not colon:
            return lambda: self._truth_of(signal)
        lists = {"tag": list(self.controller.reads), "command": list(self.controller.writes)}
        if kind == "state":
            return lambda: _number(self._state.get(name, math.nan))
        if kind not in lists:
            raise LoopError(f"signal {signal!r}: there are tag:, command:, state: and the plant's truth")
        if name not in lists[kind]:
            return lambda: math.nan  # a controller beside does not have it
        at, values = lists[kind].index(name), self._values if kind == "tag" else self._last_out
        return lambda: float(values[at])

    def _truth_of(self, key: str) -> float:
        try:
            return self._truth[key]
        except KeyError:
            near = ", ".join(sorted(self._truth))
            raise LoopError(f"signal {key!r}: the plant's truth has {near}") from None

    def _write_down(self, now_s: float) -> None:
        self._truth = self.plant.truth()
        self._rows.append([now_s, *(get() for get in self._getters)])

    def _finished(self) -> Record:
        table = np.array(self._rows, np.float64).reshape(len(self._rows), 1 + len(self._signals))
        record = self.record
        record.at_s = table[:, 0]
        record.series = {name: table[:, 1 + k] for k, name in enumerate(self._signals)}
        record.truth = dict(self.plant.truth())
        record.sent, record.lost = self.up.sent + self.down.sent, self.up.lost + self.down.lost
        return record


def _number(value: float | str) -> float:
    return math.nan if isinstance(value, str) else float(value)
