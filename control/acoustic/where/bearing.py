"""The bearing of one event at one node: from the samples around its onset to an azimuth with sigma and quality.

The response of the array is summed over the frames from the onset on, with the phase transform: a bin of a frame
counts by what it is above the noise before the event and above the echoes of what was louder just before (precedence:
what comes first comes straight). The peak of the map is refined exactly, in the frequency domain and in two
dimensions, because a sound from below or above the array's plane has shorter delays. Sigma comes from how well blocks
of the band agree, and from how exactly the microphones are placed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from gwanje.control.acoustic.where.array import Array, between, turn
from gwanje.ext.srp_phat import refine
from gwanje.ext.steering import grouped_pairs

Samples = NDArray[np.int16] | NDArray[np.float32] | NDArray[np.float64]

FULL_SCALE: Final = 32_768.0
CLIPPED_AT: Final = 32_700
CLIPPED_SHARE: Final = 0.002
DEAD_DB: Final = 25.0
"""This much quieter than the median of the others, a microphone hears next to nothing of the event."""
AZIMUTHS: Final = 360
SHARES: Final = (1.0, 0.93, 0.82, 0.66, 0.45)
"""Lengths of the horizontal part of the unit vector towards the source that the coarse map tries (0° to 63° below)."""
UPSAMPLED: Final = 4
CANDIDATES: Final = 4
BLOCK_BINS: Final = 6
RIVAL_APART: Final = math.radians(20.0)
LENGTH_MAX: Final = 1.12
"""Delays this much longer than a plane wave's: channels exchanged, a wrong geometry, or no single source."""


class Flag(StrEnum):
    """What is to be known of a bearing besides its numbers."""

    FRONT_BACK = "front_back"
    """The microphones that are left stand on a line: the mirrored bearing fits as well."""
    DEAD_MICROPHONE = "dead_microphone"
    NOT_FINITE = "not_finite"
    CLIPPED = "clipped"
    LOST = "lost"
    """Samples were lost around the onset; the frames they touch do not count."""
    IMPOSSIBLE_DELAYS = "impossible_delays"
    """Longer than the array is wide: channels exchanged or a wrong geometry."""
    SCATTERED = "scattered"
    """Parts of the band point elsewhere: echoes, several sources."""


class Why(StrEnum):
    """Why there is no bearing."""

    TOO_SHORT = "too_short"
    TOO_FEW_MICROPHONES = "too_few_microphones"
    SILENT = "silent"
    LOST = "lost"
    NOTHING_STANDS_OUT = "nothing_stands_out"
    NO_DIRECTION = "no_direction"
    AMBIGUOUS = "ambiguous"
    IMPOSSIBLE_DELAYS = "impossible_delays"


@dataclass(frozen=True, slots=True)
class Bearing:
    """Where an event came from, as one node heard it.

    Attributes:
        azimuth: radians clockwise from the array's forward direction, [0, 2π).
        sigma: its standard deviation, radians.
        mirror: the azimuth that fits as well, for microphones on a line; else None.
        elevation: radians out of the array's plane, up or down cannot be told; None for microphones on a line.
        quality: 0…1, how much of what stands out agrees with the bearing.
        contrast: the peak of the map over its mean magnitude.
        n_bins: how many bins' worth of frames were heard, a measure of how much there was.
        mics: which microphones were used.
        flags: what else is to be known.
    """

    azimuth: float
    sigma: float
    mirror: float | None
    elevation: float | None
    quality: float
    contrast: float
    n_bins: float
    mics: tuple[bool, ...]
    flags: tuple[Flag, ...]


@dataclass(frozen=True, slots=True)
class NoBearing:
    """No bearing, and why; the flags tell what was wrong with the microphones."""

    why: Why
    flags: tuple[Flag, ...] = ()


