"""The part ``heat``: all BACnet devices of the site in one event loop, behind one UDP socket for each way out."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial

from gwanje.core.city.part import PartContext
from gwanje.io.field.bacnet.driver import BacnetDriver
from gwanje.io.field.bacnet.link import BacnetLink
from gwanje.io.field.bacnet.plan import make_plan
from gwanje.io.field.bacnet.stack import Stacks
from gwanje.io.field.bacnet.values import Content, ObjectId
from gwanje.io.field.family import Family, run_family


def main(ctx: PartContext) -> None:
    """Drive the site's BACnet devices until asked to stop.

    Raises:
        PartError: the site has none.
    """
    run_family(ctx, make_drivers)


class _Later:
    """Where a link tells changes before its driver is made."""

    def __init__(self) -> None:
        self.driver: BacnetDriver | None = None

    def __call__(self, process: int, target: ObjectId, found: dict[str, Content]) -> None:
        """Hand on."""
        if self.driver is not None:
            self.driver.changed(process, target, found)


def make_drivers(family: Family) -> Sequence[BacnetDriver]:
    """A running driver for each device."""
    ctx = family.ctx
    site = ctx.site
    stacks = Stacks()
    drivers = []
    for number, device in enumerate(family.devices, 1):
        plan = make_plan(device, ctx.tags)
        later = _Later()
        link = BacnetLink(
            partial(stacks.toward, device.host), device.host, device.port, plan.instance, device.timeout_s, later,
            read_only=site.read_only,
        )  # fmt: skip
        driver = BacnetDriver(
            device, plan, link, family.claim(f"{device.host}:{device.port}/bacnet"), ctx.tags, site.scan_s,
            family.outlet, ctx.store, family.coverage, ctx.clock, number,
            random.Random(f"{ctx.options.seed}/{device.name}"), family.meter, family.kept,
        )  # fmt: skip
        later.driver = driver
        family.start(driver.run(), device.name)
        drivers.append(driver)
    return drivers
