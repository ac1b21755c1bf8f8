"""Samples reach the store at once and the bus in common frames, in order."""

from __future__ import annotations

import asyncio

import numpy as np

from gwanje.core.bus.messages import Event
from gwanje.io.field.outlet import BATCH_MAX, Outlet

from .modbus.fakes import Ears, run


def samples(*ids: int):
    return np.array(ids, np.int32), np.arange(len(ids), dtype=float), np.zeros(len(ids), np.uint16)


def test_devices_that_answer_together_share_a_frame_in_ascending_order():
    async def scenario():
        ears = Ears()
        outlet = Outlet(ears, ears)
        outlet.put(*samples(7, 9), 1, 1)
        outlet.put(*samples(2, 3), 1, 1)
        assert set(ears.latest) == {2, 3, 7, 9}, "the store does not wait"
        assert ears.frames == []
        async with asyncio.timeout(20):
            while not ears.frames:
                await asyncio.sleep(0)
        assert ears.frames == [[2, 3, 7, 9]]

    run(scenario)


def test_the_same_device_twice_makes_two_frames():
    async def scenario():
        ears = Ears()
        outlet = Outlet(ears, ears)
        for _ in range(2):
            outlet.put(*samples(7, 9), 1, 1)
        outlet.put(*samples(9), 1, 1)
        outlet.flush()
        assert ears.frames == [[7, 9], [7, 9], [9]]

    run(scenario)


def test_an_event_leaves_after_the_samples_before_it():
    async def scenario():
        order = []

        class Publisher(Ears):
            def scan(self, *columns):
                order.append("scan")

            def event(self, event):
                order.append("event")

        ears = Publisher()
        outlet = Outlet(ears, ears)
        outlet.put(*samples(1), 1, 1)
        outlet.event(Event("device", "a", "b", 1, 1, "ㄱ", "g"))
        assert order == ["scan", "event"]

    run(scenario)


def test_a_frame_is_bounded():
    async def scenario():
        ears = Ears()
        outlet = Outlet(ears, ears)
        outlet.put(*samples(*range(BATCH_MAX)), 1, 1)
        outlet.put(*samples(BATCH_MAX), 1, 1)
        assert [len(frame) for frame in ears.frames] == [BATCH_MAX]
        outlet.flush()
        assert len(ears.frames) == 2

    run(scenario)
