"""What the desks of the command path stand on together: the site, the world outside, replay memory, refusals."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from gwanje.core.authority.principal import Principal, Principals
from gwanje.core.bus.rate import RateLimit
from gwanje.core.clock import NS_PER_S, Clock
from gwanje.core.commands.messages import Command
from gwanje.core.commands.operations import Operations
from gwanje.core.commands.operations_table import Seen
from gwanje.core.commands.safety_tags import SafetyTags
from gwanje.core.journal.desk import JournalDesk
from gwanje.core.journal.kinds import EntryKind
from gwanje.core.requests import Code, Refused
from gwanje.core.tags.table import TagTable

REMEMBERED_MAX = 8_192
"""Command ids kept for the replay check: over a hundred new ones a second for the longest life of a command."""
REFUSAL_BURST = 50
"""Refusals journalled one by one; a storm beyond it is counted and told in one entry."""
REFUSALS_PER_S = 2.0
ALL = "all"
"""Whoever is refused: they share one limit."""
AGAIN_S = 60.0
"""A program that asks the same again and again gets one entry a minute: it must not crowd out what people are told."""
AGAIN_MAX = 256
"""Different refusals of programs that are remembered for it."""

_TOLD_KEYS = ("op", "point", "select_id", "name", "scope", "value")
"""Members of a refused request that the journal keeps; who asked is added when the core knows it."""

Reply = Callable[[dict[str, Any]], None]


class Outside(Protocol):
    """What the command path needs of the world."""

    def forward(self, owner: str, command: Command) -> None:
        """Hand a command to the part that owns its point; the answer comes back through ``finished``."""

    def samples(self, names: Iterable[str]) -> Mapping[str, Seen]:
        """What tags say now, staleness applied."""

    def lease_changed(self, name: str, until_mono_ns: int) -> None:
        """Show a lease to people: valid before ``until_mono_ns``, 0 for none."""

    def cover(self, until_mono_ns: Mapping[str, int]) -> None:
        """Show the drivers which points leases cover until when, and which are barred: these and no others."""

    def show_gate(self, closed: bool) -> None:
        """Show the drivers whether anything may be written at all."""

    def save_gate(self, state: Mapping[str, Any]) -> None:
        """Keep the gate for ever, on the disk before this returns; raises OSError when that fails."""

    def save(self, state: Mapping[str, Any]) -> None:
        """Keep leases and holds for a restart; raises OSError when that fails."""

    def save_safety(self, state: Mapping[str, Any]) -> None:
        """Keep the safety tags for ever; raises OSError when that fails."""

    def announce(
        self, kind: str, class_name: str, source: str, text_ko: str, text_en: str, data: Mapping[str, Any] | None = None
    ) -> None:
        """Tell the screens what happened."""


class Authority(Principals, Protocol):
    """What the command path needs to know of people and areas."""

    def area_refusal(self, principal: Principal, point: str) -> tuple[Code, str] | None:
        """Why the area of authority is against it; ``None`` when it is not."""

    def witness_refusal(self, principal: Principal, point: str) -> tuple[Code, str] | None:
        """Why the area is against somebody's agreeing to another's operation; ``None`` when it is not."""

    def present(self, who: Principal) -> Principal | None:
        """Who asked a while ago, as they are now; ``None`` when the session is over or locked."""


@dataclass(slots=True)
class Ground:
    """See the module.

    Attributes:
        tags: the site's tags.
        operations: how its points are operated.
        safety: safety tags that hang.
        desk: of the journal.
        clock: of the machine.
        outside: the world.
        authority: knows who asks and what is theirs.
        boot: identity of this boot, to which monotonic times belong.
        seen: command id → when it expires; what stands here is a replay.
        unknown_until_mono_ns: what was issued before may have been taken by a core of which nothing is known.
        refused: requests refused, ever.
        muted: refusals that were counted only.
    """

    tags: TagTable
    operations: Operations
    safety: SafetyTags
    desk: JournalDesk
    clock: Clock
    outside: Outside
    authority: Authority
    boot: str
    seen: OrderedDict[str, int] = field(default_factory=OrderedDict)
    unknown_until_mono_ns: int = 0
    refused: int = 0
    muted: int = 0
    _refusals: RateLimit = field(default_factory=lambda: RateLimit(REFUSALS_PER_S, REFUSAL_BURST))
    _told_again: OrderedDict[tuple[str, ...], int] = field(default_factory=OrderedDict)

    def tell_some(self) -> bool:
        """Whether one more refusal or expiry is journalled by itself; in a storm it is counted only."""
        if self._refusals.take(ALL, self.clock.mono_ns()):
            return True
        self.muted += 1
        return False

    def refuse(self, refused: Refused, message: Mapping[str, Any], who: Principal | None) -> Refused:
        """Count, journal and return a refusal.

        The entry names the id that was sent as ``asked_id``: ``command_id`` stands only in entries about commands that
        the core has taken, so that nobody writes an end into the story of somebody else's.
        """
        self.refused += 1
        if who is not None and who.is_program and self._again(refused, message, who):
            self.muted += 1
            return refused
        if not self.tell_some():
            return refused
        op = message.get("op")
        kind = EntryKind.LEASE_REFUSED if op in ("lease", "renew", "release") else EntryKind.COMMAND_REFUSED
        told = {key: plain(message[key]) for key in _TOLD_KEYS if key in message}
        if refused.command_id:
            told["asked_id"] = refused.command_id
        if who is not None:
            told |= {"author": who.name, "role": str(who.role), "session_id": who.session_id}
        self.desk.note(kind, code=str(refused.code), detail=refused.detail, **told)
        return refused

    def _again(self, refused: Refused, message: Mapping[str, Any], who: Principal) -> bool:
        """Whether a program was refused the same for the same reason within the last minute."""
        what = (message.get("op"), message.get("name"), message.get("point"))
        key = (who.name, str(refused.code), refused.detail, *(str(plain(one)) for one in what))
        now = self.clock.mono_ns()
        if now - self._told_again.get(key, now - round(AGAIN_S * NS_PER_S)) < AGAIN_S * NS_PER_S:
            return True
        self._told_again[key] = now
        self._told_again.move_to_end(key)
        if len(self._told_again) > AGAIN_MAX:
            self._told_again.popitem(last=False)
        return False

    def remember(self, command_id: str, expires_mono_ns: int) -> None:
        """This id is used."""
        self.seen[command_id] = expires_mono_ns

    def step(self, now_mono_ns: int) -> None:
        """Forget ids that have expired by themselves; tell how many refusals were only counted."""
        if len(self.seen) > REMEMBERED_MAX // 2 or (self.seen and next(iter(self.seen.values())) <= now_mono_ns):
            for command_id in [one for one, expires in self.seen.items() if expires <= now_mono_ns]:
                del self.seen[command_id]
        if self.muted and self._refusals.left(ALL, now_mono_ns) >= REFUSAL_BURST / 2:
            self.desk.note(EntryKind.COMMANDS_MUTED, refused=self.muted)
            self.muted = 0


def plain(value: object) -> object:
    """A member of a message that nobody has checked, as the journal can hold it."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**63 else "huge"
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return str(value)[:128]


