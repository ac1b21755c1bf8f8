"""The service ``sound``: people ask to hear a node, or to speak through a camera, for a minute at most.

- ``listen{session, node, reason, for_s}`` → ``{outcome: "granted", grant_id, ends_mono_ns, part, pass, mac}``; ``talk``
  with ``camera`` in the place of ``node`` likewise;
- ``renew{session, grant_id}`` → the same with a fresh pass: at least every second, else the grant ends;
- ``end{session, grant_id}`` → ``{outcome: "ended"}``: by its holder, or by a supervisor;
- ``sessions{}`` → ``{sessions: […]}``: who listens and speaks where, for everybody.

A grant is in the journal, on the disk, before anything is heard; everybody is told by an event and by a tag. It ends by
itself: after its time, when its holder is gone, signed out or locked, or holds the area no more. With the pass
(:mod:`gwanje.core.sound.passes`) the holder asks the part that has the sound; no sound passes through the core.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gwanje.core.authority.principal import SUPERVISING, Principal, Role, at_least
from gwanje.core.clock import Clock
from gwanje.core.journal.chain import Entry, JournalError
from gwanje.core.journal.desk import JournalDesk
from gwanje.core.journal.kinds import EntryKind
from gwanje.core.requests import TEXT_MAX, Code, RequestError, refusal, take_number, take_text
from gwanje.core.sound.grants import END_TEXTS, SECONDS_LEAST, SECONDS_MAX, End, Grant, GrantTable, Kind
from gwanje.core.sound.passes import PASS_NS, Pass, seal

SERVICE = "sound"
MEDIA = "media"
"""The part that has the microphones."""
RECENT_BYTES = 4 << 20
"""How far back a new core looks for grants that its predecessor left open."""
ENTRY_WORD = b'"grant_id"'

STARTED = {Kind.LISTEN: EntryKind.LISTEN_IN_STARTED, Kind.TALK: EntryKind.TALK_STARTED}
ENDED = {Kind.LISTEN: EntryKind.LISTEN_IN_ENDED, Kind.TALK: EntryKind.TALK_ENDED}
KEYS = {Kind.LISTEN: "node", Kind.TALK: "camera"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where one can listen or speak.

    Attributes:
        name: of node or camera.
        point: tag by which its area of authority is known.
        part: that has the sound.
        label_ko: for operators.
        label_en: the same in English.
    """

    name: str
    point: str
    part: str
    label_ko: str
    label_en: str


class Authority(Protocol):
    """Who asks and what is theirs; see :class:`gwanje.core.authority.authority.Authority`."""

    def principal(self, message: Mapping[str, Any]) -> Principal:
        """Who is behind a message; raises RequestError."""

    def known(self, message: Mapping[str, Any]) -> Mapping[str, str]:
        """Who is behind a message, with ``session_id``, also behind a locked session; empty for nobody known."""

    def present(self, who: Principal) -> Principal | None:
        """Who asked a while ago, as they are now; ``None`` when the session is over or locked."""

    def area_refusal(self, principal: Principal, point: str) -> tuple[Code, str] | None:
        """What is against somebody's acting at a point, as far as areas go."""


class Outside(Protocol):
    """What the service needs of the world."""

    def announce(self, class_name: str, source: str, text_ko: str, text_en: str, data: Mapping[str, Any]) -> None:
        """Tell everybody what happened."""

    def show_listened(self, nodes: Collection[str], listened: bool) -> None:
        """Write the tags that say whether somebody listens at nodes."""

    def sounding(self, camera: str) -> bool:
        """Whether a camera's loudspeaker sounds now."""

    def gate_closed(self) -> bool:
        """Whether nothing may be written to the field."""


