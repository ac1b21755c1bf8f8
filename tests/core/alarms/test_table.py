"""The alarm table: what is told, hidden, grouped and kept, on a virtual clock with steps of the wall clock."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import pytest
from alarms.made import (
    PLACES,
    STALE,
    TAGS,
    TEXTS,
    TOPOLOGY,
    S,
    alarm,
    event_alarm,
    heard,
    link_lost,
    quick,
    samples,
)  # fmt: skip
from hypothesis import given, settings
from hypothesis import strategies as st

from gwanje.core.alarms.definitions import Condition
from gwanje.core.alarms.records import Change, Hold
from gwanje.core.alarms.states import Happening
from gwanje.core.alarms.suppression import HOLD_NS
from gwanje.core.alarms.table import EVENT_ALARMS_MAX, MAINTENANCE_PERIOD_NS, QUEUE_MAX, AlarmTable
from gwanje.core.bus.messages import AlarmChange
from gwanje.core.clock import VirtualClock

ESS, PV, LAMP, ESS2 = (
    "jincheon.ess1.online", "jincheon.pv1.online", "jincheon.lamp1.online", "eumseong.ess2.online",
)  # fmt: skip
YEAR_NS = 365 * 86_400 * S


class Plant:
    """A table with the tags of the tests' site, on a virtual clock."""

    def __init__(self, *definitions: Any, events: Sequence[Any] = (), **more: Any) -> None:
        self.clock = VirtualClock()
        self.table = AlarmTable(definitions, events, TAGS, TOPOLOGY, PLACES, **more)
        self.values = dict.fromkeys(TAGS.ids, 0.0)
        self.values |= dict.fromkeys((ESS, PV, LAMP, ESS2, "grid.breaker.closed"), 1.0)
        self.received: dict[str, int] = {}
        self.changes: list[Change] = []
        self.names = [TAGS.by_id(int(one)).name for one in self.table.tag_ids]

    def look(self, after_s: float = 0.0, quality: int = 0, **values: float) -> list[str]:
        """Advance, set tags (their dots written as two underscores), look; the states that alarms came into."""
        self.clock.advance_ns(round(after_s * S))
        self.values |= {name.replace("__", "."): value for name, value in values.items()}
        seen = samples(*(self.values[name] for name in self.names), quality=quality)
        for place, name in enumerate(self.names):
            seen.received_mono_ns[place] = self.received.get(name, self.clock.mono_ns())
        found = self.table.step(seen, self.clock.mono_ns(), self.clock.utc_ns())
        self.changes += found
        return [one.message.state for one in found]

    def act(self, alarm_id: str, happening: Happening, for_s: float = 1_800.0) -> list[str]:
        facts = self.table.book.found(alarm_id)
        assert facts is not None
        now, utc = self.clock.mono_ns(), self.clock.utc_ns()
        hides = happening in (Happening.SHELVE, Happening.SHELVE_ONCE, Happening.TAKE_OUT)
        hold = Hold("kim", "checked", utc + round(for_s * S), now + round(for_s * S)) if hides else None
        found = self.table.operate(facts, happening, "kim", now, utc, hold)
        self.changes += found
        return [one.message.state for one in found]

    def state(self, alarm_id: str) -> str:
        record = self.table.record(alarm_id)
        return "normal" if record is None else record.state.standing.word

    def message(self, alarm_id: str) -> AlarmChange:
        record = self.table.record(alarm_id)
        assert record is not None
        return self.table.change_of(record)


def test_a_message_says_what_an_operator_needs() -> None:
    plant = Plant(quick())
    plant.clock.advance_ns(5 * S)
    plant.received["grid.tie.import_w"] = plant.clock.mono_ns() - 3_000_000
    assert plant.look(grid__tie__import_w=250.0) == ["unack_active"]
    change = plant.message("tie_high")
    assert AlarmChange.decode(change.encode()) == change
    assert (change.value, change.unit, change.limit, change.priority) == (250.0, "W", 100.0, 2)
    assert (change.group, change.place_ko, change.place_en) == ("kepco", "한전 연계점", "KEPCO connection")
    assert (change.text_ko, change.response_en) == (TEXTS.text_ko, TEXTS.response_en)
    assert change.utc_ns - change.onset_utc_ns == 3_000_000
    assert change.first_out
    assert change.phase == "unack_active"
    assert change.hidden_by == ""


