"""Programs that play and record, and speech on its way from a terminal: nothing waits for ever, nothing is written."""

from __future__ import annotations

import argparse
import os
import stat
import wave
from pathlib import Path

import numpy as np
import pytest

from gwanje.core.cli import chirp, listen, talk
from gwanje.core.cli.main import _parser
from gwanje.core.cli.parsing import CommandError
from gwanje.core.cli.sound_programs import PLAYERS, RECORDERS, Player, Recorder, found
from gwanje.core.cli.talk import Clip, Speech, source_of
from gwanje.core.site.config import load_site
from gwanje.core.sound import clips
from gwanje.core.sound.client import FRAMES_MAX, Heard, Over, Said

ROOT = Path(__file__).resolve().parents[3]


def program(folder: Path, name: str, body: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_only_programs_of_the_system_s_folders_are_taken_in_order(tmp_path: Path) -> None:
    for name in ("aplay", "pw-play", "evil"):
        program(tmp_path, name, "cat > /dev/null")
    lines = found(PLAYERS, 16_000, str(tmp_path))
    assert [Path(one[0]).name for one in lines] == ["pw-play", "aplay"]
    assert "16000" in " ".join(lines[1])
    assert not any(str(tmp_path) in one[0] for one in found(PLAYERS, 16_000))


def test_a_player_that_dies_is_followed_by_the_next_and_none_is_no_error(tmp_path: Path) -> None:
    dead = program(tmp_path, "dead", "exit 1")
    good = program(tmp_path, "good", f"head -c 3200 > {tmp_path}/heard; cat > /dev/null")
    player = Player([[str(dead)], [str(good)]])
    piece = np.full(1_600, 7, np.int16)
    target = tmp_path / "heard"
    for _ in range(100_000):
        player.play(piece)
        if target.exists() and target.stat().st_size == 3_200:
            break
    assert np.fromfile(target, "<i2").tolist() == [7] * 1_600
    player.close()
    none = Player([])
    none.play(piece)
    assert (none.able, none.dropped) == (False, 1_600)
    none.close()


def test_a_player_that_reads_nothing_keeps_nobody_waiting(tmp_path: Path) -> None:
    player = Player([[str(program(tmp_path, "stuck", "exec sleep 60"))]])
    for _ in range(100):
        player.play(np.ones(1_600, np.int16))
    assert player.dropped > 50 * 1_600
    player.close()


def test_a_recorder_gives_what_comes_and_says_when_nothing_comes_any_more(tmp_path: Path) -> None:
    recorder = Recorder([str(program(tmp_path, "mic", "printf 'abcdefg'"))])
    heard = np.zeros(0, np.int16)
    while not recorder.ended:
        heard = np.concatenate([heard, recorder.read()])
    assert heard.astype("<i2").tobytes() == b"abcdef", "half a sample is none"
    recorder.close()
    assert [Path(one[0]).name for one in found(RECORDERS, 8_000, str(tmp_path))] == []


class PretendedVoice:
    """A loudspeaker that plays 0.05 s in a turn."""

    def __init__(self, dies_after: int = 10**9) -> None:
        self.taken = np.zeros(0, np.int16)
        self.waiting = 0
        self.last = False
        self.dies_after = dies_after

    def say(self, samples: np.ndarray, last: bool = False) -> Said | Over:
        if self.last and not self.waiting:
            return Over("grant_over", "끝", "over")
        if len(self.taken) >= self.dies_after:
            return Over("refused_by_owner", "고장", "broken")
        n = min(len(samples), 4_000 - self.waiting)
        self.taken = np.concatenate([self.taken, samples[:n]])
        self.waiting += n
        self.last = self.last or (last and n == len(samples))
        return Said(n, self.waiting / 8_000, 0, 50.0)

    def plays(self) -> None:
        self.waiting = max(0, self.waiting - 400)


def test_a_clip_is_handed_over_whole_at_the_loudspeaker_s_pace() -> None:
    sound = np.arange(20_000, dtype=np.int16)
    voice = PretendedVoice()
    speech = Speech(voice, Clip(sound))  # type: ignore[arg-type]
    turns = 0
    while speech.turn() is not True:
        voice.plays()
        turns += 1
        assert voice.waiting <= 2_000 + FRAMES_MAX
    assert voice.taken.tolist() == sound.tolist()
    assert turns >= 20_000 // 400 - 1


def test_a_loudspeaker_that_breaks_ends_it_with_the_reason() -> None:
    speech = Speech(PretendedVoice(dies_after=1_000), Clip(np.ones(20_000, np.int16)))  # type: ignore[arg-type]
    over = speech.turn()
    assert isinstance(over, Over)
    assert over.text_ko == "고장"


def chosen(**what: object) -> argparse.Namespace:
    return argparse.Namespace(**{"text": None, "file": None, "microphone": False, "for_s": 60.0, **what})


def test_what_cannot_be_said_is_refused_before_anything_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clips.shutil, "which", lambda *_, **__: None)
    with pytest.raises(CommandError, match="espeak-ng"):
        source_of(chosen(text="물러나십시오"), 0)
    with pytest.raises(CommandError, match="arecord"):
        source_of(chosen(microphone=True), 1)
    with pytest.raises(CommandError, match="No such file"):
        source_of(chosen(file=tmp_path / "a.wav"), 1)
    path = tmp_path / "long.wav"
    for rate, channels, seconds, words in ((8_000, 1, 3.0, "longer than 2 s"), (2_000, 1, 1.0, "4 to 96 kHz"),
                                           (8_000, 3, 1.0, "one or two channels")):  # fmt: skip
        with wave.open(str(path), "wb") as file:
            file.setnchannels(channels)
            file.setsampwidth(2)
            file.setframerate(rate)
            file.writeframes(bytes(2 * channels * round(rate * seconds)))
        with pytest.raises(CommandError, match=words):
            source_of(chosen(file=path, for_s=2.0), 1)
    path.write_bytes(b"no sound")
    with pytest.raises(CommandError, match="no WAV file"):
        source_of(chosen(file=path), 1)


