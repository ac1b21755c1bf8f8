"""The ONVIF operations that are used: what is asked, as XML, and what an answer says, as data. Pure.

Sources: ONVIF Core, Media, Media2 (Profile T), PTZ and Event Service Specifications, 19.12.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import urlsplit

from gwanje.core.clock import NS_PER_S
from gwanje.io.field.onvif.safe_xml import XmlError, number, text
from gwanje.io.field.onvif.soap import NS, escape

PROFILES_MAX = 32
PRESETS_MAX = 256
"""PTZ cameras offer 100 to 256 presets."""
EVENTS_MAX = 64
"""Messages taken of one pull; the camera is asked for half as many."""
TEXT_MAX = 128
SPACE_CONTINUOUS_PT = "http://www.onvif.org/ver10/tptz/PanTiltSpaces/VelocityGenericSpace"
SPACE_CONTINUOUS_Z = "http://www.onvif.org/ver10/tptz/ZoomSpaces/VelocityGenericSpace"
SPACE_ABSOLUTE_PT = "http://www.onvif.org/ver10/tptz/PanTiltSpaces/PositionGenericSpace"
SPACE_ABSOLUTE_Z = "http://www.onvif.org/ver10/tptz/ZoomSpaces/PositionGenericSpace"


@dataclass(frozen=True, slots=True)
class Information:
    """Who the camera says it is."""

    manufacturer: str
    model: str
    firmware: str
    serial: str

    def __str__(self) -> str:
        return f"{self.manufacturer} {self.model} {self.firmware} (serial {self.serial})"


@dataclass(frozen=True, slots=True)
class MediaProfile:
    """A media profile; ``ptz`` when a PTZ configuration belongs to it."""

    token: str
    name: str
    ptz: bool


@dataclass(frozen=True, slots=True)
class Position:
    """Where a camera looks: pan and tilt −1…1, zoom 0…1; ``None`` where it does not say."""

    pan: float | None = None
    tilt: float | None = None
    zoom: float | None = None


@dataclass(frozen=True, slots=True)
class PtzStatus:
    """Position, and whether anything moves; ``None`` where the camera does not say."""

    position: Position
    moving: bool | None


@dataclass(frozen=True, slots=True)
class Preset:
    """A preset; its position where the camera tells it."""

    token: str
    name: str
    position: Position | None


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a pull: topic without prefixes, and its data."""

    topic: str
    data: Mapping[str, str] = field(default_factory=dict, hash=False)


def get_time() -> str:
    """Asked of anybody: the camera's clock."""
    return "<tds:GetSystemDateAndTime/>"


def parse_time(answer: ET.Element) -> int:
    """The camera's clock, UTC ns.

    Raises:
        XmlError: it tells none.
    """
    utc = answer.find("tds:SystemDateAndTime/tt:UTCDateTime", NS)
    if utc is None:
        raise XmlError("a clock without UTC")
    try:
        year, month, day = (int(text(utc.find(f"tt:Date/tt:{one}", NS))) for one in ("Year", "Month", "Day"))
        hour, minute, second = (int(text(utc.find(f"tt:Time/tt:{one}", NS))) for one in ("Hour", "Minute", "Second"))
        return round(datetime(year, month, day, hour, minute, min(second, 59), tzinfo=UTC).timestamp()) * NS_PER_S
    except (ValueError, OverflowError):
        raise XmlError("a clock that shows no time") from None


def get_information() -> str:
    """Who the camera is."""
    return "<tds:GetDeviceInformation/>"


def parse_information(answer: ET.Element) -> Information:
    """See :func:`get_information`."""
    names = ("Manufacturer", "Model", "FirmwareVersion", "SerialNumber")
    return Information(*(text(answer.find(f"tds:{one}", NS))[:TEXT_MAX] or "?" for one in names))


def get_services() -> str:
    """Which services the camera has, and where."""
    return "<tds:GetServices><tds:IncludeCapability>false</tds:IncludeCapability></tds:GetServices>"


def parse_services(answer: ET.Element) -> dict[str, str]:
    """Prefix of :data:`NS` → path."""
    prefixes = {value: key for key, value in NS.items()}
    found = {}
    for one in answer.findall("tds:Service", NS):
        prefix = prefixes.get(text(one.find("tds:Namespace", NS)))
        if prefix is not None and (path := path_of(text(one.find("tds:XAddr", NS)))):
            found[prefix] = path
    return found


def get_capabilities() -> str:
    """The same of older cameras."""
    return "<tds:GetCapabilities><tds:Category>All</tds:Category></tds:GetCapabilities>"