def test_acknowledging_and_returning() -> None:
    plant = Plant(quick())
    assert plant.look(grid__tie__import_w=200.0) == ["unack_active"]
    assert plant.act("tie_high", Happening.ACKNOWLEDGE) == ["ack_active"]
    assert plant.act("tie_high", Happening.ACKNOWLEDGE) == []
    assert plant.message("tie_high").acknowledged_by == "kim"
    assert plant.changes[-1].waited_s == 0.0
    assert plant.look(1.0, grid__tie__import_w=0.0) == ["normal"]
    assert plant.look(1.0, grid__tie__import_w=200.0) == ["unack_active"]
    assert plant.message("tie_high").acknowledged_by == ""
    assert plant.look(1.0, grid__tie__import_w=0.0) == ["unack_returned"]
    assert plant.act("tie_high", Happening.ACKNOWLEDGE) == ["normal"]


def test_a_latching_alarm_stays_until_it_is_reset() -> None:
    plant = Plant(quick(latching=True))
    plant.look(grid__tie__import_w=200.0)
    assert plant.look(1.0, grid__tie__import_w=0.0) == ["unack_returned"]
    assert plant.act("tie_high", Happening.RESET) == [], "acknowledge first"
    assert plant.act("tie_high", Happening.ACKNOWLEDGE) == ["latched"]
    assert plant.look(3_600.0) == []
    assert plant.act("tie_high", Happening.RESET) == ["normal"]
    assert plant.state("tie_high") == "normal"


def test_an_acknowledged_alarm_that_stays_is_told_again() -> None:
    plant = Plant(quick(re_alarm_s=600.0))
    plant.look(grid__tie__import_w=200.0)
    assert plant.look(3_600.0) == [], "nobody has acknowledged it: it is told already"
    plant.act("tie_high", Happening.ACKNOWLEDGE)
    plant.clock.step_utc_ns(-YEAR_NS)
    assert plant.look(599.0) == []
    assert plant.look(1.0) == ["unack_active"]
    assert plant.changes[-1].announced


@pytest.mark.parametrize("step_ns", [-YEAR_NS, -3_600 * S, 3_600 * S, YEAR_NS])
def test_a_step_of_the_wall_clock_moves_no_delay_no_shelf_and_no_order(step_ns: int) -> None:
    plant = Plant(alarm(), quick(id="other"))
    plant.look(grid__tie__import_w=200.0)
    plant.act("other", Happening.SHELVE, for_s=600.0)
    plant.clock.step_utc_ns(step_ns)
    assert plant.look(1.9) == []
    assert plant.look(0.1) == ["unack_active"]
    assert plant.look(597.9) == []
    assert plant.look(0.1) == ["unack_active"], "the shelf ends after its ten minutes"
    sequences = [one.message.sequence for one in plant.changes]
    assert sequences == sorted(set(sequences))


def test_a_wall_clock_that_begins_in_1970_stops_nothing() -> None:
    plant = Plant(quick(), events=[event_alarm()])
    plant.clock = VirtualClock(utc_ns=0)
    plant.received["grid.tie.import_w"] = plant.clock.mono_ns()
    plant.clock.step_utc_ns(-plant.clock.utc_ns())
    plant.table.event(heard(), plant.clock.mono_ns(), 0)
    assert plant.look(0.0, grid__tie__import_w=200.0) == ["unack_active", "unack_active"]
    assert plant.message("glass:mic03").onset_utc_ns == 0


# ---------------------------------------------------------------- hidden


def test_a_shelved_alarm_is_listed_with_why_and_comes_back_by_itself() -> None:
    plant = Plant(quick())
    assert plant.act("tie_high", Happening.SHELVE, for_s=600.0) == ["shelved"]
    assert plant.look(1.0, grid__tie__import_w=200.0) == ["shelved"]
    listed = plant.table.current()
    assert [(one.alarm_id, one.phase, one.hidden_by, one.hidden_author, one.why_ko) for one in listed] == [
        ("tie_high", "unack_active", "shelved", "kim", "checked")
    ]
    assert listed[0].hidden_until_utc_ns > plant.clock.utc_ns()
    assert plant.table.counts().active == 0
    assert plant.table.counts().shelved == 1
    assert plant.look(598.9) == []
    assert plant.look(0.1) == ["unack_active"], "told anew, for nobody was told"
    assert plant.message("tie_high").hidden_by == ""


