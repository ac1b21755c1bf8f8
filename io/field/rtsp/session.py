"""One RTSP session with a camera: OPTIONS, DESCRIBE, SETUP of its microphone alone, PLAY, and signs of life. No I/O.

The owner of the socket hands in what arrives and sends what stands in :attr:`Session.out`. Source: RFC 2326.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from urllib.parse import urlsplit

from gwanje.io.field.rtsp import auth, sdp, wire
from gwanje.io.field.rtsp.sdp import SdpError, Track
from gwanje.io.field.rtsp.wire import Ask, Broken, Packet, Reply

TIMEOUT_S = 60.0
"""Of a session whose camera does not say."""
TIMEOUT_LEAST_S, TIMEOUT_MOST_S = 4.0, 600.0
"""A camera that says less is asked every two seconds; one that says more is asked every five minutes."""
LOGINS_MAX = 2
"""Tries to log in: one, and one more when the camera says that only the nonce was too old."""
REDIRECTS_MAX = 1
AGENT = "Gwanje"
NS_PER_S = 1_000_000_000

_SERVER_PORTS = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")


class Phase(Enum):
    """What the session waits for."""

    NEW = "NEW"
    OPTIONS = "OPTIONS"
    DESCRIBE = "DESCRIBE"
    SETUP = "SETUP"
    PLAY = "PLAY"
    PLAYING = "PLAYING"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Login:
    """User and password, empty when nobody gave any."""

    user: str = ""
    password: str = ""


class Session:
    """One session; good for one connection.

    Args:
        url: of the camera's stream.
        login: user and password.
        codec: to prefer.
        token: ``token(n)`` gives n unguessable bytes.
        ports: of our two datagram sockets, for packets as datagrams; None has them inside the connection.
    """

    def __init__(
        self, url: str, login: Login, codec: str, token: Callable[[int], bytes], ports: tuple[int, int] | None = None
    ) -> None:
        self.out = b""
        """Bytes to be sent; whoever sends them empties it."""
        self.failure = ""
        """Why the session is over; empty while it is not."""
        self.track: Track | None = None
        """The microphone's track, once described."""
        self.channels = (0, 1)
        """Interleaved channels of sound and of its reports."""
        self.server_ports: tuple[int, int] | None = None
        """Where the camera sends datagrams from, where it says so."""
        self.timeout_s = TIMEOUT_S
        self.phase = Phase.NEW
        self._url = url
        self._login = login
        self._codec = codec
        self._token = token
        self._ports = ports
        self._parser = wire.ReplyParser()
        self._sequence = 0
        self._challenge: auth.Challenge | None = None
        self._logins = 0
        self._redirects = 0
        self._session = ""
        self._parameters = False
        self._asked_ns = 0

    @property
    def playing(self) -> bool:
        """Whether the camera has promised to send."""
        return self.phase is Phase.PLAYING

    def start(self) -> None:
        """Begin."""
        self._request(Phase.OPTIONS, self._url)

    def receive(self, data: bytes) -> list[Packet]:
        """Eat what arrived; gives the interleaved packets among it."""
        packets: list[Packet] = []
        for item in self._parser.feed(data):
            if type(item) is tuple:
                packets.append(item)
                continue
            match item:
                case Reply():
                    self._reply(item)
                case Ask():
                    self._asked(item)
                case Broken(reason):
                    self._fail(f"the camera sent {reason}")
            if self.failure:
                break
        return packets

    def keep(self, now_ns: int) -> None:
        """Ask for a sign of life when half of the session's time has passed."""
        if self.phase is not Phase.PLAYING:
            return
        if not self._asked_ns:
            self._asked_ns = now_ns
        elif now_ns - self._asked_ns >= self.timeout_s * NS_PER_S / 2:
            self._asked_ns = now_ns
            self._send("GET_PARAMETER" if self._parameters else "OPTIONS", self._session_url, {})

    def leave(self) -> None:
        """Say goodbye."""
        if self._session and self.phase is Phase.PLAYING:
            self._send("TEARDOWN", self._session_url, {})

    @property
    def _session_url(self) -> str:
        return self.track.session_url if self.track else self._url

    def _fail(self, reason: str) -> None:
        self.failure = self.failure or reason
        self.phase = Phase.FAILED

    def _request(self, phase: Phase, uri: str) -> None:
        self.phase = phase
        headers: dict[str, str] = {}
        if phase is Phase.DESCRIBE:
            headers["Accept"] = "application/sdp"
        elif phase is Phase.SETUP:
            if self._ports is None:
                headers["Transport"] = "RTP/AVP/TCP;unicast;interleaved=0-1"
            else:
                headers["Transport"] = f"RTP/AVP;unicast;client_port={self._ports[0]}-{self._ports[1]}"
        elif phase is Phase.PLAY:
            headers["Range"] = "npt=0.000-"
        self._send(phase.value, uri, headers)

    def _send(self, method: str, uri: str, headers: dict[str, str]) -> None:
        self._sequence += 1
        lines = [f"{method} {uri} RTSP/1.0", f"CSeq: {self._sequence}", f"User-Agent: {AGENT}"]
        if self._session:
            lines.append(f"Session: {self._session}")
        if self._challenge is not None:
            words = auth.answer(
                self._challenge, method, uri, self._login.user, self._login.password, self._token
            )
            lines.append(f"Authorization: {words}")
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.out += ("\r\n".join(lines) + "\r\n\r\n").encode()

    def _reply(self, reply: Reply) -> None:
        if self.phase in (Phase.NEW, Phase.FAILED):
            return
        sequence = reply.headers.get("cseq")
        if sequence and sequence != str(self._sequence):
            return  # to something that nobody waits for any more
        if self.phase is Phase.PLAYING:
            if reply.status in (401, 454):
                self._fail(f"the camera ended the session: {reply.status} {reply.reason}")
            return
        if reply.status == 401:
            self._challenged(reply)
        elif reply.status in (301, 302, 303, 305, 307, 308):
            self._redirected(reply)
        elif self.phase is Phase.OPTIONS:  # cameras that refuse it play nevertheless
            self._parameters = "GET_PARAMETER" in reply.headers.get("public").upper()
            self._request(Phase.DESCRIBE, self._url)
        elif not 200 <= reply.status < 300:
            words = " (try transport = \"tcp\")" if reply.status == 461 and self._ports else ""
            self._fail(f"{reply.status} {reply.reason} to {self.phase.value}{words}")
        elif self.phase is Phase.DESCRIBE:
            self._described(reply)
        elif self.phase is Phase.SETUP:
            self._set_up(reply)
        else:
            self.phase = Phase.PLAYING

    def _challenged(self, reply: Reply) -> None:
        challenge = auth.choose(reply.headers.all("www-authenticate"))
        if not self._login.user:
            self._fail("401 Unauthorized: the camera wants a user and password (camera-passwords.toml)")
        elif challenge is None:
            self._fail("401 Unauthorized: the camera wants a way to log in that is not supported")
        elif self._logins and not (challenge.stale and self._logins < LOGINS_MAX):
            self._fail("401 Unauthorized: the camera does not take the user and password")
        else:
            self._logins += 1
            self._challenge = challenge
            self._again()

    def _again(self) -> None:
        """Ask the same once more."""
        track = self.track
        uri = self._url
        if track is not None:
            uri = track.url if self.phase is Phase.SETUP else track.session_url
        self._request(self.phase, uri)

    def _redirected(self, reply: Reply) -> None:
        target = reply.headers.get("location")
        try:
            here, there = urlsplit(self._url), urlsplit(target)
            same = there.scheme == "rtsp" and (there.hostname, there.port or 554) == (here.hostname, here.port or 554)
        except ValueError:
            same = False
        if not same or there.username is not None or any(sign.isspace() for sign in target):
            self._fail("the camera redirects to another host: refused")
        elif self._redirects >= REDIRECTS_MAX or self.phase not in (Phase.OPTIONS, Phase.DESCRIBE):
            self._fail("the camera redirects again and again")
        else:
            self._redirects += 1
            self._url = target
            self._request(self.phase, target)

    def _described(self, reply: Reply) -> None:
        base = reply.headers.get("content-base") or reply.headers.get("content-location") or self._url
        base = "".join(base.split())
        if not base.lower().startswith("rtsp://"):
            base = self._url
        try:
            self.track = self._choose(reply.body, base)
        except SdpError as error:
            self._fail(str(error))
            return
        self._request(Phase.SETUP, self.track.url)

    def _choose(self, body: bytes, base_url: str) -> Track:
        """The track of a description that this session is about.

        Raises:
            SdpError: it has none.
        """
        return sdp.choose_track(body, base_url, self._codec)

    def _set_up(self, reply: Reply) -> None:
        name, _, rest = reply.headers.get("session").partition(";")
        if not name.strip() or len(name) > 256:
            self._fail("the camera gives no session")
            return
        self._session = name.strip()
        for word in rest.split(";"):
            key, _, value = word.strip().partition("=")
            if key.lower() == "timeout" and value.isascii() and value.isdigit() and len(value) <= 9:
                self.timeout_s = min(max(float(value), TIMEOUT_LEAST_S), TIMEOUT_MOST_S)
        transport = reply.headers.get("transport")
        if not self._transport(transport):
            self._fail(f"the camera answers with another transport: {transport[:80]!r}")
            return
        self._request(Phase.PLAY, self._session_url)

    def _transport(self, transport: str) -> bool:
        """Take over what the camera chose; whether it is what was asked for."""
        words = [word.strip() for word in transport.split(";")]
        values = {key.lower(): value for key, _, value in (word.partition("=") for word in words[1:])}
        inside = words[0].upper() == "RTP/AVP/TCP"
        if self._ports is not None:
            if inside:
                return False
            if ports := _pair(values.get("server_port", ""), 65_535):
                self.server_ports = ports
            return True
        channels = _pair(values.get("interleaved", "0-1"), 255)
        if not inside or channels is None:
            return False
        self.channels = channels
        return True

    def _asked(self, ask: Ask) -> None:
        """The camera asks something of us."""
        if ask.method in ("REDIRECT", "TEARDOWN", "ANNOUNCE"):
            self._fail(f"the camera asked to begin anew ({ask.method})")
            return
        known = ask.method in ("OPTIONS", "GET_PARAMETER", "SET_PARAMETER")
        sequence = ask.headers.get("cseq")
        lines = [f"RTSP/1.0 {'200 OK' if known else '501 Not Implemented'}"]
        if sequence.isascii() and sequence.isdigit() and len(sequence) <= 10:
            lines.append(f"CSeq: {sequence}")
        self.out += ("\r\n".join(lines) + "\r\n\r\n").encode()


def _pair(text: str, highest: int) -> tuple[int, int] | None:
    """``a-b`` or ``a``, which means a and a + 1."""
    found = _SERVER_PORTS.fullmatch(text.strip())
    if found is None:
        return None
    first = int(found[1])
    second = int(found[2]) if found[2] else first + 1
    return (first, second) if first <= highest and second <= highest else None
