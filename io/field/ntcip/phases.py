"""Phases that must never run together, and whether they do. Pure.

The matrix only ever watches: what the lamps show is the controller's and its conflict monitor's to keep safe. It stands
outside everything that decides, and what is written (:mod:`.requests`) names one phase at most, which conflicts with
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

PHASES_MAX = 16


class MatrixError(ValueError):
    """A matrix that cannot be; the text says which entry."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """Phases in use and what conflicts with each.

    Attributes:
        phases: mask of the phases in use, phase 1 is bit 0.
        against: mask of the phases that conflict with phase i + 1.
    """

    phases: int
    against: tuple[int, ...]

    def groups(self) -> int:
        """Groups of eight phases that must be read."""
        return 2 if self.phases >> 8 else 1

    def conflict(self, greens: int, yellows: int, walks: int = 0) -> tuple[int, int] | None:
        """The first pair that conflicts: a green or a walk beside any other green, yellow or walk."""
        open_now = greens | walks
        moving = open_now | yellows
        for index in range(PHASES_MAX):
            if open_now >> index & 1 and (wrong := self.against[index] & moving):
                return index + 1, (wrong & -wrong).bit_length()
        return None


def parse_matrix(params: Mapping[str, Any]) -> Matrix:
    """``conflicts = {1 = [2, 3, …], …}``: every phase in use with all that it conflicts with.

    Raises:
        MatrixError: it is not symmetric, or names phases that cannot be.
    """
    table = params.get("conflicts")
    if not isinstance(table, Mapping) or not table:
        raise MatrixError("conflicts must be a table: each phase in use = the phases that must not run with it")
    against = [0] * PHASES_MAX
    phases = 0
    for key, others in table.items():
        phase = _phase(key)
        phases |= 1 << phase - 1
        if not isinstance(others, list):
            raise MatrixError(f"phase {phase}: must be an array of phases")
        for one in others:
            other = _phase(one)
            if other == phase:
                raise MatrixError(f"phase {phase} cannot conflict with itself")
            against[phase - 1] |= 1 << other - 1
    for first, second in _one_sided(against):
        raise MatrixError(f"phase {first} conflicts with {second}, but {second} not with {first}")
    return Matrix(phases, tuple(against))


def _phase(value: Any) -> int:
    text = str(value)
    if isinstance(value, bool) or not text.isdecimal() or not 1 <= int(text) <= PHASES_MAX:
        raise MatrixError(f"{value!r} is not a phase from 1 to {PHASES_MAX}")
    return int(text)


def _one_sided(against: list[int]) -> Iterator[tuple[int, int]]:
    for one in range(PHASES_MAX):
        for other in range(PHASES_MAX):
            if against[one] >> other & 1 and not against[other] >> one & 1:
                yield one + 1, other + 1


def lowest(mask: int) -> int:
    """Number of the lowest phase in a mask, 0 for none."""
    return (mask & -mask).bit_length()
