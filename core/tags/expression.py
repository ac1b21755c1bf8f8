"""Values and conditions computed from tags: a small parsed grammar, never ``eval``.

    condition  := conjunct ("or" conjunct)*
    conjunct   := negation ("and" negation)*
    negation   := "not" negation | comparison
    comparison := expression (("<" | "<=" | ">" | ">=" | "==" | "!=") expression)?
    expression := term (("+" | "-") term)*
    term       := factor (("*" | "/") factor)*
    factor     := number | tag | constant | "-" factor | "(" condition ")"
                | ("min" | "max" | "sum" | "abs" | "if") "(" arguments ")"
    tag        := area.device.quantity
    constant   := site.rating_w | site.nominal_hz | site.nominal_v

``if(condition, a, b)`` is one of two values. Arguments of sum, min and max may be patterns:
``sum(jincheon.home*.load_w)``.
A sign after a tag stands behind a space: ``a.b.c*`` is a pattern, ``a.b.c * 2`` a product.

Units are carried along: only equal units add up and compare, and a unit divided by itself leaves a pure number. Truth
is no number: ``a.b.closed == 1`` is a condition, ``a.b.closed`` a value. What cannot be known is NaN and stays NaN,
except where one side settles it: false ``and`` unknown is false, true ``or`` unknown is true.

Text, nesting and tags of an expression are limited, so that one from a site's files can neither exhaust the stack nor
take the core's time.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import numpy.typing as npt

from gwanje.core.tags.quality import Quality
from gwanje.core.tags.table import TagTable

TEXT_MAX = 2_000
"""Letters of an expression: some twenty lines in a site's file."""
DEPTH_MAX = 32
"""Brackets, functions and signs inside each other; people lose count at five."""
TAGS_MAX = 1_024
"""Tags of an expression: the homes of a district under one pattern."""

_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?(?:e-?\d+)?)(?![\w.])"
    r"|(?P<tag>[a-z_][a-z0-9_*?]*(?:\.[a-z0-9_*?]+)+)|(?P<name>[a-z]+)|(?P<sign><=|>=|==|!=|[-+*/(),<>]))"
)
_UNKNOWN = math.nan

Evaluate = Callable[[Sequence[float]], float]
Constants = Mapping[str, tuple[float, str]]
"""Name → value and unit."""


class ExpressionError(ValueError):
    """The text is no expression, or its tags or units do not fit."""


class Samples(Protocol):
    """Columns of samples of all tags; see :class:`gwanje.core.tags.store.Snapshot`."""

    @property
    def value(self) -> npt.NDArray[np.float64]:
        """(n,) values."""

    @property
    def quality(self) -> npt.NDArray[np.uint16]:
        """(n,) quality bits."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression.

    Attributes:
        text: as written.
        tags: names used, each once, in the order of first use.
        unit: of the result.
        evaluate: takes the values of ``tags``; NaN where the arithmetic has no answer.
        truth: the result is a truth value: 1, 0, or NaN for unknown.
    """

    text: str
    tags: tuple[str, ...]
    unit: str
    evaluate: Evaluate
    truth: bool = False


@dataclass(frozen=True, slots=True)
class Condition:
    """A compiled condition.

    Attributes:
        text: as written.
        tags: names used, each once, in the order of first use.
        ids: (len(tags),) their ids.
        evaluate: takes the values of ``tags``; 1, 0, or NaN for unknown.
    """

    text: str
    tags: tuple[str, ...]
    ids: npt.NDArray[np.int32]
    evaluate: Evaluate

    def holds(self, snapshot: Samples) -> bool | None:
        """Whether it holds at a moment; None when that hangs on a value that is BAD.

        Args:
            snapshot: of all tags, aged (``TagStore.snapshot_at``).
        """
        return self.holds_for(snapshot.value[self.ids], snapshot.quality[self.ids])

    def holds_for(self, values: npt.NDArray[np.float64], quality: npt.NDArray[np.uint16]) -> bool | None:
        """The same for samples of ``tags``, (len(tags),) each in their order (``TagStore.read_many``)."""
        known = np.where(quality & np.uint16(Quality.BAD), _UNKNOWN, values)
        result = self.evaluate(known.tolist())
        return None if math.isnan(result) else bool(result)


@dataclass(frozen=True, slots=True)
class _Part:
    """A compiled piece: its unit (None for a bare number, which takes any), what computes it, is it truth."""

    unit: str | None
    evaluate: Evaluate
    truth: bool = False


