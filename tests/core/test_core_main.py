"""The core part as it runs: services on the bus, alarms from the store, leases through kill -9, a disk that fails."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gwanje.core import main as core_main
from gwanje.core.authority import credentials
from gwanje.core.authority.passwords import hash_password
from gwanje.core.authority.principal import Role
from gwanje.core.authority.users import User, UsersFile
from gwanje.core.bus.bus import Bus, RequestTimeoutError
from gwanje.core.bus.messages import AlarmChange, Event
from gwanje.core.bus.scan import Scan
from gwanje.core.city.part import Heartbeat, PartContext, PartError, RunOptions
from gwanje.core.city.part_ends import PartEnds
from gwanje.core.clock import SystemClock, VirtualClock
from gwanje.core.commands.client import CommandClient
from gwanje.core.commands.coverage import LeaseCoverage
from gwanje.core.commands.messages import (
    Command,
    Confirmed,
    Granted,
    TimedOut,
    owner_service,
    to_message,
)
from gwanje.core.commands.owner import Office
from gwanje.core.event_memory import EVENTS_MAX, LIST_BURST, EventMemory
from gwanje.core.journal.chain import read
from gwanje.core.journal.verify import verify
from gwanje.core.requests import Code, Refused
from gwanje.core.site.config import Site, load_site
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.store import Snapshot, TagStore
from gwanje.core.tags.table import Tag, TagTable

S = 1_000_000_000
OPERATIONS = """
[[operation]]
points = ["control.tie.import_setpoint_w"]
writers = ["planner"]
"""
SYSTEM_TAGS = Path(__file__).resolve().parents[2] / "configs" / "chungbuk" / "tags" / "system.toml"
IMPORT = "control.tie.import_setpoint_w"
WAIT_S = 20.0
"""Longest wait for something that must happen; reached only when it does not."""

SITE = """
[site]
id = "test"
name_ko = "시험"
name_en = "Test"
connection_rating_w = 1000000
"""
TAGS = """
[[tag]]
name = "control.tie.import_setpoint_w"
unit = "W"
owner = "control"
kind = "parameter"
low = -1000
high = 1000
ko = "목표 수전 전력"
en = "Import target"

[[tag]]
name = "control.tie.error_w"
unit = "W"
owner = "control"
low = -1000
high = 1000
stale_after_s = 1.0
ko = "수전 오차"
en = "Import error"
"""
AREAS = """
[[area]]
id = "all"
ko = "전체"
en = "All"
tags = ["*"]
"""
TEXTS = [f"{key}_{lang}" for key in ("text", "cause", "consequence", "response") for lang in ("ko", "en")]
WORDS = "\n".join(f"{key} = {'말' if key.endswith('ko') else 'word'!r}" for key in TEXTS)
ALARMS = f"""
[[alarm]]
id = "error_high"
tag = "control.tie.error_w"
condition = "above"
limit = 100
on_delay_s = 0
off_delay_s = 0
priority = 2
respond_within_s = 60
{WORDS}

