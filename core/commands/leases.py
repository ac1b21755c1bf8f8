"""Leases: a program's bounded right to stream set-points, visible to every driver as one tag.

A controller asks for its points once, on the command path, journalled; then it only renews. While the lease is valid
its set-points are plain tags; when it is not renewed the drivers see the time in ``system.lease.<name>_until_s`` pass
and let the devices fall back. People stand above programs: a person's write takes its point out of the lease (*narrows*
it) and holds it back from any new lease until the hold ends or is given back; a lease without points ends.

This module holds no clock, no bus and no file except :func:`save` and :func:`load`; times are CLOCK_MONOTONIC ns.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from gwanje.core.clock import NS_PER_S

TTL_S_MAX = 30.0
"""A controller that died leaves its devices under its last set-points no longer than this."""
TTL_S_MIN = 0.5
"""Shorter leases would flicker on a busy machine."""
POINTS_MAX = 1_024
"""Points of one lease; the largest plant of the design has 1000 assets."""
HOLD_S_DEFAULT = 3_600.0
"""How long a person's write holds a point back from programs (the usual hour of a manual override)."""
HOLDS_MAX = 4_096
"""Held points; more would be a forger's work."""
STATE_BYTES_MAX = 1_048_576
"""A state file larger than this is not ours."""


class LeaseFault(StrEnum):
    """Why a lease was not given, renewed or released."""

    UNKNOWN_LEASE = "unknown_lease"
    NO_POINTS = "lease_without_points"
    TOO_MANY_POINTS = "lease_too_large"
    TTL = "lease_ttl_out_of_range"
    HELD_BY_OTHER = "leased_by_other"
    HELD_BY_OPERATOR = "held_by_operator"
    SAFETY_TAG = "safety_tag"
    NOT_HELD = "lease_not_held"


@dataclass(frozen=True, slots=True)
class Lease:
    """A valid or ended lease.

    Attributes:
        name: as in the tag ``system.lease.<name>_until_s``.
        lease_id: proof of the holder; a renewal must name it.
        holder: author that asked for it.
        points: tags it covers, sorted.
        ttl_s: how far each renewal reaches.
        reason: why the holder wants it.
        granted_mono_ns: when it was given.
        until_mono_ns: valid before this.
        renewals: how often it was renewed.
        asked: tags that its holder asked for; what people took or a safety tag bars is among them.
    """

    name: str
    lease_id: str
    holder: str
    points: tuple[str, ...]
    ttl_s: float
    reason: str
    granted_mono_ns: int
    until_mono_ns: int
    renewals: int = 0
    asked: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Hold:
    """A point that a person took, with which command: no lease gets it before ``until_mono_ns``."""

    point: str
    author: str
    until_mono_ns: int
    command_id: str = ""


@dataclass(frozen=True, slots=True)
class Given:
    """A lease was given: which, what a person withholds from it, and the lease of the same holder that it replaces."""

    lease: Lease
    withheld: tuple[str, ...]
    replaces: str


@dataclass(frozen=True, slots=True)
class Fault:
    """No: the code, and what it is about."""

    code: LeaseFault
    detail: str


@dataclass(frozen=True, slots=True)
class Narrowed:
    """What a person's operation or a safety tag did: ``after`` is ``None`` when the lease ended with its last point."""

    before: Lease
    after: Lease | None

    @property
    def effect(self) -> str:
        """``"narrowed"`` or ``"ended"``."""
        return "ended" if self.after is None else "narrowed"


def _plain(one: Lease | Hold) -> dict[str, Any]:
    """Members by name; all are plain, which makes it ten times quicker than ``asdict``: it is kept at every command."""
    return {name: getattr(one, name) for name in one.__slots__}