def test_the_commands_ask_for_a_reason_and_a_minute_at_most(capsys: pytest.CaptureFixture[str]) -> None:
    parser = _parser()
    for wrong in (["listen", "mic01"], ["listen", "mic01", "--reason", "x", "--for", "61"],
                  ["talk", "cam01", "--reason", "x"], ["talk", "cam01", "--text", "가"],
                  ["talk", "cam01", "--reason", "x", "--text", "가", "--microphone"],
                  ["talk", "cam01", "--reason", "x", "--text", " "]):  # fmt: skip
        with pytest.raises(SystemExit):
            parser.parse_args(wrong)
    capsys.readouterr()
    assert parser.parse_args(["listen", "mic01", "--reason", "x"]).for_s == 60.0


def test_nothing_of_the_listener_s_command_can_write_a_file() -> None:
    options = {text for action in _subparser("listen")._actions for text in action.option_strings}
    assert options == {"-h", "--help", "--reason", "--for", "--lang", "--site", "--run"}
    source = (ROOT / "core" / "cli" / "listen.py").read_text(encoding="utf-8")
    assert not {"open(", "write_bytes", "tofile", "stdout.buffer", "wave"} & set(source.replace(".", " .").split())
    assert "stdout.buffer" not in source
    assert "open(" not in source


def _subparser(name: str) -> argparse.ArgumentParser:
    groups = next(one for one in _parser()._actions if isinstance(one, argparse._SubParsersAction))
    found_one: argparse.ArgumentParser = groups.choices[name]
    return found_one


def test_the_level_is_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    meter = listen.Meter("mic01", 1)
    loud = np.full(1_600, 3_277, np.int16)
    meter.show(Heard(loud, 0, False, 42.0), 10**9)
    meter.show(Heard(loud, 0, False, 42.0), 10**9 + 1)
    meter.show(Heard(np.zeros(1_600, np.int16), 0, True, 41.0), 2 * 10**9)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert "-20.0 dB" in lines[0]
    assert lines[0].count("█") == 20
    assert "own loudspeaker" in lines[1]


def test_only_a_camera_with_loudspeaker_and_node_can_be_tested() -> None:
    site = load_site(ROOT / "configs" / "chungbuk")
    assert chirp.tested(site, "cam01") == "jincheon.cam01.chirp_command"
    for name, words in (("cam99", "no device"), ("ess1", "no loudspeaker")):
        with pytest.raises(CommandError, match=words):
            chirp.tested(site, name)
    assert talk.TEXT_MAX == 400
    assert os.sep == "/"
