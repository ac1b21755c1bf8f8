"""A storm of alarms through a running core: 5000 raised in ten seconds, what operators are shown, what the journal has.

The site is a single-line of ten feeders with ten units each; every unit has fifty watched values, and eight alarms of
priority 1 are spread over the storm. Values are written by their owner, another process, evenly over the ten seconds.
Meanwhile a console asks for the presented list five times a second and an operator gives commands without pause.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gwanje.core.bench import BenchOptions, Result, Watch, result
from gwanje.core.benches import town as towns
from gwanje.core.benches.operating import POINTS, Operator
from gwanje.core.benches.town import LIMIT, Town
from gwanje.core.clock import NS_PER_S, SystemClock
from gwanje.core.journal.chain import read

ALARMS = 5_000
STORM_S = 10.0
FEEDERS, UNITS = 10, 10
URGENT = 8
SHOWN_WITHIN_S = 2.0
"""A priority 1 that is in no row this long after its value came counts as hidden: the list is made anew twice a second,
alarms are looked at five times a second, and its console asks five times a second."""
ASK_S = 0.2
SETTLE_S = 20.0
"""Longest wait for the core to work off what the storm left."""
_WORDS = "\n".join(
    f'{key}_ko = "측정용 {key}"\n{key}_en = "measured {key}"' for key in ("text", "cause", "consequence", "response")
)


def tag_names(n_alarms: int, n_urgent: int) -> list[str]:
    """Watched values in the order in which they leave their limits: unit after unit, the urgent ones in between."""
    plain = [
        f"bench.f{number // UNITS % FEEDERS:02d}u{number % UNITS:02d}.value{number // (UNITS * FEEDERS):03d}_w"
        for number in range(n_alarms - n_urgent)
    ]
    every = max(1, len(plain) // max(1, n_urgent))
    for number in range(n_urgent):
        plain.insert(min(len(plain), number * (every + 1)), f"bench.f{number % FEEDERS:02d}u00.urgent{number}_w")
    return plain


def files() -> Sequence[tuple[str, str]]:
    """The site's single-line and its alarms."""
    nodes = [_node("grid", "connection", ""), _node("tie", "breaker", "grid")]
    for feeder in range(FEEDERS):
        nodes.append(_node(f"f{feeder:02d}", "feeder", "tie"))
        nodes += [
            _node(f"f{feeder:02d}u{unit:02d}", "load", f"f{feeder:02d}", f"bench.f{feeder:02d}u{unit:02d}.*")
            for unit in range(UNITS)
        ]
    alarms = [_alarm("urgent", "bench.f*.urgent*_w", 1)]
    alarms += [_alarm(f"load{unit}", f"bench.f*u{unit:02d}.value*_w", 2 + unit % 3) for unit in range(UNITS)]
    return ("topology.toml", "".join(nodes)), ("alarms.toml", "".join(alarms))


def _node(name: str, kind: str, parent: str, tags: str = "") -> str:
    more = f'parent = "{parent}"\n' if parent else ""
    more += f'tags = ["{tags}"]\n' if tags else ""
    return f'[[node]]\nid = "{name}"\nkind = "{kind}"\nko = "{name}"\nen = "{name}"\n{more}\n'


def _alarm(name: str, tags: str, priority: int) -> str:
    return (
        f'[[alarm]]\nid = "{name}"\ntag = "{tags}"\ncondition = "above"\nlimit = {LIMIT}\non_delay_s = 0\n'
        f"off_delay_s = 0\npriority = {priority}\nrespond_within_s = 60\n{_WORDS}\n\n"
    )


