"""One association with one logical device, bytes in and bytes out: the one place that touches dlms-cosem. No I/O.

Every exchange is a generator that yields an APDU to send and is sent the APDU that came; :class:`.link.MeterLink` runs
it. Only reading can be built: association, GET and release. The library keeps keys, counters and states; beyond it we
check invoke ids and block numbers, refuse open answers inside a ciphered association, take a fresh counter for each use
of a key (it reuses one in the last step of HLS), and parse what was read ourselves (:mod:`.axdr`): given data that end
early, version 25.1 makes up numbers or never returns.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog
from dlms_cosem import client as library_client
from dlms_cosem import cosem, dlms_data, enumerations, exceptions, security
from dlms_cosem import io as library_io
from dlms_cosem import state as dlms_state
from dlms_cosem.connection import DlmsConnection, ProtectionError
from dlms_cosem.cosem.capture_object import CaptureObject
from dlms_cosem.cosem.selective_access import RangeDescriptor
from dlms_cosem.protocol import acse, xdlms
from dlms_cosem.protocol.xdlms.invoke_id_and_priority import InvokeIdAndPriority

from gwanje.io.field.dlms import axdr
from gwanje.io.field.errors import InvalidReplyError, LinkError

Steps = Generator[bytes, bytes, Any]
ATTRIBUTES_MAX = 8
"""Attributes of one GET: a ciphered request of 128 bytes or more gets a wrong length from the library."""
LONG_BYTES_MAX = 262_144
"""Of one value in blocks: a year of a load profile at 15 minutes is less."""
BLOCKS_MAX = 4_096
INVOKE_IDS = 16
PDU_MAX = 4_096
SYSTEM_TITLE = b"GWJ\x00\x00\x00\x00\x01"
"""Ours; a meter binds its memory of our counter to it."""
COUNTER_MAX = 0xFFFF_FFFF
MECHANISMS = ("none", "lls", "hls_gmac")
_CLOCK = cosem.CosemAttribute(enumerations.CosemInterface.CLOCK, cosem.Obis(0, 0, 1, 0, 0, 255), 2)
_LIBRARY_ERRORS = (
    exceptions.LocalDlmsProtocolError, exceptions.ApplicationAssociationError, exceptions.ConformanceError,
    exceptions.CipheringError, exceptions.CryptographyError, ProtectionError, ValueError, KeyError, IndexError,
    TypeError, AttributeError, AssertionError, NotImplementedError, OverflowError,
)  # fmt: skip
"""What the library raises on bytes that it does not expect; it has no base class of its own."""


class AssociationError(LinkError):
    """The meter does not let us in; the text says why."""


def quiet() -> None:
    """Keep the library from telling every message, keys included, on the terminal."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))


@dataclass(frozen=True, slots=True)
class Attribute:
    """What is read: class, OBIS and attribute."""

    interface: int
    obis: str
    attribute: int

    def of_library(self) -> Any:
        """As the library has it."""
        numbers = [int(one) for one in self.obis.split(".")]
        return cosem.CosemAttribute(
            enumerations.CosemInterface(self.interface), cosem.Obis(*numbers), self.attribute
        )


@dataclass(frozen=True, slots=True)
class Refused:
    """What stands in the place of a value that the meter does not give."""

    reason: str
    missing: bool


@dataclass(frozen=True, slots=True)
class Keys:
    """How a meter lets us in.

    Attributes:
        mechanism: of :data:`MECHANISMS`.
        password: of ``lls``.
        encryption: global unicast encryption key of ``hls_gmac``, 16 bytes.
        authentication: authentication key of ``hls_gmac``, 16 bytes.
    """

    mechanism: str = "none"
    password: bytes = field(default=b"", repr=False)
    encryption: bytes = field(default=b"", repr=False)
    authentication: bytes = field(default=b"", repr=False)


@dataclass(slots=True)
class Counters:
    """Invocation counters that outlive an association: ours never goes back, and the meter's must not."""

    client: int = 0
    meter: int = 0


class _Connection(DlmsConnection):  # type: ignore[misc]
    """The library's connection, which also gives the plain text that it decoded."""

    plain: bytes | None = None

    def decrypt(self, ciphered_text: bytes) -> bytes:
        self.plain = bytes(super().decrypt(ciphered_text))
        _check_data(self.plain)
        return self.plain