class _Parser:
    def __init__(self, text: str, table: TagTable, constants: Constants) -> None:
        if len(text) > TEXT_MAX:
            raise ExpressionError(f"is {len(text)} letters long, at most {TEXT_MAX} are taken")
        self._table = table
        self._constants = constants
        self._tokens = _tokens(text)
        self._at = 0
        self._depth = 0
        self.positions: dict[str, int] = {}

    def parse(self) -> _Part:
        part = self._condition()
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

    def _deeper(self, parse: Callable[[], _Part]) -> _Part:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise ExpressionError(f"is nested deeper than {DEPTH_MAX}")
        part = parse()
        self._depth -= 1
        return part

    def _condition(self) -> _Part:
        return self._joined("or", lambda: self._joined("and", self._negation, _all), _any)

    def _joined(
        self, word: str, parse: Callable[[], _Part], combine: Callable[[list[float]], float]
    ) -> _Part:
        parts = [parse()]
        while self._peek() == word:
            self._next()
            parts.append(parse())
        if len(parts) == 1:
            return parts[0]
        return _Part("", _combined([_truth(part, word) for part in parts], combine), truth=True)

    def _negation(self) -> _Part:
        if self._peek() != "not":
            return self._comparison()
        self._next()
        return _Part("", partial(_denied, _truth(self._deeper(self._negation), "not").evaluate), truth=True)

    def _comparison(self) -> _Part:
        left = self._expression()
        if (compare := _COMPARE.get(self._peek())) is None:
            return left
        sign = self._next()[1]
        right = self._expression()
        _common_unit(_number(left, sign).unit, _number(right, sign).unit, "compare")
        if self._peek() in _COMPARE:
            raise ExpressionError(f"unexpected {self._peek()!r}: join comparisons with and")
        return _Part("", partial(_compared, compare, left.evaluate, right.evaluate), truth=True)

    def _expression(self) -> _Part:
        first = self._term()
        if self._peek() not in ("+", "-"):
            return first
        unit, rest = _number(first, "+").unit, []
        while (sign := self._peek()) in ("+", "-"):
            self._next()
            part = _number(self._term(), sign)
            unit = _common_unit(unit, part.unit, "add up")
            rest.append((1.0 if sign == "+" else -1.0, part.evaluate))
        return _Part(unit, partial(_summed, first.evaluate, tuple(rest)))

    def _term(self) -> _Part:
        first = self._factor()
        if self._peek() not in ("*", "/"):
            return first
        unit, rest = _number(first, "*").unit, []
        while (sign := self._peek()) in ("*", "/"):
            self._next()
            part = _number(self._factor(), sign)
            unit = _product_unit(unit, part.unit) if sign == "*" else _quotient_unit(unit, part.unit)
            rest.append((sign == "/", part.evaluate))
        return _Part(unit, partial(_multiplied, first.evaluate, tuple(rest)))

    def _factor(self) -> _Part:
        kind, text = self._next()
        if kind == "number":
            return _Part(None, partial(_fixed, float(text)))
        if kind == "tag":
            if "*" in text or "?" in text:
                raise ExpressionError(f"pattern {text!r} stands outside sum, min and max")
            return self._constant(text) if text in self._constants else self._tag(text)
        if text == "-":
            inner = _number(self._deeper(self._factor), "-")
            return _Part(inner.unit, partial(_negative, inner.evaluate))
        if text == "(":
            inner = self._deeper(self._condition)
            self._expect(")")
            return inner
        if text in _FUNCTIONS or text in ("if", "abs"):
            self._expect("(")
            part = self._deeper(lambda: self._function(text))
            self._expect(")")
            return part
        raise ExpressionError(f"unexpected {text!r}")

    def _function(self, name: str) -> _Part:
        if name == "if":
            return self._choice()
        if name == "abs":
            part = _number(self._expression(), name)
            return _Part(part.unit, partial(_absolute, part.evaluate))
        parts: list[_Part] = []
        while True:
            if any(mark in self._peek() for mark in "*?") and self._tokens[self._at][0] == "tag":
                parts.extend(self._pattern(self._next()[1]))
            else:
                parts.append(_number(self._expression(), name))
            if self._peek() != ",":
                break
            self._next()
        unit = None
        for part in parts:
            unit = _common_unit(unit, part.unit, "add up" if name == "sum" else "compare")
        return _Part(unit, _combined(parts, _FUNCTIONS[name]))

    def _choice(self) -> _Part:
        """``if(condition, a, b)`` behind its bracket."""
        condition = _truth(self._condition(), "if")
        self._expect(",")
        left = self._condition()
        self._expect(",")
        right = self._condition()
        if left.truth != right.truth:
            raise ExpressionError("if gives a number on one side and truth on the other")
        unit = _common_unit(left.unit, right.unit, "stand beside each other")
        return _Part(unit, partial(_chosen, condition.evaluate, left.evaluate, right.evaluate), left.truth)

    def _pattern(self, pattern: str) -> list[_Part]:
        matching = self._table.match(pattern)
        if not matching:
            raise ExpressionError(f"no tag matches {pattern!r}")
        return [self._tag(tag.name) for tag in matching]

    def _constant(self, name: str) -> _Part:
        number, unit = self._constants[name]
        return _Part(unit, partial(_fixed, number))

    def _tag(self, name: str) -> _Part:
        if name not in self._table:
            raise ExpressionError(f"missing tag {name!r}")
        position = self.positions.setdefault(name, len(self.positions))
        if len(self.positions) > TAGS_MAX:
            raise ExpressionError(f"uses more than {TAGS_MAX} tags")
        return _Part(self._table.get(name).unit, operator.itemgetter(position))


