"""What a person at a console asks of the core: select → check → execute, safety tags, the gate.

Answers are the maps of the service ``command`` as they come; a refusal is one of them, with its texts in Korean and
English. When the core does not answer the answer is ``timed_out``: whether something was done is not known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gwanje.core.bus.bus import RequestRefusedError, RequestTimeoutError
from gwanje.core.clock import NS_PER_S
from gwanje.core.commands.client import RequestsBus
from gwanje.core.commands.messages import EXPIRES_S_DEFAULT, REQUEST_TIMEOUT_MS, SERVICE, TimedOut, new_id, to_message
from gwanje.core.requests import TEXT_MAX, Code, Refused

Answer = Mapping[str, Any]


class OperatorClient:
    """See the module.

    Args:
        bus: of this process.
        session: token of the person who signed in.
    """

    def __init__(self, bus: RequestsBus, session: str) -> None:
        self._bus = bus
        self._session = session

    def ask(self, op: str, **more: Any) -> Answer:
        """One request."""
        command_id = str(more.get("command_id", ""))
        try:
            return self._bus.request(SERVICE, {"op": op, "session": self._session, **more}, REQUEST_TIMEOUT_MS)
        except RequestTimeoutError:
            return to_message(TimedOut(command_id))
        except RequestRefusedError as error:
            return to_message(Refused(Code.MALFORMED, str(error)[:TEXT_MAX], command_id))

    def select(self, point: str) -> Answer:
        """Reserve a point."""
        return self.ask("select", point=point)

    def check(self, select_id: str, value: float) -> Answer:
        """What is against a value, and what must be accepted with it."""
        return self.ask("check", select_id=select_id, value=value)

    def execute(
        self, selected: Answer, value: float, reason: str, seen: Answer, *, accept_warnings: bool = False,
        retyped: str = "", expires_s: float = EXPIRES_S_DEFAULT, command_id: str = "",
    ) -> Answer:  # fmt: skip
        """Operate with the checked value.

        Args:
            selected: answer to the selection.
            value: as it was checked.
            reason: for the journal.
            seen: what the person looked at: ``seen_value`` and ``seen_mono_ns``, such as in the answer to the check.
            accept_warnings: the person has accepted what the check warned of.
            retyped: the point's name, typed again.
            expires_s: life of the command.
            command_id: fresh; made here when empty.
        """
        clock, more = self._bus.clock, {"retyped": retyped} if retyped else {}
        now = clock.mono_ns()
        return self.ask(
            "execute", select_id=selected["select_id"], command_id=command_id or new_id(), value=value,
            unit=selected.get("unit", ""), reason=reason, seen_value=seen.get("seen_value"),
            seen_mono_ns=seen["seen_mono_ns"], issued_mono_ns=now, issued_utc_ns=clock.utc_ns(),
            expires_mono_ns=now + round(expires_s * NS_PER_S), accept_warnings=accept_warnings, **more,
        )  # fmt: skip

    def second(self, command_id: str, point: str, value: float) -> Answer:
        """Agree to somebody else's critical operation: to this value at this point."""
        return self.ask("second", command_id=command_id, point=point, value=value)

    def cancel(self, select_id: str) -> Answer:
        """Give a selection up."""
        return self.ask("cancel", select_id=select_id)

    def operations(self) -> Answer:
        """What is selected, under way and ended lately."""
        return self.ask("operations")

    def leases(self) -> Answer:
        """What programs have leased and what people hold."""
        return self.ask("leases")

    def place_tag(self, scope: str, kind: str, reason: str, review_s: float) -> Answer:
        """Hang a safety tag."""
        return self.ask("place_tag", scope=scope, kind=kind, reason=reason, review_s=review_s)

    def remove_tag(self, tag_id: str, reason: str) -> Answer:
        """Take a safety tag off."""
        return self.ask("remove_tag", tag_id=tag_id, reason=reason)

    def safety_tags(self) -> Answer:
        """All that hang."""
        return self.ask("safety_tags")

    def gate(self, read_only: bool, reason: str) -> Answer:
        """Close or open the site's read-only gate."""
        return self.ask("gate", read_only=read_only, reason=reason)
