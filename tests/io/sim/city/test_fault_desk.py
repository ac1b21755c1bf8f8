"""Faults of simulated devices: set, replaced, cleared, timed, and every bad request refused with what would do."""

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest

from gwanje.io.sim.city import family as module
from gwanje.io.sim.city.family import CityFault, FaultDesk, parse_fault
from gwanje.io.sim.faults import FOR_S_MAX, FaultError


class Lamps:
    """A family of two lamps that notes what happens to it."""

    kinds: Mapping[str, str] = MappingProxyType({"dark": "burns no more", "flicker": "goes on and off"})

    def __init__(self, *devices: str) -> None:
        self.devices = devices
        self.faults: dict[str, CityFault] = {}
        self.cleared: list[str] = []
        self.breaks = False

    async def open(self) -> None:
        raise AssertionError("the desk opens nothing")

    async def close(self) -> None:
        raise AssertionError("the desk closes nothing")

    async def set_fault(self, fault: CityFault) -> None:
        if fault.params.get("depth") == "deep":
            raise FaultError("depth must be a number")
        self.faults[fault.device] = fault

    async def clear_fault(self, device: str) -> None:
        if self.breaks:
            raise RuntimeError("bug of the family")
        self.faults.pop(device, None)
        self.cleared.append(device)

    def state(self, device: str) -> Mapping[str, Any]:
        return {"burns": device not in self.faults}


class Signals(Lamps):
    kinds = MappingProxyType({"conflict": "two greens"})


@pytest.fixture
def lamps():
    return Lamps("lamp1", "lamp2")


@pytest.fixture
def desk(lamps):
    signals = Signals("cross1")
    return FaultDesk({"lamp1": lamps, "lamp2": lamps, "cross1": signals})


def ask(desk, *messages):
    """The answers to several requests, one after another."""

    async def all_of() -> list[dict[str, Any]]:
        return [await desk.handle(one) for one in messages]

    return asyncio.run(all_of())


async def until(condition, within_s=10.0):
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.001)


def test_a_fault_stands_until_it_is_cleared(desk, lamps):
    fault = {"op": "fault", "device": "lamp1", "kind": "dark", "depth": 3}
    answers = ask(desk, fault, {"op": "list"}, {"op": "state", "device": "lamp1"}, {"op": "state", "device": "lamp2"})
    assert answers[0] == {"ok": True}
    assert answers[1] == {"ok": True, "faults": {"lamp1": "dark"}}
    assert [one["state"] for one in answers[2:]] == [{"burns": False}, {"burns": True}]
    assert lamps.faults["lamp1"] == CityFault("lamp1", "dark", 0.0, {"depth": 3})
    assert ask(desk, {"op": "clear", "device": "lamp1"}, {"op": "list"})[1]["faults"] == {}
    assert lamps.cleared == ["lamp1"]


def test_clearing_without_a_device_clears_all_that_stands(desk, lamps):
    ask(
        desk,
        {"op": "fault", "device": "lamp1", "kind": "dark"},
        {"op": "fault", "device": "cross1", "kind": "conflict"},
        {"op": "clear"},
    )
    assert desk.standing == {}
    assert lamps.cleared == ["lamp1"]


def test_each_family_tells_its_menu_once(desk):
    assert ask(desk, {"op": "kinds"}) == [{"ok": True, "kinds": {"lamp1": ["dark", "flicker"], "cross1": ["conflict"]}}]


def test_a_fault_with_a_time_ends_by_itself(desk, lamps):
    async def scenario():
        await desk.handle({"op": "fault", "device": "lamp1", "kind": "dark", "for_s": 0.01})
        assert "lamp1" in desk.standing
        await until(lambda: lamps.cleared == ["lamp1"])
        desk.check()
        assert desk.standing == {}

    asyncio.run(scenario())


def test_a_fault_in_the_place_of_a_timed_one_is_not_ended_by_its_timer(desk, lamps):
    async def scenario():
        await desk.handle({"op": "fault", "device": "lamp1", "kind": "dark", "for_s": 0.01})
        await desk.handle({"op": "fault", "device": "lamp1", "kind": "flicker"})
        await desk.handle({"op": "fault", "device": "lamp2", "kind": "dark", "for_s": 0.05})
        await until(lambda: lamps.cleared == ["lamp2"])
        assert desk.standing["lamp1"].kind == "flicker"
        await desk.close()

    asyncio.run(scenario())


