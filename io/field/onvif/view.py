"""What a camera shows, as tags on their way out. One for each driver."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from gwanje.core.clock import NS_PER_S, Clock
from gwanje.core.sound.mouths import Speaking
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.table import TagTable
from gwanje.io.field.onvif.messages import Position, PtzStatus
from gwanje.io.field.onvif.plan import CameraPlan
from gwanje.io.field.onvif.speaker import SELF_TEST, VOICE
from gwanje.io.field.outlet import Outlet

NOT_LOOKED = ("speaking", "clock_skew_s")
"""Values that we know ourselves, whatever the camera says."""


class View:
    """Puts out what is known of a camera; the last value stays visible where nothing is, and is not good.

    Args:
        plan: which tags there are.
        tags: the site's.
        outlet: takes samples.
        clock: stamps them.
        base: bits that every value carries.
    """

    def __init__(self, plan: CameraPlan, tags: TagTable, outlet: Outlet, clock: Clock, base: Quality) -> None:
        self._plan = plan
        self._tags = tags
        self._outlet = outlet
        self._clock = clock
        self._base = base
        self._values: dict[int, float] = {}
        self._said = 0

    def status(
        self, status: PtzStatus | None, preset: int | None, speeds: Mapping[str, float], profile: int, skew_ns: int
    ) -> None:
        """One look.

        Args:
            status: ``None`` of a camera without PTZ.
            preset: that it looks at, 0 at none.
            speeds: held of each axis.
            profile: number of the media profile.
            skew_ns: the camera's clock minus ours.
        """
        place = status.position if status is not None else Position()
        moving = status.moving if status is not None else None
        seen: dict[str, float | None] = {
            "pan": place.pan, "tilt": place.tilt, "zoom": place.zoom,
            "moving": None if moving is None else float(moving), "profile": float(profile),
            "clock_skew_s": skew_ns / NS_PER_S, "speaking": float(speaking_of(self._said)),
        }  # fmt: skip
        back: dict[str, float | None] = {
            "preset": None if preset is None else float(preset), "prompt": float(max(self._said, 0)),
            "chirp": float(self._said == SELF_TEST), "stop": 0.0, "home": 0.0,
            "pan": place.pan, "tilt": place.tilt, "zoom": place.zoom,
            **{f"{axis}_speed": speeds.get(axis) for axis in ("pan", "tilt", "zoom")},
        }  # fmt: skip
        rows = {tag: seen[word] for word, tag in self._plan.values.items()}
        self.put(rows | {tag: back[do] for do, tag in self._plan.readbacks.items()})

    def speaks(self, number: int, *, online: bool) -> None:
        """The loudspeaker says something else: a prompt, a voice, the test, 0 nothing.

        That it sounds is told whatever the camera's web service does: the microphones near it must know.
        """
        sounded, self._said = self._said, number
        rows: dict[int, float | None] = {}
        for do, value in (("prompt", max(number, 0)), ("chirp", number == SELF_TEST)):
            if do in self._plan.readbacks and online:
                rows[self._plan.readbacks[do]] = float(value)
        if "speaking" in self._plan.values and (online or number or sounded):
            rows[self._plan.values["speaking"]] = float(speaking_of(number))
        self.put(rows)

    def put(self, rows: Mapping[int, float | None]) -> None:
        """Values as they are now; ``None`` is what the camera does not have or does not tell."""
        told = []
        for tag_id, value in rows.items():
            tag = self._tags.tags[tag_id]
            assert tag is not None, "a plan names tags that exist"
            if value is None or not math.isfinite(value):
                told.append((tag_id, self._values.get(tag_id, 0.0), Quality.BAD | Quality.NOT_IMPLEMENTED))
                continue
            self._values[tag_id] = value
            outside = not tag.low <= value <= tag.high
            told.append((tag_id, value, Quality.UNCERTAIN | Quality.OUT_OF_RANGE if outside else Quality.GOOD))
        self._send(told)

    def unseen(self, reason: Quality) -> None:
        """One look failed."""
        self._bad((tag for word, tag in self._plan.values.items() if word not in NOT_LOOKED), reason)

    def gone(self) -> None:
        """The camera does not answer."""
        plan = self._plan
        self._bad([*plan.values.values(), *plan.events.values(), *plan.readbacks.values()], Quality.COMM)

    def _bad(self, tag_ids: Iterable[int], reason: Quality) -> None:
        self._send([(one, self._values.get(one, 0.0), Quality.BAD | reason) for one in tag_ids])

    def _send(self, rows: Sequence[tuple[int, float, Quality]]) -> None:
        if not rows:
            return
        ids, values, quality = zip(*sorted((one, value, int(bits)) for one, value, bits in rows), strict=True)
        self._outlet.put(
            np.array(ids, np.int32), np.array(values), np.array(quality, np.uint16) | np.uint16(self._base),
            self._clock.utc_ns(), self._clock.mono_ns(),
        )  # fmt: skip


def speaking_of(number: int) -> Speaking:
    """What the tag ``speaking`` says of what the loudspeaker says."""
    other = {0: Speaking.SILENT, VOICE: Speaking.VOICE, SELF_TEST: Speaking.SELF_TEST}
    return other.get(number, Speaking.PROMPT)
