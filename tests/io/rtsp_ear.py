"""What tests of the microphone driver share: the hub listening to some addresses, into a ring of its own."""

import asyncio
import tempfile
from pathlib import Path

import numpy as np

from gwanje.core.audio_ring import RingReader, RingWriter
from gwanje.core.clock import NS_PER_S, Clock, SystemClock
from gwanje.core.site.nodes import Node
from gwanje.io.field.health import Meter
from gwanje.io.field.rtsp.hub import TURN_NS, Hub
from gwanje.io.field.rtsp.link import Link
from gwanje.io.field.rtsp.session import Login

PATIENCE_S = 30.0
"""Deadline of every wait; only a failing test waits so long."""


class Ear:
    """The driver's hub with nodes of one's own; :meth:`listen` runs it until something holds."""

    def __init__(
        self, *urls: str, codec: str = "auto", transport: str = "tcp", login: Login | None = None,
        clock: Clock | None = None,
    ) -> None:  # fmt: skip
        self._folder = tempfile.TemporaryDirectory(dir="/dev/shm", prefix="gw-")
        self.clock = clock or SystemClock()
        self.nodes = [
            Node(f"mic{index:02}", "here", "골목", "alley", url, codec, 0.0, 0.0, False, {}, transport)
            for index, url in enumerate(urls)
        ]
        path = Path(self._folder.name) / "audio"
        self.ring = RingWriter.open(path, [one.name for one in self.nodes])
        self.reader = RingReader.attach(path)
        self.meter = Meter()
        logins = {} if login is None else {one.name: login for one in self.nodes}
        self.hub = Hub(self.nodes, logins, self.ring, self.clock, self.meter)

    def __enter__(self) -> "Ear":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def link(self) -> Link:
        """The first node's."""
        return self.hub.links[0]

    def position(self, index: int = 0) -> int:
        """Samples in a node's ring."""
        return self.reader.head(index).position

    def latest(self, n: int, index: int = 0) -> np.ndarray:
        """The newest samples of a node."""
        return self.reader.latest(index, n).samples

    def listen(self, done, what: str, patience_s: float = PATIENCE_S, pace_s: float = TURN_NS / NS_PER_S) -> float:
        """Turn until ``done()`` holds; seconds that it took."""
        real = SystemClock()
        began_ns = real.mono_ns()

        async def turns() -> None:
            while not done():
                self.hub.turn()
                took_s = (real.mono_ns() - began_ns) / NS_PER_S
                failures = [one.failure for one in self.hub.links][:5]
                assert took_s < patience_s, f"waited for {what}; failures {failures}, steps {self.link.step}"
                await asyncio.sleep(pace_s)

        asyncio.run(turns())
        return (real.mono_ns() - began_ns) / NS_PER_S

    def close(self) -> None:
        """Say goodbye and wipe the ring."""
        self.hub.close()
        self.ring.close()
        self._folder.cleanup()


def tone_of(samples: np.ndarray, rate_hz: int = 16_000) -> tuple[float, float]:
    """Frequency of the strongest tone in Hz, and its share of the whole power."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)))) ** 2
    spectrum[:5] = 0.0
    peak = int(np.argmax(spectrum))
    near = spectrum[max(0, peak - 4) : peak + 5].sum()
    return peak * rate_hz / len(samples), float(near / max(spectrum.sum(), 1e-9))
