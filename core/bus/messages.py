"""What travels on the bus besides scans: events, changes of alarms, and display data. Validated once, when built."""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, Self

import msgpack
import numpy as np
import numpy.typing as npt

from gwanje.core.bus.msgpack_map import FrameError, Limits, unpack_map
from gwanje.core.bus.scan import MAX_FRAME_BYTES

MAX_DATA_ITEMS = 64
MAX_ARRAYS = 8
"""Of display data; all together within a frame. A spectrogram column is 64 bytes."""
_MESSAGE = Limits(MAX_FRAME_BYTES, containers=8, depth=3)
"""An event is a map with one map in it, and about 1 kB; 64 kB leave room for long texts."""
_BLOB = Limits(MAX_FRAME_BYTES, containers=3 + 2 * MAX_ARRAYS, depth=4)
WHOLE_MAX = 2**63
"""Whole numbers lie within ± this: they fit into the signed columns of everything behind the bus. UTC is not below 0;
monotonic times may be: what was heard just before the machine started is no mistake."""

Scalar = float | int | str | bool


@cache
def _members(cls: type[Any]) -> tuple[tuple[str, str], ...]:
    """Name and declared type of each field of a message; asked for thousands of times in a storm."""
    return tuple((one.name, str(one.type)) for one in fields(cls))


def _check_types(message: Any) -> None:
    """Raise ValueError when a text, whole number or real number field holds something else."""
    for name, kind in _members(type(message)):  # type: ignore[arg-type]  # a class can be hashed
        value = getattr(message, name)
        if kind == "str" and not isinstance(value, str):
            raise ValueError(f"{name} is not text")
        if kind == "int" and (not isinstance(value, int) or isinstance(value, bool)):
            raise ValueError(f"{name} is not a whole number")
        if kind == "int" and not (0 if name.endswith("utc_ns") else -WHOLE_MAX) <= value < WHOLE_MAX:
            raise ValueError(f"{name} {value} is out of range")
        if kind == "bool" and not isinstance(value, bool):
            raise ValueError(f"{name} is not true or false")
        if kind == "float" and (not isinstance(value, (int, float)) or isinstance(value, bool)):
            raise ValueError(f"{name} is not a number")


def _check_scalars(name: str, content: Any) -> None:
    """Raise ValueError when something is no small map of numbers and words."""
    if not isinstance(content, dict) or len(content) > MAX_DATA_ITEMS:
        raise ValueError(f"{name} is no map of at most {MAX_DATA_ITEMS} items")
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, (str, int, float, bool)):
            raise ValueError(f"{name}[{key!r}] is not a number or text")
        if isinstance(value, int) and not -WHOLE_MAX <= value < WHOLE_MAX:
            raise ValueError(f"{name}[{key!r}] is too large")


def _decoded(cls: type[Any], frame: bytes) -> Any:
    content = unpack_map(frame, _MESSAGE)
    if content.keys() != {name for name, _ in _members(cls)}:  # type: ignore[arg-type]  # a class can be hashed
        raise FrameError(f"not a {cls.__name__}: members are missing or unknown")
    try:
        return cls(**content)
    except (TypeError, ValueError) as error:
        raise FrameError(f"not a {cls.__name__}: {error}") from None


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened once.

    Attributes:
        kind: ``acoustic``, ``device``, ``control`` or ``system``.
        source: node, device or part it happened at.
        class_name: what happened, in the field's word (``glass_break``, ``device_offline`` …).
        utc_ns: when it happened, UTC.
        mono_ns: when it happened, monotonic of the publishing machine.
        text_ko: one line for operators.
        text_en: the same in English.
        confidence: 0…1.
        latency_s: from its happening to its publication.
        data: further numbers and words, at most 64.
        event_id: unique.
    """

    kind: str
    source: str
    class_name: str
    utc_ns: int
    mono_ns: int
    text_ko: str
    text_en: str
    confidence: float = 1.0
    latency_s: float = 0.0
    data: dict[str, Scalar] = field(default_factory=dict)
    event_id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        _check_types(self)
        if not 0.0 <= self.confidence <= 1.0:
            raise ValueError(f"confidence {self.confidence} is not within 0…1")
        if not math.isfinite(self.latency_s):
            raise ValueError("latency_s is not finite")
        _check_scalars("data", self.data)

    def encode(self) -> bytes:
        """The message's bytes."""
        names = _members(type(self))  # type: ignore[arg-type]  # a class can be hashed
        return bytes(msgpack.packb({name: getattr(self, name) for name, _ in names}))

    @classmethod
    def decode(cls, frame: bytes) -> Self:
        """Read and check.

        Raises:
            FrameError: it is no event.
        """
        event: Self = _decoded(cls, frame)
        return event


ALARM_STATES = (
    "normal", "unack_active", "ack_active", "unack_returned", "latched", "shelved", "suppressed", "out_of_service",
)  # fmt: skip
"""A phase, or for a hidden alarm what hides it; the phase then stands in ``phase``."""


