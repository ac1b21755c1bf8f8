"""The RTSP core: requests cut anywhere, garbage, and the states of RFC 2326."""

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from gwanje.io.field.rtsp import rtcp
from gwanje.io.field.rtsp.sdp import choose_track
from gwanje.io.sim import rtsp, rtsp_requests
from gwanje.io.sim.rtsp import Connection, Interleaved, Malformed, Media, Request, RequestParser

MEDIA = Media("mic01", "L16", 40)
URL = "rtsp://127.0.0.1:15554/mic01"


def token(n: int) -> bytes:
    return bytes(range(1, n + 1))


def connection() -> Connection:
    return Connection(lambda path: MEDIA if path == "mic01" else 404, token)


def ask(one: Connection, method: str, uri: str = URL, **headers: str):
    lines = [
        f"{method} {uri} RTSP/1.0",
        "CSeq: 7",
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
    ]
    return one.receive(("\r\n".join(lines) + "\r\n\r\n").encode())


def status(outcome) -> int:
    return int(outcome.data.split()[1])


def header(outcome, name: str) -> str:
    for line in outcome.data.decode().split("\r\n"):
        if line.lower().startswith(f"{name.lower()}: "):
            return line.split(": ", 1)[1]
    raise AssertionError(f"no {name} in {outcome.data!r}")


def playing() -> Connection:
    one = connection()
    ask(one, "SETUP", f"{URL}/trackID=0", Transport="RTP/AVP/TCP;unicast;interleaved=0-1")
    assert status(ask(one, "PLAY", Session=token(12).hex())) == 200
    return one


SESSION = b"".join(
    [
        f"OPTIONS {URL} RTSP/1.0\r\nCSeq: 1\r\nUser-Agent: someone\r\n\r\n".encode(),
        f"DESCRIBE {URL} RTSP/1.0\r\nCSeq: 2\r\nAccept: application/sdp\r\n\r\n".encode(),
        b"$\x01\x00\x05hello",
        f"GET_PARAMETER {URL} RTSP/1.0\nCSeq: 3\nContent-Length: 11\n\nparam: $1\r\n".encode(),
        b"\r\n\r\n",
        b"$\x01\x00\x00",
        f"TEARDOWN {URL} RTSP/1.0\r\nCSeq: 4\r\n\r\n".encode(),
    ]
)


def test_a_session_is_cut_into_its_requests_and_frames():
    items = RequestParser().feed(SESSION)
    kinds = [one.method if isinstance(one, Request) else type(one).__name__ for one in items]
    assert kinds == ["OPTIONS", "DESCRIBE", "Interleaved", "GET_PARAMETER", "Interleaved", "TEARDOWN"]
    assert items[0].headers == {"cseq": "1", "user-agent": "someone"}
    assert items[2] == Interleaved(1, b"hello")
    assert items[3].body == b"param: $1\r\n"


def test_one_byte_at_a_time_gives_the_same():
    parser = RequestParser()
    items = [item for byte in SESSION for item in parser.feed(bytes([byte]))]
    assert items == RequestParser().feed(SESSION)


@pytest.mark.parametrize("at", range(0, len(SESSION), 1))
def test_cut_at_any_place_gives_the_same(at):
    parser = RequestParser()
    assert parser.feed(SESSION[:at]) + parser.feed(SESSION[at:]) == RequestParser().feed(SESSION)


PIECES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [
            b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n",
            b"DESCRIBE rtsp://a/mic01 RTSP/1.0\nCSeq: 2\n\n",
            b"Content-Length: 5\r\n",
            b"Content-Length: -1\r\n\r\n",
            b"Content-Length: 99999999999999999999\r\n\r\n",
            b"$\x00\xff\xff",
            b"$\x00\x00\x02ab",
            b"\r\n",
            b"A" * 9_000,
            b"PLAY rtsp://a/mic01 RTSP/2.0\r\nCSeq: \xc3\xa9\r\n\r\n",
            b"X-Y: " + b"z" * 4_000 + b"\r\n",
        ]
    ),
)


