"""From a device's points to SNMP questions, and from answers to values with their quality. No I/O.

A point's ``at`` is ``{read = WORD}`` with a word of :data:`.objects.WORDS`, or ``{oid = "1.3.6…"}`` for any number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from gwanje.core.site.config import Device, Point
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.table import TagTable
from gwanje.io.field.ntcip import ber, objects, snmp
from gwanje.io.field.ntcip.phases import Matrix, lowest
from gwanje.io.field.ntcip.talk import Question

MISSING = int(Quality.BAD | Quality.NOT_IMPLEMENTED)
WRONG = int(Quality.BAD | Quality.DEVICE_FAILURE)
OUTSIDE = int(Quality.BAD | Quality.OUT_OF_RANGE)
FROZEN = int(Quality.BAD | Quality.STALE)
TORN = int(Quality.BAD | Quality.CONFIG)
"""The controller takes too few objects at once to tell which lamps are lit together."""
LAMPS = ("greens", "yellows", "walks")
SCAN_ORDER = ("fast", "normal", "slow")

Reading = tuple[float, int]
"""A value and its quality; NaN where there is none."""
NOTHING: Reading = (math.nan, MISSING)


@dataclass(frozen=True, slots=True)
class Status:
    """What a controller says of itself.

    Attributes:
        readings: the numbers of :data:`.objects.SCALARS` and the masks, by word.
        torn: greens, yellows and walks are not of one moment, so they say nothing about each other.
    """

    readings: Mapping[str, Reading] = field(default_factory=dict)
    torn: bool = False

    def mask(self, word: str) -> int | None:
        """Phases of a word, None when they are not known."""
        value, quality = self.readings.get(word, NOTHING)
        return None if quality & Quality.BAD else int(value)

    @property
    def lamps(self) -> tuple[int, int, int] | None:
        """Greens, yellows and walks of one moment; None when they are not known. Nobody must have walks."""
        if self.torn:
            return None
        greens, yellows = self.mask("greens"), self.mask("yellows")
        return None if greens is None or yellows is None else (greens, yellows, self.mask("walks") or 0)


@dataclass(frozen=True, slots=True)
class _Target:
    tag_id: int
    word: str
    oid: bytes
    scale: float
    offset: float
    low: float
    high: float


class Group:
    """Points read at one rate, in one request unless the controller finds it too big.

    Attributes:
        period_ns: between two reads.
        ids: (k,) tag ids ascending.
        questions: to ask; more than one after :meth:`cut`.
    """

    def __init__(self, points: Sequence[Point], tags: TagTable, period_ns: int, matrix: Matrix, base: int) -> None:
        self.period_ns = period_ns
        self._matrix = matrix
        self._base = base
        self._torn = False
        self._targets = sorted((_target(one, tags) for one in points), key=lambda one: one.tag_id)
        self.ids: npt.NDArray[np.int32] = np.array([one.tag_id for one in self._targets], np.int32)
        self._words = _needed({one.word for one in self._targets if one.word})
        oids = [one.oid for one in self._targets if not one.word]
        for word in self._words:
            oids += _objects(word, matrix.groups())
        self.questions = [Question.of(dict.fromkeys(oids))]

    def cut(self, question: Question) -> tuple[Question, ...]:
        """A question was too big: ask these two from now on; none when it is one object already."""
        at = self.questions.index(question)
        halves = question.halves()
        if len(halves) < 2:
            return ()
        self.questions[at : at + 1] = halves
        lamps = {oid for word in LAMPS for oid in objects.MASKS[word]}
        self._torn = sum(not lamps.isdisjoint(one.oids) for one in self.questions) > 1
        return halves

    def decode(
        self, got: Mapping[bytes, snmp.Varbind]
    ) -> tuple[Status, npt.NDArray[np.float64], npt.NDArray[np.uint16]]:
        """Status, and values and qualities of :attr:`ids`, of all answers of one round; what is missing is BAD."""
        groups = self._matrix.groups()
        readings = {word: _read(word, got, groups) for word in self._words}
        status = Status(readings, self._torn)
        values = np.empty(len(self._targets))
        quality = np.empty(len(self._targets), np.uint16)
        for index, one in enumerate(self._targets):
            value, bits = self._value(one, status, got)
            value = value * one.scale + one.offset
            if not bits & Quality.BAD and not one.low <= value <= one.high:
                bits = OUTSIDE
            values[index], quality[index] = value, bits | self._base
        return status, values, quality

    def _value(self, one: _Target, status: Status, got: Mapping[bytes, snmp.Varbind]) -> Reading:
        if not one.word:
            return _number(got.get(one.oid))
        if one.word in status.readings:
            return status.readings[one.word]
        return derive(one.word, status, self._matrix)


def _target(point: Point, tags: TagTable) -> _Target:
    tag = tags.get(point.tag)
    word = str(point.at.get("read", ""))
    oid = b"" if word else ber.oid(str(point.at["oid"]))
    return _Target(tags.index(point.tag), word, oid, point.scale, point.offset, tag.low, tag.high)


def _needed(words: set[str]) -> list[str]:
    """The words that must be read for others, in a fixed order."""
    simple = {part for word in words for part in objects.DERIVED.get(word, (word,))}
    return [word for word in (*objects.MASKS, *objects.SCALARS) if word in simple]


def _objects(word: str, groups: int) -> tuple[bytes, ...]:
    return objects.MASKS[word][:groups] if word in objects.MASKS else (objects.SCALARS[word].oid,)


def _number(one: snmp.Varbind | None) -> Reading:
    if one is None or one.tag in snmp.MISSING:
        return NOTHING
    number = one.number
    return (float(number), 0) if number is not None else (math.nan, WRONG)


def _read(word: str, got: Mapping[bytes, snmp.Varbind], groups: int) -> Reading:
    if word in objects.SCALARS:
        scalar = objects.SCALARS[word]
        value, bits = _number(got.get(scalar.oid))
        outside = not bits and not scalar.low <= value <= scalar.high
        return (value, OUTSIDE) if outside else (value, bits)
    mask = 0
    for index, oid in enumerate(objects.MASKS[word][:groups]):
        value, bits = _number(got.get(oid))
        if bits:
            return math.nan, bits
        if not 0 <= value <= 255:
            return value, OUTSIDE
        mask |= int(value) << 8 * index
    return float(mask), 0


def derive(word: str, status: Status, matrix: Matrix) -> Reading:
    """What is made of other readings; as bad as the worst of them."""
    parts = [status.readings[one] for one in objects.DERIVED[word] if one != "walks" or one in status.readings]
    for _, bits in parts:
        if bits & Quality.BAD and word != "conflict":
            return math.nan, bits
    if word == "current_phase":
        greens, yellows = (int(value) for value, _ in parts)
        return float(lowest(greens) or lowest(yellows)), 0
    if word == "conflict":
        lamps = status.lamps
        if lamps is None:
            return math.nan, next((bits for _, bits in parts if bits), TORN)
        return float(matrix.conflict(*lamps) is not None), 0
    numbers = [int(value) for value, _ in parts]
    if word == "mode":
        return float(_mode(*numbers)), 0
    return float(numbers[0] | numbers[1] << 8 | numbers[2] << 16), 0


def _mode(flash: int, pattern: int) -> int:
    if flash > objects.NOT_FLASHING or pattern == objects.PATTERN_FLASH:
        return objects.MODES.index("flash")
    if pattern == objects.PATTERN_FREE:
        return objects.MODES.index("free")
    return objects.MODES.index("coordinated" if pattern else "other")


def make_groups(
    device: Device, tags: TagTable, scan_s: Mapping[str, float], matrix: Matrix, base: int
) -> tuple[Group, ...]:
    """A group for each rate that the device's points have, fastest first."""
    groups = []
    for scan in SCAN_ORDER:
        points = [one for one in device.points if one.scan == scan]
        if points:
            groups.append(Group(points, tags, round(scan_s[scan] * 1e9), matrix, base))
    return tuple(groups)


class Watch:
    """Notices that a controller has frozen: it answers, but no lamp changes any more though it says it coordinates.

    Args:
        after_s: how long the lamps may stand; longer than the longest cycle. 0 never notices.
    """

    def __init__(self, after_s: float) -> None:
        self._after_ns = round(after_s * 1e9)
        self._lamps: tuple[int, int, int] | None = None
        self._since_ns = 0

    def frozen(self, status: Status, now_mono_ns: int) -> bool:
        """Whether the lamps stand for too long; while it flashes or runs free they may."""
        lamps = status.lamps
        mode = status.readings.get("pattern", NOTHING)[0]
        coordinated = 1 <= mode <= objects.PATTERN_LAST and status.readings.get("flash_status", NOTHING)[0] == 2
        if lamps != self._lamps or not coordinated or not self._since_ns:
            self._lamps, self._since_ns = lamps, now_mono_ns
        return bool(self._after_ns) and now_mono_ns - self._since_ns >= self._after_ns
