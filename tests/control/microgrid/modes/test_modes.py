"""The mode machine: every state × every event, and what no path may do."""

import itertools
import math
import random
from dataclasses import fields, replace

import pytest

from gwanje.control.microgrid.modes import machine as modes
from gwanje.control.microgrid.modes.machine import ModeParams, initial, may_close, refusal, step, sync_window
from gwanje.control.microgrid.modes.table import TABLE, Event
from gwanje.control.microgrid.modes.types import Cause, Law, Mode, ModeInputs, ModeState, Order, Request

C, P, U, D, R, B, S, L = (Mode.CONNECTED, Mode.ISLANDING, Mode.UNPLANNED, Mode.ISLANDED,
                          Mode.RESYNC, Mode.BLACK, Mode.BLACK_START, Mode.LOCKOUT)  # fmt: skip
_ = None
WANTED = {
    #                       C  P  U  D  R  B  S  L
    Event.FAULT:           (L, L, L, L, L, L, L, L),
    Event.OPENED:          (U, U, _, _, _, _, _, _),
    Event.OPENED_AS_ORDERED: (_, D, _, _, _, _, _, _),
    Event.CLOSED:          (_, _, _, C, C, C, C, _),
    Event.CLOSED_DARK:     (_, _, _, _, _, _, B, _),
    Event.RETURNED:        (_, _, C, _, _, _, _, _),
    Event.GRID_LOST:       (U, U, _, _, _, _, _, _),
    Event.GRID_UNFIT:      (_, _, _, _, D, _, _, _),
    Event.DEAD:            (_, _, B, B, B, _, _, _),
    Event.DEAD_CLOSED:     (U, U, _, B, B, _, _, _),
    Event.COLLAPSED:       (_, _, _, _, _, _, B, _),
    Event.SETTLED:         (_, _, D, _, _, D, D, _),
    Event.REFUSED:         (_, L, L, _, L, L, _, _),
    Event.FORMING_LOST:    (_, C, _, _, _, _, B, _),
    Event.STALE:           (_, C, _, _, D, _, B, _),
    Event.TIMEOUT:         (_, C, L, _, D, _, B, _),
    Event.GIVEN_UP:        (_, _, _, _, _, _, L, _),
    Event.ASK_ISLAND:      (P, _, _, _, _, _, _, _),
    Event.ASK_RECONNECT:   (_, _, _, R, _, _, _, _),
    Event.ASK_BLACK_START: (_, _, _, _, _, S, _, _),
    Event.ASK_CANCEL:      (_, C, _, _, D, _, B, _),
    Event.RESET_CONNECTED: (_, _, _, _, _, _, _, C),
    Event.RESET_ISLANDED:  (_, _, _, _, _, _, _, D),
    Event.RESET_BLACK:     (_, _, _, _, _, _, _, B),
}  # fmt: skip
"""What each event does in each mode; nothing where a blank stands."""

DT_S = 1.0
QUICK = ModeParams(
    tie_hold_s=1.0, islanding_s_max=2.0, resync_s_max=8.0, unplanned_s_max=2.0, black_start_s_max=2.0, retry_s=1.0,
    breaker_s_max=1.0, close_attempts_max=2, close_pause_s=1.0, black_start_attempts_max=2, sync_watch_s=1.0,
    sync_model_s=0.01, stable_s=1.0, blackout_s=1.0, stale_s_max=1.0, enter_service_s=1.0,
)  # fmt: skip
"""Every limit is reached in a step or three, so that the closure of all states is small."""

BREAKER = tuple(itertools.product((False, True), repeat=2))
GRID = ((True, False), (False, False), (False, True))
SYNC = (0.0, math.radians(90.0), math.nan)
ASKED = {
    Mode.CONNECTED: (Request.ISLAND,),
    Mode.ISLANDED: (Request.RECONNECT,),
    Mode.BLACK: (Request.BLACK_START,),
    Mode.LOCKOUT: (Request.RESET_LOCKOUT,),
    Mode.UNPLANNED: (),
}
"""What is asked for in each mode beside nothing; in the others CANCEL. The rest: test_other_requests_do_nothing."""


