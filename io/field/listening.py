"""The service ``sound.media``: hands the newest sound of a node to the one person whom the core lets listen.

``pull{pass, mac}`` → ``{outcome: "sound", samples, lost, muted}``: what came since the listener's last request, 16 kHz
int16 of the node's first microphone. This is the only way for sound out of the ring to anybody but the acoustic chain.
It is an answer to who asked, never a message that others could hear; nothing waits here but the ring itself, and who is
late misses what was. No sound flows while the tag ``listened``, which everybody sees, does not say so, and none of
before the grant. While the node's own loudspeaker sounds the listener gets silence: half duplex, nothing howls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from gwanje.core.audio_ring import SAMPLE_RATE_HZ, Head, Read
from gwanje.core.authority.credentials import owner_secret
from gwanje.core.bus.bus import Server
from gwanje.core.city.part import PartContext
from gwanje.core.clock import NS_PER_S, Clock
from gwanje.core.requests import Code, RequestError, refusal
from gwanje.core.site.nodes import Node
from gwanje.core.sound.mouths import Echo, EchoWatch, mouths_of
from gwanje.core.sound.passes import Pass, opened
from gwanje.core.sound.path import listened_tag
from gwanje.core.sound.service import MEDIA, SERVICE
from gwanje.core.tags.quality import is_good

SERVICE_NAME = f"{SERVICE}.{MEDIA}"
LATE_SAMPLES = SAMPLE_RATE_HZ
"""Who is a second behind goes on with the present, half a second of it."""
RESUME_SAMPLES = SAMPLE_RATE_HZ // 2
LOOK_NS = NS_PER_S // 10
"""How often the loudspeakers' tags are looked at."""
REQUESTS_PER_TURN = 8
"""A handful of listeners ask ten times a second each; a turn of the driver comes every 20 ms and must stay short."""


class Ring(Protocol):
    """What is needed of the ring's reader; see :class:`gwanje.core.audio_ring.RingReader`."""

    def head(self, node_index: int) -> Head:
        """Where a node's writer stands."""

    def read_from(self, node_index: int, position: int) -> Read:
        """Everything from a position to the newest sample, of the first microphone."""


@dataclass(slots=True)
class _Listener:
    """Whose request is answered at a node: the one of the newest grant."""

    grant_id: str
    begun_mono_ns: int
    position: int


class ListeningDesk:
    """See the module. Use it from one thread.

    Args:
        nodes: names, in the ring's order.
        ring: to read from.
        secret: of the run; see :mod:`gwanje.core.sound.passes`.
        clock: of the machine.
        listened: whether everybody is shown that somebody listens at a node.
        muted: whether a node's own loudspeaker sounds.
    """

    def __init__(
        self, nodes: Sequence[str], ring: Ring, secret: bytes, clock: Clock, listened: Callable[[int], bool],
        muted: Callable[[int], bool],
    ) -> None:  # fmt: skip
        self._index = {name: at for at, name in enumerate(nodes)}
        self._ring = ring
        self._secret = secret
        self._clock = clock
        self._listened = listened
        self._muted = muted
        self._listeners: dict[int, _Listener] = {}
        """One of each node at most: no more than the site has nodes."""

    def serve(self, server: Server) -> None:
        """Answer what has arrived, a few requests at a time."""
        for _ in range(REQUESTS_PER_TURN):
            request = server.receive(0)
            if request is None:
                return
            request.reply(self.answer(request.message))

    def answer(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a request."""
        try:
            if message.get("op") != "pull":
                raise RequestError(Code.MALFORMED, "unknown op")
            return self._pull(opened(self._secret, MEDIA, message, self._clock.mono_ns()))
        except RequestError as error:
            return refusal(error.code, error.detail)

    def _pull(self, one: Pass) -> dict[str, Any]:
        index = self._index.get(one.place)
        if index is None:
            raise RequestError(Code.UNKNOWN_SOUND, one.place)
        if not self._listened(index):
            raise RequestError(Code.GRANT_OVER, "")
        head = self._ring.head(index)
        known = self._listeners.get(index)
        if known is None or known.begun_mono_ns < one.begun_mono_ns:
            known = self._listeners[index] = _Listener(one.grant_id, one.begun_mono_ns, head.position)
        elif known.grant_id != one.grant_id:
            raise RequestError(Code.GRANT_OVER, "somebody else listens now")
        lost = 0
        if known.position > head.position:  # the ring began again
            known.position = head.position
        if head.position - known.position > LATE_SAMPLES:
            lost = head.position - RESUME_SAMPLES - known.position
            known.position = head.position - RESUME_SAMPLES
        samples, known.position, gone = self._ring.read_from(index, known.position)
        muted = self._muted(index)
        heard = np.zeros(len(samples), "<i2") if muted else samples.astype("<i2")
        return {"outcome": "sound", "samples": heard.tobytes(), "lost": lost + gone, "muted": muted}


class Listening:
    """The desk in the running part ``media``: its socket, and the tags it looks at.

    Args:
        ctx: of the part.
        nodes: of the site, in the ring's order.
        ring: to read from.
    """

    def __init__(self, ctx: PartContext, nodes: Sequence[Node], ring: Ring) -> None:
        self._ctx = ctx
        self._server = ctx.bus.server(SERVICE_NAME)
        self._echo = EchoWatch(mouths_of(ctx.site.devices, nodes), nodes)
        self._speaking = ctx.tags.indices(self._echo.tags)
        self._muted = np.zeros(len(nodes), np.uint8)
        self._look_ns = 0
        shown = [listened_tag(one.prefix) for one in nodes]
        self._shown = [ctx.tags.index(one) if one in ctx.tags else -1 for one in shown]
        self._desk = ListeningDesk(
            [one.name for one in nodes], ring, owner_secret(ctx.run_dir), ctx.clock, self._listened,
            lambda index: bool(self._muted[index] == Echo.OWN),
        )  # fmt: skip

    def _listened(self, index: int) -> bool:
        if self._shown[index] < 0:
            return False
        sample = self._ctx.store.read(self._shown[index], self._ctx.clock.mono_ns())
        return sample.value == 1.0 and is_good(sample.quality)

    def turn(self) -> None:
        """Look at the loudspeakers now and then, and answer who listens; call it every 20 ms."""
        now_ns = self._ctx.clock.mono_ns()
        if now_ns >= self._look_ns and self._echo.mouths:
            self._look_ns = now_ns + LOOK_NS
            seen = self._ctx.store.read_many(self._speaking, now_ns)
            self._muted = self._echo.step(seen.value, seen.quality, now_ns)
        self._desk.serve(self._server)

    def close(self) -> None:
        """Stop taking requests."""
        self._server.close()
