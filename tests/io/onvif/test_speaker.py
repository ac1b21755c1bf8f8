"""Talk-back against the simulated loudspeaker: first sound, pace, queue, cancel, expiry, faults, a live voice."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from gwanje.core.clock import NS_PER_S
from gwanje.core.sound import clips
from gwanje.io.field.errors import ConnectionLostError
from gwanje.io.field.onvif import prompts
from gwanje.io.field.onvif.backchannel import PACKET_SAMPLES, BackChannel, alaw, mulaw
from gwanje.io.field.onvif.main import SIMULATED_LOGIN
from gwanje.io.field.onvif.prompts import PromptError, load, tones
from gwanje.io.field.onvif.speaker import QUEUE_MAX, Speaker
from gwanje.io.field.rtsp import pcm
from gwanje.io.field.rtsp.session import Login

from .rig import cameras


def run(scenario) -> None:
    asyncio.run(scenario())


def short(city, seconds: float = 0.1) -> None:
    """Prompts so short that a test need not listen for long."""
    for driver in city.drivers:
        driver._prompts = [
            prompts.Prompt(one.ko, one.en, one.urgent, tones(((880.0, seconds),))) for one in driver._prompts
        ]


async def many(connection, count: int) -> None:
    """Sound faster than any ear, as after many seconds."""
    for number in range(count):
        connection.send(np.zeros(PACKET_SAMPLES, np.int16))
        if number % 100 == 0:
            await asyncio.sleep(0)


def test_a_prompt_is_heard_whole_and_read_back(tmp_path):
    async def scenario():
        async with cameras(tmp_path) as city:
            short(city, 0.3)
            outcome = await city.ordered("cam1.prompt", 1.0)
            assert outcome[0] == "accepted", outcome
            assert city.value("cam1.prompt") == 1.0
            assert city.value("cam1.speaking") == 1.0
            speaker = city.drivers[0].speaker
            await city.until(lambda: speaker.counts.said == 1 and city.value("cam1.speaking") == 0.0)
            await city.until(lambda: city.sim.state("cam1")["speaker"]["packets"] == 15)
            heard = city.sim.state("cam1")["speaker"]
            assert heard["samples"] == 2_400
            assert heard["lost"] == 0
            assert heard["level_db"] > -20.0
            assert city.value("cam1.prompt") == 0.0
            assert 0 < speaker.counts.first_audio_ns < NS_PER_S

    run(scenario)


def test_a_second_prompt_uses_the_same_connection_and_a_long_queue_is_refused(tmp_path):
    async def scenario():
        async with cameras(tmp_path) as city:
            short(city, 0.2)
            speaker = city.drivers[0].speaker
            told = []
            first = city.drivers[0]._prompts[0]
            deadline = city.clock.mono_ns() + 60 * NS_PER_S
            why = [speaker.say(1, first, deadline, lambda *one: told.append(one)) for _ in range(QUEUE_MAX + 1)]
            assert why == [""] * QUEUE_MAX + [f"busy: {QUEUE_MAX} prompts wait"]
            await city.until(lambda: speaker.counts.said == QUEUE_MAX)
            assert told == [("accepted", "")] * QUEUE_MAX
            assert city.sim.state("cam1")["speaker"]["sessions"] == 1

    run(scenario)


def test_what_is_urgent_interrupts_and_zero_cancels(tmp_path):
    async def scenario():
        async with cameras(tmp_path) as city:
            short(city, 5.0)
            speaker = city.drivers[0].speaker
            await city.ordered("cam1.prompt", 1.0)
            await city.ordered("cam1.prompt", 2.0)  # urgent
            await city.until(lambda: city.value("cam1.prompt") == 2.0)
            await city.ordered("cam1.prompt", 0.0)
            await city.until(lambda: not speaker.busy)
            await city.until(lambda: city.value("cam1.prompt") == 0.0)
            assert speaker.counts.said == 0

    run(scenario)


def test_what_is_cancelled_before_its_first_sound_is_told(tmp_path):
    async def scenario():
        async with cameras(tmp_path) as city:
            short(city, 0.5)
            speaker, told = city.drivers[0].speaker, []
            asked, go = asyncio.Event(), asyncio.Event()
            whole = speaker.address

            async def slowly():
                asked.set()
                await go.wait()
                return await whole()

            speaker.address = slowly
            deadline = city.clock.mono_ns() + 60 * NS_PER_S
            assert speaker.say(1, city.drivers[0]._prompts[0], deadline, lambda *one: told.append(one)) == ""
            await asked.wait()
            speaker.cancel()
            go.set()
            await city.until(lambda: not speaker.busy)
            assert told == [("refused", "cancelled")]

    run(scenario)


def test_a_prompt_that_waited_too_long_is_not_said(tmp_path):
    async def scenario():
        async with cameras(tmp_path) as city:
            short(city, 0.5)
            speaker = city.drivers[0].speaker
            told = []
            await city.ordered("cam1.prompt", 1.0)
            late = city.clock.mono_ns() + 50_000_000
            assert speaker.say(5, city.drivers[0]._prompts[4], late, lambda *one: told.append(one)) == ""
            await city.until(lambda: bool(told))
            assert told == [("expired", "")]
            await city.until(lambda: city.sim.state("cam1")["speaker"]["packets"] >= 25)
            assert city.sim.state("cam1")["speaker"]["packets"] == 25

    run(scenario)


@pytest.mark.parametrize(("kind", "words"), [("deaf", "551"), ("wrong_auth", "401")])
def test_a_camera_that_cannot_be_spoken_to_is_told(tmp_path, kind, words):
    async def scenario():
        async with cameras(tmp_path) as city:
            await city.fault("cam1", kind)
            if kind == "wrong_auth":
                city.sim.cameras["cam1"].login = ("operator", "simulated")  # only the loudspeaker's
            outcome = await city.ordered("cam1.prompt", 1.0)
            assert outcome[0] == "refused"
            assert words in outcome[2]
            assert city.drivers[0].health.online

    run(scenario)


def test_a_speaker_can_be_ended_at_any_packet(tmp_path):
    async def scenario():
        async with cameras(tmp_path) as city:
            prompt = prompts.Prompt("가", "a", False, tones(((880.0, 0.02),)))
            for _ in range(20):
                speaker = Speaker(SIMULATED_LOGIN, 2.0, city.clock, city.drivers[0]._stream_address)
                task = asyncio.create_task(speaker.run())
                told = asyncio.Event()
                speaker.say(1, prompt, city.clock.mono_ns() + 5 * NS_PER_S, lambda *_, told=told: told.set())
                await told.wait()
                task.cancel()  # in the very turn in which the next block is asked for
                await asyncio.wait({task}, timeout=5.0)
                assert task.cancelled()

    run(scenario)


def test_a_camera_that_hangs_up_in_the_middle_is_told_and_spoken_to_anew(tmp_path):
    async def scenario():
        async with cameras(tmp_path) as city:
            short(city, 2.0)
            speaker = city.drivers[0].speaker
            await city.ordered("cam1.prompt", 1.0)
            for client in tuple(city.sim.speakers.clients):
                client.abort()
            await city.until(lambda: speaker.counts.failed == 1)
            await city.until(lambda: city.value("cam1.speaking") == 0.0)
            assert [one[0] for one in city.reports] == ["accepted"], "told once"
            assert (await city.ordered("cam1.prompt", 1.0))[0] == "accepted"

    run(scenario)


def test_a_camera_that_reads_nothing_any_more_is_given_up(tmp_path):
    async def scenario():
        async with cameras(tmp_path) as city:
            await city.fault("cam1", "frozen_speaker")
            connection = await city.drivers[0].speaker._opened()
            with pytest.raises(ConnectionLostError, match="does not take the sound"):
                await many(connection, 60_000)
            await asyncio.wait_for(connection.close(), 5.0)

    run(scenario)


def test_somebody_speaks_live_and_ends_when_the_microphone_does(tmp_path):
    async def scenario():
        async with cameras(tmp_path) as city:
            speaker = city.drivers[0].speaker

            async def voice():
                for _ in range(10):
                    yield tones(((440.0, 0.04),))
                await asyncio.Event().wait()  # the microphone gives nothing any more

            told = []
            assert speaker.speak(voice(), city.clock.mono_ns() + NS_PER_S, lambda *one: told.append(one)) == ""
            await city.until(lambda: city.value("cam1.speaking") == 2.0)
            assert city.value("cam1.prompt") == 0.0
            await city.until(lambda: not speaker.busy)
            assert city.sim.state("cam1")["speaker"]["packets"] == 20
            assert told == [("accepted", "")]

    run(scenario)


def test_a_voice_and_a_prompt_exclude_each_other_and_say_why(tmp_path):
    async def scenario():
        async with cameras(tmp_path) as city:
            short(city, 1.0)
            driver = city.drivers[0]
            speaker = driver.speaker
            stop = asyncio.Event()

            async def voice():
                while not stop.is_set():
                    yield tones(((440.0, 0.04),))
                    await asyncio.sleep(0.01)

            far = city.clock.mono_ns() + 60 * NS_PER_S
            await city.ordered("cam1.prompt", 1.0)
            assert driver.speak(voice(), far, lambda *_: None) == "a prompt is being said"
            await city.until(lambda: not speaker.busy)
            assert driver.speak(voice(), far, lambda *_: None) == ""
            await city.until(lambda: city.value("cam1.speaking") == 2.0)
            for number in (1.0, 2.0):  # the second is urgent
                assert (await city.ordered("cam1.prompt", number))[2] == "somebody speaks live through this loudspeaker"
            assert driver.speak(voice(), far, lambda *_: None) == "somebody speaks live already"
            assert (await city.ordered("cam1.chirp_command", 1.0))[2] == "the loudspeaker is in use"
            stop.set()
            await city.until(lambda: not speaker.busy)

    run(scenario)


def test_the_test_sound_is_played_and_told_while_it_sounds(tmp_path):
    async def scenario():
        async with cameras(tmp_path) as city:
            assert (await city.ordered("cam1.chirp_command", 1.0))[0] == "accepted"
            assert city.value("cam1.speaking") == 3.0
            assert city.value("cam1.chirp_command") == 1.0
            await city.until(lambda: city.value("cam1.speaking") == 0.0)
            assert city.value("cam1.chirp_command") == 0.0
            await city.until(lambda: city.sim.state("cam1")["speaker"]["packets"] == 55)
            assert (await city.ordered("cam1.chirp_command", 0.0))[0] == "accepted"

    run(scenario)


@pytest.mark.parametrize(("code", "table"), [(mulaw, pcm.mulaw_table()), (alaw, pcm.alaw_table())])
def test_every_code_is_the_one_that_means_it(code, table):
    meant = table[np.frombuffer(code(table), np.uint8)]
    assert (meant == table).all(), "of two codes for zero either"
    samples = np.arange(-32_768, 32_768, dtype=np.int32).astype(np.int16)
    back = table[np.frombuffer(code(samples), np.uint8)].astype(np.int32)
    nearest = np.abs(samples.astype(np.int32)[:, None] - np.unique(table.astype(np.int32))[None, :]).min(axis=1)
    assert (np.abs(back - samples) == nearest).all()


def test_packets_count_and_mark_their_beginning():
    channel = BackChannel("rtsp://127.0.0.1/x", Login(), lambda n: bytes(range(n)))
    channel.start()
    head = b"RTSP/1.0 200 OK\r\nCSeq: %d\r\n"
    sdp = b"v=0\r\nm=audio 0 RTP/AVP 8 0\r\na=sendonly\r\na=control:t1\r\n"
    assert channel.receive(head % 1 + b"\r\n") == []
    assert b"Require: www.onvif.org/ver20/backchannel\r\n" in channel.out
    channel.receive(head % 2 + b"Content-Length: %d\r\n\r\n" % len(sdp) + sdp)
    assert b"SETUP rtsp://127.0.0.1/x/t1 " in channel.out
    channel.receive(head % 3 + b"Session: 7\r\nTransport: RTP/AVP/TCP;unicast;interleaved=4-5\r\n\r\n")
    channel.receive(head % 4 + b"Session: 7\r\n\r\n")
    assert channel.playing
    assert channel.codec == "PCMU"
    one, two = channel.frame(np.zeros(PACKET_SAMPLES, np.int16)), channel.frame(np.zeros(PACKET_SAMPLES, np.int16))
    assert one[:4] == bytes([0x24, 4, 0, 172])
    assert (one[5] >> 7, two[5] >> 7) == (1, 0)
    assert int.from_bytes(two[6:8], "big") == int.from_bytes(one[6:8], "big") + 1
    assert int.from_bytes(two[8:12], "big") == int.from_bytes(one[8:12], "big") + PACKET_SAMPLES
    assert set(one[16:]) == {0xFF}


@pytest.mark.parametrize(
    ("sdp", "words"),
    [
        (b"v=0\r\nm=audio 0 RTP/AVP 0\r\na=recvonly\r\n", "no back channel"),
        (b"v=0\r\nm=video 0 RTP/AVP 96\r\n", "no back channel"),
        (b"v=0\r\nm=audio 0 RTP/AVP 97\r\na=rtpmap:97 opus/48000/2\r\na=sendonly\r\n", "takes OPUS"),
    ],
)
def test_descriptions_without_a_usable_back_channel_are_refused(sdp, words):
    channel = BackChannel("rtsp://127.0.0.1/x", Login(), lambda n: bytes(n))
    channel.start()
    channel.receive(b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n")
    channel.receive(b"RTSP/1.0 200 OK\r\nCSeq: 2\r\nContent-Length: %d\r\n\r\n" % len(sdp) + sdp)
    assert words in channel.failure


def test_prompts_come_from_tones_and_from_files_of_the_site(tmp_path):
    import wave

    table = {"ko": "가", "en": "a"}
    path = tmp_path / "a.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(np.repeat(np.full(16_000, 1_000, np.int16), 2).tobytes())
    tone, clip = load([{**table, "sound": "tone:warning"}, {**table, "sound": "a.wav", "urgent": True}], tmp_path)
    assert 0.3 < np.abs(tone.samples).max() / 32_768 < 0.4
    assert len(clip.samples) == 8_000
    assert clip.urgent
    assert abs(int(np.median(clip.samples)) - 1_000) <= 2
    path.write_bytes(b"RIFF")
    with pytest.raises(PromptError, match=r"a\.wav: no WAV file"):
        load([{**table, "sound": "a.wav"}], tmp_path)
    with pytest.raises(PromptError, match=r"b\.wav: No such file"):
        load([{**table, "sound": "b.wav"}], tmp_path)


def test_speech_without_a_program_is_tones_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(clips.shutil, "which", lambda _: None)
    (one,) = load([{"ko": "가", "en": "a", "sound": "speech"}], tmp_path)
    assert "espeak-ng is not installed" in one.note
    assert len(one.samples) > 8_000
