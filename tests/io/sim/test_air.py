"""What a simulated loudspeaker plays is heard by its node: later, softer, without a seam, and never by an error."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest

from gwanje.core.clock import NS_PER_S
from gwanje.core.sound.chirp import chirp, find
from gwanje.io.sim.air import BUFFER_NS, GAIN, RANGE_M, SPEED_M_S, Ears, Mouth
from gwanje.io.sim.street import Background, Street

PACKET = 640


class Nodes:
    """One node on a clock that the test moves; it hears nothing but the loudspeaker."""

    def __init__(self, codec: str = "L16") -> None:
        rate = 16_000 if codec == "L16" else 8_000
        self.packet = rate // 25
        self.street = Street(Background(np.zeros(50 * self.packet, np.int16), codec, self.packet))
        self.now_ns = 0

    def street_of(self, node: str) -> Street | None:
        return self.street if node == "mic1" else None

    def sample_at(self, node: str, mono_ns: int) -> int:
        rate = self.street.rate_hz
        unsent = (self.now_ns // 40_000_000 + 1) * self.packet
        return max(unsent, mono_ns * rate // NS_PER_S)

    def heard(self, seconds: float) -> np.ndarray:
        n = round(seconds * 25)
        return np.concatenate([self.street.samples(index) for index in range(n)])


@pytest.fixture
def folder():
    with tempfile.TemporaryDirectory(dir="/dev/shm") as path:
        yield Path(path)


@pytest.mark.parametrize("codec", ["L16", "PCMU"])
def test_the_test_sound_arrives_whole_later_and_softer(folder, codec):
    nodes = Nodes(codec)
    ears, mouth = Ears(folder, nodes), Mouth(folder)
    sound = chirp(8_000, -20.0)
    for number in range(0, len(sound), 160):
        mouth.say("mic1", sound[number : number + 160], NS_PER_S + number * 125_000)
        ears.take()
    rate = nodes.street.rate_hz
    found = find(nodes.heard(3.0)[: 3 * rate], rate)
    assert found.snr_db > 25.0, "no seams"
    assert abs(found.level_db - (-20.0 + 20 * np.log10(GAIN))) < 1.5
    begins_s = 1.0 + BUFFER_NS / NS_PER_S + RANGE_M / SPEED_M_S
    assert min(abs(found.delay_s - begins_s - shift) for shift in (0.0, 0.7)) < 0.002
    mouth.close()
    ears.close()
    assert not list(folder.iterdir())


def test_nobody_who_hears_and_nodes_that_are_not_there_are_no_error(folder):
    mouth = Mouth(folder)
    mouth.say("mic1", np.ones(160, np.int16), 0)
    assert mouth.lost == 1
    ears = Ears(folder, Nodes())
    mouth.say("mic9", np.ones(160, np.int16), 0)
    mouth._socket.sendto(b"x", mouth._path)
    ears.take()
    assert mouth.lost == 1
    mouth.close()
    ears.close()


def test_what_is_late_is_mixed_into_what_has_not_left(folder):
    nodes = Nodes()
    ears = Ears(folder, nodes)
    ears.hear("mic1", np.full(160, 8_000, np.int16), 0)
    nodes.now_ns = 2 * NS_PER_S
    ears.hear("mic1", np.full(160, 8_000, np.int16), NS_PER_S // 10)
    assert nodes.heard(3.0)[2 * 16_000 : 2 * 16_000 + 1_280].any()
    ears.close()
