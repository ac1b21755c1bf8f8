"""Every parameter of control in one list: value, default, range, unit, owner, and whether a change needs a restart.

The facts stand in the metadata of the dataclasses' fields (:mod:`gwanje.control.microgrid.files.fields`): ``unit``,
``low``, ``high``, ``owner``, ``ko``, ``en``. A registry is made of any number of such dataclasses; only numbers are
parameters, words and tags are the site's.
"""

from __future__ import annotations

import difflib
import fnmatch
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from typing import Any

from gwanje.control.microgrid.params import ControlConfig, cross_problems

NEAR_MAX = 3
"""Names that are offered for one that is not known."""


class UnknownParameterError(ValueError):
    """No parameter, or several, have that name; the text says which there are."""


@dataclass(frozen=True, slots=True)
class Section:
    """A dataclass of parameters.

    Attributes:
        name: put before the names of its fields, such as ``tie_line`` or ``battery.ess1``.
        params: an instance: its values are those in force.
        live: whether the running loop takes other values of it; otherwise the part must be started anew.
    """

    name: str
    params: Any
    live: bool


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter.

    Attributes:
        name: ``section.field``.
        value: in force.
        default: of the program; ``None`` where the site must give it.
        low: least value.
        high: greatest value.
        unit: empty for a bare number.
        owner: whose it is.
        ko: what it is.
        en: what it is.
        whole: only whole numbers.
        live: taken while the loop runs.
    """

    name: str
    value: float
    default: float | None
    low: float
    high: float
    unit: str
    owner: str
    ko: str
    en: str
    whole: bool
    live: bool

    def against(self, value: float) -> str:
        """Why a value cannot be; empty when it can."""
        if not math.isfinite(value):
            return f"{value} is not a number"
        if self.whole and value != int(value):
            return f"{value:g} is not a whole number"
        if not self.low <= value <= self.high:
            unit = f" {self.unit}" if self.unit else ""
            return f"{value:g} is not within {self.low:g}…{self.high:g}{unit}"
        return "" if self.live else "is taken only by a restart: set it in the site's file"


class Registry:
    """See the module."""

    def __init__(self, sections: Sequence[Section]) -> None:
        self._all = {one.name: one for section in sections for one in _parameters(section)}

    def __iter__(self) -> Iterator[Parameter]:
        return iter(self._all.values())

    def match(self, pattern: str) -> list[Parameter]:
        """Those whose name, or its last words, fit a pattern with ``*``; all for an empty one."""
        if not pattern:
            return list(self._all.values())
        return [one for one in self._all.values() if any(fnmatch.fnmatchcase(end, pattern) for end in _ends(one.name))]

    def find(self, name: str) -> Parameter:
        """The one of that name, or whose last words it is.

        Raises:
            UnknownParameterError: there is none, or several.
        """
        if name in self._all:
            return self._all[name]
        found = [one for one in self._all.values() if name in _ends(one.name)]
        if len(found) == 1:
            return found[0]
        if found:
            raise UnknownParameterError(f"{name!r} is several: {', '.join(one.name for one in found)}")
        words = {end: one.name for one in self._all.values() for end in _ends(one.name)}
        near = ", ".join(dict.fromkeys(words[end] for end in difflib.get_close_matches(name, words, NEAR_MAX)))
        raise UnknownParameterError(f"no parameter {name!r}{f'; near: {near}' if near else ''}")

    def values(self) -> dict[str, float]:
        """Name → value in force."""
        return {name: one.value for name, one in self._all.items()}


def _ends(name: str) -> list[str]:
    words = name.split(".")
    return [".".join(words[first:]) for first in range(len(words))]


def _parameters(section: Section) -> list[Parameter]:
    found = []
    for one in fields(section.params):
        about: Mapping[str, Any] = one.metadata
        if "low" not in about or one.type not in ("int", "float", int, float):
            continue
        default = None if one.default is MISSING or not isinstance(one.default, (int, float)) else float(one.default)
        found.append(
            Parameter(
                f"{section.name}.{one.name}",
                float(getattr(section.params, one.name)),
                default,
                float(about["low"]),
                float(about["high"]),
                str(about.get("unit", "")),
                str(about.get("owner", "control")),
                str(about.get("ko", "")),
                str(about.get("en", "")),
                one.type in ("int", int),
                section.live,
            )
        )
    return found


def sections_of(config: ControlConfig) -> list[Section]:
    """The parameters of the tie-line control; the loop's own are taken by a restart alone."""
    return [
        Section("loop", config.loop, live=False),
        Section("tie_line", config.tie_line, live=True),
        Section("setpoint", config.setpoint, live=True),
        *(Section(f"battery.{one.name}", one, live=True) for one in config.battery),
    ]


def sections_within(name: str, whole: Any, *, live: bool = False) -> list[Section]:
    """A section for every dataclass that is a member of a dataclass, and for each of several that have names.

    Args:
        name: put before all of them.
        whole: such as the settings of the microgrid's controller.
        live: whether a running loop takes other values.
    """
    found = []
    for one in fields(whole):
        value = getattr(whole, one.name)
        if is_dataclass(value):
            found.append(Section(f"{name}.{one.name}", value, live))
        elif isinstance(value, tuple):
            named = [each for each in value if is_dataclass(each) and hasattr(each, "name")]
            found += [Section(f"{name}.{one.name}.{each.name}", each, live) for each in named]
    return found


def with_values(config: ControlConfig, values: Mapping[str, float]) -> ControlConfig:
    """The configuration with other values of some parameters, by their full names; see :func:`problems_of`."""
    by_section: dict[str, dict[str, float]] = {}
    for name, value in values.items():
        section, _, key = name.rpartition(".")
        by_section.setdefault(section, {})[key] = value
    return replace(
        config,
        tie_line=replace(config.tie_line, **by_section.get("tie_line", {})),  # type: ignore[arg-type]
        setpoint=replace(config.setpoint, **by_section.get("setpoint", {})),  # type: ignore[arg-type]
        battery=tuple(
            replace(one, **by_section.get(f"battery.{one.name}", {}))  # type: ignore[arg-type]
            for one in config.battery
        ),
    )


def problems_of(config: ControlConfig, values: Mapping[str, float]) -> list[str]:
    """What is wrong with other values of some parameters: each by itself, then all together."""
    registry, found = Registry(sections_of(config)), []
    for name, value in values.items():
        try:
            parameter = registry.find(name)
        except UnknownParameterError as error:
            found.append(str(error))
            continue
        if reason := parameter.against(value):
            found.append(f"{parameter.name}: {reason}")
    if found:
        return found
    full = {registry.find(name).name: value for name, value in values.items()}
    return [f"{'.'.join(map(str, path))}: {reason}" for path, reason in cross_problems(with_values(config, full))]
