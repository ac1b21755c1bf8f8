"""Every combination of phase, what hides it, latching and happening, against rules written the other way round."""

import itertools

import pytest

from gwanje.core.alarms.states import (
    ACTIVE,
    UNACKNOWLEDGED,
    WORDS,
    Happening,
    Hidden,
    Phase,
    Standing,
    after,
)
from gwanje.core.bus.messages import ALARM_STATES

N, UA, AA, UR, LA = Phase.NORMAL, Phase.UNACK_ACTIVE, Phase.ACK_ACTIVE, Phase.UNACK_RETURNED, Phase.LATCHED

SHOWN = {
    Happening.RAISE: {N: UA, UA: UA, AA: AA, UR: UA, LA: UA},
    Happening.RETURN: {N: N, UA: UR, AA: N, UR: UR, LA: LA},
    Happening.ACKNOWLEDGE: {N: N, UA: AA, AA: AA, UR: N, LA: LA},
    Happening.RESET: {N: N, UA: UA, AA: AA, UR: UR, LA: N},
    Happening.RE_ALARM: {N: N, UA: UA, AA: UA, UR: UR, LA: LA},
}
"""Phase after each happening of an alarm that nothing hides and that does not latch."""
LATCHING = {(Happening.RETURN, AA): LA, (Happening.ACKNOWLEDGE, UR): LA}
"""What is different when it latches."""
HIDDEN = {(Happening.RETURN, UA): N, (Happening.RE_ALARM, AA): AA}
"""What is different while it is hidden: nobody was told, so nobody is asked."""
HIDDEN_LATCHING = {(Happening.RETURN, UA): LA}

BEGINS = {
    Happening.SHELVE: Hidden.SHELVED,
    Happening.SHELVE_ONCE: Hidden.SHELVED | Hidden.ONE_SHOT,
    Happening.SUPPRESS: Hidden.CONDITION,
    Happening.FEED_LOST: Hidden.TOPOLOGY,
    Happening.TAKE_OUT: Hidden.OUT_OF_SERVICE,
    Happening.MAINTENANCE_BEGINS: Hidden.MAINTENANCE,
}
ENDS = {
    Happening.UNSHELVE: Hidden.SHELVED | Hidden.ONE_SHOT,
    Happening.UNSUPPRESS: Hidden.CONDITION,
    Happening.FEED_BACK: Hidden.TOPOLOGY,
    Happening.PUT_BACK: Hidden.OUT_OF_SERVICE,
    Happening.MAINTENANCE_ENDS: Hidden.MAINTENANCE,
}
SHELVES = [Hidden.NO, Hidden.SHELVED, Hidden.SHELVED | Hidden.ONE_SHOT]
OTHERS = [Hidden.CONDITION, Hidden.TOPOLOGY, Hidden.OUT_OF_SERVICE, Hidden.MAINTENANCE]
ALL_HIDDEN = [
    shelf | sum((one for one, on in zip(OTHERS, chosen, strict=True) if on), Hidden.NO)
    for shelf in SHELVES
    for chosen in itertools.product((False, True), repeat=len(OTHERS))
]


def expected_phase(phase: Phase, hidden: Hidden, happening: Happening, latching: bool) -> Phase:
    if happening in BEGINS:
        return phase
    if happening in ENDS:
        ended = bool(hidden) and not hidden & ~ENDS[happening]
        return UA if ended and phase in ACTIVE else phase
    found = SHOWN[happening][phase]
    if latching:
        found = LATCHING.get((happening, phase), found)
    if hidden:
        found = HIDDEN.get((happening, phase), found)
        if latching:
            found = HIDDEN_LATCHING.get((happening, phase), found)
    return found


def expected_hidden(phase: Phase, hidden: Hidden, happening: Happening) -> Hidden:
    if happening in BEGINS:
        if BEGINS[happening] & Hidden.SHELVED:
            hidden &= ~(Hidden.SHELVED | Hidden.ONE_SHOT)
        return hidden | BEGINS[happening]
    if happening in ENDS:
        return hidden & ~ENDS[happening]
    if happening is Happening.RETURN and phase in ACTIVE and hidden & Hidden.ONE_SHOT:
        return hidden & ~(Hidden.SHELVED | Hidden.ONE_SHOT)
    return hidden


@pytest.mark.parametrize("happening", list(Happening))
def test_every_state_against_every_happening(happening: Happening) -> None:
    n = 0
    for phase, hidden, latching in itertools.product(Phase, ALL_HIDDEN, (False, True)):
        before = Standing(phase, hidden)
        found = after(before, happening, latching)
        wanted = Standing(expected_phase(phase, hidden, happening, latching), expected_hidden(phase, hidden, happening))
        assert found == wanted, (before, happening, latching)
        assert (found is before) == (found == before), "the same object comes back when nothing changed"
        n += 1
    assert n == 5 * 48 * 2


def test_words_are_those_that_travel_on_the_bus() -> None:
    assert WORDS == ALARM_STATES
    found = {Standing(phase, hidden).word for phase in Phase for hidden in ALL_HIDDEN}
    assert found == set(WORDS)


def test_only_what_nothing_hides_is_presented_and_only_what_nothing_is_left_of_is_at_rest() -> None:
    for phase, hidden in itertools.product(Phase, ALL_HIDDEN):
        standing = Standing(phase, hidden)
        assert standing.presented == (phase is not N and hidden == Hidden.NO)
        assert standing.at_rest == (phase is N and hidden == Hidden.NO)
        assert standing.active == (phase in ACTIVE)
        assert (standing.word in ("shelved", "out_of_service", "suppressed")) == bool(hidden)


def test_an_alarm_that_nobody_acknowledged_never_becomes_normal_unseen() -> None:
    """Whatever happens to an alarm that nothing hides, only a person or its being hidden takes it off the list."""
    for phase, latching, happening in itertools.product(UNACKNOWLEDGED, (False, True), Happening):
        if happening is not Happening.ACKNOWLEDGE:
            assert after(Standing(phase), happening, latching).phase in UNACKNOWLEDGED


def test_a_latched_alarm_ends_only_by_a_reset_or_a_new_raise() -> None:
    for hidden, happening in itertools.product(ALL_HIDDEN, Happening):
        if happening not in (Happening.RESET, Happening.RAISE):
            assert after(Standing(LA, hidden), happening, True).phase is LA
