"""What the simulator costs; the whole city may use one core, the simulator a fifth of it."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from gwanje.core.site.config import Device
from gwanje.io.sim.images import build_image
from gwanje.io.sim.mbap import Framer, frame, respond
from gwanje.io.sim.plant import Plant

pytestmark = pytest.mark.bench


def test_plant_step(benchmark: Any, plant: Plant) -> None:
    """Budget: 200 µs, 2 % of a core at 100 Hz."""
    benchmark(plant.advance, 0.01)


def test_request_after_every_step(benchmark: Any, plant: Plant, devices: dict[str, Device]) -> None:
    """Budget: 25 µs for a 107-register read of a battery whose every moving point is packed anew."""
    image, framer = build_image(devices["ess1"], plant), Framer()
    request = struct.pack(">HHHBBHH", 1, 0, 6, 1, 3, 40070, 107)

    def serve() -> bytes:
        plant.steps += 1
        (transaction, unit, pdu) = framer.feed(request)[0]
        return frame(transaction, unit, respond(image, pdu))

    assert len(benchmark(serve)) == 9 + 214
