"""What owners of points share: a command is taken from the core alone, once, in time and in order, and within bounds.

The core has checked everything; but whoever reaches an owner's socket could say so. So the core seals what it sends
with a secret of the run that only the core and the owners read (``core.authority.credentials.owner_secret``):
HMAC-SHA256 over the packed command, the owner's name and the time of sending. An owner opens nothing else. What was
sent before the owner began, or before something that it has taken already, is a repetition; what is older than the core
waits is refused: everybody has been told by then that it timed out.

The owner looks again at what may have changed on the way or must never be wrong: role, expiry, id, the tag's limits,
the gate, and the bar of a danger tag. It is the last look before the device.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgpack

from gwanje.core.authority.principal import Role
from gwanje.core.bus.msgpack_map import FrameError, Limits, unpack_map
from gwanje.core.clock import Clock
from gwanje.core.commands.checks import limits
from gwanje.core.commands.messages import FORWARD_TIMEOUT_NS, Accepted, Command, Expired, to_message
from gwanje.core.requests import NAME_MAX, Code, Refused, RequestError, take_text, take_whole
from gwanje.core.tags.table import Tag, TagTable

REMEMBERED_MAX = 4_096
"""Command ids kept besides the order of sending: a second fence, against a core that sends one command twice."""
_LIMITS = Limits(n_bytes=8_192, containers=1, depth=1)
_SEALED = frozenset({"op", "sealed", "mac"})


def seal(secret: bytes, owner: str, command: Command, sent_mono_ns: int) -> dict[str, Any]:
    """A command as the core sends it.

    Args:
        secret: of the run.
        owner: for whom alone it is.
        command: checked.
        sent_mono_ns: now; larger than that of everything sent to this owner before.
    """
    sealed = msgpack.packb({**command.to_message(), "owner": owner, "sent_mono_ns": sent_mono_ns})
    return {"op": "write", "sealed": sealed, "mac": hmac.digest(secret, sealed, "sha256")}


class Coverage(Protocol):
    """What tells of gate and danger tags; see :class:`gwanje.core.commands.coverage.LeaseCoverage`."""

    @property
    def gate_closed(self) -> bool:
        """Whether the core lets nothing be written."""

    def until_mono_ns(self, tag_id: int) -> int:
        """Negative when nobody may write the tag."""


class Office:
    """Takes the commands of one owner. Use it from one thread.

    Args:
        owner: name of the part.
        secret: of the run; with an empty one nothing is taken.
        tags: the site's.
        coverage: says what nobody may write now.
        clock: of the machine.
        carry_out: does what an accepted command says, or tells why not.
        read_only: the site's own gate.
    """

    def __init__(
        self, owner: str, secret: bytes, tags: TagTable, coverage: Coverage, clock: Clock,
        carry_out: Callable[[Command], Refused | None], *, read_only: bool,
    ) -> None:  # fmt: skip
        self._owner = owner
        self._secret = secret
        self._tags = tags
        self._coverage = coverage
        self._clock = clock
        self._carry_out = carry_out
        self._read_only = read_only
        self._sent_mono_ns = clock.mono_ns()
        self._ids: OrderedDict[str, None] = OrderedDict()
        self.forged = 0
        """Messages that did not come from the core."""

    def answer(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Take a command, or say why not."""
        try:
            command = self._opened(message)
        except RequestError as error:
            return to_message(Refused(error.code, error.detail))
        return to_message(self._take(command))

    def _opened(self, message: Mapping[str, Any]) -> Command:
        """The command in a sealed message.

        Raises:
            RequestError: the core did not send it, not to this owner, not now, or it is no command.
        """
        try:
            content = unpack_map(self._genuine(message), _LIMITS)
        except FrameError as error:
            raise RequestError(Code.MALFORMED, str(error)[:NAME_MAX]) from None
        owner, sent = take_text(content, "owner"), take_whole(content, "sent_mono_ns")
        if owner != self._owner:
            raise RequestError(Code.NOT_FROM_CORE, f"it is for {owner}")
        age_ns = self._clock.mono_ns() - sent
        if sent <= self._sent_mono_ns:
            raise RequestError(Code.REPLAYED, "sent before what was taken, or before the owner began")
        if not -FORWARD_TIMEOUT_NS < age_ns <= FORWARD_TIMEOUT_NS:
            raise RequestError(Code.EXPIRY, f"{age_ns / 1e9:.1f} s on its way")
        self._sent_mono_ns = sent
        return Command.from_message({
            key: value for key, value in content.items() if key not in ("owner", "sent_mono_ns")
        })  # fmt: skip

    def _genuine(self, message: Mapping[str, Any]) -> bytes:
        """What the core has sealed.

        Raises:
            RequestError: the core has not.
        """
        sealed, mac = message.get("sealed"), message.get("mac")
        if isinstance(sealed, bytes) and isinstance(mac, bytes) and self._secret and message.keys() == _SEALED:
            expected = hmac.digest(self._secret, sealed, "sha256")
        else:
            sealed, mac, expected = b"", b"", b"-"
        if not hmac.compare_digest(expected, mac):
            self.forged += 1
            raise RequestError(Code.NOT_FROM_CORE, "")
        return sealed

    def _take(self, command: Command) -> Accepted | Expired | Refused:
        command_id = command.command_id
        if command.expires_mono_ns <= self._clock.mono_ns():
            return Expired(command_id)
        why = self._against(command)
        if why is not None:
            return Refused(*why, command_id)
        refused = self._carry_out(command)
        if refused is not None:
            return Refused(refused.code, refused.detail, command_id)
        self._ids[command_id] = None
        if len(self._ids) > REMEMBERED_MAX:
            self._ids.popitem(last=False)
        return Accepted(command_id)

    def _against(self, command: Command) -> tuple[Code, str] | None:
        """What forbids it, the first reason."""
        if command.role is Role.VIEWER:
            return Code.ROLE, str(command.role)
        if command.command_id in self._ids:
            return Code.REPLAYED, ""
        tag = self._tags.get(command.point) if command.point in self._tags else None
        if tag is None or tag.owner != self._owner:
            return Code.UNKNOWN_POINT, f"{command.point} is none of {self._owner}"
        if self._read_only or self._coverage.gate_closed:
            return Code.READ_ONLY, "site.toml" if self._read_only else ""
        return next(limits(tag, command.value), None) or self._barred(tag)

    def _barred(self, tag: Tag) -> tuple[Code, str] | None:
        if self._coverage.until_mono_ns(self._tags.index(tag.name)) < 0:
            return Code.SAFETY_TAG, "a danger tag is on it"
        return None
