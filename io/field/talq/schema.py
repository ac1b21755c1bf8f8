"""The official TALQ 2.7.1 schema, compiled: is this JSON what it must be, and if not, where is it wrong. No I/O.

``schema.json`` (see SOURCES.md beside it) is JSON Schema; only the words that stand in it are understood. A checker
returns the first problem as text, empty for none. What the schema does not know (a vendor's attributes, functions of
other profiles) passes: TALQ demands it.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import UUID

from gwanje.io.field.street.times import TIMES_KEPT, TimeTextError, utc_ns_of

VERSION = "2.7.1"
"""Of the API; the header ``talq-api-version`` carries it both ways."""
NUMBER_MAX = sys.float_info.max
"""JSON has whole numbers of any length; one beyond this is no number of ours (and neither are NaN and infinity)."""
Check = Callable[[Any], str]

TYPES: Mapping[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= NUMBER_MAX,
}


class SchemaError(ValueError):
    """A message is not what TALQ says it must be; the text is one line."""


@lru_cache(1)
def definitions() -> Mapping[str, Any]:
    """Every schema by name."""
    return dict(json.loads((Path(__file__).parent / "schema.json").read_text(encoding="utf-8"))["$defs"])


@lru_cache(None)
def checker(name: str) -> Check:
    """The compiled check of a named schema.

    Raises:
        KeyError: there is none of this name.
    """
    return _compiled(definitions()[name], name)


def check(name: str, message: Any) -> None:
    """A message of a kind.

    Raises:
        SchemaError: it is not.
    """
    problem = checker(name)(message)
    if problem:
        raise SchemaError(problem[:200])


def check_all(name: str, messages: Any) -> list[Any]:
    """A list of messages of a kind.

    Raises:
        SchemaError: it is no list, or one of them is wrong.
    """
    if not isinstance(messages, list):
        raise SchemaError(f"not a list of {name}")
    one = checker(name)
    for index, message in enumerate(messages):
        if problem := one(message):
            raise SchemaError(f"[{index}] {problem}"[:200])
    return messages


@lru_cache(None)
def attribute(function: str, name: str) -> tuple[str, str] | None:
    """(type such as ``AttributeFloat``, unit such as ``Watts`` or empty) of a function's attribute, if it has it."""
    schema = definitions().get(function, {})
    for part in schema.get("allOf", ()):
        found = part.get("properties", {}).get(name)
        if found is not None and "$ref" in found:
            return found["$ref"].rpartition("/")[2], found.get("x-unit", "")
    return None


def functions() -> frozenset[str]:
    """Names of the functions whose attributes are known."""
    bases = ("Function", "AnyFunction")
    return frozenset(one for one in definitions() if one.endswith("Function") and one not in bases)


def _compiled(schema: Mapping[str, Any], where: str) -> Check:
    """All words of one schema, joined."""
    checks = [made for word, make in _WORDS.items() if word in schema for made in make(schema, where)]
    if not checks:
        return lambda value: ""
    if len(checks) == 1:
        return checks[0]

    def every(value: Any) -> str:
        for one in checks:
            if problem := one(value):
                return problem
        return ""

    return every


def _ref(schema: Mapping[str, Any], where: str) -> list[Check]:
    name = schema["$ref"].rpartition("/")[2]
    held: list[Check] = []

    def later(value: Any) -> str:
        """Resolved when first used: schemas name each other in circles."""
        if not held:
            held.append(checker(name))
        return held[0](value)

    return [later]


def _type(schema: Mapping[str, Any], where: str) -> list[Check]:
    wanted, fits = schema["type"], TYPES[schema["type"]]
    return [lambda value: "" if fits(value) else f"{where}: {str(value)[:40]!r} is no {wanted}"]


def _required(schema: Mapping[str, Any], where: str) -> list[Check]:
    wanted = tuple(schema["required"])

    def present(value: Any) -> str:
        if isinstance(value, dict):
            for one in wanted:
                if one not in value:
                    return f"{where}: {one} is missing"
        return ""

    return [present]


