"""What a desk needs of whatever runs with the parameters: to swap them without a bump, and to show what is tuned."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol, TypeVar

from gwanje.control.tuning.registry import Config

BUMP_SHARE_MAX = 0.005
"""Of the rating: how much the set-points of one tick may move because of a change."""
TRIES = 100
"""Ticks in which a change is tried before it is refused: a second."""


class Stage(Enum):
    """Of a swap."""

    TRIED = "tried"
    DONE = "done"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Swapped:
    """What became of the last swap.

    Attributes:
        stage: it is in.
        bump_pct: move of the commands that it made or would make, of the rating.
        why_ko: why it is refused, where the bump is not all there is to say.
        why_en: the same in English.
    """

    stage: Stage
    bump_pct: float
    why_ko: str = ""
    why_en: str = ""


SwapT = TypeVar("SwapT", bound=Config, contravariant=True)


class Hand(Protocol[SwapT]):
    """What changes the parameters of what runs."""

    @property
    def swapped(self) -> Swapped:
        """Of the last swap."""

    def swap(self, config: SwapT, *, force: bool) -> None:
        """Go on with other parameters from one of the next periods, without a bump; what waits still is given up.

        Args:
            config: all of them.
            force: take them after :data:`TRIES` whatever the bump.

        Raises:
            ValueError: they cannot be.
            RuntimeError: not now; ask again.
        """

    def show(self, on_watch: int, last_kept: int, watch_left_s: float) -> None:
        """Show what is tuned."""
