"""Tuning in a running part: takes drafts and commands, changes what runs, watches, rolls back by itself.

A set is drafted through a service (:mod:`gwanje.control.tuning.service`). It is applied, kept or rolled back by
commands to two points, which go through the core's one check and are in its journal before they come here: of the part
``control`` they are ``control.tuning.change_set`` (a number applies that set, 0 rolls back what is on watch) and
``control.tuning.kept`` (the number of the set on watch); see :mod:`gwanje.control.tuning.owner`. What the part does by
itself it enters in the journal with its own session. In all of the city one set at a time is on watch: the guards of
two would look at the same city.

Three threads come here: of the commands, of the service, and the shell's. None waits for a disk or the bus while it
holds the lock, but for the small file that a successor reads.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Generic

from gwanje.control.tuning import change_set, guard
from gwanje.control.tuning.change_set import Book, ChangeSet, State
from gwanje.control.tuning.guard import Seen
from gwanje.control.tuning.hand import Hand, Stage
from gwanje.control.tuning.owner import MICROGRID, owner_of
from gwanje.control.tuning.registry import ConfigT, Registry, sections_of, with_values
from gwanje.control.tuning.taken_up import TakenUp, Told
from gwanje.core.authority.principal import Role, at_least
from gwanje.core.clock import Clock
from gwanje.core.commands.messages import Command
from gwanje.core.requests import Code, Refused
from gwanje.core.state_file import StateFile

OWED_MAX = 256
"""Entries for the journal that wait for the core: eight rollbacks of the longest sets."""


Record = Callable[[Mapping[str, Any]], str]
"""Enters something in the journal, waits for the disk; gives why it is not there, empty when it is."""


class Desk(Generic[ConfigT]):
    """See the module.

    Args:
        file: the site's parameters as they stand.
        taken: by :func:`taken_up`.
        hand: of what runs with :attr:`config`.
        state: where the book is kept.
        clock: of the machine.
        record: enters in the journal.
        elsewhere: the set that is on watch in another part, as people name it; empty for none.
    """

    def __init__(
        self, file: ConfigT, taken: TakenUp, hand: Hand[ConfigT], state: StateFile, clock: Clock, record: Record,
        elsewhere: Callable[[], str] = lambda: "",
    ) -> None:  # fmt: skip
        self.owner = owner_of(file)
        """Whose parameters they are."""
        self._file = file
        self._book = taken.book
        self._hand = hand
        self._state = state
        self._clock = clock
        self._record = record
        self._elsewhere = elsewhere
        self._lock = threading.Lock()
        self._news: deque[Told] = deque(taken.told, maxlen=64)
        self._owed: deque[dict[str, Any]] = deque(maxlen=OWED_MAX)
        self._guard: guard.GuardState | None = None
        self._restore = False
        self.config = change_set.in_force(taken.book, file)[0]
        """In force; replaced as a whole, in the turn in which the loop has taken it."""
        if taken.rolled is not None:
            self._owe(taken.rolled, taken.rolled.why_en)
        self._show()

    # ------------------------------------------------------------ service

    def draft(
        self, wanted: Mapping[str, float], author: str, reason: str, limits: guard.AnyLimits, watch_s: float,
        figures: Mapping[str, float],
    ) -> ChangeSet | list[str]:  # fmt: skip
        """A new set, or what is wrong with it.

        Raises:
            OSError: it cannot be kept.
        """
        with self._lock:
            made = change_set.draft(
                self._book, self.config, wanted, author, reason, limits, watch_s, figures, self._clock.utc_ns()
            )
            if isinstance(made, list):
                return made
            self._save(made[0])
            return made[1]

    def status(self) -> dict[str, Any]:
        """All sets, and what is in force."""
        with self._lock:
            book = self._book
            return {
                "on_watch": book.on_watch.number if book.on_watch else 0,
                "watch_left_s": self._left_s(),
                "guard": self._seen(),
                "sets": [_message(one) for one in book.sets],
                "kept": {name: one.value for name, one in book.kept.items()},
                "values": Registry(sections_of(self.config)).values(),
            }

    def _seen(self) -> dict[str, Any]:
        """How near the limits the change on watch has come; nothing while none is."""
        watched, state = self._book.on_watch, self._guard
        if watched is None or state is None:
            return {}
        return state.reached(watched.limits) | {"live": list(state.live), "island_s": state.island_s}

    def owed(self) -> dict[str, Any] | None:
        """The first entry that the journal does not have yet."""
        with self._lock:
            return self._owed[0] if self._owed else None

    def paid(self) -> None:
        """The journal has it, or will never take it."""
        with self._lock:
            self._owed.popleft()

    # ------------------------------------------------------------ commands

    def carry_out(self, command: Command) -> Refused | None:
        """Apply, roll back or keep a set, or say why not."""
        if not at_least(command.role, Role.ENGINEER):
            return Refused(Code.ROLE, f"{command.role}, at least engineer")
        number = int(command.value)
        if number != command.value or number < 0:
            return Refused(Code.OWNER, f"{command.value:g} is no number of a change")
        try:
            if command.point == self.owner.keep_point:
                reason = self._keep(number, command.author)
            elif number == 0:
                reason = self._roll_back_by(command.author)
            else:
                reason = self._apply(number, command.author)
        except OSError as error:
            return Refused(Code.STATE, error.strerror or str(error))
        return Refused(*reason) if reason else None

    def _apply(self, number: int, author: str) -> tuple[Code, str] | None:
        with self._lock:
            if self._restore:
                return Code.BUSY, "the loop is going back to what was in force"
            if other := self._elsewhere():
                return Code.OWNER, f"change {other} is on watch: keep it or roll it back first"
            if reason := change_set.refusal_of(self._book, number, self.config):
                return Code.OWNER, reason[: change_set.REASON_MAX]
            one = self._book.get(number)
        assert one is not None, "refusal_of knows it"
        for entered, change in enumerate(one.changes):
            if why := self._record(_entry(change.name, change.before, change.after, f"{author}: {one.reason}")):
                with self._lock:
                    self._owe(one, f"not applied: {why}", entered)
                return Code.JOURNAL, why
        with self._lock:
            refused = self._begin(one)
            if refused is not None:
                self._owe(one, f"not applied: {refused[1]}")
        return refused

    def _begin(self, one: ChangeSet) -> tuple[Code, str] | None:
        """Hand a journalled set to the loop; what was right a moment ago may not be so now."""
        if reason := change_set.refusal_of(self._book, one.number, self.config):
            return Code.OWNER, reason[: change_set.REASON_MAX]
        try:
            self._save(change_set.moved(self._book, one.number, State.APPLYING, self._clock.utc_ns()))
        except OSError as error:
            return Code.STATE, error.strerror or str(error)
        try:
            self._hand.swap(with_values(self.config, one.after), force=False)
        except (ValueError, RuntimeError) as error:
            self._move(one.number, State.REFUSED, (str(error), str(error)))
            return Code.OWNER, str(error)
        return None

    def _keep(self, number: int, author: str) -> tuple[Code, str] | None:
        with self._lock:
            watched = self._book.on_watch
            if watched is None or watched.number != number or watched.state is not State.APPLIED:
                return Code.OWNER, f"change {number} is not on watch"
            self._kept(watched, (f"{author} 확정", f"kept by {author}"))
        return None

    def _roll_back_by(self, author: str) -> tuple[Code, str] | None:
        with self._lock:
            watched = self._book.on_watch
            if watched is None:
                return Code.OWNER, "no change is on watch"
            self._roll_back(watched, (f"{author} 되돌림", f"rolled back by {author}"), "tuning_taken_back")
        return None

    # ------------------------------------------------------------ shell

    def turn(self, seen: Seen, dt_s: float) -> list[Told]:
        """Look after the change on watch; call it ten times a second. Gives what is to be told."""
        with self._lock:
            self._retry()
            watched = self._book.on_watch
            if watched is not None and watched.state is State.APPLYING:
                self._look_at_loop(watched, seen)
            elif watched is not None:
                self._watch(watched, seen, dt_s)
            self._show()
            news = list(self._news)
            self._news.clear()
            return news

    def _look_at_loop(self, watched: ChangeSet, seen: Seen) -> None:
        found = self._hand.swapped
        bump_pct = found.bump_pct
        if found.stage is Stage.DONE:
            self.config = with_values(self.config, watched.after)
            self._guard = guard.begin(seen)
            if not self._move(watched.number, State.APPLIED):
                return
            self._tell("tuning_applied", watched, "적용, 감시 시작", "is applied and on watch", bump_pct=bump_pct)
        elif found.stage is Stage.REFUSED:
            why = (found.why_ko, found.why_en)
            if not found.why_en:
                why = (f"출력이 정격의 {bump_pct:.2f} % 움직였을 것임", f"a bump of {bump_pct:.2f} % of the rating")
            self._move(watched.number, State.REFUSED, why)
            self._owe(watched, why[1])
            self._tell("tuning_refused", watched, f"적용 못 함: {why[0]}", f"is refused: {why[1]}")

    def _watch(self, watched: ChangeSet, seen: Seen, dt_s: float) -> None:
        assert self._guard is not None, "it began when the loop took the change"
        self._guard, tripped = guard.step(self._guard, seen, watched.limits, dt_s)
        if tripped is not None:
            self._roll_back(watched, tripped)
        elif self._guard.watched_s >= watched.watch_s:
            try:
                self._kept(watched, self._proven())
            except OSError as error:
                why = error.strerror or str(error)
                self._roll_back(watched, (f"저장하지 못함: {why}", f"it cannot be kept: {why}"))

    def _proven(self) -> tuple[str, str]:
        """Why a change is kept: nothing tripped, and how much of that was an island, where its law could show."""
        assert self._guard is not None, "it is on watch"
        ko, en = "감시 시간 동안 이상 없음", "nothing tripped in the watch time"
        if self.owner is not MICROGRID:
            return ko, en
        island_s = self._guard.island_s
        return f"{ko} (그중 독립 운전 {island_s:.0f} s)", f"{en} ({island_s:.0f} s of it in an island)"

    def _kept(self, watched: ChangeSet, why: tuple[str, str]) -> None:
        """Raises OSError."""
        self._save(change_set.keep(self._book, watched.number, self._file, self._clock.utc_ns(), why))
        self._guard = None
        self._tell("tuning_kept", watched, f"확정: {why[0]}", f"is kept: {why[1]}")

    def _roll_back(
        self, watched: ChangeSet, why: tuple[str, str], class_name: str = "tuning_rolled_back"
    ) -> None:
        """Back to what was in force; the loop takes it within a second, without a bump where that can be.

        The event ``tuning_rolled_back`` raises an alarm; what a person takes back is no news to anybody.
        """
        self.config = change_set.in_force(self._book, self._file)[0]
        self._restore = True
        self._guard = None
        self._retry()
        self._move(watched.number, State.ROLLED_BACK, why)
        self._owe(watched, why[1])
        self._tell(class_name, watched, f"되돌림: {why[0]}", f"is rolled back: {why[1]}")

    def _retry(self) -> None:
        """Hand the loop what is in force, as soon as it takes it."""
        if self._restore:
            try:
                self._hand.swap(self.config, force=True)
                self._restore = False
            except RuntimeError:
                pass  # a tick is held up in the middle of a try: the next turn asks again

    # ------------------------------------------------------------ hands

    def _save(self, book: Book) -> None:
        """Raises OSError: nothing has changed then."""
        self._state.save(change_set.to_state(book))
        self._book = book

    def _move(self, number: int, to: State, why: tuple[str, str] = ("", "")) -> bool:
        """Change a state also when the disk refuses; a successor then finds it on watch, and rolls back."""
        book = change_set.moved(self._book, number, to, self._clock.utc_ns(), why)
        try:
            self._save(book)
        except OSError:
            self._book = book
            if to is State.APPLIED:
                watched = book.get(number)
                assert watched is not None, "it has just moved"
                self._roll_back(watched, ("상태를 저장하지 못함", "its state cannot be kept"))
                return False
        return True

    def _owe(self, one: ChangeSet, why: str, n: int = change_set.CHANGES_MAX) -> None:
        """The journal shall tell that the old values of the first ``n`` changes are in force again."""
        reason = f"change {self.owner.label(one.number)}: {why}"
        self._owed.extend(_entry(each.name, each.after, each.before, reason) for each in one.changes[:n])

    def _tell(self, class_name: str, one: ChangeSet, ko: str, en: str, **figures: float) -> None:
        changes = ", ".join(f"{change.name} {change.before:g}→{change.after:g}" for change in one.changes)
        which = f"{self.owner.label(one.number)} ({changes})"
        data = {"change_set": one.number, **figures}
        self._news.append(Told(class_name, f"파라미터 변경 {which} {ko}", f"change {which} {en}", data))

    def _left_s(self) -> float:
        watched = self._book.on_watch
        return max(watched.watch_s - self._guard.watched_s, 0.0) if watched and self._guard else 0.0

    def _show(self) -> None:
        watched = self._book.on_watch
        shown = watched.number if watched is not None and watched.state is State.APPLIED else 0
        self._hand.show(shown, self._book.last_kept, self._left_s())


def _entry(name: str, before: float, value: float, reason: str) -> dict[str, Any]:
    """An entry ``tuning_changed`` for the journal."""
    return {"parameter": name, "before": float(before), "value": float(value), "reason": reason}


def _message(one: ChangeSet) -> dict[str, Any]:
    return {**asdict(one), "state": str(one.state), "figures": dict(one.figures)}
