"""The web services of a simulated camera: SOAP in, SOAP out. No sockets; time is told by who calls.

Written from the ONVIF specifications and their WSDL, apart from the driver's own messages; zeep with the official WSDL
files holds both to them in ``tests/peers``.
"""

from __future__ import annotations

import base64
import hashlib
import re
import xml.etree.ElementTree as ET
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from xml.sax.saxutils import escape, quoteattr

from gwanje.io.field.onvif.safe_xml import XmlError, parse
from gwanje.io.sim.city.cameras_events import EVENTS_MAX, TOPICS, Subscription, notification, stamp
from gwanje.io.sim.city.cameras_ptz import Place, Turret

S = "http://www.w3.org/2003/05/soap-envelope"
WSSE = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
WSU = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd"
SPACES = {
    "tds": "http://www.onvif.org/ver10/device/wsdl", "trt": "http://www.onvif.org/ver10/media/wsdl",
    "tptz": "http://www.onvif.org/ver20/ptz/wsdl", "tev": "http://www.onvif.org/ver10/events/wsdl",
    "tt": "http://www.onvif.org/ver10/schema", "wsnt": "http://docs.oasis-open.org/wsn/b-2",
    "wsa": "http://www.w3.org/2005/08/addressing", "ter": "http://www.onvif.org/ver10/error",
    "tns1": "http://www.onvif.org/ver10/topics",
}  # fmt: skip
_DECLARED = " ".join(f'xmlns:{key}="{value}"' for key, value in SPACES.items())
CLOCK_NS = 5_000_000_000
"""A token's time may be off by so much."""
NONCES_MAX = 256
SUBSCRIPTIONS_MAX = 8
ANYBODY = ("GetSystemDateAndTime", "GetServices", "GetCapabilities")
"""Operations that need no user (ONVIF Core §5.12.1: access class PRE_AUTH)."""
_DURATION = re.compile(r"PT(\d{1,5}(?:\.\d{1,6})?)S")


class Refusal(Exception):
    """The camera refuses; the fault's subcodes and reason."""

    def __init__(self, codes: tuple[str, ...], reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.codes, self.status = codes, status


@dataclass(slots=True)
class Camera:
    """One simulated camera.

    Attributes:
        path: prefix of its services.
        login: user and password.
        stream: address of its RTSP stream.
        skew_ns: its clock minus ours.
        ptz: whether it turns.
        speaks: whether it has a loudspeaker.
        old: does not know GetServices, as cameras before 2011.
        tokens: reads WS-Security; else whoever serves it has checked who asks.
        states: of its events.
        asked: operation → how often.
        counter: of subscriptions.
    """

    name: str
    path: str
    login: tuple[str, str]
    stream: str = ""
    skew_ns: int = 0
    ptz: bool = True
    model: str = "PTZ-1"
    speaks: bool = True
    old: bool = False
    tokens: bool = True
    turret: Turret = field(default_factory=Turret)
    states: dict[str, bool] = field(default_factory=lambda: dict.fromkeys(TOPICS, False))
    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)
    counter: int = 0
    _nonces: deque[bytes] = field(default_factory=lambda: deque(maxlen=NONCES_MAX))

    def answer(
        self, data: bytes, here: str, host: str, utc_ns: int, mono_ns: int, came_utc_ns: int = 0
    ) -> tuple[int, bytes]:
        """Status and body for one request; a pull that finds nothing is answered empty.

        Args:
            data: as it came.
            here: path that it came to.
            host: ``host:port`` that it came to.
            utc_ns: our clock.
            mono_ns: for moves.
            came_utc_ns: when the request came, if not now: a pull that was held back proved itself then.
        """
        self.turret.advance(mono_ns)
        try:
            request, header = _opened(data)
            operation = request.tag.rpartition("}")[2]
            if operation not in ANYBODY and self.tokens:
                self._check(header, (came_utc_ns or utc_ns) + self.skew_ns)
            self.asked[operation] = self.asked.get(operation, 0) + 1
            handler = HANDLERS.get(operation)
            if handler is None or (self.old and operation == "GetServices"):
                raise Refusal(("Receiver", "ActionNotSupported"), f"no operation {operation}", 500)
            return 200, envelope(handler(self, request, here, host, utc_ns + self.skew_ns, mono_ns))
        except Refusal as refusal:
            return refusal.status, fault(refusal.codes, str(refusal))
        except XmlError as error:
            return 400, fault(("Sender", "WellFormed"), str(error))

    def _check(self, header: ET.Element | None, now_ns: int) -> None:
        token = header.find(f"{{{WSSE}}}Security/{{{WSSE}}}UsernameToken") if header is not None else None
        refused = Refusal(("Sender", "NotAuthorized"), "Sender not authorized")
        if token is None:
            raise refused
        user, password, nonce, created = (
            (token.findtext(f"{{{space}}}{name}") or "").strip()
            for space, name in ((WSSE, "Username"), (WSSE, "Password"), (WSSE, "Nonce"), (WSU, "Created"))
        )
        try:
            raw = base64.b64decode(nonce, validate=True)
            said_ns = round(datetime.fromisoformat(created).timestamp() * 1e9)
        except ValueError:
            raise refused from None
        digest = hashlib.sha1(raw + created.encode() + self.login[1].encode(), usedforsecurity=False).digest()
        if user != self.login[0] or password != base64.b64encode(digest).decode() or raw in self._nonces:
            raise refused
        if abs(said_ns - now_ns) > CLOCK_NS:
            raise refused
        self._nonces.append(raw)

    def event(self, name: str, state: bool, utc_ns: int) -> None:
        """Something happened; every subscription that lives hears of it."""
        self.states[name] = state
        now_ns = utc_ns + self.skew_ns
        self.subscriptions = {key: one for key, one in self.subscriptions.items() if one.until_ns > now_ns}
        for one in self.subscriptions.values():
            one.waiting.append(notification(name, state, now_ns, "Changed"))


