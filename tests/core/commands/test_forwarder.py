"""The way to the owners: one line each, the newest of a point, nothing late."""

import select
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gwanje.core.authority.principal import Role
from gwanje.core.bus import Asker, Bus, RequestRefusedError
from gwanje.core.clock import NS_PER_S, SystemClock, VirtualClock
from gwanje.core.commands.forwarder import FORWARD_TIMEOUT_NS, WAIT_S, Forwarder
from gwanje.core.commands.messages import Command, owner_service


class Owner:
    """A connection to an owner that answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.ready: dict[str, Any] | None = None
        self.given_up = 0
        self.refuses = ""

    def ask(self, message: Mapping[str, Any]) -> None:
        if self.refuses:
            raise RequestRefusedError(self.refuses)
        assert self.ready is None, "the answer before was not taken"
        self.asked.append(message["command_id"])

    def says(self) -> None:
        """Accept what was asked last."""
        self.ready = {"outcome": "accepted", "command_id": self.asked[-1]}

    def answer(self) -> dict[str, Any] | None:
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
        self.forwarder = Forwarder(lambda name: self.of.setdefault(name.removeprefix("commands."), Owner()), self.clock)

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
    assert owners.of["field"].asked == []


def test_an_owner_that_does_not_want_it_is_a_refusal(owners: Owners) -> None:
    owners.submit("rude", "c1")
    owners.of["rude"].ready = {"error": "nothing of yours"}
    answer = owners.answers()["c1"]
    assert (answer["code"], answer["detail"]) == ("refused_by_owner", "nothing of yours")
    owners.of["rude"].refuses = "too long"
    owners.submit("rude", "c2")
    assert owners.answers()["c2"]["detail"] == "too long"


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