def test_a_one_shot_shelf_ends_with_the_alarms_return() -> None:
    plant = Plant(quick())
    plant.look(grid__tie__import_w=200.0)
    assert plant.act("tie_high", Happening.SHELVE_ONCE) == ["shelved"]
    assert plant.look(1.0, grid__tie__import_w=0.0) == ["normal"]
    assert plant.look(1.0, grid__tie__import_w=200.0) == ["unack_active"]


def test_a_new_shelf_takes_the_place_of_the_old_one() -> None:
    plant = Plant(quick())
    plant.act("tie_high", Happening.SHELVE, for_s=600.0)
    assert plant.act("tie_high", Happening.SHELVE, for_s=1_200.0) == ["shelved"]
    plant.look(900.0, grid__tie__import_w=200.0)
    assert plant.state("tie_high") == "shelved"
    assert plant.look(300.0) == ["unack_active"]


def test_out_of_service_ends_by_itself_too_and_hides_more_than_a_shelf() -> None:
    plant = Plant(quick())
    plant.act("tie_high", Happening.SHELVE, for_s=600.0)
    assert plant.act("tie_high", Happening.TAKE_OUT, for_s=3_600.0) == ["out_of_service"]
    plant.look(1.0, grid__tie__import_w=200.0)
    assert plant.message("tie_high").hidden_by == "out_of_service,shelved"
    assert plant.look(600.0) == ["out_of_service"], "the shelf ended, the service did not"
    assert plant.look(3_000.0) == ["unack_active"]


def test_a_condition_suppresses_while_it_holds_and_hides_nothing_when_it_cannot_be_known() -> None:
    plant = Plant(quick(suppress_when="grid.breaker.closed < 0.5"))
    plant.look(grid__breaker__closed=0.0)
    assert plant.look(1.0, grid__tie__import_w=200.0) == ["suppressed"]
    assert plant.message("tie_high").hidden_by == "condition"
    assert "grid.breaker.closed < 0.5" in plant.message("tie_high").why_ko
    assert plant.look(1.0, grid__breaker__closed=1.0) == [], "what comes back to life gets a moment"
    assert plant.look(HOLD_NS / S) == ["unack_active"]
    plant.act("tie_high", Happening.ACKNOWLEDGE)
    assert plant.look(1.0, grid__breaker__closed=0.0) == ["suppressed"]
    assert plant.look(1.0, quality=STALE) == []
    assert plant.look(HOLD_NS / S, quality=STALE) == ["unack_active"]


def test_a_suppressed_alarm_that_returns_is_gone() -> None:
    plant = Plant(quick(suppress_when="grid.breaker.closed < 0.5"))
    plant.look(grid__breaker__closed=0.0)
    plant.look(grid__tie__import_w=200.0)
    assert plant.look(1.0, grid__tie__import_w=0.0) == ["normal"]
    assert plant.table.current() == []


def test_a_dead_feeder_suppresses_what_hangs_on_it_but_nothing_of_priority_1() -> None:
    plant = Plant(
        quick(id="open", tag="grid.breaker.closed", condition=Condition.EQUALS, limit=0.0, priority=1),
        link_lost(ESS), link_lost(PV, priority=1), link_lost("system.core.load", limit=-1.0),
    )  # fmt: skip
    plant.look()
    assert plant.look(1.0, grid__breaker__closed=0.0) == ["unack_active"]
    plant.look(1.0, jincheon__ess1__online=0.0, jincheon__pv1__online=0.0, system__core__load=-2.0)
    assert {one: plant.state(one) for one in ("open", f"lost:{ESS}", f"lost:{PV}", "lost:system.core.load")} == {
        "open": "unack_active", f"lost:{ESS}": "suppressed", f"lost:{PV}": "unack_active",
        "lost:system.core.load": "unack_active",
    }  # fmt: skip
    hidden = plant.message(f"lost:{ESS}")
    assert (hidden.hidden_by, hidden.why_ko, hidden.why_en) == (
        "topology", "연계 차단기: 급전되지 않음", "Tie breaker: not fed",
    )  # fmt: skip
    assert plant.table.suppression.dead == ["cb"]
    plant.look(1.0, grid__breaker__closed=1.0, jincheon__ess1__online=1.0)
    assert plant.look(HOLD_NS / S) == []
    assert plant.state(f"lost:{ESS}") == "normal", "it came back while it was hidden"


