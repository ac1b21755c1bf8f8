"""A picture of all tags for who joins late and cannot map the store: service ``snapshot`` and its reader.

The picture and the stream fit together by a cut: it says how far each publisher's scans were before the store was
read. Owners write the store first and publish then, so every scan before the cut is in the picture. Who joins
subscribes first, asks for the picture then and passes over scans before the cut (:meth:`Subscriber.cut`). A scan behind
it may repeat what the picture holds already; the picture is never older than the cut. When scans between the picture
and the first one heard are missing, a gap is counted, and the picture must be taken again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gwanje.core.bus.msgpack_map import FrameError
from gwanje.core.bus.rate import RateLimit
from gwanje.core.bus.scan import MAX_TABLE, MAX_TAGS_PER_FRAME, Scan
from gwanje.core.bus.streams import Cut
from gwanje.core.clock import Clock
from gwanje.core.requests import Code, refusal
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.store import Snapshot, TagStore
from gwanje.core.tags.table import TagTable

SERVICE = "snapshot"
PICTURES_PER_S, PICTURE_BURST = 10.0, 20
"""Of all askers together: one of 100 000 tags takes the core some milliseconds; twenty consoles may start at once."""
MAX_PARTS = 64


class SnapshotService:
    """Answers requests for a picture. It changes nothing and needs no session."""

    def __init__(self, store: TagStore, clock: Clock, marks: Callable[[], Mapping[str, Cut]]) -> None:
        table = store.table
        self._store, self._clock, self._marks, self._layout = store, clock, marks, table.sha256
        self._ids = np.array([index for index, tag in enumerate(table.tags) if tag is not None], np.uint32)
        self._snapshot = Snapshot.empty(table.n)
        self._rate = RateLimit(PICTURES_PER_S, PICTURE_BURST)

    def handle(self, _message: Mapping[str, Any]) -> dict[str, Any]:
        """All tags as they are now, as frames of a scan each, with the cut."""
        now = self._clock.mono_ns()
        if not self._rate.take(SERVICE, now):
            return refusal(Code.BUSY, "too many snapshots are asked for")
        cuts = self._marks()  # before the store is read: see the module's text
        whole = self._store.snapshot_at(now, self._snapshot)
        parts = [self._ids[at : at + MAX_TAGS_PER_FRAME] for at in range(0, len(self._ids), MAX_TAGS_PER_FRAME)]
        return {
            "outcome": "snapshot",
            "layout": self._layout,
            "mono_ns": now,
            "utc_ns": self._clock.utc_ns(),
            "cuts": {part: [cut.incarnation, cut.sequence] for part, cut in cuts.items()},
            "frames": [
                Scan(ids, whole.value[ids], whole.quality[ids], whole.source_utc_ns[ids], 0, "", now).encode()
                for ids in parts
            ],
            "received": [whole.received_mono_ns[ids].astype("<i8").tobytes() for ids in parts],
        }


class SnapshotError(Exception):
    """There is no picture of the tags; the text is one line that says why."""


@dataclass(slots=True)
class TagPicture:
    """All tags as a late joiner knows them; bring it up to date with :meth:`take`.

    Attributes:
        now: (n,) columns, as of a :class:`~gwanje.core.tags.store.Snapshot`; what has no tag was never written.
        cuts: part → where its scans go on.
        mono_ns: when it was taken, on the city's monotonic clock.
        utc_ns: when it was taken.
    """

    now: Snapshot
    cuts: dict[str, Cut]
    mono_ns: int
    utc_ns: int

    @classmethod
    def read(cls, answer: Mapping[str, Any], table: TagTable) -> TagPicture:
        """From the service's answer.

        Raises:
            SnapshotError: it is a refusal, of another site, or not what it should be.
        """
        if answer.get("outcome") != "snapshot":
            raise SnapshotError(f"no snapshot: {str(answer.get('text_en', 'refused'))[:200]}")
        if answer.get("layout") != table.sha256:
            raise SnapshotError("the city's tags are others than the site's files here say")
        try:
            cuts = _cuts(answer.get("cuts"))
            mono_ns, utc_ns = answer["mono_ns"], answer["utc_ns"]
            if not _natural(mono_ns) or not _natural(utc_ns):
                raise FrameError("no time")
            picture = cls(Snapshot.empty(table.n), cuts, mono_ns, utc_ns)
            picture.now.quality[:] = int(Quality.BAD | Quality.NEVER)
            frames, received = answer.get("frames"), answer.get("received")
            if not isinstance(frames, list) or not isinstance(received, list) or len(frames) != len(received):
                raise FrameError("no frames")
            if len(frames) > MAX_TABLE // MAX_TAGS_PER_FRAME + 1:
                raise FrameError(f"{len(frames)} frames")
            for frame, times_of in zip(frames, received, strict=True):
                if not isinstance(frame, bytes) or not isinstance(times_of, bytes):
                    raise FrameError("a frame is no bytes")
                scan = Scan.decode(frame, table.n)
                picture._put(scan, np.frombuffer(times_of, "<i8") if len(times_of) == 8 * len(scan.ids) else None)
        except (FrameError, KeyError) as error:
            raise SnapshotError(f"the snapshot cannot be read: {error}") from None
        return picture

    def take(self, scan: Scan) -> None:
        """A scan that the subscriber heard after its cut."""
        self._put(scan, np.full(len(scan.ids), scan.published_mono_ns, np.int64))

    def _put(self, scan: Scan, received: npt.NDArray[np.int64] | None) -> None:
        if received is None:
            raise FrameError("times of reception do not fit the tags")
        now, ids = self.now, scan.ids
        now.value[ids], now.quality[ids] = scan.values, scan.quality
        now.source_utc_ns[ids], now.received_mono_ns[ids] = scan.source_utc_ns, received


def _natural(number: object) -> bool:
    return type(number) is int and 0 <= number < 2**63


def _cuts(content: Any) -> dict[str, Cut]:
    if not isinstance(content, dict) or len(content) > MAX_PARTS:
        raise FrameError("no cut")
    cuts = {}
    for part, one in content.items():
        if not isinstance(one, list) or len(one) != 2 or not all(_natural(n) for n in one):
            raise FrameError(f"cut of {part!r}")
        cuts[part] = Cut(*one)
    return cuts
