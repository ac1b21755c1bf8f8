"""What a camera sends on its RTSP connection, cut into replies, its own requests and interleaved packets. No I/O.

The same items come out however the bytes were cut on their way; after anything that cannot be understood comes nothing.
Source: RFC 2326 §4, §10.12.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_HEADER_BYTES = 8_192
"""Replies of real cameras have 200 to 900 bytes."""
MAX_BODY_BYTES = 32_768
"""A session description has 300 to 4 000 bytes, with many tracks and parameter sets."""
MAX_HEADERS = 64

_END = re.compile(rb"\n\r?\n")
_REPLY = re.compile(r"RTSP/(\d\.\d) +(\d{3})(?: +(.*))?")
_REQUEST = re.compile(r"([A-Z_]{1,32}) +(\S{1,2048}) +RTSP/(\d\.\d)")
_LINE_BREAKS = b"\r\n"

Packet = tuple[int, bytes]
"""An interleaved packet: channel and content."""


@dataclass(frozen=True, slots=True)
class Headers:
    """Header lines in their order; names in lower case."""

    lines: tuple[tuple[str, str], ...] = ()

    def get(self, name: str) -> str:
        """The first value of a header, or an empty text."""
        return next((value for key, value in self.lines if key == name), "")

    def all(self, name: str) -> list[str]:
        """All values of a header: a camera may offer several ways to log in, a line for each."""
        return [value for key, value in self.lines if key == name]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the camera."""

    status: int
    reason: str
    headers: Headers
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Ask:
    """A request of the camera to us."""

    method: str
    uri: str
    headers: Headers
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Broken:
    """What follows cannot be understood any more; why."""

    reason: str


Item = Packet | Reply | Ask | Broken


class ReplyParser:
    """Cuts a stream of bytes. Its buffer holds one header and body, or one packet, of the largest size at most."""

    def __init__(self) -> None:
        self._buffer = b""
        self._head: tuple[Reply | Ask, int] | None = None
        self.failed = False

    def feed(self, data: bytes) -> list[Item]:
        """Items that ``data`` completes, in order. After a :class:`Broken` nothing follows, ever."""
        items: list[Item] = []
        if self.failed:
            return items
        if self._buffer:
            data = self._buffer + data
        at, size = 0, len(data)
        while at < size:
            if self._head is None and data[at] == 0x24:
                end = at + 4
                if end > size:
                    break
                end += (data[at + 2] << 8) | data[at + 3]
                if end > size:
                    break
                items.append((data[at + 1], data[at + 4 : end]))
                at = end
                continue
            if self._head is None and data[at] in _LINE_BREAKS:
                at += 1
                continue
            step = self._text(data, at)
            if isinstance(step, Broken):
                items.append(step)
                self.failed = True
                self._buffer = b""
                return items
            item, at = step
            if item is None:
                break
            items.append(item)
        self._buffer = data[at:]
        return items

    def _text(self, data: bytes, at: int) -> tuple[Reply | Ask | None, int] | Broken:
        """The reply or request that begins at a place, None while it is not whole, and where to go on."""
        if self._head is None:
            if not _may_begin(data[at : at + 33]):
                return Broken("something that is neither RTSP nor a packet")
            end = _END.search(data, at, at + MAX_HEADER_BYTES)
            if end is None:
                if len(data) - at >= MAX_HEADER_BYTES:
                    return Broken(f"a header of more than {MAX_HEADER_BYTES} bytes")
                return None, at
            head = _parse_head(data[at : end.end()])
            if isinstance(head, Broken):
                return head
            self._head = head
            at = end.end()
        item, length = self._head
        if len(data) - at < length:
            return None, at
        self._head = None
        if length:
            body = data[at : at + length]
            item = (
                Reply(item.status, item.reason, item.headers, body) if isinstance(item, Reply)
                else Ask(item.method, item.uri, item.headers, body)
            )  # fmt: skip
        return item, at + length


def _may_begin(start: bytes) -> bool:
    """Whether a reply or request can begin so. Garbage is told at once, not after 8 kB of it."""
    word = start.split(b" ")[0]
    if word.startswith(b"RTSP/"[: len(word)]) or start.startswith(b"RTSP/"):
        return True
    return len(word) <= 32 and all(65 <= byte <= 90 or byte == 95 for byte in word)


def _parse_head(data: bytes) -> tuple[Reply | Ask, int] | Broken:
    lines = data.decode("utf-8", "replace").replace("\r\n", "\n").rstrip("\n").split("\n")
    if len(lines) > MAX_HEADERS:
        return Broken(f"more than {MAX_HEADERS} headers")
    pairs = []
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if colon and name.strip():  # cameras are sloppy: a line that is no header is none
            pairs.append((name.strip().lower(), value.strip()))
    headers = Headers(tuple(pairs))
    lengths = set(headers.all("content-length")) or {"0"}
    length = lengths.pop()
    if lengths or not (length.isascii() and length.isdigit() and len(length) <= 9) or int(length) > MAX_BODY_BYTES:
        return Broken(f"a body of a length that cannot be ({length[:20]!r})")
    if reply := _REPLY.fullmatch(lines[0].rstrip()):
        return Reply(int(reply[2]), (reply[3] or "")[:100], headers), int(length)
    if request := _REQUEST.fullmatch(lines[0].rstrip()):
        return Ask(request[1], request[2], headers), int(length)
    return Broken("a first line that is neither a reply nor a request")
