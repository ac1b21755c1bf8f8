"""Security of SNMPv3 (RFC 3414, 3826, 7860): keys, signed and ciphered messages. No I/O, no clock.

One pair of algorithms: HMAC-SHA-256 cut to 24 bytes, and AES-128 in CFB. MD5, SHA-1 and DES are not spoken: a
controller that knows nothing better is to be put on a line of its own. Always both: what is signed but open is refused.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from gwanje.io.field.ntcip import ber, snmp

USM = 3
"""Number of the user-based security model."""
AUTHENTICATED, PRIVATE, REPORTABLE = 1, 2, 4
SIGNATURE = 24
"""Bytes of an HMAC-SHA-256 in a message (RFC 7860: 192 bits)."""
WINDOW_S = 150
"""Seconds that a message may be older than the newest known time of its engine (RFC 3414 §2.2.3)."""
BOOTS_MAX = 0x7FFF_FFFF
"""Boots at which an engine is worn out and must get new keys."""
PASSPHRASE_BYTES = 1_048_576
"""A passphrase is repeated to this length before it is hashed (RFC 3414 §2.6)."""
PASSPHRASE_MIN = 8
"""Characters of a passphrase: net-snmp and the RFC refuse shorter ones."""
ENGINE_ID_MAX = 32
KEY = 16
"""Bytes of an AES-128 key."""


class SecurityError(ValueError):
    """A message that is not from whom it says, or that nobody can read; the text says why."""


def master_key(passphrase: str) -> bytes:
    """Key of a passphrase, before it belongs to an engine: one million bytes hashed, some milliseconds.

    Raises:
        SecurityError: it is too short.
    """
    raw = passphrase.encode()
    if len(raw) < PASSPHRASE_MIN:
        raise SecurityError(f"a passphrase of fewer than {PASSPHRASE_MIN} characters")
    times, rest = divmod(PASSPHRASE_BYTES, len(raw))
    return hashlib.sha256(raw * times + raw[:rest]).digest()


@dataclass(frozen=True, slots=True)
class User:
    """Who asks, with keys that belong to no engine yet.

    Attributes:
        name: as the agent knows it.
        sign_master: see :func:`master_key`; of signing.
        cipher_master: of ciphering.
    """

    name: str
    sign_master: bytes
    cipher_master: bytes

    def at(self, engine_id: bytes) -> Keys:
        """The keys for one engine."""
        sign, cipher = (
            hashlib.sha256(one + engine_id + one).digest() for one in (self.sign_master, self.cipher_master)
        )
        return Keys(sign, cipher[:KEY])


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys of a user at one engine: 32 bytes to sign, 16 to cipher."""

    sign: bytes
    cipher: bytes

    def signature(self, message: bytes) -> bytes:
        """Of a whole message in which the signature's place is zero."""
        return hmac.digest(self.sign, message, "sha256")[:SIGNATURE]

    def cfb(self, boots: int, time_s: int, salt: bytes) -> Cipher[CFB]:
        """AES-128-CFB with the vector of RFC 3826: boots, time, salt."""
        vector = boots.to_bytes(4, "big") + time_s.to_bytes(4, "big") + salt
        return Cipher(algorithms.AES(self.cipher), CFB(vector))


@dataclass(frozen=True, slots=True)
class Message:
    """A message of version 3 as it came; nothing of it is believed yet.

    Attributes:
        body: the scoped PDU, ciphered when ``flags`` say so.
        signature_at: where the signature stands in the message.
    """

    message_id: int
    flags: int
    engine_id: bytes
    boots: int
    time_s: int
    user: bytes
    signature: bytes
    salt: bytes
    body: bytes
    signature_at: int


def decode(data: bytes) -> Message:
    """Take a message of version 3 apart.

    Raises:
        BerError: it is none.
    """
    version, at, end = snmp.version_of(data)
    if version != snmp.VERSION_3:
        raise ber.BerError(f"version {version}, not 3")
    at, head_end = ber.expect(data, at, end, ber.SEQUENCE)
    message_id, at = ber.read_int(data, at, head_end)
    _, at = ber.read_int(data, at, head_end)
    begin, at = ber.expect(data, at, head_end, ber.OCTETS)
    flags = data[begin] if at - begin == 1 else -1
    model, at = ber.read_int(data, at, head_end)
    if at != head_end or model != USM or flags < 0:
        raise ber.BerError("no header of a message with user-based security")
    at, security_end = ber.expect(data, head_end, end, ber.OCTETS)
    at, inner_end = ber.expect(data, at, security_end, ber.SEQUENCE)
    if inner_end != security_end:
        raise ber.BerError("bytes after the security parameters")
    begin, at = ber.expect(data, at, inner_end, ber.OCTETS)
    engine_id = data[begin:at]
    boots, at = ber.read_int(data, at, inner_end)
    time_s, at = ber.read_int(data, at, inner_end)
    begin, at = ber.expect(data, at, inner_end, ber.OCTETS)
    user = data[begin:at]
    signature_at, at = ber.expect(data, at, inner_end, ber.OCTETS)
    signature = data[signature_at:at]
    begin, at = ber.expect(data, at, inner_end, ber.OCTETS)
    if at != inner_end or len(engine_id) > ENGINE_ID_MAX or min(boots, time_s) < 0 or max(boots, time_s) > BOOTS_MAX:
        raise ber.BerError("security parameters out of range")
    return Message(
        message_id, flags, engine_id, boots, time_s, user, signature, data[begin:at], data[inner_end:end], signature_at
    )


