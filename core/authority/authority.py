"""Who asks, and what is theirs: the core's one place that turns the ``session`` of a request into a principal.

Programs are known by the credential that the supervisor gave them for this run, people by the session they signed in
to. The authority keeps users, sessions and areas together, because what happens to one moves the others: a disabled
user's sessions end, a session that ended holds no area. The service with which people sign in and take areas is
:mod:`gwanje.core.authority.service`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

from gwanje.core.authority.areas import AreaMap, AreaTable, Holding
from gwanje.core.authority.credentials import TOKEN_MAX, token_hash
from gwanje.core.authority.principal import PEOPLE, SUPERVISING, Principal, Role, at_least, lesser
from gwanje.core.authority.sessions import Session, SessionTable
from gwanje.core.authority.settings import AuthoritySettings
from gwanje.core.authority.user_book import UserBook
from gwanje.core.authority.users import Change, User
from gwanje.core.clock import NS_PER_S, Clock
from gwanje.core.journal.desk import JournalDesk
from gwanje.core.journal.kinds import EntryKind
from gwanje.core.requests import TEXT_MAX, Code, RequestError

STATE_VERSION = 1


class Outside(Protocol):
    """What the authority needs of the world."""

    def save(self, state: Mapping[str, Any]) -> None:
        """Keep sessions and areas for a restart; raises OSError when that fails."""

    def announce(self, class_name: str, source: str, text_ko: str, text_en: str) -> None:
        """Tell the screens what happened."""


class Authority:
    """Users, sessions and areas of a running city.

    Args:
        programs: hash of each credential → name of the part, from :func:`credentials.read_hashes`.
        book: the users.
        areas: of the site.
        settings: how long things last.
        clock: of the machine.
        desk: of the journal.
        outside: the world.
        boot: identity of this boot, to which monotonic times belong.
    """

    def __init__(
        self, programs: Mapping[str, str], book: UserBook, areas: AreaMap, settings: AuthoritySettings, clock: Clock,
        desk: JournalDesk, outside: Outside, boot: str,
    ) -> None:  # fmt: skip
        self._programs = {
            hashed: Principal(part, Role.PROGRAM, f"program-{part}") for hashed, part in programs.items()
        }
        self.book = book
        self.map = areas
        self.settings = settings
        self.sessions = SessionTable(settings)
        self.areas = AreaTable(area.id for area in areas.areas)
        self._clock = clock
        self._desk = desk
        self._outside = outside
        self._boot = boot
        self._unsaved = False
        self._said = ""
        self.state_trouble = ""
        """Why sessions cannot be kept for a restart; empty when they are."""

    # ------------------------------------------------------------ who asks

    def principal(self, message: Mapping[str, Any]) -> Principal:
        """Who is behind the message's ``session``; a person's session counts as used.

        Raises:
            RequestError: nobody (``NOT_SIGNED_IN``), or the session is locked or over.
        """
        program = self.program(message)
        if program is not None:
            return program
        session, user = self.session(message)
        now = self._clock.mono_ns()
        if self.sessions.locked(session, now):
            raise RequestError(Code.SESSION_LOCKED, session.session_id)
        session.used_mono_ns = now
        return self.person(session, user, message)

    def known(self, message: Mapping[str, Any]) -> dict[str, str]:
        """Who is behind a message as an entry names them, also behind a locked session; empty for nobody known."""
        try:
            program = self.program(message)
            if program is not None:
                return {"author": program.name, "role": str(program.role), "session_id": program.session_id}
            session, user = self.session(message)
        except RequestError:
            return {}
        who = self.person(session, user, message)
        return {"author": who.name, "role": str(who.role), "session_id": who.session_id, "console": who.console}

    def program(self, message: Mapping[str, Any]) -> Principal | None:
        """The program behind the message; its credential is worth nothing off the machine.

        Raises:
            RequestError: there is no token at all.
        """
        token = message.get("session", "")
        if not isinstance(token, str) or len(token) > TOKEN_MAX:
            raise RequestError(Code.MALFORMED, "session must be a short text")
        if not token:
            raise RequestError(Code.NOT_SIGNED_IN, "")
        return None if "remote_key" in message else self._programs.get(token_hash(token))

    def session(self, message: Mapping[str, Any]) -> tuple[Session, User]:
        """The session and user behind the message, also when it is locked; does not count as its use.

        Raises:
            RequestError: there is none, or it is over.
        """
        if self.program(message) is not None:
            raise RequestError(Code.ROLE, "a program has no session")
        session = self.sessions.by_hash(token_hash(message["session"]))
        user = None if session is None else self.book.get(session.user)
        if session is None or user is None or self.sessions.over(session, self._clock.mono_ns()):
            raise RequestError(Code.SESSION_OVER, "")
        if message.get("remote_key", "") != session.remote_key:
            raise RequestError(Code.SESSION_OVER, "it was opened through another door")
        return session, user

    def person(self, session: Session, user: User, message: Mapping[str, Any]) -> Principal:
        """The principal of a session; the key of a program off the machine caps the role."""
        role = user.role
        if session.remote_key:
            said = message.get("remote_role")
            cap = next((one for one in PEOPLE if one == said), Role.VIEWER)
            role = lesser(role, cap)
        return Principal(user.name, role, session.session_id, session.console)

    def present(self, who: Principal) -> Principal | None:
        """Who asked a while ago, as they are now; ``None`` when the session is over or locked.

        A role that has grown since does not count: what was asked for was asked for with the one of that time.
        """
        session = self.sessions.by_id(who.session_id)
        user = None if session is None else self.book.get(session.user)
        now = self._clock.mono_ns()
        if session is None or user is None or self.sessions.over(session, now) or self.sessions.locked(session, now):
            return None
        return replace(who, role=lesser(user.role, who.role))

    # ------------------------------------------------------------ areas

    def witness_refusal(self, principal: Principal, point: str) -> tuple[Code, str] | None:
        """What is against somebody's agreeing to another's operation: they need not hold the area, but be allowed to.

        Under a point of no area stands a supervisor.
        """
        area, user = self.map.of(point), self.book.get(principal.name)
        if not area:
            return None if principal.role in SUPERVISING else (Code.NO_AREA, point)
        return None if user is not None and user.may_take(area) else (Code.AREA_NOT_ALLOWED, area)

    def area_of(self, point: str) -> str:
        """The area of authority that a point belongs to; empty when it has none."""
        return self.map.of(point)

    def area_refusal(self, principal: Principal, point: str) -> tuple[Code, str] | None:
        """What is against somebody's changing a point, as far as areas go; ``None`` when nothing is.

        A person holds the point's area with this very session; a point of no area takes a supervisor; programs stand
        under leases instead.
        """
        if principal.is_program:
            return None
        area = self.map.of(point)
        if not area:
            return None if principal.role in SUPERVISING else (Code.NO_AREA, point)
        held = self.areas.holding(area)
        if held is None:
            return Code.AREA_NOT_HELD, area
        if held.session_id != principal.session_id:
            return Code.AREA_HELD_BY_OTHER, f"{area}: {self.holder_text(held)}"
        return None

    def holder_text(self, held: Holding) -> str:
        """Who holds an area, for people."""
        session = self.sessions.by_id(held.session_id)
        return f"{held.user} @ {session.console}" if session is not None and session.console else held.user

    # ------------------------------------------------------------ what happens to sessions

    def lock(self, session: Session, at_mono_ns: int, why: str) -> None:
        """Lock a session; its areas become free after a grace."""
        session.locked_mono_ns = at_mono_ns
        self.areas.lapse(session.session_id, at_mono_ns + round(self.settings.area_grace_s * NS_PER_S))
        self._desk.note(EntryKind.SESSION_LOCKED, user=session.user, session_id=session.session_id, why=why)
        self.changed()

    def unlock(self, session: Session) -> None:
        """The user of a locked session gave the password again."""
        session.locked_mono_ns = 0
        session.used_mono_ns = self._clock.mono_ns()
        self.areas.lapse(session.session_id, 0)
        self._desk.note(EntryKind.SESSION_UNLOCKED, user=session.user, session_id=session.session_id)
        self.changed()

    def end(self, session: Session, why: str) -> None:
        """End a session; its areas are free at once, because nobody can act with it any more."""
        for area in self.areas.of_session(session.session_id):
            self.free(area, why)
        self.sessions.end(session)
        self._desk.note(EntryKind.SIGNED_OUT, user=session.user, session_id=session.session_id, why=why)
        self.changed()

    def free(self, area: str, why: str, by: str = "") -> None:
        """Make an area free; the journal and the screens say why."""
        held = self.areas.release(area)
        if held is not None:
            self._tell_free(held, why, by)
            self.changed()

    def _tell_free(self, held: Holding, why: str, by: str = "") -> None:
        more = {"by": by} if by else {}
        told = {"area": held.area, "user": held.user, "session_id": held.session_id, "why": why, **more}
        self._desk.note(EntryKind.AREA_RELEASED, **told)
        ko, en = self.name_of(held.area)
        self.announce("area_released", held.area, f"관할 해제: {ko} ({held.user})", f"area {en} is free ({held.user})")

    def name_of(self, area: str) -> tuple[str, str]:
        """Korean and English name of an area."""
        return next((one.name_ko, one.name_en) for one in self.map.areas if one.id == area)

    def announce(self, class_name: str, source: str, text_ko: str, text_en: str) -> None:
        """Tell the screens what happened."""
        self._outside.announce(class_name, source, text_ko, text_en)

    # ------------------------------------------------------------ time

    def step(self) -> None:
        """What time and the users' file alone do; call it a few times a second, and before anything is decided."""
        now = self._clock.mono_ns()
        for change in self.book.look(now):
            self._user_changed(change)
        for session in self.sessions.outlived(now):
            self.end(session, "over")
        for session in self.sessions.idle(now):
            self.lock(session, session.locked_mono_ns, "idle")
        for held in self.areas.expire(now):
            self._tell_free(held, "locked")
            self.changed()
        if self._said != self.book.trouble:
            self._said = self.book.trouble
            if self._said:
                self._desk.note(EntryKind.USERS_UNREADABLE, reason=self._said[:TEXT_MAX])
        if self._unsaved or self.sessions.unsaved():
            self._save()

    def _user_changed(self, change: Change) -> None:
        told = {"user": change.name, "what": change.what, "role": change.role, "areas": list(change.areas)}
        self._desk.note(EntryKind.USER_CHANGED, **told, by=change.by)
        user = self.book.get(change.name)
        for session in self.sessions.of_user(change.name):
            if change.ends or user is None:
                self.end(session, f"user: {change.what}")
                continue
            for area in self.areas.of_session(session.session_id):
                if not at_least(user.role, Role.OPERATOR) or not user.may_take(area):
                    self.free(area, f"user: {change.what}", change.by)

    # ------------------------------------------------------------ a restart

    def changed(self) -> None:
        """Sessions or areas are different: keep them now; when that fails it is tried again by :meth:`step`."""
        self._unsaved = True
        self._save()

    def _save(self) -> None:
        state = {
            "version": STATE_VERSION, "boot": self._boot, "sessions": self.sessions.to_state(),
            "areas": self.areas.to_state(),
        }  # fmt: skip
        try:
            self._outside.save(state)
        except OSError as error:
            self._unsaved = True
            self.state_trouble = f"sessions cannot be kept: {error.strerror}"
            return
        self._unsaved = False
        self.state_trouble = ""

    def take_up(self, state: Mapping[str, Any] | None) -> None:
        """Go on where an earlier process of this run was killed.

        Raises:
            ValueError: the state is damaged; everybody must sign in again.
        """
        now = self._clock.mono_ns()
        if state is not None and state.get("boot") == self._boot and state.get("version") == STATE_VERSION:
            self.sessions.restore(state.get("sessions"), now)
            owners = {one.session_id: one.user for one in self.sessions.all()}
            try:
                self.areas.restore(state.get("areas"), owners)
            except ValueError:
                for session in self.sessions.all():  # both or none: who was told to sign in again has no session
                    self.sessions.end(session)
                raise
        self.step()
        for session in self.sessions.all():
            if self.book.get(session.user) is None:
                self.end(session, "user: removed")
