"""One period of the live controller: process image from the tag store, step, orders and figures back as tags.

Nothing here takes a request, meets a socket or a disk, or waits: what others want comes in a queue, what there is to
tell goes into one, and both are looked at when a period has time for it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from gwanje.control.loop import LAW_TAG, LIMIT_TAG
from gwanje.control.microgrid.controller import TIE_LAWS, MicrogridController
from gwanje.control.microgrid.live.binding import LOOP_TAGS, OWNER, Binding, Kind, ids_of
from gwanje.control.microgrid.live.followed import Followed, LoopSeen
from gwanje.control.microgrid.modes.types import Law, Mode
from gwanje.control.microgrid.settings import Settings
from gwanje.core.closed_loop.interface import Floats, Told
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.store import Snapshot, TagStore, TagWriter
from gwanje.core.tags.table import TagTable
from gwanje.ext.control_loop import LAWS
from gwanje.ext.reference.tie_line import TRACK

ORDER_KEPT_NS = 150_000_000
"""An order stands for at least three rounds of the drivers, which look every 50 ms."""
FIGURES_EVERY = 10
"""Periods per turn of the figures; they come between the laws of a hundred milliseconds, not with them."""
FIGURES_AT = 5
SECOND = 100
"""Periods of the least and greatest frequency."""
ASKS_MAX = 16
"""Requests that wait; people ask for one thing at a time."""
TOLD_MAX = 1_000
"""Lines that wait to be told; beyond that the oldest go."""
NEVER_BAD = int(Quality.BAD | Quality.NEVER)
NOT_LEASED = int(Quality.UNCERTAIN | Quality.BLOCKED)
NOT_GOOD = int(Quality.BAD | Quality.UNCERTAIN)
MODES = tuple(Mode)
FIRST = ("grid.breaker.closed", "grid.bus.voltage_v")
"""What must be known before anything is commanded."""
BLIND = ("import_missing", "breaker_unknown", "frequency_missing", "frequency_liar")
ISLAND_MODES = (Mode.UNPLANNED, Mode.ISLANDED, Mode.RESYNC, Mode.BLACK, Mode.BLACK_START)


@dataclass(slots=True)
class Chosen:
    """What operators allow; ``ready`` (1 or 0): generators too run so that the city can be an island at any moment."""

    import_w: float
    demand_cap_w: float
    reactive_import_var: float
    ready: float = 0.0


@dataclass(slots=True)
class _Course:
    """What has to be remembered of an island."""

    mode: Mode | None = None
    unplanned: bool = False
    island_s: float = 0.0
    sync_s: float = 0.0
    sync_failed: bool = False
    missing_s: float = 0.0


@dataclass(slots=True)
class _Extremes:
    """Least and greatest frequency of this second and the one before."""

    low: float = math.inf
    high: float = -math.inf
    low_before: float = math.inf
    high_before: float = -math.inf
    periods: int = 0

    def take(self, hz: float) -> None:
        """A period's frequency; no number is passed over."""
        self.low, self.high = min(self.low, hz), max(self.high, hz)
        self.periods += 1
        if self.periods >= SECOND:
            self.low_before, self.high_before, self.low, self.high = self.low, self.high, math.inf, -math.inf
            self.periods = 0


