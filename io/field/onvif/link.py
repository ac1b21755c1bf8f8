"""One camera's web services over HTTP: SOAP out, SOAP in, bounded in time and size. The only file with its socket.

User and password go as a WS-Security digest with the camera's own clock; a camera that wants HTTP Digest instead gets
that. No answer is believed from another host than the site names: addresses that cameras give are reduced to paths.
"""

from __future__ import annotations

import asyncio
import secrets
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

import aiohttp

from gwanje.core.clock import NS_PER_S, Clock
from gwanje.io.field.errors import (
    ConnectError,
    ConnectionLostError,
    InvalidReplyError,
    NoAnswerError,
    WriteForbiddenError,
)
from gwanje.io.field.onvif import messages
from gwanje.io.field.onvif.safe_xml import BYTES_MAX, XmlError
from gwanje.io.field.onvif.soap import NONCE_BYTES, NS, FaultError, Token, envelope, escape, opened
from gwanje.io.field.rtsp import auth
from gwanje.io.field.rtsp.session import Login

SKEW_NS = 5 * NS_PER_S
"""Cameras refuse a token whose time is further from their clock than five seconds or so: beyond it theirs is used."""
Answer = TypeVar("Answer")
PATH_DEFAULT = "/onvif/device_service"
READS = ("Get", "Create", "Pull", "Renew", "Unsubscribe")
"""Beginnings of operations that change nothing in the street: all others are writes, and stop at the gate."""
_EVENTS = f"{NS['tev']}/EventPortType/"
_BW = "http://docs.oasis-open.org/wsn/bw-2/SubscriptionManager/"
ACTIONS = {
    "CreatePullPointSubscription": f"{_EVENTS}CreatePullPointSubscriptionRequest",
    "PullMessages": f"{NS['tev']}/PullPointSubscription/PullMessagesRequest",
    "Renew": f"{_BW}RenewRequest",
    "Unsubscribe": f"{_BW}UnsubscribeRequest",
}
"""Actions that are not service and operation."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a camera said when it was found.

    Attributes:
        skew_ns: its clock minus ours.
        services: prefix → path.
    """

    information: messages.Information
    skew_ns: int
    services: dict[str, str]


