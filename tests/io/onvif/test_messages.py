"""XML, SOAP and ONVIF messages against what networks bring: bounds, entities, faults, cut and changed answers."""

from __future__ import annotations

import base64
import hashlib
import random

import pytest

from gwanje.core.clock import NS_PER_S, VirtualClock
from gwanje.io.field.onvif import messages
from gwanje.io.field.onvif.safe_xml import BYTES_MAX, DEPTH_MAX, XmlError, parse
from gwanje.io.field.onvif.soap import FaultError, Token, envelope, opened
from gwanje.io.sim.city.cameras import BOMB, LOGIN
from gwanje.io.sim.city.cameras_ptz import Turret
from gwanje.io.sim.city.cameras_soap import Camera


@pytest.mark.parametrize(
    "data",
    [
        b"", b"x", b"<a>", b"<a></b>", b"\xff\xfe<a/>", BOMB, b"<!DOCTYPE a><a/>",
        b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>', b"<a>&undefined;</a>",
        b"<a>" * (DEPTH_MAX + 1) + b"</a>" * (DEPTH_MAX + 1), b"<a>" + b"<b/>" * 20_001 + b"</a>",
        b" " * (BYTES_MAX + 1),
    ],
)  # fmt: skip
def test_dangerous_and_broken_xml_is_refused(data):
    with pytest.raises(XmlError):
        parse(data)


def test_what_python_reads_is_read_the_same():
    import xml.etree.ElementTree as ET

    data = envelope(messages.absolute_move("p & <q>", 0.1, -0.2, 0.3), Token("u", "p", 0, b"n"))
    ours, theirs = parse(data), ET.fromstring(data)
    assert [(one.tag, one.attrib, one.text) for one in ours.iter()] == [
        (one.tag, one.attrib, one.text) for one in theirs.iter()
    ]


def test_the_digest_is_the_one_of_the_standard():
    token = Token("user", "userpassword", 1_284_625_687 * NS_PER_S, base64.b64decode("LKqI6G/AikKCQrN0zqZFlg=="))
    whole = token.nonce + b"2010-09-16T08:28:07.000Z" + b"userpassword"
    assert token.digest == base64.b64encode(hashlib.sha1(whole).digest()).decode()


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (b"<html/>", XmlError, "no SOAP envelope"),
        (b'<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body/></s:Envelope>', XmlError, "without"),
        (
            b'<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body><Other/></s:Body></s:Envelope>',
            XmlError, "to something else",
        ),
        (
            b'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault>'
            b"<faultcode>ter:NotAuthorized</faultcode><faultstring>no</faultstring></s:Fault></s:Body></s:Envelope>",
            FaultError, "NotAuthorized: no",
        ),
    ],
)  # fmt: skip
def test_what_is_no_answer_is_an_error_with_words(data, error, words):
    with pytest.raises(error, match=words):
        opened(data, "GetStatusResponse")


PARSERS = {
    "GetSystemDateAndTime": (messages.get_time(), messages.parse_time),
    "GetDeviceInformation": (messages.get_information(), messages.parse_information),
    "GetServices": (messages.get_services(), messages.parse_services),
    "GetProfiles": (messages.get_profiles("trt"), messages.parse_profiles),
    "GetStreamUri": (messages.get_stream_uri("trt", "main"), messages.parse_stream_uri),
    "GetPresets": (messages.get_presets("main"), messages.parse_presets),
    "GetStatus": (messages.get_status("main"), messages.parse_status),
    "CreatePullPointSubscription": (messages.create_pull_point(60), messages.parse_pull_point),
}


def answers() -> dict[str, bytes]:
    clock = VirtualClock()
    camera = Camera("c", "/c", LOGIN, stream="rtsp://127.0.0.1/c", turret=Turret(presets={"1": ("a", Turret().place)}))
    found = {}
    for number, (name, (body, _)) in enumerate(PARSERS.items()):
        data = envelope(body, Token(*LOGIN, clock.utc_ns(), bytes([number])))
        status, found[name] = camera.answer(data, "/c/x", "h:1", clock.utc_ns(), clock.mono_ns())
        assert status == 200, found[name]
    return found