[[event_alarm]]
id = "glass"
kind = "acoustic"
class = "glass_break"
priority = 2
respond_within_s = 60
{WORDS}
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a path short enough for sockets."""
    path = Path(tempfile.mkdtemp(prefix="gw-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
    yield path
    shutil.rmtree(path)


def make_site(folder: Path) -> Site:
    root = folder / "site"
    (root / "tags").mkdir(parents=True)
    (root / "site.toml").write_text(SITE, encoding="utf-8")
    (root / "tags" / "test.toml").write_text(TAGS, encoding="utf-8")
    shutil.copy(SYSTEM_TAGS, root / "tags" / "system.toml")
    (root / "alarms.toml").write_text(ALARMS, encoding="utf-8")
    (root / "areas.toml").write_text(AREAS, encoding="utf-8")
    (root / "operations.toml").write_text(OPERATIONS, encoding="utf-8")
    return load_site(root)


class Town:
    """A run directory with a store, a bus of our own, and a core that can be started, stopped and killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = SystemClock()
        self.site = make_site(folder)
        self.run_dir = folder / "run"
        self.run_dir.mkdir()
        credentials.write(self.run_dir, ("core", "control", "planner"))
        self.options = RunOptions(data_dir=str(folder / "data"))
        self.state_dir = self.options.state_dir
        self.state_dir.mkdir(parents=True)
        self.store = TagStore.create(self.run_dir / "tags", self.site.tags)
        self.writer = self.store.writer("control")
        self.bus = Bus(self.run_dir, "hmi", self.clock, self.site.tags.n)
        self.control = Bus(self.run_dir, "control", self.clock, self.site.tags.n)
        self.heard = self.bus.subscriber(["alarm", "scan"], ["core"])
        self.messages: list[Any] = []
        self._thread: threading.Thread | None = None
        self._stop = -1
        self.child: subprocess.Popen[bytes] | None = None
        long_ago = self.clock.mono_ns() - 10 * S
        self.writer.write_one(self.tag(IMPORT), 0.0, Quality.GOOD, 1, long_ago)  # so that the city is no news

    def session(self, part: str) -> str:
        return credentials.read(self.run_dir, part)

    def add_user(self, name: str, role: Role = Role.OPERATOR) -> None:
        """A person whose password is the name, five times over."""
        encoded, now = hash_password(name * 5), self.clock.utc_ns()
        user = User(name, role, ("*",), "", encoded, now, False, now, now, "test")
        UsersFile(self.options.security_dir).change(lambda users: users.update({name: user}))

    def sign_in(self, name: str) -> str:
        message = {"op": "sign_in", "user": name, "password": name * 5, "console": "test"}
        answer = self.bus.request("session", message, round(WAIT_S * 1000))
        assert answer["outcome"] == "signed_in", answer
        return str(answer["session"])

    def tag(self, name: str) -> int:
        return self.site.tags.index(name)

    def start(self) -> None:
        reader, self._stop = os.pipe()
        bus = Bus(self.run_dir, "core", self.clock, self.site.tags.n)
        ctx = PartContext(
            "core", self.site, self.site.tags, TagStore.attach(self.run_dir / "tags", self.site.tags), self.clock, bus,
            self.run_dir, self.options, reader, logging.getLogger("core"), Heartbeat(self.run_dir, "core"),
        )  # fmt: skip

        def body() -> None:
            core_main.main(ctx)
            bus.close()
            os.close(reader)

        self._thread = threading.Thread(target=body)
        self._thread.start()
        self.until(lambda: self.alarms() is not None)

    def stop(self) -> None:
        assert self._thread is not None
        os.write(self._stop, b"x")
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()
        os.close(self._stop)
        self._thread = None

    def start_process(self) -> None:
        self.child = subprocess.Popen(
            [sys.executable, "-m", "gwanje.core.city.run_part", "core", "--site", str(self.folder / "site"),
             "--run", str(self.run_dir), "--options", self.options.to_json()]
        )  # fmt: skip
        self.until(lambda: self.alarms() is not None)

    def kill_process(self) -> None:
        assert self.child is not None
        self.child.send_signal(signal.SIGKILL)
        self.child.wait(WAIT_S)
        self.child = None

    def close(self) -> None:
        if self._thread is not None:
            self.stop()
        if self.child is not None:
            self.kill_process()
        self.bus.close()
        self.control.close()

    def until(self, holds: Callable[[], Any]) -> Any:
        """Wait on the bus until something holds; the last look decides."""
        deadline = time.monotonic() + WAIT_S
        while not (found := holds()):
            assert time.monotonic() < deadline, "it did not happen"
            self.heard.poll(50)
            while (message := self.heard.receive()) is not None:
                self.messages.append(message)
        return found

    def alarms(self) -> list[dict[str, Any]] | None:
        try:
            found: list[dict[str, Any]] = self.bus.request("alarms", {"op": "list"}, 200)["alarms"]
        except RequestTimeoutError:
            return None
        return found

    def write_error(self, value: float, age_s: float = 0.0) -> None:
        now = self.clock.mono_ns() - round(age_s * S)
        self.writer.write_one(self.tag("control.tie.error_w"), value, Quality.GOOD, self.clock.utc_ns(), now)

    def alarm_states(self) -> list[str]:
        return [one.state for one in self.messages if isinstance(one, AlarmChange)]

    def value(self, name: str) -> float:
        return self.store.read(self.tag(name)).value

    def kinds(self) -> list[str]:
        return [entry.kind for entry in read(self.state_dir / "journal.jsonl")]