def test_an_alarm_that_stood_before_its_feeder_died_is_hidden_and_told_again() -> None:
    plant = Plant(link_lost(ESS))
    plant.look(jincheon__ess1__online=0.0)
    plant.act(f"lost:{ESS}", Happening.ACKNOWLEDGE)
    assert plant.look(1.0, grid__breaker__closed=0.0) == ["suppressed"]
    assert plant.look(1.0, grid__breaker__closed=1.0) == []
    plant.look(HOLD_NS / S)
    assert plant.state(f"lost:{ESS}") == "unack_active"


def test_a_dead_feeder_does_not_hide_what_is_heard_on_its_street() -> None:
    plant = Plant(events=[event_alarm()])
    plant.look(grid__breaker__closed=0.0)
    plant.table.event(heard(), plant.clock.mono_ns(), plant.clock.utc_ns())
    assert plant.look(1.0) == ["unack_active"]


def test_a_maintenance_tag_takes_alarms_out_of_service_but_none_of_priority_1() -> None:
    tagged: set[str] = set()
    plant = Plant(link_lost(ESS), link_lost(PV, priority=1), maintenance=lambda point: point in tagged)
    tagged.update((ESS, PV))
    plant.look(jincheon__ess1__online=0.0, jincheon__pv1__online=0.0)
    assert (plant.state(f"lost:{ESS}"), plant.state(f"lost:{PV}")) == ("out_of_service", "unack_active")
    assert plant.message(f"lost:{ESS}").hidden_by == "maintenance"
    assert plant.message(f"lost:{ESS}").why_en == "a maintenance tag hangs on it"
    tagged.clear()
    assert plant.look(MAINTENANCE_PERIOD_NS / S) == ["unack_active"]
    tagged.add(ESS)
    assert plant.look(MAINTENANCE_PERIOD_NS / S) == ["out_of_service"]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 11), st.sampled_from([0.0, 0.2, 1.0, 400.0, 2_000.0])), max_size=40))
def test_nothing_ever_hides_priority_1_but_a_person(happenings: list[tuple[int, float]]) -> None:
    """And every alarm that is active is listed, whatever happens in whatever order."""
    tagged: set[str] = set()
    when = "grid.tie.import_w > 50"
    plant = Plant(
        link_lost(ESS, priority=1), link_lost(PV, suppress_when=when, latching=True), link_lost(LAMP, re_alarm_s=300.0),
        maintenance=lambda point: point in tagged,
    )  # fmt: skip
    held: set[str] = set()
    for kind, after_s in happenings:
        tag = (ESS, PV, LAMP)[kind % 3]
        one = f"lost:{tag}"
        match kind // 3:
            case 0:
                plant.look(after_s, **{tag.replace(".", "__"): 1.0 - plant.values[tag]})
            case 1:
                plant.look(after_s, grid__breaker__closed=1.0 - plant.values["grid.breaker.closed"])
                tagged ^= {tag}
            case 2:
                plant.act(one, Happening.ACKNOWLEDGE)
                plant.act(one, Happening.RESET)
                plant.look(after_s, grid__tie__import_w=60.0 - plant.values["grid.tie.import_w"])
            case 3:
                plant.act(one, Happening.UNSHELVE if one in held else Happening.SHELVE, for_s=600.0)
                held ^= {one}
        urgent = plant.table.record(f"lost:{ESS}")
        if urgent is not None and urgent.state.standing.hidden:
            assert urgent.state.shelf is not None
        listed = {change.alarm_id: change for change in plant.table.current()}
        for tag in (ESS, PV, LAMP):
            if plant.values[tag] == 0.0 and kind // 3 != 3:
                assert f"lost:{tag}" in listed
        for change in listed.values():
            assert (change.hidden_by != "") == (change.state in ("shelved", "suppressed", "out_of_service"))
        sequences = [change.message.sequence for change in plant.changes]
        assert sequences == sorted(set(sequences))
    assert plant.table.pending == 0


# ---------------------------------------------------------------- first-out


