"""How meters let us in: keys of the site's security folder, never of the site's files.

``dlms.toml`` there, which only its owner may read, holds a table ``[key.NAME]`` for each set of keys: ``password`` for
``lls``; ``encryption`` and ``authentication``, 32 hexadecimal digits each, for ``hls_gmac``. A simulated meter on
loopback may have them in its profile: they protect nothing.
"""

from __future__ import annotations

import ipaddress
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gwanje.core.site.config import Device
from gwanje.io.field.dlms.session import MECHANISMS, Keys

KEY_FILE = "dlms.toml"
KEY_BYTES = 16
WANTED = {"none": frozenset(), "lls": frozenset({"password"}), "hls_gmac": frozenset({"encryption", "authentication"})}
"""Security → what a set of keys holds."""


class CredentialsError(ValueError):
    """Keys that are missing or cannot be used; the text names the file and the key."""


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def load_keys(device: Device, host: str, security_dir: Path) -> Keys:
    """The keys of a meter.

    Args:
        device: of the driver ``dlms``.
        host: where it is, which behind a collector is the collector's.
        security_dir: of the site.

    Raises:
        CredentialsError: they cannot be had.
    """
    mechanism = str(device.params.get("security", "none"))
    if mechanism not in MECHANISMS:
        raise CredentialsError(f"{device.name}: security must be one of {', '.join(MECHANISMS)}")
    if mechanism == "none":
        return Keys()
    inline = device.params.get("keys")
    if inline is not None:
        if not (device.simulated and is_loopback(host)):
            raise CredentialsError(f"{device.name}: keys stand in {KEY_FILE} of the security folder")
        return _made(mechanism, inline, f"{device.name}: keys")
    path = security_dir / KEY_FILE
    name = str(device.params.get("key", ""))
    try:
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise CredentialsError(f"{path}: others may read it; chmod 600")
        with path.open("rb") as file:
            tables = tomllib.load(file).get("key", {})
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise CredentialsError(f"{path}: {error}") from None
    if not isinstance(tables, Mapping) or name not in tables:
        raise CredentialsError(f"{path}: no table [key.{name}] for {device.name}")
    return _made(mechanism, tables[name], f"{path}: key.{name}")


def _made(mechanism: str, table: Any, where: str) -> Keys:
    wanted = WANTED[mechanism]
    if not isinstance(table, Mapping) or set(table) != wanted:
        raise CredentialsError(f"{where}: must hold {' and '.join(sorted(wanted))}, and nothing else")
    if mechanism == "lls":
        password = table["password"]
        if not isinstance(password, str) or not 1 <= len(password.encode()) <= 64:
            raise CredentialsError(f"{where}.password: 1 to 64 characters")
        return Keys(mechanism, password=password.encode())
    raw = []
    for key in ("encryption", "authentication"):
        try:
            raw.append(bytes.fromhex(table[key]))
        except (TypeError, ValueError):
            raise CredentialsError(f"{where}.{key}: must be hexadecimal digits") from None
        if len(raw[-1]) != KEY_BYTES:
            raise CredentialsError(f"{where}.{key}: must be {KEY_BYTES} bytes")
    return Keys(mechanism, encryption=raw[0], authentication=raw[1])
