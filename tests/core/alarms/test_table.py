"""Alarms: every state against every happening, delays on a virtual clock, bad quality, persistence, the checker."""

import math
import os
import signal
import sqlite3
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gwanje.core.alarms.definitions import TEXT_KEYS, AlarmDefinition, Condition, EventAlarmDefinition, Texts
from gwanje.core.alarms.store import AlarmStore, AlarmStoreError
from gwanje.core.alarms.table import (
    EVENT_ALARMS_MAX,
    Acknowledged,
    AlarmState,
    AlarmTable,
    Happening,
    NotAcknowledged,
    Phase,
    after,
    parse_alarms,
    step,
)
from gwanje.core.clock import VirtualClock
from gwanje.core.messages import ALARM_STATES, AlarmChange, Event
from gwanje.core.quality import Quality
from gwanje.core.store import Snapshot
from gwanje.core.tags import Tag, TagTable

S = 1_000_000_000
GOOD, BAD = int(Quality.GOOD), int(Quality.BAD | Quality.COMM)
STALE = int(Quality.BAD | Quality.STALE)

TAGS = TagTable.build(
    [
        Tag("grid.tie.import_w", "W", "field", low=-3e6, high=3e6, stale_after_s=2),
        Tag("jincheon.ess1.soc", "", "field", low=0.0, high=1.0, stale_after_s=2),
        Tag("jincheon.ess1.online", "", "field", description_ko="ESS 1 통신", description_en="ESS 1 link"),
        Tag("eumseong.ess2.online", "", "field", description_ko="ESS 2 통신", description_en="ESS 2 link"),
    ]
)
TEXTS = Texts(*(f"{key}" for key in TEXT_KEYS))


def alarm(**changes: Any) -> AlarmDefinition:
    base = AlarmDefinition(
        "tie_high", "grid.tie.import_w", Condition.ABOVE, 100.0, 10.0, 2.0, 3.0, 2, 60.0, TEXTS
    )
    return replace(base, **changes)


def event_alarm(**changes: Any) -> EventAlarmDefinition:
    return replace(EventAlarmDefinition("glass", "acoustic", "glass_break", 0.5, 60.0, 2, 60.0, TEXTS), **changes)


def heard(source: str = "mic03", confidence: float = 0.9, class_name: str = "glass_break", utc_ns: int = 7) -> Event:
    return Event("acoustic", source, class_name, utc_ns, 7, "유리 깨짐", "glass break", confidence)


def samples(*values: float, quality: int = GOOD) -> Snapshot:
    k = len(values)
    return Snapshot(np.array(values), np.full(k, quality, np.uint16), np.zeros(k, np.int64), np.zeros(k, np.int64))


# ---------------------------------------------------------------- the state machine


TABLE = {
    (Phase.NORMAL, Happening.RAISE): Phase.UNACK_ACTIVE,
    (Phase.NORMAL, Happening.RETURN): Phase.NORMAL,
    (Phase.NORMAL, Happening.ACKNOWLEDGE): Phase.NORMAL,
    (Phase.UNACK_ACTIVE, Happening.RAISE): Phase.UNACK_ACTIVE,
    (Phase.UNACK_ACTIVE, Happening.RETURN): Phase.UNACK_RETURNED,
    (Phase.UNACK_ACTIVE, Happening.ACKNOWLEDGE): Phase.ACK_ACTIVE,
    (Phase.ACK_ACTIVE, Happening.RAISE): Phase.ACK_ACTIVE,
    (Phase.ACK_ACTIVE, Happening.RETURN): Phase.NORMAL,
    (Phase.ACK_ACTIVE, Happening.ACKNOWLEDGE): Phase.ACK_ACTIVE,
    (Phase.UNACK_RETURNED, Happening.RAISE): Phase.UNACK_ACTIVE,
    (Phase.UNACK_RETURNED, Happening.RETURN): Phase.UNACK_RETURNED,
    (Phase.UNACK_RETURNED, Happening.ACKNOWLEDGE): Phase.NORMAL,
}


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("happening", list(Happening))
def test_every_state_against_every_happening(phase: Phase, happening: Happening) -> None:
    assert after(phase, happening) is TABLE[phase, happening]