def compile_expression(text: str, table: TagTable, constants: Constants | None = None) -> Expression:
    """Parse, check tags and units.

    Raises:
        ExpressionError: with the reason.
    """
    parser = _Parser(text, table, constants or {})
    part = parser.parse()
    if not parser.positions:
        raise ExpressionError("uses no tag")
    return Expression(text, tuple(parser.positions), part.unit or "", part.evaluate, part.truth)


def compile_condition(text: str, table: TagTable, constants: Constants | None = None) -> Condition:
    """Parse, check tags and units of what is true or false.

    Raises:
        ExpressionError: with the reason.
    """
    made = compile_expression(text, table, constants)
    if not made.truth:
        raise ExpressionError(f"{text.strip()!r} is a number, not a condition: compare it with something")
    return Condition(text, made.tags, table.indices(made.tags), made.evaluate)


def site_constants(rating_w: float, nominal_hz: float, nominal_v: float) -> Constants:
    """The constants that expressions of a site may use."""
    return {
        "site.rating_w": (rating_w, "W"),
        "site.nominal_hz": (nominal_hz, "Hz"),
        "site.nominal_v": (nominal_v, "V"),
    }


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


def _number(part: _Part, where: str) -> _Part:
    if part.truth:
        raise ExpressionError(f"truth is no number: {where!r} needs one")
    return part


def _truth(part: _Part, where: str) -> _Part:
    if not part.truth:
        raise ExpressionError(f"{where!r} needs a comparison, found a number")
    return part


def _common_unit(left: str | None, right: str | None, what: str) -> str | None:
    if left is None or right is None:
        return right if left is None else left
    if left != right:
        raise ExpressionError(f"wrong unit: {left!r} and {right!r} do not {what}")
    return left


def _product_unit(left: str | None, right: str | None) -> str | None:
    if left and right:
        raise ExpressionError(f"wrong unit: {left!r} times {right!r}")
    return left or right if left is not None or right is not None else None


def _quotient_unit(left: str | None, right: str | None) -> str | None:
    if right and left != right:
        raise ExpressionError(f"wrong unit: {left or ''!r} divided by {right!r}")
    return "" if right else left


# What computes: functions of this module with their operands bound, so that a site with its compiled conditions can be
# handed to the processes of its parts.


def _fixed(number: float, _values: Sequence[float]) -> float:
    return number


def _negative(inner: Evaluate, values: Sequence[float]) -> float:
    return -inner(values)


def _absolute(inner: Evaluate, values: Sequence[float]) -> float:
    return abs(inner(values))


def _denied(inner: Evaluate, values: Sequence[float]) -> float:
    return 1.0 - inner(values)


def _compared(
    compare: Callable[[float, float], bool], left: Evaluate, right: Evaluate, values: Sequence[float]
) -> float:
    x, y = left(values), right(values)
    return _UNKNOWN if math.isnan(x) or math.isnan(y) else float(compare(x, y))


def _chosen(condition: Evaluate, left: Evaluate, right: Evaluate, values: Sequence[float]) -> float:
    which = condition(values)
    return which if math.isnan(which) else left(values) if which else right(values)


def _summed(first: Evaluate, rest: Sequence[tuple[float, Evaluate]], values: Sequence[float]) -> float:
    result = first(values)
    for sign, one in rest:
        result += sign * one(values)
    return result


def _multiplied(first: Evaluate, rest: Sequence[tuple[bool, Evaluate]], values: Sequence[float]) -> float:
    result = first(values)
    for divided, one in rest:
        number = one(values)
        if not divided:
            result *= number
        else:
            result = result / number if number else _UNKNOWN
    return result


def _of_all(
    combine: Callable[[list[float]], float], parts: Sequence[Evaluate], values: Sequence[float]
) -> float:
    return combine([one(values) for one in parts])


def _combined(parts: Sequence[_Part], combine: Callable[[list[float]], float]) -> Evaluate:
    return partial(_of_all, combine, tuple(part.evaluate for part in parts))


def _smallest(values: list[float]) -> float:
    return _UNKNOWN if any(math.isnan(one) for one in values) else min(values)


def _largest(values: list[float]) -> float:
    return _UNKNOWN if any(math.isnan(one) for one in values) else max(values)


def _all(values: list[float]) -> float:
    return 0.0 if 0.0 in values else _UNKNOWN if any(math.isnan(one) for one in values) else 1.0


def _any(values: list[float]) -> float:
    return 1.0 if 1.0 in values else _UNKNOWN if any(math.isnan(one) for one in values) else 0.0


_FUNCTIONS: Mapping[str, Callable[[list[float]], float]] = {"min": _smallest, "max": _largest, "sum": sum}
_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
