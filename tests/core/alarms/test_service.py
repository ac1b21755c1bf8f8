"""The service: who may do what, what is journalled, kept and found again; storms; a disk that fails."""

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from alarms.made import (
    PLACES,
    TAGS,
    TOPOLOGY,
    FakeAuthority,
    FakeDesk,
    S,
    event_alarm,
    heard,
    link_lost,
    quick,
)

from gwanje.core.alarms import service
from gwanje.core.alarms.flood import ROWS_MAX
from gwanje.core.alarms.operations import LIST_MAX
from gwanje.core.alarms.service import CHANGES_PER_TURN, REOPEN_NS, SAVE_NS, KeptAlarms
from gwanje.core.alarms.store import AlarmStore, AlarmStoreError
from gwanje.core.alarms.table import AlarmTable
from gwanje.core.bus.messages import AlarmChange
from gwanje.core.clock import VirtualClock
from gwanje.core.tags.store import Snapshot
from gwanje.core.tags.table import Tag, TagTable

ESS, PV, LAMP = "jincheon.ess1.online", "jincheon.pv1.online", "jincheon.lamp1.online"
DEFINITIONS = (
    quick(id="tie_high", latching=True),
    link_lost(ESS), link_lost(PV), link_lost(LAMP, priority=3),
    quick(id="open", tag="grid.breaker.closed", limit=-0.5, condition="below", priority=1),
    quick(id="load", tag="system.core.load", limit=0.5),
)  # fmt: skip
YEAR_NS = 365 * 86_400 * S


class Desk:
    """A core's alarms with a file, on a virtual clock; can be restarted."""

    def __init__(self, folder: Path, definitions: Sequence[Any] = DEFINITIONS, tags: TagTable = TAGS) -> None:
        self.folder, self.definitions, self.tags = folder, definitions, tags
        self.clock = VirtualClock()
        self.journal = FakeDesk()
        self.authority = FakeAuthority()
        self.authority.holders = {"jincheon": "kim"}
        self.published: list[AlarmChange] = []
        self.values = dict.fromkeys(tags.ids, 0.0)
        self.values |= dict.fromkeys((ESS, PV, LAMP, "grid.breaker.closed"), 1.0)
        self.boot = "boot 1"
        self.begin()

    def begin(self, journal_opens: bool = True) -> None:
        table = AlarmTable(self.definitions, [event_alarm()], self.tags, TOPOLOGY, PLACES)
        self.names = [self.tags.by_id(int(one)).name for one in table.tag_ids]
        self.alarms = KeptAlarms(
            table, self.folder / "alarms.sqlite", self.clock, self.published.append, self.journal, self.authority,
            self.boot, len(self.journal.entries) if journal_opens else None,
        )  # fmt: skip

    def look(self, after_s: float = 0.0, **values: float) -> None:
        self.clock.advance_ns(round(after_s * S))
        self.values |= {name.replace("__", "."): value for name, value in values.items()}
        column = np.array([self.values[name] for name in self.names])
        n, now = len(column), self.clock.mono_ns()
        self.alarms.step(Snapshot(column, np.zeros(n, np.uint16), np.zeros(n, np.int64), np.full(n, now, np.int64)))
        while self.alarms.pending:
            self.alarms.work()

    def ask(self, op: str, who: str = "kim:operator", **more: Any) -> dict[str, Any]:
        answer = self.alarms.handle({"op": op, "session": who, **more})
        while self.alarms.pending:
            self.alarms.work()
        return answer

    def state(self, alarm_id: str) -> str:
        found = {one["alarm_id"]: one["state"] for one in self.ask("list")["alarms"]}
        return str(found.get(alarm_id, "normal"))


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


# ---------------------------------------------------------------- who may do what

ONE = {"alarm_id": f"lost:{ESS}"}
SHELVE = {**ONE, "reason": "meter is being changed"}
URGENT = {"alarm_id": "open", "reason": "relay test"}


