"""Carrying out a scenario: faults on every family side by side, one after another in each; then parts that are put out.

The tracks share one loop, which looks at all tags ten times a second. What is judged is in
:mod:`gwanje.core.scenario.score`; here is only what happens when.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import numpy.typing as npt

from gwanje.core.clock import NS_PER_S, Clock
from gwanje.core.scenario.city import City, CityError
from gwanje.core.scenario.operator import OperatorError
from gwanje.core.scenario.plan import Place, Plan, Step, Track, make_plan
from gwanje.core.scenario.score import Look, Others, Phase, StepScore
from gwanje.core.scenario.script import FailSafe, Outage, Scenario
from gwanje.core.site.config import Site
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.store import TagStore

LOOK_S = 0.1
BREATH_S = 0.5
"""Between two faults of one family: its devices have answered once more by then."""
RUNNING = 2.0
"""State of a part that runs."""
EFFECT_S = 15.0
"""A command of an operator has reached its device by then."""
FAILSAFE_DEVICES_MAX = 20
"""Devices of one [[failsafe]] whose truth is asked for at every look."""

Say = Callable[[str], None]


class _Runner:
    """One run of a track: which step it is at."""

    def __init__(self, track: Track) -> None:
        self.track = track
        self.steps: Iterator[Step] = iter(track.steps)
        self.waiting: Step | None = next(self.steps, None)
        self.score: StepScore | None = None
        self.ready_s = 0.0

    def take_next(self, at_s: float) -> None:
        """The step is over."""
        self.score, self.waiting, self.ready_s = None, next(self.steps, None), at_s + BREATH_S

    @property
    def over(self) -> bool:
        """Nothing is left."""
        return self.score is None and self.waiting is None


class Run:
    """One scenario in a running city.

    Args:
        scenario: the script.
        city: attached.
        store: of the city.
        places: simulated devices and nodes by name.
        seed: of what is chosen.
        clock: of the machine.
        say: told a line of every step.
    """

    def __init__(
        self, scenario: Scenario, city: City, store: TagStore, places: Mapping[str, Place], seed: int, clock: Clock,
        say: Say,
    ) -> None:  # fmt: skip
        self._scenario, self._city, self._store, self._clock, self._say = scenario, city, store, clock, say
        self._places, self._seed = places, seed
        self._site: Site = city.site
        periods: dict[str, float] = {}
        groups: dict[str, str] = {}
        for place in places.values():
            groups |= dict.fromkeys(place.tags, place.driver)
            periods |= {tag: max(periods.get(tag, 0.0), s) for tag, s in zip(place.tags, place.scan_s, strict=True)}
        self._position = {tag: at for at, tag in enumerate(periods)}
        self._ids = self._site.tags.indices(list(periods))
        self.others = Others(
            list(periods), [groups[one] for one in periods], list(periods.values()), scenario.periods, scenario.slack_s
        )
        self._began_ns = clock.mono_ns()
        self.scores: list[StepScore] = []
        self.failures: list[str] = []
        self.outages: list[dict[str, Any]] = []
        self.kinds_run: set[tuple[str, str]] = set()
        self.commanded: set[str] = set()
        self.plan = Plan((), (), ())

    # ------------------------------------------------------------ looking

    def look(self) -> Look:
        """How all watched tags are now."""
        now = self._clock.mono_ns()
        seen = self._store.read_many(self._ids, now)
        age = np.where(seen.received_mono_ns > 0, (now - seen.received_mono_ns) / NS_PER_S, np.inf)
        return Look((now - self._began_ns) / NS_PER_S, seen.value, seen.quality, age)

    def _turn(self) -> Look:
        if not self._city.running():
            raise CityError(f"the city ended: {self._city.said()}")
        self._city.wait(LOOK_S)
        look = self.look()
        self.others.look(look)
        return look

    def settle(self) -> float:
        """Wait until every device is online; how long it took.

        Raises:
            CityError: not in time.
        """
        names = [f"{one.prefix}.online" for one in self._site.devices]
        ids = self._site.tags.indices(names)
        while True:
            now = self._clock.mono_ns()
            seen = self._store.read_many(ids, now)
            well = ((seen.quality & Quality.BAD) == 0) & (seen.value == 1.0)
            took_s = (now - self._began_ns) / NS_PER_S
            if well.all():
                return took_s
            if took_s > self._scenario.settle_s:
                dead = [names[at].removesuffix(".online") for at in np.flatnonzero(~well).tolist()]
                raise CityError(f"{len(dead)} devices not online after {took_s:.0f} s, such as {', '.join(dead[:5])}")
            self._city.wait(LOOK_S)

    # ------------------------------------------------------------ faults

    def faults(self) -> None:
        """Round after round until the time is over or the rounds are done."""
        menus = self._city.menus(self._places)
        begun_s, turn = self.look().at_s, 0
        until_s = begun_s + self._scenario.length_s
        while self._scenario.rounds == 0 or turn < self._scenario.rounds:
            plan = make_plan(self._scenario, menus, self._places, self._seed + turn)
            if turn == 0:
                self.plan = plan
            if not plan.tracks or not self._round(plan, until_s, first=turn == 0):
                return
            turn += 1

    def _round(self, plan: Plan, until_s: float, *, first: bool) -> bool:
        """All tracks once, as far as there is time; whether there is time for more."""
        runners = [_Runner(track) for track in plan.tracks]
        while not all(one.over for one in runners):
            look = self._turn()
            for one in runners:
                self._advance(one, look, until_s)
        left = [step for one in runners for step in one.steps]
        if left and first:
            kinds = ", ".join(f"{step.driver} {step.kind}" for step in left[:5])
            self.failures.append(f"length_s is too short: {len(left)} faults were not set, such as {kinds}")
        return not left and self.look().at_s < until_s

    def _advance(self, one: _Runner, look: Look, until_s: float) -> None:
        if one.score is None:
            if one.waiting is not None and look.at_s >= one.ready_s:
                if look.at_s + one.waiting.rule.hold_s > until_s:
                    one.steps = iter((one.waiting, *one.steps))
                    one.waiting = None
                else:
                    self._begin(one, one.waiting, look)
            return
        score = one.score
        score.look(look)
        if score.due_to_clear(look.at_s):
            self._city.clear_fault(score.step.service, score.device)
            score.cleared(self.look().at_s)
        if score.phase is Phase.OVER:
            if score.recovered_s is not None:
                self.others.leave(score.tags)
            self._say(_line(score))
            one.take_next(look.at_s)

    def _begin(self, one: _Runner, step: Step, look: Look) -> None:
        """Set a fault on the first device that takes it."""
        why = "no simulated device of this family"
        for name in step.places:
            try:
                score = StepScore.begin(step, self._places[name], self._position, look)
                self.others.touch(score.tags)
                try:
                    self._city.set_fault(step.service, name, step.kind, step.rule.params)
                except CityError:
                    self.others.leave(score.tags)
                    raise
            except CityError as error:
                why = str(error)
                continue
            one.score = score
            self.scores.append(score)
            self.kinds_run.add((step.driver, step.kind))
            return
        self.failures.append(f"{step.driver} {step.kind} could not be set: {why}")
        self._say(f"FAILED  {step.driver} {step.kind}: {why}")
        one.take_next(look.at_s)

    # ------------------------------------------------------------ parts put out

    def outages_all(self) -> None:
        """One after another, with what an operator has commanded before."""
        if self._scenario.orders:
            self._command_all()
        for outage in self._scenario.outages:
            if missing := [one for one in outage.parts if one not in self._site.parts]:
                self.failures.append(f"this city has no part {missing[0]!r} to be put out")
            else:
                self._outage(outage)

    def _command_all(self) -> None:
        operator = self._city.operator()
        rng = random.Random(f"{self._seed} orders")
        for order in self._scenario.orders:
            points = [one.name for one in self._site.tags.match(order.points)]
            if not points:
                self.failures.append(f"no point matches {order.points!r} to be commanded")
            for point in rng.sample(points, min(order.count, len(points))):
                try:
                    operator.command(point, order.value)
                except OperatorError as error:
                    self.failures.append(str(error))
                    self._say(f"FAILED  {error}")
                else:
                    self._say(f"ok      {self.look().at_s:6.1f} s  {point} = {order.value:g} commanded")
                    self.commanded.add(point.split(".")[1])

    def _outage(self, outage: Outage) -> None:
        tags = np.array([self._position[tag.name] for tag in self._site.tags
                         if tag.owner in outage.parts and tag.name in self._position], np.intp)  # fmt: skip
        self.others.touch(tags)
        why = self._idle(outage)
        before = self.look()
        begun_s = before.at_s
        failsafe_s: float | None = None
        while (past_s := self._turn().at_s - begun_s) < outage.for_s:
            for part in outage.parts:
                self._city.put_out(part, outage.how)
            if not outage.failsafe_within_s:
                continue
            unsafe = self._unsafe(outage)
            if not unsafe:
                failsafe_s = past_s if failsafe_s is None else failsafe_s
            elif past_s > outage.failsafe_within_s:
                why = why or f"{unsafe[0]} at {past_s:.1f} s"
        for part in outage.parts:
            self._city.let_go(part)
        recovered_s = self._recovery(outage)
        if recovered_s is None:
            why = why or f"not running again {outage.recover_s:g} s after it"
        self._settled(tags[(before.quality[tags] & Quality.BAD) == 0], outage.recover_s)
        self.others.leave(tags)
        one = {"part": ", ".join(outage.parts), "how": str(outage.how), "at_s": round(begun_s, 1),
               "for_s": outage.for_s, "failsafe_s": failsafe_s if failsafe_s is None else round(failsafe_s, 1),
               "recovered_s": recovered_s, "passed": not why, "why": why}  # fmt: skip
        self.outages.append(one)
        self._say(_outage_line(one))

    def _idle(self, outage: Outage) -> str:
        """Why the outage could not show anything: what was commanded beforehand is in its fail-safe state already."""
        until_s = self.look().at_s + EFFECT_S
        while True:
            idle = [
                f"{name} does not follow its command: {rule.key} is {value!r}"
                for rule, name, value in self._truths(outage)
                if not rule.follows and _is_safe(rule, value)
            ]
            if not idle or self._turn().at_s > until_s:
                return idle[0] if idle else ""

    def _settled(self, tags: npt.NDArray[np.intp], within_s: float) -> None:
        """Wait until the tags of a part that was put out are not bad any more; those that stay are found missing."""
        until_s = self.look().at_s + within_s
        while (look := self._turn()).at_s < until_s and (look.quality[tags] & Quality.BAD).any():
            continue

    def _recovery(self, outage: Outage) -> float | None:
        """Until the parts run again and programs command again; None when that took too long."""
        states = self._site.tags.indices([f"system.part_{part}.state" for part in outage.parts])
        begun_s = self.look().at_s
        while (past_s := self._turn().at_s - begun_s) <= outage.recover_s:
            seen = self._store.read_many(states, self._clock.mono_ns())
            running = ((seen.value == RUNNING) & ((seen.quality & Quality.BAD) == 0)).all()
            if running and (not outage.failsafe_within_s or self._following(outage)):
                return round(past_s, 1)
        return None

    def _unsafe(self, outage: Outage) -> list[str]:
        """Set-point devices that are not in their fail-safe state, with what they are."""
        return [f"{name} has {rule.key} {value!r}, not {rule.equals:g}" for rule, name, value in self._truths(outage)
                if not _is_safe(rule, value)]  # fmt: skip

    def _following(self, outage: Outage) -> bool:
        """Whether any device that a program commands has left its fail-safe state."""
        led = [(rule, value) for rule, _name, value in self._truths(outage) if rule.follows]
        return not led or any(not _is_safe(rule, value) for rule, value in led)

    def _truths(self, outage: Outage) -> Iterator[tuple[FailSafe, str, Any]]:
        for rule in self._scenario.failsafes:
            if not rule.about(outage):
                continue
            names = [one for one in self._places if fnmatchcase(one, rule.devices)]
            if not rule.follows:
                names = [one for one in names if one in self.commanded]
            for name in names[:FAILSAFE_DEVICES_MAX]:
                truth = self._city.truth(rule.service, name)
                if rule.key not in truth:
                    raise CityError(f"{rule.service} knows no {rule.key!r} of {name}; it knows {', '.join(truth)}")
                yield rule, name, truth[rule.key]


def _is_safe(rule: FailSafe, value: Any) -> bool:
    number = len(value) if isinstance(value, Mapping | list | tuple) else value
    return isinstance(number, int | float) and abs(float(number) - rule.equals) <= rule.tolerance


def _line(score: StepScore) -> str:
    shown = "" if score.shown_s is None else f"shown after {score.shown_s:.1f} s, "
    well = "" if score.recovered_s is None else f"well {score.recovered_s:.1f} s after it"
    what = f"{score.step.driver} {score.step.kind} on {score.device}"
    word = "ok     " if score.passed else "FAILED "
    return f"{word} {score.set_s:6.1f} s  {what}: {shown}{well}{'; ' if score.why else ''}{score.why}"


def _outage_line(one: Mapping[str, Any]) -> str:
    word = "ok     " if one["passed"] else "FAILED "
    safe = "" if one["failsafe_s"] is None else f"fail-safe after {one['failsafe_s']} s, "
    well = "" if one["recovered_s"] is None else f"well {one['recovered_s']} s after it"
    return f"{word} {one['at_s']:6.1f} s  {one['how']} {one['part']} for {one['for_s']:g} s: {safe}{well} {one['why']}"


def metrics(run: Run, settled_s: float) -> dict[str, Any]:
    """What a run amounts to, as numbers."""
    shown = [one.shown_s for one in run.scores if one.shown_s is not None]
    well = [one.recovered_s for one in run.scores if one.recovered_s is not None]
    by_driver: dict[str, int] = {}
    for driver, _kind in run.kinds_run:
        by_driver[driver] = by_driver.get(driver, 0) + 1
    return {
        "settled_s": round(settled_s, 1),
        "faults": len(run.scores),
        "faults_failed": sum(not one.passed for one in run.scores),
        "kinds": dict(sorted(by_driver.items())),
        "kinds_unspecified": [f"{driver} {kind}" for driver, kind in run.plan.unspecified],
        "kinds_skipped": [f"{driver} {kind}: {why}" for driver, kind, why in run.plan.skipped],
        "shown_s_max": round(max(shown), 2) if shown else None,
        "recovered_s_max": round(max(well), 2) if well else None,
        "others_missed": run.others.n_missed,
        "others_missed_by": dict(run.others.by_group.most_common()),
        "outages": len(run.outages),
        "outages_failed": sum(not one["passed"] for one in run.outages),
    }


def verdict(run: Run) -> bool:
    """Whether everything was as it must be."""
    return (
        not run.failures and run.others.n_missed == 0 and bool(run.scores or run.outages)
        and all(one.passed for one in run.scores) and all(one["passed"] for one in run.outages)
    )  # fmt: skip


def failures_of(run: Run) -> Sequence[str]:
    """What else went wrong, beside single faults."""
    missed = [f"{one.tag} at {one.at_s:.1f} s: {one.why}" for one in run.others.missed]
    return [*run.failures, *(f"missed its period: {one}" for one in missed)]
