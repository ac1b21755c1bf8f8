"""The site's own broker, spoken to with plain bytes: limits, wills, retained messages, hostile clients."""

import asyncio
import time

import pytest
from street_rig import run

from gwanje.io.field.mqtt import broker as module
from gwanje.io.field.mqtt import frames
from gwanje.io.field.mqtt.broker import Broker
from gwanje.io.field.mqtt.frames import Connect, Decoder, Publish


class Client:
    """One connection."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self._decoder = Decoder(1_000_000)
        self._waiting = []

    @classmethod
    async def join(cls, port, client_id, will=None, keepalive=60, user=None, password=b""):
        client = cls(*await asyncio.open_connection("127.0.0.1", port))
        client.send(frames.connect(Connect(client_id, keepalive, True, will, user, password)))
        return client, (await client.next()).body[1]

    def send(self, *packets):
        for one in packets:
            self.writer.write(one)

    async def next(self):
        async with asyncio.timeout(5.0):
            while not self._waiting:
                data = await self.reader.read(65_536)
                if not data:
                    return None
                self._waiting += self._decoder.feed(data)
        return self._waiting.pop(0)

    async def message(self):
        while (one := await self.next()) is not None:
            if one.kind == frames.PUBLISH:
                return frames.read_publish(one.flags, one.body)
        return None

    async def hear(self, *filters, qos=1):
        self.send(frames.subscribe(1, [(one, qos) for one in filters]))
        return list((await self.next()).body[2:])


def with_broker(body, **limits):
    async def whole():
        broker = Broker(limits.get("clients", 50), time.monotonic_ns, limits.get("user", ""), "word")
        await broker.open("127.0.0.1", 0)
        try:
            await body(broker)
        finally:
            await broker.close()

    run(whole)


def test_messages_retained_messages_and_wills():
    async def body(broker):
        one, _ = await Client.join(broker.port, "one", Publish("a/one", b"gone", 1, True))
        one.send(frames.publish(Publish("a/one", b"here", 1, True, 5)))
        assert (await one.next()).kind == frames.PUBACK
        two, _ = await Client.join(broker.port, "two")
        assert await two.hear("a/+") == [1]
        assert await two.message() == Publish("a/one", b"here", 1, True, 1)
        one.send(frames.publish(Publish("a/x", b"live")))
        assert await two.message() == Publish("a/x", b"live")
        one.writer.transport.abort()
        assert (await two.message()).payload == b"gone"
        three, _ = await Client.join(broker.port, "three")
        await three.hear("a/one")
        assert (await three.message()).payload == b"gone"
        three.send(frames.publish(Publish("a/one", b"", 0, True)))  # forgets it
        four, _ = await Client.join(broker.port, "four")
        await three.hear("b")  # the broker has handled what came before
        await four.hear("a/one")
        four.send(frames.packet(frames.PINGREQ))
        assert (await four.next()).kind == frames.PINGRESP

    with_broker(body)


def test_a_goodbye_publishes_no_will_a_takeover_does():
    async def body(broker):
        watch, _ = await Client.join(broker.port, "watch")
        await watch.hear("will/#")
        polite, _ = await Client.join(broker.port, "polite", Publish("will/polite", b"x"))
        polite.send(frames.packet(frames.DISCONNECT))
        assert await polite.next() is None
        first, _ = await Client.join(broker.port, "same", Publish("will/same", b"old"))
        second, _ = await Client.join(broker.port, "same", Publish("will/same", b"new"))
        assert await first.next() is None
        assert await watch.message() == Publish("will/same", b"old")
        assert broker.clients == 2
        second.writer.close()

    with_broker(body)


def test_quality_two_is_taken_once():
    async def body(broker):
        watch, _ = await Client.join(broker.port, "watch")
        await watch.hear("q")
        two, _ = await Client.join(broker.port, "two")
        message = frames.publish(Publish("q", b"1", 2, False, 7))
        two.send(message, message)
        assert [(await two.next()).kind for _ in range(2)] == [frames.PUBREC, frames.PUBREC]
        two.send(frames.answer(frames.PUBREL, 7))
        assert (await two.next()).kind == frames.PUBCOMP
        two.send(frames.publish(Publish("q", b"2")))
        assert [(await watch.message()).payload for _ in range(2)] == [b"1", b"2"]

    with_broker(body)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n", b"\x30\x05\x00\x03a/bx", b"\x10\x04\x00\x04MQ", b"\x10\xff\xff\xff\xff\xff",
    ],
)  # fmt: skip
def test_who_does_not_speak_mqtt_is_cut_off(data):
    async def body(broker):
        reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
        writer.write(data)
        async with asyncio.timeout(5.0):
            assert await reader.read() == b""
        assert broker.counts.cut == 1

    with_broker(body)


@pytest.mark.parametrize(
    "packet",
    [
        frames.packet(frames.PUBLISH, b"\x00\x02\xff\xfex", 0), frames.packet(frames.PUBLISH, b"\x00\x02a+x", 0),
        b"\x30" + b"\xff\xff\xff\x7f", frames.packet(frames.CONNACK, b"\x00\x00"), b"\x82\x00",
    ],
)  # fmt: skip
def test_hostile_packets_end_their_connection_alone(packet):
    async def body(broker):
        watch, _ = await Client.join(broker.port, "watch")
        await watch.hear("#")
        bad, _ = await Client.join(broker.port, "bad")
        bad.send(packet)
        assert await bad.next() is None
        good, _ = await Client.join(broker.port, "good")
        good.send(frames.publish(Publish("still", b"here")))
        assert (await watch.message()).topic == "still"

    with_broker(body)


def test_a_payload_of_256_kilobytes_passes():
    async def body(broker):
        watch, _ = await Client.join(broker.port, "watch")
        await watch.hear("big")
        one, _ = await Client.join(broker.port, "one")
        one.send(frames.publish(Publish("big", b"x" * 262_144)))
        assert len((await watch.message()).payload) == 262_144

    with_broker(body)


def test_a_slow_reader_loses_messages_then_its_connection_and_memory_stays(monkeypatch):
    monkeypatch.setattr(module, "BUFFER_MAX", 200_000)
    monkeypatch.setattr(module, "BUFFER_CUT", 400_000)

    async def body(broker):
        slow, _ = await Client.join(broker.port, "slow")
        await slow.hear("flood", qos=1)
        slow.reader._transport.pause_reading()
        fast, _ = await Client.join(broker.port, "fast")
        await fast.hear("flood", qos=0)
        one, _ = await Client.join(broker.port, "one")
        for _ in range(3_000):
            one.send(frames.publish(Publish("flood", b"y" * 10_000)))
            await one.writer.drain()
            if broker.counts.dropped:
                break
        assert broker.counts.dropped > 0
        assert broker.clients == 3  # of QoS 0 it only loses some
        for _ in range(3_000):
            one.send(frames.publish(Publish("flood", b"y" * 10_000, 1, False, 1)))
            await one.writer.drain()
            if broker.clients == 2:
                break
        assert broker.clients == 2  # of QoS 1 it may lose none

    with_broker(body)


def test_silent_clients_too_many_clients_and_accounts(monkeypatch):
    monkeypatch.setattr(module, "CONNECT_S", 0.2)
    monkeypatch.setattr(module, "SWEEP_S", 0.05)

    async def body(broker):
        reader, _ = await asyncio.open_connection("127.0.0.1", broker.port)
        async with asyncio.timeout(5.0):
            assert await reader.read() == b""  # it never said who it is
        one, code = await Client.join(broker.port, "one", keepalive=1, user="kim", password=b"word")
        assert code == frames.ACCEPTED
        assert await one.next() is None  # silent for one and a half of its time
        assert (await Client.join(broker.port, "x", user="kim", password=b"wrong"))[1] == frames.BAD_USER
        assert (await Client.join(broker.port, "x"))[1] == frames.BAD_USER
        held = [await Client.join(broker.port, f"c{n}", user="kim", password=b"word") for n in range(3)]
        reader, _ = await asyncio.open_connection("127.0.0.1", broker.port)
        async with asyncio.timeout(5.0):
            try:
                rest = await reader.read()
            except ConnectionResetError:
                rest = b""
        assert rest == b""  # turned away: closed or reset
        assert broker.counts.refused >= 3
        assert len(held) == 3

    with_broker(body, clients=3, user="kim")


def test_filters_are_checked_and_limited(monkeypatch):
    monkeypatch.setattr(module, "FILTERS_MAX", 2)

    async def body(broker):
        one, _ = await Client.join(broker.port, "one")
        assert await one.hear("a/#", "b#", "c", "d") == [1, 0x80, 1, 0x80]
        one.send(frames.packet(frames.UNSUBSCRIBE, b"\x00\x05\x00\x01c"))
        assert (await one.next()).kind == frames.UNSUBACK
        assert await one.hear("d") == [1]

    with_broker(body)


def test_what_is_retained_is_limited(monkeypatch):
    monkeypatch.setattr(module, "RETAINED_MAX", 3)

    async def body(broker):
        one, _ = await Client.join(broker.port, "one")
        for n in range(5):
            one.send(frames.publish(Publish(f"r/{n}", b"x", 1, True, n + 1)))
            await one.next()
        assert len(broker._retained) == 3
        one.send(frames.publish(Publish("r/0", b"new", 1, True, 9)))
        await one.next()
        assert broker._retained["r/0"].payload == b"new"

    with_broker(body)