def _properties(schema: Mapping[str, Any], where: str) -> list[Check]:
    known = {name: _compiled(one, f"{where}.{name}") for name, one in schema["properties"].items()}

    def members(value: Any) -> str:
        if isinstance(value, dict):
            for name, member in value.items():
                one = known.get(name)
                if one is not None and (problem := one(member)):
                    return problem
        return ""

    return [members]


def _items(schema: Mapping[str, Any], where: str) -> list[Check]:
    one = _compiled(schema["items"], f"{where}[]")

    def each(value: Any) -> str:
        if isinstance(value, list):
            for item in value:
                if problem := one(item):
                    return problem
        return ""

    return [each]


def _all_of(schema: Mapping[str, Any], where: str) -> list[Check]:
    """Parts that all hold; those of the form if/then with one constant are looked up by it."""
    plain = [one for one in schema["allOf"] if "if" not in one]
    chosen = [one for one in schema["allOf"] if "if" in one]
    checks = [_compiled(one, where) for one in plain]
    if chosen:
        key = next(iter(chosen[0]["if"]["properties"]))
        kinds = {one["if"]["properties"][key]["const"]: _compiled(one["then"], where) for one in chosen}

        def by_kind(value: Any) -> str:
            kind = value.get(key) if isinstance(value, dict) else None
            one = kinds.get(kind) if isinstance(kind, str) else None
            return one(value) if one is not None else ""

        checks.append(by_kind)
    return checks


def _enum(schema: Mapping[str, Any], where: str) -> list[Check]:
    known = frozenset(schema["enum"])

    def among(value: Any) -> str:
        if isinstance(value, str) and value in known:
            return ""
        return f"{where}: {str(value)[:40]!r} is not among its words"

    return [among]


def _minimum(schema: Mapping[str, Any], where: str) -> list[Check]:
    low = schema["minimum"]
    return [lambda value: f"{where}: {value} is below {low}" if TYPES["number"](value) and value < low else ""]


def _maximum(schema: Mapping[str, Any], where: str) -> list[Check]:
    high = schema["maximum"]
    return [lambda value: f"{where}: {value} is above {high}" if TYPES["number"](value) and value > high else ""]


def _min_items(schema: Mapping[str, Any], where: str) -> list[Check]:
    least = schema["minItems"]
    return [lambda value: f"{where}: fewer than {least}" if isinstance(value, list) and len(value) < least else ""]


def _pattern(schema: Mapping[str, Any], where: str) -> list[Check]:
    pattern = re.compile(schema["pattern"])

    def fits(value: Any) -> str:
        if not isinstance(value, str) or pattern.search(value):
            return ""
        return f"{where}: {value[:40]!r} has no such form"

    return [fits]


def _format(schema: Mapping[str, Any], where: str) -> list[Check]:
    return [{"uuid": _uuid, "date-time": _date_time}[schema["format"]](where)]


def _uuid(where: str) -> Check:
    def is_uuid(value: Any) -> str:
        if not isinstance(value, str):
            return ""
        return "" if is_uuid_text(value) else f"{where}: {value[:40]!r} is no UUID"

    return is_uuid


@lru_cache(TIMES_KEPT)
def is_uuid_text(text: str) -> bool:
    """Whether a text is a UUID in its usual form."""
    try:
        return len(text) == 36 and str(UUID(text)) == text.lower()
    except ValueError:
        return False


def _date_time(where: str) -> Check:
    def is_time(value: Any) -> str:
        if isinstance(value, str):
            try:
                utc_ns_of(value)
            except TimeTextError as error:
                return f"{where}: {error}"
        return ""

    return is_time


_WORDS: Mapping[str, Callable[[Mapping[str, Any], str], list[Check]]] = {
    "type": _type, "$ref": _ref, "allOf": _all_of, "required": _required, "properties": _properties, "items": _items,
    "enum": _enum, "minimum": _minimum, "maximum": _maximum, "minItems": _min_items, "pattern": _pattern,
    "format": _format,
}  # fmt: skip
