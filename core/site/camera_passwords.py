"""Users and passwords of real cameras: ``camera-passwords.toml`` in the site's security folder.

One table per microphone node or ONVIF camera, readable by its owner alone::

    [mic201]
    user = "listener"
    password = "…"

It never stands in a site's files, which are shown, copied and kept in version control.
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gwanje.core.site.devices import Device
from gwanje.core.site.nodes import Node

FILE = "camera-passwords.toml"
MAX_BYTES = 1_048_576
"""Four thousand cameras with the longest words; a larger file is not ours."""
WORD_MAX = 128
"""Longer users and passwords than any camera takes."""


class CameraPasswordsError(Exception):
    """The file cannot be used; the text is one line and repeats no password."""


@dataclass(frozen=True, slots=True)
class Login:
    """What a camera wants to know."""

    user: str
    password: str = field(repr=False)


def load(security_dir: Path) -> dict[str, Login]:
    """Logins by the node's or camera's name; none when there is no file.

    Raises:
        CameraPasswordsError: others may read the file, or it is not what it should be.
    """
    path = security_dir / FILE
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise CameraPasswordsError(f"{path}: cannot be read: {error.strerror}") from None
    with open(descriptor, "rb") as file:
        state = os.fstat(descriptor)
        if state.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise CameraPasswordsError(f"{path}: others may read it: chmod 600 {path}")
        if state.st_size > MAX_BYTES:
            raise CameraPasswordsError(f"{path}: larger than {MAX_BYTES} bytes")
        try:
            content = tomllib.loads(file.read().decode("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError):
            raise CameraPasswordsError(f"{path}: is not TOML") from None
    return {name: _login(path, name, table) for name, table in content.items()}


def _login(path: Path, name: str, table: Any) -> Login:
    if not isinstance(table, dict) or set(table) - {"user", "password"}:
        raise CameraPasswordsError(f"{path}: {name}: must be a table with user and password")
    words = table.get("user", ""), table.get("password", "")
    if not all(isinstance(one, str) and len(one) <= WORD_MAX and one.isprintable() for one in words) or not words[0]:
        raise CameraPasswordsError(f"{path}: {name}: user and password must be texts of up to {WORD_MAX} signs")
    return Login(*words)


def problems(nodes: Iterable[Node | Device], security_dir: Path) -> list[tuple[str, str]]:
    """What ``gwanje check`` has to say: (file of the site to say it of, reason).

    Args:
        nodes: microphone nodes and ONVIF cameras: the names that may stand there.
        security_dir: of the site.
    """
    try:
        logins = load(security_dir)
    except CameraPasswordsError as error:
        return [("nodes.toml", str(error))]
    unknown = sorted(set(logins) - {node.name for node in nodes})
    return [("nodes.toml", f"{security_dir / FILE}: {name}: there is no such node or camera") for name in unknown]
