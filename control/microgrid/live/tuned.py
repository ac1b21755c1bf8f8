"""Swaps parameters of the live controller between two of its periods, and shows the guard what comes of them.

Another thread leaves what is wanted; the loop's own thread takes it, between two periods and only in a mode in which
nothing is under way, when no command would move by more than the share of the rating that the compiled loop's swaps
keep to (:mod:`gwanje.control.microgrid.bump`). A rollback is taken after a second whatever the mode and the bump.
"""

from __future__ import annotations

import math
from collections import deque

from gwanje.control.microgrid.bump import STEADY, bump
from gwanje.control.microgrid.live.loop import LiveLoop
from gwanje.control.microgrid.modes.types import Law, Mode
from gwanje.control.microgrid.settings import Settings
from gwanje.control.microgrid.tunable import not_live
from gwanje.control.tuning.guard import Seen
from gwanje.control.tuning.hand import BUMP_SHARE_MAX, TRIES, Stage, Swapped
from gwanje.core.tags.quality import is_bad
from gwanje.core.tags.store import TagStore
from gwanje.core.tags.table import TagTable
from gwanje.ext.reference.tie_line import HOLD, RUN

TAGS = ("change_set", "kept", "watch_left_s", "bump_pct")
TURN_SHARE = 0.02
"""Of the rating: a command that comes back by more has turned round."""
TURNS_S = 10.0
"""Within which turns are counted."""
BROKEN = ("microgrid_shortage", "microgrid_island_frozen", "microgrid_loop_unseen", "microgrid_shed")
"""Events that count as degradations: a change of parameters can bring them about."""


class _Job:
    """One swap: what is wanted, and what became of it. The loop's thread writes ``swapped`` and ``tries``."""

    __slots__ = ("force", "settings", "swapped", "tries")

    def __init__(self, settings: Settings, force: bool) -> None:
        self.settings, self.force, self.tries = settings, force, 0
        self.swapped = Swapped(Stage.TRIED, math.nan)


class ControllerHand:
    """See :class:`gwanje.control.tuning.hand.Hand`.

    Args:
        loop: that runs; its ``between`` is this one's from now on.
        tags: of the site, which need not show what is tuned.
    """

    def __init__(self, loop: LiveLoop, tags: TagTable) -> None:
        self._loop = loop
        self._rating_w = loop.controller.settings.site.rating_w
        self._job: _Job | None = None
        self._shows = all(f"microgrid.tuning.{one}" in tags for one in TAGS)
        loop.between = self._between

    @property
    def swapped(self) -> Swapped:
        """Of the last swap."""
        job = self._job
        return job.swapped if job is not None else Swapped(Stage.TRIED, math.nan)

    def swap(self, config: Settings, *, force: bool) -> None:
        """Leave other parameters for the loop's thread.

        Raises:
            ValueError: something differs that is not live.
        """
        if others := not_live(self._loop.controller.settings, config):
            raise ValueError(f"taken only by a new start: {', '.join(others)}")
        self._job = _Job(config, force)

    def show(self, on_watch: int, last_kept: int, watch_left_s: float) -> None:
        """Show what is tuned, in tags of the loop's."""
        if self._shows:
            numbers = (float(on_watch), float(last_kept), watch_left_s, self.swapped.bump_pct)
            self._loop.tuned = {f"microgrid.tuning.{key}": one for key, one in zip(TAGS, numbers, strict=True)}

    # -- the loop's thread

    def _between(self) -> None:
        job = self._job
        if job is None or job.swapped.stage is not Stage.TRIED:
            return
        job.tries += 1
        job.swapped = self._tried(job)

    def _tried(self, job: _Job) -> Swapped:
        controller, last = self._loop.controller, job.tries >= TRIES
        if controller.mode not in STEADY:
            if not (last and job.force):
                why = ("운전 상태가 바뀌는 중", "the microgrid is changing its mode")
                return Swapped(Stage.REFUSED if last else Stage.TRIED, 0.0, *why)
            return self._take(job, 0.0)
        found = bump(controller, job.settings)
        bump_pct = 100.0 * found.w / self._rating_w
        if found.w <= BUMP_SHARE_MAX * self._rating_w or (last and job.force):
            return self._take(job, bump_pct)
        if not last:
            return Swapped(Stage.TRIED, bump_pct)
        ko, en = f"{found.ko} {found.w / 1e3:.0f} kW 급변", f"{found.en} would jump by {found.w / 1e3:.0f} kW"
        return Swapped(Stage.REFUSED, bump_pct, ko, en)

    def _take(self, job: _Job, bump_pct: float) -> Swapped:
        before = self._loop.controller.settings
        try:
            self._loop.retune(job.settings)
        except ValueError as error:  # a law refuses a number that its range allows: those that took it give it back
            self._loop.retune(before)
            return Swapped(Stage.REFUSED, bump_pct, str(error), str(error))
        return Swapped(Stage.DONE, bump_pct)