def test_phases_are_the_words_that_travel_on_the_bus() -> None:
    assert tuple(Phase) == ALARM_STATES


# ---------------------------------------------------------------- conditions, delays, deadband


class Watched:
    """One alarm on a virtual clock."""

    def __init__(self, definition: AlarmDefinition) -> None:
        self.definition = definition
        self.clock = VirtualClock()
        self.state = AlarmState()

    def look(self, value: float, quality: int = GOOD, after_s: float = 0.0) -> Phase:
        self.clock.advance_ns(round(after_s * S))
        self.state = step(self.definition, self.state, value, quality, self.clock.mono_ns(), self.clock.utc_ns())
        return self.state.phase


def test_on_delay_and_off_delay() -> None:
    one = Watched(alarm())
    assert one.look(101.0) == "normal"
    assert one.look(101.0, after_s=1.999) == "normal"
    assert one.look(101.0, after_s=0.001) == "unack_active"
    assert one.look(50.0) == "unack_active"
    assert one.look(50.0, after_s=2.999) == "unack_active"
    assert one.look(50.0, after_s=0.001) == "unack_returned"


def test_a_spike_shorter_than_the_delay_raises_nothing_and_starts_the_delay_anew() -> None:
    one = Watched(alarm())
    one.look(101.0)
    one.look(101.0, after_s=1.9)
    one.look(99.0, after_s=0.05)
    assert one.look(101.0, after_s=0.05) == "normal"
    assert one.look(101.0, after_s=1.9) == "normal"
    assert one.look(101.0, after_s=0.1) == "unack_active"


def test_deadband_keeps_a_value_on_the_limit_from_chattering() -> None:
    one = Watched(alarm(on_delay_s=0.0, off_delay_s=0.0))
    assert one.look(100.5) == "unack_active"
    for value in (99.0, 91.0, 90.5):
        assert one.look(value, after_s=1.0) == "unack_active", value
    assert one.look(90.0, after_s=1.0) == "unack_returned"
    assert one.look(99.0, after_s=1.0) == "unack_returned", "back under the limit is not over it"


@pytest.mark.parametrize(
    ("condition", "limit", "raises", "not_"),
    [
        (Condition.ABOVE, 100.0, 100.1, 100.0),
        (Condition.BELOW, 100.0, 99.9, 100.0),
        (Condition.EQUALS, 2.0, 2.0, 3.0),
    ],
)
def test_limit_conditions(condition: Condition, limit: float, raises: float, not_: float) -> None:
    definition = alarm(condition=condition, limit=limit, deadband=0.0, on_delay_s=0.0, off_delay_s=0.0)
    assert Watched(definition).look(raises) == "unack_active"
    assert Watched(definition).look(not_) == "normal"


@pytest.mark.parametrize("quality", [BAD, STALE, int(Quality.BAD | Quality.NEVER)])
def test_a_bad_value_never_raises_a_limit_alarm(quality: int) -> None:
    one = Watched(alarm(on_delay_s=0.0))
    assert one.look(1e9, quality, after_s=100.0) == "normal"
    one = Watched(alarm())
    one.look(101.0)
    one.look(101.0, quality, after_s=1.5)
    assert one.look(101.0, after_s=1.0) == "normal", "the delay begins anew with the first value to be believed"


def test_a_bad_value_does_not_return_an_alarm_either() -> None:
    one = Watched(alarm(on_delay_s=0.0, off_delay_s=0.0))
    one.look(200.0)
    assert one.look(0.0, BAD, after_s=100.0) == "unack_active"
    assert one.look(math.nan, GOOD, after_s=1.0) == "unack_active"
    assert one.look(0.0, after_s=1.0) == "unack_returned"


def test_simulated_and_uncertain_values_are_watched() -> None:
    definition = alarm(on_delay_s=0.0)
    assert Watched(definition).look(200.0, int(Quality.SIMULATED)) == "unack_active"
    assert Watched(definition).look(200.0, int(Quality.UNCERTAIN | Quality.CLAMPED)) == "unack_active"


