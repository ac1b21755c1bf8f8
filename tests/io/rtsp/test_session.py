"""An RTSP session from OPTIONS to PLAY: logins, redirects, signs of life, and cameras that answer as they like."""

import re

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from gwanje.io.field.rtsp.session import NS_PER_S, Login, Phase, Session

URL = "rtsp://10.0.0.5:8554/live"
SDP = "v=0\r\na=control:*\r\nm=video 0 RTP/AVP 96\r\na=control:v\r\nm=audio 0 RTP/AVP 0\r\na=control:a\r\n"
OK = "RTSP/1.0 200 OK\r\nCSeq: {n}\r\n"
DESCRIBED = f"{OK}Content-Base: {URL}/\r\nContent-Type: application/sdp\r\nContent-Length: {len(SDP)}\r\n\r\n{SDP}"
SET_UP = OK + "Session: 12345678;timeout=30\r\nTransport: RTP/AVP/TCP;unicast;interleaved=2-3;ssrc=1\r\n\r\n"
CHALLENGE = 'RTSP/1.0 401 Unauthorized\r\nCSeq: {n}\r\nWWW-Authenticate: Digest realm="cam", nonce="abc"{more}\r\n\r\n'


class Camera:
    """Answers a session as it is told; keeps what was asked."""

    def __init__(self, login: Login | None = None, ports: tuple[int, int] | None = None) -> None:
        self.session = Session(URL, login or Login(), "auto", lambda n: bytes(n), ports)
        self.session.start()
        self.asked: list[str] = []
        self.packets: list = []
        self.take()

    def take(self) -> None:
        text, self.session.out = self.session.out.decode(), b""
        self.asked += [one for one in text.split("\r\n\r\n") if one]

    @property
    def n(self) -> int:
        return int(re.search(r"CSeq: (\d+)", self.asked[-1])[1])

    @property
    def method(self) -> str:
        return self.asked[-1].split()[0]

    def say(self, text: str, **words: object) -> "Camera":
        for key, value in {"n": self.n, "more": "", **words}.items():
            text = text.replace(f"{{{key}}}", str(value))
        self.packets += self.session.receive(text.encode())
        self.take()
        return self

    def playing(self) -> "Camera":
        self.say(OK + "Public: OPTIONS, DESCRIBE, GET_PARAMETER\r\n\r\n").say(DESCRIBED).say(SET_UP).say(OK + "\r\n")
        assert self.session.playing
        return self


def test_a_session_asks_for_the_sound_alone_and_plays_it():
    camera = Camera().playing()
    methods = [one.split()[:2] for one in camera.asked]
    assert methods == [["OPTIONS", URL], ["DESCRIBE", URL], ["SETUP", f"{URL}/a"], ["PLAY", f"{URL}/"]]
    assert "Transport: RTP/AVP/TCP;unicast;interleaved=0-1" in camera.asked[2]
    assert "Session: 12345678\r\n" in camera.asked[3] + "\r\n"
    assert camera.session.channels == (2, 3)
    assert camera.session.timeout_s == 30


def test_packets_that_come_before_the_answer_to_play_are_kept():
    camera = Camera()
    camera.say(OK + "\r\n").say(DESCRIBED).say(SET_UP)
    camera.packets += camera.session.receive(b"$\x02\x00\x03abc")
    camera.say(OK + "\r\n")
    assert camera.session.playing
    assert camera.packets == [(2, b"abc")]


def test_datagrams_are_asked_for_and_refusals_told():
    camera = Camera(ports=(5_000, 5_001))
    camera.say(OK + "\r\n").say(DESCRIBED)
    assert "Transport: RTP/AVP;unicast;client_port=5000-5001" in camera.asked[-1]
    answer = "Session: 1\r\nTransport: RTP/AVP;unicast;client_port=5000-5001;server_port=6000-6001\r\n\r\n"
    camera.say(OK + answer).say(OK + "\r\n")
    assert camera.session.playing
    assert camera.session.server_ports == (6_000, 6_001)
    refused = Camera(ports=(5_000, 5_001))
    refused.say(OK + "\r\n").say(DESCRIBED).say("RTSP/1.0 461 Unsupported Transport\r\nCSeq: {n}\r\n\r\n")
    assert refused.session.failure == '461 Unsupported Transport to SETUP (try transport = "tcp")'