@pytest.mark.parametrize(
    ("op", "who", "message", "code"),
    [
        ("ack", "", ONE, "not_signed_in"),
        ("ack", "kim:viewer", ONE, "role_not_allowed"),
        ("ack", "control:program", ONE, "role_not_allowed"),
        ("ack", "kim:operator", {}, "malformed"),
        ("ack", "kim:operator", {"alarm_id": 5}, "malformed"),
        ("ack", "kim:operator", {"alarm_id": "x" * 1_000}, "malformed"),
        ("ack", "kim:operator", {"alarm_id": "nothing"}, "unknown_alarm"),
        ("ack", "kim:operator", {"alarm_id": "glass:nowhere"}, "unknown_alarm"),
        ("ack", "kim:operator", {"alarm_id": "tie_high"}, "alarm_state"),
        ("ack", "kim:operator", {**ONE, "seen_sequence": "1"}, "malformed"),
        ("ack_group", "kim:viewer", {"group": "f1"}, "role_not_allowed"),
        ("ack_group", "kim:operator", {"group": "f1"}, "unknown_alarm"),
        ("reset", "kim:viewer", ONE, "role_not_allowed"),
        ("reset", "lee:operator", ONE, "area_not_held"),
        ("reset", "kim:operator", ONE, "alarm_state"),
        ("shelve", "kim:viewer", SHELVE, "role_not_allowed"),
        ("shelve", "lee:operator", SHELVE, "area_not_held"),
        ("shelve", "kim:operator", ONE, "malformed"),
        ("shelve", "kim:operator", {**ONE, "reason": "  "}, "malformed"),
        ("shelve", "kim:operator", {**SHELVE, "for_s": 599}, "malformed"),
        ("shelve", "kim:operator", {**SHELVE, "for_s": 28_801}, "malformed"),
        ("shelve", "kim:operator", {**SHELVE, "for_s": float("nan")}, "not_finite"),
        ("shelve", "kim:operator", {**SHELVE, "one_shot": 1}, "malformed"),
        ("shelve", "kim:operator", URGENT, "role_not_allowed"),
        ("unshelve", "kim:operator", SHELVE, "alarm_state"),
        ("out_of_service", "kim:operator", SHELVE, "role_not_allowed"),
        ("out_of_service", "kim:supervisor", {**SHELVE, "for_s": 604_801}, "malformed"),
        ("out_of_service", "lee:supervisor", SHELVE, "area_not_held"),
        ("return_to_service", "kim:operator", SHELVE, "role_not_allowed"),
        ("return_to_service", "kim:supervisor", SHELVE, "alarm_state"),
        ("list", "", {"offset": -1}, "malformed"),
        ("dance", "kim:admin", {}, "malformed"),
    ],
)
def test_what_may_not_be_done_is_refused_and_changes_nothing(
    desk: Desk, op: str, who: str, message: dict[str, Any], code: str
) -> None:
    desk.look(jincheon__ess1__online=0.0)
    before = desk.ask("list")
    answer = desk.ask(op, who, **message)
    assert answer["outcome"] == "refused"
    assert answer["code"] == code
    assert answer["text_ko"]
    assert answer["text_en"]
    assert desk.ask("list") == before
    assert desk.journal.kinds() == ["alarm_changed"]


@pytest.mark.parametrize(
    ("op", "who", "message", "state", "kind"),
    [
        ("ack", "lee:operator", ONE, "ack_active", "alarm_acknowledged"),
        ("ack", "kim:engineer", ONE, "ack_active", "alarm_acknowledged"),
        ("shelve", "kim:operator", SHELVE, "shelved", "alarm_shelved"),
        ("shelve", "kim:operator", {**SHELVE, "one_shot": True, "for_s": 600}, "shelved", "alarm_shelved"),
        ("shelve", "kim:supervisor", URGENT, "shelved", "alarm_shelved"),
        ("shelve", "lee:operator", {"alarm_id": "load", "reason": "benches run"}, "shelved", "alarm_shelved"),
        ("out_of_service", "kim:supervisor", SHELVE, "out_of_service", "alarm_out_of_service"),
    ],
)
def test_what_may_be_done_is_journalled_with_its_author(
    desk: Desk, op: str, who: str, message: dict[str, Any], state: str, kind: str
) -> None:
    desk.look(jincheon__ess1__online=0.0)
    answer = desk.ask(op, who, **message)
    assert answer["outcome"] == "done"
    assert answer["alarm"]["state"] == state
    assert AlarmChange(**answer["alarm"]) == desk.published[-1]
    found, data = desk.journal.entries[-1]
    assert found == kind
    assert data["author"] == who.partition(":")[0]
    assert data["alarm_id"] == message["alarm_id"]
    assert data.get("reason", "") == message.get("reason", "")


