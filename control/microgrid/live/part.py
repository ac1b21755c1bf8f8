"""Where the part ``microgrid`` begins: after a city's first values, which it needs, and then at once."""

from __future__ import annotations

import importlib

from gwanje.control.late_start import settled
from gwanje.core.city.part import PartContext

PART = "gwanje.control.microgrid.live.main"
SETTLED_S = 2.0
"""From the start of the city: it must be armed within seconds, but what it loads would hold the first value up."""


def main(ctx: PartContext) -> None:
    """Run until asked to stop.

    Raises:
        PartError: see :func:`.main.main`.
    """
    if settled(ctx, SETTLED_S):
        importlib.import_module(PART).main(ctx)