class LiveLoop:
    """The controller on a tag store; see the module.

    Args:
        controller: of the site; its tie-line law follows the compiled loop from now on.
        binding: its tags.
        tags: of the site.
        store: of the city.
        writer: of the owner ``microgrid``.
        chosen: what operators allow; shown, and put into force by the caller.
        shed_before: loads that an earlier process held off, with what they drew.

    Attributes:
        asks: what is to be done between two periods, by whoever wants something of the controller.
        told: lines for people.
        between: called in each period before the controller steps, by whoever changes its parameters.
        shown: figures of the loop itself, by tag; replaced as a whole by whoever makes them.
        tuned: what is tuned, by tag; replaced as a whole.
        leased: the lease was valid in the last period.
        seen: the compiled loop in the last period.
    """

    def __init__(
        self, controller: MicrogridController, binding: Binding, tags: TagTable, store: TagStore, writer: TagWriter,
        chosen: Chosen, shed_before: Mapping[str, float] | None = None,
    ) -> None:  # fmt: skip
        self.controller, self.binding, self.chosen = controller, binding, chosen
        self._tags, self._store, self._writer = tags, store, writer
        self._shed_before = shed_before or {}
        self.asks: deque[Callable[[], None]] = deque(maxlen=ASKS_MAX)
        self.told: deque[Told] = deque(maxlen=TOLD_MAX)
        self.shown: dict[str, float] = {}
        self.tuned: dict[str, float] = {}
        self.leased = False
        self._lay_out()
        self.seen = LoopSeen(commanded_w=[math.nan] * len(binding.battery_tags))
        self._followed = Followed(
            controller.tie.kernel, self.seen, [bool(tag) for tag in binding.battery_tags], controller.settings
        )
        controller.tie.kernel = self._followed
        self.between: Callable[[], None] = _nothing
        self._course, self._extremes = _Course(), _Extremes()
        self._begun = False
        self._periods = 0
        self._take_up_course()

    def _lay_out(self) -> None:
        """Arrays and places; nothing is allocated in a period but what the layers themselves make."""
        binding, tags = self.binding, self._tags
        extra = [*LOOP_TAGS, binding.loop_lease_tag, "system.lease.microgrid_until_s"]
        feedback = [one.feedback for one in binding.commands]
        all_ids = np.concatenate([
            binding.reads, ids_of(tags, extra), ids_of(tags, binding.battery_tags), ids_of(tags, feedback),
        ])  # fmt: skip
        self._absent = all_ids < 0
        self._ids = np.where(self._absent, 0, all_ids).astype(np.int32)
        self._image = Snapshot.empty(len(all_ids))
        n = len(binding.reads)
        self._n, self._extra_at = n, n
        self._battery_at = n + len(extra)
        self._feedback_at = self._battery_at + len(binding.battery_tags)
        self._age_s = np.zeros(len(all_ids))
        commands = binding.commands
        self._out = np.full(len(commands), math.nan)
        self._order = np.array([one.kind is Kind.ORDER for one in commands])
        self._wanted = np.array([one.kind is Kind.WANTED for one in commands])
        self._top = np.array([one.top for one in commands]) * (1.0 - 1e-9)
        self._idle = np.array([one.idle for one in commands])
        self._free = np.array([one.free for one in commands])
        self._kept = np.zeros(len(commands))
        self._kept_until = np.zeros(len(commands), np.int64)
        ordered = frozenset(one.tag for one in commands)
        first, end = tags.range_of(OWNER)
        own = [one.name for one in tags.tags[first:end] if one is not None and one.name not in ordered]
        names = [*(one.tag for one in commands), *own]
        ids = tags.indices(names)
        self._write_order = np.argsort(ids)
        self._write_ids = np.sort(ids)
        self._place = {name: len(commands) + at for at, name in enumerate(own)}
        self._value = np.full(len(names), math.nan)
        self._quality = np.full(len(names), NEVER_BAD, np.uint16)
        self._utc = np.zeros(len(names), np.int64)

    def _take_up_course(self) -> None:
        """What the tags of an earlier process of this run still tell of the island."""
        for name, key in (("microgrid.state.unplanned", "unplanned"), ("microgrid.state.island_s", "island_s")):
            sample = self._store.read(self._tags.index(name))
            if not sample.quality & Quality.BAD and sample.value > 0.0:
                setattr(self._course, key, type(getattr(self._course, key))(sample.value))

    # -- one period

    def step(self, now_ns: int, utc_ns: int, dt_s: float) -> None:
        """One period, ``dt_s`` after the last one."""
        image, n = self._store.read_many(self._ids, now_ns, self._image), self._n
        np.subtract(now_ns, image.received_mono_ns, out=self._age_s, casting="unsafe")
        self._age_s *= 1e-9
        image.quality[self._absent] = NEVER_BAD
        self._age_s[image.received_mono_ns == 0] = math.inf
        ages = self._age_s[:n]
        np.subtract(ages, self.binding.patience_s, out=ages, where=self.binding.patience_s > 0.0)
        np.maximum(ages, 0.0, out=ages)
        self._look_at_loop()
        leased = self._lease_valid(self._extra_at + len(LOOP_TAGS) + 1, now_ns)
        if self._begun and leased and not self.leased:
            self._begin_commands()
        self.leased = leased
        self._follow()
        while self.asks:
            self.asks.popleft()()
        self.between()
        controller = self.controller
        if not self._begun:
            self._take_up(now_ns * 1e-9, ages)
        if self._begun:
            controller.step(now_ns * 1e-9, image.value[:n], image.quality[:n], ages, self._out)
        self._extremes.take(controller.image.frequency_hz)
        self._keep_course(dt_s)
        self._put_commands(now_ns)
        self._periods += 1
        if self._periods % FIGURES_EVERY == FIGURES_AT or self._periods < FIGURES_EVERY:
            self._put_figures()
        self._put_quick()
        self._utc[:] = utc_ns
        at = self._write_order
        self._writer.write(self._write_ids, self._value[at], self._quality[at], self._utc, now_ns)

    def retune(self, settings: Settings) -> None:
        """Other parameters between two periods. Raises ValueError: they are not live, and nothing has changed."""
        self.controller.retune(settings)
        self._followed.set_settings(settings)

    def withdraw(self, now_ns: int, utc_ns: int) -> None:
        """No order stands any more: a breaker that is to be closed at this moment must not be closed after the last."""
        ids = np.sort(self._tags.indices([one.tag for one in self.binding.commands if one.kind is Kind.ORDER]))
        none = np.zeros(len(ids))
        self._writer.write(ids, none, none.astype(np.uint16), np.full(len(ids), utc_ns), now_ns)

    def _good(self, at: int) -> float:
        """A value of the image that is good, else NaN."""
        return math.nan if self._image.quality[at] & NOT_GOOD else float(self._image.value[at])

    def _lease_valid(self, at: int, now_ns: int) -> bool:
        return self._good(at) > now_ns * 1e-9

    def _look_at_loop(self) -> None:
        seen, at = self.seen, self._extra_at
        mode = self._good(at)
        seen.mode = int(mode) if mode == mode else -1
        unserved_w, correction_w = self._good(at + 1), self._good(at + 3)
        seen.unserved_w = unserved_w if unserved_w == unserved_w else 0.0
        seen.net_load_w = self._good(at + 2)
        seen.correction_w = correction_w if correction_w == correction_w else 0.0
        for k, tag in enumerate(self.binding.battery_tags):
            seen.commanded_w[k] = self._good(self._battery_at + k) if tag and seen.commands else math.nan

    def _follow(self) -> None:
        """Batteries of the loop: their present command is the loop's, while it controls or nothing is known of them.

        While nobody streams it is what the device holds by itself: in an island too the law goes on from there, so that
        a loop that comes back relays no jump.
        """
        controller = self.controller
        present, wanted = controller.commands.present, controller.commands.wanted
        streams = self.seen.mode > TRACK
        connected = controller.law in TIE_LAWS
        for k, to in enumerate(controller.units.power_to):
            if not self.binding.battery_tags[k]:
                continue
            told_w = self.seen.commanded_w[k]
            if told_w != told_w and not streams:
                told_w = self.seen.commanded_w[k] = self._good(self._feedback_at + to)
            if told_w == told_w and (connected or not streams or present[to] != present[to]):
                present[to] = wanted[to] = told_w

    # -- beginning

    def _take_up(self, now_s: float, ages: Floats) -> None:
        """Before the first step, once breaker and bus are known: devices are found as they are."""
        controller, image, n = self.controller, self._image, self._n
        if any(self._good(controller.image.index[name]) != self._good(controller.image.index[name]) for name in FIRST):
            return
        self._begun = True
        controller.image.take(now_s, image.value[:n], image.quality[:n], ages)
        controller.units.look(controller.settings.timing.secondary_s)
        held = self._held()
        source_w = {name.rpartition(".")[0]: held[name] for name in held if name.endswith(".generation_w_max_setpoint")}
        flexible_w = {name.rpartition(".")[0]: held[name] for name in held if name.endswith(".load_w_max_setpoint")}
        for one in self.controller.settings.flexible:
            if one.command == "dim_command" and held.get(f"{one.load}.dim_command", 1.0) < 1.0:
                flexible_w[one.load] = held[f"{one.load}.dim_command"] * one.rated_w
        controller.supervisor.take_up(self._shed_before, source_w, flexible_w)
        self._begin_commands()

    def _held(self) -> dict[str, float]:
        """Set-points that devices say they hold, by the controller's names."""
        found = {}
        for k, one in enumerate(self.binding.commands):
            value = self._good(self._feedback_at + k)
            if one.kind is Kind.SETPOINT and value == value:
                found[one.name] = value
        return found

    def _begin_commands(self) -> None:
        """Set-points begin from what the devices hold; a power from what was found to be delivered."""
        controller, held = self.controller, self._held()
        commands, units = controller.commands, controller.units
        for name, value in held.items():
            at = commands.index[name]
            unused = name.endswith(".generation_setpoint_w") and commands.present[at] != commands.present[at]
            if not unused and not name.endswith(".discharge_setpoint_w"):
                commands.begin(at, value)
        reactive_var = float(np.nansum(commands.present[units.reactive_to]))
        controller.reactive.begin(reactive_var, controller.image.get("grid.tie.reactive_var"))

    # -- tags

    def _put_commands(self, now_ns: int) -> None:
        out, n = self._out, len(self._out)
        value, quality = self._value[:n], self._quality[:n]
        known = out == out
        said = np.where(known, np.where(out > 0.5, 1.0, 2.0), 0.0)
        fresh = self._order & known
        self._kept[fresh] = said[fresh]
        self._kept_until[fresh] = now_ns + ORDER_KEPT_NS
        kept = np.where(self._kept_until > now_ns, self._kept, 0.0)
        plain = np.where(known, np.where(out >= self._top, self._free, out), self._idle if self._begun else math.nan)
        np.copyto(value, np.where(self._order, kept, plain))
        quality[:] = np.where(value == value, 0, NEVER_BAD)
        if not self.leased:
            quality[self._wanted & known] = NOT_LEASED

    def _put(self, name: str, value: float) -> None:
        at = self._place[name]
        self._value[at] = value
        self._quality[at] = 0 if math.isfinite(value) else NEVER_BAD

    def _put_quick(self) -> None:
        controller, put = self.controller, self._put
        mode = controller.mode
        # What the compiled loop obeys counts only under the lease, as everything else that is ordered here.
        put(LAW_TAG, float(LAWS.index(controller.law)) if mode is not None else math.nan)
        if not self.leased:
            self._quality[self._place[LAW_TAG]] |= NOT_LEASED
        put("microgrid.state.mode", float(MODES.index(mode)) if mode is not None else math.nan)
        put("microgrid.state.frequency_hz", controller.image.frequency_hz)
        put("microgrid.state.lease", float(self.leased))
        put("microgrid.state.unplanned", float(self._course.unplanned))
        put(LIMIT_TAG, controller.supervisor.allowed_w if self.leased else math.nan)

    def _keep_course(self, dt_s: float) -> None:
        """How the island came about, how long it lasts, and whether reconnecting fails."""
        course, mode = self._course, self.controller.mode
        before, course.mode = course.mode, mode
        island = mode in ISLAND_MODES or (mode is Mode.LOCKOUT and self.controller.law is not Law.TIE)
        if mode is Mode.UNPLANNED and before is not mode:
            course.unplanned = True
        elif mode in (Mode.CONNECTED, Mode.ISLANDING) or (mode is Mode.ISLANDED and before is Mode.ISLANDING):
            course.unplanned = False
        course.island_s = course.island_s + dt_s if island else 0.0
        course.sync_s = course.sync_s + dt_s if mode is Mode.RESYNC else 0.0
        if before is Mode.RESYNC and mode in (Mode.ISLANDED, Mode.LOCKOUT):
            course.sync_failed = True
        elif mode in (Mode.RESYNC, Mode.CONNECTED):
            course.sync_failed = False

    def _forming_missing(self, held_for_s: float) -> float:
        controller, course = self.controller, self._course
        if not controller.forms:
            course.missing_s = 0.0
            return 0.0
        asked = [one.name for one in controller.settings.battery if one.name in controller.settings.modes.forming_units]
        missing = sum(controller.image.get(f"{name}.forming") != 1.0 for name in asked)
        course.missing_s = course.missing_s + held_for_s if missing else 0.0
        return float(missing)

    def _put_figures(self) -> None:
        controller, course, put = self.controller, self._course, self._put
        self.told.extend(controller.told())
        state, mode = controller.state(), controller.mode

        def number(key: str) -> float:
            return float(state.get(key, math.nan))

        alarms = str(state.get("alarms", "")).split(",")
        blind = not self._begun or any(one.partition(":")[0] in BLIND for one in alarms)
        put("microgrid.state.guard_blind", float(blind))
        put("microgrid.state.frozen", number("frozen"))
        low, high = min(self._extremes.low, self._extremes.low_before), max(
            self._extremes.high, self._extremes.high_before
        )  # fmt: skip
        put("microgrid.state.frequency_low_hz", low)
        put("microgrid.state.frequency_high_hz", high)
        put("microgrid.state.soc", number("soc"))
        put("microgrid.state.island_s", course.island_s)
        put("microgrid.state.sync_s", course.sync_s)
        put("microgrid.state.sync_failed", float(course.sync_failed))
        put("microgrid.state.forming_missing", self._forming_missing(0.1))
        put("microgrid.state.loads_off", number("loads_off"))
        for key in ("command_w", "unserved_w", "flexible_w", "curtailed_w", "curtailed_wh"):
            put(f"microgrid.power.{key}", number(key))
        supervisor = controller.supervisor
        put("microgrid.power.residual_w", controller.residual_w)
        put("microgrid.power.shed_w", sum(supervisor.shed_loads.values()))
        put("microgrid.power.armed_free_w", supervisor.armed_free_w)
        put("microgrid.power.armed_room_w", supervisor.armed_room_w)
        import_w, margin = controller.image.get("grid.tie.import_w"), controller.settings.guard.shed_margin
        armed_w = max(import_w * (1.0 + margin) - supervisor.armed_free_w, 0.0) if import_w == import_w else math.nan
        put("microgrid.power.armed_shed_w", armed_w)
        put("microgrid.tie.demand_predicted_w", number("demand_predicted_w"))
        island, resync = mode in ISLAND_MODES and mode is not Mode.BLACK, mode is Mode.RESYNC
        put("microgrid.request.island", float(mode is Mode.ISLANDING or island))
        put("microgrid.request.reconnect", float(mode is Mode.CONNECTED or resync))
        put("microgrid.request.black_start", float(mode not in (None, Mode.BLACK, Mode.LOCKOUT)))
        put("microgrid.request.cancel", float(mode not in (None, Mode.ISLANDING, Mode.RESYNC, Mode.BLACK_START)))
        put("microgrid.request.reset_lockout", float(mode not in (None, Mode.LOCKOUT)))
        put("microgrid.limit.import_w", self.chosen.import_w)
        put("microgrid.limit.demand_cap_w", self.chosen.demand_cap_w)
        put("microgrid.limit.reactive_import_var", self.chosen.reactive_import_var)
        put("microgrid.request.ready", self.chosen.ready)
        put("microgrid.power.ready_short_w", number("ready_short_w"))
        for name, value in (*self.shown.items(), *self.tuned.items()):
            put(name, value)


def _nothing() -> None:
    """Nobody changes parameters."""