def test_a_counter_that_rises() -> None:
    one = Watched(alarm(condition=Condition.RISES, limit=0.0, deadband=0.0, on_delay_s=0.0, off_delay_s=60.0))
    assert one.look(7.0) == "normal", "the first look only tells where the counter stands"
    assert one.look(7.0, after_s=0.2) == "normal"
    assert one.look(0.0, after_s=0.2) == "normal", "a restarted counter begins again"
    assert one.look(3.0, BAD, after_s=0.2) == "normal"
    assert one.look(1.0, after_s=0.2) == "unack_active"
    assert one.look(1.0, after_s=59.0) == "unack_active"
    assert one.look(2.0, after_s=1.0) == "unack_active", "it rose again: the off delay begins anew"
    assert one.look(2.0, after_s=1.0) == "unack_active"
    assert one.look(2.0, after_s=59.0) == "unack_active"
    assert one.look(2.0, after_s=1.0) == "unack_returned"
    assert one.look(3.0, after_s=0.2) == "unack_active"


def test_stale_and_bad_conditions() -> None:
    stale = alarm(condition=Condition.STALE, limit=math.nan, deadband=0.0, on_delay_s=0.0, off_delay_s=0.0)
    assert Watched(stale).look(1.0, STALE) == "unack_active"
    assert Watched(stale).look(math.nan, int(Quality.BAD | Quality.NEVER)) == "unack_active"
    assert Watched(stale).look(1.0, BAD) == "normal"
    bad = replace(stale, condition=Condition.BAD)
    assert Watched(bad).look(1.0, BAD) == "unack_active"
    assert Watched(bad).look(1.0, int(Quality.UNCERTAIN)) == "normal"


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_stepped_wall_clock_moves_no_delay(hours: int) -> None:
    one = Watched(alarm())
    one.look(101.0)
    one.clock.step_utc_ns(hours * 3600 * S)
    assert one.look(101.0, after_s=1.0) == "normal"
    assert one.look(101.0, after_s=1.0) == "unack_active"
    one.clock.step_utc_ns(-2 * hours * 3600 * S)
    one.look(0.0)
    assert one.look(0.0, after_s=2.9) == "unack_active"
    assert one.look(0.0, after_s=0.1) == "unack_returned"


def test_nothing_changed_is_the_same_object() -> None:
    state = AlarmState()
    assert step(alarm(), state, 0.0, GOOD, 1, 1) is state


LOOKS = st.lists(
    st.tuples(st.floats(-200, 200), st.sampled_from([GOOD, BAD, STALE]), st.floats(0, 5), st.booleans()), max_size=60
)


@settings(deadline=None)
@given(LOOKS)
def test_random_looks_keep_the_rules(looks: list[tuple[float, int, float, bool]]) -> None:
    one = Watched(alarm())
    over_since: float | None = None
    now = 0.0
    for value, quality, wait_s, acknowledge in looks:
        now += round(wait_s * S) / S
        before = one.state.phase
        one.look(value, quality, after_s=wait_s)
        over = quality == GOOD and value > 100.0
        over_since = (now if over_since is None else over_since) if over else None
        if before in ("normal", "unack_returned") and one.state.phase == "unack_active":
            assert over_since is not None
            assert now - over_since >= 2.0 - 1e-6
        if quality != GOOD:
            assert one.state.phase == before
        if acknowledge:
            one.state = replace(one.state, phase=after(one.state.phase, Happening.ACKNOWLEDGE))


# ---------------------------------------------------------------- the table


def table(*definitions: AlarmDefinition, events: tuple[EventAlarmDefinition, ...] = ()) -> AlarmTable:
    return AlarmTable(definitions, events, TAGS)


def test_a_change_carries_what_the_operator_needs() -> None:
    alarms = table(alarm(on_delay_s=0.0))
    changes = alarms.step(samples(123.0), 1, 1_000)
    assert len(changes) == 1
    change = changes[0]
    assert (change.alarm_id, change.state, change.priority, change.source) == (
        "tie_high", "unack_active", 2, "grid.tie.import_w",
    )  # fmt: skip
    assert (change.value, change.unit, change.limit) == (123.0, "W", 100.0)
    assert (change.utc_ns, change.changed_utc_ns) == (1_000, 1_000)
    assert AlarmChange.decode(change.encode()) == change
    assert alarms.step(samples(124.0), 2, 2_000) == []


