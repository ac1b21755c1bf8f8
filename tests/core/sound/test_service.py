"""Listening in and talking back: who may, that everybody is told, and everything by which it ends."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from gwanje.core.authority.principal import Principal, Role
from gwanje.core.clock import VirtualClock
from gwanje.core.journal.chain import JournalError
from gwanje.core.journal.desk import JournalDesk
from gwanje.core.requests import Code, RequestError
from gwanje.core.sound.grants import ABSENT_NS, LISTENERS_MAX, Kind
from gwanje.core.sound.passes import PASS_NS, opened
from gwanje.core.sound.service import Place, SoundService

S = 1_000_000_000
SECRET = b"secret of the run"
NODES = [f"mic{n}" for n in range(8)]
PLACES = {
    Kind.LISTEN: {one: Place(one, f"a.{one}.listened", "media", f"마이크 {one}", f"node {one}") for one in NODES},
    Kind.TALK: {"cam1": Place("cam1", "a.cam1.speaking", "cameras", "카메라 1", "camera 1")},
}


class World:
    """A service with a pretended authority, journal and outside; a session reads ``name/role``."""

    def __init__(self) -> None:
        self.clock = VirtualClock(mono_ns=1_000 * S)
        self.entries: list[tuple[str, dict[str, Any]]] = []
        self.told: list[tuple[str, str, str, str]] = []
        self.listened: dict[str, bool] = {}
        self.full = self.closed = self.sounds = False
        self.gone: set[str] = set()
        self.no_area: set[str] = set()
        self.demoted: set[str] = set()
        self.service = SoundService(PLACES, self, JournalDesk(self), self.clock, self, SECRET)
        self.service.take_up([])

    # the journal
    due_mono_ns = None

    def append_all(self, entries: Any) -> list[Any]:
        if self.full:
            raise JournalError(28, "No space left on device")
        self.entries += [(str(kind), json.loads(json.dumps(dict(data)))) for kind, data in entries]
        return []

    write_all = append_all

    def step(self) -> None:
        """Nothing waits for a disk."""

    # the authority
    def _who(self, message: Mapping[str, Any]) -> Principal:
        name, _, role = str(message.get("session", "")).partition("/")
        if not name:
            raise RequestError(Code.NOT_SIGNED_IN, "")
        return Principal(name, Role(role), f"s-{name}", "desk 1")

    principal = _who

    def known(self, message: Mapping[str, Any]) -> dict[str, str]:
        return {"session_id": self._who(message).session_id} if message.get("session") else {}

    def present(self, who: Principal) -> Principal | None:
        if who.session_id in self.gone:
            return None
        return replace(who, role=Role.VIEWER) if who.session_id in self.demoted else who

    def area_refusal(self, principal: Principal, point: str) -> tuple[Code, str] | None:
        return (Code.AREA_NOT_HELD, "streets") if principal.session_id in self.no_area else None

    # the outside
    def announce(self, class_name: str, source: str, text_ko: str, text_en: str, data: Mapping[str, Any]) -> None:
        self.told.append((class_name, source, text_ko, text_en))

    def show_listened(self, nodes: Any, listened: bool) -> None:
        self.listened |= dict.fromkeys(nodes, listened)

    def sounding(self, camera: str) -> bool:
        return self.sounds

    def gate_closed(self) -> bool:
        return self.closed

    # what a test does
    def ask(self, op: str, session: str = "kim/operator", **more: Any) -> dict[str, Any]:
        return self.service.handle({"op": op, "session": session, **more})

    def listen(self, node: str = "mic1", session: str = "kim/operator", **more: Any) -> dict[str, Any]:
        return self.ask("listen", session, **{"node": node, "reason": "a scream", "for_s": 60.0, **more})

    def talk(self, session: str = "kim/operator", **more: Any) -> dict[str, Any]:
        return self.ask("talk", session, **{"camera": "cam1", "reason": "ask him", "for_s": 60.0, **more})

    def advance(self, seconds: float, grant: str = "", session: str = "kim/operator") -> None:
        """Time goes on; a holder that is given renews."""
        for _ in range(round(seconds * 2)):
            self.clock.advance_ns(S // 2)
            if grant:
                self.ask("renew", session, grant_id=grant)
            self.service.step()

    def ends(self) -> list[dict[str, Any]]:
        return [data for kind, data in self.entries if kind.endswith("_ended")]


@pytest.fixture
def world() -> World:
    return World()


def test_a_grant_is_in_the_journal_and_shown_before_anything_is_heard(world: World) -> None:
    answer = world.listen()
    assert answer["outcome"] == "granted"
    assert world.entries == [("listen_in_started", {
        "node": "mic1", "reason": "a scream", "for_s": 60.0, "grant_id": answer["grant_id"], "author": "kim",
        "role": "operator", "session_id": "s-kim", "console": "desk 1",
    })]  # fmt: skip
    assert world.listened["mic1"]
    assert [one[:2] for one in world.told] == [("listen_in_started", "mic1")]
    assert "kim" in world.told[0][2]
    assert "a scream" in world.told[0][3]
    one = opened(SECRET, "media", answer, world.clock.mono_ns())
    assert (one.place, one.author, one.grant_id) == ("mic1", "kim", answer["grant_id"])
    assert one.until_mono_ns == world.clock.mono_ns() + PASS_NS
    told = world.service.handle({"op": "sessions"})["sessions"]
    assert [(each["kind"], each["place"], each["author"], each["reason"]) for each in told] == [
        ("listen", "mic1", "kim", "a scream")
    ]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"session": ""}, Code.NOT_SIGNED_IN), ({"session": "lee/viewer"}, Code.ROLE),
        ({"session": "control/program"}, Code.ROLE), ({"node": "mic99"}, Code.UNKNOWN_SOUND),
        ({"node": 5}, Code.MALFORMED), ({"reason": ""}, Code.MALFORMED), ({"reason": "   "}, Code.MALFORMED),
        ({"reason": None}, Code.MALFORMED), ({"for_s": 61.0}, Code.OUT_OF_RANGE), ({"for_s": 0.0}, Code.OUT_OF_RANGE),
        ({"for_s": float("nan")}, Code.NOT_FINITE), ({"for_s": "60"}, Code.MALFORMED),
    ],
)  # fmt: skip
def test_what_is_refused_begins_nothing(world: World, change: dict[str, Any], code: Code) -> None:
    answer = world.listen(**change)
    assert (answer["outcome"], answer["code"]) == ("refused", code)
    assert answer["text_ko"]
    assert not world.entries
    assert not world.told
    assert not any(world.listened.values())


def test_without_the_area_nobody_listens(world: World) -> None:
    world.no_area.add("s-kim")
    assert world.listen()["code"] == Code.AREA_NOT_HELD


def test_when_the_journal_cannot_take_the_entry_it_never_begins(world: World) -> None:
    world.full = True
    for answer in (world.listen(), world.talk()):
        assert (answer["outcome"], answer["code"]) == ("refused", Code.JOURNAL)
        assert "pass" not in answer
    assert not any(world.listened.values())
    assert not world.told
    assert not world.service.table.all()


def test_one_listener_at_a_node_one_node_for_a_person_and_few_at_once(world: World) -> None:
    assert world.listen("mic0", "a/operator")["outcome"] == "granted"
    taken = world.listen("mic0", "b/operator")
    assert taken["code"] == Code.SOUND_TAKEN
    assert "a" in taken["detail"]
    assert world.listen("mic1", "a/operator")["code"] == Code.SOUND_TAKEN
    for n in range(1, LISTENERS_MAX):
        assert world.listen(f"mic{n}", f"c{n}/operator")["outcome"] == "granted"
    assert world.listen("mic7", "z/operator")["code"] == Code.TOO_MANY


def test_it_ends_by_itself_after_its_time_however_often_it_is_renewed(world: World) -> None:
    grant = world.listen(for_s=30.0)["grant_id"]
    world.advance(29.0, grant)
    assert world.listened["mic1"]
    world.advance(1.5, grant)
    assert not world.listened["mic1"]
    assert world.ask("renew", grant_id=grant)["code"] == Code.GRANT_OVER
    (end,) = world.ends()
    assert (end["node"], end["author"], end["reason"], end["for_s"]) == ("mic1", "kim", "a scream", 30.0)
    assert end["why"] == "its time was over"
    assert world.told[-1][0] == "listen_in_ended"


def test_it_ends_when_the_asker_is_gone(world: World) -> None:
    grant = world.listen()["grant_id"]
    world.advance(5.0, grant)
    world.advance(ABSENT_NS / S + 0.5)
    (end,) = world.ends()
    assert end["why"] == "the asker was gone"
    assert 5.0 <= end["for_s"] <= 9.0
    assert not world.listened["mic1"]


@pytest.mark.parametrize(
    ("what", "why"),
    [("gone", "the session ended or locked"), ("demoted", "the session ended or locked"),
     ("no_area", "the area of authority was lost")],
)  # fmt: skip
def test_it_ends_with_session_role_and_area(world: World, what: str, why: str) -> None:
    grant = world.listen()["grant_id"]
    getattr(world, what).add("s-kim")
    assert world.ask("renew", grant_id=grant)["code"] == Code.GRANT_OVER, "with the very next renewal"
    assert [one["why"] for one in world.ends()] == [why]
    assert not world.listened["mic1"]


def test_its_holder_ends_it_and_a_supervisor_but_nobody_else(world: World) -> None:
    grant = world.listen()["grant_id"]
    assert world.ask("end", "lee/viewer", grant_id=grant)["code"] == Code.ROLE
    assert world.ask("end", "b/operator", grant_id=grant)["code"] == Code.ROLE
    assert world.ask("renew", "b/operator", grant_id=grant)["code"] == Code.GRANT_OVER, "it is somebody else's"
    assert world.ask("end", "park/supervisor", grant_id=grant) == {"outcome": "ended"}
    assert (world.ends()[0]["why"], world.ends()[0]["by"]) == ("ended by a supervisor", "park")
    grant = world.listen()["grant_id"]
    assert world.ask("end", grant_id=grant) == {"outcome": "ended"}
    assert world.ends()[1]["why"] == "ended by who asked for it"
    assert world.ask("end", grant_id=grant)["code"] == Code.GRANT_OVER


def test_speaking_needs_an_open_gate_and_a_silent_loudspeaker(world: World) -> None:
    world.closed = True
    assert world.talk()["code"] == Code.READ_ONLY
    world.closed, world.sounds = False, True
    assert world.talk()["code"] == Code.SOUNDING
    world.sounds = False
    answer = world.talk()
    assert opened(SECRET, "cameras", answer, world.clock.mono_ns()).place == "cam1"
    with pytest.raises(RequestError):
        opened(SECRET, "media", answer, world.clock.mono_ns())
    assert world.entries[0][0] == "talk_started"
    assert world.entries[0][1]["camera"] == "cam1"
    assert world.talk("b/operator")["code"] == Code.SOUND_TAKEN
    assert world.listen("mic1")["outcome"] == "granted", "who speaks may listen too"
    world.closed = True
    world.service.step()
    assert [(one.get("camera"), one["why"]) for one in world.ends()] == [("cam1", "the gate was closed")]


def test_what_a_killed_core_left_open_is_closed_in_the_journal(world: World) -> None:
    class Entry:
        def __init__(self, kind: str, data: dict[str, Any]) -> None:
            self.kind, self.data = kind, data

    world.listen("mic1", "a/operator")
    grant = world.listen("mic2", "b/operator")["grant_id"]
    world.ask("end", "b/operator", grant_id=grant)
    left = [Entry(*one) for one in world.entries]
    fresh = World()
    fresh.service.take_up(left)
    (end,) = fresh.ends()
    assert (end["node"], end["author"], end["why"]) == ("mic1", "a", "the core was started anew")
    assert not any(fresh.listened.values())


@pytest.mark.parametrize("cut", ["pass", "mac", "late", "door", "secret", "bit"])
def test_a_pass_that_is_not_the_core_s_of_now_opens_nothing(world: World, cut: str) -> None:
    answer = world.listen()
    now, secret = world.clock.mono_ns(), SECRET
    message: dict[str, Any] = {key: answer[key] for key in ("pass", "mac")}
    assert opened(secret, "media", message, now)
    match cut:
        case "late":
            now += PASS_NS
        case "door":
            message["remote_key"] = "tablet"
        case "secret":
            secret = b""
        case "bit":
            message["pass"] = bytes([message["pass"][0], message["pass"][1] ^ 1, *message["pass"][2:]])
        case _:
            del message[cut]
    with pytest.raises(RequestError):
        opened(secret, "media", message, now)


def test_unknown_requests_are_refused(world: World) -> None:
    assert world.ask("hear")["code"] == Code.MALFORMED
    assert world.ask("renew")["code"] == Code.MALFORMED
    assert world.ask("end", grant_id="x")["code"] == Code.GRANT_OVER
