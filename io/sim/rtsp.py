"""RTSP 1.0 and RTP for a simulated microphone: bytes in, bytes out, no sockets and no clock.

One :class:`Connection` per TCP connection eats what arrives and says what to send and what to do. Sound travels as RTP
inside the same connection (``interleaved``); UDP is refused with 461, as many cameras behind a firewall do.

Sources: RFC 2326 (RTSP), RFC 3550 and 3551 (RTP and its audio payloads), RFC 4566 (SDP).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import urlsplit

from gwanje.io.field.rtsp.rtcp import sender_report
from gwanje.io.sim.rtsp_requests import Interleaved, Malformed, Request, RequestParser
from gwanje.io.sim.sound_codecs import CODECS

SESSION_TIMEOUT_S = 60

REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Request Entity Too Large",
    454: "Session Not Found",
    455: "Method Not Valid in This State",
    461: "Unsupported Transport",
    501: "Not Implemented",
    503: "Service Unavailable",
    505: "RTSP Version not supported",
    551: "Option not supported",
}
METHODS = ("OPTIONS", "DESCRIBE", "SETUP", "PLAY", "GET_PARAMETER", "TEARDOWN")
KNOWN_ELSEWHERE = ("ANNOUNCE", "PAUSE", "RECORD", "REDIRECT", "SET_PARAMETER")
"""Methods of RFC 2326 that a microphone has no use for: 405, while a word nobody knows is 501."""
HANG_UP = 0
"""In place of a status: close without a word, as a dead device does."""

_RTP = struct.Struct(">BBHBBHII")
_RTP_HEADER_BYTES = 12


class Tracks(Enum):
    """Which tracks a camera describes."""

    SOUND = "sound"
    VIDEO = "video"
    ALL = "all"
    """Video, a back channel to speak into, and the sound."""


@dataclass(frozen=True, slots=True)
class Media:
    """What one path of the server plays.

    Attributes:
        path: first part of the address's path.
        codec: of :data:`gwanje.io.sim.sound_codecs.CODECS`.
        packet_ms: length of a packet.
        config: of AAC, hexadecimal.
        tracks: that are described.
        channels: microphones; more than one with L16 alone.
    """

    path: str
    codec: str
    packet_ms: int
    config: str = ""
    tracks: Tracks = Tracks.SOUND
    channels: int = 1

    @property
    def payload_type(self) -> int:
        """Of its packets."""
        return CODECS[self.codec].payload_type

    @property
    def ticks(self) -> int:
        """By how much the RTP clock goes on with a packet."""
        return CODECS[self.codec].clock_hz * self.packet_ms // 1_000

    def description(self) -> str:
        """The session description (SDP)."""
        lines = [
            "v=0",
            "o=- 1 1 IN IP4 127.0.0.1",
            f"s={self.path}",
            "c=IN IP4 0.0.0.0",
            "t=0 0",
            "a=control:*",
            "a=range:npt=now-",
        ]
        if self.tracks is not Tracks.SOUND:
            lines += ["m=video 0 RTP/AVP 110", "a=rtpmap:110 H264/90000", "a=recvonly", "a=control:trackID=1"]
        if self.tracks is Tracks.ALL:
            lines += ["m=audio 0 RTP/AVP 0", "a=rtpmap:0 PCMU/8000", "a=sendonly", "a=control:trackID=2"]
        if self.tracks is not Tracks.VIDEO:
            lines += self._sound()
        return "".join(f"{line}\r\n" for line in lines)

    def _sound(self) -> list[str]:
        number = self.payload_type
        name = CODECS[self.codec].name
        name = f"{name.removesuffix('/1')}/{self.channels}" if self.channels > 1 else name
        lines = [f"m=audio 0 RTP/AVP {number}", f"a=rtpmap:{number} {name}"]
        if self.codec == "AAC":
            mode = "streamtype=5;profile-level-id=15;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3"
            lines.append(f"a=fmtp:{number} {mode};config={self.config}")
        return [*lines, f"a=ptime:{self.packet_ms}", "a=recvonly", "a=control:trackID=0"]


@dataclass(slots=True)
class RtpStream:
    """The numbers of one client's RTP stream; ``frame`` counts them on.

    Attributes:
        media: what is played.
        channel: of the interleaved frames.
        ssrc: identity of the source.
        sequence: of the next packet.
        timestamp: of the next packet's first sample.
        packets: sent.
        payload_bytes: sent in them.
    """

    media: Media
    channel: int
    ssrc: int
    sequence: int
    timestamp: int
    packets: int = 0
    payload_bytes: int = 0

    def frame(self, payload: bytes, ticks: int, payload_type: int) -> bytes:
        """One packet, ready for the connection."""
        size = len(payload)
        header = _RTP.pack(
            0x24, self.channel, _RTP_HEADER_BYTES + size, 0x80, payload_type, self.sequence, self.timestamp, self.ssrc
        )
        self.sequence = (self.sequence + 1) & 0xFFFF
        self.timestamp = (self.timestamp + ticks) & 0xFFFF_FFFF
        self.packets += 1
        self.payload_bytes += size
        return header + payload

    def report(self, utc_ns: int) -> bytes:
        """A report that says what time it was at the end of the last packet, ready for the connection."""
        content = sender_report(self.ssrc, utc_ns, self.timestamp, self.packets, self.payload_bytes)
        return bytes((0x24, self.channel + 1 & 0xFF)) + len(content).to_bytes(2, "big") + content

    def skip(self, ticks: int) -> None:
        """Let the source's clock go on without a packet."""
        self.timestamp = (self.timestamp + ticks) & 0xFFFF_FFFF


