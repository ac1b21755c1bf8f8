"""The service ``command``: who asks, what for, and which desk takes it; the gate; what a restart must find.

``handle`` takes a request and answers at once, or after the owner of the point has answered (``finished``). What leaves
is in the journal first: when the journal cannot be written everything is refused with that reason.

:mod:`gwanje.core.commands.operating` takes what operates a point, :mod:`gwanje.core.commands.lease_desk` the programs'
leases, :mod:`gwanje.core.commands.safety_desk` the safety tags. No socket and no file is held here: ``core.main`` gives
:class:`gwanje.core.commands.ground.Outside`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gwanje.core.authority.principal import Principal, Role
from gwanje.core.clock import NS_PER_S
from gwanje.core.commands.gate import Gate
from gwanje.core.commands.ground import Ground, Reply
from gwanje.core.commands.lease_desk import LeaseDesk, told
from gwanje.core.commands.leases import HOLD_S_DEFAULT, Hold, LeaseTable
from gwanje.core.commands.messages import Answer, to_message
from gwanje.core.commands.operating import OperatingDesk
from gwanje.core.commands.safety_desk import SafetyDesk
from gwanje.core.journal.chain import Entry, JournalError
from gwanje.core.journal.kinds import EntryKind
from gwanje.core.requests import TEXT_MAX, Code, Refused, RequestError

_ENDS = frozenset(
    {
        EntryKind.COMMAND_CONFIRMED, EntryKind.COMMAND_REFUSED, EntryKind.COMMAND_EXPIRED,
        EntryKind.COMMAND_TIMED_OUT, EntryKind.COMMAND_CANCELLED,
    }
)  # fmt: skip
"""Entries after which nothing more becomes of the command that they name."""
ENTRY_WORDS = (b'"kind":"command_', b'"kind":"points_given_back"')
"""What stands in the lines of the entries about commands."""
RECENT_BYTES = 32 << 20
"""How much of the journal a restarted core searches for them: 0.1 s of reading. A storm of alarms, a hundred entries a
second, takes ten minutes to fill it; a command and its operation last one, some few."""


class CommandServer:
    """See the module.

    Args:
        ground: the site and the world.
        leases: an empty table.
        read_only: the site's own gate; when it is closed no request opens it.
    """

    def __init__(self, ground: Ground, leases: LeaseTable, *, read_only: bool) -> None:
        self._ground = ground
        self._leases = LeaseDesk(ground, leases)
        self._gate = Gate(ground, self._leases, site_read_only=read_only)
        self._safety = SafetyDesk(ground, self._leases)
        self._operating = OperatingDesk(ground, self._leases, lambda: self.read_only)

    @property
    def read_only(self) -> bool:
        """Whether the gate is closed, by the site's file or by a person."""
        return self._gate.closed

    @property
    def held_points(self) -> int:
        """Points that people hold."""
        return len(self._leases.table.holds())

    @property
    def pending(self) -> int:
        """Commands that wait for their owner."""
        return self._operating.pending

    @property
    def accepted(self) -> int:
        """Commands that their owners took, ever."""
        return self._operating.accepted

    @property
    def refused(self) -> int:
        """Requests refused, ever."""
        return self._ground.refused

    @property
    def busy(self) -> bool:
        """Whether :meth:`look` should be called often."""
        return self._operating.table.busy

    def status(self) -> dict[str, float]:
        """Values of the status tags that tell of commands."""
        table, safety = self._operating.table, self._ground.safety
        return {
            "system.commands.accepted": self.accepted,
            "system.commands.refused": self.refused,
            "system.commands.read_only": self.read_only,
            "system.commands.held_points": self.held_points,
            "system.commands.selected": len(table.selections()),
            "system.commands.running": len(table.running()),
            "system.safety.tags": len(safety),
            "system.safety.danger": sum(one.kind == "danger" for one in safety.all()),
            "system.safety.overdue": sum(one.overdue for one in safety.all()),
            "system.safety.kept": self._safety.kept,
            "system.commands.kept": self._leases.kept and self._gate.kept,
        }

    # ------------------------------------------------------------ a restart

    def take_up(
        self, state: Mapping[str, Any] | None, safety: Mapping[str, Any] | None = None, trouble: str = "",
        gate: Mapping[str, Any] | None = None, gate_trouble: str = "",
    ) -> None:  # fmt: skip
        """Go on where an earlier process was killed.

        Safety tags hang as they did, valid leases stay valid, remembered command ids stay refused, and a command whose
        outcome is not in the journal is entered as timed out: nobody knows any more. Selections are gone.

        Args:
            state: what :meth:`Outside.save` kept last, in this boot.
            safety: what :meth:`Outside.save_safety` kept last.
            trouble: why the safety tags could not be read.
            gate: what :meth:`Outside.save_gate` kept last.
            gate_trouble: why that could not be read.
        """
        ground = self._ground
        self._gate.restore(gate, gate_trouble)
        self._safety.restore(safety, trouble)
        if state is not None:
            try:
                self._leases.restore(state)
            except ValueError as error:
                ground.desk.note(EntryKind.LEASE_REFUSED, reason=f"state of an earlier process: {error}"[:TEXT_MAX])
        recent = self._recent()
        self._leases.retake(self._taken(recent))
        for lease in self._leases.table.leases():
            ground.desk.note(EntryKind.LEASE_RESTORED, **told(lease))
        for name in sorted(self._leases.table.names):
            self._leases.show(name)
        self._leases.cover()
        open_ids: dict[str, None] = {}
        for entry in recent:
            command_id = str(entry.data.get("command_id", ""))
            begun = entry.kind in (EntryKind.COMMAND_REQUESTED, EntryKind.COMMAND_AWAITS_SECOND)
            if begun:
                open_ids[command_id] = None
                if entry.data.get("boot") == ground.boot:  # else its times mean nothing here
                    ground.remember(command_id, int(entry.data.get("expires_mono_ns", 0)))
            elif entry.kind in _ENDS:
                open_ids.pop(command_id, None)
        for command_id in open_ids:
            ground.desk.note(EntryKind.COMMAND_TIMED_OUT, command_id=command_id, reason="the core was restarted")
        self._leases.save()

    def _recent(self) -> list[Entry]:
        """What the journal tells of commands; when it cannot be read, nothing issued until now is taken any more."""
        desk = self._ground.desk
        try:
            found = [one for word in ENTRY_WORDS for one in desk.find(word, RECENT_BYTES)]
        except JournalError:
            self._ground.unknown_until_mono_ns = self._ground.clock.mono_ns()
            return []
        return sorted(found, key=lambda one: one.seq)

    def _taken(self, recent: Iterable[Entry]) -> list[Hold]:
        """What people's commands of this boot took and nobody has given back, oldest first."""
        ground = self._ground
        found: list[Hold] = []
        for entry in recent:
            data = entry.data
            if entry.kind == EntryKind.POINTS_GIVEN_BACK:
                found = [one for one in found if one.point not in data.get("points", ())]
            elif entry.kind in (EntryKind.COMMAND_REFUSED, EntryKind.COMMAND_EXPIRED):
                found = [one for one in found if one.command_id != data.get("command_id")]
            elif (
                entry.kind == EntryKind.COMMAND_REQUESTED
                and data.get("boot") == ground.boot
                and data.get("role") != Role.PROGRAM
            ):
                until = int(data.get("issued_mono_ns", 0)) + round(HOLD_S_DEFAULT * NS_PER_S)
                operation = ground.operations.get(str(data.get("point", "")))
                points = () if operation is None else (operation.point, *operation.takes)
                author, command_id = str(data.get("author", "")), str(data.get("command_id", ""))
                found += [Hold(point, author, until, command_id) for point in points]
        return found

    # ------------------------------------------------------------ requests

    def handle(self, message: Mapping[str, Any], reply: Reply) -> None:
        """Take one request; the reply comes now or when the owner has answered."""
        match message.get("op"):
            case "leases":
                now = self._ground.clock.mono_ns()
                reply({**self._leases.listing(), "read_only": self.read_only, "mono_ns": now})
                return
            case "operations":
                reply(self._operating.listing())
                return
            case "safety_tags":
                reply(self._safety.listing())
                return
        answer: Answer | dict[str, Any] | None
        who: Principal | None = None
        try:
            who = self._ground.authority.principal(message)
            answer = self._change(message, who, reply)
        except RequestError as error:
            known = message.get("command_id")
            command_id = known[:64] if isinstance(known, str) else ""
            answer = self._ground.refuse(Refused(error.code, error.detail, command_id), message, who)
        except JournalError as error:
            answer = self._ground.refuse(Refused(Code.JOURNAL, str(error.strerror or error)), message, who)
        if answer is not None:
            reply(answer if isinstance(answer, dict) else to_message(answer))

    def _change(self, message: Mapping[str, Any], who: Principal, reply: Reply) -> Answer | dict[str, Any] | None:
        """What somebody wants changed; ``None`` when the answer comes later."""
        operating, leases, safety = self._operating, self._leases, self._safety
        match message.get("op"):
            case "select":
                return operating.select(message, who)
            case "check":
                return operating.check(message, who)
            case "execute":
                return operating.execute(message, who, reply)
            case "second":
                return operating.second(message, who, reply)
            case "cancel":
                return operating.cancel(message, who)
            case "progress":
                return operating.progress(message, who)
            case "write":
                return operating.write(message, who, reply)
            case "lease":
                return leases.lease(message, who, self.read_only)
            case "renew":
                return leases.renew(message, who)
            case "release":
                return leases.release(message, who)
            case "give_back":
                return leases.give_back(message, who)
            case "place_tag":
                return safety.place(message, who)
            case "remove_tag":
                return safety.remove(message, who)
            case "gate":
                try:
                    return self._gate.request(message, who)
                finally:
                    if self.read_only:
                        operating.gate_closed()
            case _:
                return self._ground.refuse(Refused(Code.MALFORMED, "unknown op"), message, who)

    def close_gate(self, reason: str) -> None:
        """The core closes the gate by itself, until somebody who may opens it."""
        self._gate.close(reason)
        self._operating.gate_closed()

    def finished(self, command_id: str, answer: Mapping[str, Any] | None) -> None:
        """The owner answered a forwarded command; ``None`` when it did not in time."""
        self._operating.finished(command_id, answer)

    def reserving(self) -> set[str]:
        """Sessions that have something selected, or wait for a second person."""
        return self._operating.table.reserving()

    def session_over(self, session_id: str) -> None:
        """Somebody has signed out, or their session ended: what they had selected is free."""
        self._operating.drop_session(session_id)

    # ------------------------------------------------------------ time

    def look(self) -> None:
        """Look at readbacks; call it every 20 ms while :attr:`busy`."""
        self._operating.look(self._ground.clock.mono_ns())

    def step(self) -> None:
        """What time alone does; call it a few times a second."""
        now = self._ground.clock.mono_ns()
        self._leases.step(now)
        self._gate.step()
        self._safety.step(now)
        self._operating.look(now)
        self._ground.step(now)
