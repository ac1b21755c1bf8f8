"""``gwanje bench field``: the drivers against the numbers they must hold, each family's by itself."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

from gwanje.core.bench import BenchOptions, Result

PARTS = (
    "gwanje.io.field.rtsp.bench",
    "gwanje.io.field.ocpp.bench",
    "gwanje.io.field.ntcip.bench",
    "gwanje.io.field.dlms.bench",
    "gwanje.io.field.onvif.bench",
    "gwanje.io.field.bacnet.bench",
    "gwanje.io.field.street.bench",
)
"""Modules with ``measure(rounds, peers) -> list[Result]``."""


def run(options: BenchOptions) -> Iterator[Result]:
    """All figures, family by family."""
    for name in PARTS:
        yield from importlib.import_module(name).measure(options.rounds, options.peers)