@dataclass(slots=True)
class Outcome:
    """What the owner of the socket has to do: send, then start or stop the stream, then perhaps close."""

    data: bytes = b""
    start: RtpStream | None = None
    stop: bool = False
    close: bool = False


class _State(Enum):
    INIT = "init"
    READY = "ready"
    PLAYING = "playing"


@dataclass(slots=True)
class Connection:
    """The server's side of one TCP connection, with at most one session.

    Args:
        find: path → what is played there, or the status that refuses it (:data:`HANG_UP` for none at all).
        token: ``token(n)`` gives n unguessable bytes, for session names and RTP's random beginnings.
    """

    find: Callable[[str], Media | int]
    token: Callable[[int], bytes]
    parser: RequestParser = field(default_factory=RequestParser)
    _state: _State = _State.INIT
    _session: str = ""
    _stream: RtpStream | None = None

    def receive(self, data: bytes) -> Outcome:
        """Eat what arrived."""
        outcome = Outcome()
        for item in self.parser.feed(data):
            match item:
                case Malformed(status, _, sequence):
                    outcome.data += _reply(status, sequence, {"Connection": "close"})
                    outcome.close = True
                case Interleaved():
                    continue  # receiver reports: nothing in them that a microphone acts on
                case Request():
                    self._answer(item, outcome)
            if outcome.close:
                break
        return outcome

    def _answer(self, request: Request, outcome: Outcome) -> None:
        sequence = request.headers.get("cseq", "")
        if not (sequence.isascii() and sequence.isdigit() and len(sequence) <= 10):
            outcome.data += _reply(400, "", {})
            return
        status, headers, body = self._judge(request, outcome)
        if status == HANG_UP:
            outcome.close = True
            return
        outcome.data += _reply(status, sequence, headers, body)

    def _judge(self, request: Request, outcome: Outcome) -> tuple[int, dict[str, str], str]:
        allowed = {"Public": ", ".join(METHODS)}
        if request.version != "1.0":
            return 505, {}, ""
        if wanted := request.headers.get("require", ""):
            return 551, {"Unsupported": wanted}, ""
        if request.method not in METHODS:
            return (405, {"Allow": ", ".join(METHODS)}, "") if request.method in KNOWN_ELSEWHERE else (501, allowed, "")
        if request.method == "OPTIONS":
            return 200, allowed, ""
        path = _path(request.uri)
        if path is None:
            return 400, {}, ""
        media = self.find(path)
        if media == 401:
            return 401, {"WWW-Authenticate": f'Digest realm="camera", nonce="{self.token(16).hex()}"'}, ""
        if isinstance(media, int):
            return media, {}, ""
        if request.method == "DESCRIBE":
            headers = {"Content-Type": "application/sdp", "Content-Base": f"{request.uri.rstrip('/')}/"}
            return 200, headers, media.description()
        if request.method == "SETUP":
            if media.tracks is not Tracks.SOUND and not request.uri.rstrip("/").endswith("trackID=0"):
                return 404, {}, ""  # the other tracks are only described
            return self._setup(request, media)
        return self._in_session(request, outcome)

    def _setup(self, request: Request, media: Media) -> tuple[int, dict[str, str], str]:
        named = request.headers.get("session", "").partition(";")[0].strip()
        if named and named != self._session:
            return 454, {}, ""
        if self._state is _State.PLAYING:
            return 455, {"Allow": "PLAY, GET_PARAMETER, TEARDOWN"}, ""
        channels = _interleaved_channels(request.headers.get("transport", ""))
        if channels is None:
            return 461, {}, ""
        if self._state is _State.INIT:
            self._session = self.token(12).hex()
            self._state = _State.READY
        random = self.token(10)
        self._stream = RtpStream(
            media,
            channels[0],
            int.from_bytes(random[:4], "big"),
            int.from_bytes(random[4:6], "big"),
            int.from_bytes(random[6:], "big"),
        )
        transport = f"RTP/AVP/TCP;unicast;interleaved={channels[0]}-{channels[1]};ssrc={self._stream.ssrc:08X}"
        return 200, {**self._session_header(), "Transport": transport}, ""

    def _in_session(self, request: Request, outcome: Outcome) -> tuple[int, dict[str, str], str]:
        named = request.headers.get("session", "").partition(";")[0].strip()
        if request.method == "GET_PARAMETER" and not named and self._state is _State.INIT:
            return 200, {}, ""
        if self._stream is None or named != self._session:
            return 454, {}, ""
        headers = self._session_header()
        if request.method == "TEARDOWN":
            outcome.stop, outcome.start = True, None
            self._state, self._session, self._stream = _State.INIT, "", None
            return 200, {}, ""
        if request.method == "PLAY":
            stream = self._stream
            track = f"{request.uri.rstrip('/')}/trackID=0"
            headers["Range"] = "npt=now-"
            headers["RTP-Info"] = f"url={track};seq={stream.sequence};rtptime={stream.timestamp}"
            if self._state is _State.READY:
                self._state = _State.PLAYING
                outcome.start, outcome.stop = stream, False
        return 200, headers, ""

    def _session_header(self) -> dict[str, str]:
        return {"Session": f"{self._session};timeout={SESSION_TIMEOUT_S}"}


