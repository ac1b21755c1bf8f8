"""The part ``field``: all Modbus devices of the site in one event loop of one process."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial

from gwanje.core.city.part import PartContext
from gwanje.core.site.config import Device
from gwanje.io.field.family import Family, run_family
from gwanje.io.field.modbus.claimed import ClaimedLink
from gwanje.io.field.modbus.driver import Driver
from gwanje.io.field.modbus.link import ModbusLink
from gwanje.io.field.scan import NS_PER_S

PHASES = 2
"""Moments of a period at which devices take turns. Few: devices scanned together are seen at one moment and woken for
once; more than one, so that a large site does not ask all of its devices at the same time."""


def main(ctx: PartContext) -> None:
    """Drive the site's Modbus devices until asked to stop.

    Raises:
        PartError: the site has none.
    """
    run_family(ctx, make_drivers)


def make_drivers(family: Family) -> Sequence[Driver]:
    """A running driver for each device, their phases spread over the period of their class."""
    ctx = family.ctx
    site = ctx.site
    places: dict[str, list[Device]] = {}
    for device in family.devices:
        places.setdefault(device.scan, []).append(device)
    drivers = []
    for device in family.devices:
        mates = places[device.scan]
        period_ns = round(site.scan_s[device.scan] * NS_PER_S)
        phase_ns = mates.index(device) % PHASES * period_ns // PHASES
        address = f"{device.host}:{device.port}/{device.unit_id}"
        link = ClaimedLink(
            ModbusLink(device.host, device.port, device.unit_id, device.timeout_s, read_only=site.read_only),
            family.claim(address),
            partial(ctx.log.warning, "%s (%s): %s", device.name, address),
        )
        driver = Driver(
            device, link, ctx.tags, site.scan_s, family.outlet, ctx.store, family.coverage, ctx.clock, phase_ns,
            random.Random(f"{ctx.options.seed}/{device.name}"), family.meter,
        )  # fmt: skip
        family.start(driver.run(), device.name)
        drivers.append(driver)
    return drivers
