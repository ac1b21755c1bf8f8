"""The way of the sound to a listener: from the ring to who has a pass, nothing of before, nothing kept, silence while
the own loudspeaker sounds; and the listener's end of it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gwanje.core.audio_ring import RingWriter
from gwanje.core.bus.bus import RequestTimeoutError
from gwanje.core.clock import VirtualClock
from gwanje.core.requests import Code, refusal
from gwanje.core.sound.client import Ear, Heard, Over
from gwanje.core.sound.passes import PASS_NS, Pass, opened, seal
from gwanje.io.field.listening import LATE_SAMPLES, RESUME_SAMPLES, ListeningDesk

S = 1_000_000_000
SECRET = b"secret of the run"
NODES = ("mic1", "mic2")


class Town:
    """A ring, a desk, a core that grants what is asked, and the bus of who listens."""

    def __init__(self, folder: Path) -> None:
        self.clock = VirtualClock(mono_ns=1_000 * S)
        self.ring = RingWriter.open(folder / "audio", NODES)
        self.listened, self.muted = [True, True], [False, False]
        self.refuses: dict[str, Any] | None = None
        self.silent = False
        self.asked: list[str] = []
        self.desk = ListeningDesk(
            NODES, self.ring.reader(), SECRET, self.clock, lambda at: self.listened[at], lambda at: self.muted[at]
        )
        self.begun_ns = 0

    def sound(self, seconds: float, value: int = 1_000, node: int = 0) -> None:
        for _ in range(round(seconds / 0.04)):
            self.clock.advance_ns(S // 25)
            self.ring.write(node, np.full(640, value, np.int16), self.clock.mono_ns())

    def passed(self, grant: str = "g1", node: str = "mic1", begun_ns: int | None = None, **more: Any) -> dict[str, Any]:
        now = self.clock.mono_ns()
        members = {
            "part": "media", "grant_id": grant, "place": node, "author": "kim", "remote_key": "",
            "begun_mono_ns": self.begun_ns if begun_ns is None else begun_ns, "ends_mono_ns": now + 60 * S,
            "until_mono_ns": now + PASS_NS, **more,
        }  # fmt: skip
        return seal(SECRET, Pass(**members))

    def pull(self, **more: Any) -> dict[str, Any]:
        return self.desk.answer({"op": "pull", **self.passed(**more)})

    # the bus of a listener
    def request(self, name: str, message: dict[str, Any], timeout_ms: int = 0) -> dict[str, Any]:
        self.asked.append(f"{name} {message['op']}")
        if name == "sound.media":
            return self.desk.answer(message)
        if self.silent:
            raise RequestTimeoutError("nobody")
        if self.refuses is not None:
            return self.refuses
        now = self.clock.mono_ns()
        if message["op"] == "listen":
            self.begun_ns = now
        ends = self.begun_ns + 60 * S
        return {"outcome": "granted", "grant_id": "g1", "part": "media", "mono_ns": now, "ends_mono_ns": ends,
                **self.passed(ends_mono_ns=ends)}  # fmt: skip


@pytest.fixture
def town():
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        one = Town(Path(folder))
        yield one
        one.ring.close()


def samples(answer: dict[str, Any]) -> np.ndarray:
    assert answer["outcome"] == "sound", answer
    return np.frombuffer(answer["samples"], "<i2")


def test_what_was_before_is_not_heard_and_what_comes_is_heard_once(town: Town) -> None:
    town.sound(3.0, 500)
    assert len(samples(town.pull())) == 0
    town.sound(0.2, 700)
    heard = samples(town.pull())
    assert len(heard) == 3_200
    assert set(heard) == {700}
    assert len(samples(town.pull())) == 0, "nothing twice"


def test_who_is_late_goes_on_with_the_present(town: Town) -> None:
    town.pull()
    town.sound(5.0)
    answer = town.pull()
    assert len(samples(answer)) == RESUME_SAMPLES
    assert answer["lost"] == 5 * LATE_SAMPLES - RESUME_SAMPLES
    town.sound(0.08)
    town.ring.gap(0, 640, town.clock.mono_ns())
    assert town.pull()["lost"] == 640


def test_no_sound_flows_while_the_tag_does_not_say_so(town: Town) -> None:
    town.pull()
    town.listened[0] = False
    town.sound(0.2)
    assert town.pull()["code"] == Code.GRANT_OVER
    town.listened[0] = True
    assert samples(town.pull()).any()


def test_while_the_own_loudspeaker_sounds_there_is_silence(town: Town) -> None:
    town.pull()
    town.muted[0] = True
    town.sound(0.2)
    answer = town.pull()
    assert answer["muted"]
    assert len(samples(answer)) == 3_200
    assert not samples(answer).any()


def test_the_newest_grant_hears_and_an_older_one_no_more(town: Town) -> None:
    town.pull(grant="g1", begun_ns=1)
    town.sound(0.2)
    assert len(samples(town.pull(grant="g2", begun_ns=2))) == 0, "nothing of before"
    assert town.pull(grant="g1", begun_ns=1)["code"] == Code.GRANT_OVER


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"part": "cameras"}, Code.NOT_FROM_CORE), ({"node": "mic9"}, Code.UNKNOWN_SOUND),
        ({"until_mono_ns": 5}, Code.EXPIRY), ({"ends_mono_ns": 5}, Code.EXPIRY),
        ({"remote_key": "tablet"}, Code.SESSION_OVER),
    ],
)  # fmt: skip
def test_no_other_pass_opens(town: Town, change: dict[str, Any], code: Code) -> None:
    town.sound(0.2)
    answer = town.pull(**change)
    assert (answer["outcome"], answer["code"]) == ("refused", code)
    assert "samples" not in answer


def test_a_request_without_a_pass_or_of_another_kind_gets_nothing(town: Town) -> None:
    assert town.desk.answer({"op": "pull"})["code"] == Code.NOT_FROM_CORE
    assert town.desk.answer({"op": "record", **town.passed()})["code"] == Code.MALFORMED


def test_a_ring_of_four_microphones_gives_the_first() -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        ring = RingWriter.open(Path(folder) / "audio", ["mic1"], [4])
        clock = VirtualClock(mono_ns=1_000 * S)
        desk = ListeningDesk(["mic1"], ring.reader(), SECRET, clock, lambda _: True, lambda _: False)
        now = clock.mono_ns()
        passed = seal(SECRET, Pass("media", "g", "mic1", "kim", "", 0, now + S, now + S))
        desk.answer({"op": "pull", **passed})
        ring.write(0, np.repeat(np.arange(1, 5, dtype=np.int16)[:, None], 640, 1), now)
        heard = samples(desk.answer({"op": "pull", **passed}))
        assert (len(heard), set(heard)) == (640, {1})
        ring.close()


def test_an_ear_listens_renews_and_ends_with_the_grant(town: Town) -> None:
    ear = Ear(town, "token")
    assert ear.begin("mic1", "a scream", 60.0) is None
    ear.hear()
    total = 0
    for _ in range(50):
        town.sound(0.12, 3_277)
        heard = ear.hear()
        assert isinstance(heard, Heard)
        total += len(heard.samples)
    assert total == 50 * 1_920
    assert abs(heard.level_db + 20.0) < 0.1
    assert 53.0 < heard.left_s < 55.0
    assert town.asked.count("sound renew") == 10, "every 0.6 s"
    town.refuses = refusal(Code.GRANT_OVER)
    town.sound(0.6)
    assert isinstance(ear.hear(), Over)
    n_asked = len(town.asked)
    assert isinstance(ear.hear(), Over), "told again, and nobody is asked any more"
    assert len(town.asked) == n_asked
    ear.end()


def test_an_ear_that_is_refused_says_why(town: Town) -> None:
    town.refuses = refusal(Code.AREA_NOT_HELD, "streets")
    why = Ear(town, "token").begin("mic1", "a scream", 60.0)
    assert isinstance(why, Over)
    assert why.code == Code.AREA_NOT_HELD
    assert "streets" in why.text_ko


def test_when_the_core_is_gone_the_pass_ends_within_two_seconds(town: Town) -> None:
    ear = Ear(town, "token")
    ear.begin("mic1", "a scream", 60.0)
    town.silent = True
    heard: Heard | Over = ear.hear()
    town.sound(1.0)
    heard = ear.hear()
    assert isinstance(heard, Heard)
    assert len(heard.samples)
    town.sound(1.2)
    assert isinstance(ear.hear(), Over)


def test_a_pass_made_for_one_door_says_what_it_is() -> None:
    one = Pass("media", "g", "mic1", "kim", "", 1, 5 * S, 4 * S)
    assert opened(SECRET, "media", seal(SECRET, one), 3 * S) == one
