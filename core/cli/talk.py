"""``gwanje talk``: a person speaks through a camera's loudspeaker — a text, a WAV file, or this machine's microphone.

Half duplex: while it sounds the microphones at the pole judge nothing, and who listens in there hears silence.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from gwanje.core.bus.bus import Bus
from gwanje.core.cli.listen import refused, with_seconds
from gwanje.core.cli.parsing import CommandError, Commands, attached, with_site
from gwanje.core.cli.sound_programs import RECORDERS, Recorder, found, names
from gwanje.core.cli.speech import column_of, with_lang
from gwanje.core.cli.tokens import read_token
from gwanje.core.clock import NS_PER_S, SystemClock
from gwanje.core.sound.client import FRAMES_MAX, TALK_RATE_HZ, Over, Voice
from gwanje.core.sound.clips import ClipError, SpeechMissingError, read_wav, spoken

TEXT_MAX = 400
TURN_NS = NS_PER_S // 20
AHEAD_S = 0.25
"""What waits in front of the loudspeaker before more is handed over."""
LATE_SAMPLES = TALK_RATE_HZ
"""Of a microphone: who could not hand over for a second goes on with the present."""

WORDS: Mapping[str, tuple[str, str]] = {
    "begun": ("방송 중입니다. 모두에게 표시되고 일지에 기록됩니다", "speaking; everybody sees it, the journal has it"),
    "ended": ("방송 끝", "speech has ended"),
    "silence": ("끊긴 시간", "silence in between"),
    "no_speech": (
        "이 컴퓨터에는 글을 읽어 줄 프로그램(espeak-ng)이 없습니다. --file 이나 --microphone 을 쓰십시오",
        "this machine has no program that speaks (espeak-ng): use --file or --microphone",
    ),
    "no_recorder": (
        "이 컴퓨터에는 마이크를 읽을 프로그램이 없습니다 ({})", "no program that records is installed here ({})"
    ),
}  # fmt: skip

Samples = npt.NDArray[np.int16]


def add(commands: Commands) -> None:
    """Add the command."""
    talk = commands.add("talk", _talk, "speak through a camera: a minute at most, with a reason, journalled")
    talk.add_argument("camera", metavar="CAMERA")
    talk.add_argument("--reason", required=True, help="for the journal and for everybody")
    what = talk.add_mutually_exclusive_group(required=True)
    what.add_argument("--text", type=_text, metavar="WORDS", help="Korean words, spoken by espeak-ng")
    what.add_argument("--file", type=Path, metavar="WAV", help="16 bits, one or two channels, 4 to 96 kHz")
    what.add_argument("--microphone", action="store_true", help="what this machine's microphone hears, until Ctrl-C")
    with_seconds(talk)
    with_lang(talk)
    with_site(talk)


def _text(text: str) -> str:
    if not text.strip() or len(text) > TEXT_MAX or not text.isprintable():
        raise argparse.ArgumentTypeError(f"must be one line of at most {TEXT_MAX} letters")
    return text


class Source(Protocol):
    """Where the speech comes from."""

    def more(self) -> Samples:
        """What has come since the last call, (n,) at 8 kHz."""

    @property
    def ended(self) -> bool:
        """Nothing comes any more."""

    def close(self) -> None:
        """Let go of it."""


class Clip:
    """A sound that is there as a whole."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples
        self.ended = False

    def more(self) -> Samples:
        """All of it, at the first call."""
        given, self._samples, self.ended = self._samples, self._samples[:0], True
        return given

    def close(self) -> None:
        """There is nothing to let go of."""


class Microphone:
    """This machine's microphone."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def more(self) -> Samples:
        """What was recorded since the last call."""
        return self._recorder.read()

    @property
    def ended(self) -> bool:
        """The recording program has ended."""
        return self._recorder.ended

    def close(self) -> None:
        """End the recording program."""
        self._recorder.close()


def source_of(chosen: argparse.Namespace, column: int) -> Source:
    """What was chosen to be said.

    Raises:
        CommandError: it cannot be said; in the person's language where the machine lacks a program.
    """
    try:
        if chosen.text is not None:
            return Clip(spoken(chosen.text, chosen.for_s))
        if chosen.file is not None:
            return Clip(read_wav(chosen.file, str(chosen.file), chosen.for_s))
    except SpeechMissingError:
        raise CommandError(WORDS["no_speech"][column]) from None
    except ClipError as error:
        raise CommandError(str(error)) from None
    for line in found(RECORDERS, TALK_RATE_HZ):
        try:
            return Microphone(Recorder(line))
        except OSError:
            continue
    raise CommandError(WORDS["no_recorder"][column].format(names(RECORDERS)))


class Speech:
    """Hands a source over at the loudspeaker's pace.

    Args:
        voice: that was granted.
        source: of the speech.
    """

    def __init__(self, voice: Voice, source: Source) -> None:
        self._voice, self._source = voice, source
        self._pending: Samples = np.zeros(0, np.int16)
        self._last = False
        self.underruns = 0

    def turn(self) -> Over | bool:
        """Hand over what there is room for; true when everything was said, or why nothing is said any more."""
        if not self._last:
            self._pending = np.concatenate([self._pending, self._source.more()])
            if isinstance(self._source, Microphone) and len(self._pending) > LATE_SAMPLES:
                self._pending = self._pending[-LATE_SAMPLES:]
        room = False  # what waits is asked for first
        while True:
            piece = self._pending[: FRAMES_MAX if room else 0]
            said = self._voice.say(piece, self._source.ended and len(piece) == len(self._pending))
            if isinstance(said, Over):
                return self._last or said
            self._pending, self.underruns = self._pending[said.taken :], said.underruns
            self._last = self._source.ended and not len(self._pending)
            if said.waiting_s >= AHEAD_S or not len(self._pending) or (room and not said.taken):
                return self._last and said.waiting_s == 0.0
            room = True


def _talk(chosen: argparse.Namespace) -> int:
    _site, run_dir, _info = attached(chosen)
    column, clock = column_of(chosen.lang), SystemClock()
    source = source_of(chosen, column)
    bus = Bus(run_dir, "cli", clock)
    voice = Voice(bus, read_token(run_dir))
    try:
        why = voice.begin(chosen.camera, chosen.reason, chosen.for_s)
        if why is not None:
            return refused(why, column)
        print(f"{chosen.camera}: {WORDS['begun'][column]}", flush=True)
        return _say(Speech(voice, source), voice, clock, column)
    except KeyboardInterrupt:
        print(WORDS["ended"][column])
        return 0
    finally:
        voice.end()
        source.close()
        bus.close()


def _say(speech: Speech, voice: Voice, clock: SystemClock, column: int) -> int:
    due_ns = clock.mono_ns()
    while True:
        over = speech.turn()
        if isinstance(over, Over) and voice.left_s > 0.2:
            return refused(over, column)
        if over:
            print(f"{WORDS['ended'][column]} ({WORDS['silence'][column]}: {speech.underruns * 0.02:.1f} s)")
            sys.stdout.flush()
            return 0
        due_ns = max(due_ns + TURN_NS, clock.mono_ns())
        clock.wait_until_mono_ns(due_ns)
