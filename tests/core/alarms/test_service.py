"""What the core is put together from, where its disk fails: kept alarms are taken up as soon as they can be read."""

import pytest

from gwanje.core.alarms import service
from gwanje.core.alarms.definitions import TEXT_KEYS, EventAlarmDefinition, Texts
from gwanje.core.alarms.service import REOPEN_S, KeptAlarms
from gwanje.core.alarms.store import AlarmStore, AlarmStoreError
from gwanje.core.alarms.table import AlarmTable
from gwanje.core.authority.principal import Principal, Role
from gwanje.core.clock import NS_PER_S, VirtualClock
from gwanje.core.messages import Event
from gwanje.core.requests import Code, RequestError
from gwanje.core.store import Snapshot
from gwanje.core.tags import Tag, TagTable

TAGS = TagTable.build([Tag("grid.tie.import_w", "W", "field")])
GLASS = EventAlarmDefinition("glass", "acoustic", "glass_break", 0.5, 600.0, 2, 60.0, Texts(*TEXT_KEYS))


class People:
    """Everybody is who the session says, as ``kim/operator``."""

    def principal(self, message):
        name, _, role = message.get("session", "").partition("/")
        if not name:
            raise RequestError(Code.NOT_SIGNED_IN, "")
        return Principal(name, Role(role), "s1")


def table() -> AlarmTable:
    return AlarmTable([], [GLASS], TAGS)


class Unreadable(AlarmStore):
    """A file that opens but cannot be read, as long as ``broken``."""

    broken = True

    def load(self):
        if Unreadable.broken:
            raise AlarmStoreError("alarm states cannot be read: disk I/O error")
        return super().load()


@pytest.fixture
def clock():
    return VirtualClock()


def kept(path, clock):
    return KeptAlarms(table(), path / "alarms.sqlite", clock, lambda change: None, lambda entries: None, People())


def test_alarms_that_could_not_be_read_at_first_are_taken_up_later(tmp_path, clock, monkeypatch):
    before = kept(tmp_path, clock)
    before.event(Event("acoustic", "mic03", "glass_break", clock.utc_ns(), clock.mono_ns(), "유리", "glass", 0.9))
    before.close()
    monkeypatch.setattr(service, "AlarmStore", Unreadable)
    alarms = kept(tmp_path, clock)
    assert not alarms.kept
    assert "cannot be read" in alarms.trouble
    assert alarms.counts().active == 0
    Unreadable.broken = False
    clock.advance_ns(round(REOPEN_S * NS_PER_S))
    alarms.step(Snapshot.empty(0))
    assert alarms.kept
    assert alarms.trouble == ""
    assert alarms.counts().active == 1
    alarms.close()


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"alarm_id": "x" * 1_000}, "malformed"),
        ({"alarm_id": 5}, "malformed"),
        ({}, "malformed"),
        ({"alarm_id": "glass:mic03", "session": "kim/viewer"}, "this role may not command"),
        ({"alarm_id": "glass:mic03", "session": "control/program"}, "this role may not command"),
        ({"alarm_id": "glass:mic03", "session": ""}, "nobody is signed in"),
        ({"alarm_id": "glass:mic03"}, "there is no alarm"),
    ],
)
def test_acknowledgements_that_cannot_be_are_refused_with_the_reason(tmp_path, clock, message, reason):
    alarms = kept(tmp_path, clock)
    answer = alarms.handle({"op": "ack", "session": "kim/operator", **message})
    assert answer["outcome"] == "refused"
    assert reason in answer["text_en"]
    alarms.close()
