"""The request door: takes requests from beyond the machine, hands them to local services, brings the answers back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgpack
import zmq

from gwanje.core.authority.keys import ClientKey
from gwanje.core.bus.bus import MAX_REQUEST_BYTES, REQUEST_LIMITS, Bus
from gwanje.core.bus.msgpack_map import FrameError, unpack_map
from gwanje.core.bus.rate import RateLimit
from gwanje.core.clock import NS_PER_S, Clock
from gwanje.core.remote.rules import READS, refused, stamped

SERVICE = "remote"
"""Answered here: ``{"op": "clock"}`` tells the machine's time and who asks."""
REQUESTS_PER_S, REQUEST_BURST = 50.0, 100
"""Of one key. A console asks a few times a second, and some tens of times when it starts."""
ANSWERS_PER_S, ANSWER_BURST = 5.0, 10
"""Refusals that a flooding key is told; what is beyond is dropped without a word."""
MAX_PENDING, MAX_PENDING_PER_KEY = 256, 16
"""Requests on their way. The core answers in milliseconds; a sign-in takes some tenths of a second."""
PENDING_NS = 15 * NS_PER_S
"""An answer that comes later is dropped; whoever asked gave up long before."""


@dataclass(slots=True)
class _Pending:
    identity: bytes
    request_id: bytes
    key: str
    until_mono_ns: int


class Relay:
    """Between one ROUTER beyond the machine and the local services. Use it from one thread.

    Args:
        bus: door to the local services.
        clock: of the machine.
        named: a live key by its name, None for one that is revoked.
        note: called with reason and source of what is refused.
    """

    def __init__(
        self, bus: Bus, clock: Clock, named: Callable[[str], ClientKey | None], note: Callable[[str, str], None]
    ) -> None:
        self._clock, self._named, self._note = clock, named, note
        self.doors = {service: bus.door(service, only_running=True) for service in READS}
        self._pending: dict[bytes, _Pending] = {}
        self._per_key: dict[str, int] = {}
        self._count = 0
        self._rate = RateLimit(REQUESTS_PER_S, REQUEST_BURST)
        self._answers = RateLimit(ANSWERS_PER_S, ANSWER_BURST)
        self._outside: zmq.Socket[bytes] | None = None
        self.relayed = 0

    def attach(self, outside: zmq.Socket[bytes]) -> None:
        """Take requests from this socket from now on; what was on its way for another has nowhere to go."""
        self._outside = outside
        self._pending.clear()
        self._per_key.clear()

    def take(self) -> bool:
        """Take one request; whether there was one."""
        assert self._outside is not None, "attach() comes first"
        try:
            frames = self._outside.recv_multipart(zmq.DONTWAIT, copy=False)
        except zmq.Again:
            return False
        client = self._named(_user_of(frames[0]))
        identity = frames[0].bytes
        if client is None:
            self._note("revoked_key", "")
            return True
        if len(frames) != 4 or len(frames[1]) > 64 or len(frames[2]) > 64 or len(frames[3]) > MAX_REQUEST_BYTES:
            self._note("malformed", client.name)
            return True
        request_id = frames[1].bytes
        if not self._rate.take(client.name, self._clock.mono_ns()):
            self._note("flood", client.name)
            if self._answers.take(client.name, self._clock.mono_ns()):
                self._error(identity, request_id, f"more than {REQUESTS_PER_S:g} requests a second")
            return True
        try:
            service = frames[2].bytes.decode("ascii")
            message = unpack_map(frames[3].bytes, REQUEST_LIMITS)
        except (FrameError, UnicodeDecodeError) as error:
            self._note("malformed", client.name)
            self._error(identity, request_id, str(error))
            return True
        if service == SERVICE:
            self._tell(identity, request_id, client)
            return True
        why = refused(service, message.get("op", ""), client.role)
        if why:
            self._note("not_allowed", client.name)
            self._error(identity, request_id, why)
            return True
        self._hand_on(_Pending(identity, request_id, client.name, self._clock.mono_ns() + PENDING_NS), service,
                      msgpack.packb(stamped(message, client.name, client.role)))  # fmt: skip
        return True

    def _hand_on(self, pending: _Pending, service: str, body: bytes) -> None:
        self._forget_late()
        if len(body) > MAX_REQUEST_BYTES:
            self._error(pending.identity, pending.request_id, f"request of {len(body)} bytes")
            return
        if len(self._pending) >= MAX_PENDING or self._per_key.get(pending.key, 0) >= MAX_PENDING_PER_KEY:
            self._note("flood", pending.key)
            self._error(pending.identity, pending.request_id, "too many requests are on their way")
            return
        self._count += 1
        relay_id = self._count.to_bytes(8, "little")
        try:
            self.doors[service].send_multipart([relay_id, body], zmq.DONTWAIT)
        except zmq.Again:
            self._error(pending.identity, pending.request_id, f"service {service!r} does not answer")
            return
        self._pending[relay_id] = pending
        self._per_key[pending.key] = self._per_key.get(pending.key, 0) + 1
        self.relayed += 1

    def answers(self) -> bool:
        """Bring back every answer that waits; whether there was one."""
        worked = False
        for door in self.doors.values():
            while True:
                try:
                    frames = door.recv_multipart(zmq.DONTWAIT)
                except zmq.Again:
                    break
                worked = True
                pending = self._pending.get(frames[0])
                if pending is not None and len(frames) == 2:
                    self._forget(frames[0])
                    if self._named(pending.key) is not None:
                        self._send(pending.identity, pending.request_id, frames[1])
        return worked

    def _forget(self, relay_id: bytes) -> None:
        pending = self._pending.pop(relay_id)
        left = self._per_key.get(pending.key, 1) - 1
        if left:
            self._per_key[pending.key] = left
        else:
            self._per_key.pop(pending.key, None)

    def _forget_late(self) -> None:
        """Requests are kept in the order of their time, so the late ones stand in front."""
        now = self._clock.mono_ns()
        for relay_id in [one for one, pending in self._pending.items() if pending.until_mono_ns <= now]:
            self._forget(relay_id)

    def _tell(self, identity: bytes, request_id: bytes, client: ClientKey) -> None:
        answer = {
            "mono_ns": self._clock.mono_ns(), "utc_ns": self._clock.utc_ns(), "key": client.name,
            "role": client.role.value,
        }  # fmt: skip
        self._send(identity, request_id, msgpack.packb(answer))

    def _error(self, identity: bytes, request_id: bytes, text: str) -> None:
        self._send(identity, request_id, msgpack.packb({"error": text}))

    def _send(self, identity: bytes, request_id: bytes, body: bytes) -> None:
        assert self._outside is not None, "attach() comes first"
        try:
            self._outside.send_multipart([identity, request_id, body], zmq.DONTWAIT)
        except zmq.ZMQError:
            return  # the asker is gone, or does not read: it will see its own timeout

    def close(self) -> None:
        """Let go of the local services."""
        for door in self.doors.values():
            door.close(0)


def _user_of(frame: zmq.Frame) -> str:
    try:
        return str(frame.get("User-Id"))
    except zmq.ZMQError:
        return ""
