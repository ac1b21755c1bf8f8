"""The alarm table with its file, its journal and its listeners: the core's service ``alarms``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gwanje.core.alarms.store import AlarmStore, AlarmStoreError
from gwanje.core.alarms.table import Acknowledged, AlarmTable, Counts, NotAcknowledged
from gwanje.core.authority.principal import Principals, Role
from gwanje.core.clock import NS_PER_S, Clock
from gwanje.core.journal.kinds import EntryKind
from gwanje.core.messages import AlarmChange, Event
from gwanje.core.requests import NAME_MAX, TEXT_MAX, Code, RequestError, refusal, take_text
from gwanje.core.store import Snapshot

REOPEN_S = 2.0
"""How often an alarm file that could not be opened is tried again."""
LIST_MAX = 500
"""Alarms of one answer: about 1 kB each, within what the bus takes."""

Note = Callable[[Iterable[tuple[EntryKind, dict[str, Any]]]], None]


class KeptAlarms:
    """The alarm table with its file, its journal and its listeners."""

    def __init__(
        self, table: AlarmTable, path: Path, clock: Clock, publish: Callable[[AlarmChange], None], note: Note,
        authority: Principals,
    ) -> None:  # fmt: skip
        """Take up what an earlier process kept; a damaged file is set aside and the journal says so."""
        self._table = table
        self._path = path
        self._clock = clock
        self._publish = publish
        self._note = note
        self._authority = authority
        self._store: AlarmStore | None = None
        self._unkept: set[str] = set()
        self._tried_mono_ns = -round(REOPEN_S * NS_PER_S)
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

    def counts(self) -> Counts:
        """How many stand."""
        return self._table.counts()

    def _open(self) -> None:
        now = self._clock.mono_ns()
        if self._store is not None or now - self._tried_mono_ns < REOPEN_S * NS_PER_S:
            return
        self._tried_mono_ns = now
        try:
            store = AlarmStore(self._path)
            if store.set_aside:
                self._note([(EntryKind.ALARM_STORE_SET_ASIDE, {"reason": store.set_aside[:TEXT_MAX]})])
            try:
                stored = store.load()
            except AlarmStoreError:
                store.close()  # not ours before its alarms are: else nobody would ask for them again
                raise
        except AlarmStoreError as error:
            self.trouble = str(error)
            return
        self._store = store
        self.trouble = ""
        standing = {one.alarm_id for one in self._table.current()}
        gone = self._table.restore((one for one in stored if one.alarm_id not in standing), now)
        self._unkept |= standing | {one.alarm_id for one in gone}
        told = [{"alarm_id": one.alarm_id, "state": "normal", "reason": "no longer defined"} for one in gone]
        self._note([(EntryKind.ALARM_CHANGED, one) for one in told])
        self._keep()

    def step(self, samples: Snapshot) -> None:
        """Look at every watched tag once."""
        changes = self._table.step(samples, self._clock.mono_ns(), self._clock.utc_ns())
        if changes:
            self._tell(changes, EntryKind.ALARM_CHANGED)
        elif not self.kept:
            self._open()
            self._keep()

    def event(self, event: Event) -> None:
        """An event may raise an alarm."""
        change = self._table.event(event, self._clock.mono_ns(), self._clock.utc_ns())
        if change is not None:
            self._tell([change], EntryKind.ALARM_CHANGED)

    def publish_all(self) -> None:
        """Say every standing alarm again, for whoever missed the changes while the core was away."""
        for change in self._table.current():
            self._publish(change)

    def handle(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """The service ``alarms``: ``{"op": "list"}`` and ``{"op": "ack", "session", "alarm_id"}``."""
        match message.get("op"):
            case "list":
                standing = self._table.current()
                return {"alarms": [asdict(one) for one in standing[:LIST_MAX]], "n": len(standing)}
            case "ack":
                return self._acknowledge(message)
            case _:
                return refusal(Code.MALFORMED, "unknown op")

    def _acknowledge(self, message: Mapping[str, Any]) -> dict[str, Any]:
        try:
            who = self._authority.principal(message)
            alarm_id = take_text(message, "alarm_id", 4 * NAME_MAX)
        except RequestError as error:
            return refusal(error.code, error.detail)
        if who.role in (Role.VIEWER, Role.PROGRAM):
            return refusal(Code.ROLE, who.role)
        result = self._table.acknowledge(alarm_id, who.name, self._clock.utc_ns())
        if isinstance(result, NotAcknowledged):
            return refusal(Code.MALFORMED) | {"text_ko": result.reason_ko, "text_en": result.reason_en}
        assert isinstance(result, Acknowledged)
        self._tell([result.change], EntryKind.ALARM_ACKNOWLEDGED, author=who.name)
        return {"outcome": "acknowledged", "alarm": asdict(result.change)}

    def _tell(self, changes: Sequence[AlarmChange], kind: EntryKind, **more: Any) -> None:
        """Keep, journal, publish: in this order, so that what a screen shows survives."""
        self._unkept.update(change.alarm_id for change in changes)
        self._open()
        self._keep()
        self._note([(kind, {**_told(change), **more}) for change in changes])
        for change in changes:
            self._publish(change)

    def _keep(self) -> None:
        if self._store is None or not self._unkept:
            return
        try:
            self._store.write({alarm_id: self._table.stored(alarm_id) for alarm_id in self._unkept})
        except AlarmStoreError as error:
            self.trouble = str(error)
            return
        self.trouble = ""
        self._unkept.clear()

    def close(self) -> None:
        """Let go of the file."""
        if self._store is not None:
            self._store.close()


def _told(change: AlarmChange) -> dict[str, Any]:
    """A change as the journal keeps it; NaN has no place in JSON."""
    told: dict[str, Any] = {
        "alarm_id": change.alarm_id[: 4 * NAME_MAX], "state": change.state, "priority": change.priority,
    }  # fmt: skip
    if change.value == change.value and abs(change.value) < float("inf"):
        told["value"] = change.value
    return told