def test_a_shelf_is_listed_with_its_countdown_and_ended_by_hand(desk: Desk) -> None:
    desk.ask("shelve", **SHELVE, for_s=1_200)
    desk.ask("out_of_service", "kim:supervisor", alarm_id="tie_high", reason="new relay")
    desk.look(200.0)
    first, second = desk.ask("shelved")["shelved"]
    assert (first["alarm_id"], first["kind"], first["author"], first["left_s"], first["one_shot"]) == (
        f"lost:{ESS}", "shelved", "kim", 1_000.0, False,
    )  # fmt: skip
    assert first["reason"] == "meter is being changed"
    assert (second["kind"], second["left_s"]) == ("out_of_service", 28_600.0)
    assert desk.ask("unshelve", alarm_id=f"lost:{ESS}", reason="done")["outcome"] == "done"
    assert desk.ask("return_to_service", "kim:supervisor", alarm_id="tie_high", reason="done")["outcome"] == "done"
    assert desk.ask("shelved")["shelved"] == []
    kinds = ["alarm_shelved", "alarm_out_of_service", "alarm_unshelved", "alarm_back_in_service"]
    assert desk.journal.kinds() == kinds


def test_an_alarm_that_changed_since_it_was_seen_is_not_acknowledged(desk: Desk) -> None:
    desk.look(jincheon__ess1__online=0.0)
    seen = desk.published[-1].sequence
    desk.look(1.0, jincheon__ess1__online=1.0)
    answer = desk.ask("ack", **ONE, seen_sequence=seen)
    assert answer["code"] == "stale_view"
    assert desk.ask("ack", **ONE, seen_sequence=desk.published[-1].sequence)["outcome"] == "done"


def test_a_latched_alarm_is_reset_by_hand(desk: Desk) -> None:
    desk.look(grid__tie__import_w=200.0)
    desk.look(1.0, grid__tie__import_w=0.0)
    assert "acknowledged first" in desk.ask("reset", alarm_id="tie_high")["text_en"]
    desk.ask("ack", alarm_id="tie_high")
    assert desk.state("tie_high") == "latched"
    assert desk.ask("reset", alarm_id="tie_high")["alarm"]["state"] == "normal"
    assert desk.journal.kinds()[-1] == "alarm_reset"


def test_nothing_is_hidden_that_the_journal_does_not_tell_but_acknowledging_goes_on(desk: Desk) -> None:
    desk.look(jincheon__ess1__online=0.0)
    desk.journal.broken = True
    assert desk.ask("shelve", **SHELVE)["code"] == "journal_unwritable"
    assert desk.state(f"lost:{ESS}") == "unack_active"
    assert desk.ask("ack", **ONE)["outcome"] == "done"


# ---------------------------------------------------------------- storms


def storm_tags(n: int) -> TagTable:
    return TagTable.build([*TAGS, *(Tag(f"jincheon.dev{index}.online", "", "field") for index in range(n))])


def storm(folder: Path, n: int, urgent: int) -> Desk:
    tags = storm_tags(n)
    definitions = [
        link_lost(f"jincheon.dev{index}.online", priority=1 if index < urgent else 2 + index % 3,
                  node=("ess1", "pv1", "lamp1", "ess2")[index % 4])
        for index in range(n)
    ]  # fmt: skip
    desk = Desk(folder, definitions, tags)
    desk.values |= {f"jincheon.dev{index}.online": 1.0 for index in range(n)}
    desk.look()
    return desk


