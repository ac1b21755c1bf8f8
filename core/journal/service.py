"""The service ``journal``: what acts outside the core enter, and what screens show of the record.

- ``record{session, kind, …}`` → ``{outcome: "recorded"}``: an act that another part carries out — tuning, a
  replay — is on the disk before that part begins. Who acts is found by the session; a part that acts for a person
  hands that person's session on. Only the kinds of :data:`RECORDED` are taken, and only their members.
- ``recent{session, n}`` → ``{entries: [{seq, utc_ns, kind, text_ko, text_en, author}]}``: the newest, oldest first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gwanje.core.authority.principal import Principals, Role
from gwanje.core.journal.chain import Entry, JournalError
from gwanje.core.journal.desk import JournalDesk
from gwanje.core.journal.kinds import EntryKind
from gwanje.core.journal.texts import describe
from gwanje.core.requests import NAME_MAX, TEXT_MAX, Code, RequestError, refusal, take_number, take_text, take_whole

SERVICE = "journal"
RECENT_MAX = 200
"""Entries that one answer holds: more than a screen shows."""

_TEXTS: Mapping[EntryKind, tuple[str, ...]] = {
    EntryKind.TUNING_CHANGED: ("parameter", "reason"),
    EntryKind.REPLAY_STARTED: ("what", "reason"),
    EntryKind.REPLAY_ENDED: ("what",),
}
_NUMBERS: Mapping[EntryKind, tuple[str, ...]] = {
    EntryKind.TUNING_CHANGED: ("value", "before"),
}
_WHOLES: Mapping[EntryKind, tuple[str, ...]] = {EntryKind.REPLAY_STARTED: ("from_utc_ns", "to_utc_ns")}
RECORDED = frozenset(_TEXTS)
"""Kinds that parts may enter: acts that the core does not carry out itself."""


class JournalService:
    """See the module.

    Args:
        desk: of the journal.
        recent: the last entries.
        principals: knows who asks.
    """

    def __init__(self, desk: JournalDesk, recent: Callable[[], list[Entry]], principals: Principals) -> None:
        self._desk = desk
        self._recent = recent
        self._principals = principals

    def handle(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a request."""
        try:
            match message.get("op"):
                case "record":
                    return self._record(message)
                case "recent":
                    return self._newest(message)
            raise RequestError(Code.MALFORMED, "unknown op")
        except RequestError as error:
            return refusal(error.code, error.detail)
        except JournalError as error:
            return refusal(Code.JOURNAL, str(error.strerror or error)[:TEXT_MAX])

    def _record(self, message: Mapping[str, Any]) -> dict[str, Any]:
        who = self._principals.principal(message)
        if who.role is Role.VIEWER:
            raise RequestError(Code.ROLE, who.role)
        try:
            kind = EntryKind(take_text(message, "kind"))
        except ValueError as error:
            raise error if isinstance(error, RequestError) else RequestError(Code.MALFORMED, "unknown kind") from None
        if kind not in RECORDED:
            raise RequestError(Code.MALFORMED, f"{kind} is entered by the core alone")
        told: dict[str, Any] = {key: take_text(message, key, TEXT_MAX) for key in _TEXTS[kind]}
        told |= {key: take_number(message, key) for key in _NUMBERS.get(kind, ())}
        told |= {key: take_whole(message, key) for key in _WHOLES.get(kind, ())}
        if extra := message.keys() - told.keys() - {"op", "session", "kind", "remote_key", "remote_role"}:
            raise RequestError(Code.MALFORMED, f"{str(min(map(str, extra)))[:NAME_MAX]} does not belong to {kind}")
        by = {"author": who.name, "role": str(who.role), "session_id": who.session_id}
        self._desk.write_now(kind, **told, **by, **({"console": who.console} if who.console else {}))
        return {"outcome": "recorded"}

    def _newest(self, message: Mapping[str, Any]) -> dict[str, Any]:
        self._principals.principal(message)
        n = take_whole(message, "n", RECENT_MAX)
        try:
            newest = self._recent()[-min(n, RECENT_MAX) :] if n else []
        except ValueError as error:
            raise RequestError(Code.JOURNAL, str(error)[:TEXT_MAX]) from None
        return {"entries": [_row(one) for one in newest]}


def _row(entry: Entry) -> dict[str, Any]:
    author = next((str(entry.data[key]) for key in ("author", "user", "by", "holder") if entry.data.get(key)), "")
    return {
        "seq": entry.seq, "utc_ns": entry.utc_ns, "kind": entry.kind, "author": author,
        "text_ko": describe(entry, "ko"), "text_en": describe(entry, "en"),
    }  # fmt: skip
