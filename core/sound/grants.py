"""Who listens where and who speaks where, right now: a table with limits. No clock, no file here."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gwanje.core.authority.principal import Principal
from gwanje.core.clock import NS_PER_S
from gwanje.core.requests import Code

SECONDS_MAX = 60.0
"""Longest grant; whoever must go on asks again, with a reason, and that is another entry."""
SECONDS_LEAST = 1.0
LISTENERS_MAX = 4
"""At once in the city: listening in is for an event, not for a shift."""
TALKERS_MAX = 4
"""At once in the city; one person speaks at one place."""
ABSENT_NS = 3 * NS_PER_S
"""Who has not renewed for so long is gone. A pass lives shorter: nothing is heard in between."""


class Kind(StrEnum):
    """What is granted."""

    LISTEN = "listen"
    TALK = "talk"


LIMITS = {Kind.LISTEN: LISTENERS_MAX, Kind.TALK: TALKERS_MAX}


class End(StrEnum):
    """Why a grant ended."""

    TIME = "time"
    LEFT = "left"
    ABSENT = "absent"
    SESSION = "session"
    AREA = "area"
    GATE = "gate"
    STOPPED = "stopped"
    PLACE = "place"
    RESTART = "restart"


END_TEXTS: dict[End, tuple[str, str]] = {
    End.TIME: ("시간이 끝남", "its time was over"),
    End.LEFT: ("본인이 끝냄", "ended by who asked for it"),
    End.ABSENT: ("단말이 사라짐", "the asker was gone"),
    End.SESSION: ("로그인이 끝났거나 잠김", "the session ended or locked"),
    End.AREA: ("관할을 잃음", "the area of authority was lost"),
    End.GATE: ("현장 쓰기 차단", "the gate was closed"),
    End.STOPPED: ("감독자가 끝냄", "ended by a supervisor"),
    End.PLACE: ("마이크나 스피커가 끝냄", "microphone or loudspeaker ended it"),
    End.RESTART: ("코어가 다시 시작됨", "the core was started anew"),
}
"""What operators read, Korean and English."""


@dataclass(slots=True)
class Grant:
    """Somebody listens at a node, or speaks through a camera.

    Attributes:
        grant_id: unguessable for nobody: it names, it does not open.
        kind: which of the two.
        place: node or camera.
        who: as the core established it.
        reason: that was given.
        for_s: seconds that were granted.
        begun_utc_ns: for people.
        begun_mono_ns: when it began.
        renewed_mono_ns: when its holder was last heard of.
        remote_key: key of another machine that the holder comes through; empty on this one.
    """

    grant_id: str
    kind: Kind
    place: str
    who: Principal
    reason: str
    for_s: float
    begun_utc_ns: int
    begun_mono_ns: int
    renewed_mono_ns: int
    remote_key: str = ""

    @property
    def ends_mono_ns(self) -> int:
        """When it ends by itself."""
        return self.begun_mono_ns + round(self.for_s * NS_PER_S)

    def lasted_s(self, now_mono_ns: int) -> float:
        """Seconds since its beginning, no more than were granted."""
        return min(self.for_s, max(0.0, (now_mono_ns - self.begun_mono_ns) / NS_PER_S))


class GrantTable:
    """All grants that stand."""

    def __init__(self) -> None:
        self._grants: dict[str, Grant] = {}

    def all(self) -> tuple[Grant, ...]:
        """Oldest first."""
        return tuple(self._grants.values())

    def get(self, grant_id: str) -> Grant | None:
        """A grant by its name."""
        return self._grants.get(grant_id)

    def at(self, kind: Kind, place: str) -> Grant | None:
        """The grant of a kind at a place."""
        return next((one for one in self._grants.values() if (one.kind, one.place) == (kind, place)), None)

    def refusal(self, kind: Kind, place: str, who: Principal) -> tuple[Code, str] | None:
        """Why no further grant can be given; ``None`` when it can."""
        taken = self.at(kind, place)
        if taken is not None:
            return Code.SOUND_TAKEN, f"{place}: {taken.who.name}"
        same = [one for one in self._grants.values() if one.kind is kind]
        own = next((one for one in same if one.who.session_id == who.session_id), None)
        if own is not None:
            return Code.SOUND_TAKEN, f"{own.place}: {own.who.name}"
        if len(same) >= LIMITS[kind]:
            return Code.TOO_MANY, f"{len(same)}"
        return None

    def put(self, grant: Grant) -> None:
        """Let a grant stand; the caller has looked at :meth:`refusal`."""
        self._grants[grant.grant_id] = grant

    def drop(self, grant_id: str) -> None:
        """It stands no more."""
        self._grants.pop(grant_id, None)

    def outlived(self, now_mono_ns: int) -> list[tuple[Grant, End]]:
        """Grants whose time is over, or whose holder is gone."""
        found = []
        for one in self._grants.values():
            if now_mono_ns >= one.ends_mono_ns:
                found.append((one, End.TIME))
            elif now_mono_ns - one.renewed_mono_ns >= ABSENT_NS:
                found.append((one, End.ABSENT))
        return found
