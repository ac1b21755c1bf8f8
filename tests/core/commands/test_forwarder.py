"""The way to the owners: one line each, the newest of a point, nothing late."""

import select
import threading
from typing import Any

from gwanje.core.authority.principal import Role
from gwanje.core.bus import RequestRefusedError, RequestTimeoutError
from gwanje.core.clock import SystemClock, VirtualClock
from gwanje.core.commands.forwarder import WAIT_S, Forwarder
from gwanje.core.commands.messages import Command

S = 1_000_000_000


class Owners:
    """Services that answer when they are let."""

    def __init__(self) -> None:
        self.clock = VirtualClock(mono_ns=1_000 * S)
        self.gate = threading.Event()
        self.asked: list[tuple[str, str]] = []
        self.begun = threading.Semaphore(0)
        self.forwarder = Forwarder(self.request, self.clock)

    def request(self, name: str, message: dict[str, Any], timeout_ms: int) -> dict[str, Any]:
        self.asked.append((name, message["command_id"]))
        self.begun.release()
        if name == "commands.dead":
            assert self.gate.wait(20)
            raise RequestTimeoutError(name)
        if name == "commands.rude":
            raise RequestRefusedError("nothing of yours")
        return {"outcome": "accepted", "command_id": message["command_id"]}

    def submit(self, owner: str, command_id: str, point: str = "a.b.c", life_s: float = 5.0) -> None:
        now = self.clock.mono_ns()
        self.forwarder.submit(owner, Command(
            command_id, point, 1.0, "", "kim", Role.OPERATOR, "", "why", now, 0, now + round(life_s * S)
        ))  # fmt: skip

    def answers(self, count: int) -> dict[str, Any]:
        """The next answers by command."""
        found: dict[str, Any] = {}
        until = SystemClock().mono_ns() + 20 * S
        while len(found) < count and SystemClock().mono_ns() < until:
            select.select([self.forwarder.fileno()], [], [], 1)
            found |= dict(self.forwarder.answers())
        assert len(found) == count, found
        return found

    def close(self) -> None:
        self.gate.set()
        self.forwarder.close()


def test_a_dead_owner_holds_nobody_else_up() -> None:
    owners = Owners()
    owners.submit("dead", "c1")
    assert owners.begun.acquire(timeout=20)
    owners.submit("field", "c2")
    assert owners.answers(1)["c2"]["outcome"] == "accepted"
    owners.gate.set()
    assert owners.answers(1) == {"c1": None}
    owners.close()


def test_of_one_point_only_the_newest_is_sent() -> None:
    owners = Owners()
    owners.submit("dead", "c1")
    assert owners.begun.acquire(timeout=20)
    for number in (2, 3, 4):
        owners.submit("dead", f"c{number}")
    owners.submit("dead", "other", point="x.y.z")
    superseded = owners.answers(2)
    assert {one["code"] for one in superseded.values()} == {"superseded"}
    owners.gate.set()
    rest = owners.answers(3)
    assert set(rest) == {"c1", "c4", "other"}
    assert [one for _, one in owners.asked] == ["c1", "c4", "other"]
    owners.close()


def test_what_expired_or_waited_too_long_is_not_sent() -> None:
    owners = Owners()
    owners.submit("dead", "c1")
    assert owners.begun.acquire(timeout=20)
    owners.submit("dead", "short", point="p.q.r", life_s=0.5)
    owners.submit("dead", "long", point="s.t.u", life_s=60.0)
    owners.clock.advance_ns(round(WAIT_S * S) + 1)
    owners.gate.set()
    found = owners.answers(3)
    assert found["short"]["outcome"] == "expired"
    assert (found["long"]["outcome"], found["long"]["code"]) == ("refused", "refused_by_owner")
    assert [one for _, one in owners.asked] == ["c1"]
    owners.close()


def test_an_owner_that_does_not_want_it_is_a_refusal() -> None:
    owners = Owners()
    owners.submit("rude", "c1")
    assert owners.answers(1)["c1"]["code"] == "refused_by_owner"
    owners.close()
