"""Who is signed in at a desk, and what became of their last request."""

from __future__ import annotations

from dataclasses import dataclass

from gwanje.hmi.desk.picture import NEVER
from gwanje.hmi.display.model import Label

ROLES = ("viewer", "operator", "supervisor", "engineer", "admin")
"""From little to much."""


@dataclass(frozen=True, slots=True)
class Session:
    """Who is signed in at this desk."""

    user: str
    role: str
    session_id: str
    locked: bool = False
    areas: tuple[str, ...] = ()
    locks_mono_ns: int = NEVER

    def may(self, role: str) -> bool:
        """Whether this role or a higher one."""
        return self.role in ROLES and ROLES.index(self.role) >= ROLES.index(role)


@dataclass(frozen=True, slots=True)
class Notice:
    """The outcome of a request, for the person who made it."""

    key: str
    text: Label
    bad: bool
    mono_ns: int