def parse_capabilities(answer: ET.Element) -> dict[str, str]:
    """See :func:`parse_services`."""
    names = {"Device": "tds", "Events": "tev", "Media": "trt", "PTZ": "tptz"}
    found = {}
    for name, prefix in names.items():
        if path := path_of(text(answer.find(f"tds:Capabilities/tt:{name}/tt:XAddr", NS))):
            found[prefix] = path
    return found


def path_of(address: str) -> str:
    """The path of an address: the host is the one that the site names, wherever the camera believes to be."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return ""
    path = parts.path or "/"
    bad = parts.scheme not in ("http", "https") or len(path) > 1_024 or any(sign.isspace() for sign in path)
    return "" if bad else path + (f"?{parts.query}" if parts.query else "")


def get_profiles(media: str) -> str:
    """Media profiles; ``media`` is ``trt`` or ``tr2``."""
    return "<trt:GetProfiles/>" if media == "trt" else "<tr2:GetProfiles><tr2:Type>PTZ</tr2:Type></tr2:GetProfiles>"


def parse_profiles(answer: ET.Element) -> list[MediaProfile]:
    """In the camera's order."""
    found = []
    for one in [*answer.findall("trt:Profiles", NS), *answer.findall("tr2:Profiles", NS)][:PROFILES_MAX]:
        name = text(one.find("tt:Name", NS)) or text(one.find("tr2:Name", NS))
        ptz = one.find("tt:PTZConfiguration", NS) is not None or one.find("tr2:Configurations/tr2:PTZ", NS) is not None
        if token := one.get("token", "")[:TEXT_MAX]:
            found.append(MediaProfile(token, name[:TEXT_MAX], ptz))
    return found


def get_stream_uri(media: str, profile: str) -> str:
    """Where the stream of a profile is."""
    token = escape(profile)
    if media == "tr2":
        return (
            f"<tr2:GetStreamUri><tr2:Protocol>RTSP</tr2:Protocol><tr2:ProfileToken>{token}</tr2:ProfileToken>"
            "</tr2:GetStreamUri>"
        )
    return (
        "<trt:GetStreamUri><trt:StreamSetup><tt:Stream>RTP-Unicast</tt:Stream><tt:Transport><tt:Protocol>RTSP"
        f"</tt:Protocol></tt:Transport></trt:StreamSetup><trt:ProfileToken>{token}</trt:ProfileToken></trt:GetStreamUri>"
    )


def parse_stream_uri(answer: ET.Element) -> str:
    """The address as the camera gives it.

    Raises:
        XmlError: it is no RTSP address.
    """
    uri = text(answer.find("trt:MediaUri/tt:Uri", NS)) or text(answer.find("tr2:Uri", NS))
    if not _is_rtsp(uri) or len(uri) > 1_024 or any(sign.isspace() for sign in uri):
        raise XmlError("a stream without RTSP address")
    return uri


def _is_rtsp(uri: str) -> bool:
    try:
        parts = urlsplit(uri)
        return parts.scheme == "rtsp" and (parts.port is None or parts.port > 0)
    except ValueError:  # a port beyond 65 535, half an IPv6 address
        return False


def get_audio_outputs() -> str:
    """Loudspeakers."""
    return "<trt:GetAudioOutputs/>"


def parse_audio_outputs(answer: ET.Element) -> int:
    """How many there are."""
    return len(answer.findall("trt:AudioOutputs", NS))


def get_decoders() -> str:
    """How the camera decodes what it is sent."""
    return "<trt:GetAudioDecoderConfigurations/>"


def parse_decoders(answer: ET.Element) -> int:
    """How many ways it has."""
    return len(answer.findall("trt:Configurations", NS))


def get_presets(profile: str) -> str:
    """Presets of a profile."""
    return f"<tptz:GetPresets><tptz:ProfileToken>{escape(profile)}</tptz:ProfileToken></tptz:GetPresets>"


def parse_presets(answer: ET.Element) -> list[Preset]:
    """In the camera's order."""
    found = []
    for one in answer.findall("tptz:Preset", NS)[:PRESETS_MAX]:
        place = one.find("tt:PTZPosition", NS)
        if token := one.get("token", "")[:TEXT_MAX]:
            position = None if place is None else _position(place)
            found.append(Preset(token, text(one.find("tt:Name", NS))[:TEXT_MAX], position))
    return found


def get_status(profile: str) -> str:
    """Where the camera looks, and whether it moves."""
    return f"<tptz:GetStatus><tptz:ProfileToken>{escape(profile)}</tptz:ProfileToken></tptz:GetStatus>"


def parse_status(answer: ET.Element) -> PtzStatus:
    """See :func:`get_status`.

    Raises:
        XmlError: it holds no status.
    """
    status = answer.find("tptz:PTZStatus", NS)
    if status is None:
        raise XmlError("an answer without PTZ status")
    place = status.find("tt:Position", NS)
    moves = [text(status.find(f"tt:MoveStatus/tt:{one}", NS)) for one in ("PanTilt", "Zoom")]
    known = [one for one in moves if one in ("IDLE", "MOVING")]
    moving = "MOVING" in known if known else None
    return PtzStatus(Position() if place is None else _position(place), moving)


