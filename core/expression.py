"""Values that a display computes from tags: a small parsed grammar, never ``eval``.

    expression := term (("+" | "-") term)*
    term       := factor (("*" | "/") factor)*
    factor     := number | tag | constant | "-" factor | "(" expression ")" | ("min" | "max" | "sum") "(" arguments ")"
    tag        := area.device.quantity
    constant   := site.rating_w | site.nominal_hz | site.nominal_v

Arguments of sum, min and max may be patterns: ``sum(jincheon.home*.load_w)``.
A sign after a tag stands behind a space: ``a.b.c*`` is a pattern, ``a.b.c * 2`` a product.

Units are carried along: only equal units add up, and a unit divided by itself leaves a pure number. The worst quality
of everything used is the quality of the result.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gwanje.core.tags import TagTable

_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?(?:e-?\d+)?)(?![\w.])"
    r"|(?P<tag>[a-z_][a-z0-9_*?]*(?:\.[a-z0-9_*?]+)+)|(?P<name>[a-z]+)|(?P<sign>[-+*/(),]))"
)

Evaluate = Callable[[Sequence[float]], float]
Constants = Mapping[str, tuple[float, str]]
"""Name → value and unit."""


class ExpressionError(ValueError):
    """The text is no expression, or its tags or units do not fit."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression.

    Attributes:
        text: as written.
        tags: names used, each once, in the order of first use.
        unit: of the result.
        evaluate: takes the values of ``tags``; NaN where the arithmetic has no answer.
    """

    text: str
    tags: tuple[str, ...]
    unit: str
    evaluate: Evaluate


@dataclass(frozen=True, slots=True)
class _Part:
    """A compiled piece: its unit (None for a bare number, which takes any) and what computes it."""

    unit: str | None
    evaluate: Evaluate


class _Parser:
    def __init__(self, text: str, table: TagTable, constants: Constants) -> None:
        self._table = table
        self._constants = constants
        self._tokens = _tokens(text)
        self._at = 0
        self.names: list[str] = []

    def parse(self) -> _Part:
        part = self._expression()
        if self._at < len(self._tokens):
            raise ExpressionError(f"unexpected {self._tokens[self._at][1]!r}")
        return part

    def _peek(self) -> str:
        return self._tokens[self._at][1] if self._at < len(self._tokens) else ""

    def _next(self) -> tuple[str, str]:
        if self._at >= len(self._tokens):
            raise ExpressionError("ends too early")
        self._at += 1
        return self._tokens[self._at - 1]

    def _expect(self, sign: str) -> None:
        _, text = self._next()
        if text != sign:
            raise ExpressionError(f"expected {sign!r}, found {text!r}")

    def _expression(self) -> _Part:
        left = self._term()
        while self._peek() in ("+", "-"):
            sign = self._next()[1]
            left = _added(left, self._term(), 1.0 if sign == "+" else -1.0)
        return left

    def _term(self) -> _Part:
        left = self._factor()
        while self._peek() in ("*", "/"):
            sign = self._next()[1]
            right = self._factor()
            left = _multiplied(left, right) if sign == "*" else _divided(left, right)
        return left

    def _factor(self) -> _Part:
        kind, text = self._next()
        if kind == "number":
            number = float(text)
            return _Part(None, lambda _values: number)
        if kind == "tag":
            if "*" in text or "?" in text:
                raise ExpressionError(f"pattern {text!r} stands outside sum, min and max")
            return self._constant(text) if text in self._constants else self._tag(text)
        if text == "-":
            inner = self._factor()
            return _Part(inner.unit, lambda values: -inner.evaluate(values))
        if text == "(":
            inner = self._expression()
            self._expect(")")
            return inner
        if text in _FUNCTIONS:
            return self._function(text)
        raise ExpressionError(f"unexpected {text!r}")

    def _function(self, name: str) -> _Part:
        self._expect("(")
        parts: list[_Part] = []
        while True:
            if any(mark in self._peek() for mark in "*?") and self._tokens[self._at][0] == "tag":
                parts.extend(self._pattern(self._next()[1]))
            else:
                parts.append(self._expression())
            if self._peek() != ",":
                break
            self._next()
        self._expect(")")
        unit = None
        for part in parts:
            unit = _common_unit(unit, part.unit)
        evaluators = [part.evaluate for part in parts]
        combine = _FUNCTIONS[name]
        return _Part(unit, lambda values: combine([one(values) for one in evaluators]))

    def _pattern(self, pattern: str) -> list[_Part]:
        matching = self._table.match(pattern)
        if not matching:
            raise ExpressionError(f"no tag matches {pattern!r}")
        return [self._tag(tag.name) for tag in matching]

    def _constant(self, name: str) -> _Part:
        number, unit = self._constants[name]
        return _Part(unit, lambda _values: number)

    def _tag(self, name: str) -> _Part:
        if name not in self._table:
            raise ExpressionError(f"missing tag {name!r}")
        if name not in self.names:
            self.names.append(name)
        position = self.names.index(name)
        return _Part(self._table.get(name).unit, lambda values: values[position])


def compile_expression(text: str, table: TagTable, constants: Constants | None = None) -> Expression:
    """Parse, check tags and units.

    Raises:
        ExpressionError: with the reason.
    """
    parser = _Parser(text, table, constants or {})
    part = parser.parse()
    if not parser.names:
        raise ExpressionError("uses no tag")
    return Expression(text, tuple(parser.names), part.unit or "", part.evaluate)


def _total(values: list[float]) -> float:
    return sum(values)


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens: list[tuple[str, str]] = []
    at = 0
    text = text.rstrip()
    while at < len(text):
        found = _TOKEN.match(text, at)
        if not found or not found.lastgroup:
            raise ExpressionError(f"cannot read {text[at:].strip()!r}")
        tokens.append((found.lastgroup, found[found.lastgroup]))
        at = found.end()
    return tokens


def _common_unit(left: str | None, right: str | None) -> str | None:
    if left is None or right is None:
        return right if left is None else left
    if left != right:
        raise ExpressionError(f"wrong unit: {left!r} and {right!r} do not add up")
    return left


def _added(left: _Part, right: _Part, sign: float) -> _Part:
    a, b = left.evaluate, right.evaluate
    return _Part(_common_unit(left.unit, right.unit), lambda values: a(values) + sign * b(values))


def _multiplied(left: _Part, right: _Part) -> _Part:
    if left.unit and right.unit:
        raise ExpressionError(f"wrong unit: {left.unit!r} times {right.unit!r}")
    a, b = left.evaluate, right.evaluate
    unit = left.unit or right.unit if left.unit is not None or right.unit is not None else None
    return _Part(unit, lambda values: a(values) * b(values))


def _divided(left: _Part, right: _Part) -> _Part:
    if right.unit and left.unit != right.unit:
        raise ExpressionError(f"wrong unit: {left.unit or ''!r} divided by {right.unit!r}")
    a, b = left.evaluate, right.evaluate
    unit = "" if right.unit else left.unit

    def quotient(values: Sequence[float]) -> float:
        divisor = b(values)
        return a(values) / divisor if divisor else math.nan

    return _Part(unit, quotient)


def _smallest(values: list[float]) -> float:
    return math.nan if any(math.isnan(one) for one in values) else min(values)


def _largest(values: list[float]) -> float:
    return math.nan if any(math.isnan(one) for one in values) else max(values)


_FUNCTIONS: Mapping[str, Callable[[list[float]], float]] = {"min": _smallest, "max": _largest, "sum": _total}