def named(rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """Alarms of priority 1 that a presented list names: in rows of their own, or as urgent ones of a group."""
    found: set[str] = set()
    for row in rows:
        if row["kind"] == "alarm":
            found.add(str(row["alarm"]["alarm_id"]))
        else:
            found |= {str(one["alarm_id"]) for one in row["group"]["urgent"]}
    return found


@dataclass(slots=True)
class Seen:
    """What was seen of a storm.

    Attributes:
        rows_max: most rows of a presented list.
        lists: presented lists that were looked at.
        hidden: alarms of priority 1 that were missing in a list although they stood.
        shown_s: alarm of priority 1 → seconds until a list named it.
        command_ms: from selection to acceptance, of every command meanwhile.
        flood: whether the core said that it is one.
        raised_s: how long the values took to be written.
        presented_ms: of every answer with the list.
    """

    rows_max: int = 0
    lists: int = 0
    hidden: set[str] = field(default_factory=set)
    shown_s: dict[str, float] = field(default_factory=dict)
    command_ms: list[float] = field(default_factory=list)
    presented_ms: list[float] = field(default_factory=list)
    flood: bool = False
    raised_s: float = 0.0


class Storm:
    """Raises the alarms of a town one after the other and looks at what comes of it."""

    def __init__(self, town: Town, names: Sequence[str], seconds: float) -> None:
        self._town, self._seconds, self._clock = town, seconds, SystemClock()
        self._ids = town.site.tags.indices(names)
        urgent = {one.tag: one.id for one in town.site.alarms if one.priority == 1}
        self._urgent = {position: urgent[name] for position, name in enumerate(names) if name in urgent}
        self._since: dict[str, int] = {}
        self.seen = Seen()

    def run(self) -> Seen:
        """The storm, and the operator's work in it."""
        operator, clock = Operator(self._town), self._clock
        begin, raised, next_look = clock.mono_ns(), 0, clock.mono_ns()
        while raised < len(self._ids):
            now = clock.mono_ns()
            due = min(len(self._ids), round(len(self._ids) * (now - begin) / (self._seconds * NS_PER_S)))
            if due > raised:
                self._raise(raised, due)
                raised = due
            if now >= next_look:
                next_look = now + round(ASK_S * NS_PER_S)
                self.look()
            self.seen.command_ms.append(operator.operate()[2] * 1e-6)
        self.seen.raised_s = (clock.mono_ns() - begin) / NS_PER_S
        return self.seen

    def _raise(self, first: int, end: int) -> None:
        ids = np.sort(self._ids[first:end])
        self._town.owner.ask(("write", (ids, np.full(end - first, 2 * LIMIT))))
        now = self._clock.mono_ns()
        self._since |= {self._urgent[one]: now for one in range(first, end) if one in self._urgent}

    def look(self) -> Mapping[str, Any]:
        """Ask for the presented list as a console does, and judge it."""
        asked = self._clock.mono_ns()
        answer = self._town.ask("alarms", {"op": "presented"})
        now, seen = self._clock.mono_ns(), self.seen
        rows = answer["presented"]
        seen.presented_ms.append((now - asked) * 1e-6)
        seen.lists += 1
        seen.rows_max = max(seen.rows_max, len(rows))
        seen.flood = seen.flood or bool(answer["flood"])
        shown = named(rows)
        for alarm_id, since in self._since.items():
            if alarm_id in shown:
                seen.shown_s.setdefault(alarm_id, (now - since) / NS_PER_S)
            elif (asked - since) / NS_PER_S > SHOWN_WITHIN_S:
                seen.hidden.add(alarm_id)
        return answer

    def settle(self) -> Mapping[str, Any]:
        """Look until every alarm stands, or too long."""
        end = self._clock.mono_ns() + round(SETTLE_S * NS_PER_S)
        while self.look()["n_active"] < len(self._ids) and self._clock.mono_ns() < end:
            self._clock.wait_until_mono_ns(self._clock.mono_ns() + round(ASK_S * NS_PER_S))
        self._clock.wait_until_mono_ns(self._clock.mono_ns() + round(2 * ASK_S * NS_PER_S + NS_PER_S))
        return self.look()


def run(
    options: BenchOptions, n_alarms: int = ALARMS, seconds: float = STORM_S, n_urgent: int = URGENT
) -> list[Result]:
    """One storm, as long as a storm is: there is one round whatever was asked."""
    del options
    names = tag_names(n_alarms, n_urgent)
    with ExitStack() as stack:
        town = towns.start(stack, POINTS, names, files())
        watch = Watch()
        storm = Storm(town, names, seconds)
        storm.run()
        last = storm.settle()
        missing = {one.id for one in town.site.alarms} - _journalled(town)
    return _results(storm.seen, last, n_alarms, n_urgent, len(missing), watch)


def _results(
    seen: Seen, last: Mapping[str, Any], n_alarms: int, n_urgent: int, missing: int, watch: Watch
) -> list[Result]:
    late_s = max(seen.shown_s.values(), default=float("nan"))
    shown = (
        f"{n_alarms} alarms in {seen.raised_s:.1f} s on a single-line of {FEEDERS} feeders, {last['n_active']} "
        f"stand at the end; most rows of {seen.lists} lists that a console asked for; the core calls it "
        f"{'a flood' if seen.flood else 'no flood'}: {last['banner_en'] or 'no banner'}"
    )
    urgent = (
        f"{n_urgent} of priority 1 were among them; one is hidden when a list that was asked for more than "
        f"{SHOWN_WITHIN_S:g} s after its value came does not name it; the slowest was named after {late_s:.2f} s"
    )
    commands = (
        f"select to accepted of {len(seen.command_ms)} commands during the storm, median "
        f"{np.median(seen.command_ms):.2f} ms; the list itself was answered in {np.median(seen.presented_ms):.1f} ms, "
        f"at most {max(seen.presented_ms):.1f}"
    )
    never = n_urgent - len(seen.shown_s)
    return [
        result("alarms.storm_presented", float(seen.rows_max), "rows", rounds=1, goal="<= 10", note=shown, watch=watch),
        result("alarms.storm_p1_hidden", float(max(len(seen.hidden), never)), "alarms", rounds=1, goal="== 0",
               note=urgent, watch=watch),
        result("alarms.storm_not_journalled", float(missing), "alarms", rounds=1, goal="== 0",
               note="raised alarms without an entry in the journal when everything stood", watch=watch),
        result("alarms.storm_command_p99", float(np.quantile(seen.command_ms, 0.99)), "ms", rounds=1, note=commands,
               watch=watch),
    ]  # fmt: skip


def _journalled(town: Town) -> set[str]:
    """Alarms whose raise the journal has."""
    return {
        str(one.data["alarm_id"])
        for one in read(town.state_dir / "journal.jsonl")
        if one.kind == "alarm_changed" and one.data["state"] == "unack_active"
    }