def _position(place: ET.Element) -> Position:
    both, zoom = place.find("tt:PanTilt", NS), place.find("tt:Zoom", NS)
    return Position(number(both, "x"), number(both, "y"), number(zoom, "x"))


def goto_preset(profile: str, preset: str) -> str:
    """Go to a preset."""
    return (
        f"<tptz:GotoPreset><tptz:ProfileToken>{escape(profile)}</tptz:ProfileToken>"
        f"<tptz:PresetToken>{escape(preset)}</tptz:PresetToken></tptz:GotoPreset>"
    )


def goto_home(profile: str) -> str:
    """Go to the home position."""
    token = escape(profile)
    return f"<tptz:GotoHomePosition><tptz:ProfileToken>{token}</tptz:ProfileToken></tptz:GotoHomePosition>"


def absolute_move(profile: str, pan: float, tilt: float, zoom: float) -> str:
    """Look there."""
    return (
        f"<tptz:AbsoluteMove><tptz:ProfileToken>{escape(profile)}</tptz:ProfileToken><tptz:Position>"
        f'<tt:PanTilt x="{pan:.5f}" y="{tilt:.5f}" space="{SPACE_ABSOLUTE_PT}"/>'
        f'<tt:Zoom x="{zoom:.5f}" space="{SPACE_ABSOLUTE_Z}"/></tptz:Position></tptz:AbsoluteMove>'
    )


def continuous_move(profile: str, pan: float, tilt: float, zoom: float, timeout_s: float) -> str:
    """Move at these speeds, −1…1, until ``timeout_s`` is over: without it a camera would turn for ever when we die."""
    assert timeout_s > 0.0, "a move that never ends"
    return (
        f"<tptz:ContinuousMove><tptz:ProfileToken>{escape(profile)}</tptz:ProfileToken><tptz:Velocity>"
        f'<tt:PanTilt x="{pan:.4f}" y="{tilt:.4f}" space="{SPACE_CONTINUOUS_PT}"/>'
        f'<tt:Zoom x="{zoom:.4f}" space="{SPACE_CONTINUOUS_Z}"/></tptz:Velocity>'
        f"<tptz:Timeout>PT{timeout_s:.2f}S</tptz:Timeout></tptz:ContinuousMove>"
    )


def stop(profile: str) -> str:
    """Stop all axes."""
    return (
        f"<tptz:Stop><tptz:ProfileToken>{escape(profile)}</tptz:ProfileToken><tptz:PanTilt>true</tptz:PanTilt>"
        "<tptz:Zoom>true</tptz:Zoom></tptz:Stop>"
    )


def create_pull_point(lifetime_s: int) -> str:
    """Subscribe to events."""
    return (
        f"<tev:CreatePullPointSubscription><tev:InitialTerminationTime>PT{lifetime_s}S</tev:InitialTerminationTime>"
        "</tev:CreatePullPointSubscription>"
    )


def parse_pull_point(answer: ET.Element) -> str:
    """Path of the subscription.

    Raises:
        XmlError: it has none.
    """
    path = path_of(text(answer.find("tev:SubscriptionReference/wsa:Address", NS)))
    if not path:
        raise XmlError("a subscription without address")
    return path


def pull_messages(wait_s: float, limit: int) -> str:
    """Wait for events."""
    return (
        f"<tev:PullMessages><tev:Timeout>PT{wait_s:g}S</tev:Timeout><tev:MessageLimit>{limit}</tev:MessageLimit>"
        "</tev:PullMessages>"
    )


def parse_messages(answer: ET.Element) -> Sequence[Message]:
    """Messages in their order, the first :data:`EVENTS_MAX`."""
    found = []
    for one in answer.findall("wsnt:NotificationMessage", NS)[:EVENTS_MAX]:
        topic = "/".join(part.rpartition(":")[2] for part in text(one.find("wsnt:Topic", NS))[:TEXT_MAX * 2].split("/"))
        items = one.findall("wsnt:Message/tt:Message/tt:Data/tt:SimpleItem", NS)[:16]
        found.append(Message(topic, {item.get("Name", ""): item.get("Value", "") for item in items}))
    return found


def renew(lifetime_s: int) -> str:
    """Keep a subscription."""
    return f"<wsnt:Renew><wsnt:TerminationTime>PT{lifetime_s}S</wsnt:TerminationTime></wsnt:Renew>"


def unsubscribe() -> str:
    """End a subscription."""
    return "<wsnt:Unsubscribe/>"
