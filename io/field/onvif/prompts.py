"""What a loudspeaker can say: short sounds at 8 kHz, kept in memory. Prompts are numbered from 1 in the profile.

``sound`` of a prompt is a pattern of tones made here (``tone:attention``), a WAV file of the site (``data/NAME.wav``),
or ``speech``: its Korean text spoken by the program espeak-ng where that is installed, and a pattern of tones where it
is not. No spoken prompt is shipped: the tones are what the default site plays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gwanje.core.sound.clips import ClipError, SpeechMissingError, read_wav, spoken
from gwanje.io.field.onvif.backchannel import RATE_HZ

PROMPTS_MAX = 64
SECONDS_MAX = 30.0
"""A longer prompt is a speech: it would hold the loudspeaker for everything more urgent."""
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
        try:
            return Prompt(one["ko"], one["en"], one.get("urgent", False), spoken(one["ko"], SECONDS_MAX))
        except SpeechMissingError as error:
            sound, note = "tone:attention", f"{error}: tones instead of speech"
        except ClipError as error:
            raise PromptError(str(error)) from None
    if sound.startswith("tone:"):
        samples = tones(PATTERNS[sound.removeprefix("tone:")])
    else:
        try:
            samples = read_wav(site / sound, sound, SECONDS_MAX)
        except ClipError as error:
            raise PromptError(str(error)) from None
    return Prompt(one["ko"], one["en"], one.get("urgent", False), samples, note)


def tones(pattern: Sequence[tuple[float, float]]) -> Samples:
    """Tones with soft edges, (n,) at 8 kHz."""
    pieces = []
    for hertz, seconds in pattern:
        at = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
        edge = np.minimum(np.minimum(at, at[::-1]) / 0.01, 1.0)
        pieces.append(np.sin(2.0 * np.pi * hertz * at) * edge if hertz else np.zeros(len(at)))
    return np.rint(np.concatenate(pieces) * LEVEL * 32_767.0).astype(np.int16)
