"""The service ``session``: people sign in, lock their screens, and take and hand over areas of authority."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gwanje.core.authority.attempts import Attempts
from gwanje.core.authority.authority import Authority
from gwanje.core.authority.credentials import new_token, token_hash
from gwanje.core.authority.passwords import PASSWORD_MAX
from gwanje.core.authority.principal import SUPERVISING, Principal, Role, at_least
from gwanje.core.authority.sessions import Session
from gwanje.core.authority.verifier import PasswordDesk
from gwanje.core.clock import NS_PER_S, Clock
from gwanje.core.journal.chain import JournalError
from gwanje.core.journal.desk import JournalDesk
from gwanje.core.journal.kinds import EntryKind
from gwanje.core.journal.texts import title
from gwanje.core.requests import TEXT_MAX, Code, RequestError, refusal, take_text

SERVICE = "session"
PENDING_MAX = 4
"""Passwords that wait to be looked at; each takes a tenth of a second."""
CONSOLE_MAX = 64
DOORS_MAX = 256
"""Keys of other machines whose failures are counted; a site gives out tens."""
REFUSALS_TOLD_S = 60.0
"""Sign-ins that were refused unseen are counted, and told in one entry so often."""

Reply = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A password that is being looked at: for a new session, or for a locked one."""

    name: str
    known: bool
    reply: Reply
    message: Mapping[str, Any]
    session_id: str = ""


