"""Talk-back into GStreamer's ONVIF server, which shares nothing with us: every byte of sound arrives, and in order.

What is spoken is a test tone; it lands in the test's own folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gwanje.core.clock import NS_PER_S, SystemClock
from gwanje.io.field.onvif.backchannel import mulaw
from gwanje.io.field.onvif.prompts import Prompt, tones
from gwanje.io.field.onvif.speaker import Counts, Speaker
from gwanje.io.field.rtsp.session import Login

SCRIPT = Path(__file__).with_name("backchannel_server.py")
PYTHON = "/usr/bin/python3"


@pytest.fixture(scope="module")
def gstreamer() -> str:
    """The system's Python with GStreamer's RTSP server."""
    ask = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    try:
        found = subprocess.run([PYTHON, "-c", ask], capture_output=True, text=True, timeout=60)
    except OSError as error:
        pytest.skip(f"peer absent: {PYTHON}: {error.strerror}")
    if found.returncode:
        pytest.skip(f"peer absent: GStreamer RTSP server (gir1.2-gst-rtsp-server-1.0): {found.stderr[-200:]}")
    return PYTHON


@contextlib.asynccontextmanager
async def serving(python: str, path: Path):
    process = await asyncio.create_subprocess_exec(
        python, str(SCRIPT), str(path), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        line = await asyncio.wait_for(process.stdout.readline(), 30)
        assert line.strip().isdigit(), (await process.stderr.read()).decode()[-2000:]
        yield int(line)
    finally:
        process.kill()
        await process.communicate()


async def spoken(python: str, path: Path, samples: np.ndarray) -> tuple[bytes, Counts]:
    """What the server has of a prompt ten seconds after it was said, or as soon as it has all."""
    async with serving(python, path) as port:
        clock = SystemClock()

        async def address() -> str:
            return f"rtsp://127.0.0.1:{port}/camera"

        speaker = Speaker(Login(), 5.0, clock, address)
        task = asyncio.create_task(speaker.run())
        told = []
        prompt = Prompt("가", "a", False, samples)
        assert speaker.say(1, prompt, clock.mono_ns() + 20 * NS_PER_S, lambda *one: told.append(one)) == ""
        async with asyncio.timeout(30):
            while not told or speaker.busy:
                await asyncio.sleep(0.02)
        assert told == [("accepted", "")], told
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(10):
                while not path.exists() or path.stat().st_size < len(samples):
                    await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return path.read_bytes() if path.exists() else b"", speaker.counts


def test_a_second_of_sound_arrives_bit_by_bit(gstreamer, tmp_path):
    """At one of three attempts: what comes before its pipeline plays, on a machine that has no time, the peer drops."""
    samples = tones(((440.0, 0.5), (1_000.0, 0.5)))
    assert np.abs(samples).max() > 5_000
    for attempt in range(3):
        heard, counts = asyncio.run(spoken(gstreamer, tmp_path / f"heard{attempt}.pcmu", samples))
        assert counts.packets == 50
        if len(heard) == len(samples):
            break
        print(f"attempt {attempt}: {len(heard)} of {len(samples)} bytes", file=sys.stderr)
    assert heard == mulaw(samples)
    print(f"first packet {counts.first_audio_ns / 1e6:.1f} ms after the command", file=sys.stderr)


def test_a_server_without_back_channel_is_refused_with_its_words(gstreamer, tmp_path):
    async def scenario():
        async with serving(gstreamer, tmp_path / "nothing") as port:
            clock = SystemClock()

            async def address() -> str:
                return f"rtsp://127.0.0.1:{port}/elsewhere"

            speaker = Speaker(Login(), 5.0, clock, address)
            task = asyncio.create_task(speaker.run())
            told = []
            prompt = Prompt("가", "a", False, tones(((440.0, 0.1),)))
            speaker.say(1, prompt, clock.mono_ns() + 20 * NS_PER_S, lambda *one: told.append(one))
            async with asyncio.timeout(30):
                while not told:
                    await asyncio.sleep(0.02)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert told[0][0] == "refused"
            assert "404" in told[0][1]

    asyncio.run(scenario())
