"""The air between a simulated camera's loudspeaker and the simulated microphones at its pole: two processes of a city.

What the loudspeaker plays travels as datagrams of a socket in the run directory, in memory, 20 ms each, and is mixed
into the street that the node hears: later by the camera's own buffer and the way through the air, softer by the
distance. Who does not run hears nothing, and what finds no room in the socket is lost, as sound is. Nothing is kept.
"""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from gwanje.core.clock import NS_PER_S
from gwanje.io.sim.street import SoundError, Street

SOCKET_NAME = "air"
RATE_HZ = 8_000
"""Of the loudspeakers: G.711."""
RANGE_M = 3.0
"""From a pole's loudspeaker to its microphones."""
SPEED_M_S = 340.0
BUFFER_NS = 120_000_000
"""What a camera keeps before it plays."""
GAIN = 10.0 ** (-12.0 / 20.0)
"""From the loudspeaker's full scale to the microphone's, at :data:`RANGE_M`."""
GAP_NS = 300_000_000
"""After such a pause sound begins anew instead of following on."""
DATAGRAMS_MAX = 64
"""Taken in one turn: twenty cameras speak with 50 a second each, and a turn comes every 10 ms."""
DATAGRAM_BYTES_MAX = 4_096
_HEAD = struct.Struct("<qB")

Samples = npt.NDArray[np.int16]


class Mouth:
    """The loudspeakers' end.

    Args:
        run_dir: of the city.
    """

    def __init__(self, run_dir: Path) -> None:
        self._path = str(run_dir / SOCKET_NAME)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        self.lost = 0
        """Datagrams that nobody took."""

    def say(self, node: str, samples: Samples, mono_ns: int) -> None:
        """Let sound leave a loudspeaker.

        Args:
            node: at whose pole it stands.
            samples: (n,) at :data:`RATE_HZ`.
            mono_ns: when they reached the camera.
        """
        name = node.encode()
        data = _HEAD.pack(mono_ns, len(name)) + name + samples.astype("<i2").tobytes()
        try:
            self._socket.sendto(data, self._path)
        except OSError:
            self.lost += 1

    def close(self) -> None:
        """Fall silent."""
        self._socket.close()


class Streets(Protocol):
    """Where the nodes are; see :class:`gwanje.io.sim.microphone_server.MicrophoneServer`."""

    def street_of(self, node: str) -> Street | None:
        """What a node hears; ``None`` for one that is not simulated."""

    def sample_at(self, node: str, mono_ns: int) -> int:
        """Number of the sample that a node captures at a time; the next that has not left for a time that is past."""


@dataclass(slots=True)
class _Stream:
    """Sound of one loudspeaker on its way: where the next sample of the node goes, and what the last was."""

    next: int
    last: float
    heard_ns: int


class Ears:
    """The microphones' end.

    Args:
        run_dir: of the city.
        streets: of the nodes.
    """

    def __init__(self, run_dir: Path, streets: Streets) -> None:
        path = run_dir / SOCKET_NAME
        path.unlink(missing_ok=True)  # of a process before this one
        self._path, self._streets = path, streets
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        self._socket.bind(str(path))
        os.chmod(path, 0o600)
        self._streams: dict[str, _Stream] = {}
        self.lost = 0
        """Pieces that a node had no room for."""

    def take(self) -> None:
        """Mix in what has come."""
        for _ in range(DATAGRAMS_MAX):
            try:
                data = self._socket.recv(DATAGRAM_BYTES_MAX)
            except BlockingIOError:
                return
            if len(data) < _HEAD.size:
                continue
            mono_ns, length = _HEAD.unpack_from(data)
            body = data[_HEAD.size + length :]
            node = data[_HEAD.size : _HEAD.size + length].decode(errors="replace")
            self.hear(node, np.frombuffer(body[: len(body) // 2 * 2], "<i2").astype(np.int16), mono_ns)

    def hear(self, node: str, samples: Samples, mono_ns: int) -> None:
        """Let a node hear what its loudspeaker plays; arguments as :meth:`Mouth.say`."""
        street = self._streets.street_of(node)
        if street is None or not len(samples):
            return
        stream = self._streams.get(node)
        earliest = self._streets.sample_at(node, 0)
        if stream is None or mono_ns - stream.heard_ns > GAP_NS or stream.next < earliest:
            begins = mono_ns + BUFFER_NS + round(RANGE_M / SPEED_M_S * NS_PER_S)
            stream = self._streams[node] = _Stream(self._streets.sample_at(node, begins), 0.0, mono_ns)
        times = street.rate_hz // RATE_HZ
        known = np.concatenate([[stream.last], samples.astype(np.float64)])
        at = np.arange(1, len(samples) * times + 1) / times
        heard = np.rint(np.interp(at, np.arange(len(known)), known) * GAIN).astype(np.int16)
        try:
            street.add(heard, stream.next)
        except SoundError:
            self.lost += 1
        stream.next += len(heard)
        stream.last, stream.heard_ns = float(samples[-1]), mono_ns

    def close(self) -> None:
        """Hear no more."""
        self._socket.close()
        self._path.unlink(missing_ok=True)
