"""Which value of which TALQ device feeds which tag: found out when a gateway lists its devices, then used."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gwanje.core.site.config import Device
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.table import TagTable
from gwanje.io.field.health import Health, State
from gwanje.io.field.orders import Order
from gwanje.io.field.street.columns import Columns
from gwanje.io.field.talq.messages import Entry, MessageError, Refusal
from gwanje.io.field.talq.settings import Place, read_place

LOST = "communicationFailure"
"""The gateway's word for a device that does not answer it."""


@dataclass(frozen=True, slots=True)
class Target:
    """A slot that an attribute feeds."""

    slot: int
    place: Place
    scale: float
    offset: float


@dataclass(slots=True, eq=False)
class Member:
    """A device behind a gateway, or the gateway itself.

    Attributes:
        device: its configuration.
        health: how it does.
        targets: what its points and commands read.
        slots: of all of them.
        keeps: slots whose tags tell of a lost link themselves.
        readback: slot of its command, -1 without.
        address: TALQ address; empty while the gateway has not listed it.
        actuator: id of the function that takes commands.
        lost: the gateway does not reach it.
        seen_mono_ns: when it was last heard of.
        truths: fault → whether it holds, as far as it was told.
        routes: what its values are told under, since it was last listed.
    """

    device: Device
    health: Health
    targets: tuple[Target, ...]
    slots: tuple[int, ...]
    keeps: tuple[int, ...]
    readback: int
    address: str = ""
    actuator: str = ""
    lost: bool = False
    seen_mono_ns: int = 0
    truths: dict[str, bool] = field(default_factory=dict)
    routes: list[str] = field(default_factory=list)


def make_member(device: Device, columns: Columns, tags: TagTable, base_quality: int) -> Member:
    """Slots for everything that a device's profile reads."""
    targets, readback = [], -1
    for point in device.points:
        place = read_place(point.at, tags.get(point.tag).unit, point.scale)
        targets.append(Target(columns.slot(point.tag, base_quality), place, point.scale, point.offset))
    for command in device.commands:
        slot = readback = columns.slot(command.tag, base_quality)
        if "attribute" in command.at:
            targets.append(Target(slot, read_place(command.at, "", 1.0), 1.0, 0.0))
    slots = tuple({one.slot for one in targets} | ({readback} if readback >= 0 else set()))
    keeps = tuple(one.slot for one in targets if one.place.faults)
    return Member(device, Health(), tuple(targets), slots, keeps, readback)


@dataclass(slots=True)
class Lamp:
    """The driver of one lamp: its gateway does the work."""

    member: Member
    take: Callable[[Order, int], str]
    index: int

    @property
    def device(self) -> Device:
        """Its configuration."""
        return self.member.device

    @property
    def health(self) -> Health:
        """How it does."""
        return self.member.health

    def command(self, order: Order) -> str:
        """Have it sent; why not, or an empty text."""
        return self.take(order, self.index)


