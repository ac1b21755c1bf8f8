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

MAX_HEADER_BYTES = 8_192
"""A request of a real client has 200 to 600 bytes."""
MAX_BODY_BYTES = 4_096
"""Only parameters are ever sent to us."""
MAX_HEADERS = 64
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

_END = re.compile(rb"\n\r?\n")
_REQUEST_LINE = re.compile(r"([A-Z_]{1,32}) (\S{1,2048}) RTSP/(\d\.\d)")
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}):[ \t]*(.*?)[ \t]*")
_RTP = struct.Struct(">BBHBBHII")
_RTP_HEADER_BYTES = 12


@dataclass(frozen=True, slots=True)
class Request:
    """A whole request; header names in lower case."""

    method: str
    uri: str
    version: str
    headers: dict[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Interleaved:
    """A binary frame (receiver reports of the client)."""

    channel: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Malformed:
    """What follows cannot be understood any more: answer with the status and close."""

    status: int
    reason: str
    sequence: str = ""


class RequestParser:
    """Cuts a stream of bytes into requests and frames; the same items however the bytes were cut on their way."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._head: tuple[Request, int] | None = None
        self.failed = False

    def feed(self, data: bytes) -> list[Request | Interleaved | Malformed]:
        """Items that ``data`` completes, in order. After a :class:`Malformed` nothing follows, ever."""
        items: list[Request | Interleaved | Malformed] = []
        if self.failed:
            return items
        self._buffer += data
        while (item := self._next()) is not None:
            items.append(item)
            if isinstance(item, Malformed):
                self.failed = True
                self._buffer.clear()
                break
        return items

    def _next(self) -> Request | Interleaved | Malformed | None:
        buffer = self._buffer
        if self._head is None:
            while buffer and buffer[0] in b"\r\n":
                del buffer[0]
            if not buffer:
                return None
            if buffer[0] == 0x24:
                return self._interleaved()
            if not _may_begin(buffer):
                return Malformed(400, "not a request")
            end = _END.search(buffer)
            size = len(buffer) if end is None else end.end()
            if size > MAX_HEADER_BYTES:
                return Malformed(413, f"a header of more than {MAX_HEADER_BYTES} bytes")
            if end is None:
                return None
            head = _parse_head(bytes(buffer[:size]))
            del buffer[:size]
            if isinstance(head, Malformed):
                return head
            self._head = head
        request, length = self._head
        if len(buffer) < length:
            return None
        body = bytes(buffer[:length])
        del buffer[:length]
        self._head = None
        return Request(request.method, request.uri, request.version, request.headers, body)

    def _interleaved(self) -> Interleaved | None:
        buffer = self._buffer
        if len(buffer) < 4 or len(buffer) < 4 + (length := int.from_bytes(buffer[2:4], "big")):
            return None
        frame = Interleaved(buffer[1], bytes(buffer[4 : 4 + length]))
        del buffer[: 4 + length]
        return frame


def _may_begin(buffer: bytearray) -> bool:
    """Whether a request can begin so: an upper-case word. Garbage is answered at once, not after 8 kB of it."""
    word = bytes(buffer[:33]).split(b" ")[0]
    return len(word) <= 32 and all(65 <= byte <= 90 or byte == 95 for byte in word)


def _parse_head(data: bytes) -> tuple[Request, int] | Malformed:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return Malformed(400, "a header that is not text")
    lines = text.replace("\r\n", "\n").rstrip("\n").split("\n")
    first = _REQUEST_LINE.fullmatch(lines[0])
    headers: dict[str, str] = {}
    for line in lines[1:]:
        header = _HEADER.fullmatch(line)
        if header is None or len(headers) >= MAX_HEADERS or not line.isprintable():
            return Malformed(400, "a line that is no header", headers.get("cseq", ""))
        name = header[1].lower()
        if name == "content-length" and headers.get(name, header[2]) != header[2]:
            return Malformed(400, "two lengths", headers.get("cseq", ""))
        headers[name] = header[2]
    sequence = headers.get("cseq", "")
    if first is None:
        return Malformed(400, "no request line", sequence)
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()):
        return Malformed(400, "a length that is no number", sequence)
    if len(length) > 9 or int(length) > MAX_BODY_BYTES:
        return Malformed(413, f"a body of more than {MAX_BODY_BYTES} bytes", sequence)
    return Request(first[1], first[2], first[3], headers), int(length)


@dataclass(frozen=True, slots=True)
class Media:
    """What one path of the server plays.

    Attributes:
        path: first part of the address's path.
        codec: ``L16`` or ``PCMU``.
        rate_hz: of the RTP clock, which is the sample rate.
        packet_ms: length of a packet.
    """

    path: str
    codec: str
    rate_hz: int
    packet_ms: int

    @property
    def payload_type(self) -> int:
        """0 is PCMU's fixed number; L16 at 16 kHz has none and takes a dynamic one."""
        return 0 if self.codec == "PCMU" else 97

    def description(self) -> str:
        """The session description (SDP)."""
        lines = (
            "v=0",
            "o=- 1 1 IN IP4 127.0.0.1",
            f"s={self.path}",
            "c=IN IP4 0.0.0.0",
            "t=0 0",
            "a=control:*",
            "a=range:npt=now-",
            f"m=audio 0 RTP/AVP {self.payload_type}",
            f"a=rtpmap:{self.payload_type} {self.codec}/{self.rate_hz}" + ("/1" if self.codec == "L16" else ""),
            f"a=ptime:{self.packet_ms}",
            "a=recvonly",
            "a=control:trackID=0",
        )
        return "".join(f"{line}\r\n" for line in lines)


@dataclass(slots=True)
class RtpStream:
    """The numbers of one client's RTP stream; ``frame`` counts them on.

    Attributes:
        media: what is played.
        channel: of the interleaved frames.
        ssrc: identity of the source.
        sequence: of the next packet.
        timestamp: of the next packet's first sample.
    """

    media: Media
    channel: int
    ssrc: int
    sequence: int
    timestamp: int

    def frame(self, payload: bytes, n_samples: int) -> bytes:
        """One packet, ready for the connection."""
        header = _RTP.pack(
            0x24,
            self.channel,
            _RTP_HEADER_BYTES + len(payload),
            0x80,
            self.media.payload_type,
            self.sequence,
            self.timestamp,
            self.ssrc,
        )
        self.sequence = (self.sequence + 1) & 0xFFFF
        self.skip(n_samples)
        return header + payload

    def skip(self, n_samples: int) -> None:
        """Let the source's clock go on without a packet."""
        self.timestamp = (self.timestamp + n_samples) & 0xFFFF_FFFF


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