class SoundService:
    """See the module.

    Args:
        places: by kind, then by name: where one can listen, and where one can speak.
        authority: knows who asks.
        desk: of the journal.
        clock: of the machine.
        outside: the world.
        secret: of the run, for passes.
    """

    def __init__(
        self, places: Mapping[Kind, Mapping[str, Place]], authority: Authority, desk: JournalDesk, clock: Clock,
        outside: Outside, secret: bytes,
    ) -> None:  # fmt: skip
        self._places = places
        self._authority = authority
        self._desk = desk
        self._clock = clock
        self._outside = outside
        self._secret = secret
        self.table = GrantTable()

    def take_up(self, entries: Sequence[Entry]) -> None:
        """After a restart: what an earlier core left open has ended, because nobody renewed it; nobody listens."""
        begun: dict[str, tuple[Kind, Entry]] = {}
        for entry in entries:
            grant_id = str(entry.data.get("grant_id", ""))
            kind = next((kind for kind, one in STARTED.items() if entry.kind == one), None)
            if kind is not None:
                begun[grant_id] = kind, entry
            elif entry.kind in ENDED.values():
                begun.pop(grant_id, None)
        for grant_id, (kind, entry) in begun.items():
            key = KEYS[kind]
            told = {name: entry.data.get(name, "") for name in (key, "author", "role", "session_id", "reason")}
            self._desk.note(ENDED[kind], **told, grant_id=grant_id, why=END_TEXTS[End.RESTART][1])
        self._outside.show_listened(self._places[Kind.LISTEN], False)

    # ------------------------------------------------------------ requests

    def handle(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a request."""
        try:
            match message.get("op"):
                case "listen":
                    return self._grant(Kind.LISTEN, message)
                case "talk":
                    return self._grant(Kind.TALK, message)
                case "renew":
                    return self._renew(message)
                case "end":
                    return self._end_asked(message)
                case "sessions":
                    return {"sessions": [self._told(one) for one in self.table.all()]}
            raise RequestError(Code.MALFORMED, "unknown op")
        except RequestError as error:
            return refusal(error.code, error.detail)
        except JournalError as error:
            return refusal(Code.JOURNAL, str(error.strerror or error)[:TEXT_MAX])

    def _grant(self, kind: Kind, message: Mapping[str, Any]) -> dict[str, Any]:
        """Let somebody listen or speak.

        Raises:
            RequestError: why not.
            JournalError: it cannot be entered, so it does not begin.
        """
        who = self._authority.principal(message)
        if not at_least(who.role, Role.OPERATOR):
            raise RequestError(Code.ROLE, who.role)
        name = take_text(message, KEYS[kind])
        place = self._places[kind].get(name)
        if place is None:
            raise RequestError(Code.UNKNOWN_SOUND, name)
        against = self._authority.area_refusal(who, place.point)
        if against is not None:
            raise RequestError(*against)
        reason = take_text(message, "reason", TEXT_MAX)
        for_s = take_number(message, "for_s")
        if not SECONDS_LEAST <= for_s <= SECONDS_MAX:
            raise RequestError(Code.OUT_OF_RANGE, f"for_s {for_s:g}: {SECONDS_LEAST:g} … {SECONDS_MAX:g} s")
        if kind is Kind.TALK and self._outside.gate_closed():
            raise RequestError(Code.READ_ONLY, "")
        against = self.table.refusal(kind, name, who)
        if against is not None:
            raise RequestError(*against)
        if kind is Kind.TALK and self._outside.sounding(name):
            raise RequestError(Code.SOUNDING, name)
        grant_id = secrets.token_hex(8)
        by = {"author": who.name, "role": str(who.role), "session_id": who.session_id}
        by |= {"console": who.console} if who.console else {}
        self._desk.write_now(
            STARTED[kind], **{KEYS[kind]: name}, reason=reason, for_s=for_s, grant_id=grant_id, **by
        )
        now = self._clock.mono_ns()
        grant = Grant(
            grant_id, kind, name, who, reason, for_s, self._clock.utc_ns(), now, now,
            str(message.get("remote_key", "")),
        )  # fmt: skip
        self.table.put(grant)
        self._tell_begun(grant, place)
        return self._passed(grant)

    def _passed(self, grant: Grant) -> dict[str, Any]:
        now, part = self._clock.mono_ns(), self._places[grant.kind][grant.place].part
        one = Pass(
            part, grant.grant_id, grant.place, grant.who.name, grant.remote_key, grant.begun_mono_ns,
            grant.ends_mono_ns, now + PASS_NS,
        )  # fmt: skip
        return {
            "outcome": "granted", "grant_id": grant.grant_id, "ends_mono_ns": grant.ends_mono_ns, "mono_ns": now,
            "part": part, **seal(self._secret, one),
        }  # fmt: skip

    def _renew(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """A fresh pass, as long as everything still holds. To renew is not to use a session: it locks when it is due.

        Raises:
            RequestError: the grant ended, and why.
        """
        grant = self._own(message)
        self.step()
        if self.table.get(grant.grant_id) is None:
            raise RequestError(Code.GRANT_OVER, "")
        grant.renewed_mono_ns = self._clock.mono_ns()
        return self._passed(grant)

    def _own(self, message: Mapping[str, Any]) -> Grant:
        grant = self.table.get(take_text(message, "grant_id"))
        if grant is None or grant.who.session_id != self._authority.known(message).get("session_id"):
            raise RequestError(Code.GRANT_OVER, "")
        return grant

    def _end_asked(self, message: Mapping[str, Any]) -> dict[str, Any]:
        grant = self.table.get(take_text(message, "grant_id"))
        if grant is None:
            raise RequestError(Code.GRANT_OVER, "")
        if grant.who.session_id == self._authority.known(message).get("session_id"):
            by_place = message.get("by_place") is True
            self._end(grant, End.PLACE if by_place else End.LEFT)
            return {"outcome": "ended"}
        who = self._authority.principal(message)
        if who.role not in SUPERVISING:
            raise RequestError(Code.ROLE, who.role)
        self._end(grant, End.STOPPED, who.name)
        return {"outcome": "ended"}

    def _told(self, grant: Grant) -> dict[str, Any]:
        return {
            "grant_id": grant.grant_id, "kind": str(grant.kind), "place": grant.place, "author": grant.who.name,
            "console": grant.who.console, "reason": grant.reason, "since_utc_ns": grant.begun_utc_ns,
            "ends_mono_ns": grant.ends_mono_ns,
        }  # fmt: skip

    # ------------------------------------------------------------ time

    def step(self) -> None:
        """End what may not go on; call it a few times a second."""
        for grant, why in self.table.outlived(self._clock.mono_ns()):
            self._end(grant, why)
        for grant in self.table.all():
            who = self._authority.present(grant.who)
            place = self._places[grant.kind][grant.place]
            if who is None or not at_least(who.role, Role.OPERATOR):
                self._end(grant, End.SESSION)
            elif self._authority.area_refusal(who, place.point) is not None:
                self._end(grant, End.AREA)
            elif grant.kind is Kind.TALK and self._outside.gate_closed():
                self._end(grant, End.GATE)

    # ------------------------------------------------------------ what everybody is told

    def _tell_begun(self, grant: Grant, place: Place) -> None:
        who, seconds = grant.who.name, f"{grant.for_s:g}"
        if grant.kind is Kind.LISTEN:
            self._outside.show_listened([grant.place], True)
            class_name = "listen_in_started"
            ko = f"{place.label_ko}: {who} 님이 현장 소리를 듣고 있습니다 (최대 {seconds}초) · {grant.reason}"
            en = f"{place.label_en}: {who} listens in, {seconds} s at most · {grant.reason}"
        else:
            class_name = "talk_started"
            ko = f"{place.label_ko}: {who} 님이 육성 방송을 합니다 (최대 {seconds}초) · {grant.reason}"
            en = f"{place.label_en}: {who} speaks live, {seconds} s at most · {grant.reason}"
        self._announce(class_name, grant, ko, en)

    def _end(self, grant: Grant, why: End, by: str = "") -> None:
        """The grant ends now: tag, journal, event."""
        self.table.drop(grant.grant_id)
        place = self._places[grant.kind][grant.place]
        lasted_s = round(grant.lasted_s(self._clock.mono_ns()), 1)
        ko, en = END_TEXTS[why]
        if grant.kind is Kind.LISTEN:
            self._outside.show_listened([grant.place], False)
        more = {"by": by} if by else {}
        self._desk.note(
            ENDED[grant.kind], **{KEYS[grant.kind]: grant.place}, reason=grant.reason, for_s=lasted_s, why=en,
            grant_id=grant.grant_id, author=grant.who.name, role=str(grant.who.role), session_id=grant.who.session_id,
            **more,
        )  # fmt: skip
        if grant.kind is Kind.LISTEN:
            class_name, what_ko, what_en = "listen_in_ended", "현장 소리 청취 끝", "listening in ended"
        else:
            class_name, what_ko, what_en = "talk_ended", "육성 방송 끝", "live speech ended"
        self._announce(
            class_name, grant, f"{place.label_ko}: {what_ko} ({grant.who.name}, {lasted_s:g}초, {ko})",
            f"{place.label_en}: {what_en} ({grant.who.name}, {lasted_s:g} s, {en})",
        )  # fmt: skip

    def _announce(self, class_name: str, grant: Grant, ko: str, en: str) -> None:
        data = {KEYS[grant.kind]: grant.place, "author": grant.who.name, "reason": grant.reason}
        self._outside.announce(class_name, grant.place, ko, en, data)
