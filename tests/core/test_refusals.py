"""Refusals in the journal: each with who and why, the same seldom, a storm counted."""

from pathlib import Path
from typing import Any

import pytest

from gwanje.core.clock import NS_PER_S, VirtualClock
from gwanje.core.journal.chain import Entry, read
from gwanje.core.journal.desk import JournalDesk
from gwanje.core.journal.texts import describe
from gwanje.core.journal.writer import Journal
from gwanje.core.refusals import BURST, SAME_BURST, Refusals
from gwanje.core.requests import Code, refusal


class Room:
    def __init__(self, folder: Path) -> None:
        self.clock = VirtualClock(mono_ns=NS_PER_S)
        self.path = folder / "journal.jsonl"
        self.refusals = Refusals(
            JournalDesk(Journal.open(self.path, self.clock)), self.clock, lambda message: {"author": message["session"]}
        )

    def refuse(self, op: str = "ack", service: str = "alarms", session: str = "kim", **more: Any) -> None:
        self.refusals.look(service, {"op": op, "session": session, **more}, refusal(Code.ROLE, "viewer"))

    def told(self) -> list[Entry]:
        return [one for one in read(self.path) if one.kind == "request_refused"]


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def test_an_entry_says_who_wanted_what_and_why_not(room: Room) -> None:
    room.refuse(alarm_id="a1", reason="quiet", password="secret", value=float("nan"))
    (entry,) = room.told()
    assert describe(entry, "en") == (
        "request refused · a1 ← nan · kim · what: alarms ack · refused: this role may not command · detail: viewer"
        " · reason: quiet"
    )
    assert "secret" not in room.path.read_text(encoding="utf-8")


@pytest.mark.parametrize(("service", "op"), [("alarms", "list"), ("command", "write"), ("session", "sign_in")])
def test_reading_and_what_is_told_elsewhere_is_not_told(room: Room, service: str, op: str) -> None:
    room.refuse(op, service)
    room.refusals.look("alarms", {"op": "ack", "session": "kim"}, {"outcome": "done"})
    assert room.told() == []


def test_the_same_is_told_seldom_and_a_storm_is_counted(room: Room) -> None:
    for _ in range(100):
        room.refuse(alarm_id="a1")
    assert len(room.told()) == SAME_BURST
    room.refuse(alarm_id="a1", session="lee")
    assert len(room.told()) == SAME_BURST + 1, "somebody else is told"
    for number in range(1_000):
        room.refuse(alarm_id=f"b{number}")
    assert len(room.told()) == BURST
    room.refusals.step()
    assert len(room.told()) == BURST, "not while it lasts"
    room.clock.advance_ns(60 * NS_PER_S)
    room.refusals.step()
    room.refusals.step()
    assert [one.data["n"] for one in room.told()[BURST:]] == [1_101 - BURST]
