"""The loudspeaker of a simulated camera: an RTSP server that takes sound (ONVIF back channel) and counts it.

What arrives is measured, handed to the air (:mod:`gwanje.io.sim.air`) for the microphones at its pole, and forgotten:
number of packets, samples and their level. Nothing is stored.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gwanje.core.clock import Clock
from gwanje.io.field.rtsp.pcm import mulaw_table
from gwanje.io.sim.rtsp import REASONS
from gwanje.io.sim.rtsp_requests import Interleaved, Malformed, Request, RequestParser

FEATURE = "www.onvif.org/ver20/backchannel"
CONNECTIONS_MAX = 256
_PAIR = re.compile(r'(\w+)="?([^",]*)"?')
_CHANNELS = re.compile(r"interleaved=(\d{1,3})-(\d{1,3})")


@dataclass(slots=True)
class Horn:
    """What a camera's loudspeaker has heard of us.

    Attributes:
        login: user and password that it wants.
        packets: of sound.
        samples: in them.
        lost: packets whose numbers are missing.
        level_db: of the last packet, below full scale; −120 for silence.
        sessions: that are open now.
        first_mono_ns: when the first packet of the last stretch arrived (marker bit).
        deaf: takes no back channel.
        frozen: reads nothing any more.
        broken: takes sound and gives none: its cone is torn.
        sounds: told (n,) samples that the loudspeaker plays, and when they came.
    """

    login: tuple[str, str]
    packets: int = 0
    samples: int = 0
    lost: int = 0
    level_db: float = -120.0
    sessions: int = 0
    first_mono_ns: int = 0
    deaf: bool = False
    frozen: bool = False
    broken: bool = False
    sounds: Callable[[npt.NDArray[np.int16], int], None] | None = None


class SpeakerServer:
    """One RTSP server for all cameras, a path for each.

    Args:
        horns: by path.
        clock: stamps first packets.
    """

    def __init__(self, horns: Mapping[str, Horn], clock: Clock) -> None:
        self.horns = horns
        self.clock = clock
        self.clients: set[_Client] = set()
        self._server: asyncio.Server | None = None
        self.port = 0
        self.meanings = mulaw_table().astype(np.float64)

    async def open(self, host: str) -> None:
        """Listen on a port that the system chooses: cameras tell it in their stream's address."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Client(self), host, 0)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Close every connection."""
        if self._server is not None:
            self._server.close()
        for client in tuple(self.clients):
            client.abort()
        await asyncio.sleep(0)  # one turn of the loop: the aborted transports close their sockets


