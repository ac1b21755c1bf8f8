"""One conversation with a charge point: who asked what, which answer belongs to which call. No I/O, no clock.

A call that arrives twice (the charger did not get our answer) is carried out once and answered twice alike. An answer
to nothing, or to what has been given up, changes nothing and is counted.
"""

from __future__ import annotations

import hashlib
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any

from gwanje.io.field.ocpp.frames import (
    Call,
    CallError,
    CallResult,
    FrameError,
    Payload,
    call_text,
    check_call,
    check_result,
    error_text,
    parse,
    result_text,
)

ANSWERS_MAX = 64
"""Answers kept in case their calls are repeated; a charger has one call under way at a time, few keep more."""
GIVEN_UP_MAX = 32
"""Calls that were given up, remembered to tell a late answer from a stray one."""


class CallFailedError(Exception):
    """A call of ours was not carried out; the text says why. ``code`` is the charger's, empty for what never was."""

    def __init__(self, reason: str, code: str = "") -> None:
        super().__init__(reason)
        self.code = code


Settle = Callable[[Payload | CallFailedError], None]
Handle = Callable[[str, Payload], Payload]


class Conversation:
    """See the module.

    Args:
        version: of the protocol, ``1.6`` or ``2.0.1``.
        handle: carries out a call of the charger and gives the answer's payload; :class:`FrameError` refuses it.
    """

    def __init__(self, version: str, handle: Handle) -> None:
        self.version = version
        self.flaws: Counter[str] = Counter()
        """What the charger did wrong, by kind."""
        self.last_flaw = ""
        self._handle = handle
        self._asked: dict[str, tuple[str, Settle]] = {}
        self._given_up: OrderedDict[str, None] = OrderedDict()
        self._answered: OrderedDict[str, tuple[bytes, str]] = OrderedDict()
        self._n = 0

    def receive(self, data: str | bytes) -> str:
        """Take what arrived; gives the text to answer with, empty for none."""
        try:
            frame = parse(data)
        except FrameError as error:
            kind = "bad_json" if "JSON" in str(error) else "bad_frame"
            self._flaw(kind, str(error))
            return self._error(error) if error.unique_id else ""
        match frame:
            case Call():
                assert isinstance(data, str), "a call is a text"
                return self._answer(frame, data)
            case CallResult():
                self._settle_result(frame)
            case CallError():
                self._settle_error(frame)
        return ""

    def _answer(self, call: Call, text: str) -> str:
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        if call.unique_id in self._answered:
            before, answer = self._answered[call.unique_id]
            if before == digest:
                self._flaw("repeated", f"{call.action} {call.unique_id} again")
                return answer
            reason = f"message id {call.unique_id} stands for another call already"
            self._flaw("duplicate_id", reason)
            return self._error(FrameError("RpcFrameworkError", reason, call.unique_id))
        try:
            check_call(self.version, call.action, call.payload, call.unique_id)
            answer = result_text(call.unique_id, self._handle(call.action, call.payload))
        except FrameError as error:
            self._flaw("unknown_action" if error.code in ("NotImplemented", "NotSupported") else "schema", str(error))
            error.unique_id = call.unique_id
            answer = self._error(error)
        self._answered[call.unique_id] = digest, answer
        if len(self._answered) > ANSWERS_MAX:
            self._answered.popitem(last=False)
        return answer

    def _error(self, error: FrameError) -> str:
        return error_text(error.unique_id, error.code, str(error), self.version)

    def ask(self, action: str, payload: Payload, settle: Settle) -> tuple[str, str]:
        """Begin a call of ours: its id, and the text to send.

        Args:
            action: of the protocol.
            payload: of the call.
            settle: told once what became of it, unless it is given up before.
        """
        self._n += 1
        unique_id = f"g{self._n}"
        self._asked[unique_id] = action, settle
        return unique_id, call_text(Call(unique_id, action, payload))

    def give_up(self, unique_id: str) -> None:
        """Nobody waits for this call's answer any more."""
        if self._asked.pop(unique_id, None) is not None:
            self._given_up[unique_id] = None
            if len(self._given_up) > GIVEN_UP_MAX:
                self._given_up.popitem(last=False)

    def _settle_result(self, result: CallResult) -> None:
        found = self._found(result.unique_id)
        if found is None:
            return
        action, settle = found
        try:
            check_result(self.version, action, result.payload)
        except FrameError as error:
            self._flaw("schema", str(error))
            settle(CallFailedError(f"its answer to {action} cannot be used: {error}"))
            return
        settle(result.payload)

    def _settle_error(self, error: CallError) -> None:
        found = self._found(error.unique_id)
        if found is not None:
            action, settle = found
            self._flaw("call_error", f"{action}: {error.code} {error.description}")
            settle(CallFailedError(f"{action}: {error.code} {error.description}".strip(), error.code or "GenericError"))

    def _found(self, unique_id: str) -> tuple[str, Settle] | None:
        found = self._asked.pop(unique_id, None)
        if found is None:
            late = unique_id in self._given_up
            self._given_up.pop(unique_id, None)
            self._flaw("late_answer" if late else "stray_answer", f"an answer to {unique_id}")
        return found

    def _flaw(self, kind: str, reason: str) -> None:
        self.flaws[kind] += 1
        self.last_flaw = f"{kind}: {reason}"

    def flaw(self, kind: str, reason: str) -> None:
        """Count something that the shell has seen."""
        self._flaw(kind, reason)


def text_of(payload: Payload, *keys: str, default: str = "") -> str:
    """A text deep in a payload that has been checked, or the default where it is missing."""
    node: Any = payload
    for key in keys:
        node = node.get(key) if isinstance(node, dict) else None
    return node if isinstance(node, str) else default
