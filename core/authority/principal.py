"""Who asks: the person or program behind a request, as the core has established it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol


class Role(StrEnum):
    """What somebody may do, from little to much, and programs beside."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    SUPERVISOR = "supervisor"
    ENGINEER = "engineer"
    ADMIN = "admin"
    PROGRAM = "program"


PEOPLE = tuple(role for role in Role if role is not Role.PROGRAM)
"""Roles of people, from little to much."""
SUPERVISING = frozenset({Role.SUPERVISOR, Role.ENGINEER, Role.ADMIN})
"""Roles that may do what others must ask for: close the gate, force an area, take others' safety tags away."""


def at_least(role: Role, least: Role) -> bool:
    """Whether a person's role is that much or more; never for a program."""
    return role in PEOPLE and PEOPLE.index(role) >= PEOPLE.index(least)


def lesser(one: Role, other: Role) -> Role:
    """The smaller of two people's roles."""
    return min(one, other, key=PEOPLE.index)


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody whose right to speak has been proven.

    Attributes:
        name: of the user, or of the part for a program.
        role: what the name stands for in this session.
        session_id: short public name of the session, for the journal and for who holds what; never the secret.
        console: where the person sits, as the session was opened with; empty for programs.
    """

    name: str
    role: Role
    session_id: str
    console: str = ""

    @property
    def is_program(self) -> bool:
        """A part of this city or another program, not a person."""
        return self.role is Role.PROGRAM


class Principals(Protocol):
    """What a service needs to know who asks."""

    def principal(self, message: Mapping[str, Any]) -> Principal:
        """Who is behind the message's ``session``.

        Raises:
            RequestError: nobody (``NOT_SIGNED_IN``), or the session is locked or over.
        """
