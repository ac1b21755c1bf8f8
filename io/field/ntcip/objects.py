"""Objects of NTCIP 1202 v03 that are read and written here, and the words by which profiles name them.

Names and numbers after NTCIP 1202 v03, "Object Definitions for Actuated Signal Controllers (ASC) Interface", a joint
standard of AASHTO, ITE and NEMA; Data Dictionary and MIB Distribution Permission.
"""

from __future__ import annotations

from dataclasses import dataclass

from gwanje.io.field.ntcip import ber

ASC = "1.3.6.1.4.1.1206.4.2.1"
SYS_DESCR = ber.oid("1.3.6.1.2.1.1.1.0")
GROUPS = (1, 2)
"""Groups of eight phases that are served: sixteen phases, as the matrix of conflicts has."""

UNIT_BACKUP_TIME = ber.oid(f"{ASC}.3.3.0")
UNIT_CONTROL_STATUS = ber.oid(f"{ASC}.3.5.0")
UNIT_FLASH_STATUS = ber.oid(f"{ASC}.3.6.0")
UNIT_ALARM_STATUS_2 = ber.oid(f"{ASC}.3.7.0")
UNIT_ALARM_STATUS_1 = ber.oid(f"{ASC}.3.8.0")
SHORT_ALARM_STATUS = ber.oid(f"{ASC}.3.9.0")
COORD_PATTERN_STATUS = ber.oid(f"{ASC}.4.10.0")
SYSTEM_PATTERN_CONTROL = ber.oid(f"{ASC}.4.14.0")

REDS, YELLOWS, GREENS, WALKS, CALLS = (
    tuple(ber.oid(f"{ASC}.1.4.1.{column}.{group}") for group in GROUPS) for column in (2, 3, 4, 7, 8)
)
"""phaseStatusGroup columns: (group 1, group 2)."""
CONTROL_HOLD, CONTROL_CALL = (
    tuple(ber.oid(f"{ASC}.1.5.1.{column}.{group}") for group in GROUPS) for column in (4, 6)
)
"""phaseControlGroup columns: a green is extended while its phase is held, a phase is called to come in its turn."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """A number of the controller.

    Attributes:
        oid: encoded.
        low: lowest value that the standard knows.
        high: highest.
    """

    oid: bytes
    low: int
    high: int


SCALARS = {
    "backup_time": Scalar(UNIT_BACKUP_TIME, 0, 65_535),
    "control_status": Scalar(UNIT_CONTROL_STATUS, 1, 8),
    "flash_status": Scalar(UNIT_FLASH_STATUS, 1, 8),
    "alarm1": Scalar(UNIT_ALARM_STATUS_1, 0, 255),
    "alarm2": Scalar(UNIT_ALARM_STATUS_2, 0, 255),
    "short_alarm": Scalar(SHORT_ALARM_STATUS, 0, 255),
    "pattern": Scalar(COORD_PATTERN_STATUS, 0, 255),
}
"""Words for single objects."""
MASKS = {"reds": REDS, "yellows": YELLOWS, "greens": GREENS, "walks": WALKS, "calls": CALLS}
"""Words for phases in groups of eight; phase 1 is bit 0."""
DERIVED = {
    "current_phase": ("greens", "yellows"),
    "conflict": ("greens", "yellows", "walks"),
    "mode": ("flash_status", "pattern"),
    "alarms": ("alarm1", "alarm2", "short_alarm"),
}
"""Words for what is made of others."""
WORDS = (*SCALARS, *MASKS, *DERIVED)

NOT_FLASHING = 2
PATTERN_FREE, PATTERN_FLASH = 254, 255
PATTERN_LAST = 253
"""Patterns above it mean free and flash: never requested from here."""
MODES = ("other", "free", "coordinated", "flash")
"""Values of the word ``mode``."""
SHORT_ALARMS = ("preempt", "terminal and facilities", "local zero", "local override", "coordination alarm",
                "detector fault", "non-critical alarm", "critical alarm")  # fmt: skip
"""Bits of shortAlarmStatus from bit 0."""
