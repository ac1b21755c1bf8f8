"""The few rules that OCPP's JSON schemas use, as nested functions: ten times as fast as walking the schema each time.

Only says whether a payload follows its schema. What is wrong with one that does not, and every schema with a rule that
is not known here, is the library's to say; ``tests/io/ocpp/test_fast_schema.py`` holds the two together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Follows = Callable[[Any], bool]

REFS_MAX = 32
"""Depth of references among definitions; the deepest of OCPP is below ten."""
SAID = frozenset({
    "title", "description", "comment", "javaType", "$schema", "$id", "id", "default", "format", "definitions",
    "additionalItems",
})  # fmt: skip
"""Words that ask for nothing: ``format`` is only told, and ``additionalItems`` counts for tuples alone."""
RULES = frozenset({
    "type", "$ref", "properties", "required", "additionalProperties", "enum", "maxLength", "items", "minItems",
    "maxItems", "minimum", "maximum",
})  # fmt: skip
TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "integer": (int,), "number": (int, float),
    "boolean": (bool,),
}  # fmt: skip


class UnknownRuleError(ValueError):
    """A schema says something that is not known here."""


def compile_schema(schema: Mapping[str, Any]) -> Follows:
    """A function that says whether a value follows a schema of draft 4.

    Raises:
        UnknownRuleError: the schema has a rule that is not known here.
    """
    return _compiled(schema, schema, 0)


def _compiled(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> Follows:
    if depth > REFS_MAX:
        raise UnknownRuleError("definitions that refer to each other")
    unknown = set(schema) - RULES - SAID
    if unknown:
        raise UnknownRuleError(min(unknown))
    if "$ref" in schema:
        name = str(schema["$ref"])
        prefix = "#/definitions/"
        if not name.startswith(prefix):
            raise UnknownRuleError(name)
        return _compiled(root["definitions"][name[len(prefix) :]], root, depth + 1)
    kind = schema.get("type")
    if kind not in TYPES:
        raise UnknownRuleError(f"type {kind}")
    match kind:
        case "object":
            return _object(schema, root, depth)
        case "array":
            return _array(schema, root, depth)
        case "string":
            return _string(schema)
    return _scalar(schema)


def _object(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> Follows:
    fields = {name: _compiled(one, root, depth + 1) for name, one in schema.get("properties", {}).items()}
    required = tuple(schema.get("required", ()))
    closed = schema.get("additionalProperties", True)
    if not isinstance(closed, bool):
        raise UnknownRuleError("additionalProperties")
    open_ = closed

    def follows(value: Any) -> bool:
        if not isinstance(value, dict):
            return False
        for name in required:
            if name not in value:
                return False
        for name, one in value.items():
            check = fields.get(name)
            if check is None:
                if not open_:
                    return False
            elif not check(one):
                return False
        return True

    return follows


def _array(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> Follows:
    items = schema.get("items", {})
    if not isinstance(items, dict) or not items:
        raise UnknownRuleError("items")
    check, least, most = _compiled(items, root, depth + 1), schema.get("minItems", 0), schema.get("maxItems")

    def follows(value: Any) -> bool:
        if not isinstance(value, list) or len(value) < least or (most is not None and len(value) > most):
            return False
        return all(check(one) for one in value)

    return follows


def _string(schema: Mapping[str, Any]) -> Follows:
    words = frozenset(schema["enum"]) if "enum" in schema else None
    most = schema.get("maxLength")

    def follows(value: Any) -> bool:
        if not isinstance(value, str) or (most is not None and len(value) > most):
            return False
        return words is None or value in words

    return follows


def _scalar(schema: Mapping[str, Any]) -> Follows:
    types, boolean = TYPES[schema["type"]], schema["type"] == "boolean"
    low, high = schema.get("minimum"), schema.get("maximum")
    if "enum" in schema:
        raise UnknownRuleError("enum of numbers")

    def follows(value: Any) -> bool:
        if not isinstance(value, types) or isinstance(value, bool) is not boolean:
            return False
        return (low is None or value >= low) and (high is None or value <= high)

    return follows
