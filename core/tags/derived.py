"""Derived tags: values that the core computes from other tags by the expression that stands with the tag.

A derived tag is as good as the worst of its inputs and as old as the oldest of them (parameters, which do not age, left
out). They are computed in levels: those of one level need only tags that are measured or of levels before, so that one
pass is enough and an override of a derived tag is seen by those that use it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gwanje.core.bus.bus import Publisher
from gwanje.core.clock import NS_PER_S
from gwanje.core.tags.expression import Constants, Expression, ExpressionError, compile_expression
from gwanje.core.tags.quality import Quality, is_bad, worst
from gwanje.core.tags.store import ChangeFilter, Snapshot, TagStore, TagWriter
from gwanje.core.tags.table import Tag, TagTable

OWNER = "core"
DERIVED_MAX = 500
"""At about 7 µs each they hold the core up for 3.5 ms, within what a command may wait."""
PUBLISH_PERIOD_NS = NS_PER_S
"""Every derived tag is told at least once in this time, changed or not."""


@dataclass(frozen=True, slots=True)
class DerivedTag:
    """One derived tag, ready to be computed.

    Attributes:
        tag: its static data.
        expression: what it is.
        ageing: (len(expression.tags),) False for the inputs that are parameters.
    """

    tag: Tag
    expression: Expression
    ageing: npt.NDArray[np.bool_]

    def sample(
        self, values: Sequence[float], qualities: Sequence[int], source_utc_ns: npt.NDArray[np.int64]
    ) -> tuple[float, int, int]:
        """Value, quality and source time from those of the inputs, in the order of ``expression.tags``.

        A result that is no number is BAD; one outside the tag's limits is UNCERTAIN|OUT_OF_RANGE.
        """
        value = self.expression.evaluate(values)
        quality = worst(qualities)
        if not math.isfinite(value):
            value, quality = math.nan, worst((quality, Quality.BAD | Quality.OUT_OF_RANGE))
        elif not self.tag.low <= value <= self.tag.high and not is_bad(quality):
            quality |= Quality.UNCERTAIN | Quality.OUT_OF_RANGE
        known = source_utc_ns[self.ageing & (source_utc_ns > 0)]
        return value, int(quality), int(known.min()) if len(known) else int(source_utc_ns.max())


@dataclass(frozen=True, slots=True)
class Plan:
    """All derived tags of a site in the order of their computation.

    Attributes:
        levels: each needs only the levels before it; inside a level in the order of the ids.
        problems: (tag name, reason) of those that cannot be computed.
    """

    levels: tuple[tuple[DerivedTag, ...], ...]
    problems: tuple[tuple[str, str], ...]


def plan(table: TagTable, constants: Constants) -> Plan:
    """Compile the expressions of a table and order them."""
    problems: list[tuple[str, str]] = []
    found: dict[str, DerivedTag] = {}
    for tag in table:
        if not tag.derived:
            continue
        try:
            found[tag.name] = _compiled(tag, table, constants)
        except ExpressionError as error:
            problems.append((tag.name, str(error)))
    if len(found) > DERIVED_MAX:
        problems.append((next(reversed(found)), f"is one of {len(found)} derived tags, at most {DERIVED_MAX}"))
    levels: list[tuple[DerivedTag, ...]] = []
    waiting = dict(found)
    while waiting:
        ready = [name for name, one in waiting.items() if not any(needed in waiting for needed in one.expression.tags)]
        if not ready:
            problems += [(name, f"needs itself: {' → '.join(_circle(name, waiting))}") for name in waiting
                         if name in _circle(name, waiting)[1:]]  # fmt: skip
            break
        levels.append(tuple(waiting.pop(name) for name in sorted(ready, key=table.index)))
    return Plan(tuple(levels), tuple(problems))


def _compiled(tag: Tag, table: TagTable, constants: Constants) -> DerivedTag:
    if tag.owner != OWNER:
        raise ExpressionError(f"only tags of owner {OWNER!r} are derived, it belongs to {tag.owner!r}")
    expression = compile_expression(tag.derived, table, constants)
    if expression.unit != tag.unit:
        raise ExpressionError(f"wrong unit: the expression is in {expression.unit!r}, the tag in {tag.unit!r}")
    ageing = np.array([table.get(name).kind != "parameter" for name in expression.tags], np.bool_)
    return DerivedTag(tag, expression, ageing)


def _circle(name: str, waiting: dict[str, DerivedTag]) -> list[str]:
    """A way from a tag along what it needs until a tag comes twice."""
    way = [name]
    while True:
        way.append(next(needed for needed in waiting[way[-1]].expression.tags if needed in waiting))
        if way[-1] in way[:-1]:
            return way if way[-1] == name else way[:-1]


@dataclass(frozen=True, slots=True)
class _Level:
    """A level with its columns.

    Attributes:
        tags: of the level.
        ids: (k,) ascending.
        input_ids: (m,) of all inputs, tag by tag.
        ends: (k,) where each tag's inputs end.
        samples: (m,) room for the inputs.
    """

    tags: tuple[DerivedTag, ...]
    ids: npt.NDArray[np.int32]
    input_ids: npt.NDArray[np.int32]
    ends: tuple[int, ...]
    samples: Snapshot

    @classmethod
    def of(cls, tags: tuple[DerivedTag, ...], table: TagTable) -> _Level:
        names = [name for one in tags for name in one.expression.tags]
        ends = np.cumsum([len(one.expression.tags) for one in tags])
        ids = table.indices([one.tag.name for one in tags])
        return cls(tags, ids, table.indices(names), tuple(ends.tolist()), Snapshot.empty(len(names)))

    def compute(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint16], npt.NDArray[np.int64]]:
        """Values, quality and source times of the level's tags, (k,) each, from ``samples``."""
        values, qualities = self.samples.value.tolist(), self.samples.quality.tolist()
        begin, made = 0, []
        for one, end in zip(self.tags, self.ends, strict=True):
            made.append(one.sample(values[begin:end], qualities[begin:end], self.samples.source_utc_ns[begin:end]))
            begin = end
        value, quality, source = zip(*made, strict=True)
        return np.array(value, np.float64), np.array(quality, np.uint16), np.array(source, np.int64)