def test_a_digest_login_goes_on_with_every_request():
    camera = Camera(Login("u", "p"))
    camera.say(OK + "\r\n").say(CHALLENGE)
    assert camera.method == "DESCRIBE"
    assert 'Authorization: Digest username="u", realm="cam", nonce="abc"' in camera.asked[-1]
    camera.say(DESCRIBED).say(SET_UP)
    assert "Authorization: Digest" in camera.asked[-2]
    assert "Authorization: Digest" in camera.asked[-1]
    assert "p" not in re.findall(r'"([^"]*)"', camera.asked[-1])


@pytest.mark.parametrize(
    ("login", "answers", "words"),
    [
        (None, [CHALLENGE], "401 Unauthorized: the camera wants a user and password (camera-passwords.toml)"),
        (Login("u", "p"), [CHALLENGE, CHALLENGE], "401 Unauthorized: the camera does not take the user and password"),
        (
            Login("u", "p"),
            [CHALLENGE, CHALLENGE.replace("{more}", ", stale=true"), CHALLENGE.replace("{more}", ", stale=true")],
            "401 Unauthorized: the camera does not take the user and password",
        ),
        (
            Login("u", "p"),
            ["RTSP/1.0 401 Unauthorized\r\nCSeq: {n}\r\nWWW-Authenticate: NTLM\r\n\r\n"],
            "401 Unauthorized: the camera wants a way to log in that is not supported",
        ),
    ],
)
def test_logins_that_fail_say_why_and_end(login, answers, words):
    camera = Camera(login)
    for answer in answers:
        assert camera.session.failure == ""
        camera.say(answer)
    assert camera.session.failure == words
    assert len(camera.asked) == len(answers)


def test_a_nonce_that_was_too_old_is_answered_once_more():
    camera = Camera(Login("u", "p"))
    camera.say(CHALLENGE).say(CHALLENGE, more=", stale=true").playing()
    assert camera.session.playing


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("rtsp://10.0.0.6:8554/live", "redirects to another host: refused"),
        ("rtsp://10.0.0.5/live", "redirects to another host: refused"),
        ("http://10.0.0.5:8554/live", "redirects to another host: refused"),
        ("rtsp://u:p@10.0.0.5:8554/live", "redirects to another host: refused"),
        ("rtsp://[::1/live", "redirects to another host: refused"),
        ("", "redirects to another host: refused"),
    ],
)
def test_redirects_to_another_host_are_refused(location, words):
    camera = Camera().say(f"RTSP/1.0 302 Moved\r\nCSeq: {{n}}\r\nLocation: {location}\r\n\r\n")
    assert words in camera.session.failure


def test_a_redirect_on_the_same_host_is_followed_once():
    moved = "RTSP/1.0 302 Moved\r\nCSeq: {n}\r\nLocation: rtsp://10.0.0.5:8554/other\r\n\r\n"
    camera = Camera().say(OK + "\r\n").say(moved)
    assert camera.asked[-1].startswith("DESCRIBE rtsp://10.0.0.5:8554/other RTSP/1.0")
    assert camera.say(moved).session.failure == "the camera redirects again and again"


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([OK + "\r\n", "RTSP/1.0 404 Not Found\r\nCSeq: {n}\r\n\r\n"], "404 Not Found to DESCRIBE"),
        ([OK + "\r\n", "RTSP/1.0 503 Busy\r\nCSeq: {n}\r\n\r\n"], "503 Busy to DESCRIBE"),
        ([OK + "\r\n", OK + "\r\n"], "the camera sends no sound, only nothing"),
        ([OK + "\r\n", DESCRIBED, OK + "Transport: RTP/AVP/TCP;interleaved=0-1\r\n\r\n"], "gives no session"),
        ([OK + "\r\n", DESCRIBED, OK + "Session: 1\r\nTransport: RTP/AVP;unicast\r\n\r\n"], "another transport"),
        ([OK + "\r\n", DESCRIBED, OK + "Session: 1\r\nTransport: RTP/AVP/TCP;interleaved=900-901\r\n\r\n"], "another"),
        ([OK + "\r\n", DESCRIBED, SET_UP, "RTSP/1.0 455 No\r\nCSeq: {n}\r\n\r\n"], "455 No to PLAY"),
        ([OK + "\r\n", "garbage"], "the camera sent something that is neither"),
        ([OK + "\r\n", "TEARDOWN rtsp://a RTSP/1.0\r\nCSeq: 1\r\n\r\n"], "asked to begin anew (TEARDOWN)"),
    ],
)
def test_cameras_that_refuse_or_make_no_sense(answers, words):
    camera = Camera()
    for answer in answers:
        camera.say(answer)
    assert words in camera.session.failure
    assert camera.session.phase is Phase.FAILED
    assert camera.say(OK + "\r\n").packets == []


