"""The hub on real sockets: cameras that refuse, hang, flood, cut, spoof and come back; none touches another."""

import gc
import os
import socket
import struct
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from rtsp_ear import Ear

from gwanje.core.clock import NS_PER_S, SystemClock, VirtualClock
from gwanje.io.field.rtsp.hub import CONNECTS_MAX
from gwanje.io.field.rtsp.link import NO_SOUND, OPEN_TIMEOUT_S, Step
from gwanje.io.field.rtsp.rtcp import sender_report
from gwanje.io.sim.sound_codecs import mulaw

SDP = "v=0\r\na=control:*\r\nm=audio 0 RTP/AVP 0\r\na=control:a\r\n"
TONE = mulaw((8_000 * np.sin(2 * np.pi * 1_000 * np.arange(320) / 8_000)).astype(np.int16))


class Camera:
    """A camera in a thread, for one connection after another; ``behave`` says what it does after PLAY.

    Args:
        behave: called with the camera, the connection and the address of the client's first datagram port.
        before: called with the connection before anything is answered; True ends it.
    """

    def __init__(self, behave=None, before=None) -> None:
        self.behave, self.before = behave, before
        self.listening = socket.socket()
        self.listening.bind(("127.0.0.1", 0))
        self.listening.listen(64)
        self.port = self.listening.getsockname()[1]
        self.connections = 0
        self.stop = threading.Event()
        self.requests: list[str] = []
        self.datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.datagrams.bind(("127.0.0.1", 0))
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/live"

    def _serve(self) -> None:
        while not self.stop.is_set():
            try:
                one, _ = self.listening.accept()
            except OSError:
                return
            self.connections += 1
            one.settimeout(10)
            try:
                if not (self.before is not None and self.before(one)):
                    self._talk(one)
            except OSError:
                self.requests.append("broken")
            finally:
                one.close()

    def _talk(self, one: socket.socket) -> None:
        client = None
        while True:
            request = b""
            while b"\r\n\r\n" not in request:
                data = one.recv(4_096)
                if not data:
                    return
                request += data
            text = request.decode()
            self.requests.append(text.split()[0])
            answer = f"RTSP/1.0 200 OK\r\nCSeq: {text.partition('CSeq: ')[2].split()[0]}\r\n"
            if text.startswith("DESCRIBE"):
                answer += f"Content-Length: {len(SDP)}\r\n\r\n{SDP}"
            elif text.startswith("SETUP"):
                wanted = text.partition("Transport: ")[2].split("\r\n")[0]
                if "client_port=" in wanted:
                    client = ("127.0.0.1", int(wanted.partition("client_port=")[2].split("-")[0]))
                answer += f"Session: 1;timeout=60\r\nTransport: {wanted}\r\n\r\n"
            else:
                answer += "\r\n"
            one.sendall(answer.encode())
            if text.startswith("PLAY") and self.behave is not None:
                self.behave(self, one, client)
                return

    def close(self) -> None:
        self.stop.set()
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        self.datagrams.close()
        self.thread.join(12)


@contextmanager
def camera(behave=None, before=None):
    one = Camera(behave, before)
    try:
        yield one
    finally:
        one.close()


def rtp(index: int, payload: bytes = TONE, payload_type: int = 0, source: int = 7) -> bytes:
    header = struct.pack(">BBHII", 0x80, payload_type, index & 0xFFFF, index * 320 & 0xFFFFFFFF, source)
    return header + payload


def inside(content: bytes, channel: int = 0) -> bytes:
    return bytes((0x24, channel)) + len(content).to_bytes(2, "big") + content


def at_pace(stop: threading.Event, send, count: int = 100_000) -> None:
    """Call ``send(index)`` every 40 ms."""
    for index in range(count):
        if stop.wait(0.04):
            return
        send(index)