def test_acknowledging() -> None:
    alarms = table(alarm(on_delay_s=0.0, off_delay_s=0.0))
    assert isinstance(alarms.acknowledge("tie_high", "kim", 1), NotAcknowledged)
    assert isinstance(alarms.acknowledge("no_such", "kim", 1), NotAcknowledged)
    alarms.step(samples(200.0), 1, 1)
    done = alarms.acknowledge("tie_high", "kim", 5)
    assert isinstance(done, Acknowledged)
    assert (done.change.state, done.change.utc_ns, done.change.changed_utc_ns) == ("ack_active", 1, 5)
    assert isinstance(alarms.acknowledge("tie_high", "lee", 6), NotAcknowledged)
    assert [one.state for one in alarms.step(samples(0.0), 2, 9)] == ["normal"]
    assert alarms.current() == []


def test_an_event_alarm_latches_until_acknowledged_and_returns_by_itself() -> None:
    alarms = table(events=(event_alarm(),))
    change = alarms.event(heard(), 0, 100)
    assert change is not None
    assert (change.alarm_id, change.state, change.source, change.utc_ns) == ("glass:mic03", "unack_active", "mic03", 7)
    assert alarms.event(heard(), 10 * S, 110) is None, "a burst at one node is one alarm"
    assert alarms.step(samples(), 69 * S, 169) == [], "the second sound prolonged it"
    assert [one.state for one in alarms.step(samples(), 70 * S, 170)] == ["unack_returned"]
    assert alarms.counts().unacknowledged == 1
    done = alarms.acknowledge("glass:mic03", "kim", 171)
    assert isinstance(done, Acknowledged)
    assert done.change.state == "normal"
    assert alarms.current() == []


def test_a_new_sound_after_the_acknowledgement_is_a_new_alarm() -> None:
    alarms = table(events=(event_alarm(),))
    alarms.event(heard(), 0, 100)
    alarms.acknowledge("glass:mic03", "kim", 101)
    change = alarms.event(heard(utc_ns=9), 1, 102)
    assert change is not None
    assert (change.state, change.utc_ns) == ("unack_active", 9)


def test_events_that_raise_nothing() -> None:
    alarms = table(events=(event_alarm(),))
    assert alarms.event(heard(confidence=0.49), 0, 1) is None
    assert alarms.event(heard(class_name="rain"), 0, 1) is None
    assert alarms.event(replace(heard(), kind="device"), 0, 1) is None
    assert alarms.current() == []


def test_a_flood_of_event_sources_is_folded_into_one_alarm_not_lost() -> None:
    alarms = table(events=(event_alarm(),))
    changes = [alarms.event(heard(source=f"mic{index}"), 0, 1) for index in range(EVENT_ALARMS_MAX + 50)]
    assert sum(one is not None for one in changes) == EVENT_ALARMS_MAX + 1
    assert any(one.alarm_id == "glass:many" for one in alarms.current())


def test_list_is_ordered_and_counted() -> None:
    alarms = table(
        alarm(id="low", priority=3, on_delay_s=0.0),
        alarm(id="urgent", priority=1, on_delay_s=0.0),
        alarm(id="acked", priority=1, on_delay_s=0.0),
        events=(event_alarm(),),
    )
    alarms.step(samples(200.0, 200.0, 200.0), 1, 1)
    alarms.acknowledge("acked", "kim", 2)
    alarms.event(heard(), 3, 3)
    assert [one.alarm_id for one in alarms.current()] == ["urgent", "glass:mic03", "low", "acked"]
    counts = alarms.counts()
    assert (counts.active, counts.unacknowledged, counts.by_priority) == (4, 3, (2, 1, 1, 0))


# ---------------------------------------------------------------- persistence


def keep(store: AlarmStore, alarms: AlarmTable, *alarm_ids: str) -> None:
    store.write({alarm_id: alarms.stored(alarm_id) for alarm_id in alarm_ids})