def test_a_camera_that_refuses_options_is_described_nevertheless():
    camera = Camera().say("RTSP/1.0 501 Not Implemented\r\nCSeq: {n}\r\n\r\n")
    assert camera.method == "DESCRIBE"


def test_late_answers_to_something_else_are_passed_over():
    camera = Camera().say(OK + "\r\n")
    camera.session.receive(b"RTSP/1.0 404 Not Found\r\nCSeq: 1\r\n\r\n")
    assert camera.session.failure == ""
    assert camera.say(DESCRIBED).method == "SETUP"


@pytest.mark.parametrize(("known", "method"), [(True, "GET_PARAMETER"), (False, "OPTIONS")])
def test_signs_of_life_are_asked_for_at_half_of_the_session_s_time(known, method):
    camera = Camera()
    public = "Public: OPTIONS, GET_PARAMETER\r\n" if known else ""
    camera.say(OK + public + "\r\n").say(DESCRIBED).say(SET_UP).say(OK + "\r\n")
    begin = 10 * NS_PER_S
    for second in range(31):
        camera.session.keep(begin + second * NS_PER_S)
        camera.take()
    assert [one.split()[0] for one in camera.asked[4:]] == [method, method]
    assert "Session: 12345678" in camera.asked[-1]
    camera.say(OK + "\r\n")
    assert camera.session.failure == ""
    camera.say("RTSP/1.0 454 Session Not Found\r\nCSeq: {n}\r\n\r\n")
    assert "454" in camera.session.failure


@pytest.mark.parametrize(("said", "timeout_s"), [("1", 4), ("99999", 600), ("x", 60), ("-5", 60), ("", 60)])
def test_times_of_sessions_that_cannot_be_are_bounded(said, timeout_s):
    camera = Camera().say(OK + "\r\n").say(DESCRIBED)
    camera.say(SET_UP.replace("timeout=30", f"timeout={said}"))
    assert camera.session.timeout_s == timeout_s


@pytest.mark.parametrize(
    ("method", "answer"),
    [("OPTIONS", "200 OK"), ("SET_PARAMETER", "200 OK"), ("RECORD", "501 Not Implemented")],
)
def test_requests_of_the_camera_are_answered(method, answer):
    camera = Camera().playing()
    camera.session.receive(f"{method} rtsp://a RTSP/1.0\r\nCSeq: 77\r\n\r\n".encode())
    assert camera.session.out.decode() == f"RTSP/1.0 {answer}\r\nCSeq: 77\r\n\r\n"
    assert camera.session.failure == ""


def test_leaving_says_goodbye_once_it_played():
    camera = Camera().playing()
    camera.session.leave()
    camera.take()
    assert camera.method == "TEARDOWN"
    early = Camera()
    early.session.leave()
    assert early.session.out == b""


ANSWERS = st.sampled_from([
    OK + "\r\n", DESCRIBED, SET_UP, CHALLENGE, "RTSP/1.0 302 X\r\nLocation: " + URL + "\r\n\r\n", "$\x02\x00\x01a",
    "RTSP/1.0 500 X\r\n\r\n", "OPTIONS * RTSP/1.0\r\nCSeq: 5\r\n\r\n", "\r\n", "RTSP/1.0 200 OK\r\nSession: \r\n\r\n",
    OK + "Session: 1\r\n\r\n", "RTSP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", "x",
])  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(answers=st.lists(st.one_of(ANSWERS, st.text(max_size=30)), max_size=12), login=st.booleans())
def test_whatever_a_camera_says_the_session_goes_on_or_fails_with_a_reason(answers, login):
    camera = Camera(Login("u", "p") if login else None)
    for answer in answers:
        camera.say(answer)
        assert len(camera.asked) <= 30
        assert (camera.session.phase is Phase.FAILED) == bool(camera.session.failure)
    for request in camera.asked:
        for line in request.split("\r\n"):
            assert "\n" not in line
            assert "\r" not in line
