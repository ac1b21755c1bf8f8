"""One charger: what it tells becomes samples, what people want of it becomes calls. Its line is another's to open.

A charger is ONLINE from its first message that makes sense. With its line its values go BAD at once. What it reports on
change only (status, session) is written again while it is there, so that it does not grow stale.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass

from gwanje.core.clock import NS_PER_S, Clock
from gwanje.core.site.config import Device
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.table import TagTable
from gwanje.io.field.health import Health, Meter, State
from gwanje.io.field.ocpp.facts import (
    ERRORS,
    STATUSES,
    Booted,
    Dialect,
    Fact,
    Metered,
    SessionChanged,
    StatusChanged,
    Terms,
)
from gwanje.io.field.ocpp.frames import Payload
from gwanje.io.field.ocpp.link import Line
from gwanje.io.field.ocpp.notices import ChargerNotices
from gwanje.io.field.ocpp.readings import EnergyCounter
from gwanje.io.field.ocpp.samples import Samples, Value
from gwanje.io.field.ocpp.settings import ChargerSettings
from gwanje.io.field.ocpp.stamps import WRONG_CLOCK, StampJudge, Verdict
from gwanje.io.field.ocpp.v16 import V16
from gwanje.io.field.ocpp.v201 import V201
from gwanje.io.field.outlet import Outlet

REFRESH_NS = 20 * NS_PER_S
"""States that still hold are written this often: a third of the shortest time after which they would be stale."""
FIRST_CONTACT_NS = 30 * NS_PER_S
"""A charger that is not there when the city starts is reported after this long: it may still be backing off."""
QUIET_PERIODS = 3.5
"""A charger that reports, and then leaves out three reports, is not itself: what it said before is not kept alive."""
QUIET_BEATS = 2.5
"""The same for one that has only its heartbeat to send."""
ENERGY, POWER = "measurand Energy.Active.Import.Register", "measurand Power.Active.Import"
CURRENT = "measurand Current.Import"
SOC = "measurand SoC"
PAST_NS = 14 * 86_400 * NS_PER_S
"""Readings that were kept for longer than two weeks are counted only: a clock that lost its battery says 1970."""
KEPT = ("state status", "state error", "state session", "state session_id", "state replayed", "state flaws")
ONCE = ("do start", "do stop", "do reset")
SHOWN_NS = 15 * NS_PER_S
"""What was done once is shown for so long: longer than anybody waits for its confirmation."""
NO_VEHICLE = (math.nan, int(Quality.BAD | Quality.NOT_IMPLEMENTED))
DIALECTS: tuple[Dialect, ...] = (V16(), V201())


def dialect_of(version: str) -> Dialect:
    """The dialect of a version."""
    return next(one for one in DIALECTS if one.version == version)


@dataclass(slots=True)
class Session:
    """What is known of the session at the charger's connector."""

    transaction: str = ""
    number: float = 0.0
    active: bool = False
    state: str = ""


