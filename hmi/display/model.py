"""A checked display: what the views are built from."""

from __future__ import annotations

from dataclasses import dataclass

from gwanje.core.tags.expression import Expression

SYMBOLS = ("pv", "pv_floating", "wind", "generator", "ess", "home", "factory", "heat_pump", "ev", "lamp", "load")
"""Symbols that the single-line diagram can draw."""
CURVES = ("load", "renewable", "tie", "storage")
"""Roles of the curves of the power balance; a role fixes how a curve looks."""


@dataclass(frozen=True, slots=True)
class Label:
    """Text in both languages."""

    ko: str
    en: str

    def of(self, lang: str) -> str:
        """The text in ``ko`` or ``en``."""
        return self.ko if lang == "ko" else self.en


@dataclass(frozen=True, slots=True)
class Quantity:
    """A computed value as it is shown.

    Attributes:
        expression: of tags.
        unit: shown, such as ``kW``.
        factor: from the expression's unit to the shown one.
        decimals: digits after the point.
        states: (Korean, English) word for each whole number of a state; empty for a number.
    """

    expression: Expression
    unit: str
    factor: float
    decimals: int
    states: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Indicator:
    """A moving analog.

    Attributes:
        low: left end of the bar, in the shown unit.
        high: right end.
        normal: band in which nothing is to be done; the whole bar where there is no such band.
        limits: outside of which an alarm stands; drawn dark.
        setpoint: what is asked for, in the unit of the value.
        spark_span: least height of the small trend, in the shown unit: smaller movements stay small.
    """

    label: Label
    value: Quantity
    low: float
    high: float
    normal: tuple[float, float]
    limits: tuple[float, float]
    setpoint: Quantity | None
    spark_span: float


@dataclass(frozen=True, slots=True)
class GridConnection:
    """The head of the single-line diagram: utility, breaker, transformer, tie-line.

    Attributes:
        tie_point: tag at which the tie-line is operated; empty where it is not.
        breaker_point: tag at which the breaker is operated; empty where it is not.
    """

    label: Label
    transformer: Label
    tie: Quantity
    setpoint: Quantity | None
    breaker: Quantity
    loading: Quantity | None
    mode: Quantity | None
    values: tuple[Quantity, ...]
    tie_point: str = ""
    breaker_point: str = ""


@dataclass(frozen=True, slots=True)
class Element:
    """One feeder of the single-line diagram.

    Attributes:
        bus: name of the bus bar it hangs on.
        symbol: one of :data:`SYMBOLS`.
        value: power.
        into_bus: positive values flow into the bus bar.
        online: 1 while the device answers.
        soc: fill of a storage, shown in percent.
        setpoint: asked of the device.
        state: the device's own word for what it does; shown while it is not ``state_normal``.
        point: tag at which it is operated; empty where it is not.
    """

    bus: str
    symbol: str
    label: Label
    value: Quantity
    into_bus: bool
    online: Quantity | None
    soc: Quantity | None
    setpoint: Quantity | None
    state: Quantity | None
    state_normal: int
    point: str = ""


@dataclass(frozen=True, slots=True)
class Curve:
    """One curve of the power balance."""

    role: str
    label: Label
    value: Quantity


@dataclass(frozen=True, slots=True)
class HealthRow:
    """One line of the system's own health.

    Attributes:
        normal: band outside of which the value is drawn as abnormal; infinite where there is none.
    """

    label: Label
    value: Quantity
    normal: tuple[float, float]


@dataclass(frozen=True, slots=True)
class HealthGroup:
    """Lines under one heading."""

    label: Label
    rows: tuple[HealthRow, ...]


@dataclass(frozen=True, slots=True)
class Display:
    """A whole display.

    Attributes:
        local_s: the simulated city's time of day in seconds, where there is one.
    """

    name: str
    title: Label
    local_s: Quantity | None
    indicators: tuple[Indicator, ...]
    grid: GridConnection
    buses: tuple[tuple[str, Label], ...]
    elements: tuple[Element, ...]
    curves: tuple[Curve, ...]
    health: tuple[HealthGroup, ...]
