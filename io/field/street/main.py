"""The part ``street``: drives lamps behind TALQ gateways, and lamps and sensors behind MQTT brokers."""

from __future__ import annotations

import random
import ssl
from collections.abc import Sequence
from pathlib import Path

from gwanje.core.city.part import PartContext, PartError
from gwanje.core.site.config import Device
from gwanje.core.tags.quality import Quality
from gwanje.io.field.family import Family, FieldDevice, run_family
from gwanje.io.field.mqtt.hub import Hub
from gwanje.io.field.mqtt.link import Account, MqttLink
from gwanje.io.field.mqtt.settings import broker_settings
from gwanje.io.field.mqtt.things import make_thing
from gwanje.io.field.notices import Notices
from gwanje.io.field.street.columns import Columns
from gwanje.io.field.street.settings import ParamError, client_tls, read_secret
from gwanje.io.field.talq.door import Door
from gwanje.io.field.talq.gateway import Gateway
from gwanje.io.field.talq.link import TalqLink
from gwanje.io.field.talq.messages import address_of
from gwanje.io.field.talq.settings import gateway_settings
from gwanje.io.field.talq.surroundings import Surroundings


def main(ctx: PartContext) -> None:
    """Drive the devices until asked to stop.

    Raises:
        PartError: a device's configuration or secret cannot be used, or our door's address is taken.
    """
    run_family(ctx, make)


def make(family: Family) -> Sequence[FieldDevice]:
    """The drivers of all gateways, brokers, lamps and sensors of the site.

    Raises:
        PartError: see :func:`main`.
    """
    drivers: list[FieldDevice] = []
    doors: dict[tuple[str, int], Door] = {}
    for device in (one for one in family.devices if not one.via):
        behind = [one for one in family.devices if one.via == device.name]
        try:
            if device.driver == "talq":
                gateway = _gateway(family, device, behind, doors)
                drivers += [gateway, *gateway.lamps]
                family.start(gateway.run(), device.name)
            else:
                hub = _hub(family, device, behind)
                drivers += [hub, *hub.nodes]
                family.start(hub.run(), device.name)
        except ParamError as error:
            raise PartError(f"{device.source}: {device.name}: {error}") from None
    for door in doors.values():
        family.start(_serve(door), f"door {door.port}")
    return drivers


async def _serve(door: Door) -> None:
    """Keep a door open for as long as the part lives.

    Raises:
        PartError: its address is taken.
    """
    try:
        await door.serve()
    except OSError as error:
        raise PartError(f"the lighting gateways' door cannot listen: {error.strerror or error}") from None


def base_quality(device: Device) -> int:
    """Bits that every value of a device carries."""
    return int(Quality.SIMULATED) if device.simulated else 0


def _gateway(
    family: Family, device: Device, lamps: Sequence[Device], doors: dict[tuple[str, int], Door]
) -> Gateway:  # fmt: skip
    ctx = family.ctx
    settings = gateway_settings(device)
    secrets = ctx.options.security_dir
    token = read_secret(secrets, settings.token_file) if settings.token_file else settings.token
    where = f"{device.host}:{device.port}"
    uri = f"{'https' if settings.tls else 'http'}://{where}"
    tls = client_tls(secrets, settings.ca_file) if settings.tls else None
    link = TalqLink(
        uri, address_of(ctx.site.id, "cms"), token, device.timeout_s, read_only=ctx.site.read_only, tls=tls
    )
    around = Surroundings(
        ctx.site.id, ctx.tags, Columns(ctx.tags, family.outlet), family.coverage, ctx.clock,
        random.Random(f"{ctx.options.seed} {device.name}"), family.meter, base_quality,
        family.kept,
    )  # fmt: skip
    gateway = Gateway(
        device, lamps, settings, link, family.claim(f"{where}/talq"), Notices(device, family.outlet, ctx.clock), around,
        token=token, uri=uri, read_only=ctx.site.read_only,
    )  # fmt: skip
    key = settings.door_host, settings.door_port
    if key not in doors:
        doors[key] = Door(*key, _door_tls(secrets, settings.door_cert))
    doors[key].expect(gateway)
    return gateway


def _door_tls(secrets: Path, name: str) -> ssl.SSLContext | None:
    if not name:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(secrets / name)
    except OSError as error:
        raise ParamError("door_cert", f"{secrets / name}: {error.strerror or error}") from None
    return context


def _hub(family: Family, device: Device, behind: Sequence[Device]) -> Hub:
    ctx = family.ctx
    settings = broker_settings(device)
    secrets = ctx.options.security_dir
    columns = Columns(ctx.tags, family.outlet)
    own = [(str(point.at["own"]), columns.slot(point.tag, base_quality(device))) for point in device.points]
    hub = Hub(
        device, [make_thing(one, columns, base_quality(one)) for one in behind], columns, ctx.tags, family.coverage,
        ctx.clock, random.Random(f"{ctx.options.seed} {device.name}"), family.meter,
        family.claim(f"{device.host}:{device.port}/mqtt {settings.client_id}"),
        Notices(device, family.outlet, ctx.clock), own, family.kept,
    )  # fmt: skip
    account = Account(
        settings.client_id, settings.user, read_secret(secrets, settings.password_file) if settings.user else "",
        settings.keepalive_s, client_tls(secrets, settings.ca_file) if settings.tls else None,
    )  # fmt: skip
    hub.connect(MqttLink(
        device.host, device.port, account, settings.queue, device.timeout_s, hub.arrived,
        read_only=ctx.site.read_only, mono_ns=ctx.clock.mono_ns,
    ))  # fmt: skip
    return hub
