"""The column frame: one scan of many tags as a msgpack map of binary columns, and what a scan is when it was checked.

Packing objects per tag costs 200 ns each; columns cost one. ids, qualities and source times travel as runs: see
:mod:`gwanje.ext.columns`, which writes and reads them. What is decoded is checked before anything uses it: lengths, the
order of ids, times, quality bits. A frame that lies is refused as a whole, and what would be refused is not written.

No frame brings a wrong GOOD: a quality that does not exist (unknown bits, severity ``0xC000``) refuses its frame, for
nobody of ours writes it. A GOOD or UNCERTAIN that contradicts itself (the value is not finite, or the reasons say that
there is no value) is turned into BAD for that tag alone: one sick device must not blind its neighbours in the frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gwanje.core.bus.msgpack_map import FrameError
from gwanje.core.tags.quality import Quality
from gwanje.ext import columns

MAX_TABLE = 131_072
"""Tags that a site may have: the design load of 100 000 and the padding between owners."""
MAX_TAGS_PER_FRAME = columns.MAX_TAGS
"""What is longer travels in several frames: queues are limited in messages, and so they are limited in bytes too."""
MAX_FRAME_BYTES = 65_536
"""Of anything that is published; 2048 tags without two neighbours alike in anything take 57 kB, a usual scan's 16."""

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
        """The columns' bytes; part, sequence and time travel in the message's header.

        Raises:
            FrameError: columns that nobody would take.
        """
        return encoded(self.ids, self.values, self.quality, self.source_utc_ns)

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
        try:
            ids, values, quality, times = columns.decode(frame, n_tags)
        except ValueError as error:
            raise FrameError(str(error)) from None
        return cls(ids, values, quality, times, sequence, part, published_mono_ns)


def encoded(
    ids: npt.NDArray[np.integer[Any]],
    values: npt.NDArray[np.float64],
    quality: npt.NDArray[np.uint16],
    source_utc_ns: npt.NDArray[np.int64],
) -> bytes:
    """A frame of at most :data:`MAX_TAGS_PER_FRAME` tags. What is GOOD without a finite value is written as BAD.

    Raises:
        FrameError: columns that nobody would take.
    """
    try:
        return columns.encode(ids, values, quality, source_utc_ns)
    except ValueError as error:
        raise FrameError(str(error)) from None
