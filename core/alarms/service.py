"""The alarm table with its file, its journal, its key figures and its listeners: the core's service ``alarms``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from gwanje.core.alarms.flood import FloodMeter, Presentation, present
from gwanje.core.alarms.kpis import Kpis, stale
from gwanje.core.alarms.operations import Authority, Operations
from gwanje.core.alarms.records import Change, Counts, StoredAlarm
from gwanje.core.alarms.states import Happening
from gwanje.core.alarms.store import AlarmStore, AlarmStoreError, rebased
from gwanje.core.alarms.table import AlarmTable
from gwanje.core.bus.messages import AlarmChange, Event
from gwanje.core.clock import NS_PER_S, Clock
from gwanje.core.journal.kinds import EntryKind
from gwanje.core.requests import NAME_MAX, TEXT_MAX
from gwanje.core.tags.store import Snapshot

REOPEN_NS = 2 * NS_PER_S
"""How often an alarm file that could not be opened or written is tried again."""
CHANGES_PER_TURN = 25
"""Alarms that change in one turn of the core's loop: about 4 ms of work; a command waits no longer than that."""
SAVE_NS = 10 * NS_PER_S
"""How often the key figures are kept; what a kill loses of them is less."""
SEQUENCE_JUMP = 100_000
"""Added to the kept number when the journal cannot say how far it was: more changes than :data:`SAVE_NS` holds."""
SECOND_NS = NS_PER_S
PRESENT_NS = NS_PER_S // 2
"""A presented list is made anew at most this often, however many screens ask."""

Entries = Iterable[tuple[EntryKind, dict[str, Any]]]

_KINDS = {
    Happening.ACKNOWLEDGE: EntryKind.ALARM_ACKNOWLEDGED,
    Happening.RESET: EntryKind.ALARM_RESET,
    Happening.SHELVE: EntryKind.ALARM_SHELVED,
    Happening.SHELVE_ONCE: EntryKind.ALARM_SHELVED,
    Happening.UNSHELVE: EntryKind.ALARM_UNSHELVED,
    Happening.TAKE_OUT: EntryKind.ALARM_OUT_OF_SERVICE,
    Happening.PUT_BACK: EntryKind.ALARM_BACK_IN_SERVICE,
}


class Desk(Protocol):
    """What the alarms need of the journal; see :class:`gwanje.core.journal.desk.JournalDesk`."""

    def write_now(self, kind: EntryKind, **data: Any) -> None:
        """An entry that must be there before anything happens; raises JournalError."""

    def note_all(self, entries: Entries) -> None:
        """Entries about what happened anyway."""