@settings(max_examples=400, deadline=None)
@given(pieces=st.lists(PIECES, max_size=8), cuts=st.lists(st.integers(1, 200), max_size=30))
def test_anything_cut_anyhow_gives_the_same_statuses_and_never_an_exception(pieces, cuts):
    data = b"".join(pieces)
    whole, cut = RequestParser(), RequestParser()
    expected = whole.feed(data)
    items, at = [], 0
    for size in [*cuts, len(data)]:
        items += cut.feed(data[at : at + size])
        at += size
    assert items == expected
    if expected and isinstance(expected[-1], Malformed):
        assert whole.failed
        assert whole.feed(b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n") == []
    assert len(whole._buffer) <= rtsp_requests.MAX_HEADER_BYTES + 65_540


@settings(max_examples=300, deadline=None)
@given(data=st.lists(PIECES, max_size=10))
def test_a_connection_answers_or_closes_whatever_comes(data):
    one = connection()
    for piece in data:
        outcome = one.receive(piece)
        for line in outcome.data.split(b"RTSP/1.0 ")[1:]:
            assert int(line[:3]) in rtsp.REASONS
        if outcome.close:
            break


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\x16\x03\x01\x02\x00\x01", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"OPTIONS\r\n\r\n", 400),
        (b"A" * 40, 400),
        (f"OPTIONS {URL} RTSP/1.0\r\nno header\r\n\r\n".encode(), 400),
        (f"OPTIONS {URL} RTSP/1.0\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n".encode(), 400),
        (f"OPTIONS {URL} RTSP/1.0\r\nContent-Length: x\r\n\r\n".encode(), 400),
        (f"OPTIONS {URL} RTSP/1.0\r\nContent-Length: 5000\r\n\r\n".encode(), 413),
        (f"OPTIONS {URL} RTSP/1.0\r\nX: ".encode() + b"y" * 9_000, 413),
        (f"OPTIONS {URL} RTSP/1.0\r\n".encode() + b"A: b\r\n" * 1_500, 413),
        (f"OPTIONS {URL} RTSP/1.0\r\n".encode() + b"".join(b"A%d: b\r\n" % n for n in range(70)) + b"\r\n", 400),
        (f"OPTIONS {URL} RTSP/1.0\r\nCSeq: 1\r\n\xff\xfe: 1\r\n\r\n".encode("latin-1"), 400),
    ],
)
def test_bad_bytes_get_a_status_and_the_connection_closes(data, expected):
    outcome = connection().receive(data)
    assert status(outcome) == expected
    assert outcome.close


def test_a_header_that_never_ends_does_not_wait_for_ever():
    one = connection()
    sent = 0
    while not (outcome := one.receive(b"OPTIONS x" if not sent else b"x" * 100)).close:
        sent += 100
        assert sent < 2 * rtsp_requests.MAX_HEADER_BYTES
    assert status(outcome) == 413


def test_describe_says_what_is_played():
    outcome = ask(connection(), "DESCRIBE", Accept="application/sdp")
    head, _, body = outcome.data.decode().partition("\r\n\r\n")
    assert "Content-Base: rtsp://127.0.0.1:15554/mic01/" in head
    assert f"Content-Length: {len(body)}" in head
    assert "CSeq: 7" in head
    assert "m=audio 0 RTP/AVP 97\r\na=rtpmap:97 L16/16000/1\r\n" in body
    assert "a=rtpmap:0 PCMU/8000\r\n" in Media("a", "PCMU", 20).description()


def test_setup_play_and_teardown_go_through_their_states():
    one = connection()
    setup = ask(
        one,
        "SETUP",
        f"{URL}/trackID=0",
        Transport="RTP/AVP;unicast;client_port=1-2,RTP/AVP/TCP;unicast;interleaved=4-5",
    )
    assert status(setup) == 200
    assert "interleaved=4-5" in header(setup, "Transport")
    session = header(setup, "Session").partition(";")[0]
    assert setup.start is None
    play = ask(one, "PLAY", Session=session, Range="npt=0.000-")
    assert status(play) == 200
    assert play.start.channel == 4
    assert f"seq={play.start.sequence};rtptime={play.start.timestamp}" in header(play, "RTP-Info")
    assert ask(one, "PLAY", Session=session).start is None, "a stream is started once"
    assert status(ask(one, "SETUP", f"{URL}/trackID=0", Transport="RTP/AVP/TCP")) == 455
    assert status(ask(one, "GET_PARAMETER", Session=session)) == 200
    assert status(ask(one, "TEARDOWN", Session="wrong")) == 454
    gone = ask(one, "TEARDOWN", Session=session)
    assert (status(gone), gone.stop) == (200, True)
    assert status(ask(one, "PLAY", Session=session)) == 454


@pytest.mark.parametrize(
    "transport",
    [
        "",
        "RTP/AVP;unicast;client_port=5000-5001",
        "RTP/AVP/UDP;unicast;client_port=5000-5001",
        "RTP/SAVP/TCP;interleaved=0-1",
        "RTP/AVP/TCP;interleaved=300-301",
        "RTP/AVP/TCP;interleaved=x",
        'RTP/AVP/TCP;interleaved=0-1;mode="RECORD"',
    ],
)
def test_every_other_transport_is_461(transport):
    assert status(ask(connection(), "SETUP", f"{URL}/trackID=0", Transport=transport)) == 461