def test_a_refused_fault_leaves_the_present_one_its_end(desk, lamps):
    async def scenario():
        await desk.handle({"op": "fault", "device": "lamp1", "kind": "dark", "for_s": 0.02})
        answer = await desk.handle({"op": "fault", "device": "lamp1", "kind": "flicker", "depth": "deep"})
        assert answer == {"error": "depth must be a number"}
        assert desk.standing["lamp1"].kind == "dark"
        await until(lambda: lamps.cleared == ["lamp1"])

    asyncio.run(scenario())


def test_closing_ends_the_timers(desk, lamps):
    async def scenario():
        await desk.handle({"op": "fault", "device": "lamp1", "kind": "dark", "for_s": 60})
        await desk.close()
        assert lamps.cleared == []
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(scenario())


def test_a_bug_of_a_family_at_the_end_of_a_fault_is_raised(desk, lamps):
    lamps.breaks = True

    async def scenario():
        await desk.handle({"op": "fault", "device": "lamp1", "kind": "dark", "for_s": 0.001})
        await until(lambda: not desk.standing)
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="bug of the family"):
            desk.check()
        desk.check()

    asyncio.run(scenario())


def test_there_is_an_end_to_faults_but_one_may_be_replaced(desk, monkeypatch):
    monkeypatch.setattr(module, "FAULTS_MAX", 1)
    answers = ask(
        desk,
        {"op": "fault", "device": "lamp1", "kind": "dark"},
        {"op": "fault", "device": "lamp2", "kind": "dark"},
        {"op": "fault", "device": "lamp1", "kind": "flicker"},
    )
    assert answers == [{"ok": True}, {"error": "1 faults stand already"}, {"ok": True}]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({}, "unknown op None; known: fault, clear, state, kinds, list"),
        ({"op": ["fault"]}, "unknown op ['fault']"),
        ({"op": "fault"}, "unknown device None; this city simulates 3, such as lamp1"),
        ({"op": "fault", "device": "lamp9", "kind": "dark"}, "unknown device 'lamp9'"),
        ({"op": "fault", "device": ["lamp1"], "kind": "dark"}, "unknown device ['lamp1']"),
        ({"op": "fault", "device": "lamp1"}, "unknown kind None for lamp1; known: dark, flicker"),
        ({"op": "fault", "device": "lamp1", "kind": "conflict"}, "unknown kind 'conflict' for lamp1"),
        ({"op": "fault", "device": "lamp1", "kind": {}}, "unknown kind {} for lamp1"),
        ({"op": "fault", "device": "lamp1", "kind": "dark", "for_s": -1}, "for_s must be 0 … 86400, is -1"),
        ({"op": "fault", "device": "lamp1", "kind": "dark", "for_s": True}, "for_s must be 0 … 86400, is True"),
        ({"op": "fault", "device": "lamp1", "kind": "dark", "for_s": "9"}, "for_s must be 0 … 86400, is '9'"),
        ({"op": "fault", "device": "lamp1", "kind": "dark", "for_s": float("nan")}, "for_s must be 0 … 86400, is nan"),
        ({"op": "clear", "device": "lamp9"}, "unknown device 'lamp9'"),
        ({"op": "clear", "device": {}}, "unknown device {}"),
        ({"op": "state"}, "unknown device None"),
        ({"op": "state", "device": ["lamp1"]}, "unknown device ['lamp1']"),
    ],
)
def test_a_bad_request_is_refused_with_the_reason(desk, message, reason):
    (answer,) = ask(desk, message)
    assert set(answer) == {"error"}
    assert reason in answer["error"]
    assert desk.standing == {}


def test_the_longest_fault_is_taken(lamps):
    fault = parse_fault({"device": "lamp1", "kind": "dark", "for_s": FOR_S_MAX}, {"lamp1": lamps})
    assert fault.for_s == FOR_S_MAX


def test_a_city_without_devices_says_so():
    with pytest.raises(FaultError, match="simulates 0, such as none"):
        parse_fault({"device": "lamp1", "kind": "dark"}, {})