class LeaseTable:
    """All leases and holds of a city. Every method that may change something is told the time."""

    def __init__(self, names: Iterable[str]) -> None:
        """A table for the lease names that have a tag."""
        self.names = frozenset(names)
        self._leases: dict[str, Lease] = {}
        self._holds: dict[str, Hold] = {}

    def leases(self) -> tuple[Lease, ...]:
        """Those not yet expired, released or ended, in the order of their names."""
        return tuple(self._leases[name] for name in sorted(self._leases))

    def holds(self) -> tuple[Hold, ...]:
        """Points that people hold, in the order of their names."""
        return tuple(self._holds[point] for point in sorted(self._holds))

    def get(self, name: str) -> Lease | None:
        """The lease of a name."""
        return self._leases.get(name)

    def holder_of(self, point: str, now_mono_ns: int) -> Lease | None:
        """The valid lease that covers a point."""
        for lease in self._leases.values():
            if lease.until_mono_ns > now_mono_ns and point in lease.points:
                return lease
        return None

    def ask(
        self, name: str, holder: str, points: Sequence[str], ttl_s: float, reason: str, lease_id: str,
        now_mono_ns: int, barred: Collection[str] = (),
    ) -> Given | Fault:  # fmt: skip
        """What a request for a lease would get. Changes nothing: :meth:`put` does, after the journal has it.

        Args:
            name: of the lease.
            holder: who asks.
            points: wanted.
            ttl_s: how far each renewal shall reach.
            reason: why.
            lease_id: of the lease to come.
            now_mono_ns: now.
            barred: points that a safety tag keeps from programs.
        """
        wanted = tuple(sorted(set(points)))
        if name not in self.names:
            return Fault(LeaseFault.UNKNOWN_LEASE, name)
        if not TTL_S_MIN <= ttl_s <= TTL_S_MAX:
            return Fault(LeaseFault.TTL, f"{ttl_s:g} s, {TTL_S_MIN:g} to {TTL_S_MAX:g} s are given")
        if not wanted:
            return Fault(LeaseFault.NO_POINTS, name)
        if len(wanted) > POINTS_MAX:
            return Fault(LeaseFault.TOO_MANY_POINTS, f"{len(wanted)} points, at most {POINTS_MAX}")
        replaces = ""
        for other in self._leases.values():
            if other.until_mono_ns <= now_mono_ns:
                continue
            if other.name == name and other.holder == holder:
                replaces = other.lease_id  # a holder that was restarted takes its own lease up again
            elif other.name == name or set(other.points) & set(wanted):
                return Fault(LeaseFault.HELD_BY_OTHER, f"{other.name} of {other.holder}")
        withheld = tuple(point for point in wanted if point in barred or self._held(point, now_mono_ns))
        if len(withheld) == len(wanted):
            authors = sorted({self._holds[one].author for one in withheld if one not in barred})
            if not authors:
                return Fault(LeaseFault.SAFETY_TAG, withheld[0])
            return Fault(LeaseFault.HELD_BY_OPERATOR, ", ".join(authors))
        given = tuple(point for point in wanted if point not in withheld)
        until = now_mono_ns + round(ttl_s * NS_PER_S)
        lease = Lease(name, lease_id, holder, given, ttl_s, reason, now_mono_ns, until, asked=wanted)
        return Given(lease, withheld, replaces)

    def put(self, lease: Lease) -> None:
        """Take a lease in."""
        self._leases[lease.name] = lease

    def renew(self, name: str, lease_id: str, holder: str, now_mono_ns: int) -> Lease | Fault:
        """Prolong a lease by its own ttl from now; an expired lease must be asked for again."""
        lease = self._leases.get(name)
        mine = lease is not None and lease.lease_id == lease_id and lease.holder == holder
        if lease is None or not mine or lease.until_mono_ns <= now_mono_ns:
            return Fault(LeaseFault.NOT_HELD, name)
        until = now_mono_ns + round(lease.ttl_s * NS_PER_S)
        renewed = replace(lease, until_mono_ns=until, renewals=lease.renewals + 1)
        self._leases[name] = renewed
        return renewed

    def release(self, name: str, lease_id: str) -> Lease | Fault:
        """End a lease at its holder's wish."""
        lease = self._leases.get(name)
        if lease is None or lease.lease_id != lease_id:
            return Fault(LeaseFault.NOT_HELD, name)
        return self._leases.pop(name)

    def take(
        self, point: str, author: str, now_mono_ns: int, hold_s: float = HOLD_S_DEFAULT, command_id: str = ""
    ) -> Narrowed | None:
        """A person writes a point: it is held, whether a lease covers it now or one will be asked for in a moment.

        Returns:
            What became of the lease that covered it; ``None`` when none did.
        """
        lease = self.holder_of(point, now_mono_ns)
        self.set_hold(point, Hold(point, author, now_mono_ns + round(hold_s * NS_PER_S), command_id))
        return None if lease is None else self.narrow(lease.name, (point,))

    def hold_of(self, point: str) -> Hold | None:
        """Who holds a point."""
        return self._holds.get(point)

    def set_hold(self, point: str, hold: Hold | None) -> None:
        """Hold a point, or let it go; the caller looks at :attr:`has_room` first."""
        if hold is None:
            self._holds.pop(point, None)
        else:
            self._holds[point] = hold

    @property
    def has_room(self) -> bool:
        """Whether one more command may hold points."""
        return len(self._holds) < HOLDS_MAX

    def narrow(self, name: str, points: Collection[str]) -> Narrowed:
        """Take points out of a lease; it ends with its last one."""
        lease = self._leases[name]
        left = tuple(one for one in lease.points if one not in points)
        after = replace(lease, points=left) if left else None
        if after is None:
            del self._leases[name]
        else:
            self._leases[name] = after
        return Narrowed(lease, after)

    def widen(self, name: str, barred: Collection[str], now_mono_ns: int) -> Lease | None:
        """Give a valid lease those points back that it asked for and nobody holds now; ``None`` when there are none."""
        lease = self._leases[name]
        if lease.until_mono_ns <= now_mono_ns:
            return None
        free = [
            one for one in lease.asked
            if one not in lease.points and one not in barred and not self._held(one, now_mono_ns)
            and self.holder_of(one, now_mono_ns) is None
        ]  # fmt: skip
        if not free:
            return None
        wider = replace(lease, points=tuple(sorted((*lease.points, *free))))
        self._leases[name] = wider
        return wider

    def give_back(self, points: Sequence[str]) -> tuple[Hold, ...]:
        """People's points that programs may have again; the holds that ended."""
        return tuple(self._holds.pop(point) for point in sorted(set(points)) if point in self._holds)

    def expire(self, now_mono_ns: int) -> tuple[tuple[Lease, ...], tuple[Hold, ...]]:
        """Remove what has run out; returns it."""
        leases = tuple(one for one in self.leases() if one.until_mono_ns <= now_mono_ns)
        holds = tuple(one for one in self.holds() if one.until_mono_ns <= now_mono_ns)
        for lease in leases:
            del self._leases[lease.name]
        for hold in holds:
            del self._holds[hold.point]
        return leases, holds

    def _held(self, point: str, now_mono_ns: int) -> bool:
        hold = self._holds.get(point)
        return hold is not None and hold.until_mono_ns > now_mono_ns

    def to_state(self, boot: str) -> dict[str, Any]:
        """Everything as JSON can hold it; ``boot`` is the boot whose monotonic clock the times belong to."""
        return {
            "boot": boot,
            "leases": [_plain(one) for one in self.leases()],
            "holds": [_plain(one) for one in self.holds()],
        }

    def restore(self, state: Mapping[str, Any], boot: str, now_mono_ns: int) -> tuple[Lease, ...]:
        """Take up what an earlier process of this boot left and is still valid; returns the leases.

        Raises:
            ValueError: the state is not what :meth:`to_state` makes.
        """
        if state.get("boot") != boot:
            return ()
        try:
            leases = [
                Lease(**{**one, "points": tuple(one["points"]), "asked": tuple(one["asked"])})
                for one in state["leases"]
            ]
            holds = [Hold(**one) for one in state["holds"]]
            for lease in leases:
                reach_ns = round(min(lease.ttl_s, TTL_S_MAX) * NS_PER_S)
                if lease.name in self.names and now_mono_ns < lease.until_mono_ns <= now_mono_ns + reach_ns:
                    self._leases[lease.name] = lease
            for hold in holds[:HOLDS_MAX]:
                if hold.until_mono_ns > now_mono_ns:
                    self._holds[hold.point] = hold
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a lease state: {error!r}") from None
        return self.leases()
