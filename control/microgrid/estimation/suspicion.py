"""When a suspicion is said and taken back: only what lasts, so that meters read a moment apart accuse nobody."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SuspicionState:
    """What is kept from turn to turn.

    Attributes:
        turns: of what was suspected last, how many turns in a row; of what is said, how many turns since it was not.
        said: what operators have been told.
    """

    turns: Mapping[str, int] = field(default_factory=dict)
    said: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Told:
    """What is new."""

    begun: tuple[str, ...] = ()
    ended: tuple[str, ...] = ()


def step(state: SuspicionState, suspected: Iterable[str], persist_turns: int) -> tuple[SuspicionState, Told]:
    """One turn; ``persist_turns`` in a row say a suspicion, and as many without it take it back."""
    now = frozenset(suspected)
    turns = {one: state.turns.get(one, 0) + 1 for one in (now ^ state.said)}
    changed = {one for one, count in turns.items() if count >= persist_turns}
    kept = {one: count for one, count in turns.items() if one not in changed}
    begun, ended = sorted(changed - state.said), sorted(changed & state.said)
    return SuspicionState(kept, state.said ^ frozenset(changed)), Told(tuple(begun), tuple(ended))
