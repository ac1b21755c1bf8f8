"""A set of changes to parameters, from a draft to kept or rolled back, and the book of all of them. Pure.

::

    draft ──► dry_run ──► applying ──► applied ──► kept
      └──────────────────────┴──► refused  └─────► rolled_back

One at a time is applying or applied. What is kept lies over the site's file until that file says something else about
the parameter: then the file, which somebody has edited since, is right. Each part with parameters has such a book.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from gwanje.control.tuning.guard import AnyLimits, Limits, limits_of
from gwanje.control.tuning.registry import Config, ConfigT, Registry, problems_of, sections_of, with_values

CHANGES_MAX = 16
"""Changes of one set: more than a person can judge at once."""
SETS_MAX = 32
"""Sets that the book remembers; the oldest that have ended go first."""
REASON_MAX = 200
WATCH_S = 60.0
WATCH_S_MIN, WATCH_S_MAX = 5.0, 3600.0


class State(StrEnum):
    """Where a set stands."""

    DRAFT = "draft"
    DRY_RUN = "dry_run"
    APPLYING = "applying"
    APPLIED = "applied"
    KEPT = "kept"
    ROLLED_BACK = "rolled_back"
    REFUSED = "refused"


NEXT: Mapping[State, frozenset[State]] = {
    State.DRAFT: frozenset({State.DRY_RUN, State.APPLYING, State.REFUSED}),
    State.DRY_RUN: frozenset({State.APPLYING, State.REFUSED}),
    State.APPLYING: frozenset({State.APPLIED, State.REFUSED, State.ROLLED_BACK}),
    State.APPLIED: frozenset({State.KEPT, State.ROLLED_BACK}),
    State.KEPT: frozenset(),
    State.ROLLED_BACK: frozenset(),
    State.REFUSED: frozenset(),
}
ON_WATCH = frozenset({State.APPLYING, State.APPLIED})
READY = frozenset({State.DRAFT, State.DRY_RUN})


@dataclass(frozen=True, slots=True)
class Change:
    """One parameter: full name, the value in force when it was drafted, and the wanted one."""

    name: str
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """Some changes that belong together.

    Attributes:
        number: of the site, from 1.
        author: who drafted it.
        reason: for the journal.
        changes: at least one.
        limits: of the guard.
        watch_s: how long it is watched before it is kept.
        state: where it stands.
        why_ko: what brought it there, where that is not plain.
        why_en: the same in English.
        figures: of the dry run, empty without one.
        utc_ns: of the last change of state.
    """

    number: int
    author: str
    reason: str
    changes: tuple[Change, ...]
    limits: AnyLimits = field(default_factory=Limits)
    watch_s: float = WATCH_S
    state: State = State.DRAFT
    why_ko: str = ""
    why_en: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)
    utc_ns: int = 0

    @property
    def after(self) -> dict[str, float]:
        """Name → wanted value."""
        return {one.name: one.after for one in self.changes}


@dataclass(frozen=True, slots=True)
class Kept:
    """A kept value, and what the site's file said when it was kept."""

    value: float
    file: float


@dataclass(frozen=True, slots=True)
class Book:
    """All sets, oldest first, and the kept values by parameter."""

    sets: tuple[ChangeSet, ...] = ()
    kept: Mapping[str, Kept] = field(default_factory=dict)
    next_number: int = 1
    last_kept: int = 0

    @property
    def on_watch(self) -> ChangeSet | None:
        """The one that is applying or applied."""
        return next((one for one in self.sets if one.state in ON_WATCH), None)

    def get(self, number: int) -> ChangeSet | None:
        """The one of that number, while it is remembered."""
        return next((one for one in self.sets if one.number == number), None)


def draft(
    book: Book, config: Config, wanted: Mapping[str, float], author: str, reason: str,
    limits: AnyLimits, watch_s: float, figures: Mapping[str, float], utc_ns: int,
) -> tuple[Book, ChangeSet] | list[str]:  # fmt: skip
    """A new set in the book, or everything that is wrong with it.

    Args:
        book: so far.
        config: in force.
        wanted: name, full or its last words → value.
        author: who asks.
        reason: why.
        limits: of the guard.
        watch_s: how long it is watched.
        figures: of its dry run, empty without one.
        utc_ns: now.
    """
    problems = against(config, wanted, reason, watch_s)
    if problems:
        return problems
    registry = Registry(sections_of(config))
    found = {registry.find(name): value for name, value in wanted.items()}
    changes = tuple(Change(one.name, one.value, float(value)) for one, value in found.items() if value != one.value)
    if len(found) < len(wanted):
        return ["a parameter stands there twice"]
    if not changes:
        return ["nothing would change"]
    made = ChangeSet(
        book.next_number, author, reason, changes, limits, watch_s,
        State.DRY_RUN if figures else State.DRAFT, figures=dict(figures), utc_ns=utc_ns,
    )  # fmt: skip
    return replace(book, sets=_remembered((*book.sets, made)), next_number=book.next_number + 1), made


