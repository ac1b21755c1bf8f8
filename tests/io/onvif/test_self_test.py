"""Whose turn it is to be tested: once a day in the site's time, one after the other, whatever the clock does."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

from gwanje.core.clock import NS_PER_S, VirtualClock
from gwanje.core.commands.messages import Accepted
from gwanje.core.requests import Code, Refused
from gwanje.io.field.onvif import self_test
from gwanje.io.field.onvif.self_test import Timetable, Turn, turns_of

from .rig import fleet

SEOUL = "Asia/Seoul"
TURNS = [Turn("cam1", "a.cam1.chirp_command", 37_800), Turn("cam2", "a.cam2.chirp_command", 37_815)]


def at(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(SEOUL)).timestamp()) * NS_PER_S


def test_each_comes_once_a_day_in_the_site_s_time():
    table = Timetable(TURNS, SEOUL, at("2026-11-20T09:00:00"))
    seen = []
    for day in ("20", "21", "22"):
        for time in ("10:29:59", "10:30:02", "10:30:07", "10:30:16", "18:00:00", "23:59:59"):
            seen += [(day, time, one.camera) for one in table.due(at(f"2026-11-{day}T{time}"))]
    assert seen == [
        (day, time, camera)
        for day in ("20", "21", "22")
        for time, camera in (("10:30:02", "cam1"), ("10:30:16", "cam2"))
    ]


def test_a_turn_that_was_missed_for_long_waits_for_tomorrow():
    table = Timetable(TURNS, SEOUL, at("2026-11-20T09:00:00"))
    assert table.due(at("2026-11-20T14:00:00")) == []
    assert table.due(at("2026-11-20T14:00:05")) == []
    assert len(table.due(at("2026-11-21T10:30:20"))) == 2


def test_who_starts_after_the_time_waits_for_tomorrow_and_a_clock_set_back_is_no_flood():
    table = Timetable(TURNS, SEOUL, at("2026-11-20T10:30:30"))
    assert table.due(at("2026-11-20T10:31:00")) == []
    assert table.due(at("2026-11-19T10:00:00")) == []
    assert [one.camera for one in table.due(at("2026-11-19T10:30:01"))] == ["cam1"]


def test_cameras_of_one_time_follow_each_other_and_those_without_a_node_have_none():
    devices, _ = fleet(2)
    assert turns_of(devices, {"mic1"}) == [], "the rig's cameras have no node"
    devices = [replace(one, params={**one.params, "node": f"mic{n}"}) for n, one in enumerate(devices, 1)]
    assert [(one.camera, one.second) for one in turns_of(devices, {"mic1", "mic2"})] == [
        ("cam1", 37_800), ("cam2", 37_815)
    ]  # fmt: skip
    assert [one.camera for one in turns_of(devices, {"mic2"})] == ["cam2"]


def test_the_core_is_asked_for_each_and_a_refusal_is_told():
    async def scenario():
        clock = VirtualClock(utc_ns=at("2026-11-20T10:29:59"))
        table = Timetable(TURNS, SEOUL, clock.utc_ns())
        clock.advance_ns(60 * NS_PER_S)
        asked, told = [], []
        done = asyncio.Event()

        def write(point: str, reason: str):
            asked.append((point, reason))
            return Accepted("c1") if point == TURNS[0].point else Refused(Code.READ_ONLY, "")

        def tell(turn: Turn, refused: Refused) -> None:
            told.append((turn.camera, refused.code))
            done.set()

        task = asyncio.create_task(self_test.run(table, clock, write, tell))
        async with asyncio.timeout(10):
            await done.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert asked == [(one.point, "daily self-test") for one in TURNS]
        assert told == [("cam2", Code.READ_ONLY)]

    asyncio.run(scenario())
