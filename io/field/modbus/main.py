"""The part ``field``: all Modbus devices of the site, read by one lane without the GIL, driven in one event loop."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from functools import partial

from gwanje.core.city.part import PartContext
from gwanje.core.site.config import Device
from gwanje.io.field.family import Family, run_family
from gwanje.io.field.modbus.claimed import ClaimedLaneLink
from gwanje.io.field.modbus.driver import Driver
from gwanje.io.field.modbus.lane import Lane
from gwanje.io.field.modbus.options import options_of
from gwanje.io.field.scan import NS_PER_S

PHASES = 2
"""Moments of a fast period at which devices take turns. Few: devices scanned together are seen at one moment and woken
for once; more than one, so that a large site does not ask all of its devices at the same time."""
PROBE_CAP_S = 3.5
"""A silent device with a connection of its own is back within five seconds; one that shares a line would cost the
others a time-out each time, so there its class says how often."""


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
    lane = Lane(len(family.devices), family.outlet, ctx.clock, read_only=site.read_only)
    wires = Counter((one.host, one.port) for one in family.devices)
    places: dict[str, list[Device]] = {}
    for device in family.devices:
        places.setdefault(device.scan, []).append(device)
    drivers = []
    for device in family.devices:
        mates = places[device.scan]
        period_ns = round(site.scan_s[device.scan] * NS_PER_S)
        phase_ns = mates.index(device) % PHASES * period_ns // PHASES
        address = f"{device.host}:{device.port}/{device.unit_id}"
        options = options_of(device)
        link = ClaimedLaneLink(
            lane.link(
                device.host, device.port, device.unit_id, device.timeout_s, framing=options.framing,
                gap_s=options.min_gap_s,
            ),
            family.claim(address),
            partial(ctx.log.warning, "%s (%s): %s", device.name, address),
        )  # fmt: skip
        driver = Driver(
            device, link, ctx.tags, site.scan_s, family.outlet, ctx.store, family.coverage, ctx.clock, phase_ns,
            random.Random(f"{ctx.options.seed}/{device.name}"), family.meter,
            PROBE_CAP_S if wires[device.host, device.port] == 1 else None, family.kept,
        )  # fmt: skip
        drivers.append(driver)
    family.start(lane.run(), "lane")
    for driver in drivers:
        family.start(driver.run(), driver.device.name)
    return drivers