def _opened(data: bytes) -> tuple[ET.Element, ET.Element | None]:
    root = parse(data)
    body = root.find(f"{{{S}}}Body")
    request = next(iter(body), None) if body is not None else None
    if root.tag != f"{{{S}}}Envelope" or request is None:
        raise Refusal(("Sender", "WellFormed"), "no SOAP 1.2 envelope")
    return request, root.find(f"{{{S}}}Header")


def envelope(body: str) -> bytes:
    """An answer."""
    return f'<?xml version="1.0"?><s:Envelope xmlns:s="{S}" {_DECLARED}><s:Body>{body}</s:Body></s:Envelope>'.encode()


def fault(codes: tuple[str, ...], reason: str) -> bytes:
    """A fault."""
    inner = ""
    for code in reversed(codes[1:]):
        inner = f"<s:Subcode><s:Value>ter:{code}</s:Value>{inner}</s:Subcode>"
    return envelope(
        f"<s:Fault><s:Code><s:Value>s:{codes[0]}</s:Value>{inner}</s:Code>"
        f'<s:Reason><s:Text xml:lang="en">{escape(reason)}</s:Text></s:Reason></s:Fault>'
    )


def _find(request: ET.Element, path: str) -> ET.Element | None:
    return request.find(path, SPACES)


def _text(request: ET.Element, path: str) -> str:
    return (request.findtext(path, "", SPACES) or "").strip()


def duration_s(text: str, default: float | None) -> float | None:
    """Seconds of an XML duration of seconds; what has none is the default."""
    found = _DURATION.fullmatch(text)
    return float(found[1]) if found else default