@pytest.fixture
def town(folder: Path) -> Iterator[Town]:
    town = Town(folder)
    yield town
    town.close()


# ---------------------------------------------------------------- alarms and events


def test_an_alarm_is_raised_acknowledged_returned_and_journalled(town: Town) -> None:
    town.add_user("kim")
    town.start()
    session = town.sign_in("kim")

    def raised() -> bool:
        town.write_error(200.0)
        return town.alarm_states() == ["unack_active"]

    town.until(raised)
    town.until(lambda: town.value("system.alarms.p2") == 1.0 and town.value("system.alarms.unacknowledged") == 1.0)
    listed = town.alarms()
    assert listed is not None
    assert AlarmChange(**listed[0]).alarm_id == "error_high"
    answer = town.bus.request("alarms", {"op": "ack", "alarm_id": "error_high", "session": session})
    assert answer["outcome"] == "done"
    assert answer["alarm"]["state"] == "ack_active"

    def returned() -> bool:
        town.write_error(0.0)
        return town.alarm_states() == ["unack_active", "ack_active", "normal"]

    town.until(returned)
    entries = [entry for entry in read(town.state_dir / "journal.jsonl") if entry.kind.startswith("alarm")]
    assert [(entry.kind, entry.data["state"]) for entry in entries] == [
        ("alarm_changed", "unack_active"), ("alarm_acknowledged", "ack_active"), ("alarm_changed", "normal"),
    ]  # fmt: skip
    assert entries[1].data["author"] == "kim"


@pytest.mark.parametrize(
    "message",
    [
        {"op": "ack", "alarm_id": "error_high"},
        {"op": "ack", "alarm_id": "error_high", "session": ""},
        {"op": "ack", "alarm_id": "error_high", "session": "guessed"},
        {"op": "ack", "alarm_id": "error_high", "session": 7},
        {"op": "ack", "alarm_id": "error_high", "session": "x" * 10_000},
        {"op": "ack", "alarm_id": "error_high", "author": "kim", "role": "operator"},
        {"op": "ack", "alarm_id": "x" * 10_000},
        {"op": "shelve"},
        {},
    ],
)
def test_an_acknowledgement_that_is_refused_says_why(folder: Path, message: dict[str, Any]) -> None:
    town = Town(folder)
    try:
        town.start()
        answer = town.bus.request("alarms", message)
        assert answer["outcome"] == "refused"
        assert answer["text_ko"]
        assert answer["text_en"]
    finally:
        town.close()


def test_events_are_remembered_and_raise_alarms(town: Town) -> None:
    town.start()
    acoustic = Bus(town.run_dir, "acoustic", town.clock, town.site.tags.n)
    publisher = acoustic.publisher()
    event = Event("acoustic", "mic03", "glass_break", 5, 5, "유리", "glass", 0.9)

    def heard() -> bool:
        publisher.event(event)
        return "unack_active" in town.alarm_states()

    town.until(heard)
    events = town.bus.request("events", {"op": "list"})["events"]
    assert Event(**events[0]) == event
    assert town.bus.request("events", {"op": "clear"})["outcome"] == "refused"
    acoustic.close()


def test_the_memory_of_events_is_bounded_and_newest_first() -> None:
    memory = EventMemory(VirtualClock(mono_ns=S))
    for index in range(EVENTS_MAX + 3):
        memory.take(Event("system", "core", "test", index, 1, "말", "word"))
    events = memory.handle({"op": "list"})["events"]
    assert len(events) == EVENTS_MAX
    assert events[0]["utc_ns"] == EVENTS_MAX + 2
    answers = [memory.handle({"op": "list"}) for _ in range(LIST_BURST)]
    assert answers[-1]["code"] == "busy", "a flood of askers must not take the core's time"


