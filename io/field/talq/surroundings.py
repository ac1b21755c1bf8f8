"""What the drivers of all TALQ gateways of a part share."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from gwanje.core.clock import Clock
from gwanje.core.site.config import Device
from gwanje.core.tags.table import TagTable
from gwanje.io.field.health import Meter
from gwanje.io.field.kept_orders import NOTHING_KEPT, Kept
from gwanje.io.field.street.columns import Columns
from gwanje.io.field.street.holds import Coverage


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a gateway's driver shares with the others of its part.

    Attributes:
        site_id: names our side of the protocol.
        tags: the site's.
        columns: take values.
        coverage: says on which points danger tags hang.
        clock: time.
        chance: of the back-off's jitter.
        meter: of lateness.
        base_quality: bits that every value of a device carries.
        kept: has the levels that the process before left standing.
    """

    site_id: str
    tags: TagTable
    columns: Columns
    coverage: Coverage
    clock: Clock
    chance: random.Random
    meter: Meter
    base_quality: Callable[[Device], int]
    kept: Kept = NOTHING_KEPT
