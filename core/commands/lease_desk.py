"""Requests about leases: asking, renewing, releasing, giving back; and what people and safety tags do to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gwanje.core.authority.principal import Principal, Role
from gwanje.core.clock import NS_PER_S
from gwanje.core.commands.coverage import BARRED
from gwanje.core.commands.ground import Ground
from gwanje.core.commands.leases import HOLD_S_DEFAULT, POINTS_MAX, Fault, Hold, Lease, LeaseFault, LeaseTable, Narrowed
from gwanje.core.commands.messages import Answer, Granted, Released, new_id
from gwanje.core.commands.operations import WRITABLE_KINDS
from gwanje.core.commands.safety_tags import SafetyKind
from gwanje.core.journal.kinds import EntryKind
from gwanje.core.requests import TEXT_MAX, Code, Refused, take_number, take_points, take_text

_FAULT_CODES = {
    LeaseFault.UNKNOWN_LEASE: Code.UNKNOWN_LEASE,
    LeaseFault.NO_POINTS: Code.LEASE_POINTS,
    LeaseFault.TOO_MANY_POINTS: Code.LEASE_POINTS,
    LeaseFault.TTL: Code.LEASE_TTL,
    LeaseFault.HELD_BY_OTHER: Code.LEASED,
    LeaseFault.HELD_BY_OPERATOR: Code.HELD,
    LeaseFault.SAFETY_TAG: Code.SAFETY_TAG,
    LeaseFault.NOT_HELD: Code.LEASE_NOT_HELD,
}

_TOLD_POINTS = 64
"""Points of a lease that an entry names; their number is always told."""


class LeaseDesk:
    """Keeps the leases; see the module.

    Args:
        ground: of the command path.
        table: empty.
    """

    def __init__(self, ground: Ground, table: LeaseTable) -> None:
        self._ground = ground
        self.table = table
        self.kept = True
        """Whether the leases and holds are also where a restart finds them."""
        self._unsaved = False
        """Holds were taken since then; the journal knows them."""
        self._taken: dict[str, dict[str, Hold | None]] = {}
        """Command under way → the holds that stood before it took its points."""

    # ------------------------------------------------------------ requests

    def lease(self, message: Mapping[str, Any], who: Principal, read_only: bool) -> Answer:
        """Ask for the right to stream set-points."""
        ground = self._ground
        name, reason = take_text(message, "name"), take_text(message, "reason", TEXT_MAX)
        points, ttl_s = take_points(message, POINTS_MAX), take_number(message, "ttl_s")
        if not who.is_program:  # a person holds areas and operates; to stream past both is for programs alone
            return ground.refuse(Refused(Code.ROLE, who.role), message, who)
        if read_only:
            return ground.refuse(Refused(Code.READ_ONLY), message, who)
        for point in points:
            if point not in ground.tags or ground.tags.get(point).kind not in WRITABLE_KINDS:
                code = Code.NOT_WRITABLE if point in ground.tags else Code.UNKNOWN_POINT
                return ground.refuse(Refused(code, point), message, who)
        now = ground.clock.mono_ns()
        given = self.table.ask(name, who.name, points, ttl_s, reason, new_id(), now, self._barred(points, who))
        if isinstance(given, Fault):
            return ground.refuse(Refused(_FAULT_CODES[given.code], given.detail), message, who)
        entry = {**told(given.lease), "withheld": list(given.withheld), "replaces": given.replaces}
        ground.desk.write_now(EntryKind.LEASE_GRANTED, **entry)
        before = self.table.get(name)
        self.table.put(given.lease)
        if not self.save():
            self.table.release(name, given.lease.lease_id)
            if before is not None:
                self.table.put(before)
            return ground.refuse(Refused(Code.STATE, name), message, who)
        self.show(name)
        return _granted(given.lease, given.withheld)

    def renew(self, message: Mapping[str, Any], who: Principal) -> Answer:
        """Prolong a lease."""
        name, lease_id = take_text(message, "name"), take_text(message, "lease_id", empty=True)
        renewed = self.table.renew(name, lease_id, who.name, self._ground.clock.mono_ns())
        if isinstance(renewed, Fault):
            return self._ground.refuse(Refused(_FAULT_CODES[renewed.code], renewed.detail), message, who)
        self.save()
        self.show(name)
        return _granted(renewed, ())

    def release(self, message: Mapping[str, Any], who: Principal) -> Answer:
        """Give a lease up."""
        name, lease_id = take_text(message, "name"), take_text(message, "lease_id", empty=True)
        lease = self.table.get(name)
        mine = lease is not None and lease.holder == who.name
        released = self.table.release(name, lease_id) if mine else Fault(LeaseFault.NOT_HELD, name)
        if isinstance(released, Fault):
            return self._ground.refuse(Refused(_FAULT_CODES[released.code], released.detail), message, who)
        self.save()
        self.show(name)
        self._ground.desk.note(EntryKind.LEASE_RELEASED, **told(released), by=released.holder)
        return Released(name)

    def give_back(self, message: Mapping[str, Any], who: Principal) -> Answer:
        """A person lets programs have points again."""
        ground = self._ground
        points, reason = take_points(message, POINTS_MAX), take_text(message, "reason", TEXT_MAX)
        if who.role in (Role.VIEWER, Role.PROGRAM):
            return ground.refuse(Refused(Code.ROLE, who.role), message, who)
        for point in points:
            if point not in ground.tags:
                return ground.refuse(Refused(Code.UNKNOWN_POINT, point), message, who)
            against = ground.authority.area_refusal(who, point)
            if against is not None and not self._takes(who, point, against[0]):
                return ground.refuse(Refused(*against), message, who)
        entry: dict[str, Any] = {"points": list(points[:_TOLD_POINTS]), "n_points": len(points)}
        ground.desk.write_now(EntryKind.POINTS_GIVEN_BACK, author=who.name, reason=reason, **entry)
        self.table.give_back(points)
        self.save()
        self.widen(who.name)
        return Released(", ".join(points)[:TEXT_MAX])

    def _takes(self, who: Principal, point: str, against: Code) -> bool:
        """Whether a person may give a point back although its area is not theirs.

        They may when operating a point of their own area takes it; not what somebody else took who may hold its area.
        """
        ground, hold = self._ground, self.table.hold_of(point)
        if against is Code.AREA_HELD_BY_OTHER and hold is not None and hold.author != who.name:
            return False
        return any(
            point in one.takes and one.allows(who.role) and ground.authority.area_refusal(who, one.point) is None
            for one in ground.operations.by_point.values()
        )

    # ------------------------------------------------------------ what others do to leases

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up leases that an earlier process of this boot left; raises ValueError when they are damaged."""
        self.table.restore(state, self._ground.boot, self._ground.clock.mono_ns())

    def take(self, points: Iterable[str], author: str, command_id: str) -> tuple[str, ...]:
        """A person's command is about to leave: its points leave their leases and are held; notes for the person.

        Also where no lease covers them now: a controller that is just being restarted would have them a second later.
        The command is in the journal by now, from which a core that is killed takes the hold up again (:meth:`retake`);
        the file follows with the next step, for it grows with the holds and a command must not wait for that.
        """
        notes, before = [], {}
        now = self._ground.clock.mono_ns()
        for point in points:
            if not self._leasable(point):
                continue
            before[point] = self.table.hold_of(point)
            taken = self.table.take(point, author, now, command_id=command_id)
            if taken is not None:
                notes.append(f"lease {taken.before.name} {taken.effect}")
                self._tell_narrowed(taken, point, author, f"{author} 명령", f"by {author}", command_id=command_id)
        if before:
            self._taken[command_id] = before
            self._unsaved = True
        return tuple(notes)

    def settle(self, command_id: str, *, undo: bool, by: str) -> None:
        """A command has ended: its points stay with the person, or go back when nothing can have come of it."""
        before = self._taken.pop(command_id, None)
        if before is None or not undo:
            return
        for point, earlier in before.items():
            hold = self.table.hold_of(point)
            if hold is not None and hold.command_id == command_id:
                self.table.set_hold(point, earlier)
            for other in self._taken.values():  # a later command of the point must not bring this hold back
                mine = other.get(point)
                if mine is not None and mine.command_id == command_id:
                    other[point] = earlier
        self.widen(by)

    def retake(self, holds: Iterable[Hold]) -> None:
        """Take up what people's commands took, as the journal tells: what was kept last may be older than that."""
        now = self._ground.clock.mono_ns()
        for hold in holds:
            kept = self.table.hold_of(hold.point)
            if hold.until_mono_ns <= now or not self._leasable(hold.point) or not self.table.has_room:
                continue
            if kept is None or kept.until_mono_ns < hold.until_mono_ns:
                self.table.set_hold(hold.point, hold)
            lease = self.table.holder_of(hold.point, now)
            if lease is not None:
                self.table.narrow(lease.name, (hold.point,))

    def _leasable(self, point: str) -> bool:
        """Whether programs may have a point at all."""
        operation = self._ground.operations.get(point)
        return operation is not None and operation.allows(Role.PROGRAM)

    def bar(self, author: str, tag_id: str) -> None:
        """A danger tag was hung: the points it reaches leave their leases."""
        for lease in self.table.leases():
            reached = [one for one in lease.points if self._ground.safety.has(one, SafetyKind.DANGER)]
            if reached:
                narrowed = self.table.narrow(lease.name, reached)
                points = ", ".join(reached)[:TEXT_MAX]
                ko, en = f"{author} 위험 태그", f"by a danger tag of {author}"
                self._tell_narrowed(narrowed, points, author, ko, en, tag_id=tag_id)
        self.cover()
        self.save()

    def widen(self, by: str) -> None:
        """Points were given back, or a tag taken off: leases that asked for them have them again."""
        ground = self._ground
        now = ground.clock.mono_ns()
        for lease in self.table.leases():
            barred = {one for one in lease.asked if ground.safety.has(one, SafetyKind.DANGER)}
            wider = self.table.widen(lease.name, barred, now)
            if wider is not None:
                gained = sorted(set(wider.points) - set(lease.points))
                ground.desk.note(EntryKind.LEASE_WIDENED, **told(wider), gained=gained[:_TOLD_POINTS], by=by)
                ground.outside.announce(
                    "control", "lease_widened", lease.name,
                    f"임대 {lease.name}에 반환됨: {', '.join(gained)}"[:TEXT_MAX],
                    f"given back to lease {lease.name}: {', '.join(gained)}"[:TEXT_MAX],
                )  # fmt: skip
                self.show(lease.name)
        self.cover()
        self.save()

    def end_all(self, by: str) -> None:
        """The gate was closed: no lease outlives it."""
        for lease in self.table.leases():
            self.table.release(lease.name, lease.lease_id)
            self._ground.desk.note(EntryKind.LEASE_RELEASED, **told(lease), by=by)
            self.show(lease.name)

    def step(self, now_mono_ns: int) -> None:
        """Leases and holds that have run out."""
        leases, holds = self.table.expire(now_mono_ns)
        for lease in leases:
            self._ground.desk.note(EntryKind.LEASE_EXPIRED, **told(lease))
            self.show(lease.name)
            ko, en = f"임대 {lease.name} 만료 ({lease.holder})", f"lease {lease.name} of {lease.holder} expired"
            self._ground.outside.announce("control", "lease_expired", lease.name, ko, en)
        if leases or holds or self._unsaved or not self.kept:
            self.save()

    # ------------------------------------------------------------ state

    def state(self) -> dict[str, Any]:
        """Everything that a restart must find."""
        return self.table.to_state(self._ground.boot)

    def listing(self) -> dict[str, Any]:
        """What everybody may know: without the ids that prove who holds a lease."""
        state = self.state()
        hidden = [{key: value for key, value in one.items() if key != "lease_id"} for one in state["leases"]]
        held = [
            {**one, "since_mono_ns": one["until_mono_ns"] - round(HOLD_S_DEFAULT * NS_PER_S)} for one in state["holds"]
        ]
        return {**state, "leases": hidden, "holds": held}

    def save(self) -> bool:
        """Keep it; what could not be kept is tried again with every step, and said."""
        ground = self._ground
        try:
            ground.outside.save(self.state())
        except OSError as error:
            if self.kept:
                why = (error.strerror or str(error))[:TEXT_MAX]
                ground.desk.note(EntryKind.LEASE_REFUSED, code=str(Code.STATE), reason=why)
                ground.outside.announce(
                    "system", "leases_not_kept", "core",
                    f"임대와 운전원 점유를 저장할 수 없습니다: {why}", f"leases and holds cannot be kept: {why}",
                )  # fmt: skip
            self.kept = False
        else:
            self.kept = True
            self._unsaved = False
        return self.kept

    def show(self, name: str) -> None:
        """Show a lease to people and its points to the drivers."""
        lease = self.table.get(name)
        self._ground.outside.lease_changed(name, 0 if lease is None else lease.until_mono_ns)
        self.cover()

    def cover(self) -> None:
        """Show the drivers what leases cover and what danger tags bar."""
        ground = self._ground
        shown = {point: one.until_mono_ns for one in self.table.leases() for point in one.points}
        if len(ground.safety):
            barred = [one for one in ground.operations.by_point if ground.safety.has(one, SafetyKind.DANGER)]
            shown |= dict.fromkeys(barred, BARRED)
        ground.outside.cover(shown)

    def _barred(self, points: Iterable[str], who: Principal) -> set[str]:
        """Points that a danger tag reaches, and points that the site keeps from programs."""
        ground = self._ground
        found = {one for one in points if ground.safety.has(one, SafetyKind.DANGER)}
        for point in points:
            operation = ground.operations.get(point)
            if operation is None or not operation.allows(who.role):
                found.add(point)
        return found

    def _tell_narrowed(self, taken: Narrowed, points: str, author: str, ko: str, en: str, **more: str) -> None:
        ended = taken.after is None
        kind = EntryKind.LEASE_RELEASED if ended else EntryKind.LEASE_NARROWED
        self._ground.desk.note(kind, **told(taken.before), point=points, by=author, **more)
        self.show(taken.before.name)
        name = taken.before.name
        self._ground.outside.announce(
            "control", "lease_ended" if ended else "lease_narrowed", name,
            f"{ko}(으)로 임대 {name} {'종료' if ended else '축소'}: {points}",
            f"lease {name} {taken.effect} {en}: {points}",
        )  # fmt: skip


def told(lease: Lease) -> dict[str, Any]:
    """A lease as the journal tells of it."""
    return {
        "name": lease.name,
        "lease_id": lease.lease_id,
        "holder": lease.holder,
        "points": list(lease.points[:_TOLD_POINTS]),
        "n_points": len(lease.points),
        "ttl_s": lease.ttl_s,
        "reason": lease.reason,
        "renewals": lease.renewals,
    }


def _granted(lease: Lease, withheld: tuple[str, ...]) -> Granted:
    return Granted(lease.name, lease.lease_id, lease.points, lease.until_mono_ns, withheld)
