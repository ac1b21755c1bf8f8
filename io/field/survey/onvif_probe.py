"""Finding an ONVIF camera at a host: WS-Discovery by unicast, then who it is over HTTP. Asks, changes nothing.

Sources: OASIS WS-Discovery 1.1 §5, ONVIF Core Specification §7 (types ``tds:Device``, ``dn:NetworkVideoTransmitter``).
"""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp

from gwanje.core.clock import Clock
from gwanje.io.field.errors import LinkError
from gwanje.io.field.onvif.link import OnvifLink
from gwanje.io.field.onvif.safe_xml import XmlError, parse
from gwanje.io.field.onvif.soap import FaultError
from gwanje.io.field.rtsp.session import Login

DISCOVERY_PORT = 3702
DISCOVERY_NS = "http://schemas.xmlsoap.org/ws/2005/04/discovery"
ANSWERS_MAX = 64
"""Answers that are looked at: one host with several cameras behind it has a handful."""
PATH = "/onvif/device_service"


@dataclass(frozen=True, slots=True)
class Camera:
    """An ONVIF device that was found.

    Attributes:
        path: of its device service.
        maker: and model, firmware, serial number; empty when it tells them only to those who sign in.
        needs_login: it tells strangers nothing.
        ptz: it has drives, as far as it tells.
    """

    host: str
    port: int
    path: str
    needs_login: bool
    maker: str = ""
    model: str = ""
    firmware: str = ""
    serial: str = ""
    ptz: bool = False

    @property
    def name(self) -> str:
        """Manufacturer, model and firmware."""
        return " ".join(one for one in (self.maker, self.model, self.firmware) if one)


def probe_message(message_id: str) -> bytes:
    """A WS-Discovery Probe for ONVIF devices."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope" '
        'xmlns:w="http://schemas.xmlsoap.org/ws/2004/08/addressing" '
        f'xmlns:d="{DISCOVERY_NS}" xmlns:dn="http://www.onvif.org/ver10/network/wsdl">'
        f"<e:Header><w:MessageID>uuid:{message_id}</w:MessageID>"
        "<w:To>urn:schemas-xmlsoap-org:ws:2005:04:discovery</w:To>"
        f"<w:Action>{DISCOVERY_NS}/Probe</w:Action></e:Header>"
        "<e:Body><d:Probe><d:Types>dn:NetworkVideoTransmitter</d:Types></d:Probe></e:Body></e:Envelope>"
    ).encode()


def parse_matches(data: bytes, message_id: str, host: str) -> list[tuple[int, str]]:
    """Port and path of each device service in an answer to our probe; addresses of other hosts are not followed.

    Raises:
        XmlError: it is no XML, or more of it than anybody sends.
    """
    root = parse(data)
    relates = [one.text or "" for one in root.iter() if one.tag.endswith("}RelatesTo")]
    if not any(message_id in one for one in relates):
        return []
    found: list[tuple[int, str]] = []
    for addresses in (one.text or "" for one in root.iter(f"{{{DISCOVERY_NS}}}XAddrs")):
        for address in addresses.split():
            try:
                parts = urlsplit(address)
                port = parts.port or 80
            except ValueError:
                continue
            if parts.scheme == "http" and parts.hostname == host:
                found.append((port, parts.path or PATH))
    return list(dict.fromkeys(found))


class _Ear(asyncio.DatagramProtocol):
    """Collects answers."""

    def __init__(self, message_id: str, host: str) -> None:
        self._message_id, self._host = message_id, host
        self.found: dict[tuple[int, str], None] = {}
        self._n = 0

    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        self._n += 1
        if self._n > ANSWERS_MAX or addr[0] != self._host:
            return
        try:
            self.found.update(dict.fromkeys(parse_matches(data, self._message_id, self._host)))
        except XmlError:
            return  # not an answer; whoever sent it is not what is looked for

    def error_received(self, exc: Exception) -> None:
        """Nobody listens at the discovery port: there will be no answer."""


async def probe(address: str, wait_s: float, port: int = DISCOVERY_PORT) -> list[tuple[int, str]]:
    """Ask one address for its ONVIF device services; port and path of each."""
    message_id = str(uuid.uuid4())
    loop = asyncio.get_running_loop()
    ear = _Ear(message_id, address)
    transport, _ = await loop.create_datagram_endpoint(lambda: ear, remote_addr=(address, port))
    try:
        transport.sendto(probe_message(message_id))
        await asyncio.sleep(wait_s)
    finally:
        transport.close()
    return list(ear.found)


async def identify(
    session: aiohttp.ClientSession, host: str, port: int, path: str, timeout_s: float, clock: Clock
) -> Camera | None:
    """Who answers at a device service; None when nobody does or it is no camera."""
    link = OnvifLink(session, host, port, path, Login("", ""), timeout_s, clock, read_only=True)
    try:
        found = await link.identify()
    except FaultError as fault:
        return Camera(host, port, path, needs_login=True) if fault.unauthorized else None
    except LinkError:
        return None
    known = found.information
    return Camera(
        host, port, path, needs_login=False, maker=known.manufacturer, model=known.model, firmware=known.firmware,
        serial=known.serial, ptz="tptz" in found.services,
    )  # fmt: skip