class Turns:
    """How often a command has turned round lately, by more than a band: a law that swings, not one that follows.

    Args:
        band: smaller ways back do not count.
    """

    def __init__(self, band: float) -> None:
        self._band = band
        self._extreme, self._direction = math.nan, 0
        self._at_s: deque[float] = deque(maxlen=1_000)

    def step(self, value: float, now_s: float) -> int:
        """Take a value; the number of turns in the last :data:`TURNS_S`. No number forgets the way so far."""
        if value != value or self._extreme != self._extreme:
            self._extreme, self._direction = value, 0
        elif self._direction == 0:
            if abs(value - self._extreme) > self._band:
                self._direction, self._extreme = (1 if value > self._extreme else -1), value
        elif (self._extreme - value) * self._direction > self._band:
            self._at_s.append(now_s)
            self._direction, self._extreme = -self._direction, value
        elif (value - self._extreme) * self._direction > 0.0:
            self._extreme = value
        while self._at_s and self._at_s[0] <= now_s - TURNS_S:
            self._at_s.popleft()
        return len(self._at_s)


class Looker:
    """What the guard is shown of the live controller, ten times a second from the shell's thread.

    Args:
        loop: that runs.
        tags: of the site.
        store: of the city.
    """

    def __init__(self, loop: LiveLoop, tags: TagTable, store: TagStore) -> None:
        self._loop, self._store = loop, store
        self._error, self._mode = tags.index("control.tie.error_w"), tags.index("control.tie.mode")
        self._rating_w = loop.controller.settings.site.rating_w
        self._active, self._reactive = Turns(TURN_SHARE * self._rating_w), Turns(TURN_SHARE * self._rating_w)
        self._dark = False
        self._broken = 0

    def told(self, class_name: str) -> None:
        """An event of the part: some count as degradations."""
        self._broken += class_name in BROKEN

    def look(self, now_s: float, ticks_lost: int) -> Seen:
        """One look."""
        loop, controller = self._loop, self._loop.controller
        missed_hz = controller.missed_hz
        command_w = controller.units.commanded_w() if missed_hz == missed_hz else math.nan
        swings = max(self._active.step(command_w, now_s), self._reactive.step(controller.reactive.sum_var, now_s))
        dark = controller.mode in (Mode.BLACK, Mode.LOCKOUT)
        self._broken += dark and not self._dark
        self._dark = dark
        return Seen(
            self._error_pct() if controller.law is Law.TIE else math.nan,
            False,
            ticks_lost,
            self._broken,
            loop.leased and controller.mode is not None and not dark,
            missed_hz,
            float(swings),
        )

    def _error_pct(self) -> float:
        """Tie error while the compiled loop controls, in percent of the rating."""
        error, mode = self._store.read(self._error), self._store.read(self._mode)
        if is_bad(error.quality) or is_bad(mode.quality) or int(mode.value) not in (RUN, HOLD):
            return math.nan
        return 100.0 * error.value / self._rating_w
