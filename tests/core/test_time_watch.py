"""The clock watch: steps of any size, who is believed, and what is marked; ages never ask the wall clock."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwanje.core.clock import (
    ClockReading,
    Synchronisation,
    SystemClock,
    VirtualClock,
    read_both,
    synchronisation,
)
from gwanje.core.journal.kinds import EntryKind
from gwanje.core.site.toml_reader import Document
from gwanje.core.tags import stale
from gwanje.core.tags.quality import Quality, describe, is_good
from gwanje.core.tags.store import Sample, Snapshot, TagStore
from gwanje.core.tags.table import Tag, TagTable
from gwanje.core.time_watch import SETTLE_S, TimeRules, TimeWatch, WatchState, read_rules, step

S = 1_000_000_000
HOUR, YEAR = 3_600, 365 * 86_400
KEPT, UNKEPT = Synchronisation(True, 0.001), Synchronisation(False, 16.0)


class Watched:
    """A watch on a virtual clock with everything it says."""

    def __init__(
        self, rules: TimeRules | None = None, sync: Synchronisation | None = UNKEPT, before: Sample | None = None
    ) -> None:
        self.clock, self.sync = VirtualClock(mono_ns=500 * S), sync
        self.flags: list[int] = []
        self.entries: list[tuple[str, dict[str, Any]]] = []
        self.events: list[str] = []
        self.watch = TimeWatch(
            self.clock, rules or TimeRules(), self, lambda kind, **data: self.entries.append((str(kind), data)),
            lambda event: self.events.append(event.class_name), before, lambda: self.sync,
        )  # fmt: skip

    def flag(self, quality: int) -> None:
        self.flags.append(int(quality))

    def run(self, seconds: float, step_s: float = 0.0) -> None:
        """Let time pass in looks of 0.2 s; the wall clock is set at the beginning."""
        self.clock.step_utc_ns(round(step_s * S))
        for _ in range(max(1, round(seconds / 0.2))):
            self.clock.advance_ns(S // 5)
            self.watch.step()

    @property
    def flagged(self) -> bool:
        return bool(self.flags[-1])


@pytest.mark.parametrize("step_s", [HOUR, -HOUR, YEAR, -YEAR, 1.5, -1.5])
def test_a_step_is_told_once_marked_and_believed_after_it_has_settled(step_s: float) -> None:
    one = Watched()
    one.run(5.0)
    assert (one.flags, one.entries, one.events) == ([0], [], [])
    one.run(SETTLE_S - 1.0, step_s)
    assert one.flagged
    assert one.events == ["clock_stepped", "clock_doubted"]
    assert [kind for kind, _ in one.entries] == [EntryKind.CLOCK_STEPPED, EntryKind.CLOCK_DOUBTED]
    assert one.entries[0][1]["step_s"] == pytest.approx(step_s)
    assert one.watch.status()["system.time.offset_s"] == pytest.approx(step_s)
    assert (one.watch.status()["system.time.steps"], one.watch.status()["system.time.trusted"]) == (1, 0)
    one.run(2.0)
    assert not one.flagged
    assert one.events[-1] == "clock_trusted"
    assert one.watch.status()["system.time.offset_s"] == 0.0


def test_a_step_back_ends_the_doubt_at_once() -> None:
    one = Watched()
    one.run(1.0, HOUR)
    one.run(0.2, -HOUR)
    assert not one.flagged
    assert one.watch.status()["system.time.steps"] == 2


def test_a_keeper_that_calls_the_clock_right_ends_the_doubt() -> None:
    one = Watched(sync=KEPT)
    one.run(2.0)
    one.sync = UNKEPT  # the kernel forgets its keeper when the clock is set
    one.run(5.0, HOUR)
    assert one.flagged
    one.sync = KEPT
    one.run(1.2)
    assert not one.flagged


def test_a_site_that_requires_a_keeper_doubts_without_one_for_ever() -> None:
    one = Watched(TimeRules(require_sync=True))
    assert one.flagged
    assert one.entries == [("clock_doubted", {"reason": "nobody keeps it"})]
    one.run(2 * SETTLE_S)
    assert one.flagged
    one.sync = KEPT
    one.run(1.2)
    assert not one.flagged
    one.sync = None
    one.run(1.2)
    assert one.flagged


def test_a_keeper_that_is_not_sure_is_doubted() -> None:
    one = Watched(sync=Synchronisation(True, 1.5))
    assert one.flagged
    assert "1.500 s" in one.entries[0][1]["reason"]
    assert not Watched(TimeRules(max_offset_s=2.0), Synchronisation(True, 1.5)).flagged


def test_what_a_keeper_turns_evenly_is_no_step() -> None:
    one = Watched(sync=KEPT)
    for _ in range(1_000):
        one.run(0.2, 500e-6 * 0.2)
    assert one.events == []


def test_a_processor_that_was_away_between_two_readings_makes_no_step() -> None:
    first, blurred = ClockReading(0, 0, 1_000), ClockReading(3 * S, 2 * S, S)
    assert step(WatchState(first), blurred, UNKEPT, TimeRules())[1].step_ns == 0
    state, _ = step(WatchState(first), blurred, UNKEPT, TimeRules())
    assert step(state, ClockReading(4 * S, 3 * S, 0), UNKEPT, TimeRules())[1].step_ns == 0


@given(st.lists(st.tuples(st.integers(1, 30), st.sampled_from([0, 0, 0, HOUR, -HOUR, YEAR, -YEAR])), max_size=20))
def test_exactly_the_steps_that_were_made_are_told(happenings: list[tuple[int, int]]) -> None:
    one = Watched()
    for looks, step_s in happenings:
        one.run(looks * 0.2, step_s)
    made = [step_s for _, step_s in happenings if step_s]
    assert [data["step_s"] for kind, data in one.entries if kind == EntryKind.CLOCK_STEPPED] == made
    assert one.watch.status()["system.time.steps"] == len(made)


@pytest.mark.parametrize(
    ("away_s", "step_s", "left_s", "told"),
    [
        (10, 0.0, 0.0, []),
        (10, HOUR, 0.0, ["clock_stepped", "clock_doubted"]),  # set while no core was there to see
        (10, 0.0, HOUR, []),  # doubted before and still: no news
        (10, -HOUR, HOUR, ["clock_stepped", "clock_trusted"]),
        (2 * SETTLE_S, 0.0, HOUR, ["clock_trusted"]),
    ],
)
def test_a_new_core_goes_on_watching_where_the_last_one_was(
    away_s: float, step_s: float, left_s: float, told: list[str]
) -> None:
    clock = VirtualClock(mono_ns=500 * S)
    utc_ns = clock.utc_ns() - round((away_s + step_s) * S)
    one = Watched(before=Sample(float(left_s), 0, utc_ns, 500 * S - round(away_s * S)))
    assert one.events == told
    assert one.flagged == (abs(left_s + step_s) > 0 and "clock_trusted" not in told)


@pytest.mark.parametrize("before", [Sample(np.nan, 0x8400, 0, 0), Sample(np.nan, 0x8000, 5, 5), Sample(0.0, 0, 0, 0)])
def test_of_a_tag_that_nobody_wrote_nothing_is_taken_up(before: Sample) -> None:
    assert Watched(before=before).entries == []


def test_an_unanswering_kernel_is_no_number() -> None:
    status = Watched(sync=None).watch.status()
    assert np.isnan(status["system.time.synchronised"])
    assert np.isnan(status["system.time.error_s"])
    assert status["system.time.trusted"] == 1.0


def test_the_kernel_of_this_machine_answers_or_says_nothing() -> None:
    found = synchronisation()
    assert found is None or found.error_s >= 0.0
    reading = read_both(SystemClock())
    assert 0 <= reading.within_ns < S
    assert abs(reading.mono_ns - SystemClock().mono_ns()) < 10 * S


def test_a_time_flag_leaves_a_value_good() -> None:
    assert is_good(Quality.TIME)
    assert describe(Quality.TIME | Quality.SIMULATED) == "GOOD TIME (simulated)"


def rules_of(folder: Path, text: str) -> tuple[TimeRules, list[str]]:
    path = folder / "site.toml"
    path.write_text(text, encoding="utf-8")
    document = Document.load(path, "site.toml")
    return read_rules(document.root().reader("time")), [str(one) for one in document.problems]


def test_rules_are_read_and_checked(tmp_path: Path) -> None:
    assert rules_of(tmp_path, "") == (TimeRules(1.0, False), [])
    text = "[time]\nmax_offset_s = 0.5\nrequire_sync = true\n"
    assert rules_of(tmp_path, text) == (TimeRules(0.5, True), [])
    _, problems = rules_of(tmp_path, "[time]\nmax_offset_s = 0.05\nrequire_sync = 1\nother = 2\n")
    assert [one.split(":")[1] for one in problems] == ["2", "3", "4"]


# ---------------------------------------------------------------- ages

N = 100_000


@pytest.fixture
def city(tmp_path: Path) -> tuple[TagStore, Any, VirtualClock]:
    """A hundred thousand tags, each with a stale time of its own: 0 (never), 1 … 9 s."""
    tags = [Tag(f"a.b.t{number}", "", "field", stale_after_s=float(number % 10)) for number in range(N)]
    store = TagStore.create(tmp_path / "tags", TagTable.build(tags))
    return store, store.writer("field"), VirtualClock(mono_ns=1_000 * S)


def test_each_of_a_hundred_thousand_tags_turns_stale_at_its_own_time_whatever_the_wall_clock_does(
    city: tuple[TagStore, Any, VirtualClock],
) -> None:
    store, writer, clock = city
    ids = np.arange(N, dtype=np.int32)
    writer.write(ids, np.ones(N), np.zeros(N, np.uint16), np.full(N, clock.utc_ns()), clock.mono_ns())
    state, out = stale.StaleState.empty(store.table.n), Snapshot.empty(store.table.n)
    exists = np.array([tag is not None for tag in store.table.tags])
    told: dict[int, int] = {}
    for second in range(12):
        clock.step_utc_ns((HOUR, -HOUR, YEAR, -YEAR)[second % 4] * S)
        now = clock.mono_ns() + 1  # a tag of 3 s is stale just after 3 s
        state, look = stale.step(state, store.snapshot_at(now, out).quality, exists)
        told |= dict.fromkeys(look.fresh_stale.tolist(), second)
        assert look.n_stale == sum(number % 10 != 0 and number % 10 <= second for number in range(10)) * N // 10
        clock.advance_ns(S)
    assert told == {number: number % 10 for number in range(N) if number % 10}