def test_the_first_of_a_group_is_the_one_whose_sample_came_first() -> None:
    plant = Plant(link_lost(ESS), link_lost(PV), link_lost(LAMP), link_lost(ESS2))
    plant.look()
    now = plant.clock.mono_ns() + S
    plant.received |= {ESS: now - 10_000_000, PV: now - 30_000_000, LAMP: now - 20_000_000, ESS2: now}
    down = dict.fromkeys((one.replace(".", "__") for one in (ESS, PV, LAMP, ESS2)), 0.0)
    plant.look(1.0, **down)
    first = {one: plant.message(f"lost:{one}").first_out for one in (ESS, PV, LAMP, ESS2)}
    assert first == {ESS: False, PV: True, LAMP: False, ESS2: True}, "one per feeder"
    order = [one.facts.source for one in plant.changes]
    assert order == [PV, LAMP, ESS, ESS2], "told in the order in which they came"


def test_the_mark_moves_to_a_slower_alarm_that_began_earlier() -> None:
    plant = Plant(link_lost(ESS, on_delay_s=2.0), link_lost(PV))
    plant.look(jincheon__ess1__online=0.0)
    plant.look(1.0, jincheon__pv1__online=0.0)
    assert plant.message(f"lost:{PV}").first_out
    plant.look(1.0)
    assert plant.message(f"lost:{ESS}").first_out
    assert not plant.message(f"lost:{PV}").first_out
    assert [one.facts.source for one in plant.changes] == [PV, ESS, PV], "both are told"
    assert [one.announced for one in plant.changes] == [True, True, False], "but it is no new alarm"


def test_another_trouble_of_the_same_group_has_its_own_first() -> None:
    plant = Plant(link_lost(ESS), link_lost(PV))
    plant.look(jincheon__ess1__online=0.0)
    plant.look(61.0, jincheon__pv1__online=0.0)
    assert plant.message(f"lost:{PV}").first_out


# ---------------------------------------------------------------- events


def test_an_event_raises_one_alarm_for_a_burst_and_returns_by_itself() -> None:
    plant = Plant(events=[event_alarm()])
    table, clock = plant.table, plant.clock
    for _ in range(5):
        table.event(heard(), clock.mono_ns(), clock.utc_ns())
    assert plant.look() == ["unack_active"]
    change = plant.message("glass:mic03")
    assert (change.source, change.place_ko, change.group, change.value) == ("mic03", "상가 골목", "f1", 0.9)
    clock.advance_ns(50 * S)
    table.event(heard(), clock.mono_ns(), clock.utc_ns())
    assert plant.look(59.0) == [], "prolonged"
    assert plant.look(1.0) == ["unack_returned"]
    assert plant.act("glass:mic03", Happening.ACKNOWLEDGE) == ["normal"]
    assert table.record("glass:mic03") is None


def test_a_sound_after_the_acknowledgement_is_told_again() -> None:
    plant = Plant(events=[event_alarm()])
    plant.table.event(heard(), plant.clock.mono_ns(), plant.clock.utc_ns())
    plant.look()
    plant.act("glass:mic03", Happening.ACKNOWLEDGE)
    plant.clock.advance_ns(S)
    plant.table.event(heard(confidence=0.7), plant.clock.mono_ns(), plant.clock.utc_ns())
    assert plant.look() == ["unack_active"]
    assert plant.message("glass:mic03").value == 0.7


def test_events_that_are_no_alarm_raise_none() -> None:
    plant = Plant(events=[event_alarm()])
    plant.table.event(heard(confidence=0.4), 0, 0)
    plant.table.event(heard(class_name="dog"), 0, 0)
    assert plant.table.pending == 0


def test_sources_without_number_are_folded_into_one_alarm() -> None:
    plant = Plant(events=[event_alarm()])
    for index in range(3 * EVENT_ALARMS_MAX):
        plant.table.event(heard(f"node{index}"), plant.clock.mono_ns(), plant.clock.utc_ns())
    plant.look()
    assert len(plant.table.current()) == EVENT_ALARMS_MAX + 1
    assert plant.state("glass:many") == "unack_active"
    for change in plant.table.current():
        plant.act(change.alarm_id, Happening.ACKNOWLEDGE)
    plant.look(61.0)
    assert plant.table.current() == []
    assert plant.table.book.facts("glass:node5") is None, "nothing is kept of sources without an alarm"