@dataclass(frozen=True, slots=True)
class BearingParams:
    """How an event is listened to.

    Attributes:
        rate_hz: sampling rate.
        n_window: samples of a frame, a power of two.
        hop: samples between frames.
        low_hz: lower edge of the band.
        high_hz: upper edge.
        before_s: how far before the onset the noise is measured.
        heard_s: how long after the onset frames count; more helps tones, the weights keep echoes out.
        early_s: an onset may have been found this much too late.
        noise_excess: a bin begins to count at this many times the noise before.
        open_excess: the same where there are no echoes.
        echo_excess: and at this many times the echo of what was before.
        echo_lag_s: sound needs this long to come back; what is closer belongs to the same wave.
        echo_decay_s: in which echoes lose a factor of a thousand (60 dB in power: three times this).
        open_share: with this share of the agreement that the noise allows, there are no echoes to keep out.
        quality_min: below it there is no bearing.
        chance: over the square root of how many bins' worth of frames there are, added to ``quality_min``.
        contrast_min: below it there is no bearing.
        rival_max: a peak elsewhere of more than this share of the highest makes a bearing ambiguous.
    """

    rate_hz: float = 16_000.0
    n_window: int = 512
    hop: int = 64
    low_hz: float = 250.0
    high_hz: float = 7_200.0
    before_s: float = 0.4
    heard_s: float = 0.25
    early_s: float = 0.016
    noise_excess: float = 3.0
    open_excess: float = 1.5
    echo_excess: float = 2.0
    echo_lag_s: float = 0.012
    echo_decay_s: float = 0.25
    open_share: float = 0.85
    quality_min: float = 0.12
    chance: float = 2.5
    contrast_min: float = 2.0
    rival_max: float = 0.9

    def __post_init__(self) -> None:
        if self.n_window < 64 or self.n_window & (self.n_window - 1) or not 0 < self.hop <= self.n_window:
            raise ValueError("n_window is a power of two of 64 or more, hop lies in 1…n_window")
        if not 0.0 < self.low_hz < self.high_hz <= self.rate_hz / 2:
            raise ValueError("the band lies between 0 and half the rate")


@dataclass(frozen=True, slots=True)
class _Usable:
    """What of the microphones can be used."""

    samples: NDArray[np.float64]
    mics: NDArray[np.bool_]
    flags: tuple[Flag, ...]


def _usable(samples: Samples, begin: int, end: int) -> _Usable:
    """Microphones that hear the event, full scale to 1, and what is wrong with the others."""
    whole = samples.astype(np.float64)
    if samples.dtype == np.int16:
        whole /= FULL_SCALE
    flags = []
    finite = np.isfinite(whole[:, begin:end]).all(axis=1)
    if not finite.all():
        flags.append(Flag.NOT_FINITE)
    whole = np.nan_to_num(whole, nan=0.0, posinf=0.0, neginf=0.0)
    event = whole[:, begin:end]
    level = np.sqrt(((event - event.mean(axis=1, keepdims=True)) ** 2).mean(axis=1))
    heard = finite & (level > 0.0)
    if heard.any():
        heard &= level > np.median(level[heard]) * 10.0 ** (-DEAD_DB / 20.0)
    if (finite & ~heard).any():
        flags.append(Flag.DEAD_MICROPHONE)
    if (np.abs(event) >= CLIPPED_AT / FULL_SCALE).mean(axis=1).max(initial=0.0) > CLIPPED_SHARE:
        flags.append(Flag.CLIPPED)
    return _Usable(whole - whole.mean(axis=1, keepdims=True), heard, tuple(flags))


def _frames(samples: NDArray[np.float64], starts: NDArray[np.int64], n: int) -> NDArray[np.complex128]:
    """Spectra (n_mics, n_frames, n / 2 + 1) of Hann-windowed frames that begin at ``starts``."""
    window = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(n) / n)
    cut = np.lib.stride_tricks.sliding_window_view(samples, n, axis=1)[:, starts]
    spectra: NDArray[np.complex128] = scipy.fft.rfft(cut * window, axis=2)
    return spectra