def images(mode):
    """Every process image, in the abstraction: yes and no of everything that the machine looks at in a mode.

    With a fault or old values only the rest's corners: both hide nearly everything.
    """
    asked = (frozenset(), *(frozenset({one}) for one in ASKED.get(mode, (Request.CANCEL,))))
    ties = (0.0, 1e6) if mode is Mode.ISLANDING else (0.0,)
    angles = SYNC if mode is Mode.RESYNC else (0.0,)
    yes = (False, True)
    for (closed, tripped), (fit, lost), live, f, tie, angle, forming, request in itertools.product(
        BREAKER, GRID, yes, (60.0, 62.0), ties, angles, yes, asked
    ):
        if tripped and mode is not Mode.RESYNC:
            continue
        for fault, stale in itertools.product(yes, yes):
            if (fault or stale) and (f != 60.0 or angle or lost or tie):
                continue
            yield ModeInputs(
                breaker_closed=closed, breaker_tripped=tripped, grid_ok=fit, grid_lost=lost, bus_live=live,
                frequency_hz=f, tie_w=tie, slip_hz=0.0, angle_rad=angle, voltage_difference_pu=0.0,
                forming_ok=forming, fault=fault, stale=stale, requests=request,
            )  # fmt: skip


def key(state):
    """NaN equals nothing; two states that differ in it alone are one."""
    return tuple(None if value != value else value for value in (getattr(state, one.name) for one in fields(state)))


@pytest.fixture(scope="module")
def closure():
    """Every reachable state under every image: {state: {(image, next state, outputs)}} in essence, and how to go on."""
    every = {mode: list(images(mode)) for mode in Mode}
    start = ModeState()
    known, queue, ways, orders, exits = {key(start): start}, [start], {}, [], []
    while queue:
        state = queue.pop()
        ways[key(state)] = reached = set()
        for image in every[state.mode]:
            after, out = step(state, image, QUICK, DT_S)
            name = key(after)
            reached.add((name, out.changed))
            if out.breaker is not Order.NONE:
                orders.append((state, image, after, out))
            if state.mode is Mode.LOCKOUT and after.mode is not Mode.LOCKOUT:
                exits.append(image)
            if name not in known:
                known[name] = after
                queue.append(after)
    return known, ways, orders, exits


def test_every_mode_and_event_is_decided():
    table = {(row.mode, row.event): row for row in TABLE}
    assert len(table) == len(TABLE), "a pair stands twice"
    for event, mode in itertools.product(Event, Mode):
        row = table.get((mode, event))
        wanted = WANTED[event][(C, P, U, D, R, B, S, L).index(mode)]
        assert (row.to if row else None) is wanted, f"{mode} by {event}"
        if row:
            assert row.ko
            assert row.en
            assert (row.cause is not Cause.NONE) == (row.to is Mode.LOCKOUT)


def test_closure_of_all_states_never_closes_out_of_window_or_on_a_dark_bus(closure):
    known, _ways, orders, _exits = closure
    assert {one.mode for one in known.values()} == set(Mode)
    window = sync_window(QUICK.rating_va)
    closing = [one for one in orders if one[3].breaker is Order.CLOSE]
    assert closing
    for _state, image, after, out in closing:
        assert out.mode is Mode.RESYNC
        assert after.mode is Mode.RESYNC
        assert abs(image.angle_rad) <= window.angle_rad
        assert abs(image.slip_hz) <= window.slip_hz
        assert image.bus_live
        assert image.grid_ok
        assert not image.breaker_tripped
        assert not image.stale
        assert not image.fault
        assert not image.grid_lost
        assert after.hold_s >= QUICK.sync_watch_s
        assert after.fit_s >= QUICK.enter_service_s


def test_closure_opens_as_planned_only_at_small_tie_power(closure):
    opening = [one for one in closure[2] if one[3].breaker is Order.OPEN]
    assert {one[3].mode for one in opening} == {Mode.ISLANDING, Mode.UNPLANNED, Mode.BLACK}
    for _state, image, _after, out in opening:
        assert image.breaker_closed
        assert not image.stale
        if out.mode is Mode.ISLANDING:
            assert abs(image.tie_w) <= 0.02 * QUICK.rating_va
            assert image.forming_ok


def test_every_state_has_a_way_back_to_the_utility(closure):
    known, ways, _orders, _exits = closure
    back = {}
    for name, reached in ways.items():
        for after, _changed in reached:
            back.setdefault(after, set()).add(name)
    found = {name for name, one in known.items() if one.mode is Mode.CONNECTED}
    queue = list(found)
    while queue:
        for before in back.get(queue.pop(), ()):
            if before not in found:
                found.add(before)
                queue.append(before)
    assert found == set(known)