class KeptAlarms:
    """The alarm table with its file, its journal and its listeners. Use it from one thread."""

    def __init__(
        self,
        table: AlarmTable,
        path: Path,
        clock: Clock,
        publish: Callable[[AlarmChange], None],
        desk: Desk,
        authority: Authority,
        boot: str = "",
        sequence_floor: int | None = 0,
    ) -> None:
        """Take up what an earlier process kept; a damaged file is set aside and the journal says so.

        Args:
            table: of the site, at rest.
            path: of the file.
            clock: both clocks.
            publish: says a change to whoever listens.
            desk: of the journal.
            authority: knows who asks and which area is whose.
            boot: identity of this boot; monotonic times of another one are counted anew.
            sequence_floor: changes are numbered from above it, also when the file is lost: entries in the journal,
                for each change has one. ``None`` while the journal cannot be opened; see :meth:`number_from`.
        """
        self._table = table
        self._path = path
        self._clock = clock
        self._publish = publish
        self._desk = desk
        self._boot = boot
        self._table.sequence = sequence_floor or 0
        self._jump = SEQUENCE_JUMP if sequence_floor is None else 0
        self._store: AlarmStore | None = None
        self._unkept: set[str] = set()
        self._tried_mono_ns = -REOPEN_NS
        self._saved_mono_ns = self._second_mono_ns = clock.mono_ns()
        self.flood = FloodMeter()
        self._kpis = Kpis()
        self._kpis_known = False
        self._presented = (-PRESENT_NS, -1, Presentation())
        self._operations = Operations(table, clock, desk, authority, self.tell)
        self.trouble = ""
        self._open()

    @property
    def kept(self) -> bool:
        """Whether every alarm's state is on the disk."""
        return self._store is not None and not self._unkept

    @property
    def tag_ids(self) -> Any:
        """Tags that the alarms watch."""
        return self._table.tag_ids

    @property
    def pending(self) -> int:
        """Happenings that wait for :meth:`work`."""
        return self._table.pending

    def counts(self) -> Counts:
        """How many stand."""
        return self._table.counts()

    # ------------------------------------------------------------ turning

    def step(self, samples: Snapshot) -> None:
        """Look at every watched tag once; what changes is told by :meth:`work`."""
        now, utc_ns = self._clock.mono_ns(), self._clock.utc_ns()
        self._table.look(samples, now, utc_ns)
        if not self.work() and not self.kept:
            self._open()
            self._keep()
        if now - self._second_mono_ns >= SECOND_NS:
            self._second_mono_ns = now
            self.flood.step(now)
            self._kpis.step(now, self.flood.flood)
        if now - self._saved_mono_ns >= SAVE_NS:
            self._keep(figures=True)

    def work(self) -> bool:
        """Let a bounded number of queued happenings happen and tell of them; whether there was anything."""
        changes = self._table.apply(CHANGES_PER_TURN)
        if changes:
            self.tell(changes)
        return bool(changes)

    def event(self, event: Event) -> None:
        """An event may raise an alarm."""
        self._table.event(event, self._clock.mono_ns(), self._clock.utc_ns())

    def number_from(self, entries: int) -> None:
        """The journal could be opened at last: changes are numbered from above its entries on."""
        self._table.sequence = max(self._table.sequence, entries)

    def publish_all(self) -> None:
        """Say every standing alarm again, for whoever missed the changes while the core was away."""
        for change in self._table.current():
            self._publish(change)

    def tell(self, changes: Sequence[Change], journalled: bool = False) -> None:
        """Keep, journal, publish: in this order, so that what a screen shows survives.

        Args:
            changes: as they happened.
            journalled: the first of them is in the journal already.
        """
        self._kpis.take(changes, self.flood)
        self._unkept.update(one.message.alarm_id for one in changes)
        self._open()
        self._keep(wait=any(one.author for one in changes))
        self._desk.note_all([_entry(one) for one in changes[int(journalled) :]])
        for one in changes:
            self._publish(one.message)

    # ------------------------------------------------------------ answering

    def handle(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """The service ``alarms``; see :mod:`gwanje.core.alarms.operations` for what people may do."""
        match message.get("op"):
            case "presented":
                return self._answer_presented()
            case "kpis":
                return self._figures()
            case _:
                return self._operations.handle(message, self.presentation)

    def presentation(self) -> Presentation:
        """What operators are shown now."""
        now, sequence = self._clock.mono_ns(), self._table.sequence
        made, of, shown = self._presented
        if (of != sequence or shown.flood != self.flood.flood) and now - made >= PRESENT_NS:
            shown = present(
                self._table.records(), self._table.topology, self.flood.flood, self._table.suppression.dead
            )
            self._presented = (now, sequence, shown)
        return shown

    def _answer_presented(self) -> dict[str, Any]:
        shown, counts = self.presentation(), self.counts()
        return {
            "presented": [self._operations.row(row, self.flood.began_mono_ns) for row in shown.rows],
            "flood": shown.flood,
            "n_active": counts.active,
            "n_presented": shown.n_presented,
            "n_folded": shown.n_folded,
            "n_unacknowledged": counts.unacknowledged,
            "n_shelved": counts.shelved,
            "n_suppressed": counts.suppressed,
            "n_out_of_service": counts.out_of_service,
            "by_priority": list(counts.by_priority),
            "banner_ko": shown.banner_ko,
            "banner_en": shown.banner_en,
            "sequence": self._presented[1],
        }

    def _figures(self) -> dict[str, Any]:
        return self._kpis.figures(self._table.records(), self.counts(), self.flood, self._clock.mono_ns())

    def status(self) -> dict[str, float]:
        """Values of the status tags ``system.alarms.*``."""
        counts, now = self.counts(), self._clock.mono_ns()
        mean_s, p95_s = self._kpis.waits_s
        return {
            "system.alarms.active": counts.active,
            "system.alarms.unacknowledged": counts.unacknowledged,
            **{f"system.alarms.p{index + 1}": counts.by_priority[index] for index in range(4)},
            "system.alarms.shelved": counts.shelved,
            "system.alarms.suppressed": counts.suppressed,
            "system.alarms.out_of_service": counts.out_of_service,
            "system.alarms.rate": self.flood.count,
            "system.alarms.flood": self.flood.flood,
            "system.alarms.flood_pct": 100.0 * self._kpis.flood_share,
            "system.alarms.stale": len(stale(self._table.records(), now)),
            "system.alarms.chattering": len(self._kpis.chattering(now)),
            "system.alarms.ack_mean_s": mean_s,
            "system.alarms.ack_p95_s": p95_s,
            "system.alarms.store_ok": self.kept,
        }

    # ------------------------------------------------------------ surviving

    def _open(self) -> None:
        now = self._clock.mono_ns()
        if self._store is not None or now - self._tried_mono_ns < REOPEN_NS:
            return
        self._tried_mono_ns = now
        try:
            store = AlarmStore(self._path)
            if store.set_aside:
                self._desk.note_all([(EntryKind.ALARM_STORE_SET_ASIDE, {"reason": store.set_aside[:TEXT_MAX]})])
            try:
                kept, meta = store.load(), store.meta()
            except AlarmStoreError:
                store.close()  # not ours before its alarms are: else nobody would ask for them again
                raise
        except AlarmStoreError as error:
            self.trouble = str(error)
            return
        self._store = store
        self.trouble = ""
        self._tried_mono_ns = -REOPEN_NS
        self._take_up(kept, meta)
        self._keep()

    def _take_up(self, kept: Sequence[StoredAlarm], meta: Mapping[str, str]) -> None:
        """Go on where the process before stopped; what has happened since this one began counts more."""
        now, utc_ns = self._clock.mono_ns(), self._clock.utc_ns()
        same_boot = bool(self._boot) and meta.get("boot") == self._boot
        standing = {one.facts.alarm_id for one in self._table.records()}
        fresh = (one for one in kept if one.alarm_id not in standing)
        gone = self._table.restore((one if same_boot else rebased(one, now, utc_ns) for one in fresh), now)
        self._unkept |= standing | {one.alarm_id for one in gone}
        told = [{"alarm_id": one.alarm_id, "state": "normal", "reason": "no longer defined"} for one in gone]
        self._desk.note_all([(EntryKind.ALARM_CHANGED, one) for one in told])
        if self._kpis_known:
            return
        self._kpis_known = True
        try:
            times = json.loads(meta.get("saved", "{}"))
            if times:
                self._table.sequence = max(self._table.sequence, int(times["sequence"]) + self._jump)
                age_ns = now - times["mono_ns"] if same_boot else max(0, utc_ns - times["utc_ns"])
                self._kpis.restore(meta["kpis"], age_ns, now)
                self.flood.restore(json.loads(meta["flood"]), age_ns, now)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            reason = f"key figures are counted anew: {error}"[:TEXT_MAX]
            self._desk.note_all([(EntryKind.ALARM_STORE_SET_ASIDE, {"reason": reason})])
            self._kpis, self.flood = Kpis(), FloodMeter()

    def _keep(self, figures: bool = False, wait: bool = True) -> None:
        now = self._clock.mono_ns()
        waits = now - self._tried_mono_ns < REOPEN_NS and self.trouble
        if self._store is None or waits or not (self._unkept or figures):
            return
        meta = {"boot": self._boot} if self._unkept else {}
        if figures:
            times = {"utc_ns": self._clock.utc_ns(), "mono_ns": now, "sequence": self._table.sequence}
            meta |= {
                "saved": json.dumps(times), "kpis": self._kpis.save(now), "flood": json.dumps(self.flood.save(now)),
            }  # fmt: skip
        try:
            self._store.write({alarm_id: self._table.stored(alarm_id) for alarm_id in self._unkept}, meta, wait)
        except AlarmStoreError as error:
            self.trouble = str(error)
            self._tried_mono_ns = now
            return
        self.trouble = ""
        self._unkept.clear()
        if figures:
            self._saved_mono_ns = now

    def close(self) -> None:
        """Keep the key figures and let go of the file."""
        if self._store is not None:
            self._keep(figures=True)
            self._store.close()


def _entry(change: Change) -> tuple[EntryKind, dict[str, Any]]:
    """A change as the journal keeps it; NaN has no place in JSON."""
    message = change.message
    told: dict[str, Any] = {
        "alarm_id": message.alarm_id[: 4 * NAME_MAX], "state": message.state, "priority": message.priority,
        "sequence": message.sequence,
    }  # fmt: skip
    if message.value == message.value and abs(message.value) < float("inf"):
        told["value"] = message.value
    if change.after.hidden:
        told |= {"phase": message.phase, "hidden_by": message.hidden_by}
    if message.first_out:
        told["first_out"] = True
    if change.happening not in (Happening.RAISE, Happening.RETURN):
        told["happening"] = str(change.happening)
    if change.author:
        told["author"] = change.author
    if change.reason:
        told["reason"] = change.reason
    return _KINDS.get(change.happening, EntryKind.ALARM_CHANGED), told

