"""The part ``meters``: DLMS meters and collectors, and folders of meter files, in one event loop of one process."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

from gwanje.core.city.part import PartContext, PartError
from gwanje.core.site.config import Device
from gwanje.io.field.dlms.collector import Collector
from gwanje.io.field.dlms.credentials import CredentialsError, load_keys
from gwanje.io.field.dlms.link import MeterLink
from gwanje.io.field.dlms.meter import Meter
from gwanje.io.field.dlms.session import quiet
from gwanje.io.field.family import Family, FieldDevice, run_family
from gwanje.io.field.meter_file.driver import make_folders


def main(ctx: PartContext) -> None:
    """Read the site's meters until asked to stop.

    Raises:
        PartError: the site has none, or keys are missing.
    """
    run_family(ctx, make_drivers)


def make_drivers(family: Family) -> Sequence[FieldDevice]:
    """A running loop for each address, and a driver for each device behind it."""
    quiet()
    dlms = [one for one in family.devices if one.driver == "dlms"]
    files = [one for one in family.devices if one.driver == "meter_file"]
    by_device: dict[str, FieldDevice] = {}
    for hub in (one for one in dlms if not one.via):
        behind = [hub, *(one for one in dlms if one.via == hub.name)]
        for meter in _start_address(family, hub, behind):
            by_device[meter.device.name] = meter
    for one in make_folders(family, files):
        by_device[one.device.name] = one
    return [by_device[one.name] for one in family.devices]


def _start_address(family: Family, hub: Device, behind: Sequence[Device]) -> list[Meter]:
    ctx = family.ctx
    link = MeterLink(hub.host, hub.port, hub.timeout_s, str(hub.params.get("framing", "wrapper")))
    zone = ZoneInfo(str(hub.params.get("timezone", ctx.site.timezone)))
    security: Path = ctx.options.security_dir
    meters = []
    for device in behind:
        try:
            keys = load_keys(device, hub.host, security)
        except CredentialsError as error:
            raise PartError(str(error)) from None
        meters.append(Meter(device, keys, link, ctx.tags, ctx.site.scan_s, family.outlet, ctx.clock, zone))
    claim = family.claim(f"{hub.host}:{hub.port}/dlms")
    chance = random.Random(f"{ctx.options.seed}/{hub.name}")
    family.start(Collector(meters, link, ctx.clock, chance, family.meter, claim.take).run(), hub.name)
    return meters