@dataclass(frozen=True, slots=True)
class AlarmChange:
    """An alarm's state after a change (ISA-18.2 words).

    Attributes:
        alarm_id: of the definition, with the source where one definition serves many.
        state: one of :data:`ALARM_STATES`.
        priority: 1 urgent … 4 diagnostic.
        source: tag, device or node.
        value: what the tag read at the change; NaN when there is none.
        unit: of value and limit.
        limit: what it was compared with; NaN when there is none.
        utc_ns: when the alarm was raised.
        changed_utc_ns: when it came into this state.
        sequence: rises with every change of any alarm, also over restarts. It is the order: the wall clock may step.
        phase: the state without what hides the alarm.
        group: node of the site's topology that it is grouped by; empty for none.
        first_out: it was the first of its group.
        onset_utc_ns: when the sample arrived that first showed the condition, to the millisecond.
        place_ko: where it is; empty when nobody has named the place.
        place_en: the same in English.
        acknowledged_by: who acknowledged it last.
        hidden_by: why it is not presented: ``shelved``, ``condition``, ``topology``, ``out_of_service``,
            ``maintenance``, with commas between; empty when it is.
        hidden_author: who shelved it or took it out of service.
        hidden_until_utc_ns: when it comes back by itself; 0 for no such time.
        why_ko: reason of whoever hid it, or what suppresses it.
        why_en: the same in English.
    """

    alarm_id: str
    state: str
    priority: int
    source: str
    text_ko: str
    text_en: str
    cause_ko: str
    cause_en: str
    consequence_ko: str
    consequence_en: str
    response_ko: str
    response_en: str
    value: float
    unit: str
    limit: float
    utc_ns: int
    changed_utc_ns: int
    sequence: int = 0
    phase: str = ""
    group: str = ""
    first_out: bool = False
    onset_utc_ns: int = 0
    place_ko: str = ""
    place_en: str = ""
    acknowledged_by: str = ""
    hidden_by: str = ""
    hidden_author: str = ""
    hidden_until_utc_ns: int = 0
    why_ko: str = ""
    why_en: str = ""

    def __post_init__(self) -> None:
        _check_types(self)
        if self.state not in ALARM_STATES:
            raise ValueError(f"state {self.state!r} is none of {', '.join(ALARM_STATES)}")
        if not 1 <= self.priority <= 4:
            raise ValueError(f"priority {self.priority} is not within 1…4")

    def to_map(self) -> dict[str, Any]:
        """Name → value; all of them are plain, which makes it ten times quicker than ``asdict``."""
        return {name: getattr(self, name) for name in _ALARM_MEMBERS}

    def encode(self) -> bytes:
        """The message's bytes."""
        return bytes(msgpack.packb(self.to_map()))

    @classmethod
    def decode(cls, frame: bytes) -> Self:
        """Read and check.

        Raises:
            FrameError: it is no change of an alarm.
        """
        change: Self = _decoded(cls, frame)
        return change


_ALARM_MEMBERS = tuple(one.name for one in fields(AlarmChange))


@dataclass(frozen=True, slots=True)
class Blob:
    """Display data: a small header and arrays.

    Attributes:
        topic: such as ``spectrum.mic03``.
        header: numbers and words.
        arrays: as published.
    """

    topic: str
    header: dict[str, Scalar]
    arrays: tuple[npt.NDArray[Any], ...]

    def encode(self) -> bytes:
        """The message's bytes."""
        arrays = [
            {"d": array.dtype.str, "s": list(array.shape), "b": np.ascontiguousarray(array).tobytes()}
            for array in self.arrays
        ]
        return bytes(msgpack.packb({"h": self.header, "a": arrays}))

    @classmethod
    def decode(cls, topic: str, frame: bytes) -> Self:
        """Read and check.

        Raises:
            FrameError: header or arrays are not what they say.
        """
        content = unpack_map(frame, _BLOB)
        header, arrays = content.get("h"), content.get("a")
        if content.keys() != {"h", "a"} or not isinstance(arrays, list) or len(arrays) > MAX_ARRAYS:
            raise FrameError("display data lacks its header or arrays, or has more")
        try:
            _check_scalars("header", header)
        except ValueError as error:
            raise FrameError(f"display data: {error}") from None
        assert isinstance(header, dict)
        return cls(topic, header, tuple(_array(one) for one in arrays))


_BLOB_DTYPES = {"|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<f4", "<f8"}


def _array(content: Any) -> npt.NDArray[Any]:
    if not isinstance(content, dict) or content.keys() != {"d", "s", "b"}:
        raise FrameError("an array is no map of its type, shape and bytes")
    dtype, shape, body = content.get("d"), content.get("s"), content.get("b")
    if not isinstance(dtype, str) or dtype not in _BLOB_DTYPES:
        raise FrameError("an array's type is none that can travel")
    if not isinstance(shape, list) or not isinstance(body, bytes):
        raise FrameError("an array lacks its shape or bytes")
    if not 1 <= len(shape) <= 3 or not all(type(side) is int and 0 <= side <= MAX_FRAME_BYTES for side in shape):
        raise FrameError(f"shape {shape!r} of an array")
    if math.prod(shape) * np.dtype(dtype).itemsize != len(body):
        raise FrameError("an array's bytes do not fill its shape")
    return np.frombuffer(body, dtype=dtype).reshape(shape)