def playing(self: Camera, one: socket.socket, client) -> None:
    """A camera that is well, over whichever transport."""
    if client is None:
        at_pace(self.stop, lambda index: one.sendall(inside(rtp(index))))
    else:
        at_pace(self.stop, lambda index: self.datagrams.sendto(rtp(index), client))


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_camera_that_is_well_is_heard(transport):
    with camera(playing) as one, Ear(one.url, transport=transport) as ear:
        ear.listen(lambda: ear.position() > 16_000, "sound")
        assert ear.reader.head(0).lost == 0
        assert one.requests[:4] == ["OPTIONS", "DESCRIBE", "SETUP", "PLAY"]
        assert ear.link.failure == ""


def test_a_camera_that_is_given_up_while_it_is_asked_for_life_gets_no_report():
    with camera(playing) as one, Ear(one.url) as ear:
        ear.listen(lambda: ear.position() > 4_000, "sound")
        link, line = ear.link, ear.link._socket
        line.shutdown(socket.SHUT_WR)  # what is written now breaks the line
        link._session.out = b"OPTIONS"
        link._reported_ns = 0
        link.look(ear.clock.mono_ns())
        assert (link.step, link.errors) == (Step.WAITING, 1)
        ear.listen(lambda: one.connections == 2 and link.step is Step.PLAYING, "the next connection")


def test_what_goes_wrong_with_one_camera_ends_no_other(monkeypatch):
    with camera(playing) as one, camera(playing) as other, Ear(one.url, other.url) as ear:
        ear.listen(lambda: ear.position(0) > 4_000 and ear.position(1) > 4_000, "sound of both")
        broken, well = ear.hub.links
        look = type(broken).look

        def looked(link, now_ns):
            if link is broken:
                raise ValueError("a report of no sense")
            look(link, now_ns)

        monkeypatch.setattr(type(broken), "look", looked)
        heard = ear.position(1)
        ear.listen(lambda: broken.failure and ear.position(1) > heard + 8_000, "the other to go on")
        assert broken.failure == "a report of no sense"
        assert well.failure == ""


def test_datagrams_of_others_are_not_believed():
    def spoofed(self: Camera, one, client) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.bind(("127.0.0.2", 0))

            def send(index: int) -> None:
                stranger.sendto(rtp(index, b"\0" * 320, source=666), client)
                self.datagrams.sendto(rtp(index), client)

            at_pace(self.stop, send)

    with camera(spoofed) as one, Ear(one.url, transport="udp") as ear:
        ear.listen(lambda: ear.position() > 16_000, "sound")
        assert ear.link.intake.counts.restarts == 0
        assert np.abs(ear.latest(8_000).astype(int)).max() < 9_000


def hang(one: socket.socket) -> bool:
    """Takes the connection and says nothing."""
    try:
        while one.recv(1_000):
            continue
    except TimeoutError:
        return True
    return True


def reset(one: socket.socket) -> bool:
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return True


def garbage(one: socket.socket) -> bool:
    one.sendall(b"\xa5" * 1_000_000)
    return True


def bytewise(one: socket.socket) -> bool:
    """A good answer, a byte at a time."""
    one.recv(1_000)
    for byte in b"RTSP/1.0 404 Not Found\r\nCSeq: 1\r\n\r\nRTSP/1.0 404 Not Found\r\nCSeq: 2\r\n\r\n":
        one.sendall(bytes([byte]))
    one.recv(1_000)
    return True


@pytest.mark.parametrize(
    ("before", "words"),
    [
        (hang, f"no answer within {OPEN_TIMEOUT_S:g} s"),
        (reset, "onnection reset|hung up|roken pipe"),
        (garbage, "neither RTSP nor a packet|reset"),
        (bytewise, "404|hung up"),
    ],
)
def test_cameras_that_never_play_are_told_and_tried_again_and_touch_no_other(before, words):
    with camera(before=before) as bad, camera(playing) as good, Ear(bad.url, good.url) as ear:
        ear.listen(lambda: bool(ear.link.failure), "the failure")
        assert any(word in ear.link.failure for word in words.split("|")), ear.link.failure
        ear.listen(lambda: bad.connections >= 2, "another try")
        ear.listen(lambda: ear.position(1) > 32_000, "the good one")
        assert ear.reader.head(1).lost == 0
        assert ear.hub.links[1].connections == 1


