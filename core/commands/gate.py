"""The read-only gate: closed, nothing is written to the site, whoever asks and whatever has been asked before.

It is kept in a file of its own that outlives the run, and what closes it is on the disk twice, in the journal and in
the file, before anybody is told. A core that starts believes the one of the two that says closed, and finds it closed
when its file cannot be read, or is missing and the journal cannot be read. The drivers read it where they read what
leases cover.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gwanje.core.authority.principal import SUPERVISING, Principal
from gwanje.core.commands.ground import Ground
from gwanje.core.commands.lease_desk import LeaseDesk
from gwanje.core.commands.messages import Answer, Released
from gwanje.core.journal.chain import JournalError
from gwanje.core.journal.kinds import EntryKind
from gwanje.core.requests import TEXT_MAX, Code, Refused, RequestError, take_text

ENTRY_WORD = b'"kind":"gate_changed"'
"""What stands in the line of every entry about the gate."""
NEWEST_BYTES = 4 << 20
"""How much of the journal is compared with the file."""
HISTORY_BYTES = 1 << 40
"""All of it: where the file is missing."""


class Gate:
    """See the module.

    Args:
        ground: of the command path.
        leases: that end with it.
        site_read_only: the site's own word; when it is closed no request opens it.
    """

    def __init__(self, ground: Ground, leases: LeaseDesk, *, site_read_only: bool) -> None:
        self._ground = ground
        self._leases = leases
        self._site_read_only = site_read_only
        self._closed = True
        self._why: dict[str, Any] = {}
        self.kept = True
        """Whether the file says what is."""

    @property
    def closed(self) -> bool:
        """Whether nothing may be written, by the site's file or by a person."""
        return self._site_read_only or self._closed

    def restore(self, state: Mapping[str, Any] | None, trouble: str = "") -> None:
        """Take up what an earlier process left.

        Args:
            state: content of the file, ``None`` when there is none.
            trouble: why it could not be read.
        """
        ground, said = self._ground, False
        try:
            entries = ground.desk.find(ENTRY_WORD, NEWEST_BYTES if state is not None else HISTORY_BYTES)
            said = bool(entries) and entries[-1].data.get("read_only") is not False
        except JournalError as error:
            if state is None:  # the file alone is as good: only what it could not be told stands in the journal alone
                trouble = trouble or f"it has no file, and the journal cannot be read: {error.strerror or error}"
        if state is not None and not isinstance(state.get("closed"), bool):
            trouble = trouble or "its file is no gate"
        self._closed = bool(trouble) or said or (state is not None and state["closed"])
        if trouble:
            reason = f"the gate is not known: {trouble}"[:TEXT_MAX]
            ground.desk.note(EntryKind.GATE_CHANGED, read_only=True, author="core", reason=reason)
            self._tell("core", f"닫음: {trouble}", f"closed: {reason}")
            self._why = {"author": "core", "reason": reason}
        elif state is not None:
            self._why = {key: str(state.get(key, "")) for key in ("author", "reason")}
        if trouble or state is None or state["closed"] != self._closed:
            self._save()
        ground.outside.show_gate(self.closed)

    def request(self, message: Mapping[str, Any], who: Principal) -> Answer:
        """Somebody closes or opens it."""
        ground = self._ground
        reason, closed = take_text(message, "reason", TEXT_MAX), message.get("read_only")
        if not isinstance(closed, bool):
            raise RequestError(Code.MALFORMED, "read_only must be true or false")
        if who.role not in SUPERVISING:
            return ground.refuse(Refused(Code.ROLE, who.role), message, who)
        if self._site_read_only and not closed:
            return ground.refuse(Refused(Code.READ_ONLY, "site.toml"), message, who)
        if closed:
            try:
                ground.desk.write_now(EntryKind.GATE_CHANGED, read_only=True, author=who.name, reason=reason)
            finally:
                self._close(who.name, reason)  # also without the journal: closing must never wait for a disk
        else:
            ground.desk.write_now(EntryKind.GATE_CHANGED, read_only=False, author=who.name, reason=reason)
            refused = self._open(who.name, reason)
            if refused is not None:
                return ground.refuse(refused, message, who)
        words = ("닫음: 현장 쓰기 차단", "closed: the site is read-only") if closed else ("열음", "opened")
        self._tell(who.name, *words)
        if closed and not self.kept:
            return ground.refuse(Refused(Code.STATE, "the gate is closed; its file cannot be written"), message, who)
        return Released("gate")

    def close(self, reason: str) -> None:
        """The core closes it by itself, until somebody who may opens it."""
        if self._closed:
            return
        self._ground.desk.note(EntryKind.GATE_CHANGED, read_only=True, author="core", reason=reason[:TEXT_MAX])
        self._close("core", reason)
        self._tell("core", f"닫음: {reason}", f"closed: {reason}")

    def _close(self, author: str, reason: str) -> None:
        self._closed, self._why = True, {"author": author, "reason": reason}
        self._ground.outside.show_gate(True)
        self._leases.end_all(author)
        self._leases.save()
        self._save()

    def _open(self, author: str, reason: str) -> Refused | None:
        """Open it once the file says so; else it stays closed, and the journal says that too."""
        before = self._why
        self._closed, self._why = False, {"author": author, "reason": reason}
        if self._save():
            self._ground.outside.show_gate(self.closed)
            return None
        self._closed, self._why = True, before
        self._ground.desk.note(
            EntryKind.GATE_CHANGED, read_only=True, author="core", reason="opening could not be kept"
        )
        return Refused(Code.STATE, "gate")

    def step(self) -> None:
        """Try again to keep what could not be kept."""
        if not self.kept:
            self._save()

    def _save(self) -> bool:
        try:
            self._ground.outside.save_gate({"closed": self._closed, **self._why})
        except OSError:
            self.kept = False
        else:
            self.kept = True
        return self.kept

    def _tell(self, author: str, ko: str, en: str) -> None:
        self._ground.outside.announce(
            "control", "gate", "core", f"{author} 명령 차단문 {ko}"[:TEXT_MAX], f"{author} gate {en}"[:TEXT_MAX]
        )
