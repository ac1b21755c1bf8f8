"""How a controller is talked to: version 3 with keys of this site, or 2c where the site says that the line is its own.

Passphrases never stand in a site's files. ``key_file`` (by default ``snmp.toml`` in the site's security folder) holds a
table for each user: ``[user.NAME]`` with ``sign`` and ``cipher``; only its owner may read it. A simulated controller on
loopback may have its passphrases in the profile: they protect nothing.
"""

from __future__ import annotations

import ipaddress
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gwanje.core.site.config import Device
from gwanje.io.field.ntcip import usm

KEY_FILE = "snmp.toml"
VERSIONS = ("2c", "3")


class CredentialsError(ValueError):
    """Keys that are missing or cannot be used; the text names the file and the key."""


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def passphrases(device: Device, security_dir: Path) -> tuple[str, str]:
    """Passphrases for signing and ciphering of a device of version 3.

    Raises:
        CredentialsError: they cannot be had.
    """
    params = device.params
    name = str(params.get("user", ""))
    inline = params.get("passphrases")
    if inline is not None:
        if not (device.simulated and is_loopback(device.host)):
            raise CredentialsError(f"{device.name}: passphrases stand in a key file, not in the site's files")
        return _pair(inline, f"{device.name}: passphrases")
    path = security_dir / str(params.get("key_file", KEY_FILE))
    try:
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise CredentialsError(f"{path}: others may read it; chmod 600")
        with path.open("rb") as file:
            users = tomllib.load(file).get("user", {})
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise CredentialsError(f"{path}: {error}") from None
    if not isinstance(users, Mapping) or name not in users:
        raise CredentialsError(f"{path}: no table [user.{name}] for {device.name}")
    return _pair(users[name], f"{path}: user.{name}")


def _pair(table: Any, where: str) -> tuple[str, str]:
    if not isinstance(table, Mapping) or set(table) != {"sign", "cipher"}:
        raise CredentialsError(f"{where}: must hold sign and cipher, and nothing else")
    sign, cipher = table["sign"], table["cipher"]
    for key, one in (("sign", sign), ("cipher", cipher)):
        if not isinstance(one, str) or len(one.encode()) < usm.PASSPHRASE_MIN:
            raise CredentialsError(f"{where}.{key}: at least {usm.PASSPHRASE_MIN} characters")
    if sign == cipher and not where.endswith("passphrases"):
        raise CredentialsError(f"{where}: sign and cipher must differ")
    return str(sign), str(cipher)


class Users:
    """Users with their master keys; each passphrase is stretched once, not once for each of a site's controllers."""

    def __init__(self, security_dir: Path) -> None:
        self._security_dir = security_dir
        self._masters: dict[str, bytes] = {}

    def user(self, device: Device) -> usm.User:
        """The user of a device of version 3.

        Raises:
            CredentialsError: keys cannot be had.
        """
        sign, cipher = passphrases(device, self._security_dir)
        return usm.User(str(device.params["user"]), self._master(sign), self._master(cipher))

    def _master(self, passphrase: str) -> bytes:
        if passphrase not in self._masters:
            self._masters[passphrase] = usm.master_key(passphrase)
        return self._masters[passphrase]
