"""Sounds that can be said through a loudspeaker: checked WAV files, and Korean text spoken by espeak-ng where it is."""

from __future__ import annotations

import io
import shutil
import subprocess
import wave
from math import gcd
from pathlib import Path

import numpy as np
import numpy.typing as npt

RATE_HZ = 8_000
"""Of the ONVIF back channel (G.711)."""
WAV_BYTES_MAX = 8_000_000
SPEECH_TIMEOUT_S = 10.0
"""espeak-ng speaks a sentence in a tenth of a second."""
SPEECH_PROGRAM = "espeak-ng"

Samples = npt.NDArray[np.int16]


class ClipError(ValueError):
    """A sound cannot be used; one line."""


class SpeechMissingError(ClipError):
    """This machine has no program that speaks."""


def spoken(text: str, seconds_max: float) -> Samples:
    """Korean text as speech, (n,) at :data:`RATE_HZ`.

    Raises:
        SpeechMissingError: espeak-ng is not installed.
        ClipError: it fails, or the speech is too long.
    """
    program = shutil.which(SPEECH_PROGRAM)
    if program is None:
        raise SpeechMissingError(f"{SPEECH_PROGRAM} is not installed")
    try:
        done = subprocess.run(
            [program, "-v", "ko", "--stdout", "--", text], capture_output=True, timeout=SPEECH_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ClipError(f"{SPEECH_PROGRAM}: {type(error).__name__}") from None
    return wav_samples(done.stdout, SPEECH_PROGRAM, seconds_max)


def read_wav(path: Path, name: str, seconds_max: float) -> Samples:
    """A WAV file's sound, (n,) at :data:`RATE_HZ`.

    Args:
        path: of the file.
        name: as people know it.
        seconds_max: longest.

    Raises:
        ClipError: it cannot be read or used.
    """
    try:
        if path.stat().st_size > WAV_BYTES_MAX:
            raise ClipError(f"{name}: larger than {WAV_BYTES_MAX // 1_000_000} MB")
        data = path.read_bytes()
    except OSError as error:
        raise ClipError(f"{name}: {error.strerror}") from None
    return wav_samples(data, name, seconds_max)


def wav_samples(data: bytes, name: str, seconds_max: float) -> Samples:
    """The sound of a WAV file's bytes, one channel at :data:`RATE_HZ`; see :func:`read_wav`.

    Raises:
        ClipError: they are none, too long, or of another form.
    """
    try:
        with wave.open(io.BytesIO(data)) as file:
            rate_hz, channels, width = file.getframerate(), file.getnchannels(), file.getsampwidth()
            frames = file.readframes(round(seconds_max * max(rate_hz, 1)) + 1)
    except (wave.Error, EOFError, ValueError) as error:
        raise ClipError(f"{name}: no WAV file: {error}") from None
    if width != 2 or not 1 <= channels <= 2 or not 4_000 <= rate_hz <= 96_000:
        raise ClipError(f"{name}: 16 bits, one or two channels, 4 to 96 kHz")
    whole = len(frames) // (2 * channels) * 2 * channels
    sound = np.frombuffer(frames[:whole], "<i2").reshape(-1, channels).mean(axis=1)
    if len(sound) > seconds_max * rate_hz:
        raise ClipError(f"{name}: longer than {seconds_max:g} s")
    if not len(sound):
        raise ClipError(f"{name}: holds no sound")
    if rate_hz != RATE_HZ:
        from scipy.signal import resample_poly  # half a second to load, for a WAV file of another rate alone

        step = gcd(RATE_HZ, rate_hz)
        sound = resample_poly(sound, RATE_HZ // step, rate_hz // step)
    samples: Samples = np.clip(np.rint(sound), -32_768, 32_767).astype(np.int16)
    return samples
