"""Programs of the machine that play sound from their standard input or give it on their standard output.

Samples go to the loudspeaker of this machine and nowhere else: a player gets them through a pipe, its own output is
closed, and only programs in the system's folders are taken, so that nothing in a person's ``PATH`` stands in for one.
"""

from __future__ import annotations

import os
import select
import shutil
import subprocess
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

FOLDERS = "/usr/bin:/bin:/usr/local/bin"
PLAYERS: Sequence[tuple[str, ...]] = (
    ("pw-play", "--raw", "--rate={rate}", "--channels=1", "--format=s16", "-"),
    ("paplay", "--raw", "--rate={rate}", "--channels=1", "--format=s16le", "--latency-msec=120"),
    ("aplay", "-q", "-t", "raw", "-f", "S16_LE", "-r", "{rate}", "-c", "1", "-"),
)
RECORDERS: Sequence[tuple[str, ...]] = (
    ("parec", "--raw", "--rate={rate}", "--channels=1", "--format=s16le", "--latency-msec=40"),
    ("arecord", "-q", "-t", "raw", "-f", "S16_LE", "-r", "{rate}", "-c", "1", "-"),
)
READ_BYTES = 16_000
"""A second of a microphone at 8 kHz: what a reader who was late takes at once."""

Samples = npt.NDArray[np.int16]


def found(programs: Sequence[tuple[str, ...]], rate_hz: int, folders: str = FOLDERS) -> list[list[str]]:
    """Command lines of those programs that this machine has, in order."""
    lines = []
    for name, *arguments in programs:
        path = shutil.which(name, path=folders)
        if path is not None:
            lines.append([path, *(one.format(rate=rate_hz) for one in arguments)])
    return lines


def names(programs: Sequence[tuple[str, ...]]) -> str:
    """For people."""
    return ", ".join(name for name, *_ in programs)


class Player:
    """Plays samples through the first program that takes them; when none does any more, nothing is played.

    Args:
        lines: command lines, in the order in which they are tried.
    """

    def __init__(self, lines: Sequence[Sequence[str]]) -> None:
        self._lines = list(lines)
        self._process: subprocess.Popen[bytes] | None = None
        self.dropped = 0
        """Samples that the program did not take in time."""

    @property
    def able(self) -> bool:
        """Whether a program plays, or is left to try."""
        return self._process is not None or bool(self._lines)

    def play(self, samples: Samples) -> None:
        """Hand samples over; never waits: what there is no room for (two seconds are in the pipe) is dropped."""
        data = samples.astype("<i2").tobytes()
        at = 0
        while at < len(data) and (process := self._process or self._started()) is not None:
            assert process.stdin is not None
            try:
                at += os.write(process.stdin.fileno(), data[at : at + select.PIPE_BUF])  # whole or not at all
            except BlockingIOError:
                break
            except BrokenPipeError:
                self.close()  # it has ended, most likely for want of a sound card: the next one is tried
        self.dropped += (len(data) - at) // 2

    def _started(self) -> subprocess.Popen[bytes] | None:
        """The next program that can be started; ``None`` when there is none."""
        while self._lines:
            try:
                process = subprocess.Popen(
                    self._lines.pop(0), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                    bufsize=0,
                )  # fmt: skip
            except OSError:
                continue
            assert process.stdin is not None
            os.set_blocking(process.stdin.fileno(), False)
            self._process = process
            return process
        return None

    def close(self) -> None:
        """End the program."""
        process, self._process = self._process, None
        if process is not None:
            _end(process)


class Recorder:
    """Gives what a microphone of this machine hears.

    Args:
        line: command line.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, line: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
        )
        assert self._process.stdout is not None
        self._output = self._process.stdout.fileno()
        os.set_blocking(self._output, False)
        self._odd = b""
        self.ended = False
        """The program gives nothing any more."""

    def read(self) -> Samples:
        """What has come, (n,), a second at most; may be empty."""
        try:
            data = os.read(self._output, READ_BYTES)
        except BlockingIOError:
            return np.zeros(0, np.int16)
        self.ended = not data
        data = self._odd + data
        whole = len(data) // 2 * 2
        self._odd = data[whole:]
        return np.frombuffer(data[:whole], "<i2").astype(np.int16)

    def close(self) -> None:
        """End the program."""
        _end(self._process)


def _end(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    process.terminate()
    try:
        process.wait(1.0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
