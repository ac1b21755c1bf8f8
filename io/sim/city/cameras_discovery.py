"""The simulated cameras answer WS-Discovery probes that come to this machine, as real ones answer those to their host.

Source: OASIS WS-Discovery 1.1 §5.3 (unicast probe to port 3702).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import cast
from xml.sax.saxutils import escape

from gwanje.io.field.onvif.safe_xml import XmlError, parse

PORT = 3702
PROBE_BYTES_MAX = 4_096
LOG = logging.getLogger(__name__)


def answer(probe: bytes, addresses: Sequence[str]) -> bytes:
    """What is said to a probe; empty for what is none.

    Args:
        probe: a datagram.
        addresses: of all cameras' device services.
    """
    if len(probe) > PROBE_BYTES_MAX:
        return b""
    try:
        root = parse(probe)
    except XmlError:
        return b""
    asked = next((one.text for one in root.iter() if one.tag.endswith("}MessageID")), None)
    if not asked or not any(one.tag.endswith("}Probe") for one in root.iter()):
        return b""
    matches = "".join(
        f"<d:ProbeMatch><a:EndpointReference><a:Address>urn:simulated:{n}</a:Address></a:EndpointReference>"
        f"<d:Types>dn:NetworkVideoTransmitter</d:Types><d:XAddrs>{escape(one)}</d:XAddrs>"
        "<d:MetadataVersion>1</d:MetadataVersion></d:ProbeMatch>"
        for n, one in enumerate(addresses)
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?><s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" '
        'xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing" '
        'xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery" xmlns:dn="http://www.onvif.org/ver10/network/wsdl">'
        f"<s:Header><a:RelatesTo>{escape(asked)}</a:RelatesTo></s:Header>"
        f"<s:Body><d:ProbeMatches>{matches}</d:ProbeMatches></s:Body></s:Envelope>"
    ).encode()


class _Answers(asyncio.DatagramProtocol):
    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # asyncio's own is none by its class

    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        assert self._transport is not None, "made before anything comes"
        if said := answer(data, self._addresses):
            self._transport.sendto(said, addr)


async def listen(host: str, addresses: Sequence[str], port: int) -> asyncio.BaseTransport | None:
    """Answer probes until the transport is closed; None, with a line in the log, where somebody else does."""
    loop = asyncio.get_running_loop()
    try:
        transport, _ = await loop.create_datagram_endpoint(lambda: _Answers(addresses), local_addr=(host, port))
    except OSError as error:
        LOG.warning("the simulated cameras cannot be discovered: port %d of %s: %s", port, host, error.strerror)
        return None
    return transport
