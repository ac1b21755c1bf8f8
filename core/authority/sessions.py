"""Sessions of people: who signed in where, since when, and whether it is locked. No clock, no file, no password here.

A session's secret is a random token that only the one who signed in has; the table knows its hash. A session locks when
nobody uses it, and ends after its longest life; both are decided by the monotonic clock at the moment somebody asks,
so a late :meth:`SessionTable.step` lets nobody through.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from gwanje.core.authority.settings import AuthoritySettings
from gwanje.core.clock import NS_PER_S

SESSIONS_MAX = 64
"""A control room has a dozen consoles; remote ones come through the same door."""
PER_USER_MAX = 2
"""A person sits at one console and carries a second one along."""
USED_SAVED_S = 30.0
"""A session's last use is written when it is so much newer than what was written: a restart locks at most so early."""
_ID = re.compile(r"s[0-9a-f]{6}")


@dataclass(slots=True)
class Session:
    """One sign-in.

    Attributes:
        session_id: public name.
        token_hash: SHA-256 of the secret.
        user: name of the user.
        console: where, as the user's program says.
        since_utc_ns: of the sign-in, for people.
        since_mono_ns: of the sign-in.
        used_mono_ns: last request.
        locked_mono_ns: when it locked; 0 while it is open.
        remote_key: key of the program off the machine that it came through; empty on the machine.
    """

    session_id: str
    token_hash: str
    user: str
    console: str
    since_utc_ns: int
    since_mono_ns: int
    used_mono_ns: int
    locked_mono_ns: int = 0
    remote_key: str = ""


class SessionTable:
    """All sessions."""

    def __init__(self, settings: AuthoritySettings) -> None:
        self._settings = settings
        self._by_hash: dict[str, Session] = {}
        self._by_id: dict[str, Session] = {}
        self._saved_used: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def all(self) -> tuple[Session, ...]:
        """Every session, oldest first."""
        return tuple(sorted(self._by_id.values(), key=lambda one: one.since_mono_ns))

    def by_hash(self, token_hash: str) -> Session | None:
        """The session that a secret belongs to."""
        return self._by_hash.get(token_hash)

    def by_id(self, session_id: str) -> Session | None:
        """The session of a public name."""
        return self._by_id.get(session_id)

    def of_user(self, user: str) -> tuple[Session, ...]:
        """A user's sessions, oldest first."""
        return tuple(one for one in self.all() if one.user == user)

    # ------------------------------------------------------------ time

    def over(self, session: Session, now_mono_ns: int) -> bool:
        """Whether its longest life has passed."""
        return now_mono_ns - session.since_mono_ns >= self._settings.session_s * NS_PER_S

    def locked(self, session: Session, now_mono_ns: int) -> bool:
        """Whether it is locked, by its user or because nobody used it."""
        return session.locked_mono_ns > 0 or now_mono_ns >= self.locks_at(session)

    def locks_at(self, session: Session) -> int:
        """When it locks if nobody uses it."""
        return session.used_mono_ns + round(self._settings.idle_lock_s * NS_PER_S)

    def ends_at(self, session: Session) -> int:
        """When its longest life has passed."""
        return session.since_mono_ns + round(self._settings.session_s * NS_PER_S)

    def idle(self, now_mono_ns: int) -> tuple[Session, ...]:
        """Lock what nobody used; returns it."""
        found = tuple(one for one in self.all() if not one.locked_mono_ns and now_mono_ns >= self.locks_at(one))
        for one in found:
            one.locked_mono_ns = self.locks_at(one)
        return found

    def outlived(self, now_mono_ns: int) -> tuple[Session, ...]:
        """Sessions whose longest life has passed; the caller ends them."""
        return tuple(one for one in self.all() if self.over(one, now_mono_ns))

    # ------------------------------------------------------------ changes

    def gives_way(self, user: str) -> Session | None:
        """The session that ends when this user signs in once more; ``None`` when there is room.

        A user's third sign-in ends the one that was used least recently: a screen that crashed must not keep its user
        out. When the table is full the least recently used locked one goes.
        """
        own = self.of_user(user)
        if len(own) >= PER_USER_MAX:
            return min(own, key=lambda one: one.used_mono_ns)
        if len(self) < SESSIONS_MAX:
            return None
        locked = [one for one in self.all() if one.locked_mono_ns]
        return min(locked, key=lambda one: one.used_mono_ns, default=None)

    @property
    def full(self) -> bool:
        """Whether there is room for no other session."""
        return len(self) >= SESSIONS_MAX

    def open(
        self, user: str, console: str, token_hash: str, utc_ns: int, now_mono_ns: int, remote_key: str = ""
    ) -> Session:
        """A new session; the caller has made room with :meth:`gives_way`."""
        assert not self.full, "room was made before"
        session_id = f"s{secrets.token_hex(3)}"
        while session_id in self._by_id:
            session_id = f"s{secrets.token_hex(3)}"
        session = Session(session_id, token_hash, user, console, utc_ns, now_mono_ns, now_mono_ns, 0, remote_key)
        self._put(session)
        return session

    def _put(self, session: Session) -> None:
        self._by_id[session.session_id] = session
        self._by_hash[session.token_hash] = session

    def end(self, session: Session) -> None:
        """Forget a session; its secret is worthless from now on."""
        del self._by_id[session.session_id]
        del self._by_hash[session.token_hash]
        self._saved_used.pop(session.session_id, None)

    # ------------------------------------------------------------ a restart

    def unsaved(self) -> bool:
        """Whether last uses are much newer than those that were written."""
        reach_ns = USED_SAVED_S * NS_PER_S
        return any(
            one.used_mono_ns - self._saved_used.get(one.session_id, 0) >= reach_ns for one in self._by_id.values()
        )

    def to_state(self) -> list[dict[str, Any]]:
        """As JSON can hold it; hashes of secrets, never secrets."""
        self._saved_used = {one.session_id: one.used_mono_ns for one in self._by_id.values()}
        return [asdict(one) for one in self.all()]

    def restore(self, state: Any, now_mono_ns: int) -> None:
        """Take up what an earlier process of this run left and has not ended meanwhile.

        Raises:
            ValueError: it is not what :meth:`to_state` makes; nothing is taken up then.
        """
        if not isinstance(state, list) or len(state) > SESSIONS_MAX:
            raise ValueError("no list of sessions")
        found = [_session(one, now_mono_ns) for one in state]
        if len({one.session_id for one in found}) != len(found) or len({one.token_hash for one in found}) != len(found):
            raise ValueError("a session twice")
        for one in found:
            if not self.over(one, now_mono_ns):
                self._put(one)


def _session(content: Any, now_mono_ns: int) -> Session:
    if not isinstance(content, Mapping) or set(content) != {one.name for one in fields(Session)}:
        raise ValueError("no session")
    for key, value in content.items():
        wanted = int if key.endswith("_ns") else str
        if not isinstance(value, wanted) or isinstance(value, bool):
            raise ValueError(f"{key} of a session is of the wrong kind")
    session = Session(**content)
    times = (session.since_mono_ns, session.used_mono_ns, session.locked_mono_ns)
    if not all(0 <= one <= now_mono_ns for one in times) or not _ID.fullmatch(session.session_id):
        raise ValueError("a session from the future, or without a name")
    return session