def test_alarms_survive_a_restart_as_they_were(tmp_path: Path) -> None:
    definitions = (alarm(on_delay_s=0.0, off_delay_s=0.0), alarm(id="second", on_delay_s=0.0, limit=1.0))
    alarms = table(*definitions, events=(event_alarm(),))
    store = AlarmStore(tmp_path / "state" / "alarms.sqlite")
    alarms.step(samples(200.0, 200.0), 1, 1)
    alarms.acknowledge("second", "kim", 2)
    alarms.event(heard(), 1, 3)
    keep(store, alarms, "tie_high", "second", "glass:mic03")
    store.close()
    again = table(*definitions, events=(event_alarm(),))
    reopened = AlarmStore(tmp_path / "state" / "alarms.sqlite")
    assert again.restore(reopened.load(), 500 * S) == []
    assert again.current() == alarms.current()
    assert again.step(samples(200.0, 200.0), 500 * S, 10) == []
    assert [one.state for one in again.step(samples(200.0, 200.0), 561 * S, 11)] == ["unack_returned"]
    again.step(samples(0.0, 200.0), 562 * S, 12)
    again.acknowledge("tie_high", "kim", 13)
    keep(reopened, again, "tie_high")
    assert {one.alarm_id for one in reopened.load()} == {"second", "glass:mic03"}
    reopened.close()


def test_an_alarm_whose_definition_is_gone_is_told_not_kept(tmp_path: Path) -> None:
    alarms = table(alarm(on_delay_s=0.0), events=(event_alarm(),))
    store = AlarmStore(tmp_path / "alarms.sqlite")
    alarms.step(samples(200.0), 1, 1)
    keep(store, alarms, "tie_high")
    other = table(alarm(id="other"))
    assert [one.alarm_id for one in other.restore(store.load(), 1)] == ["tie_high"]
    assert other.current() == []
    store.close()


def test_a_nan_value_survives(tmp_path: Path) -> None:
    alarms = table(alarm(condition=Condition.BAD, limit=math.nan, on_delay_s=0.0))
    store = AlarmStore(tmp_path / "alarms.sqlite")
    alarms.step(samples(math.nan, quality=BAD), 1, 1)
    keep(store, alarms, "tie_high")
    assert math.isnan(store.load()[0].value)
    store.close()


KEEPER = """
import os, signal, sys
from pathlib import Path
from gwanje.core.alarms.store import AlarmStore
from gwanje.core.alarms.table import StoredAlarm
store = AlarmStore(Path(sys.argv[1]))
for number in range(10_000):
    name = f"alarm{number}"
    store.write({name: StoredAlarm(name, name, "tag", "unack_active", 1.0, number, number, "", "")})
    print(number, flush=True)
"""