def test_a_port_that_refuses_is_tried_at_a_growing_pace():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"rtsp://127.0.0.1:{free.getsockname()[1]}/live"
    with Ear(url) as ear:
        took_s = ear.listen(lambda: ear.link.errors >= 6, "six tries")
        assert ear.link.failure == "Connection refused"
        assert took_s > 0.8 * sum(0.1 * 1.5**turn for turn in range(1, 6))


def test_names_are_resolved_and_those_that_nobody_has_are_told():
    urls = ("rtsp://nobody.invalid/live", "rtsp://no..name/live")
    with camera(playing) as one, Ear(one.url.replace("127.0.0.1", "localhost"), *urls) as ear:
        ear.listen(lambda: ear.position() > 3_200 and all(link.failure for link in ear.hub.links[1:]), "all")
        assert "nobody.invalid" in ear.hub.links[1].failure
        assert "no..name" in ear.hub.links[2].failure


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_stream_that_stops_is_left_after_two_seconds_and_at_once_then(transport):
    """On a clock of the test's: the freeze is seen within 2.1 s of the last sound, well below the 2.5 s promised."""

    def freezing(self: Camera, one: socket.socket, client) -> None:
        for index in range(20):
            one.sendall(inside(rtp(index))) if client is None else self.datagrams.sendto(rtp(index), client)
        self.stop.wait(20)

    clock = VirtualClock()
    with camera(freezing) as one, Ear(one.url, transport=transport, clock=clock) as ear:

        def tick() -> bool:
            """Time goes on until the stream is there, then stands still."""
            if ear.position() < 20 * 640:
                clock.advance_ns(1_000_000)
            return ear.position() == 20 * 640

        ear.listen(tick, "sound")
        heard_ns = ear.link.heard[0]
        turns = 0
        while ear.link.step is Step.PLAYING:
            clock.advance_ns(5_000_000)
            ear.hub.turn()
            turns += 1
            assert turns < 1_000
        assert ear.link.failure == NO_SOUND
        assert 2.0 <= (clock.mono_ns() - heard_ns) / NS_PER_S <= 2.1


def odd(self: Camera, one: socket.socket, client) -> None:
    """Sends a payload type that it never described, after a while."""
    at_pace(self.stop, lambda index: one.sendall(inside(rtp(index, payload_type=0 if index < 10 else 111))))


def broken_pcm(self: Camera, one: socket.socket, client) -> None:
    at_pace(self.stop, lambda index: one.sendall(inside(rtp(index, b"") if index > 5 else rtp(index))))


def goodbye(self: Camera, one: socket.socket, client) -> None:
    at_pace(self.stop, lambda index: one.sendall(inside(rtp(index))), count=10)
    one.sendall(inside(struct.pack(">BBHI", 0x81, 203, 1, 7), 1))
    self.stop.wait(5)


def mid_frame(self: Camera, one: socket.socket, client) -> None:
    at_pace(self.stop, lambda index: one.sendall(inside(rtp(index))), count=10)
    one.sendall(inside(rtp(10))[:100])
    reset(one)


@pytest.mark.parametrize(
    ("behave", "words"),
    [
        (odd, "payload type 111, which it did not describe"),
        (broken_pcm, "cannot be decoded"),
        (goodbye, "the stream ended"),
        (mid_frame, "reset"),
    ],
)
def test_streams_that_go_wrong_are_opened_again_with_the_reason(behave, words):
    with camera(behave) as one, Ear(one.url) as ear:
        ear.listen(lambda: bool(ear.link.failure), "the failure")
        assert words in ear.link.failure
        ear.listen(lambda: ear.link.connections == 2, "another connection")


