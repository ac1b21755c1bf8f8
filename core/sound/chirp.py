"""The sound that tests a camera's loudspeaker and its node's microphones once a day, and how it is found again.

Two equal sweeps from 400 to 3200 Hz: what an old telephone-band camera passes, so long that a street hides none of
them, and two, so that one lost packet does not fail a test. Pure functions on numpy arrays.

Source: matched filter of a linear FM pulse (Cook and Bernfeld, Radar Signals, 1967, ch. 6); the envelope of the
correlation is taken, since the phase of loudspeaker and street is not known.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

SWEEP_S: Final = 0.4
PAUSE_S: Final = 0.3
LOW_HZ: Final = 400.0
HIGH_HZ: Final = 3_200.0
EDGE_S: Final = 0.02
LEVEL_DB: Final = -20.0
"""RMS below the loudspeaker's full scale where a site says nothing: the prompts are 13 dB louder."""
LEVEL_DB_LEAST, LEVEL_DB_MOST = -40.0, -10.0
HEARD_SNR_DB: Final = 15.0
"""Of the peak of the correlation above its RMS elsewhere. Noise alone reaches 10 to 11 dB in ten seconds."""
APART_S: Final = 0.003
"""Microphones of one node hear a sound within this: a metre apart at the most."""

Samples = npt.NDArray[np.int16]
Floats = npt.NDArray[np.float64]


def sweep(rate_hz: int) -> Floats:
    """One sweep of amplitude 1 with soft edges, (n,)."""
    at = np.arange(round(SWEEP_S * rate_hz)) / rate_hz
    edge = np.minimum(np.minimum(at, at[::-1]) / EDGE_S, 1.0)
    phase = 2.0 * np.pi * (LOW_HZ * at + 0.5 * (HIGH_HZ - LOW_HZ) / SWEEP_S * at * at)
    return np.asarray(np.sin(phase) * np.sin(0.5 * np.pi * edge))


def chirp(rate_hz: int, level_db: float) -> Samples:
    """The whole test sound, (n,).

    Args:
        rate_hz: of the samples.
        level_db: RMS of the sweeps below full scale.
    """
    one = sweep(rate_hz) * 10.0 ** (level_db / 20.0) * np.sqrt(2.0) * 32_767.0
    pause = np.zeros(round(PAUSE_S * rate_hz))
    return np.asarray(np.rint(np.concatenate([one, pause, one])), np.int16)


@dataclass(frozen=True, slots=True)
class Heard:
    """What one microphone heard of a test.

    Attributes:
        snr_db: peak of the correlation above its RMS elsewhere.
        level_db: RMS that the sweep has at the microphone, below full scale.
        delay_s: from the first sample of the stretch to the beginning of the sweep that was heard best.
    """

    snr_db: float
    level_db: float
    delay_s: float

    @property
    def ok(self) -> bool:
        """Whether it was heard at all."""
        return self.snr_db >= HEARD_SNR_DB


def find(samples: Samples, rate_hz: int) -> Heard:
    """Look for a sweep in a stretch of one microphone.

    Args:
        samples: (n,) longer than a sweep; zeros where sound was lost.
        rate_hz: of the samples.

    Returns:
        The best place, however bad it is; −120 dB for silence.
    """
    wanted = sweep(rate_hz)
    n = len(samples)
    if n < 2 * len(wanted) or not samples.any():
        return Heard(-120.0, -120.0, 0.0)
    size = 1 << (n + len(wanted) - 1).bit_length()
    spectrum = np.fft.fft(samples.astype(np.float64) - float(samples.mean()), size)
    spectrum *= np.conj(np.fft.fft(wanted, size))
    spectrum[size // 2 :] = 0.0  # the analytic signal: its magnitude is the envelope
    envelope = 2.0 * np.abs(np.fft.ifft(spectrum))[: n - len(wanted) + 1]
    at = int(np.argmax(envelope))
    peak = float(envelope[at])
    step = round((SWEEP_S + PAUSE_S) * rate_hz)
    away = np.ones(len(envelope), np.bool_)
    for place in (at, at - step, at + step):  # the other sweep is no noise
        away[max(0, place - len(wanted) // 4) : max(0, place + len(wanted) // 4)] = False
    rest = float(np.sqrt(np.mean(np.square(envelope[away])))) if away.any() else 0.0
    energy = float(np.dot(wanted, wanted))
    level = peak / energy / np.sqrt(2.0) / 32_768.0
    return Heard(
        20.0 * float(np.log10(peak / max(rest, 1e-9))), max(-120.0, 20.0 * float(np.log10(max(level, 1e-12)))),
        (at + _between(envelope, at)) / rate_hz,
    )  # fmt: skip


def _between(envelope: Floats, at: int) -> float:
    """How far the peak lies beside a sample, by a parabola through three."""
    if not 0 < at < len(envelope) - 1:
        return 0.0
    before, here, after = (float(one) for one in envelope[at - 1 : at + 2])
    bend = before - 2.0 * here + after
    return 0.5 * (before - after) / bend if bend < 0.0 else 0.0


def _of_same_sweep(apart_s: float) -> float:
    """How far two microphones heard the same sweep apart: each may have heard either of the two best."""
    step = SWEEP_S + PAUSE_S
    return min((apart_s - shift for shift in (-step, 0.0, step)), key=abs)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a test says of loudspeaker and microphones.

    Attributes:
        heard: of each microphone.
        deaf: indices of microphones that did not hear it while another did, or at a time that cannot be.
        silent: indices of microphones that give no signal at all.
    """

    heard: tuple[Heard, ...]
    deaf: tuple[int, ...]
    silent: tuple[int, ...]

    @property
    def ok(self) -> bool:
        """Whether every microphone heard it."""
        return not self.deaf and not self.silent and all(one.ok for one in self.heard)

    @property
    def any(self) -> bool:
        """Whether any microphone heard it."""
        return any(one.ok for one in self.heard)


def judge(rows: Samples, rate_hz: int) -> Verdict:
    """Look for the test in a stretch of all microphones of a node.

    Args:
        rows: (channels, n).
        rate_hz: of the samples.
    """
    heard = tuple(find(row, rate_hz) for row in rows)
    silent = tuple(at for at, row in enumerate(rows) if int(row.max()) - int(row.min()) <= 2)
    hearing = [at for at, one in enumerate(heard) if one.ok]
    if not hearing:
        return Verdict(heard, (), silent)
    best = heard[max(hearing, key=lambda at: heard[at].snr_db)].delay_s
    heard = tuple(replace(one, delay_s=best + _of_same_sweep(one.delay_s - best)) for one in heard)
    deaf = tuple(
        at for at, one in enumerate(heard)
        if at not in silent and (not one.ok or abs(one.delay_s - best) > APART_S)
    )  # fmt: skip
    return Verdict(heard, deaf, silent)