def _echo(power: NDArray[np.float64], params: BearingParams) -> NDArray[np.float64]:
    """Power that echoes of earlier frames may have in each frame, (n_frames, n_bins)."""
    lag = max(1, round(params.echo_lag_s * params.rate_hz / params.hop))
    decay = 10.0 ** (-2.0 * params.hop / (params.rate_hz * params.echo_decay_s))
    out = np.zeros_like(power)
    for frame in range(1, len(power)):
        out[frame] = out[frame - 1] * decay
        if frame >= lag:
            out[frame] = np.maximum(out[frame], power[frame - lag] * decay**lag)
    return out


def listen(
    samples: Samples,
    array: Array,
    onset: int,
    speed_m_s: float,
    params: BearingParams | None = None,
    lost: NDArray[np.bool_] | None = None,
) -> Bearing | NoBearing:
    """Bearing of the event that begins at a sample.

    Args:
        samples: (n_mics, n) of one node, from some time before the onset to some time behind it; int16, or floats with
            full scale 1.
        array: the node's microphones, in the order of the rows.
        onset: index of the sample at which the event begins, exact to some ten milliseconds.
        speed_m_s: speed of sound.
        params: how it is listened to.
        lost: (n,) True where samples were lost at any microphone.

    Raises:
        ValueError: shapes that do not fit.
    """
    params = params or BearingParams()
    if samples.ndim != 2 or len(samples) != array.n_mics:
        raise ValueError(f"samples {samples.shape} of {array.n_mics} microphones")
    if lost is not None and lost.shape != samples.shape[1:]:
        raise ValueError(f"lost {lost.shape} beside samples {samples.shape}")
    n, rate_hz = params.n_window, params.rate_hz
    begin = max(0, onset - round(params.early_s * rate_hz) - n // 2)
    end = min(samples.shape[1], onset + round(params.heard_s * rate_hz) + n // 2)
    if end - begin < n:
        return NoBearing(Why.TOO_SHORT)
    usable = _usable(samples, begin, end)
    flags = list(usable.flags)
    if usable.mics.sum() < 2:
        return NoBearing(Why.TOO_FEW_MICROPHONES if usable.mics.any() else Why.SILENT, tuple(flags))
    heard = usable.samples[usable.mics]
    starts = np.arange(begin, end - n + 1, params.hop)
    quiet = np.arange(max(0, onset - round((params.before_s + params.early_s) * rate_hz) - n), begin - n + 1, n // 4)
    if lost is not None and lost.any():
        touched = np.concatenate([[0], np.cumsum(lost)])
        whole = touched[starts + n] == touched[starts]
        quiet = quiet[touched[quiet + n] == touched[quiet]]
        if not whole.all():
            flags.append(Flag.LOST)
        if whole.sum() < 2:
            return NoBearing(Why.LOST, tuple(flags))
        starts = starts[whole]
    left = array.without(usable.mics)
    low, high = round(params.low_hz * n / rate_hz), round(params.high_hz * n / rate_hz)
    spectra = _frames(heard, starts, n)[:, :, low:high]
    power = (np.abs(spectra) ** 2).mean(axis=0)
    noise = np.zeros(high - low)
    if len(quiet):
        noise = (np.abs(_frames(heard, quiet, n)[:, :, low:high]) ** 2).mean(axis=(0, 1))
    white = spectra / np.maximum(np.abs(spectra), 1e-12)
    # In the open nothing comes back: then all that stands out of the noise counts. Elsewhere only what comes first.
    open_air = _summed(white, _weights(power, params.open_excess * noise), left, speed_m_s, low, params)
    if open_air is not None:
        found = _decide(open_air, left, usable.mics, tuple(flags), params)
        share = 1.0 - noise / np.maximum(power, 1e-15)
        expected = float((open_air.weight * share).sum()) / open_air.n_bins
        if isinstance(found, Bearing) and found.quality >= params.open_share * expected:
            return found
    threshold = np.maximum(params.noise_excess * noise, params.echo_excess * _echo(power, params))
    first = _summed(white, _weights(power, threshold), left, speed_m_s, low, params)
    if first is None:
        return NoBearing(Why.NOTHING_STANDS_OUT, tuple(flags))
    return _decide(first, left, usable.mics, tuple(flags), params)


def _weights(power: NDArray[np.float64], threshold: NDArray[np.float64]) -> NDArray[np.float64]:
    """What each bin of each frame counts, 0…1."""
    return np.asarray(np.maximum(0.0, 1.0 - threshold / np.maximum(power, 1e-15)) * (power > 1e-12))


def _summed(
    white: NDArray[np.complex128], weight: NDArray[np.float64], array: Array, speed_m_s: float, low: int,
    params: BearingParams,
) -> _Heard | None:  # fmt: skip
    """Weighted cross spectra over all frames; None where next to nothing counts."""
    n_bins = float(weight.sum())
    if n_bins < 2.0:
        return None
    pairs, base_at, baselines = grouped_pairs(array.mic_xy_m)
    i, j = pairs.T
    of_pair = np.einsum("pfk,pfk,fk->pk", white[j], white[i].conj(), weight)
    cross = np.ascontiguousarray(np.add.reduceat(of_pair, base_at[:-1], axis=0))
    return _Heard(
        cross, baselines / speed_m_s, low, params.n_window, params.rate_hz, n_bins * len(pairs), n_bins, weight
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Heard:
    """Summed cross spectra of an event: what the map and its peak are made of."""

    cross: NDArray[np.complex128]
    delay_s: NDArray[np.float64]
    low: int
    n: int
    rate_hz: float
    whole: float
    n_bins: float
    weight: NDArray[np.float64]

    @property
    def omega_step(self) -> float:
        return 2.0 * math.pi * self.rate_hz / self.n

    def coarse(self) -> NDArray[np.float64]:
        """Map over shares and azimuths, (n_shares, n_azimuths), as a share of what a lone plane wave would give."""
        full = np.zeros((len(self.cross), self.n * UPSAMPLED // 2 + 1), np.complex128)
        full[:, self.low : self.low + self.cross.shape[1]] = self.cross
        lags: NDArray[np.float64] = scipy.fft.irfft(full, axis=1) * (self.n * UPSAMPLED / 2)
        angle = 2.0 * np.pi * np.arange(AZIMUTHS) / AZIMUTHS
        towards = np.stack([np.sin(angle), np.cos(angle)], axis=1)
        at = (towards @ self.delay_s.T)[None] * np.array(SHARES)[:, None, None] * (self.rate_hz * UPSAMPLED)
        first = np.floor(at)
        part, index = at - first, first.astype(np.int64)
        size, base = lags.shape[1], np.arange(len(lags))
        found = lags[base, index % size] * (1.0 - part) + lags[base, (index + 1) % size] * part
        return np.asarray(found.sum(axis=2) / self.whole)

    def peaks(self, coarse: NDArray[np.float64]) -> Iterator[tuple[float, float]]:
        """The highest places of the coarse map that are apart from each other, (x, y)."""
        over = coarse.max(axis=0)
        hill = (over >= np.roll(over, 1)) & (over > np.roll(over, -1))
        tops = np.flatnonzero(hill)
        for azimuth in tops[np.argsort(-over[tops])][:CANDIDATES]:
            share = SHARES[int(coarse[:, azimuth].argmax())]
            angle = 2.0 * math.pi * azimuth / AZIMUTHS
            yield share * math.sin(angle), share * math.cos(angle)

    def covariance(self, x: float, y: float) -> tuple[NDArray[np.float64], bool]:
        """Of a peak, (2, 2), from how blocks of the band pull at it; and whether they scatter much more than noise."""
        omega = self.omega_step * (self.low + np.arange(self.cross.shape[1]))
        turned = self.cross * np.exp(1j * omega * (self.delay_s @ np.array([x, y]))[:, None])
        pull = -(omega * turned.imag).T @ self.delay_s
        bend = (self.delay_s * (omega**2 * turned.real).sum(axis=1)[:, None]).T @ self.delay_s
        edges = np.arange(0, len(omega), BLOCK_BINS)
        blocks = np.add.reduceat(pull, edges, axis=0)
        used = np.maximum(2, (np.abs(blocks).sum(axis=1) > 0.0).sum())
        inverse = np.linalg.pinv(bend, rcond=1e-6, hermitian=True)
        spread = blocks.T @ blocks * (used / (used - 1.0))
        return np.asarray(inverse @ spread @ inverse), bool((np.linalg.eigvalsh(bend) < 0.0).any())


def _decide(
    heard: _Heard, array: Array, mics: NDArray[np.bool_], flags: tuple[Flag, ...], params: BearingParams
) -> Bearing | NoBearing:
    """The bearing of the highest peak, if it is one."""
    n_bins = heard.n_bins
    coarse = heard.coarse()
    found = sorted(
        (refine(heard.cross, heard.delay_s, heard.low * heard.omega_step, heard.omega_step, x, y)
         for x, y in heard.peaks(coarse)), key=lambda peak: -peak[2])  # fmt: skip
    if not found:
        return NoBearing(Why.NO_DIRECTION, flags)
    x, y, value = found[0]
    quality = value / heard.whole
    contrast = quality / max(float(np.abs(coarse).mean()), 1e-9)
    # A few bins agree by chance on some direction: the fewer there are, the more they must agree.
    if not (quality >= params.quality_min + params.chance / math.sqrt(n_bins) and contrast >= params.contrast_min):
        return NoBearing(Why.NO_DIRECTION, flags)
    covariance, scattered = heard.covariance(x, y)
    axis = array.line_axis()
    if axis is not None:
        return _on_a_line(heard, array, axis, (x, y), covariance, quality, contrast, mics, flags, n_bins)
    length = math.hypot(x, y)
    if length > LENGTH_MAX:
        return NoBearing(Why.IMPOSSIBLE_DELAYS, (*flags, Flag.IMPOSSIBLE_DELAYS))
    azimuth = turn(math.atan2(x, y))
    for other_x, other_y, rival in found[1:]:
        if rival >= params.rival_max * value and abs(between(math.atan2(other_x, other_y), azimuth)) > RIVAL_APART:
            return NoBearing(Why.AMBIGUOUS, flags)
    if length < 0.2:  # nearly straight above or below: no bearing to speak of
        return NoBearing(Why.NO_DIRECTION, flags)
    spread = array.mic_xy_m - array.mic_xy_m.mean(axis=0)
    covariance = covariance + array.built_sigma_m**2 * np.linalg.inv(spread.T @ spread)
    across = np.array([y, -x]) / length**2
    sigma = min(math.sqrt(float(across @ covariance @ across)), math.pi)
    if scattered or sigma > math.radians(10.0):
        flags = (*flags, Flag.SCATTERED)
    elevation = math.acos(min(1.0, length))
    return Bearing(azimuth, sigma, None, elevation, quality, contrast, n_bins, tuple(map(bool, mics)), flags)


def _on_a_line(
    heard: _Heard, array: Array, axis: NDArray[np.float64], at: tuple[float, float], covariance: NDArray[np.float64],
    quality: float, contrast: float, mics: NDArray[np.bool_], flags: tuple[Flag, ...], n_bins: float,
) -> Bearing | NoBearing:  # fmt: skip
    """Microphones on a line know the angle to it alone: two bearings, assuming a source in the plane."""
    along = float(np.dot(at, axis))
    if abs(along) > LENGTH_MAX:
        return NoBearing(Why.IMPOSSIBLE_DELAYS, (*flags, Flag.IMPOSSIBLE_DELAYS))
    along = max(-1.0, min(1.0, along))
    forward, off = math.atan2(axis[0], axis[1]), math.acos(along)
    length = float(np.sqrt((((array.mic_xy_m - array.mic_xy_m.mean(axis=0)) @ axis) ** 2).sum()))
    of_along = float(axis @ covariance @ axis) + (array.built_sigma_m / length) ** 2
    sigma = min(math.sqrt(of_along) / max(math.sin(off), 0.05), math.pi)
    return Bearing(
        turn(forward + off), sigma, turn(forward - off), None, quality, contrast, n_bins, tuple(map(bool, mics)),
        (*flags, Flag.FRONT_BACK),
    )  # fmt: skip
