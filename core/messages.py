"""What travels on the bus besides scans: events, changes of alarms, and display data. Validated once, when built."""

from __future__ import annotations

import math
import uuid
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

import msgpack
import numpy as np
import numpy.typing as npt

from gwanje.core.scan import FrameError, unpack_map

MAX_MESSAGE_BYTES = 65_536
"""An event is about 1 kB; 64 kB leaves room for long texts and bounds what a forger can send."""
MAX_BLOB_BYTES = 4_194_304
"""Display data of one frame; a spectrogram column is 64 bytes."""
MAX_DATA_ITEMS = 64

Scalar = float | int | str | bool


def _check_types(message: Any) -> None:
    """Raise ValueError when a text, whole number or real number field holds something else."""
    for one in fields(message):
        value = getattr(message, one.name)
        if one.type == "str" and not isinstance(value, str):
            raise ValueError(f"{one.name} is not text")
        if one.type == "int" and (not isinstance(value, int) or isinstance(value, bool)):
            raise ValueError(f"{one.name} is not a whole number")
        if one.type == "float" and (not isinstance(value, (int, float)) or isinstance(value, bool)):
            raise ValueError(f"{one.name} is not a number")


def _decoded(cls: type[Any], frame: bytes) -> Any:
    content = unpack_map(frame, MAX_MESSAGE_BYTES)
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
        if not isinstance(self.data, dict) or len(self.data) > MAX_DATA_ITEMS:
            raise ValueError(f"data is no map of at most {MAX_DATA_ITEMS} items")
        for key, value in self.data.items():
            if not isinstance(key, str) or not isinstance(value, (str, int, float, bool)):
                raise ValueError(f"data[{key!r}] is not a number or text")

    def encode(self) -> bytes:
        """The message's bytes."""
        return bytes(msgpack.packb(asdict(self)))

    @classmethod
    def decode(cls, frame: bytes) -> Self:
        """Read and check.

        Raises:
            FrameError: it is no event.
        """
        event: Self = _decoded(cls, frame)
        return event


ALARM_STATES = ("normal", "unack_active", "ack_active", "unack_returned")


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

    def __post_init__(self) -> None:
        _check_types(self)
        if self.state not in ALARM_STATES:
            raise ValueError(f"state {self.state!r} is none of {', '.join(ALARM_STATES)}")
        if not 1 <= self.priority <= 4:
            raise ValueError(f"priority {self.priority} is not within 1…4")

    def encode(self) -> bytes:
        """The message's bytes."""
        return bytes(msgpack.packb(asdict(self)))

    @classmethod
    def decode(cls, frame: bytes) -> Self:
        """Read and check.

        Raises:
            FrameError: it is no change of an alarm.
        """
        change: Self = _decoded(cls, frame)
        return change


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
        content = unpack_map(frame, MAX_BLOB_BYTES)
        header, arrays = content.get("h"), content.get("a")
        if not isinstance(header, dict) or not isinstance(arrays, list) or len(arrays) > 8:
            raise FrameError("display data lacks its header or arrays")
        return cls(topic, header, tuple(_array(one) for one in arrays))


_BLOB_DTYPES = {"|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<f4", "<f8"}


def _array(content: Any) -> npt.NDArray[Any]:
    if not isinstance(content, dict):
        raise FrameError("an array is no map")
    dtype, shape, body = content.get("d"), content.get("s"), content.get("b")
    if dtype not in _BLOB_DTYPES or not isinstance(shape, list) or not isinstance(body, bytes):
        raise FrameError("an array lacks its type, shape or bytes")
    if not 1 <= len(shape) <= 3 or not all(isinstance(side, int) and 0 <= side <= MAX_BLOB_BYTES for side in shape):
        raise FrameError(f"shape {shape!r} of an array")
    if math.prod(shape) * np.dtype(dtype).itemsize != len(body):
        raise FrameError("an array's bytes do not fill its shape")
    return np.frombuffer(body, dtype=dtype).reshape(shape)
