"""The column frame: one scan of many tags as a msgpack envelope around four binary columns.

Packing objects per tag costs 200 ns each; columns cost 4. What is decoded is checked before anything uses it: lengths,
ids, dtypes by byte count, the order of ids, times, quality bits. A frame that lies is refused as a whole.

No frame brings a wrong GOOD: a quality that does not exist (unknown bits, severity ``0xC000``) refuses its frame, for
nobody of ours writes it. A GOOD or UNCERTAIN that contradicts itself (the value is not finite, or the reasons say that
there is no value) is turned into BAD for that tag alone: one sick device must not blind its neighbours in the frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np
import numpy.typing as npt

from gwanje.core.msgpack_map import FrameError, Limits, unpack_map
from gwanje.core.quality import SEVERITY_MASK, Quality

MAX_TABLE = 131_072
"""Tags that a site may have: the design load of 100 000 and the padding between owners."""
MAX_TAGS_PER_FRAME = 2_048
"""What is longer travels in several frames: queues are limited in messages, and so they are limited in bytes too."""
MAX_FRAME_BYTES = 65_536
"""Of anything that is published; 2048 tags of 22 bytes and the envelope take 45 kB."""
_LIMITS = Limits(MAX_FRAME_BYTES, containers=1, depth=1)
_KEYS = {"n", "i", "v", "q", "t"}
_ID, _VALUE, _QUALITY, _TIME = (np.dtype(one) for one in ("<u4", "<f8", "<u2", "<i8"))

Columns = tuple[
    npt.NDArray[np.integer[Any]], npt.NDArray[np.float64], npt.NDArray[np.uint16], npt.NDArray[np.int64]
]  # fmt: skip
"""Ids, values, qualities and source times, (k,) each, ids ascending."""

KNOWN_BITS = int(np.bitwise_or.reduce([int(one) for one in Quality]))
NO_VALUE = int(
    Quality.STALE | Quality.DEVICE_FAILURE | Quality.COMM | Quality.NOT_IMPLEMENTED | Quality.NEVER
)  # fmt: skip
"""Reasons that never go with GOOD: each says that the value is not the device's present one."""
NOT_FINITE = int(Quality.BAD | Quality.DEVICE_FAILURE)
"""What a GOOD or UNCERTAIN becomes whose value is no finite number."""


@dataclass(frozen=True, slots=True)
class Scan:
    """Samples of k tags.

    Attributes:
        ids: (k,) strictly ascending tag ids.
        values: (k,).
        quality: (k,).
        source_utc_ns: (k,).
        sequence: running number of the publisher's scans.
        part: who published.
        published_mono_ns: when.
    """

    ids: npt.NDArray[np.uint32]
    values: npt.NDArray[np.float64]
    quality: npt.NDArray[np.uint16]
    source_utc_ns: npt.NDArray[np.int64]
    sequence: int
    part: str
    published_mono_ns: int

    def encode(self) -> bytes:
        """The columns' bytes; part, sequence and time travel in the message's header."""
        return bytes(
            msgpack.packb(
                {
                    "n": len(self.ids),
                    "i": np.ascontiguousarray(self.ids, "<u4").tobytes(),
                    "v": np.ascontiguousarray(self.values, "<f8").tobytes(),
                    "q": np.ascontiguousarray(self.quality, "<u2").tobytes(),
                    "t": np.ascontiguousarray(self.source_utc_ns, "<i8").tobytes(),
                }
            )
        )

    @classmethod
    def decode(
        cls, frame: bytes, n_tags: int = MAX_TABLE, sequence: int = 0, part: str = "", published_mono_ns: int = 0
    ) -> Scan:
        """Read and check a frame.

        Args:
            frame: what arrived.
            n_tags: length of the tag table; ids beyond it are refused.
            sequence: of the message's header, as are the following.
            part: who published.
            published_mono_ns: when.

        Raises:
            FrameError: anything about it is wrong.
        """
        envelope = unpack_map(frame, _LIMITS)
        count = envelope.get("n")
        if envelope.keys() != _KEYS or type(count) is not int or count < 0:
            raise FrameError("envelope of a scan lacks its length or columns, or has more")
        if count > MAX_TAGS_PER_FRAME:
            raise FrameError(f"{count} tags in one frame")
        ids = _column(envelope, "i", _ID, count)
        values = _column(envelope, "v", _VALUE, count)
        quality = _column(envelope, "q", _QUALITY, count)
        times = _column(envelope, "t", _TIME, count)
        if count:
            if int(ids[-1]) >= n_tags or np.count_nonzero(ids[1:] > ids[:-1]) != count - 1:
                raise FrameError("tag ids are not ascending inside the table")
            if int(np.bitwise_or.reduce(times)) < 0:
                raise FrameError("a source time lies before 1970")
            quality = without_false_good(values, quality)
        return cls(ids, values, quality, times, sequence, part, published_mono_ns)


def without_false_good(
    values: npt.NDArray[np.float64], quality: npt.NDArray[np.uint16]
) -> npt.NDArray[np.uint16]:
    """Qualities that can be believed, (k,): the same array when nothing had to change.

    Args:
        values: (k,), k > 0.
        quality: (k,).

    Raises:
        FrameError: a quality that does not exist.
    """
    bits = int(np.bitwise_or.reduce(quality))
    if bits & ~KNOWN_BITS:
        raise FrameError(f"quality has unknown bits {bits & ~KNOWN_BITS:#06x}")
    if bits & SEVERITY_MASK == SEVERITY_MASK and int(quality.max()) >= SEVERITY_MASK:
        raise FrameError("quality is uncertain and bad at once")
    finite = np.isfinite(values)
    if not bits & NO_VALUE and finite.all():
        return quality
    severity = quality & SEVERITY_MASK
    broken = ~finite & (severity != int(Quality.BAD))
    absent = (quality & NO_VALUE != 0) & (severity == 0)
    if not (broken.any() or absent.any()):
        return quality
    believed = quality.copy()
    believed[absent] |= int(Quality.BAD)
    believed[broken] = (believed[broken] & ~np.uint16(SEVERITY_MASK)) | NOT_FINITE
    return believed


def _column(envelope: dict[str, Any], key: str, dtype: np.dtype[Any], count: int) -> npt.NDArray[Any]:
    content = envelope.get(key)
    if type(content) is not bytes or len(content) != count * dtype.itemsize:
        raise FrameError(f"column {key!r} is not {count} × {dtype.itemsize} bytes")
    return np.frombuffer(content, dtype)
