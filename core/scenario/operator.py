"""The operator of a scenario's own city: a user made for one run, who takes every area and commands set-points."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from gwanje.core.authority.passwords import hash_password
from gwanje.core.authority.principal import Role
from gwanje.core.authority.service import SERVICE as SESSION_SERVICE
from gwanje.core.authority.users import User, UsersFile
from gwanje.core.bus.bus import Bus, RequestRefusedError, RequestTimeoutError
from gwanje.core.clock import Clock
from gwanje.core.commands.operator_client import OperatorClient

NAME = "scenario"
SIGN_IN_TIMEOUT_MS = 10_000
TAKEN = ("accepted", "confirmed")


class OperatorError(Exception):
    """The operator cannot do it; the text is one line."""


def make_user(security_dir: Path, clock: Clock) -> str:
    """Make the user before the city starts; its password, which nobody keeps.

    Raises:
        UsersError: it cannot be written.
    """
    password = secrets.token_urlsafe(24)
    now = clock.utc_ns()
    user = User(NAME, Role.ENGINEER, ("*",), "", hash_password(password), now, False, now, now, NAME)
    security_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    UsersFile(security_dir).change(lambda users: users.update({NAME: user}))
    return password


class Operator:
    """Signed in, with all areas that are free.

    Args:
        bus: of this process, to the running city.
        password: of :func:`make_user`.

    Raises:
        OperatorError: the core does not let him in.
    """

    def __init__(self, bus: Bus, password: str) -> None:
        self._bus = bus
        answer = self._ask({"op": "sign_in", "user": NAME, "password": password, "console": "scenario"})
        self._session = str(answer["session"])
        self._client = OperatorClient(bus, self._session)
        for area in self._ask({"op": "areas"})["areas"]:
            self._ask({"op": "take_area", "area": area["id"], "force": False, "reason": ""})

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        session = getattr(self, "_session", "")
        try:
            answer = self._bus.request(SESSION_SERVICE, {"session": session, **message}, SIGN_IN_TIMEOUT_MS)
        except (RequestRefusedError, RequestTimeoutError) as error:
            raise OperatorError(f"{message['op']}: {error}") from None
        if answer.get("outcome") == "refused":
            raise OperatorError(f"{message['op']}: {answer.get('text_en', 'refused')}")
        return answer

    def command(self, point: str, value: float) -> None:
        """Select, check, execute.

        Raises:
            OperatorError: it was refused, with the reason.
        """
        selected = self._client.select(point)
        if selected.get("outcome") != "selected":
            raise OperatorError(f"{point} was not selected: {selected.get('text_en', '')}")
        checked = self._client.check(str(selected["select_id"]), value)
        if checked.get("outcome") != "checked":
            raise OperatorError(f"{point} = {value:g} did not pass the check: {checked.get('text_en', '')}")
        sent = self._client.execute(selected, value, "scenario", checked, accept_warnings=True, retyped=point)
        if sent.get("outcome") not in TAKEN:
            raise OperatorError(f"{point} = {value:g} was not taken: {sent.get('text_en', sent.get('outcome'))}")
