"""Numbers as operators read and type them: kW on the screen, W inside."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from gwanje.core.tags.table import Tag

SHOWN = {"W": ("kW", 1e-3), "Wh": ("kWh", 1e-3), "var": ("kvar", 1e-3), "us": ("ms", 1e-3)}
"""Unit inside → (unit on the screen, factor); every other unit is shown as it is."""

_TYPED = re.compile(r"([+-]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?)\s*([^\d\s.,+-].*)?")
_DECIMALS = 3
"""Digits after the point that a typed kW may have: 1 W."""


class TypedError(ValueError):
    """What was typed is no value; the text is a key of the text tables."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How one unit is shown.

    Attributes:
        inside: unit of the tag.
        unit: on the screen.
        factor: from inside to screen.
    """

    inside: str
    unit: str
    factor: float

    @classmethod
    def of(cls, unit: str) -> Scale:
        """Of a tag's unit."""
        shown, factor = SHOWN.get(unit, (unit, 1.0))
        return cls(unit, shown, factor)

    @classmethod
    def of_tag(cls, tag: Tag) -> Scale:
        """Of a tag: a share of one is shown in percent."""
        if not tag.unit and not tag.states and tag.low == 0.0 and tag.high == 1.0:
            return cls("", "%", 100.0)
        return cls.of(tag.unit)

    def text(self, value: float, decimals: int = 0) -> str:
        """A value of the tag as it stands on the screen, with its unit.

        >>> Scale.of("W").text(-1_234_500.0, 1), Scale.of("Hz").text(60.0, 2), Scale.of("W").text(float("nan"))
        ('-1,234.5 kW', '60.00 Hz', '—')
        """
        if not math.isfinite(value):
            return "—"
        text = f"{value * self.factor:,.{decimals}f}"
        if text[0] == "-" and not any(digit in text for digit in "123456789"):
            text = text[1:]
        return f"{text} {self.unit}".rstrip()

    def brief(self, value: float, decimals: int = _DECIMALS) -> str:
        """A value with its unit, without digits that say nothing.

        >>> Scale.of("W").brief(1_250_500.0), Scale.of("W").brief(-0.0), Scale.of("Hz").brief(59.98)
        ('1,250.5 kW', '0 kW', '59.98 Hz')
        """
        if not math.isfinite(value):
            return "—"
        text = f"{value * self.factor:,.{decimals}f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
        return f"{'0' if text == '-0' else text} {self.unit}".rstrip()

    def exact(self, value: float) -> str:
        """A value without its unit and with no digit lost, as it is put into a field.

        >>> Scale.of("W").exact(250_500.0), Scale.of("").exact(1.0)
        ('250.5', '1')
        """
        return f"{value * self.factor:.{_DECIMALS}f}".rstrip("0").rstrip(".")

    def typed(self, text: str) -> float:
        """The tag's value that a person typed, with the shown unit, the inside unit or none.

        >>> Scale.of("W").typed("1,250.5"), Scale.of("W").typed("-300 kW"), Scale.of("W").typed("300000 W")
        (1250500.0, -300000.0, 300000.0)

        Raises:
            TypedError: it is empty, no number, or carries another unit.
        """
        stripped = text.strip()
        if not stripped:
            raise TypedError("typed.empty")
        match = _TYPED.fullmatch(stripped)
        if match is None:
            raise TypedError("typed.no_number")
        number, unit = float(match[1].replace(",", "")), (match[2] or "").strip()
        if unit in ("", self.unit):
            # Rounded to what the tag can mean: 0.1 kW must not become 100.00000000000001 W.
            return round(number / self.factor, 6)
        if unit == self.inside and unit:
            return number
        raise TypedError("typed.wrong_unit")
