"""Sharing out power: fair, within every limit of the tree, nobody stranded; and the desk's promise about the sum."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gwanje.io.field.ocpp.allot import Claim, allot
from gwanje.io.field.ocpp.desk import REFUSED_NS, SLACK_NS, SLOT_NS, LimitDesk
from gwanje.io.field.ocpp.settings import ChargerSettings

S = 1_000_000_000
CAR = ChargerSettings("1.6", 7_040.0, 1_320.0)
BIG = ChargerSettings("2.0.1", 21_120.0, 3_960.0, phases=3)


def test_all_have_their_most_where_there_is_room():
    assert allot([Claim((0,), 1320, 7040)] * 3, [30_000]) == [7040.0] * 3


def test_what_is_short_is_shared_evenly():
    assert allot([Claim((0,), 1320, 7040)] * 4, [12_000]) == [3000.0] * 4


def test_who_wants_little_leaves_the_rest_to_others():
    assert allot([Claim((0,), 1320, 2000), Claim((0,), 1320, 7040), Claim((0,), 1320, 7040)], [12_000]) == [
        2000.0, 5000.0, 5000.0,
    ]  # fmt: skip


def test_below_the_least_power_some_wait_and_the_others_charge():
    given_w = allot([Claim((0,), 1320, 7040)] * 5, [4_000])
    assert given_w == pytest.approx([4000 / 3] * 3 + [0.0, 0.0])


def test_a_large_one_that_waits_is_not_passed_by_small_ones():
    claims = [Claim((0,), 1320, 7040), Claim((0,), 3960, 21_120), Claim((0,), 1320, 7040)]
    assert allot(claims, [4_500]) == [4500.0, 0.0, 0.0]
    assert allot(claims, [3_000])[2] > 0.0, "who would never fit bars nobody"


def test_nothing_comes_of_no_room():
    assert allot([Claim((0,), 0, 200)], [-5.0]) == [0.0]
    assert allot([], [100.0]) == []
    assert allot([Claim((), 1320, 7040)], []) == [7040.0]


def test_limits_of_a_tree_hold_together():
    claims = [Claim((0, 2), 1320, 7040)] * 4 + [Claim((1, 2), 1320, 7040)] * 2
    given_w = allot(claims, [8_000, math.inf, 20_000])
    assert given_w == pytest.approx([2000.0] * 4 + [6000.0] * 2)


CLAIMS = st.lists(
    st.tuples(st.sampled_from([(0, 2), (1, 2)]), st.sampled_from([0.0, 1320.0, 3960.0]), st.floats(1.0, 30_000.0)),
    max_size=30,
)


@settings(max_examples=300, deadline=None)
@given(CLAIMS, st.floats(-1e4, 2e5), st.floats(0, 2e5), st.floats(0, 3e5))
def test_no_limit_is_ever_exceeded_and_power_is_not_left_lying(rows, first, second, whole):
    claims = [Claim(nodes, low, max(low, high)) for nodes, low, high in rows]
    room = [first, second, whole]
    given_w = allot(claims, room)
    for node, limit in enumerate(room):
        used = math.fsum(w for w, claim in zip(given_w, claims, strict=True) if node in claim.nodes)
        assert used <= max(limit, 0.0) + 1e-6 * max(1.0, used)
    left = list(room)
    for w, claim in zip(given_w, claims, strict=True):
        for node in claim.nodes:
            left[node] -= w
    for w, claim in zip(given_w, claims, strict=True):
        assert w == 0.0 or claim.min_w - 1e-6 <= w <= claim.max_w + 1e-6
        if 0.0 < w < claim.max_w - 1e-3:
            assert min(left[node] for node in claim.nodes) < 1e-3 * max(1.0, w), "a limit holds it down"


# ---- the desk


class World:
    """Chargers as they are: their profiles, and what they fall back to."""

    def __init__(self, n: int, limit_w: float, charger=CAR, seed: int = 1) -> None:
        self.now = 1_000 * S
        self.chance = random.Random(seed)
        self.names = [f"c{n}" for n in range(n)]
        self.settings = charger
        self.desk = LimitDesk({"g": limit_w}, {name: (charger, ["g"], 300.0) for name in self.names}, self.now)
        self.profile: dict[str, tuple[float, int]] = {}
        self.under_way: list[tuple[str, float, int]] = []
        self.rejecting: set[str] = set()
        self.away: set[str] = set()
        self.now += 331 * S  # what was there before is over

    def draws(self, name: str) -> float:
        """The most that a charger draws in truth."""
        limit, until = self.profile.get(name, (0.0, 0))
        return limit if self.now < until else self.settings.fallback_w

    def sum_w(self) -> float:
        return math.fsum(self.draws(name) for name in self.names)

    def plan(self) -> None:
        self.under_way += [(send.leaf, send.limit_w, self.now) for send in self.desk.plan(self.now)]

    def answer(self, index: int = 0, lost: bool = False) -> None:
        name, limit, sent = self.under_way.pop(index)
        if name in self.away:
            self.desk.failed(name, self.now, refused=False)
        elif name in self.rejecting:
            self.desk.failed(name, self.now, refused=True)
        else:
            self.profile[name] = limit, self.now + 300 * S
            if lost:
                self.desk.failed(name, self.now, refused=False)
            else:
                self.desk.confirmed(name, limit, sent)

    def settle(self) -> None:
        for _ in range(20_000):
            self.plan()
            if not self.under_way:
                return
            while self.under_way:
                self.answer()
        raise AssertionError("it never comes to rest")

    def come(self, name: str, active: bool = True) -> None:
        self.away.discard(name)
        self.desk.presence(name, True)
        self.desk.session(name, active, False)


def test_running_sessions_share_the_limit_and_the_sum_is_kept():
    world = World(10, 20_000)
    for name in world.names:
        world.come(name)
    world.settle()
    assert world.sum_w() <= 20_000
    assert all(world.draws(name) == pytest.approx(1_980, abs=25) for name in world.names)
    assert world.desk.settled("g", world.now)


def test_the_idle_leave_their_power_to_running_sessions():
    world = World(10, 20_000)
    for n, name in enumerate(world.names):
        world.come(name, active=n < 2)
    world.settle()
    assert [world.draws(name) for name in world.names[:2]] == [7_040.0, 7_040.0]
    assert world.sum_w() <= 20_000


def test_who_refuses_keeps_its_fallback_and_the_others_make_room():
    world = World(10, 20_000)
    world.rejecting = {"c0", "c1"}
    for name in world.names:
        world.come(name)
    world.settle()
    assert world.draws("c0") == 1_320.0
    assert world.sum_w() <= 20_000
    desk = world.desk
    assert desk.leaves["c0"].may_draw_w(world.now) == 1_320.0
    desk.measured("c0", 5_000.0)  # it does not even keep its fallback
    assert desk.leaves["c0"].may_draw_w(world.now) == 5_000.0
    desk.dirty = True
    world.settle()
    assert math.fsum(world.draws(n) for n in world.names if n != "c0") + 5_000.0 <= 20_000


def test_who_is_away_counts_with_its_limit_until_that_is_over_then_with_its_fallback():
    world = World(4, 10_000)
    for n, name in enumerate(world.names):
        world.come(name, active=n != 3)
    world.settle()
    assert world.draws("c3") == 0.0, "idle: all goes to the others"
    world.away.add("c3")
    world.desk.presence("c3", False)
    leaf = world.desk.leaves["c3"]
    assert leaf.may_draw_w(world.now) == 0.0
    until = leaf.until_ns
    while world.now < until + 400 * S:
        world.now += S
        world.settle()
        assert world.sum_w() <= 10_000 + 1e-6, (world.now - until) / S
    assert leaf.may_draw_w(world.now) == 1_320.0
    assert world.sum_w() > 9_500, "the rest is used"


def test_a_lost_answer_counts_as_the_larger_limit():
    world = World(2, 8_000)
    world.come("c0")
    world.settle()
    assert world.draws("c0") == pytest.approx(6_680, abs=25), "8000 less the fallback of the absent"
    world.desk.limit("g", 5_000)
    world.plan()
    world.answer(lost=True)
    leaf = world.desk.leaves["c0"]
    assert leaf.may_draw_w(world.now) >= world.draws("c0")
    assert not world.desk.settled("g", world.now)
    world.now += REFUSED_NS + S
    world.settle()
    assert world.desk.settled("g", world.now)
    assert world.sum_w() <= 5_000


def test_limits_are_refreshed_at_half_of_their_time():
    world = World(1, 8_000)
    world.come("c0")
    world.settle()
    until = world.desk.leaves["c0"].until_ns
    world.now = until - 151 * S
    assert world.desk.plan(world.now) == []
    world.now = until - 150 * S
    assert [send.leaf for send in world.desk.plan(world.now)] == ["c0"]


def test_paused_cars_take_turns_fairly():
    world = World(5, 4_000)
    for name in world.names:
        world.come(name)
    world.settle()
    served = dict.fromkeys(world.names, 0)
    for _ in range(50 * 10):
        world.now += SLOT_NS // 10
        world.settle()
        assert world.sum_w() <= 4_000
        for name in world.names:
            served[name] += world.draws(name) >= CAR.min_w
    assert min(served.values()) >= 0.8 * max(served.values()), served


def test_a_three_phase_car_is_not_starved_by_small_ones():
    now = 10_000 * S
    leaves = {f"s{n}": (CAR, ["g"], 300.0) for n in range(6)} | {"big": (BIG, ["g"], 300.0)}
    desk = LimitDesk({"g": 5_300.0}, leaves, 0)
    for name in leaves:
        desk.presence(name, True)
        desk.session(name, True, False)
    turns = 0
    for _ in range(400):
        now += SLOT_NS // 7
        for _ in range(30):
            sends = desk.plan(now)
            for send in sends:
                desk.confirmed(send.leaf, send.limit_w, now)
            if not sends:
                break
        turns += desk.leaves["big"].confirmed_w > 0.0
        assert desk.sum_w(desk.node("g"), now) <= 5_300.0 + 1e-6
    assert turns > 20


def test_after_a_start_nobody_is_believed_to_hold_less_than_it_can_until_it_answers():
    desk = LimitDesk({"g": 20_000.0}, {f"c{n}": (CAR, ["g"], 300.0) for n in range(4)}, 0)
    desk.presence("c0", True)
    desk.session("c0", True, False)
    sends = desk.plan(S)
    assert [one.limit_w for one in sends] == [0.0], "three others may hold 7040 W each from before"
    desk.confirmed("c0", 0.0, S)
    later = 301 * S + SLACK_NS
    assert [one.limit_w for one in desk.plan(later)] == [7_040.0]


def test_a_limit_that_did_not_leave_changes_nothing():
    world = World(1, 8_000)
    world.come("c0")
    world.settle()
    before = world.desk.leaves["c0"].may_draw_w(world.now)
    world.desk.cap("c0", 2_000.0)
    (send,) = world.desk.plan(world.now)
    assert send.limit_w == pytest.approx(1_980, abs=22)
    world.desk.unsent("c0")
    world.desk.cap("c0", math.inf)
    assert world.desk.leaves["c0"].may_draw_w(world.now) == before
    assert world.desk.plan(world.now) == []


def happen(world: World, kinds: int) -> None:
    """Something by chance; the first five kinds are those of chargers that do what they are told."""
    chance, name = world.chance, world.chance.choice(world.names)
    match chance.randrange(kinds):
        case 0:
            world.come(name, active=chance.random() < 0.7)
        case 1:
            world.away.add(name)
            world.desk.presence(name, False)
            world.under_way = [one for one in world.under_way if one[0] != name]
        case 2:
            world.desk.session(name, chance.random() < 0.7, chance.random() < 0.2)
        case 3:
            world.desk.limit("g", world.desk.node("g").limit_w + chance.uniform(0.0, 100.0))
        case 4:
            if world.under_way:
                world.answer(chance.randrange(len(world.under_way)))
        case 5:
            world.rejecting.symmetric_difference_update({name})
        case 6:
            if world.under_way:
                world.answer(lost=True)


def seconds(world: World, look) -> None:
    """Time passes; a call has two seconds for its answer."""
    for _ in range(world.chance.choice([1, 1, 20])):
        world.now += S
        world.plan()
        while any(sent <= world.now - 2 * S for _, _, sent in world.under_way):
            world.answer()
            world.plan()
        look()


@pytest.mark.parametrize("seed", range(30))
def test_the_sum_stays_below_the_limit_at_every_moment(seed):
    """Chargers come, go, begin and end sessions; the limit rises. What they draw in truth is never above it."""
    world = World(12, 25_000, seed=seed)

    def look() -> None:
        assert world.sum_w() <= world.desk.node("g").limit_w + 1e-6

    for _ in range(600):
        happen(world, 5)
        world.plan()
        look()
        if world.chance.random() < 0.3:
            seconds(world, look)


@pytest.mark.parametrize("seed", range(30))
def test_nobody_ever_draws_more_than_we_believe(seed):
    """Also among chargers that refuse and whose answers are lost; and nobody is raised while there is no room."""
    world = World(12, 25_000, seed=seed)
    desk = world.desk

    def look() -> None:
        for name in world.names:
            assert world.draws(name) <= desk.leaves[name].may_draw_w(world.now) + 1e-6, name

    for _ in range(800):
        happen(world, 7)
        before = {name: desk.leaves[name].may_draw_w(world.now) for name in world.names}
        sends = desk.plan(world.now)
        if any(send.limit_w > before[send.leaf] for send in sends):
            assert desk.sum_w(desk.node("g"), world.now) <= desk.node("g").limit_w + 1e-6
        world.under_way += [(send.leaf, send.limit_w, world.now) for send in sends]
        look()
        if world.chance.random() < 0.3:
            seconds(world, look)


def test_slack_covers_a_clock_that_is_a_little_wrong():
    """A charger whose clock ends a limit earlier or later than we think is counted with both."""
    world = World(1, 8_000)
    world.come("c0")
    world.settle()
    leaf = world.desk.leaves["c0"]
    leaf.ready = False
    assert leaf.may_draw_w(leaf.until_ns + SLACK_NS - 1) == leaf.confirmed_w
    assert leaf.may_draw_w(leaf.until_ns + SLACK_NS) == CAR.fallback_w
