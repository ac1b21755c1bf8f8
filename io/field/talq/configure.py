"""What we ask a gateway to do by itself: a group of all its lamps, and three loggers that report to our door."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gwanje.io.field.errors import InvalidReplyError, WriteForbiddenError
from gwanje.io.field.talq import messages
from gwanje.io.field.talq.link import RefusedError, TalqLink
from gwanje.io.field.talq.points import LOST, Member
from gwanje.io.field.talq.settings import GatewaySettings

CHANGE_PCT = {"activePower": 5, "lightLevel": 10}
"""Attributes that flicker: told in between only when they change by so many percent."""
HTTP_CONFLICT = 409


async def configure(
    link: TalqLink, names: tuple[str, str], cms: str, gateway: str, zone: str, members: Sequence[Member],
    settings: GatewaySettings, now_utc_ns: int,
) -> None:  # fmt: skip
    """Make or renew the group and the loggers.

    Args:
        link: to the gateway.
        names: of the site and of the gateway, of which addresses are made.
        cms: our address.
        gateway: its address.
        zone: address of the group.
        members: behind the gateway, itself last.
        settings: how often it samples and reports.
        now_utc_ns: beginning of the samples.

    Raises:
        LinkError: it does not answer, or refuses.
    """
    known = [one.address for one in members[:-1] if one.address]
    sources = [messages.reference("devices", gateway)]
    if known:
        group = messages.group(zone, cms, known)
        await _put(link, "/groups", [group], zone, group)
        sources.append(messages.reference("groups", zone))
    for name, every_s in (("changes", settings.sample_s), ("refresh", settings.refresh_s)):
        address = messages.address_of(names[0], name, names[1])
        what = content(members, changes=name == "changes")
        logger = messages.periodic_logger(address, cms, sources, what, every_s, now_utc_ns)
        await _put(link, "/logger-configs", logger, address, logger)
    address = messages.address_of(names[0], "events", names[1])
    logger = messages.event_logger(address, cms, sources, events(members))
    await _put(link, "/logger-configs", logger, address, logger)


async def _put(link: TalqLink, path: str, new: Any, address: str, changed: Any) -> None:
    """Create something, or change it where it is there already."""
    try:
        try:
            await link.send("POST", path, new)
        except RefusedError as error:
            if error.status != HTTP_CONFLICT:
                raise
            await link.send("PUT", f"{path}/{address}", changed)
    except RefusedError as error:
        raise InvalidReplyError(f"{path}: {error}") from None
    except WriteForbiddenError as error:
        raise AssertionError("a read-only site configures nothing") from error


def content(members: Sequence[Member], *, changes: bool) -> messages.Content:
    """What is sampled of all devices, by function; counters change all the time and wait for the full report."""
    found: dict[str, dict[str, int | None]] = {}
    for member in (members[0], members[-1]):
        for target in member.targets:
            if target.place.faults and changes:
                continue  # events tell these
            for name in target.place.names:
                if not (changes and "nergy" in name):
                    found.setdefault(target.place.function, {})[name] = CHANGE_PCT.get(name, 0) if changes else None
    if not changes:
        found.setdefault("CommunicationFunction", {})[LOST] = None
    return {function: list(names.items()) for function, names in found.items()}


def events(members: Sequence[Member]) -> set[str]:
    """Faults whose begin and end the gateway tells at once."""
    faults = {name for one in members for target in one.targets if target.place.faults for name in target.place.names}
    return faults | {LOST}
