"""A turn of the core's loop: bounded whatever floods it, and no request ends it."""

import logging
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from gwanje.core.clock import NS_PER_S, VirtualClock
from gwanje.core.journal.chain import read
from gwanje.core.journal.desk import JournalDesk
from gwanje.core.journal.texts import describe
from gwanje.core.journal.writer import Journal
from gwanje.core.serving import SAME_BURST, TURN_MESSAGES, TURN_NS, Door, Mishaps, Serving


class Asked:
    def __init__(self, message: dict[str, Any]) -> None:
        self.message = message
        self.answers: list[dict[str, Any]] = []

    def reply(self, answer: dict[str, Any]) -> None:
        self.answers.append(answer)


class Inbox:
    """Requests that wait; an endless one is refilled as fast as it is read."""

    def __init__(self, *waiting: Asked, endless: bool = False) -> None:
        self.waiting = deque(waiting)
        self.endless = endless

    def receive(self, timeout_ms: int = 0) -> Asked | None:
        if self.endless:
            return Asked({"op": "again"})
        return self.waiting.popleft() if self.waiting else None


class Hall:
    def __init__(self, folder: Path) -> None:
        self.clock = VirtualClock(mono_ns=NS_PER_S)
        self.path = folder / "journal.jsonl"
        self.journal = Journal.open(self.path, self.clock)
        self.mishaps = Mishaps(JournalDesk(self.journal), self.clock, logging.getLogger("core"))
        self.served: list[str] = []
        self.cost_ns = 0

    def handler(self, name: str, fails: type[Exception] | None = None) -> Callable[..., None]:
        def handle(message: Mapping[str, Any], reply: Callable[[dict[str, Any]], None]) -> None:
            self.served.append(name)
            self.clock.advance_ns(self.cost_ns)
            if fails is not None:
                raise fails("the secret is 1234")
            reply({"outcome": "done"})

        return handle

    def serving(self, *doors: Door, also: tuple[Callable[[], int], ...] = ()) -> Serving:
        return Serving(doors, also, self.mishaps, self.clock)


@pytest.fixture
def hall(tmp_path: Path) -> Hall:
    return Hall(tmp_path)


@pytest.mark.parametrize("fails", [AssertionError, KeyError, RecursionError, ZeroDivisionError])
def test_a_request_that_raises_is_answered_journalled_counted_and_the_next_is_served(
    hall: Hall, fails: type[Exception]
) -> None:
    bad, good = Asked({"op": "begin\nagain"}), Asked({})
    serving = hall.serving(
        Door("command", Inbox(bad), hall.handler("command", fails)), Door("tags", Inbox(good), hall.handler("tags"))
    )
    assert serving.turn() is False
    assert [one["code"] for one in bad.answers] == ["internal"]
    assert bad.answers[0]["text_ko"]
    assert good.answers == [{"outcome": "done"}]
    assert hall.mishaps.n == 1
    told = list(read(hall.path))[-1]
    assert (told.kind, told.data["what"]) == ("request_failed", "command begin·again")
    assert fails.__name__ in told.data["why"]
    assert "test_serving.py" in told.data["why"], "the place"
    assert "1234" not in describe(told, "en"), "an error's text may hold a secret"


def test_the_same_mishap_is_told_seldom_and_counted(hall: Hall) -> None:
    fails = hall.handler("command", KeyError)
    for _ in range(50):
        hall.serving(Door("command", Inbox(Asked({"op": "x"})), fails)).turn()
    told = [one for one in read(hall.path) if one.kind == "request_failed"]
    assert (len(told), hall.mishaps.n) == (SAME_BURST, 50)
    hall.clock.advance_ns(61 * NS_PER_S)
    hall.serving(Door("command", Inbox(Asked({"op": "x"})), fails)).turn()
    assert list(read(hall.path))[-1].data["n"] == 50 - SAME_BURST + 1


def test_a_handler_that_answered_or_kept_the_way_back_is_answered_once(hall: Hall) -> None:
    kept: list[Any] = []

    def after(message: Mapping[str, Any], reply: Callable[[dict[str, Any]], None]) -> None:
        reply({"outcome": "done"})
        raise KeyError

    def before(message: Mapping[str, Any], reply: Callable[[dict[str, Any]], None]) -> None:
        kept.append(reply)
        raise KeyError

    first, second = Asked({}), Asked({})
    hall.serving(Door("a", Inbox(first), after), Door("b", Inbox(second), before)).turn()
    kept[0]({"outcome": "late"})
    assert first.answers == [{"outcome": "done"}]
    assert [one.get("code") for one in second.answers] == ["internal"]


def test_a_flood_ends_with_the_turn_and_the_others_are_served_between(hall: Hall) -> None:
    quiet = [Asked({"op": "quiet"}) for _ in range(3)]
    serving = hall.serving(
        Door("flood", Inbox(endless=True), hall.handler("flood")),
        Door("quiet", Inbox(*quiet), hall.handler("quiet")), also=(lambda: 10,),
    )  # fmt: skip
    assert serving.turn() is True, "more may be there: the loop must not sleep"
    assert hall.served.count("flood") <= TURN_MESSAGES
    assert all(one.answers for one in quiet), "they did not wait for the flood's end"


def test_slow_requests_end_the_turn_by_time(hall: Hall) -> None:
    hall.cost_ns = TURN_NS
    many = [Asked({}) for _ in range(5)]
    serving = hall.serving(Door("slow", Inbox(*many), hall.handler("slow")))
    assert [serving.turn() for _ in range(6)] == [True] * 5 + [False]