def test_only_the_part_that_keeps_the_doors_enters_who_came_in(town: Town) -> None:
    town.start()
    forger, remote = (Bus(town.run_dir, part, town.clock, town.site.tags.n) for part in ("acoustic", "remote"))
    publishers = [one.publisher() for one in (forger, remote)]
    event = Event("system", "stolen key", "remote_admitted", 5, 5, "접속", "admitted", 0.9)
    seen = Event("acoustic", "mic03", "glass_break", 5, 5, "유리", "glass", 0.9)

    def entered() -> bool:
        publishers[0].event(event)
        publishers[0].event(seen)
        return "unack_active" in town.alarm_states()

    town.until(entered)
    assert "remote_admitted" not in town.kinds()

    def admitted() -> bool:
        publishers[1].event(event)
        return "remote_admitted" in town.kinds()

    town.until(admitted)
    for one in (forger, remote):
        one.close()


def test_refused_changes_stand_in_the_journal_with_who_wanted_them(town: Town) -> None:
    town.add_user("kim", Role.VIEWER)
    town.start()
    session = town.sign_in("kim")
    asked = (
        ("session", {"op": "take_area", "area": "all", "reason": "x"}),
        ("alarms", {"op": "shelve", "alarm_id": "error_high", "reason": "x", "for_s": 600}),
        ("overrides", {"op": "substitute", "point": "control.tie.error_w", "value": 1.0, "reason": "x"}),
        ("journal", {"op": "record", "kind": "replay_ended", "what": "x"}),
    )
    for service, message in asked:
        assert town.bus.request(service, {**message, "session": session})["outcome"] == "refused"
    town.bus.request("alarms", {"op": "ack", "alarm_id": "error_high", "session": "guessed"})
    town.bus.request("alarms", {"op": "nothing", "session": session})
    told = [one.data for one in read(town.state_dir / "journal.jsonl") if one.kind == "request_refused"]
    assert [(one["what"], one["code"], one.get("author")) for one in told] == [
        ("session take_area", "role_not_allowed", "kim"), ("alarms shelve", "role_not_allowed", "kim"),
        ("overrides substitute", "role_not_allowed", "kim"), ("journal record", "role_not_allowed", "kim"),
        ("alarms ack", "session_over", None),
    ]  # fmt: skip
    assert session not in (town.state_dir / "journal.jsonl").read_text(encoding="utf-8")


def test_alarms_survive_kill_9(town: Town) -> None:
    town.start_process()

    def raised() -> bool:
        town.write_error(200.0)
        return "unack_active" in town.alarm_states()

    town.until(raised)
    before = town.alarms()
    town.kill_process()
    town.start_process()
    assert town.alarms() == before


def test_a_damaged_alarm_file_is_set_aside_and_told(town: Town) -> None:
    (town.state_dir / "alarms.sqlite").write_bytes(b"no database at all " * 200)
    town.start()
    assert "alarm_store_set_aside" in town.kinds()
    assert (town.state_dir / "alarms-damaged-1.sqlite").exists()
    town.until(lambda: town.value("system.alarms.store_ok") == 1.0)


# ---------------------------------------------------------------- stale


def test_a_value_that_is_not_renewed_is_published_as_stale_once(town: Town) -> None:
    town.start()
    tag_id = town.tag("control.tie.error_w")
    town.write_error(42.0, age_s=0.9)

    def told() -> list[Scan]:
        return [one for one in town.messages if isinstance(one, Scan) and tag_id in one.ids]

    scan = town.until(told)[0]
    at = int(np.flatnonzero(scan.ids == tag_id)[0])
    assert scan.values[at] == 42.0
    assert scan.quality[at] & Quality.STALE
    assert scan.quality[at] & Quality.BAD
    town.until(lambda: town.value("system.tags.stale") == 1.0)
    seen = len([one for one in town.messages if isinstance(one, Scan)])
    town.until(lambda: len([one for one in town.messages if isinstance(one, Scan)]) >= seen + 2)
    assert len(told()) == 1


# ---------------------------------------------------------------- commands and leases


