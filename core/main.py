"""The part ``core``: one loop that serves commands, steps the alarms and watches for stale values.

Five times a second it looks at the tags of the alarms; once a second at all tags for staleness, at the parts, and
writes its own tags. In between it sleeps until a request, an event or an owner's answer arrives. Nothing in the loop
waits for another part: commands are forwarded by threads, disks are asked for a few hundred bytes at a time.
"""

from __future__ import annotations

import logging
import math
import select
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from gwanje.core.alarms.service import KeptAlarms
from gwanje.core.alarms.table import AlarmTable
from gwanje.core.authority.kept import KeptAuthority
from gwanje.core.authority.keys import KeysError
from gwanje.core.authority.service import SERVICE as SESSION_SERVICE
from gwanje.core.bus.bus import Publisher, Server
from gwanje.core.bus.messages import Event
from gwanje.core.bus.rate import RateLimit
from gwanje.core.bus.snapshot import SERVICE as SNAPSHOT_SERVICE
from gwanje.core.bus.snapshot import SnapshotService
from gwanje.core.city.part import PartContext, PartError
from gwanje.core.city.part_ends import UntoldEnds
from gwanje.core.clock import NS_PER_S, Clock, boot_id, read_both
from gwanje.core.commands.messages import SERVICE
from gwanje.core.commands.path import CommandPath
from gwanje.core.commands.safety_desk import SafetyGuard
from gwanje.core.commands.safety_tags import SafetyKind
from gwanje.core.event_memory import EventMemory
from gwanje.core.journal.chain import JournalLockedError
from gwanje.core.journal.desk import JournalDesk
from gwanje.core.journal.kinds import EntryKind
from gwanje.core.journal.opening import OpeningJournal, SigningKey
from gwanje.core.journal.service import SERVICE as JOURNAL_SERVICE
from gwanje.core.journal.service import JournalService
from gwanje.core.refusals import CHANGES, Refusals
from gwanje.core.serving import Door, Handler, Mishaps, Reply, Serving
from gwanje.core.sound.path import SoundPath
from gwanje.core.sound.service import SERVICE as SOUND_SERVICE
from gwanje.core.tags import stale
from gwanje.core.tags.keeping import STATUS_TAGS as TAG_STATUS
from gwanje.core.tags.keeping import TagKeeping
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.store import Snapshot, TagWriter
from gwanje.core.tags.table import TagTable

OWNER = "core"
JOURNAL_FILE = "journal.jsonl"
ALARM_FILE = "alarms.sqlite"
LEASE_PREFIX, LEASE_SUFFIX = "system.lease.", "_until_s"

ALARM_PERIOD_NS = NS_PER_S // 5
"""Five looks a second: an alarm is at most 0.2 s later than its delay says."""
SLOW_PERIOD_NS = NS_PER_S
STARTUP_GRACE_NS = 5 * NS_PER_S
"""The other parts need this long to write their first values; until then nothing can be said about their absence."""
EVENTS_PER_BIT = 10
"""Events heard before the services are looked at again."""
RUNNING = 2
"""Value of a part's state tag when it runs."""

NO_FIGURE = Quality.BAD | Quality.NOT_IMPLEMENTED

STATUS_TAGS = (
    "system.commands.accepted", "system.commands.refused", "system.commands.read_only", "system.commands.held_points",
    "system.commands.selected", "system.commands.running", "system.commands.kept",
    "system.safety.tags", "system.safety.danger", "system.safety.overdue", "system.safety.kept",
    "system.tags.stale", "system.tags.never",
    "system.alarms.active", "system.alarms.unacknowledged",
    "system.alarms.p1", "system.alarms.p2", "system.alarms.p3", "system.alarms.p4", "system.alarms.store_ok",
    "system.alarms.shelved", "system.alarms.suppressed", "system.alarms.out_of_service", "system.alarms.rate",
    "system.alarms.flood", "system.alarms.flood_pct", "system.alarms.stale", "system.alarms.chattering",
    "system.alarms.ack_mean_s", "system.alarms.ack_p95_s",
    "system.core.failed_requests",
    "system.journal.entries", "system.journal.broken_files", "system.journal.used_bytes", "system.journal.signed",
    "system.journal.ok",
    *TAG_STATUS,
)  # fmt: skip


