"""What a loudspeaker can say: short sounds at 8 kHz, kept in memory. Prompts are numbered from 1 in the profile.

``sound`` of a prompt is a pattern of tones made here (``tone:attention``), a WAV file of the site (``data/NAME.wav``),
or ``speech``: its Korean text spoken by the program espeak-ng where that is installed, and a pattern of tones where it
is not. No spoken prompt is shipped: the tones are what the default site plays.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import wave
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gwanje.io.field.onvif.backchannel import RATE_HZ

PROMPTS_MAX = 64
SECONDS_MAX = 30.0
"""A longer prompt is a speech: it would hold the loudspeaker for everything more urgent."""
SPEECH_TIMEOUT_S = 10.0
"""espeak-ng speaks a sentence in a tenth of a second."""
WAV_BYTES_MAX = 8_000_000
LEVEL = 0.35
"""Of full scale: loud, and far from clipping in a horn loudspeaker."""

Samples = npt.NDArray[np.int16]

PATTERNS: Mapping[str, Sequence[tuple[float, float]]] = {
    "attention": ((880.0, 0.35), (0.0, 0.1), (1108.7, 0.35), (0.0, 0.1), (1318.5, 0.7), (0.0, 0.2)),
    "warning": ((990.0, 0.25), (0.0, 0.12)) * 5,
    "alarm": ((660.0, 0.4), (990.0, 0.4)) * 3,
    "all_clear": ((1318.5, 0.35), (0.0, 0.1), (880.0, 0.9), (0.0, 0.2)),
    "help_comes": ((784.0, 0.3), (0.0, 0.1), (784.0, 0.3), (0.0, 0.1), (1174.7, 0.8), (0.0, 0.2)),
}
"""Name → tones of (hertz, seconds); 0 Hz is silence."""


class PromptError(ValueError):
    """A prompt cannot be made; one line."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One thing to say.

    Attributes:
        ko: what it says or means.
        urgent: it interrupts what is being said.
        samples: (n,) at 8 kHz.
        note: what is played instead of what was asked for, empty when nothing is.
    """

    ko: str
    en: str
    urgent: bool
    samples: Samples
    note: str = ""


def problems(prompts: Any) -> str:
    """Why ``params.prompts`` cannot be used, or an empty text; nothing is loaded."""
    if not isinstance(prompts, list) or len(prompts) > PROMPTS_MAX:
        return f"must be an array of at most {PROMPTS_MAX} tables"
    for number, one in enumerate(prompts, 1):
        if not isinstance(one, Mapping) or set(one) - {"ko", "en", "sound", "urgent"}:
            return f"prompt {number}: a table of ko, en, sound and urgent"
        if not all(isinstance(one.get(key), str) and one[key] for key in ("ko", "en", "sound")):
            return f"prompt {number}: ko, en and sound must be texts"
        if not isinstance(one.get("urgent", False), bool):
            return f"prompt {number}: urgent must be true or false"
        kind, _, name = one["sound"].partition(":")
        if kind == "tone" and name not in PATTERNS:
            return f"prompt {number}: no tones {name!r}; there are {', '.join(PATTERNS)}"
        if kind not in ("tone", "speech") and not one["sound"].endswith(".wav"):
            return f"prompt {number}: sound must be tone:NAME, speech, or a WAV file of the site"
    return ""


def load(prompts: Sequence[Mapping[str, Any]], site: Path) -> list[Prompt]:
    """All prompts of a profile.

    Raises:
        PromptError: a file cannot be used.
    """
    return [_prompt(one, site) for one in prompts]


def _prompt(one: Mapping[str, Any], site: Path) -> Prompt:
    sound, note = one["sound"], ""
    if sound == "speech":
        program = shutil.which("espeak-ng")
        if program is None:
            sound, note = "tone:attention", "espeak-ng is not installed: tones instead of speech"
        else:
            samples = _wav(_spoken(program, one["ko"]), "espeak-ng")
            return Prompt(one["ko"], one["en"], one.get("urgent", False), samples)
    if sound.startswith("tone:"):
        samples = tones(PATTERNS[sound.removeprefix("tone:")])
    else:
        path = site / sound
        try:
            data = path.read_bytes() if path.stat().st_size <= WAV_BYTES_MAX else b""
        except OSError as error:
            raise PromptError(f"{sound}: {error.strerror}") from None
        samples = _wav(data, sound)
    return Prompt(one["ko"], one["en"], one.get("urgent", False), samples, note)


def tones(pattern: Sequence[tuple[float, float]]) -> Samples:
    """Tones with soft edges, (n,) at 8 kHz."""
    pieces = []
    for hertz, seconds in pattern:
        at = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
        edge = np.minimum(np.minimum(at, at[::-1]) / 0.01, 1.0)
        pieces.append(np.sin(2.0 * np.pi * hertz * at) * edge if hertz else np.zeros(len(at)))
    return np.rint(np.concatenate(pieces) * LEVEL * 32_767.0).astype(np.int16)


def _spoken(program: str, text: str) -> bytes:
    try:
        done = subprocess.run(
            [program, "-v", "ko", "--stdout", "--", text], capture_output=True, timeout=SPEECH_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise PromptError(f"espeak-ng: {type(error).__name__}") from None
    return done.stdout


def _wav(data: bytes, name: str) -> Samples:
    """A WAV file's sound at 8 kHz, one channel.

    Raises:
        PromptError: it is none, or too long.
    """
    try:
        with wave.open(io.BytesIO(data)) as file:
            rate_hz, channels, width = file.getframerate(), file.getnchannels(), file.getsampwidth()
            frames = file.readframes(round(SECONDS_MAX * max(rate_hz, 1)) + 1)
    except (wave.Error, EOFError, ValueError) as error:
        raise PromptError(f"{name}: no WAV file: {error}") from None
    if width != 2 or not 1 <= channels <= 2 or not 4_000 <= rate_hz <= 96_000:
        raise PromptError(f"{name}: 16 bits, one or two channels, 4 to 96 kHz")
    sound = np.frombuffer(frames, "<i2").reshape(-1, channels).mean(axis=1)
    if len(sound) > SECONDS_MAX * rate_hz:
        raise PromptError(f"{name}: longer than {SECONDS_MAX:g} s")
    if rate_hz != RATE_HZ:
        from scipy.signal import resample_poly  # half a second to load, for a WAV file of another rate alone

        step = gcd(RATE_HZ, rate_hz)
        sound = resample_poly(sound, RATE_HZ // step, rate_hz // step)
    samples: Samples = np.clip(np.rint(sound), -32_768, 32_767).astype(np.int16)
    return samples