@pytest.mark.parametrize("urgent", [0, 9, 12, 250])
def test_a_storm_of_5000_presents_at_most_10_hides_no_urgent_one_and_journals_all(tmp_path: Path, urgent: int) -> None:
    desk = storm(tmp_path, 5_000, urgent)
    for start in range(0, 5_000, 100):
        desk.look(0.2, **{f"jincheon__dev{index}__online": 0.0 for index in range(start, start + 100)})
    shown = desk.ask("presented")
    assert shown["flood"]
    assert len(shown["presented"]) <= ROWS_MAX
    assert shown["n_presented"] == 5_000
    named = {row["alarm"]["alarm_id"] for row in shown["presented"] if row["kind"] == "alarm"}
    groups = [row["group"] for row in shown["presented"] if row["kind"] == "group"]
    named |= {one["alarm_id"] for group in groups for one in group["urgent"]}
    wanted = {f"lost:jincheon.dev{index}.online" for index in range(urgent)}
    assert wanted <= named, "every alarm of priority 1 is named"
    alone = sum(row["kind"] == "alarm" for row in shown["presented"])
    assert sum(group["n"] for group in groups) + alone == 5_000
    assert sum(group["by_priority"][0] for group in groups) + sum(
        row["kind"] == "alarm" and row["alarm"]["priority"] == 1 for row in shown["presented"]
    ) == urgent
    assert shown["banner_ko"].startswith("홍수 5000건 · 원인 후보 ")
    told = {data["alarm_id"] for kind, data in desk.journal.entries if kind == "alarm_changed"}
    assert len(told) == 5_000
    assert len(desk.published) == 5_000
    n_listed, pages = 0, 0
    while (page := desk.ask("list", offset=n_listed)["alarms"]) and pages < 100:
        assert len(page) <= LIST_MAX
        n_listed, pages = n_listed + len(page), pages + 1
    assert n_listed == 5_000, "the full list stays"


def test_one_turn_of_a_storm_is_bounded(tmp_path: Path) -> None:
    desk = storm(tmp_path, 500, 0)
    desk.values |= {f"jincheon.dev{index}.online": 0.0 for index in range(500)}
    column = np.array([desk.values[name] for name in desk.names])
    n = len(column)
    desk.alarms.step(Snapshot(column, np.zeros(n, np.uint16), np.zeros(n, np.int64), np.zeros(n, np.int64)))
    assert len(desk.published) == CHANGES_PER_TURN
    assert desk.alarms.work()
    assert len(desk.published) == 2 * CHANGES_PER_TURN
    assert desk.alarms.pending == 500 - 2 * CHANGES_PER_TURN


def test_a_group_sounds_once_and_is_acknowledged_as_it_was_seen_without_its_urgent_ones(tmp_path: Path) -> None:
    desk = storm(tmp_path, 400, 40)
    desk.look(1.0, **{f"jincheon__dev{index}__online": 0.0 for index in range(200)})
    shown = desk.ask("presented")
    rows = {row["group"]["id"]: row for row in shown["presented"] if row["kind"] == "group"}
    desk.look(1.0, **{f"jincheon__dev{index}__online": 0.0 for index in range(200, 400)})
    later = {row["group"]["id"]: row for row in desk.ask("presented")["presented"] if row["kind"] == "group"}
    assert {key: rows[key]["sound"] for key in rows} == {key: later[key]["sound"] for key in rows}
    name, row = next((key, one) for key, one in rows.items() if one["group"]["priority"] > 1)
    seen = row["group"]["sequence"]
    answer = desk.ask("ack_group", group=name, seen_sequence=seen)
    assert answer["n"] == row["group"]["n"], "those that came since were not seen"
    assert answer["left"] == later[name]["group"]["n"] - answer["n"]
    urgent = next(key for key in later if later[key]["group"]["priority"] == 1)
    assert desk.ask("ack_group", group=urgent)["n"] == 0, "urgent alarms are acknowledged one by one"
    authors = [data["author"] for kind, data in desk.journal.entries if kind == "alarm_acknowledged"]
    assert authors == ["kim"] * answer["n"]


