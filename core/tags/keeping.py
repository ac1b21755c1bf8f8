"""What the core does for the tags themselves: derived values, overrides, the clock's quality, and what a tag is."""

from __future__ import annotations

from collections.abc import Mapping

from gwanje.core.authority.authority import Authority
from gwanje.core.bus.bus import Publisher
from gwanje.core.city.part import PartContext
from gwanje.core.clock import boot_id
from gwanje.core.journal.desk import JournalDesk
from gwanje.core.overrides.service import SERVICE as OVERRIDES
from gwanje.core.overrides.service import OverrideService
from gwanje.core.site.config import Site
from gwanje.core.tags.derived import DerivedTags, plan
from gwanje.core.tags.service import SERVICE as TAGS
from gwanje.core.tags.service import TagService
from gwanje.core.tags.store import TagWriter
from gwanje.core.time_watch import TimeWatch

STATUS_TAGS = (
    "system.overrides.substituted", "system.overrides.blocked", "system.tags.derived",
    "system.time.offset_s", "system.time.error_s", "system.time.synchronised", "system.time.trusted",
    "system.time.steps",
)  # fmt: skip
"""Figures of :meth:`TagKeeping.status`."""


def commanded(site: Site) -> frozenset[str]:
    """Tags that drivers write to devices, and those that tell what the device took."""
    written = [one for device in site.devices for one in (*device.setpoints, *device.commands)]
    return frozenset(name for one in written for name in (one.tag, one.feedback_tag))


class TagKeeping:
    """Use it from the core's one thread: :meth:`step` five times a second, before the alarms look.

    Args:
        ctx: of the core.
        writer: of the tags of owner ``core``.
        publisher: the core's.
        desk: the journal.
        authority: who may override what.
    """

    def __init__(
        self, ctx: PartContext, writer: TagWriter, publisher: Publisher, desk: JournalDesk, authority: Authority
    ) -> None:
        self._clock = ctx.clock
        self._common = ctx.store.common_writer()
        before = ctx.store.read(ctx.tags.index("system.time.offset_s"))
        self._time = TimeWatch(ctx.clock, ctx.site.time, self._common, desk.note, publisher.event, before)
        self._overrides = OverrideService(
            ctx.store, self._common, publisher, desk, authority, ctx.clock, ctx.run_dir, boot_id(),
            commanded(ctx.site),
        )
        self._derived = DerivedTags(plan(ctx.tags, ctx.site.constants).levels, ctx.store, writer, publisher)
        self.services: Mapping[str, OverrideService | TagService] = {
            OVERRIDES: self._overrides,
            TAGS: TagService(ctx.tags, ctx.clock),
        }
        """Name of each service → who answers it."""

    def step(self) -> None:
        """Look at the clock, end and tell overrides, compute derived tags."""
        self._time.step()
        self._overrides.step()
        self._derived.step(self._clock.mono_ns())

    def status(self) -> dict[str, float]:
        """Figures for :data:`STATUS_TAGS`; NaN where there is none."""
        return {
            **self._overrides.status(),
            **self._time.status(),
            "system.tags.derived": float(len(self._derived)),
        }

    def close(self) -> None:
        """Let another core write what lies over the tags; what lies goes on to lie until its end."""
        self._common.close()