class Owner:
    """The part ``control``: answers every command with what a test wants."""

    def __init__(self, town: Town, answer: Callable[[Command], dict[str, Any]]) -> None:
        self._office = Office(
            "control", credentials.owner_secret(town.run_dir), town.site.tags,
            LeaseCoverage(town.run_dir, town.site.tags.n), town.clock, self._take, read_only=False,
        )  # fmt: skip
        self._server = town.control.server(owner_service("control"))
        self._answer = answer
        self.commands: list[Command] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        request = self._server.receive(round(WAIT_S * 1000))
        assert request is not None
        answer = self._office.answer(request.message)
        request.reply(self._answer(self.commands[0]) if self.commands else answer)

    def _take(self, command: Command) -> None:
        self.commands.append(command)

    def join(self) -> None:
        self._thread.join(WAIT_S)
        self._server.close()


def test_a_command_goes_to_the_owner_and_its_answer_comes_back(town: Town) -> None:
    town.start()
    owner = Owner(town, lambda command: to_message(Confirmed(command.command_id, command.value)))
    outcome = CommandClient(town.bus, town.session("planner")).write(IMPORT, 300.0, "peak", unit="W")
    owner.join()
    assert isinstance(outcome, Confirmed)
    assert outcome.readback == 300.0
    assert (owner.commands[0].author, owner.commands[0].role) == ("planner", Role.PROGRAM)
    assert [kind for kind in town.kinds() if kind.startswith("command")] == ["command_requested", "command_confirmed"]
    town.until(lambda: town.value("system.commands.accepted") == 1.0)


def test_an_owner_that_is_not_there_times_out_and_holds_nobody_up(town: Town) -> None:
    town.start()
    outcome = CommandClient(town.bus, town.session("planner")).write(IMPORT, 300.0, "peak")
    assert isinstance(outcome, TimedOut)
    assert "command_timed_out" in town.kinds()


def test_a_lease_outlives_a_killed_core(town: Town) -> None:
    town.start_process()
    client = CommandClient(town.bus, town.session("control"))
    granted = client.lease("tie_line", [IMPORT], 30.0, "balance")
    assert isinstance(granted, Granted)
    assert town.value("system.lease.tie_line_until_s") == granted.until_mono_ns / S
    town.kill_process()
    assert town.value("system.lease.tie_line_until_s") == granted.until_mono_ns / S, "drivers go on without a core"
    town.start_process()
    assert town.value("system.lease.tie_line_until_s") == granted.until_mono_ns / S
    renewed = client.renew("tie_line")
    assert isinstance(renewed, Granted)
    assert renewed.until_mono_ns > granted.until_mono_ns
    assert "lease_restored" in town.kinds()
    assert verify(town.state_dir / "journal.jsonl").ok


def test_a_lease_that_is_not_renewed_vanishes_from_the_tag(town: Town) -> None:
    town.start()
    client = CommandClient(town.bus, town.session("control"))
    assert isinstance(client.lease("tie_line", [IMPORT], 0.5, "short"), Granted)
    town.until(lambda: town.value("system.lease.tie_line_until_s") == 0.0)
    assert "lease_expired" in town.kinds()


def test_killed_again_and_again_the_journal_stays_whole(town: Town) -> None:
    client = CommandClient(town.bus, town.session("control"))
    for _ in range(3):
        town.start_process()
        for _ in range(5):
            client.lease("tie_line", [IMPORT], 1.0, "again")
        town.kill_process()
    report = verify(town.state_dir / "journal.jsonl")
    assert report.ok, report.text()
    assert town.kinds().count("lease_granted") == 15


# ---------------------------------------------------------------- a disk that fails, a site that is wrong


def test_a_journal_that_cannot_be_opened_refuses_commands_until_it_can(town: Town) -> None:
    (town.state_dir / "gate.json").write_text('{"closed": false}')
    (town.state_dir / "journal.jsonl").mkdir()
    town.start()
    outcome = CommandClient(town.bus, town.session("planner")).write(IMPORT, 300.0, "peak")
    assert isinstance(outcome, Refused)
    assert outcome.code is Code.JOURNAL
    town.until(lambda: town.value("system.journal.ok") == 0.0)
    (town.state_dir / "journal.jsonl").rmdir()
    town.until(lambda: town.value("system.journal.ok") == 1.0)
    assert "command_refused" in town.kinds()
    assert verify(town.state_dir / "journal.jsonl").ok