def test_other_requests_do_nothing(closure):
    for state, request in itertools.product(closure[0].values(), Request):
        if request not in ASKED.get(state.mode, (Request.CANCEL,)):
            for image in (WELL, OPEN, replace(OPEN, bus_live=False, grid_ok=False)):
                after, out = step(state, asking(image, request), QUICK, DT_S)
                assert key(after) == key(step(state, image, QUICK, DT_S)[0])
                assert out.told[0].kind == "refused"


def test_lockout_ends_only_by_a_reset_without_fault(closure):
    exits = closure[3]
    assert exits
    for image in exits:
        assert Request.RESET_LOCKOUT in image.requests
        assert not image.fault
        assert not image.stale


def test_lockout_tells_its_cause_and_gives_no_order(closure):
    known, _ways, orders, _exits = closure
    locked = [one for one in known.values() if one.mode is Mode.LOCKOUT]
    assert {one.cause for one in locked} == set(Cause) - {Cause.NONE}
    assert all(one.cause is Cause.NONE for one in known.values() if one.mode is not Mode.LOCKOUT)
    assert not [one for one in orders if one[3].mode is Mode.LOCKOUT]


# One run after another, as it goes in time.

WELL = ModeInputs(breaker_closed=True, bus_live=True, grid_ok=True, frequency_hz=60.0, tie_w=400e3,
                  slip_hz=0.0, angle_rad=0.0, voltage_difference_pu=0.0)  # fmt: skip
PARAMS = ModeParams()
TICK_S = 0.01


def run(state, image, seconds, params=PARAMS):
    """Steps with one image; the state after, and all outputs."""
    outs = []
    for _ in range(round(seconds / TICK_S)):
        state, out = step(state, image, params, TICK_S)
        outs.append(out)
    return state, outs


def asking(image, request):
    return replace(image, requests=frozenset({request}))


def test_planned_islanding_waits_for_small_tie_power_and_opens():
    state, out = step(initial(True, True), asking(WELL, Request.ISLAND), PARAMS, TICK_S)
    assert (out.mode, out.law, out.changed, out.forming) == (Mode.ISLANDING, Law.DRIVE_TIE_TO_ZERO, True, True)
    state, outs = run(state, WELL, 5.0)
    assert all(one.breaker is Order.NONE for one in outs)
    state, outs = run(state, replace(WELL, tie_w=49e3), 0.3)
    orders = [one.breaker for one in outs]
    assert orders.index(Order.OPEN) in (19, 20)
    state, out = step(state, replace(WELL, breaker_closed=False, tie_w=0.0), PARAMS, TICK_S)
    assert (out.mode, out.law, out.breaker) == (Mode.ISLANDED, Law.ISLAND, Order.NONE)
    assert out.forming_units == PARAMS.forming_units


def test_planned_islanding_gives_up_after_thirty_seconds():
    state, _ = step(initial(True, True), asking(WELL, Request.ISLAND), PARAMS, TICK_S)
    state, outs = run(state, WELL, 30.1)
    assert state.mode is Mode.CONNECTED
    ended = next(k for k, one in enumerate(outs) if one.changed)
    assert ended * TICK_S == pytest.approx(30.0, abs=0.02)
    assert outs[ended].told[0].kind == "mode"


def test_refusing_breaker_locks_out_with_its_cause():
    state, _ = step(initial(True, True), asking(WELL, Request.ISLAND), PARAMS, TICK_S)
    state, outs = run(state, replace(WELL, tie_w=0.0), 2.0)
    assert (state.mode, state.cause) == (Mode.LOCKOUT, Cause.REFUSED_OPEN)
    assert outs[-1].law is Law.TIE, "supply goes on"
    assert any(one.kind == "lockout" and one.ko and one.en for out in outs for one in out.told)
    state, _ = run(state, WELL, 60.0)
    assert state.mode is Mode.LOCKOUT
    state, out = step(state, asking(WELL, Request.RESET_LOCKOUT), PARAMS, TICK_S)
    assert out.mode is Mode.CONNECTED


def test_trip_of_the_relay_is_an_unplanned_island_that_settles():
    tripped = replace(WELL, breaker_closed=False, breaker_tripped=True, grid_ok=False, grid_lost=True, tie_w=0.0,
                      frequency_hz=58.9)  # fmt: skip
    state, out = step(initial(True, True), tripped, PARAMS, TICK_S)
    assert (out.mode, out.law, out.forming) == (Mode.UNPLANNED, Law.ISLAND, True)
    state, outs = run(state, replace(tripped, frequency_hz=59.8), 0.2)
    assert outs[-1].mode is Mode.ISLANDED


