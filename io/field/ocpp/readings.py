"""What a charger's meter says: sampled values of both protocols to SI numbers with a quality. No I/O.

A number that is not one (``"1,5"``, an empty text, NaN) or that comes in a unit of another quantity has no value:
it is BAD, never nought.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gwanje.core.tags.quality import Quality

NUMBER_MAX = 1e30
"""JSON has whole numbers of any length; one beyond this is nothing that a charger measures or keeps."""
NUMBER = re.compile(r"[+-]?\d{1,18}(\.\d{1,12})?([eE][+-]?\d{1,2})?", re.ASCII)
"""What OCPP 1.6 means by a number in a text."""

UNITS: dict[str, dict[str, float]] = {
    "Energy": {"Wh": 1.0, "kWh": 1000.0},
    "Power": {"W": 1.0, "kW": 1000.0},
    "Current": {"A": 1.0},
    "Voltage": {"V": 1.0},
    "SoC": {"Percent": 1.0},
    "Frequency": {"Hertz": 1.0, "Hz": 1.0},
    "Temperature": {"Celsius": 1.0, "Celcius": 1.0},
}
"""First word of a measurand → units it may come in; the first is meant where none is said."""
TOTALS = ("Energy", "Power")
"""Quantities whose phases add up. Of currents the largest counts, of voltages the mean."""
DEFAULT_MEASURAND = "Energy.Active.Import.Register"
NOT_A_NUMBER = Quality.BAD | Quality.DEVICE_FAILURE
WRONG_UNIT = Quality.BAD | Quality.CONFIG


@dataclass(frozen=True, slots=True)
class Reading:
    """One quantity at one moment.

    Attributes:
        value: in W, Wh, A, V, percent, Hz or °C; NaN when it cannot be read.
        quality: reasons found in the number itself.
    """

    value: float
    quality: int = 0


def read_sampled(sampled: Iterable[Mapping[str, Any]]) -> dict[str, Reading]:
    """Readings by measurand; phases are put together where there is no total.

    Args:
        sampled: ``sampledValue`` of either protocol, its schema checked.
    """
    totals: dict[str, Reading] = {}
    phases: dict[str, dict[str, Reading]] = {}
    for one in sampled:
        measurand = str(one.get("measurand", DEFAULT_MEASURAND))
        family = measurand.partition(".")[0]
        if family not in UNITS or one.get("format") == "SignedData":
            continue
        if one.get("location", "Outlet") not in ("Outlet", "Body", "Cable") and family != "SoC":
            continue  # before the charger's own losses
        reading = _reading(family, one)
        phase = one.get("phase")
        if phase is None:
            totals[measurand] = reading
        elif phase in ("L1", "L2", "L3", "L1-N", "L2-N", "L3-N"):
            phases.setdefault(measurand, {})[phase] = reading
    for measurand, by_phase in phases.items():
        if measurand not in totals:
            totals[measurand] = _together(measurand.partition(".")[0], list(by_phase.values()))
    return totals


def _together(family: str, readings: list[Reading]) -> Reading:
    for one in readings:
        if one.quality:
            return one
    values = [one.value for one in readings]
    if family in TOTALS:
        return Reading(math.fsum(values))
    return Reading(max(values) if family == "Current" else math.fsum(values) / len(values))


def _reading(family: str, one: Mapping[str, Any]) -> Reading:
    units = UNITS[family]
    about = one.get("unitOfMeasure", {})
    unit = one.get("unit", about.get("unit"))
    if unit is None or ("unit" not in one and "unit" not in about):
        unit = next(iter(units))
    value = number(one.get("value"))
    if math.isnan(value):
        return Reading(math.nan, int(NOT_A_NUMBER))
    if unit not in units:
        return Reading(math.nan, int(WRONG_UNIT))
    multiplier = about.get("multiplier", 0)
    if not -6 <= multiplier <= 6:
        return Reading(math.nan, int(WRONG_UNIT))
    return Reading(value * units[unit] * 10.0**multiplier)


def number(said: Any) -> float:
    """A number of either protocol; NaN for what is none."""
    if isinstance(said, str):
        return float(said) if NUMBER.fullmatch(said) else math.nan
    if isinstance(said, bool) or not isinstance(said, int | float) or not abs(said) <= NUMBER_MAX:
        return math.nan
    return float(said)


ROLLOVERS_WH = tuple(10.0**digits for digits in (7, 8, 9, 10))
"""Where registers of meters begin anew: 10 000 to 10 000 000 kWh."""
JITTER_WH = 10.0
"""A register may come back this much lower: a charger that restarts has lost the last seconds."""


@dataclass(frozen=True, slots=True)
class CounterStep:
    """What a new register value means.

    Attributes:
        total_wh: since the first value; goes on over a rollover and over another meter.
        quality: UNCERTAIN for the value in which the meter began anew.
        note: ``rollover``, ``replaced`` or empty.
    """

    total_wh: float
    quality: int = 0
    note: str = ""


class EnergyCounter:
    """Energy that never runs backwards, from a register that may: meters roll over, are replaced, come back lower."""

    def __init__(self) -> None:
        self._last = math.nan
        self._offset = 0.0

    def at(self, register_wh: float) -> float:
        """The total at a register value of the past, Wh."""
        return self._offset + register_wh

    def step(self, register_wh: float) -> CounterStep:
        """The next register value, a finite number."""
        last, self._last = self._last, register_wh
        if math.isnan(last) or register_wh >= last:
            return CounterStep(self._offset + register_wh)
        if last - register_wh <= JITTER_WH:
            self._last = last
            return CounterStep(self._offset + last)
        for modulus in ROLLOVERS_WH:
            if 0.99 * modulus <= last < modulus and register_wh < 0.01 * modulus:
                self._offset += modulus
                return CounterStep(self._offset + register_wh, int(Quality.UNCERTAIN), "rollover")
        self._offset += last - register_wh
        return CounterStep(self._offset + register_wh, int(Quality.UNCERTAIN), "replaced")