@pytest.mark.parametrize("content", ["", "{", "[]", '{"closed": 0}'])
def test_a_damaged_gate_is_closed(town: Town, content: str) -> None:
    """The file outlives the run: another run of the city finds the gate as it was left."""
    (town.state_dir / "gate.json").write_text(content)
    town.start()
    planner = CommandClient(town.bus, town.session("planner"))
    outcome = planner.write(IMPORT, 300.0, "peak")
    assert isinstance(outcome, Refused)
    assert outcome.code is Code.READ_ONLY
    assert json.loads((town.state_dir / "gate.json").read_text())["closed"] is True
    assert "gate_changed" in town.kinds()


def test_safety_tags_that_cannot_be_read_close_the_gate_until_a_supervisor_opens_it(town: Town) -> None:
    town.add_user("park", Role.SUPERVISOR)
    (town.state_dir / "safety_tags.json").write_text("{", encoding="utf-8")
    for _ in range(2):  # also a core that is started once more knows that nobody has looked
        town.start()
        told = town.bus.request("command", {"op": "leases"})
        assert told["read_only"] is True
        town.stop()
    town.start()
    session = town.sign_in("park")
    opening = {"op": "gate", "read_only": False, "reason": "looked at the site", "session": session}
    assert town.bus.request("command", opening)["outcome"] != "refused"
    kept = town.state_dir / "safety_tags.json"
    town.until(lambda: '"doubt": ""' in kept.read_text(encoding="utf-8"))
    town.stop()
    town.start()
    assert town.bus.request("command", {"op": "leases"})["read_only"] is False
    assert (town.state_dir / "safety_tags.json.damaged-1").read_text(encoding="utf-8") == "{"


def test_an_alarm_file_that_cannot_be_opened_does_not_stop_the_alarms(town: Town) -> None:
    (town.state_dir / "alarms.sqlite").mkdir()
    town.start()

    def raised() -> bool:
        town.write_error(200.0)
        return "unack_active" in town.alarm_states()

    town.until(raised)
    town.until(lambda: town.value("system.alarms.store_ok") == 0.0)
    (town.state_dir / "alarms.sqlite").rmdir()

    def kept() -> bool:
        town.write_error(200.0)
        return town.value("system.alarms.store_ok") == 1.0

    town.until(kept)
    town.stop()
    town.start()
    assert [one["alarm_id"] for one in town.alarms() or []] == ["error_high"]


def context(town: Town, **changes: Any) -> PartContext:
    members = {
        "name": "core", "site": town.site, "tags": town.site.tags, "store": town.store, "clock": town.clock,
        "bus": town.bus, "run_dir": town.run_dir, "options": town.options, "stop_fd": -1,
        "log": logging.getLogger("core"), "beat": Heartbeat(town.run_dir, "core2"), **changes,
    }  # fmt: skip
    return PartContext(**members)


def test_two_cities_on_one_state_are_refused_in_one_line(town: Town) -> None:
    town.start()
    with pytest.raises(PartError, match="another city runs on"):
        core_main.main(context(town))


def test_a_site_without_the_cores_tags_is_refused_in_one_line(town: Town) -> None:
    table = TagTable.build([Tag("system.lease.tie_line_until_s", "s", "core", "state")])
    store = TagStore.create(town.folder / "other", table)
    with pytest.raises(PartError, match=r"tags/system\.toml lacks tag system\.commands\.accepted"):
        core_main.main(context(town, tags=table, store=store))


# ---------------------------------------------------------------- small pieces


