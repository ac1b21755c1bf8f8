"""How APDUs are framed in a stream: the TCP wrapper (IEC 62056-47), or HDLC (IEC 62056-46). No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from dlms_cosem.hdlc import address, connection, exceptions, frames, state

from gwanje.io.field.errors import InvalidReplyError

WRAPPER_HEAD = 8
WRAPPER_VERSION = 1
APDU_MAX = 65_535
"""The wrapper's length has 16 bits."""
HDLC_BUFFER_MAX = 4_096
"""Bytes without a frame in them after which the line carries no HDLC: a frame has 2047 at most."""
LLC_REQUEST, LLC_REPLY = b"\xe6\xe6\x00", b"\xe6\xe7\x00"
SEGMENTS_MAX = 1_024
"""Segments of one APDU: at 128 bytes each more than any APDU has."""


@dataclass(frozen=True, slots=True)
class Way:
    """Whom an APDU is for: service access points of client and server."""

    client: int
    server: int


class Framing(Protocol):
    """One stream's framing; requests and answers alternate."""

    def hello(self, way: Way) -> bytes:
        """What is sent before the first APDU, empty for nothing; :meth:`take` gives ``b""`` when it is answered."""

    def wrap(self, way: Way, apdu: bytes) -> bytes:
        """Bytes to send for an APDU."""

    def take(self, data: bytes) -> tuple[bytes | None, bytes]:
        """Feed what came; the APDU once it is whole (else None), and what must be sent now to get the rest.

        Raises:
            InvalidReplyError: the stream is of no more use.
        """


class Wrapper:
    """Eight bytes before each APDU. What comes from others than who was asked is passed over."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._way = Way(0, 0)
        self.passed_over = 0
        """Answers of others, or to nobody, ever."""

    def hello(self, way: Way) -> bytes:
        """Nothing."""
        del way
        return b""

    def wrap(self, way: Way, apdu: bytes) -> bytes:
        """See :class:`Framing`."""
        self._way = way
        return b"".join(one.to_bytes(2, "big") for one in (WRAPPER_VERSION, way.client, way.server, len(apdu))) + apdu

    def take(self, data: bytes) -> tuple[bytes | None, bytes]:
        """See :class:`Framing`."""
        self._buffer += data
        while len(self._buffer) >= WRAPPER_HEAD:
            version, source, target, n = (int.from_bytes(self._buffer[at : at + 2], "big") for at in (0, 2, 4, 6))
            if version != WRAPPER_VERSION or not n:
                raise InvalidReplyError("bytes that are no wrapper")
            if len(self._buffer) < WRAPPER_HEAD + n:
                break
            apdu = bytes(self._buffer[WRAPPER_HEAD : WRAPPER_HEAD + n])
            del self._buffer[: WRAPPER_HEAD + n]
            if (source, target) == (self._way.server, self._way.client):
                return apdu, b""
            self.passed_over += 1
        return None, b""


class Hdlc:
    """HDLC frames with the library's states: check sequences, sequence numbers and segments."""

    def __init__(self) -> None:
        self._connection: Any = None
        self._server: Any = None
        self._client: Any = None
        self._apdu = bytearray()
        self._out = b""

    def hello(self, way: Way) -> bytes:
        """SNRM."""
        self._server = address.HdlcAddress(logical_address=way.server, address_type="server")
        self._client = address.HdlcAddress(logical_address=way.client, address_type="client")
        self._connection = connection.HdlcConnection(self._client, self._server)
        return self._send(frames.SetNormalResponseModeFrame(self._server, self._client))

    def wrap(self, way: Way, apdu: bytes) -> bytes:
        """The first frame; further ones follow the answers to it."""
        del way
        self._apdu.clear()
        self._out = LLC_REQUEST + apdu
        return self._next_frame()

    def _next_frame(self) -> bytes:
        size = self._connection.max_data_size
        part, self._out = self._out[:size], self._out[size:]
        return self._send(
            frames.InformationFrame(
                destination_address=self._server, source_address=self._client, payload=part,
                send_sequence_number=self._connection.server_ssn,
                receive_sequence_number=self._connection.server_rsn, segmented=bool(self._out), final=True,
            )
        )  # fmt: skip

    def _send(self, frame: Any) -> bytes:
        try:
            return bytes(self._connection.send(frame))
        except exceptions.LocalProtocolError as error:
            raise InvalidReplyError(f"HDLC: {error}") from None

    def take(self, data: bytes) -> tuple[bytes | None, bytes]:
        """See :class:`Framing`."""
        self._connection.receive_data(data)
        if len(self._connection.buffer) > HDLC_BUFFER_MAX:
            raise InvalidReplyError("bytes that are no HDLC frames")
        try:
            event = self._connection.next_event()
            while event is state.NEED_DATA and self._has_flag():  # a flag inside a frame is data
                event = self._connection.next_event()
        except (exceptions.LocalProtocolError, exceptions.HdlcException, ValueError, IndexError) as error:
            raise InvalidReplyError(f"HDLC: {error}") from None
        if event is state.NEED_DATA:
            return None, b""
        if isinstance(event, frames.UnNumberedAcknowledgmentFrame):
            return b"", b""
        if isinstance(event, frames.ReceiveReadyFrame):
            return None, self._next_frame() if self._out else b""
        return self._information(event)

    def _has_flag(self) -> bool:
        at: int = self._connection.buffer.find(frames.HDLC_FLAG, self._connection.buffer_search_position)
        return at >= 0

    def _information(self, event: Any) -> tuple[bytes | None, bytes]:
        self._apdu += event.payload
        if len(self._apdu) > APDU_MAX:
            raise InvalidReplyError("HDLC: segments without end")
        if event.segmented:
            ready = frames.ReceiveReadyFrame(
                destination_address=self._server, source_address=self._client,
                receive_sequence_number=self._connection.server_rsn,
            )  # fmt: skip
            return None, self._send(ready) if event.final else b""
        if not self._apdu.startswith(LLC_REPLY):
            raise InvalidReplyError("HDLC: no LLC header")
        return bytes(self._apdu[len(LLC_REPLY) :]), b""
