"""Simulated MQTT things: each with a connection and a last will of its own, telling its state every few seconds."""

from __future__ import annotations

import asyncio
import heapq
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gwanje.core.city.part import PartContext
from gwanje.core.clock import NS_PER_S, Clock
from gwanje.core.site.config import Device
from gwanje.io.field.mqtt import frames
from gwanje.io.field.mqtt.frames import Connect, Decoder, FrameError, Publish
from gwanje.io.sim.city.family import CityFault
from gwanje.io.sim.city.mqtt_things_world import TELLERS, NodeLamp, World, payload
from gwanje.io.sim.faults import FaultError
from gwanje.io.sim.series import DAWN_S

KEEPALIVE_S = 60
"""Of each thing's connection; what it tells every half a minute keeps it alive too."""
JITTER = 0.2
"""Things do not tell in step."""
RECONNECT_S = 2.0
"""A thing whose broker is gone tries again after this long, with jitter."""
GREETED_S = 3.0
"""A broker that has not greeted a thing by then is left."""
TURN_S = 0.1
"""Grain of the things' clock."""
CONNECTS_PER_TURN = 20
"""Things that connect in one turn: 220 of them are there after a second."""
PACKET_MAX = 65_536
"""Bytes that a thing takes at once."""
FLOOD = 500
"""Messages a second of a thing that floods."""
BIG = 262_144
"""Bytes of a message that is too big."""

KINDS = {
    "silent": "connected, but tells nothing and obeys nothing",
    "will": "its connection is cut without a word: the broker publishes its last will",
    "stale": "goes on telling the state of an hour ago, retained",
    "garbage": "tells bytes that are no JSON",
    "wrong_type": "tells numbers as texts",
    "flood": f"tells its state {FLOOD} times a second",
    "big": "tells 256 KB at once",
    "bad_topic": "publishes to a topic that is no UTF-8",
    "stuck": "a lamp keeps its level whatever it is told; a sensor its values",
    "lamp_failure": "a lamp gives no light",
    "driver_failure": "a lamp's driver does not answer",
    "power_low": "a lamp draws too little",
    "power_high": "a lamp draws too much",
    "day_burner": "a lamp burns by day",
}
"""Kinds of faults, with what each does."""
LAMP_ONLY = frozenset({"lamp_failure", "driver_failure", "power_low", "power_high", "day_burner"})


@dataclass(slots=True, eq=False)
class Thing:
    """One thing and its connection."""

    device: Device
    kind: str
    prefix: str
    topic: str
    every_s: float
    lamp: NodeLamp | None
    fault: str = ""
    line: Line | None = None
    frozen: dict[str, Any] = field(default_factory=dict)
    told: int = 0
    turn: int = 0

    @property
    def name(self) -> str:
        """Of its device."""
        return self.device.name


class Line(asyncio.Protocol):
    """A thing's connection: greets, subscribes, publishes, obeys."""

    def __init__(self, things: MqttThings, thing: Thing) -> None:
        self._things = things
        self._thing = thing
        self._decoder = Decoder(PACKET_MAX)
        self._transport: asyncio.Transport | None = None
        self.ready = False
        self.spoken_mono_ns = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected: say who it is and what its last will is."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        will = Publish(f"{self._thing.prefix}/online", b"0", 1, True)
        self.write(frames.connect(Connect(self._thing.device.address, KEEPALIVE_S, True, will, None, b"")))

    def data_received(self, data: bytes) -> None:
        """Bytes of the broker."""
        try:
            for one in self._decoder.feed(data):
                self._take(one)
        except FrameError:
            self.cut()

    def _take(self, one: frames.Packet) -> None:
        match one.kind:
            case frames.CONNACK if one.body[1:2] == b"\0":
                self.ready = True
                if self._thing.lamp is not None:
                    self.write(frames.subscribe(1, [(f"{self._thing.prefix}/set", 1)]))
                self.write(frames.publish(Publish(f"{self._thing.prefix}/online", b"1", 1, True, 2)))
                self._things.greeted(self._thing)
            case frames.PUBLISH:
                message = frames.read_publish(one.flags, one.body)
                if message.qos:
                    self.write(frames.answer(frames.PUBACK, message.mid))
                self._things.told(self._thing, message.payload)
            case frames.CONNACK:
                self.cut()

    def connection_lost(self, error: Exception | None) -> None:
        """Gone."""
        if self._thing.line is self:
            self._thing.line = None
            self._things.lost(self._thing)

    def write(self, data: bytes) -> None:
        """Send, unless the broker does not read."""
        transport = self._transport
        if transport is None or transport.is_closing() or transport.get_write_buffer_size() > 4 * BIG:
            return
        self.spoken_mono_ns = self._things.mono_ns()
        transport.write(data)

    def cut(self) -> None:
        """Without a word."""
        if self._transport is not None:
            self._transport.abort()

    def leave(self) -> None:
        """With a word: no last will is published."""
        self.write(frames.packet(frames.DISCONNECT))
        if self._transport is not None:
            self._transport.close()