def test_starts_and_stops_of_parts_are_journalled_as_the_supervisor_tells_them() -> None:
    names = [f"system.part_{part}.{what}" for part in ("field", "hmi", "city") for what in ("state", "restarts")]
    tags = TagTable.build([Tag(name, "", "supervisor") for name in names])
    watch = core_main.PartWatch(tags)
    snapshot = Snapshot.empty(tags.n)

    ended: dict[str, int] = {}

    def told(field: float, restarts: float) -> list[tuple[str, dict[str, Any]]]:
        snapshot.value[tags.index("system.part_field.state")] = field
        snapshot.value[tags.index("system.part_field.restarts")] = restarts
        snapshot.value[tags.index("system.part_city.state")] = field
        return [(str(kind), data) for kind, data in watch.look(snapshot, ended)]

    assert told(1, 0) == [], "the first look only remembers"
    assert told(2, 0) == [("part_started", {"part": "field", "restarts": 0})]
    assert told(2, 0) == []
    assert told(3, 1) == [("part_stopped", {"part": "field"})]
    assert told(1, 1) == []
    assert told(2, 1) == [("part_started", {"part": "field", "restarts": 1})]
    assert told(2, 2) == [("part_started", {"part": "field", "restarts": 2})], "it died and came back between two looks"
    ended["field"] = 3
    assert told(3, 3) == [], "its end was entered with its signal already"


def test_how_parts_ended_is_journalled_once_also_what_killed_the_core_itself(town: Town) -> None:
    ends = PartEnds(town.run_dir)
    ends.add("field", -signal.SIGKILL, hung=True, restarts=1, utc_ns=10)
    ends.add("core", -signal.SIGSEGV, hung=False, restarts=1, utc_ns=20)  # nobody was there to enter it
    town.start()
    town.until(lambda: town.kinds().count("part_ended") == 2)
    ends.add("heat", 3, hung=False, restarts=4, utc_ns=30)
    town.until(lambda: town.kinds().count("part_ended") == 3)
    town.stop()
    town.start()
    town.stop()
    told = [one.data for one in read(town.state_dir / "journal.jsonl") if one.kind == "part_ended"]
    assert told == [
        {"part": "field", "signal": "SIGKILL", "hung": True, "restarts": 1, "ended_utc_ns": 10},
        {"part": "core", "signal": "SIGSEGV", "restarts": 1, "ended_utc_ns": 20},
        {"part": "heat", "exit_code": 3, "restarts": 4, "ended_utc_ns": 30},
    ]


# ---------------------------------------------------------------- people


def test_a_session_and_its_area_outlive_a_killed_core(town: Town) -> None:
    town.add_user("kim")
    town.start_process()
    session = town.sign_in("kim")
    taken = town.bus.request("session", {"op": "take_area", "session": session, "area": "all", "reason": "shift"})
    assert taken["outcome"] == "area", taken
    town.until(lambda: town.value("system.area_all.held") == 1.0)
    for path in (town.run_dir / "sessions.json", *town.state_dir.glob("journal*")):
        assert session not in path.read_text(encoding="utf-8"), f"the secret stands in {path.name}"
    assert (town.run_dir / "sessions.json").stat().st_mode & 0o077 == 0
    town.kill_process()
    town.start_process()
    who = town.bus.request("session", {"op": "who", "session": session})
    assert (who["user"], who["areas"]) == ("kim", ["all"])
    UsersFile(town.options.security_dir).change(lambda users: users.clear())
    town.until(lambda: town.value("system.area_all.held") == 0.0)
    assert town.bus.request("session", {"op": "who", "session": session})["code"] == "session_over"
    kinds = town.kinds()
    assert [kind for kind in kinds if kind in ("user_changed", "signed_in", "area_taken", "area_released")] == [
        "user_changed", "signed_in", "area_taken", "user_changed", "area_released",
    ]  # fmt: skip


def test_a_wrong_password_is_refused_by_a_real_core(town: Town) -> None:
    town.add_user("kim")
    town.start()
    for user, password in (("kim", "wrong"), ("nobody", "kim" * 5)):
        message = {"op": "sign_in", "user": user, "password": password, "console": ""}
        answer = town.bus.request("session", message, round(WAIT_S * 1000))
        assert (answer["outcome"], answer["code"]) == ("refused", "wrong_password")
    assert town.bus.request("session", {"op": "sessions"})["sessions"] == []


def test_damaged_sessions_cost_a_sign_in_not_the_core(town: Town) -> None:
    town.add_user("kim")
    (town.run_dir / "sessions.json").write_text("{")
    town.start()
    assert town.bus.request("session", {"op": "sessions"})["sessions"] == []
    session = town.sign_in("kim")
    assert town.bus.request("session", {"op": "who", "session": session})["user"] == "kim"