# ---------------------------------------------------------------- surviving


@pytest.mark.parametrize(
    ("boot", "step_ns"), [("boot 1", 0), ("boot 1", -YEAR_NS), ("boot 2", 0), ("boot 2", 3_600 * S)]
)
def test_alarm_and_shelf_are_found_as_they_were(desk: Desk, boot: str, step_ns: int) -> None:
    desk.look(jincheon__ess1__online=0.0, jincheon__pv1__online=0.0)
    desk.look(1.0, grid__tie__import_w=200.0)
    desk.ask("shelve", **SHELVE, for_s=1_200)
    desk.ask("out_of_service", "kim:supervisor", alarm_id="load", reason="new part")
    desk.ask("ack", alarm_id=f"lost:{PV}")
    before, shelved = desk.ask("list"), desk.ask("shelved")
    desk.boot = boot  # no close: it was killed
    desk.clock.step_utc_ns(step_ns)
    desk.begin()
    after = desk.ask("list")
    assert after["alarms"] == before["alarms"]
    for was, found in zip(shelved["shelved"], desk.ask("shelved")["shelved"], strict=True):
        assert replace_left(was) == replace_left(found)
        assert found["left_s"] <= was["left_s"]
        if boot == "boot 1":
            assert found["left_s"] == was["left_s"]
    n = len(desk.published)
    desk.look(1.0)
    late = boot == "boot 2" and step_ns > 0
    assert (len(desk.published) == n) != late, "the shelf's hour is over by the wall clock of the new boot"
    sequences = [one.sequence for one in desk.published]
    assert sequences == sorted(set(sequences))


def replace_left(one: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in one.items() if key != "left_s"}


def test_key_figures_and_flood_survive(tmp_path: Path) -> None:
    desk = storm(tmp_path, 40, 0)
    desk.look(1.0, **{f"jincheon__dev{index}__online": 0.0 for index in range(40)})
    desk.look(30.0)
    desk.ask("ack", alarm_id="lost:jincheon.dev3.online")
    desk.look(SAVE_NS / S)
    before = desk.ask("kpis")
    desk.begin()
    after = desk.ask("kpis")
    assert after["flood"]
    for key in ("rate_per_10_min", "raised_24_h", "top", "ack_mean_s", "acknowledged", "priority_share_pct", "rates"):
        assert after[key] == before[key], key
    assert after["rate_per_10_min"] == 40
    assert after["ack_mean_s"] == 30.0
    desk.look(600.0)
    assert not desk.ask("kpis")["flood"]


def test_spoilt_key_figures_are_counted_anew_and_that_is_said(desk: Desk) -> None:
    desk.look(jincheon__ess1__online=0.0)
    desk.look(SAVE_NS / S)
    desk.alarms.close()
    with sqlite3.connect(desk.folder / "alarms.sqlite") as connection:
        connection.execute("UPDATE meta SET value = '{\"bins\": 3}' WHERE key = 'kpis'")
    connection.close()
    desk.begin()
    assert desk.journal.kinds()[-1] == "alarm_store_set_aside"
    assert desk.ask("kpis")["raised_24_h"] == 0
    assert desk.state(f"lost:{ESS}") == "unack_active"


@pytest.mark.parametrize("file_lost", [False, True])
def test_sequences_go_on_when_the_journal_cannot_be_opened_at_start(desk: Desk, file_lost: bool) -> None:
    desk.look(after_s=11)  # the figures are kept
    for _ in range(2):  # what happens now is not in them when it is killed
        desk.look(after_s=1, system__core__load=1.0)
        assert desk.ask("ack", alarm_id="load")["outcome"] == "done"
        desk.look(after_s=1, system__core__load=0.0)
    assert desk.state("load") == "normal"
    last = desk.published[-1].sequence
    if file_lost:
        (desk.folder / "alarms.sqlite").unlink()
    desk.begin(journal_opens=False)
    if file_lost:  # nobody knows a number before the journal is there
        desk.alarms.number_from(len(desk.journal.entries))
    desk.published.clear()
    desk.look(after_s=1, system__core__load=1.0)
    assert desk.published[0].sequence > last


