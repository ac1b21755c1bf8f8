"""``operations.toml``: how each point may be operated — its class, limits, interlocks, and what confirms it.

A table stands for one point or for all that a pattern names::

    [[operation]]
    points = ["grid.breaker.close_command"]
    kind = "breaker"                      # to be confirmed within: breaker 5 s, inverter 10, valve 60, setting 10
    class = "critical"                    # direct | select | critical
    second = "two_person"                 # critical only: two_person | retype
    readback = "grid.breaker.closed"      # default: the point; {area}, {device}, {quantity} are the point's
    tolerance = 0.5                       # of the readback, in its unit
    allowed_when = "grid.breaker.online > 0.5"

    [[operation.interlock]]
    id = "import_high"
    blocks_when = "grid.tie.import_w > 1500000"
    to = [0.0]                            # only commands to these values; all when left out
    text_ko = "수전 전력이 큽니다"
    text_en = "the import is high"

A point that no table names is of class ``select`` with the defaults below. Nothing here looks at a clock or a value.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from gwanje.core.authority.principal import PEOPLE, Role, at_least
from gwanje.core.site.toml_reader import Document, Reader
from gwanje.core.tags.expression import Condition, ExpressionError, compile_condition
from gwanje.core.tags.table import Tag, TagTable

WRITABLE_KINDS = ("setpoint", "parameter")
"""Kinds of tags that may be commanded."""
CONFIRM_S = {"breaker": 5.0, "inverter": 10.0, "valve": 60.0, "setting": 10.0}
"""Kind of equipment → seconds within which its readback must show what was commanded."""
CONFIRM_S_MAX = 600.0
"""The longest drive of a gate takes minutes; a reservation must not stand for an hour."""
COOL_DOWN_S_MAX = 3_600.0
INTERLOCKS_MAX = 16
"""Interlocks of one point: more than a person can read before operating."""



class OperationClass(StrEnum):
    """How many steps an operation takes."""

    DIRECT = "direct"
    SELECT = "select"
    CRITICAL = "critical"


class Second(StrEnum):
    """What a critical operation needs beside select, check and execute."""

    NONE = ""
    TWO_PERSON = "two_person"
    RETYPE = "retype"


@dataclass(frozen=True, slots=True)
class Interlock:
    """A condition under which a point may not be operated.

    Attributes:
        id: short word, unique within the operation.
        blocks: true blocks; unknown (an input that is BAD) blocks too and says so.
        to: commanded values that it is about; empty for all.
        text_ko: why it blocks, for operators.
        text_en: the same in English.
    """

    id: str
    blocks: Condition
    to: tuple[float, ...]
    text_ko: str
    text_en: str

    def is_about(self, value: float) -> bool:
        """Whether a command to this value is blocked by it."""
        return not self.to or value in self.to


@dataclass(frozen=True, slots=True)
class Operation:
    """How one point is operated.

    Attributes:
        point: tag that is commanded.
        kind: key of :data:`CONFIRM_S`.
        steps: class.
        second: what a critical one needs beside.
        readback: tag that shows the result.
        tolerance: of the readback, in its unit.
        confirm_within_s: from accepted to confirmed.
        view: tag whose value the author must have seen.
        view_tolerance: by how much it may have moved since.
        soft_low: below it a second confirmation is wanted.
        soft_high: above it too.
        ramp_per_s: how fast the equipment moves, in the point's unit; 0 when at once.
        ramp_waits: a step that takes longer than ``confirm_within_s`` is allowed with a warning, and waited for.
        allowed_when: mode in which it may be operated; ``None`` for always.
        mode_ko: what that mode is, for operators.
        mode_en: the same in English.
        interlocks: what blocks it.
        min_role: least role of a person.
        programs: whether programs may command it at all, under a lease of theirs or as its owner.
        writers: programs that may write it without either, one command at a time.
        group: points of one group are operated one at a time; empty for the point alone.
        cool_down_s: pause after an operation.
        takes: points that leave the programs' leases when this one is operated.
    """

    point: str
    kind: str = "setting"
    steps: OperationClass = OperationClass.SELECT
    second: Second = Second.NONE
    readback: str = ""
    tolerance: float = 0.0
    confirm_within_s: float = CONFIRM_S["setting"]
    view: str = ""
    view_tolerance: float = 0.0
    soft_low: float = -math.inf
    soft_high: float = math.inf
    ramp_per_s: float = 0.0
    ramp_waits: bool = False
    allowed_when: Condition | None = None
    mode_ko: str = ""
    mode_en: str = ""
    interlocks: tuple[Interlock, ...] = ()
    min_role: Role = Role.OPERATOR
    programs: bool = True
    writers: tuple[str, ...] = ()
    group: str = ""
    cool_down_s: float = 0.0
    takes: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """What is reserved: the group, or the point."""
        return f"group {self.group}" if self.group else self.point

    @property
    def looks_at(self) -> tuple[str, ...]:
        """Tags that view, readback, mode and interlocks look at."""
        names = {self.readback, self.view}
        for condition in (self.allowed_when, *(lock.blocks for lock in self.interlocks)):
            names |= set(condition.tags) if condition is not None else set()
        return tuple(sorted(names))

    def allows(self, role: Role) -> bool:
        """Whether the role is enough."""
        if role is Role.PROGRAM:
            return self.programs
        return at_least(role, self.min_role)

    def confirm_s(self, distance: float) -> float:
        """Seconds within which a step of ``distance`` must be confirmed."""
        return self.confirm_within_s + (self.ramp_s(distance) if self.ramp_waits else 0.0)

    def ramp_s(self, distance: float) -> float:
        """Seconds that a step takes by its ramp."""
        return abs(distance) / self.ramp_per_s if self.ramp_per_s > 0.0 and math.isfinite(distance) else 0.0


def default_operation(tag: Tag) -> Operation:
    """How a writable point is operated that the site says nothing about."""
    return Operation(
        tag.name, readback=tag.name, view=tag.name, tolerance=tag.deadband, view_tolerance=tag.deadband,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Operations:
    """All operations of a site: of each writable tag one."""

    by_point: Mapping[str, Operation] = field(default_factory=dict)

    @classmethod
    def of_tags(cls, table: TagTable, driven: Collection[str] | None = None) -> Operations:
        """Defaults for all writable tags: a site without ``operations.toml``.

        Args:
            table: of the site.
            driven: tags of the field that a device takes commands for; ``None`` when all are.
        """
        return cls({tag.name: default_operation(tag) for tag in table if _writable(tag, driven)})

    def get(self, point: str) -> Operation | None:
        """How a point is operated; ``None`` when it cannot be."""
        return self.by_point.get(point)


def _writable(tag: Tag, driven: Collection[str] | None) -> bool:
    """Whether something takes commands for a tag; what a device only tells of itself cannot be commanded."""
    return tag.kind in WRITABLE_KINDS and (tag.owner != "field" or driven is None or tag.name in driven)


def parse_operations(document: Document, table: TagTable, driven: Collection[str] | None = None) -> Operations:
    """Read the file; what is wrong becomes a problem of the document, with its line. See :meth:`Operations.of_tags`."""
    root = document.root()
    found: dict[str, Operation] = {}
    for reader in root.readers("operation"):
        for one in _operations(reader, table, driven):
            if one.point in found:
                reader.problem("points", f"point {one.point!r} stands in an operation above already")
            found.setdefault(one.point, one)
    root.finish()
    return Operations({**Operations.of_tags(table, driven).by_point, **found})


def _operations(reader: Reader, table: TagTable, driven: Collection[str] | None) -> list[Operation]:
    """The operations of one table: one for each point it names."""
    kind = reader.text("kind", "setting", choices=tuple(CONFIRM_S))
    steps = reader.text("class", "select", choices=tuple(OperationClass))
    second = reader.text("second", choices=tuple(Second)) if steps == "critical" else reader.text("second", "")
    if second and steps != "critical":
        reader.problem("second", f"only critical operations have one, this is of class {steps!r}")
    names = {key: reader.text(key, "{point}") for key in ("readback", "view")}
    has = {key: reader.has(key) for key in ("tolerance", "view_tolerance", "view")}
    tolerance = reader.number("tolerance", 0.0, 0.0)
    view_tolerance = reader.number("view_tolerance", 0.0, 0.0)
    soft = reader.number("soft_low", -math.inf), reader.number("soft_high", math.inf)
    if not soft[0] < soft[1]:
        reader.problem("soft_low", f"soft_low {soft[0]:g} is not below soft_high {soft[1]:g}")
    common: dict[str, Any] = {
        "kind": kind,
        "steps": OperationClass(steps) if steps in set(OperationClass) else OperationClass.SELECT,
        "second": Second(second) if second in set(Second) else Second.NONE,
        "confirm_within_s": reader.number(
            "confirm_within_s", CONFIRM_S.get(kind, CONFIRM_S["setting"]), 0.1, CONFIRM_S_MAX
        ),
        "soft_low": soft[0],
        "soft_high": soft[1],
        "ramp_per_s": reader.number("ramp_per_s", 0.0, 0.0),
        "ramp_waits": reader.flag("ramp_waits", False),
        "allowed_when": _condition(reader, "allowed_when", table) if reader.has("allowed_when") else None,
        "mode_ko": reader.text("mode_ko", ""),
        "mode_en": reader.text("mode_en", ""),
        "interlocks": _interlocks(reader, table),
        "min_role": _role(reader),
        "programs": reader.flag("programs", steps != "critical"),
        "writers": _writers(reader),
        "group": reader.text("group", ""),
        "cool_down_s": reader.number("cool_down_s", 0.0, 0.0, COOL_DOWN_S_MAX),
    }
    takes = reader.sequence("takes")
    if common["ramp_waits"] and not common["ramp_per_s"]:
        reader.problem("ramp_waits", "without ramp_per_s there is nothing to wait for")
    tags = _points(reader, table, driven)
    reader.finish()
    operations = []
    for tag in tags:
        readback = _named(reader, "readback", names["readback"], tag, table)
        view = _named(reader, "view", names["view"], tag, table) if has["view"] else readback
        if readback is None or view is None:
            continue
        operations.append(Operation(
            tag.name, readback=readback.name, view=view.name,
            tolerance=tolerance if has["tolerance"] else readback.deadband,
            view_tolerance=view_tolerance if has["view_tolerance"] else view.deadband,
            takes=_taken(reader, takes, tag, table), **common,
        ))  # fmt: skip
    return operations


def _writers(reader: Reader) -> tuple[str, ...]:
    """Names of programs."""
    names = reader.sequence("writers")
    for name in names:
        if not isinstance(name, str) or not name.isidentifier():
            reader.problem("writers", f"{name!r} is no name of a program")
    return tuple(name for name in names if isinstance(name, str))


def _points(reader: Reader, table: TagTable, driven: Collection[str] | None) -> list[Tag]:
    """The writable tags that ``points`` names, each once."""
    patterns = reader.sequence("points", required=True)
    tags: dict[str, Tag] = {}
    for pattern in patterns:
        if not isinstance(pattern, str):
            reader.problem("points", f"{pattern!r} is no tag name or pattern")
            continue
        matching = table.match(pattern)
        writable = [tag for tag in matching if _writable(tag, driven)]
        if not matching:
            reader.problem("points", f"no tag matches {pattern!r}")
        elif not writable:
            kinds = " or ".join(WRITABLE_KINDS)
            reason = f"no matching tag is of kind {kinds} and taken by a device or part"
            reader.problem("points", f"{pattern!r} cannot be operated: {reason}")
        tags |= {tag.name: tag for tag in writable}
    return list(tags.values())


def _named(reader: Reader, key: str, text: str, tag: Tag, table: TagTable) -> Tag | None:
    """The tag that ``readback`` or ``view`` means for one point."""
    words = [*tag.name.split("."), "", "", ""][:3]
    try:
        name = text.format(point=tag.name, area=words[0], device=words[1], quantity=words[2])
    except (KeyError, IndexError, ValueError):
        reader.problem(key, f"{text!r} cannot be expanded: it may name {{point}}, {{area}}, {{device}}, {{quantity}}")
        return None
    if name not in table:
        reader.problem(key, f"missing tag {name!r}")
        return None
    return table.get(name)


def _condition(reader: Reader, key: str, table: TagTable) -> Condition | None:
    text = reader.text(key)
    if not text:
        return None
    try:
        return compile_condition(text, table)
    except ExpressionError as error:
        reader.problem(key, str(error))
        return None


def _interlocks(reader: Reader, table: TagTable) -> tuple[Interlock, ...]:
    found: list[Interlock] = []
    for one in reader.readers("interlock"):
        blocks = _condition(one, "blocks_when", table)
        values = one.sequence("to")
        if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
            one.problem("to", "must be an array of numbers")
            values = []
        name, ko, en = one.text("id"), one.text("text_ko"), one.text("text_en")
        if name in {lock.id for lock in found}:
            one.problem("id", f"{name!r} is there twice")
        one.finish()
        if blocks is not None:
            found.append(Interlock(name, blocks, tuple(float(value) for value in values), ko, en))
    if len(found) > INTERLOCKS_MAX:
        reader.problem("interlock", f"{len(found)} interlocks, at most {INTERLOCKS_MAX}")
    return tuple(found)


def _role(reader: Reader) -> Role:
    choices = tuple(role for role in PEOPLE if at_least(role, Role.OPERATOR))
    text = reader.text("min_role", Role.OPERATOR, choices=choices)
    return Role(text) if text in set(choices) else Role.OPERATOR


def _taken(reader: Reader, texts: list[Any], tag: Tag, table: TagTable) -> tuple[str, ...]:
    names: list[str] = []
    for text in texts:
        if not isinstance(text, str):
            reader.problem("takes", f"{text!r} is no tag")
        elif (taken := _named(reader, "takes", text, tag, table)) is not None:
            names.append(taken.name)
            if taken.kind not in WRITABLE_KINDS:
                reader.problem("takes", f"{taken.name!r} cannot be operated: programs lease no such tag")
    return tuple(names)


def acts_on(operations: Iterable[Operation], *fed_by: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """For each point, the other names by which a safety tag reaches it.

    A tag on the battery must also stop the set-point that a program computes for it, whatever that is called.

    Args:
        operations: of the site.
        fed_by: set-point tag → a tag of the device that is written with it, or that people command instead.
    """
    places: dict[str, set[str]] = {}
    for one in operations:
        places.setdefault(one.point, set()).update({one.readback, one.view} - {one.point})
    for names in fed_by:
        for point, other in names.items():
            places.setdefault(point, set()).add(other)
    return {point: tuple(sorted(others)) for point, others in places.items() if others}
