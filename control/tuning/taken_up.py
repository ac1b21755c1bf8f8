"""What a part finds of its tuning when it starts: the book of the one before, and what is to be told of it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from gwanje.control.tuning import change_set
from gwanje.control.tuning.change_set import Book, ChangeSet
from gwanje.control.tuning.owner import owner_of
from gwanje.control.tuning.registry import Config
from gwanje.core.clock import Clock
from gwanje.core.state_file import StateFile


@dataclass(frozen=True, slots=True)
class Told:
    """An event: class name, Korean, English, figures."""

    class_name: str
    ko: str
    en: str
    data: Mapping[str, float | int | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TakenUp:
    """What a part before has left: the book, what is to be told of it, and the set that was on watch."""

    book: Book
    told: tuple[Told, ...] = ()
    rolled: ChangeSet | None = None


def taken_up(state: StateFile, file: Config, clock: Clock) -> TakenUp:
    """The book that a part before has left, and what is to be told of it.

    A book that cannot be read is set aside with the next save, and the site's file is in force.
    """
    owner = owner_of(file)
    try:
        found = state.load()
        book = change_set.from_state(found, owner.limits) if found is not None else Book()
    except (OSError, ValueError) as error:
        state.doubt()
        ko = f"저장된 파라미터를 읽지 못해 {owner.site_file} 대로 동작: {error}"
        en = f"kept parameters are not known, {owner.site_file} is in force: {error}"
        return TakenUp(Book(), (Told("tuning_unreadable", ko, en),))
    news = []
    book, rolled = change_set.restarted(book, clock.utc_ns())
    if rolled is not None:
        news.append(
            Told(
                "tuning_rolled_back", f"파라미터 변경 {owner.label(rolled.number)} 되돌림: {rolled.why_ko}",
                f"change {owner.label(rolled.number)} is rolled back: {rolled.why_en}", {"change_set": rolled.number},
            )
        )  # fmt: skip
        with contextlib.suppress(OSError):  # it stands in the file as on watch: the next start rolls it back again
            state.save(change_set.to_state(book))
    _, overruled = change_set.in_force(book, file)
    if overruled:
        names = ", ".join(overruled)
        news.append(
            Told(
                "tuning_overruled", f"{owner.site_file} 이 바뀌어 저장된 값을 쓰지 않음: {names}",
                f"{owner.site_file} has changed since, its values are in force: {names}",
            )
        )  # fmt: skip
    return TakenUp(book, tuple(news), rolled)