class SessionService:
    """Answers the service's requests.

    Args:
        authority: what it changes.
        passwords: where passwords are handed in.
        clock: of the machine.
        desk: of the journal.
    """

    def __init__(self, authority: Authority, passwords: PasswordDesk, clock: Clock, desk: JournalDesk) -> None:
        self._authority = authority
        self._passwords = passwords
        self._clock = clock
        self._desk = desk
        self._doors: OrderedDict[str, Attempts] = OrderedDict()
        self._pending: dict[int, _Attempt] = {}
        self._job = 0
        self._unseen = 0
        self._unseen_from_ns = 0
        self.trouble = ""
        """Why a password's hash could not be renewed; empty when well."""

    def handle(self, message: Mapping[str, Any], reply: Reply) -> None:
        """Take one request; the reply comes now or when a password has been looked at."""
        try:
            self._authority.step()
            answer = self._answer(message, reply)
        except RequestError as error:
            answer = refusal(error.code, error.detail)
        except JournalError as error:
            answer = refusal(Code.JOURNAL, str(error.strerror or error))
        if answer is not None:
            reply(answer)

    def _answer(self, message: Mapping[str, Any], reply: Reply) -> dict[str, Any] | None:
        match message.get("op"):
            case "sign_in":
                return self._sign_in(message, reply)
            case "unlock":
                return self._unlock(message, reply)
            case "sign_out":
                session, _user = self._authority.session(message)
                self._authority.end(session, "signed out")
                return {"outcome": "signed_out"}
            case "lock":
                session, _user = self._authority.session(message)
                if not self._authority.sessions.locked(session, self._clock.mono_ns()):
                    self._authority.lock(session, self._clock.mono_ns(), "user")
                return {"outcome": "locked"}
            case "touch":
                who = self._authority.principal(message)
                return {"outcome": "touched", "session_id": who.session_id}
            case "who":
                return self._who(message)
            case "sessions":
                return {
                    "sessions": [self._told(one) for one in self._authority.sessions.all()],
                    "n_users": len(self._authority.book.users),
                }
            case "areas":
                return {"areas": [self._area(one) for one in self._authority.areas.ids]}
            case "take_area" | "release_area" | "hand_over" | "accept_area" as op:
                return self._change_area(op, message)
            case _:
                return refusal(Code.MALFORMED, "unknown op")

    # ------------------------------------------------------------ passwords

    def _sign_in(self, message: Mapping[str, Any], reply: Reply) -> dict[str, Any] | None:
        name = take_text(message, "user")
        take_text(message, "console", CONSOLE_MAX, empty=True)
        take_text(message, "remote_key", empty=True)
        return self._look_at(name, message, reply, "")

    def _unlock(self, message: Mapping[str, Any], reply: Reply) -> dict[str, Any] | None:
        session, user = self._authority.session(message)
        return self._look_at(user.name, message, reply, session.session_id)

    def _look_at(
        self, name: str, message: Mapping[str, Any], reply: Reply, session_id: str
    ) -> dict[str, Any] | None:
        """Hand a password in. Whether there is such a user makes no difference to anything that can be seen."""
        password = take_text(message, "password", PASSWORD_MAX)
        now = self._clock.mono_ns()
        wait_s = self._attempts(message).wait_s(name, now)
        if wait_s > 0:
            self._unseen_from_ns = self._unseen_from_ns or now
            self._unseen += 1
            return refusal(Code.TRY_LATER, f"{math.ceil(wait_s)} s")
        if len(self._pending) >= PENDING_MAX or name in {one.name for one in self._pending.values()}:
            return refusal(Code.BUSY, "")
        user = self._authority.book.get(name)
        self._job += 1
        kept = {key: message[key] for key in ("console", "remote_key", "remote_role") if key in message}
        self._pending[self._job] = _Attempt(name, user is not None, reply, kept, session_id)
        self._passwords.submit(self._job, name, None if user is None else user.password_hash, password)
        return None

    def finished(self) -> bool:
        """Passwords were looked at: answer who asked; whether there were any."""
        answers = self._passwords.answers()
        for checked in answers:
            attempt = self._pending.pop(checked.job)
            self.trouble = checked.trouble or self.trouble
            if not checked.right:
                self._failed(attempt)
                attempt.reply(refusal(Code.WRONG_PASSWORD))
                continue
            self._attempts(attempt.message).succeeded(attempt.name)
            try:
                self._authority.step()
                answer = self._unlocked(attempt) if attempt.session_id else self._signed_in(attempt)
            except RequestError as error:
                answer = refusal(error.code, error.detail)
            attempt.reply(answer)
        return bool(answers)

    def _attempts(self, message: Mapping[str, Any]) -> Attempts:
        """Failures at the door that a request came through: the machine itself, or one key of another machine.

        Whoever guesses at one door makes nobody wait at the others: a stolen tablet must not keep the control room out.
        """
        door = str(message.get("remote_key", ""))
        attempts = self._doors.setdefault(door, Attempts())
        self._doors.move_to_end(door)
        while len(self._doors) > DOORS_MAX:
            self._doors.popitem(last=False)
        return attempts

    def _failed(self, attempt: _Attempt) -> None:
        """Count and tell; a name that nobody has is not told: people type their password there."""
        now = self._clock.mono_ns()
        self._attempts(attempt.message).failed(attempt.name, now)
        console = str(attempt.message.get("console", ""))
        told = {"user": attempt.name if attempt.known else "(unknown)", "console": console}
        key = attempt.message.get("remote_key")
        more = {"remote_key": key} if key else {}
        what = {"session_id": attempt.session_id, "why": "unlock"} if attempt.session_id else {"why": "sign in"}
        self._desk.note(EntryKind.SIGN_IN_FAILED, **told, **more, **what)

    def _signed_in(self, attempt: _Attempt) -> dict[str, Any]:
        """Make the session; raises RequestError when there is no room, or the user went away meanwhile."""
        authority = self._authority
        user = authority.book.get(attempt.name)
        if user is None:
            raise RequestError(Code.WRONG_PASSWORD, "")
        leaving = authority.sessions.gives_way(user.name)
        if leaving is not None:
            authority.end(leaving, "another sign-in")
        if authority.sessions.full:
            raise RequestError(Code.SESSIONS, "")
        token = new_token()
        console, key = str(attempt.message.get("console", "")), str(attempt.message.get("remote_key", ""))
        session = authority.sessions.open(
            user.name, console, token_hash(token), self._clock.utc_ns(), self._clock.mono_ns(), key
        )
        who = authority.person(session, user, attempt.message)
        more = {"remote_key": key} if key else {}
        told = {"user": who.name, "role": str(who.role), "session_id": who.session_id, "console": console}
        self._desk.note(EntryKind.SIGNED_IN, **told, **more)
        authority.changed()
        return {"outcome": "signed_in", "session": token, **self._about(session, who)}

    def _unlocked(self, attempt: _Attempt) -> dict[str, Any]:
        session = self._authority.sessions.by_id(attempt.session_id)
        user = self._authority.book.get(attempt.name)
        if session is None or user is None:
            raise RequestError(Code.SESSION_OVER, "")
        self._authority.unlock(session)
        who = self._authority.person(session, user, attempt.message)
        return {"outcome": "unlocked", **self._about(session, who)}

    def step(self) -> None:
        """What time alone does; call it a few times a second."""
        self._authority.step()
        now = self._clock.mono_ns()
        if self._unseen and now - self._unseen_from_ns >= REFUSALS_TOLD_S * NS_PER_S:
            self._desk.note(EntryKind.SIGN_INS_REFUSED, n=self._unseen)
            self._unseen = self._unseen_from_ns = 0

    # ------------------------------------------------------------ who is there

    def _about(self, session: Session, who: Principal) -> dict[str, Any]:
        user = self._authority.book.users[session.user]
        return {
            "session_id": session.session_id, "user": who.name, "full_name": user.full_name, "role": str(who.role),
            "console": session.console, "areas": list(self._authority.areas.of_session(session.session_id)),
            "may_take": [one for one in self._authority.areas.ids if user.may_take(one)],
            "locks_after_s": self._authority.settings.idle_lock_s,
            "expires_after_s": self._left_s(self._authority.sessions.ends_at(session)),
        }  # fmt: skip

    def _left_s(self, until_mono_ns: int) -> float:
        return max(0.0, (until_mono_ns - self._clock.mono_ns()) / NS_PER_S)

    def _who(self, message: Mapping[str, Any]) -> dict[str, Any]:
        program = self._authority.program(message)
        if program is not None:
            return {"outcome": "principal", "user": program.name, "role": str(program.role),
                    "session_id": program.session_id, "console": "", "locked": False, "areas": []}  # fmt: skip
        session, user = self._authority.session(message)
        sessions = self._authority.sessions
        locked = sessions.locked(session, self._clock.mono_ns())
        about = self._about(session, self._authority.person(session, user, message))
        locks_in_s = 0.0 if locked else self._left_s(sessions.locks_at(session))
        return {"outcome": "principal", **about, "locked": locked, "locks_in_s": locks_in_s}

    def _told(self, session: Session) -> dict[str, Any]:
        user = self._authority.book.users.get(session.user)
        return {
            "user": session.user, "full_name": user.full_name if user else "", "role": str(user.role) if user else "",
            "session_id": session.session_id, "console": session.console, "remote_key": session.remote_key,
            "locked": self._authority.sessions.locked(session, self._clock.mono_ns()),
            "since_utc_ns": session.since_utc_ns, "areas": list(self._authority.areas.of_session(session.session_id)),
        }  # fmt: skip

    # ------------------------------------------------------------ areas

    def _area(self, area: str) -> dict[str, Any]:
        """An area as it stands, for everybody."""
        ko, en = self._authority.name_of(area)
        told: dict[str, Any] = {
            "id": area, "name_ko": ko, "name_en": en, "holder": "", "role": "", "session_id": "", "console": "",
            "since_utc_ns": 0, "expires_in_s": 0.0, "offered_to": "",
        }  # fmt: skip
        held = self._authority.areas.holding(area)
        if held is None:
            return told
        session = self._authority.sessions.by_id(held.session_id)
        assert session is not None, "an ended session holds nothing"
        user = self._authority.book.users.get(held.user)
        idle_ns = round(self._authority.settings.area_grace_s * NS_PER_S) + self._authority.sessions.locks_at(session)
        until = min(held.lapses_mono_ns or idle_ns, self._authority.sessions.ends_at(session))
        return told | {
            "holder": held.user, "role": str(user.role) if user else "", "session_id": held.session_id,
            "console": session.console, "since_utc_ns": held.since_utc_ns, "expires_in_s": self._left_s(until),
            "offered_to": held.offered_to,
        }  # fmt: skip

    def _change_area(self, op: str, message: Mapping[str, Any]) -> dict[str, Any]:
        who = self._authority.principal(message)
        area = take_text(message, "area")
        if who.is_program or not at_least(who.role, Role.OPERATOR):
            raise RequestError(Code.ROLE, who.role)
        if area not in self._authority.areas:
            raise RequestError(Code.UNKNOWN_AREA, area)
        match op:
            case "take_area":
                self._take(who, area, message)
            case "release_area":
                self._must_hold(who, area)
                self._authority.free(area, "released", who.name)
            case "hand_over":
                self._hand_over(who, area, take_text(message, "to"))
            case _:
                self._accept(who, area)
        return {"outcome": "area", "area": self._area(area)}

    def _must_hold(self, who: Principal, area: str) -> None:
        held = self._authority.areas.holding(area)
        if held is None:
            raise RequestError(Code.AREA_NOT_HELD, area)
        if held.session_id != who.session_id:
            raise RequestError(Code.AREA_HELD_BY_OTHER, f"{area}: {self._authority.holder_text(held)}")

    def _take(self, who: Principal, area: str, message: Mapping[str, Any]) -> None:
        force = message.get("force", False)
        if not isinstance(force, bool):
            raise RequestError(Code.MALFORMED, "force must be true or false")
        reason = take_text(message, "reason", TEXT_MAX, empty=not force)
        if not self._authority.book.users[who.name].may_take(area):
            raise RequestError(Code.AREA_NOT_ALLOWED, area)
        held = self._authority.areas.holding(area)
        if held is not None and held.session_id == who.session_id:
            return  # taken twice is taken once
        kind = EntryKind.AREA_TAKEN
        if held is not None and held.user != who.name:  # a person's other console gives its areas up unasked
            if not force:
                raise RequestError(Code.AREA_HELD_BY_OTHER, f"{area}: {self._authority.holder_text(held)}")
            if who.role not in SUPERVISING:
                raise RequestError(Code.ROLE, f"{who.role}: taking an area by force")
            kind = EntryKind.AREA_FORCED
        self._give(who, area, reason, kind)

    def _hand_over(self, who: Principal, area: str, to: str) -> None:
        """Offer an area to a session, or to a user in whichever session they are."""
        self._must_hold(who, area)
        authority, now = self._authority, self._clock.mono_ns()
        one = authority.sessions.by_id(to)
        candidates = (one,) if one is not None else authority.sessions.of_user(to)
        others = [other for other in candidates if other.session_id != who.session_id]
        if not others:
            raise RequestError(Code.UNKNOWN_SESSION, to)
        user = authority.book.get(others[0].user)
        if user is None or not at_least(user.role, Role.OPERATOR) or not user.may_take(area):
            raise RequestError(Code.AREA_NOT_ALLOWED, f"{area}: {others[0].user}")
        authority.areas.offer(area, to, now + round(authority.settings.offer_s * NS_PER_S))
        self._desk.note(EntryKind.AREA_OFFERED, area=area, user=who.name, session_id=who.session_id, to=to)
        authority.changed()
        ko, en = authority.name_of(area)
        told = f"{who.name} → {user.name}"
        authority.announce("area_offered", area, f"관할 인계 요청: {ko} ({told})", f"area {en} is offered ({told})")

    def _accept(self, who: Principal, area: str) -> None:
        if not self._authority.areas.offered(area, who.session_id, who.name, self._clock.mono_ns()):
            raise RequestError(Code.AREA_NOT_OFFERED, area)
        if not self._authority.book.users[who.name].may_take(area):
            raise RequestError(Code.AREA_NOT_ALLOWED, area)
        self._give(who, area, "", EntryKind.AREA_HANDED_OVER)

    def _give(self, who: Principal, area: str, reason: str, kind: EntryKind) -> None:
        """The area changes hands: the journal first, then the table, the file and the screens."""
        authority = self._authority
        held = authority.areas.holding(area)
        told = {"area": area, "user": who.name, "role": str(who.role), "session_id": who.session_id}
        if held is not None:
            told |= {"from": held.user, "from_session_id": held.session_id}
        if reason:
            told["reason"] = reason
        self._desk.write_now(kind, **told)
        authority.areas.put(area, who.session_id, who.name, self._clock.utc_ns())
        authority.changed()
        ko, en = authority.name_of(area)
        before = f"{held.user} → " if held is not None else ""
        because = f": {reason}" if reason else ""
        what_ko, what_en = title(kind, "ko"), title(kind, "en")
        authority.announce(
            str(kind), area, f"{what_ko}: {ko} ({before}{who.name}){because}",
            f"{what_en}: {en} ({before}{who.name}){because}",
        )  # fmt: skip
