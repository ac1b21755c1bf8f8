"""The microphone driver against GStreamer's RTSP server: codecs, transports, video beside it, logins, a freeze."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from rtsp_ear import Ear, tone_of

from gwanje.core.clock import NS_PER_S
from gwanje.io.field.rtsp.link import NO_SOUND, Step
from gwanje.io.field.rtsp.session import Login

CAMERA = Path(__file__).with_name("gstreamer_camera.py")
PYTHON = "/usr/bin/python3"
"""The system's: the bindings of GStreamer are Debian packages."""
SECOND = 16_000


def missing() -> str:
    """Why the peer cannot run; empty when it can."""
    if not sys.platform.startswith("linux") or not Path(PYTHON).exists():
        return f"no {PYTHON}"
    test = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    ran = subprocess.run([PYTHON, "-c", test], capture_output=True, text=True, timeout=30)
    return "" if ran.returncode == 0 else f"GStreamer's RTSP server: {ran.stderr.strip().splitlines()[-1]}"


WHY = missing()
pytestmark = pytest.mark.skipif(bool(WHY), reason=WHY or "present")


@contextmanager
def camera(login: str = "none"):
    """The server, and the beginning of its addresses."""
    process = subprocess.Popen(
        [PYTHON, str(CAMERA), login], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, "GST_REGISTRY_FORK": "no"},
    )  # fmt: skip
    try:
        yield process, f"rtsp://127.0.0.1:{json.loads(process.stdout.readline())['port']}"
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()


@pytest.fixture(scope="module")
def peer():
    with camera() as (process, url):
        yield process, url


@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize("sound", ["pcmu", "pcma", "l16", "l16stereo", "aac", "aac48", "opus", "g726"])
def test_every_codec_is_heard_as_the_tone_that_it_is(peer, sound, transport):
    with Ear(f"{peer[1]}/{sound}", transport=transport) as ear:
        ear.listen(lambda: ear.position() > 2 * SECOND, f"two seconds of {sound}")
        heard = ear.latest(SECOND)
        frequency, share = tone_of(heard)
        assert frequency == pytest.approx(1_000, abs=3)
        assert share > 0.98
        assert np.abs(heard.astype(int)).max() == pytest.approx(16_384, rel=0.12)
        assert ear.reader.head(0).lost == 0
        assert ear.link.lost == ear.link.bad == 0
        assert not ear.link.clock_off


@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize("sound", ["pcmu", "aac", "opus"])
def test_with_video_beside_it_the_sound_alone_is_asked_for(peer, sound, transport):
    with Ear(f"{peer[1]}/{sound}-video", transport=transport) as ear:
        ear.listen(lambda: ear.position() > SECOND, f"{sound} beside video")
        assert ear.link.intake is not None
        assert ear.link.intake.counts.unused == 0, "no packet of the video came"
        assert tone_of(ear.latest(SECOND // 2))[0] == pytest.approx(1_000, abs=5)


def test_a_camera_without_a_microphone_says_so(peer):
    with Ear(f"{peer[1]}/video") as ear:
        ear.listen(lambda: bool(ear.link.failure), "the description")
        assert ear.link.failure == "the camera sends no sound, only video"


def test_a_path_that_is_not_there_is_404(peer):
    with Ear(f"{peer[1]}/nobody") as ear:
        ear.listen(lambda: bool(ear.link.failure), "the answer")
        assert ear.link.failure.startswith("404")


def test_capture_times_follow_the_camera_s_reports(peer):
    with Ear(f"{peer[1]}/l16") as ear:
        ear.listen(lambda: ear.link.intake is not None and ear.link.intake._moment is not None, "a sender's report")
        assert abs(ear.link.intake.clock_offset_ns) < NS_PER_S
        ear.listen(lambda: ear.position() > SECOND, "sound")
        age_ns = ear.clock.mono_ns() - ear.reader.head(0).mono_ns
        assert 0 <= age_ns < NS_PER_S // 4


@pytest.mark.parametrize("way", ["digest", "basic"])
def test_logging_in(way):
    with camera(way) as (_process, url):
        with Ear(f"{url}/pcmu", login=Login("listener", "s3cret")) as ear:
            ear.listen(lambda: ear.position() > SECOND // 2, f"sound after a {way} login")
        with Ear(f"{url}/pcmu", login=Login("listener", "wrong")) as ear:
            ear.listen(lambda: bool(ear.link.failure), "the refusal")
            assert ear.link.failure == "401 Unauthorized: the camera does not take the user and password"
        with Ear(f"{url}/pcmu") as ear:
            ear.listen(lambda: bool(ear.link.failure), "the refusal")
            assert "camera-passwords.toml" in ear.link.failure


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_camera_that_freezes_is_left_and_heard_again_when_it_goes_on(transport):
    with camera() as (process, url), Ear(f"{url}/pcmu", transport=transport) as ear:
        ear.listen(lambda: ear.position() > SECOND, "sound")
        process.send_signal(signal.SIGSTOP)
        before = ear.position()
        ear.listen(lambda: ear.link.step is not Step.PLAYING, "the freeze to be seen")
        assert ear.link.failure == NO_SOUND
        process.send_signal(signal.SIGCONT)
        ear.listen(lambda: ear.link.connections == 2, "sound again")
        ear.listen(lambda: ear.position() > before + SECOND, "sound again")
        begin, end = ear.reader.gaps(0, before - 1, ear.position())[0]
        assert end - begin > SECOND, "the silence between is marked"


def test_thirty_streams_of_one_camera_side_by_side():
    """With a server of its own: on a machine without time it has been seen to die of thirty clients at once."""
    sounds, ends = ("pcmu", "l16", "pcma", "aac", "opus"), []
    for _ in range(3):
        with camera() as (process, url), Ear(*(f"{url}/{sounds[index % 5]}" for index in range(30))) as ear:
            ear.listen(
                lambda: min(ear.position(index) for index in range(30)) > SECOND or process.poll() is not None,
                "all of them",
            )
            if process.poll() is None:
                for index in range(30):
                    assert tone_of(ear.latest(SECOND // 2, index))[0] == pytest.approx(1_000, abs=5)
                return
            ends.append(process.returncode)
    pytest.skip(f"GStreamer's server died three times: {ends}")
