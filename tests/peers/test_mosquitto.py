"""Our MQTT driver and our simulated things against Eclipse Mosquitto, and our broker against paho-mqtt."""

import asyncio
import json
import signal
import threading
import time

import paho.mqtt.client as paho
import pytest
from street_rig import Mosquitto, Rig, broker_text, run, things_text

from gwanje.core.bench import program
from gwanje.core.tags.quality import Quality
from gwanje.io.field.mqtt.broker import Broker

MOSQUITTO = program("mosquitto")
needs_mosquitto = pytest.mark.skipif(MOSQUITTO is None, reason="peer absent: mosquitto is not installed")
LAMP = "eumseong.node2"


@pytest.fixture
def peer(tmp_path):
    started = Mosquitto(MOSQUITTO, tmp_path)
    yield started
    started.stop()


def street(port, extra=""):
    text = broker_text(port, extra) + things_text(
        "mqtt_lamp", "node", 1, 5, "n", "mqtt_lamp", 'params = { road_class = "M4" }'
    )
    return text + things_text("weather_station", "weather", 1, 2, "w", "weather_station")


@needs_mosquitto
def test_lamps_and_sensors_through_mosquitto(tmp_path, peer):
    async def body():
        async with Rig(tmp_path, street(peer.port), broker=False) as rig:
            await rig.all_online()
            await rig.until(lambda: rig.good(f"{LAMP}.load_w") and rig.good("eumseong.weather1.wind_speed"))
            _, outcomes = rig.order(f"{LAMP}.dim_setpoint_pct", 60)
            await rig.until(lambda: outcomes == [("accepted", "")])
            await rig.until(lambda: rig.value(f"{LAMP}.dim_pct") == 60.0)
            await rig.fault("node2", "will")
            await rig.until(lambda: rig.quality(f"{LAMP}.load_w") & Quality.COMM)
            await rig.clear("node2")
            await rig.until(lambda: rig.good(f"{LAMP}.load_w"))

    run(body)


@needs_mosquitto
def test_mosquitto_restarts(tmp_path, peer):
    async def body():
        async with Rig(tmp_path, street(peer.port), broker=False) as rig:
            await rig.all_online()
            await asyncio.to_thread(peer.stop)
            await rig.until(lambda: rig.online() == 0)
            assert rig.quality(f"{LAMP}.load_w") & Quality.COMM
            await asyncio.to_thread(peer.start)
            await rig.all_online()
            await rig.until(lambda: rig.good(f"{LAMP}.load_w"))

    run(body)


@needs_mosquitto
@pytest.mark.parametrize("kind", ["garbage", "wrong_type", "big", "bad_topic", "flood"])
def test_hostile_things_through_mosquitto(tmp_path, peer, kind):
    async def body():
        async with Rig(tmp_path, street(peer.port, ", queue = 100"), broker=False) as rig:
            await rig.all_online()
            await rig.until(lambda: rig.good(f"{LAMP}.load_w"))
            await rig.fault("node2", kind)
            if kind == "flood":
                await rig.until(lambda: rig.drivers["broker"].link.inbox.taken > 1_000)
                assert rig.good(f"{LAMP}.load_w")
            else:
                await rig.until(lambda: not rig.good(f"{LAMP}.load_w"))
            assert rig.good("eumseong.node1.load_w")
            await rig.clear("node2")
            await rig.until(lambda: rig.good(f"{LAMP}.load_w"))

    run(body)


@needs_mosquitto
def test_a_frozen_mosquitto_is_noticed(tmp_path, peer):
    async def body():
        async with Rig(tmp_path, street(peer.port, ", keepalive_s = 5"), broker=False) as rig:
            await rig.all_online()
            peer.process.send_signal(signal.SIGSTOP)
            try:
                await rig.until(lambda: rig.online() == 0, 30.0)
            finally:
                peer.process.send_signal(signal.SIGCONT)
            await rig.all_online(30.0)

    run(body, 90.0)


class Paho:
    """A client of the library that everybody uses, in its own thread."""

    def __init__(self, port, name, will=None):
        self.heard = []
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, name, protocol=paho.MQTTv311)
        self.subscribed = 0
        self.client.on_message = self._hear
        self.client.on_subscribe = self._count
        if will is not None:
            self.client.will_set(*will)
        self.client.connect("127.0.0.1", port, 30)
        self.client.loop_start()

    def _hear(self, client, data, one):
        self.heard.append((one.topic, one.payload, one.qos, one.retain))

    def _count(self, *_):
        self.subscribed += 1

    def until(self, condition):
        deadline = time.monotonic() + 10.0
        while not condition():
            assert time.monotonic() < deadline, self.heard
            threading.Event().wait(0.01)


def test_our_broker_serves_paho_with_every_quality():
    def speak(port):
        hears = Paho(port, "hears")
        hears.until(hears.client.is_connected)
        hears.client.subscribe([("t/#", 1)])
        hears.until(lambda: hears.subscribed == 1)
        says = Paho(port, "says", ("t/will", b"gone", 1, True))
        says.until(says.client.is_connected)
        for qos in (0, 1, 2):
            says.client.publish(f"t/{qos}", json.dumps({"qos": qos}), qos).wait_for_publish(10.0)
        says.client.publish("t/kept", b"kept", 1, True).wait_for_publish(10.0)
        hears.until(lambda: len(hears.heard) == 4)
        assert [one[2] for one in hears.heard] == [0, 1, 1, 1]
        says.client._sock_close()
        hears.until(lambda: len(hears.heard) == 5)
        assert hears.heard[-1][:2] == ("t/will", b"gone")
        late = Paho(port, "late")
        late.until(late.client.is_connected)
        late.client.subscribe("t/kept")
        late.until(lambda: late.heard == [("t/kept", b"kept", 0, True)])
        for one in (hears, says, late):
            one.client.disconnect()
            one.client.loop_stop()

    async def body():
        broker = Broker(10, time.monotonic_ns)
        await broker.open("127.0.0.1", 0)
        try:
            await asyncio.to_thread(speak, broker.port)
        finally:
            await broker.close()

    run(body)
