"""Our simulated camera, asked by onvif-zeep-async with ONVIF's own WSDL files: our reading of the standard is theirs.

There is no ONVIF device of other people's make to be had here that answers honestly (npm onvif's mock matches its own
client's words with regular expressions); so the simulated camera, which the driver's tests use, is held to the standard
by an independent client, which validates every message against the official WSDL and schema files, and the driver's own
requests are read with the same files.
"""

from __future__ import annotations

import asyncio
import datetime
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

from gwanje.core.clock import SystemClock
from gwanje.io.field.onvif import messages
from gwanje.io.field.onvif.messages import Information, Position, Preset
from gwanje.io.field.onvif.soap import NS, Token, envelope
from gwanje.io.sim.city.cameras import LOGIN, CamerasSim

from ..io.onvif.rig import fleet

onvif = pytest.importorskip("onvif", reason="peer absent: onvif-zeep-async (pip install '.[test]')")
zeep_errors = pytest.importorskip("zeep.exceptions", reason="peer absent: zeep")
WSDL = Path(onvif.__file__).parent / "wsdl"


def test_an_independent_client_finds_moves_and_hears_our_camera():
    async def scenario():
        device = replace(fleet(1)[0][0], address="")
        sim = CamerasSim([device], SystemClock(), 1)
        await sim.open()
        name = device.name
        camera = onvif.ONVIFCamera(device.host, device.port, *LOGIN, str(WSDL))
        try:
            await camera.update_xaddrs()
            management = await camera.create_devicemgmt_service()
            told = await management.GetDeviceInformation()
            assert (told.Model, told.SerialNumber) == ("PTZ-1", name)
            clock = (await management.GetSystemDateAndTime()).UTCDateTime
            said = datetime.datetime(
                clock.Date.Year, clock.Date.Month, clock.Date.Day, clock.Time.Hour, clock.Time.Minute,
                clock.Time.Second, tzinfo=datetime.UTC,
            )  # fmt: skip
            assert abs((datetime.datetime.now(datetime.UTC) - said).total_seconds()) < 5
            media = await camera.create_media_service()
            (profile,) = await media.GetProfiles()
            assert profile.PTZConfiguration is not None
            setup = {"Stream": "RTP-Unicast", "Transport": {"Protocol": "RTSP"}}
            uri = await media.GetStreamUri({"StreamSetup": setup, "ProfileToken": profile.token})
            assert uri.Uri == sim.cameras[name].stream
            assert len(await media.GetAudioOutputs()) == 1
            assert len(await media.GetAudioDecoderConfigurations()) == 1
            ptz = await camera.create_ptz_service()
            presets = await ptz.GetPresets({"ProfileToken": profile.token})
            assert [one.token for one in presets] == ["Preset1", "Preset2", "Preset3", "Preset4"]
            assert float(presets[2].PTZPosition.PanTilt.x) == pytest.approx(0.4)
            status = await ptz.GetStatus({"ProfileToken": profile.token})
            assert status.MoveStatus.PanTilt == "IDLE"
            velocity = {"PanTilt": {"x": 0.5, "y": 0.0}, "Zoom": {"x": 0.0}}
            await ptz.ContinuousMove({
                "ProfileToken": profile.token, "Velocity": velocity, "Timeout": datetime.timedelta(seconds=0.5),
            })  # fmt: skip
            assert sim.state(name)["moving"]
            assert (await ptz.GetStatus({"ProfileToken": profile.token})).MoveStatus.PanTilt == "MOVING"
            await ptz.Stop({"ProfileToken": profile.token, "PanTilt": True, "Zoom": True})
            assert not sim.state(name)["moving"]
            await ptz.GotoPreset({"ProfileToken": profile.token, "PresetToken": "Preset3"})
            with pytest.raises(zeep_errors.Fault, match="does not exist"):
                await ptz.GotoPreset({"ProfileToken": profile.token, "PresetToken": "Preset9"})
            await listens(camera, sim, name)
        finally:
            await camera.close()
            await sim.close()

    asyncio.run(scenario())


