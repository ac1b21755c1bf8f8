"""Reads a display file and reports everything that is wrong with it: file, line, key, reason."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from gwanje.core.site.toml_reader import ConfigErrors, Document, KeyPath, Reader
from gwanje.core.tags.expression import Constants, Expression, ExpressionError, compile_expression
from gwanje.core.tags.table import TagTable
from gwanje.hmi.display.model import (
    CURVES,
    SYMBOLS,
    Curve,
    Display,
    Element,
    GridConnection,
    HealthGroup,
    HealthRow,
    Indicator,
    Label,
    Quantity,
)

if TYPE_CHECKING:
    from gwanje.core.site.config import Site

CONVERSIONS = {
    ("W", "kW"): 1e-3, ("W", "MW"): 1e-6, ("Wh", "kWh"): 1e-3, ("Wh", "MWh"): 1e-6, ("var", "kvar"): 1e-3,
    ("V", "kV"): 1e-3, ("", "%"): 100.0, ("us", "ms"): 1e-3, ("s", "ms"): 1e3, ("B", "MB"): 1e-6,
}  # fmt: skip
"""(unit of the tag, shown unit) → factor. Everything else is shown in its own unit."""

WRITABLE_KINDS = ("setpoint", "parameter")
"""Kinds of tags that the core lets people command."""
MAX_INDICATORS = 14
"""More rows than this cannot be read on a screen of 768 lines."""
MAX_ELEMENTS_PER_BUS = 8
"""More symbols than this do not fit beside each other on a screen of 1366 columns."""
MAX_HEALTH_ROWS = 14

_Built = TypeVar("_Built")
_NOTHING = Expression("", (), "", lambda _values: math.nan)


class DisplayErrors(ConfigErrors):
    """Everything that is wrong with a display file."""


def load_display(path: Path, tags: TagTable, site: Site | None = None) -> Display:
    """Read and check a display.

    Args:
        path: the TOML file.
        tags: the site's tags; every name used must be one of them.
        site: gives the constants of expressions, and the name of its folder for error messages.

    Raises:
        DisplayErrors: with every problem found.
    """
    shown = f"{site.root.name}/displays/{path.name}" if site is not None else path.name
    document = Document.load(path, shown)
    if document.problems:
        raise DisplayErrors(document.problems)
    display = _Loader(tags, _constants(site)).display(document.root(), path.stem)
    if document.problems:
        raise DisplayErrors(document.problems)
    return display


class _Loader:
    def __init__(self, tags: TagTable, constants: Constants) -> None:
        self._tags = tags
        self._constants = constants

    def display(self, root: Reader, name: str) -> Display:
        root.integer("format", low=1, high=1)
        grid = self._table(root, "grid", self._grid)
        buses = self._list(root, "bus", self._bus)
        names = tuple(bus for bus, _ in buses)
        display = Display(
            name=name,
            title=_label(root, "title"),
            local_s=self._optional(root, "local_s", "s"),
            indicators=self._list(root, "indicator", self._indicator),
            grid=grid,
            buses=buses,
            elements=self._list(root, "element", lambda one: self._element(one, names)),
            curves=self._list(root, "curve", self._curve),
            health=self._list(root, "health", self._health),
        )
        root.finish()
        self._check_counts(root, display)
        return display

    def _check_counts(self, root: Reader, display: Display) -> None:
        if len(display.indicators) > MAX_INDICATORS:
            root.problem("indicator", f"{len(display.indicators)} indicators, at most {MAX_INDICATORS} can be read")
        if len(display.buses) > 2:
            root.problem("bus", f"{len(display.buses)} bus bars, at most 2 can be drawn")
        for bus, _ in display.buses:
            n = sum(one.bus == bus for one in display.elements)
            if n > MAX_ELEMENTS_PER_BUS:
                root.problem("element", f"{n} elements on bus {bus!r}, at most {MAX_ELEMENTS_PER_BUS} fit")
        n_rows = sum(len(group.rows) for group in display.health)
        if n_rows > MAX_HEALTH_ROWS:
            root.problem("health", f"{n_rows} rows, at most {MAX_HEALTH_ROWS} fit")

    @staticmethod
    def _list(root: Reader, key: str, build: Callable[[Reader], _Built]) -> tuple[_Built, ...]:
        built = []
        for one in root.readers(key, required=True):
            built.append(build(one))
            one.finish()
        return tuple(built)

    @staticmethod
    def _table(root: Reader, key: str, build: Callable[[Reader], _Built]) -> _Built:
        reader = root.reader(key, required=True)
        if reader is None:
            reader = Reader(Document("", {}, {(): 1}), (key,), {})  # its complaints would only repeat "is missing"
        built = build(reader)
        reader.finish()
        return built

    def _quantity(self, reader: Reader, key: str, unit: str, decimals: int) -> Quantity:
        text = reader.text(key)
        if not text:
            return Quantity(_NOTHING, unit, 1.0, decimals)
        try:
            expression = compile_expression(text, self._tags, self._constants)
        except ExpressionError as error:
            reader.problem(key, str(error))
            return Quantity(_NOTHING, unit, 1.0, decimals)
        factor = 1.0
        if unit != expression.unit:
            factor = CONVERSIONS.get((expression.unit, unit), 0.0)
            if not factor:
                reader.problem(key, f"wrong unit: {expression.unit!r} cannot be shown in {unit!r}")
        single = self._tags.get(expression.tags[0]) if expression.text.strip() in expression.tags else None
        return Quantity(expression, unit, factor, decimals, single.states if single else ())

    def _optional(self, reader: Reader, key: str, unit: str, decimals: int = 0) -> Quantity | None:
        return self._quantity(reader, key, unit, decimals) if reader.has(key) else None

    def _value(self, reader: Reader) -> Quantity:
        return self._quantity(reader, "value", reader.text("unit", ""), reader.integer("decimals", 0, 0, 6))

    def _indicator(self, reader: Reader) -> Indicator:
        value = self._value(reader)
        low, high = reader.number("low"), reader.number("high")
        if not low < high:
            reader.problem("low", f"low {low:g} is not below high {high:g}")
        normal = _band(reader, "normal", low, high, required=False)
        return Indicator(
            label=_label(reader),
            value=value,
            low=low,
            high=high,
            normal=normal,
            limits=_band(reader, "limits", low, high, required=False),
            setpoint=self._optional(reader, "setpoint", value.unit, value.decimals),
            spark_span=reader.number("spark_span", (high - low) / 10, 0.0),
        )

    def _grid(self, reader: Reader) -> GridConnection:
        values = []
        for one in reader.readers("reading"):
            values.append(self._value(one))
            one.finish()
        setpoint = self._optional(reader, "setpoint", "kW")
        return GridConnection(
            label=_label(reader),
            transformer=_label(reader, "transformer"),
            tie=self._quantity(reader, "tie", "kW", 0),
            setpoint=setpoint,
            breaker=self._quantity(reader, "breaker", "", 0),
            loading=self._optional(reader, "loading", "%"),
            mode=self._optional(reader, "mode", ""),
            values=tuple(values),
            tie_point=self._point(reader, "tie_point", setpoint),
            breaker_point=self._point(reader, "breaker_point", None),
        )

    def _point(self, reader: Reader, key: str, setpoint: Quantity | None) -> str:
        """The tag that is operated: the one named, else the set-point when it is a single tag that can be written."""
        if reader.has(key):
            name = reader.text(key)
            if name not in self._tags:
                reader.problem(key, f"unknown tag {name!r}")
            elif self._tags.get(name).kind not in WRITABLE_KINDS:
                reader.problem(key, f"tag {name!r} cannot be commanded: its kind is {self._tags.get(name).kind!r}")
            return name
        if setpoint is None or setpoint.expression.text.strip() not in self._tags:
            return ""
        name = setpoint.expression.text.strip()
        return name if self._tags.get(name).kind in WRITABLE_KINDS else ""

    def _bus(self, reader: Reader) -> tuple[str, Label]:
        return reader.text("name"), _label(reader)

    def _element(self, reader: Reader, buses: tuple[str, ...]) -> Element:
        symbol = reader.text("symbol", choices=SYMBOLS)
        if symbol == "ess" and not reader.has("soc"):
            reader.problem("soc", "is missing: a storage shows its state of charge")
        value = self._value(reader)
        setpoint = self._optional(reader, "setpoint", value.unit)
        return Element(
            bus=reader.text("bus", choices=buses),
            symbol=symbol,
            label=_label(reader),
            value=value,
            into_bus=reader.text("positive", choices=("into_bus", "out_of_bus")) == "into_bus",
            online=self._optional(reader, "online", ""),
            soc=self._optional(reader, "soc", "%"),
            setpoint=setpoint,
            state=self._optional(reader, "state", ""),
            state_normal=reader.integer("state_normal", 0, 0, 1_000),
            point=self._point(reader, "point", setpoint),
        )

    def _curve(self, reader: Reader) -> Curve:
        return Curve(reader.text("role", choices=CURVES), _label(reader), self._value(reader))

    def _health(self, reader: Reader) -> HealthGroup:
        rows = []
        for one in reader.readers("row", required=True):
            normal = _band(one, "normal", -math.inf, math.inf, required=False)
            rows.append(HealthRow(_label(one), self._value(one), normal))
            one.finish()
        return HealthGroup(_label(reader), tuple(rows))


def _constants(site: Site | None) -> Constants:
    if site is None:
        return {}
    return {
        "site.rating_w": (site.rating_w, "W"),
        "site.nominal_hz": (site.nominal_hz, "Hz"),
        "site.nominal_v": (site.nominal_v, "V"),
    }


def problems(site: Site) -> list[tuple[str, KeyPath, str]]:
    """Every problem of every display of a site, for ``gwanje check``: (file in the site's folder, key path, reason)."""
    found: list[tuple[str, KeyPath, str]] = []
    for path in sorted((site.root / "displays").glob("*.toml")):
        name = f"displays/{path.name}"
        plain = Document.load(path, name)
        if plain.problems:
            found.extend((name, (), problem.reason) for problem in plain.problems)
            continue
        document = _PathDocument(plain.name, plain.content, plain.lines)
        _Loader(site.tags, _constants(site)).display(document.root(), path.stem)
        found.extend((name, key_path, reason) for key_path, reason in document.found)
    return found


@dataclass(slots=True)
class _PathDocument(Document):
    """A document that remembers the path of each problem besides its line."""

    found: list[tuple[KeyPath, str]] = field(default_factory=list)

    def problem(self, path: KeyPath, reason: str) -> None:
        """See :class:`Document`."""
        Document.problem(self, path, reason)
        self.found.append((path, reason))


def _label(reader: Reader, key: str = "label") -> Label:
    return Label(reader.text(f"{key}_ko"), reader.text(f"{key}_en"))


def _band(reader: Reader, key: str, low: float, high: float, required: bool) -> tuple[float, float]:
    """A [low, high] array; ``low … high`` when it is absent."""
    value = reader.sequence(key, required)
    if not value and (not required or not reader.has(key)):
        return low, high
    if len(value) != 2 or not all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in value):
        reader.problem(key, "must be [low, high]")
        return low, high
    if not low <= value[0] <= value[1] <= high:
        reader.problem(key, f"{value[0]:g} … {value[1]:g} is out of range {low:g} … {high:g}")
    return float(value[0]), float(value[1])
