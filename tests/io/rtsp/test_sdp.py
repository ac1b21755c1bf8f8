"""Session descriptions of real kinds of cameras: which track is the microphone, and what cannot be one."""

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from gwanje.io.field.rtsp.sdp import SdpError, Track, choose_track

BASE = "rtsp://10.0.0.5/live/"
ONVIF = """v=0
o=- 1 1 IN IP4 10.0.0.5
s=camera
a=control:rtsp://10.0.0.5/live
m=video 0 RTP/AVP 96
a=rtpmap:96 H265/90000
a=control:trackID=1
m=audio 0 RTP/AVP 0
a=rtpmap:0 PCMU/8000
a=sendonly
a=control:trackID=5
m=audio 0 RTP/AVP 97 8
a=rtpmap:97 MPEG4-GENERIC/48000/1
a=fmtp:97 streamtype=5; profile-level-id=1; mode=AAC-hbr; sizelength=13; indexlength=3; indexdeltalength=3; config=1188
a=recvonly
a=control:trackID=2
m=application 0 RTP/AVP 107
a=rtpmap:107 vnd.onvif.metadata/90000
a=control:trackID=3
"""


def track(text: str, codec: str = "auto"):
    return choose_track(text.encode(), BASE, codec)


def test_an_onvif_camera_s_microphone_is_found_between_its_other_tracks():
    found = track(ONVIF)
    assert found.url == "rtsp://10.0.0.5/live/trackID=2"
    assert found.session_url == "rtsp://10.0.0.5/live"
    assert [one.codec for one in found.formats.values()] == ["AAC", "PCMA"]
    assert found.formats[97].params["config"] == "1188"
    assert found.formats[8].clock_hz == 8_000
    assert next(iter(track(ONVIF, "PCMA").formats)) == 8


@pytest.mark.parametrize(
    ("lines", "codec", "clock_hz", "channels"),
    [
        ("m=audio 0 RTP/AVP 0", "PCMU", 8_000, 1),
        ("m=audio 0 RTP/AVP 8", "PCMA", 8_000, 1),
        ("m=audio 0 RTP/AVP 10", "L16", 44_100, 2),
        ("m=audio 0 RTP/AVP 11", "L16", 44_100, 1),
        ("m=audio 0 RTP/AVP 97\na=rtpmap:97 l16/16000", "L16", 16_000, 1),
        ("m=audio 0 RTP/AVP 98\na=rtpmap:98 opus/48000/2", "OPUS", 48_000, 2),
        ("m=audio 0 RTP/AVP 99\na=rtpmap:99 G726-24/8000", "G726", 8_000, 1),
        ("m=audio 0 RTP/AVP 99\na=rtpmap:99 AAL2-G726-32/8000/1", "G726", 8_000, 1),
        ("m=audio 0 RTP/AVP 0\na=rtpmap:0 PCMU/16000", "PCMU", 16_000, 1),
        ("m=audio 0 RTP/AVPF 0", "PCMU", 8_000, 1),
    ],
)
def test_formats(lines, codec, clock_hz, channels):
    (form,) = track(f"v=0\n{lines}\n").formats.values()
    assert (form.codec, form.clock_hz, form.channels) == (codec, clock_hz, channels)


@pytest.mark.parametrize(
    ("control", "expected"),
    [
        ("a=control:trackID=0", "rtsp://10.0.0.5/live/trackID=0"),
        ("a=control:*", "rtsp://10.0.0.5/live/"),
        ("", "rtsp://10.0.0.5/live/"),
        ("a=control:rtsp://192.168.0.2/inner/t", "rtsp://192.168.0.2/inner/t"),
        ("a=control:/other/t", "rtsp://10.0.0.5/other/t"),
        ("a=control:a b\tc", "rtsp://10.0.0.5/live/abc"),
    ],
)
def test_addresses_of_tracks(control, expected):
    assert track(f"v=0\nm=audio 0 RTP/AVP 0\n{control}\n").url == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "only nothing"),
        ("v=0\nm=video 0 RTP/AVP 96\n", "the camera sends no sound, only video"),
        ("v=0\nm=video 0 RTP/AVP 96\nm=audio 0 RTP/AVP 0\na=sendonly\n", "a back channel to speak into"),
        ("v=0\na=sendonly\nm=audio 0 RTP/AVP 0\n", "no sound"),
        ("v=0\nm=audio 0 RTP/AVP 9\n", "payload type 9, which is not supported"),
        ("v=0\nm=audio 0 RTP/AVP 96\na=rtpmap:96 MP4A-LATM/48000\n", "MP4A-LATM/48000, which is not supported"),
        ("v=0\nm=audio 0 RTP/AVP 96\na=rtpmap:96 L16/0\n", "not supported"),
        ("v=0\nm=audio 0 RTP/AVP 96\na=rtpmap:96 L16/16000/99\n", "not supported"),
        ("v=0\nm=audio 0 RTP/SAVP 0\n", "RTP/SAVP, which is not supported"),
        ("v=0\nm=audio 0 RTP/AVP 97\na=rtpmap:97 mpeg4-generic/48000/2\na=fmtp:97 mode=CELP\n", "not supported"),
        ("v=0\n" + "m=audio 0 RTP/AVP 0\n" * 40, "more than 32 tracks"),
        ("a=b\n" * 1_001, "more than 1000 lines"),
    ],
)
def test_what_cannot_be_heard_says_why(text, words):
    with pytest.raises(SdpError, match=words.replace("(", r"\(")):
        track(text)


def track_or_reason(body: bytes) -> Track | str:
    try:
        return choose_track(body, BASE)
    except SdpError as error:
        return str(error)


LINES = st.one_of(
    st.text(max_size=40),
    st.sampled_from(["m=audio 0 RTP/AVP 0", "m=audio", "m=", "a=rtpmap:0 PCMU/8000", "a=rtpmap:", "a=rtpmap:99999 x/y",
                     "a=fmtp:97 =;;=x", "a=sendonly", "a=control:", "a=rtpmap:97 opus/48000000000000/2",
                     "m=audio 0 RTP/AVP 97", "m=audio 0 RTP/AVP ²", "a=rtpmap:97 L16/16000"]),
)  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(lines=st.lists(LINES, max_size=12))
def test_any_lines_give_a_track_or_a_reason(lines):
    found = track_or_reason("\r\n".join(lines).encode())
    if isinstance(found, str):
        assert found
        assert "\n" not in found
    else:
        assert found.formats
        assert not any(sign.isspace() for sign in found.url)


@settings(max_examples=300, deadline=None)
@given(body=st.binary(max_size=200))
def test_any_bytes_give_a_track_or_a_reason(body):
    assert track_or_reason(body)
