"""Reading a device's ``params``: every key known, of its type and in its range, or an error that names it."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SECRET_MAX = 4_096
"""Bytes of a token's or password's file: a long token has a few hundred."""


class ParamError(ValueError):
    """A key of ``params`` or ``at`` makes no sense.

    Attributes:
        key: which.
    """

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"{key}: {reason}")
        self.key = key
        self.reason = reason


class Params:
    """A table that is read key by key; :meth:`finish` refuses what nobody asked for."""

    def __init__(self, table: Mapping[str, Any]) -> None:
        self._table = table
        self._seen: set[str] = set()

    def has(self, key: str) -> bool:
        """Whether a key stands there."""
        return key in self._table

    def ignore(self, *keys: str) -> None:
        """Keys that somebody else reads."""
        self._seen.update(keys)

    def text(self, key: str, default: str | None = None) -> str:
        """A text; must be there without a default.

        Raises:
            ParamError: it is missing or no text.
        """
        self._seen.add(key)
        value = self._table.get(key, default)
        if not isinstance(value, str):
            raise ParamError(key, "is missing" if value is None else f"{value!r} is no text")
        return value

    def flag(self, key: str, default: bool) -> bool:
        """A truth.

        Raises:
            ParamError: it is none.
        """
        self._seen.add(key)
        value = self._table.get(key, default)
        if not isinstance(value, bool):
            raise ParamError(key, f"{value!r} is neither true nor false")
        return value

    def number(self, key: str, default: float | None, low: float, high: float) -> float:
        """A number within limits.

        Raises:
            ParamError: it is none, or outside.
        """
        self._seen.add(key)
        value = self._table.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ParamError(key, "is missing" if value is None else f"{value!r} is no number")
        if not low <= value <= high:
            raise ParamError(key, f"{value:g} is outside {low:g} … {high:g}")
        return float(value)

    def whole(self, key: str, default: int | None, low: int, high: int) -> int:
        """A whole number within limits.

        Raises:
            ParamError: it is none, or outside.
        """
        value = self.number(key, default, low, high)
        if value != int(value):
            raise ParamError(key, f"{value:g} is no whole number")
        return int(value)

    def finish(self) -> None:
        """Nothing else stands there.

        Raises:
            ParamError: something does.
        """
        for key in self._table:
            if key not in self._seen:
                raise ParamError(key, "unknown key")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, and only it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_secret(folder: Path, name: str) -> str:
    """A token or password from a file of the site's security folder.

    Args:
        folder: where the site's secrets lie.
        name: of the file; no path.

    Raises:
        ParamError: it cannot be read, is too long or empty, or others may read it.
    """
    path = folder / name
    if Path(name).name != name:
        raise ParamError(name, "is a path, not the name of a file in the security folder")
    try:
        if path.stat().st_mode & 0o077:
            raise ParamError(name, f"others may read {path}: chmod 600")
        data = path.read_bytes()[: SECRET_MAX + 1]
    except OSError as error:
        raise ParamError(name, f"{path}: {error.strerror}") from None
    secret = data.decode("ascii", "replace").strip()
    if not secret or len(data) > SECRET_MAX or not secret.isprintable():
        raise ParamError(name, f"{path} holds no secret of one line")
    return secret


def client_tls(folder: Path, ca_file: str) -> ssl.SSLContext:
    """TLS towards a device: certificates are checked, against the site's own authority where one is named.

    Raises:
        ParamError: the authority's file cannot be read.
    """
    try:
        return ssl.create_default_context(cafile=str(folder / ca_file) if ca_file else None)
    except OSError as error:
        raise ParamError("ca_file", f"{folder / ca_file}: {error.strerror or error}") from None
