"""The session of the terminal one types at: in the run directory, for this user alone, gone with the run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from gwanje.core.authority.service import SERVICE
from gwanje.core.bus.bus import Bus
from gwanje.core.cli.parsing import CommandError
from gwanje.core.clock import SystemClock

FOLDER = "cli"
SIGN_IN_TIMEOUT_MS = 10_000
"""A password takes a tenth of a second of a busy machine, and others may wait before it."""


def terminal() -> str:
    """Name of the terminal that is typed at, such as ``pts/3``; empty in a script, whatever starts it."""
    for descriptor in (0, 1, 2):
        try:
            return os.ttyname(descriptor).removeprefix("/dev/")
        except OSError:
            continue
    return ""


def file_of_terminal(run_dir: Path, what: str) -> Path:
    """Where something of this terminal is kept: two people may sit side by side; all scripts of a user share one."""
    where = terminal().replace("/", "-") or "script"
    return run_dir / FOLDER / f"{os.getuid()}-{where}.{what}"


def _path(run_dir: Path) -> Path:
    return file_of_terminal(run_dir, "session")


def read_token(run_dir: Path) -> str:
    """The session that ``gwanje login`` opened; empty without one, which the core refuses in words."""
    try:
        return _path(run_dir).read_text(encoding="ascii").strip()
    except OSError:
        return ""


def keep_token(run_dir: Path, token: str) -> None:
    """Keep it for the next commands; an empty one is forgotten."""
    path = _path(run_dir)
    if not token:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(token)


def ask(run_dir: Path, service: str, message: dict[str, Any], timeout_ms: int = 2_000) -> dict[str, Any]:
    """Ask the running core something with the session of this terminal.

    Raises:
        CommandError: it was refused; the text says why.
    """
    bus = Bus(run_dir, "cli", SystemClock())
    try:
        answer = bus.request(service, {"session": read_token(run_dir), **message}, timeout_ms)
    finally:
        bus.close()
    if answer.get("outcome") == "refused":
        hint = "; sign in with `gwanje login NAME`" if answer.get("code") in ("not_signed_in", "session_over") else ""
        hint = "; unlock with `gwanje login`" if answer.get("code") == "session_locked" else hint
        raise CommandError(f"refused: {answer.get('text_en', '')}{hint}")
    return answer


def ask_session(run_dir: Path, message: dict[str, Any]) -> dict[str, Any]:
    """Ask the service ``session``; see :func:`ask`."""
    return ask(run_dir, SERVICE, message, SIGN_IN_TIMEOUT_MS)
