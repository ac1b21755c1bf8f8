"""When a suspicion is said and taken back."""

from gwanje.control.microgrid.estimation.suspicion import SuspicionState, Told, step


def told(sequence, persist=3):
    state, found = SuspicionState(), []
    for one in sequence:
        state, news = step(state, one, persist)
        found.append(news)
    return state, found


def test_only_what_lasts_is_said_and_only_what_is_over_is_taken_back():
    _, found = told([["a"], ["a"], [], ["a"], ["a"], ["a"]])
    assert [one.begun for one in found] == [(), (), (), (), (), ("a",)]
    _, found = told([["a"]] * 3 + [[], [], ["a"], [], [], []])
    assert [one.ended for one in found] == [()] * 8 + [("a",)]


def test_each_counts_for_itself():
    state, found = told([["a"], ["a", "b"], ["b", "a"], ["b"]])
    assert found[2] == Told(("a",), ())
    assert found[3] == Told(("b",), ())
    assert state.said == {"a", "b"}


def test_nothing_is_kept_of_what_is_over():
    state, _ = told([[f"m{k}"] for k in range(1000)])
    assert len(state.turns) == 1
