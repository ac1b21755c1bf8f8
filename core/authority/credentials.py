"""Credentials of a city's programs: one secret per part, made anew for every run.

The supervisor writes them into the run directory before any part starts; a part reads its own and sends it as the
``session`` of its requests, the core reads them all and knows by it who asks. Processes of one Unix user are trusted
not to read each other's files; what this keeps out is a mistaken or forged *claim* to be somebody else.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

FOLDER = "credentials"
TOKEN_BYTES = 32
"""256 bits: nobody guesses one, however often they ask."""
TOKEN_MAX = 128
"""Longest text that is looked at as a token; ours have 43 letters."""
CORE_TO_OWNER = "core-to-owner"
"""File of the secret with which the core seals commands: read by the core and by owners of points, no credential."""
WITHOUT = frozenset({"hmi"})
"""Parts that speak only for people, with the sessions of those who signed in: they get no credential of their own."""


def new_token() -> str:
    """A fresh secret, as text that fits into a message, a file or an environment."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def token_hash(token: str) -> str:
    """What is kept of a token. It is random, so one SHA-256 is enough; passwords need more."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def write(run_dir: Path, parts: Iterable[str]) -> None:
    """Give every part a fresh credential, and the core a seal; what an earlier call wrote is worthless after it.

    Raises:
        OSError: they cannot be written.
    """
    folder = run_dir / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for part in (*parts, CORE_TO_OWNER):
        if part in WITHOUT:
            continue
        descriptor = os.open(folder / part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(new_token())


def read(run_dir: Path, part: str) -> str:
    """The credential of one part; empty when it has none, which the core refuses in words."""
    return "" if part == CORE_TO_OWNER else _read(run_dir, part)


def owner_secret(run_dir: Path) -> bytes:
    """What the core seals commands with; empty when there is none: then no owner takes any."""
    return _read(run_dir, CORE_TO_OWNER).encode("ascii")


def _read(run_dir: Path, part: str) -> str:
    try:
        return (run_dir / FOLDER / part).read_text(encoding="ascii").strip()
    except OSError:
        return ""


def read_hashes(run_dir: Path) -> dict[str, str]:
    """Hash of each credential → name of its part.

    Raises:
        OSError: a credential cannot be read.
    """
    folder = run_dir / FOLDER
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    return {token_hash(token): name for name in names if (token := read(run_dir, name))}
