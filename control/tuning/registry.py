"""Every parameter of control in one list: value, default, range, unit, owner, and why one is not taken while it runs.

The facts stand in the metadata of the dataclasses' fields (:mod:`gwanje.control.microgrid.files.fields`): ``unit``,
``low``, ``high``, ``owner``, ``ko``, ``en``. A registry is made of any number of such dataclasses; only numbers are
parameters, words and tags are the site's. ``control.toml`` of the part ``control`` and ``microgrid/control.toml`` of
the part ``microgrid`` are two such sets; the part that has one in force changes it: :mod:`gwanje.control.tuning.owner`.
"""

from __future__ import annotations

import difflib
import fnmatch
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from functools import partial
from typing import Any, TypeVar

from gwanje.control.microgrid import params, settings
from gwanje.control.microgrid.files.fields import Problem
from gwanje.control.microgrid.params import ControlConfig
from gwanje.control.microgrid.settings import Settings, part_name
from gwanje.control.microgrid.tunable import Held, held

Config = ControlConfig | Settings
"""Parameters of a part."""
ConfigT = TypeVar("ConfigT", bound=Config)
MICROGRID = "microgrid"
"""Before the names of the part ``microgrid``."""
NEAR_MAX = 3
"""Names that are offered for one that is not known."""
LOOP = Held("제어 루프는 기동 때 만들어짐", "the loop is laid out at the start")


def _taken(_key: str) -> None:
    """Nothing is against any of them."""


def _by_restart(_key: str) -> Held:
    return LOOP


class UnknownParameterError(ValueError):
    """No parameter, or several, have that name; the text says which there are."""


@dataclass(frozen=True, slots=True)
class Section:
    """A dataclass of parameters.

    Attributes:
        name: put before the names of its fields, such as ``tie_line`` or ``battery.ess1``.
        params: an instance: its values are those in force.
        held: why the running loop does not take other values of a field; ``None`` where it does.
    """

    name: str
    params: Any
    held: Callable[[str], Held | None] = _taken


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
        restart: a restart takes it from the site's file.
        why_ko: why it is not live.
        why_en: why it is not live.
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
    live: bool = True
    restart: bool = False
    why_ko: str = ""
    why_en: str = ""

    def against(self, value: float) -> str:
        """Why a value cannot be; empty when it can."""
        if not math.isfinite(value):
            return f"{value} is not a number"
        if self.whole and value != int(value):
            return f"{value:g} is not a whole number"
        if not self.low <= value <= self.high:
            unit = f" {self.unit}" if self.unit else ""
            return f"{value:g} is not within {self.low:g}…{self.high:g}{unit}"
        if self.live:
            return ""
        return f"is taken only by a restart ({self.why_en}): set it in the site's file" if self.restart else self.why_en


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
        words: dict[str, str] = {}
        for one in self._all.values():
            for end in _ends(one.name):
                words.setdefault(end, one.name)
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
                *_liveness(section.held(one.name)),
            )
        )
    return found


def _liveness(why: Held | None) -> tuple[bool, bool, str, str]:
    return (True, False, "", "") if why is None else (False, why.restart, why.ko, why.en)


def sections_of(config: Config) -> list[Section]:
    """The parameters of a part."""
    if isinstance(config, Settings):
        return [
            Section(f"{MICROGRID}.{group}{f'.{part_name(one)}' if several else ''}", one, partial(held, group))
            for group, one, several in _members(config)
        ]
    return [
        Section("loop", config.loop, _by_restart),
        Section("tie_line", config.tie_line),
        Section("setpoint", config.setpoint),
        *(Section(f"battery.{one.name}", one) for one in config.battery),
    ]


def _members(whole: Settings) -> list[tuple[str, Any, bool]]:
    """Every dataclass that is a member, with the member's name; and whether it is one of several."""
    found: list[tuple[str, Any, bool]] = []
    for one in fields(whole):
        value = getattr(whole, one.name)
        found += [(one.name, value, False)] if is_dataclass(value) else [(one.name, each, True) for each in value]
    return found


def with_values(config: ConfigT, values: Mapping[str, float]) -> ConfigT:
    """The configuration with other values of some parameters, by their full names; see :func:`problems_of`."""
    wanted: dict[tuple[str, str], dict[str, float | int]] = {}
    whole = {one.name for one in Registry(sections_of(config)) if one.whole}
    for name, value in values.items():
        group, _, rest = name.removeprefix(f"{MICROGRID}.").partition(".")
        part, _, key = rest.rpartition(".")
        wanted.setdefault((group, part), {})[key] = int(value) if name in whole else float(value)
    changed: dict[str, Any] = {}
    for group, part in wanted:
        value = changed.get(group, getattr(config, group))
        if not part:
            changed[group] = replace(value, **wanted[group, part])
        else:
            changed[group] = tuple(
                replace(one, **wanted[group, part]) if part_name(one) == part else one for one in value
            )
    return replace(config, **changed)


def cross_problems(config: Config) -> list[Problem]:
    """What only several numbers together have wrong, by the rules of the file."""
    return settings.cross_problems(config) if isinstance(config, Settings) else params.cross_problems(config)


def problems_of(config: Config, values: Mapping[str, float]) -> list[str]:
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
    prefix = f"{MICROGRID}." if isinstance(config, Settings) else ""
    wrong = cross_problems(with_values(config, full))
    return [f"{prefix}{'.'.join(map(str, path))}: {reason}" for path, reason in wrong]
