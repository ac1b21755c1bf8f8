"""Packets that the program ffmpeg makes, decoded by the driver and, from the same file, by PyAV: the same sound.

ffmpeg is no RTSP server, so its packets come as plain RTP with the description that it writes.
"""

import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import av
import numpy as np
import pytest

from gwanje.core.audio_ring import RingReader, RingWriter
from gwanje.io.field.rtsp import rtp
from gwanje.io.field.rtsp.intake import Intake, Mixer
from gwanje.io.field.rtsp.rtp import Order
from gwanje.io.field.rtsp.sdp import choose_track

FFMPEG = shutil.which("ffmpeg")
pytestmark = pytest.mark.skipif(FFMPEG is None, reason="the program ffmpeg is not installed")
SECONDS = 2
SOURCE = f"sine=frequency=700:duration={SECONDS},tremolo=f=3:d=0.8"
FORMATS = {
    "pcmu": ("wav", "-ar 8000 -c:a pcm_mulaw"),
    "pcma": ("wav", "-ar 8000 -c:a pcm_alaw"),
    "l16": ("wav", "-ar 16000 -c:a pcm_s16le"),
    "l16wide": ("wav", "-ar 44100 -c:a pcm_s16le"),
    "aac": ("m4a", "-ar 16000 -c:a aac -b:a 48k"),
    "aac48": ("m4a", "-ar 48000 -c:a aac -b:a 96k"),
    "opus": ("ogg", "-ar 48000 -c:a libopus -b:a 32k"),
    "g726": ("wav", "-ar 8000 -c:a g726 -b:a 32k"),
}


TOLERANCE = {"aac48": 0.08, "opus": 0.08}
"""The priming of 48 kHz is no whole number of samples at 16 kHz; for Opus FFmpeg has a decoder of its own."""


def run(*words: str) -> None:
    subprocess.run([FFMPEG, "-v", "error", "-y", *words], check=True, timeout=60)


def by_pyav(path: Path) -> np.ndarray:
    """The file's sound at 16 kHz mono, decoded and resampled by FFmpeg's libraries."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=16_000)
    blocks = []
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            frame.pts = None
            blocks += [one.to_ndarray().reshape(-1) for one in resampler.resample(frame)]
    return np.concatenate(blocks)


def streamed(path: Path, name: str, folder: Path) -> np.ndarray:
    """The file's sound as the driver gets it from ffmpeg's packets."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        one.settimeout(20)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_000_000)
        description = folder / "x.sdp"
        codec = ["-c:a", "pcm_s16be"] if name.startswith("l16") else ["-c:a", "copy"]
        target = f"rtp://127.0.0.1:{one.getsockname()[1]}"
        run("-i", str(path), *codec, "-f", "rtp", "-sdp_file", str(description), target)
        track = choose_track(description.read_bytes(), "rtsp://a/b")
        with tempfile.TemporaryDirectory(dir="/dev/shm") as place:
            ring = RingWriter.open(Path(place) / "audio", ["mic01"])
            order, mixer = Order(), Mixer(1)
            intake = Intake(0, ring, track.formats, order.counts)
            clock_hz = next(iter(track.formats.values())).clock_hz
            first = None
            one.setblocking(False)
            while True:
                try:
                    data = one.recv(65_536)
                except BlockingIOError:  # ffmpeg has ended: what it sent lies in the socket
                    break
                packet = rtp.parse(data, 0)
                first = packet.timestamp if first is None else first
                arrival_ns = 10**9 + (packet.timestamp - first & 0xFFFF_FFFF) * 10**9 // clock_hz
                mixer.take([(intake, each) for each in order.take(packet._replace(arrival_ns=arrival_ns))])
            assert order.counts.lost == order.counts.bad == order.counts.unused == 0
            assert order.counts.packets > 3
            reader = RingReader.attach(Path(place) / "audio")
            samples = reader.read_from(0, 0).samples
            assert reader.head(0).lost == 0
            ring.close()
            return samples


@pytest.mark.parametrize("name", FORMATS)
def test_the_driver_hears_what_ffmpeg_sent(name, tmp_path):
    suffix, options = FORMATS[name]
    path = tmp_path / f"sound.{suffix}"
    run("-f", "lavfi", "-i", SOURCE, "-ac", "1", *options.split(), str(path))
    ours, theirs = streamed(path, name, tmp_path).astype(float), by_pyav(path).astype(float)
    assert len(ours) == pytest.approx(SECONDS * 16_000, abs=2_500)
    spectrum = np.fft.rfft(ours, 1 << 17) * np.conj(np.fft.rfft(theirs, 1 << 17))
    turn = int(np.argmax(np.fft.irfft(spectrum)))
    turn -= (1 << 17) if turn > 1 << 16 else 0  # FFmpeg leaves out what a file calls priming
    assert abs(turn) < 2_500
    ours, theirs = (ours[turn:], theirs) if turn >= 0 else (ours, theirs[-turn:])
    n = min(len(ours), len(theirs))
    ours, theirs = ours[1_000 : n - 1_000], theirs[1_000 : n - 1_000]
    assert len(ours) > 20_000
    error = ours - theirs
    if name in ("l16", "aac"):
        assert np.abs(error).max() <= 1, "the same decoder and rate: the same samples"
    assert np.sqrt(np.mean(error**2)) < TOLERANCE.get(name, 0.03) * np.sqrt(np.mean(theirs**2))
