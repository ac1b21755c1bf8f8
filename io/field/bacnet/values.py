"""What a BACnet property means for a tag: value and quality. No I/O, no library.

Quality comes from the device's own words: status flags (in-alarm, fault, overridden, out-of-service), reliability and
the error of a property that could not be read. A value that nobody vouches for is never good.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from gwanje.core.tags.quality import Quality

OBJECT_TYPES = (
    "analog-input", "analog-output", "analog-value", "binary-input", "binary-output", "binary-value",
    "multi-state-input", "multi-state-output", "multi-state-value", "accumulator",
)  # fmt: skip
"""Types whose present value is one number."""
WRITABLE_TYPES = (
    "analog-output", "analog-value", "binary-output", "binary-value", "multi-state-output", "multi-state-value",
)  # fmt: skip
"""Types that have a priority array."""
INSTANCE_MAX = 4_194_302
PRIORITY_MANUAL = 8
"""Manual operator (135-2016, 19.2): above automatic control (9…16), below safety (1…7)."""

ERROR_UNKNOWN = ("unknown-object", "unknown-property", "no-objects-of-specified-type", "invalid-array-index")
"""Codes of errors that say the profile and the device do not agree."""
OVER_RANGE, UNDER_RANGE = 2, 3
"""Reliability: the sensor is beyond its own range."""


@dataclass(frozen=True, slots=True, order=True)
class ObjectId:
    """An object of a device.

    Attributes:
        kind: of :data:`OBJECT_TYPES`, or ``device``.
        instance: 0…4194302.
    """

    kind: str
    instance: int

    def __str__(self) -> str:
        return f"{self.kind},{self.instance}"


@dataclass(frozen=True, slots=True)
class Flags:
    """Status flags."""

    in_alarm: bool = False
    fault: bool = False
    overridden: bool = False
    out_of_service: bool = False


@dataclass(frozen=True, slots=True)
class PropertyError:
    """A property that the device did not give: class and code of its error, as the standard writes them."""

    error_class: str
    code: str

    @property
    def is_config(self) -> bool:
        """Whether the profile asks for what is not there."""
        return self.code in ERROR_UNKNOWN


Content = float | Flags | str | None | PropertyError
"""A property: number, status flags, text, null, or why there is none."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one object says of itself.

    Attributes:
        value: present value.
        flags: ``None`` where it has none, as some simple objects.
        reliability: number of the reliability, ``None`` where it was not asked for or is not there.
    """

    value: Content
    flags: Content = None
    reliability: Content = None


def judge(reading: Reading, low: float, high: float, scale: float, offset: float) -> tuple[float, Quality]:
    """A tag's value and quality.

    Args:
        reading: of the object.
        low: least value that the tag may have.
        high: most.
        scale: tag value = present value * scale + offset.
        offset: see ``scale``.

    Returns:
        NaN where there is no number.
    """
    value = reading.value
    if isinstance(value, PropertyError):
        reason = Quality.CONFIG if value.is_config else Quality.DEVICE_FAILURE
        return math.nan, Quality.BAD | reason
    if value is None:
        return math.nan, Quality.BAD | Quality.NOT_IMPLEMENTED
    if not isinstance(value, float):
        return math.nan, Quality.BAD | Quality.CONFIG
    if not math.isfinite(value):
        return math.nan, Quality.BAD | Quality.DEVICE_FAILURE
    number = value * scale + offset
    quality = Quality.GOOD
    if not low <= number <= high:
        quality = Quality.UNCERTAIN | Quality.OUT_OF_RANGE
    return number, _worse(quality, _stated(reading))


def _stated(reading: Reading) -> Quality:
    """What the device itself says of its value."""
    flags, reliability = reading.flags, reading.reliability
    if isinstance(reliability, float) and reliability != 0.0:
        reason = Quality.OUT_OF_RANGE if reliability in (OVER_RANGE, UNDER_RANGE) else Quality.DEVICE_FAILURE
        return Quality.BAD | reason
    if isinstance(flags, PropertyError) and not flags.is_config:
        return Quality.UNCERTAIN | Quality.DEVICE_FAILURE
    if not isinstance(flags, Flags):
        return Quality.GOOD
    if flags.fault:
        return Quality.BAD | Quality.DEVICE_FAILURE
    if flags.out_of_service or flags.overridden:
        return Quality.UNCERTAIN | Quality.SUBSTITUTED  # the number no longer follows what it measures
    return Quality.GOOD


def _worse(one: Quality, other: Quality) -> Quality:
    """Both reasons, the worse severity."""
    both = one | other
    return both & ~Quality.UNCERTAIN if both & Quality.BAD else both
