"""Change sets: whatever is done in whatever order, one at a time is on watch, and what is in force is right."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tuning_rig import config

from gwanje.control.microgrid.settings import read_settings
from gwanje.control.tuning import change_set
from gwanje.control.tuning.change_set import NEXT, ON_WATCH, SETS_MAX, Book, State
from gwanje.control.tuning.guard import GuardState, Limits, MicrogridLimits, Seen, begin, limits_of, step
from gwanje.control.tuning.registry import Registry, problems_of, sections_of, with_values

CHUNGBUK = Path(__file__).parents[3] / "configs" / "chungbuk"
FILE = config()
NAMES = sorted(one.name for one in Registry(sections_of(FILE)))


def drafted(book, wanted, now=FILE):
    return change_set.draft(book, now, wanted, "kim", "better", Limits(), 60.0, {}, 1)


@st.composite
def wishes(draw):
    registry = Registry(sections_of(FILE))
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
    return {
        name: draw(st.floats(registry.find(name).low, registry.find(name).high) | st.floats() | st.integers(0, 100))
        for name in names
    }


@settings(max_examples=100)
@given(wishes())
def test_what_is_drafted_fits_by_itself_and_together(wanted):
    made = drafted(Book(), wanted)
    if isinstance(made, list):
        assert made
        return
    book, one = made
    after = with_values(FILE, one.after)
    assert problems_of(FILE, one.after) == []
    assert after != FILE
    assert {change.name: change.before for change in one.changes}.items() <= Registry(
        sections_of(FILE)
    ).values().items()
    assert change_set.from_state(json.loads(json.dumps(change_set.to_state(book)))) == book
    after.kernel_params(2.5e6)


ACTS = st.lists(
    st.tuples(st.sampled_from(["draft", "apply", "taken", "refused", "keep", "roll", "restart"]), st.integers(0, 40),
              st.sampled_from(["tie_line.ki_per_s", "tie_line.kp", "setpoint.tau_s"]), st.integers(1, 9)),
    max_size=60,
)  # fmt: skip


@settings(max_examples=80)
@given(ACTS)
def test_any_day_of_an_engineer(acts):
    """A model beside the book: the value in force of each parameter is the one that was kept last."""
    book, model = Book(), {}
    for what, which, name, tenths in acts:
        now, _ = change_set.in_force(book, FILE)
        number = 1 + which % max(book.next_number - 1, 1)
        one = book.get(number)
        if what == "draft":
            made = drafted(book, {name: tenths / 10 if name == "tie_line.kp" else float(tenths)}, now)
            book = made[0] if not isinstance(made, list) else book
        elif what == "apply" and not change_set.refusal_of(book, number, now):
            book = change_set.moved(book, number, State.APPLYING, 2)
        elif what == "taken" and one and one.state is State.APPLYING:
            book = change_set.moved(book, number, State.APPLIED, 3)
        elif what == "refused" and one and one.state is State.APPLYING:
            book = change_set.moved(book, number, State.REFUSED, 3)
        elif what == "keep" and one and one.state is State.APPLIED:
            book = change_set.keep(book, number, FILE, 4)
            model |= one.after
        elif what == "roll" and one and one.state in ON_WATCH:
            book = change_set.moved(book, number, State.ROLLED_BACK, 4)
        elif what == "restart":
            book, rolled = change_set.restarted(change_set.from_state(change_set.to_state(book)), 5)
            assert rolled is None or rolled.state is State.ROLLED_BACK
            assert book.on_watch is None
        assert sum(one.state in ON_WATCH for one in book.sets) <= 1
        assert len(book.sets) <= SETS_MAX
        assert change_set.in_force(book, FILE) == (with_values(FILE, model), [])
        assert change_set.from_state(json.loads(json.dumps(change_set.to_state(book)))) == book


def test_every_other_step_of_a_state_is_a_bug():
    for state in State:
        for to in set(State) - NEXT[state]:
            book, one = drafted(Book(), {"kp": 0.2})
            book = Book(
                (change_set.ChangeSet(**{**{k: getattr(one, k) for k in one.__slots__}, "state": state}),), {}, 2
            )
            with pytest.raises(AssertionError):
                change_set.moved(book, 1, to, 1)


def test_an_edited_file_overrules_what_was_kept():
    book, _ = drafted(Book(), {"kp": 0.2, "ki_per_s": 3.0})
    for state in (State.APPLYING, State.APPLIED):
        book = change_set.moved(book, 1, state, 1)
    book = change_set.keep(book, 1, FILE, 1)
    edited = with_values(FILE, {"tie_line.kp": 0.4})
    now, overruled = change_set.in_force(book, edited)
    assert (now.tie_line.kp, now.tie_line.ki_per_s) == (0.4, 3.0)
    assert overruled == ["tie_line.kp"]


@pytest.mark.parametrize(
    ("wanted", "reason", "watch_s", "why"),
    [
        ({"kp": 0.3}, "x", 60.0, "nothing would change"),
        ({"kp": 0.2}, " ", 60.0, "a reason"),
        ({"kp": 0.2}, "x", 1.0, "a watch of 1 s"),
        ({}, "x", 60.0, "0 changes"),
        ({"kp": 0.2, "tie_line.kp": 0.1}, "x", 60.0, "twice"),
    ],
)
def test_drafts_that_make_no_sense(wanted, reason, watch_s, why):
    made = change_set.draft(Book(), FILE, wanted, "kim", reason, Limits(), watch_s, {}, 1)
    assert isinstance(made, list)
    assert why in "; ".join(made)


@given(st.lists(st.tuples(st.floats(-50, 50) | st.just(float("nan")), st.booleans()), min_size=1, max_size=200))
def test_the_guard_trips_for_a_reason_and_only_then(looks):
    limits = Limits(error_rms_pct=5.0, error_max_pct=40.0, saturated_s=3.0, ticks_lost=10)
    state = begin(Seen(0.0, False, 100, 3))
    for error_pct, saturated in looks:
        state, tripped = step(state, Seen(error_pct, saturated, 105, 3), limits, 0.1)
        now = state.reached(limits)
        broken = now["error_rms_pct"] > 5.0 or now["error_max_pct"] > 40.0 or now["saturated_s"] > 3.0
        assert (tripped is not None) == broken


def test_the_guard_counts_from_the_change_on():
    state = GuardState(Seen(0.0, False, 100, 2))
    assert step(state, Seen(0.0, False, 300, 2), Limits(), 0.1)[1] is None
    assert "lost periods" in step(state, Seen(0.0, False, 301, 2), Limits(), 0.1)[1][1]
    assert "새 성능 저하" in step(state, Seen(0.0, False, 100, 3), Limits(), 0.1)[1][0]


def test_limits_are_read_with_their_ranges():
    assert limits_of({"error_rms_pct": 1}) == Limits(error_rms_pct=1.0)
    assert limits_of({"error_rms_pct": 0, "nonsense": 1}) == [
        "guard.nonsense: unknown key", "guard.error_rms_pct: 0 is not within 0.01…100",
    ]  # fmt: skip


def test_the_microgrids_guard_looks_at_the_island_and_at_the_tie_by_turns():
    limits = limits_of({"frequency_max_hz": 0.3, "swings": 5}, MicrogridLimits)
    assert isinstance(limits, MicrogridLimits)
    tie = Seen(0.5, False, 0, 0, swings=0.0)
    island = replace(tie, error_pct=math.nan, missed_hz=-0.1)
    state = begin(tie)
    for seen in (tie, island, tie, island):
        state, tripped = step(state, seen, limits, 0.1)
        assert tripped is None
    assert state.watched_s == pytest.approx(0.4)
    assert state.island_s == pytest.approx(0.2)
    assert "frequency_max_hz" in state.live
    assert "error_max_pct" not in state.live
    assert "greatest deviation of the island's frequency 0.4 > 0.3 Hz" in step(
        state, replace(island, missed_hz=-0.4), limits, 0.1)[1][1]  # fmt: skip
    assert "지령 왕복 6 > 5" in step(state, replace(tie, swings=6.0), limits, 0.1)[1][0]
    waits, tripped = step(state, replace(island, missed_hz=-5.0, controlling=False), limits, 0.1)
    assert (tripped, waits.watched_s) == (None, state.watched_s)
    assert limits_of({"frequency_max_hz": 0.3}) == ["guard.frequency_max_hz: unknown key"]


def test_a_book_of_the_microgrid_is_read_back_with_its_limits():
    settings = read_settings(CHUNGBUK)
    made = change_set.draft(
        Book(), settings, {"island.ki_per_s": 2, "missing_max": 4}, "kim", "x", MicrogridLimits(swings=5), 60.0, {}, 1
    )
    assert not isinstance(made, list), made
    book, one = made
    assert with_values(settings, one.after).island.missing_max == 4
    assert isinstance(with_values(settings, one.after).island.missing_max, int)
    assert change_set.from_state(json.loads(json.dumps(change_set.to_state(book))), MicrogridLimits) == book
    with pytest.raises(ValueError, match="unknown key"):
        change_set.from_state(change_set.to_state(book))
