"""Fields of a configuration: numbers that know unit, range, default and owner, and tables read into frozen dataclasses.

Whatever reads, shows or changes a parameter finds in the metadata of its field: ``unit``, ``low``, ``high``, ``owner``,
``ko`` and ``en``. Everything wrong with a file is collected and told at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, Field, field, fields
from typing import Any

from gwanje.core.site.toml_reader import KeyPath

Problem = tuple[KeyPath, str]
"""Where in the file, and why."""


class ControlConfigError(ValueError):
    """A configuration of control cannot be used; the text holds every problem as ``key: reason``, one a line."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(f"{_dotted(path)}: {reason}" for path, reason in problems))


def _dotted(path: KeyPath) -> str:
    words = [f"[{word}]" if isinstance(word, int) else f".{word}" for word in path]
    return "".join(words).removeprefix(".")


def number(
    default: Any, low: float, high: float, unit: str = "", ko: str = "", en: str = "", owner: str = "control"
) -> Any:
    """A number with its range; ``MISSING`` as default makes it obligatory."""
    about = {"low": low, "high": high, "unit": unit, "owner": owner, "ko": ko, "en": en}
    return field(default=default, metadata=about)


def choice(default: str, *choices: str, ko: str = "", en: str = "", owner: str = "control") -> Any:
    """One of several words."""
    return field(default=default, metadata={"choices": choices, "owner": owner, "ko": ko, "en": en})


def tables(cls: Any, content: Any, where: str, least: int, most: int, problems: list[Problem]) -> list[Any]:
    """Several tables of one kind; those that are right."""
    if not isinstance(content, list):
        problems.append(((where,), f"[[{where}]] tables are missing: the part control needs them"))
        return []
    if not least <= len(content) <= most:
        problems.append(((where,), f"{len(content)} tables, {least}…{most} are taken"))
    read = [table(cls, one, (where, at), problems) for at, one in enumerate(content)]
    return [one for one in read if one is not None]


def document(
    content: Mapping[str, Any], general: tuple[str, Any], kinds: Mapping[str, tuple[Any, int, int]],
    problems: list[Problem],
) -> tuple[Any, dict[str, tuple[Any, ...]]]:  # fmt: skip
    """A whole file: one table of what holds for all, and several tables of each kind.

    Args:
        content: of the file.
        general: name and dataclass of the one table; a file may leave it out.
        kinds: name of the tables → their dataclass, and the least and greatest number of them.
        problems: what is wrong is added.

    Returns:
        The one table (None when something in it is wrong), and for each kind those tables that are right.
    """
    name, cls = general
    problems += [((key,), "unknown key") for key in content if key not in kinds and key != name]
    one = table(cls, content.get(name, {}), (name,), problems)
    read: dict[str, tuple[Any, ...]] = {}
    for key, (each, least, most) in kinds.items():
        read[key] = tuple(tables(each, content.get(key, []), key, least, most, problems))
    return one, read


def table(cls: Any, content: Any, where: KeyPath, problems: list[Problem]) -> Any:
    """One table as a dataclass; None when something in it is wrong."""
    if not isinstance(content, Mapping):
        problems.append((where, "not a table"))
        return None
    before = len(problems)
    known = {one.name: one for one in fields(cls)}
    problems += [((*where, key), "unknown key") for key in content if key not in known]
    values: dict[str, Any] = {}
    for name, one in known.items():
        if name in content:
            reason, values[name] = _value(one, content[name])
            if reason:
                problems.append(((*where, name), reason))
        elif one.default is MISSING:
            problems.append(((*where, name), "is missing"))
    return cls(**values) if len(problems) == before else None


def _value(one: Field[Any], value: Any) -> tuple[str, Any]:
    """Reason against a value ("" for none) and the value in the field's type."""
    if one.type == "bool":
        return ("" if isinstance(value, bool) else f"{value!r} is neither true nor false"), value
    if one.type == "tuple[str, ...]":
        right = isinstance(value, list) and all(isinstance(word, str) and word for word in value)
        return ("" if right else f"{value!r} is no list of words"), tuple(value) if right else value
    if one.type == "str":
        if not isinstance(value, str):
            return f"{value!r} is not text", value
        choices = one.metadata.get("choices")
        if choices and value not in choices:
            return f"{value!r} is none of {', '.join(choices)}", value
        return ("" if value or one.default == "" else "is empty"), value
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return f"{value!r} is not a number", value
    if one.type == "int" and not isinstance(value, int):
        return f"{value!r} is not a whole number", value
    low, high = one.metadata["low"], one.metadata["high"]
    if not low <= value <= high:
        return f"{value:g} is not within {low:g}…{high:g}", value
    return "", value if one.type == "int" else float(value)
