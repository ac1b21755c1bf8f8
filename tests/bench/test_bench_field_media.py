"""Two hundred microphone streams: what a turn of the hub costs, without sockets, and with them where asked for."""

import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest

from gwanje.core.audio_ring import RingWriter
from gwanje.core.clock import VirtualClock
from gwanje.io.field.bench import PARTS
from gwanje.io.field.rtsp import bench, rtp
from gwanje.io.field.rtsp.intake import Intake, Mixer
from gwanje.io.field.rtsp.rtp import Order
from gwanje.io.field.rtsp.sdp import Format
from gwanje.io.field.rtsp.wire import ReplyParser

pytestmark = pytest.mark.bench
N = 200
FORMATS = {0: Format("PCMU", 8_000, 1, "PCMU"), 97: Format("L16", 16_000, 1, "L16")}


@pytest.mark.parametrize(("payload_type", "size", "ticks"), [(0, 320, 320), (97, 1_280, 640)])
def test_a_packet_of_200_streams_each_from_the_wire_to_the_ring(benchmark, payload_type, size, ticks):
    """Budget: 6 ms (30 µs a packet, 0.15 core); 2.5 ms on the machine it was written on."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        ring = RingWriter.open(Path(folder) / "audio", [f"mic{index:03}" for index in range(N)])
        clock, mixer = VirtualClock(), Mixer(N)
        parsers, orders = [ReplyParser() for _ in range(N)], [Order() for _ in range(N)]
        intakes = [Intake(index, ring, FORMATS, orders[index].counts) for index in range(N)]
        payload = np.random.default_rng(1).bytes(size)
        sent = 0

        def turn():
            nonlocal sent
            clock.advance_ns(40_000_000)
            header = struct.pack(">BBHII", 0x80, payload_type, sent & 0xFFFF, sent * ticks, 7)
            data = b"$\0" + (12 + size).to_bytes(2, "big") + header + payload
            sent += 1
            waiting = []
            for parser, order, intake in zip(parsers, orders, intakes, strict=True):
                for _channel, content in parser.feed(data):
                    waiting += [(intake, one) for one in order.take(rtp.parse(content, clock.mono_ns()))]
            mixer.take(waiting)

        benchmark(turn)
        assert all(intake.counts.bad == 0 for intake in intakes)
        assert intakes[-1].position == sent * 640
        ring.close()


def test_the_figures_of_the_microphones_are_registered():
    assert bench.__name__ in PARTS
