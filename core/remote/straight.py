"""A publisher straight at a door beyond the machine, without the part ``remote`` between: for measuring the bus alone.

It has the gate, the keys and the limits of :mod:`gwanje.core.remote.server`; what is missing is the hop through the
run directory, and the requests.
"""

from __future__ import annotations

from pathlib import Path

import zmq

from gwanje.core.authority.keys import ClientKey
from gwanje.core.bus.bus import HIGH_WATER, MAX_WIRE_BYTES, Mark, Publisher
from gwanje.core.clock import Clock
from gwanje.core.remote.gate import Gate, KeyRing, Refusals


class StraightPublisher:
    """Listens on a free port of 127.0.0.1. Use it from one thread.

    Args:
        folder: with the site's keys, as the security folder.
        run_dir: for the publisher's mark.
        part: under which it publishes.
        clock: of the machine.

    Raises:
        KeysError: there are no keys.
    """

    def __init__(self, folder: Path, run_dir: Path, part: str, clock: Clock) -> None:
        ring = KeyRing(folder, clock)
        assert ring.keys is not None, "a key ring without keys is not made"
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        refusals = Refusals(self._refused, clock)
        self.admitted = 0
        self._gate = Gate(self._context, ring, refusals, self._admit, clock)
        socket = self._context.socket(zmq.PUB)
        for option, value in (
            (zmq.LINGER, 0), (zmq.SNDHWM, HIGH_WATER), (zmq.MAXMSGSIZE, MAX_WIRE_BYTES), (zmq.CURVE_SERVER, 1),
        ):  # fmt: skip
            socket.setsockopt(option, value)
        socket.setsockopt(zmq.CURVE_SECRETKEY, ring.keys.server_secret)
        socket.setsockopt(zmq.ZAP_DOMAIN, b"*")
        self.port = socket.bind_to_random_port("tcp://127.0.0.1")
        self.publisher = Publisher(socket, part, clock, Mark(run_dir, part), with_sum=False)

    def _refused(self, class_name: str, source: str, text_ko: str, text_en: str, count: int) -> None:
        """Nobody listens to events of a measurement; who is refused hears nothing, and the measurement fails."""

    def _admit(self, _client: ClientKey) -> None:
        self.admitted += 1

    def step(self) -> None:
        """Let in who waits."""
        self._gate.step()

    def close(self) -> None:
        """End every connection."""
        self._gate.stop()
        self._context.destroy(linger=0)
