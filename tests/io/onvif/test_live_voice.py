"""Live speech on its way to the loudspeaker: the jitter buffer, the pass, what ends it, and the speaker's end of it."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from gwanje.core.clock import NS_PER_S
from gwanje.core.requests import Code
from gwanje.core.sound.client import FRAMES_MAX, Over, Said, Voice
from gwanje.core.sound.passes import PASS_NS, Pass, seal
from gwanje.io.field.onvif.live_voice import BUFFER_SAMPLES, JitterBuffer, VoiceDesk
from gwanje.io.field.onvif.prompts import tones

from .rig import cameras

SECRET = b"secret of the run"


def run(scenario) -> None:
    asyncio.run(scenario())


class Line:
    """The bus of who speaks: the core grants, the desk of the rig's cameras answers."""

    def __init__(self, city, for_s: float = 60.0) -> None:
        self.city, self.clock, self.for_s = city, city.clock, for_s
        self.barred = False
        self.n = 0
        self.begun_ns = 0
        self.desk = VoiceDesk("cameras", SECRET, city.drivers, lambda _: self.barred, city.clock)

    def passed(self, **more: Any) -> dict[str, Any]:
        now = self.clock.mono_ns()
        members = {
            "part": "cameras", "grant_id": f"g{self.n}", "place": "cam1", "author": "kim", "remote_key": "",
            "begun_mono_ns": self.begun_ns, "ends_mono_ns": self.begun_ns + round(self.for_s * NS_PER_S),
            "until_mono_ns": now + PASS_NS, **more,
        }  # fmt: skip
        return seal(SECRET, Pass(**members))

    def request(self, name: str, message: dict[str, Any], timeout_ms: int = 0) -> dict[str, Any]:
        if name == "sound.cameras":
            return self.desk.answer(message)
        now = self.clock.mono_ns()
        if message["op"] == "talk":
            self.n, self.begun_ns = self.n + 1, now
        ends = self.begun_ns + round(self.for_s * NS_PER_S)
        return {"outcome": "granted", "grant_id": f"g{self.n}", "part": "cameras", "mono_ns": now,
                "ends_mono_ns": ends, **self.passed()}  # fmt: skip


async def speak(voice: Voice, sound: np.ndarray) -> Said | Over:
    """Hand all of it over, as a terminal does."""
    while True:
        said = voice.say(sound, last=True)
        if isinstance(said, Over):
            return said
        sound = sound[said.taken :]
        if not len(sound):
            return said
        await asyncio.sleep(0.05)


def test_speech_is_heard_whole_in_real_time_and_ends_with_its_last_word(tmp_path):
    async def scenario():
        async with cameras(tmp_path) as city:
            line = Line(city)
            voice = Voice(line, "token")
            assert voice.begin("cam1", "ask him", 60.0) is None
            begun_ns = city.clock.mono_ns()
            said = await speak(voice, tones(((440.0, 1.2),)))
            assert isinstance(said, Said)
            await city.until(lambda: city.value("cam1.speaking") == 2.0)
            await city.until(lambda: not city.drivers[0].speaker.busy)
            assert city.clock.mono_ns() - begun_ns > 1.1 * NS_PER_S, "no faster than speech"
            await city.until(lambda: city.sim.state("cam1")["speaker"]["packets"] >= 60)
            assert city.sim.state("cam1")["speaker"]["lost"] == 0
            over = voice.say(np.zeros(0, np.int16))
            assert isinstance(over, Over)
            assert over.code == Code.GRANT_OVER
            voice.end()

    run(scenario)


def test_when_nothing_waits_silence_is_sent_and_counted_and_a_second_of_it_ends_it(tmp_path):
    async def scenario():
        async with cameras(tmp_path) as city:
            voice = Voice(Line(city), "token")
            voice.begin("cam1", "ask him", 60.0)
            said = voice.say(tones(((440.0, 0.1),)))
            assert isinstance(said, Said)
            await city.until(lambda: city.drivers[0].speaker.counts.packets > 15)
            said = voice.say(tones(((440.0, 0.1),)))
            assert isinstance(said, Said)
            assert said.underruns > 5
            await city.until(lambda: not city.drivers[0].speaker.busy)
            assert isinstance(voice.say(tones(((440.0, 0.1),))), Over)

    run(scenario)


def test_the_grant_s_end_ends_it_however_much_waits(tmp_path):
    async def scenario():
        async with cameras(tmp_path) as city:
            voice = Voice(Line(city, for_s=0.6), "token")
            voice.begin("cam1", "ask him", 0.6)
            over = await speak(voice, tones(((440.0, 3.0),)))
            assert isinstance(over, Over)
            await city.until(lambda: not city.drivers[0].speaker.busy)
            assert city.sim.state("cam1")["speaker"]["packets"] < 45

    run(scenario)


def test_nobody_speaks_where_it_is_barred_unknown_or_in_use(tmp_path):
    async def scenario():
        async with cameras(tmp_path) as city:
            line = Line(city)
            empty = {"op": "say", "samples": b"", "last": False}
            line.begun_ns, line.barred = city.clock.mono_ns(), True
            assert line.desk.answer({**empty, **line.passed()})["code"] == Code.SAFETY_TAG
            line.barred = False
            assert line.desk.answer({**empty, **line.passed(place="cam9")})["code"] == Code.UNKNOWN_SOUND
            assert line.desk.answer({**empty, **line.passed(part="media")})["code"] == Code.NOT_FROM_CORE
            assert line.desk.answer(empty)["code"] == Code.NOT_FROM_CORE
            for wrong in (b"x", b"xx" * 9_000, "text", None):
                answer = line.desk.answer({"op": "say", "samples": wrong, **line.passed()})
                assert answer["code"] == Code.MALFORMED
            assert line.desk.answer({"op": "record", **line.passed()})["code"] == Code.MALFORMED
            await city.ordered("cam1.prompt", 1.0)
            answer = line.desk.answer({**empty, **line.passed()})
            assert answer["code"] == Code.SOUNDING
            assert "prompt" in answer["detail"]
            assert not city.drivers[0].speaker.live

    run(scenario)


def test_a_camera_that_takes_no_sound_is_told_to_who_speaks(tmp_path):
    async def scenario():
        async with cameras(tmp_path) as city:
            await city.fault("cam1", "deaf")
            voice = Voice(Line(city), "token")
            voice.begin("cam1", "ask him", 60.0)
            assert isinstance(voice.say(tones(((440.0, 0.1),))), Said)
            await city.until(lambda: not city.drivers[0].speaker.busy)
            over = voice.say(tones(((440.0, 0.1),)))
            assert isinstance(over, Over)
            assert over.code == Code.OWNER
            assert "551" in over.text_en

    run(scenario)


@pytest.mark.parametrize("n", [0, 1, FRAMES_MAX, 3 * BUFFER_SAMPLES])
def test_a_buffer_takes_what_it_has_room_for(n: int):
    from gwanje.core.clock import VirtualClock

    clock = VirtualClock()
    buffer = JitterBuffer(clock, clock.mono_ns() + 10 * NS_PER_S)
    taken = buffer.push(np.ones(n, np.int16), last=True)
    assert taken == min(n, BUFFER_SAMPLES)
    assert buffer.waiting == taken
    assert buffer.over == (n == 0), "the last piece counts as last when all of it was taken"
    clock.advance_ns(NS_PER_S)
    assert buffer.over