class StatusTags:
    """The core's own tags: the leases and what :data:`STATUS_TAGS` lists."""

    def __init__(self, tags: TagTable, writer: TagWriter, publisher: Publisher, clock: Clock) -> None:
        """Find the tags.

        Raises:
            PartError: the site lacks one of them.
        """
        missing = [name for name in STATUS_TAGS if name not in tags or tags.get(name).owner != OWNER]
        if missing:
            raise PartError(f"tags/system.toml lacks tag {missing[0]} of owner {OWNER}")
        self._writer = writer
        self._publisher = publisher
        self._clock = clock
        self._order = np.argsort(tags.indices(STATUS_TAGS))
        self._ids: npt.NDArray[np.int32] = tags.indices(STATUS_TAGS)[self._order]
        self._leases = {
            tag.name[len(LEASE_PREFIX) : -len(LEASE_SUFFIX)]: tags.index(tag.name)
            for tag in tags.match(f"{LEASE_PREFIX}*{LEASE_SUFFIX}")
            if tag.owner == OWNER
        }

    @property
    def lease_names(self) -> frozenset[str]:
        """Leases that the site has a tag for."""
        return frozenset(self._leases)

    def lease(self, name: str, until_mono_ns: int) -> None:
        """Show how long a lease is valid."""
        tag_id, utc_ns = self._leases[name], self._clock.utc_ns()
        until_s = until_mono_ns / NS_PER_S
        self._writer.write_one(tag_id, until_s, Quality.GOOD, utc_ns, self._clock.mono_ns())
        self._publisher.scan(
            np.array([tag_id]), np.array([until_s]), np.zeros(1, np.uint16), np.array([utc_ns], dtype=np.int64)
        )

    def write(self, values: Mapping[str, float]) -> None:
        """Write and publish all of :data:`STATUS_TAGS`; NaN is a figure that cannot be had."""
        column = np.array([values[name] for name in STATUS_TAGS], dtype=np.float64)[self._order]
        quality = np.where(np.isnan(column), NO_FIGURE, Quality.GOOD).astype(np.uint16)
        both = read_both(self._clock)  # the time watch of a core after us compares them
        times = np.full(len(column), both.utc_ns, dtype=np.int64)
        self._writer.write(self._ids, column, quality, times, both.mono_ns)
        self._publisher.scan(self._ids, column, quality, times)


REMOTE_ENTRIES = {str(kind): kind for kind in (EntryKind.REMOTE_ADMITTED, EntryKind.REMOTE_REFUSED)}
"""Events of the doors beyond the machine that become entries."""
REMOTE_PART = "remote"
REMOTE_ENTRIES_PER_S, REMOTE_ENTRY_BURST = 1.0, 60
"""They come a few times a minute; a part that has gone wild must not push out what people are told."""