def test_kill_9_loses_no_alarm_that_was_kept(tmp_path: Path) -> None:
    path = tmp_path / "alarms.sqlite"
    child = subprocess.Popen([sys.executable, "-c", KEEPER, str(path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    promised = [int(child.stdout.readline()) for _ in range(20)]
    child.send_signal(signal.SIGKILL)
    child.wait(timeout=10)
    child.stdout.close()
    store = AlarmStore(path)
    assert store.set_aside == ""
    assert {f"alarm{number}" for number in promised} <= {one.alarm_id for one in store.load()}
    store.close()


def damaged_files() -> list[bytes]:
    return [b"this is no database, " * 100, b"SQLite format 3\x00" + os.urandom(8192)]


@pytest.mark.parametrize("content", damaged_files(), ids=["text", "torn"])
def test_a_damaged_file_is_set_aside_and_said(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "alarms.sqlite"
    path.write_bytes(content)
    store = AlarmStore(path)
    assert store.set_aside.startswith("alarms-damaged-1.sqlite: ")
    assert (tmp_path / "alarms-damaged-1.sqlite").read_bytes() == content
    assert store.load() == []
    store.close()
    path.write_bytes(content)
    for companion in tmp_path.glob("alarms.sqlite-*"):
        companion.unlink()
    store = AlarmStore(path)
    assert store.set_aside.startswith("alarms-damaged-2.sqlite")
    store.close()


def test_pages_overwritten_in_the_middle_are_found(tmp_path: Path) -> None:
    path = tmp_path / "alarms.sqlite"
    store = AlarmStore(path)
    alarms = table(*(alarm(id=f"a{index}", on_delay_s=0.0) for index in range(300)))
    alarms.step(samples(*[200.0] * 300), 1, 1)
    keep(store, alarms, *(f"a{index}" for index in range(300)))
    store.close()
    content = bytearray(path.read_bytes())
    content[8192:16384] = bytes(8192)
    path.write_bytes(content)
    store = AlarmStore(path)
    assert store.set_aside != ""
    store.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE alarm SET phase = 'sleeping'",
        "UPDATE alarm SET phase = 'normal'",
        "PRAGMA user_version = 9",
        "ALTER TABLE alarm RENAME COLUMN source TO origin",
    ],
)
def test_rows_that_are_not_ours_are_set_aside(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "alarms.sqlite"
    store = AlarmStore(path)
    alarms = table(alarm(on_delay_s=0.0))
    alarms.step(samples(200.0), 1, 1)
    keep(store, alarms, "tie_high")
    store.close()
    with sqlite3.connect(path) as connection:
        connection.execute(statement)
    connection.close()
    store = AlarmStore(path)
    assert store.set_aside != ""
    assert store.load() == []
    store.close()


def test_a_locked_file_is_an_error_not_damage(tmp_path: Path) -> None:
    path = tmp_path / "alarms.sqlite"
    store = AlarmStore(path)
    other = sqlite3.connect(path)
    other.execute("BEGIN EXCLUSIVE")
    alarms = table(alarm(on_delay_s=0.0))
    alarms.step(samples(200.0), 1, 1)
    with pytest.raises(AlarmStoreError, match=r"cannot be kept: .*locked"):
        keep(store, alarms, "tie_high")
    other.rollback()
    other.close()
    keep(store, alarms, "tie_high")
    assert len(store.load()) == 1
    store.close()


def test_no_place_for_the_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AlarmStoreError, match="alarm states cannot be kept"):
        AlarmStore(tmp_path / "file" / "alarms.sqlite")


# ---------------------------------------------------------------- the checker


WHOLE = {
    "id": "tie_high", "tag": "grid.tie.import_w", "condition": "above", "limit": 100.0, "priority": 2,
    "respond_within_s": 60, **dict.fromkeys(TEXT_KEYS, "글"),
}  # fmt: skip


def problems_of(*alarms: dict[str, Any], events: tuple[dict[str, Any], ...] = ()) -> list[tuple[Any, str]]:
    return parse_alarms({"alarm": list(alarms), "event_alarm": list(events)}, TAGS)[2]


def test_a_whole_definition_has_no_problem() -> None:
    assert problems_of(WHOLE) == []
    parsed = parse_alarms({"alarm": [WHOLE]}, TAGS)[0][0]
    assert (parsed.id, parsed.tag, parsed.condition, parsed.limit) == ("tie_high", "grid.tie.import_w", "above", 100.0)


@pytest.mark.parametrize("key", ["id", "tag", "condition", "limit", "priority", "respond_within_s", *TEXT_KEYS])
def test_each_missing_key_is_a_problem(key: str) -> None:
    found = problems_of({name: value for name, value in WHOLE.items() if name != key})
    assert found, key
    assert found[0][0][:2] == ("alarm", 0)


@pytest.mark.parametrize(
    ("changes", "key", "word"),
    [
        ({"tag": "grid.tie.nothing"}, "tag", "missing tag"),
        ({"tag": "*.nothing.*"}, "tag", "missing tag"),
        ({"tag": 3}, "tag", "text"),
        ({"condition": "over"}, "condition", "none of"),
        ({"condition": "stale"}, "limit", "has no limit"),
        ({"limit": "100"}, "limit", "finite number"),
        ({"limit": float("nan")}, "limit", "finite number"),
        ({"limit": True}, "limit", "finite number"),
        ({"limit": 9e9}, "limit", "never be crossed"),
        ({"deadband": -1}, "deadband", "out of range"),
        ({"on_delay_s": 1e9}, "on_delay_s", "out of range"),
        ({"priority": 0}, "priority", "priority must be"),
        ({"priority": "1"}, "priority", "priority must be"),
        ({"cause_ko": "  "}, "cause_ko", "not empty"),
        ({"response_en": ""}, "response_en", "not empty"),
        ({"colour": "red"}, "colour", "unknown key"),
        ({"id": "a:b"}, "id", "colon"),
    ],
)
def test_each_wrong_value_is_a_problem_with_its_key(changes: dict[str, Any], key: str, word: str) -> None:
    found = problems_of({**WHOLE, **changes})
    assert (("alarm", 0, key), True) in [(path, word in reason) for path, reason in found], found


def test_all_problems_are_told_at_once() -> None:
    found = problems_of({"id": "a"}, {**WHOLE, "priority": 7, "limit": "x"}, WHOLE)
    assert len(found) >= len(TEXT_KEYS) + 3
    assert (("alarm", 2, "id"), "id 'tie_high' is used already") in found


def test_what_is_no_array_of_tables_is_a_problem() -> None:
    assert parse_alarms({"alarm": 3, "other": 1}, TAGS)[2] == [
        (("other",), "unknown key"),
        (("alarm",), "must be an array of tables, written [[alarm]]"),
    ]


def test_a_pattern_makes_one_alarm_per_tag_with_its_words() -> None:
    definition = {**WHOLE, "tag": "*.*.online", "condition": "below", "limit": 0.5}
    definition |= {"text_ko": "{ko} 끊김", "text_en": "{tag}"}
    alarms, _, found = parse_alarms({"alarm": [definition]}, TAGS)
    assert found == []
    assert [one.id for one in alarms] == ["tie_high:eumseong.ess2.online", "tie_high:jincheon.ess1.online"]
    assert [one.texts.text_ko for one in alarms] == ["ESS 2 통신 끊김", "ESS 1 통신 끊김"]
    assert alarms[0].texts.text_en == "eumseong.ess2.online"


def test_a_stale_alarm_on_a_tag_that_never_turns_stale_is_a_problem() -> None:
    definition = {key: value for key, value in WHOLE.items() if key != "limit"}
    found = problems_of({**definition, "condition": "stale", "tag": "jincheon.ess1.online"})
    assert found == [(("alarm", 0, "condition"), "tag 'jincheon.ess1.online' never turns stale")]


def test_too_many_urgent_alarms_are_a_problem() -> None:
    def many(n: int, urgent: int) -> list[dict[str, Any]]:
        return [{**WHOLE, "id": f"a{index}", "priority": 1 if index < urgent else 3} for index in range(n)]

    assert problems_of(*many(20, 5)) == [], "a small set may"
    assert problems_of(*many(40, 2)) == []
    found = problems_of(*many(40, 3))
    assert found[0][0] == ("alarm",)
    assert "at most 5 %" in found[0][1]


EVENT = {"id": "glass", "kind": "acoustic", "class": "glass_break", "priority": 2, "respond_within_s": 60,
         **dict.fromkeys(TEXT_KEYS, "글 {source}")}  # fmt: skip


def test_event_alarm_definitions() -> None:
    _, events, found = parse_alarms({"event_alarm": [EVENT]}, TAGS)
    assert found == []
    alarms = AlarmTable((), events, TAGS)
    change = alarms.event(heard(), 0, 1)
    assert change is not None
    assert change.text_ko == "글 mic03"
    bad = problems_of(events=({**EVENT, "min_confidence": 2.0}, {**EVENT, "id": "glass2"}, {"id": "x"}))
    assert (("event_alarm", 0, "min_confidence"), "min_confidence 2 is out of range 0 … 1") in bad
    assert (("event_alarm", 1, "class"), "acoustic glass_break has an alarm already") in bad


SITE = Path(__file__).resolve().parents[3] / "configs" / "chungbuk" / "alarms.toml"


def test_the_citys_own_file_is_toml_with_korean_and_english_that_differ() -> None:
    content = tomllib.loads(SITE.read_text(encoding="utf-8"))
    assert len(content["alarm"]) >= 12
    assert {one["class"] for one in content["event_alarm"]} >= {"glass_break", "scream", "gunshot", "explosion"}
    for one in (*content["alarm"], *content["event_alarm"]):
        for key in ("text", "cause", "consequence", "response"):
            ko, en = one[f"{key}_ko"], one[f"{key}_en"]
            assert any("가" <= letter <= "힣" for letter in ko), (one["id"], key)
            assert en.isascii(), (one["id"], key)