class DerivedTags:
    """Computes a site's derived tags, writes them and tells of them.

    Args:
        levels: of the site's :func:`plan`.
        store: where the inputs are.
        writer: of the owner ``core``.
        publisher: hears what moved by more than its deadband at once, everything once a second.
    """

    def __init__(
        self, levels: Iterable[tuple[DerivedTag, ...]], store: TagStore, writer: TagWriter, publisher: Publisher
    ) -> None:
        self._store, self._writer, self._publisher = store, writer, publisher
        self._levels = [_Level.of(tags, store.table) for tags in levels]
        ids = [level.ids for level in self._levels]
        self._ids: npt.NDArray[np.int32] = np.concatenate(ids) if ids else np.zeros(0, np.int32)
        self._order = np.argsort(self._ids)
        self._moved = ChangeFilter(store.table.deadband()[self._ids[self._order]])
        self._publish_all_at_ns = 0

    def __len__(self) -> int:
        return len(self._ids)

    def step(self, now_mono_ns: int) -> None:
        """Compute all of them once, in the order of what they need."""
        if not len(self._ids):
            return
        columns = []
        for level in self._levels:
            self._store.read_many(level.input_ids, now_mono_ns, level.samples)
            made = level.compute()
            self._writer.write(level.ids, *made, now_mono_ns)
            columns.append(made)
        value, quality, source = (
            np.concatenate([one[column] for one in columns])[self._order] for column in range(3)
        )
        told = self._moved.take(value, quality)
        if now_mono_ns >= self._publish_all_at_ns:
            self._publish_all_at_ns = now_mono_ns + PUBLISH_PERIOD_NS
            told = np.arange(len(self._ids), dtype=np.int32)
        told = told[source[told] > 0]  # what no input ever had a value for is nobody's news
        if len(told):
            self._publisher.scan(self._ids[self._order][told], value[told], quality[told], source[told])
