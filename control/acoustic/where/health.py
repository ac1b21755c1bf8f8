"""What is wrong with the microphones of a node, from what they hear: levels at any time, delays from events.

Levels tell of dead, silent, stuck, clipped microphones and gains apart. Delays tell of channels that are exchanged or
late: every street event is nearly a plane wave, so whatever it is, the delays of a sound array fit one; which change of
the array makes them fit is what is wrong with it. An exchange that is a mirror image of the array (two opposite
microphones of a square) also fits every plane wave: only the walk of :mod:`calibration` shows it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from gwanje.control.acoustic.where.array import Array
from gwanje.control.acoustic.where.bearing import CLIPPED_AT, FULL_SCALE, Samples

UPSAMPLED: Final = 8
PERMUTATIONS_UP_TO: Final = 5
"""Up to so many microphones every order is tried, beyond it the exchanges of two."""
LENGTH_MAX: Final = 1.05
EVENTS_MIN: Final = 3


class Fault(StrEnum):
    """What is wrong with one microphone."""

    DEAD = "dead"
    """Digital silence, or one value all the time."""
    SILENT = "silent"
    """Much quieter than the others: covered, wet, a loose wire."""
    LOUD = "loud"
    """Much louder than the others: wind at it, a wrong gain, hum."""
    CLIPPED = "clipped"
    OFFSET = "offset"
    NOT_FINITE = "not_finite"
    UNRELATED = "unrelated"
    """It hears something else than the others: noise of its own."""


@dataclass(frozen=True, slots=True)
class LevelLimits:
    """When a level is wrong.

    Attributes:
        silent_db: below the median of the others.
        loud_db: above it.
        clipped_share: of samples at full scale.
        offset: constant part, share of full scale.
        coherence_min: with the other microphones, between 200 Hz and where the array is half a wavelength wide.
    """

    silent_db: float = 12.0
    loud_db: float = 12.0
    clipped_share: float = 0.001
    offset: float = 0.05
    coherence_min: float = 0.15


@dataclass(frozen=True, slots=True)
class Levels:
    """Microphones of one node over a stretch of sound.

    Attributes:
        gain_db: (n_mics,) against the median of those that are well; NaN for dead ones.
        coherence: (n_mics,) 0…1, best with any other microphone, in the low band.
        faults: per microphone.
    """

    gain_db: NDArray[np.float64]
    coherence: NDArray[np.float64]
    faults: tuple[tuple[Fault, ...], ...]

    @property
    def well(self) -> NDArray[np.bool_]:
        """(n_mics,) whether nothing is wrong."""
        return np.array([not of_mic for of_mic in self.faults], np.bool_)


def levels(
    samples: Samples, array: Array, rate_hz: float, speed_m_s: float, limits: LevelLimits | None = None
) -> Levels:
    """Look at the levels of a stretch of sound, a second or more.

    Args:
        samples: (n_mics, n) int16, or floats with full scale 1.
        array: its microphones.
        rate_hz: sampling rate.
        speed_m_s: speed of sound.
        limits: when a level is wrong.

    Raises:
        ValueError: shapes that do not fit, or less than 4096 samples.
    """
    limits = limits or LevelLimits()
    if samples.ndim != 2 or len(samples) != array.n_mics or samples.shape[1] < 4096:
        raise ValueError(f"samples {samples.shape}: 4096 or more of {array.n_mics} microphones are needed")
    sound = samples.astype(np.float64) / (FULL_SCALE if samples.dtype == np.int16 else 1.0)
    faults: list[list[Fault]] = [[] for _ in sound]
    finite = np.asarray(np.isfinite(sound).all(axis=1))
    sound = np.nan_to_num(sound, nan=0.0, posinf=0.0, neginf=0.0)
    offset = sound.mean(axis=1)
    rms = np.sqrt(((sound - offset[:, None]) ** 2).mean(axis=1))
    clipped = (np.abs(sound) >= CLIPPED_AT / FULL_SCALE).mean(axis=1)
    alive = finite & (rms > 0.0)
    gain_db = np.full(len(sound), np.nan)
    if alive.any():
        gain_db[alive] = 20.0 * np.log10(rms[alive] / np.median(rms[alive]))
    coherence = _coherence(sound - offset[:, None], array, rate_hz, speed_m_s)
    for mic, of_mic in enumerate(faults):
        if not finite[mic]:
            of_mic.append(Fault.NOT_FINITE)
        elif not alive[mic]:
            of_mic.append(Fault.DEAD)
        else:
            if gain_db[mic] < -limits.silent_db:
                of_mic.append(Fault.SILENT)
            if gain_db[mic] > limits.loud_db:
                of_mic.append(Fault.LOUD)
            if clipped[mic] > limits.clipped_share:
                of_mic.append(Fault.CLIPPED)
            if abs(offset[mic]) > limits.offset:
                of_mic.append(Fault.OFFSET)
            if alive.sum() > 2 and coherence[mic] < limits.coherence_min:
                of_mic.append(Fault.UNRELATED)
    well = np.array([not of_mic for of_mic in faults], np.bool_)
    if well.any():
        gain_db -= np.median(gain_db[well])
    return Levels(gain_db, coherence, tuple(tuple(of_mic) for of_mic in faults))


def _coherence(sound: NDArray[np.float64], array: Array, rate_hz: float, speed_m_s: float) -> NDArray[np.float64]:
    """Largest magnitude-squared coherence of each microphone with any other, mean over the low band."""
    n = 1024
    starts = np.arange(0, sound.shape[1] - n + 1, n // 2)
    frames = np.lib.stride_tricks.sliding_window_view(sound, n, axis=1)[:, starts]
    spectra = scipy.fft.rfft(frames * np.hanning(n), axis=2)
    high_hz = max(600.0, 0.5 / array.delay_s_max(speed_m_s))
    low, high = round(200.0 * n / rate_hz), max(round(high_hz * n / rate_hz), round(200.0 * n / rate_hz) + 4)
    band = spectra[:, :, low:high]
    cross = np.einsum("ifk,jfk->ijk", band, band.conj())
    power = np.real(np.einsum("iik->ik", cross))
    found = (np.abs(cross) ** 2 / np.maximum(power[:, None] * power[None], 1e-30)).mean(axis=2)
    # Of few frames, unrelated noise has a coherence of one over their number.
    found = (found - 1.0 / len(starts)) / (1.0 - 1.0 / len(starts))
    np.fill_diagonal(found, 0.0)
    return np.asarray(found.max(axis=1))


def pair_delays(
    samples: Samples, onset: int, rate_hz: float, delay_s_max: float, n_window: int = 1024
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Delays of all pairs of microphones at the onset of an event, by the phase transform.

    The search goes three times as far as the array is wide: delays that no sound can have are to be seen.

    Args:
        samples: (n_mics, n).
        onset: sample at which the event begins.
        rate_hz: sampling rate.
        delay_s_max: longest delay that a sound can have.
        n_window: samples around the onset, a power of two.

    Returns:
        (n_pairs,) delays, (n_pairs, 2) pairs, (n_pairs,) height of the peak, 0…1.

    Raises:
        ValueError: the window does not lie in the samples.
    """
    begin = onset - n_window // 4
    if begin < 0 or begin + n_window > samples.shape[1]:
        raise ValueError(f"{n_window} samples around {onset} are needed, there are {samples.shape[1]}")
    cut = np.nan_to_num(samples[:, begin : begin + n_window].astype(np.float64))
    spectra = scipy.fft.rfft((cut - cut.mean(axis=1, keepdims=True)) * np.hanning(n_window), axis=1)
    low, high = round(250.0 * n_window / rate_hz), round(0.45 * n_window)
    white = np.zeros_like(spectra)
    white[:, low:high] = spectra[:, low:high] / np.maximum(np.abs(spectra[:, low:high]), 1e-9)
    pairs = np.array(list(itertools.combinations(range(len(samples)), 2)))
    cross = white[pairs[:, 1]] * white[pairs[:, 0]].conj()
    size = n_window * UPSAMPLED
    lags = scipy.fft.irfft(cross, size, axis=1) * size / 2.0 / (high - low)
    reach = min(size // 2 - 2, int(3.0 * delay_s_max * rate_hz * UPSAMPLED) + UPSAMPLED)
    near = np.concatenate([lags[:, -reach:], lags[:, : reach + 1]], axis=1)
    top = np.clip(near.argmax(axis=1), 1, near.shape[1] - 2)
    row = np.arange(len(pairs))
    before, at, after = near[row, top - 1], near[row, top], near[row, top + 1]
    bend = before - 2.0 * at + after
    part = np.where(bend < 0.0, 0.5 * (before - after) / np.minimum(bend, -1e-12), 0.0)
    return (top - reach + part) / (rate_hz * UPSAMPLED), pairs, at


@dataclass(frozen=True, slots=True)
class DelayEvidence:
    """Delays of one event, as :func:`pair_delays` gives them."""

    delays_s: NDArray[np.float64]
    pairs: NDArray[np.int64]
    height: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class DelayVerdict:
    """What the delays of several events say of an array.

    Attributes:
        n_events: that were clear enough to count.
        fits: whether they are plane waves as they should be; None while there are too few.
        residual_s: RMS of what is left over as the array is wired now.
        exchanged: the order of channels that makes them fit: position i of the array hears row ``exchanged[i]``; None
            where the present one fits or no other does.
        late_s: (n_mics,) by how much each microphone is constantly late; a drift of a channel's clock shows here.
        suspect: microphone whose leaving out makes the others fit; None where there is no such.
    """

    n_events: int
    fits: bool | None
    residual_s: float
    exchanged: tuple[int, ...] | None
    late_s: NDArray[np.float64]
    suspect: int | None


def _left_over(
    evidence: Sequence[DelayEvidence], place: NDArray[np.float64], order: Sequence[int], speed_m_s: float
) -> tuple[float, NDArray[np.float64], float]:
    """What plane waves leave of the delays when position i hears row ``order[i]``.

    Returns:
        RMS of it, seconds; its mean per row, seconds; mean length of the slowness (more than 1: no sound does that).
    """
    of_row = np.empty_like(place)
    of_row[list(order)] = place
    total, count, too_long = 0.0, 0, []
    late: list[NDArray[np.float64]] = []
    for one in evidence:
        apart = of_row[one.pairs[:, 0]] - of_row[one.pairs[:, 1]]
        measured = one.delays_s * speed_m_s
        slowness = np.linalg.lstsq(apart, measured, rcond=None)[0]
        length = float(np.hypot(*slowness))
        slowness = slowness / max(1.0, length / LENGTH_MAX)
        left = measured - apart @ slowness
        total, count = total + float((left**2).sum()), count + len(left)
        too_long.append(length)
        ends = np.zeros((len(one.pairs), len(place)))
        ends[np.arange(len(one.pairs)), one.pairs[:, 1]] = 1.0
        ends[np.arange(len(one.pairs)), one.pairs[:, 0]] -= 1.0
        late.append(np.linalg.pinv(ends) @ left)
    rms = float(np.sqrt(total / max(1, count))) / speed_m_s
    return rms, np.mean(late, axis=0) / speed_m_s, float(np.mean(too_long))


def delays(
    evidence: Sequence[DelayEvidence], array: Array, speed_m_s: float, sigma_s: float = 2e-5, height_min: float = 0.15
) -> DelayVerdict:
    """Whether the delays of several events are those of the array as it should be wired.

    Args:
        evidence: of events from different directions.
        array: as it should be.
        speed_m_s: speed of sound.
        sigma_s: what is left over of a delay in a sound array.
        height_min: correlation peaks below it do not count.
    """
    clear = [one for one in evidence if float(np.median(one.height)) >= height_min and np.isfinite(one.delays_s).all()]
    n_mics, none = array.n_mics, np.full(array.n_mics, np.nan)
    if len(clear) < EVENTS_MIN or n_mics < 4 or array.line_axis() is not None:
        return DelayVerdict(len(clear), None, float("nan"), None, none, None)
    place, straight = array.mic_xy_m, tuple(range(n_mics))
    residual_s, late_s, _ = _left_over(clear, place, straight, speed_m_s)
    if residual_s <= 3.0 * sigma_s:
        return DelayVerdict(len(clear), True, residual_s, None, late_s, None)
    if n_mics <= PERMUTATIONS_UP_TO:
        orders = list(itertools.permutations(range(n_mics)))
    else:
        orders = []
        for i, j in itertools.combinations(range(n_mics), 2):
            swapped = list(straight)
            swapped[i], swapped[j] = j, i
            orders.append(tuple(swapped))
    scored = sorted(
        ((_left_over(clear, place, order, speed_m_s)[0], _moved(order), order) for order in orders),
        key=lambda one: (round(one[0] / sigma_s), one[1], one[2]),
    )
    best, _, order = scored[0]
    exchanged = order if best <= 3.0 * sigma_s and best < 0.5 * residual_s else None
    return DelayVerdict(
        len(clear), False, residual_s, exchanged, late_s,
        None if exchanged is not None else _suspect(clear, array, speed_m_s, sigma_s),
    )  # fmt: skip


def _moved(order: Sequence[int]) -> int:
    """How many channels an order exchanges: the fewest is the likeliest."""
    return sum(1 for at, row in enumerate(order) if at != row)


def _suspect(evidence: Sequence[DelayEvidence], array: Array, speed_m_s: float, sigma_s: float) -> int | None:
    """The one microphone without which the others fit; of four, three always do, unless they are too far apart."""
    found = []
    for mic in range(array.n_mics):
        rest = []
        for one in evidence:
            kept = (one.pairs != mic).all(axis=1)
            rest.append(DelayEvidence(one.delays_s[kept], one.pairs[kept], one.height[kept]))
        residual_s, _, length = _left_over(rest, array.mic_xy_m, tuple(range(array.n_mics)), speed_m_s)
        if residual_s <= 3.0 * sigma_s and length <= LENGTH_MAX:
            found.append(mic)
    return found[0] if len(found) == 1 else None