class MqttThings:
    """All simulated things of a site.

    Args:
        devices: simulated, driver ``mqtt``, behind a broker.
        brokers: name → (host, port).
        clock: of the machine.
        seed: of everything random.
        local_s: the world's time of day at the beginning.
        speed: of the world.
    """

    kinds: Mapping[str, str] = KINDS

    def __init__(
        self, devices: Sequence[Device], brokers: Mapping[str, tuple[str, int]], clock: Clock, seed: int,
        local_s: float, speed: float,
    ) -> None:  # fmt: skip
        self._clock = clock
        self._chance = random.Random(seed)
        self._brokers = brokers
        self._begin = clock.mono_ns(), local_s
        self._speed = speed
        self.world = World(local_s, seed)
        self.things = {one.name: self._thing(one) for one in devices}
        self.devices = tuple(self.things)
        self._due: list[tuple[float, int, str]] = []
        self._connects: list[tuple[float, int, str]] = []
        self._order = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None

    def _thing(self, device: Device) -> Thing:
        assert device.twin is not None, "only simulated things come here"
        params, kind = device.twin.params, device.twin.kind
        place = device.points[0].at["topic"].replace("{address}", device.address)
        lamp = None
        if kind == "mqtt_lamp":
            rated = float(params.get("rated_w", 40.0)) * self._chance.gauss(1.0, 0.015)
            lamp = NodeLamp(rated, rated * self._chance.uniform(2_000.0, 9_000.0))
        return Thing(device, kind, place.rpartition("/")[0], place, float(params.get("every_s", 30.0)), lamp)

    def mono_ns(self) -> int:
        """Monotonic time."""
        return self._clock.mono_ns()

    async def open(self) -> None:
        """Begin to connect."""
        for name in self.devices:
            self._later(self._connects, name, 0.0)
        self._task = asyncio.create_task(self._work(), name="mqtt things")

    async def close(self) -> None:
        """Leave for good."""
        tasks = [*self._tasks, *([self._task] if self._task is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for thing in self.things.values():
            if thing.line is not None:
                thing.line.leave()

    def _later(self, queue: list[tuple[float, int, str]], name: str, wait_s: float) -> int:
        self._order += 1
        heapq.heappush(queue, (self._clock.mono_ns() / NS_PER_S + wait_s, self._order, name))
        return self._order

    def _reconnect(self, thing: Thing) -> None:
        self._later(self._connects, thing.name, RECONNECT_S * self._chance.uniform(0.5, 1.5))

    def lost(self, thing: Thing) -> None:
        """Its connection is gone: it tries again soon."""
        thing.turn = 0
        if thing.fault != "will":
            self._reconnect(thing)

    async def _work(self) -> None:
        while True:
            now_ns = self._clock.mono_ns()
            self.world.local_s = self._begin[1] + (now_ns - self._begin[0]) / NS_PER_S * self._speed
            now_s = now_ns / NS_PER_S
            for _ in range(CONNECTS_PER_TURN):
                if not self._connects or self._connects[0][0] > now_s:
                    break
                thing = self.things[heapq.heappop(self._connects)[2]]
                task = asyncio.create_task(self._connect(thing))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            while self._due and self._due[0][0] <= now_s:
                _, order, name = heapq.heappop(self._due)
                if self.things[name].turn == order:  # what was planned for a connection that is gone counts no more
                    self._turn(self.things[name])
            await asyncio.sleep(TURN_S)

    async def _connect(self, thing: Thing) -> None:
        if thing.line is not None:
            return
        host, port = self._brokers[thing.device.via]
        loop = asyncio.get_running_loop()
        thing.line = line = Line(self, thing)
        try:
            await loop.create_connection(lambda: line, host, port)
        except OSError:
            thing.line = None
            self._reconnect(thing)
            return
        thing.turn = self._later(self._due, thing.name, GREETED_S)

    def greeted(self, thing: Thing) -> None:
        """The broker has taken it: tell at once, then every few seconds."""
        self._tell(thing)

    def _turn(self, thing: Thing) -> None:
        """It is a thing's time to tell, or to connect again."""
        line = thing.line
        if line is None:
            return
        if not line.ready:
            line.cut()  # it was never greeted: it tries anew
            return
        self._tell(thing)
        if (self._clock.mono_ns() - line.spoken_mono_ns) / NS_PER_S > KEEPALIVE_S / 2:
            line.write(frames.packet(frames.PINGREQ))
        every = TURN_S if thing.fault == "flood" else thing.every_s * self._chance.uniform(1.0 - JITTER, 1.0 + JITTER)
        thing.turn = self._later(self._due, thing.name, every)

    def _content(self, thing: Thing) -> dict[str, Any]:
        if thing.lamp is not None:
            thing.lamp.expire(self._clock.utc_ns())
            return thing.lamp.state(self.world)
        if thing.fault == "stuck" and thing.frozen:
            return thing.frozen
        thing.frozen = TELLERS[thing.kind](self.world, thing.name)
        return thing.frozen

    def _tell(self, thing: Thing) -> None:
        if thing.line is None or thing.fault in ("silent", "will"):
            return
        utc_ns = self._clock.utc_ns()
        content, times, topic = self._content(thing), 1, thing.topic
        data = payload(content, utc_ns)
        match thing.fault:
            case "stale":
                data = payload(content, utc_ns - 3600 * NS_PER_S)
            case "garbage":
                data = b"\xff\x00{not json"
            case "wrong_type":
                data = payload({key: str(value) for key, value in content.items()}, utc_ns)
            case "flood":
                times = round(FLOOD * TURN_S)
            case "big":
                data = b'{"x":"' + b"x" * BIG + b'"}'
            case "bad_topic":
                thing.line.write(frames.packet(frames.PUBLISH, b"\x00\x04\xff\xfe/x" + data, 0))
                return
        packed = frames.publish(Publish(topic, data, 0, thing.lamp is not None))
        for _ in range(times):
            thing.line.write(packed)
        thing.told += times

    def told(self, thing: Thing, data: bytes) -> None:
        """A command for a lamp."""
        if thing.lamp is None or thing.line is None or thing.fault in ("silent", "will"):
            return
        try:
            message = json.loads(data)
        except ValueError:
            message = None
        answer = thing.lamp.obey(message, self._clock.utc_ns(), self.world)
        data = json.dumps(answer, separators=(",", ":")).encode("utf-8")
        thing.line.write(frames.publish(Publish(f"{thing.prefix}/ack", data)))
        self._tell(thing)

    def works(self) -> Sequence[asyncio.Task[None]]:
        """See :class:`gwanje.io.sim.city.family.SimFamily`."""
        return [] if self._task is None else [self._task]

    async def set_fault(self, fault: CityFault) -> None:
        """Begin a fault.

        Raises:
            FaultError: a sensor cannot have it.
        """
        thing = self.things[fault.device]
        if fault.kind in LAMP_ONLY and thing.lamp is None:
            raise FaultError(f"{fault.device} is no lamp: it cannot have {fault.kind!r}")
        thing.fault = fault.kind
        if thing.lamp is not None:
            thing.lamp.held_pct = thing.lamp.level_pct(self.world)
            thing.lamp.fault = fault.kind if fault.kind in LAMP_ONLY or fault.kind == "stuck" else ""
        if fault.kind == "will" and thing.line is not None:
            thing.line.cut()
        else:
            self._tell(thing)

    async def clear_fault(self, device: str) -> None:
        """The thing is well again."""
        thing = self.things[device]
        thing.fault = ""
        if thing.lamp is not None:
            thing.lamp.fault = ""
        if thing.line is None:
            self._later(self._connects, device, 0.0)
        else:
            self._tell(thing)

    def state(self, device: str) -> Mapping[str, Any]:
        """What is true of a thing, whatever it says."""
        thing = self.things[device]
        common = {"fault": thing.fault, "connected": thing.line is not None and thing.line.ready, "told": thing.told}
        if thing.lamp is None:
            return {**common, **TELLERS[thing.kind](self.world, thing.name)}
        lamp = thing.lamp
        return {
            **common, "level_pct": lamp.level_pct(self.world), "load_w": lamp.load_w(self.world),
            "commanded_pct": lamp.commanded_pct(self.world), "overridden": lamp.override_pct == lamp.override_pct,
        }  # fmt: skip


def make(ctx: PartContext, devices: Sequence[Device]) -> MqttThings:
    """The family for a site's simulated things."""
    brokers = {one.name: (one.host, one.port) for one in ctx.site.devices if one.driver == "mqtt" and not one.via}
    things = [one for one in devices if one.via]
    options = ctx.options
    return MqttThings(things, brokers, ctx.clock, options.seed, DAWN_S + options.start_s, options.speed)
