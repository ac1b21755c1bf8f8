"""Requests about safety tags: hanging them, taking them off, listing them; and their reviews."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gwanje.core.authority.principal import Principal, Role
from gwanje.core.clock import NS_PER_S
from gwanje.core.commands.ground import Ground
from gwanje.core.commands.lease_desk import LeaseDesk
from gwanje.core.commands.messages import new_id
from gwanje.core.commands.safety_tags import REVIEW_S_MAX, TAGS_MAX, SafetyKind, SafetyTag, in_scope
from gwanje.core.journal.kinds import EntryKind
from gwanje.core.requests import TEXT_MAX, Code, Refused, RequestError, take_number, take_text

REVIEW_S_MIN = 60.0
REMOVERS = frozenset({Role.SUPERVISOR, Role.ENGINEER, Role.ADMIN})
"""Who may take off what somebody else hung."""

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
        self.kept = True
        """Whether the tags that hang are also on the disk."""

    def restore(self, state: Mapping[str, Any] | None, trouble: str = "") -> None:
        """Take up what was kept; a damaged file is told in the journal.

        Args:
            state: content of the file, ``None`` when there is none.
            trouble: why the file could not be read.
        """
        ground = self._ground
        try:
            if state is not None:
                ground.safety.restore(state, ground.boot, ground.clock.mono_ns(), ground.clock.utc_ns())
        except ValueError as error:
            trouble = str(error)
        if trouble:
            ground.desk.note(EntryKind.SAFETY_TAGS_SET_ASIDE, reason=trouble[:TEXT_MAX])
            ground.outside.announce(
                "system", "safety_tags_set_aside", "core",
                f"안전 태그를 읽을 수 없습니다: {trouble}", f"the safety tags cannot be read: {trouble}",
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
        if who.name != tag.author and who.role not in REMOVERS:
            return ground.refuse(Refused(Code.ROLE, f"{tag.author}, {', '.join(sorted(REMOVERS))}"), message, who)
        ground.desk.write_now(
            EntryKind.SAFETY_TAG_REMOVED, tag_id=tag_id, scope=tag.scope, safety=str(tag.kind), placed_by=tag.author,
            author=who.name, role=str(who.role), session_id=who.session_id, reason=reason,
        )  # fmt: skip
        ground.safety.remove(tag_id)
        if not self._save():
            ground.safety.put(tag)
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
        if late or not self.kept:
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
        return self.kept

    def _announce(self, class_name: str, tag: SafetyTag, ko: str, en: str) -> None:
        words = _WORDS[tag.kind]
        self._ground.outside.announce(
            "command", class_name, tag.scope,
            f"{words[0]} 태그 {tag.scope} ({tag.reason}): {ko}"[:TEXT_MAX],
            f"{words[1]} tag on {tag.scope} ({tag.reason}): {en}"[:TEXT_MAX],
            {"tag_id": tag.tag_id, "scope": tag.scope, "kind": str(tag.kind), "author": tag.author},
        )  # fmt: skip