def test_an_event_alarm_of_a_place_can_be_shelved_before_it_is_raised() -> None:
    plant = Plant(events=[event_alarm()])
    assert plant.table.book.found("glass:nowhere") is None
    assert plant.table.book.found("nothing:mic03") is None
    assert plant.act("glass:mic03", Happening.SHELVE) == ["shelved"]
    plant.table.event(heard(), plant.clock.mono_ns(), plant.clock.utc_ns())
    assert plant.look() == ["shelved"]


# ---------------------------------------------------------------- storms


def test_a_storm_is_worked_off_in_turns_urgent_ones_first() -> None:
    urgent = [quick(id=f"u{index}", priority=1) for index in range(3)]
    plant = Plant(*(quick(id=f"a{index}") for index in range(400)), *urgent)
    seen = samples(*([200.0] * len(plant.names)))
    plant.table.look(seen, S, S)
    assert plant.table.pending == 403
    first = plant.table.apply(100)
    assert len(first) == 100
    assert [one.facts.alarm_id for one in first[:3]] == ["u0", "u1", "u2"]
    plant.table.look(samples(*([0.0] * len(plant.names))), 2 * S, 2 * S)
    told = [*first, *itertools.chain.from_iterable(plant.table.apply(100) for _ in range(8))]
    assert plant.table.pending == 0
    assert len(told) == 806, "an alarm that came and went while it waited is told both times"
    assert sum(one.message.state == "unack_returned" for one in told) == 403


def test_the_queue_is_bounded_and_what_is_active_then_is_found_later() -> None:
    plant = Plant(*(quick(id=f"a{index}") for index in range(1_000)))
    low, high = samples(*([0.0] * len(plant.names))), samples(*([200.0] * len(plant.names)))
    for turn in range(200):
        plant.table.look(high if turn % 2 == 0 else low, turn * S, turn * S)
    assert plant.table.pending == QUEUE_MAX
    plant.table.apply(QUEUE_MAX)
    assert plant.table.current()[0].state == "unack_returned"
    plant.table.look(high, 300 * S, 300 * S)
    plant.table.apply(QUEUE_MAX)
    assert {one.state for one in plant.table.current()} == {"unack_active"}


# ---------------------------------------------------------------- surviving


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from([0.0, 1.0, 700.0])), max_size=25))
def test_whatever_happened_a_restart_finds_it_as_it_was(happenings: list[tuple[int, float]]) -> None:
    definitions = (link_lost(ESS), link_lost(PV, latching=True), link_lost(ESS2, priority=1))
    plant = Plant(*definitions, events=[event_alarm()])
    for kind, after_s in happenings:
        match kind:
            case 0 | 1 | 2:
                tag = (ESS, PV, ESS2)[kind]
                plant.look(after_s, **{tag.replace(".", "__"): 1.0 - plant.values[tag]})
            case 3:
                plant.table.event(heard(), plant.clock.mono_ns(), plant.clock.utc_ns())
                plant.look(after_s)
            case 4:
                for change in plant.table.current():
                    plant.act(change.alarm_id, Happening.ACKNOWLEDGE)
            case 5:
                plant.act(f"lost:{PV}", Happening.SHELVE_ONCE)
                plant.act(f"lost:{ESS}", Happening.TAKE_OUT, for_s=900.0)
    before = plant.table.current()
    kept = [plant.table.stored(one.alarm_id) for one in before]
    again = AlarmTable(definitions, [event_alarm()], TAGS, TOPOLOGY, PLACES)
    assert again.restore([one for one in kept if one is not None], plant.clock.mono_ns()) == []
    assert again.current() == before
    plant.table = again
    states = {one.alarm_id: one.state for one in before}
    plant.look()
    for one in again.current():
        assert states.get(one.alarm_id) == one.state, "nothing is told anew"


def test_alarms_that_the_site_no_longer_defines_are_given_back() -> None:
    plant = Plant(quick())
    plant.look(grid__tie__import_w=200.0)
    kept = plant.table.stored("tie_high")
    assert kept is not None
    assert AlarmTable([], [], TAGS).restore([kept], 1) == [kept]


def test_an_empty_table_looks_at_nothing() -> None:
    table = AlarmTable([], [], TAGS)
    assert table.step(samples(), 1, 1) == []
    assert table.counts().by_priority == (0, 0, 0, 0)
    assert math.isnan(Plant(quick(condition=Condition.STALE)).table.book.facts("tie_high").limit)  # type: ignore[union-attr]