class Session:
    """One association.

    Args:
        keys: of the meter.
        counters: of the meter, kept by the caller.
    """

    def __init__(self, keys: Keys, counters: Counters) -> None:
        self._keys = keys
        self._counters = counters
        self._invoke = 0
        self._connection = self._connect()

    def _connect(self) -> _Connection:
        keys = self._keys
        authentication: Any = security.NoSecurityAuthentication()
        if keys.mechanism == "lls":
            authentication = security.LowLevelSecurityAuthentication(keys.password)
        if keys.mechanism == "hls_gmac":
            authentication = security.HighLevelSecurityGmacAuthentication(challenge_length=16)
        ciphered = keys.mechanism == "hls_gmac"
        if self._counters.client >= COUNTER_MAX - 1:
            raise AssociationError("the invocation counter is used up: the meter needs new keys")
        return _Connection(
            authentication=authentication, client_system_title=SYSTEM_TITLE,
            global_encryption_key=keys.encryption if ciphered else None,
            global_authentication_key=keys.authentication if ciphered else None,
            client_invocation_counter=self._counters.client + 1, meter_invocation_counter=self._counters.meter,
            max_pdu_size=PDU_MAX,
        )  # fmt: skip

    # ---- exchanges

    def associate(self) -> Steps:
        """Open the association, with both proofs of HLS where it is wanted.

        Raises:
            AssociationError: the meter refuses, or cannot prove that it has the key.
            InvalidReplyError: what came is no answer.
        """
        connection = self._connection
        answer, _ = self._hear((yield self._say(connection.get_aarq())))
        if not isinstance(answer, acse.ApplicationAssociationResponse):
            raise AssociationError(f"refused: {_words(answer)}")
        if answer.result is not enumerations.AssociationResult.ACCEPTED:
            diagnostics = answer.result_source_diagnostics
            raise AssociationError(f"refused: {diagnostics.name.lower().replace('_', ' ')}")
        if self._keys.mechanism != "hls_gmac":
            if answer.authentication is not None and answer.authentication >= enumerations.AuthenticationMechanism.HLS:
                raise AssociationError("the meter wants a higher security than the profile says")
            return
        if connection.state.current_state is not dlms_state.SHOULD_SEND_HLS_SEVER_CHALLENGE_RESULT:
            raise AssociationError("the meter does not want our proof: it is not the one with this key")
        try:
            proof = connection.authentication.hls_generate_reply_data(connection)
        except _LIBRARY_ERRORS as error:
            raise AssociationError(f"no proof: {error}") from None
        connection.client_invocation_counter += 1  # the proof used this one up
        method = cosem.CosemMethod(enumerations.CosemInterface.ASSOCIATION_LN, cosem.Obis(0, 0, 40, 0, 0, 255), 1)
        reply = xdlms.ActionRequestNormal(method, dlms_data.OctetStringData(proof).to_bytes())
        self._hear((yield self._say(reply)))
        if connection.state.current_state is not dlms_state.READY:
            raise AssociationError("the meter could not prove that it has the key")

    def get(self, attributes: Sequence[Attribute]) -> Steps:
        """Values of several attributes, in one request; a :class:`Refused` in the place of each that is not given.

        Raises:
            InvalidReplyError: what came is no answer.
        """
        assert 1 <= len(attributes) <= ATTRIBUTES_MAX, "cut by the plan"
        invoke = self._next_invoke()
        if len(attributes) == 1:
            return (yield from self._get_one(attributes[0], invoke, None))
        wanted = [cosem.CosemAttributeWithSelection(one.of_library(), None) for one in attributes]
        event, raw = self._hear((yield self._say(xdlms.GetRequestWithList(wanted, invoke))))
        if not isinstance(event, xdlms.GetResponseWithList):
            raise InvalidReplyError(f"no answer to a list: {_words(event)}")
        _check_invoke(raw, invoke)
        return _list_items(raw, len(attributes))

    def get_range(self, profile: Attribute, from_utc_ns: int, to_utc_ns: int) -> Steps:
        """A load profile between two moments; blocks are put together.

        Raises:
            InvalidReplyError: what came is no answer, or blocks are missing.
        """
        begin, end = (datetime.fromtimestamp(one // 1_000_000_000, UTC) for one in (from_utc_ns, to_utc_ns))
        wanted = RangeDescriptor(CaptureObject(_CLOCK), begin, end)
        values = yield from self._get_one(profile, self._next_invoke(), wanted)
        return values[0]

    def _get_one(self, attribute: Attribute, invoke: InvokeIdAndPriority, selection: Any) -> Steps:
        request = xdlms.GetRequestNormal(attribute.of_library(), invoke, selection)
        event, raw = self._hear((yield self._say(request)))
        data, block = bytearray(), 0
        while isinstance(event, xdlms.GetResponseWithBlock | xdlms.GetResponseLastBlock):
            _check_invoke(raw, invoke)
            block += 1
            if event.block_number != block or block > BLOCKS_MAX:
                raise InvalidReplyError(f"block {event.block_number} where {block} belongs")
            data += event.data
            if len(data) > LONG_BYTES_MAX:
                raise InvalidReplyError(f"more than {LONG_BYTES_MAX} bytes of one value")
            if isinstance(event, xdlms.GetResponseLastBlock):
                return [_value(bytes(data))]
            following = xdlms.GetRequestNext(invoke_id_and_priority=invoke, block_number=block)
            event, raw = self._hear((yield self._say(following)))
        if isinstance(event, xdlms.GetResponseLastBlockWithError | xdlms.GetResponseNormalWithError):
            _check_invoke(raw, invoke)
            return [_refused(int(event.error))]
        if not isinstance(event, xdlms.GetResponseNormal):
            raise InvalidReplyError(f"no answer to a GET: {_words(event)}")
        _check_invoke(raw, invoke)
        return [_value(raw[4:])]

    def release(self) -> Steps:
        """Leave politely; the meter's answer is of no interest."""
        yield self._say(self._connection.get_rlrq())

    # ---- to and from the library

    def _next_invoke(self) -> InvokeIdAndPriority:
        self._invoke = (self._invoke + 1) % INVOKE_IDS
        return InvokeIdAndPriority(self._invoke, True, True)

    def _say(self, event: Any) -> bytes:
        try:
            data = bytes(self._connection.send(event))
        except _LIBRARY_ERRORS as error:
            raise InvalidReplyError(f"cannot be asked now: {error}") from None
        finally:
            self._counters.client = max(self._counters.client, self._connection.client_invocation_counter)
        return data

    def _hear(self, data: bytes) -> tuple[Any, bytes]:
        """The event of an APDU, and its plain bytes."""
        connection = self._connection
        connection.plain = None
        connection.clear_buffer()
        connection.receive_data(data)
        _check_data(data)
        try:
            event = connection.next_event()
        except _LIBRARY_ERRORS as error:
            raise InvalidReplyError(f"cannot be read: {str(error) or type(error).__name__}") from None
        finally:
            self._counters.meter = max(self._counters.meter, connection.meter_invocation_counter)
        open_ones = (acse.ApplicationAssociationResponse, acse.ReleaseResponse, xdlms.ExceptionResponse)
        if self._keys.mechanism == "hls_gmac" and connection.plain is None and not isinstance(event, open_ones):
            raise InvalidReplyError("an open answer in a ciphered association")
        if isinstance(event, xdlms.ExceptionResponse):
            raise InvalidReplyError(f"the meter answers: {_words(event)}")
        return event, data if connection.plain is None else connection.plain


def _check_data(raw: bytes) -> None:
    """Refuse data that end early before the library parses them: on some it never comes to an end."""
    if raw[:2] == b"\xc4\x03":
        _list_items(raw, None)
    elif raw[:1] == b"\xc7" and len(raw) > 5 and raw[4] and not raw[5]:
        _value(raw[6:])


def _check_invoke(raw: bytes, invoke: InvokeIdAndPriority) -> None:
    if len(raw) < 3 or raw[2] & 0x0F != invoke.invoke_id:
        raise InvalidReplyError("an answer to another request")


def _value(raw: bytes) -> axdr.Value:
    try:
        return axdr.decode(raw)
    except axdr.AxdrError as error:
        raise InvalidReplyError(str(error)) from None


def _list_items(raw: bytes, n: int | None) -> list[axdr.Value | Refused]:
    """Items of a GET response with list, from its plain bytes; n of them where that is known."""
    found: list[axdr.Value | Refused] = []
    try:
        count, at = axdr.length_at(raw, 3)
        if n is not None and count != n:
            raise InvalidReplyError(f"{count} values where {n} were asked for")
        for _ in range(min(count, len(raw))):
            choice = raw[at]
            if choice == 0:
                value, at = axdr.decode_at(raw, at + 1)
                found.append(value)
            else:
                found.append(_refused(raw[at + 1]))
                at += 2
    except (axdr.AxdrError, IndexError) as error:
        raise InvalidReplyError(f"a list that ends early: {error}") from None
    if at != len(raw):
        raise InvalidReplyError("bytes after the list")
    return found


def _refused(code: int) -> Refused:
    known = {int(one): one for one in enumerations.DataAccessResult}
    words = known[code].name.lower().replace("_", " ") if code in known else f"error {code}"
    missing = code in (
        enumerations.DataAccessResult.OBJECT_UNDEFINED, enumerations.DataAccessResult.OBJECT_UNAVAILABLE,
        enumerations.DataAccessResult.OBJECT_CLASS_INCONSISTENT,
    )  # fmt: skip
    return Refused(words, missing)


def _words(event: Any) -> str:
    if isinstance(event, xdlms.ExceptionResponse):
        return f"{event.state_error.name}, {event.service_error.name}".lower().replace("_", " ")
    return str(type(event).__name__)


def peer_reads(host: str, port: int, server: int, obis: Sequence[str], n: int) -> list[Any]:
    """Registers read n times by the library's own client, for measurements and tests beside ours; it blocks.

    Raises:
        LinkError: it could not.
    """
    transport = library_io.TcpTransport(1, server, library_io.BlockingTcpIO(host, port))
    client = library_client.DlmsClient(transport, authentication=security.NoSecurityAuthentication())
    wanted = [cosem.CosemAttributeWithSelection(Attribute(3, one, 2).of_library(), None) for one in obis]
    found: list[Any] = []
    try:
        with client.session() as session:
            for _ in range(n):
                found = session.get_many(wanted).result
    except (exceptions.CommunicationError, exceptions.DlmsClientException, *_LIBRARY_ERRORS) as error:
        raise LinkError(f"dlms-cosem's client: {error}") from None
    return found
