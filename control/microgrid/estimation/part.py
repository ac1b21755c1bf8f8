"""Where the part ``estimation`` begins: after a city's first values, which it reads."""

from __future__ import annotations

import importlib

from gwanje.control.late_start import settled
from gwanje.core.city.part import PartContext

PART = "gwanje.control.microgrid.estimation.main"
SETTLED_S = 6.0
"""From the start of the city; values are promised within three seconds."""


def main(ctx: PartContext) -> None:
    """Run until asked to stop.

    Raises:
        PartError: see :func:`.main.main`.
    """
    if settled(ctx, SETTLED_S):
        importlib.import_module(PART).main(ctx)
