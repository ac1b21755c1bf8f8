"""Requests about safety tags: hanging them, taking them off, listing them; and their reviews."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from gwanje.core.authority.principal import SUPERVISING, Principal, Role
from gwanje.core.clock import NS_PER_S
from gwanje.core.commands.ground import Ground
from gwanje.core.commands.lease_desk import LeaseDesk
from gwanje.core.commands.messages import new_id
from gwanje.core.commands.safety_tags import REVIEW_S_MAX, TAGS_MAX, SafetyKind, SafetyTag, SafetyTags, in_scope
from gwanje.core.journal.chain import JournalError
from gwanje.core.journal.kinds import EntryKind
from gwanje.core.requests import TEXT_MAX, Code, Refused, RequestError, take_number, take_text

REVIEW_S_MIN = 60.0

MARKS_MAX = 8
"""Stars, marks and brackets of a scope: each costs every comparison with it."""
ENTRY_WORD = b'"safety_tag_'
"""What stands in the line of every entry about a safety tag."""
NEWEST_BYTES = 4 << 20
"""How much of the journal is compared with the file: thousands of entries, where a kill can undo the last one."""
HISTORY_BYTES = 1 << 40
"""All of it: where the tags are to be found when their file is damaged; 150 000 entries are searched in a second."""

_WORDS = {
    SafetyKind.DANGER: ("위험", "danger"),
    SafetyKind.CAUTION: ("주의", "caution"),
    SafetyKind.MAINTENANCE: ("정비", "maintenance"),
    SafetyKind.INFORMATION: ("안내", "information"),
}


class SafetyDesk:
    """Keeps the safety tags; see the module."""

    def __init__(self, ground: Ground, leases: LeaseDesk) -> None:
        self._ground = ground
        self._leases = leases
        self._kept_doubt = ""
        self.kept = True
        """Whether the tags that hang are also on the disk."""

    def restore(self, state: Mapping[str, Any] | None, trouble: str = "") -> None:
        """Take up what was kept, and what the journal says of it.

        When the file cannot be used, the tags are taken from the journal as far as it tells of them, and
        :attr:`SafetyTags.doubt` says why somebody must look; :class:`SafetyGuard` keeps the gate closed until then.

        Args:
            state: content of the file, ``None`` when there is none.
            trouble: why the file could not be read.
        """
        ground = self._ground
        safety, now, utc = ground.safety, ground.clock.mono_ns(), ground.clock.utc_ns()
        try:
            if state is not None:
                safety.restore(state, ground.boot, now, utc)
        except ValueError as error:
            trouble = str(error)
        try:
            entries = ground.desk.find(ENTRY_WORD, HISTORY_BYTES if trouble else NEWEST_BYTES)
        except JournalError as error:
            entries = []
            trouble = trouble and f"{trouble}; neither can the journal: {error.strerror or error}"
        before = len(safety)
        against = safety.follow(entries, now, utc)
        if state is None and not trouble and len(safety):
            trouble = "their file is gone"
        for tag in against:
            self._tell_hangs(tag, "taking it off was not completed")
        if trouble:
            safety.doubt = f"safety tags cannot be read: {trouble}"[:TEXT_MAX]
            ground.desk.note(EntryKind.SAFETY_TAGS_SET_ASIDE, reason=trouble[:TEXT_MAX], n=len(safety))
            ground.outside.announce(
                "system", "safety_tags_set_aside", "core",
                f"안전 태그 파일을 읽을 수 없어 일지에서 {len(safety)}개를 되살렸습니다: {trouble}"[:TEXT_MAX],
                f"the safety tags cannot be read, {len(safety)} are taken from the journal: {trouble}"[:TEXT_MAX],
            )  # fmt: skip
        if trouble or len(safety) != before:
            self._save()
        self._kept_doubt = safety.doubt

    def _tell_hangs(self, tag: SafetyTag, reason: str) -> None:
        """An entry against one that says that a tag is off: it hangs."""
        self._ground.desk.note(
            EntryKind.SAFETY_TAG_PLACED, tag_id=tag.tag_id, scope=tag.scope, safety=str(tag.kind), author=tag.author,
            reason=tag.reason, review_s=(tag.review_utc_ns - tag.placed_utc_ns) / NS_PER_S,
            placed_utc_ns=tag.placed_utc_ns, by="core", why=reason,
        )  # fmt: skip

    def place(self, message: Mapping[str, Any], who: Principal) -> Refused | dict[str, Any]:
        """Hang a tag."""
        ground = self._ground
        scope, reason = take_text(message, "scope"), take_text(message, "reason", TEXT_MAX)
        review_s = take_number(message, "review_s")
        try:
            kind = SafetyKind(take_text(message, "kind"))
        except ValueError:
            raise RequestError(Code.MALFORMED, f"kind must be one of {', '.join(SafetyKind)}") from None
        if not REVIEW_S_MIN <= review_s <= REVIEW_S_MAX:
            raise RequestError(Code.MALFORMED, f"review_s must be {REVIEW_S_MIN:g} … {REVIEW_S_MAX:g} s")
        if sum(scope.count(mark) for mark in "*?[") > MARKS_MAX:
            raise RequestError(Code.MALFORMED, f"scope with more than {MARKS_MAX} stars, marks and brackets")
        against = self._against(who, scope)
        if against is not None:
            return ground.refuse(Refused(*against), message, who)
        if len(ground.safety) >= TAGS_MAX:
            return ground.refuse(Refused(Code.TOO_MANY, f"{TAGS_MAX}"), message, who)
        now, utc = ground.clock.mono_ns(), ground.clock.utc_ns()
        review_ns = round(review_s * NS_PER_S)
        tag = SafetyTag(new_id(), scope, kind, who.name, reason, utc, utc + review_ns, now + review_ns)
        ground.desk.write_now(
            EntryKind.SAFETY_TAG_PLACED, tag_id=tag.tag_id, scope=scope, safety=str(kind), author=who.name,
            role=str(who.role), session_id=who.session_id, reason=reason, review_s=review_s,
        )  # fmt: skip
        ground.safety.put(tag)
        if not self._save():
            ground.safety.remove(tag.tag_id)
            ground.desk.note(EntryKind.SAFETY_TAG_REMOVED, tag_id=tag.tag_id, reason="it could not be kept", by="core")
            return ground.refuse(Refused(Code.STATE, "safety tags"), message, who)
        if kind is SafetyKind.DANGER:
            self._leases.bar(who.name, tag.tag_id)
        self._announce("safety_tag_placed", tag, f"{who.name} 부착", f"placed by {who.name}")
        return {"outcome": "done", "safety_tag": tag.to_message()}

    def remove(self, message: Mapping[str, Any], who: Principal) -> Refused | dict[str, Any]:
        """Take a tag off: who hung it, or a supervisor."""
        ground = self._ground
        tag_id, reason = take_text(message, "tag_id"), take_text(message, "reason", TEXT_MAX)
        tag = ground.safety.get(tag_id)
        if tag is None:
            return ground.refuse(Refused(Code.UNKNOWN_TAG, tag_id), message, who)
        against = self._against(who, tag.scope)
        if against is not None:
            return ground.refuse(Refused(*against), message, who)
        if who.name != tag.author and who.role not in SUPERVISING:
            return ground.refuse(Refused(Code.ROLE, f"{tag.author}, {', '.join(sorted(SUPERVISING))}"), message, who)
        ground.desk.write_now(
            EntryKind.SAFETY_TAG_REMOVED, tag_id=tag_id, scope=tag.scope, safety=str(tag.kind), placed_by=tag.author,
            author=who.name, role=str(who.role), session_id=who.session_id, reason=reason,
        )  # fmt: skip
        ground.safety.remove(tag_id)
        if not self._save():
            ground.safety.put(tag)
            self._tell_hangs(tag, "taking it off could not be kept")
            return ground.refuse(Refused(Code.STATE, "safety tags"), message, who)
        if tag.kind is SafetyKind.DANGER:
            self._leases.widen(who.name)
        self._announce("safety_tag_removed", tag, f"{who.name} 제거: {reason}", f"removed by {who.name}: {reason}")
        return {"outcome": "done", "safety_tag": tag.to_message()}

    def listing(self) -> dict[str, Any]:
        """All that hang."""
        return {"safety_tags": [one.to_message() for one in self._ground.safety.all()]}

    def step(self, now_mono_ns: int) -> None:
        """Reviews that are overdue."""
        late = self._ground.safety.overdue(now_mono_ns)
        for tag in late:
            self._ground.desk.note(EntryKind.SAFETY_TAG_OVERDUE, tag_id=tag.tag_id, scope=tag.scope, author=tag.author)
            self._announce("safety_tag_overdue", tag, "검토 기한 지남", "review overdue")
        if late or not self.kept or self._kept_doubt != self._ground.safety.doubt:
            self._save()

    def _against(self, who: Principal, scope: str) -> tuple[Code, str] | None:
        """Who may hang a tag there or take it off: an operator with the area of everything that it reaches."""
        if who.role in (Role.VIEWER, Role.PROGRAM):
            return Code.ROLE, who.role
        ground = self._ground
        reached = [tag.name for tag in ground.tags if in_scope(scope, tag.name)]
        if not reached:
            return Code.UNKNOWN_POINT, scope
        for point in reached:
            against = ground.authority.area_refusal(who, point)
            if against is not None:
                return against
        return None

    def _save(self) -> bool:
        ground = self._ground
        try:
            ground.outside.save_safety(ground.safety.to_state(ground.boot))
        except OSError:
            self.kept = False
        else:
            self.kept = True
            self._kept_doubt = ground.safety.doubt
        return self.kept

    def _announce(self, class_name: str, tag: SafetyTag, ko: str, en: str) -> None:
        words = _WORDS[tag.kind]
        self._ground.outside.announce(
            "command", class_name, tag.scope,
            f"{words[0]} 태그 {tag.scope} ({tag.reason}): {ko}"[:TEXT_MAX],
            f"{words[1]} tag on {tag.scope} ({tag.reason}): {en}"[:TEXT_MAX],
            {"tag_id": tag.tag_id, "scope": tag.scope, "kind": str(tag.kind), "author": tag.author},
        )  # fmt: skip


class Gate(Protocol):
    """The gate to the site; see :class:`gwanje.core.commands.server.CommandServer`."""

    @property
    def read_only(self) -> bool:
        """Whether it is closed."""

    def close_gate(self, reason: str) -> None:
        """Close it, for good until somebody who may opens it."""


class SafetyGuard:
    """Keeps the gate closed while nobody knows whether all safety tags hang; opening it confirms that they do.

    Args:
        safety: what hangs.
        gate: of the site.
    """

    def __init__(self, safety: SafetyTags, gate: Gate) -> None:
        self._safety, self._gate, self._closed = safety, gate, False

    def step(self) -> None:
        """Look; call it before the first request and a few times a second."""
        if not self._safety.doubt:
            return
        if not self._closed:
            self._gate.close_gate(self._safety.doubt)
            self._closed = True
        elif not self._gate.read_only:  # a supervisor has looked and opened it: the gate's entry says who
            self._safety.doubt = ""
