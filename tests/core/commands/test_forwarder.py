"""The way to the owners: one line each, the newest of a point, nothing late."""

import select
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zmq

from gwanje.core.authority.principal import Role
from gwanje.core.bus.bus import Asker, Bus, RequestRefusedError
from gwanje.core.clock import NS_PER_S, SystemClock, VirtualClock
from gwanje.core.commands.forwarder import FORWARD_TIMEOUT_NS, WAIT_S, Forwarder
from gwanje.core.commands.messages import Command, owner_service
from gwanje.core.commands.owner import Office
from gwanje.core.tags.table import Tag, TagTable

SECRET = b"of this run"
TAGS = TagTable.build([Tag(name, "", "field", "setpoint", low=-9, high=9) for name in ("a.b.c", "p.q.r", "x.y.z")])


class Owner:
    """A connection to an owner that answers when it is told to."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.fails: Exception | None = None
        self.asked: list[str] = []
        self.ready: dict[str, Any] | None = None
        self.given_up = 0
        self.refuses = ""

    def ask(self, message: Mapping[str, Any]) -> None:
        if self.fails is not None:
            raise self.fails
        if self.refuses:
            raise RequestRefusedError(self.refuses)
        assert self.ready is None, "the answer before was not taken"
        self.sent.append(dict(message))
        self.asked.append(msgpack.unpackb(message["sealed"])["command_id"])

    def says(self) -> None:
        """Accept what was asked last."""
        self.ready = {"outcome": "accepted", "command_id": self.asked[-1]}

    def answer(self) -> dict[str, Any] | None:
        if self.fails is not None:
            raise self.fails
        answer, self.ready = self.ready, None
        if answer is not None and "error" in answer:
            raise RequestRefusedError(answer["error"])
        return answer

    def give_up(self) -> None:
        self.given_up += 1

    def close(self) -> None:
        self.asked.append("closed")


class Owners:
    """All owners, on a virtual clock."""

    def __init__(self) -> None:
        self.clock = VirtualClock(mono_ns=1_000 * NS_PER_S)
        self.of: dict[str, Owner] = {}
        self.shut = False
        self.opened = 0
        self.fails_to_open: Exception | None = None
        self.forwarder = Forwarder(self.open, self.clock, SECRET, lambda: self.shut)

    def open(self, service: str) -> Owner:
        if self.fails_to_open is not None:
            raise self.fails_to_open
        self.opened += 1
        return self.of.setdefault(service.removeprefix("commands."), Owner())

    def submit(self, owner: str, command_id: str, point: str = "a.b.c", life_s: float = 5.0) -> None:
        now = self.clock.mono_ns()
        self.forwarder.submit(owner, Command(
            command_id, point, 1.0, "", "kim", Role.OPERATOR, "", "why", now, 0, now + round(life_s * NS_PER_S)
        ))  # fmt: skip

    def answers(self) -> dict[str, Any]:
        return dict(self.forwarder.answers())


@pytest.fixture
def owners() -> Owners:
    return Owners()


def test_a_dead_owner_holds_nobody_else_up_and_is_given_up(owners: Owners) -> None:
    owners.submit("dead", "c1")
    owners.submit("field", "c2")
    owners.of["field"].says()
    assert owners.answers() == {"c2": {"outcome": "accepted", "command_id": "c2"}}
    owners.clock.advance_ns(FORWARD_TIMEOUT_NS - 1)
    assert owners.answers() == {}
    owners.clock.advance_ns(1)
    assert owners.answers() == {"c1": None}
    assert owners.of["dead"].given_up == 1, "what still waits for it may not reach it later"


def test_of_one_point_only_the_newest_is_sent(owners: Owners) -> None:
    for number in (1, 2, 3, 4):
        owners.submit("field", f"c{number}")
    owners.submit("field", "other", point="x.y.z")
    superseded = owners.answers()
    assert {name: one["code"] for name, one in superseded.items()} == {"c2": "superseded", "c3": "superseded"}
    for expected in ("c1", "c4", "other"):
        assert owners.of["field"].asked[-1] == expected
        owners.of["field"].says()
        assert list(owners.answers()) == [expected]
    assert owners.answers() == {}


def test_what_expired_or_waited_too_long_is_not_sent(owners: Owners) -> None:
    owners.submit("field", "c1")
    owners.submit("field", "short", point="p.q.r", life_s=0.5)
    owners.submit("field", "long", point="s.t.u", life_s=60.0)
    owners.clock.advance_ns(round(WAIT_S * NS_PER_S) + 1)
    found = owners.answers()
    assert found["c1"] is None
    assert found["short"]["outcome"] == "expired"
    assert (found["long"]["outcome"], found["long"]["code"]) == ("refused", "refused_by_owner")
    assert owners.of["field"].asked == ["c1"]


def test_a_command_that_is_over_when_it_comes_is_not_sent(owners: Owners) -> None:
    now = owners.clock.mono_ns()
    command = Command("c1", "a.b.c", 1.0, "", "kim", Role.OPERATOR, "", "why", now, 0, now + NS_PER_S)
    owners.clock.advance_ns(NS_PER_S)
    owners.forwarder.submit("field", command)
    assert owners.answers()["c1"]["outcome"] == "expired"
    assert owners.opened == 0


def test_an_owner_that_does_not_want_it_is_a_refusal(owners: Owners) -> None:
    owners.submit("rude", "c1")
    owners.of["rude"].ready = {"error": "nothing of yours"}
    answer = owners.answers()["c1"]
    assert (answer["code"], answer["detail"]) == ("refused_by_owner", "nothing of yours")
    owners.of["rude"].refuses = "too long"
    owners.submit("rude", "c2")
    assert owners.answers()["c2"]["detail"] == "too long"


class Free:
    """Gate open, no danger tag anywhere."""

    gate_closed = False

    def until_mono_ns(self, _tag_id: int) -> int:
        return 0


def test_what_is_sent_is_opened_by_its_owner_and_by_no_other(owners: Owners) -> None:
    taken: list[str] = []
    office = Office(
        "field", SECRET, TAGS, Free(), owners.clock, lambda one: taken.append(one.command_id), read_only=False
    )
    owners.clock.advance_ns(1)
    for number in range(3):  # at one moment of the clock: the order is kept all the same
        owners.submit("field", f"c{number}")
        owners.of["field"].ready = office.answer(owners.of["field"].sent[-1])
        assert owners.answers()[f"c{number}"]["outcome"] == "accepted"
    assert taken == ["c0", "c1", "c2"]
    owners.submit("control", "c3")
    assert office.answer(owners.of["control"].sent[-1])["code"] == "not_from_core"


@pytest.mark.parametrize("failure", [zmq.ZMQError(24, "Too many open files"), OSError(24, "Too many open files")])
def test_a_connection_that_fails_in_any_way_refuses_the_command_and_is_opened_anew(
    owners: Owners, failure: Exception
) -> None:
    owners.fails_to_open = failure
    owners.submit("field", "c1")
    assert owners.answers()["c1"]["code"] == "refused_by_owner"
    owners.fails_to_open = None
    owners.submit("field", "c2")
    owners.of["field"].fails = failure
    assert owners.answers() == {"c2": None}, "it has left: nobody knows"
    owners.submit("field", "c3")
    assert owners.answers()["c3"]["detail"].endswith("Too many open files")
    owners.of["field"].fails = None
    owners.submit("field", "c4")
    owners.of["field"].says()
    assert owners.answers()["c4"]["outcome"] == "accepted"
    assert owners.opened == 3


def test_what_waits_when_the_gate_closes_does_not_leave(owners: Owners) -> None:
    owners.submit("field", "c1")
    owners.submit("field", "c2", point="x.y.z")
    owners.shut = True
    owners.of["field"].says()
    answers = owners.answers()
    assert (answers["c1"]["outcome"], answers["c2"]["code"]) == ("accepted", "read_only")
    assert owners.of["field"].asked == ["c1"]


def the_answer(asker: Asker, waiting: select.poll) -> dict[str, Any] | None:
    """What comes within twenty seconds."""
    clock = SystemClock()
    deadline = clock.mono_ns() + 20 * NS_PER_S
    while (answer := asker.answer()) is None and clock.mono_ns() < deadline:
        waiting.poll(1_000)
    return answer


def test_a_connection_asks_without_waiting_and_takes_no_late_answer(tmp_path: Path) -> None:
    bus, waiting = Bus(tmp_path, "core", SystemClock()), select.poll()
    asker = bus.asker(owner_service("field"), waiting)
    asker.ask({"n": 1})
    assert asker.answer() is None
    asker.give_up()
    server = bus.server(owner_service("field"))
    asker.ask({"n": 2})
    request = server.receive(20_000)
    assert request is not None
    assert request.message == {"n": 2}, "the first was taken back"
    request.reply({"outcome": "accepted"})
    assert the_answer(asker, waiting) == {"outcome": "accepted"}
    asker.ask({"n": 3})
    late = server.receive(20_000)
    assert late is not None
    asker.ask({"n": 4})
    late.reply({"outcome": "late"})
    fresh = server.receive(20_000)
    assert fresh is not None
    fresh.refuse("not today")
    with pytest.raises(RequestRefusedError, match="not today"):  # and not the late answer
        the_answer(asker, waiting)
    with pytest.raises(RequestRefusedError, match="at most"):
        asker.ask({"text": "x" * 100_000})
    asker.close()
    server.close()
    bus.close()