class Points:
    """The members of one gateway and the routes to their slots.

    Args:
        members: of the gateway; the gateway itself comes last.
        columns: take the values.
        now: (UTC, monotonic) nanoseconds.
        reached: told when a member's link came back.
    """

    def __init__(
        self, members: Sequence[Member], columns: Columns, now: Callable[[], tuple[int, int]],
        reached: Callable[[Member], None],
    ) -> None:  # fmt: skip
        self.members = members
        self._columns = columns
        self._now = now
        self._reached = reached
        self._by_name = {one.device.address.lower(): one for one in members}
        self._routes: dict[str, tuple[Member, Mapping[str, tuple[Target, ...]]]] = {}
        self.refused = 0
        """Entries that could not be believed."""
        self.strange = 0
        """Entries of devices or attributes that nobody configured."""

    def forget(self) -> None:
        """Nothing is known of the gateway's devices any more."""
        self._routes.clear()
        for member in self.members:
            member.address = member.actuator = ""
            member.routes = []
            member.lost = False

    def listed(self, device: Mapping[str, Any]) -> Member | None:
        """The gateway lists a device: remember its address; whose it is, if anybody's."""
        address: str = device["address"]
        names = [address.lower(), str(device.get("name", "")).lower()]
        functions = [one for one in device.get("functions", ()) if isinstance(one, dict)]
        for function in functions:
            asset = function.get("assetId")
            if isinstance(asset, dict) and isinstance(asset.get("value"), str):
                names.insert(0, asset["value"].lower())
        member = next((self._by_name[one] for one in names if one in self._by_name), None)
        if member is None:
            return None
        for source in member.routes:  # a gateway that gives other addresses and ids each time must fill no memory
            self._routes.pop(source, None)
        member.address, member.routes = address, [address]
        whole: dict[str, tuple[Target, ...]] = {LOST: ()}
        for function in functions:
            kind = function.get("type")
            own: dict[str, tuple[Target, ...]] = {}
            for target in member.targets:
                if target.place.function == kind:
                    for name in target.place.names:
                        own[name] = (*own.get(name, ()), target)
            if kind == "LampActuatorFunction":
                member.actuator = str(function.get("id", ""))
            member.routes.append(f"{address}/{function.get('id', '')}")
            self._routes[member.routes[-1]] = (member, {LOST: (), **own})
            whole.update(own)
        self._routes[address] = (member, whole)
        return member

    def take(self, entry: Entry | Refusal) -> None:
        """One value of a report or a list of devices."""
        route = self._routes.get(entry.source)
        if route is None:
            self.strange += 1
            return
        member, names = route
        targets = names.get(entry.name)
        if targets is None:
            self.strange += isinstance(entry, Entry) and "/" not in entry.source
            return
        now_utc_ns, now_mono_ns = self._now()
        if isinstance(entry, Refusal):
            self._refuse(targets, now_utc_ns)
            return
        member.seen_mono_ns = now_mono_ns
        if entry.name == LOST:
            self._link(member, entry.value is True)
        elif not member.lost:
            for target in targets:
                self._feed(member, target, entry, now_utc_ns, now_mono_ns)

    def _refuse(self, targets: Sequence[Target], now_utc_ns: int) -> None:
        self.refused += 1
        self._columns.spoil([one.slot for one in targets], Quality.BAD | Quality.DEVICE_FAILURE, now_utc_ns)

    def _feed(self, member: Member, target: Target, entry: Entry, now_utc_ns: int, now_mono_ns: int) -> None:
        try:
            value = target.place.decode(entry.value)
        except MessageError:
            self._refuse((target,), now_utc_ns)
            return
        if target.place.faults:
            member.truths[entry.name] = value != 0.0
            value = next((1.0 + n for n, one in enumerate(target.place.names) if member.truths.get(one)), 0.0)
        else:
            value = value * target.scale + target.offset
        self._columns.take(target.slot, value, entry.utc_ns, now_utc_ns, now_mono_ns)

    def _link(self, member: Member, lost: bool) -> None:
        if lost == member.lost:
            return
        member.lost = lost
        now_utc_ns, now_mono_ns = self._now()
        if lost:
            member.health.state = State.DISCONNECTED
            self._columns.spoil(set(member.slots) - set(member.keeps), Quality.BAD | Quality.COMM, now_utc_ns)
            for target in member.targets:
                if target.place.faults:
                    self._columns.take(target.slot, 1.0 + len(target.place.names), 0, now_utc_ns, now_mono_ns)
        else:
            member.health.state = State.ONLINE
            member.truths.clear()
            self._reached(member)

    def spoil(self, members: Sequence[Member], reason: Quality) -> None:
        """Nothing that these members said counts any more."""
        now_utc_ns = self._now()[0]
        for member in members:
            self._columns.spoil(member.slots, reason, now_utc_ns)