@pytest.mark.parametrize(
    "uri", ["rtsp://127.0.0.1:99999/c", "rtsp://[::1/c", "rtsp://h:x/c", "http://h/c", "rtsp://h/a b"]
)
def test_what_is_no_address_of_a_stream(uri):
    answer = answers()["GetStreamUri"].replace(b"rtsp://127.0.0.1/c", uri.encode())
    with pytest.raises(XmlError, match="without RTSP address"):
        messages.parse_stream_uri(opened(answer, "GetStreamUriResponse"))


@pytest.mark.parametrize("name", PARSERS)
def test_answers_that_are_cut_or_changed_are_read_or_refused_and_nothing_else(name):
    chance = random.Random(name)
    whole = answers()[name]
    parser = PARSERS[name][1]
    assert parser(opened(whole, f"{name}Response")) is not None
    for _ in range(1_500):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 6)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        data = data[: chance.randint(0, len(data))] if chance.random() < 0.3 else data
        try:
            parser(opened(bytes(data), f"{name}Response"))
        except (XmlError, FaultError):
            continue


def test_profile_t_cameras_are_understood():
    """Media2 (ver20), with the answers as ONVIF's Media2 specification gives them."""
    space = 'xmlns:tr2="http://www.onvif.org/ver20/media/wsdl" xmlns:tt="http://www.onvif.org/ver10/schema"'
    profiles = parse(
        f'<tr2:GetProfilesResponse {space}><tr2:Profiles token="a"><tr2:Name>main</tr2:Name><tr2:Configurations>'
        '<tr2:PTZ token="p"/></tr2:Configurations></tr2:Profiles><tr2:Profiles token="b"><tr2:Name>sub</tr2:Name>'
        "</tr2:Profiles></tr2:GetProfilesResponse>".encode()
    )
    assert messages.parse_profiles(profiles) == [
        messages.MediaProfile("a", "main", True), messages.MediaProfile("b", "sub", False)
    ]  # fmt: skip
    uri = f"<tr2:GetStreamUriResponse {space}><tr2:Uri>rtsp://10.0.0.9:554/a</tr2:Uri></tr2:GetStreamUriResponse>"
    assert messages.parse_stream_uri(parse(uri.encode())) == "rtsp://10.0.0.9:554/a"
    assert "<tr2:Protocol>RTSP</tr2:Protocol>" in messages.get_stream_uri("tr2", "a")
    for bad in ("http://x/", "rtsp://x/a b", ""):
        answer = f"<tr2:GetStreamUriResponse {space}><tr2:Uri>{bad}</tr2:Uri></tr2:GetStreamUriResponse>"
        with pytest.raises(XmlError):
            messages.parse_stream_uri(parse(answer.encode()))


def test_the_simulated_camera_survives_anything():
    chance = random.Random(3)
    clock = VirtualClock()
    camera = Camera("c", "/c", LOGIN)
    asked = [envelope(body, Token(*LOGIN, clock.utc_ns(), b"n")) for body, _ in PARSERS.values()]
    for _ in range(3_000):
        data = bytearray(chance.choice(asked))
        for _ in range(chance.randint(1, 8)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        status, answer = camera.answer(bytes(data), "/c/x", "h:1", clock.utc_ns(), clock.mono_ns())
        assert status in (200, 400, 500)
        assert parse(answer).tag.endswith("}Envelope")


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("http://10.0.0.9/onvif/ptz", "/onvif/ptz"), ("https://camera:8080/a?b=c", "/a?b=c"), ("http://[::1]/x", "/x"),
        ("ftp://x/y", ""), ("http://x/a b", ""), ("http://[/x", ""), ("", ""), ("javascript:alert(1)", ""),
    ],
)  # fmt: skip
def test_addresses_are_reduced_to_paths_of_the_host_that_the_site_names(address, path):
    assert messages.path_of(address) == path