def test_lost_utility_opens_the_breaker_at_once():
    lost = replace(WELL, grid_ok=False, grid_lost=True)
    _state, out = step(initial(True, True), lost, PARAMS, TICK_S)
    assert (out.mode, out.breaker) == (Mode.UNPLANNED, Order.OPEN)


def islanded(fit_s=300.0):
    return replace(initial(False, True), fit_s=fit_s)


OPEN = replace(WELL, breaker_closed=False, tie_w=0.0)


def test_reconnection_is_refused_until_the_utility_was_well_for_five_minutes():
    state, _ = run(islanded(0.0), OPEN, 1.0)
    state, out = step(state, asking(OPEN, Request.RECONNECT), PARAMS, TICK_S)
    assert out.mode is Mode.ISLANDED
    assert out.told[0].kind == "refused"
    assert "299 s" in out.told[0].en
    state, _ = run(state, OPEN, 299.0)
    assert refusal(state, OPEN, PARAMS, Request.RECONNECT) is None
    state, out = step(state, asking(OPEN, Request.RECONNECT), PARAMS, TICK_S)
    assert (out.mode, out.law, out.slip_target_hz) == (Mode.RESYNC, Law.SYNC, PARAMS.slip_target_hz)


def synchronise(slip_hz, angle_rad, order_s=0.05, params=PARAMS, **more):
    """Two rotating sides and an honest breaker: angle and slip in the moment its contacts meet; None when never."""
    state, _ = step(islanded(), asking(OPEN, Request.RECONNECT), params, TICK_S)
    obeyed_at = None
    for k in range(round(61.0 / TICK_S)):
        angle_rad += math.tau * slip_hz * TICK_S
        image = replace(OPEN, slip_hz=slip_hz, angle_rad=math.remainder(angle_rad, math.tau), **more)
        if obeyed_at is not None and k >= obeyed_at:
            return math.remainder(angle_rad, math.tau)
        state, out = step(state, image, params, TICK_S)
        if obeyed_at is None and out.breaker is Order.CLOSE:
            obeyed_at = k + round((order_s + params.breaker_close_s) / TICK_S)
    return None


@pytest.mark.parametrize("order_s", [0.0, 0.05, 0.1])
@pytest.mark.parametrize("slip_hz", [-0.07, -0.03, 0.02, 0.06, 0.079])
def test_contacts_meet_inside_the_window_whatever_the_order_takes(slip_hz, order_s):
    seed = random.randrange(1 << 30)
    closed_rad = synchronise(slip_hz, random.Random(seed).uniform(-math.pi, math.pi), order_s)
    assert closed_rad is not None, seed
    assert abs(closed_rad) <= math.radians(10.0), seed


@pytest.mark.parametrize(
    ("slip_hz", "more"),
    [
        (0.09, {}),
        (0.06, {"voltage_difference_pu": 0.026}),
        (0.06, {"breaker_tripped": True}),
        (0.06, {"bus_live": False}),
    ],
)
def test_never_closes_when_something_is_outside(slip_hz, more):
    assert synchronise(slip_hz, 0.3, **more) is None


def test_an_angle_that_stands_still_while_there_is_slip_is_not_believed():
    state, _ = step(islanded(), asking(OPEN, Request.RECONNECT), PARAMS, TICK_S)
    _state, outs = run(state, replace(OPEN, slip_hz=0.06, angle_rad=0.0), 59.0)
    assert all(one.breaker is Order.NONE for one in outs)


def test_relay_is_reset_when_the_utility_is_well_again():
    state, _ = step(islanded(), asking(OPEN, Request.RECONNECT), PARAMS, TICK_S)
    _state, out = step(state, replace(OPEN, breaker_tripped=True), PARAMS, TICK_S)
    assert out.reset_relay
    assert out.breaker is Order.NONE


def test_breaker_that_does_not_close_gets_three_attempts():
    state, _ = step(islanded(), asking(OPEN, Request.RECONNECT), PARAMS, TICK_S)
    state, outs = run(state, OPEN, 20.0)
    assert (state.mode, state.cause) == (Mode.LOCKOUT, Cause.REFUSED_CLOSE)
    assert sum(one.kind == "breaker" for out in outs for one in out.told) == 2
    assert outs[-1].law is Law.ISLAND


