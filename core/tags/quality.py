"""Quality of a sample: a severity and the reasons for it, in sixteen bits.

The severity sits in the two top bits as in OPC UA (good, uncertain, bad); the low bits name reasons with the words of
IEC 61850-7-3. ``SIMULATED`` and ``TIME`` are reasons without severity: the value is sound, but no real device stands
behind it, or the clock that stamped its source time was known to be wrong.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntFlag

SEVERITY_MASK = 0xC000


class Quality(IntFlag):
    """Severity (``GOOD``, ``UNCERTAIN``, ``BAD``) combined with reasons."""

    GOOD = 0
    UNCERTAIN = 0x4000
    BAD = 0x8000

    STALE = 1
    OUT_OF_RANGE = 2
    DEVICE_FAILURE = 4
    COMM = 8
    NOT_IMPLEMENTED = 16
    SUBSTITUTED = 32
    TEST = 64
    BLOCKED = 128
    CLAMPED = 256
    CONFIG = 512
    NEVER = 1024
    SIMULATED = 2048
    TIME = 4096


def is_good(quality: int) -> bool:
    """Neither uncertain nor bad; a simulated value may be good."""
    return quality & SEVERITY_MASK == 0


def worst(qualities: Iterable[int]) -> int:
    """The quality of what is computed from samples: the worst severity with all their reasons."""
    bits = 0
    for one in qualities:
        bits |= int(one)
    return bits & ~int(Quality.UNCERTAIN) if bits & Quality.BAD else bits


def is_bad(quality: int) -> bool:
    """Must not be used by any controller."""
    return bool(quality & Quality.BAD)


def describe(quality: int) -> str:
    """Words for a quality, such as ``"BAD COMM"`` or ``"GOOD (simulated)"``."""
    severity = "BAD" if quality & Quality.BAD else "UNCERTAIN" if quality & Quality.UNCERTAIN else "GOOD"
    reasons = [
        flag.name or ""
        for flag in Quality
        if flag not in (Quality.GOOD, Quality.UNCERTAIN, Quality.BAD, Quality.SIMULATED) and quality & flag
    ]
    words = " ".join([severity, *reasons])
    return f"{words} (simulated)" if quality & Quality.SIMULATED else words
