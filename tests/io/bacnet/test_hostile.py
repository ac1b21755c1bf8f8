"""A device that answers with changed, cut and foreign bytes: the link survives, and reads soundly or refuses."""

from __future__ import annotations

import asyncio
import math
import random

import pytest

from gwanje.io.field.bacnet.link import BacnetLink, unit_name
from gwanje.io.field.bacnet.stack import BacnetStack, RefusedError
from gwanje.io.field.bacnet.values import Flags, ObjectId, PropertyError
from gwanje.io.field.errors import InvalidReplyError, NoAnswerError
from gwanje.io.sim.city.heat_device import BacnetDevice, BacnetObject


class Liar(asyncio.DatagramProtocol):
    """Answers, and spoils what it says while it is told to."""

    def __init__(self, device: BacnetDevice, chance: random.Random) -> None:
        self.device, self.chance, self.lies = device, chance, False

    def connection_made(self, transport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr) -> None:
        for packet in self.device.receive(data, addr):
            self.transport.sendto(self.spoiled(packet) if self.lies else packet, addr)

    def spoiled(self, packet: bytes) -> bytes:
        chance = self.chance
        data = bytearray(packet)
        for _ in range(chance.randint(1, 5)):
            data[chance.randrange(4, len(data))] = chance.randrange(256)
        if chance.random() < 0.3:
            tail = bytes(chance.randrange(256) for _ in range(chance.randint(0, 9)))
            data = data[: chance.randint(4, len(data))] + tail
        if chance.random() < 0.9:
            data[2:4] = len(data).to_bytes(2, "big")
        return bytes(data)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, -1.0, 1e20, 1e300])
def test_a_unit_that_is_none_has_a_name_like_any_other(number):
    assert unit_name(number) not in ("", "no-units", unit_name(62.0))


def test_nothing_that_a_device_says_breaks_the_link():
    async def scenario():
        objects = {(0, n): BacnetObject(0, n, f"a{n}", 62, 20.0 + n) for n in range(1, 5)}
        device = BacnetDevice(1001, "d", "m", objects)
        loop = asyncio.get_running_loop()
        transport, liar = await loop.create_datagram_endpoint(
            lambda: Liar(device, random.Random(11)), local_addr=("127.0.0.1", 0)
        )
        stack = BacnetStack("127.0.0.1")
        port = transport.get_extra_info("sockname")[1]
        link = BacnetLink(lambda: stack, "127.0.0.1", port, 1001, 1.0, lambda *_: None, read_only=False)
        await link.identify()
        names = ("present-value", "status-flags")
        wanted = [(ObjectId("analog-input", n), name) for n in range(1, 5) for name in names]
        link._timeout_s = 0.02
        liar.lies = True
        outcomes = {"read": 0, "refused": 0}
        for _ in range(400):
            link._multiple, link._properties_max = True, 60
            try:
                found = await link.read(wanted)
            except (NoAnswerError, RefusedError, InvalidReplyError):
                outcomes["refused"] += 1
                continue
            outcomes["read"] += 1
            assert found.keys() == set(wanted)
            for content in found.values():
                assert content is None or isinstance(content, float | str | Flags | PropertyError)
        assert outcomes["refused"] > 50, outcomes
        liar.lies = False
        link._timeout_s, link._multiple, link._properties_max = 2.0, True, 60
        found = await link.read(wanted)
        assert [found[one] for one in wanted[::2]] == [21.0, 22.0, 23.0, 24.0]
        stack.close()
        transport.close()

    asyncio.run(scenario())