def test_resynchronising_ends_after_sixty_seconds():
    state, _ = step(islanded(), asking(OPEN, Request.RECONNECT), PARAMS, TICK_S)
    state, _ = run(state, replace(OPEN, slip_hz=0.5, angle_rad=1.0), 60.1)
    assert state.mode is Mode.ISLANDED


def test_black_start_ends_in_an_island_and_collapses_are_counted():
    dark = replace(OPEN, bus_live=False, grid_ok=False, frequency_hz=math.nan)
    state, outs = run(islanded(), dark, 0.6)
    assert (state.mode, outs[-1].law, outs[-1].forming) == (Mode.BLACK, Law.OFF, False)
    once = asking(dark, Request.BLACK_START)
    refused = step(state, asking(replace(dark, forming_ok=False), Request.BLACK_START), PARAMS, TICK_S)[1]
    assert refused.mode is Mode.BLACK
    for attempt in (1, 2, 3):
        state, out = step(state, once, PARAMS, TICK_S)
        assert (out.mode, out.law) == (Mode.BLACK_START, Law.ENERGISE)
        state, _ = run(state, replace(OPEN, grid_ok=False, frequency_hz=57.0), 0.1)
        state, _ = run(state, dark, 0.6)
        assert state.mode is (Mode.LOCKOUT if attempt == 3 else Mode.BLACK)
    state, out = step(state, asking(dark, Request.RESET_LOCKOUT), PARAMS, TICK_S)
    state, _ = step(state, once, PARAMS, TICK_S)
    state, outs = run(state, replace(OPEN, grid_ok=False), 0.2)
    assert state.mode is Mode.ISLANDED


def test_by_itself_only_where_the_site_allows_it():
    own = replace(PARAMS, auto_reconnect=True, auto_black_start=True)
    dark = replace(OPEN, bus_live=False, grid_ok=False, frequency_hz=math.nan)
    assert run(initial(False, False), dark, 61.0)[0].mode is Mode.BLACK
    assert run(initial(False, False), dark, 61.0, own)[0].mode is Mode.BLACK_START
    assert run(islanded(), OPEN, 61.0)[0].mode is Mode.ISLANDED
    assert run(islanded(), OPEN, 60.1, own)[0].mode is Mode.RESYNC


def test_old_values_give_no_order_and_end_a_transition():
    state, _ = step(initial(True, True), asking(WELL, Request.ISLAND), PARAMS, TICK_S)
    state, outs = run(state, replace(WELL, tie_w=0.0, stale=True), 0.6)
    assert all(one.breaker is Order.NONE for one in outs)
    assert state.mode is Mode.CONNECTED


def test_a_fault_locks_out_and_switches_off_until_it_is_reset():
    state, out = step(islanded(), replace(OPEN, fault=True), PARAMS, TICK_S)
    assert (out.mode, out.law, out.forming) == (Mode.LOCKOUT, Law.OFF, False)
    assert state.cause is Cause.FAULT
    _state, outs = run(state, OPEN, 10.0)
    assert outs[-1].law is Law.OFF
    refused = step(state, asking(replace(OPEN, fault=True), Request.RESET_LOCKOUT), PARAMS, TICK_S)[1]
    assert refused.told[0].kind == "refused"
    assert step(state, asking(OPEN, Request.RESET_LOCKOUT), PARAMS, TICK_S)[1].mode is Mode.ISLANDED


def test_utility_is_fit_and_lost_by_its_limits():
    assert modes.utility_fit(1.0, 60.0, PARAMS)
    assert not modes.utility_fit(0.91, 60.0, PARAMS)
    assert not modes.utility_fit(math.nan, 60.0, PARAMS)
    assert not modes.utility_fit(1.0, 60.11, PARAMS)
    assert modes.utility_lost(0.4, 60.0, PARAMS)
    assert modes.utility_lost(1.0, 59.2, PARAMS)
    assert not modes.utility_lost(math.nan, math.nan, PARAMS)


def test_parameters_stand_within_their_ranges():
    for one in fields(PARAMS):
        for word in ("ko", "en", "owner", "unit"):
            assert word in one.metadata, one.name
        if one.name != "forming_units":
            assert one.metadata["low"] <= getattr(PARAMS, one.name) <= one.metadata["high"], one.name


def test_windows_by_rating():
    assert [sync_window(one).slip_hz for one in (500e3, 1500e3, 2.5e6)] == [0.3, 0.2, 0.1]
    assert not may_close(initial(True, True), WELL, PARAMS)
