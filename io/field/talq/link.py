"""Our requests to a TALQ gateway over HTTP: the one socket there, the read-only gate below everything, strict answers.

Whatever a gateway answers becomes JSON that was checked, or an error of :mod:`gwanje.io.field.errors`.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from uuid import uuid4

import aiohttp

from gwanje.io.field.errors import (
    ConnectError,
    ConnectionLostError,
    InvalidReplyError,
    LinkError,
    NoAnswerError,
    WriteForbiddenError,
)
from gwanje.io.field.talq.messages import BODY_MAX, MessageError, read_json, version_fits
from gwanje.io.field.talq.schema import VERSION

CONNECTIONS_MAX = 2
"""To one gateway: a command does not wait behind a page of devices."""
RETRY_AFTER_MAX_S = 300.0
"""A gateway may ask for this much patience at most."""
ERROR_TEXT_MAX = 120
"""Characters of a gateway's own words in our texts."""


class BusyError(LinkError):
    """The gateway asks for patience (503, 429).

    Attributes:
        retry_after_s: how much; 0 when it did not say.
    """

    def __init__(self, text: str, retry_after_s: float) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class StrangerError(LinkError):
    """The gateway does not know us: it must announce itself first (403), or our token is wrong (401)."""


class RefusedError(LinkError):
    """The gateway refuses the request; the link is well.

    Attributes:
        status: of HTTP.
    """

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer.

    Attributes:
        status: 200, 201, 202 or 204.
        content: parsed; ``None`` without a body.
        date_s: of the gateway's clock, seconds since 1970; 0 when it does not tell.
    """

    status: int
    content: Any
    date_s: float


class TalqLink:
    """See the module. Open it inside an event loop.

    Args:
        base: such as ``http://127.0.0.1:15510``.
        cms_address: ours.
        token: for ``authorization``; empty without.
        timeout_s: of one request.
        read_only: nothing but reading leaves.
        tls: for https.
    """

    def __init__(
        self, base: str, cms_address: str, token: str, timeout_s: float, *, read_only: bool,
        tls: ssl.SSLContext | None = None,
    ) -> None:  # fmt: skip
        self._base = base
        self._cms_address = cms_address
        self._headers = {"talq-api-version": VERSION, "cache-control": "no-transform"}
        if token:
            self._headers["authorization"] = f"Bearer {token}"
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._read_only = read_only
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Drop all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=CONNECTIONS_MAX, ssl=self._tls if self._tls is not None else True)
            self._session = aiohttp.ClientSession(
                connector=connector, timeout=self._timeout, headers=self._headers, trust_env=False,
                cookie_jar=aiohttp.DummyCookieJar(),
            )  # fmt: skip
        return self._session

    async def get(self, path: str, **query: str | int) -> Reply:
        """Read.

        Raises:
            LinkError: no answer, or none that can be used.
        """
        return await self._ask("GET", path, query, None)

    async def send(self, method: str, path: str, body: Any) -> Reply:
        """Change something.

        Raises:
            WriteForbiddenError: the site is read only.
            LinkError: no answer, or none that can be used.
        """
        if self._read_only:
            raise WriteForbiddenError("the site is read only")
        data = json.dumps(body, separators=(",", ":")).encode("utf-8")
        return await self._ask(method, path, {"talqRequestId": str(uuid4())}, data)

    async def _ask(self, method: str, path: str, query: Mapping[str, str | int], data: bytes | None) -> Reply:
        assert method == "GET" or not self._read_only, "the gate stands above every request that changes something"
        headers = {"content-type": "application/json"} if data is not None else None
        try:
            async with self._opened().request(
                method, f"{self._base}{path}", params={"clientAddress": self._cms_address, **query}, data=data,
                headers=headers, allow_redirects=False,
            ) as response:  # fmt: skip
                body = await _body(response)
                return _judged(response, body)
        except aiohttp.ClientConnectorError as error:
            refused = isinstance(error.os_error, ConnectionRefusedError)
            raise ConnectError(f"no connection: {error.os_error.strerror or error}"[:200], refused) from None
        except TimeoutError:
            raise NoAnswerError(f"no answer within {self._timeout.total:g} s") from None
        except aiohttp.ClientPayloadError as error:
            raise InvalidReplyError(f"broken body: {error}"[:200]) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise ConnectionLostError(f"connection lost: {error}"[:200]) from None


async def _body(response: aiohttp.ClientResponse) -> bytes:
    """The body, as long as it is not too long.

    Raises:
        InvalidReplyError: it is.
    """
    found = bytearray()
    async for chunk in response.content.iter_any():
        found += chunk
        if len(found) > BODY_MAX:
            response.close()
            raise InvalidReplyError(f"an answer of more than {BODY_MAX} bytes")
    return bytes(found)


def _judged(response: aiohttp.ClientResponse, body: bytes) -> Reply:
    status = response.status
    theirs = response.headers.get("talq-api-version", VERSION)
    if status in (429, 503):
        raise BusyError(f"the gateway is busy ({status})", _patience(response.headers.get("retry-after", "")))
    if status in (401, 403):
        why = "the token is wrong" if status == 401 else "the gateway has not announced itself"
        raise StrangerError(f"{why} ({status})")
    if not version_fits(theirs):
        raise InvalidReplyError(f"it speaks TALQ {theirs[:20]!r}, this is {VERSION}")
    if 400 <= status < 500:
        raise RefusedError(f"refused ({status}): {_words(body)}", status)
    if status not in (200, 201, 202, 204):
        raise InvalidReplyError(f"HTTP {status}")
    return Reply(status, _content(response, body), _date_s(response.headers.get("date", "")))


def _content(response: aiohttp.ClientResponse, body: bytes) -> Any:
    if not body:
        return None
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("application/json", "text/plain"):
        raise InvalidReplyError(f"an answer of type {kind[:40]!r}")
    try:
        return read_json(body)
    except MessageError as error:
        raise InvalidReplyError(str(error)) from None


def _patience(text: str) -> float:
    return min(float(text), RETRY_AFTER_MAX_S) if text.isascii() and text.isdigit() else 0.0


def _date_s(text: str) -> float:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError):
        return 0.0


def _words(body: bytes) -> str:
    """What the gateway says of it: the description of its first error message."""
    try:
        content = read_json(body)
    except MessageError:
        return body[:ERROR_TEXT_MAX].decode("utf-8", "replace")
    first = content[0] if isinstance(content, list) and content else content
    words = first.get("description", "") if isinstance(first, dict) else first
    return str(words)[:ERROR_TEXT_MAX]


__all__ = ["BusyError", "RefusedError", "Reply", "StrangerError", "TalqLink"]
