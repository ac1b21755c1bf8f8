"""Who asks, and what is theirs: the core's one place that turns the ``session`` of a request into a principal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gwanje.core.authority.credentials import TOKEN_MAX, token_hash
from gwanje.core.authority.principal import Principal, Role
from gwanje.core.requests import Code, RequestError


class Authority:
    """Knows programs by their credentials.

    Args:
        programs: hash of each credential → name of the part, from :func:`credentials.read_hashes`.
    """

    def __init__(self, programs: Mapping[str, str]) -> None:
        self._programs = {
            hashed: Principal(part, Role.PROGRAM, f"program-{part}") for hashed, part in programs.items()
        }

    def principal(self, message: Mapping[str, Any]) -> Principal:
        """Who is behind the message's ``session``.

        Raises:
            RequestError: nobody (``NOT_SIGNED_IN``), or a session that is not known (``SESSION_OVER``).
        """
        token = message.get("session", "")
        if not isinstance(token, str) or len(token) > TOKEN_MAX:
            raise RequestError(Code.MALFORMED, "session must be a short text")
        if not token:
            raise RequestError(Code.NOT_SIGNED_IN, "")
        program = self._programs.get(token_hash(token))
        if program is None:
            raise RequestError(Code.SESSION_OVER, "")
        return program
