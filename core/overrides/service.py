"""The core's service ``overrides``: substitutes and blocks values, gives them back, and ends them in time.

    substitute{session, point, value, reason, for_s} · block{session, point, reason, for_s} ·
    restore{session, point, reason} → {outcome: "done"}
    overrides{} →
    {overrides: [{point, kind, value, author, reason, set_utc_ns, until_utc_ns, left_s}]}

An override is in the journal before anybody sees it, and in the run directory before it is in the store, so that a
core that is killed finds its own. While it lies, its tag's owner does not publish the raw value; the core publishes
what lies over it: at once, and again often enough that no screen takes it for stale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from gwanje.core.authority.principal import Principal, Role
from gwanje.core.bus.bus import Publisher
from gwanje.core.bus.messages import Event
from gwanje.core.clock import NS_PER_S, Clock
from gwanje.core.journal.chain import Entry, JournalError
from gwanje.core.journal.desk import JournalDesk
from gwanje.core.journal.kinds import EntryKind
from gwanje.core.overrides.table import (
    DEFAULT_S,
    STATE_BYTES_MAX,
    Kind,
    Override,
    OverrideTable,
    checked_time,
    checked_value,
    refused_because,
)
from gwanje.core.requests import TEXT_MAX, Code, RequestError, refusal, take_number, take_text
from gwanje.core.state_file import StateFile
from gwanje.core.tags.quality import is_bad
from gwanje.core.tags.store import CommonWriter, TagStore
from gwanje.core.tags.table import Tag

SERVICE = "overrides"
STATE_FILE = "overrides.json"
ROLES = frozenset({Role.OPERATOR, Role.SUPERVISOR, Role.ENGINEER, Role.ADMIN})
"""A program has no eyes to judge by: what it does not measure it leaves BAD."""
ENTRY_WORD = b'"override'
"""What stands in the line of every entry about an override: as a member, or in its kind."""
NEWEST_BYTES = 4 << 20
"""How much of the journal is compared with the file: thousands of entries, where a kill can undo the last one."""
_BEGINS = (EntryKind.VALUE_SUBSTITUTED, EntryKind.VALUE_BLOCKED)
SLOW_NS = NS_PER_S
"""What lies over a tag is told again once a second."""
FAST_STALE_NS = 5 * NS_PER_S // 2
"""Tags that grow stale sooner are told at every step of the core, five times a second."""

EVENTS = {
    EntryKind.VALUE_SUBSTITUTED: ("value_substituted", "대체값 입력", "value substituted"),
    EntryKind.VALUE_BLOCKED: ("value_blocked", "값 고정", "value blocked"),
    EntryKind.VALUE_RESTORED: ("value_restored", "원래 값 복귀", "value given back"),
    EntryKind.OVERRIDE_ENDED: ("override_ended", "대체·고정 시간 만료", "override ended by its time"),
}


class Authority(Protocol):
    """Who asks, and whether the point is theirs; see :class:`gwanje.core.authority.authority.Authority`."""

    def principal(self, message: Mapping[str, Any]) -> Principal:
        """Who is behind the message's session; raises RequestError."""

    def area_refusal(self, principal: Principal, point: str) -> tuple[Code, str] | None:
        """What is against somebody's changing a point."""


