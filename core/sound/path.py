"""The service ``sound`` in the running core: with its hands — tags, events, the site's places."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from gwanje.core.authority.authority import Authority
from gwanje.core.authority.credentials import owner_secret
from gwanje.core.bus.bus import Publisher
from gwanje.core.bus.messages import Event
from gwanje.core.city.part import PartContext
from gwanje.core.journal.chain import JournalError
from gwanje.core.journal.desk import JournalDesk
from gwanje.core.site.config import Site
from gwanje.core.sound.grants import Kind
from gwanje.core.sound.mouths import mouths_of
from gwanje.core.sound.service import ENTRY_WORD, MEDIA, RECENT_BYTES, Place, SoundService
from gwanje.core.tags.quality import Quality, is_bad
from gwanje.core.tags.store import TagWriter

OWNER = "core"
LISTENED = "listened"


def listened_tag(node_prefix: str) -> str:
    """Tag that tells everybody whether somebody listens at a node."""
    return f"{node_prefix}.{LISTENED}"


def places_of(site: Site) -> dict[Kind, dict[str, Place]]:
    """Where people can listen and speak: a node without the tag that shows it is heard by nobody."""
    shown = {one.name: listened_tag(one.prefix) for one in site.nodes if listened_tag(one.prefix) in site.tags}
    return {
        Kind.LISTEN: {
            one.name: Place(one.name, shown[one.name], MEDIA, one.label_ko, one.label_en)
            for one in site.nodes if one.name in shown
        },
        Kind.TALK: {
            one.camera: Place(one.camera, one.speaking, one.part, one.label_ko, one.label_en)
            for one in mouths_of(site.devices, site.nodes)
        },
    }  # fmt: skip


class _Outside:
    """The service's hands; see :class:`gwanje.core.sound.service.Outside`."""

    def __init__(
        self, ctx: PartContext, writer: TagWriter, publisher: Publisher, places: Mapping[Kind, Mapping[str, Place]],
        gate_closed: Callable[[], bool],
    ) -> None:  # fmt: skip
        self._ctx, self._writer, self._publisher = ctx, writer, publisher
        self._listened = {one.name: ctx.tags.index(one.point) for one in places[Kind.LISTEN].values()}
        self._speaking = {one.name: ctx.tags.index(one.point) for one in places[Kind.TALK].values()}
        self.gate_closed = gate_closed

    def announce(self, class_name: str, source: str, text_ko: str, text_en: str, data: Mapping[str, Any]) -> None:
        clock = self._ctx.clock
        self._publisher.event(Event(
            "system", source, class_name, clock.utc_ns(), clock.mono_ns(), text_ko, text_en, data=dict(data)
        ))  # fmt: skip

    def show_listened(self, nodes: Collection[str], listened: bool) -> None:
        if not nodes:
            return
        ids = np.sort(np.array([self._listened[one] for one in nodes], np.int32))
        values, quality = np.full(len(ids), float(listened)), np.full(len(ids), Quality.GOOD, np.uint16)
        times = np.full(len(ids), self._ctx.clock.utc_ns(), np.int64)
        self._writer.write(ids, values, quality, times, self._ctx.clock.mono_ns())
        self._publisher.scan(ids, values, quality, times)

    def sounding(self, camera: str) -> bool:
        sample = self._ctx.store.read(self._speaking[camera], self._ctx.clock.mono_ns())
        return sample.value > 0.0 and not is_bad(sample.quality)


class SoundPath:
    """Everything of the core that listening in and talking back need.

    Args:
        ctx: of the part ``core``.
        desk: of the journal.
        publisher: of the part.
        writer: of the core's tags.
        authority: knows who asks.
        gate_closed: whether nothing may be written to the field.
    """

    def __init__(
        self, ctx: PartContext, desk: JournalDesk, publisher: Publisher, writer: TagWriter, authority: Authority,
        gate_closed: Callable[[], bool],
    ) -> None:  # fmt: skip
        places = places_of(ctx.site)
        outside = _Outside(ctx, writer, publisher, places, gate_closed)
        self.service = SoundService(places, authority, desk, ctx.clock, outside, owner_secret(ctx.run_dir))
        try:
            left = desk.find(ENTRY_WORD, RECENT_BYTES)
        except JournalError as error:
            ctx.log.warning("who listened in before is not known: %s", error)
            left = []
        self.service.take_up(left)

    def handle(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """The service ``sound``."""
        return self.service.handle(message)

    def step(self) -> None:
        """End what may not go on; call it a few times a second."""
        self.service.step()
