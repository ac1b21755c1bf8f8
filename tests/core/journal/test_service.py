"""The service ``journal``: acts outside the core are entered before they begin, under the name of their session."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from simulation import MemoryDisk

from gwanje.core.authority.principal import Principal, Role
from gwanje.core.clock import VirtualClock
from gwanje.core.journal.chain import read
from gwanje.core.journal.desk import JournalDesk
from gwanje.core.journal.kinds import EntryKind
from gwanje.core.journal.service import RECORDED, JournalService
from gwanje.core.journal.writer import Journal
from gwanje.core.requests import Code, RequestError

TUNE = {
    "op": "record", "session": "kim/operator", "kind": "tuning_changed", "parameter": "tie.kp", "reason": "it swings",
    "value": 0.5, "before": 0.6,
}  # fmt: skip


class World:
    """A service over a journal in memory; a session reads ``name/role``."""

    def __init__(self, folder: Path) -> None:
        self.disk, self.folder = MemoryDisk(), folder / "now"
        self.journal = Journal(self.disk, "journal.jsonl", VirtualClock())
        self.service = JournalService(JournalDesk(self.journal), self.journal.recent, self)

    def principal(self, message: Mapping[str, Any]) -> Principal:
        if not message.get("session"):
            raise RequestError(Code.NOT_SIGNED_IN, "")
        name, _, role = str(message["session"]).partition("/")
        return Principal(name, Role(role), f"s-{name}", "desk1")

    def entries(self) -> list[Any]:
        self.disk.cut_power()
        self.disk.dump(self.folder)
        return list(read(self.folder / "journal.jsonl"))[1:]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_change_of_a_parameter_is_on_the_disk_with_who_what_why_and_how_much(world: World) -> None:
    assert world.service.handle(TUNE) == {"outcome": "recorded"}
    entry = world.entries()[0]
    assert entry.kind == "tuning_changed"
    assert entry.data == {
        "parameter": "tie.kp", "reason": "it swings", "value": 0.5, "before": 0.6, "author": "kim", "role": "operator",
        "session_id": "s-kim", "console": "desk1",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"session": ""}, "not_signed_in"), ({"session": "kim/viewer"}, "role_not_allowed"),
        ({"reason": " "}, "malformed"), ({"value": float("nan")}, "not_finite"), ({"parameter": 5}, "malformed"),
        ({"kind": "command_accepted"}, "malformed"), ({"kind": "listen_in_started"}, "malformed"),
        ({"kind": "journal_signed"}, "malformed"),
        ({"kind": "nonsense"}, "malformed"), ({"kind": None}, "malformed"),
        ({"author": "lee"}, "malformed"), ({"seq": 1}, "malformed"), ({"op": "forget"}, "malformed"),
    ],
)  # fmt: skip
def test_what_is_refused_enters_nothing(world: World, change: dict[str, Any], code: str) -> None:
    answer = world.service.handle({**TUNE, **change})
    assert (answer["outcome"], answer["code"]) == ("refused", code)
    assert answer["text_ko"]
    assert not world.entries()


def test_an_act_that_cannot_be_entered_is_refused_with_the_reason(world: World) -> None:
    world.disk.fail_sync = True
    answer = world.service.handle(TUNE)
    assert (answer["outcome"], answer["code"]) == ("refused", Code.JOURNAL)
    assert "Input/output error" in answer["text_en"]


def test_the_newest_entries_come_with_texts_in_both_languages(world: World) -> None:
    for _ in range(300):
        world.service.handle(TUNE)
    ask = {"op": "recent", "session": "kim/viewer"}
    answer = world.service.handle({**ask, "n": 5})
    last = world.journal.entries
    assert [one["seq"] for one in answer["entries"]] == list(range(last - 4, last + 1))
    assert answer["entries"][0]["text_ko"].startswith("조정값 변경 · tie.kp")
    assert answer["entries"][0]["text_en"].startswith("tuning changed · tie.kp")
    assert len(world.service.handle({**ask, "n": 10**9})["entries"]) == 200
    assert world.service.handle({**ask, "n": 0})["entries"] == []
    assert world.service.handle({**ask, "n": -1})["code"] == "malformed"
    assert world.service.handle({"op": "recent", "n": 5})["code"] == "not_signed_in"


def test_only_acts_outside_the_core_may_be_entered() -> None:
    assert {str(one) for one in RECORDED} == {"tuning_changed", "replay_started", "replay_ended"}
    assert set(EntryKind) > RECORDED