def test_sequences_go_on_when_the_file_is_lost(desk: Desk) -> None:
    desk.look(jincheon__ess1__online=0.0)
    last = desk.published[-1].sequence
    (desk.folder / "alarms.sqlite").write_bytes(b"no database at all " * 200)
    for suffix in ("-wal", "-shm"):
        (desk.folder / f"alarms.sqlite{suffix}").unlink(missing_ok=True)
    desk.begin()
    desk.look(1.0)
    assert desk.published[-1].sequence > last


class Unreadable(AlarmStore):
    """A file that opens but cannot be read, as long as ``broken``."""

    broken = True

    def load(self) -> Any:
        if Unreadable.broken:
            raise AlarmStoreError("alarm states cannot be read: disk I/O error")
        return super().load()


def test_alarms_that_could_not_be_read_at_first_are_taken_up_later(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.alarms.event(heard())
    desk.look()
    monkeypatch.setattr(service, "AlarmStore", Unreadable)
    Unreadable.broken = True
    desk.begin()
    assert not desk.alarms.kept
    assert "cannot be read" in desk.alarms.trouble
    assert desk.alarms.counts().active == 0
    Unreadable.broken = False
    desk.look(REOPEN_NS / S)
    assert desk.alarms.kept
    assert desk.alarms.trouble == ""
    assert desk.alarms.counts().active == 1


def test_a_locked_file_is_said_asked_rarely_and_written_when_it_is_free(desk: Desk) -> None:
    other = sqlite3.connect(desk.folder / "alarms.sqlite")
    other.execute("BEGIN EXCLUSIVE")
    desk.look(jincheon__ess1__online=0.0)
    assert "locked" in desk.alarms.trouble
    assert not desk.alarms.kept
    assert desk.state(f"lost:{ESS}") == "unack_active", "alarms go on without their file"
    other.rollback()
    other.close()
    desk.look(1.0, jincheon__pv1__online=0.0)
    assert not desk.alarms.kept, "not asked again yet: each asking may hold commands up"
    desk.look(REOPEN_NS / S)
    assert desk.alarms.kept
    desk.begin()
    assert {one["alarm_id"] for one in desk.ask("list")["alarms"]} == {f"lost:{ESS}", f"lost:{PV}"}


def test_an_alarm_that_is_no_longer_defined_is_told_and_forgotten(desk: Desk) -> None:
    desk.look(jincheon__ess1__online=0.0)
    desk.definitions = (quick(),)
    desk.begin()
    assert desk.ask("list")["alarms"] == []
    kind, data = desk.journal.entries[-1]
    assert kind == "alarm_changed"
    assert data["reason"] == "no longer defined"


def test_status_tags_say_what_stands(desk: Desk) -> None:
    desk.look(jincheon__ess1__online=0.0, jincheon__pv1__online=0.0, jincheon__lamp1__online=0.0)
    desk.ask("shelve", **SHELVE)
    desk.look(10.0)
    desk.ask("ack", alarm_id=f"lost:{PV}")
    found = desk.alarms.status()
    assert found["system.alarms.active"] == 2
    assert found["system.alarms.unacknowledged"] == 1
    assert found["system.alarms.shelved"] == 1
    assert found["system.alarms.p3"] == 1
    assert found["system.alarms.rate"] == 3
    assert found["system.alarms.ack_mean_s"] == 10.0
    assert found["system.alarms.store_ok"]


def test_late_joiners_are_told_all(desk: Desk) -> None:
    desk.look(jincheon__ess1__online=0.0)
    desk.ask("shelve", alarm_id=f"lost:{PV}", reason="x")
    desk.published.clear()
    desk.alarms.publish_all()
    assert {one.state for one in desk.published} == {"unack_active", "shelved"}
    assert replace(desk.published[0], sequence=0) != desk.published[0]