def _time(camera: Camera, request: ET.Element, here: str, host: str, now_ns: int, mono_ns: int) -> str:
    del camera, request, here, host, mono_ns
    now = datetime.fromtimestamp(now_ns // 1_000_000_000, UTC)
    return (
        "<tds:GetSystemDateAndTimeResponse><tds:SystemDateAndTime><tt:DateTimeType>NTP</tt:DateTimeType>"
        "<tt:DaylightSavings>false</tt:DaylightSavings><tt:UTCDateTime>"
        f"<tt:Time><tt:Hour>{now.hour}</tt:Hour><tt:Minute>{now.minute}</tt:Minute><tt:Second>{now.second}</tt:Second>"
        f"</tt:Time><tt:Date><tt:Year>{now.year}</tt:Year><tt:Month>{now.month}</tt:Month><tt:Day>{now.day}</tt:Day>"
        "</tt:Date></tt:UTCDateTime></tds:SystemDateAndTime></tds:GetSystemDateAndTimeResponse>"
    )


def _information(camera: Camera, *_: object) -> str:
    return (
        "<tds:GetDeviceInformationResponse><tds:Manufacturer>Gwanje simulated city</tds:Manufacturer>"
        f"<tds:Model>{camera.model}</tds:Model><tds:FirmwareVersion>1.0</tds:FirmwareVersion>"
        f"<tds:SerialNumber>{escape(camera.name)}</tds:SerialNumber><tds:HardwareId>sim</tds:HardwareId>"
        "</tds:GetDeviceInformationResponse>"
    )


def _services(camera: Camera, request: ET.Element, here: str, host: str, *_: object) -> str:
    del request, here
    listed = ["tds", "trt", "tev", *(["tptz"] if camera.ptz else [])]
    whole = "".join(
        f"<tds:Service><tds:Namespace>{SPACES[one]}</tds:Namespace><tds:XAddr>http://{host}{camera.path}/{one}"
        "</tds:XAddr><tds:Version><tt:Major>2</tt:Major><tt:Minor>60</tt:Minor></tds:Version></tds:Service>"
        for one in listed
    )
    return f"<tds:GetServicesResponse>{whole}</tds:GetServicesResponse>"


def _capabilities(camera: Camera, request: ET.Element, here: str, host: str, *_: object) -> str:
    del request, here
    places = {"Device": "tds", "Events": "tev", "Media": "trt", **({"PTZ": "tptz"} if camera.ptz else {})}
    whole = "".join(
        f"<tt:{name}><tt:XAddr>http://{host}{camera.path}/{path}</tt:XAddr></tt:{name}>"
        for name, path in places.items()
    )
    return f"<tds:GetCapabilitiesResponse><tds:Capabilities>{whole}</tds:Capabilities></tds:GetCapabilitiesResponse>"


def _profiles(camera: Camera, *_: object) -> str:
    ptz = (
        '<tt:PTZConfiguration token="P1"><tt:Name>ptz</tt:Name><tt:UseCount>1</tt:UseCount>'
        "<tt:NodeToken>N1</tt:NodeToken></tt:PTZConfiguration>" if camera.ptz else ""
    )  # fmt: skip
    return (
        '<trt:GetProfilesResponse><trt:Profiles token="main" fixed="true"><tt:Name>main</tt:Name>'
        f"{ptz}</trt:Profiles></trt:GetProfilesResponse>"
    )


def _stream(camera: Camera, *_: object) -> str:
    return (
        f"<trt:GetStreamUriResponse><trt:MediaUri><tt:Uri>{escape(camera.stream)}</tt:Uri>"
        "<tt:InvalidAfterConnect>false</tt:InvalidAfterConnect><tt:InvalidAfterReboot>false</tt:InvalidAfterReboot>"
        "<tt:Timeout>PT0S</tt:Timeout></trt:MediaUri></trt:GetStreamUriResponse>"
    )


def _outputs(camera: Camera, *_: object) -> str:
    output = '<trt:AudioOutputs token="A1"/>' if camera.speaks else ""
    return f"<trt:GetAudioOutputsResponse>{output}</trt:GetAudioOutputsResponse>"


def _decoders(camera: Camera, *_: object) -> str:
    del camera
    return (
        '<trt:GetAudioDecoderConfigurationsResponse><trt:Configurations token="D1"><tt:Name>G.711</tt:Name>'
        "<tt:UseCount>1</tt:UseCount></trt:Configurations></trt:GetAudioDecoderConfigurationsResponse>"
    )


def _place(place: Place) -> str:
    return (
        f'<tt:PanTilt x="{place["pan"]:.5f}" y="{place["tilt"]:.5f}" '
        'space="http://www.onvif.org/ver10/tptz/PanTiltSpaces/PositionGenericSpace"/>'
        f'<tt:Zoom x="{place["zoom"]:.5f}" space="http://www.onvif.org/ver10/tptz/ZoomSpaces/PositionGenericSpace"/>'
    )


def _presets(camera: Camera, *_: object) -> str:
    _turns(camera)
    listed = "".join(
        f"<tptz:Preset token={quoteattr(token)}><tt:Name>{escape(name)}</tt:Name>"
        f"<tt:PTZPosition>{_place(place)}</tt:PTZPosition></tptz:Preset>"
        for token, (name, place) in camera.turret.presets.items()
    )
    return f"<tptz:GetPresetsResponse>{listed}</tptz:GetPresetsResponse>"


def _status(camera: Camera, request: ET.Element, here: str, host: str, now_ns: int, mono_ns: int) -> str:
    del request, here, host, mono_ns
    _turns(camera)
    word = "MOVING" if camera.turret.moving else "IDLE"
    return (
        f"<tptz:GetStatusResponse><tptz:PTZStatus><tt:Position>{_place(camera.turret.place)}</tt:Position>"
        f"<tt:MoveStatus><tt:PanTilt>{word}</tt:PanTilt><tt:Zoom>{word}</tt:Zoom></tt:MoveStatus>"
        f"<tt:UtcTime>{stamp(now_ns)}</tt:UtcTime></tptz:PTZStatus></tptz:GetStatusResponse>"
    )


def _turns(camera: Camera) -> Turret:
    if not camera.ptz:
        raise Refusal(("Sender", "InvalidArgVal", "NoPTZProfile"), "the profile has no PTZ")
    return camera.turret


def _vector(request: ET.Element, path: str, default: float) -> Place:
    both, zoom = _find(request, f"{path}/tt:PanTilt"), _find(request, f"{path}/tt:Zoom")
    try:
        return {
            "pan": float(both.get("x", "")) if both is not None else default,
            "tilt": float(both.get("y", "")) if both is not None else default,
            "zoom": float(zoom.get("x", "")) if zoom is not None else default,
        }
    except ValueError:
        raise Refusal(("Sender", "InvalidArgVal", "InvalidPosition"), "no position") from None


def _goto(camera: Camera, request: ET.Element, *_: object) -> str:
    turret = _turns(camera)
    token = _text(request, "tptz:PresetToken")
    if token not in turret.presets:
        raise Refusal(("Sender", "InvalidArgVal", "NoToken"), "the preset does not exist")
    turret.go(turret.presets[token][1])
    return "<tptz:GotoPresetResponse/>"


def _home(camera: Camera, *_: object) -> str:
    turret = _turns(camera)
    turret.go(turret.home)
    return "<tptz:GotoHomePositionResponse/>"


def _absolute(camera: Camera, request: ET.Element, *_: object) -> str:
    _turns(camera).go(_vector(request, "tptz:Position", 0.0))
    return "<tptz:AbsoluteMoveResponse/>"


def _continuous(camera: Camera, request: ET.Element, here: str, host: str, now_ns: int, mono_ns: int) -> str:
    del here, host, now_ns
    velocity = _vector(request, "tptz:Velocity", 0.0)
    _turns(camera).turn(velocity, mono_ns, duration_s(_text(request, "tptz:Timeout"), None))
    return "<tptz:ContinuousMoveResponse/>"


def _stop(camera: Camera, *_: object) -> str:
    _turns(camera).stop()
    return "<tptz:StopResponse/>"


def _subscribe(camera: Camera, request: ET.Element, here: str, host: str, now_ns: int, mono_ns: int) -> str:
    del here, mono_ns
    camera.subscriptions = {key: one for key, one in camera.subscriptions.items() if one.until_ns > now_ns}
    if len(camera.subscriptions) >= SUBSCRIPTIONS_MAX:
        raise Refusal(("Receiver", "Action", "TooManyPullPoints"), "too many pull points", 500)
    life_s = min(duration_s(_text(request, "tev:InitialTerminationTime"), 60.0) or 60.0, 3_600.0)
    camera.counter += 1
    one = Subscription(now_ns + round(life_s * 1e9))
    one.waiting.extend(notification(name, state, now_ns, "Initialized") for name, state in camera.states.items())
    camera.subscriptions[str(camera.counter)] = one
    return (
        "<tev:CreatePullPointSubscriptionResponse><tev:SubscriptionReference><wsa:Address>"
        f"http://{host}{camera.path}/pull/{camera.counter}</wsa:Address></tev:SubscriptionReference>"
        f"<wsnt:CurrentTime>{stamp(now_ns)}</wsnt:CurrentTime>"
        f"<wsnt:TerminationTime>{stamp(one.until_ns)}</wsnt:TerminationTime></tev:CreatePullPointSubscriptionResponse>"
    )


def _subscription(camera: Camera, here: str, now_ns: int) -> Subscription:
    one = camera.subscriptions.get(here.rpartition("/")[2])
    if one is None or one.until_ns <= now_ns:
        raise Refusal(("Sender", "InvalidArgVal"), "the subscription does not exist")
    return one


def _pull(camera: Camera, request: ET.Element, here: str, host: str, now_ns: int, mono_ns: int) -> str:
    del host, mono_ns
    one = _subscription(camera, here, now_ns)
    one.until_ns = max(one.until_ns, now_ns + 60_000_000_000)
    wanted = _text(request, "tev:MessageLimit")
    limit = min(int(wanted), EVENTS_MAX) if wanted.isascii() and wanted.isdigit() and len(wanted) < 6 else 1
    taken = "".join(one.waiting.popleft() for _ in range(min(limit, len(one.waiting))))
    return (
        f"<tev:PullMessagesResponse><tev:CurrentTime>{stamp(now_ns)}</tev:CurrentTime>"
        f"<tev:TerminationTime>{stamp(one.until_ns)}</tev:TerminationTime>{taken}</tev:PullMessagesResponse>"
    )


def _renew(camera: Camera, request: ET.Element, here: str, host: str, now_ns: int, mono_ns: int) -> str:
    del host, mono_ns
    one = _subscription(camera, here, now_ns)
    one.until_ns = now_ns + round((duration_s(_text(request, "wsnt:TerminationTime"), 60.0) or 60.0) * 1e9)
    return (
        f"<wsnt:RenewResponse><wsnt:TerminationTime>{stamp(one.until_ns)}</wsnt:TerminationTime>"
        f"<wsnt:CurrentTime>{stamp(now_ns)}</wsnt:CurrentTime></wsnt:RenewResponse>"
    )


def _unsubscribe(camera: Camera, request: ET.Element, here: str, *_: object) -> str:
    del request
    camera.subscriptions.pop(here.rpartition("/")[2], None)
    return "<wsnt:UnsubscribeResponse/>"


Handler = Callable[[Camera, ET.Element, str, str, int, int], str]
HANDLERS: Mapping[str, Handler] = {
    "GetSystemDateAndTime": _time, "GetDeviceInformation": _information, "GetServices": _services,
    "GetCapabilities": _capabilities,
    "GetProfiles": _profiles, "GetStreamUri": _stream, "GetAudioOutputs": _outputs,
    "GetAudioDecoderConfigurations": _decoders, "GetPresets": _presets, "GetStatus": _status, "GotoPreset": _goto,
    "GotoHomePosition": _home, "AbsoluteMove": _absolute, "ContinuousMove": _continuous, "Stop": _stop,
    "CreatePullPointSubscription": _subscribe, "PullMessages": _pull, "Renew": _renew, "Unsubscribe": _unsubscribe,
}  # fmt: skip
