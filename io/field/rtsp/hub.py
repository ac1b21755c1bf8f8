"""Listens to all nodes of a site in one thread: two hundred turns a second over whatever has come.

Sockets are looked at in turns rather than woken for: 200 nodes send 5 000 packets a second, and a wake-up for each
costs more than the packet. What came in one turn is decoded together. Connections are begun at a pace, so that a whole
fleet that comes back at once is not asked at once.
"""

from __future__ import annotations

import asyncio
import heapq
import ipaddress
import select
import socket
from collections.abc import Callable, Mapping, Sequence

from gwanje.core.audio_ring import RingWriter
from gwanje.core.clock import NS_PER_S, Clock
from gwanje.core.site.nodes import Node
from gwanje.io.field.health import Meter
from gwanje.io.field.rtsp.intake import Intake, Mixer
from gwanje.io.field.rtsp.link import Link
from gwanje.io.field.rtsp.rtp import RtpPacket
from gwanje.io.field.rtsp.session import Login

TURN_NS = NS_PER_S // 200
"""A packet waits 5 ms at most, beside the 40 ms that it was filled for."""
CONNECT_NS = NS_PER_S // 200
"""Between two connections: a fleet of 200 is asked within a second, and no camera sees a burst."""
CONNECTS_MAX = 8
"""In one turn: what 40 ms of a busy machine have gathered."""
LOOK_NS = NS_PER_S // 10
EVENTS_MAX = 4_096
"""Sockets looked at in one turn; the rest comes in the next."""


class Hub:
    """All links.

    Args:
        nodes: in the order of the ring.
        logins: by name of the node.
        ring: to write to.
        clock: of the machine.
        meter: of the packets' lateness.
    """

    def __init__(
        self, nodes: Sequence[Node], logins: Mapping[str, Login], ring: RingWriter, clock: Clock, meter: Meter
    ) -> None:
        self._clock = clock
        self._meter = meter
        self._epoll = select.epoll()
        self._ready: dict[int, tuple[Link | None, Callable[[int], None]]] = {}
        self._waiting: list[tuple[Intake, RtpPacket]] = []
        self._ordering: set[Link] = set()
        self._mixer = Mixer(len(nodes))
        self._resolving: dict[int, asyncio.Task[None]] = {}
        now_ns = clock.mono_ns()
        self._connect_ns = now_ns
        self._look_ns = now_ns
        self.links = [Link(index, node, logins.get(node.name, Login()), ring, clock, self)
                      for index, node in enumerate(nodes)]  # fmt: skip
        self._due = [(now_ns, index) for index in range(len(self.links))]
        self.packets = 0
        """Decoded, of all nodes, ever."""

    def watch(self, descriptor: int, ready: Callable[[int], None], *, writes: bool = False) -> None:
        """See :class:`gwanje.io.field.rtsp.link.Board`."""
        mask = select.EPOLLIN | (select.EPOLLOUT if writes else 0)
        if descriptor in self._ready:
            self._epoll.modify(descriptor, mask)
        else:
            self._epoll.register(descriptor, mask)
        owner = getattr(ready, "__self__", None)
        self._ready[descriptor] = owner if isinstance(owner, Link) else None, ready

    def forget(self, descriptor: int) -> None:
        """See :class:`gwanje.io.field.rtsp.link.Board`."""
        if self._ready.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def heard(self, intake: Intake, packets: tuple[RtpPacket, ...]) -> None:
        """See :class:`gwanje.io.field.rtsp.link.Board`."""
        for packet in packets:
            self._waiting.append((intake, packet))

    def ordering(self, link: Link) -> None:
        """See :class:`gwanje.io.field.rtsp.link.Board`."""
        self._ordering.add(link)

    def later(self, link: Link, due_ns: int) -> None:
        """See :class:`gwanje.io.field.rtsp.link.Board`."""
        self._mixer.forget(link.index)
        heapq.heappush(self._due, (due_ns, link.index))

    def resolve(self, link: Link, host: str, port: int) -> None:
        """See :class:`gwanje.io.field.rtsp.link.Board`."""
        try:
            family = socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
        except ValueError:
            if link.index in self._resolving:  # one question for each node: a dead name server gathers no queue
                link.drop(f"{host}: the name server does not answer")
                return
            task = asyncio.get_running_loop().create_task(_resolve(link, host, port))
            self._resolving[link.index] = task
            task.add_done_callback(lambda _: self._resolving.pop(link.index, None))
            return
        link.connect(family, (host, port))

    def turn(self) -> None:
        """Take what has come, decode it, see to time-outs and connections."""
        now_ns = self._clock.mono_ns()
        for descriptor, _mask in self._epoll.poll(0, EVENTS_MAX):
            entry = self._ready.get(descriptor)
            if entry is None:
                continue  # closed by an earlier event of this turn
            owner, ready = entry
            self._guarded(owner, ready, now_ns)
        for link in tuple(self._ordering):
            if not self._guarded(link, link.overdue, now_ns):
                self._ordering.discard(link)
        if self._waiting:
            self._decode()
        if now_ns >= self._look_ns:
            self._look_ns = now_ns + LOOK_NS
            for link in self.links:
                self._guarded(link, link.look, now_ns)
        self._connect(now_ns)

    @staticmethod
    def _guarded(owner: Link | None, work: Callable[[int], object], now_ns: int) -> object:
        """What a node's work gives; whatever its device has sent, the node alone is opened again and says why."""
        try:
            return work(now_ns)
        except Exception as error:
            if owner is None:  # the hub's own
                raise
            owner.drop(str(error) or type(error).__name__)
            return None

    def _connect(self, now_ns: int) -> None:
        """Begin the connections that are due, at their pace also when turns are late."""
        self._connect_ns = max(self._connect_ns, now_ns - CONNECTS_MAX * CONNECT_NS)
        while self._due and self._due[0][0] <= now_ns and self._connect_ns <= now_ns:
            self._connect_ns += CONNECT_NS
            self.links[heapq.heappop(self._due)[1]].open(now_ns)

    def _decode(self) -> None:
        waiting, self._waiting = self._waiting, []
        fresh = [intake for intake, _ in waiting if not intake.heard_ns]
        self._mixer.take(waiting)
        self.packets += len(waiting)
        for intake, _packet in waiting:
            self._meter.scanned(intake.late_ns)
        for intake in dict.fromkeys(fresh):
            if intake.heard_ns:
                self.links[intake.index].heard_first()

    def close(self) -> None:
        """Say goodbye to all cameras and close everything."""
        for link in self.links:
            link.leave()
        for task in tuple(self._resolving.values()):
            task.cancel()
        self._epoll.close()


async def _resolve(link: Link, host: str, port: int) -> None:
    """Ask for a name's address; the system's resolver works in a thread of the loop."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # UnicodeError: a name that no resolver takes
        link.drop(f"{host}: {getattr(error, 'strerror', '') or error}")
        return
    family, _, _, _, address = found[0]
    link.connect(family, (str(address[0]), port))
