"""The stale watch: told once, when it happens; padding and never-written tags are no news."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gwanje.core.clock import VirtualClock
from gwanje.core.tags import stale
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.store import Snapshot

GOOD = int(Quality.SIMULATED)
STALE = int(Quality.BAD | Quality.STALE)
NEVER = int(Quality.BAD | Quality.NEVER | Quality.STALE)


def look(state: stale.StaleState, *quality: int, padding: int = 0) -> tuple[stale.StaleState, stale.StaleLook]:
    column = np.array([*quality, *[NEVER] * padding], dtype=np.uint16)
    exists = np.array([True] * len(quality) + [False] * padding)
    return stale.step(state, column, exists)


def test_a_tag_that_turns_stale_is_told_once() -> None:
    state = stale.StaleState.empty(3)
    state, first = look(state, GOOD, GOOD, GOOD)
    assert (first.fresh_stale.tolist(), first.n_stale) == ([], 0)
    state, second = look(state, GOOD, STALE, STALE)
    assert (second.fresh_stale.tolist(), second.n_stale) == ([1, 2], 2)
    state, third = look(state, STALE, STALE, STALE)
    assert (third.fresh_stale.tolist(), third.n_stale) == ([0], 3)


def test_a_tag_that_came_back_is_told_again_when_it_leaves_again() -> None:
    state = stale.StaleState.empty(1)
    told = []
    for quality in (STALE, GOOD, STALE, STALE, GOOD, STALE):
        state, found = look(state, quality)
        told.append(found.fresh_stale.tolist())
    assert told == [[0], [], [0], [], [], [0]]


def test_padding_and_tags_that_never_had_a_value_are_no_news() -> None:
    state = stale.StaleState.empty(4)
    state, found = look(state, NEVER, STALE, padding=2)
    assert (found.fresh_stale.tolist(), found.n_stale, found.n_never) == ([1], 1, 1)


def test_what_is_published_is_the_last_value_bad_and_true_as_of_now() -> None:
    clock = VirtualClock()
    quality = np.array([GOOD, STALE, STALE], np.uint16)
    snapshot = Snapshot(np.array([1.0, 2.5, 3.0]), quality, np.array([5, 6, 7]), np.zeros(3, np.int64))
    _, found = stale.step(stale.StaleState.empty(3), snapshot.quality, np.ones(3, np.bool_))
    ids, values, quality, times = stale.columns(found, snapshot, clock.utc_ns())
    assert ids.tolist() == [1, 2]
    assert values.tolist() == [2.5, 3.0]
    assert quality.tolist() == [STALE, STALE]
    assert times.tolist() == [clock.utc_ns()] * 2


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from([GOOD, STALE, NEVER]), min_size=5, max_size=5), max_size=20))
def test_told_is_exactly_what_changed(looks: list[list[int]]) -> None:
    state = stale.StaleState.empty(5)
    before = [False] * 5
    for qualities in looks:
        state, found = look(state, *qualities)
        now = [quality == STALE for quality in qualities]
        assert found.fresh_stale.tolist() == [i for i in range(5) if now[i] and not before[i]]
        assert found.n_stale == sum(now)
        before = now
