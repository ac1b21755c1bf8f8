"""Cameras and heat network without sockets: messages, packets of sound, readings."""

import numpy as np
import pytest

from gwanje.core.clock import NS_PER_S, VirtualClock
from gwanje.io.field.bacnet import bench as heat_bench
from gwanje.io.field.bacnet.values import Flags, Reading, judge
from gwanje.io.field.bench import PARTS
from gwanje.io.field.onvif import bench as camera_bench
from gwanje.io.field.onvif import messages
from gwanje.io.field.onvif.backchannel import PACKET_SAMPLES, mulaw
from gwanje.io.field.onvif.soap import Token, envelope, opened
from gwanje.io.sim.city.cameras import LOGIN
from gwanje.io.sim.city.cameras_soap import Camera
from gwanje.io.sim.city.heat_apdu import Asked, read_multiple_reply, unwrap
from gwanje.io.sim.city.heat_device import BacnetDevice, BacnetObject

pytestmark = pytest.mark.bench


def test_a_request_with_its_token(benchmark):
    """Budget: 60 µs."""
    body = messages.continuous_move("main", 0.1, 0.2, 0.3, 1.5)
    data = benchmark(lambda: envelope(body, Token("u", "p", 1_800_000_000 * NS_PER_S, b"0123456789abcdef")))
    assert b"<tptz:Timeout>PT1.50S</tptz:Timeout>" in data


def test_an_answer_with_a_position(benchmark):
    """Budget: 150 µs."""
    clock = VirtualClock()
    camera = Camera("c", "/c", LOGIN)
    asked = envelope(messages.get_status("main"), Token(*LOGIN, clock.utc_ns(), b"n"))
    _, data = camera.answer(asked, "/c/tptz", "h:1", clock.utc_ns(), clock.mono_ns())
    status = benchmark(lambda: messages.parse_status(opened(data, "GetStatusResponse")))
    assert status.position == messages.Position(0.0, 0.0, 0.0)


def test_a_packet_of_sound(benchmark):
    """Budget: 10 µs for 20 ms."""
    samples = np.arange(PACKET_SAMPLES, dtype=np.int16) * 100
    assert len(benchmark(mulaw, samples)) == PACKET_SAMPLES


def test_a_reading_judged(benchmark):
    """Budget: 10 µs."""
    assert benchmark(judge, Reading(21.5, Flags()), -20.0, 95.0, 1.0, 0.0)[0] == 21.5


def test_thirty_properties_answered_by_the_simulated_device(benchmark):
    """Budget: 1 ms."""
    device = BacnetDevice(1, "d", "m", {(0, n): BacnetObject(0, n, f"a{n}", 62, 20.0) for n in range(1, 11)})
    asked = [Asked(0, n, number) for n in range(1, 11) for number in (85, 111, 103)]
    content = benchmark(lambda: read_multiple_reply([(one, device._property(one)) for one in asked]))
    assert len(content) > 200
    assert unwrap(b"\x81\x0a\x00\x06\x01\x00") == b""


def test_the_figures_of_cameras_and_heat_are_registered():
    assert {camera_bench.__name__, heat_bench.__name__} <= set(PARTS)
