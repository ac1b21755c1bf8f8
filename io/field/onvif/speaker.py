"""One camera's loudspeaker: a short queue of prompts, or somebody's voice, sent at the pace of the ear. Half duplex.

A live voice and prompts exclude each other, and the daily test waits for neither: whoever comes second is told why not.

The connection is made when there is something to say and kept a little while after, so that a second prompt begins at
once. What waits too long expires unsaid; what is urgent interrupts. Nothing of it is stored.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from gwanje.core.clock import NS_PER_S, Clock
from gwanje.io.field.errors import (
    ConnectError,
    ConnectionLostError,
    InvalidReplyError,
    LinkError,
    NoAnswerError,
    WriteForbiddenError,
)
from gwanje.io.field.onvif.backchannel import PACKET_NS, PACKET_SAMPLES, BackChannel
from gwanje.io.field.onvif.prompts import Prompt
from gwanje.io.field.rtsp.session import Login

QUEUE_MAX = 4
"""Prompts that wait: what is said half a minute late confuses the street."""
LINGER_S = 5.0
"""The connection stays so long after the last word; then others may speak to the camera."""
BEHIND_NS = 100_000_000
"""Further behind, packets are not sent in a burst: what was missed is missed."""
WRITE_BUFFER_MAX = 16_384
"""Bytes that a camera has not taken: two seconds of sound. It does not listen any more."""
VOICE, SELF_TEST = -1, -2
"""Numbers of what is no prompt."""
SPEECH_S_MAX = 120.0
"""A live announcement ends after two minutes: a key that is stuck must not hold the loudspeaker."""
VOICE_GAP_S = 1.0
"""A voice that gives no block for so long has ended, whatever became of its microphone."""
READ_BYTES = 8_192

Samples = npt.NDArray[np.int16]
Tell = Callable[[str, str], None]


@dataclass(slots=True)
class Utterance:
    """Something to say.

    Attributes:
        number: of the prompt, :data:`VOICE` or :data:`SELF_TEST`.
        blocks: gives (n,) samples at 8 kHz, block after block.
        expires_mono_ns: not begun after that.
        tell: told once: outcome and detail.
        asked_mono_ns: when it was asked for.
        begun: its first packet has left.
    """

    number: int
    blocks: AsyncIterator[Samples]
    expires_mono_ns: int
    tell: Tell
    asked_mono_ns: int = 0
    begun: bool = False

    def end(self, outcome: str, detail: str) -> None:
        """It is not said; nothing to tell of one that has begun: it was accepted, and was heard in part."""
        if not self.begun:
            self.tell(outcome, detail)


@dataclass(slots=True)
class Counts:
    """What became of it all."""

    said: int = 0
    packets: int = 0
    failed: int = 0
    first_audio_ns: int = 0
    """From the command to the first packet, the last time."""


class _Connection:
    """A connection to the camera on which one may speak."""

    def __init__(self, url: str, login: Login, timeout_s: float) -> None:
        self.channel = BackChannel(url, login, secrets.token_bytes)
        self._url = url
        self._timeout_s = timeout_s
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._listening: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect and negotiate.

        Raises:
            LinkError: the camera does not let itself be spoken to.
        """
        parts = urlsplit(self._url)
        host, port = parts.hostname or "", parts.port or 554
        try:
            async with asyncio.timeout(self._timeout_s):
                self._reader, self._writer = await asyncio.open_connection(host, port, limit=READ_BYTES * 8)
                self.channel.start()
                while not self.channel.playing:
                    self._flush()
                    data = await self._reader.read(READ_BYTES)
                    if not data:
                        raise ConnectionLostError("the camera closed the connection")
                    self.channel.receive(data)
                    if self.channel.failure:
                        raise InvalidReplyError(self.channel.failure)
        except TimeoutError:
            raise NoAnswerError(f"no back channel within {self._timeout_s:g} s") from None
        except ConnectionRefusedError:
            raise ConnectError(f"{host}:{port} refuses the connection", refused=True) from None
        except OSError as error:
            raise ConnectionLostError(str(error.strerror or error)) from None
        self._flush()
        connected: socket.socket = self._writer.get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, WRITE_BUFFER_MAX)
        self._listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        """Reports and answers of the camera; its end ends the connection."""
        assert self._reader is not None
        try:
            while data := await self._reader.read(READ_BYTES):
                self.channel.receive(data)
                self._flush()
                if self.channel.failure:
                    return
        except OSError:
            return

    @property
    def alive(self) -> bool:
        """Whether the camera still listens."""
        return self._listening is not None and not self._listening.done() and not self.channel.failure

    def send(self, samples: Samples) -> None:
        """One packet.

        Raises:
            ConnectionLostError: the camera does not take it.
        """
        writer = self._writer
        if writer is None or writer.is_closing() or not self.alive:
            raise ConnectionLostError(self.channel.failure or "the camera closed the connection")
        if writer.transport.get_write_buffer_size() > WRITE_BUFFER_MAX:
            raise ConnectionLostError("the camera does not take the sound any more")
        writer.write(self.channel.frame(samples))

    def keep(self, now_ns: int) -> None:
        """A sign of life, when one is due."""
        self.channel.keep(now_ns)
        self._flush()

    def _flush(self) -> None:
        if self._writer is not None and self.channel.out:
            self._writer.write(self.channel.out)
            self.channel.out = b""

    async def close(self) -> None:
        """Say goodbye."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        if self._writer is not None:
            self.channel.leave()
            self._flush()
            writer, self._writer = self._writer, None
            if writer.transport.get_write_buffer_size() > 0:
                writer.transport.abort()  # who does not take the sound does not take the goodbye either
            writer.close()
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def _nowhere() -> str:
    raise InvalidReplyError("nobody said where to speak")


def _nobody(number: int) -> None:
    del number


@dataclass(slots=True)
class Speaker:
    """See the module. Runs inside one event loop.

    Attributes:
        login: user and password.
        timeout_s: for connecting.
        clock: of the machine.
        address: gives the address of the camera's stream; asked before every connection.
        changed: told what is being said when that changes: number of a prompt, :data:`VOICE`, :data:`SELF_TEST`, 0.
        read_only: the site-wide gate: when true no sound leaves, whoever asks.
        counts: of everything said.
    """

    login: Login
    timeout_s: float
    clock: Clock
    address: Callable[[], Awaitable[str]] = field(default=_nowhere)
    changed: Callable[[int], None] = field(default=_nobody)
    read_only: bool = False
    counts: Counts = field(default_factory=Counts)
    _queue: deque[Utterance] = field(default_factory=deque)
    _awake: asyncio.Event = field(default_factory=asyncio.Event)
    _stop: bool = False
    _speaking: Utterance | None = None

    @property
    def busy(self) -> bool:
        """Whether something is being said or waits."""
        return self._speaking is not None or bool(self._queue)

    @property
    def live(self) -> bool:
        """Whether somebody speaks, or is about to."""
        ahead = (self._speaking, *self._queue)
        return any(one is not None and one.number == VOICE for one in ahead)

    def say(self, number: int, prompt: Prompt, expires_mono_ns: int, tell: Tell) -> str:
        """Say a prompt soon; why not, or an empty text.

        Args:
            number: of the prompt.
            prompt: what to say; an urgent one interrupts and clears what waits.
            expires_mono_ns: not begun after that.
            tell: told once what became of it: ``accepted`` with its first sound, or why not.
        """
        if self.live:
            return "somebody speaks live through this loudspeaker"
        if prompt.urgent:
            self.cancel("something more urgent is said")
        return self._take(Utterance(number, _cut(prompt.samples), expires_mono_ns, tell))

    def speak(self, blocks: AsyncIterator[Samples], expires_mono_ns: int, tell: Tell) -> str:
        """Let somebody speak: blocks of (n,) samples at 8 kHz as they come from the microphone, two minutes at most.

        They are sent as they come: who hands them over is paced by the microphone. Arguments as :meth:`say`.
        """
        if self.busy:
            return "somebody speaks live already" if self.live else "a prompt is being said"
        return self._take(Utterance(VOICE, blocks, expires_mono_ns, tell))

    def test(self, samples: Samples, expires_mono_ns: int, tell: Tell) -> str:
        """Play the test sound, (n,) samples at 8 kHz, unless anything is being said; arguments as :meth:`say`."""
        if self.busy:
            return "the loudspeaker is in use"
        return self._take(Utterance(SELF_TEST, _cut(samples), expires_mono_ns, tell))

    def _take(self, one: Utterance) -> str:
        if self.read_only:
            raise WriteForbiddenError("the site is read only")
        if len(self._queue) >= QUEUE_MAX:
            return f"busy: {QUEUE_MAX} prompts wait"
        one.asked_mono_ns = self.clock.mono_ns()
        self._queue.append(one)
        self._awake.set()
        return ""

    def cancel(self, reason: str = "cancelled") -> None:
        """Stop speaking at the end of the packet; nothing that waits is said."""
        waiting, self._queue = list(self._queue), deque()
        for one in waiting:
            one.end("refused", reason)
        self._stop = self._speaking is not None

    async def run(self) -> None:
        """Say what comes, until cancelled."""
        connection: _Connection | None = None
        try:
            while True:
                if not await self._wait(LINGER_S if connection is not None else None):
                    if connection is not None:
                        await connection.close()
                        connection = None
                    continue
                one = self._queue.popleft()
                if self.clock.mono_ns() >= one.expires_mono_ns:
                    one.tell("expired", "")
                    continue
                self._speaking, self._stop = one, False
                try:
                    if connection is None or not connection.alive:
                        if connection is not None:
                            await connection.close()
                        connection = await self._opened()
                    await self._utter(connection, one)
                except LinkError as error:
                    self.counts.failed += 1
                    one.end("refused", str(error))
                    if connection is not None:
                        await connection.close()
                        connection = None
                finally:
                    self._speaking = None
                    self.changed(0)
        finally:
            if connection is not None:
                await connection.close()

    async def _wait(self, limit_s: float | None) -> bool:
        """Whether something is to be said within a time."""
        if self._queue:
            return True
        self._awake.clear()
        try:
            async with asyncio.timeout(limit_s):
                await self._awake.wait()
        except TimeoutError:
            return False
        return bool(self._queue)

    async def _opened(self) -> _Connection:
        connection = _Connection(await self.address(), self.login, self.timeout_s)
        try:
            await connection.open()
        except LinkError:
            await connection.close()
            raise
        return connection

    async def _utter(self, connection: _Connection, one: Utterance) -> None:
        """Send one utterance at its pace.

        Raises:
            LinkError: the camera is gone.
        """
        connection.channel.stretch()
        begin_ns = due_ns = self.clock.mono_ns()
        if begin_ns >= one.expires_mono_ns:
            one.tell("expired", "")
            return
        while (block := await self._next(one.blocks)) is not None:
            for at in range(0, len(block), PACKET_SAMPLES):
                now_ns = self.clock.mono_ns()
                if self._stop or now_ns - begin_ns > SPEECH_S_MAX * NS_PER_S:
                    one.end("refused", "cancelled")
                    return
                if now_ns - due_ns > BEHIND_NS:
                    connection.channel.pause((now_ns - due_ns) // PACKET_NS * PACKET_SAMPLES)
                    due_ns = now_ns
                elif due_ns > now_ns:
                    await asyncio.sleep((due_ns - now_ns) / NS_PER_S)
                connection.send(block[at : at + PACKET_SAMPLES])
                connection.keep(now_ns)
                self.counts.packets += 1
                due_ns += PACKET_NS
                if not one.begun:
                    one.begun = True
                    self.counts.first_audio_ns = self.clock.mono_ns() - one.asked_mono_ns
                    self.changed(one.number)
                    one.tell("accepted", "")
        self.counts.said += 1

    async def _next(self, blocks: AsyncIterator[Samples]) -> Samples | None:
        """The next block; ``None`` at the end, or when a voice gives none for a while."""
        try:
            async with asyncio.timeout(VOICE_GAP_S):  # wait_for would swallow a cancellation that comes with a block
                return await anext(blocks)
        except (StopAsyncIteration, TimeoutError):
            return None


async def _cut(samples: Samples) -> AsyncIterator[Samples]:
    """A clip as one block; its last packet is filled with silence."""
    rest = -len(samples) % PACKET_SAMPLES
    yield np.concatenate([samples, np.zeros(rest, np.int16)])