class OnvifLink:
    """One camera.

    Args:
        session: of the part, shared.
        host: of the camera.
        port: of its HTTP server.
        path: of its device service.
        login: empty user for a camera that asks nobody.
        timeout_s: for each answer.
        clock: of the machine.
        read_only: the site-wide gate: when true nothing that moves a camera leaves, whoever asks.
    """

    def __init__(
        self, session: aiohttp.ClientSession, host: str, port: int, path: str, login: Login, timeout_s: float,
        clock: Clock, *, read_only: bool,
    ) -> None:  # fmt: skip
        self._session = session
        self._base = f"http://{host}:{port}"
        self._host = host
        self._device_path = path or PATH_DEFAULT
        self._login = login
        self._timeout_s = timeout_s
        self._clock = clock
        self._read_only = read_only
        self._challenge: auth.Challenge | None = None
        self.services: dict[str, str] = {}
        self.skew_ns = 0

    async def identify(self) -> Found:
        """Clock first, then who it is and what it can.

        Raises:
            ConnectError: nobody there.
            NoAnswerError: no answer in time.
            InvalidReplyError: what answers is no ONVIF camera.
            FaultError: it refuses.
        """
        self.services, self.skew_ns, self._challenge = {"tds": self._device_path}, 0, None
        answer = await self.call("tds", messages.get_time(), "GetSystemDateAndTime", login=False)
        try:
            self.skew_ns = messages.parse_time(answer) - self._clock.utc_ns()
        except XmlError as error:
            raise InvalidReplyError(str(error)) from None
        information = messages.parse_information(
            await self.call("tds", messages.get_information(), "GetDeviceInformation")
        )
        await self.ask_services()
        return Found(information, self.skew_ns, dict(self.services))

    async def ask_services(self) -> None:
        """What it can, kept in :attr:`services`; those that were known stay until it has answered.

        Raises:
            LinkError, FaultError: as :meth:`identify`.
        """
        try:
            answer = await self.call("tds", messages.get_services(), "GetServices")
            services = messages.parse_services(answer)
        except FaultError as fault:
            if fault.unauthorized:
                raise
            services = messages.parse_capabilities(
                await self.call("tds", messages.get_capabilities(), "GetCapabilities")
            )
        self.services = {**services, "tds": self._device_path}

    @property
    def media(self) -> str:
        """Prefix of the media service, ``trt`` where the camera has both; empty without one."""
        return next((one for one in ("trt", "tr2") if one in self.services), "")

    def stream_address(self, uri: str) -> str:
        """A stream's address at the host that the site names."""
        parts = urlsplit(uri)
        port = f":{parts.port}" if parts.port else ""
        query = f"?{parts.query}" if parts.query else ""
        return f"rtsp://{self._host}{port}{parts.path}{query}"

    async def call(
        self, service: str, body: str, operation: str, *, path: str = "", login: bool = True, timeout_s: float = 0.0
    ) -> ET.Element:
        """One operation.

        Args:
            service: prefix of :data:`soap.NS`.
            body: of the request.
            operation: its name; the answer's is this with ``Response``.
            path: instead of the service's.
            login: whether user and password go with it.
            timeout_s: instead of the link's.

        Raises:
            WriteForbiddenError: the site is read only.
            ConnectError, ConnectionLostError, NoAnswerError, InvalidReplyError: no answer that can be used.
            FaultError: the camera refuses.
        """
        if self._read_only and not operation.startswith(READS):
            raise WriteForbiddenError("the site is read only")
        path = path or self.services.get(service, "")
        if not path:
            raise FaultError(("NotSupported",), f"the camera has no service for {operation}")
        action = ACTIONS.get(operation, f"{NS[service]}/{operation}")
        header = ""
        if service in ("tev", "wsnt"):  # events are addressed (WS-Addressing), all else is not
            header = f"<wsa:Action>{action}</wsa:Action><wsa:To>{escape(self._base + path)}</wsa:To>"
        data = envelope(body, self._token() if login else None, header)
        status, answer, challenges = await self._post(path, data, action, timeout_s)
        if status == 401 and challenges and self._login.user:
            challenge = auth.choose(challenges)
            if challenge is not None:
                self._challenge = challenge
                status, answer, _ = await self._post(path, data, action, timeout_s)
        try:
            return opened(answer, f"{operation}Response")
        except XmlError as error:
            if status == 401:
                raise FaultError(("NotAuthorized",), "the camera does not take the user and password") from None
            words = f"HTTP {status}" if status != 200 else str(error)
            raise InvalidReplyError(f"{operation}: {words}") from None

    async def ask(self, service: str, body: str, operation: str, parse: Callable[[ET.Element], Answer]) -> Answer:
        """One operation and what its answer says; see :meth:`call`."""
        answer = await self.call(service, body, operation)
        try:
            return parse(answer)
        except XmlError as error:
            raise InvalidReplyError(f"{operation}: {error}") from None

    def _token(self) -> Token | None:
        if not self._login.user:
            return None
        now_ns = self._clock.utc_ns()
        if abs(self.skew_ns) > SKEW_NS:
            now_ns += self.skew_ns
        return Token(self._login.user, self._login.password, now_ns, secrets.token_bytes(NONCE_BYTES))

    async def _post(self, path: str, data: bytes, action: str, timeout_s: float) -> tuple[int, bytes, list[str]]:
        """Status, body and challenges of one exchange."""
        limit_s = timeout_s or self._timeout_s
        headers = {"Content-Type": f'application/soap+xml; charset=utf-8; action="{action}"'}
        if self._challenge is not None:
            headers["Authorization"] = auth.answer(
                self._challenge, "POST", path, self._login.user, self._login.password, secrets.token_bytes
            )
        try:
            async with (
                asyncio.timeout(limit_s),
                self._session.post(self._base + path, data=data, headers=headers, allow_redirects=False) as answer,
            ):
                body = await _bounded(answer.content)
                return answer.status, body, answer.headers.getall("WWW-Authenticate", [])
        except TimeoutError:
            raise NoAnswerError(f"no answer within {limit_s:g} s") from None
        except aiohttp.ClientConnectorError as error:
            refused = isinstance(error.os_error, ConnectionRefusedError)
            words = "refuses the connection" if refused else str(error.os_error.strerror or error)
            raise ConnectError(f"{self._base[7:]} {words}", refused=refused) from None
        except (aiohttp.ClientError, ValueError, OSError) as error:
            raise ConnectionLostError(f"{type(error).__name__}: {str(error)[:80]}") from None


async def _bounded(content: aiohttp.StreamReader) -> bytes:
    """A body of at most :data:`BYTES_MAX`.

    Raises:
        InvalidReplyError: it is longer.
    """
    whole = bytearray()
    async for part in content.iter_any():
        whole += part
        if len(whole) > BYTES_MAX:
            raise InvalidReplyError(f"an answer of more than {BYTES_MAX} bytes")
    return bytes(whole)