class _Client(asyncio.Protocol):
    """One connection of somebody who speaks."""

    def __init__(self, server: SpeakerServer) -> None:
        self._server = server
        self._parser = RequestParser()
        self._transport: asyncio.Transport | None = None
        self._horn: Horn | None = None
        self._nonce = secrets.token_hex(8)
        self._session = ""
        self._channel = 0
        self._playing = False
        self._next: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport), "a stream server makes stream transports"
        self._transport = transport
        if len(self._server.clients) >= CONNECTIONS_MAX:
            transport.abort()
            return
        self._server.clients.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        self._server.clients.discard(self)
        self._transport = None

    def abort(self) -> None:
        """Cut it off."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        for item in self._parser.feed(data):
            if isinstance(item, Interleaved):
                self._sound(item)
            elif isinstance(item, Request):
                self._reply(item)
            elif isinstance(item, Malformed) and self._transport is not None:
                self._transport.close()
        if self._horn is not None and self._horn.frozen and self._transport is not None:
            self._transport.pause_reading()

    def _sound(self, frame: Interleaved) -> None:
        horn, data = self._horn, frame.data
        if horn is None or not self._playing or frame.channel != self._channel or len(data) <= 12:
            return
        if data[0] != 0x80 or data[1] & 0x7F != 0:
            return
        number = int.from_bytes(data[2:4], "big")
        if self._next is not None and number != self._next:
            horn.lost += (number - self._next) & 0xFFFF
        self._next = (number + 1) & 0xFFFF
        if data[1] & 0x80:
            horn.first_mono_ns = self._server.clock.mono_ns()
        heard = self._server.meanings[np.frombuffer(data, np.uint8, offset=12)]
        horn.packets += 1
        horn.samples += len(heard)
        if horn.sounds is not None and not horn.broken:
            horn.sounds(heard.astype(np.int16), self._server.clock.mono_ns())
        power = float(np.mean(heard * heard)) / 32_768.0**2
        horn.level_db = max(10.0 * np.log10(power), -120.0) if power > 0.0 else -120.0

    def _reply(self, request: Request) -> None:
        status, headers, body = self._judge(request)
        lines = [f"RTSP/1.0 {status} {REASONS[status]}", f"CSeq: {request.headers.get('cseq', '0')}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body:
            lines += ["Content-Type: application/sdp", f"Content-Length: {len(body)}"]
        if self._transport is not None:
            self._transport.write(("\r\n".join(lines) + "\r\n\r\n" + body).encode())

    def _judge(self, request: Request) -> tuple[int, dict[str, str], str]:
        if request.method == "OPTIONS":
            return 200, {"Public": "OPTIONS, DESCRIBE, SETUP, PLAY, GET_PARAMETER, TEARDOWN"}, ""
        path = "/" + "/".join(request.uri.split("/")[3:5])
        horn = self._server.horns.get(path.removesuffix("/trackID=1"))
        if horn is None:
            return 404, {}, ""
        if not self._may(request, horn):
            return 401, {"WWW-Authenticate": f'Digest realm="camera", nonce="{self._nonce}"'}, ""
        require = request.headers.get("require", "")
        if require and (require != FEATURE or horn.deaf):
            return 551, {"Unsupported": require}, ""
        if request.method == "DESCRIBE":
            return 200, {"Content-Base": f"{request.uri.rstrip('/')}/"}, _description(bool(require))
        if request.method == "SETUP":
            return self._setup(request)
        if request.headers.get("session", "").partition(";")[0] != self._session or not self._session:
            return 454, {}, ""
        if request.method == "PLAY":
            self._horn, self._playing = horn, True
            horn.sessions += 1
        elif request.method == "TEARDOWN":
            self._stop()
        return 200, {"Session": self._session}, ""

    def _setup(self, request: Request) -> tuple[int, dict[str, str], str]:
        transport = request.headers.get("transport", "")
        channels = _CHANNELS.search(transport)
        if channels is None or not request.uri.endswith("trackID=1"):
            return 461, {}, ""
        self._channel = int(channels[1])
        self._session = self._session or secrets.token_hex(8)
        return 200, {"Session": f"{self._session};timeout=60", "Transport": transport}, ""

    def _may(self, request: Request, horn: Horn) -> bool:
        said = dict(_PAIR.findall(request.headers.get("authorization", "").partition(" ")[2]))
        if said.get("nonce") != self._nonce or said.get("username") != horn.login[0]:
            return False

        def digest(text: str) -> str:
            return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()

        first = digest(f"{horn.login[0]}:camera:{horn.login[1]}")
        second = digest(f"{request.method}:{said.get('uri', '')}")
        return said.get("response") == digest(f"{first}:{self._nonce}:{second}")

    def _stop(self) -> None:
        if self._playing and self._horn is not None:
            self._horn.sessions -= 1
        self._playing, self._horn = False, None


def _description(back: bool) -> str:
    """The session description: video that nobody here plays, and the back channel for who asked for it."""
    lines = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=camera", "t=0 0", "a=control:*", "m=video 0 RTP/AVP 96",
             "a=rtpmap:96 H264/90000", "a=control:trackID=0"]  # fmt: skip
    if back:
        lines += ["m=audio 0 RTP/AVP 0", "a=rtpmap:0 PCMU/8000", "a=sendonly", "a=control:trackID=1"]
    return "".join(f"{line}\r\n" for line in lines)