def against(config: Config, wanted: Mapping[str, float], reason: str, watch_s: float) -> list[str]:
    """Everything that is wrong with some wanted values."""
    problems = problems_of(config, wanted)
    if not 1 <= len(wanted) <= CHANGES_MAX:
        problems.append(f"{len(wanted)} changes; 1…{CHANGES_MAX} are taken")
    if not reason.strip() or len(reason) > REASON_MAX:
        problems.append(f"a reason of 1…{REASON_MAX} letters is wanted")
    if not WATCH_S_MIN <= watch_s <= WATCH_S_MAX:
        problems.append(f"a watch of {watch_s:g} s; {WATCH_S_MIN:g}…{WATCH_S_MAX:g} s are taken")
    return problems


def _remembered(sets: tuple[ChangeSet, ...]) -> tuple[ChangeSet, ...]:
    """Not too many: first those go that have ended, then the oldest drafts; never the one on watch."""
    left = list(sets)
    for staying in (ON_WATCH | READY, ON_WATCH):
        while len(left) > SETS_MAX and (first := next((one for one in left if one.state not in staying), None)):
            left.remove(first)
    return tuple(left)


def moved(book: Book, number: int, to: State, utc_ns: int, why: tuple[str, str] = ("", "")) -> Book:
    """The book with one set in its next state."""
    before = book.get(number)
    assert before is not None, "only what is in the book moves"
    assert to in NEXT[before.state], f"{before.state} does not become {to}"
    after = replace(before, state=to, utc_ns=utc_ns, why_ko=why[0], why_en=why[1])
    return replace(book, sets=tuple(after if one is before else one for one in book.sets))


def keep(book: Book, number: int, file: Config, utc_ns: int, why: tuple[str, str] = ("", "")) -> Book:
    """The book with a watched set kept: its values lie over the site's file from now on."""
    book = moved(book, number, State.KEPT, utc_ns, why)
    one = book.get(number)
    assert one is not None, "it has just moved"
    said = Registry(sections_of(file)).values()
    kept = dict(book.kept)
    for change in one.changes:
        if change.after == said[change.name]:
            kept.pop(change.name, None)
        else:
            kept[change.name] = Kept(change.after, said[change.name])
    return replace(book, kept=kept, last_kept=number)


def refusal_of(book: Book, number: int, config: Config) -> str:
    """Why a set cannot be applied now; empty when it can."""
    one, watched = book.get(number), book.on_watch
    if one is None:
        return f"there is no change {number}"
    if one.state not in READY:
        return f"change {number} is {one.state}"
    if watched is not None:
        return f"change {watched.number} is on watch: keep it or roll it back first"
    now = Registry(sections_of(config)).values()
    moved_on = [f"{each.name} is {now[each.name]:g} now" for each in one.changes if now[each.name] != each.before]
    return "; ".join([*moved_on, *problems_of(config, one.after)])


def in_force(book: Book, file: ConfigT) -> tuple[ConfigT, list[str]]:
    """What is in force with what was kept, and the parameters whose kept value the file has overruled since."""
    said = Registry(sections_of(file)).values()
    stands = {name: one.value for name, one in book.kept.items() if said.get(name) == one.file}
    overruled = sorted(set(book.kept) - set(stands))
    if problems_of(file, stands):  # the ranges are others now, or the file's other values
        return file, sorted(book.kept)
    return with_values(file, stands), overruled


def restarted(book: Book, utc_ns: int) -> tuple[Book, ChangeSet | None]:
    """The book of a part that was started anew: what was on watch has nobody who watched it, and is rolled back."""
    watched = book.on_watch
    if watched is None:
        return book, None
    why = ("감시 중 파트가 다시 시작됨", "the part was started anew in the watch time")
    book = moved(book, watched.number, State.ROLLED_BACK, utc_ns, why)
    return book, book.get(watched.number)


def to_state(book: Book) -> dict[str, Any]:
    """For the file."""
    return {
        "sets": [asdict(one) for one in book.sets],
        "kept": {name: asdict(one) for name, one in book.kept.items()},
        "next_number": book.next_number,
        "last_kept": book.last_kept,
    }


def from_state(state: Mapping[str, Any], limits: type[AnyLimits] = Limits) -> Book:
    """Back from :func:`to_state`, with the limits of the part's guard.

    Raises:
        ValueError: it is no book.
    """
    try:
        sets = tuple(_set_of(one, limits) for one in state["sets"])
        kept = {str(name): Kept(float(one["value"]), float(one["file"])) for name, one in state["kept"].items()}
        book = Book(sets, kept, int(state["next_number"]), int(state["last_kept"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no book of changes: {error!r}") from None
    numbers = [one.number for one in sets]
    if len(set(numbers)) < len(numbers) or book.next_number <= max(numbers, default=0):
        raise ValueError("no book of changes: numbers come twice")
    if sum(one.state in ON_WATCH for one in sets) > 1:
        raise ValueError("no book of changes: several are on watch")
    return book


def _set_of(state: Mapping[str, Any], kind: type[AnyLimits]) -> ChangeSet:
    limits = limits_of(state["limits"], kind)
    if isinstance(limits, list):
        raise ValueError("; ".join(limits))
    changes = tuple(Change(str(one["name"]), float(one["before"]), float(one["after"])) for one in state["changes"])
    figures = {str(name): float(value) for name, value in state["figures"].items()}
    return ChangeSet(
        int(state["number"]), str(state["author"]), str(state["reason"]), changes, limits, float(state["watch_s"]),
        State(state["state"]), str(state["why_ko"]), str(state["why_en"]), figures, int(state["utc_ns"]),
    )  # fmt: skip
