"""The bus of a console on another machine: what :class:`gwanje.core.bus.bus.Bus` offers to who hears and asks.

Everything is authenticated and encrypted with CURVE: the server by the public key in the bundle, the console by its
own. Who has the wrong key gets no answer at all, and cannot tell why: so says the protocol.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import zmq

from gwanje.core.authority.keys import Bundle
from gwanje.core.bus.bus import (
    HIGH_WATER,
    LIBZMQ_MIN,
    MAX_ANSWER_BYTES,
    MAX_WIRE_BYTES,
    PARTS,
    Doors,
    RequestTimeoutError,
    Subscriber,
    check_libzmq,
)  # fmt: skip
from gwanje.core.bus.scan import MAX_TABLE
from gwanje.core.bus.snapshot import SERVICE as SNAPSHOT
from gwanje.core.bus.snapshot import TagPicture
from gwanje.core.clock import NS_PER_S, Clock
from gwanje.core.remote.relay import SERVICE
from gwanje.core.remote.server import HANDSHAKE_MS, HEARTBEAT_MS, SILENT_MS
from gwanje.core.remote.settings import PUBLISH_PORT, REQUEST_PORT
from gwanje.core.tags.table import TagTable

RECONNECT_MS, RECONNECT_MS_MAX = 100, 2_000
"""A city that starts again is heard again within the second; one that is away is not hammered."""
OFFSET_NS = 30 * NS_PER_S
"""The clocks of two machines drift apart by a millisecond in this time."""


class RemoteBus:
    """A console's door to a city on another machine.

    Args:
        bundle: keys of this console, from ``gwanje keys add``.
        host: name or address of the city's machine.
        clock: of this machine.
        n_tags: length of the site's tag table.
        publish_port: of the site's ``[remote]`` table.
        request_port: of the site's ``[remote]`` table.
    """

    def __init__(
        self,
        bundle: Bundle,
        host: str,
        clock: Clock,
        n_tags: int = MAX_TABLE,
        publish_port: int = PUBLISH_PORT,
        request_port: int = REQUEST_PORT,
    ) -> None:
        check_libzmq(zmq.zmq_version_info())
        assert zmq.has("curve"), f"pyzmq's own libzmq {LIBZMQ_MIN} has CURVE"
        self._bundle, self.clock, self.n_tags = bundle, clock, n_tags
        self._publish, self._request = f"tcp://{host}:{publish_port}", f"tcp://{host}:{request_port}"
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._doors = Doors(self._door, clock)
        self._offset_lock = threading.Lock()
        self._ahead_ns = 0
        self._measured_mono_ns: int | None = None

    def _socket(self, kind: int) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        for option, value in (
            (zmq.LINGER, 0), (zmq.RECONNECT_IVL, RECONNECT_MS), (zmq.RECONNECT_IVL_MAX, RECONNECT_MS_MAX),
            (zmq.HANDSHAKE_IVL, HANDSHAKE_MS), (zmq.HEARTBEAT_IVL, HEARTBEAT_MS), (zmq.HEARTBEAT_TIMEOUT, SILENT_MS),
        ):  # fmt: skip
            socket.setsockopt(option, value)
        socket.setsockopt(zmq.CURVE_SERVERKEY, self._bundle.server_public)
        socket.setsockopt(zmq.CURVE_PUBLICKEY, self._bundle.public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, self._bundle.secret)
        return socket

    def _door(self, _name: str) -> zmq.Socket[bytes]:
        socket = self._socket(zmq.DEALER)
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_ANSWER_BYTES)
        socket.connect(self._request)
        return socket

    def subscriber(
        self, topics: Sequence[str], parts: Sequence[str] | None = None, high_water: int = HIGH_WATER
    ) -> Subscriber:
        """Hear topics (by prefix) of some or all parts; of those only that the site lets leave the machine."""
        socket = self._socket(zmq.SUB)
        socket.setsockopt(zmq.RCVHWM, high_water)
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_WIRE_BYTES)
        for topic in topics:
            socket.setsockopt(zmq.SUBSCRIBE, topic.encode())
        socket.connect(self._publish)
        heard = PARTS if parts is None else tuple(parts)
        return Subscriber(socket, self.n_tags, self.clock, heard, lambda: self._ahead_ns, check_sum=False)

    def request(self, name: str, message: Mapping[str, Any], timeout_ms: int = 2_000) -> dict[str, Any]:
        """Ask a service of the city and wait for its answer; from any thread.

        Raises:
            RequestTimeoutError: no answer within ``timeout_ms``: nobody is there, or one of the keys is not the right
                one, or this key was revoked.
            RequestRefusedError: the service or the relay answered with an error.
        """
        try:
            return self._doors.request("remote", [name.encode()], message, timeout_ms)
        except RequestTimeoutError:
            text = f"service {name!r} did not answer within {timeout_ms} ms: is the city there, and are the keys right?"
            raise RequestTimeoutError(text) from None

    def snapshot(self, table: TagTable, timeout_ms: int = 5_000) -> TagPicture:
        """A picture of all tags; see :meth:`gwanje.core.bus.bus.Bus.snapshot`."""
        self.measure_clock(timeout_ms)
        return TagPicture.read(self.request(SNAPSHOT, {}, timeout_ms), table)

    def measure_clock(self, timeout_ms: int = 2_000) -> int:
        """By how much the city's monotonic clock is ahead of this machine's, ns; right to half the round trip.

        Raises:
            RequestTimeoutError: nobody answers.
        """
        self.request(SERVICE, {"op": "clock"}, timeout_ms)  # the first one opens the connection
        sent = self.clock.mono_ns()
        answer = self.request(SERVICE, {"op": "clock"}, timeout_ms)
        came = self.clock.mono_ns()
        theirs = answer.get("mono_ns")
        if type(theirs) is not int:
            raise RequestTimeoutError("the city's machine does not tell its time")
        with self._offset_lock:
            self._ahead_ns = theirs - (sent + came) // 2
            self._measured_mono_ns = came
        return self._ahead_ns

    def mono_ns(self) -> int:
        """Monotonic time of the city's machine: what commands' times and values' ages are counted in.

        Raises:
            RequestTimeoutError: it was not measured for a while, and nobody answers.
        """
        now = self.clock.mono_ns()
        if self._measured_mono_ns is None or now - self._measured_mono_ns > OFFSET_NS:
            self.measure_clock()
        return self.clock.mono_ns() + self._ahead_ns

    def close(self) -> None:
        """Close every connection."""
        self._context.destroy(linger=0)
