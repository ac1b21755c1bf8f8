"""Forwarders from the archive to external databases."""

from __future__ import annotations

from typing import Protocol


class Forwarder(Protocol):
    """What the historian asks of a forwarder that runs beside it.

    Attributes:
        error: what hinders it now; empty when nothing does.
    """

    error: str

    def reached(self) -> int | None:
        """Sequence of points up to which everything has been delivered."""

    def behind(self) -> int:
        """Points not delivered yet, as far as it knows."""

    def stop(self, timeout_s: float) -> bool:
        """End; false when it took longer than ``timeout_s``."""