class Keeper(Protocol):
    """A service that answers at once."""

    def handle(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a request."""


class PartWatch:
    """Enters into the journal when a part starts, as the supervisor's tags say, and how it ended, as its file says."""

    def __init__(self, tags: TagTable) -> None:
        told_elsewhere = ("system.part_city.state", f"system.part_{OWNER}.state")  # the core tells of itself
        watched = [tag for tag in tags.match("system.part_*.state") if tag.name not in told_elsewhere]
        self._names = [tag.name.split(".")[1].removeprefix("part_") for tag in watched]
        self._states = tags.indices([tag.name for tag in watched])
        self._restarts = tags.indices([tag.name.replace(".state", ".restarts") for tag in watched])
        self._before: list[tuple[float, float]] = []

    def look(self, snapshot: Snapshot, ended: Mapping[str, int]) -> list[tuple[EntryKind, dict[str, Any]]]:
        """Entries about what changed since the last look; the first look only remembers.

        Args:
            snapshot: of all tags.
            ended: part → restarts that follow its last end that was entered: nothing is told of that one.
        """
        now = list(
            zip(snapshot.value[self._states].tolist(), snapshot.value[self._restarts].tolist(), strict=True)
        )
        before, self._before = self._before, now
        entries: list[tuple[EntryKind, dict[str, Any]]] = []
        for name, was, state in zip(self._names, before, now, strict=False):
            if math.isnan(state[0]) or (was[0] == state[0] and was[1] == state[1]):
                continue
            if state[0] == RUNNING:
                restarts = 0 if math.isnan(state[1]) else int(state[1])
                entries.append((EntryKind.PART_STARTED, {"part": name, "restarts": restarts}))
            elif was[0] == RUNNING and not ended.get(name, 0) >= state[1]:  # NaN: not known
                entries.append((EntryKind.PART_STOPPED, {"part": name}))
        return entries


class Core:
    """The running part. Build it, then :meth:`run`."""

    def __init__(self, ctx: PartContext) -> None:
        """Open everything.

        Raises:
            PartError: the state directory cannot be used, or another city uses it.
        """
        self._ctx = ctx
        self._clock = ctx.clock
        self._publisher = ctx.bus.publisher()
        try:
            signing = SigningKey(ctx.options.security_dir)
            self._journal = OpeningJournal(ctx.state_dir / JOURNAL_FILE, ctx.clock, signing)
        except JournalLockedError as error:
            raise PartError(f"another city runs on {ctx.state_dir}: {error}") from None
        except KeysError as error:
            raise PartError(str(error)) from None
        self._desk = JournalDesk(self._journal)
        self._writer = ctx.store.writer(OWNER)
        self._status = StatusTags(ctx.tags, self._writer, self._publisher, ctx.clock)
        self._people = KeptAuthority(
            ctx.run_dir, ctx.options.security_dir, ctx.site.areas, ctx.site.authority, tags=ctx.tags,
            writer=self._writer, publisher=self._publisher, clock=ctx.clock, desk=self._desk, boot=boot_id(),
        )  # fmt: skip
        self._authority = self._people.authority
        self._commands = CommandPath(
            ctx, self._desk, self._publisher, self._authority, self._status.lease, self._status.lease_names,
            lambda session_id: self._authority.sessions.by_id(session_id) is not None,
        )  # fmt: skip
        self._desk.note_all([(EntryKind.PART_STARTED, {"part": OWNER})])
        self._commands.take_up()
        self._guard = SafetyGuard(self._commands.safety, self._commands.server)
        self._guard.step()
        table = AlarmTable(
            ctx.site.alarms, ctx.site.event_alarms, ctx.tags, ctx.site.topology, ctx.site.places,
            lambda point: self._commands.safety.has(point, SafetyKind.MAINTENANCE),
        )  # fmt: skip
        self._alarms = KeptAlarms(
            table, ctx.state_dir / ALARM_FILE, ctx.clock, self._publisher.alarm, self._desk, self._authority,
            boot=boot_id(), sequence_floor=self._journal.entries or None,
        )  # fmt: skip
        self._numbered = self._journal.entries > 0
        self._tags = TagKeeping(ctx, self._writer, self._publisher, self._desk, self._authority)
        self._events = EventMemory(ctx.clock)
        self._sound = SoundPath(
            ctx, self._desk, self._publisher, self._writer, self._authority,
            lambda: self._commands.server.read_only,
        )  # fmt: skip
        self._keepers: dict[str, Keeper] = {
            "alarms": self._alarms,
            "events": self._events,
            JOURNAL_SERVICE: JournalService(self._desk, self._journal.recent, self._authority),
            SOUND_SERVICE: self._sound,
            SNAPSHOT_SERVICE: SnapshotService(ctx.store, ctx.clock, ctx.bus.marks),
            **self._tags.services,
        }
        self._servers: tuple[tuple[Server, str], ...] = tuple(
            (ctx.bus.server(name), name) for name in (SERVICE, SESSION_SERVICE, *self._keepers)
        )
        self._heard = ctx.bus.subscriber(["event"])
        self._refusals = Refusals(self._desk, ctx.clock, self._authority.known)
        self._entered = RateLimit(REMOTE_ENTRIES_PER_S, REMOTE_ENTRY_BURST)
        self._mishaps = Mishaps(self._desk, ctx.clock, ctx.log)
        self._serving = Serving(
            [Door(name, server, self._looked_at(name)) for server, name in self._servers],
            (self._commands.serve, self._people.finished, self._hear), self._mishaps, ctx.clock,
        )  # fmt: skip
        self._parts = PartWatch(ctx.tags)
        self._ends = UntoldEnds(ctx.run_dir)
        self._stale = stale.StaleState.empty(ctx.tags.n)
        self._exists = np.array([tag is not None for tag in ctx.tags.tags], dtype=np.bool_)
        self._snapshot = Snapshot.empty(ctx.tags.n)
        self._samples = Snapshot.empty(len(self._alarms.tag_ids))
        self._said = self._ends_trouble = ""

    def run(self) -> None:
        """Turn until asked to stop."""
        waiting = select.poll()
        for descriptor in (self._ctx.stop_fd, self._heard.fileno(), self._people.fileno()):
            waiting.register(descriptor, select.POLLIN)
        self._commands.watch(waiting)
        for server, _ in self._servers:
            waiting.register(server.fileno(), select.POLLIN)
        next_alarm = next_slow = self._clock.mono_ns()
        watch_from = self._watch_from()
        self._alarms.publish_all()
        while not self._ctx.stopping():
            self._ctx.heartbeat()
            now = self._clock.mono_ns()
            if now >= next_alarm:
                next_alarm = max(next_alarm + ALARM_PERIOD_NS, now)
                self._people.step()
                self._guard.step()
                self._commands.step()
                self._sound.step()
                self._desk.step()
                self._tags.step()
                if now >= watch_from:
                    self._step_alarms(self._clock.mono_ns())  # the disk may have kept us: what is new is not early
            if now >= next_slow:
                next_slow = max(next_slow + SLOW_PERIOD_NS, now)
                self._step_slow(self._clock.mono_ns())
            more = self._serving.turn()
            self._alarms.work()
            if self._desk.due(self._clock.mono_ns()):
                self._desk.step()
            left_ns = min(next_alarm, next_slow, self._desk.due_mono_ns or next_slow) - self._clock.mono_ns()
            if self._commands.look_ns:
                self._commands.look()
                left_ns = min(left_ns, self._commands.look_ns)
            busy = more or self._alarms.pending  # a flood and a storm are worked off in turns
            if left_ns > 0 and not busy:
                waiting.poll(left_ns / 1e6)

    def _watch_from(self) -> int:
        """When the alarms begin to look: after a grace when the city just starts, at once after a restart of ours."""
        now = self._clock.mono_ns()
        snapshot = self._ctx.store.snapshot(self._snapshot)
        others = self._exists.copy()
        others[slice(*self._ctx.tags.range_of(OWNER))] = False
        written = snapshot.received_mono_ns[others & (snapshot.received_mono_ns > 0)]
        city_starts = not len(written) or now - int(written.min()) < STARTUP_GRACE_NS
        return now + STARTUP_GRACE_NS if city_starts else now

    def _handler(self, name: str) -> Handler:
        """Who answers a service."""
        if name == SERVICE:
            return self._commands.handle
        if name == SESSION_SERVICE:
            return self._people.handle
        keeper = self._keepers[name]
        return lambda message, reply: reply(keeper.handle(message))

    def _looked_at(self, name: str) -> Handler:
        """The same, with refusals of changes told."""
        handler = self._handler(name)
        if name not in CHANGES:
            return handler

        def handle(message: Mapping[str, Any], reply: Reply) -> None:
            def told(answer: dict[str, Any]) -> None:
                reply(answer)
                self._refusals.look(name, message, answer)

            handler(message, told)

        return handle

    def _hear(self) -> int:
        """Some of the events that have arrived; how many."""
        for taken in range(EVENTS_PER_BIT):
            message = self._heard.receive()
            if message is None:
                return taken
            if isinstance(message, Event):
                self._events.take(message)
                self._alarms.event(message)
                if self._heard.sender == REMOTE_PART:
                    self._enter_remote(message)
        return EVENTS_PER_BIT

    def _enter_remote(self, event: Event) -> None:
        """An entry about somebody at the doors beyond the machine; only the part that keeps them is believed."""
        kind = REMOTE_ENTRIES.get(event.class_name)
        if kind is not None and self._entered.take(kind, self._clock.mono_ns()):
            self._desk.note(kind, key=event.source, text=event.text_en, n=event.data.get("count", 1))

    def _step_alarms(self, now: int) -> None:
        self._ctx.store.read_many(self._alarms.tag_ids, now, self._samples)
        self._alarms.step(self._samples)

    def _step_slow(self, now: int) -> None:
        snapshot = self._ctx.store.snapshot_at(now, self._snapshot)
        self._stale, look = stale.step(self._stale, snapshot.quality, self._exists)
        if len(look.fresh_stale):
            self._publisher.scan(*stale.columns(look, snapshot, self._clock.utc_ns()))
        self._tell_ends()
        self._desk.note_all(self._parts.look(snapshot, self._ends.restarts))
        self._people.refresh()
        self._refusals.step()
        if not self._numbered and self._journal.entries:
            self._numbered = True
            self._alarms.number_from(self._journal.entries)
        self._status.write(
            {
                **self._commands.status(),
                "system.core.failed_requests": self._mishaps.n,
                "system.tags.stale": look.n_stale,
                "system.tags.never": look.n_never,
                **self._alarms.status(),
                **self._tags.status(),
                "system.journal.entries": self._journal.entries,
                "system.journal.broken_files": self._journal.broken_files,
                "system.journal.used_bytes": self._journal.used_bytes,
                "system.journal.signed": self._journal.signed,
                "system.journal.ok": self._desk.ok,
            }
        )
        self._say()

    def _tell_ends(self) -> None:
        """Entries about parts that ended, also about a core before this one."""
        try:
            ends = self._ends.take()
            self._desk.note_all([(EntryKind.PART_ENDED, one.entry()) for one in ends])
            self._ends.told(ends)
        except (OSError, ValueError) as error:
            if str(error) != self._ends_trouble:
                self._ctx.log.warning("how parts ended is not known: %s", error)
            self._ends_trouble = str(error)
        else:
            self._ends_trouble = ""

    def _say(self) -> None:
        """One warning on the terminal when journal or alarm file begin or end to fail."""
        journal = "" if self._desk.ok else "journal cannot be written: every command is refused"
        said = "; ".join(one for one in (journal, self._alarms.trouble, self._people.trouble) if one)
        if said != self._said:
            self._ctx.log.log(logging.WARNING, "%s", said or "journal and states are written again")
            self._said = said

    def close(self) -> None:
        """Let go of everything but the bus, which its maker closes."""
        self._commands.close()
        self._people.close()
        self._heard.close()
        for server, _ in self._servers:
            server.close()
        self._alarms.close()
        self._tags.close()
        self._desk.note_all([(EntryKind.PART_STOPPED, {"part": OWNER})])
        self._journal.close()
        self._writer.close()


def main(ctx: PartContext) -> None:
    """Run the part ``core`` until it is asked to stop.

    Raises:
        PartError: it cannot run; one line why.
    """
    core = Core(ctx)
    try:
        core.run()
    finally:
        core.close()
