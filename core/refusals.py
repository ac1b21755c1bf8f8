"""Refusals of the core's services in the journal: who wanted what and why not, so many and no more.

The command path journals its own refusals. Those of areas, alarms, overrides and the record of the journal are told
here, whichever the reason: an attempt on what is not somebody's is what an investigation looks for. Reading is not
told. Somebody who is refused the same again and again gets an entry a minute, and a storm of different ones is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gwanje.core.bus.rate import RateLimit
from gwanje.core.clock import Clock
from gwanje.core.commands.ground import plain
from gwanje.core.journal.desk import JournalDesk
from gwanje.core.journal.kinds import EntryKind
from gwanje.core.requests import TEXT_MAX, plain_op

CHANGES: Mapping[str, frozenset[str]] = {
    "session": frozenset({"take_area", "release_area", "hand_over", "accept_area"}),
    "alarms": frozenset(
        {"ack", "ack_group", "reset", "shelve", "unshelve", "out_of_service", "return_to_service"}
    ),
    "overrides": frozenset({"substitute", "block", "restore"}),
    "journal": frozenset({"record"}),
    "sound": frozenset({"listen", "talk"}),
}  # fmt: skip
"""Service → what of it changes something; sign-ins have entries of their own."""
BURST, PER_S = 50, 2.0
"""Refusals told one by one; what is beyond is counted and told in one entry."""
ALL = "all"
"""Whoever refuses: they share one limit."""
SAME_BURST, SAME_PER_S = 3, 1.0 / 60.0
"""The same refusal of the same person."""
_TOLD = ("point", "alarm_id", "group", "area", "node", "camera", "to", "kind", "value", "for_s", "reason")
"""Members of the request that the entry keeps."""


class Refusals:
    """Tells of refusals. Use it from one thread.

    Args:
        desk: of the journal.
        clock: of the machine.
        who: author, role and session of a message as the entry names them; empty when nobody is behind it.
    """

    def __init__(
        self, desk: JournalDesk, clock: Clock, who: Callable[[Mapping[str, Any]], Mapping[str, str]]
    ) -> None:
        self._desk, self._clock, self._who = desk, clock, who
        self._all = RateLimit(PER_S, BURST)
        self._same = RateLimit(SAME_PER_S, SAME_BURST)
        self._muted = 0

    def look(self, service: str, message: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
        """Tell of an answer if it refuses a change."""
        op = plain_op(message)
        if answer.get("outcome") != "refused" or op not in CHANGES.get(service, ()):
            return
        who, now = self._who(message), self._clock.mono_ns()
        told = {key: plain(message[key]) for key in _TOLD if key in message}
        code, detail = str(answer.get("code", "")), str(answer.get("detail", ""))[:TEXT_MAX]
        subject = tuple(str(told.get(key, "")) for key in ("point", "alarm_id", "group", "area", "node", "kind"))
        if not self._same.take((who.get("author", ""), op, code, *subject), now) or not self._all.take(ALL, now):
            self._muted += 1
            return
        if "kind" in told:
            told["of_kind"] = told.pop("kind")
        what = {"what": f"{service} {op}", "code": code, "detail": detail}
        self._desk.note(EntryKind.REQUEST_REFUSED, **told, **what, **who)

    def step(self) -> None:
        """Tell how many were only counted, once the storm is over; call it once a second."""
        if self._muted and self._all.left(ALL, self._clock.mono_ns()) >= BURST / 2:
            self._desk.note(EntryKind.REQUEST_REFUSED, n=self._muted, what="refusals that were only counted")
            self._muted = 0
