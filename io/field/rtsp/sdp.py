"""Session descriptions: which of a camera's tracks is its microphone, and in which formats it may speak. Pure.

A camera lists video, sound, metadata, and with ONVIF a *back channel*: a track that wants sound from us (``sendonly``
in the description of a server means that the client sends). Sources: RFC 4566, RFC 3551 §6, RFC 3640, RFC 7587, ONVIF
Streaming Specification §5.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urljoin

MAX_LINES = 1_000
"""Thirty tracks with everything that can be said about them."""
MAX_TRACKS = 32
RATE_MAX_HZ = 192_000
CHANNELS_MAX = 8

STATIC = {0: ("PCMU", 8_000, 1), 8: ("PCMA", 8_000, 1), 10: ("L16", 44_100, 2), 11: ("L16", 44_100, 1)}
"""Payload types that need no ``rtpmap`` (RFC 3551, table 4), as far as we decode them."""
G726_BITS = {"G726-16": 2, "G726-24": 3, "G726-32": 4, "G726-40": 5}
PREFERENCE = ("L16", "OPUS", "AAC", "PCMU", "PCMA", "G726")
"""``auto`` takes the widest band for the least work; see ``field.rtsp.codecs``."""


class SdpError(ValueError):
    """The description holds no sound that we can play; one line for the operator."""


@dataclass(frozen=True, slots=True)
class Format:
    """How the sound of one payload type is coded.

    Attributes:
        codec: one of :data:`PREFERENCE`.
        clock_hz: of the RTP timestamps; the sample rate but for Opus, whose clock always runs at 48 kHz.
        channels: 1 or more.
        name: as the camera calls it, in capitals.
        params: of its line ``fmtp``, keys in lower case.
    """

    codec: str
    clock_hz: int
    channels: int
    name: str
    params: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Track:
    """A microphone's track.

    Attributes:
        url: to set up.
        session_url: to play.
        formats: by payload type, the preferred one first.
    """

    url: str
    session_url: str
    formats: Mapping[int, Format]


@dataclass(slots=True)
class _Media:
    kind: str
    protocol: str
    types: list[int]
    control: str = ""
    direction: str = ""
    maps: dict[int, str] = field(default_factory=dict)
    params: dict[int, dict[str, str]] = field(default_factory=dict)


def choose_track(body: bytes, base_url: str, codec: str = "auto") -> Track:
    """The track to listen to.

    Args:
        body: the description.
        base_url: that its addresses are relative to.
        codec: to prefer; see ``core.site.nodes.CODECS``.

    Raises:
        SdpError: no track can be played.
    """
    direction, control, medias = _parse(body)
    sounds = [one for one in medias if one.kind == "audio" and (one.direction or direction) != "sendonly"]
    if not sounds:
        kinds = ", ".join(dict.fromkeys(one.kind for one in medias)) or "nothing"
        back = any(one.kind == "audio" for one in medias)
        raise SdpError(f"the camera sends no sound, only {kinds}" + (" (a back channel to speak into)" if back else ""))
    names: list[str] = []
    for media in sounds:
        formats = {}
        for number in media.types:
            if (one := _format(media, number, names)) is not None:
                formats[number] = one
        if formats and media.protocol in ("RTP/AVP", "RTP/AVP/TCP", "RTP/AVP/UDP", "RTP/AVPF"):
            ordered = dict(sorted(formats.items(), key=lambda item: _rank(item[1], codec)))
            session_url = _resolve(base_url, control)
            return Track(_resolve(base_url, media.control) if media.control else session_url, session_url, ordered)
    raise SdpError(f"the camera's sound is {', '.join(names) or sounds[0].protocol}, which is not supported")


def choose_back_track(body: bytes, base_url: str) -> Track:
    """The track to speak into: the camera's back channel, with those of its formats that are G.711.

    Raises:
        SdpError: the camera has none, or none that takes G.711.
    """
    _, control, medias = _parse(body)
    names: list[str] = []
    for media in medias:
        if media.kind != "audio" or media.direction != "sendonly":
            continue
        formats = {number: one for number in media.types if (one := _format(media, number, names)) is not None}
        spoken = {number: one for number, one in formats.items() if one.codec in ("PCMU", "PCMA") and one.channels == 1}
        if spoken:
            session_url = _resolve(base_url, control)
            url = _resolve(base_url, media.control) if media.control else session_url
            return Track(url, session_url, dict(sorted(spoken.items(), key=lambda item: item[1].codec != "PCMU")))
        names += [one.name for one in formats.values()]
    if names:
        raise SdpError(f"the back channel takes {', '.join(names)}, not G.711")
    raise SdpError("the camera has no back channel")


def _rank(one: Format, codec: str) -> tuple[bool, int, int]:
    return one.codec != codec, PREFERENCE.index(one.codec), abs(one.clock_hz - 16_000)


def _resolve(base: str, control: str) -> str:
    """An address of the description: absolute, relative to the base (which is a folder to most cameras), or ``*``."""
    if control in ("", "*"):
        return base
    if control.lower().startswith(("rtsp://", "rtspu://")):
        return control
    if control.startswith("/"):
        return urljoin(base, control)
    return f"{base.rstrip('/')}/{control}"


def _parse(body: bytes) -> tuple[str, str, list[_Media]]:
    """Direction and control of the session, and its media."""
    lines = body.decode("utf-8", "replace").replace("\r\n", "\n").split("\n")
    if len(lines) > MAX_LINES:
        raise SdpError(f"a description of more than {MAX_LINES} lines")
    direction = control = ""
    medias: list[_Media] = []
    for line in lines:
        kind, _, value = line.rstrip().partition("=")
        if kind == "m":
            if len(medias) >= MAX_TRACKS:
                raise SdpError(f"a description of more than {MAX_TRACKS} tracks")
            medias.append(_media(value))
        elif kind == "a":
            name, _, rest = value.partition(":")
            if name in ("sendonly", "recvonly", "sendrecv", "inactive"):
                if medias:
                    medias[-1].direction = name
                else:
                    direction = name
            elif name == "control":
                rest = "".join(rest.split())  # what goes into a request line holds no blanks
                if medias:
                    medias[-1].control = rest
                else:
                    control = rest
            elif medias and name in ("rtpmap", "fmtp"):
                _attribute(medias[-1], name, rest)
    return direction, control, medias


def _media(value: str) -> _Media:
    words = value.split()
    types = [int(one) for one in words[3:] if one.isascii() and one.isdigit() and int(one[:4]) <= 127]
    return _Media(words[0].lower() if words else "", words[2].upper() if len(words) > 2 else "", types)


def _attribute(media: _Media, name: str, value: str) -> None:
    number, _, rest = value.strip().partition(" ")
    if not (number.isascii() and number.isdigit() and len(number) <= 3):
        return
    if name == "rtpmap":
        media.maps[int(number)] = rest.strip()
        return
    pairs = (one.partition("=") for one in rest.split(";"))
    media.params[int(number)] = {key.strip().lower(): text.strip() for key, _, text in pairs if key.strip()}


def _format(media: _Media, number: int, names: list[str]) -> Format | None:
    """The format of a payload type, None when we cannot play it; its name is noted then."""
    words = media.maps.get(number, "").split("/")
    if not words[0]:
        if number not in STATIC:
            names.append(f"payload type {number}")
            return None
        return Format(STATIC[number][0], STATIC[number][1], STATIC[number][2], STATIC[number][0])
    name = words[0].strip().upper()[:32]
    clock_hz = _number(words[1]) if len(words) > 1 else 8_000
    channels = _number(words[2]) if len(words) > 2 else 1
    params = media.params.get(number, {})
    codec = {"MPEG4-GENERIC": "AAC", "OPUS": "OPUS"}.get(name, name)
    if name in G726_BITS or (name.startswith("AAL2-") and name[5:] in G726_BITS):
        codec = "G726"
    if (
        codec not in PREFERENCE
        or not 0 < clock_hz <= RATE_MAX_HZ
        or not 0 < channels <= CHANNELS_MAX
        or (codec == "AAC" and params.get("mode", "").lower() not in ("aac-hbr", "aac-lbr"))
    ):
        names.append(media.maps[number][:40])
        return None
    return Format(codec, clock_hz, channels, name, params)


def _number(text: str) -> int:
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 7 else 0