class Charger:
    """See the module.

    Args:
        device: its configuration.
        settings: its parameters.
        tags: the site's.
        outlet: takes samples and events.
        clock: time.
        terms: what its calls are answered with.
        changed: told when the session, the presence or the power changed: the limits are to be looked at.
        meter: of the lateness of readings.
    """

    def __init__(
        self, device: Device, settings: ChargerSettings, tags: TagTable, outlet: Outlet, clock: Clock, terms: Terms,
        changed: Callable[[str], None], meter: Meter | None = None,
    ) -> None:  # fmt: skip
        self.device = device
        self.settings = settings
        self.health = Health()
        self.dialect = dialect_of(settings.version)
        self.notices = ChargerNotices(device, outlet, clock)
        self.samples = Samples(device, tags, outlet, clock)
        self.judge = StampJudge()
        self.line: Line | None = None
        self.settled_in = False
        """Whether it has been left with its fallback and its settings since its line opened."""
        self.session = Session()
        self.status = ""
        self.identity = ""
        self.told_boot = asyncio.Event()
        """Set when it has said since its line opened that it has just started."""
        self.load_w = 0.0
        self.heard_mono_ns = 0
        self.replayed = 0
        self.flaws = 0
        self._clock = clock
        self._terms = terms
        self._changed = changed
        self._meter = meter or Meter()
        self._counter = EnergyCounter()
        self._metered_mono_ns = 0
        self._written_mono_ns = 0
        self._done_mono_ns = 0
        self._replay: tuple[int, str] = (0, "")
        self._announced: bool | None = None
        self._started_ns = clock.mono_ns()

    # ---- its line

    def connected(self, line: Line) -> None:
        """It has a line."""
        self.line = line
        self.told_boot.clear()
        self.settled_in = False
        self.health.state = State.IDENTIFYING
        self._metered_mono_ns = 0
        self._changed(self.device.name)

    def disconnected(self, reason: str) -> None:
        """Its line is gone."""
        if self.line is None:
            return
        self.line.closed()
        self.line = None
        self.health.state = State.DISCONNECTED
        self.health.errors += 1
        self._tell_replay()
        self._lost(reason)
        self._changed(self.device.name)

    def _lost(self, reason: str) -> None:
        self.samples.lost()
        if self._announced is not False:
            self._announced = False
            self.notices.offline(reason)

    def _there(self) -> None:
        self.health.state = State.ONLINE
        self._written_mono_ns = self._done_mono_ns = 0
        if self._announced is False:
            self.notices.online(self.identity)
        self._announced = True
        self._changed(self.device.name)

    def flaw(self, kind: str, reason: str) -> None:
        """It did something wrong."""
        self.flaws += 1
        self.health.errors += 1
        self.notices.flaw(kind, reason)

    def tick(self, now_ns: int) -> None:
        """Once a second: what does not change is written again, and what was replayed is told."""
        if self.line is None:
            if self._announced is None and now_ns - self._started_ns >= FIRST_CONTACT_NS:
                self._lost("no connection")
            return
        if self._replay[0] and now_ns - self.heard_mono_ns > NS_PER_S:
            self._tell_replay()
        self._look_alive(now_ns)
        if self.health.state is State.ONLINE and now_ns - self._written_mono_ns >= REFRESH_NS:
            self._written_mono_ns = now_ns
            self._count()
            self.samples.again(KEPT)
            if now_ns - self._done_mono_ns >= SHOWN_NS:
                self.samples.put(dict.fromkeys(ONCE, (0.0, 0)))

    def _look_alive(self, now_ns: int) -> None:
        """A line alone says little: a charger that says nothing on it any more is DEGRADED."""
        if not self.health.online:
            return
        reports = QUIET_PERIODS * self.settings.meter_s
        quiet_s = reports if self._metered_mono_ns else max(reports, QUIET_BEATS * self._terms.heartbeat_s)
        quiet = now_ns - self.heard_mono_ns > quiet_s * NS_PER_S
        if quiet and self.health.state is State.ONLINE:
            self.health.skipped += 1
        self.health.state = State.DEGRADED if quiet else State.ONLINE

    def done(self, what: str, value: float) -> None:
        """A command was carried out: show it."""
        self._done_mono_ns = self._clock.mono_ns()
        self.samples.put({f"do {what}": (value, 0)})

    def _count(self) -> None:
        heard_s = (self._clock.utc_ns() - (self._clock.mono_ns() - self.heard_mono_ns)) / NS_PER_S
        self.samples.put({
            "state heard": (heard_s, 0), "state replayed": (float(self.replayed), 0),
            "state flaws": (float(self.flaws), 0),
        })  # fmt: skip

    def _tell_replay(self) -> None:
        count, oldest = self._replay
        self._replay = 0, ""
        if count:
            self.notices.replayed(count, oldest)
            self._count()

    # ---- what it tells

    def heard(self) -> None:
        """Something arrived on its line."""
        self.heard_mono_ns = self._clock.mono_ns()

    def handle(self, action: str, payload: Payload) -> Payload:
        """Answer one of its calls, its schema checked.

        Raises:
            FrameError: a central system does nothing for such a call.
        """
        answer, facts = self.dialect.take(action, payload, self._terms)
        self.health.reads += 1
        if not self.health.online:
            self._there()
        for fact in facts:
            self._take(fact)
        return answer

    def _take(self, fact: Fact) -> None:
        match fact:
            case Booted():
                if self.identity and fact.identity != self.identity:
                    self.notices.replaced(self.identity, fact.identity)
                self.identity, self.settled_in = fact.identity, False
                self.told_boot.set()
                self._changed(self.device.name)
            case StatusChanged():
                self._status(fact)
            case SessionChanged():
                self._session(fact)
            case Metered():
                self._metered(fact)

    def _mine(self, connector: int) -> bool:
        return connector in (0, self.settings.connector)

    def _status(self, fact: StatusChanged) -> None:
        if not self._mine(fact.connector):
            return
        if fact.connector == 0 and fact.status == "Available":
            return  # the charger as a whole can be used: that says nothing of its connector
        self.status = fact.status
        if fact.status == "Available" and self.session.active:
            self.session.active = False  # its end was lost on the way: nobody is there any more
        self._show(ERRORS.index(fact.error) if fact.error in ERRORS else ERRORS.index("OtherError"))

    def _session(self, fact: SessionChanged) -> None:
        session = self.session
        if not self._mine(fact.connector):
            return
        if not fact.active and fact.transaction != session.transaction:
            return  # the end of an older one, replayed
        if fact.transaction != session.transaction:
            number = fact.transaction if fact.transaction.isdecimal() and len(fact.transaction) < 16 else ""
            session.transaction = fact.transaction
            session.number = float(number or self._terms.new_transaction())
        session.active = fact.active
        session.state = (fact.state or session.state) if fact.active else ""
        self._show()

    def _show(self, error: int | None = None) -> None:
        """Status and session to their tags, and to whoever shares out power."""
        word = self.session.state if self.session.active and self.session.state else self.status
        told: dict[str, Value] = {
            "state session": (float(self.session.active), 0),
            "state session_id": (self.session.number if self.session.active else 0.0, 0),
        }
        if word in STATUSES:
            told["state status"] = float(STATUSES.index(word)), 0
            told["do availability"] = float(word != "Unavailable"), 0
        if error is not None:
            told["state error"] = float(error), 0
        if not self.session.active:
            told[SOC] = NO_VEHICLE  # the last one's vehicle is gone
        if any(self.samples.last.get(key) != value for key, value in told.items() if key != SOC):
            self.samples.put(told)
            self._changed(self.device.name)

    @property
    def waits(self) -> bool:
        """Whether a car is there that wants no power now."""
        return (self.session.state or self.status) == "SuspendedEV"

    def _metered(self, fact: Metered) -> None:
        now_utc, now_mono = self._clock.utc_ns(), self._clock.mono_ns()
        verdict = self.judge.judge(
            fact.stamp, now_utc, now_mono, triggered=fact.triggered, offline=fact.offline or fact.ended
        )
        if not self._mine(fact.connector) or fact.ended:
            return
        if not verdict.live:
            self.replayed += 1
            count, oldest = self._replay
            self._replay = count + 1, min(oldest or fact.stamp, fact.stamp)
            self._keep_past(fact, verdict, now_utc)
            return
        values: dict[str, Value] = {
            f"measurand {name}": (one.value, one.quality | verdict.quality) for name, one in fact.readings.items()
        }
        self._energy(values)
        self.samples.put(values, verdict.utc_ns)
        self._power(values)
        if self._metered_mono_ns:
            self._meter.scanned(now_mono - self._metered_mono_ns - round(self.settings.meter_s * NS_PER_S))
        self._metered_mono_ns = now_mono

    def _keep_past(self, fact: Metered, verdict: Verdict, now_utc_ns: int) -> None:
        """What was true without a line goes into the history, where its time can be believed."""
        if verdict.quality or not 0 <= now_utc_ns - verdict.utc_ns <= PAST_NS:
            return
        doubt = WRONG_CLOCK if self.judge.offset_ns else 0
        values = {f"measurand {name}": (one.value, one.quality | doubt) for name, one in fact.readings.items()}
        if ENERGY in values:
            values[ENERGY] = self._counter.at(values[ENERGY][0]), values[ENERGY][1]
        self.samples.past(values, verdict.utc_ns)

    def _energy(self, values: dict[str, Value]) -> None:
        value, quality = values.get(ENERGY, (math.nan, 0))
        if math.isnan(value) or value < 0.0:
            return
        step = self._counter.step(value)
        values[ENERGY] = step.total_wh, quality | step.quality
        if step.note:
            self.notices.meter(step.note)

    def _power(self, values: dict[str, Value]) -> None:
        """What it draws, for those who share out power; from the current where the power is not told."""
        value, quality = values.get(POWER, (math.nan, 0))
        if POWER not in values and CURRENT in values:
            value, quality = values[CURRENT]
            value *= self.settings.w_per_a
        if not quality & Quality.BAD and 0.0 <= value < math.inf:
            self.load_w = value
            self._changed(self.device.name)