class OverrideService:
    """Use it from the core's one thread.

    Args:
        store: read and overlaid.
        common: the writer of what lies over the store.
        publisher: tells of values and events.
        desk: the journal.
        authority: who asks.
        clock: both clocks.
        run_dir: keeps the state for a restart.
        boot: identity of this boot.
        followed: tags that drivers write to devices, and those that tell what the device took.
    """

    def __init__(
        self, store: TagStore, common: CommonWriter, publisher: Publisher, desk: JournalDesk, authority: Authority,
        clock: Clock, run_dir: Path, boot: str, followed: frozenset[str],
    ) -> None:  # fmt: skip
        self._store, self._common, self._publisher, self._desk = store, common, publisher, desk
        self._authority, self._clock, self._boot, self._followed = authority, clock, boot, followed
        self._file = StateFile(run_dir / STATE_FILE, STATE_BYTES_MAX)
        self._tags = store.table
        self._table = OverrideTable(self._tags)
        self._slow_at_ns = 0
        self._take_up()

    def _take_up(self) -> None:
        """Go on with what a forerunner left; what cannot be read is given back, and the journal says so."""
        now, ended = self._clock.mono_ns(), []
        try:
            state = self._file.load()
            if state is not None:
                ended = self._table.take_up(state, self._boot, now)
        except (OSError, ValueError) as error:
            self._file.doubt()
            lost = [self._tags.by_id(int(one)).name for one in self._store.overridden(now)]
            self._desk.note(EntryKind.OVERRIDES_LOST, reason=str(error)[:TEXT_MAX], points=lost)
        known = {self._tags.index(one.point) for one in self._table}
        orphans = [int(one) for one in self._store.overridden(now) if int(one) not in known]
        self._follow_journal({one.point for one in ended})
        self._show()
        for one in ended:
            self._tell_end(EntryKind.OVERRIDE_ENDED, one, now)
        self._publish(orphans)

    def _follow_journal(self, ended: Set[str]) -> None:
        """Undo what a kill left half done: the journal's last word about a tag and the file's must be the same.

        What was entered and not kept does not lie, and an entry says so. What was given back in the journal is given
        back: nobody looks at a value that he believes to be raw while it is not.
        """
        last: dict[str, Entry] = {}
        try:
            entries = self._desk.find(ENTRY_WORD, NEWEST_BYTES)
        except JournalError:
            return  # the journal says so itself; the file's word stands alone
        for entry in entries:
            points = entry.data.get("points") or [entry.data.get("point")]
            last |= {str(point): entry for point in points if point}
        lost, given_back = [], False
        for point, entry in last.items():
            if point in ended or point not in self._tags:
                continue
            lies = self._table.get(point)
            if entry.kind == EntryKind.VALUE_RESTORED and lies is not None:
                self._table.take(point)
                given_back = True
            elif entry.kind in _BEGINS and lies is None and entry.data.get("boot") == self._boot:
                lost.append(point)
        if given_back:
            self._save_or_say()
        if lost:
            self._desk.note(EntryKind.OVERRIDES_LOST, points=lost, reason="the core stopped before they were kept")

    def handle(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Answer one request."""
        try:
            match message.get("op"):
                case "substitute":
                    return self._set(message, Kind.SUBSTITUTED)
                case "block":
                    return self._set(message, Kind.BLOCKED)
                case "restore":
                    return self._restore(message)
                case "overrides":
                    now, utc = self._clock.mono_ns(), self._clock.utc_ns()
                    return {"overrides": [one.told(now, utc) for one in self._table]}
                case _:
                    return refusal(Code.MALFORMED, "unknown op")
        except RequestError as error:
            return refusal(error.code, error.detail)

    def status(self) -> dict[str, float]:
        """Figures for the status tags."""
        return {
            "system.overrides.substituted": self._table.count(Kind.SUBSTITUTED),
            "system.overrides.blocked": self._table.count(Kind.BLOCKED),
        }

    def step(self) -> None:
        """End what is over and tell of what lies; five times a second."""
        now = self._clock.mono_ns()
        for one in self._table.ended(now):
            self._save_or_say()
            self._show()
            self._tell_end(EntryKind.OVERRIDE_ENDED, one, now)
        slow = now >= self._slow_at_ns
        if slow:
            self._slow_at_ns = now + SLOW_NS
        ids = [self._tags.index(one.point) for one in self._table]
        self._publish([one for one in ids if slow or 0 < self._store.stale_after_ns[one] < FAST_STALE_NS])

    # ------------------------------------------------------------ requests

    def _who(self, message: Mapping[str, Any]) -> tuple[Principal, Tag, str]:
        """Who asks, for which tag, and why.

        Raises:
            RequestError: somebody who may not, a tag that may not be overridden, no reason.
        """
        who = self._authority.principal(message)
        if who.role not in ROLES:
            raise RequestError(Code.ROLE, str(who.role))
        point = take_text(message, "point")
        if point not in self._tags:
            raise RequestError(Code.UNKNOWN_POINT, point)
        tag = self._tags.get(point)
        if why := refused_because(tag, self._followed):
            raise RequestError(Code.NOT_OVERRIDABLE, f"{point}: {why}")
        if refused := self._authority.area_refusal(who, point):
            raise RequestError(*refused)
        return who, tag, take_text(message, "reason", TEXT_MAX)

    def _set(self, message: Mapping[str, Any], kind: Kind) -> dict[str, Any]:
        who, tag, reason = self._who(message)
        seconds = take_number(message, "for_s") if "for_s" in message else DEFAULT_S
        length_ns, now, utc = checked_time(seconds), self._clock.mono_ns(), self._clock.utc_ns()
        if kind is Kind.SUBSTITUTED:
            value, source, received = checked_value(tag, take_number(message, "value")), utc, 0
        else:
            value, source, received = self._present(tag, now)
        override = Override(tag.name, kind, value, who.name, reason, utc, source, received, now + length_ns)
        before = self._table.get(tag.name)
        if before and before.kind is Kind.SUBSTITUTED and kind is Kind.BLOCKED:
            raise RequestError(Code.NOT_OVERRIDABLE, f"{tag.name} is substituted: give it back first")
        self._table.put(override)
        entry = EntryKind.VALUE_SUBSTITUTED if kind is Kind.SUBSTITUTED else EntryKind.VALUE_BLOCKED
        told = _entry(override, now, utc) | {"for_s": seconds, "boot": self._boot}
        try:
            self._journal(entry, who, told | ({"instead_of": str(before.kind)} if before else {}))
            self._save()
        except RequestError as error:
            self._table.take(tag.name)
            if before:
                self._table.put(before)
            if error.code is Code.STATE:
                lost = f"not kept: {error.detail}"[:TEXT_MAX]
                self._desk.note(EntryKind.OVERRIDES_LOST, points=[tag.name], reason=lost)
            raise
        self._show()
        self._publish([self._tags.index(tag.name)])
        self._announce(entry, tag, who.name, f"{value:.{tag.decimals}f} {tag.unit}".strip())
        return {"outcome": "done"}

    def _present(self, tag: Tag, now: int) -> tuple[float, int, int]:
        """Value, source time and arrival of what a tag shows now.

        Raises:
            RequestError: there is nothing worth keeping.
        """
        sample = self._store.read(self._tags.index(tag.name), now)
        if is_bad(sample.quality) or not np.isfinite(sample.value):
            raise RequestError(Code.BLIND, f"{tag.name} has no value to keep")
        return sample.value, sample.source_utc_ns, sample.received_mono_ns

    def _restore(self, message: Mapping[str, Any]) -> dict[str, Any]:
        who, tag, reason = self._who(message)
        before = self._table.get(tag.name)
        if before is None:
            raise RequestError(Code.NOT_OVERRIDDEN, tag.name)
        now = self._clock.mono_ns()
        told = _entry(before, now, self._clock.utc_ns()) | {"set_by": before.author, "reason": reason}
        self._journal(EntryKind.VALUE_RESTORED, who, told)
        self._table.take(tag.name)
        self._save_or_say()
        self._show()
        self._publish([self._tags.index(tag.name)])
        self._announce(EntryKind.VALUE_RESTORED, tag, who.name, reason)
        return {"outcome": "done"}

    def _journal(self, kind: EntryKind, who: Principal, told: Mapping[str, Any]) -> None:
        """Write what is about to be done.

        Raises:
            RequestError: it cannot be written.
        """
        try:
            by = {"author": who.name, "role": str(who.role), "session_id": who.session_id}
            self._desk.write_now(kind, **(dict(told) | by))
        except JournalError as error:
            raise RequestError(Code.JOURNAL, str(error)) from None

    # ------------------------------------------------------------ what others see

    def _save(self) -> None:
        """Keep everything for a restart, in one step.

        Raises:
            RequestError: it cannot be written.
        """
        try:
            self._file.save(self._table.state(self._boot))
        except OSError as error:
            raise RequestError(Code.STATE, str(error)) from None

    def _save_or_say(self) -> None:
        """After an end: the raw value is shown in any case; an old state ends by its own times."""
        try:
            self._save()
        except RequestError as error:
            self._desk.note(EntryKind.OVERRIDES_LOST, points=[], reason=f"not kept: {error.detail}"[:TEXT_MAX])

    def _show(self) -> None:
        self._common.override(self._table.columns())

    def _publish(self, ids: Sequence[int]) -> None:
        """Tell what readers get of these tags now, true as of now."""
        if not ids:
            return
        column: npt.NDArray[np.int32] = np.array(sorted(ids), np.int32)
        samples = self._store.read_many(column, self._clock.mono_ns())
        times = np.full(len(column), self._clock.utc_ns(), np.int64)
        quality = samples.quality | np.uint16(self._store.view.quality_flags)
        self._publisher.scan_as_is(column, samples.value, quality, times)

    def _tell_end(self, kind: EntryKind, one: Override, now: int) -> None:
        self._desk.note(kind, **_entry(one, now, self._clock.utc_ns()))
        tag = self._tags.get(one.point)
        self._publish([self._tags.index(one.point)])
        self._announce(kind, tag, one.author, one.reason)

    def _announce(self, kind: EntryKind, tag: Tag, author: str, text: str) -> None:
        class_name, ko, en = EVENTS[kind]
        self._publisher.event(
            Event(
                "override", tag.name, class_name, self._clock.utc_ns(), self._clock.mono_ns(),
                f"{tag.description_ko}: {ko} ({author}, {text})", f"{tag.description_en}: {en} ({author}, {text})",
                data={"author": author},
            )
        )  # fmt: skip


def _entry(override: Override, now_mono_ns: int, now_utc_ns: int) -> dict[str, Any]:
    """What the journal holds of an override; the entry's own kind says what happened."""
    told = override.told(now_mono_ns, now_utc_ns)
    return {"override": told.pop("kind"), **told}
