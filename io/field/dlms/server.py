"""The server side of one logical device, for the simulated city: APDU in, APDU out. No I/O, no clock.

Associations are taken apart with dlms-cosem's ACSE classes; GET, blocks and ciphered APDUs are written from the
standard (IEC 62056-5-3), so that the driver's reading of them is not its own echo. An independent client referees it in
the tests.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dlms_cosem import enumerations, exceptions, security
from dlms_cosem.protocol import acse, xdlms

from gwanje.io.field.dlms import axdr
from gwanje.io.field.dlms.session import Keys

Key = tuple[int, str, int]
"""Class, OBIS and attribute of an object."""
AARQ, RLRQ, GET, ACTION, GLO_CIPHER = 0x60, 0x62, 0xC0, 0xC3, 0xDB
GLO_SERVICES = {0xC8: 0xCC, 0xCB: 0xCF}
"""Ciphered by service: glo-get-request and glo-action-request → their responses; the system title is left out."""
GET_NORMAL, GET_NEXT, GET_LIST = 1, 2, 3
UNDEFINED, NO_LONG_GET, WRONG_BLOCK, DENIED = 4, 16, 19, 3
BLOCK_BYTES = 480
"""Of the blocks of a long value."""
PUBLIC_CLIENT = 16
_ACSE_ERRORS = (ValueError, KeyError, IndexError, TypeError, AttributeError, exceptions.CryptographyError)


@dataclass(slots=True)
class Device:
    """What a logical device has.

    Attributes:
        title: its system title, 8 bytes.
        keys: by which it lets clients in.
        read: gives an attribute encoded, None for what it does not have; of profiles with (from, to) in UTC ns.
        counter_at: object that holds its memory of our counter.
    """

    title: bytes
    keys: Keys
    read: Callable[[Key, tuple[bytes, bytes] | None], bytes | None]
    counter_at: str = "0.0.43.1.0.255"
    client_counter: int = 0
    counter: int = 0
    answered: int = 0
    refused: int = 0


@dataclass(slots=True)
class Association:
    """What one client has opened on a connection."""

    device: Device
    public: bool = False
    open: bool = False
    ciphered: bool = False
    waits_for_proof: bool = False
    client_title: bytes = b""
    client_challenge: bytes = b""
    challenge: bytes = b""
    blocks: list[bytes] = field(default_factory=list)
    replay: bool = False
    """Whether its answers repeat an old counter (a fault)."""

    def answer(self, apdu: bytes) -> bytes | None:
        """The reply to an APDU; None for what a meter keeps silent about."""
        if not apdu:
            return None
        if apdu[0] == AARQ:
            return self._associate(apdu)
        if apdu[0] == RLRQ:
            self.open = False
            return bytes(acse.ReleaseResponse(reason=enumerations.ReleaseResponseReason.NORMAL).to_bytes())
        asked = apdu[0]
        ciphered = asked == GLO_CIPHER or asked in GLO_SERVICES
        if ciphered:
            plain = self._decipher(apdu)
            if plain is None:
                self.device.refused += 1
                return bytes((0xD8, 1, 5))  # service not allowed, deciphering error
            apdu = plain
        if self.ciphered != ciphered or not (self.open or self.waits_for_proof):
            return bytes((0xD8, 1, 1))
        reply = self._serve(apdu)
        self.device.answered += 1
        return self._cipher(reply, GLO_SERVICES.get(asked, GLO_CIPHER)) if ciphered else reply

    # ---- association

    def _associate(self, apdu: bytes) -> bytes:
        try:
            request = acse.ApplicationAssociationRequest.from_bytes(apdu)
        except _ACSE_ERRORS:
            return self._aare(enumerations.AcseServiceUserDiagnostics.NO_REASON_GIVEN)
        keys = Keys() if self.public else self.device.keys
        wanted = {"none": None, "lls": 1, "hls_gmac": 5}[keys.mechanism]
        asked = None if request.authentication is None else int(request.authentication)
        diagnostics = enumerations.AcseServiceUserDiagnostics
        if (asked or None) != wanted:
            required, failed = diagnostics.AUTHENTICATION_REQUIRED, diagnostics.AUTHENTICATION_FAILED
            return self._aare(required if asked is None else failed)
        given = bytes(request.authentication_value or b"")
        if keys.mechanism == "lls" and not hmac.compare_digest(given, keys.password):
            return self._aare(diagnostics.AUTHENTICATION_FAILED)
        self.client_title = bytes(request.system_title or b"")
        self.ciphered = keys.mechanism == "hls_gmac"
        if not self.ciphered:
            self.open = True
            return self._aare(diagnostics.NULL)
        content = request.user_information.content
        if self._unlock(content.invocation_counter, content.ciphered_text) is None:
            self.device.refused += 1
            return self._aare(diagnostics.AUTHENTICATION_FAILED)
        self.client_challenge, self.challenge = given, os.urandom(16)
        self.waits_for_proof = True
        return self._aare(diagnostics.AUTHENTICATION_REQUIRED, accepted=True)

    def _aare(self, diagnostics: enumerations.AcseServiceUserDiagnostics, *, accepted: bool = False) -> bytes:
        accepted = accepted or diagnostics is enumerations.AcseServiceUserDiagnostics.NULL
        result = enumerations.AssociationResult
        if not accepted:
            return bytes(acse.ApplicationAssociationResponse(
                result=result.REJECTED_PERMANENT, result_source_diagnostics=diagnostics
            ).to_bytes())  # fmt: skip
        initiate: Any = xdlms.InitiateResponse(_conformance(self.ciphered), 4096)
        if self.ciphered:
            number, text = self._lock(initiate.to_bytes())
            initiate = xdlms.GlobalCipherInitiateResponse(_control(), number, text)
        return bytes(acse.ApplicationAssociationResponse(
            result=result.ACCEPTED, result_source_diagnostics=diagnostics, ciphered=self.ciphered,
            authentication=enumerations.AuthenticationMechanism.HLS_GMAC if self.ciphered else None,
            system_title=self.device.title if self.ciphered else None,
            authentication_value=self.challenge or None, user_information=acse.UserInformation(initiate),
        ).to_bytes())  # fmt: skip

    def _prove(self, data: bytes) -> bytes | None:
        """Our proof for a client's, encoded; None when the client's is wrong."""
        keys, device = self.device.keys, self.device
        proof = axdr.decode(data)
        if not isinstance(proof, bytes) or len(proof) != 17:
            return None
        number = int.from_bytes(proof[1:5], "big")
        wanted = _gmac(keys, self.client_title, number, self.challenge)
        if not hmac.compare_digest(proof[5:], wanted):
            return None
        device.counter += 1
        mine = _gmac(keys, device.title, device.counter, self.client_challenge)
        self.waits_for_proof, self.open = False, True
        return axdr.octets(bytes((0x10,)) + device.counter.to_bytes(4, "big") + mine)

    # ---- ciphers

    def _unlock(self, number: int, text: bytes) -> bytes | None:
        device = self.device
        if number <= device.client_counter:
            return None  # a replay
        try:
            plain = security.decrypt(
                _control(), self.client_title, number, device.keys.encryption, text, device.keys.authentication
            )
        except (exceptions.DecryptionError, ValueError):
            return None
        device.client_counter = number
        return bytes(plain)

    def _lock(self, plain: bytes) -> tuple[int, bytes]:
        device = self.device
        if not self.replay:
            device.counter += 1
        text = security.encrypt(
            _control(), device.title, device.counter, device.keys.encryption, plain, device.keys.authentication
        )
        return device.counter, bytes(text)

    def _decipher(self, apdu: bytes) -> bytes | None:
        try:
            n, at = axdr.length_at(apdu, 1) if apdu[0] == GLO_CIPHER else (0, 1)
            m, begin = axdr.length_at(apdu, at + n)
        except axdr.AxdrError:
            return None
        body = apdu[begin : begin + m]
        if len(body) != m or m < 5 or not self.ciphered:
            return None
        return self._unlock(int.from_bytes(body[1:5], "big"), body[5:])

    def _cipher(self, plain: bytes, tag: int = GLO_CIPHER) -> bytes:
        number, text = self._lock(plain)
        body: bytes = _control().to_bytes() + number.to_bytes(4, "big") + text
        if tag != GLO_CIPHER:
            return bytes((tag,)) + axdr.length(len(body)) + body
        title = self.device.title
        return bytes((GLO_CIPHER, len(title))) + title + axdr.length(len(body)) + body

    # ---- services

    def _serve(self, apdu: bytes) -> bytes:
        try:
            if apdu[0] == ACTION and self.waits_for_proof:
                proof = self._prove(apdu[13:]) if apdu[12] else None
                if proof is None:
                    return bytes((0xC7, 1, apdu[2], DENIED, 0))
                return bytes((0xC7, 1, apdu[2], 0, 1, 0)) + proof
            if apdu[0] == GET and self.open:
                return self._get(apdu)
        except (axdr.AxdrError, IndexError):
            return bytes((0xD8, 1, 3))
        return bytes((0xD8, 1, 1))

    def _get(self, apdu: bytes) -> bytes:
        kind, invoke = apdu[1], apdu[2:3]
        if kind == GET_NEXT:
            return self._next_block(int.from_bytes(apdu[3:7], "big"), invoke)
        if kind == GET_LIST:
            count, at = axdr.length_at(apdu, 3)
            items = []
            for _ in range(count):
                value = self._value(apdu, at)
                items.append(bytes((1, UNDEFINED)) if value is None else b"\0" + value)
                at += 10
            return bytes((0xC4, 3)) + invoke + axdr.length(count) + b"".join(items)
        value = self._value(apdu, 3)
        if value is None:
            return bytes((0xC4, 1)) + invoke + bytes((1, UNDEFINED))
        if len(value) <= BLOCK_BYTES:
            return bytes((0xC4, 1)) + invoke + b"\0" + value
        self.blocks = [value[at : at + BLOCK_BYTES] for at in range(0, len(value), BLOCK_BYTES)]
        return self._block(1, invoke)

    def _value(self, apdu: bytes, at: int) -> bytes | None:
        key = (int.from_bytes(apdu[at : at + 2], "big"), ".".join(map(str, apdu[at + 2 : at + 8])), apdu[at + 8])
        if key == (1, self.device.counter_at, 2):
            return axdr.number(axdr.UINT32, self.device.client_counter)
        span = None
        if apdu[at + 9]:
            selection = axdr.decode_at(apdu, at + 11)[0]
            if isinstance(selection, list) and len(selection) == 4:
                first, last = selection[1], selection[2]
                span = (first, last) if isinstance(first, bytes) and isinstance(last, bytes) else None
        return self.device.read(key, span)

    def _next_block(self, number: int, invoke: bytes) -> bytes:
        if not self.blocks or number >= len(self.blocks):
            code = WRONG_BLOCK if self.blocks else NO_LONG_GET
            return bytes((0xC4, 2)) + invoke + b"\1" + number.to_bytes(4, "big") + bytes((1, code))
        return self._block(number + 1, invoke)

    def _block(self, number: int, invoke: bytes) -> bytes:
        raw = self.blocks[number - 1]
        last = number == len(self.blocks)
        if last:
            self.blocks = []
        head = bytes((0xC4, 2)) + invoke + bytes((int(last),)) + number.to_bytes(4, "big") + b"\0"
        return head + axdr.length(len(raw)) + raw


def _control() -> security.SecurityControlField:
    return security.SecurityControlField(security_suite=0, authenticated=True, encrypted=True)


def _gmac(keys: Keys, title: bytes, number: int, challenge: bytes) -> bytes:
    control = security.SecurityControlField(security_suite=0, authenticated=True, encrypted=False)
    return bytes(security.gmac(control, title, number, keys.encryption, keys.authentication, challenge))[-12:]


def _conformance(ciphered: bool) -> xdlms.Conformance:
    return xdlms.Conformance(
        general_protection=ciphered, block_transfer_with_get_or_read=True, multiple_references=True, get=True,
        selective_access=True, action=True,
    )  # fmt: skip


def objects(values: Mapping[Key, Callable[[], bytes]], profile: Key, rows: Callable[[bytes, bytes], Sequence[bytes]]) \
        -> Callable[[Key, tuple[bytes, bytes] | None], bytes | None]:  # fmt: skip
    """A device's ``read`` of plain attributes and one profile.

    Args:
        values: encoded values of attributes.
        profile: its buffer.
        rows: encoded rows between two date-times; both empty for all.
    """

    def read(key: Key, span: tuple[bytes, bytes] | None) -> bytes | None:
        if key == profile:
            return axdr.many(axdr.ARRAY, rows(*(span or (b"", b""))))
        found = values.get(key)
        return None if found is None else found()

    return read
