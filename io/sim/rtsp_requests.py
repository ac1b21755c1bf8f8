"""What an RTSP client sends, cut into requests and interleaved frames: bytes in, items out, no sockets.

Source: RFC 2326 §4, §6, §10.12.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_HEADER_BYTES = 8_192
"""A request of a real client has 200 to 600 bytes."""
MAX_BODY_BYTES = 4_096
"""Only parameters are ever sent to us."""
MAX_HEADERS = 64

_END = re.compile(rb"\n\r?\n")
_REQUEST_LINE = re.compile(r"([A-Z_]{1,32}) (\S{1,2048}) RTSP/(\d\.\d)")
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}):[ \t]*(.*?)[ \t]*")


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