async def listens(camera, sim: CamerasSim, name: str) -> None:
    """A pull point: the states at its beginning, then a change."""
    manager = await camera.create_pullpoint_manager(datetime.timedelta(seconds=60), lambda: None)
    service = manager.get_service()
    wanted = {"MessageLimit": 10, "Timeout": datetime.timedelta(seconds=2)}
    first = await service.PullMessages(wanted)
    topics = sorted(one.Topic._value_1 for one in first.NotificationMessage)
    assert topics == [
        "tns1:Device/Trigger/DigitalInput", "tns1:RuleEngine/CellMotionDetector/Motion",
        "tns1:RuleEngine/TamperDetector/Tamper",
    ]  # fmt: skip
    sim.event(name, "motion", True)
    (change,) = (await service.PullMessages(wanted)).NotificationMessage
    assert change.Message._value_1.Data.SimpleItem[0].Value == "true"
    await manager.shutdown()


def test_a_wrong_password_is_refused_to_everybody():
    async def scenario():
        device = replace(fleet(1)[0][0], address="")
        sim = CamerasSim([device], SystemClock(), 1)
        await sim.open()
        camera = onvif.ONVIFCamera(device.host, device.port, LOGIN[0], "wrong", str(WSDL))
        try:
            await camera.update_xaddrs()
            management = await camera.create_devicemgmt_service()
            with pytest.raises((onvif.ONVIFError, zeep_errors.Fault), match="authorized"):
                await management.GetDeviceInformation()
        finally:
            await camera.close()
            await sim.close()

    asyncio.run(scenario())


REQUESTS = [
    ("devicemgmt", "tds", messages.get_time()),
    ("devicemgmt", "tds", messages.get_information()),
    ("devicemgmt", "tds", messages.get_services()),
    ("devicemgmt", "tds", messages.get_capabilities()),
    ("media", "trt", messages.get_profiles("trt")),
    ("media", "trt", messages.get_stream_uri("trt", "p<1>")),
    ("media", "trt", messages.get_audio_outputs()),
    ("media", "trt", messages.get_decoders()),
    ("ptz", "tptz", messages.get_presets("p")),
    ("ptz", "tptz", messages.get_status("p")),
    ("ptz", "tptz", messages.goto_preset("p", "1")),
    ("ptz", "tptz", messages.goto_home("p")),
    ("ptz", "tptz", messages.absolute_move("p", 0.1, -0.2, 0.3)),
    ("ptz", "tptz", messages.continuous_move("p", 0.1, -0.2, 0.3, 1.5)),
    ("ptz", "tptz", messages.stop("p")),
    ("events", "tev", messages.create_pull_point(60)),
    ("events", "tev", messages.pull_messages(10.0, 32)),
]


@pytest.mark.parametrize(("file", "prefix", "body"), REQUESTS, ids=lambda one: one[:40] if isinstance(one, str) else "")
def test_our_requests_are_what_the_official_files_describe(file, prefix, body):
    from lxml import etree
    from zeep import Client, Settings

    client = Client(str(WSDL / f"{file}.wsdl"), settings=Settings(strict=True, xml_huge_tree=False))
    whole = etree.fromstring(envelope(body, Token("u", "p", 0, b"n")))
    (request,) = whole.find(f"{{{NS['s']}}}Body")
    element = client.get_element(request.tag)
    parsed = element.parse(request, client.wsdl.types)
    assert request.tag.startswith(f"{{{NS[prefix]}}}")
    if parsed is None:  # the files know it, and have it empty
        assert len(request) == 0
        return
    written = etree.Element("x")
    element.render(written, parsed)
    assert canonical(written[0]) == canonical(request)


def canonical(element) -> list:
    """Tags and attributes in their order; how numbers and durations are written does not matter."""
    return [(one.tag, sorted(one.attrib)) for one in element.iter()]


def test_answers_of_our_camera_are_read_by_both():
    camera = CamerasSim([fleet(1)[0][0]], SystemClock(), 1).cameras["cam1"]
    clock = SystemClock()

    def answered(body: str) -> ET.Element:
        from gwanje.io.field.onvif.soap import opened

        token = Token(*LOGIN, clock.utc_ns(), body.encode()[:64])
        status, data = camera.answer(envelope(body, token), f"{camera.path}/x", "h:1", clock.utc_ns(), clock.mono_ns())
        assert status == 200, data
        return opened(data, body[body.index(":") + 1 :].split("/")[0].split(">")[0] + "Response")

    assert messages.parse_information(answered(messages.get_information())) == Information(
        "Gwanje simulated city", "PTZ-1", "1.0", "cam1"
    )
    assert messages.parse_presets(answered(messages.get_presets("main")))[1] == Preset(
        "Preset2", "crossing", Position(0.0, -0.2, 0.0)
    )
    assert messages.parse_services(answered(messages.get_services())).keys() == {"tds", "trt", "tev", "tptz"}