def unlock(data: bytes, message: Message, keys: Keys) -> bytes:
    """The scoped PDU of a message that is signed and, unless it reports, ciphered with these keys.

    Raises:
        SecurityError: the signature is not by this key, or the message is not protected.
        BerError: it is signed, and still no message.
    """
    check_signature(data, message, keys)
    if not message.flags & PRIVATE:
        raise SecurityError("signed, but not ciphered")
    begin, end = ber.expect(message.body, 0, len(message.body), ber.OCTETS)
    if len(message.salt) != 8 or end != len(message.body):
        raise ber.BerError("no ciphered PDU")
    plain = keys.cfb(message.boots, message.time_s, message.salt).decryptor()
    return plain.update(message.body[begin:end]) + plain.finalize()


def check_signature(data: bytes, message: Message, keys: Keys) -> None:
    """Whether a message is signed with a key.

    Raises:
        SecurityError: it is not.
    """
    at = message.signature_at
    if not message.flags & AUTHENTICATED or len(message.signature) != SIGNATURE:
        raise SecurityError("not signed")
    blank = data[:at] + bytes(SIGNATURE) + data[at + SIGNATURE :]
    if not hmac.compare_digest(keys.signature(blank), message.signature):
        raise SecurityError("signed with another key")


def open_scoped(scoped: bytes) -> tuple[bytes, snmp.Pdu]:
    """Engine and PDU of an open scoped PDU; AES leaves no padding, so it ends where the data ends.

    Raises:
        BerError: it is none.
    """
    at, end = ber.expect(scoped, 0, len(scoped), ber.SEQUENCE)
    begin, at = ber.expect(scoped, at, end, ber.OCTETS)
    engine_id = scoped[begin:at]
    _, at = ber.expect(scoped, at, end, ber.OCTETS)
    return engine_id, snmp.decode_pdu(scoped, at, end)


def scoped_pdu(engine_id: bytes, pdu: bytes) -> bytes:
    """A PDU with its engine and the default context."""
    return ber.tlv(ber.SEQUENCE, ber.tlv(ber.OCTETS, engine_id) + ber.tlv(ber.OCTETS, b"") + pdu)


def encode(
    message_id: int, flags: int, engine_id: bytes, boots: int, time_s: int, user: bytes, scoped: bytes,
    keys: Keys | None = None, salt: bytes = b"",
) -> bytes:  # fmt: skip
    """A message around a scoped PDU; with keys it is signed, and ciphered when the flags say so."""
    body = scoped
    if keys is not None and flags & PRIVATE:
        cipher = keys.cfb(boots, time_s, salt).encryptor()
        body = ber.tlv(ber.OCTETS, cipher.update(scoped) + cipher.finalize())
    else:
        salt = b""
    blank = bytes(SIGNATURE) if keys is not None else b""
    tail = ber.tlv(ber.OCTETS, salt)
    security = ber.tlv(
        ber.SEQUENCE,
        ber.tlv(ber.OCTETS, engine_id) + ber.integer(boots) + ber.integer(time_s) + ber.tlv(ber.OCTETS, user)
        + ber.tlv(ber.OCTETS, blank) + tail,
    )  # fmt: skip
    header = ber.tlv(
        ber.SEQUENCE,
        ber.integer(message_id) + ber.integer(snmp.MESSAGE_MAX) + ber.tlv(ber.OCTETS, bytes((flags,)))
        + ber.integer(USM),
    )  # fmt: skip
    rest = ber.tlv(ber.OCTETS, security)
    message = ber.tlv(ber.SEQUENCE, ber.integer(snmp.VERSION_3) + header + rest + body)
    if keys is None:
        return message
    at = len(message) - len(body) - len(tail) - SIGNATURE
    return message[:at] + keys.signature(message) + message[at + SIGNATURE :]
