"""The limits of all chargers of a central system: the desk's sends carried out, read back, refreshed, and shown.

A person's limit of a group or of one charger is held for its time; then its failsafe counts again. Whoever may not be
written (danger tag, gate, read-only site) is left alone: its profile runs out and it keeps its fallback by itself.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from gwanje.core.clock import NS_PER_S, Clock
from gwanje.core.tags.quality import Quality
from gwanje.io.field.kept_orders import Kept
from gwanje.io.field.ocpp.charger import POWER, Charger
from gwanje.io.field.ocpp.desk import LimitDesk, Send
from gwanje.io.field.ocpp.facts import Profile, accepted
from gwanje.io.field.ocpp.link import ExpiredError, LineError, ReadOnlyError
from gwanje.io.field.ocpp.rpc import CallFailedError
from gwanje.io.field.ocpp.stamps import utc_stamp

EARLY_S = 30
"""A profile begins so long ago, so that it holds at once also on a clock that is a little slow."""
READBACK_S = 60
"""Length of the composite schedule that is asked for: only its first period counts."""
READBACK_AFTER_S = 0.25
"""Limits go out first to all; what the chargers made of them is read afterwards."""
LIMIT = "do limit"
NO_READBACK = int(Quality.UNCERTAIN | Quality.NOT_IMPLEMENTED)


class RefusedError(CallFailedError):
    """The charger said no."""


@dataclass(slots=True)
class Hold:
    """A person's limit of one charger or group.

    Attributes:
        value_w: of it.
        until_ns: when its time is over.
    """

    value_w: float
    until_ns: int


class Limits:
    """See the module. Belongs to one event loop.

    Args:
        desk: decides.
        chargers: by name; their settings are the desk's.
        clock: time.
        barred: whether a charger may not be written now.
        start: runs a short task.
        kept: hears what became of limits that were taken up again.
        points: charger → tag of its own limit.
    """

    def __init__(
        self, desk: LimitDesk, chargers: Mapping[str, Charger], clock: Clock, barred: Callable[[str], bool],
        start: Callable[[Coroutine[Any, Any, None], str], None], kept: Kept, points: Mapping[str, str | None],
    ) -> None:  # fmt: skip
        self.desk = desk
        self._chargers = chargers
        self._clock = clock
        self._barred = barred
        self._start = start
        self._kept = kept
        self._points = points
        self._scheduled = False
        self._trials: dict[str, tuple[float, int]] = {}
        self._watchers: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._reading: set[str] = set()
        self._no_readback: set[str] = set()
        self.sent = 0
        """Limits that were sent, ever."""

    # ---- what happens

    def changed(self, name: str) -> None:
        """A charger came, went, or is used in another way."""
        charger = self._chargers.get(name)
        if charger is None:
            return
        ready = charger.line is not None and charger.health.online and not self._barred(name)
        self.desk.presence(name, ready)
        self.desk.session(name, charger.session.active, charger.waits)
        self.desk.measured(name, charger.load_w)
        if self.desk.dirty:
            self.soon()

    def soon(self) -> None:
        """Look at what is to be sent, after everything that happens now."""
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self.pump)

    def tick(self) -> None:
        """Once a second: bars, refreshes, ends."""
        for name in self._chargers:
            self.changed(name)
        self.pump()

    def pump(self) -> None:
        """Send what the desk wants sent."""
        self._scheduled = False
        for send in self.desk.plan(self._clock.mono_ns()):
            self._start(self._send(send), f"limit {send.leaf}")
        self._look()

    def try_cap(self, name: str, cap_w: float, expires_mono_ns: int) -> None:
        """A person's limit of one charger: until it is kept, nothing of it leaves after its time is over."""
        self._trials[name] = self.desk.leaves[name].cap_w, expires_mono_ns
        self.desk.cap(name, cap_w)
        self.pump()

    def end_trial(self, name: str, kept: bool) -> None:
        """It is kept, or the one before holds again."""
        before, _ = self._trials.pop(name, (math.nan, 0))
        if not kept and not math.isnan(before):
            self.desk.cap(name, before)
            self.soon()

    def _look(self) -> None:
        """Wake who waits for something that is true by now."""
        for condition, waiter in tuple(self._watchers):
            if not waiter.done() and condition():
                waiter.set_result(None)

    async def until(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait for something of the desk; whether it came true in time."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._watchers.append((condition, waiter))
        try:
            self._look()
            async with asyncio.timeout(timeout_s):
                await waiter
        except TimeoutError:
            return False
        finally:
            self._watchers.remove((condition, waiter))
        return True

    # ---- sending

    async def _send(self, send: Send) -> None:
        charger, name = self._chargers[send.leaf], send.leaf
        _, expires_mono_ns = self._trials.get(name, (math.nan, 0))
        sent: list[int] = []
        try:
            if self._barred(name):
                raise ExpiredError("a danger tag is on it")
            await self._set(charger, send.limit_w, expires_mono_ns, lambda: sent.append(self._clock.mono_ns()))
        except (ExpiredError, ReadOnlyError):
            self.desk.unsent(name)
            self.end_trial(name, kept=False)
        except LineError:
            self.desk.failed(name, self._clock.mono_ns(), refused=False)
            self._fell_back(charger)
        except CallFailedError as error:
            self.desk.failed(name, self._clock.mono_ns(), refused=True)
            charger.notices.limit_refused(str(error), charger.settings.fallback_w)
            if point := self._points.get(name):
                self._kept.refused(point, str(error))
            self._fell_back(charger)
        else:
            if point := self._points.get(name):
                self._kept.settled(point)
            self.sent += 1
            self.desk.confirmed(name, send.limit_w, sent[0])
            charger.notices.limit_taken()
            self._read_soon(name)
        self.soon()

    async def _set(self, charger: Charger, limit_w: float, expires_mono_ns: int, left: Callable[[], None]) -> None:
        line, settings = charger.line, charger.settings
        if line is None:
            raise LineError("it has no line")
        duration_s = self.desk.leaves[charger.device.name].duration_ns // NS_PER_S
        begins = charger.judge.charger_utc_ns(self._clock.utc_ns()) - EARLY_S * NS_PER_S
        profile = Profile(
            settings.in_unit(limit_w), settings.unit, settings.purpose, duration_s + EARLY_S, utc_stamp(begins)
        )
        answer = await line.call(charger.dialect.set_limit(profile), expires_mono_ns, left)
        if not accepted(answer):
            raise RefusedError(str(answer.get("status")))

    def _fell_back(self, charger: Charger) -> None:
        """Show what a charger keeps that did not take its limit: nobody has read it."""
        leaf = self.desk.leaves[charger.device.name]
        now = self._clock.mono_ns()
        if charger.line is not None and charger.samples.has(LIMIT):
            charger.samples.put({LIMIT: (leaf.may_draw_w(now), int(Quality.UNCERTAIN | Quality.DEVICE_FAILURE))})

    async def keep_fallback(self, charger: Charger) -> None:
        """Have a charger keep its fallback, for whenever it hears nothing of us.

        Raises:
            CallFailedError: it does not.
        """
        settings = charger.settings
        if charger.line is None or not self.desk.leaves[charger.device.name].chain:
            return
        profile = Profile(settings.in_unit(settings.fallback_w), settings.unit, settings.purpose, 0, "")
        answer = await charger.line.call(charger.dialect.set_limit(profile))
        if not accepted(answer):
            raise RefusedError(str(answer.get("status")))

    async def clear(self, charger: Charger) -> None:
        """Take the limit of a charger without a group away.

        Raises:
            CallFailedError: it was not.
        """
        if charger.line is None:
            raise LineError("it has no line")
        await charger.line.call(charger.dialect.clear_limit(charger.settings.purpose))
        self.desk.cleared(charger.device.name)

    def power(self, group: str) -> tuple[float, int]:
        """What a group draws now, and how good that is: of whom nothing is known, nothing is added."""
        total, quality, known = 0.0, 0, 0
        for leaf in self.desk.node(group).members:
            charger = self._chargers[leaf.name]
            value, bits = charger.samples.last.get(POWER, (math.nan, int(Quality.BAD | Quality.NEVER)))
            if charger.device.simulated:
                bits |= int(Quality.SIMULATED)
            if bits & Quality.BAD or math.isnan(value):
                quality |= bits & ~int(Quality.BAD) | int(Quality.UNCERTAIN)
                continue
            total, quality, known = total + value, quality | bits, known + 1
        if not known:
            return math.nan, quality & ~int(Quality.UNCERTAIN) | int(Quality.BAD)
        return total, quality

    # ---- reading back

    def _read_soon(self, name: str) -> None:
        charger = self._chargers[name]
        if name not in self._reading and charger.samples.has(LIMIT):
            self._reading.add(name)
            loop = asyncio.get_running_loop()
            loop.call_later(READBACK_AFTER_S, lambda: self._start(self._read_later(name), f"read {name}"))

    async def _read_later(self, name: str) -> None:
        self._reading.discard(name)
        if self._chargers[name].line is not None and not self.desk.leaves[name].sending:
            await self.read_back(self._chargers[name])

    async def read_back(self, charger: Charger) -> float:
        """Ask a charger for the limit that it keeps and put it into its tag; NaN when it does not tell."""
        name, settings = charger.device.name, charger.settings
        confirmed_w = self.desk.leaves[name].confirmed_w
        if name in self._no_readback or charger.line is None:
            charger.samples.put({LIMIT: (confirmed_w, NO_READBACK)})
            return math.nan
        try:
            answer = await charger.line.call(charger.dialect.ask_limit(READBACK_S, settings.unit))
        except LineError:
            return math.nan
        except CallFailedError as error:
            if error.code in ("NotImplemented", "NotSupported"):
                self._no_readback.add(name)
            charger.samples.put({LIMIT: (confirmed_w, NO_READBACK)})
            return math.nan
        found = charger.dialect.read_limit(answer)
        if found is None:
            charger.samples.put({LIMIT: (confirmed_w, NO_READBACK)})
            return math.nan
        kept_w = settings.in_watts(*found)
        charger.samples.put({LIMIT: (kept_w, 0)})
        self._compare(charger, kept_w)
        return kept_w

    def _compare(self, charger: Charger, kept_w: float) -> None:
        """A charger that keeps a higher limit than it took has not taken it."""
        name = charger.device.name
        leaf = self.desk.leaves[name]
        allowed = leaf.confirmed_w + 0.11 * (charger.settings.w_per_a if charger.settings.unit == "A" else 1.0)
        if not leaf.sending and kept_w > allowed:
            leaf.confirmed_w = max(leaf.confirmed_w, min(kept_w, charger.settings.rated_w))
            self.desk.failed(name, self._clock.mono_ns(), refused=True)
            charger.notices.limit_refused(f"it keeps {kept_w:g} W", charger.settings.fallback_w)
            self.soon()
