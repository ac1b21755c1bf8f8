"""The scan over real sockets: SunSpec devices, closed ports, what speaks something else, and ONVIF's own discovery."""

import asyncio
from dataclasses import replace

import pytest
from street_rig import free_ports

from gwanje.core.clock import SystemClock
from gwanje.io.field.onvif.safe_xml import XmlError
from gwanje.io.field.survey.onvif_probe import PATH, parse_matches, probe, probe_message
from gwanje.io.field.survey.targets import Target
from gwanje.io.field.survey.tool import as_json, lines, look_at
from gwanje.io.sim.city.cameras import CamerasSim
from gwanje.io.sim.city.cameras_discovery import answer
from gwanje.io.sim.images import build_image
from gwanje.io.sim.main import build_plant
from gwanje.io.sim.server import DeviceServer

from ..onvif.rig import fleet

MATCH = """<?xml version="1.0"?><e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope"
 xmlns:w="http://schemas.xmlsoap.org/ws/2004/08/addressing" xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery">
<e:Header><w:RelatesTo>uuid:{id}</w:RelatesTo></e:Header><e:Body><d:ProbeMatches><d:ProbeMatch>
<d:XAddrs>{addresses}</d:XAddrs></d:ProbeMatch></d:ProbeMatches></e:Body></e:Envelope>"""


@pytest.fixture(scope="module")
def battery(pytestconfig):
    """A battery of the default site, as its simulator serves it."""
    from gwanje.core.site.config import load_site

    root = pytestconfig.rootpath / "configs" / "chungbuk"
    site = load_site(root)
    device = site.device("ess1")
    plant = build_plant(site)
    plant.advance(0.01)
    return device, plant


async def served(battery, body):
    device, plant = battery
    server = DeviceServer("ess1", "127.0.0.1", 0, device.unit_id, build_image(device, plant))
    await server.open()
    try:
        return await body(server.port)
    finally:
        await server.close()


def looked(*ports, units=(1,)):
    return look_at(Target("127.0.0.1", "127.0.0.1", ports, units), 0.3, discovery_port=9)


def test_a_sunspec_device_is_found_with_its_models_and_values(battery):
    found = asyncio.run(served(battery, lambda port: looked(port)))
    (one,) = found.devices
    assert one.discovery.identity
    assert {1, 704, 713} <= set(one.values)
    assert one.values[704]["WSet"] is not None
    assert found.whole
    assert found.cameras == []
    (line,) = lines(found)
    assert "SunSpec" in line
    assert "unit 1" in line
    assert as_json(found)["sunspec"][0]["models"][0] == 1


def test_ports_where_nobody_answers_are_counted_and_foreign_ones_named(battery):
    async def body(port):
        async def greet(_reader, writer):
            writer.write(b"220 mail.example.org ready\r\n" * 20)
            await writer.drain()
            writer.close()

        other = await asyncio.start_server(greet, "127.0.0.1", 0)
        foreign = other.sockets[0].getsockname()[1]
        try:
            return foreign, await looked(port, foreign, 1)
        finally:
            other.close()

    foreign, found = asyncio.run(served(battery, body))
    assert len(found.devices) == 1
    assert found.closed == 1
    assert len(found.notes) == 1
    assert found.notes[0].startswith(f"port {foreign}: ")
    assert lines(found)[-1] == "nobody answers at 1 of 3 ports"


def test_a_web_server_that_is_no_camera_is_named_as_what_it_is():
    async def scenario():
        async def refuse(_reader, writer):
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(refuse, "127.0.0.1", 0)
        try:
            return await looked(server.sockets[0].getsockname()[1])
        finally:
            server.close()

    (note,) = asyncio.run(scenario()).notes
    assert note.endswith("speaks HTTP, but no ONVIF at /onvif/device_service")


def test_a_port_that_takes_connections_and_says_nothing_does_not_hold_the_scan_up(battery):
    async def body(port):
        other = await asyncio.start_server(lambda _r, _w: asyncio.sleep(60), "127.0.0.1", 0)
        try:
            return await looked(other.sockets[0].getsockname()[1], port)
        finally:
            other.close()

    found = asyncio.run(served(battery, body))
    assert len(found.devices) == 1
    assert len(found.notes) == 1


def test_a_unit_that_is_not_there_is_not_a_device(battery):
    device, _ = battery
    found = asyncio.run(served(battery, lambda port: looked(port, units=(device.unit_id, device.unit_id + 7))))
    assert [one.unit for one in found.devices] == [device.unit_id]


# ---------------------------------------------------------------- ONVIF


def test_a_probe_is_answered_and_only_that_answer_counts():
    class Cameras(asyncio.DatagramProtocol):
        def connection_made(self, transport):
            self.transport = transport

        def datagram_received(self, data, addr):
            message_id = data.decode().partition("uuid:")[2].partition("<")[0]
            here = f"http://127.0.0.1:8080{PATH} http://127.0.0.1/onvif/two http://192.0.2.9/onvif/three https://127.0.0.1/x"
            self.transport.sendto(b"garbage", addr)
            self.transport.sendto(MATCH.format(id="another", addresses=here).encode(), addr)
            self.transport.sendto(MATCH.format(id=message_id, addresses=here).encode(), addr)
            self.transport.sendto(MATCH.format(id=message_id, addresses=here).encode(), addr)

    async def scenario():
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(Cameras, local_addr=("127.0.0.1", 0))
        try:
            return await probe("127.0.0.1", 0.3, transport.get_extra_info("sockname")[1])
        finally:
            transport.close()

    assert asyncio.run(scenario()) == [(8080, PATH), (80, "/onvif/two")]


def test_nobody_at_the_discovery_port_is_no_camera():
    assert asyncio.run(probe("127.0.0.1", 0.05, 9)) == []


def test_hostile_answers_are_refused():
    bomb = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>'
    for data in (b"", b"\xff\xfe", bomb):
        with pytest.raises(XmlError):
            parse_matches(data, "1", "127.0.0.1")
    strange = MATCH.format(id="1", addresses="http://127.0.0.1:99999/x http://[::1/y http://127.0.0.1:8081/z").encode()
    assert parse_matches(strange, "1", "127.0.0.1") == [(8081, "/z")]


def test_the_probe_is_the_message_that_cameras_know():
    text = probe_message("7").decode()
    assert "<w:MessageID>uuid:7</w:MessageID>" in text
    assert "dn:NetworkVideoTransmitter" in text


def test_simulated_cameras_are_found_and_say_what_they_are():
    (http, discovery), (devices, _) = free_ports(2), fleet(3)
    placed = [replace(one, port=http, address=f"/{one.name}/device_service") for one in devices]
    sim = CamerasSim(placed, SystemClock(), 1, discovery)

    async def scenario():
        await sim.open()
        sim.cameras[placed[2].name].login = ("operator", "another")
        try:
            return await look_at(Target("127.0.0.1", "127.0.0.1", (), ()), 0.5, discovery)
        finally:
            await sim.close()

    found = asyncio.run(scenario())
    assert {one.path for one in found.cameras} == {one.address for one in placed}
    assert all(one.port == http for one in found.cameras)
    assert all(one.needs_login or one.model for one in found.cameras)


def test_what_is_no_probe_is_not_answered():
    assert answer(b"", ()) == b""
    assert answer(b"<a/>", ()) == b""
    assert answer(b"x" * 5_000, ()) == b""
    assert parse_matches(answer(probe_message("7"), ["http://127.0.0.1:81/a&b"]), "7", "127.0.0.1") == [(81, "/a&b")]