@pytest.mark.parametrize(
    ("method", "uri", "headers", "expected"),
    [
        ("DESCRIBE", "rtsp://127.0.0.1/nobody", {}, 404),
        ("SETUP", "rtsp://127.0.0.1/nobody/trackID=0", {"Transport": "RTP/AVP/TCP"}, 404),
        ("DESCRIBE", "http://127.0.0.1/mic01", {}, 400),
        ("DESCRIBE", "rtsp://[::1/mic01", {}, 400),
        ("PLAY", URL, {}, 454),
        ("PLAY", URL, {"Session": "abc"}, 454),
        ("TEARDOWN", URL, {}, 454),
        ("GET_PARAMETER", URL, {"Session": "abc"}, 454),
        ("GET_PARAMETER", URL, {}, 200),
        ("PAUSE", URL, {}, 405),
        ("RECORD", URL, {}, 405),
        ("SING", URL, {}, 501),
        ("OPTIONS", "*", {}, 200),
        ("OPTIONS", "*", {"Require": "www.onvif.org/ver20/backchannel"}, 551),
    ],
)
def test_requests_that_cannot_be_met_get_their_status(method, uri, headers, expected):
    outcome = ask(connection(), method, uri, **headers)
    assert status(outcome) == expected
    assert header(outcome, "CSeq") == "7"
    assert not outcome.close


def test_no_or_bad_cseq_is_400_and_another_version_505():
    assert status(connection().receive(b"OPTIONS * RTSP/1.0\r\n\r\n")) == 400
    assert status(connection().receive(b"OPTIONS * RTSP/1.0\r\nCSeq: x\r\n\r\n")) == 400
    assert status(connection().receive(b"OPTIONS * RTSP/2.0\r\nCSeq: 1\r\n\r\n")) == 505


def test_a_locked_camera_challenges_and_a_dead_one_hangs_up():
    locked = ask(Connection(lambda _: 401, token), "DESCRIBE")
    assert status(locked) == 401
    assert header(locked, "WWW-Authenticate").startswith('Digest realm="camera", nonce="')
    dead = ask(Connection(lambda _: rtsp.HANG_UP, token), "DESCRIBE")
    assert (dead.data, dead.close) == (b"", True)


def test_teardown_and_play_in_one_segment_end_with_the_last_word():
    one = playing()
    session = token(12).hex()
    both = f"TEARDOWN {URL} RTSP/1.0\r\nCSeq: 1\r\nSession: {session}\r\n\r\nOPTIONS * RTSP/1.0\r\nCSeq: 2\r\n\r\n"
    outcome = one.receive(both.encode())
    assert outcome.stop
    assert outcome.start is None
    assert outcome.data.count(b"RTSP/1.0 200") == 2


def test_rtp_packets_count_sequence_and_timestamp_through_their_wrap():
    stream = rtsp.RtpStream(MEDIA, 2, 0xDEADBEEF, 0xFFFF, 0xFFFF_FFFF - 639)
    frame = stream.frame(b"\x01\x02" * 640, 640, 97)
    assert frame[:4] == b"$\x02" + (12 + 1_280).to_bytes(2, "big")
    assert frame[4:6] == bytes([0x80, 97])
    assert frame[6:8] == b"\xff\xff"
    assert frame[12:16] == b"\xde\xad\xbe\xef"
    assert (stream.sequence, stream.timestamp) == (0, 0)
    stream.skip(640)
    assert (stream.sequence, stream.timestamp) == (0, 640)


@pytest.mark.parametrize("codec", ["PCMA", "AAC", "OPUS", "PCMU16"])
def test_every_codec_is_described_so_that_the_driver_finds_it(codec):
    media = Media("a", codec, 64 if codec == "AAC" else 40, "1408" if codec == "AAC" else "")
    track = choose_track(media.description().encode(), "rtsp://127.0.0.1/a/")
    (number, form), = track.formats.items()
    assert number == media.payload_type
    assert form.codec == codec.removesuffix("16")
    assert form.clock_hz * media.packet_ms // 1_000 == media.ticks
    assert track.url == "rtsp://127.0.0.1/a/trackID=0"


def test_other_tracks_are_described_and_cannot_be_set_up():
    media = Media("mic01", "L16", 40, tracks=rtsp.Tracks.ALL)
    one = Connection(lambda _: media, token)
    assert media.description().index("m=video") < media.description().index("a=sendonly")
    for track in (1, 2):
        assert status(ask(one, "SETUP", f"{URL}/trackID={track}", Transport="RTP/AVP/TCP")) == 404
    assert status(ask(one, "SETUP", f"{URL}/trackID=0", Transport="RTP/AVP/TCP")) == 200
    assert "m=audio" not in Media("mic01", "L16", 40, tracks=rtsp.Tracks.VIDEO).description()


def test_a_report_says_when_the_stream_is_where():
    stream = rtsp.RtpStream(MEDIA, 0, 0xDEADBEEF, 1, 1_000)
    stream.frame(b"\0" * 1_280, 640, 97)
    frame = stream.report(1_700_000_000_500_000_000)
    assert frame[:2] == b"$\x01"
    (report,) = rtcp.parse(frame[4:])
    assert (report.source, report.timestamp) == (0xDEADBEEF, 1_640)
    assert abs(report.utc_ns - 1_700_000_000_500_000_000) < 10
