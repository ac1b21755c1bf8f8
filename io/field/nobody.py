"""Somebody to whom measurements tell samples and events, and who keeps none."""

from __future__ import annotations

from typing import Any

from gwanje.core.bus.messages import Event


class Nobody:
    """Takes samples and keeps none; bars nothing, leases nothing."""

    def write(self, ids: Any, values: Any, quality: Any, source_utc_ns: Any, received_mono_ns: int) -> None:
        """See :class:`gwanje.io.field.outlet.Writer`."""

    def scan(self, ids: Any, values: Any, quality: Any, source_utc_ns: Any) -> None:
        """See :class:`gwanje.io.field.outlet.ScanPublisher`."""

    def past(self, ids: Any, values: Any, quality: Any, source_utc_ns: Any) -> None:
        """See :class:`gwanje.io.field.outlet.ScanPublisher`."""

    def event(self, event: Event) -> None:
        """See :class:`gwanje.io.field.outlet.ScanPublisher`."""

    def until_mono_ns(self, tag_id: int) -> int:
        """See :class:`gwanje.core.commands.owner.Coverage`."""
        del tag_id
        return 0