def _reply(status: int, sequence: str, headers: dict[str, str], body: str = "") -> bytes:
    lines = [f"RTSP/1.0 {status} {REASONS[status]}"]
    if sequence.isascii() and sequence.isdigit():
        lines.append(f"CSeq: {sequence}")
    lines.append("Server: Gwanje simulated microphone")
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body:
        lines.append(f"Content-Length: {len(body.encode())}")
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


def _path(uri: str) -> str | None:
    """First part of the path of an address; ``*`` is the server itself; None when it is no RTSP address."""
    if uri == "*":
        return ""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return None
    if parts.scheme != "rtsp":
        return None
    return parts.path.strip("/").split("/")[0]


def _interleaved_channels(transport: str) -> tuple[int, int] | None:
    """Channels of the first offered transport that we can do; None when there is none."""
    for offer in transport.split(","):
        words = [word.strip() for word in offer.split(";")]
        if words[0].upper() != "RTP/AVP/TCP" or any(
            word.lower().startswith("mode=") and word[5:].strip('"').upper() != "PLAY" for word in words
        ):
            continue
        asked = next((word[12:] for word in words if word.lower().startswith("interleaved=")), "0-1")
        pair = re.fullmatch(r"(\d{1,3})(?:-(\d{1,3}))?", asked)
        if pair is None:
            continue
        first = int(pair[1])
        second = int(pair[2]) if pair[2] else first + 1
        if first <= 255 and second <= 255:
            return first, second
    return None