def test_a_flood_of_frames_and_other_channels_keeps_nobody_waiting():
    def flooding(self: Camera, one: socket.socket, client) -> None:
        junk = inside(b"x" * 60_000, 9) * 4
        while not self.stop.is_set():
            one.sendall(junk)

    with camera(flooding) as bad, camera(playing) as good, Ear(bad.url, good.url) as ear:
        ear.listen(lambda: ear.position(1) > 48_000, "the good one")
        assert ear.reader.head(1).lost == 0
        assert ear.hub.links[1].connections == 1


def test_the_camera_s_clock_is_noticed():
    clock = SystemClock()

    def late_clock(self: Camera, one: socket.socket, client) -> None:
        def send(index: int) -> None:
            report = sender_report(7, clock.utc_ns() - 3_600 * NS_PER_S, index * 320, index, 0)
            one.sendall(inside(rtp(index)) + inside(report, 1))

        at_pace(self.stop, send)

    with camera(late_clock) as one, Ear(one.url) as ear:
        ear.listen(lambda: ear.link.clock_off, "the report")
        assert ear.link.intake.clock_offset_ns == pytest.approx(-3_600 * NS_PER_S, abs=NS_PER_S)
        assert ear.clock.mono_ns() - ear.reader.head(0).mono_ns < NS_PER_S // 2, "the arrivals count instead"


def test_a_thousand_reconnects_leave_no_descriptor_and_no_memory():
    """A camera that cuts every connection after its first packets; the pause between tries is taken away."""

    def cutting(self: Camera, one: socket.socket, client) -> None:
        one.sendall(b"".join(inside(rtp(index)) for index in range(3)))

    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    def resident_kb() -> int:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.partition("VmRSS:")[2].split()[0])

    with camera(cutting) as one, Ear(one.url) as ear:
        later, ear.hub.later = ear.hub.later, lambda link, due_ns: later(link, 0)
        ear.listen(lambda: ear.link.errors >= 100, "a hundred", pace_s=0.0005)
        gc.collect()
        before, memory = descriptors(), resident_kb()
        ear.listen(lambda: ear.link.errors >= 1_100, "a thousand more", patience_s=90, pace_s=0.0005)
        gc.collect()
        assert abs(descriptors() - before) <= 4, "one connection is open at either moment, on both sides"
        assert resident_kb() - memory < 3_000
        assert ear.link.connections > 1_000
        assert len(ear.hub._ready) <= 1
        assert len(ear.hub._due) <= 1


def test_a_fleet_that_comes_back_at_once_is_asked_one_after_the_other():
    times: list[int] = []
    clock = SystemClock()

    def note(one: socket.socket) -> bool:
        times.append(clock.mono_ns())
        return True

    with camera(before=note) as one, Ear(*(f"{one.url}/{index}" for index in range(100))) as ear:
        ear.listen(lambda: len(times) >= 100, "a hundred connections")
        begun = sorted(link.attempt_ns for link in ear.hub.links)
        assert begun[-1] - begun[0] > 0.3 * NS_PER_S
        assert max(np.unique(begun, return_counts=True)[1]) <= CONNECTS_MAX + 1


def test_leaving_says_teardown():
    def patient(self: Camera, one: socket.socket, client) -> None:
        stop = threading.Event()
        sender = threading.Thread(target=at_pace, args=(stop, lambda index: one.sendall(inside(rtp(index)))))
        sender.start()
        self.requests.append(one.recv(4_096).decode(errors="replace").split()[0])
        stop.set()
        sender.join()

    with camera(patient) as one:
        with Ear(one.url) as ear:
            ear.listen(lambda: ear.position() > 3_200, "sound")
        one.thread.join(0.5)
        assert one.requests[-1] == "TEARDOWN"
