"""Who may come in: charge points of the site alone, not too many at once, and with a password beyond this machine.

No I/O but reading the site's files of secrets.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import ssl
import tomllib
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote

from gwanje.core.clock import NS_PER_S

BURST_PER_CHARGER = 3.0
"""A whole fleet comes back at once after a power cut, and may have to try again."""
RATE_PER_CHARGER_S = 0.2
"""In the long run a charger may come back every five seconds."""
SPARE = 20.0
"""Tries of strangers that are looked at all the same, so that a person finds out why a new charger is refused."""
FILES = ("certificate.pem", "key.pem", "passwords.toml")
SALT_BYTES = 16


class DoorError(Exception):
    """The central system cannot listen as it was told; the text says why."""


class Flood:
    """Limits how often somebody may knock. No clock of its own.

    Args:
        n_chargers: of the site.
        now_ns: monotonic.
    """

    def __init__(self, n_chargers: int, now_ns: int) -> None:
        self._most = BURST_PER_CHARGER * n_chargers + SPARE
        self._per_ns = (RATE_PER_CHARGER_S * n_chargers + 1.0) / NS_PER_S
        self._left = self._most
        self._last_ns = now_ns

    def admits(self, now_ns: int) -> bool:
        """Whether one more may come."""
        self._left = min(self._most, self._left + (now_ns - self._last_ns) * self._per_ns)
        self._last_ns = now_ns
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class Pace:
    """How long to wait before the next message of a charger is looked at.

    Args:
        per_s: messages a second in the long run.
        burst: at once: what a charger kept while it had no line.
    """

    def __init__(self, per_s: float, burst: float, now_ns: int) -> None:
        self._per_ns = per_s / NS_PER_S
        self._burst = burst
        self._left = burst
        self._last_ns = now_ns

    def wait_s(self, now_ns: int) -> float:
        """Seconds; 0 while it keeps to its pace."""
        self._left = min(self._burst, self._left + (now_ns - self._last_ns) * self._per_ns) - 1.0
        self._last_ns = now_ns
        return max(0.0, -self._left / self._per_ns / NS_PER_S)


def identity_of(path: str) -> str:
    """The charge point that a request's path names: its last part."""
    return unquote(path.partition("?")[0].rpartition("/")[2])


def is_loopback(host: str) -> bool:
    """Whether an address is of this machine alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def digest_of(password: str, salt: bytes) -> str:
    """How a charger's password is kept: a long random key needs no slow hash."""
    return f"{salt.hex()}:{hashlib.sha256(salt + password.encode()).hexdigest()}"


class Passwords:
    """Passwords of charge points, as ``passwords.toml`` keeps them: ``"id" = "salt:sha256"`` in hexadecimal.

    Args:
        kept: id → that text.
    """

    def __init__(self, kept: Mapping[str, str]) -> None:
        self._kept = dict(kept)

    def admits(self, identity: str, authorization: str) -> bool:
        """Whether an ``Authorization`` header of the scheme Basic is of this charge point."""
        scheme, _, code = authorization.partition(" ")
        try:
            name, _, password = base64.b64decode(code.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return False
        kept = self._kept.get(identity, "")
        salt = kept.partition(":")[0]
        said = digest_of(password, bytes.fromhex(salt))
        return hmac.compare_digest(said, kept) and hmac.compare_digest(name, identity) and scheme.lower() == "basic"


def read_secrets(folder: Path, known: Mapping[str, object]) -> tuple[ssl.SSLContext, Passwords]:
    """What listening beyond this machine needs: certificate, key, and a password for each charge point.

    Args:
        folder: the site's security folder's ``ocpp``.
        known: charge points of the site.

    Raises:
        DoorError: something is missing, readable by others, or cannot be used.
    """
    paths = [folder / name for name in FILES]
    for path in paths:
        if not path.is_file():
            raise DoorError(f"beyond this machine it listens with TLS and passwords only: {path} is missing")
    for path in paths[1:]:
        if path.stat().st_mode & 0o077:
            raise DoorError(f"{path} can be read by others: chmod 600")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(paths[0], paths[1])
        kept = tomllib.loads(paths[2].read_text(encoding="utf-8"))
    except (ssl.SSLError, OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DoorError(f"{folder} cannot be used: {error}") from None
    for name, text in kept.items():
        salt, _, digest = text.partition(":") if isinstance(text, str) else ("", "", "")
        try:
            usable = len(bytes.fromhex(salt)) >= SALT_BYTES and len(bytes.fromhex(digest)) == 32
        except ValueError:
            usable = False
        if not usable:
            reason = f"{name!r} is not salt:sha256 in hexadecimal, the salt of {SALT_BYTES} bytes or more"
            raise DoorError(f"{paths[2]}: {reason}")
    missing = sorted(set(known) - set(kept))
    if missing:
        raise DoorError(f"{paths[2]} has no password for {', '.join(missing[:5])}{' …' * (len(missing) > 5)}")
    return context, Passwords(kept)
