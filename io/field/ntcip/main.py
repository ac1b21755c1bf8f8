"""The part ``signals``: all signal controllers of the site in one event loop of one process."""

from __future__ import annotations

import random
from collections.abc import Sequence

from gwanje.core.city.part import PartContext, PartError
from gwanje.core.site.config import Device
from gwanje.io.field.family import Family, run_family
from gwanje.io.field.ntcip.credentials import CredentialsError, Users
from gwanje.io.field.ntcip.driver import Driver
from gwanje.io.field.ntcip.link import SnmpLink
from gwanje.io.field.ntcip.phases import parse_matrix
from gwanje.io.field.ntcip.requests import forbidden, guard
from gwanje.io.field.ntcip.talk import CommunityTalk, Talk, UserTalk

NS_PER_S = 1_000_000_000
PHASES = 8
"""Moments of a second at which controllers are asked: eight small bursts instead of one, and one wake-up for each."""


def main(ctx: PartContext) -> None:
    """Drive the site's signal controllers until asked to stop.

    Raises:
        PartError: the site has none, or keys are missing.
    """
    run_family(ctx, make_drivers)


def make_drivers(family: Family) -> Sequence[Driver]:
    """A running driver for each controller, their scans spread over the period."""
    ctx = family.ctx
    users = Users(ctx.options.security_dir)
    drivers = []
    for index, device in enumerate(family.devices):
        try:
            talk = make_talk(device, users)
        except CredentialsError as error:
            raise PartError(str(error)) from None
        period_ns = round(ctx.site.scan_s[device.scan] * NS_PER_S)
        allowed = bool(device.params.get("allow_priority", False))
        link = SnmpLink(
            device.host, device.port, device.timeout_s, talk, ctx.clock, guard if allowed else forbidden,
            read_only=ctx.site.read_only,
        )  # fmt: skip
        driver = Driver(
            device, parse_matrix(device.params), link, ctx.tags, ctx.site.scan_s, family.outlet, family.coverage,
            ctx.clock, index % PHASES * period_ns // PHASES, random.Random(f"{ctx.options.seed}/{device.name}"),
            family.meter, family.claim(f"{device.host}:{device.port}/snmp").take, family.kept,
        )  # fmt: skip
        family.start(driver.run(), device.name)
        drivers.append(driver)
    return drivers


def make_talk(device: Device, users: Users) -> Talk:
    """The conversation that a device's parameters ask for.

    Raises:
        CredentialsError: keys cannot be had.
    """
    chance = random.SystemRandom()  # ids and salts must not be guessed
    if str(device.params.get("version", "3")) == "3":
        return UserTalk(users.user(device), chance)
    return CommunityTalk(str(device.params["community"]), chance)
