"""Where the part ``planner`` begins: the solver takes a second of a core to load, which a starting city has not."""

from __future__ import annotations

import importlib

from gwanje.control.late_start import settled
from gwanje.core.city.part import PartContext

PART = "gwanje.control.microgrid.planner.main"
SETTLED_S = 10.0
"""From the start of the city; every part has begun by then."""


def main(ctx: PartContext) -> None:
    """Run until asked to stop.

    Raises:
        PartError: see :func:`.main.main`.
    """
    if settled(ctx, SETTLED_S):
        importlib.import_module(PART).main(ctx)
