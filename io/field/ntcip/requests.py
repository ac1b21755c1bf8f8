"""What may be asked of a controller, and what stands: a phase for an emergency vehicle, a pattern, a timer. No I/O.

A request names one phase (called, and held while it is green) or one pattern; the controller decides when, inside its
own rings, barriers and clearances. A write from which two greens in conflict could follow cannot be built here, and
:func:`guard` refuses it again below, in the object that owns the socket. A request is refreshed at half of the backup
time; the controller forgets it by itself when nobody does (NTCIP 1202 ``unitBackupTime``: a timer that every SET of a
control object restarts, and that reading does not).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gwanje.core.clock import NS_PER_S
from gwanje.core.site.config import Device, Setpoint
from gwanje.core.tags.table import TagTable
from gwanje.io.field.ntcip import ber, objects, snmp
from gwanje.io.field.ntcip.phases import Matrix

BACKUP_TIME_S = 60
"""Backup time where a site says nothing: two refreshes may be lost before half a cycle is over."""
BACKUP_LOW_S, BACKUP_HIGH_S = 10, 3_600
"""Shorter ones end by one lost answer, longer ones hold a phase long after we are gone; 0 would switch it off."""
RETRY_S = 2.0
"""After a refused refresh or end, it is tried again this much later."""
KINDS = ("priority", "pattern")


def priority(phase: int, matrix: Matrix) -> tuple[snmp.Varbind, ...]:
    """The write that asks for one phase and takes back every other; 0 takes back all.

    Raises:
        ValueError: the intersection has no such phase.
    """
    if phase and (not 1 <= phase <= 16 or not matrix.phases >> phase - 1 & 1):
        raise ValueError(f"the intersection has no phase {phase}")
    mask = 1 << phase - 1 if phase else 0
    return tuple(
        snmp.Varbind(column[group], ber.INTEGER, mask >> 8 * group & 0xFF)
        for group in range(matrix.groups())
        for column in (objects.CONTROL_HOLD, objects.CONTROL_CALL)
    )


def pattern(number: int) -> tuple[snmp.Varbind, ...]:
    """The write that asks for a pattern; 0 gives the choice back to the controller.

    Raises:
        ValueError: no pattern; free and flash are none.
    """
    if not 0 <= number <= objects.PATTERN_LAST:
        raise ValueError(f"{number} is not a pattern from 1 to {objects.PATTERN_LAST}")
    return (snmp.Varbind(objects.SYSTEM_PATTERN_CONTROL, ber.INTEGER, number),)


def backup_time(seconds: int) -> tuple[snmp.Varbind, ...]:
    """The write that arms the controller's own fail-safe.

    Raises:
        ValueError: too short, too long, or off.
    """
    if not BACKUP_LOW_S <= seconds <= BACKUP_HIGH_S:
        raise ValueError(f"a backup time of {seconds} s is not within {BACKUP_LOW_S} … {BACKUP_HIGH_S}")
    return (snmp.Varbind(objects.UNIT_BACKUP_TIME, ber.INTEGER, seconds),)


def guard(varbinds: Sequence[snmp.Varbind]) -> str:
    """Why a write must not leave, whoever built it; an empty text for the three kinds above."""
    asked = 0
    for one in varbinds:
        value = one.number
        if value is None or one.tag != ber.INTEGER:
            return "only numbers are written to a signal controller"
        columns = [column for column in (objects.CONTROL_HOLD, objects.CONTROL_CALL) if one.oid in column]
        if columns:
            if not 0 <= value <= 255:
                return f"{value} is no mask of eight phases"
            asked |= value << 8 * columns[0].index(one.oid)
        elif one.oid == objects.SYSTEM_PATTERN_CONTROL:
            if not 0 <= value <= objects.PATTERN_LAST:
                return f"{value} is not a pattern"
        elif one.oid == objects.UNIT_BACKUP_TIME:
            if not BACKUP_LOW_S <= value <= BACKUP_HIGH_S:
                return f"a backup time of {value} s"
        else:
            return f"object {ber.oid_text(one.oid)} is never written"
    if asked & asked - 1:
        return "more than one phase is asked for"
    return "" if varbinds else "nothing to write"


def forbidden(varbinds: Sequence[snmp.Varbind]) -> str:
    """The guard of an intersection that is only watched."""
    del varbinds
    return "this intersection is only watched (allow_priority is not set)"


@dataclass(slots=True)
class Standing:
    """One commanded point and what stands of it.

    Attributes:
        config: of the point.
        tag_id: of its tag.
        kind: of :data:`KINDS`.
        value: asked for; meaningless unless ``active``.
        active: whether something stands in the controller, as far as we know.
        until_mono_ns: when it ends.
        next_mono_ns: when it is refreshed.
    """

    config: Setpoint
    tag_id: int
    kind: str
    value: int = 0
    active: bool = False
    until_mono_ns: int = 0
    next_mono_ns: int = 0

    def write(self, value: float, matrix: Matrix) -> tuple[snmp.Varbind, ...]:
        """The write for a value.

        Raises:
            ValueError: it is no phase or pattern.
        """
        if not math.isfinite(value) or value != round(value):
            raise ValueError(f"{value:g} is not a whole number")
        return priority(round(value), matrix) if self.kind == "priority" else pattern(round(value))

    def begin(self, value: int, now_mono_ns: int, backup_s: int) -> None:
        """It was written and read back: it stands from now on, unless it is the value that ends it."""
        self.value, self.active = value, value != round(self.config.failsafe) and self.config.hold_s > 0.0
        self.until_mono_ns = now_mono_ns + round(self.config.hold_s * NS_PER_S)
        self.refreshed(now_mono_ns, backup_s)

    def take_up(self, value: int, until_mono_ns: int) -> None:
        """What a process before left standing goes on: written as soon as the controller answers."""
        self.value, self.active, self.until_mono_ns, self.next_mono_ns = value, True, until_mono_ns, 0

    def refreshed(self, now_mono_ns: int, backup_s: int) -> None:
        """It was written again."""
        self.next_mono_ns = now_mono_ns + backup_s * NS_PER_S // 2

    def retry(self, now_mono_ns: int) -> None:
        """The write was refused."""
        self.next_mono_ns = now_mono_ns + round(RETRY_S * NS_PER_S)

    def due(self, now_mono_ns: int) -> bool:
        """Whether it must be refreshed or ended now."""
        return self.active and (now_mono_ns >= self.next_mono_ns or now_mono_ns >= self.until_mono_ns)

    def over(self, now_mono_ns: int) -> bool:
        """Whether its time is over."""
        return now_mono_ns >= self.until_mono_ns


def read_back(varbinds: Sequence[snmp.Varbind], kind: str) -> int | None:
    """What stands in the controller: the phase or the pattern of what it reads; None when it cannot be told.

    More than one phase, or a phase that is called and not held, is what nobody asked for: None.
    """
    numbers = {one.oid: one.number for one in varbinds}
    if any(one is None for one in numbers.values()):
        return None
    if kind == "pattern":
        return numbers.get(objects.SYSTEM_PATTERN_CONTROL)
    masks = [
        sum((numbers.get(oid) or 0) << 8 * group for group, oid in enumerate(column))
        for column in (objects.CONTROL_HOLD, objects.CONTROL_CALL)
    ]
    if masks[0] != masks[1] or masks[0] & masks[0] - 1:
        return None
    return masks[0].bit_length()


def standings(device: Device, tags: TagTable) -> Iterator[Standing]:
    """One for each commanded point of a device."""
    for one in device.commands:
        yield Standing(one, tags.index(one.tag), str(one.at["write"]))
