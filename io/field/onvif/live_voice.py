"""The service ``sound.PART`` of the cameras' part: takes live speech, piece by piece, and gives it to the loudspeaker.

``say{pass, mac, samples, last}`` → ``{outcome: "said", taken, waiting_s, underruns}``. The speaker's program sends a
little ahead of the ear; what waits is a *jitter buffer* of half a second at most, and what there is no room for is
offered again. When nothing waits, silence is sent and counted: a stream that stops and goes on clicks and drifts. It
ends with the last piece, with the grant, or when nothing has come for a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from gwanje.core.bus.bus import Server
from gwanje.core.clock import NS_PER_S, Clock
from gwanje.core.requests import Code, RequestError, refusal
from gwanje.core.site.config import Device
from gwanje.core.sound.passes import Pass, opened
from gwanje.io.field.onvif.backchannel import PACKET_SAMPLES, RATE_HZ
from gwanje.io.field.onvif.speaker import Samples

BUFFER_SAMPLES = RATE_HZ // 2
"""Half a second: as long as a busy machine may keep the speaker's program waiting; more would be heard as delay."""
PREFILL_NS = NS_PER_S * 12 // 100
"""So long the first word waits for the next ones."""
GAP_NS = NS_PER_S
"""Who gives nothing for so long has stopped speaking, or is gone."""
LOOK_S = 0.01
SAMPLES_MAX = RATE_HZ
"""Of one request: a second; the client sends a tenth."""
KEPT_MAX = 64
"""Ends of live speech that are remembered, so that its holder is told: more than cameras speak in a second."""


class JitterBuffer:
    """Speech between who sends it and the loudspeaker's clock. Use it from one event loop.

    Args:
        clock: of the machine.
        until_mono_ns: it is over then, whatever waits.
    """

    def __init__(self, clock: Clock, until_mono_ns: int) -> None:
        self._clock = clock
        self._until_ns = until_mono_ns
        self._waiting = np.zeros(0, np.int16)
        self._heard_ns = clock.mono_ns()
        self._first_ns = 0
        self._last = False
        self.underruns = 0
        """Packets of silence that were sent because nothing waited."""

    @property
    def waiting(self) -> int:
        """Samples that wait."""
        return len(self._waiting)

    def push(self, samples: Samples, last: bool) -> int:
        """Take a piece.

        Args:
            samples: (n,) at 8 kHz.
            last: nothing follows, if all of it is taken.

        Returns:
            How many there was room for.
        """
        self._heard_ns = self._clock.mono_ns()
        if len(samples) and not self._first_ns:
            self._first_ns = self._heard_ns
        taken = min(len(samples), BUFFER_SAMPLES - len(self._waiting))
        self._waiting = np.concatenate([self._waiting, samples[:taken]])
        self._last = self._last or (last and taken == len(samples))
        return taken

    @property
    def over(self) -> bool:
        """Nothing will come any more."""
        now = self._clock.mono_ns()
        return now >= self._until_ns or now - self._heard_ns >= GAP_NS or (self._last and not len(self._waiting))

    @property
    def _prefilled(self) -> bool:
        return bool(self._first_ns) and self._clock.mono_ns() - self._first_ns >= PREFILL_NS

    async def blocks(self) -> AsyncIterator[Samples]:
        """Packets at the pace of who asks for them: what waits, or silence."""
        while not self.over and not self._last and not self._prefilled:
            await asyncio.sleep(LOOK_S)
        while not self.over:
            piece, self._waiting = self._waiting[:PACKET_SAMPLES], self._waiting[PACKET_SAMPLES:]
            if not len(piece):
                self.underruns += 1
            yield np.concatenate([piece, np.zeros(PACKET_SAMPLES - len(piece), np.int16)])


class Mouthpiece(Protocol):
    """A camera that one can speak through; see :class:`gwanje.io.field.onvif.driver.CameraDriver`."""

    @property
    def device(self) -> Device:
        """Its configuration."""

    def speak(self, blocks: AsyncIterator[Samples], until_mono_ns: int, tell: Callable[[str, str], None]) -> str:
        """Let somebody speak live; why not, or an empty text."""


class _Speech:
    """One grant's speech."""

    def __init__(self, buffer: JitterBuffer, begun_mono_ns: int) -> None:
        self.buffer = buffer
        self.begun_mono_ns = begun_mono_ns
        self.failed = ""

    def told(self, outcome: str, detail: str) -> None:
        """What became of it, as the loudspeaker tells."""
        if outcome != "accepted":
            self.failed = detail or outcome


class VoiceDesk:
    """See the module. Use it from one event loop.

    Args:
        part: whose service it is.
        secret: of the run; see :mod:`gwanje.core.sound.passes`.
        cameras: drivers.
        barred: whether nobody may let a camera speak now: the gate is closed, or a danger tag hangs on it.
        clock: of the machine.
    """

    def __init__(
        self, part: str, secret: bytes, cameras: Sequence[Mouthpiece], barred: Callable[[Device], bool], clock: Clock
    ) -> None:
        self._part = part
        self._secret = secret
        self._cameras = {one.device.name: one for one in cameras}
        self._barred = barred
        self._clock = clock
        self._speeches: dict[str, _Speech] = {}

    def serve(self, server: Server) -> None:
        """Everything that has arrived; call it when the socket wakes, and now and then besides."""
        while (request := server.receive(0)) is not None:
            request.reply(self.answer(request.message))

    def answer(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a request."""
        try:
            if message.get("op") != "say":
                raise RequestError(Code.MALFORMED, "unknown op")
            one = opened(self._secret, self._part, message, self._clock.mono_ns())
            data, last = message.get("samples"), message.get("last") is True
            if not isinstance(data, bytes) or len(data) % 2 or len(data) > 2 * SAMPLES_MAX:
                raise RequestError(Code.MALFORMED, "samples must be bytes of at most a second")
            speech = self._speech(one)
        except RequestError as error:
            return refusal(error.code, error.detail)
        taken = speech.buffer.push(np.frombuffer(data, "<i2").astype(np.int16), last)
        return {
            "outcome": "said", "taken": taken, "waiting_s": speech.buffer.waiting / RATE_HZ,
            "underruns": speech.buffer.underruns,
        }  # fmt: skip

    def _speech(self, one: Pass) -> _Speech:
        """The speech of a grant; the first request begins it.

        Raises:
            RequestError: nobody can speak there now, or it is over.
        """
        camera = self._cameras.get(one.place)
        if camera is None:
            raise RequestError(Code.UNKNOWN_SOUND, one.place)
        if self._barred(camera.device):
            raise RequestError(Code.SAFETY_TAG, one.place)
        speech = self._speeches.get(one.grant_id)
        if speech is None:
            buffer = JitterBuffer(self._clock, one.ends_mono_ns)
            speech = _Speech(buffer, one.begun_mono_ns)
            why_not = camera.speak(buffer.blocks(), one.ends_mono_ns, speech.told)
            if why_not:
                raise RequestError(Code.SOUNDING, why_not)
            self._speeches[one.grant_id] = speech
            while len(self._speeches) > KEPT_MAX:
                del self._speeches[next(iter(self._speeches))]
        if speech.failed:
            raise RequestError(Code.OWNER, speech.failed)
        if speech.buffer.over:
            raise RequestError(Code.GRANT_OVER, "")
        return speech
